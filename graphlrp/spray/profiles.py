"""What a cluster of vectors is about: the features, such as the terms of texts, that its relevance is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from graphlrp.errors import InputError
from graphlrp.explanation import Explanation
from graphlrp.spray.maps import read_rows
from graphlrp.spray.preprocessing import Identity
from graphlrp.spray.sparse import Rows

if TYPE_CHECKING:
    from graphlrp.spray.analysis import Analysis

Array = NDArray[Any]
Order = Literal["mean", "difference"]


@dataclass(frozen=True)
class FeatureMean:
    """A feature in a cluster C of n maps, with relevance R_i of map i.

    Attributes:
        feature: its column.
        name: what it is called.
        mean: (1/n) Σ_{i ∈ C} R_i.
        elsewhere: the same over the maps that are not in C; NaN if there are none.
        share: which part of Σ|R| over all features and maps of C it has.
        present: which part of the maps of C have relevance there that is not zero.
    """

    feature: int
    name: str
    mean: float
    elsewhere: float
    share: float
    present: float


@dataclass(frozen=True)
class Profile:
    """The features of a cluster that matter most.

    Attributes:
        cluster: its label.
        count: n, its maps.
        total: N, all maps that were analysed.
        features: the most important first.
        hidden: how many more features have relevance in the cluster.
        rest: their part of Σ|R|.
    """

    cluster: int
    count: int
    total: int
    features: tuple[FeatureMean, ...]
    hidden: int
    rest: float

    def __str__(self) -> str:
        """One line."""
        parts = [f"{own.name} {own.mean:.3g} ({own.share:.0%}), elsewhere {own.elsewhere:.3g}" for own in self.features]
        return f"cluster {self.cluster}: {'; '.join(parts) or 'no relevance'}"


def profiles(
    analysis: Analysis,
    relevance: Any = None,
    *,
    features: Sequence[str] | None = None,
    clustering: str | int | None = None,
    count: int = 8,
    order: Order = "mean",
) -> list[Profile]:
    """For every cluster the features whose mean relevance is largest in magnitude, and their mean over all other maps.

    Args:
        analysis: of vectors, dense or sparse.
        relevance: the vectors that were analysed; without them, what preprocessing made of them.
        features: names of the D features; without them those of an ``Explanation``, else their numbers.
        clustering: name or number of clusters; by default the first. Noise has no profile, but counts among the other maps.
        count: of features, at most.
        order: ``"mean"``: by the magnitude of the mean; ``"difference"``: by that of its difference to the mean elsewhere.

    Raises:
        InputError: these are maps, not vectors; there is no such clustering; names or relevance do not fit.
    """
    if count < 1:
        raise InputError(f"a profile has at least one feature, not {count}")
    if order not in get_args(Order):
        raise InputError(f"features are ordered by {' or '.join(get_args(Order))}, not by {order!r}")
    values = _vectors(analysis, relevance)
    names = _names(relevance, features, values.shape[1])
    labels = analysis.labels_of(clustering)
    clusters = np.unique(labels[labels >= 0])
    inside = (labels[:, None] == clusters).astype(np.float64)
    sizes = inside.sum(axis=0)
    # Not as the difference to the sum of all: what occurs in one cluster only is exactly zero elsewhere.
    means = _sums(values, inside) / sizes
    with np.errstate(invalid="ignore"):
        elsewhere = _sums(values, 1.0 - inside) / np.where(sizes < len(labels), len(labels) - sizes, np.nan)
    magnitudes = _sums(abs(values), inside)
    shares = magnitudes / np.maximum(magnitudes.sum(axis=0), np.finfo(np.float64).tiny)
    present = _sums((values != 0).astype(np.float64), inside) / sizes
    weights = np.abs(means if order == "mean" or len(clusters) == 1 else means - elsewhere)
    found = []
    for number, cluster in enumerate(clusters.tolist()):
        own = np.argsort(-weights[:, number], kind="stable")[:count]
        own = own[weights[own, number] > 0]
        shown = tuple(
            FeatureMean(
                int(k),
                names[k] if names is not None else f"feature {k}",
                float(means[k, number]),
                float(elsewhere[k, number]),
                float(shares[k, number]),
                float(present[k, number]),
            )
            for k in own
        )
        others = shares[:, number].copy()
        others[own] = 0.0
        found.append(Profile(cluster, int(sizes[number]), len(labels), shown, int(np.count_nonzero(others)), float(others.sum())))
    return found


def _sums(values: Rows, chosen: Array) -> Array:
    """Sums over chosen maps, [D, clusters], of values [N, D] and [N, clusters]."""
    return np.asarray(values.T @ chosen)


def _vectors(analysis: Analysis, relevance: Any) -> Rows:
    """[N, D], in the order of the analysis."""
    read = None if relevance is None else read_rows(relevance, Identity(), index=analysis.index)
    if len(analysis.shape if read is None else read.shape) != 1:
        raise InputError("a profile is of vectors [N, D]; maps are shown by montage")
    return analysis.features if read is None else read.values


def _names(relevance: Any, features: Sequence[str] | None, width: int) -> Sequence[str] | None:
    if features is None and isinstance(relevance, Explanation):
        # A model's names are those of its input, which need not be what is explained.
        own = relevance.features
        return own if own is not None and len(own) == width else None
    if features is not None and len(features) != width:
        raise InputError(f"{len(features)} names do not fit {width} features")
    return features
