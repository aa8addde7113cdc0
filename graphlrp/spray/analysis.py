"""Spectral Relevance Analysis: maps to features to graph to spectrum to clusters and coordinates (thesis, algorithm 3)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from graphlrp.errors import InputError
from graphlrp.spray.affinity import Affinity, NearestNeighbours, checked_affinity, nearest
from graphlrp.spray.clustering import Clustering, by_size, find_clusters
from graphlrp.spray.embedding import TSNE, Embedding, Graph, embed, named_embeddings
from graphlrp.spray.maps import read_features
from graphlrp.spray.preprocessing import Step
from graphlrp.spray.profiles import Order, Profile
from graphlrp.spray.progress import Progress, steps_of
from graphlrp.spray.sparse import Rows, away_from_mean
from graphlrp.spray.spectrum import Laplacian, eigengap, smallest_eigenvalues

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Analysis:
    """What :func:`analyse` found.

    Attributes:
        index: int64 [N], positions of the analysed maps in the data, increasing.
        features: [N, d], the preprocessed maps; csr of sparse relevance.
        shape: of a preprocessed map, such as (20, 20), or (d,) of a vector.
        affinity: W, csr [N, N].
        components: number of connected components of the graph.
        eigenvalues: [m], the smallest of the Laplacian, increasing; 0 once for every component.
        embeddings: coordinates by name: ``"spectral"`` [N, m], the eigenvectors; ``"tsne"`` [N, 2] and what else was asked for.
        clusterings: labels int64 [N] by name, such as ``"kmeans-4"``; 0 is the largest cluster, -1 noise. The last one is
            ``"components"`` if the graph has several parts without connection, and no other clustering has found these.
        settings: what was done, in words.
    """

    index: Array
    features: Rows
    shape: tuple[int, ...]
    affinity: csr_array
    components: int
    eigenvalues: Array
    embeddings: dict[str, Array]
    clusterings: dict[str, Array]
    settings: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of maps."""
        return len(self.index)

    @property
    def eigenvectors(self) -> Array:
        """[N, m]."""
        return self.embeddings["spectral"]

    @property
    def embedding(self) -> Array:
        """The first embedding besides the eigenvectors.

        Raises:
            InputError: there is none.
        """
        for name, coordinates in self.embeddings.items():
            if name != "spectral":
                return coordinates
        raise InputError("the analysis was made with embedding=None")

    @property
    def gap(self) -> int:
        """Number of clusters that the eigengap suggests (see :func:`eigengap`)."""
        return eigengap(self.eigenvalues)

    @property
    def labels(self) -> Array:
        """The first clustering, int64 [N]."""
        return self.clusterings[next(iter(self.clusterings))]

    def labels_of(self, clustering: str | int | None = None) -> Array:
        """Labels int64 [N] by name; by number of clusters; or of the first clustering.

        Raises:
            InputError: there is no such clustering, or there are several of that number.
        """
        return self.clustering_of(clustering)[1]

    def clustering_of(self, clustering: str | int | None = None) -> tuple[str, Array]:
        """Name and labels int64 [N] of a clustering, as :meth:`labels_of` finds it.

        Raises:
            InputError: there is no such clustering, or there are several of that number.
        """
        if clustering is None:
            name = next(iter(self.clusterings))
            return name, self.clusterings[name]
        names = [name for name in self.clusterings if clustering == name or name.endswith(f"-{clustering}")]
        if clustering in names or len(names) == 1:
            name = str(clustering) if clustering in names else names[0]
            return name, self.clusterings[name]
        raise InputError(f"clustering {clustering!r} is not one of {', '.join(self.clusterings)}")

    def members(self, cluster: int, clustering: str | int | None = None) -> Array:
        """Positions in the data of the maps of a cluster, int64 [n].

        Raises:
            InputError: there is no such cluster.
        """
        labels = self.labels_of(clustering)
        if not np.any(labels == cluster):
            raise InputError(f"there is no cluster {cluster}; there are {', '.join(map(str, np.unique(labels)))}")
        members: Array = self.index[labels == cluster]
        return members

    def typical(self, cluster: int, clustering: str | int | None = None) -> Array:
        """Positions in the data of the maps of a cluster, int64 [n], the one whose features are nearest to their mean first.

        Raises:
            InputError: there is no such cluster.
        """
        members = self.members(cluster, clustering)
        own = self.features[np.flatnonzero(self.labels_of(clustering) == cluster)]
        typical: Array = members[np.argsort(away_from_mean(own), kind="stable")]
        return typical

    def profile(
        self,
        relevance: Any = None,
        *,
        features: Sequence[str] | None = None,
        clustering: str | int | None = None,
        count: int = 8,
        order: Order = "mean",
    ) -> list[Profile]:
        """What clusters of vectors are about: the features of most relevance (see :func:`graphlrp.spray.profiles`)."""
        from graphlrp.spray.profiles import profiles

        return profiles(self, relevance, features=features, clustering=clustering, count=count, order=order)

    def plot_profile(self, relevance: Any = None, **options: Any) -> Figure:
        """The same as bars (see :func:`graphlrp.spray.profile_figure`)."""
        from graphlrp.spray.bars import profile_figure

        return profile_figure(self, relevance, **options)

    def plot_spectrum(self, count: int = 20) -> Figure:
        """The smallest eigenvalues and the largest gap (figure 6.3)."""
        from graphlrp.spray.drawing import spectrum_figure

        return spectrum_figure(self, count)

    def plot_embedding(self, images: Any = None, **options: Any) -> Figure:
        """The maps in the plane, coloured by cluster (see :func:`graphlrp.spray.embedding_figure`)."""
        from graphlrp.spray.drawing import embedding_figure

        return embedding_figure(self, images, **options)

    def montage(self, relevance: Any, images: Any = None, **options: Any) -> Figure:
        """Typical maps of every cluster (see :func:`graphlrp.spray.montage`)."""
        from graphlrp.spray.montages import montage

        return montage(self, relevance, images, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as one HDF5 file, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        from graphlrp.spray.storage import write_analysis

        write_analysis(path, self)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Analysis:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: there is no such file, or it is something else.
        """
        from graphlrp.spray.storage import read_analysis

        return read_analysis(path)


def analyse(
    relevance: Any,
    *,
    index: Any = None,
    layout: str | None = None,
    preprocess: Step | Sequence[Step] | None = None,
    neighbours: int | None = None,
    affinity: Affinity | None = None,
    laplacian: Laplacian = "symmetric",
    eigenvalues: int = 32,
    clusters: int | Sequence[int] | None = None,
    clustering: Clustering = "kmeans",
    embedding: Embedding | Sequence[Embedding] | None = "tsne",
    seed: int = 0,
    progress: Progress = False,
) -> Analysis:
    """Look for groups of maps that are alike, which may be different strategies of a model.

    Args:
        relevance: [N, C, H, W] (channels are summed), [N, H, W] or [N, D], dense or a sparse matrix; anything with a shape that
            can be sliced, such as an HDF5 data set or the relevance of a store, is read in portions; a list of maps, which may
            differ in height and width; an iterable of batches; an ``Explanation``.
        index: positions of the maps to analyse, or a mask [N]; all by default.
        layout: order of the axes, if it is another than these: "NHWC".
        preprocess: one step or several (see :mod:`graphlrp.spray.preprocessing`); by default ``SumPool(20)`` of maps, and nothing
            for vectors.
        neighbours: k of the graph of nearest neighbours; by default ⌈ln N⌉.
        affinity: another graph: ``NearestNeighbours(...)``, or a function of features [N, d] that returns W [N, N], symmetric
            and best sparse. Functions and estimators get csr features if relevance is sparse.
        laplacian: ``"symmetric"``, ``"random-walk"`` or ``"unnormalised"``.
        eigenvalues: how many of the smallest are computed.
        clusters: how many to make; several numbers make several clusterings; by default as many as the eigengap suggests.
        clustering: ``"kmeans"``, ``"agglomerative"``, ``"hdbscan"``, ``"dbscan"``, an estimator with ``fit_predict``, or a
            function (see :func:`find_clusters`).
        embedding: ``"tsne"``, ``"umap"``, ``TSNE(...)``, ``UMAP(...)``, an estimator with ``fit_transform`` (of the features), a
            function of a :class:`Graph` and the seed; several of these; or None.
        seed: of everything that is drawn by lot.
        progress: show a bar, or call ``progress(done, total)`` after each of the steps.

    Returns:
        The analysis.

    Raises:
        InputError: maps that are NaN or infinite, mixed in kind, or all zero or equal; fewer maps than neighbours or clusters; an
            option without meaning.
    """
    if neighbours is not None and affinity is not None:
        raise InputError("give neighbours=... or affinity=..., not both")
    graph_of = affinity if affinity is not None else NearestNeighbours(neighbours)
    methods = named_embeddings(embedding)
    numbers = _numbers(clusters)
    step = steps_of(progress, 4 + len(methods))
    features = read_features(relevance, preprocess, layout=layout, index=index)
    step("neighbours")
    matrix, near = _graph(features.values, graph_of, methods)
    step("spectrum")
    spectrum = smallest_eigenvalues(matrix, laplacian, eigenvalues, seed)
    step("clusters")
    found = [
        find_clusters(spectrum.eigenvectors, number, laplacian, clustering, seed)
        for number in numbers or [eigengap(spectrum.eigenvalues)]
    ]
    if spectrum.components > 1:
        # What has no connection is a group by itself, which clusters of another number may cut or merge.
        parts = by_size(connected_components(matrix, directed=False)[1])
        if not any(np.array_equal(parts, labels) for _, labels in found):
            found.append(("components", parts))
    graph = Graph(features.values, near, matrix, spectrum.eigenvalues, spectrum.eigenvectors)
    embeddings = {"spectral": spectrum.eigenvectors}
    for name, method in methods.items():
        step(name)
        embeddings[name] = embed(name, method, graph, seed)
    step("done")
    settings = {
        "preprocess": repr(features.step),
        "affinity": repr(graph_of),
        "laplacian": laplacian,
        "clustering": repr(clustering),
        "embedding": repr(methods),
        "seed": str(seed),
    }
    return Analysis(
        features.index,
        features.values,
        features.shape,
        matrix,
        spectrum.components,
        spectrum.eigenvalues,
        embeddings,
        dict(found),
        settings,
    )


def _graph(features: Rows, affinity: Affinity, methods: dict[str, Any]) -> tuple[csr_array, Array]:
    """W, and the nearest neighbours that embeddings look at; one search serves both."""
    count = features.shape[0]
    own = affinity.count(count) if isinstance(affinity, NearestNeighbours) else 0
    for_embeddings = max((method.neighbours(count) for method in methods.values() if isinstance(method, TSNE)), default=0)
    if isinstance(affinity, NearestNeighbours):
        distances, indices = affinity.find(features, max(own, for_embeddings))
        return affinity.of(distances[:, :own], indices[:, :own]), indices
    matrix = checked_affinity(affinity(features), count)
    return matrix, nearest(features, for_embeddings)[1] if for_embeddings else np.zeros((count, 0), np.int64)


def _numbers(clusters: int | Sequence[int] | None) -> list[int]:
    if clusters is None:
        return []
    numbers = np.atleast_1d(np.asarray(clusters))
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not len(numbers):
        raise InputError(f"clusters is a number, or several of them, not {clusters!r}")
    return [int(number) for number in dict.fromkeys(numbers.tolist())]
