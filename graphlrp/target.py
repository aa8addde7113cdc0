"""Where relevance starts: the target, its initial relevance, and the channels that relevance may be restricted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.errors import InputError, ModelError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.ir.graph import MappingGraph, find_value

INITIAL = ("value", "one", "contrastive")
"""f(x) of the target; 1; +1 for the target and -1/(C-1) for the other classes."""

TARGET = "target"
"""Name of the input that chooses the target."""

Restriction = Callable[[Emitter, ir.Value], ir.Value]
"""Emits the part of a value's relevance that goes on."""


def check_output(output: ir.Value) -> None:
    """Refuse outputs that have no batch.

    Raises:
        ModelError: the rank is unknown or zero.
    """
    if output.shape is None:
        raise ModelError(f"the rank of the explained output {output.name!r} is unknown: its shape cannot be inferred")
    if rank(output) == 0:
        raise ModelError(f"the explained output {output.name!r} is a scalar; an output needs the batch as its first axis")


def read_target(
    target: Any, count: int, shape: Sequence[int | None], class_axis: int, classes: Sequence[str] | None, dtype: npt.DTypeLike
) -> tuple[npt.NDArray[Any], bool]:
    """The target as a graph wants it, and whether it is class weights.

    Args:
        target: None for the arg max; a class index, or indices [N]; class weights; or ``"all"``.
        count: N.
        shape: of the explained output, None where a size is not known.
        class_axis: the axis that counts classes.
        classes: their names, if the model tells them.
        dtype: of weights.

    Returns:
        Indices int64 [N], -1 for the arg max; or weights shaped like the output.

    Raises:
        InputError: it is nothing of that, does not fit, or chooses a class where the output is one number per sample.
    """
    if target is None:
        return np.full(count, -1, np.int64), False
    if isinstance(target, str):
        if target != "all":
            raise InputError(f"unknown target {target!r}: give None, a class index, indices [N], class weights or 'all'")
        if any(size is None for size in shape[1:]):
            raise InputError(f"target='all' needs an output of known shape, not {list(shape)}; give weights of its shape")
        return np.ones([count, *(size or 0 for size in shape[1:])]).astype(dtype), True
    array = np.asarray(target)
    if array.dtype == bool or array.dtype.kind not in "iuf":
        raise InputError(f"a target is made of class indices or class weights, not of {array.dtype}")
    if array.dtype.kind in "iu" and array.ndim <= 1:
        return _indices(array, count, shape, class_axis, classes), False
    weights = array.astype(dtype)
    expected = [count, *shape[1:]]
    if weights.ndim == len(expected) - 1 and len(expected) > 1:
        weights = np.broadcast_to(weights, (count, *weights.shape))
    fits = weights.shape[:1] == (count,) and all(e in (None, w) for e, w in zip(expected, weights.shape, strict=False))
    if weights.ndim != len(expected) or not fits:
        raise InputError(f"class weights have shape {array.shape}; the explained output has {tuple(expected)}")
    if not np.isfinite(weights).all():
        raise InputError("class weights hold NaN or infinities")
    return np.ascontiguousarray(weights), True


def _indices(
    array: npt.NDArray[Any], count: int, shape: Sequence[int | None], class_axis: int, classes: Sequence[str] | None
) -> npt.NDArray[np.int64]:
    if is_single(shape):
        raise no_class_to_choose(classes)
    indices = array.astype(np.int64)
    if indices.ndim == 1 and indices.shape != (count,):
        raise InputError(f"{len(indices)} targets for {count} samples; give one index, or one per sample")
    size = shape[class_axis] if -len(shape) <= class_axis < len(shape) else None
    wrong = np.atleast_1d((indices < 0) | (indices >= size) if size is not None else indices < 0)
    if wrong.any():
        number = np.atleast_1d(indices)[wrong][0]
        there = "" if size is None else f": the explained output has classes 0 to {size - 1}"
        raise InputError(f"class {number} is out of range{there or '; classes are counted from 0'}")
    return np.ascontiguousarray(np.broadcast_to(indices, (count,)))


def is_single(shape: Sequence[int | None]) -> bool:
    """Whether an output of this shape, with the batch, is one number per sample: [N] or [N, 1]."""
    return tuple(shape[1:]) in ((), (1,))


