"""Batches that are filled one perturbed sample after the other, in the form in which a model takes samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Array = npt.NDArray[Any]


class Batch(Protocol):
    """Room for some perturbed samples."""

    def put(self, place: int, number: int, flat: Array) -> None:
        """Keep what became of a sample, flattened as what is perturbed of it; the array itself may change later."""

    def first(self, count: int) -> Any:
        """The perturbed samples in the first places, as a model takes them."""


@dataclass(frozen=True, eq=False)
class ArrayBatch:
    """One array.

    Attributes:
        inputs: [size, ...].
        rows: the same memory, [size, numbers of a sample].
    """

    inputs: Array
    rows: Array

    @classmethod
    def empty(cls, size: int, like: Array) -> ArrayBatch:
        """Of samples shaped like these."""
        inputs = np.empty((size, *like.shape[1:]), like.dtype)
        return cls(inputs, inputs.reshape(size, -1))

    def put(self, place: int, number: int, flat: Array) -> None:
        """Write into the array."""
        self.rows[place] = flat

    def first(self, count: int) -> Array:
        """A view of the array."""
        return self.inputs[:count]


@dataclass(frozen=True, eq=False)
class ListBatch:
    """A list of arrays.

    Attributes:
        shape: of a sample.
        inputs: what was put.
    """

    shape: Callable[[int], tuple[int, ...]]
    inputs: list[Array | None]

    def put(self, place: int, number: int, flat: Array) -> None:
        """Keep a copy in the shape of the sample."""
        self.inputs[place] = flat.reshape(self.shape(number)).copy()

    def first(self, count: int) -> list[Array]:
        """A list."""
        return [array for array in self.inputs[:count] if array is not None]


@dataclass(frozen=True, eq=False)
class SparseBatch:
    """A csr matrix. Numbers that became 0 are not stored, for to them some functions are not defined (logarithms of counts).

    Attributes:
        columns: the columns of the numbers of a sample.
        width: of the matrix.
        dtype: of its numbers.
        inputs: columns and numbers of what was put.
    """

    columns: Callable[[int], Array]
    width: int
    dtype: np.dtype[Any]
    inputs: list[tuple[Array, Array] | None]

    def put(self, place: int, number: int, flat: Array) -> None:
        """Keep what is left of the numbers."""
        left = np.flatnonzero(flat)
        self.inputs[place] = self.columns(number)[left], flat[left]

    def first(self, count: int) -> csr_matrix:
        """[count, width]."""
        rows = [row for row in self.inputs[:count] if row is not None]
        ends = np.cumsum([0, *(len(columns) for columns, _ in rows)])
        columns = np.concatenate([columns for columns, _ in rows])
        numbers = np.concatenate([numbers for _, numbers in rows])
        return csr_matrix((numbers, columns, ends), (count, self.width), dtype=self.dtype)


def of_one_shape(x: Any) -> list[Any]:
    """What a model that takes arrays is given: x itself, or an array for those that follow each other in a list and are alike."""
    if not isinstance(x, list):
        return [x]
    groups: list[list[Array]] = []
    for array in x:
        if groups and groups[-1][0].shape == array.shape:
            groups[-1].append(array)
        else:
            groups.append([array])
    return [np.stack(group) for group in groups]
