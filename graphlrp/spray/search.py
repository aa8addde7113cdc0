"""The nearest neighbours of sparse rows, exactly and block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors

Array = NDArray[Any]

BLOCK = 64
"""Megabytes of distances at once, as scikit-learn counts; three to four times as many are in use."""

CLOSE = 1e-6
"""Where ‖a - b‖² is below this part of ‖a‖² + ‖b‖², it is computed from a - b: a difference of large numbers is all rounding."""

PAIRS = 4096
"""Differences a - b at once."""


def nearest_sparse(features: csr_array, count: int) -> tuple[Array, Array]:
    """The ``count`` nearest other rows of every row, by Euclidean distance.

    scikit-learn compares all pairs, block by block and in float64, by ‖a - b‖² = ‖a‖² + ‖b‖² - 2 ab, of which the products are
    sparse. That tells rows apart that differ by more than about 1e-7 of their length; the distances of close ones are computed
    again, so that equal rows have distance 0.

    Args:
        features: [N, d].
        count: below N.

    Returns:
        Distances and row numbers, both [N, count], nearest first; rows at the same distance by their number.
    """
    rows = csr_array(features, dtype=np.float64)
    with config_context(working_memory=BLOCK):
        distances, indices = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(rows).kneighbors()
    squares = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
    close = distances**2 < CLOSE * (squares[:, None] + squares[indices])
    distances[close] = np.sqrt(_differences(rows, np.nonzero(close)[0], indices[close]))
    order = np.lexsort((indices, distances), axis=1)
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1)


def _differences(rows: csr_array, first: Array, second: Array) -> Array:
    """‖a - b‖² of pairs of rows."""
    result = np.zeros(len(first))
    for start in range(0, len(first), PAIRS):
        part = slice(start, start + PAIRS)
        difference = csr_array(rows[first[part]] - rows[second[part]])
        result[part] = np.asarray(difference.multiply(difference).sum(axis=1)).ravel()
    return result
