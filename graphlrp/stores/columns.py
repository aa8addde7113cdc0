"""How what is kept of every sample lies in an HDF5 file: arrays of one shape, arrays of many shapes, sparse rows.

Every column holds one value per sample, is appended to, and read like an array along its first axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, issparse, vstack

from graphlrp.errors import InputError
from graphlrp.stores.precision import SCALED, checked, divided, multiplied, scales
from graphlrp.stores.rows import Rows, runs

Array = npt.NDArray[Any]

CHUNK = 1 << 16
"""Bytes of a chunk if samples are smaller; larger samples have a chunk each."""

ROWS = 1024
"""Samples of a chunk at most, so that those of single numbers are not mostly empty."""

FLAT = 1 << 14
"""Numbers of a chunk where samples of several sizes stand one behind the other, unless the first sample is larger."""

DENSELY = 4
"""Sparse rows are read in one go with those between them, if there are at most so many for each that is wanted."""

SCALE = ":scale"
"""Behind the name of a column, where its scales are; names of inputs have no colon, which is quoted."""


class Column(Protocol):
    """One value per sample."""

    def append(self, values: Any) -> None:
        """Add the values of further samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class Storage:
    """How numbers are kept.

    Attributes:
        dtype: of the values, None for their own.
        compression: what h5py takes: ``"gzip"``, ``"lzf"``, a level of gzip from 0 to 9, or None.
    """

    dtype: str | None = None
    compression: str | int | None = None
    filters: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        # Bytes of the same significance side by side are what compresses.
        filters = {} if self.compression is None else {"compression": self.compression, "shuffle": True}
        object.__setattr__(self, "filters", filters)

    def kept(self, values: Any) -> np.dtype[Any]:
        """The dtype that values are kept in."""
        return np.dtype(self.dtype) if self.dtype is not None else np.asarray(values).dtype


def create(parent: h5py.Group, name: str, values: Any, storage: Storage, *, ragged: bool = False) -> None:
    """Make an empty column.

    Args:
        parent: where.
        name: of the column.
        values: of some samples: an array [N, ...], a list of arrays, or a sparse matrix.
        storage: how numbers are kept.
        ragged: whether samples may have different shapes, though these do not.
    """
    scaled = False
    if isinstance(values, list) and isinstance(values[0], str):
        dataset = parent.create_dataset(name, (0,), h5py.string_dtype(), maxshape=(None,), chunks=(256,))
        _kind(dataset, "text")
    elif issparse(values):
        group = _kind(parent.create_group(name), "sparse")
        group.attrs["width"] = values.shape[1]
        scaled = _grow(group, "data", (), storage.kept(values.data), storage, FLAT)
        _grow(group, "indices", (), np.dtype(np.int64), storage, FLAT)
        _grow(group, "end", (), np.dtype(np.int64), Storage())
    elif isinstance(values, list) or ragged:
        first = np.asarray(values[0])
        group = _kind(parent.create_group(name), "ragged")
        scaled = _grow(group, "values", (), storage.kept(first), storage, max(first.size, FLAT))
        _grow(group, "shape", (first.ndim,), np.dtype(np.int64), Storage())
        _grow(group, "end", (), np.dtype(np.int64), Storage())
    else:
        array = np.asarray(values)
        scaled = _grow(parent, name, array.shape[1:], storage.kept(array), storage)
        _kind(parent[name], "dense")
    if scaled:
        _grow(parent, f"{name}{SCALE}", (), np.dtype(np.float32), Storage())


def column(parent: h5py.Group, name: str) -> Column:
    """A column that is there."""
    place = parent[name]
    scale = parent.get(f"{name}{SCALE}")
    kinds: dict[str, Callable[[Any, Any], Column]] = {"dense": Dense, "ragged": Ragged, "sparse": Sparse, "text": Text}
    return kinds[str(place.attrs["kind"])](place, scale)


def _kind(place: Any, kind: str) -> Any:
    place.attrs["kind"] = kind
    return place


