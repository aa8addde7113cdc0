"""Graphs of neighbours against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from graphlrp import InputError, spray
from graphlrp.spray.affinity import checked_affinity, logarithm

GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.normal(size=(60, 4))
WIDE = GENERATOR.normal(size=(60, 40))


def nearest_by_loops(features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    count = len(features)
    indices, distances = np.zeros((count, k), int), np.zeros((count, k))
    for i in range(count):
        others = []
        for j in range(count):
            if j != i:
                others.append((math.sqrt(sum((a - b) ** 2 for a, b in zip(features[i], features[j], strict=True))), j))
        for place, (distance, j) in enumerate(sorted(others)[:k]):
            indices[i, place], distances[i, place] = j, distance
    return distances, indices


@pytest.mark.parametrize("features", [FEATURES, WIDE], ids=["tree", "all pairs"])
def test_binary_graph(features: np.ndarray) -> None:
    k = logarithm(60)
    assert k == 5
    _, indices = nearest_by_loops(features, k)
    expected = np.zeros((60, 60))
    for i in range(60):
        for j in indices[i]:
            expected[i, j] = 1.0
    for i in range(60):
        for j in range(60):
            expected[i, j] = expected[j, i] = max(expected[i, j], expected[j, i])
    np.testing.assert_array_equal(spray.NearestNeighbours()(features).toarray(), expected)


def test_weighted_graphs() -> None:
    distances, indices = nearest_by_loops(FEATURES, 7)
    gaussian, linear = np.zeros((60, 60)), np.zeros((60, 60))
    for i in range(60):
        for j, d in zip(indices[i], distances[i], strict=True):
            w = math.exp(-(d**2) / (distances[i, -1] * distances[j, -1]))
            gaussian[i, j] = gaussian[j, i] = max(w, gaussian[i, j])
            linear[i, j] = linear[j, i] = d
    np.testing.assert_allclose(spray.NearestNeighbours(7, "gaussian")(FEATURES).toarray(), gaussian, atol=1e-12)
    np.testing.assert_allclose(spray.NearestNeighbours(7, lambda d: d)(FEATURES).toarray(), linear, atol=1e-12)


def test_nearest() -> None:
    for features in (FEATURES, WIDE, WIDE.astype(np.float32)):
        distances, indices = spray.nearest(features, 9)
        expected_distances, expected = nearest_by_loops(features.astype(np.float64), 9)
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(distances, expected_distances, rtol=1e-5)


@pytest.mark.parametrize("weights", ["binary", "gaussian"])
def test_equal_maps_stay_together(weights: str) -> None:
    features = np.concatenate([np.zeros((50, 30)), 5 + GENERATOR.normal(size=(50, 30))])
    matrix = spray.NearestNeighbours(weights=weights)(features)
    assert spray.smallest_eigenvalues(matrix).components == 2
    assert matrix.data.min() > 0


def test_a_search_of_ones_own() -> None:
    expected = spray.NearestNeighbours(6)(FEATURES).toarray()
    asked = []

    def search(features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(k)
        return nearest_by_loops(features, k)

    np.testing.assert_array_equal(spray.NearestNeighbours(6, search=search)(FEATURES).toarray(), expected)
    # The neighbours that t-SNE looks at come from the same search.
    asked.clear()
    analysis = spray.analyse(FEATURES, affinity=spray.NearestNeighbours(6, search=search), embedding=spray.TSNE(4))
    assert asked == [13]
    np.testing.assert_array_equal(analysis.affinity.toarray(), expected)


def test_number_of_neighbours() -> None:
    for count in (2, 3, 100, 50_000):
        assert logarithm(count) == max(1, math.ceil(math.log(count)))
    assert spray.NearestNeighbours().count(50_000) == 11


def test_affinity_of_ones_own() -> None:
    dense = np.exp(-((FEATURES[:, None] - FEATURES[None]) ** 2).sum(-1))
    matrix = checked_affinity(dense, 60)
    assert isinstance(matrix, csr_array)
    np.testing.assert_allclose(matrix.toarray(), dense - np.eye(60))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spray.NearestNeighbours(0), "at least one neighbour"),
        (lambda: spray.NearestNeighbours(weights="cosine"), "not 'cosine'"),
        (lambda: spray.NearestNeighbours(60)(FEATURES), "60 nearest neighbours need more than 60 maps, and there are 60"),
        (lambda: spray.NearestNeighbours()(FEATURES[:1]), "more than 1 maps"),
        (lambda: spray.NearestNeighbours(3, lambda d: -d)(FEATURES), "not negative"),
        (lambda: spray.NearestNeighbours(3, lambda d: d[:, 0])(FEATURES), "shaped like"),
        (
            lambda: spray.NearestNeighbours(3, search=lambda x, k: (np.zeros((60, 2)), np.zeros((60, 2), int)))(FEATURES),
            "must return",
        ),
        (
            lambda: spray.NearestNeighbours(1, search=lambda x, k: (np.zeros((60, 1)), np.arange(60)[:, None]))(FEATURES),
            "own neighbour",
        ),
        (lambda: checked_affinity(np.ones((3, 3)), 4), r"\[4, 4\], not \[3, 3\]"),
        (lambda: checked_affinity(np.triu(np.ones((4, 4))), 4), "symmetric"),
        (lambda: checked_affinity(-np.ones((4, 4)), 4), "not negative"),
        (lambda: checked_affinity(np.full((4, 4), np.nan), 4), "finite"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
