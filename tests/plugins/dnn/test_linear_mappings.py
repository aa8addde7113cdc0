"""Every linear mapping under every rule and bias policy, against its dense z_ij."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphlrp
from graphlrp.plugins.manager import Plugins
from graphlrp.testing import Report, check_mapping
from tests.networks import Case


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng([len(shape), *shape]).normal(size=shape)


def check(case: Case, **options: Any) -> Report:
    mapping = Plugins().mappings["", case.operator]
    return check_mapping(mapping, case.inputs(), operator=case.operator, attributes=case.attributes, **options)


CASES = {
    "gemm": Case("Gemm", (5,), {1: normal(5, 4), 2: normal(4)}),
    "gemm transposed, scaled": Case("Gemm", (5,), {1: normal(4, 5), 2: normal(1, 4)}, {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    "gemm, negative alpha": Case("Gemm", (5,), {1: normal(5, 4), 2: normal(4)}, {"alpha": -0.75}),
    "gemm of one output": Case("Gemm", (5,), {1: normal(5, 1), 2: np.array([0.7])}),
    "gemm without bias": Case("Gemm", (5,), {1: normal(5, 4)}),
    "matmul": Case("MatMul", (5,), {1: normal(5, 4)}),
    "matmul with vector": Case("MatMul", (3, 5), {1: normal(5)}),
    "matmul of tokens": Case("MatMul", (3, 5), {1: normal(5, 2)}),
    "matmul from the left": Case("MatMul", (5, 2), {0: normal(3, 5)}, position=1),
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
    "average pool": Case("AveragePool", (2, 4, 4), {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "average pool overlapping": Case(
        "AveragePool", (2, 5, 5), {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    ),
    "average pool counting padding": Case(
        "AveragePool",
        (1, 5, 4),
        {},
        {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1},
    ),
    "average pool ceil": Case("AveragePool", (1, 5, 6), {}, {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
    "average pool 1d": Case("AveragePool", (2, 6), {}, {"kernel_shape": [3], "strides": [3]}),
    "average pool 3d": Case("AveragePool", (1, 3, 4, 4), {}, {"kernel_shape": [2, 2, 2], "strides": [1, 2, 2]}),
    "average pool same": Case(
        "AveragePool", (1, 5, 5), {}, {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}
    ),
    "average pool uncovered": Case("AveragePool", (1, 5, 5), {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "global average pool": Case("GlobalAveragePool", (3, 2, 4)),
    "reduce mean": Case("ReduceMean", (3, 4), {1: np.array([2])}, {"keepdims": 0}),
    "reduce sum": Case("ReduceSum", (3, 4, 2), {1: np.array([1, -1])}, {"keepdims": 1}),
    "resize nearest": Case("Resize", (2, 2, 3), {2: np.array([1, 1, 2, 2], np.float32)}, {"mode": "nearest"}),
    "resize linear": Case("Resize", (1, 3, 3), {2: np.array([1, 1, 2, 1.5], np.float32)}, {"mode": "linear"}),
    "resize linear down": Case("Resize", (1, 6, 4), {2: np.array([1, 1, 0.5, 0.5], np.float32)}, {"mode": "linear"}),
    "resize cubic": Case("Resize", (1, 4, 4), {2: np.array([1, 1, 1.5, 2], np.float32)}, {"mode": "cubic"}),
    "resize to sizes": Case(
        "Resize",
        (1, 3, 4),
        {3: np.array([5, 6])},
        {"mode": "linear", "axes": [2, 3], "coordinate_transformation_mode": "align_corners"},
    ),
    "resize 1d": Case("Resize", (2, 4), {2: np.array([1, 1, 2], np.float32)}, {"mode": "linear"}),
    "batch normalization": Case(
        "BatchNormalization",
        (3, 2, 2),
        {1: normal(3), 2: normal(3) + 1, 3: normal(3) * 2, 4: np.abs(normal(3, 1)[:, 0]) + 0.5},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_rule_equals_its_textbook_form(name: str) -> None:
    # And bias policies, gradients, batches, facts, float32: all that the conformance kit checks.
    report = check(CASES[name])
    assert "10 rules equal the textbook form" in report["messages"].what
    assert [row.check for row in report if not row.passed] in ([], ["bounds"])


def test_per_channel_bounds() -> None:
    report = check(CASES["conv 2d"], rules=[graphlrp.ZBounds((-3.0, -2.0), (2.5, 4.0))], domain=(-2.0, 2.4))
    assert report["messages"].what == "ZBounds(low=(-3.0, -2.0), high=(2.5, 4.0)) equals the textbook form"
