"""Who is alike whom: a sparse, symmetric matrix of weights w_ij ≥ 0 (thesis, 6.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from sklearn.neighbors import NearestNeighbors

from graphlrp.errors import InputError
from graphlrp.spray.search import nearest_sparse
from graphlrp.spray.sparse import Rows

Array = NDArray[Any]
Search = Callable[[Rows, int], tuple[Array, Array]]
Affinity = Callable[[Rows], Any]


def nearest(features: Rows, count: int) -> tuple[Array, Array]:
    """The ``count`` nearest other rows of every row, by Euclidean distance, exactly.

    Distances are computed in blocks, so that no N × N matrix is made. Of dense rows, scikit-learn chooses between a tree, which
    is quick for features of few dimensions, and comparing all pairs; sparse rows stay sparse (:func:`nearest_sparse`).

    Args:
        features: [N, d], an array or csr.
        count: below N.

    Returns:
        Distances and row numbers, both [N, count], nearest first.
    """
    if issparse(features):
        return nearest_sparse(features, count)
    algorithm = "auto" if features.shape[1] <= 15 else "brute"
    distances, indices = NearestNeighbors(n_neighbors=count, algorithm=algorithm).fit(features).kneighbors()
    return distances, indices


def logarithm(count: int) -> int:
    """k = ⌈ln N⌉, at least 1: the number of neighbours that the source takes, as Von Luxburg (2007) recommends."""
    return max(1, math.ceil(math.log(count)))


@dataclass(frozen=True)
class NearestNeighbours:
    """w_ij = 1 if j is among the k nearest neighbours of i, or i among those of j (6.1); else 0.

    Attributes:
        neighbours: k; ⌈ln N⌉ if None.
        weights: ``"binary"``: 1. ``"gaussian"``: exp(-d_ij² / (s_i s_j)) with s_i the distance of i to its k-th neighbour
            (Zelnik-Manor and Perona, 2004). Or a function of the distances [N, k] that gives weights ≥ 0 of that shape; the
            source also tried the distances themselves, ``weights=lambda distances: distances``.
        search: finds neighbours: ``search(features, k)`` returns distances and row numbers [N, k] of the nearest *other* rows.
            Without it, :func:`nearest`; an approximate index fits here. Features are csr if relevance is sparse.

    Raises:
        InputError: ``neighbours`` is not positive, or there are no such weights.
    """

    neighbours: int | None = None
    weights: Literal["binary", "gaussian"] | Callable[[Array], Array] = "binary"
    search: Search | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.neighbours is not None and self.neighbours < 1:
            raise InputError(f"every map needs at least one neighbour, not {self.neighbours}")
        if not callable(self.weights) and self.weights not in ("binary", "gaussian"):
            raise InputError(f"weights are 'binary', 'gaussian' or a function of distances, not {self.weights!r}")

    def __call__(self, features: Rows) -> csr_array:
        """[N, d], dense or csr -> csr [N, N].

        Raises:
            InputError: there are not more maps than neighbours.
        """
        return self.of(*self.find(features, self.count(features.shape[0])))

    def count(self, maps: int) -> int:
        """K for so many maps.

        Raises:
            InputError: there are not more maps than neighbours.
        """
        count = self.neighbours if self.neighbours is not None else logarithm(max(maps, 1))
        if count >= maps:
            raise InputError(f"{count} nearest neighbours need more than {count} maps, and there are {maps}")
        return count

    def find(self, features: Rows, count: int) -> tuple[Array, Array]:
        """Distances and row numbers [N, count] of the nearest others.

        Raises:
            InputError: the search of one's own returns something else.
        """
        distances, indices = (np.asarray(part) for part in (self.search or nearest)(features, count))
        total = features.shape[0]
        expected = (total, count)
        if distances.shape != expected or indices.shape != expected or indices.dtype.kind not in "iu":
            raise InputError(
                f"search must return distances and row numbers {list(expected)}, not {list(distances.shape)} and"
                f" {list(indices.shape)} of {indices.dtype}"
            )
        if np.any(indices == np.arange(total)[:, None]) or indices.min() < 0 or indices.max() >= total:
            raise InputError("search must return rows of the features, and none as its own neighbour")
        return distances, indices

    def of(self, distances: Array, indices: Array) -> csr_array:
        """The matrix of neighbours that are known, [N, k] each, nearest first."""
        count, k = indices.shape
        values = self._weigh(distances, indices)
        rows = np.repeat(np.arange(count), k)
        directed = csr_array((values.ravel(), (rows, indices.ravel().astype(np.int64))), shape=(count, count))
        return csr_array(directed.maximum(directed.T))

    def _weigh(self, distances: Array, indices: Array) -> Array:
        if self.weights == "binary":
            return np.ones(distances.shape)
        if self.weights == "gaussian":
            scales = distances[:, -1:] * distances[:, -1][indices]
            # Equal maps are as alike as can be, also where the scale is zero.
            ratio = np.divide(distances**2, scales, out=np.where(distances > 0, np.inf, 0.0), where=scales > 0)
            # A weight that is rounded to zero would cut what (6.1) connects.
            kernel: Array = np.maximum(np.exp(-ratio), np.finfo(np.float64).tiny)
            return kernel
        values = np.asarray(self.weights(distances), np.float64)
        if values.shape != distances.shape or not np.isfinite(values).all() or np.any(values < 0):
            raise InputError(f"weights must be finite, not negative and shaped like the distances, {list(distances.shape)}")
        return values


def checked_affinity(matrix: Any, count: int) -> csr_array:
    """A user's matrix as csr without a diagonal: a map's being like itself makes no edge.

    Raises:
        InputError: it is not a symmetric matrix [N, N] of finite weights ≥ 0.
    """
    affinity = csr_array(matrix, dtype=np.float64) if issparse(matrix) else csr_array(np.asarray(matrix, np.float64))
    if affinity.shape != (count, count):
        raise InputError(f"an affinity of {count} maps has shape {[count, count]}, not {list(affinity.shape)}")
    if affinity.nnz and (not np.isfinite(affinity.data).all() or affinity.data.min() < 0):
        raise InputError("weights of an affinity must be finite and not negative")
    if affinity.nnz and abs(affinity - affinity.T).max() > 1e-9 * affinity.data.max():
        raise InputError("an affinity must be symmetric; max(W, Wᵀ) makes it so")
    affinity.setdiag(0.0)
    affinity.eliminate_zeros()
    return affinity
