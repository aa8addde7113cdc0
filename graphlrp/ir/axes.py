"""What the axes of an explained value mean: which one counts channels or features, and along which ones positions lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphlrp.errors import ModelError
from graphlrp.ir.emitter import rank
from graphlrp.ir.passes.standard import permutation
from graphlrp.layout import layout_of_shape

_CHANNELS_SECOND = frozenset(
    {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "LRN"}
    | {"BatchNormalization", "InstanceNormalization", "GroupNormalization", "DepthToSpace", "SpaceToDepth"}
)
"""Operators that read [N, C, ...], which tells where the channels of their input are."""

_AXES_STAY = frozenset(
    {"Identity", "Cast", "Relu", "Clip", "Sigmoid", "Tanh", "Add", "Sub", "Mul", "Div", "Pad", "Neg", "Pow", "Sqrt", "Abs"}
    | {"Resize", "QuantizeLinear", "DequantizeLinear"}
)
"""Operators, of preprocessing above all, whose output has the axes of its input."""


@dataclass(frozen=True)
class Axes:
    """Axes of a value whose first axis is the batch.

    Attributes:
        channel: the axis of channels (or of the features of a token), None if there is none.
        positions: the other ones: height and width of a picture, time of a signal, features of a vector.
        ordered: whether neighbouring positions belong together, as pixels do and features of a table do not.
    """

    channel: int | None
    positions: tuple[int, ...]
    ordered: bool


def axes_of(value: ir.Value) -> Axes:
    """The axes of a value.

    1. ``[N, H, W]`` and ``[N, H, W, C]`` whose axes bear the names H and W: as named;
    2. three axes or more: the channels are where the first operator that reads ``[N, C, ...]`` expects them, behind Transposes
       and component-wise operators;
    3. without such an operator: axis 1 of four axes or more; of three, the last one: tokens or moments with features;
    4. ``[N, D]``: no channels, the features are positions.

    Raises:
        ModelError: the rank is not known.
    """
    if value.shape is None:
        raise ModelError(f"the rank of {value.name!r} is unknown: its shape cannot be inferred, so its positions have no axes")
    axes = rank(value)
    if axes < 3:
        return Axes(None, tuple(range(1, axes)), ordered=False)
    if _names_pixels(value):
        channel = 3 if axes == 4 else None
        return Axes(channel, (1, 2), ordered=True)
    traced = _traced(value)
    channel = traced if traced is not None else 1 if axes > 3 else 2
    positions = tuple(axis for axis in range(1, axes) if axis != channel)
    return Axes(channel, positions, ordered=axes > 3 or traced is not None)


def layout_of(value: ir.Value) -> str | None:
    """``"NCHW"``, ``"NHWC"`` or ``"NHW"`` of a value that can be pictures, else None.

    It is read as :func:`axes_of` reads it; where no operator tells, an axis of 1 or 3 entries is that of channels.
    """
    if value.shape is None:
        return None
    if _names_pixels(value):
        return {3: "NHW", 4: "NHWC"}.get(rank(value))
    if rank(value) != 4:
        return None
    traced = _traced(value)
    return {1: "NCHW", 3: "NHWC"}.get(traced) if traced is not None else layout_of_shape(list(value.shape))


def _names_pixels(value: ir.Value) -> bool:
    return [getattr(size, "value", None) for size in (value.shape or ())[1:3]] == ["H", "W"]


def _traced(value: ir.Value) -> int | None:
    """Where the first operator that reads [N, C, ...] expects the channels, as an axis of ``value``."""
    start: tuple[ir.Value, Sequence[int]] = (value, range(rank(value)))
    pending, seen = [start], {value}
    while pending:
        current, order = pending.pop(0)
        for node, index in current.uses():
            if node.domain not in ("", "ai.onnx") or (index != 0 and node.op_type not in _AXES_STAY):
                continue
            if node.op_type in _CHANNELS_SECOND:
                return order[1] if order[0] == 0 and order[1] != 0 else None
            output = node.outputs[0]
            moved = permutation(node) if node.op_type == "Transpose" else None
            keeps = node.op_type in _AXES_STAY and output.shape is not None and len(output.shape) == len(order)
            if (moved is not None or keeps) and output not in seen:
                seen.add(output)
                pending.append((output, order if moved is None else [order[axis] for axis in moved]))
    return None
