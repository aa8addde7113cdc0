"""Columns are what lists of the same values are, whatever is appended and however it is sliced."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.sparse import csr_matrix, issparse
from scipy.sparse import random as random_sparse

from graphlrp.errors import InputError
from graphlrp.stores.columns import Storage, column, create

COUNT = 23
KEYS: list[Any] = [
    slice(None),
    slice(3, 9),
    slice(20, 99),
    slice(None, None, 5),
    slice(None, None, -1),
    slice(7, 7),
    0,
    -1,
    np.int64(5),
    [4],
    [9, 2, 2, 21, -1],
    np.array([], int),
    np.arange(COUNT) % 3 == 1,
]


def values_of(kind: str, generator: np.random.Generator) -> Any:
    if kind == "dense":
        return generator.normal(size=(COUNT, 2, 3)).astype(np.float32)
    if kind == "numbers":
        return generator.integers(0, 9, COUNT)
    if kind == "ragged":
        return [generator.normal(size=(2, h, w)).astype(np.float32) for h, w in generator.integers(0, 5, (COUNT, 2))]
    if kind == "sparse":
        return random_sparse(COUNT, 11, 0.3, "csr", np.float32, random_state=0)
    return [f"text {k} – ü" for k in range(COUNT)]


def filled(file: h5py.File, name: str, values: Any, storage: Storage, *, cuts: tuple[int, ...] = (0, 1, 8, 8, 15, COUNT)) -> Any:
    """A column, appended to in several parts."""
    create(file, name, values[:2], storage)
    place = column(file, name)
    for start, stop in itertools.pairwise(cuts):
        if stop > start:
            place.append(values[start:stop])
    return column(file, name)


def rows_of(key: Any) -> list[int]:
    return np.atleast_1d(np.arange(COUNT)[key]).tolist()


@pytest.mark.parametrize("compression", [None, "gzip", "lzf", 0])
@pytest.mark.parametrize("kind", ["dense", "numbers", "ragged", "sparse", "text"])
def test_any_rows_are_those_that_were_appended(tmp_path: Path, kind: str, compression: Any) -> None:
    values = values_of(kind, np.random.default_rng(0))
    with h5py.File(tmp_path / "file.h5", "w") as file:
        place = filled(file, "x", values, Storage(None, compression))
        assert len(place) == COUNT
        for key in KEYS:
            read, rows = place[key], rows_of(key)
            single = np.ndim(key) == 0 and not isinstance(key, slice)
            if kind == "sparse":
                assert issparse(read) and read.shape == (len(rows), 11)
                np.testing.assert_array_equal(read.toarray(), values[rows].toarray())
            elif single:
                np.testing.assert_array_equal(read, values[rows[0]])
            else:
                assert len(read) == len(rows)
                for one, row in zip(read, rows, strict=True):
                    np.testing.assert_array_equal(one, values[row])


def test_further_axes_are_sliced_in_the_file(tmp_path: Path) -> None:
    values = values_of("dense", np.random.default_rng(1))
    with h5py.File(tmp_path / "file.h5", "w") as file:
        place = filled(file, "x", values, Storage())
        for key in (np.s_[:, 1], np.s_[2, 1], np.s_[3:9, :, 1:], np.s_[..., 0], np.s_[[5, 2], 0], np.s_[...], np.s_[..., 1, 2]):
            np.testing.assert_array_equal(place[key], values[key])
        assert (place.shape, place.ndim, place.dtype) == (values.shape, 3, np.float32)
        np.testing.assert_array_equal(np.asarray(place), values)
        assert np.asarray(place, np.float64).dtype == np.float64


@pytest.mark.parametrize("key", [COUNT, -COUNT - 1, [0, COUNT], 1.5, "name", np.ones(COUNT - 1, bool), [[1, 2], [3, 4]], None])
def test_rows_that_are_not_there_are_errors(tmp_path: Path, key: Any) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        for kind in ("dense", "ragged", "sparse", "text"):
            place = filled(file, kind, values_of(kind, np.random.default_rng(2)), Storage())
            with pytest.raises(InputError, match=r"no sample|chosen by|mask"):
                place[key]


@pytest.mark.parametrize("kind", ["dense", "ragged", "sparse"])
@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e-8, 1.0, 1e6, 1e30, 3e38])
def test_half_precision_keeps_eleven_bits_of_any_map(tmp_path: Path, kind: str, size: float) -> None:
    generator = np.random.default_rng(3)
    maps = np.exp(generator.normal(-3, 4, (COUNT, 60))) * generator.choice([-1, 1], (COUNT, 60))
    # Every map has a largest value of its own, up to that size.
    maps *= size * np.logspace(-5, 0, COUNT)[:, None] / np.abs(maps).max(axis=1, keepdims=True)
    maps[4] = 0
    maps = maps.astype(np.float32)
    values: Any = {"dense": maps, "ragged": [row[: 3 + k] for k, row in enumerate(maps)], "sparse": csr_matrix(maps)}[kind]
    with h5py.File(tmp_path / "file.h5", "w") as file:
        place = filled(file, "x", values, Storage("float16"))
        assert place.dtype == np.float32
        scale = file["x:scale"][:]
        read = place[:].toarray() if kind == "sparse" else place[:]
        for row, (one, kept) in enumerate(zip(values.toarray() if kind == "sparse" else values, read, strict=True)):
            assert kept.dtype == np.float32
            exact, largest = one.astype(np.float64), float(np.abs(one).max())
            assert np.log2(float(scale[row])) % 1 == 0
            assert largest == 0 or largest < 2**15 * float(scale[row])
            # Below 2**-111 scales end, and with them the relative precision of small maps.
            step = max(largest * 2.0**-39, 2.0**-151)
            assert (np.abs(kept - exact) <= np.maximum(np.abs(exact) * 2.0**-11, step)).all()
        assert not read[4].any()


def test_numbers_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    values = np.full((3, 2), 1e300)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        for dtype in ("float32", "float16"):
            create(file, dtype, values, Storage(dtype))
            with pytest.raises(InputError, match="too large for float32"):
                column(file, dtype).append(values)
        create(file, "float64", values, Storage("float64"))
        place = column(file, "float64")
        place.append(values)
        np.testing.assert_array_equal(place[:], values)


def test_samples_of_another_shape_are_errors(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        dense = filled(file, "dense", values_of("dense", generator), Storage())
        with pytest.raises(InputError, match=r"samples of shape \[2, 3\], now there is one of \[3, 2\].*list"):
            dense.append(np.zeros((4, 3, 2), np.float32))
        with pytest.raises(InputError, match=r"now there is one of \[2, 4\]"):
            dense.append([np.zeros((2, 3)), np.zeros((2, 4))])
        ragged = filled(file, "ragged", values_of("ragged", generator), Storage())
        with pytest.raises(InputError, match="3 axes, now there is one of shape"):
            ragged.append([np.zeros((2, 3))])
        sparse = filled(file, "sparse", values_of("sparse", generator), Storage())
        with pytest.raises(InputError, match="sparse rows of 11 features"):
            sparse.append(csr_matrix((2, 10)))
        with pytest.raises(InputError, match="sparse rows of 11 features"):
            sparse.append(np.zeros((2, 11)))


def test_ragged_columns_know_their_shapes(tmp_path: Path) -> None:
    values = values_of("ragged", np.random.default_rng(5))
    with h5py.File(tmp_path / "file.h5", "w") as file:
        place = filled(file, "x", values, Storage())
        assert place.shapes.tolist() == [list(value.shape) for value in values]


def test_chunks_hold_whole_samples(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "file.h5", "w") as file:
        for name, shape in (("small", (2, 3)), ("middle", (3, 32, 32)), ("large", (3, 224, 224))):
            create(file, name, np.zeros((1, *shape), np.float32), Storage("float32"))
            chunk = file[name].chunks
            assert chunk[1:] == shape
            assert chunk[0] == 1 or chunk[0] * np.prod(shape) * 4 <= 1 << 16
