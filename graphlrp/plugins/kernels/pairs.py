"""Support vector machines of several classes: decisions between all pairs of them, and what those count for a class."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def pair_coefficients(dual: Array, counts: Array) -> Array:
    """Dual coefficients [S, P] of the pairs i < j, positive for class i.

    libsvm keeps them as [C - 1, S], support vectors by class: those of class i have their coefficient against class j in row
    j - 1 if i < j, and in row j if i > j.

    Args:
        dual: as libsvm keeps them.
        counts: number of support vectors of each class, [C].
    """
    ends = np.cumsum(counts)
    own = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    pairs = list(combinations(range(len(counts)), 2))
    result = np.zeros((dual.shape[1], len(pairs)))
    for number, (i, j) in enumerate(pairs):
        result[own[i], number] = dual[j - 1, own[i]]
        result[own[j], number] = dual[i, own[j]]
    return result


def pair_votes(classes: int) -> Array:
    """[P, C]: what the decision for the first of a pair counts for every class."""
    pairs = list(combinations(range(classes), 2))
    votes = np.zeros((len(pairs), classes))
    for number, (i, j) in enumerate(pairs):
        votes[number, i], votes[number, j] = 1, -1
    return votes
