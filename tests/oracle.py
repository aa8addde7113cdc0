"""Independent oracles: mappings expanded to dense z_ij in float64, and the rules in their textbook form.

Nothing here uses the package. Weights are found by probing: the operator as ``onnx.reference`` defines it is applied to every
unit vector, so that neither our forward nor our adjoint code can agree with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[np.float64]

OPSET = 18


def single_node_model(
    operator: str,
    x_shape: Sequence[int | str],
    constants: Mapping[int, Any] | None = None,
    *,
    position: int = 0,
    opset: int = OPSET,
    dtype: int = TensorProto.DOUBLE,
    inputs: int | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node ``y = operator(...)``, x at ``position``, constants elsewhere (None leaves an input out)."""
    constants = dict(constants or {})
    count = inputs or max([position, *constants]) + 1
    names, initializers = [], []
    for index in range(count):
        if index == position:
            names.append("x")
        elif constants.get(index) is None:
            names.append("")
        else:
            array = np.asarray(constants[index])
            if array.dtype.kind == "f" and not (operator == "Resize" and index == 2):
                array = array.astype(helper.tensor_dtype_to_np_dtype(dtype))
            initializers.append(numpy_helper.from_array(array, f"c{index}"))
            names.append(f"c{index}")
    node = helper.make_node(operator, names, ["y"], name="the node", **attributes)
    graph = helper.make_graph(
        [node],
        "single",
        [helper.make_tensor_value_info("x", dtype, list(x_shape))],
        [helper.make_tensor_value_info("y", dtype, None)],
        initializers,
    )
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    )


def forward(model: onnx.ModelProto) -> Callable[[Array], Array]:
    """The function x -> y of a model with one input and output, as the ONNX reference defines it."""
    evaluator = ReferenceEvaluator(_without_groups(model))
    return lambda x: np.asarray(evaluator.run(None, {"x": x})[0])


def _without_groups(model: onnx.ModelProto) -> onnx.ModelProto:
    """A grouped ConvTranspose as an ungrouped one with a block-diagonal kernel: the reference of onnx 1.23 gets groups wrong."""
    (node,) = model.graph.node
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    if node.op_type != "ConvTranspose" or group == 1:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    kernel = numpy_helper.to_array(result.graph.initializer[0])
    rows, columns = kernel.shape[0] // group, kernel.shape[1]
    full = np.zeros((kernel.shape[0], columns * group, *kernel.shape[2:]), kernel.dtype)
    for g in range(group):
        full[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] = kernel[g * rows : (g + 1) * rows]
    result.graph.initializer[0].CopyFrom(numpy_helper.from_array(full, result.graph.initializer[0].name))
    next(a for a in result.graph.node[0].attribute if a.name == "group").i = 1
    return result


@dataclass(frozen=True)
class Dense:
    """One linear mapping in matrix form for one sample: z = x W + b, with W [D, M] and a mask of who is an input of whom."""

    weights: Array
    bias: Array
    connected: npt.NDArray[np.bool_]

    def contributions(self, x: Array) -> Array:
        """z_ij = x_i w_ij, [D, M]."""
        return x.reshape(-1, 1) * self.weights


def probe(
    function: Callable[[Array], Array], sample_shape: Sequence[int], connected: Callable[[Array], Array] | None = None
) -> Dense:
    """Expand a linear function of samples; ``connected`` is the same function with all weights one."""
    size = int(np.prod(sample_shape))
    units = np.eye(size).reshape(size, *sample_shape)
    zero = np.zeros((1, *sample_shape))
    bias = function(zero).reshape(-1)
    # One sample at a time: functions may have a static batch.
    weights = np.stack([function(unit[None]).reshape(-1) - bias for unit in units])
    if connected is None:
        mask = np.abs(weights) > 1e-12
    else:
        offset = connected(zero).reshape(-1)
        mask = np.stack([np.abs(connected(unit[None]).reshape(-1) - offset) > 1e-12 for unit in units])
    return Dense(weights, bias, mask)


def _divide(a: Array, b: Array) -> Array:
    """a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=np.broadcast_to(b, np.broadcast(a, b).shape) != 0)


# The rules, straight from their definitions: x [D], relevance [M] -> relevance [D]


def epsilon(dense: Dense, x: Array, relevance: Array, epsilon: float) -> Array:
    z = dense.contributions(x)
    total = z.sum(0) + dense.bias
    sign = np.where(total >= 0, 1.0, -1.0)
    return (z * _divide(relevance, total + epsilon * sign)).sum(1)


def alpha_beta(dense: Dense, x: Array, relevance: Array, alpha: float, *, renormalize: bool = False) -> Array:
    z = dense.contributions(x)
    positive, negative = np.maximum(z, 0), np.minimum(z, 0)
    z_positive = positive.sum(0) + np.maximum(dense.bias, 0)
    z_negative = negative.sum(0) + np.minimum(dense.bias, 0)
    result = np.zeros(len(x.reshape(-1)))
    for j in range(z.shape[1]):
        a, b = alpha, 1 - alpha
        if renormalize:
            if z_positive[j] == 0:
                a, b = 0.0, 1.0
            elif z_negative[j] == 0:
                a, b = 1.0, 0.0
        if z_positive[j] != 0:
            result += a * positive[:, j] / z_positive[j] * relevance[j]
        if z_negative[j] != 0:
            result += b * negative[:, j] / z_negative[j] * relevance[j]
    return result


def flat(dense: Dense, x: Array, relevance: Array) -> Array:
    share = dense.connected.astype(np.float64)
    return (share * _divide(relevance, share.sum(0))).sum(1)


def w_square(dense: Dense, x: Array, relevance: Array) -> Array:
    square = dense.weights**2
    return (square * _divide(relevance, square.sum(0))).sum(1)


def z_bounds(dense: Dense, x: Array, relevance: Array, low: Array, high: Array) -> Array:
    w = dense.weights
    z = x.reshape(-1, 1) * w - low.reshape(-1, 1) * np.maximum(w, 0) - high.reshape(-1, 1) * np.minimum(w, 0)
    return (z * _divide(relevance, z.sum(0))).sum(1)


def gamma(dense: Dense, x: Array, relevance: Array, gamma: float) -> Array:
    z = dense.contributions(x)
    result = np.zeros(z.shape[0])
    for j in range(z.shape[1]):
        b = dense.bias[j]
        total = z[:, j].sum() + b
        clip = (lambda v: np.maximum(v, 0)) if total >= 0 else (lambda v: np.minimum(v, 0))
        numerator = z[:, j] + gamma * clip(z[:, j])
        denominator = numerator.sum() + b + gamma * clip(b)
        if denominator != 0:
            result += numerator / denominator * relevance[j]
    return result
