"""Samples that are rows of a sparse matrix, such as the counts of the terms of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, issparse

from graphlrp.errors import InputError
from graphlrp.evaluation.batches import Batch, SparseBatch
from graphlrp.evaluation.filling import Filling, read_deletion
from graphlrp.evaluation.layout import Layout
from graphlrp.evaluation.regions import Regions, check_border
from graphlrp.evaluation.samples import Samples
from graphlrp.evaluation.values import check_count, fingerprint

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class SparseSamples(Samples):
    """Rows of a sparse matrix. Their regions are the features that are present, and to replace one is to delete it.

    Attributes:
        matrix: csr [N, V] of sorted columns, without stored zeros.
        word: what a feature is called, in the plural.
    """

    matrix: csr_matrix
    word: str
    exhaustible: ClassVar[bool] = True

    @classmethod
    def of(cls, x: Any, word: str, dtype: np.dtype[Any] | None) -> SparseSamples:
        """From any sparse matrix, which stays as it is."""
        matrix = csr_matrix(x, dtype=dtype, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return cls(matrix, word)

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def __getitem__(self, number: int) -> Array:
        return np.asarray(self.matrix.data[self._stored(number)])

    def columns(self, number: int) -> Array:
        """Features that are present in a sample."""
        return np.asarray(self.matrix.indices[self._stored(number)])

    def layout(self, number: int) -> Layout:
        """As many features as are present."""
        stored = self._stored(number)
        return Layout("ND", (stored.stop - stored.start,))

    def taken(self, rows: slice) -> Any:
        """Csr."""
        return self.matrix[rows]

    def batch(self, size: int) -> Batch:
        """Csr, without what is deleted."""
        return SparseBatch(self.columns, self.matrix.shape[1], self.matrix.dtype, [None] * size)

    def collected(self, states: Sequence[Array]) -> list[Any]:
        """Csr [N, V] for every state."""
        batch = self.batch(len(self))
        result = []
        for step in zip(*states, strict=True):
            for number, flat in enumerate(step):
                batch.put(number, number, flat)
            result.append(batch.first(len(self)))
        return result

    def relevance(self, relevance: Any, name: str, rows: slice) -> Sequence[Array]:
        """That of the features that are present."""
        matrix = self._checked(relevance, name)
        numbers = range(len(self))[rows]
        check_count(matrix, name, len(numbers))
        return [_entries(matrix, row, self.columns(number)) for row, number in enumerate(numbers)]

    def compared(self, first: Any, second: Any) -> Iterator[tuple[Array, Array]]:
        """One after the other: features that are present or have relevance."""
        one, other = (csr_matrix(self._checked(relevance, "relevance")) for relevance in (first, second))
        for number in range(len(self)):
            stored = (matrix.indices[matrix.indptr[number] : matrix.indptr[number + 1]] for matrix in (one, other))
            columns = np.unique(np.concatenate([self.columns(number), *stored]))
            yield _entries(one, number, columns)[np.newaxis], _entries(other, number, columns)[np.newaxis]

    def regions(self, number: int, region: Any, border: str) -> Regions:
        """Every feature that is present."""
        check_border(border)
        if region is not None and not (np.ndim(region) == 0 and region == 1):
            raise InputError(
                f"region={region!r}: every one of the {self.word} that a sample has is a region by itself; leave region out"
            )
        count = self.matrix.indptr[number + 1] - self.matrix.indptr[number]
        return Regions(np.arange(count), int(count), self.word)

    def filling(self, filling: Any) -> Filling:
        """Deletion, the only one."""
        return read_deletion(filling, self.word)

    def fingerprint(self) -> str:
        """Of type, shape, places and numbers."""
        return fingerprint(self.matrix)

    def together(self, count: int, batch_size: int) -> int:
        """No more than a batch: relevance may be dense, for absent features may have some."""
        return min(count, batch_size)

    def _stored(self, number: int) -> slice:
        return slice(int(self.matrix.indptr[number]), int(self.matrix.indptr[number + 1]))

    def _checked(self, relevance: Any, name: str) -> Any:
        matrix: Any = csr_matrix(relevance) if issparse(relevance) else np.asarray(relevance)
        numbers: Array = matrix.data if issparse(matrix) else matrix
        if numbers.dtype.kind not in "fiub":
            raise InputError(f"{name} is of type {numbers.dtype}, not of real numbers")
        if matrix.shape[1:] != self.matrix.shape[1:]:
            raise InputError(f"{name} has shape {list(matrix.shape)}, which does not fit inputs [N, {self.matrix.shape[1]}]")
        if not np.isfinite(numbers).all():
            raise InputError(f"{name} holds NaN or infinities, so there is no order by it")
        return matrix


def _entries(matrix: Any, row: int, columns: Array) -> Array:
    """Some numbers of a row, float64."""
    if not issparse(matrix):
        return np.asarray(matrix[row, columns], np.float64)
    # Of no columns, scipy makes a sparse matrix.
    return np.asarray(matrix[np.full(len(columns), row), columns], np.float64).ravel() if len(columns) else np.empty(0)
