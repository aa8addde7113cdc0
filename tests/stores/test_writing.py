"""A store holds what explaining everything at once gives, however it comes about: in one go, in pieces, or interrupted."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.sparse import issparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp import stores
from graphlrp.explanation import Explanation
from graphlrp.stores.journal import JournaledFile, journal_of
from tests.stores.models import any_size, classifier, samples, score, segmentation, two_inputs

COUNT = 37
X = samples(COUNT, 2, 6, 6)
LABELS = np.random.default_rng(6).integers(0, 3, COUNT)
TEXTS = [f"{a} {b} and {a}{c}" for a in ("wheat", "bank", "rate") for b in ("falls", "rises", "stays") for c in "xyz"]


class InterruptionError(Exception):
    """What stops a data set in the middle."""


@pytest.fixture(scope="module")
def explainer() -> graphlrp.Explainer:
    return graphlrp.load(classifier(), "epsilon-plus", ledger=True)


def same(store: stores.Store, expected: Explanation, rows: Any = slice(None)) -> None:
    """Whether a store holds an explanation; batches of other sizes may round otherwise."""
    kept = store[rows]
    relevance = kept.relevance if isinstance(kept.relevance, dict) else {"": kept.relevance}
    wanted = expected.relevance if isinstance(expected.relevance, dict) else {"": expected.relevance}
    assert list(relevance) == list(wanted)
    for name, values in wanted.items():
        if isinstance(values, list):
            for one, other in zip(relevance[name], values, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        else:
            assert issparse(values) == issparse(relevance[name])
            dense = [part.toarray() if issparse(part) else part for part in (relevance[name], values)]
            np.testing.assert_allclose(*dense, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(kept.target, expected.target)
    np.testing.assert_allclose(kept.output, expected.output, rtol=1e-4, atol=1e-6)
    assert (kept.features, kept.classes, kept.initial) == (expected.features, expected.classes, expected.initial)


def content(path: Path) -> dict[str, Any]:
    """All that a file holds, but for when it was begun and its identity."""
    result: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: result.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        result["attributes"] = {name: value for name, value in file.attrs.items() if name != "identity"}
    metadata = json.loads(result.pop("metadata"))
    metadata.pop("begun")
    return result | {"metadata": metadata}


def equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_equal(value, other[name], err_msg=name)


# What is kept


def test_a_store_is_the_explanation_of_all(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    expected = explainer(X)
    with stores.write(tmp_path / "r.h5", explainer, X, labels=LABELS, batch_size=8) as store:
        same(store, expected)
        assert len(store) == COUNT and store.finished
        np.testing.assert_array_equal(store.prediction, expected.output.argmax(axis=1))
        np.testing.assert_array_equal(store.labels, LABELS)
        np.testing.assert_array_equal(store.index, np.arange(COUNT))
        assert store.conservation_error is not None and store.conservation_error.max() < 1e-4
        assert (store.relevance.shape, store.relevance.dtype) == (X.shape, np.float32)
        assert store.inputs == {} and store.texts is None
        assert store.plan == str(explainer.plan)
        assert store.composite == explainer.plan.composite
        assert store.metadata["settings"]["GraphLRP"] == graphlrp.__version__
        assert isinstance(store.relevance.dataset, h5py.Dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.h5"]


def test_a_plain_hdf5_reader_reads_it(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    path = tmp_path / "r.h5"
    stores.write(path, explainer, X, dtype="float16", keep_inputs=True).close()
    with h5py.File(path) as file:
        scale = file["relevance/x:scale"][:].reshape(-1, 1, 1, 1)
        assert file["relevance/x"].dtype == np.float16
        np.testing.assert_allclose(file["relevance/x"][:] * scale, explainer(X).relevance, rtol=2e-3, atol=1e-6)
        np.testing.assert_array_equal(file["inputs/x"][:], X)


def test_explanations_of_any_rows_are_drawn(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    model = graphlrp.load(any_size())
    pictures = [samples(1, 3, 8 + k, 9)[0] for k in range(4)]
    with stores.write(tmp_path / "r.h5", model, pictures, keep_inputs=True) as store:
        store[[2, 0]].save_image(tmp_path / "maps.png")
        store[1].save_image(tmp_path / "map.png")
        with pytest.raises(graphlrp.InputError, match="no sample 4"):
            store[4]
    assert (tmp_path / "maps.png").stat().st_size > (tmp_path / "map.png").stat().st_size > 1000


def test_batches_give_all_rows_in_order(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    with stores.write(tmp_path / "r.h5", explainer, X, LABELS) as store:
        rows, parts = zip(*store.batches(10), strict=True)
        assert [len(part) for part in rows] == [10, 10, 10, 7]
        np.testing.assert_array_equal(np.concatenate(rows), np.arange(COUNT))
        np.testing.assert_array_equal(np.concatenate([part.relevance for part in parts]), store.relevance[:])
        chosen = store.of_class(1)
        np.testing.assert_array_equal(chosen, np.flatnonzero(LABELS == 1))
        rows, parts = zip(*store.batches(4, chosen), strict=True)
        np.testing.assert_array_equal(np.concatenate(rows), chosen)
        np.testing.assert_array_equal(np.concatenate([part.relevance for part in parts]), store.relevance[chosen])
        np.testing.assert_array_equal(next(iter(store)).relevance, store.relevance[:1])
        with pytest.raises(graphlrp.InputError, match="at least 1 sample"):
            next(store.batches(0))


def test_several_inputs(tmp_path: Path) -> None:
    explainer = graphlrp.load(two_inputs(), "epsilon", bias="input")
    x = {"/left.1": samples(COUNT, 5), "right": samples(COUNT, 4)}
    with stores.write(tmp_path / "r.h5", explainer, x, keep_inputs=True, dtype="float16", batch_size=9) as store:
        expected = explainer(x)
        assert list(store.relevance) == ["/left.1", "right", "bias"]
        for name, values in expected.relevance.items():
            np.testing.assert_allclose(store.relevance[name][:], values, rtol=1e-3, atol=1e-5)
            assert store.relevance[name].shape == values.shape
        for name, values in x.items():
            np.testing.assert_array_equal(store.inputs[name][:], values)
        with pytest.raises(graphlrp.InputError, match="choose one"):
            stores.export_virelay(tmp_path / "v", store, X)


@pytest.mark.parametrize("model", [any_size, segmentation])
@pytest.mark.parametrize("given", ["list", "batches"])
def test_pictures_of_several_sizes(tmp_path: Path, model: Callable[[], bytes], given: str) -> None:
    explainer = graphlrp.load(model())
    # The first pictures are of one size, so nothing but what they come in tells that others will differ.
    pictures = [samples(1, 3, 8, 8, seed=k)[0] for k in range(5)] + [samples(1, 3, 7 + k, 9, seed=k)[0] for k in range(6)]
    x = pictures if given == "list" else (pictures[k : k + 3] for k in range(0, 11, 3))
    with stores.write(tmp_path / "r.h5", explainer, x, [k % 3 for k in range(11)], batch_size=2, keep_inputs=True) as store:
        for k, picture in enumerate(pictures):
            one = explainer(picture[None], k % 3)
            np.testing.assert_allclose(store.relevance[k], one.relevance[0], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(store.output[k], one.output[0], rtol=1e-4, atol=1e-6)
            np.testing.assert_array_equal(store.inputs["x"][k], picture)
            scores = one.output[0] if one.output.ndim == 2 else one.output[0].sum(axis=(1, 2))
            assert store.prediction[k] == scores.argmax()
        assert [part.shape for part in store.relevance[3:7]] == [picture.shape for picture in pictures[3:7]]
        assert [part.shape for part in store[3:7].relevance] == [picture.shape for picture in pictures[3:7]]


def test_batches_of_other_sizes_are_an_error(tmp_path: Path) -> None:
    explainer = graphlrp.load(any_size())
    with pytest.raises(graphlrp.InputError, match=r"samples of shape \[3, 8, 8\], now there is one of \[3, 9, 8\]: give samples"):
        stores.write(tmp_path / "r.h5", explainer, iter([samples(4, 3, 8, 8), samples(4, 3, 9, 8)]))
    with stores.read(tmp_path / "r.h5") as store:
        assert (len(store), store.finished) == (4, False)


def test_texts_are_sparse(tmp_path: Path) -> None:
    kinds = [text.split()[0] == "wheat" for text in TEXTS]
    explainer = graphlrp.load(make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(TEXTS, kinds))
    expected = explainer(TEXTS)
    for dtype in ("float32", "float16"):
        with stores.write(tmp_path / f"{dtype}.h5", explainer, TEXTS, batch_size=5, keep_inputs=True, dtype=dtype) as store:
            assert issparse(store.relevance[3:5]) and store.relevance.shape == expected.relevance.shape
            difference = abs(store.relevance[:] - expected.relevance).max()
            assert difference <= abs(expected.relevance).max() * (2**-11 if dtype == "float16" else 1e-6)
            assert store.texts is not None and store.texts[:] == TEXTS
            assert store.features == expected.features
            np.testing.assert_array_equal(store.prediction, expected.output > 0)
            np.testing.assert_array_equal(store.of_class("True", "prediction"), np.flatnonzero(kinds))
            counts = next(iter(store.inputs.values()))[:]
            assert abs(counts - next(iter(expected.inputs.values()))).max() == 0
            assert store[2].texts == [TEXTS[2]]


def test_what_has_no_classes_has_no_prediction(tmp_path: Path) -> None:
    with stores.write(tmp_path / "r.h5", graphlrp.load(score()), samples(5, 5)) as store:
        assert store.prediction is None and store.labels is None and store.classes is None and store.features is None
        with pytest.raises(graphlrp.InputError, match="has no prediction"):
            store.of_class(0, "prediction")


# Where it comes from


def loader(size: int, *, labelled: bool = False) -> Iterator[Any]:
    for start in range(0, COUNT, size):
        part = slice(start, start + size)
        yield (X[part], LABELS[part]) if labelled else X[part]


class Tensor:
    """As much of a tensor as a loader needs to yield."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape = values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> Tensor:
        return Tensor(self.values[key])

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return self.values


