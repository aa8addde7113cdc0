"""Relevance in whatever form it comes, a portion at a time, and the features that are compared."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from graphlrp.errors import InputError, RelevanceWarning
from graphlrp.explanation import Explanation
from graphlrp.spray.preprocessing import Step, as_step
from graphlrp.visual.colour import pixel_relevance

Array = NDArray[Any]
PORTION = 1 << 25
"""Bytes of float64 maps that are read and preprocessed at once."""


@dataclass(frozen=True, eq=False)
class Features:
    """What is compared.

    Attributes:
        values: [N, d], one row for every map.
        shape: of a preprocessed map; its product is d.
        index: int64 [N], positions of the maps in the data.
        step: what they were preprocessed with.
    """

    values: Array
    shape: tuple[int, ...]
    index: Array
    step: Step


def unpack(relevance: Any, layout: str | None) -> tuple[Any, str | None]:
    """The array or list behind an Explanation, with its layout; anything else is returned as it is."""
    if isinstance(relevance, Explanation):
        relevance, layout = relevance.relevance, layout or relevance.layout
    if isinstance(relevance, (str, bytes, dict)):
        raise InputError(f"relevance is an array, a list of maps or an iterable of batches, not a {type(relevance).__name__}")
    if issparse(relevance):
        raise InputError("SpRAy compares dense relevance: choose the columns that matter and pass .toarray()")
    return relevance, layout


def read_features(
    relevance: Any,
    preprocess: Step | Sequence[Step] | None = None,
    *,
    layout: str | None = None,
    index: Any = None,
) -> Features:
    """Read maps portion by portion, sum their channels, preprocess them.

    Args:
        relevance: see :func:`graphlrp.spray.analyse`.
        preprocess: one step or several; None is ``SumPool(20)`` of maps, nothing for vectors.
        layout: order of the axes, "NCHW", "NHWC" or "NHW"; by default NCHW, NHW or vectors, by their number.
        index: positions of the maps to read, or a mask; all of them by default.

    Raises:
        InputError: see :func:`graphlrp.spray.analyse`.
    """
    relevance, layout = unpack(relevance, layout)
    wanted = None if index is None else _positions(index)
    rows: list[Array] = []
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
        prepared = np.asarray(step(stack))
        if prepared.shape[:1] != stack.shape[:1]:
            raise InputError(f"preprocessing made {list(prepared.shape)} of {list(stack.shape)}; the first axis must stay")
        if shape is not None and prepared.shape[1:] != shape:
            raise InputError(
                f"map {where[0]} becomes {list(prepared.shape[1:])}, those before it {list(shape)}: maps of different sizes"
                " need a preprocessing that makes them equal, such as spray.SumPool(20)"
            )
        shape = prepared.shape[1:]
        _check_finite(prepared, where, "is NaN or infinite after preprocessing")
        rows.append(prepared.reshape(len(prepared), -1).astype(np.result_type(batch.dtype, np.float32)))
        positions.append(where)
    if shape is None or step is None:
        raise InputError("there are no relevance maps")
    values, index = np.concatenate(rows), np.concatenate(positions)
    if wanted is not None and len(index) < len(wanted):
        raise InputError(f"position {np.setdiff1d(wanted, index)[0]} is out of range: there are fewer relevance maps")
    if not values.shape[1]:
        raise InputError("preprocessing leaves nothing of the relevance maps")
    _check_relevance(values, index)
    return Features(values, shape, index, step)


def map_at(relevance: Any, position: int, layout: str | None = None) -> Array:
    """One map [H, W], summed over channels, or a vector [D], of relevance in any form but an iterator.

    Raises:
        InputError: the relevance cannot be read at a position, or is not finite there.
    """
    relevance, layout = unpack(relevance, layout)
    if not hasattr(relevance, "__getitem__"):
        raise InputError("an iterator is read only once: give the maps as an array or a list")
    one = np.asarray(relevance[position])[None]
    _check_finite(one, np.array([position]), "holds NaN or infinite relevance")
    return np.asarray(_stack(one, layout, position)[0][0])


def _batches(relevance: Any, wanted: Array | None, layout: str | None) -> Iterator[tuple[Array, Array]]:
    """Portions [n, ...] with the positions of their maps."""
    if hasattr(relevance, "shape"):
        yield from _of_array(relevance, wanted)
    elif hasattr(relevance, "__len__") and hasattr(relevance, "__getitem__"):
        for position in range(len(relevance)) if wanted is None else wanted[wanted < len(relevance)]:
            yield np.array([position]), np.asarray(relevance[position])[None]
    elif isinstance(relevance, Iterable):
        start = 0
        for batch in relevance:
            values = unpack(batch, layout)[0]
            parts = [np.asarray(one)[None] for one in values] if isinstance(values, (list, tuple)) else [np.asarray(values)]
            for part in parts:
                if part.ndim < 2:
                    raise InputError(f"an iterable yields batches [n, ...], not {list(part.shape)}; give single maps as a list")
                where = np.arange(start, start + len(part))
                start += len(part)
                chosen = np.ones(len(part), bool) if wanted is None else np.isin(where, wanted)
                if chosen.any():
                    yield where[chosen], part[chosen]
    else:
        raise InputError(f"relevance is an array, a list of maps or an iterable of batches, not a {type(relevance).__name__}")


def _of_array(relevance: Any, wanted: Array | None) -> Iterator[tuple[Array, Array]]:
    shape = tuple(relevance.shape)
    if len(shape) < 2:
        raise InputError(f"relevance has shape {list(shape)}: one map is not enough, SpRAy compares many")
    portion = max(1, PORTION // max(8 * int(np.prod(shape[1:])), 1))
    if wanted is None:
        for start in range(0, shape[0], portion):
            values = np.asarray(relevance[start : start + portion])
            yield np.arange(start, start + len(values)), values
        return
    wanted = wanted[wanted < shape[0]]
    for start in range(0, len(wanted), portion):
        where = wanted[start : start + portion]
        if where[-1] - where[0] < 4 * len(where):
            # Files read a run of maps much faster than single ones.
            yield where, np.asarray(relevance[where[0] : where[-1] + 1])[where - where[0]]
        else:
            yield where, np.asarray(relevance[where])


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


def _stack(batch: Array, layout: str | None, first: int) -> tuple[Array, tuple[int, ...]]:
    """Maps [n, H, W] or vectors [n, D] in float64, and what must be the same in all batches: axes, channels or D."""
    if batch.dtype.kind not in "fiub":
        raise InputError(f"map {first} is of type {batch.dtype}; relevance is real numbers")
    if batch.size == 0:
        raise InputError(f"map {first} of shape {list(batch.shape[1:])} has no elements")
    if batch.ndim == 2 and layout is None:
        return batch.astype(np.float64), (2, batch.shape[1])
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


def _check_finite(values: Array, where: Array, what: str) -> None:
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not finite.all():
        raise InputError(f"map {where[~finite][0]} {what}; leave it out with index=...")


def _check_relevance(values: Array, index: Array) -> None:
    empty = ~values.any(axis=1)
    if empty.all():
        raise InputError("none of the maps has any relevance: there is nothing to compare")
    if len(values) == 1:
        raise InputError("there is one map only: nothing to compare it with")
    if (values == values[0]).all():
        raise InputError("all maps are equal: there is nothing to compare")
    if empty.any():
        warnings.warn(
            f"{empty.sum()} of {len(values)} maps have no relevance at all, the first is {index[empty][0]}: they are equal,"
            " and make a cluster of their own",
            RelevanceWarning,
            stacklevel=4,
        )
