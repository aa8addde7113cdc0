"""Folding of affine maps per channel into the linear mapping beside them.

Batch normalisation in inference is ``y = x * scale + shift`` per channel, whether it is one BatchNormalization node or
spelled out as Mul, Div, Add, Sub with constants. Next to a convolution or a dense layer it is part of that mapping:

1. behind it: ``W' = W * scale``, ``b' = b * scale + shift`` (also across Transposes between the two, as NHWC exports have);
2. before it: ``W' = W * scale`` along the input channels, ``b' = b + sum(W * shift)``; exact only where no zero padding
   takes the place of an input, or where ``shift`` is zero.

Where BatchNormalization has no linear mapping beside it, affine maps behind it are folded into its own scale and shift.

Precondition: constants are initializers, shapes are inferred. Postcondition: the function is the same; folding is done in
float64 and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Affine:
    """``y = x * scale + shift`` with arrays that broadcast to the rank of x."""

    source: ir.Value
    scale: Array
    shift: Array


def fold_affine(model: ir.Model) -> str | None:
    """Fold per-channel affine maps into the linear mapping behind or before them."""
    graph = model.graph
    behind = before = 0
    for node in list(graph):
        affine = _as_affine(node)
        if affine is None:
            continue
        if _fold_behind(graph, node, affine):
            behind += 1
    for node in list(graph):
        if node.op_type != "BatchNormalization":
            continue
        affine = _as_affine(node)
        if affine is not None and _fold_before(graph, node, affine):
            before += 1
    common.RemoveUnusedNodesPass()(model)
    if not behind and not before:
        return None
    left = sum(node.op_type == "BatchNormalization" for node in graph)
    note = f"{behind} affine node(s) folded into the linear mapping behind which they stand"
    note += f", {before} into the one they stand before" if before else ""
    return note + (f"; {left} BatchNormalization node(s) stay" if left else "")


def constant(value: ir.Value | None) -> Array | None:
    """The numbers of an initializer, None for any other value."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy().astype(np.float64)


