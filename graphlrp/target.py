"""Where relevance starts: the target, its initial relevance, and the channels that relevance may be restricted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
