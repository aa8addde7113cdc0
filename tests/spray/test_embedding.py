"""Coordinates: the distances of the source, without an N x N matrix."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from graphlrp import InputError, spray
from graphlrp.spray.embedding import named_embeddings

GENERATOR = np.random.default_rng(0)
TRUTH = np.repeat([0, 1, 2], 30)
FEATURES = 6 * GENERATOR.normal(size=(3, 12))[TRUTH] + GENERATOR.normal(size=(90, 12))


def graph(features: np.ndarray = FEATURES, weights: str = "binary") -> spray.Graph:
    affinity = spray.NearestNeighbours(5, weights)(features)
    spectrum = spray.smallest_eigenvalues(affinity, count=8)
    neighbours = spray.nearest(features, spray.TSNE().neighbours(len(features)))[1]
    return spray.Graph(features, neighbours, affinity, spectrum.eigenvalues, spectrum.eigenvectors)


@pytest.mark.parametrize("weights", ["binary", "gaussian"])
def test_distances_of_all_pairs(weights: str) -> None:
    """So few samples that every pair is stored: the matrix of the source, up to a constant in the squares."""
    given = graph(FEATURES[:20], weights)
    method = spray.TSNE(epsilon=0.01)
    found = method.distances(given.affinity, given.neighbours)
    assert found.nnz == 20 * 20
    dense = given.affinity.toarray()
    expected = 1 / (dense + 0.01)
    constant = expected[dense > 0].min() ** 2
    squares = found.toarray() ** 2
    for i in range(20):
        for j in range(20):
            assert squares[i, j] == pytest.approx(0.0 if i == j else expected[i, j] ** 2 - constant)


def test_distances_to_neighbours_only() -> None:
    given = graph()
    method = spray.TSNE()
    found = method.distances(given.affinity, given.neighbours)
    far = np.sqrt(method.epsilon**-2 - (1 + method.epsilon) ** -2)
    dense = given.affinity.toarray()
    for i in range(90):
        row = slice(found.indptr[i], found.indptr[i + 1])
        columns, values = found.indices[row], found.data[row]
        assert set(columns) == {i} | set(np.flatnonzero(dense[i])) | set(given.neighbours[i])
        assert len(columns) >= 23 and (np.diff(values) >= 0).all()
        for j, value in zip(columns, values, strict=True):
            assert value == pytest.approx(0.0 if i == j or dense[i, j] else far)


def test_groups_stay_together() -> None:
    points = spray.TSNE(iterations=500)(graph(), 0)
    assert points.shape == (90, 2)
    nearest = NearestNeighbors(n_neighbors=4).fit(points).kneighbors(return_distance=False)
    assert (TRUTH[nearest] == TRUTH[:, None]).mean() > 0.99
    np.testing.assert_array_equal(spray.TSNE(iterations=300)(graph(), 1), spray.TSNE(iterations=300)(graph(), 1))


def test_parameters_of_the_source() -> None:
    assert (spray.TSNE().perplexity, spray.TSNE().early_exaggeration) == (7, 6)
    assert spray.TSNE().neighbours(1000) == 22
    assert spray.TSNE().neighbours(9) == 8


def test_umap_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    class Fake:
        def __init__(self, **options) -> None:
            asked.update(options)

        def fit_transform(self, features: np.ndarray) -> np.ndarray:
            return features[:, :2]

    module = ModuleType("umap")
    module.UMAP = Fake
    monkeypatch.setitem(sys.modules, "umap", module)
    analysis = spray.analyse(FEATURES, embedding="umap", clusters=3, seed=4)
    np.testing.assert_array_equal(analysis.embeddings["umap"], FEATURES[:, :2])
    assert asked == {"n_neighbors": 15, "min_dist": 0.1, "random_state": 4, "n_jobs": 1}


def test_umap_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match="pip install umap-learn"):
        spray.analyse(FEATURES, embedding="umap", clusters=3)


def test_several_embeddings() -> None:
    def plane(given: spray.Graph, seed: int) -> np.ndarray:
        assert seed == 2
        return given.eigenvectors[:, 1:4]

    analysis = spray.analyse(FEATURES, embedding=[PCA(3), plane, spray.TSNE(iterations=250)], clusters=3, seed=2)
    assert list(analysis.embeddings) == ["spectral", "pca", "plane", "tsne"]
    np.testing.assert_allclose(analysis.embedding, PCA(3).fit_transform(FEATURES))
    np.testing.assert_array_equal(analysis.embeddings["plane"], analysis.eigenvectors[:, 1:4])
    assert list(spray.analyse(FEATURES, embedding=None, clusters=3).embeddings) == ["spectral"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: named_embeddings("pca"), "choose tsne, umap"),
        (lambda: named_embeddings(["tsne", spray.TSNE(5)]), "two embeddings are called 'tsne'"),
        (lambda: named_embeddings(spray.TSNE), "an embedding is"),
        (lambda: named_embeddings(3), "an embedding is"),
        (lambda: spray.TSNE(perplexity=0), "must be positive"),
        (lambda: spray.analyse(FEATURES[:7], neighbours=2), "needs more than 7 maps, and there are 7"),
        (lambda: spray.analyse(FEATURES, embedding=lambda g, seed: np.zeros((3, 2))), r"coordinates \[90, d\], not \[3, 2\]"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
