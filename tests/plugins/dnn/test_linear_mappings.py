"""Every linear mapping under every rule, against the dense z_ij oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphlrp
from tests import oracle


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng([len(shape), *shape]).normal(size=shape)


@dataclass
class Case:
    operator: str
    sample: tuple[int, ...]
    constants: dict[int, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    weight: int | None = 1
    position: int = 0
    batch: bool = True

    def model(self, batch: int | str = "N", dtype: int = TensorProto.DOUBLE, *, ones: bool = False) -> onnx.ModelProto:
        constants = dict(self.constants)
        if ones and self.weight is not None:
            constants[self.weight] = np.ones_like(constants[self.weight])
        shape = (batch, *self.sample)
        return oracle.single_node_model(self.operator, shape, constants, position=self.position, dtype=dtype, **self.attributes)


CASES = {
    "gemm": Case("Gemm", (5,), {1: normal(5, 4), 2: normal(4)}),
    "gemm transposed, scaled": Case("Gemm", (5,), {1: normal(4, 5), 2: normal(1, 4)}, {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    "gemm without bias": Case("Gemm", (5,), {1: normal(5, 4)}),
    "matmul": Case("MatMul", (5,), {1: normal(5, 4)}),
    "matmul with vector": Case("MatMul", (3, 5), {1: normal(5)}),
    "matmul of tokens": Case("MatMul", (3, 5), {1: normal(5, 2)}),
    "matmul from the left": Case("MatMul", (5, 2), {0: normal(3, 5)}, weight=0, position=1),
    "matmul broadcasting x": Case("MatMul", (1, 3, 5), {1: normal(2, 5, 4)}),
    "einsum": Case("Einsum", (3, 5), {1: normal(5, 3, 2)}, {"equation": "nab,bac->nac"}),
    "conv 1d": Case("Conv", (2, 7), {1: normal(3, 2, 3), 2: normal(3)}, {"pads": [1, 1]}),
    "conv 1d strided": Case("Conv", (2, 8), {1: normal(3, 2, 3), 2: normal(3)}, {"pads": [1, 0], "strides": [3]}),
    "conv 2d": Case("Conv", (2, 4, 5), {1: normal(3, 2, 3, 3), 2: normal(3)}, {"pads": [1, 1, 1, 1]}),
    "conv 2d 1x1": Case("Conv", (3, 2, 2), {1: normal(4, 3, 1, 1)}),
    "conv 2d 1x1 strided": Case("Conv", (3, 5, 4), {1: normal(2, 3, 1, 1)}, {"strides": [2, 2]}),
    "conv 2d strided": Case("Conv", (2, 6, 5), {1: normal(3, 2, 3, 3), 2: normal(3)}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "conv 2d strided 7": Case("Conv", (1, 8, 9), {1: normal(2, 1, 7, 7)}, {"pads": [3, 3, 3, 3], "strides": [2, 2]}),
    "conv 2d uneven strides": Case("Conv", (1, 7, 6), {1: normal(2, 1, 2, 3)}, {"pads": [0, 1, 1, 0], "strides": [3, 2]}),
    "conv 2d dilated": Case(
        "Conv", (2, 7, 6), {1: normal(2, 2, 3, 2), 2: normal(2)}, {"dilations": [2, 3], "pads": [2, 1, 1, 2]}
    ),
    "conv 2d dilated strided": Case(
        "Conv", (1, 9, 8), {1: normal(2, 1, 3, 2)}, {"dilations": [2, 2], "strides": [2, 3], "pads": [1, 0, 2, 1]}
    ),
    "conv 2d groups": Case("Conv", (4, 4, 4), {1: normal(6, 2, 3, 3), 2: normal(6)}, {"group": 2, "pads": [1, 1, 1, 1]}),
    "conv 2d groups strided": Case("Conv", (4, 5, 5), {1: normal(6, 2, 3, 3), 2: normal(6)}, {"group": 2, "strides": [2, 2]}),
    "conv 2d depthwise": Case("Conv", (3, 4, 4), {1: normal(3, 1, 3, 3), 2: normal(3)}, {"group": 3, "pads": [1, 1, 1, 1]}),
    "conv 2d depthwise strided": Case(
        "Conv", (3, 6, 5), {1: normal(3, 1, 3, 3)}, {"group": 3, "strides": [2, 2], "pads": [1, 1, 1, 1]}
    ),
    "conv 2d depthwise multiplied": Case("Conv", (2, 4, 4), {1: normal(4, 1, 2, 2)}, {"group": 2}),
    "conv 2d same upper": Case("Conv", (1, 5, 6), {1: normal(2, 1, 4, 3)}, {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    "conv 2d same lower": Case("Conv", (1, 5, 6), {1: normal(2, 1, 2, 4)}, {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
    "conv 2d valid": Case("Conv", (1, 5, 6), {1: normal(2, 1, 2, 2)}, {"auto_pad": "VALID", "strides": [2, 2]}),
    "conv 2d padding beyond kernel": Case("Conv", (1, 3, 3), {1: normal(2, 1, 2, 2)}, {"pads": [3, 2, 2, 3]}),
    "conv 3d": Case("Conv", (1, 3, 4, 3), {1: normal(2, 1, 2, 3, 2), 2: normal(2)}, {"pads": [1, 1, 0, 0, 1, 1]}),
    "conv 3d strided": Case("Conv", (1, 5, 4, 3), {1: normal(2, 1, 2, 3, 2)}, {"strides": [2, 2, 1]}),
    "convtranspose 1d": Case("ConvTranspose", (2, 5), {1: normal(2, 3, 3), 2: normal(3)}, {"strides": [2]}),
    "convtranspose 2d": Case(
        "ConvTranspose", (2, 3, 4), {1: normal(2, 3, 3, 3), 2: normal(3)}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}
    ),
    "convtranspose output padding": Case(
        "ConvTranspose", (2, 3, 3), {1: normal(2, 1, 3, 3)}, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}
    ),
    "convtranspose groups": Case("ConvTranspose", (4, 3, 3), {1: normal(4, 2, 2, 2)}, {"group": 2, "strides": [2, 2]}),
    "convtranspose dilated": Case("ConvTranspose", (1, 4, 3), {1: normal(1, 2, 2, 2)}, {"dilations": [2, 1]}),
    "average pool": Case("AveragePool", (2, 4, 4), {}, {"kernel_shape": [2, 2], "strides": [2, 2]}, weight=None),
    "average pool overlapping": Case(
        "AveragePool", (2, 5, 5), {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, weight=None
    ),
    "average pool counting padding": Case(
        "AveragePool",
        (1, 5, 4),
        {},
        {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1},
        weight=None,
    ),
    "average pool ceil": Case(
        "AveragePool", (1, 5, 6), {}, {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}, weight=None
    ),
    "average pool 1d": Case("AveragePool", (2, 6), {}, {"kernel_shape": [3], "strides": [3]}, weight=None),
    "average pool 3d": Case("AveragePool", (1, 3, 4, 4), {}, {"kernel_shape": [2, 2, 2], "strides": [1, 2, 2]}, weight=None),
    "average pool same": Case(
        "AveragePool", (1, 5, 5), {}, {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, weight=None
    ),
    "average pool uncovered": Case("AveragePool", (1, 5, 5), {}, {"kernel_shape": [2, 2], "strides": [2, 2]}, weight=None),
    "global average pool": Case("GlobalAveragePool", (3, 2, 4), weight=None),
    "reduce mean": Case("ReduceMean", (3, 4), {1: np.array([2])}, {"keepdims": 0}, weight=None),
    "reduce sum": Case("ReduceSum", (3, 4, 2), {1: np.array([1, -1])}, {"keepdims": 1}, weight=None),
    "resize nearest": Case("Resize", (2, 2, 3), {2: np.array([1, 1, 2, 2], np.float32)}, {"mode": "nearest"}, weight=None),
    "resize linear": Case("Resize", (1, 3, 3), {2: np.array([1, 1, 2, 1.5], np.float32)}, {"mode": "linear"}, weight=None),
    "resize linear down": Case("Resize", (1, 6, 4), {2: np.array([1, 1, 0.5, 0.5], np.float32)}, {"mode": "linear"}, weight=None),
    "resize cubic": Case("Resize", (1, 4, 4), {2: np.array([1, 1, 1.5, 2], np.float32)}, {"mode": "cubic"}, weight=None),
    "resize to sizes": Case(
        "Resize",
        (1, 3, 4),
        {3: np.array([5, 6])},
        {"mode": "linear", "axes": [2, 3], "coordinate_transformation_mode": "align_corners"},
        weight=None,
    ),
    "resize 1d": Case("Resize", (2, 4), {2: np.array([1, 1, 2], np.float32)}, {"mode": "linear"}, weight=None),
    "batch normalization": Case(
        "BatchNormalization",
        (3, 2, 2),
        {1: normal(3), 2: normal(3) + 1, 3: normal(3) * 2, 4: np.abs(normal(3, 1)[:, 0]) + 0.5},
        weight=None,
    ),
}

RULES: dict[str, tuple[graphlrp.Rule, Callable[..., np.ndarray]]] = {
    "LRP-0": (graphlrp.Epsilon(0.0), lambda d, x, r: oracle.epsilon(d, x, r, 0.0)),
    "epsilon": (graphlrp.Epsilon(0.1), lambda d, x, r: oracle.epsilon(d, x, r, 0.1)),
    "alpha2beta1": (graphlrp.AlphaBeta(2.0), lambda d, x, r: oracle.alpha_beta(d, x, r, 2.0)),
    "alpha2beta1 renormalized": (
        graphlrp.AlphaBeta(2.0, renormalize=True),
        lambda d, x, r: oracle.alpha_beta(d, x, r, 2.0, renormalize=True),
    ),
    "z+": (graphlrp.ZPlus(), lambda d, x, r: oracle.alpha_beta(d, x, r, 1.0)),
    "z+ renormalized": (graphlrp.ZPlus(renormalize=True), lambda d, x, r: oracle.alpha_beta(d, x, r, 1.0, renormalize=True)),
    "flat": (graphlrp.Flat(), oracle.flat),
    "w²": (graphlrp.WSquare(), oracle.w_square),
    "zB": (graphlrp.ZBounds(-4.0, 5.0), lambda d, x, r: oracle.z_bounds(d, x, r, np.full(x.size, -4.0), np.full(x.size, 5.0))),
    "gamma": (graphlrp.Gamma(0.5), lambda d, x, r: oracle.gamma(d, x, r, 0.5)),
}


@lru_cache
def dense(name: str) -> oracle.Dense:
    case = CASES[name]
    connected = oracle.forward(case.model(1, ones=True)) if case.weight is not None else None
    return oracle.probe(oracle.forward(case.model(1)), case.sample, connected)


def samples(case: Case) -> np.ndarray:
    """Signed, non-negative and partly zero inputs in one batch."""
    x = np.random.default_rng(3).normal(size=(4, *case.sample))
    x[1] = np.abs(x[1])
    x[2] = 0
    x[3].reshape(-1)[::2] = 0
    return x


def relevances(z: np.ndarray) -> np.ndarray:
    """Relevance that differs from output to output, of both signs."""
    return np.random.default_rng(5).normal(size=z.shape)


def rectified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same node behind a ReLU, so that its input is known not to be negative."""
    graph = model.graph
    graph.node[0].input[list(graph.node[0].input).index("x")] = "a"
    graph.node.insert(0, helper.make_node("Relu", ["x"], ["a"], name="the ReLU"))
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("nonnegative", [False, True], ids=["signed", "x>=0"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CASES)
def test_messages_equal_dense_oracle(name: str, rule: str, nonnegative: bool) -> None:
    case = CASES[name]
    x = samples(case)
    model = rectified(case.model()) if nonnegative else case.model()
    explainer = graphlrp.load(model, RULES[rule][0], dtype="float64", initial="one", ledger="strict", verify=False)
    inner = np.maximum(x, 0) if nonnegative else x
    z = np.stack([dense(name).contributions(sample).sum(0) + dense(name).bias for sample in inner])
    relevance = relevances(z)
    explanation = explainer(x, relevance.reshape(explainer(x).output.shape))
    np.testing.assert_allclose(explanation.output.reshape(z.shape), z, rtol=1e-9, atol=1e-9)
    expected = np.stack([RULES[rule][1](dense(name), s.reshape(-1), r) for s, r in zip(inner, relevance, strict=True)])
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(explanation.relevance.reshape(expected.shape), expected, rtol=1e-8, atol=1e-9 * scale)


@pytest.mark.parametrize("rule", ["epsilon", "alpha2beta1", "flat", "gamma"])
@pytest.mark.parametrize("name", CASES)
def test_onnx_runtime_agrees_with_the_oracle(name: str, rule: str) -> None:
    case = CASES[name]
    x = samples(case)
    single = graphlrp.load(case.model(dtype=TensorProto.FLOAT), RULES[rule][0], initial="one", providers="cpu", verify=False)
    relevance = relevances(single(x.astype(np.float32)).output)
    ours = single(x.astype(np.float32), relevance.astype(np.float32)).relevance
    assert ours.dtype == np.float32
    flat = relevance.reshape(len(x), -1)
    expected = np.stack([RULES[rule][1](dense(name), s.reshape(-1), r) for s, r in zip(x, flat, strict=True)])
    np.testing.assert_allclose(ours.reshape(expected.shape), expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "name", ["gemm", "conv 2d", "conv 2d strided", "conv 2d groups", "average pool overlapping", "resize linear"]
)
@pytest.mark.parametrize("policy", ["absorb", "distribute", "ignore", "input"])
def test_bias_policies(name: str, policy: str) -> None:
    case = CASES[name]
    x = samples(case)
    explainer = graphlrp.load(
        case.model(), graphlrp.Epsilon(1e-3), bias=policy, dtype="float64", initial="one", ledger="strict", verify=False
    )
    relevance = relevances(explainer(x).output)
    explanation = explainer(x, relevance)
    given = explanation.relevance["x"] if policy == "input" else explanation.relevance
    for index in range(len(x)):
        sample, r = x[index].reshape(-1), relevance[index].reshape(-1)
        full = dense(name)
        if policy == "ignore":
            expected = oracle.epsilon(oracle.Dense(full.weights, 0 * full.bias, full.connected), sample, r, 1e-3)
        else:
            expected = oracle.epsilon(full, sample, r, 1e-3)
        total = full.contributions(sample).sum(0) + full.bias
        share = full.bias * r / (total + 1e-3 * np.where(total >= 0, 1, -1))
        if policy == "distribute":
            expected = expected + oracle.flat(full, sample, share)
        if policy == "input":
            np.testing.assert_allclose(explanation.relevance["bias"][index], share.sum(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(given[index].reshape(-1), expected, rtol=1e-8, atol=1e-8)


def test_bias_projected_on_the_weights() -> None:
    # (2.74): R_d = w_d x_d + w_d / ||w||² b, for a linear predictor.
    w, b = normal(5, 1), np.array([0.7])
    model = oracle.single_node_model("Gemm", ("N", 5), {1: w, 2: b})
    x = normal(3, 5)
    explanation = graphlrp.load(model, graphlrp.Epsilon(0.0), bias="project", dtype="float64", ledger="strict", verify=False)(
        x, 0
    )
    expected = x * w[:, 0] + w[:, 0] / (w**2).sum() * b
    np.testing.assert_allclose(explanation.relevance, expected, rtol=1e-10)


def test_per_channel_bounds() -> None:
    case = CASES["conv 2d"]
    low, high = (-3.0, -2.0), (2.5, 4.0)
    x = np.clip(samples(case), -2, 2.4)
    explainer = graphlrp.load(
        case.model(), graphlrp.ZBounds(low, high), dtype="float64", initial="one", ledger="strict", verify=False
    )
    relevance = relevances(explainer(x).output)
    result = explainer(x, relevance).relevance
    spread = [np.broadcast_to(np.reshape(bound, (2, 1, 1)), case.sample).reshape(-1) for bound in (low, high)]
    for index in range(len(x)):
        expected = oracle.z_bounds(dense("conv 2d"), x[index].reshape(-1), relevance[index].reshape(-1), *spread)
        np.testing.assert_allclose(result[index].reshape(-1), expected, rtol=1e-9, atol=1e-9)