def _grow(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], storage: Storage, rows: int = 0) -> bool:
    """Make an empty data set that grows along its first axis, by default a few samples a chunk; whether it is kept scaled."""
    size = max(prod(shape), 1) * dtype.itemsize
    rows = rows or max(1, min(CHUNK // size, ROWS))
    chunks = (rows, *(max(length, 1) for length in shape))
    group.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=chunks, **storage.filters)
    return dtype == SCALED


def extend(dataset: h5py.Dataset, values: Array) -> None:
    """Append rows to a data set."""
    start = dataset.shape[0]
    dataset.resize(start + len(values), axis=0)
    if values.size:
        dataset[start:] = values


class Dense(Rows):
    """Values of one shape, [N, ...].

    Attributes:
        dataset: of h5py; with ``scale``, values are ``dataset[k] * scale[k]``.
        scale: of h5py, float32 [N], or None.
    """

    def __init__(self, dataset: h5py.Dataset, scale: h5py.Dataset | None) -> None:
        self.dataset = dataset
        self.scale = scale

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...]."""
        return tuple(self.dataset.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what is read."""
        return np.dtype(np.float32) if self.scale is not None else self.dataset.dtype

    def __len__(self) -> int:
        return int(self.dataset.shape[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array: Array = self[:]
        return array if dtype is None else array.astype(dtype)

    def append(self, values: Any) -> None:
        """Add the values of further samples.

        Raises:
            InputError: they have another shape.
        """
        other = [np.shape(value) for value in values] if isinstance(values, list) else [np.shape(values)[1:]]
        wrong = next((shape for shape in other if shape != self.shape[1:]), None)
        if wrong is not None:
            raise InputError(
                f"{self.dataset.name} has samples of shape {list(self.shape[1:])}, now there is one of {list(wrong)}: give"
                " samples of several shapes as one list of arrays, or as batches that are lists"
            )
        values = np.asarray(values)
        if self.scale is None:
            extend(self.dataset, checked(values, self.dataset.dtype))
            return
        values = checked(values, np.dtype(np.float32))
        scale = scales(np.abs(values).reshape(len(values), -1).max(axis=1, initial=0))
        extend(self.scale, scale)
        extend(self.dataset, divided(values, scale))

    def __getitem__(self, key: Any) -> Array:
        key = key if isinstance(key, tuple) else (key,)
        first, rest = (key[0], key[1:]) if key else (slice(None), ())
        if first is Ellipsis and rest:
            first, rest = slice(None), key
        rows, single = self.chosen(first)
        read = self._read(rows, rest)
        return read[0] if single else read

    def _read(self, rows: Array, rest: tuple[Any, ...]) -> Array:
        wanted, places = np.unique(rows, return_inverse=True)
        if not len(wanted):
            return np.zeros((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        parts = [self.dataset[(slice(start, stop), *rest)] for start, stop in runs(wanted)]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self.scale is not None:
            values = multiplied(values, self.scale[:][wanted])
        ordered: Array = values if np.array_equal(wanted, rows) else values[places]
        return ordered


class _Pieces(Rows):
    """Values that differ in length, one behind the other; ``end`` says where each of them ends."""

    def __init__(self, group: h5py.Group, scale: h5py.Dataset | None) -> None:
        self.group = group
        self.scale = scale
        self._ends: Array = group["end"][:]

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what is read."""
        return np.dtype(np.float32) if self.scale is not None else self.group[self._values].dtype

    _values = ""

    def _place(self, row: int) -> slice:
        return slice(int(self._ends[row - 1]) if row else 0, int(self._ends[row]))

    def _append(self, flat: Array, lengths: Array) -> None:
        """Add samples whose values stand one behind the other."""
        dataset = self.group[self._values]
        ends = (self._ends[-1] if len(self._ends) else 0) + np.cumsum(lengths)
        if self.scale is None:
            extend(dataset, checked(flat, dataset.dtype))
        else:
            flat = checked(flat, np.dtype(np.float32))
            starts = np.cumsum(lengths) - lengths
            filled = lengths > 0
            largest = np.zeros(len(lengths), flat.dtype)
            largest[filled] = np.maximum.reduceat(np.abs(flat), starts[filled]) if filled.any() else 0
            scale = scales(largest)
            extend(self.scale, scale)
            extend(dataset, divided(flat, np.repeat(scale, lengths)))
        extend(self.group["end"], ends)
        self._ends = np.concatenate([self._ends, ends])

    def _read(self, row: int) -> Array:
        values: Array = self.group[self._values][self._place(row)]
        return values if self.scale is None else multiplied(values[np.newaxis], self.scale[row : row + 1])[0]


class Ragged(_Pieces):
    """Arrays of several shapes; a row is an array, several rows are a list of arrays."""

    _values = "values"

    @property
    def shapes(self) -> Array:
        """Shapes of all samples, int64 [N, axes]."""
        shapes: Array = self.group["shape"][:]
        return shapes

    def append(self, values: Sequence[Any]) -> None:
        """Add the values of further samples.

        Raises:
            InputError: they have another number of axes.
        """
        arrays = [np.asarray(value) for value in values]
        axes = self.group["shape"].shape[1]
        wrong = next((array for array in arrays if array.ndim != axes), None)
        if wrong is not None:
            raise InputError(f"{self.group.name} has samples of {axes} axes, now there is one of shape {list(wrong.shape)}")
        extend(self.group["shape"], np.array([array.shape for array in arrays], np.int64).reshape(-1, axes))
        self._append(np.concatenate([array.reshape(-1) for array in arrays]), np.array([array.size for array in arrays]))

    def __getitem__(self, key: Any) -> Any:
        rows, single = self.chosen(key)
        read = [self._read(row).reshape(self.group["shape"][row]) for row in rows.tolist()]
        return read[0] if single else read


class Sparse(_Pieces):
    """Sparse rows [N, D]; what is read is csr."""

    _values = "data"

    @property
    def shape(self) -> tuple[int, int]:
        """[N, D]."""
        return len(self), int(self.group.attrs["width"])

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    def append(self, values: Any) -> None:
        """Add further rows.

        Raises:
            InputError: they are not sparse, or of another width.
        """
        if not issparse(values) or values.shape[1] != self.shape[1]:
            raise InputError(f"{self.group.name} has sparse rows of {self.shape[1]} features, now there is {np.shape(values)}")
        rows = csr_matrix(values)
        extend(self.group["indices"], rows.indices.astype(np.int64))
        self._append(rows.data, np.diff(rows.indptr).astype(np.int64))

    def __getitem__(self, key: Any) -> csr_matrix:
        rows, _ = self.chosen(key)
        if not len(rows):
            return csr_matrix((0, self.shape[1]), dtype=self.dtype)
        first, last = int(rows.min()), int(rows.max())
        if last - first < DENSELY * len(rows):
            values = self._run(first, last + 1)
            return values if np.array_equal(rows, np.arange(first, last + 1)) else values[rows - first]
        wanted, places = np.unique(rows, return_inverse=True)
        values = vstack([self._run(start, stop) for start, stop in runs(wanted)], "csr")
        return values if np.array_equal(wanted, rows) else values[places]

    def _run(self, start: int, stop: int) -> csr_matrix:
        first, last = self._place(start).start, self._place(stop - 1).stop
        values = self.group["data"][first:last]
        indptr = np.r_[first, self._ends[start:stop]] - first
        if self.scale is not None:
            values = multiplied(values, np.repeat(self.scale[start:stop], np.diff(indptr)))
        return csr_matrix((values, self.group["indices"][first:last], indptr), (stop - start, self.shape[1]))


class Text(Rows):
    """Texts; a row is a string, several rows are a list of strings."""

    def __init__(self, dataset: h5py.Dataset, scale: h5py.Dataset | None) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return int(self.dataset.shape[0])

    def append(self, values: Any) -> None:
        """Add further texts."""
        extend(self.dataset, np.asarray(values, dtype=object))

    def __getitem__(self, key: Any) -> Any:
        rows, single = self.chosen(key)
        wanted, places = np.unique(rows, return_inverse=True)
        read = [text for start, stop in runs(wanted) for text in self.dataset.asstr()[start:stop]] if len(wanted) else []
        return read[0] if single else [read[place] for place in places]