def test_all_kinds_of_data_sets_give_the_same_file(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = X
        memory = np.memmap(tmp_path / "x.bin", np.float32, "w+", shape=X.shape)
        memory[:] = X
        kinds = {
            "array": X,
            "list": list(X),
            "dictionary": {"x": X},
            "hdf5": file["x"],
            "memory map": memory,
            "batches": loader(8),
            "a tensor": Tensor(X),
            "tensors": (Tensor(batch) for batch in loader(8)),
        }
        for name, x in kinds.items():
            stores.write(tmp_path / f"{name}.h5", explainer, x, labels=LABELS, batch_size=8).close()
        pairs = ([Tensor(x), Tensor(labels)] for x, labels in loader(8, labelled=True))
        stores.write(tmp_path / "pairs.h5", explainer, pairs, batch_size=8).close()
    expected = content(tmp_path / "array.h5")
    for name in [*kinds, "pairs"]:
        equal(content(tmp_path / f"{name}.h5"), expected)


def test_only_a_batch_is_read_at_a_time(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    class Source:
        shape = X.shape

        def __getitem__(self, key: slice) -> np.ndarray:
            asked.append(key)
            return X[key]

    asked: list[slice] = []
    stores.write(tmp_path / "r.h5", explainer, Source(), batch_size=10).close()
    assert [(key.start, key.stop) for key in asked] == [(0, 10), (10, 20), (20, 30), (30, 40)]


def test_large_batches_are_divided(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    seen: list[tuple[int, int | None]] = []
    stores.write(tmp_path / "r.h5", explainer, loader(30), batch_size=8, progress=lambda *now: seen.append(now)).close()
    assert seen == [(8, None), (16, None), (24, None), (30, None), (37, None)]
    seen.clear()
    stores.write(tmp_path / "s.h5", explainer, X, batch_size=16, progress=lambda *now: seen.append(now)).close()
    assert seen == [(16, COUNT), (32, COUNT), (37, COUNT)]


@pytest.mark.parametrize(
    "x", [5, "text", iter([]), X[:0], [], iter([(X[:2], X[:2], X[:2])]), iter([(X[:2], LABELS[:3])]), {}], ids=range(8)
)
def test_what_is_no_data_set(tmp_path: Path, explainer: graphlrp.Explainer, x: Any) -> None:
    with pytest.raises(graphlrp.InputError, match=r"data set is|no samples|has to be a pair"):
        stores.write(tmp_path / "r.h5", explainer, x)
    assert list(tmp_path.iterdir()) == []


# Targets and labels

WEIGHTS = np.random.default_rng(7).normal(size=(COUNT, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("target", "given"),
    [
        (None, None),
        (2, 2),
        (LABELS, LABELS),
        (LABELS.tolist(), LABELS),
        (WEIGHTS, WEIGHTS),
        (WEIGHTS[0], WEIGHTS[0]),
        ("all", "all"),
        ("labels", LABELS),
        (lambda output: output.argsort(axis=1)[:, -2], "second"),
        (lambda output: (output > 0).astype(np.float32), "positive"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_targets(tmp_path: Path, explainer: graphlrp.Explainer, target: Any, given: Any) -> None:
    output = explainer.predict(X)
    if isinstance(given, str) and given != "all":
        given = output.argsort(axis=1)[:, -2] if given == "second" else (output > 0).astype(np.float32)
    for x, labels in ((X, LABELS), (loader(8, labelled=True), None)):
        with stores.write(tmp_path / "r.h5", explainer, x, target, labels=labels, batch_size=8, overwrite=True) as store:
            same(store, explainer(X, given))
            np.testing.assert_array_equal(store.prediction, output.argmax(axis=1))
            np.testing.assert_array_equal(store.labels, LABELS)


def test_selecting_classes(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    several = np.random.default_rng(8).random((COUNT, 3)) < 0.4
    with stores.write(tmp_path / "r.h5", explainer, X, 1, labels=several) as store:
        for c in range(3):
            np.testing.assert_array_equal(store.of_class(c), np.flatnonzero(several[:, c]))
            np.testing.assert_array_equal(store.of_class(c, "prediction"), np.flatnonzero(store.prediction == c))
        assert len(store.of_class(1, "target")) == COUNT and len(store.of_class(2, "target")) == 0
        for wrong, by, message in ((3, None, "no class 3"), ("cat", None, "no class 'cat'"), (0, "shape", "not by 'shape'")):
            with pytest.raises(graphlrp.InputError, match=message):
                store.of_class(wrong, by)
    with stores.write(tmp_path / "s.h5", explainer, X, WEIGHTS) as store, pytest.raises(graphlrp.InputError, match="weights"):
        store.of_class(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "labels"}, "needs a label"),
        ({"target": "label"}, "unknown target"),
        ({"target": LABELS[:9]}, "9 targets for 37"),
        ({"target": 3}, "out of range"),
        ({"labels": LABELS[:9]}, "labels: 9 for 37"),
        ({"labels": LABELS + 0.5}, "class indices"),
        ({"labels": ["cat"] * COUNT}, "class indices"),
        ({"labels": 1}, "labels: 1 for 37"),
        ({"index": LABELS}, "twice"),
        ({"index": np.arange(9)}, "index: 9 for 37"),
        ({"index": np.arange(COUNT) + 0.5}, "positions"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"compression": "zip"}, "unknown compression"),
        ({"compression": True}, "unknown compression"),
        ({"batch_size": 0}, "at least 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_options_that_are_wrong(tmp_path: Path, explainer: graphlrp.Explainer, options: Any, message: str) -> None:
    with pytest.raises(graphlrp.InputError, match=message):
        stores.write(tmp_path / "r.h5", explainer, X, **options)
    assert list(tmp_path.iterdir()) == []


def test_batches_have_labels_or_not(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    with pytest.raises(graphlrp.InputError, match="leave out labels="):
        stores.write(tmp_path / "r.h5", explainer, loader(8, labelled=True), labels=LABELS)
    mixed = iter([(X[:8], LABELS[:8]), X[8:16]])
    with pytest.raises(graphlrp.InputError, match="what others lack: label"):
        stores.write(tmp_path / "r.h5", explainer, mixed)
    for options, message in (
        ({"target": LABELS[:9]}, "9 targets"),
        ({"labels": LABELS[:9]}, "9 labels"),
        ({"index": [3]}, "1 pos"),
    ):
        with pytest.raises(graphlrp.InputError, match=f"{message}.*but there are more samples"):
            stores.write(tmp_path / "s.h5", explainer, loader(8), **options, overwrite=True)


def test_sources_are_kept(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    """Also where the data set is interrupted; a file that was begun without them says so."""
    names = [f"folder/ä {k}.png" for k in range(COUNT)]
    path = tmp_path / "store.h5"

    def interrupted() -> Iterator[np.ndarray]:
        yield X[:10]
        raise InterruptionError

    class Batches:
        def __init__(self, batches: Callable[[], Iterator[np.ndarray]]) -> None:
            self.batches = batches

        def __iter__(self) -> Iterator[np.ndarray]:
            return self.batches()

    with pytest.raises(InterruptionError):
        stores.write(path, explainer, Batches(interrupted), sources=names)
    with stores.write(path, explainer, Batches(lambda: iter(np.split(X, [10, 20]))), sources=names) as store:
        assert store.sources == names
    with pytest.raises(graphlrp.InputError, match="sources"):
        stores.write(path, explainer, X)
    with pytest.raises(graphlrp.InputError, match=f"36 texts for {COUNT} samples"):
        stores.write(tmp_path / "other.h5", explainer, X, sources=names[1:])
    with pytest.raises(graphlrp.InputError, match="more samples than the 36 sources"):
        stores.write(tmp_path / "other.h5", explainer, Batches(lambda: iter(np.split(X, [10, 20]))), sources=names[1:])
    with stores.write(tmp_path / "without.h5", explainer, X) as store:
        assert store.sources is None


def test_positions_are_kept(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    chosen = np.random.default_rng(9).permutation(100)[:COUNT]
    with stores.write(tmp_path / "r.h5", explainer, X, index=chosen) as store:
        np.testing.assert_array_equal(store.index, chosen)


# Going on


def interrupted(x: np.ndarray, stop: int, size: int = 8) -> Iterator[np.ndarray]:
    for start in range(0, stop, size):
        yield x[start : start + size]
    raise InterruptionError


@pytest.mark.parametrize("options", [{}, {"dtype": "float16", "compression": "gzip", "keep_inputs": True}], ids=str)
@pytest.mark.parametrize("stop", [8, 16, 32])
def test_an_unfinished_file_is_continued(
    tmp_path: Path, explainer: graphlrp.Explainer, stop: int, options: dict[str, Any]
) -> None:
    stores.write(tmp_path / "whole.h5", explainer, X, labels=LABELS, batch_size=8, **options).close()
    path = tmp_path / "r.h5"
    with pytest.raises(InterruptionError):
        stores.write(path, explainer, interrupted(X, stop), labels=LABELS, batch_size=8, **options)
    with stores.read(path) as store:
        assert (len(store), store.finished) == (stop, False)
        assert "unfinished" in repr(store)
    computed: list[int] = []
    original = explainer.__call__

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(explainer, name)

        def __call__(self, x: np.ndarray, *arguments: Any, **keywords: Any) -> Explanation:
            computed.append(len(x))
            return original(x, *arguments, **keywords)

    counting: Any = Counting()
    stores.write(path, counting, X, labels=LABELS, batch_size=8, **options).close()
    assert sum(computed) == COUNT - stop
    equal(content(path), content(tmp_path / "whole.h5"))
    # Complete, it is left as it is.
    before = path.read_bytes()
    computed.clear()
    stores.write(path, counting, X, labels=LABELS, batch_size=5, **options).close()
    assert computed == [] and path.read_bytes() == before


def test_batches_of_another_size_go_on_where_others_stopped(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    path = tmp_path / "r.h5"
    with pytest.raises(InterruptionError):
        stores.write(path, explainer, interrupted(X, 16))
    with stores.write(path, explainer, loader(11), batch_size=7) as store:
        same(store, explainer(X))
        np.testing.assert_array_equal(store.index, np.arange(COUNT))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model": classifier(1)}, "model was"),
        ({"composite": "epsilon"}, "composite was"),
        ({"bias": "distribute"}, "policies was"),
        ({"ledger": False}, "ledger was"),
        ({"dtype": "float16"}, "dtype was float32, now float16"),
        ({"compression": "lzf"}, "compression was"),
        ({"keep_inputs": True}, "inputs kept was false, now true"),
        ({"target": 1}, "target was the highest output, now class 1"),
        ({"target": lambda output: output.argmin(axis=1)}, "target was"),
        ({"labels": None}, "labels was true, now false"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_settings_are_named(tmp_path: Path, explainer: graphlrp.Explainer, changed: dict[str, Any], named: str) -> None:
    path = tmp_path / "r.h5"
    with pytest.raises(InterruptionError):
        stores.write(path, explainer, interrupted(X, 16), labels=LABELS)
    before = path.read_bytes()
    options = {"labels": LABELS} | {
        name: changed[name] for name in changed if name not in ("model", "composite", "bias", "ledger")
    }
    loading = {name: changed[name] for name in ("bias", "ledger") if name in changed}
    if set(changed) & {"model", "composite", "bias", "ledger"}:
        arguments = (changed.get("model", classifier()), changed.get("composite", "epsilon-plus"))
        explainer = graphlrp.load(*arguments, **{"ledger": True, **loading})
    with pytest.raises(graphlrp.InputError, match=f"other settings.*{named}.*overwrite=True to start over"):
        stores.write(path, explainer, X, **options)
    assert path.read_bytes() == before
    with stores.write(path, explainer, X, **options, overwrite=True) as store:
        assert len(store) == COUNT


@pytest.mark.parametrize("finished", [False, True])
def test_other_samples_are_an_error(tmp_path: Path, explainer: graphlrp.Explainer, finished: bool) -> None:
    path = tmp_path / "r.h5"
    if finished:
        stores.write(path, explainer, X, LABELS, labels=LABELS, index=LABELS + 3 * np.arange(COUNT)).close()
    else:
        with pytest.raises(InterruptionError):
            stores.write(path, explainer, interrupted(X, 32), LABELS, labels=LABELS, index=LABELS + 3 * np.arange(COUNT))
    before = path.read_bytes()
    other = {"x": X.copy(), "target": LABELS.copy(), "labels": LABELS.copy(), "index": LABELS + 3 * np.arange(COUNT)}
    stores.write(path, explainer, **other).close()
    path.write_bytes(before)
    for name, what in (
        ("x", "is not the one"),
        ("target", "another target"),
        ("labels", "another label"),
        ("index", "another index"),
    ):
        changed = {key: value.copy() for key, value in other.items()}
        changed[name][30] = changed[name][30] + 1 if name == "x" else 999 if name == "index" else (changed[name][30] + 1) % 3
        with pytest.raises(graphlrp.InputError, match=f"sample 30 (is not|has) .*{what.split()[-1]}"):
            stores.write(path, explainer, **changed)
        assert path.read_bytes() == before


def test_other_lengths_are_an_error(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    path = tmp_path / "r.h5"
    stores.write(path, explainer, X[:30], batch_size=8).close()
    with pytest.raises(graphlrp.InputError, match="complete with 30 samples, but the data set has more"):
        stores.write(path, explainer, X, batch_size=8)
    with pytest.raises(graphlrp.InputError, match="has 30 samples, but the data set only 20"):
        stores.write(path, explainer, X[:20], batch_size=8)
    with stores.read(path) as store:
        assert len(store) == 30


# What may go wrong


def test_places_that_cannot_be_written_to(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    def computed(*arguments: object) -> None:
        raise AssertionError("nothing should have been computed")

    class Source:
        shape = X.shape
        __getitem__ = computed

    (tmp_path / "folder").mkdir()
    (tmp_path / "text.h5").write_text("no HDF5 file")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = X
    for name, message in (
        ("missing/r.h5", r"cannot write .*missing/r.h5: No such file"),
        ("folder", "cannot write .*folder: Is a directory"),
        ("text.h5", "no HDF5 file.*overwrite=True"),
        ("other.h5", "holds no relevance"),
    ):
        before = (tmp_path / name).read_bytes() if (tmp_path / name).is_file() else None
        with pytest.raises(graphlrp.InputError, match=message):
            stores.write(tmp_path / name, explainer, X)
        assert before is None or (tmp_path / name).read_bytes() == before
    with pytest.raises(graphlrp.InputError, match="No such file"):
        stores.write(tmp_path / "missing/r.h5", explainer, Source())


def test_files_that_cannot_be_read(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    path = tmp_path / "r.h5"
    with pytest.raises(graphlrp.InputError, match="no such file"):
        stores.read(path)
    path.write_text("no HDF5 file")
    with pytest.raises(graphlrp.InputError, match="is no HDF5 file"):
        stores.read(path)
    with h5py.File(path, "w") as file:
        file["x"] = X
    with pytest.raises(graphlrp.InputError, match="holds no relevance"):
        stores.read(path)
    stores.write(path, explainer, X, overwrite=True).close()
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(graphlrp.InputError, match="version 2"):
        stores.read(path)


def test_a_journal_of_another_file_is_not_applied(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    path = tmp_path / "r.h5"
    stores.write(path, explainer, X).close()
    before = path.read_bytes()
    with JournaledFile(path) as file:
        file.identity = b"another identity"
        file.seek(0)
        file.write(b"x" * 100)
        record = file._record()
    journal_of(path).write_bytes(record)
    for function in (lambda: stores.read(path), lambda: stores.write(path, explainer, X)):
        with pytest.raises(graphlrp.InputError, match="does not belong to"):
            function()
        assert path.read_bytes() == before
    stores.write(path, explainer, X, overwrite=True).close()
    assert not journal_of(path).exists()


def test_two_writers_do_not_get_into_each_others_way(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    path = tmp_path / "r.h5"

    def batches() -> Iterator[np.ndarray]:
        yield X[:8]
        for overwrite in (False, True):
            with pytest.raises(graphlrp.InputError, match="in use"):
                stores.write(path, explainer, X, overwrite=overwrite)
        with pytest.raises(graphlrp.InputError, match="in use"):
            stores.read(path)
        yield X[8:]

    with stores.write(path, explainer, batches()) as store:
        same(store, explainer(X))


def test_two_writers_that_begin_at_once(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    path = tmp_path / "r.h5"

    def batches() -> Iterator[np.ndarray]:
        yield X[:8]
        yield X[8:]

    def second(output: np.ndarray) -> np.ndarray:
        if not path.exists():
            stores.write(path, explainer, batches()).close()
        return output.argmax(axis=1)

    with pytest.raises(graphlrp.InputError, match="another process has just begun it"):
        stores.write(path, explainer, batches(), second)
    with stores.read(path) as store:
        assert len(store) == COUNT


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    import resource

    path = tmp_path / "r.h5"
    many = samples(600, 2, 6, 6)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (3000, 150_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            with pytest.raises(graphlrp.InputError, match=f"cannot write .*r.h5: {os.strerror(errno.EFBIG)}") as caught:
                stores.write(path, explainer, many, batch_size=8)
            assert "\n" not in str(caught.value)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert path.exists() == (limit > 3000)
            assert {entry.name for entry in tmp_path.iterdir()} <= {"r.h5"}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    with stores.read(path) as store:
        done = len(store)
        assert 8 <= done < 600 and done % 8 == 0
        assert f"the {done} samples before are safe" in str(caught.value)
        same(store, explainer(many[:done]))
    with stores.write(path, explainer, many, batch_size=8) as store:
        same(store, explainer(many))


def test_ctrl_c_between_batches_loses_nothing(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    path = tmp_path / "r.h5"

    def stop(done: int, total: int | None) -> None:
        if done == 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stores.write(path, explainer, X, batch_size=8, progress=stop)
    with stores.read(path) as store:
        assert len(store) == 24
    with stores.write(path, explainer, X, batch_size=8) as store:
        same(store, explainer(X))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send itself SIGINT")
def test_ctrl_c_while_hdf5_writes_waits_for_the_commit(
    tmp_path: Path, explainer: graphlrp.Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.h5"
    original = JournaledFile.write
    calls: list[int] = []

    def write(self: JournaledFile, data: Any) -> int:
        calls.append(1)
        if len(calls) == 40:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, data)

    monkeypatch.setattr(JournaledFile, "write", write)
    with pytest.raises(KeyboardInterrupt):
        stores.write(path, explainer, X, batch_size=2)
    assert len(calls) >= 40
    monkeypatch.undo()
    with stores.read(path) as store:
        done = len(store)
        assert 0 < done < COUNT and done % 2 == 0
    with stores.write(path, explainer, X, batch_size=2) as store:
        same(store, explainer(X))


def test_other_threads_write_and_read(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(stores.write, tmp_path / f"{k}.h5", explainer, X, k, batch_size=4) for k in range(3)]
        for k, job in enumerate(jobs):
            with job.result() as store:
                same(store, explainer(X, k))


def test_the_digest_of_a_model_is_that_of_its_content(tmp_path: Path) -> None:
    digests = []
    for seed in (0, 0, 1):
        path = tmp_path / f"{len(digests)}.h5"
        with stores.write(path, graphlrp.load(classifier(seed)), X[:2]) as store:
            digests.append(store.metadata["settings"]["model"])
    assert digests[0] == digests[1] != digests[2]
    assert all(len(digest) == 64 for digest in digests)
