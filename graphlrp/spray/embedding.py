"""Coordinates to look at: t-SNE of the graph as in the source, or UMAP, or anything else that makes a plane of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, csr_matrix, issparse
from sklearn import manifold
from sklearn.neighbors import sort_graph_by_row_values

from graphlrp.errors import InputError
from graphlrp.spray.sparse import Rows

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Graph:
    """What an embedding is made of.

    Attributes:
        features: [N, d], the preprocessed maps; csr if relevance is sparse.
        neighbours: int [N, K], rows of the K nearest others by distance of features, nearest first.
        affinity: W, csr [N, N].
        eigenvalues: [m].
        eigenvectors: [N, m].
    """

    features: Rows
    neighbours: Array
    affinity: csr_array
    eigenvalues: Array
    eigenvectors: Array


Embedding = str | Callable[[Graph, int], Array] | Any


@dataclass(frozen=True)
class TSNE:
    """T-SNE of the distances 1 / (W + ε) (thesis, 6.2), by scikit-learn.

    t-SNE looks at the 3 · perplexity nearest others of a sample only. These are its neighbours in the graph. Where it has fewer,
    those come next whose maps are nearest among all that are at the distance 1/ε; so no N × N matrix of distances is needed.
    Coordinates start from the second and third eigenvector.

    Attributes:
        perplexity: as in the source, 7.
        early_exaggeration: as in the source, 6.
        epsilon: ε, the inverse distance of samples that are not connected.
        iterations: of gradient descent.

    Raises:
        InputError: one of the numbers is not positive.
    """

    perplexity: float = 7.0
    early_exaggeration: float = 6.0
    epsilon: float = 1e-3
    iterations: int = 1000

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.perplexity, self.early_exaggeration, self.epsilon, self.iterations) <= 0:
            raise InputError(f"{self}: all numbers must be positive")

    def neighbours(self, count: int) -> int:
        """How many neighbours of each of ``count`` samples it looks at.

        Raises:
            InputError: there are not more samples than the perplexity.
        """
        if count <= self.perplexity:
            raise InputError(
                f"t-SNE of perplexity {self.perplexity:g} needs more than {self.perplexity:g} maps, and there are {count}:"
                " choose embedding=spray.TSNE(perplexity=...) or embedding=None"
            )
        return min(count - 1, int(3 * self.perplexity + 1))

    def __call__(self, graph: Graph, seed: int = 0) -> Array:
        """[N, 2]."""
        method = manifold.TSNE(
            perplexity=self.perplexity,
            early_exaggeration=self.early_exaggeration,
            metric="precomputed",
            init=_start(graph.eigenvectors, seed),
            max_iter=self.iterations,
            random_state=seed,
        )
        found: Array = method.fit_transform(self.distances(graph.affinity, graph.neighbours))
        return found

    def distances(self, affinity: csr_array, neighbours: Array) -> csr_matrix:
        """Distances that t-SNE looks at, csr [N, N]: √((1 / (w_ij + ε))² - (1 / (max w + ε))²), nearest first in every row.

        A constant taken from all squared distances of a row cancels in t-SNE's p_{j|i} = exp(-β d_ij²) / Σ_k exp(-β d_ik²). With
        it, and neighbours all at the same distance, scikit-learn would round all of these exponentials to zero.
        """
        count = affinity.shape[0]
        base = (float(affinity.max()) + self.epsilon) ** -2.0
        edges = affinity.tocoo()
        near = np.sqrt(np.maximum((edges.data + self.epsilon) ** -2.0 - base, 0.0))
        rows = np.repeat(np.arange(count), neighbours.shape[1])
        columns = neighbours.ravel()
        # Of what is stored for both reasons, only the edge counts.
        joined = np.sort(edges.row.astype(np.int64) * count + edges.col)
        keys = rows * count + columns
        at = np.minimum(np.searchsorted(joined, keys), max(len(joined) - 1, 0))
        unconnected = joined[at] != keys if len(joined) else np.ones(len(keys), bool)
        rows, columns = rows[unconnected], columns[unconnected]
        far = np.full(len(rows), np.sqrt(self.epsilon**-2.0 - base))
        own = np.arange(count)
        every = coo_array(
            (
                np.concatenate([np.zeros(count), near, far]),
                (np.concatenate([own, edges.row, rows]), np.concatenate([own, edges.col, columns])),
            ),
            shape=(count, count),
        )
        return sort_graph_by_row_values(csr_matrix(every), warn_when_not_sorted=False)


@dataclass(frozen=True)
class UMAP:
    """UMAP of the preprocessed maps, by the package ``umap-learn``, which has to be installed.

    Attributes:
        neighbours: of each sample.
        distance: at least, between samples in the plane (``min_dist``).
    """

    neighbours: int = 15
    distance: float = 0.1

    def __call__(self, graph: Graph, seed: int = 0) -> Array:
        """[N, 2].

        Raises:
            InputError: ``umap-learn`` is not installed.
        """
        try:
            umap = import_module("umap")
        except ImportError as error:
            raise InputError("embedding='umap' needs the package umap-learn: pip install umap-learn, or take 'tsne'") from error
        neighbours = min(self.neighbours, graph.features.shape[0] - 1)
        method = umap.UMAP(n_neighbors=neighbours, min_dist=self.distance, random_state=seed, n_jobs=1)
        # It knows sparse matrices, not yet sparse arrays.
        features = csr_matrix(graph.features) if issparse(graph.features) else graph.features
        return np.asarray(method.fit_transform(features))


NAMED: dict[str, Callable[[], Callable[[Graph, int], Array]]] = {"tsne": TSNE, "umap": UMAP}
"""Embeddings by name."""


def named_embeddings(embedding: Embedding | Sequence[Embedding] | None) -> dict[str, Any]:
    """Embeddings by the name that they have in an analysis.

    Raises:
        InputError: an unknown name, something that does not embed, or the same name twice.
    """
    if embedding is None:
        return {}
    found: dict[str, Any] = {}
    given: Sequence[Any] = embedding if isinstance(embedding, (list, tuple)) else [embedding]
    for one in given:
        if isinstance(one, str):
            if one not in NAMED:
                raise InputError(f"unknown embedding {one!r}: choose {', '.join(NAMED)}, or give an estimator or a function")
            name, method = one, NAMED[one]()
        else:
            name, method = getattr(one, "__name__", type(one).__name__).strip("<>").lower(), one
        if isinstance(method, type) or not (callable(method) or hasattr(method, "fit_transform")):
            raise InputError(
                f"an embedding is a name, an estimator with fit_transform or a function of a spray.Graph, not {one!r}"
            )
        if name in found or name == "spectral":
            raise InputError(f"two embeddings are called {name!r}")
        found[name] = method
    return found


def embed(name: str, method: Any, graph: Graph, seed: int) -> Array:
    """Coordinates [N, d] by one method: a function of the graph and the seed, or an estimator, which gets the features.

    Sparse features are given as they are: ``TruncatedSVD`` takes them, ``PCA`` does not in all its settings.

    Raises:
        InputError: it gives something else.
    """
    found = np.asarray(method(graph, seed) if callable(method) else method.fit_transform(graph.features))
    count = graph.features.shape[0]
    if found.ndim != 2 or len(found) != count or not np.isfinite(found).all():
        raise InputError(f"embedding {name!r} must give finite coordinates [{count}, d], not {list(found.shape)}")
    return found


def _start(eigenvectors: Array, seed: int) -> Array:
    """Small coordinates [N, 2] to start from; a little noise takes apart what is equal."""
    noise = np.random.default_rng(seed).normal(size=(len(eigenvectors), 2))
    start = np.zeros_like(noise)
    vectors = eigenvectors[:, 1:3]
    start[:, : vectors.shape[1]] = vectors / np.maximum(vectors.std(axis=0), 1e-12)
    return (1e-4 * start + 1e-6 * noise).astype(np.float32)
