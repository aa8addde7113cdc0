"""Spectral Relevance Analysis (SpRAy): groups of relevance maps that are alike, and classes that fall into such groups.

``analyse`` looks at the maps of one class, ``rank`` orders classes by how suspicious they are, ``suspicious`` the clusters of
one. ``montage`` shows what clusters of maps look at, ``profiles`` what clusters of vectors, dense or sparse, are about. The steps
can be exchanged: preprocessing (:class:`SumPool` and others), the graph (:class:`NearestNeighbours`), its Laplacian, clustering,
and embedding (:class:`TSNE`, :class:`UMAP`). Source: chapter 6 of the thesis.
"""

from graphlrp.spray.affinity import NearestNeighbours, nearest
from graphlrp.spray.analysis import Analysis, analyse
from graphlrp.spray.bars import profile_figure
from graphlrp.spray.clustering import find_clusters, spectral_rows
from graphlrp.spray.drawing import draw_spectrum, embedding_figure, ranking_figure, spectrum_figure
from graphlrp.spray.embedding import TSNE, UMAP, Graph
from graphlrp.spray.maps import Features, read_features
from graphlrp.spray.montages import montage
from graphlrp.spray.preprocessing import Chain, FourierMagnitude, GaussianLowPass, Identity, Normalise, SumPool
from graphlrp.spray.profiles import FeatureMean, Profile, profiles
from graphlrp.spray.ranking import Ranking, rank
from graphlrp.spray.spectrum import Spectrum, eigengap, laplacian_matrix, smallest_eigenvalues
from graphlrp.spray.suspects import Suspect, suspicious

__all__ = [
    "TSNE",
    "UMAP",
    "Analysis",
    "Chain",
    "FeatureMean",
    "Features",
    "FourierMagnitude",
    "GaussianLowPass",
    "Graph",
    "Identity",
    "NearestNeighbours",
    "Normalise",
    "Profile",
    "Ranking",
    "Spectrum",
    "SumPool",
    "Suspect",
    "analyse",
    "draw_spectrum",
    "eigengap",
    "embedding_figure",
    "find_clusters",
    "laplacian_matrix",
    "montage",
    "nearest",
    "profile_figure",
    "profiles",
    "rank",
    "ranking_figure",
    "read_features",
    "smallest_eigenvalues",
    "spectral_rows",
    "spectrum_figure",
    "suspicious",
]
