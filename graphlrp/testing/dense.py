"""Oracles: one-node models, mappings expanded to dense z_ij in float64, the rules in their textbook form, numeric derivatives.

Nothing here uses the package, so that it cannot agree with itself. Weights are found by probing: the function of the node, as
``onnx.reference`` or a numpy function defines it, is applied to every unit vector.

A sample has D input components i, numbered through all inputs that are explained, and M output components j.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[Any]

Input: TypeAlias = tuple[int, ...] | Array | int | None
"""What enters a node: the shape of a sample, a constant, an earlier input again by position, or nothing."""

OPSET = 18

OUTPUT = "y"
"""Name of the output of the node."""

DECIDING = ("Softmax", "LogSoftmax", "Sigmoid")
"""Operators that are no part of the explained function where they end a model."""


# Models of one node


def input_names(inputs: Sequence[Input]) -> dict[int, str]:
    """Position -> name of the inputs that are shapes: ``x`` if there is one, else ``x0``, ``x2`` and so on."""
    positions = list(input_shapes(inputs))
    return {index: "x" if len(positions) == 1 else f"x{index}" for index in positions}


def input_shapes(inputs: Sequence[Input]) -> dict[int, tuple[int, ...]]:
    """Position -> shape of a sample of the inputs that are shapes."""
    return {index: entry for index, entry in enumerate(inputs) if isinstance(entry, tuple)}


def single_node_model(
    operator: str,
    inputs: Sequence[Input],
    *,
    domain: str = "",
    attributes: Mapping[str, Any] | None = None,
    opset: int = OPSET,
    front: tuple[str, ...] = (),
    behind: str | None = None,
    dtype: int = TensorProto.DOUBLE,
) -> onnx.ModelProto:
    """A model of one node ``y = operator(...)`` for any number of samples.

    Args:
        operator: the node's operator.
        inputs: per input of the node the shape of a sample, a constant, the position of an earlier input that it is the
            same as, or None where it is left out. Constants of float64 are the model's real numbers; any other type is kept.
        domain: of the operator.
        attributes: of the node.
        opset: version of ONNX's operators.
        front: an operator in front of every input that is no constant, followed by numbers that it takes as further inputs:
            ``("Relu",)`` or ``("Clip", "-1", "2")``.
        behind: an operator behind the node, whose output is then the model's.
        dtype: of the model's real numbers.
    """
    names = input_names(inputs)
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    entering: list[str] = []

    def constant(array: Any, name: str) -> str:
        array = np.asarray(array)
        real = array.dtype == np.float64
        initializers.append(
            numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(dtype)) if real else array, name)
        )
        return name

    further = [constant(float(number), f"front/{k}") for k, number in enumerate(front[1:])]
    for index, entry in enumerate(inputs):
        if index in names:
            entering.append(names[index])
            if front:
                entering[-1] = f"front/{names[index]}"
                taken = [names[index], *further]
                nodes.append(helper.make_node(front[0], taken, [entering[-1]], name=f"{front[0]} of {names[index]}"))
        elif isinstance(entry, int):
            entering.append(entering[entry])
        elif entry is None:
            entering.append("")
        else:
            entering.append(constant(entry, f"c{index}"))
    # An optional input that is left out at the end is not written down.
    while entering and not entering[-1]:
        entering.pop()
    nodes.append(helper.make_node(operator, entering, [OUTPUT], name="the node", domain=domain, **dict(attributes or {})))
    output = OUTPUT
    if behind is not None:
        output = "behind"
        nodes.append(helper.make_node(behind, [OUTPUT], [output], name="behind"))
    graph = helper.make_graph(
        nodes,
        "conformance",
        [helper.make_tensor_value_info(names[k], dtype, ["N", *shape]) for k, shape in input_shapes(inputs).items()],
        [helper.make_tensor_value_info(output, dtype, None)],
        initializers,
    )
    sets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=sets, ir_version=10))


def reference(model: onnx.ModelProto) -> Callable[..., Array]:
    """The function of a one-node model, samples in the order of its inputs -> y, as the ONNX reference defines it."""
    evaluator = ReferenceEvaluator(_without_groups(model))
    names = [value.name for value in model.graph.input]

    def function(*samples: Array) -> Array:
        with np.errstate(all="ignore"):
            results: Any = evaluator.run([OUTPUT], dict(zip(names, samples, strict=True)))
            return np.asarray(results[0])

    return function


def _without_groups(model: onnx.ModelProto) -> onnx.ModelProto:
    """A grouped ConvTranspose as an ungrouped one with a block-diagonal kernel: the reference of onnx 1.23 gets groups wrong."""
    node = model.graph.node[0]
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


# What functions are made of


@dataclass(frozen=True)
class Dense:
    """One linear mapping in matrix form for one sample: z = x W + b.

    Attributes:
        weights: W, [D, M].
        bias: b, [M].
        connected: who is an input of whom, [D, M]; a weight that happens to be zero connects.
    """

    weights: Array
    bias: Array
    connected: npt.NDArray[np.bool_]

    def contributions(self, x: Array) -> Array:
        """z_ij = x_i w_ij, [D, M]."""
        return np.asarray(x.reshape(-1, 1) * self.weights)

    def output(self, x: Array) -> Array:
        """z_j = Σ_i z_ij + b_j, [M]."""
        return np.asarray(x.reshape(-1) @ self.weights + self.bias)


def probe(
    function: Callable[[Array], Array], sample_shape: Sequence[int], connecting: Callable[[Array], Array] | None = None
) -> Dense:
    """Expand a linear function of samples by what it makes of unit vectors.

    Args:
        function: [N, ...] -> [N, ...], for any N.
        sample_shape: shape of one sample.
        connecting: the same function with other weights, none of them zero; where either has a weight, i is an input of j.
    """
    weights, bias = _probed(function, sample_shape)
    connected = np.abs(weights) > 1e-12
    if connecting is not None:
        connected |= np.abs(_probed(connecting, sample_shape)[0]) > 1e-12
    return Dense(weights, bias, connected)


def _probed(function: Callable[[Array], Array], sample_shape: Sequence[int]) -> tuple[Array, Array]:
    size = prod(sample_shape)
    points = np.concatenate([np.zeros((1, size)), np.eye(size)]).reshape(size + 1, *sample_shape)
    values = function(points).reshape(size + 1, -1).astype(np.float64)
    return values[1:] - values[0], values[0]


def jacobian(function: Callable[..., Array], samples: Sequence[Array], step: float = 1e-5) -> Array:
    """∂y_j/∂x_i by central differences, [N, M, D].

    Args:
        function: arrays [N, ...] -> [N, ...], for any N; it must treat samples apart.
        samples: one array [N, ...] per input.
        step: half of the distance between the points.
    """
    count = len(samples[0])
    columns = []
    for index, array in enumerate(samples):
        size = prod(array.shape[1:])
        units = np.eye(size).reshape(1, size, *array.shape[1:]) * step
        ends = []
        for sign in (1, -1):
            moved = [np.repeat(other, size, axis=0) for other in samples]
            moved[index] = (array[:, None] + sign * units).reshape(count * size, *array.shape[1:])
            ends.append(function(*moved).reshape(count, size, -1))
        columns.append((ends[0] - ends[1]) / (2 * step))
    return np.concatenate(columns, axis=1).swapaxes(1, 2)


# The rules, straight from their definitions


@dataclass(frozen=True)
class Shares:
    """What becomes of R_j = 1: the messages v_ij [D, M], and what no input receives, [M] each."""

    messages: Array
    bias: Array
    stabilizer: Array
    dead: Array

    def relevance(self, relevance: Array) -> Array:
        """R_i = Σ_j v_ij R_j: [M] -> [D]."""
        return np.asarray(self.messages @ relevance)


def epsilon(dense: Dense, x: Array, epsilon: float) -> Shares:
    """z_ij / (z_j + ε sign(z_j)) with sign(0) = 1 (2.22)."""
    z, total = dense.contributions(x), dense.output(x)
    denominator = total + epsilon * np.where(total >= 0, 1.0, -1.0)
    stabilizer = _over(denominator - total, denominator)
    return Shares(_over(z, denominator), _over(dense.bias, denominator), stabilizer, _empty(denominator))


def alpha_beta(dense: Dense, x: Array, alpha: float, *, renormalize: bool = False) -> Shares:
    """α z_ij^+ / z_j^+ + (1 - α) z_ij^- / z_j^- (2.26); a side that is empty leaves its share to nobody, or to the other one."""
    z = dense.contributions(x)
    positive, negative = np.maximum(z, 0), np.minimum(z, 0)
    bias_positive, bias_negative = np.maximum(dense.bias, 0), np.minimum(dense.bias, 0)
    z_positive, z_negative = positive.sum(0) + bias_positive, negative.sum(0) + bias_negative
    a = np.where(z_positive == 0, 0.0, np.where((z_negative == 0) & renormalize, 1.0, alpha))
    b = np.where(z_negative == 0, 0.0, np.where((z_positive == 0) & renormalize, 1.0, 1 - alpha))
    return Shares(
        a * _over(positive, z_positive) + b * _over(negative, z_negative),
        a * _over(bias_positive, z_positive) + b * _over(bias_negative, z_negative),
        np.zeros(z.shape[1]),
        1 - a - b,
    )


def flat(dense: Dense, x: Array) -> Shares:
    """1 / number of inputs of j (2.27)."""
    return _by_weight(dense.connected.astype(np.float64))


def w_square(dense: Dense, x: Array) -> Shares:
    """w_ij² / Σ_i w_ij² (2.28)."""
    return _by_weight(dense.weights**2)


def z_bounds(dense: Dense, x: Array, low: Array | float, high: Array | float) -> Shares:
    """x_i w_ij - l_i w_ij^+ - h_i w_ij^-, over their sum; bounds are numbers or arrays that broadcast to a sample."""
    w = dense.weights
    ends = [np.broadcast_to(bound, x.shape).reshape(-1, 1) for bound in (low, high)]
    return _by_weight(x.reshape(-1, 1) * w - ends[0] * np.maximum(w, 0) - ends[1] * np.minimum(w, 0))


def gamma(dense: Dense, x: Array, gamma: float) -> Shares:
    """z_ij + γ z_ij^+ where z_j >= 0, z_ij + γ z_ij^- where z_j < 0, over their sum with the bias alike."""
    z, below = dense.contributions(x), dense.output(x) < 0
    favoured = np.where(below, np.minimum(z, 0), np.maximum(z, 0))
    bias = dense.bias + gamma * np.where(below, np.minimum(dense.bias, 0), np.maximum(dense.bias, 0))
    numerator = z + gamma * favoured
    denominator = numerator.sum(0) + bias
    return Shares(_over(numerator, denominator), _over(bias, denominator), np.zeros(len(bias)), _empty(denominator))


def with_bias_policy(dense: Dense, shares: Shares, policy: str) -> Shares:
    """Shares of a rule after the bias policy: ``"absorb"``, ``"input"``, ``"distribute"`` (2.73) or ``"project"`` (2.74).

    What finds no place is dead. (For ``"ignore"``, take a ``Dense`` without bias.)
    """
    if policy == "distribute":
        connected = dense.connected.astype(np.float64)
        along, total = connected, connected.sum(0)
    elif policy == "project":
        along, total = dense.weights, (dense.weights**2).sum(0)
    else:
        return shares
    placed, lost = _over(along, total) * shares.bias, np.where(total == 0, shares.bias, 0.0)
    return replace(
        shares,
        messages=shares.messages + placed,
        bias=shares.bias - placed.sum(0) - lost,
        dead=shares.dead + lost,
    )


def _by_weight(weight: Array) -> Shares:
    total = weight.sum(0)
    none = np.zeros(weight.shape[1])
    return Shares(_over(weight, total), none, none, _empty(total))


def _empty(denominator: Array) -> Array:
    """1 where the denominator is 0, else 0."""
    return np.where(denominator == 0, 1.0, 0.0)


def _over(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, 0 where the denominator is 0."""
    zero = denominator == 0
    return np.where(zero, 0.0, numerator / np.where(zero, 1.0, denominator))
