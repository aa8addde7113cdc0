"""Activations pass relevance; gradient rules against central differences, for every operator and for whole networks."""

from __future__ import annotations

import inspect
from functools import lru_cache

import numpy as np
import onnx
import pytest

import graphlrp
from graphlrp.plugins.dnn import activation
from graphlrp.plugins.manager import Plugins
from graphlrp.testing import check_mapping
from tests.networks import Case, Network, as_float, evaluate, gradient, side_by_side

Array = np.ndarray

BATCH = 2
ANY = np.array([-4.1, -3.3, -2.2, -1.1, -0.7, -0.3, 0.2, 0.4, 0.6, 1.3, 2.4, 3.7])
POSITIVE = np.array([0.2, 0.4, 0.7, 1.1, 1.6, 2.5, 3.1, 0.9, 5.0, 0.05, 1.0, 2.0])
UNIT = np.array([-0.95, -0.7, -0.4, -0.2, -0.1, 0.05, 0.15, 0.3, 0.5, 0.6, 0.8, 0.9])


def normal(*shape: int) -> Array:
    return np.random.default_rng([6, len(shape), *shape]).normal(size=shape)


def case(operator: str, sample: tuple[int, ...] = (3, 2), **attributes: object) -> Case:
    return Case(operator, sample, {}, attributes)


CASES = {
    "Relu": (case("Relu"), ANY),
    "Clip": (Case("Clip", (3, 2), {1: np.array(-1.5), 2: np.array(2.0)}), ANY),
    "Clip from 0": (Case("Clip", (3, 2), {1: np.array(0.0)}), ANY),
    "Clip from 0 to 6": (Case("Clip", (3, 2), {1: np.array(0.0), 2: np.array(6.0)}), 2 * ANY),
    "Clip to 1": (Case("Clip", (3, 2), {1: None, 2: np.array(1.0)}), ANY),
    "Clip nothing": (case("Clip"), ANY),
    "LeakyRelu": (case("LeakyRelu"), ANY),
    "LeakyRelu 0.3": (case("LeakyRelu", alpha=0.3), ANY),
    "PRelu": (Case("PRelu", (3, 2), {1: np.array([[0.2], [0.0], [-0.5]])}), ANY),
    "PRelu scalar": (Case("PRelu", (3, 2), {1: np.array([0.1])}), ANY),
    "ThresholdedRelu": (case("ThresholdedRelu"), ANY),
    "ThresholdedRelu 0.5": (case("ThresholdedRelu", alpha=0.5), ANY),
    "HardSigmoid": (case("HardSigmoid"), ANY),
    "HardSigmoid 1/6": (case("HardSigmoid", alpha=1 / 6, beta=0.4), ANY),
    "HardSwish": (case("HardSwish"), ANY),
    "Abs": (case("Abs"), ANY),
    "Elu": (case("Elu", alpha=1.5), ANY),
    "Selu": (case("Selu"), ANY),
    "Selu 2": (case("Selu", alpha=2.0, gamma=0.7), ANY),
    "Celu": (case("Celu", alpha=1.7), ANY),
    "Shrink": (case("Shrink"), ANY),
    "Shrink with bias": (case("Shrink", lambd=1.0, bias=0.3), ANY),
    "Sigmoid": (case("Sigmoid"), ANY),
    "Tanh": (case("Tanh"), ANY),
    "Softplus": (case("Softplus"), ANY),
    "Softsign": (case("Softsign"), ANY),
    "Gelu": (case("Gelu"), ANY),
    "Gelu tanh": (case("Gelu", approximate="tanh"), ANY),
    "Mish": (case("Mish"), ANY),
    "Swish": (case("Swish"), ANY),
    "Swish 1.7": (case("Swish", alpha=1.7), ANY),
    "Erf": (case("Erf"), ANY),
    "Exp": (case("Exp"), ANY),
    "Log": (case("Log"), POSITIVE),
    "Sqrt": (case("Sqrt"), POSITIVE),
    "Reciprocal": (case("Reciprocal"), ANY),
    "Sin": (case("Sin"), ANY),
    "Cos": (case("Cos"), ANY),
    "Tan": (case("Tan"), UNIT),
    "Atan": (case("Atan"), ANY),
    "Asin": (case("Asin"), UNIT),
    "Acos": (case("Acos"), UNIT),
    "Sinh": (case("Sinh"), ANY),
    "Cosh": (case("Cosh"), ANY),
    "Asinh": (case("Asinh"), ANY),
    "Acosh": (case("Acosh"), 1 + POSITIVE),
    "Atanh": (case("Atanh"), UNIT),
    "Neg": (case("Neg"), ANY),
    "Pow 2": (Case("Pow", (3, 2), {1: np.array(2.0)}), ANY),
    "Pow 3, an integer": (Case("Pow", (3, 2), {1: np.array(3, np.int64)}), ANY),
    "Pow -0.5": (Case("Pow", (3, 2), {1: np.array(-0.5)}), POSITIVE),
    "Pow per channel": (Case("Pow", (3, 2), {1: np.array([[0.5], [2.0], [1.3]])}), POSITIVE),
    "Pow that enlarges": (Case("Pow", (3, 1), {1: np.array([1.5, 2.0, 0.5, 1.0])}), POSITIVE[:6]),
    "Pow of a constant": (Case("Pow", (3, 2), {0: np.array([[2.0], [0.5], [1.0]])}, position=1), ANY),
    "Identity": (case("Identity"), ANY),
    "Dropout": (case("Dropout"), ANY),
    "Cast": (case("Cast", to=onnx.TensorProto.DOUBLE), ANY),
}  # fmt: skip

