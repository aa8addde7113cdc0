"""From what a user gives to what a session takes: arrays checked against the declared inputs, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.sparse import csr_matrix, issparse

from graphlrp.errors import InputError

Array = npt.NDArray[Any]


def read_feeds(x: Any, inputs: Mapping[str, ir.Value]) -> dict[str, Array]:
    """Check an input against the model's inputs and bring it to their types.

    Sparse matrices stay sparse (csr): what runs batches makes those dense, one by one.

    Args:
        x: an array, a sparse matrix of scipy, or several by name.
        inputs: the model's inputs by name.

    Raises:
        InputError: wrong names, shapes or types, NaN or infinities, no samples.
    """
    if isinstance(x, Mapping):
        unknown, missing = set(x) - set(inputs), set(inputs) - set(x)
        if unknown or missing:
            raise InputError(
                f"the model's inputs are {', '.join(map(repr, inputs))}, and arrays are given by these names;"
                + (f" unknown: {', '.join(map(repr, sorted(unknown)))};" if unknown else "")
                + (f" missing: {', '.join(map(repr, sorted(missing)))}" if missing else "")
            )
        given = dict(x)
    elif len(inputs) == 1:
        given = {next(iter(inputs)): x}
    else:
        raise InputError(f"the model has several inputs ({', '.join(map(repr, inputs))}); give a dictionary of arrays")
    feeds = {name: _check_array(name, given[name], inputs[name]) for name in inputs}
    counts = {name: array.shape[0] for name, array in feeds.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"inputs have different numbers of samples: {counts}")
    if next(iter(counts.values())) == 0:
        raise InputError("the input holds no samples (its first axis has size 0)")
    return feeds


def _check_array(name: str, array: Any, value: ir.Value) -> Array:
    """Check an input array against the declared input."""
    if issparse(array):
        sparse: Any = _check_sparse(name, csr_matrix(array), value)
        return sparse  # type: ignore[no-any-return]
    try:
        array = np.asarray(array)
    except ValueError as error:
        raise InputError(f"input {name!r} is no array: {error}") from error
    dtype = value.dtype
    assert dtype is not None
    wanted = dtype.numpy()
    if array.dtype == object or array.dtype.kind in "USOMmVc":
        raise InputError(f"input {name!r} is of type {array.dtype}; the model wants {wanted}")
    if dtype.is_floating_point() and array.dtype.kind != "f":
        raise InputError(
            f"input {name!r} is of type {array.dtype}, the model wants {wanted}: preprocess it as the model expects, or convert"
            " it on purpose with .astype"
        )
    if not dtype.is_floating_point() and array.dtype.kind == "f":
        raise InputError(f"input {name!r} is of type {array.dtype}, the model wants {wanted}")
    if array.ndim == 0:
        raise InputError(f"input {name!r} is a scalar; its first axis must be the batch")
    _check_shape(name, array, value)
    with np.errstate(over="ignore"):
        converted: Array = np.ascontiguousarray(array, dtype=wanted)
    _check_finite(name, converted, array)
    return converted


def _check_sparse(name: str, matrix: Any, value: ir.Value) -> Any:
    """Check a csr matrix against the declared input; its numbers may be integers, for counts often are."""
    dtype = value.dtype
    assert dtype is not None
    if not dtype.is_floating_point() or matrix.dtype.kind not in "fiu":
        raise InputError(f"input {name!r} is a sparse matrix of {matrix.dtype}, the model wants {dtype.numpy()}")
    _check_shape(name, matrix, value)
    with np.errstate(over="ignore"):
        converted = matrix.astype(dtype.numpy())
    _check_finite(name, converted.data, matrix.data)
    return converted


def _check_shape(name: str, array: Any, value: ir.Value) -> None:
    if value.shape is not None:
        shape = [d if isinstance(d, int) else None for d in value.shape]
        fits = len(shape) == array.ndim and all(
            s is None or s == a or axis == 0 for axis, (s, a) in enumerate(zip(shape, array.shape, strict=False))
        )
        if not fits:
            declared = "[" + ", ".join(str(d) for d in value.shape) + "]"
            hint = ""
            if len(shape) == array.ndim + 1:
                hint = "; a single sample needs a leading axis: x[None]"
            elif len(shape) == array.ndim:
                hint = _order_hint(name, array.shape, shape)
            raise InputError(f"input {name!r} has shape {list(array.shape)}, the model wants {declared}{hint}")


def _order_hint(name: str, given: Sequence[int], declared: Sequence[int | None]) -> str:
    """What to do if an array fits once its channels, first or last axis of a sample, are moved to the other side."""
    for source, destination, spoken in ((-1, 1, "last"), (1, -1, "first")):
        if len(given) < 3:
            break
        sizes = list(given)
        sizes.insert(destination % len(given), sizes.pop(source))
        if all(d is None or d == size or axis == 0 for axis, (d, size) in enumerate(zip(declared, sizes, strict=True))):
            return f"; it seems to have its channels {spoken}: np.moveaxis(x, {source}, {destination}) brings them to their place"
    return ""


def _check_finite(name: str, converted: Array, given: Array) -> None:
    if converted.dtype.kind == "f" and not np.isfinite(converted).all():
        bad = int((~np.isfinite(converted)).sum())
        if np.isfinite(given).all():
            raise InputError(
                f"input {name!r} holds {bad} number(s) of {converted.size} that are too large for {converted.dtype}; scale it as"
                " the model expects"
            )
        raise InputError(
            f"input {name!r} holds {bad} NaN or infinite number(s) of {converted.size}; relevance of them is meaningless"
        )
