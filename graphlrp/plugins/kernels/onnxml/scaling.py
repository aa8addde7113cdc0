"""Scaling of features: the operator ``Scaler``, and what is spelled as Sub and Div or Mul, Sub alone, or Mul and Add."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.plugins.kernels.onnxml import attributes
from graphlrp.plugins.kernels.onnxml.lowering import LOWERED, REAL, Lowering, is_matrix, width

Array = npt.NDArray[Any]

_MOVES = {("", "Gather"), ("", "Slice"), ("", "Identity"), ("", "Cast"), ("graphlrp", "Scaler")}
"""Operators behind which columns of inputs are still features."""


def scaler(lowering: Lowering, node: ir.Node, x: ir.Value) -> str:
    """(x - offset) scale; one number may stand for all features."""
    offset, scale = attributes.required(node, "offset"), attributes.required(node, "scale")
    columns = width(x)
    if len(offset) != len(scale):
        raise attributes.wrong(node, "offset", f"has {len(offset)} numbers, scale has {len(scale)}")
    if columns is not None and len(scale) not in (1, columns):
        raise attributes.wrong(node, "scale", f"has {len(scale)} numbers for {columns} features")
    size = len(scale) if columns is None else columns
    scaled = _scaled(lowering, x, np.broadcast_to(offset, (size,)), np.broadcast_to(scale, (size,)))
    lowering.replace(node.outputs[0], scaled)
    return LOWERED


def recognise_scaling(lowering: Lowering) -> None:
    """Lower what scales features by one constant for each."""
    for node in list(lowering.graph):
        found = _read(node)
        if found is None:
            continue
        with lowering.at(node.name or node.op_type):
            made = _scaled(lowering, found.x, found.offset, found.scale)
        if made is not found.x:
            lowering.replace(found.scaled, made)
            lowering.notes["scaling of features recognised"] += 1


def _scaled(lowering: Lowering, x: ir.Value, offset: Array, scale: Array) -> ir.Value:
    if not offset.any() and (scale == 1).all():
        return x
    return lowering.node("Scaler", x, lowering.number(offset, "offset"), lowering.number(scale, "scale"), width=width(x))


class _Scaling(NamedTuple):
    """``scaled`` = (``x`` - ``offset``) ``scale``."""

    x: ir.Value
    scaled: ir.Value
    offset: Array
    scale: Array


def _read(node: ir.Node) -> _Scaling | None:
    """The scaling of features that a node begins."""
    begun = _with_constant(node) if node.op_type in ("Sub", "Mul") else None
    if begun is None or not _are_features(begun[0]):
        return None
    (x, first), output = begun, node.outputs[0]
    if node.op_type == "Sub" and node.inputs[0] is not x:
        return None
    follows, scaled, second = _following(output)
    match node.op_type, follows:
        case "Sub", "Div":
            return _Scaling(x, scaled, first, 1 / second) if second.all() else None
        case "Sub", "Mul":
            return _Scaling(x, scaled, first, second)
        case "Sub", _:
            return _Scaling(x, output, first, np.ones(len(first)))
        case "Mul", "Add" if first.all():
            return _Scaling(x, scaled, -second / first, first)
    return None


def _following(value: ir.Value) -> tuple[str, ir.Value, Array]:
    """The operator of the one node that takes a value and a number per feature, its output, and the numbers."""
    nobody = "", value, np.zeros(0)
    if len(value.uses()) != 1 or value.is_graph_output():
        return nobody
    node = next(iter(value.uses())).node
    found = _with_constant(node)
    if found is None or found[0] is not value or (node.op_type == "Div" and node.inputs[0] is not value):
        return nobody
    return node.op_type, node.outputs[0], found[1]


def _with_constant(node: ir.Node) -> tuple[ir.Value, Array] | None:
    """The data and the numbers of a node that takes one number per feature."""
    if node.domain != "" or len(node.inputs) != 2:
        return None
    for x, other in (node.inputs, reversed(node.inputs)):
        if x is None or other is None or other.const_value is None or x.const_value is not None:
            continue
        columns, numbers = width(x), other.const_value.numpy().astype(np.float64)
        if columns is not None and numbers.shape in ((columns,), (1, columns)):
            return x, numbers.ravel()
    return None


def _are_features(value: ir.Value) -> bool:
    """Whether a value [N, D] is an input or columns of inputs, scaled at most."""
    if not is_matrix(value) or value.dtype not in REAL:
        return False
    if value.is_graph_input():
        return True
    node = value.producer()
    if node is None:
        return False
    if (node.domain, node.op_type) == ("", "Concat"):
        return all(part is not None and _are_features(part) for part in node.inputs)
    first = node.inputs[0] if node.inputs else None
    return (node.domain, node.op_type) in _MOVES and first is not None and (_are_features(first) or first.is_graph_input())
