"""Tiles: averages over what covers a pixel, by a loop over pixels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import graphlrp
from graphlrp.tiles import explain_tiles


class Marked:
    """Relevance that tells from which tile and pixel it is."""

    def __call__(self, x: Any, target: Any = None, *, batch_size: int = 32, progress: Any = False) -> Any:
        self.tiles = x
        number = np.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1))
        return SimpleNamespace(relevance=x * (number + 1.0), output=x.reshape(len(x), -1).sum(1), target=np.zeros(len(x), int))


@pytest.mark.parametrize("layout", ["HW", "HWC", "CHW"])
def test_overlapping_maps_are_averaged(layout: str) -> None:
    generator = np.random.default_rng(0)
    grey = generator.random((11, 14))
    picture = {"HW": grey, "HWC": np.stack([grey, -grey], 2), "CHW": np.stack([grey, -grey])}[layout]
    explainer = Marked()
    tiled = explain_tiles(explainer, picture, size=(4, 5), stride=(3, 4), layout="CHW" if layout == "CHW" else "HWC")
    assert set(map(tuple, tiled.corners)) == {(y, x) for y in (0, 3, 6, 7) for x in (0, 4, 8, 9)}
    for y in range(11):
        for x in range(14):
            over = [k for k, (top, left) in enumerate(tiled.corners) if top <= y < top + 4 and left <= x < left + 5]
            assert tiled.cover[y, x] == len(over)
            expected = grey[y, x] * np.mean([k + 1.0 for k in over])
            got = {"HW": lambda r: r, "HWC": lambda r: r[..., 0], "CHW": lambda r: r[0]}[layout](tiled.relevance)
            np.testing.assert_allclose(got[y, x], expected)
    assert tiled.relevance.shape == picture.shape
    assert len(tiled.output) == len(explainer.tiles) == 16


def test_tiles_that_do_not_fit_are_refused() -> None:
    for arguments, message in (
        ({"size": 20}, "smaller than a tile of 20 x 20"),
        ({"size": 0}, "at least 1"),
        ({"stride": 0, "size": 3}, "at least 1"),
        ({"layout": "NHWC", "size": 3}, "a picture is"),
    ):
        with pytest.raises(graphlrp.InputError, match=message):
            explain_tiles(Marked(), np.zeros((10, 10)), **arguments)  # type: ignore[arg-type]
