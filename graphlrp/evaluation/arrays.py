"""Samples that are arrays: one array of all of them, or a list of arrays that differ in shape."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from graphlrp.errors import InputError
from graphlrp.evaluation.batches import ArrayBatch, Batch, ListBatch
from graphlrp.evaluation.filling import Filling, per_channel, read_filling
from graphlrp.evaluation.layout import Layout
from graphlrp.evaluation.regions import Regions
from graphlrp.evaluation.samples import Samples
from graphlrp.evaluation.values import check_count, fingerprint, kind_of

Array = npt.NDArray[Any]


class ArraySamples(Samples):
    """Samples whose numbers all stand somewhere, and may be changed to any other."""

    @property
    @abstractmethod
    def layouts(self) -> Sequence[Layout]:
        """Their layouts, those that differ; axes and channels are the same in all."""

    @abstractmethod
    def per_channel(self, function: Callable[..., Any]) -> list[float]:
        """``np.min``, ``np.max`` or ``np.mean`` of all samples together."""

    @abstractmethod
    def deviation(self) -> float:
        """Standard deviation of all numbers."""

    @abstractmethod
    def changed(self, arrays: Sequence[Array]) -> ArraySamples:
        """Others of the same shapes."""

    def filling(self, filling: Any) -> Filling:
        """Any; by default uniform noise."""
        return read_filling(filling).prepared(self)


@dataclass(frozen=True, eq=False)
class DenseSamples(ArraySamples):
    """One array.

    Attributes:
        x: the samples [N, ...].
        axes: their layout.
    """

    x: Array
    axes: Layout

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, number: int) -> Array:
        return np.asarray(self.x[number])

    def layout(self, number: int) -> Layout:
        """That of all samples."""
        return self.axes

    @property
    def layouts(self) -> Sequence[Layout]:
        """Those that differ."""
        return [self.axes]

    def taken(self, rows: slice) -> Array:
        """A part of the array."""
        return self.x[rows]

    def batch(self, size: int) -> Batch:
        """One array."""
        return ArrayBatch.empty(size, self.x)

    def collected(self, states: Sequence[Array]) -> Array:
        """[N, K, ...]."""
        return np.stack([own.reshape(-1, *self.x.shape[1:]) for own in states])

    def relevance(self, relevance: Any, name: str, rows: slice) -> Sequence[Array]:
        """Σ over channels."""
        if isinstance(relevance, list):
            raise InputError(f"{name}: these are several relevances; one array shaped like the input is needed")
        places = self.axes.relevance_of_places(relevance, name)
        check_count(places, name, len(self.x[rows]))
        return list(places)

    def compared(self, first: Any, second: Any) -> Iterator[tuple[Array, Array]]:
        """All at once."""
        maps = [self.axes.relevance_of_places(relevance).reshape(len(self), -1) for relevance in (first, second)]
        yield maps[0], maps[1]

    def regions(self, number: int, region: Any, border: str) -> Regions:
        """A grid, or groups of places."""
        return Regions.of(self.axes, region, border)

    def per_channel(self, function: Callable[..., Any]) -> list[float]:
        """``np.min``, ``np.max`` or ``np.mean`` of all samples."""
        return per_channel(function, self.x, self.axes)

    def fingerprint(self) -> str:
        """Of type, shape and numbers."""
        return fingerprint(self.x)

    def deviation(self) -> float:
        """Standard deviation of all numbers."""
        return float(self.x.std())

    def changed(self, arrays: Sequence[Array]) -> DenseSamples:
        """Others of the same shape."""
        return replace(self, x=np.stack(arrays))


@dataclass(frozen=True, eq=False)
class ListedSamples(ArraySamples):
    """Arrays that differ in shape and not in what their axes are.

    Attributes:
        arrays: the samples.
        axes: their layouts; those of equal shape share theirs.
    """

    arrays: Sequence[Array]
    axes: Sequence[Layout]

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, number: int) -> Array:
        return self.arrays[number]

    def layout(self, number: int) -> Layout:
        """The sample's own."""
        return self.axes[number]

    @cached_property
    def layouts(self) -> Sequence[Layout]:
        """Those that differ."""
        return list(dict.fromkeys(self.axes))

    def taken(self, rows: slice) -> list[Array]:
        """A list."""
        return list(self.arrays[rows])

    def batch(self, size: int) -> Batch:
        """A list."""
        return ListBatch(lambda number: self.axes[number].sample, [None] * size)

    def collected(self, states: Sequence[Array]) -> list[Array]:
        """[K, ...] of every sample."""
        return [own.reshape(-1, *sample.shape) for own, sample in zip(states, self.arrays, strict=True)]

    def relevance(self, relevance: Any, name: str, rows: slice) -> Sequence[Array]:
        """Σ over channels, of every sample by itself."""
        if issparse(relevance) or not isinstance(relevance, (list, tuple, np.ndarray)):
            raise InputError(f"{name} must be a list of arrays, one for each sample, not {kind_of(relevance)}")
        layouts = self.axes[rows]
        check_count(relevance, name, len(layouts))
        numbers = range(len(self))[rows]
        return [
            layout.relevance_of_places(np.asarray(own)[np.newaxis], f"{name} for sample {number}")[0]
            for number, own, layout in zip(numbers, relevance, layouts, strict=True)
        ]

    def compared(self, first: Any, second: Any) -> Iterator[tuple[Array, Array]]:
        """One after the other."""
        everything = slice(0, len(self))
        maps = (self.relevance(relevance, "relevance", everything) for relevance in (first, second))
        for one, other in zip(*maps, strict=True):
            yield one.reshape(1, -1), other.reshape(1, -1)

    def regions(self, number: int, region: Any, border: str) -> Regions:
        """A grid of the sample's own; windows have the same size in all samples."""
        layout = self.axes[number]
        if np.ndim(region) > 1 or np.size(region) not in (1, len(layout.places)):
            raise InputError(
                "a number for every pixel fits samples of one shape, and these differ: give the size of a region, or the samples"
                " of each shape by themselves"
            )
        try:
            return Regions.of(layout, region, border)
        except InputError as error:
            raise InputError(f"sample {number}: {error}") from None

    def per_channel(self, function: Callable[..., Any]) -> list[float]:
        """``np.min``, ``np.max`` or ``np.mean`` of all samples together."""
        own = np.array([per_channel(function, a[np.newaxis], layout) for a, layout in zip(self.arrays, self.axes, strict=True)])
        if function is np.mean:
            return [float(value) for value in np.average(own, axis=0, weights=[array.size for array in self.arrays])]
        return [float(value) for value in function(own, axis=0)]

    def fingerprint(self) -> str:
        """Of types, shapes and numbers."""
        return fingerprint(list(self.arrays))

    def deviation(self) -> float:
        """Standard deviation of all numbers."""
        count = sum(array.size for array in self.arrays)
        mean = sum(float(array.sum(dtype=np.float64)) for array in self.arrays) / count
        return float(np.sqrt(sum(float(((array - mean) ** 2).sum(dtype=np.float64)) for array in self.arrays) / count))

    def changed(self, arrays: Sequence[Array]) -> ListedSamples:
        """Others of the same shapes."""
        return replace(self, arrays=list(arrays))