for _one, _ in CASES.values():
    _one.opset = 24  # the operator set that has them all

REMOVED = ("Identity", "Dropout", "Cast")
"""Operators that canonicalisation removes, so that their mapping is hardly ever asked."""


@lru_cache
def all_of_them() -> onnx.ModelProto:
    """Every case in one model."""
    return side_by_side({name: one for name, (one, _) in CASES.items()}, dynamic=True)


def samples() -> dict[str, Array]:
    return {
        f"x{k}": np.random.default_rng(k).permutation(points).reshape(BATCH, *one.sample)
        for k, (one, points) in enumerate(CASES.values())
    }


def signals() -> dict[str, Array]:
    """A random signal at the output of every case."""
    result = {}
    for name, (one, points) in CASES.items():
        (y,) = evaluate(one.model(), {"x": points.reshape(BATCH, *one.sample)})
        result[name] = np.random.default_rng(8).normal(size=y.shape)
    return result


def explain(rule: str, dtype: str) -> dict[str, Array]:
    model = all_of_them() if dtype == "float64" else as_float(all_of_them())
    ledger = "strict" if rule == "epsilon" and dtype == "float64" else False
    explainer = graphlrp.load(model, rule, initial="one", dtype=dtype, ledger=ledger, providers="cpu", verify=False)
    weights = np.concatenate([signal.reshape(BATCH, -1) for signal in signals().values()], axis=1)
    relevance = explainer({name: x.astype(dtype) for name, x in samples().items()}, weights).relevance
    return {name: relevance[f"x{k}"] for k, name in enumerate(CASES)}


def test_every_activation_of_the_package_is_tested() -> None:
    classes = [value for _, value in inspect.getmembers(activation, inspect.isclass) if value.__module__ == activation.__name__]
    registered = {operator for cls in classes for _, operator in cls.operators}
    assert registered == {one.operator for one, _ in CASES.values()}


@pytest.mark.parametrize("name", [name for name, (one, _) in CASES.items() if one.operator not in REMOVED])
def test_activations(name: str) -> None:
    # The domain holds all pieces of what is piecewise; shapes of samples hold points enough to find them.
    one, points = CASES[name]
    model = one.model()
    report = check_mapping(
        Plugins().mappings["", one.operator],
        one.inputs(),
        operator=one.operator,
        attributes=one.attributes,
        forward=lambda *inputs: evaluate(model, {"x": inputs[one.position]})[0],
        domain=(float(points.min()), float(points.max())),
        opset=one.opset,
    )
    assert report["messages"].what == "own messages are the identity"
    assert {row.check for row in report if not row.passed} <= {"bounds", "policies", "facts"}


