"""Operators that make features: chosen, joined, imputed, normalised. Scaling has a module of its own."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from graphlrp.plugins.kernels.onnxml import attributes
from graphlrp.plugins.kernels.onnxml.lowering import LOWERED, REAL, Lowering, is_matrix, width


def normalizer(lowering: Lowering, node: ir.Node, x: ir.Value) -> str:
    """Features by their norm."""
    norm, op = attributes.choice(node, "norm", ("MAX", "L1", "L2")), lowering.op
    if norm == "MAX":
        # By the largest component, not by the largest magnitude as scikit-learn does.
        largest = op.ReduceMax(x, op.integers([1]), keepdims=1)
        divisor = op.Where(op.Equal(largest, op.scalar(0.0)), op.scalar(1.0), largest)
        lowering.replace(node.outputs[0], op.Div(x, divisor))
    else:
        lowering.replace(node.outputs[0], lowering.node("Normalizer", x, width=width(x), norm=norm.lower()))
    return LOWERED


def imputer(lowering: Lowering, node: ir.Node) -> str | None:
    """Features with a number of their own where a value is missing."""
    x = node.inputs[0]
    if x is None or not is_matrix(x) or x.dtype not in (*REAL, ir.DataType.INT64):
        return None
    kind, read = ("int64", attributes.integers) if x.dtype == ir.DataType.INT64 else ("float", attributes.floats)
    name, columns = f"imputed_value_{kind}s", width(x)
    imputed, replaced = read(node, name), read(node, f"replaced_value_{kind}")
    if not len(imputed):
        raise attributes.wrong(node, name, "is missing")
    missing = replaced[0] if len(replaced) else imputed.dtype.type(0)
    if np.isnan(missing):
        lowering.replace(node.outputs[0], x)
        return LOWERED
    if columns is not None and len(imputed) not in (1, columns):
        raise attributes.wrong(node, name, f"has {len(imputed)} numbers for {columns} features")
    old, new = lowering.op.number(missing), lowering.op.number(imputed)
    lowering.replace(node.outputs[0], lowering.op.Where(lowering.op.Equal(x, old), new, x))
    return LOWERED


def feature_vectorizer(lowering: Lowering, node: ir.Node) -> str | None:
    """Columns side by side."""
    op, sizes = lowering.op, attributes.integers(node, "inputdimensions").tolist()
    values = [value for value in node.inputs if value is not None]
    if len(sizes) != len(values):
        raise attributes.wrong(node, "inputdimensions", f"has {len(sizes)} numbers for {len(values)} inputs")
    if not all(is_matrix(value) for value in values):
        return None
    parts = []
    for value, size in zip(values, sizes, strict=True):
        columns, part = width(value), lowering.real(value)
        if columns is not None and columns < size:
            raise attributes.wrong(node, "inputdimensions", f"says {size} for {value.name!r}, which has {columns} columns")
        parts.append(part if columns == size else op.Slice(part, *(op.integers([n]) for n in (0, size, 1))))
    lowering.replace(node.outputs[0], op.Concat(*parts, axis=1) if len(parts) > 1 else parts[0])
    return LOWERED


def array_feature_extractor(lowering: Lowering, node: ir.Node) -> str | None:
    """Some columns; some components of a vector [D], as [1, n]."""
    op, (x, index) = lowering.op, node.inputs
    if x is None or index is None or x.shape is None or not len(x.shape):
        return None
    if index.const_value is not None:
        chosen = op.integers(index.const_value.numpy().ravel().tolist())
    else:
        chosen = op.Reshape(index, op.integers([-1]))
    axis = len(x.shape) - 1
    taken = op.Gather(x, chosen, axis=axis)
    lowering.replace(node.outputs[0], taken if axis else op.Unsqueeze(taken, op.integers([0])))
    return LOWERED


def zip_map(lowering: Lowering, node: ir.Node) -> str | None:
    """Maps from labels to scores, of which only the scores are left."""
    matrix, maps = node.inputs[0], node.outputs[0]
    if matrix is None or maps.uses() or not maps.is_graph_output():
        return None
    outputs = lowering.graph.outputs
    place = outputs.index(maps)
    lowering.graph.remove(node)
    outputs[place] = lowering.op.Identity(matrix)
    outputs[place].name, outputs[place].type, outputs[place].shape = maps.name, matrix.type, matrix.shape
    return "output dropped, its input takes its place"
