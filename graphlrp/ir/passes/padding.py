"""Folding of zero padding into the convolution behind it.

A ``Pad`` with zeros before a Conv is the convolution's own padding, spelled out (exporters do so for asymmetric padding).
Folded, the padding is no input of the mapping any more, as rules that count inputs (flat, w²) demand.

Precondition: pads are constant, only spatial axes are padded, the convolution uses explicit padding. Exact.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from graphlrp.ir.passes.affine import constant


def fold_padding(model: ir.Model) -> str | None:
    """Fold ``Pad`` with zeros into the only Conv that uses it."""
    graph = model.graph
    folded = 0
    for node in list(graph):
        if node.op_type == "Pad":
            _move_behind_transpose(graph, node)
    for node in list(graph):
        if node.op_type != "Pad" or node.outputs[0].is_graph_output():
            continue
        source, pads = node.inputs[0], constant(node.inputs[1] if len(node.inputs) > 1 else None)
        if source is None or source.shape is None or pads is None or np.any(pads < 0):
            continue
        if "mode" in node.attributes and node.attributes["mode"].as_string() != "constant":
            continue
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        if fill is not None and (constant(fill) is None or np.any(constant(fill) != 0)):
            continue
        rank = len(source.shape)
        full = np.zeros((2, rank), dtype=np.int64)
        axes = constant(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] is not None else np.arange(rank)
        if axes is None:
            continue
        full[:, axes.astype(np.int64)] = pads.reshape(2, -1)
        if rank < 3 or np.any(full[:, :2]):
            continue
        consumers = list(node.outputs[0].uses())
        if not consumers or any(index != 0 or not _explicit(user) for user, index in consumers):
            continue
        for user, _ in consumers:
            own = user.attributes["pads"].as_ints() if "pads" in user.attributes else [0] * (2 * (rank - 2))
            total = np.asarray(own).reshape(2, -1) + full[:, 2:]
            user.attributes["pads"] = ir.AttrInt64s("pads", total.reshape(-1).tolist())
            user.attributes.pop("auto_pad", None)
            user.replace_input_with(0, source)
        graph.remove(node, safe=True)
        folded += 1
    return f"{folded} zero padding(s) folded into the convolution behind" if folded else None


def _explicit(node: ir.Node) -> bool:
    if node.op_type != "Conv" or node.domain not in ("", "ai.onnx"):
        return False
    return "auto_pad" not in node.attributes or node.attributes["auto_pad"].as_string() in ("NOTSET", "VALID")


def _move_behind_transpose(graph: ir.Graph, node: ir.Node) -> None:
    """Pad before the only Transpose that uses it becomes Pad behind it: T(Pad(x)) = Pad'(T(x))."""
    padded = node.outputs[0]
    uses = list(padded.uses())
    pads, source = constant(node.inputs[1]), node.inputs[0]
    if len(uses) != 1 or uses[0][0].op_type != "Transpose" or padded.is_graph_output() or pads is None or source is None:
        return
    transpose = uses[0][0]
    if "perm" not in transpose.attributes or (len(node.inputs) > 3 and node.inputs[3] is not None) or source.shape is None:
        return
    order = list(transpose.attributes["perm"].as_ints())
    amounts = ir.tensor(pads.reshape(2, -1)[:, order].reshape(-1).astype(np.int64), name=f"{padded.name}/pads")
    value = ir.Value(name=amounts.name, type=ir.TensorType(amounts.dtype), shape=ir.Shape([2 * len(order)]), const_value=amounts)
    graph.register_initializer(value)
    result = transpose.outputs[0]
    result.replace_all_uses_with(padded, replace_graph_outputs=True)
    transpose.replace_input_with(0, source)
    node.replace_input_with(0, result)
    node.replace_input_with(1, value)
    padded.shape, result.shape = result.shape, ir.Shape([source.shape[axis] for axis in order])
    padded.name, result.name = result.name, f"{padded.name}/transposed"
    graph.remove(node)
    graph.insert_after(transpose, node)