def test_dynamic_sizes() -> None:
    ours = explain("epsilon", "float64")
    for name, signal in signals().items():
        wanted = signal.sum(-1, keepdims=True) if name == "Pow that enlarges" else signal
        np.testing.assert_allclose(ours[name], wanted, rtol=1e-6, err_msg=name)
    ours = explain("gradient", "float32")
    for (name, signal), x in zip(signals().items(), samples().values(), strict=True):
        model = CASES[name][0].model()
        wanted = gradient(lambda points, model=model: evaluate(model, {"x": points})[0], x, signal, 1e-5)
        np.testing.assert_allclose(ours[name], wanted, rtol=1e-4, atol=1e-4, err_msg=name)


def convolutional() -> tuple[onnx.ModelProto, Array]:
    network = Network(x=["N", 2, 7, 6])
    value = network("Conv", "x", normal(4, 2, 3, 3), normal(4), pads=[1, 1, 1, 1])
    value = network("BatchNormalization", value, normal(4) + 1, normal(4), normal(4), np.abs(normal(4, 1)[:, 0]) + 0.5)
    value = network("Relu", value)
    value = network("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    value = network("LRN", value, size=3, alpha=0.7, beta=0.6, bias=1.2)
    value = network("BatchNormalization", value, normal(4), normal(4), normal(4), np.abs(normal(4, 1)[:, 0]) + 0.5)
    value = network("ConvTranspose", value, normal(4, 2, 2, 2), strides=[2, 1])
    value = network("AveragePool", network("Elu", value), kernel_shape=[2, 2], strides=[2, 1])
    value = network("Resize", value, None, np.array([1, 1, 1.5, 2.0], np.float32), mode="linear")
    value = network("LpPool", value, kernel_shape=[2, 2], strides=[2, 2], p=3)
    value = network("Flatten", network("Tanh", value))
    width = evaluate(network.model(value), {"x": np.zeros((1, 2, 7, 6))})[0].shape[1]
    return network.model(network("Gemm", value, normal(width, 3), normal(3))), normal(2, 2, 7, 6)


def attending() -> tuple[onnx.ModelProto, Array]:
    """A transformer block, its normalisation decomposed, with a gated unit behind it."""
    network = Network(x=["N", 3, 4])
    mean = network("ReduceMean", "x", np.array([-1]))
    centred = network("Sub", "x", mean)
    variance = network("ReduceMean", network("Mul", centred, centred), np.array([-1]))
    normalised = network("Div", centred, network("Sqrt", network("Add", variance, np.array(1e-3))))
    q, k, v = (network("MatMul", normalised, normal(4, 4) + k) for k in range(3))
    scores = network("Mul", network("MatMul", q, network("Transpose", k, perm=[0, 2, 1])), np.array(0.5))
    attended = network("Add", "x", network("MatMul", network("Softmax", scores, axis=-1), v))
    left, right = network("Split", network("MatMul", attended, normal(4, 6)), outputs=2, axis=2, num_outputs=2)
    gated = network("Mul", left, network("Sigmoid", right))
    return network.model(network("MatMul", network("Flatten", gated), normal(9, 2))), normal(2, 3, 4)


def assorted() -> tuple[onnx.ModelProto, Array]:
    """Products, quotients, extrema, branches, norms and movements of several active values."""
    network = Network(x=["N", 2, 5])
    a, b = network("Split", "x", outputs=2, axis=1, num_outputs=2)
    quotient = network("Div", a, network("Add", network("Exp", b), np.array(1.0)))
    inverse = network("Div", np.array(2.0), network("Add", network("Mul", a, a), np.array(0.5)))
    largest = network("Max", quotient, b, np.array(-0.1))
    smallest = network("Min", inverse, a)
    chosen = network("Where", network("Greater", a, b), network("Mul", a, b), network("Sub", b, inverse))
    joined = network("Concat", largest, smallest, chosen, network("Mean", a, b), axis=1)
    padded = network("Pad", joined, np.array([0, 1, 2, 0, 0, 1]), mode="reflect")
    picked = network("Gather", padded, np.array([0, 2, 2, 4]), axis=1)
    tiled = network(
        "Tile", network("Slice", picked, np.array([4]), np.array([0]), np.array([2]), np.array([-2])), np.array([1, 1, 2])
    )
    norms = [network(operator, tiled, np.array([2]), keepdims=0) for operator in ("ReduceL1", "ReduceL2", "ReduceSumSquare")]
    ends = [network(operator, tiled, np.array([2]), keepdims=0) for operator in ("ReduceMax", "ReduceMin", "ReduceSum")]
    return network.model(network("Concat", *norms, *ends, axis=1)), normal(2, 2, 5)


@pytest.mark.parametrize("build", [convolutional, attending, assorted], ids=lambda build: build.__name__)
def test_gradients_of_whole_networks(build: object) -> None:
    model, x = build()  # type: ignore[operator]
    (y,) = evaluate(model, {"x": x})
    signal = np.random.default_rng(2).normal(size=y.shape)
    explainer = graphlrp.load(model, "gradient", dtype="float64", verify=False)
    explanation = explainer(x, signal)
    np.testing.assert_allclose(explanation.output, y, rtol=1e-9, atol=1e-12)
    wanted = gradient(lambda points: evaluate(model, {"x": points})[0], x, signal)
    np.testing.assert_allclose(explanation.relevance, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())
    best = np.eye(y.shape[1])[y.argmax(1)]
    wanted = x * gradient(lambda points: evaluate(model, {"x": points})[0], x, best)
    ours = graphlrp.load(as_float(model), "gradient-x-input", providers="cpu", verify=False)(x.astype(np.float32)).relevance
    np.testing.assert_allclose(ours, wanted, rtol=2e-3, atol=1e-4 * np.abs(wanted).max())


def test_gradient_of_norms_of_zeros_is_zero() -> None:
    network = Network(x=["N", 1, 4])
    values = [network("LpPool", "x", kernel_shape=[2], strides=[2], p=p) for p in (1, 2, 3)]
    values += [network("GlobalLpPool", "x", p=3), network("ReduceL2", "x", np.array([2]))]
    model = network.model(network("Concat", *values, axis=2))
    x = np.array([[[0.0, 0.0, 3.0, -4.0]]])
    for dtype in ("float64", "float32"):
        explainer = graphlrp.load(model, "gradient", dtype=dtype, providers="cpu", verify=False)
        relevance = explainer(x.astype(dtype), np.ones((1, 1, 8))).relevance
        cubes = (27 + 64) ** (1 / 3)
        slopes = [1 + 3 / 5 + 9 / cubes**2 + 9 / cubes**2 + 3 / 5, -(1 + 4 / 5 + 16 / cubes**2 + 16 / cubes**2 + 4 / 5)]
        np.testing.assert_allclose(relevance, [[[0, 0, *slopes]]], rtol=1e-5)


def backward(rule: str, x: Array, weights: list[Array], biases: list[Array], signal: Array) -> Array:
    """Chain of dense layers with ReLUs between them, as section 3.2 treats the ReLUs."""
    inputs, h = [], x
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        inputs.append(h @ w + b)
        h = np.maximum(inputs[-1], 0)
    g = signal @ weights[-1].T
    for z, w in zip(reversed(inputs), reversed(weights[:-1]), strict=True):
        if rule in ("gradient", "guided-backprop"):
            g = np.where(z > 0, g, 0)
        if rule in ("deconvolution", "guided-backprop"):
            g = np.maximum(g, 0)
        g = g @ w.T
    return g


@pytest.mark.parametrize("rectifier", ["Relu", "Clip"])
@pytest.mark.parametrize("rule", ["gradient", "deconvolution", "guided-backprop"])
def test_deconvolution_and_guided_backprop(rule: str, rectifier: str) -> None:
    weights, biases = [normal(5, 7), normal(7, 6), normal(6, 3)], [normal(7), normal(6), normal(3)]
    network = Network(x=["N", 5])
    value = "x"
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        value = network("Gemm", value, w, b)
        value = network("Relu", value) if rectifier == "Relu" else network("Clip", value, np.array(0.0))
    model = network.model(network("Gemm", value, weights[-1], biases[-1]))
    x = normal(4, 5)
    for target, signal in ((2, np.eye(3)[[2, 2, 2, 2]]), (normal(4, 3), normal(4, 3))):
        ours = graphlrp.load(model, rule, dtype="float64", verify=False)(x, target).relevance
        expected = backward(rule, x, weights, biases, signal)
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)
