"""From eigenvectors to labels: any clustering method on the rows of the first eigenvectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import DBSCAN, HDBSCAN, AgglomerativeClustering, KMeans

from graphlrp.errors import InputError
from graphlrp.spray.spectrum import Laplacian

Array = NDArray[Any]
Clustering = str | Callable[[Array, int], Array] | Any
"""A name of :data:`METHODS`, a function of rows and a number, or an estimator with ``fit_predict``."""

METHODS: dict[str, Callable[[], BaseEstimator]] = {
    "kmeans": lambda: KMeans(n_init=10),
    "agglomerative": AgglomerativeClustering,
    "hdbscan": lambda: HDBSCAN(copy=True),
    "dbscan": DBSCAN,
}
"""Clustering methods by name; all are scikit-learn's."""


def spectral_rows(eigenvectors: Array, count: int, laplacian: Laplacian) -> Array:
    """What samples are clustered by: the rows of the first eigenvectors, [N, count].

    Those of the symmetric Laplacian are divided by their length (Ng, Jordan and Weiss, 2002); the others are taken as they are
    (Von Luxburg, 2007).
    """
    rows = eigenvectors[:, :count]
    if laplacian != "symmetric":
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def find_clusters(eigenvectors: Array, count: int, laplacian: Laplacian, clustering: Clustering, seed: int) -> tuple[str, Array]:
    """Cluster samples by the first ``count`` eigenvectors.

    Args:
        eigenvectors: [N, m] with m >= count.
        count: number of eigenvectors, and of clusters where the method wants their number.
        laplacian: whose eigenvectors these are.
        clustering: a name of :data:`METHODS`, an estimator with ``fit_predict``, or a function of rows [N, count] and count that
            returns labels [N].
        seed: of estimators that have a ``random_state`` and were given none.

    Returns:
        A name such as ``"kmeans-4"``, and labels int64 [N]: 0 is the largest cluster, -1 is noise, which belongs to none.

    Raises:
        InputError: an unknown method, more clusters than samples or eigenvectors, or labels of another shape.
    """
    samples, known = eigenvectors.shape
    if not 1 <= count <= samples:
        raise InputError(f"{samples} maps make 1 to {samples} clusters, not {count}")
    if count > known:
        raise InputError(f"{count} clusters need as many eigenvalues, and there are {known}: raise eigenvalues=...")
    rows = spectral_rows(eigenvectors, count, laplacian)
    if isinstance(clustering, str):
        if clustering not in METHODS:
            raise InputError(
                f"unknown clustering {clustering!r}: choose {', '.join(METHODS)}, or give an estimator or a function"
            )
        name, method = clustering, METHODS[clustering]()
        if clustering == "hdbscan":
            method.set_params(min_cluster_size=max(5, math.ceil(math.log(samples))))
    else:
        name, method = _name(clustering), clustering
    if hasattr(method, "fit_predict"):
        labels = _prepared(method, count, seed).fit_predict(rows)
    elif callable(method) and not isinstance(method, type):
        labels = method(rows, count)
    else:
        raise InputError(
            f"clustering is a name, an estimator with fit_predict or a function of rows and a number, not {method!r}"
        )
    labels = np.asarray(labels)
    if labels.shape != (samples,) or labels.dtype.kind not in "iu":
        raise InputError(f"clustering must give {samples} whole numbers, not {labels.dtype} {list(labels.shape)}")
    return f"{name}-{count}", by_size(labels)


def by_size(labels: Array) -> Array:
    """Labels numbered from 0, the largest cluster first, equally large ones by their first member; negative ones become -1."""
    found, first, where, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = [number for number in np.lexsort((first, -sizes)) if found[number] >= 0]
    renamed = np.full(len(found), -1, np.int64)
    renamed[order] = np.arange(len(order))
    return renamed[where]


def _name(clustering: Any) -> str:
    name = getattr(clustering, "__name__", type(clustering).__name__)
    return str(name).strip("<>").lower()


def _prepared(method: Any, count: int, seed: int) -> Any:
    """A copy of an estimator that knows the number of clusters and the seed, as far as it takes them."""
    if not isinstance(method, BaseEstimator):
        return method
    method = clone(method)
    parameters = method.get_params()
    if "n_clusters" in parameters:
        method.set_params(n_clusters=count)
    if "random_state" in parameters and parameters["random_state"] is None:
        method.set_params(random_state=seed)
    return method
