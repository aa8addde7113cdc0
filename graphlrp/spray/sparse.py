"""Rows of features, dense [N, d] or sparse (csr): what has to be asked of both without making the sparse ones dense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse, vstack

Array = NDArray[Any]
Rows: TypeAlias = Any
"""[N, d]: an array, or ``csr_array``, which has no type of its own."""


def as_rows(values: Any) -> Rows:
    """An array; or csr with sorted columns, each once, and without zeros that are stored, so that rows can be compared."""
    if not issparse(values):
        return np.asarray(values)
    if values.format == "csr" and values.has_canonical_format and values.data.all():
        return csr_array(values)
    rows = csr_array(values, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    return rows


def stacked(parts: Sequence[Rows]) -> Rows:
    """Parts of the same kind below each other."""
    return csr_array(vstack(parts, "csr")) if issparse(parts[0]) else np.concatenate(parts)


def owners(rows: csr_array) -> Array:
    """The row of every number that is stored."""
    return np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))


def finite(rows: Rows) -> Array:
    """Which rows hold neither NaN nor infinity, bool [N]."""
    if not issparse(rows):
        return np.asarray(np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))
    result = np.ones(rows.shape[0], bool)
    result[owners(rows)[~np.isfinite(rows.data)]] = False
    return result


def empty(rows: Rows) -> Array:
    """Which rows are zero everywhere, bool [N]; of :func:`as_rows`."""
    return np.asarray(np.diff(rows.indptr) == 0 if issparse(rows) else ~rows.any(axis=1))


def all_equal(rows: Rows) -> bool:
    """Whether all rows are the same; of :func:`as_rows`."""
    if not issparse(rows):
        return bool((rows == rows[0]).all())
    count, stored = rows.shape[0], int(rows.indptr[1])
    if not (np.diff(rows.indptr) == stored).all():
        return False
    columns, values = (part.reshape(count, stored) for part in (rows.indices, rows.data))
    return bool((columns == columns[0]).all() and (values == values[0]).all())


def away_from_mean(rows: Rows) -> Array:
    """Squared distance of every row x to the mean m of all, float64 [N].

    Of sparse rows, ‖x - m‖² = ‖m‖² + Σ x_j (x_j - 2 m_j), which sums over what is stored.
    """
    if not issparse(rows):
        centred = rows - rows.mean(axis=0, dtype=np.float64)
        return np.asarray(np.einsum("ij,ij->i", centred, centred))
    values = rows.data.astype(np.float64)
    mean = np.bincount(rows.indices, values, rows.shape[1]) / rows.shape[0]
    parts = np.bincount(owners(rows), values * (values - 2.0 * mean[rows.indices]), rows.shape[0])
    away: Array = np.maximum(parts + mean @ mean, 0.0)
    return away
