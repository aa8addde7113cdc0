"""Arrays of any kind, one, sparse or a list: how many samples they are of, what they are called, and what tells them apart."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, issparse

from graphlrp.errors import InputError

Array = npt.NDArray[Any]


def fingerprint(values: Any) -> str:
    """A few letters that tell an array, a sparse matrix (csr) or a list of arrays from others."""
    digest = hashlib.sha256()
    if issparse(values):
        digest.update(f"sparse {values.shape}".encode())
        parts = [values.indptr.astype(np.int64), values.indices.astype(np.int64), values.data]
    else:
        parts = values if isinstance(values, list) else [values]
    for part in parts:
        digest.update(f"{part.dtype} {part.shape}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()[:16]


def read_values(given: Any) -> Any:
    """Numbers of all samples: one array, csr, or a list of arrays that differ in shape; None if something is none of these."""
    if issparse(given):
        return csr_matrix(given)
    if isinstance(given, (list, tuple)) and all(isinstance(own, np.ndarray) for own in given):
        if len({own.shape for own in given}) > 1:
            return list(given) if all(own.dtype.kind in "fiub" and own.ndim for own in given) else None
    try:
        array = np.asarray(given)
    except ValueError:
        return None
    return array if array.dtype.kind in "fiub" and array.ndim >= 2 else None


def count_of(values: Any) -> int:
    """Number of samples."""
    return int(values.shape[0]) if issparse(values) else len(values)


def kind_of(value: Any) -> str:
    """What something is, in words."""
    if issparse(value):
        return f"a sparse matrix of {value.dtype} {list(value.shape)}"
    return f"an array of {value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


def check_count(relevance: Any, name: str, count: int) -> None:
    """Refuse relevance of another number of samples.

    Raises:
        InputError: it is of another number of samples.
    """
    found = count_of(relevance)
    if found != count:
        raise InputError(f"{name} is that of {found} sample(s) for {count}")
