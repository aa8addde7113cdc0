"""Labels from eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.metrics import adjusted_rand_score

from graphlrp import InputError, spray
from graphlrp.spray.clustering import METHODS, by_size

GENERATOR = np.random.default_rng(0)
TRUTH = np.repeat([0, 1, 2], [60, 40, 25])
CENTRES = GENERATOR.normal(size=(3, 30))
CENTRES *= 7.5 / np.linalg.norm(CENTRES, axis=1, keepdims=True)
FEATURES = CENTRES[TRUTH] + GENERATOR.normal(size=(125, 30))
KINDS = ["symmetric", "random-walk", "unnormalised"]


def spectrum(kind: str = "symmetric") -> spray.Spectrum:
    return spray.smallest_eigenvalues(spray.NearestNeighbours()(FEATURES), kind, 10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["kmeans", "agglomerative"])
def test_clear_groups_are_found(kind: str, method: str) -> None:
    name, labels = spray.find_clusters(spectrum(kind).eigenvectors, 3, kind, method, 0)
    assert name == f"{method}-3"
    np.testing.assert_array_equal(labels, TRUTH)


def test_clear_groups_are_dense() -> None:
    name, labels = spray.find_clusters(spectrum().eigenvectors, 3, "symmetric", "hdbscan", 0)
    assert name == "hdbscan-3"
    assert adjusted_rand_score(TRUTH, labels) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_partition_as_scikit_learn(kind: str) -> None:
    """Of the same graph, where it is connected and the groups are clear."""
    features = 0.7 * CENTRES[TRUTH] + np.random.default_rng(1).normal(size=(125, 30))
    affinity = spray.NearestNeighbours(12)(features)
    found = spray.smallest_eigenvalues(affinity, kind, 5)
    assert found.components == 1
    theirs = SpectralClustering(3, affinity="precomputed", random_state=0, assign_labels="kmeans").fit_predict(affinity.toarray())
    ours = spray.find_clusters(found.eigenvectors, 3, kind, "kmeans", 0)[1]
    assert adjusted_rand_score(theirs, ours) == 1.0


def test_rows() -> None:
    vectors = GENERATOR.normal(size=(6, 4))
    vectors[2, :3] = 0.0
    rows = spray.spectral_rows(vectors, 3, "symmetric")
    for row, given in zip(rows, vectors[:, :3], strict=True):
        np.testing.assert_allclose(row, given / (np.sqrt((given**2).sum()) or 1.0))
    for kind in ("random-walk", "unnormalised"):
        np.testing.assert_array_equal(spray.spectral_rows(vectors, 3, kind), vectors[:, :3])


def test_labels_are_numbered_by_size() -> None:
    np.testing.assert_array_equal(by_size(np.array([7, -1, 3, 3, -5, 7, 9, 3])), [1, -1, 0, 0, -1, 1, 2, 0])
    np.testing.assert_array_equal(by_size(np.array([4, 2, 4, 2])), [0, 1, 0, 1])
    np.testing.assert_array_equal(by_size(np.array([-1, -1])), [-1, -1])


def test_estimators_and_functions() -> None:
    vectors = spectrum().eigenvectors
    method = KMeans(n_init=3)
    name, labels = spray.find_clusters(vectors, 3, "symmetric", method, 0)
    assert name == "kmeans-3" and method.n_clusters == 8 and not hasattr(method, "labels_")
    np.testing.assert_array_equal(labels, TRUTH)
    assert (
        spray.find_clusters(vectors, 3, "symmetric", AgglomerativeClustering(linkage="single"), 0)[0]
        == "agglomerativeclustering-3"
    )
    _, labels = spray.find_clusters(vectors, 2, "symmetric", DBSCAN(eps=0.1), 0)
    assert set(labels.tolist()) <= {-1, 0, 1, 2}

    def halves(rows: np.ndarray, count: int) -> np.ndarray:
        assert rows.shape == (125, 2) and count == 2
        return (np.arange(125) < 50).astype(int)

    name, labels = spray.find_clusters(vectors, 2, "symmetric", halves, 0)
    assert name == "halves-2"
    np.testing.assert_array_equal(labels, np.arange(125) < 50)


def test_one_cluster() -> None:
    np.testing.assert_array_equal(spray.find_clusters(spectrum().eigenvectors, 1, "symmetric", "kmeans", 0)[1], np.zeros(125))


@pytest.mark.parametrize("method", list(METHODS))
def test_the_seed_settles_all(method: str) -> None:
    vectors = spectrum().eigenvectors
    one, other = (spray.find_clusters(vectors, 4, "symmetric", method, 3)[1] for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("count", "method", "message"),
    [
        (0, "kmeans", "1 to 125 clusters, not 0"),
        (126, "kmeans", "1 to 125 clusters, not 126"),
        (11, "kmeans", "raise eigenvalues"),
        (3, "fuzzy", "choose kmeans, agglomerative, hdbscan, dbscan"),
        (3, 5, "an estimator with fit_predict"),
        (3, lambda rows, count: rows, "must give 125 whole numbers"),
    ],
)
def test_errors(count: int, method, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spray.find_clusters(spectrum().eigenvectors, count, "symmetric", method, 0)
