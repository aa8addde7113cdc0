"""Sparse relevance gives the numbers of dense relevance, and is never made dense."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import coo_array, csc_matrix, csr_array, csr_matrix, issparse, vstack
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp import Explanation, InputError, RelevanceWarning, spray, stores
from graphlrp.spray import maps, search
from graphlrp.spray.maps import map_at
from graphlrp.spray.search import nearest_sparse
from graphlrp.spray.sparse import all_equal, as_rows, away_from_mean


def planted(count: int = 150, width: int = 400, seed: int = 0) -> tuple[csr_matrix, np.ndarray]:
    """Rows of a few terms of 400; a fifth have most of their relevance on term 7."""
    generator = np.random.default_rng(seed)
    dense = np.where(generator.random((count, width)) < 0.03, generator.normal(0.3, 0.3, (count, width)), 0.0)
    dense[:, 7] = 0.0
    marked = generator.random(count) < 0.2
    dense[marked] *= 0.5
    dense[marked, 7] = generator.normal(2.5, 0.1, marked.sum())
    return csr_matrix(dense), marked


ROWS, MARKED = planted()
DENSE = ROWS.toarray()


def explanation(relevance, features: list[str] | None = None) -> Explanation:
    count = relevance.shape[0]
    return Explanation(relevance, np.zeros(count), np.zeros(count, int), {}, None, None, {}, {}, features=features)


class Column:
    """As a sparse column of a store: it has a shape, and slices are csr."""

    def __init__(self, rows: csr_matrix) -> None:
        self.rows, self.shape = rows, rows.shape
        self.asked: list[int] = []

    def __getitem__(self, key):
        part = self.rows[[key] if isinstance(key, int) else key]
        self.asked.append(part.shape[0])
        return part


def drawn(count: int, width: int, stored: int) -> csr_matrix:
    """Rows of so many numbers at any columns."""
    generator = np.random.default_rng(0)
    columns = generator.integers(0, width, (count, stored))
    return csr_matrix((generator.normal(size=columns.size), columns.ravel(), np.arange(count + 1) * stored), (count, width))


def with_duplicates() -> csr_matrix:
    """The same rows with every number in two parts, columns in disorder, and zeros that are stored."""
    rows = ROWS.copy()
    indptr = np.concatenate([[0], np.cumsum(2 * np.diff(rows.indptr) + 1)])
    indices, data = [], []
    for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        own, values = rows.indices[start:stop][::-1], rows.data[start:stop][::-1]
        indices += [own, own, [0]]
        data += [0.25 * values, 0.75 * values, [0.0]]
    return csr_matrix((np.concatenate(data), np.concatenate(indices), indptr), rows.shape)


@pytest.mark.parametrize("portion", [1, 20_000, 1 << 25])
def test_forms(portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "PORTION", portion)
    forms = [
        ROWS,
        csr_array(ROWS),
        csc_matrix(ROWS),
        coo_array(ROWS),
        with_duplicates(),
        explanation(ROWS),
        Column(ROWS),
        (ROWS[start : start + 40] for start in range(0, 150, 40)),
        iter([explanation(ROWS[:60]), csr_array(ROWS[60:])]),
        [ROWS[k] for k in range(150)],
    ]
    for form in forms:
        found = spray.read_features(form)
        assert isinstance(found.values, csr_array) and found.values.has_canonical_format
        np.testing.assert_allclose(found.values.toarray(), DENSE, rtol=1e-15)
        assert (found.shape, found.step) == ((400,), spray.Identity())
        np.testing.assert_array_equal(found.index, np.arange(150))
    wanted = [70, 3, 141]
    for form in (ROWS, Column(ROWS), iter([ROWS[:60], ROWS[60:]]), [ROWS[k] for k in range(150)]):
        found = spray.read_features(form, index=wanted)
        np.testing.assert_array_equal(found.values.toarray(), DENSE[[3, 70, 141]])
        np.testing.assert_array_equal(found.index, [3, 70, 141])
    for form in (ROWS, csr_array(ROWS), csc_matrix(ROWS), Column(ROWS), explanation(ROWS), [ROWS[k] for k in range(6)]):
        np.testing.assert_array_equal(map_at(form, 5), DENSE[5])
    assert spray.read_features(ROWS.astype(np.float32)).values.dtype == np.float32


def test_portions_follow_what_is_stored() -> None:
    column = Column(drawn(3000, 50_000, 10))
    spray.read_features(column)
    # 83 rows if they were dense.
    assert column.asked[0] == 83 and len(column.asked) == 2


def test_an_analysis_is_that_of_the_dense_relevance() -> None:
    for options in (
        {},
        {"preprocess": spray.Normalise("l1")},
        {"preprocess": (spray.Normalise("l2"), spray.Identity())},
        {"preprocess": spray.Normalise("max"), "laplacian": "random-walk"},
        {"affinity": spray.NearestNeighbours(8, "gaussian"), "clustering": "agglomerative"},
        {"index": np.arange(0, 150, 2), "laplacian": "unnormalised"},
    ):
        tsne = None if options else spray.TSNE(iterations=250)
        sparse, dense = (spray.analyse(form, clusters=(2, 3), embedding=tsne, **options) for form in (ROWS, DENSE))
        assert isinstance(sparse.features, csr_array) and sparse.shape == dense.shape == (400,)
        np.testing.assert_allclose(sparse.features.toarray(), dense.features, rtol=1e-14)
        np.testing.assert_allclose(sparse.affinity.toarray(), dense.affinity.toarray(), rtol=1e-9)
        np.testing.assert_allclose(sparse.eigenvalues, dense.eigenvalues, atol=1e-9)
        for name, labels in dense.clusterings.items():
            np.testing.assert_array_equal(sparse.clusterings[name], labels)
            for one, other in zip(spray.suspicious(sparse, name), spray.suspicious(dense, name), strict=True):
                np.testing.assert_array_equal(one.positions, other.positions)
                assert (one.cut, one.spread) == pytest.approx((other.cut, other.spread), rel=1e-9)
        for cluster in range(2):
            np.testing.assert_array_equal(sparse.typical(cluster), dense.typical(cluster))
        if tsne is not None:
            np.testing.assert_allclose(sparse.embedding, dense.embedding, rtol=1e-4, atol=1e-3)
    found = spray.analyse(ROWS, embedding=None)
    np.testing.assert_array_equal(found.labels, MARKED)


def test_a_ranking_is_that_of_the_dense_relevance() -> None:
    labels = np.arange(150) % 3
    expected = spray.rank(DENSE, labels, names=["a", "b", "c"])
    forms = (ROWS, csc_matrix(ROWS), Column(ROWS), explanation(ROWS))
    for found in (
        *(spray.rank(form, labels, names=["a", "b", "c"]) for form in forms),
        spray.rank({name: ROWS[labels == number] for number, name in enumerate("abc")}),
    ):
        assert found.classes == expected.classes and found.counts == expected.counts
        for name in found.classes:
            np.testing.assert_allclose(found.eigenvalues[name], expected.eigenvalues[name], atol=1e-9)
    with pytest.raises(InputError, match="2 labels for 150 maps"):
        spray.rank(ROWS, [0, 1])


def by_loops(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    distances = np.array(
        [[math.sqrt(sum((a - b) ** 2)) if i != j else np.inf for j, b in enumerate(rows)] for i, a in enumerate(rows)]
    )
    indices = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, indices, axis=1), indices


@pytest.mark.parametrize("block", [1, 64])
def test_nearest_by_loops(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", block)
    expected = by_loops(DENSE[:60], 7)
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-6)):
        distances, indices = spray.nearest(csr_array(ROWS[:60].astype(dtype)), 7)
        np.testing.assert_allclose(distances, expected[0], rtol=tolerance)
        assert np.mean(indices == expected[1]) > (0.99 if dtype == np.float32 else 0.9999)
    every = spray.nearest(csr_array(ROWS[:9]), 8)[1]
    assert [sorted(row) for row in every.tolist()] == [[j for j in range(9) if j != i] for i in range(9)]


def test_close_rows_are_told_apart() -> None:
    """‖a‖² + ‖b‖² - 2ab would be mostly rounding: the rows differ by 1e-6 of their length, and some by nothing."""
    generator = np.random.default_rng(1)
    base = np.where(generator.random(200) < 0.2, 10 * generator.normal(size=200), 0.0)
    rows = np.tile(base, (40, 1))
    rows[:30, 0] = base[0] + 1e-4 * np.arange(1, 31)
    distances, indices = nearest_sparse(csr_array(rows), 3)
    expected, _ = by_loops(rows, 3)
    np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=0)
    assert (distances[30:] == 0).all() and set(indices[30:].ravel()) <= set(range(30, 40))
    told = [[abs(rows[i, 0] - rows[j, 0]) for j in near] for i, near in enumerate(indices)]
    np.testing.assert_allclose(distances, told, rtol=1e-6, atol=0)


def test_equal_rows_stay_together() -> None:
    rows = np.zeros((80, 300))
    rows[40:] = 5 + DENSE[:40, :300]
    with pytest.warns(RelevanceWarning, match="40 of 80 maps have no relevance at all"):
        features = spray.read_features(csr_matrix(rows)).values
    for weights in ("binary", "gaussian"):
        matrix = spray.NearestNeighbours(weights=weights)(features)
        assert spray.smallest_eigenvalues(matrix).components == 2


def test_nothing_dense_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 2)
    rows = drawn(1500, 100_000, 30)
    tracemalloc.start()
    analysis = spray.analyse(rows, clusters=2, embedding=None)
    spray.suspicious(analysis)
    analysis.typical(0)
    analysis.profile()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All of it would be 1.2 GB.
    assert peak < 60e6


def test_steps_and_functions_of_ones_own() -> None:
    seen = []

    def halve(rows):
        seen.append(rows)
        return 0.5 * rows

    found = spray.analyse(ROWS, preprocess=halve, clusters=2, embedding=None)
    assert issparse(seen[0])
    np.testing.assert_allclose(found.features.toarray(), 0.5 * DENSE)
    # A step may make few dense numbers of many sparse ones.
    narrow = spray.analyse(ROWS, preprocess=lambda rows: rows @ np.tile(np.eye(20), (20, 1)), clusters=2, embedding=None)
    np.testing.assert_allclose(narrow.features, DENSE @ np.tile(np.eye(20), (20, 1)), atol=1e-12)
    expected = spray.analyse(DENSE, clusters=2, embedding=None)

    def graph(features):
        seen.append(features)
        return spray.NearestNeighbours()(features)

    def search_all(features, k):
        seen.append(features)
        return nearest_sparse(features, k)

    for affinity in (graph, spray.NearestNeighbours(search=search_all)):
        seen.clear()
        own = spray.analyse(ROWS, affinity=affinity, clusters=2, clustering=KMeans(n_init=3), embedding=None)
        np.testing.assert_array_equal(own.labels, expected.labels)
        assert all(isinstance(one, csr_array) for one in seen)
    svd = spray.analyse(ROWS, clusters=2, embedding=TruncatedSVD(2, random_state=0))
    assert svd.embeddings["truncatedsvd"].shape == (150, 2)


def test_normalise_by_its_definition() -> None:
    some = DENSE.copy()
    some[3] = 0
    sizes = {"l1": np.abs(some).sum(1), "l2": np.sqrt((some**2).sum(1)), "max": np.abs(some).max(1)}
    for by, size in sizes.items():
        found = spray.Normalise(by)(csr_matrix(some))
        np.testing.assert_allclose(found.toarray(), some / np.where(size > 0, size, 1)[:, None], rtol=1e-14)
        tiny = spray.Normalise(by)(csr_matrix(1e-200 * some))
        np.testing.assert_allclose(tiny.toarray(), found.toarray(), rtol=1e-12)


def test_rows() -> None:
    np.testing.assert_allclose(away_from_mean(csr_array(ROWS)), ((DENSE - DENSE.mean(0)) ** 2).sum(1), rtol=1e-12)
    equal = csr_array(np.tile(DENSE[4], (5, 1)))
    assert all_equal(equal) and not all_equal(csr_array(DENSE)) and all_equal(csr_array((3, 4)))
    other = DENSE[[4, 4]].copy()
    other[1, other[1] != 0] *= 2
    assert not all_equal(csr_array(other))
    assert as_rows(with_duplicates()).nnz == ROWS.nnz


def test_a_store_of_texts(tmp_path: Path) -> None:
    words = ["apple", "pear", "plum", "cherry", "grape", "lemon", "lime", "fig", "kiwi", "mango"]
    generator = np.random.default_rng(0)
    labels = np.arange(80) % 2
    texts = [" ".join(generator.choice(words[:7] if label else words[3:], 6)) for label in labels]
    model = make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(texts, labels)
    explainer = graphlrp.load(model)
    expected = explainer(texts)
    with stores.write(tmp_path / "r.h5", explainer, texts, labels=labels, batch_size=16) as store:
        sparse = store.relevance
        np.testing.assert_allclose(spray.read_features(sparse).values.toarray(), expected.relevance.toarray(), rtol=1e-6)
        odd = spray.analyse(sparse, index=labels == 1, clusters=2, embedding=None)
        ranking = spray.rank(sparse, labels)
        profiles = odd.profile(sparse, features=store.features)
        # In any order, and one more than once.
        rows = [70, 3, 3, 41, 0]
        np.testing.assert_array_equal(sparse[rows].toarray(), sparse[:].toarray()[rows])
        np.testing.assert_array_equal(sparse[5:9].toarray(), sparse[:].toarray()[5:9])
        np.testing.assert_array_equal(sparse[[0, 79]].toarray(), sparse[:].toarray()[[0, 79]])
    dense = expected.relevance.toarray()
    np.testing.assert_array_equal(odd.labels, spray.analyse(dense, index=labels == 1, clusters=2, embedding=None).labels)
    assert ranking.counts == dict.fromkeys(ranking.classes, 40)
    assert {feature.name for own in profiles for feature in own.features} <= set(words)


def test_saved_and_read(tmp_path: Path) -> None:
    analysis = spray.analyse(ROWS, clusters=2, embedding=None)
    analysis.save(tmp_path / "analysis.h5")
    read = spray.Analysis.read(tmp_path / "analysis.h5")
    assert isinstance(read.features, csr_array) and read.features.dtype == analysis.features.dtype
    np.testing.assert_array_equal(read.features.toarray(), analysis.features.toarray())
    np.testing.assert_array_equal(read.affinity.toarray(), analysis.affinity.toarray())
    assert read.shape == (400,) and [str(own) for own in read.profile()] == [str(own) for own in analysis.profile()]
    assert [file.name for file in tmp_path.iterdir()] == ["analysis.h5"]


NAN = ROWS.copy()
NAN.data[NAN.indptr[6]] = np.nan


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        (NAN, {}, "map 6 holds NaN or infinite relevance; leave it out"),
        (ROWS, {"preprocess": lambda rows: rows * np.inf}, "after preprocessing"),
        (csr_matrix((5, 9)), {}, "none of the maps has any relevance"),
        (csr_matrix(np.tile(DENSE[0], (4, 1))), {}, "all maps are equal"),
        (ROWS[:1], {}, "one map only"),
        (csr_matrix((0, 9)), {}, "no relevance maps"),
        (csr_matrix((4, 0)), {}, "no elements"),
        (coo_array(np.arange(4.0)), {}, "one map is not enough"),
        (ROWS.astype(complex), {}, "real numbers"),
        (ROWS, {"layout": "NHWC"}, "sparse relevance is vectors"),
        (ROWS, {"preprocess": spray.SumPool()}, r"SumPool takes maps \[n, H, W\], not sparse vectors \["),
        (ROWS, {"preprocess": spray.FourierMagnitude()}, "not sparse vectors"),
        (ROWS, {"preprocess": (spray.Normalise(), spray.GaussianLowPass(1.0))}, "not sparse vectors"),
        (DENSE, {"preprocess": spray.SumPool()}, "not vectors"),
        ([ROWS[:2], ROWS[2:4]], {}, "not one row: give batches as an iterator"),
        (iter([ROWS[:20], DENSE[20:40]]), {}, "map 20 is dense, those before it sparse"),
        (iter([DENSE[:20], ROWS[20:40]]), {}, "map 20 is sparse, those before it dense"),
        (iter([ROWS[:20], ROWS[20:40, :300]]), {}, "map 20 has 300 numbers, those before it 400 numbers"),
        (ROWS, {"index": [3, 150]}, "position 150 is out of range"),
    ],
)
def test_errors(form, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spray.read_features(form, **options)


def test_maps_without_relevance_are_told() -> None:
    some = DENSE.copy()
    some[[2, 5]] = 0
    with pytest.warns(RelevanceWarning, match="2 of 150 maps have no relevance at all, the first is 2"):
        spray.read_features(vstack([csr_matrix(some[:50]), csr_matrix(some[50:])]))


def test_umap_gets_a_sparse_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, **options) -> None:
            pass

        def fit_transform(self, features):
            assert isinstance(features, csr_matrix)
            return np.zeros((features.shape[0], 2))

    monkeypatch.setattr("graphlrp.spray.embedding.import_module", lambda name: SimpleNamespace(UMAP=Fake))
    assert spray.analyse(ROWS, clusters=2, embedding="umap").embedding.shape == (150, 2)
