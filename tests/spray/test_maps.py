"""Relevance in all its forms gives the same features."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from graphlrp import Explanation, InputError, RelevanceWarning, spray
from graphlrp.spray import maps
from graphlrp.spray.maps import map_at

GENERATOR = np.random.default_rng(0)
MAPS = GENERATOR.normal(size=(11, 3, 12, 10))
STEP = spray.SumPool(4)
EXPECTED = np.stack([STEP(one.sum(axis=0)[None]).ravel() for one in MAPS])


def explanation(relevance, layout=None) -> Explanation:
    return Explanation(relevance, np.zeros(11), np.zeros(11, int), {}, None, None, {}, {}, layout=layout)


@pytest.mark.parametrize("portion", [1, 5000, 1 << 25])
def test_forms(portion: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(maps, "PORTION", portion)
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        stored = file.create_dataset("relevance", data=MAPS)
        last = np.moveaxis(MAPS, 1, -1)
        forms = [
            MAPS,
            MAPS.sum(axis=1),
            list(MAPS),
            tuple(MAPS.sum(axis=1)),
            stored,
            (MAPS[start : start + 4] for start in range(0, 11, 4)),
            iter([list(MAPS[:3]), MAPS[3:]]),
            explanation(MAPS),
            explanation(list(MAPS)),
            explanation(last, "NHWC"),
        ]
        for form in forms:
            found = spray.read_features(form, STEP)
            np.testing.assert_allclose(found.values, EXPECTED)
            assert found.shape == (4, 4)
            np.testing.assert_array_equal(found.index, np.arange(11))
        np.testing.assert_allclose(spray.read_features(last, STEP, layout="NHWC").values, EXPECTED)
        # Some of them.
        wanted = [7, 0, 3]
        mask = np.isin(np.arange(11), wanted)
        for form in (MAPS, list(MAPS), stored, iter([MAPS[:4], MAPS[4:]])):
            found = spray.read_features(form, STEP, index=wanted if isinstance(form, list) else mask)
            np.testing.assert_array_equal(found.index, [0, 3, 7])
            np.testing.assert_allclose(found.values, EXPECTED[[0, 3, 7]])
        np.testing.assert_array_equal(map_at(stored, 5), MAPS[5].sum(axis=0))
        np.testing.assert_array_equal(map_at(list(MAPS), 5), MAPS[5].sum(axis=0))
        np.testing.assert_array_equal(map_at(explanation(last, "NHWC"), 5), MAPS[5].sum(axis=0))


def test_maps_of_different_sizes_and_vectors() -> None:
    different = [GENERATOR.normal(size=(3, 5 + n, 30 - n)) for n in range(6)]
    found = spray.read_features(different, STEP)
    for row, one in zip(found.values, different, strict=True):
        np.testing.assert_allclose(row, STEP(one.sum(axis=0)[None]).ravel())
    vectors = GENERATOR.normal(size=(6, 9))
    found = spray.read_features(vectors)
    np.testing.assert_array_equal(found.values, vectors)
    assert (found.shape, found.step) == ((9,), spray.Identity())
    assert spray.read_features(vectors.astype(np.float16)).values.dtype == np.float32
    np.testing.assert_array_equal(spray.read_features(list(vectors)).values, vectors)


def test_a_file_is_read_in_portions(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        stored = file.create_dataset("relevance", (600, 200, 200), np.float32, chunks=(20, 200, 200))
        stored[::50] = 1.0
        stored[7] = 2.0
        tracemalloc.start()
        with pytest.warns(RelevanceWarning):
            spray.read_features(stored)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # All of it would be 96 MB, or 192 MB in float64.
    assert peak < 110e6


def test_maps_without_relevance() -> None:
    some = MAPS.copy()
    some[[2, 5]] = 0
    with pytest.warns(RelevanceWarning, match="2 of 11 maps have no relevance at all, the first is 2"):
        spray.read_features(some)
    with pytest.raises(InputError, match="none of the maps has any relevance"):
        spray.read_features(np.zeros((5, 4, 4)))
    with pytest.raises(InputError, match="all maps are equal"):
        spray.read_features(np.ones((5, 4, 4)))


NAN = MAPS.copy()
NAN[6, 0, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        (NAN, {}, "map 6 holds NaN or infinite relevance; leave it out"),
        (MAPS, {"preprocess": lambda stack: stack * np.inf}, "after preprocessing"),
        ([], {}, "no relevance maps"),
        (iter([]), {}, "no relevance maps"),
        (np.zeros((0, 3, 3)), {}, "no relevance maps"),
        (np.zeros(7), {}, "one map is not enough"),
        (3, {}, "not a int"),
        ("maps.h5", {}, "not a str"),
        ({"image": MAPS}, {}, "not a dict"),
        (np.zeros((3, 2, 0, 4)), {}, "no elements"),
        (np.zeros((3, 2, 2, 2, 2)), {}, r"\[N, C, H, W\]"),
        (np.array([["a", "b"]]), {}, "real numbers"),
        (MAPS.astype(complex), {}, "real numbers"),
        (np.zeros((5, 32, 32, 3)), {}, "layout='NHWC'"),
        ([MAPS[0], MAPS[1, :1]], {}, "map 1 has 1 channel, those before it 3 channels"),
        ([MAPS[0], MAPS[1, 0]], {}, "map 1 has no channels, those before it 3 channels"),
        ([np.zeros(3), np.zeros(4)], {}, "map 1 has 4 numbers, those before it 3 numbers"),
        ([np.ones((3, 4)), np.ones((4, 4))], {"preprocess": spray.Identity()}, "map 1 becomes"),
        (iter([np.ones(4)]), {}, "batches"),
        (MAPS, {"preprocess": lambda stack: stack.sum(axis=0)}, "the first axis must stay"),
        (MAPS, {"preprocess": lambda stack: stack[:, :0]}, "leaves nothing"),
        (MAPS, {"index": [3, 3]}, "twice"),
        (MAPS, {"index": [3, 11]}, "position 11 is out of range"),
        (iter([MAPS]), {"index": [3, 11]}, "position 11 is out of range"),
        (MAPS, {"index": []}, "list of positions"),
        (MAPS, {"index": np.zeros(11, bool)}, "index is empty"),
        (MAPS, {"index": [-1]}, "negative"),
        (MAPS, {"index": 3}, "list of positions"),
        (MAPS, {"layout": "HWNC"}, "unknown layout"),
        (MAPS, {"layout": "NHW"}, r"shape \[3, 12, 10\]"),
    ],
)
def test_errors(form, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spray.read_features(form, **options)


def test_an_iterator_has_no_map_at_a_position() -> None:
    with pytest.raises(InputError, match="read only once"):
        map_at(iter([MAPS]), 0)
    with pytest.raises(InputError, match="map 6 holds NaN"):
        map_at(NAN, 6)


class Ragged:
    """As a store of maps of several sizes: it has a length and rows, and is no list."""

    def __init__(self, rows: list[np.ndarray]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.rows[row]


def test_what_has_rows_is_read_like_a_list() -> None:
    different = [GENERATOR.normal(size=(3, 5 + n, 30 - n)) for n in range(6)]
    found = spray.read_features(Ragged(different), STEP, index=[1, 4])
    np.testing.assert_array_equal(found.values, spray.read_features(different, STEP).values[[1, 4]])
    np.testing.assert_array_equal(map_at(Ragged(different), 2), different[2].sum(axis=0))


def test_only_explanations_are_unpacked() -> None:
    with pytest.raises(InputError, match="not a SimpleNamespace"):
        spray.read_features(SimpleNamespace(relevance=MAPS))
