"""Steps that bring relevance maps to one size, or turn an analysis towards one of their properties.

A step is any callable that takes a stack of maps [n, H, W] and returns what is compared, [n, ...]; those of this module are the
ones that the source uses or names (thesis, sections 6.2 and 6.5, appendix E). Several steps in a row are a :class:`Chain`.

Vectors are [n, D], and csr where relevance is sparse. Of the steps of this module, :class:`Normalise` and :class:`Identity` take
them; a step of one's own may return csr or an array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array, issparse

from graphlrp.errors import InputError
from graphlrp.spray.sparse import Rows, as_rows, owners

Array = NDArray[Any]
Step = Callable[[Any], Any]


@dataclass(frozen=True)
class Identity:
    """Every number is compared as it is."""

    def __call__(self, maps: Rows) -> Rows:
        """[n, ...] -> [n, ...]."""
        return maps


@dataclass(frozen=True)
class SumPool:
    """Sum relevance over the cells of a regular grid; ΣR is kept.

    A map of any size becomes rows × columns. A cell is H/rows × W/columns pixels large, which need not be whole numbers: a pixel
    that lies in several cells gives each of them the part that its area there is. So maps that are smaller than the grid are
    spread over it, evenly within each pixel.

    Attributes:
        rows: of the grid; the source uses 20, and reports the same for 5, 10 and 50.
        columns: of the grid; as many as rows if None.

    Raises:
        InputError: rows or columns are not positive.
    """

    rows: int = 20
    columns: int | None = None

    def __post_init__(self) -> None:
        """Check the size."""
        if self.rows < 1 or (self.columns is not None and self.columns < 1):
            raise InputError(f"{self}: a grid has at least one row and one column")

    def __call__(self, maps: Array) -> Array:
        """[n, H, W] -> [n, rows, columns].

        Raises:
            InputError: these are no pictures.
        """
        _, height, width = _shape(maps, "SumPool")
        pooled: Array = overlaps(self.rows, height) @ maps @ overlaps(self.columns or self.rows, width).T
        return pooled


@dataclass(frozen=True)
class GaussianLowPass:
    """Smooth maps with a Gaussian (thesis, appendix E); ΣR is kept, for the map is mirrored at its borders.

    Attributes:
        sigma: standard deviation in pixels.

    Raises:
        InputError: sigma is not positive.
    """

    sigma: float

    def __post_init__(self) -> None:
        """Check sigma."""
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise InputError(f"{self}: sigma must be positive")

    def __call__(self, maps: Array) -> Array:
        """[n, H, W] -> [n, H, W].

        Raises:
            InputError: these are no pictures.
        """
        _shape(maps, "GaussianLowPass")
        smooth: Array = gaussian_filter(maps, self.sigma, axes=(1, 2), mode="reflect")
        return smooth


@dataclass(frozen=True)
class FourierMagnitude:
    """|F(R)| of the two-dimensional Fourier transform: where in the map relevance lies does not matter, its pattern does.

    The frequency 0 is in the middle, at [H // 2, W // 2], so that a later :class:`SumPool` sums neighbouring frequencies. The
    transform is unitary: Σ|F(R)|² = ΣR².
    """

    def __call__(self, maps: Array) -> Array:
        """[n, H, W] -> [n, H, W].

        Raises:
            InputError: these are no pictures.
        """
        _shape(maps, "FourierMagnitude")
        return np.abs(np.fft.fftshift(np.fft.fft2(maps, norm="ortho"), axes=(1, 2)))


@dataclass(frozen=True)
class Normalise:
    """Divide every map by its size, so that maps differ by where relevance lies and no longer by how much there is of it.

    What the source compares is not normalised: a map also tells how large f(x) is. A map without any relevance stays zero.

    Attributes:
        by: ``"l1"``, Σ|R|; ``"l2"``, √ΣR²; ``"max"``, max |R|, as maps are shown (2.62).

    Raises:
        InputError: an unknown size.
    """

    by: Literal["l1", "l2", "max"] = "l2"

    def __post_init__(self) -> None:
        """Check the size."""
        if self.by not in ("l1", "l2", "max"):
            raise InputError(f"Normalise divides by 'l1', 'l2' or 'max', not by {self.by!r}")

    def __call__(self, maps: Rows) -> Rows:
        """[n, ...] -> [n, ...]; csr stays csr."""
        if issparse(maps):
            return self._sparse(as_rows(maps))
        flat = np.abs(maps).reshape(len(maps), -1)
        # By the largest first: squares of small relevances would be zero.
        largest = flat.max(axis=1)
        sizes = largest.copy()
        if self.by != "max":
            ratio = flat / np.where(largest > 0, largest, 1.0)[:, None]
            sizes *= ratio.sum(axis=1) if self.by == "l1" else np.sqrt((ratio**2).sum(axis=1))
        divided: Array = maps / np.where(sizes > 0, sizes, 1.0).reshape(-1, *[1] * (maps.ndim - 1))
        return divided

    def _sparse(self, rows: csr_array) -> csr_array:
        """The same of what is stored."""
        own, flat = owners(rows), np.abs(rows.data)
        largest = np.zeros(rows.shape[0], flat.dtype)
        np.maximum.at(largest, own, flat)
        sizes = largest.copy()
        if self.by != "max":
            ratio = flat / largest[own]
            sums = np.bincount(own, ratio if self.by == "l1" else ratio**2, rows.shape[0])
            sizes *= sums if self.by == "l1" else np.sqrt(sums)
        return csr_array((rows.data / sizes[own], rows.indices, rows.indptr), shape=rows.shape)


@dataclass(frozen=True)
class Chain:
    """Steps one after the other.

    Attributes:
        steps: the first is done first.

    Raises:
        InputError: one of them is not callable.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Check the steps."""
        for step in self.steps:
            _check_step(step)

    def __call__(self, maps: Rows) -> Rows:
        """[n, H, W] -> [n, ...]."""
        for step in self.steps:
            maps = as_rows(step(maps))
        return maps


def as_step(preprocess: Step | Sequence[Step] | None, ndim: int) -> Step:
    """The step to take for stacks of ``ndim`` axes: several make a chain; None is SumPool(20) of maps, nothing for vectors."""
    if preprocess is None:
        return SumPool() if ndim == 3 else Identity()
    if isinstance(preprocess, Sequence) and not isinstance(preprocess, str):
        return Chain(tuple(preprocess))
    _check_step(preprocess)
    return preprocess


def overlaps(cells: int, pixels: int) -> Array:
    """Which part of each of the pixels of a row lies in each cell, [cells, pixels]; the parts of a pixel sum to 1."""
    borders = np.arange(cells + 1) * (pixels / cells)
    starts = np.arange(pixels)
    parts: Array = np.minimum(borders[1:, None], starts + 1.0) - np.maximum(borders[:-1, None], starts)
    return np.clip(parts, 0.0, 1.0)


def _check_step(step: object) -> None:
    if not callable(step) or isinstance(step, type):
        raise InputError(f"a step of preprocessing is a callable such as spray.SumPool(20), not {step!r}")


def _shape(maps: Array, step: str) -> tuple[int, int, int]:
    if maps.ndim != 3:
        kind = "sparse vectors " if issparse(maps) else "vectors " if maps.ndim == 2 else ""
        raise InputError(f"{step} takes maps [n, H, W], not {kind}{list(maps.shape)}: choose another step with preprocess=...")
    count, height, width = maps.shape
    return count, height, width
