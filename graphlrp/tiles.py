"""Large pictures tile by tile: a model that says what a part shows, explained everywhere, and overlapping maps averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError

Array = npt.NDArray[Any]


class Explains(Protocol):
    """What of an explainer is used."""

    def __call__(self, x: Any, target: Any = None, *, batch_size: int = 32, progress: Any = False) -> Any:
        """Explain a batch."""


@dataclass(frozen=True, eq=False)
class TiledExplanation:
    """Relevance of a picture that was explained tile by tile.

    Attributes:
        relevance: mean of the relevance of the tiles that cover a pixel, shaped like the picture; 0 where none does.
        cover: how many tiles cover a pixel, [H, W].
        corners: upper left corner (row, column) of every tile, [T, 2].
        output: f of every tile, [T, ...].
        target: what was explained of every tile.
    """

    relevance: Array
    cover: Array
    corners: Array
    output: Array
    target: Array


def explain_tiles(
    explainer: Explains,
    picture: Array,
    target: Any = None,
    *,
    size: int | tuple[int, int] = 102,
    stride: int | tuple[int, int] = 34,
    layout: str = "HWC",
    batch_size: int = 16,
    progress: bool | Callable[[int, int], None] = False,
) -> TiledExplanation:
    """Explain every tile of a picture and average where they overlap (2.4.3).

    Tiles lie ``stride`` pixels apart; the last row and column of tiles end at the border. What a tile says of its pixels does not
    depend on what lies around it.

    Args:
        explainer: of a model that takes tiles.
        picture: [H, W], [H, W, C], or [C, H, W] with ``layout="CHW"``.
        target: as for the explainer, one for all tiles.
        size: of a tile in pixels, one number or (height, width).
        stride: between tiles.
        layout: of the picture, ``"HWC"`` (also for [H, W]) or ``"CHW"``.
        batch_size: tiles per run.
        progress: as for the explainer.

    Raises:
        InputError: the picture is smaller than a tile, or has another number of axes; sizes that are not positive.
    """
    picture = np.asarray(picture)
    if layout not in ("HWC", "CHW") or picture.ndim not in (2, 3):
        raise InputError(f"a picture is [H, W], [H, W, C] or, with layout='CHW', [C, H, W], not {list(picture.shape)} {layout!r}")
    first = 1 if layout == "CHW" and picture.ndim == 3 else 0
    (height, width), (down, right) = ((n, n) if isinstance(n, int) else tuple(n) for n in (size, stride))
    if min(height, width, down, right) < 1:
        raise InputError(f"sizes and strides of tiles are at least 1, not {size} and {stride}")
    rows, columns = picture.shape[first : first + 2]
    if rows < height or columns < width:
        raise InputError(f"a picture of {rows} x {columns} pixels is smaller than a tile of {height} x {width}")
    corners = np.array([(y, x) for y in _starts(rows, height, down) for x in _starts(columns, width, right)])

    def part(y: int, x: int) -> tuple[slice, ...]:
        return (*[slice(None)] * first, slice(y, y + height), slice(x, x + width))

    explanation = explainer(np.stack([picture[part(y, x)] for y, x in corners]), target, batch_size=batch_size, progress=progress)
    total, cover = np.zeros(picture.shape), np.zeros((rows, columns), np.int64)
    for (y, x), relevance in zip(corners, explanation.relevance, strict=True):
        total[part(y, x)] += relevance
        cover[y : y + height, x : x + width] += 1
    shaped = cover if picture.ndim == 2 else cover[None] if first else cover[..., None]
    return TiledExplanation(total / np.maximum(shaped, 1), cover, corners, explanation.output, explanation.target)


def _starts(length: int, size: int, stride: int) -> list[int]:
    """Where tiles begin; the last one ends at the border."""
    starts = list(range(0, length - size + 1, stride))
    return starts if starts[-1] == length - size else [*starts, length - size]
