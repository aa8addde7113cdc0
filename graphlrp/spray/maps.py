"""Relevance in whatever form it comes, a portion at a time, and the features that are compared."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from graphlrp.errors import InputError, RelevanceWarning
from graphlrp.explanation import Explanation
from graphlrp.spray.preprocessing import Step, as_step
from graphlrp.spray.sparse import Rows, all_equal, as_rows, empty, finite, stacked
from graphlrp.visual.colour import pixel_relevance

Array = NDArray[Any]
PORTION = 1 << 25
"""Bytes of float64 maps that are read and preprocessed at once; of sparse rows, of what is stored of them."""

STORED = 16
"""Bytes of a number of a sparse row, with its column."""


@dataclass(frozen=True, eq=False)
class Features:
    """What is compared.

    Attributes:
        values: [N, d], one row for every map; csr if they are sparse.
        shape: of a preprocessed map; its product is d.
        index: int64 [N], positions of the maps in the data.
        step: what they were preprocessed with.
    """

    values: Rows
    shape: tuple[int, ...]
    index: Array
    step: Step


def unpack(relevance: Any, layout: str | None) -> tuple[Any, str | None]:
    """The array or list behind an Explanation, with its layout; a sparse matrix as csr; anything else as it is."""
    if isinstance(relevance, Explanation):
        relevance, layout = relevance.relevance, layout or relevance.layout
    if isinstance(relevance, (str, bytes, dict)):
        raise InputError(f"relevance is an array, a list of maps or an iterable of batches, not a {type(relevance).__name__}")
    return csr_array(relevance) if issparse(relevance) else relevance, layout


def read_features(
    relevance: Any,
    preprocess: Step | Sequence[Step] | None = None,
    *,
    layout: str | None = None,
    index: Any = None,
) -> Features:
    """Read maps portion by portion, sum their channels, preprocess them.

    Sparse relevance [N, D] is vectors, and stays csr: nothing of the shape [N, D] is made.

    Args:
        relevance: see :func:`graphlrp.spray.analyse`.
        preprocess: one step or several; None is ``SumPool(20)`` of maps, nothing for vectors.
        layout: order of the axes, "NCHW", "NHWC" or "NHW"; by default NCHW, NHW or vectors, by their number.
        index: positions of the maps to read, or a mask; all of them by default.

    Raises:
        InputError: see :func:`graphlrp.spray.analyse`.
    """
    features = read_rows(relevance, preprocess, layout=layout, index=index)
    _check_relevance(features.values, features.index)
    return features


def read_rows(
    relevance: Any,
    preprocess: Step | Sequence[Step] | None = None,
    *,
    layout: str | None = None,
    index: Any = None,
) -> Features:
    """The same, whether there is anything to compare or not."""
    relevance, layout = unpack(relevance, layout)
    wanted = None if index is None else _positions(index)
    rows: list[Rows] = []
    positions: list[Array] = []
    form: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    step: Step | None = None
    for where, batch in _batches(relevance, wanted, layout):
        stack, own_form = _stack(batch, layout, int(where[0]))
        if form is None:
            form, step = own_form, as_step(preprocess, stack.ndim)
        elif form != own_form:
            raise InputError(
                f"map {where[0]} has {_kind(own_form)}, those before it {_kind(form)}: only height and width of maps may differ"
            )
        _check_finite(stack, where, "holds NaN or infinite relevance")
        assert step is not None
        prepared = as_rows(step(stack))
        if prepared.shape[:1] != stack.shape[:1]:
            raise InputError(f"preprocessing made {list(prepared.shape)} of {list(stack.shape)}; the first axis must stay")
        if shape is not None and prepared.shape[1:] != shape:
            raise InputError(
                f"map {where[0]} becomes {list(prepared.shape[1:])}, those before it {list(shape)}: maps of different sizes"
                " need a preprocessing that makes them equal, such as spray.SumPool(20)"
            )
        if rows and issparse(prepared) != issparse(rows[0]):
            kinds = ("dense", "sparse")
            raise InputError(
                f"map {where[0]} is {kinds[issparse(prepared)]}, those before it {kinds[issparse(rows[0])]}: give all of one kind"
            )
        shape = prepared.shape[1:]
        _check_finite(prepared, where, "is NaN or infinite after preprocessing")
        flat = prepared if issparse(prepared) else prepared.reshape(len(prepared), -1)
        rows.append(flat.astype(np.result_type(batch.dtype, np.float32)))
        positions.append(where)
    if shape is None or step is None:
        raise InputError("there are no relevance maps")
    values, index = stacked(rows), np.concatenate(positions)
    if wanted is not None and len(index) < len(wanted):
        raise InputError(f"position {np.setdiff1d(wanted, index)[0]} is out of range: there are fewer relevance maps")
    if not values.shape[1]:
        raise InputError("preprocessing leaves nothing of the relevance maps")
    return Features(values, shape, index, step)


def map_at(relevance: Any, position: int, layout: str | None = None) -> Array:
    """One map [H, W], summed over channels, or a vector [D], of relevance in any form but an iterator; dense in any case.

    Raises:
        InputError: the relevance cannot be read at a position, or is not finite there.
    """
    relevance, layout = unpack(relevance, layout)
    if not hasattr(relevance, "__getitem__"):
        raise InputError("an iterator is read only once: give the maps as an array or a list")
    one = _single(relevance[position], position)
    one = one.toarray() if issparse(one) else one
    _check_finite(one, np.array([position]), "holds NaN or infinite relevance")
    return np.asarray(_stack(one, layout, position)[0][0])


def _batches(relevance: Any, wanted: Array | None, layout: str | None) -> Iterator[tuple[Array, Rows]]:
    """Portions [n, ...] with the positions of their maps."""
    if hasattr(relevance, "shape"):
        yield from _of_array(relevance, wanted)
    elif hasattr(relevance, "__len__") and hasattr(relevance, "__getitem__"):
        for position in range(len(relevance)) if wanted is None else wanted[wanted < len(relevance)]:
            yield np.array([position]), _single(relevance[position], position)
    elif isinstance(relevance, Iterable):
        start = 0
        for batch in relevance:
            values = unpack(batch, layout)[0]
            listed = isinstance(values, (list, tuple))
            parts = [_single(one, start + k) for k, one in enumerate(values)] if listed else [_array(values)]
            for part in parts:
                if part.ndim < 2:
                    raise InputError(f"an iterable yields batches [n, ...], not {list(part.shape)}; give single maps as a list")
                where = np.arange(start, start + part.shape[0])
                start += part.shape[0]
                chosen = np.ones(len(where), bool) if wanted is None else np.isin(where, wanted)
                if chosen.any():
                    yield where[chosen], part[chosen]
    else:
        raise InputError(f"relevance is an array, a list of maps or an iterable of batches, not a {type(relevance).__name__}")


def _of_array(relevance: Any, wanted: Array | None) -> Iterator[tuple[Array, Rows]]:
    shape = tuple(relevance.shape)
    if len(shape) < 2:
        raise InputError(f"relevance has shape {list(shape)}: one map is not enough, SpRAy compares many")
    portion = max(1, PORTION // max(8 * int(np.prod(shape[1:])), 1))
    rows = np.arange(shape[0]) if wanted is None else wanted[wanted < shape[0]]
    start = 0
    while start < len(rows):
        where = rows[start : start + portion]
        values = _read(relevance, where)
        yield where, values
        start += len(where)
        if issparse(values):
            # That a file has sparse rows, and how much is in them, shows when some are read.
            portion = max(1, PORTION * len(where) // max(STORED * values.nnz, len(where)))


def _read(relevance: Any, where: Array) -> Rows:
    """Some rows, increasing."""
    first, last = int(where[0]), int(where[-1])
    if last - first >= 4 * len(where):
        return _array(relevance[where])
    # Files read a run of maps much faster than single ones.
    run = _array(relevance[first : last + 1])
    return run if last - first + 1 == len(where) else run[where - first]


def _array(values: Any) -> Rows:
    return csr_array(values) if issparse(values) else np.asarray(values)


def _single(value: Any, position: int) -> Rows:
    """One map as a batch; sparse ones are rows."""
    if not issparse(value):
        return np.asarray(value)[None]
    if value.ndim == 2 and value.shape[0] != 1:
        raise InputError(f"map {position} is a sparse matrix {list(value.shape)}, not one row: give batches as an iterator")
    return csr_array(value.reshape(1, -1))


def _positions(index: Any) -> Array:
    """Increasing positions, of positions or a mask: files are read from front to back."""
    array = np.asarray(index)
    if array.ndim != 1 or not (array.dtype == bool or array.dtype.kind in "iu"):
        raise InputError(f"index is a list of positions or a mask [N], not {array.dtype} {list(array.shape)}")
    positions = np.flatnonzero(array) if array.dtype == bool else np.unique(array.astype(np.int64))
    if array.dtype != bool and len(positions) < len(array):
        raise InputError("index names a position twice")
    if not len(positions) or positions[0] < 0:
        raise InputError("index is empty" if not len(positions) else f"position {positions[0]} is negative")
    return positions


def _stack(batch: Rows, layout: str | None, first: int) -> tuple[Rows, tuple[int, ...]]:
    """Maps [n, H, W] or vectors [n, D] in float64, and what must be the same in all batches: axes, channels or D."""
    if batch.dtype.kind not in "fiub":
        raise InputError(f"map {first} is of type {batch.dtype}; relevance is real numbers")
    if 0 in batch.shape:
        raise InputError(f"map {first} of shape {list(batch.shape[1:])} has no elements")
    if issparse(batch) and layout is not None:
        raise InputError(f"sparse relevance is vectors [N, D], which have no layout {layout!r}")
    if batch.ndim == 2 and layout is None:
        return as_rows(batch.astype(np.float64)), (2, batch.shape[1])
    axes = layout or {3: "NHW", 4: "NCHW"}.get(batch.ndim, "")
    if len(axes) != batch.ndim:
        raise InputError(
            f"map {first} has shape {list(batch.shape[1:])}; relevance is [N, C, H, W], [N, H, W] or [N, D],"
            " or pictures of another layout=..."
        )
    if layout is None and batch.ndim == 4 and batch.shape[1] > 4 and batch.shape[3] in (1, 3):
        raise InputError(
            f"maps of shape {list(batch.shape[1:])} seem to have their channels last:"
            " say layout='NHWC', or layout='NCHW' if they have not"
        )
    channels = (batch.shape[axes.index("C")],) if "C" in axes else ()
    return pixel_relevance(batch, axes), (batch.ndim, *channels)


def _kind(form: tuple[int, ...]) -> str:
    if form[0] == 2:
        return f"{form[1]} numbers"
    return "no channels" if len(form) == 1 else f"{form[1]} channel{'s' if form[1] > 1 else ''}"


def _check_finite(values: Rows, where: Array, what: str) -> None:
    usable = finite(values)
    if not usable.all():
        raise InputError(f"map {where[~usable][0]} {what}; leave it out with index=...")


def _check_relevance(values: Rows, index: Array) -> None:
    nothing = empty(values)
    if nothing.all():
        raise InputError("none of the maps has any relevance: there is nothing to compare")
    if len(index) == 1:
        raise InputError("there is one map only: nothing to compare it with")
    if all_equal(values):
        raise InputError("all maps are equal: there is nothing to compare")
    if nothing.any():
        warnings.warn(
            f"{nothing.sum()} of {len(index)} maps have no relevance at all, the first is {index[nothing][0]}: they are equal,"
            " and make a cluster of their own",
            RelevanceWarning,
            stacklevel=4,
        )
