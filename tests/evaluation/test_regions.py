"""Layouts, grids and orders against their definitions, written as plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from graphlrp.errors import InputError
from graphlrp.evaluation.layout import Layout
from graphlrp.evaluation.regions import Regions, most_relevant_first


def loop_grid(height: int, width: int, rows: int, columns: int, border: str) -> np.ndarray:
    """Windows pixel by pixel: the whole ones in the middle, and those that are cut off if they are wanted."""
    top, left = (height % rows) // 2, (width % columns) // 2
    numbers: dict[tuple[int, int], int] = {}
    labels = np.full((height, width), -1)
    for y in range(height):
        for x in range(width):
            window = ((y - top) // rows, (x - left) // columns)
            start_y, start_x = top + window[0] * rows, left + window[1] * columns
            whole = start_y >= 0 and start_x >= 0 and start_y + rows <= height and start_x + columns <= width
            if whole or border == "include":
                labels[y, x] = numbers.setdefault(window, len(numbers))
    return labels


@pytest.mark.parametrize("border", ["leave", "include"])
@pytest.mark.parametrize("shape", [(8, 8), (9, 12), (10, 11), (11, 10), (7, 29)])
@pytest.mark.parametrize("window", [(1, 1), (2, 3), (4, 4), (7, 5)])
def test_grid(shape: tuple[int, int], window: tuple[int, int], border: str) -> None:
    regions = Regions.of(Layout.of((1, 3, *shape), "NCHW"), window, border)
    expected = loop_grid(*shape, *window, border)
    # The same partition, whatever the numbers of its parts.
    pairs = set(zip(regions.labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == len(set(regions.labels.ravel())) == len(set(expected.ravel()))
    assert ((regions.labels < 0) == (expected < 0)).all()
    assert regions.count == expected.max() + 1
    assert set(regions.labels.ravel()) - {-1} == set(range(regions.count))


@pytest.mark.parametrize(("axes", "shape"), [("NCHW", (2, 3, 6, 8)), ("NHWC", (2, 6, 8, 3)), ("NHW", (2, 6, 8))])
def test_sums_over_channels_and_regions(axes: str, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    relevance = generator.normal(size=shape)
    layout = Layout.of(shape, axes)
    regions = Regions.of(layout, (2, 3), "include")
    channels_last = {"NCHW": np.moveaxis(relevance, 1, -1), "NHWC": relevance, "NHW": relevance[..., None]}[axes]
    expected = np.zeros((2, regions.count))
    for n in range(2):
        for y in range(6):
            for x in range(8):
                for value in channels_last[n, y, x]:
                    expected[n, regions.labels[y, x]] += value
    np.testing.assert_allclose(regions.sums(layout.relevance_of_places(relevance)), expected)
    np.testing.assert_allclose(regions.sums(layout.relevance_of_places(channels_last.sum(-1))), expected)


@pytest.mark.parametrize(
    ("axes", "shape"), [("NCHW", (1, 3, 6, 8)), ("NHWC", (1, 6, 8, 3)), ("NHW", (1, 6, 8)), ("NCT", (1, 2, 9))]
)
def test_flat_indices_select_a_region_of_all_channels(axes: str, shape: tuple[int, ...]) -> None:
    layout = Layout.of(shape, axes)
    regions = Regions.of(layout, 2)
    for number, places in enumerate(regions.places()):
        sample = np.zeros(shape[1:])
        sample.reshape(-1)[layout.flat_indices(places)] = 1
        channel = layout.channel_axis
        mask = regions.labels == number
        expected = np.broadcast_to(mask if channel is None else np.expand_dims(mask, channel - 1), shape[1:])
        assert (sample == expected).all()


def test_labels_make_regions() -> None:
    labels = np.array([[5, 5, -1], [2, 9, 2]])
    regions = Regions.of(Layout.of((1, 1, 2, 3), "NCHW"), labels)
    assert regions.count == 3
    assert regions.labels.tolist() == [[1, 1, -1], [0, 2, 0]]
    assert regions.sums(np.arange(6.0).reshape(1, 2, 3)).tolist() == [[8.0, 1.0, 4.0]]
    assert regions.covered(3) == pytest.approx(5 / 6)


def test_features_are_regions_of_one() -> None:
    regions = Regions.of(Layout.of((4, 7)))
    assert regions.labels.tolist() == list(range(7))
    assert regions.sums(np.ones((4, 7))).tolist() == np.ones((4, 7)).tolist()


def test_windows_of_pictures_have_nine_pixels_a_side() -> None:
    assert Regions.of(Layout.of((1, 3, 227, 227))).count == 25 * 25


def test_order_falls_and_a_lot_decides_among_equals() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        sums, lot = generator.integers(0, 4, 12).astype(float), generator.permutation(12)
        expected = sorted(range(12), key=lambda region: (-sums[region], lot.tolist().index(region)))
        assert most_relevant_first(sums, lot).tolist() == expected
    assert most_relevant_first(np.zeros(12), lot).tolist() == lot.tolist()


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 5), "ND"),
        ((2, 3, 9), "NCT"),
        ((2, 3, 8, 8), "NCHW"),
        ((2, 8, 8, 3), "NHWC"),
        ((2, 8, 8, 7), "NCHW"),
        ((2, 1, 4, 4, 4), "NCDHW"),
    ],
)
def test_layout_from_the_shape(shape: tuple[int, ...], axes: str) -> None:
    assert Layout.of(shape).axes == axes


@pytest.mark.parametrize("axes", ["NC", "CNHW", "NHCW", "NHH", "HW", "N"])
def test_layouts_without_meaning(axes: str) -> None:
    with pytest.raises(InputError, match="layout"):
        Layout.of((2,) * len(axes), axes)


def test_relevance_of_tokens_is_summed() -> None:
    relevance = np.arange(24.0).reshape(2, 3, 4)
    assert Layout.of((2, 3), "NT").relevance_of_places(relevance).tolist() == relevance.sum(-1).tolist()


@pytest.mark.parametrize(
    ("relevance", "message"),
    [
        (np.zeros((1, 3, 4, 5)), "does not fit"),
        (np.zeros((1, 3, 4, 4), complex), "real numbers"),
        (np.full((1, 3, 4, 4), np.nan), "NaN"),
        (np.array(["a"]), "real numbers"),
    ],
)
def test_relevance_that_does_not_fit(relevance: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Layout.of((1, 3, 4, 4)).relevance_of_places(relevance)


@pytest.mark.parametrize(
    ("region", "border", "message"),
    [
        (9, "leave", "does not fit into"),
        (0, "leave", "does not fit into"),
        (2.5, "leave", "does not fit"),
        ((2, 2, 2), "leave", "one for each of the axes HW"),
        (2, "crop", "unknown border"),
        (np.full((8, 8), -1), "leave", "no region"),
        (np.zeros((8, 7), int), "leave", "does not fit"),
    ],
)
def test_regions_that_cannot_be(region: object, border: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Regions.of(Layout.of((1, 3, 8, 8)), region, border)