def no_class_to_choose(classes: Sequence[str] | None) -> InputError:
    """What is wrong with a class index where the output is one number per sample."""
    sides = "if it decides between two classes, its sign does"
    if classes is not None and len(classes) == 2:
        sides = f"its sign decides, positive speaks for {classes[1]}, negative for {classes[0]}"
    return InputError(f"f(x) is one number per sample, so there is no class to choose: leave target out; {sides}")


def initial_relevance(
    op: Emitter, output: ir.Value, initial: str, class_axis: int, *, weights: bool, checks_index: bool
) -> tuple[ir.Value, ir.Value]:
    """Initial relevance, shaped like the explained output, and the input that chooses the target.

    With ``checks_index`` the graph itself fails on an index that is no class, for where no Python checks it.
    """
    axes = rank(output)
    batch_dimension = output.shape[0] if output.shape is not None else None
    if weights:
        target = ir.Value(name=TARGET, type=ir.TensorType(op.dtype), shape=output.shape)
        return (op.Mul(output, target) if initial == "value" else op.Identity(target)), target
    target = ir.Value(name=TARGET, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([batch_dimension]))
    if axes == 1:
        # One number per sample: it is the target whatever the index says.
        chosen = op.GreaterOrEqual(target, op.integers([-(2**63)]))
        hot = op.Cast(chosen, to=int(op.dtype))
        return (op.Mul(output, hot) if initial == "value" else hot), target
    if not -axes <= class_axis < axes:
        raise InputError(f"class_axis={class_axis} does not fit the explained output {output.name!r} of shape {output.shape}")
    class_axis %= axes
    if class_axis == 0:
        raise InputError("class_axis=0 is the batch; choose the axis that counts classes")
    others = [axis for axis in range(1, axes) if axis != class_axis]
    scores = op.ReduceSum(output, op.integers(others), keepdims=0) if others else output
    best = op.ArgMax(scores, axis=1, keepdims=0)
    zero = op.number(np.asarray(0, np.int64))
    index = op.Where(op.Less(target, zero), best, target)
    one = op.number(np.asarray(1, np.int64))
    count = op.Reshape(op.shape([op.size(output, class_axis)]), op.number(np.zeros(0, np.int64)))
    classes = op.Range(zero, count, one)
    # Gather refuses an index beyond the last class, which a comparison would answer with no relevance at all.
    checked = op.Gather(classes, index) if checks_index else index
    hot = op.Cast(op.Equal(op.Unsqueeze(checked, op.integers([1])), classes), to=int(op.dtype))
    if initial == "contrastive":
        rest = op.Cast(op.Max(op.Sub(count, one), one), to=int(op.dtype))
        hot = op.Sub(hot, op.Div(op.Sub(1.0, hot), rest))
    shape = [0] + [-1 if axis == class_axis else 1 for axis in range(1, axes)]
    shaped = op.Reshape(hot, op.integers(shape)) if others else hot
    if initial == "value":
        return op.Mul(output, shaped), target
    return (op.Expand(shaped, op.shape_of(output)) if others else shaped), target


def restrictions(graph: MappingGraph, restrict: Mapping[str, Sequence[int]]) -> dict[ir.Value, Restriction]:
    """For values where relevance is restricted to some channels (axis 1): what emits the part that goes on."""
    result: dict[ir.Value, Restriction] = {}
    between = {place.node for place in graph.places}
    for name, channels in restrict.items():
        value = find_value(graph.model, name)
        if value in graph.inputs:
            raise InputError(f"restrict: {name!r} is an explained input; select channels of its relevance instead")
        if not graph.facts.active(value) or value.producer() not in between:
            raise ModelError(f"restrict: {name!r} does not lie between the explained input and the explained output")
        numbers = [int(c) for c in np.atleast_1d(np.asarray(channels))]
        size = value.shape[1] if value.shape is not None and len(value.shape) > 1 else None
        if not isinstance(size, int):
            raise InputError(f"restrict: {name!r} of shape {value.shape} has no channel axis of known size")
        wrong = [c for c in numbers if not -size <= c < size]
        if wrong or not numbers:
            raise InputError(f"restrict: channels {wrong or numbers} of {name!r}, which has {size}")
        mask = np.zeros((1, size, *(1,) * (rank(value) - 2)))
        mask[:, numbers] = 1
        result[value] = _masked(mask)
    return result


def _masked(mask: npt.NDArray[np.float64]) -> Restriction:
    return lambda op, relevance: op.Mul(relevance, op.number(mask))
