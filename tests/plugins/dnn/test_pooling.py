"""Maxima, p-means and both policies of averages, against window membership found by probing ONNX Runtime.

(Probing the ONNX reference would not do: its pooling shifts windows under ``ceil_mode`` and loses rows with SAME_LOWER.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import graphlrp
from graphlrp.plugins.manager import Plugins
from graphlrp.testing import Report, check_mapping
from tests.networks import Case, as_float, runtime_forward, side_by_side

Array = np.ndarray
Oracle = Callable[[str, Array, Array, Array], Array]

MAXIMA = {
    "tiles": Case("MaxPool", (2, 4, 4), {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "uncovered rest": Case("MaxPool", (1, 5, 5), {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "overlapping": Case("MaxPool", (2, 5, 6), {}, {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "stride 1": Case("MaxPool", (1, 4, 5), {}, {"kernel_shape": [2, 3]}),
    "gaps between windows": Case("MaxPool", (1, 7, 8), {}, {"kernel_shape": [2, 1], "strides": [3, 2]}),
    "padded": Case("MaxPool", (2, 5, 5), {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "padded unevenly": Case("MaxPool", (1, 5, 4), {}, {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [0, 1, 2, 0]}),
    "ceil": Case("MaxPool", (1, 5, 6), {}, {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
    "ceil, far beyond": Case("MaxPool", (1, 6, 6), {}, {"kernel_shape": [4, 4], "strides": [4, 4], "ceil_mode": 1}),
    "ceil, padded": Case("MaxPool", (1, 6, 6), {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1}),
    "dilated": Case("MaxPool", (1, 7, 6), {}, {"kernel_shape": [2, 3], "dilations": [3, 2], "strides": [2, 1]}),
    "dilated, padded": Case("MaxPool", (1, 6, 5), {}, {"kernel_shape": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]}),
    "same upper": Case("MaxPool", (1, 5, 6), {}, {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": Case("MaxPool", (1, 5, 6), {}, {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "valid": Case("MaxPool", (1, 5, 6), {}, {"kernel_shape": [2, 2], "strides": [2, 3], "auto_pad": "VALID"}),
    "1d": Case("MaxPool", (2, 7), {}, {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}),
    "3d": Case("MaxPool", (1, 3, 4, 4), {}, {"kernel_shape": [2, 2, 3], "strides": [1, 2, 2], "pads": [0, 0, 1, 0, 0, 1]}),
    "global 1d": Case("GlobalMaxPool", (2, 5)),
    "global 2d": Case("GlobalMaxPool", (2, 3, 2)),
    "global 3d": Case("GlobalMaxPool", (1, 2, 2, 3)),
    "reduce max": Case("ReduceMax", (2, 3, 4), {1: np.array([2])}, {"keepdims": 0}),
    "reduce max, several axes": Case("ReduceMax", (2, 3, 4), {1: np.array([-1, 1])}, {"keepdims": 1}),
    "reduce max, several axes dropped": Case("ReduceMax", (2, 3, 4), {1: np.array([-1, 1])}, {"keepdims": 0}),
    "reduce min": Case("ReduceMin", (2, 3, 4), {1: np.array([-2])}, {"keepdims": 0}),
    "reduce min, kept": Case("ReduceMin", (3, 4), {1: np.array([1, 2])}),
}  # fmt: skip

NORMS = {
    "lp pool 1": Case("LpPool", (2, 4, 4), {}, {"kernel_shape": [2, 2], "strides": [2, 2], "p": 1}),
    "lp pool 2": Case("LpPool", (1, 5, 5), {}, {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "lp pool 3": Case("LpPool", (1, 5, 4), {}, {"kernel_shape": [2, 2], "strides": [2, 1], "p": 3, "pads": [1, 0, 0, 1]}),
    "lp pool dilated": Case("LpPool", (1, 6, 5), {}, {"kernel_shape": [2, 2], "dilations": [2, 3]}),
    "lp pool ceil": Case("LpPool", (1, 6, 5), {}, {"kernel_shape": [4, 2], "strides": [4, 2], "ceil_mode": 1}),
    "lp pool 1d": Case("LpPool", (2, 6), {}, {"kernel_shape": [3], "strides": [2]}),
    "global lp pool": Case("GlobalLpPool", (2, 3, 2), {}, {"p": 3}),
    "reduce l1": Case("ReduceL1", (2, 3, 4), {1: np.array([2])}, {"keepdims": 0}),
    "reduce l2": Case("ReduceL2", (2, 3, 4), {1: np.array([1, -1])}),
    "reduce l2 dropped": Case("ReduceL2", (2, 3, 4), {1: np.array([1, -1])}, {"keepdims": 0}),
    "reduce sum of squares": Case("ReduceSumSquare", (2, 3, 4), {1: np.array([-2])}, {"keepdims": 0}),
}  # fmt: skip

EXPONENTS = {"lp pool 1": 1, "lp pool 3": 3, "global lp pool": 3, "reduce l1": 1}

AVERAGES = {
    "average": Case("AveragePool", (2, 4, 4), {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "average ceil": Case("AveragePool", (1, 6, 5), {}, {"kernel_shape": [4, 2], "strides": [4, 2], "ceil_mode": 1}),
    "average padded": Case("AveragePool", (1, 5, 4), {}, {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1, 1, 1, 1]}),
    "average counting padding": Case(
        "AveragePool", (1, 5, 4), {}, {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1}
    ),
    "global average": Case("GlobalAveragePool", (2, 3, 2)),
    "reduce mean": Case("ReduceMean", (2, 3, 4), {1: np.array([3, -2])}, {"keepdims": 0}),
    "reduce sum": Case("ReduceSum", (2, 3, 4), {1: np.array([2])}, {"keepdims": 1}),
}  # fmt: skip

CASES = MAXIMA | NORMS | AVERAGES


@lru_cache
def forward(name: str) -> Callable[..., list[Array]]:
    return runtime_forward(CASES[name].model())


@lru_cache
def members(name: str) -> Array:
    """Whether input i is in window j, [D, M]: the output changes when one input alone stands out."""
    case = CASES[name]
    low, high = (1.0, -1.0) if case.operator == "ReduceMin" else (0.0, 1.0) if name in NORMS else (-1.0, 1.0)
    size = int(np.prod(case.sample))
    x = np.full((size + 1, *case.sample), low)
    x.reshape(size + 1, size)[np.arange(size), np.arange(size)] = high
    z = forward(name)(x=x)[0].reshape(size + 1, -1)
    return np.abs(z[:-1] - z[-1]) > 1e-6


def winner_takes_all(name: str, x: Array, z: Array, relevance: Array) -> Array:
    """(2.35): all inputs of j that are equal to z_j share R_j."""
    result = np.zeros(len(x))
    for j in range(len(z)):
        winners = members(name)[:, j] & (x == z[j])
        result[winners] += relevance[j] / winners.sum()
    return result


def share_by_power(name: str, x: Array, z: Array, relevance: Array) -> Array:
    """(2.82): |x_i|^p / Σ |x|^p; nothing where all inputs are zero."""
    powers = members(name) * np.abs(x[:, None]) ** EXPONENTS.get(name, 2)
    total = powers.sum(0)
    return (powers / np.where(total > 0, total, 1) * relevance).sum(1)


def share_equally(name: str, x: Array, z: Array, relevance: Array) -> Array:
    """R_j / number of inputs of j."""
    inside = members(name)
    return (inside / inside.sum(0) * relevance).sum(1)


def samples(case: Case) -> Array:
    """Numbers without ties, whole numbers with many, all negative with ties (padding would win if it could)."""
    generator = np.random.default_rng(7)
    x = generator.normal(size=(3, *case.sample)).astype(np.float32).astype(np.float64)
    x[1] = generator.integers(-1, 2, size=case.sample)
    x[2] = -1.0 - generator.integers(0, 2, size=case.sample)
    return x


def expected(name: str, oracle: Oracle) -> tuple[Array, Array, Array, Array]:
    """Samples, outputs, random relevance of the outputs and what the oracle makes of it."""
    x = samples(CASES[name])
    z = forward(name)(x=x)[0].astype(np.float64)
    relevance = np.random.default_rng(5).normal(size=z.shape)
    rows = zip(x.reshape(3, -1), z.reshape(3, -1), relevance.reshape(3, -1), strict=True)
    return x, z, relevance, np.stack([oracle(name, *row) for row in rows]).reshape(x.shape)


def messages(name: str, oracle: Oracle) -> Callable[..., Array]:
    """An oracle as the conformance kit takes it."""

    def of(inputs: list[Any], output: Array, relevance: Array) -> Array:
        x = inputs[0]
        rows = zip(*(array.reshape(len(x), -1) for array in (x, output, relevance)), strict=True)
        return np.stack([oracle(name, *row) for row in rows]).reshape(x.shape)

    return of


def check_one(name: str, **options: Any) -> Report:
    """Static sizes, with all that the conformance kit checks; the forward pass is that of ONNX Runtime."""
    case = CASES[name]
    mapping = Plugins().mappings["", case.operator]
    return check_mapping(
        mapping,
        case.inputs(),
        operator=case.operator,
        attributes=case.attributes,
        forward=lambda x, *constants: forward(name)(x=x)[0],
        **options,
    )


def check_all(cases: dict[str, Case], oracle: Oracle, dtype: str, *, dynamic: bool, **options: Any) -> None:
    """All cases in one model, with a dynamic batch and perhaps dynamic spatial sizes; float32 is ONNX Runtime."""
    model = side_by_side(cases, dynamic=dynamic)
    if dtype == "float32":
        model = as_float(model)
    explainer = graphlrp.load(model, initial="one", dtype=dtype, verify=False, providers="cpu", **options)
    answers = [expected(name, oracle) for name in cases]
    feeds = {f"x{k}": answer[0].astype(dtype) for k, answer in enumerate(answers)}
    explanation = explainer(feeds, np.concatenate([answer[2].reshape(3, -1) for answer in answers], axis=1))
    tolerance = 1e-9 if dtype == "float64" else 1e-5
    for k, (name, answer) in enumerate(zip(cases, answers, strict=True)):
        np.testing.assert_allclose(explanation.relevance[f"x{k}"], answer[3], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", MAXIMA)
def test_winner_takes_all_and_ties_share(name: str) -> None:
    assert check_one(name, messages=messages(name, winner_takes_all))["messages"].passed


@pytest.mark.parametrize("name", NORMS)
def test_norms_share_by_power(name: str) -> None:
    assert check_one(name, messages=messages(name, share_by_power))["messages"].passed


@pytest.mark.parametrize("name", AVERAGES)
def test_policies_of_averages(name: str) -> None:
    policies = {"average": {"activation": None, "uniform": messages(name, share_equally)}}
    report = check_one(name, rules=[], policies=policies)
    assert report["messages"].what == "own messages equal the textbook form"
    assert report["policies"].what == "conserves with average=activation, average=uniform"


def test_high_powers_come_close_to_the_maximum() -> None:
    # (2.82) in the limit p → ∞.
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    power, maximum = Case("LpPool", (2, 4, 4), {}, {**attributes, "p": 200}), Case("MaxPool", (2, 4, 4), {}, attributes)
    x = np.random.default_rng(1).permuted(np.linspace(0.5, 1.5, 32)).reshape(1, 2, 4, 4)
    relevance = np.random.default_rng(2).normal(size=(1, 2, 2, 2))
    ours = [
        graphlrp.load(case.model(), initial="one", dtype="float64", ledger="strict", verify=False)(x, relevance).relevance
        for case in (power, maximum)
    ]
    np.testing.assert_allclose(*ours, atol=0.01)


def test_dynamic_sizes() -> None:
    check_all(MAXIMA, winner_takes_all, "float64", dynamic=True)
    check_all(NORMS, share_by_power, "float64", dynamic=True)
    check_all(AVERAGES, share_equally, "float64", dynamic=True, average="uniform")


def test_dynamic_sizes_on_onnx_runtime() -> None:
    def half(cases: dict[str, Case]) -> dict[str, Case]:
        """Every other case; with static sizes, the conformance kit runs them all on ONNX Runtime."""
        return {name: case for index, (name, case) in enumerate(cases.items()) if index % 2}

    check_all(half(MAXIMA), winner_takes_all, "float32", dynamic=True)
    check_all(half(NORMS), share_by_power, "float32", dynamic=True)
    check_all(half(AVERAGES), share_equally, "float32", dynamic=True, average="uniform")
