"""Which clusters deserve a look first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphlrp.spray.analysis import Analysis
from graphlrp.spray.sparse import Rows, away_from_mean

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Suspect:
    """A cluster and how far it stands apart.

    Attributes:
        clustering: name of the clustering.
        cluster: its label.
        positions: int64 [n], its maps in the data.
        share: n / N.
        cut: the normalised cut between the cluster C and the rest V of the graph, cut(C, V) (1 / vol(C) + 1 / vol(V)), where
            cut sums the weights w_ij between both, and vol the degrees (Shi and Malik, 2000). 0: no connection; about 1: as many
            as if they were drawn by lot.
        spread: mean squared distance of its features to their mean, over that of all maps. Below 1 its maps are more alike than
            maps are in general.
    """

    clustering: str
    cluster: int
    positions: Array
    share: float
    cut: float
    spread: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"cluster {self.cluster} of {self.clustering}: {len(self.positions)} maps ({self.share:.0%}), cut {self.cut:.3f},"
            f" spread {self.spread:.2f}"
        )


def suspicious(analysis: Analysis, clustering: str | int | None = None) -> list[Suspect]:
    """Clusters by how well they are separated from all other maps, the best separated first.

    The order is that of the normalised cut. It is the value that the cluster's indicator has under the symmetric Laplacian, so
    λ2 is a lower bound of it, and what makes a class stand out in :func:`rank` is what puts a cluster on top here. Clusters of
    equal cut are ordered by size, small ones first: the two halves of a graph have the same cut.

    A cluster of more than half of the maps is the main one, from which the others stand apart; it is no suspect. Nor is noise.

    Args:
        analysis: with at least two clusters, else nothing is found.
        clustering: name of the clustering, or its number of clusters; by default all of them, where clusters of the same maps
            are named once.

    Raises:
        InputError: there is no such clustering.
    """
    if clustering is None:
        every = [suspect for name in analysis.clusterings for suspect in suspicious(analysis, name)]
        first = {suspect.positions.tobytes(): suspect for suspect in reversed(every)}
        return sorted(first.values(), key=_apart)
    name, labels = analysis.clustering_of(clustering)
    degrees = np.asarray(analysis.affinity.sum(axis=1)).ravel()
    everything = float(degrees.sum())
    variance = _variance(analysis.features)
    found = []
    for cluster in np.unique(labels[labels >= 0]).tolist():
        inside = labels == cluster
        count = int(inside.sum())
        if 2 * count > len(labels):
            continue
        volume = float(degrees[inside].sum())
        within = float(analysis.affinity[inside][:, inside].sum())
        # Without rounding: what has no connection has a cut of exactly zero.
        between = float(analysis.affinity[inside][:, ~inside].sum())
        rest = everything - volume
        cut = between / volume + between / rest if within + between > 0 and rest > 0 else 0.0
        spread = _variance(analysis.features[inside]) / variance
        found.append(Suspect(name, cluster, analysis.index[inside], count / len(labels), cut, spread))
    return sorted(found, key=_apart)


def _apart(suspect: Suspect) -> tuple[float, int, int]:
    return suspect.cut, len(suspect.positions), suspect.cluster


def _variance(features: Rows) -> float:
    return float(away_from_mean(features).mean())
