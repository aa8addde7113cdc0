"""Any data set as pieces of at most so many samples: what lies in memory or on disk is sliced, the rest comes in batches."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, issparse

from graphlrp.adapters.tensors import is_tensor, to_array
from graphlrp.errors import InputError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Piece:
    """Some samples that follow each other.

    Attributes:
        start: position of the first one.
        x: what the explainer takes.
        labels: what the batch brought along, None if it was samples only.
        ragged: whether samples of the data set may differ in shape.
    """

    start: int
    x: Any
    labels: Array | None = None
    ragged: bool = False

    def __len__(self) -> int:
        return size(self.x)

    @property
    def stop(self) -> int:
        """Position behind the last one."""
        return self.start + len(self)

    def behind(self, position: int) -> Piece:
        """The samples from a position on."""
        skipped = max(0, position - self.start)
        labels = None if self.labels is None else self.labels[skipped:]
        return Piece(self.start + skipped, part(self.x, skipped, len(self)), labels, self.ragged)

    def checksums(self) -> Array:
        """A number of every sample that tells it from others, uint32 [n]."""
        columns = self.x.values() if isinstance(self.x, Mapping) else [self.x]
        sums = np.zeros(len(self), np.uint32)
        for values in columns:
            for row, value in enumerate(_rows(values)):
                sums[row] = zlib.crc32(value, int(sums[row]))
        return sums


def pieces(x: Any, limit: int) -> Iterator[Piece]:
    """All samples in order, at most ``limit`` at a time.

    Args:
        x: what an explainer takes, or anything with a shape that is sliced like an array; or batches: any other iterable of
            arrays, tensors, lists of arrays of several shapes, lists of texts, or dictionaries of arrays. A batch may be a pair
            (samples, labels), with labels int [n] or bool [n, C].
        limit: samples of a piece.

    Raises:
        InputError: it is none of these.
    """
    start = 0
    if count(x) is not None:
        ragged = _ragged(x)
        for first in range(0, size(x), limit):
            yield Piece(first, part(x, first, first + limit), None, ragged)
        return
    if isinstance(x, (str, bytes)) or not hasattr(x, "__iter__"):
        raise InputError(f"a data set is an array, a list of samples or an iterable of batches, not {type(x).__name__}")
    for batch in x:
        samples, labels = _parted(batch)
        length = size(samples)
        ragged = isinstance(samples, list) and is_array(samples[0])
        for first in range(0, length, limit):
            own = None if labels is None else labels[first : first + limit]
            yield Piece(start + first, part(samples, first, first + limit), own, ragged)
        start += length


def count(x: Any) -> int | None:
    """How many samples a data set has, None if only reading its batches tells."""
    if isinstance(x, Mapping) or issparse(x) or isinstance(x, (list, tuple)) or hasattr(x, "iloc"):
        return size(x)
    return size(x) if hasattr(x, "shape") and hasattr(x, "__getitem__") else None


def size(x: Any) -> int:
    """Number of samples of what an explainer takes."""
    if isinstance(x, Mapping):
        return size(next(iter(x.values()))) if x else 0
    return int(x.shape[0]) if hasattr(x, "shape") and len(x.shape) else len(x)


def part(x: Any, start: int, stop: int) -> Any:
    """Some samples of what an explainer takes, as arrays where they are tensors."""
    if isinstance(x, Mapping):
        return {name: part(values, start, stop) for name, values in x.items()}
    if hasattr(x, "iloc"):
        return x.iloc[start:stop]
    if issparse(x):
        return csr_matrix(x)[start:stop]
    if isinstance(x, (list, tuple)):
        return [to_array(value) if is_tensor(value) else value for value in x[start:stop]]
    return to_array(x[start:stop])


def is_array(value: Any) -> bool:
    """Whether something is an array or a tensor."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def _ragged(x: Any) -> bool:
    return isinstance(x, (list, tuple)) and len({tuple(value.shape) for value in x if is_array(value)}) > 1


def _parted(batch: Any) -> tuple[Any, Array | None]:
    """Samples and labels of a batch."""
    if isinstance(batch, (list, tuple)) and len(batch) == 2 and is_array(batch[1]):
        labels = to_array(batch[1])
        fits = (labels.ndim == 1 and labels.dtype.kind in "iu") or (labels.ndim == 2 and labels.dtype == bool)
        if fits and size(batch[0]) == len(labels):
            return batch[0], labels
    if isinstance(batch, tuple):
        raise InputError(
            "a batch that is a tuple has to be a pair (samples, labels), labels int [n] or bool [n, C]: give samples of several"
            " shapes as a list, several inputs as a dictionary"
        )
    return batch, None


def _rows(values: Any) -> Iterator[bytes]:
    """What every sample is made of."""
    if issparse(values):
        rows = csr_matrix(values)
        for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
            yield rows.indices[start:stop].astype(np.int64).tobytes() + rows.data[start:stop].tobytes()
        return
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    for value in values:
        if isinstance(value, (str, bytes)):
            yield value.encode() if isinstance(value, str) else value
        elif isinstance(value, np.ndarray) and value.dtype == object:
            yield repr(value.tolist()).encode()
        else:
            yield np.ascontiguousarray(value).tobytes()