def _as_affine(node: ir.Node) -> _Affine | None:
    """Read a node as an affine map of its one non-constant input."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "BatchNormalization":
        source = node.inputs[0]
        parameters = [constant(value) for value in node.inputs[1:5]]
        if source is None or source.shape is None or any(p is None for p in parameters):
            return None
        if "training_mode" in node.attributes and node.attributes["training_mode"].as_int():
            return None
        gamma, beta, mean, variance = parameters
        assert gamma is not None and beta is not None and mean is not None and variance is not None
        epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
        scale = gamma / np.sqrt(variance + epsilon)
        shape = (1, -1) + (1,) * (len(source.shape) - 2)
        return _Affine(source, scale.reshape(shape), (beta - mean * scale).reshape(shape))
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    left, right = node.inputs
    constants = (constant(left), constant(right))
    if (constants[0] is None) == (constants[1] is None):
        return None
    source = right if constants[1] is None else left
    number = constants[0] if constants[1] is None else constants[1]
    assert source is not None and number is not None
    if source.shape is None or source.dtype is None or not source.dtype.is_floating_point():
        return None
    if number.ndim > len(source.shape):
        return None
    number = number.reshape((1,) * (len(source.shape) - number.ndim) + number.shape)
    one, zero = np.ones((1,) * number.ndim), np.zeros((1,) * number.ndim)
    if node.op_type == "Add":
        return _Affine(source, one, number)
    if node.op_type == "Mul":
        return _Affine(source, number, zero)
    if node.op_type == "Sub":
        return _Affine(source, one, -number) if source is left else _Affine(source, -one, number)
    return _Affine(source, 1 / number, zero) if source is left and np.all(number != 0) else None


def _fold_behind(graph: ir.Graph, node: ir.Node, affine: _Affine) -> bool:
    """Case 1: the affine node follows a linear mapping, perhaps across Transposes."""
    source, scale, shift = affine.source, affine.scale, affine.shift
    rank = scale.ndim
    value = source
    while True:
        producer = value.producer()
        if producer is None or len(value.uses()) != 1 or value.is_graph_output():
            return False
        if producer.op_type != "Transpose" or "perm" not in producer.attributes or producer.inputs[0] is None:
            break
        inverse = np.argsort(producer.attributes["perm"].as_ints())
        scale, shift = _rank(scale, rank).transpose(inverse), _rank(shift, rank).transpose(inverse)
        value = producer.inputs[0]
    linear = producer
    if linear.op_type == "BatchNormalization":
        return _fold_into_normalization(graph, node, linear, value is source, scale, shift)
    axis = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": rank - 1}.get(linear.op_type)
    if axis is None or linear.domain not in ("", "ai.onnx"):
        return False
    if any(size != 1 for array in (scale, shift) for i, size in enumerate(array.shape) if i != axis):
        return False
    weight = constant(linear.inputs[1])
    if weight is None or (linear.op_type == "MatMul" and (weight.ndim != 2 or constant(linear.inputs[0]) is not None)):
        return False
    channels = _output_channels(linear, weight)
    if scale.size not in (1, channels) or shift.size not in (1, channels):
        # The constant enlarges the value.
        return False
    scale, shift = np.broadcast_to(scale.reshape(-1), channels), np.broadcast_to(shift.reshape(-1), channels)
    bias = constant(linear.inputs[2]) if len(linear.inputs) > 2 and linear.inputs[2] is not None else np.zeros(channels)
    if bias is None:
        return False
    alpha = beta = 1.0
    transposed = False
    if linear.op_type == "Gemm":
        alpha = linear.attributes["alpha"].as_float() if "alpha" in linear.attributes else 1.0
        beta = linear.attributes["beta"].as_float() if "beta" in linear.attributes else 1.0
        transposed = bool(linear.attributes["transB"].as_int()) if "transB" in linear.attributes else False
        if bias.ndim > 1 and bias.shape[0] != 1:
            return False
        bias = np.broadcast_to(bias.reshape(-1), channels)
    new_bias = beta * bias * scale + shift
    if linear.op_type == "MatMul" and np.any(new_bias != 0):
        if rank != 2:
            return False
        linear.op_type = "Gemm"
    weight = _scale_outputs(linear.op_type, weight, scale, linear, transposed)
    inputs = [linear.inputs[0], _initializer(graph, linear, "weight", weight * alpha, linear.inputs[1])]
    if linear.op_type != "MatMul" and (np.any(new_bias != 0) or len(linear.inputs) > 2):
        inputs.append(_initializer(graph, linear, "bias", new_bias, linear.inputs[1]))
    linear.resize_inputs(len(inputs))
    for index, new in enumerate(inputs):
        linear.replace_input_with(index, new)
    for name in ("alpha", "beta"):
        linear.attributes.pop(name, None)
    _take_name(graph, node.outputs[0], source)
    graph.remove(node, safe=True)
    return True


def _fold_into_normalization(
    graph: ir.Graph, node: ir.Node, normalization: ir.Node, adjacent: bool, scale: Array, shift: Array
) -> bool:
    """Case 1 for a BatchNormalization that stays: γ' = γ · scale, β' = β · scale + shift."""
    gamma, beta = constant(normalization.inputs[1]), constant(normalization.inputs[2])
    if not adjacent or gamma is None or beta is None or _as_affine(normalization) is None:
        return False
    if any(size != 1 for array in (scale, shift) for i, size in enumerate(array.shape) if i != 1):
        return False
    scale, shift = np.broadcast_to(scale.reshape(-1), gamma.shape), np.broadcast_to(shift.reshape(-1), gamma.shape)
    for index, array in ((1, gamma * scale), (2, beta * scale + shift)):
        role = "scale" if index == 1 else "shift"
        normalization.replace_input_with(index, _initializer(graph, normalization, role, array, normalization.inputs[index]))
    _take_name(graph, node.outputs[0], normalization.outputs[0])
    graph.remove(node, safe=True)
    return True


def _fold_before(graph: ir.Graph, node: ir.Node, affine: _Affine) -> bool:
    """Case 2: a BatchNormalization directly before a convolution without padding, or a dense layer."""
    value = node.outputs[0]
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return False
    linear, index = uses[0]
    if index != 0 or linear.op_type not in ("Conv", "Gemm", "MatMul"):
        return False
    weight = constant(linear.inputs[1])
    if weight is None:
        return False
    scale, shift = affine.scale.reshape(-1), affine.shift.reshape(-1)
    if linear.op_type == "Conv":
        padded = "auto_pad" in linear.attributes and linear.attributes["auto_pad"].as_string() not in ("NOTSET", "VALID")
        padded |= "pads" in linear.attributes and any(linear.attributes["pads"].as_ints())
        if padded and np.any(shift != 0):
            return False
        groups = linear.attributes["group"].as_int() if "group" in linear.attributes else 1
        outputs, per_group = weight.shape[0], weight.shape[1]
        # Input channel c of output channel m in group g is g * per_group + c.
        channel = (np.arange(outputs) // (outputs // groups))[:, None] * per_group + np.arange(per_group)[None, :]
        extra = (1,) * (weight.ndim - 2)
        offset = (weight * shift[channel].reshape(outputs, per_group, *extra)).reshape(outputs, -1).sum(1)
        weight = weight * scale[channel].reshape(outputs, per_group, *extra)
    else:
        if weight.ndim != 2 or affine.scale.ndim != 2:
            return False
        if linear.op_type == "Gemm" and any(
            name in linear.attributes and linear.attributes[name].value != default
            for name, default in (("alpha", 1.0), ("beta", 1.0), ("transA", 0))
        ):
            return False
        transposed = "transB" in linear.attributes and linear.attributes["transB"].as_int() == 1
        offset = weight @ shift if transposed else shift @ weight
        weight = weight * (scale[None, :] if transposed else scale[:, None])
        if linear.op_type == "MatMul" and np.any(offset != 0):
            linear.op_type = "Gemm"
    old_bias = constant(linear.inputs[2]) if len(linear.inputs) > 2 and linear.inputs[2] is not None else np.zeros(1)
    if old_bias is None:
        return False
    inputs = [affine.source, _initializer(graph, linear, "weight", weight, linear.inputs[1])]
    if linear.op_type != "MatMul":
        inputs.append(_initializer(graph, linear, "bias", old_bias + offset, linear.inputs[1]))
    linear.resize_inputs(len(inputs))
    for position, new in enumerate(inputs):
        linear.replace_input_with(position, new)
    graph.remove(node, safe=True)
    return True


def _rank(array: Array, rank: int) -> Array:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _output_channels(linear: ir.Node, weight: Array) -> int:
    if linear.op_type == "Conv":
        return int(weight.shape[0])
    if linear.op_type == "ConvTranspose":
        groups = linear.attributes["group"].as_int() if "group" in linear.attributes else 1
        return int(weight.shape[1]) * groups
    if linear.op_type == "Gemm" and "transB" in linear.attributes and linear.attributes["transB"].as_int():
        return int(weight.shape[0])
    return int(weight.shape[1])


def _scale_outputs(operator: str, weight: Array, scale: Array, linear: ir.Node, transposed: bool) -> Array:
    if operator == "Conv" or transposed:
        return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    if operator == "ConvTranspose":
        groups = linear.attributes["group"].as_int() if "group" in linear.attributes else 1
        per_group = scale.reshape(groups, 1, weight.shape[1], *(1,) * (weight.ndim - 2))
        return (weight.reshape(groups, -1, *weight.shape[1:]) * per_group).reshape(weight.shape)
    return weight * scale[None, :]


def _initializer(graph: ir.Graph, node: ir.Node, role: str, array: Array, like: ir.Value | None) -> ir.Value:
    assert like is not None and like.dtype is not None
    tensor = ir.tensor(array.astype(like.dtype.numpy()))
    name = f"{node.outputs[0].name}/{role}"
    while name in graph.initializers:
        name += "'"
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.numpy().shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def _take_name(graph: ir.Graph, value: ir.Value, source: ir.Value) -> None:
    """Use ``source`` wherever ``value`` was used and give it that name, which users know as the layer's output."""
    name = value.name
    value.replace_all_uses_with(source, replace_graph_outputs=True)
    value.name = f"{name}/folded"
    source.name = name
