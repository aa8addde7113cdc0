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
