"""Regions of an input: a grid of windows, or groups of places of any shape; and their order by relevance (3.4), (3.5)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.evaluation.layout import Layout

Array = npt.NDArray[Any]

DEFAULT_WINDOW = 9
BORDERS = ("leave", "include")


@dataclass(frozen=True, eq=False)
class Regions:
    """Non-overlapping groups of places.

    Attributes:
        labels: number of the region of every place, -1 for places of none, int64 [*places].
        count: how many regions there are.
        text: what they are, in words.
        windows: whether they are windows of a grid.
    """

    labels: Array
    count: int
    text: str
    windows: bool = True

    @classmethod
    def of(cls, layout: Layout, region: Any = None, border: str = "leave") -> Regions:
        """Regions of an input.

        Args:
            layout: of the input.
            region: size of the windows, one for all axes or one for each; by default 9 for pictures, 1 for all else. Or a whole
                number for every place, [*places]: places of the same number form a region, negative ones belong to none.
            border: what becomes of the places that are left over where a size is no multiple of the window's. The grid lies in
                the middle; ``"leave"``: they belong to no region and are never replaced; ``"include"``: they form incomplete
                regions.

        Raises:
            InputError: sizes that do not fit, labels of another shape, no region.
        """
        check_border(border)
        if region is None:
            region = DEFAULT_WINDOW if layout.pictorial else 1
        array = np.asarray(region)
        if array.ndim == len(layout.places) and array.shape == layout.places and array.dtype.kind in "iu":
            return cls._of_labels(array)
        if array.dtype.kind not in "iu" or array.ndim > 1 or array.size not in (1, len(layout.places)):
            raise InputError(
                f"region {region!r} does not fit: give a size, one for each of the axes {layout.axes.replace('C', '')[1:]},"
                f" or whole numbers for all places {list(layout.places)}"
            )
        sizes = [int(size) for size in np.broadcast_to(array.ravel(), (len(layout.places),))]
        return cls._grid(layout.places, sizes, border)

    @classmethod
    def _grid(cls, places: Sequence[int], sizes: Sequence[int], border: str) -> Regions:
        text = "x".join(map(str, sizes)) if len(sizes) > 1 else str(sizes[0])
        if min(sizes) < 1 or any(size > whole for size, whole in zip(sizes, places, strict=True)):
            raise InputError(f"a region of {text} does not fit into an input of {'x'.join(map(str, places))} places")
        labels, count = np.zeros((), np.int64), 1
        inside = np.ones((), bool)
        for size, whole in zip(sizes, places, strict=True):
            margin = whole % size // 2
            index = (np.arange(whole) - margin) // size
            complete = (index >= 0) & (index < whole // size)
            if border == "include":
                index, complete = index - index.min(), np.ones(whole, bool)
            windows = int(index[complete].max()) + 1
            labels = labels[..., None] * windows + index
            inside = inside[..., None] & complete
            count *= windows
        return cls(np.where(inside, labels, -1), count, text)

    @classmethod
    def _of_labels(cls, labels: Array) -> Regions:
        numbers, inverse = np.unique(labels, return_inverse=True)
        absent = int((numbers < 0).sum())
        count = len(numbers) - absent
        if not count:
            raise InputError("region: all places have a negative number, so there is no region")
        return cls(np.maximum(inverse.reshape(labels.shape) - absent, -1), count, f"{count} groups of places", windows=False)

    def sums(self, relevance: Array) -> Array:
        """Σ of relevance over every region, float64 [N, *places] -> [N, count]."""
        inside = self.labels >= 0
        numbers = self.labels[inside]
        return np.stack([np.bincount(numbers, sample[inside], self.count) for sample in relevance])

    def places(self) -> list[Array]:
        """Numbers, in row-major order, of the places of every region."""
        flat = self.labels.ravel()
        order = np.argsort(flat, kind="stable")
        edges = np.searchsorted(flat[order], np.arange(self.count + 1))
        return [order[start:stop] for start, stop in itertools.pairwise(edges)]

    def covered(self, replaced: int) -> float:
        """Mean share of all places that this many regions cover, of which there is at least one."""
        return replaced / self.count * float((self.labels >= 0).sum()) / math.prod(self.labels.shape)


def check_border(border: str) -> None:
    """Refuse what is no border.

    Raises:
        InputError: it is none.
    """
    if border not in BORDERS:
        raise InputError(f"unknown border {border!r}; there are {', '.join(BORDERS)}")


def most_relevant_first(sums: Array, lot: Array) -> Array:
    """Regions by falling relevance (3.5); among equals, the one that comes first in ``lot`` goes first.

    Ties are drawn by lot because maps with many zeros have many of them: in the order of the grid, the upper left corner would
    always come first, whatever the map says.

    Args:
        sums: relevance of every region, [count].
        lot: a permutation of the regions.
    """
    place_in_lot = np.empty(len(lot), np.int64)
    place_in_lot[lot] = np.arange(len(lot))
    return np.lexsort((place_in_lot, -sums))
