"""Which axes of a value are those of channels and of pixels."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import graphlrp

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(4, 2, 3, 3)).astype(np.float32)


def model(shape: list[object], nodes: list[onnx.NodeProto], output: list[object]) -> onnx.ModelProto:
    """From x of a shape to y, with a kernel that reads two channels."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, output)],
        [numpy_helper.from_array(KERNEL, "w"), numpy_helper.from_array(np.ones(2, np.float32), "mean")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_channels_are_where_the_convolution_reads_them():
    """Two channels are no picture's, so the shape alone tells nothing."""
    convolution = helper.make_node("Conv", ["x", "w"], ["y"])
    first = graphlrp.load(model(["N", 2, 5, 6], [convolution], ["N", 4, 3, 4]), "epsilon", class_axis=1)
    assert first(np.ones((1, 2, 5, 6), np.float32), "all").layout == "NCHW"
    behind = [
        helper.make_node("Sub", ["x", "mean"], ["c"]),
        helper.make_node("Transpose", ["c"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["y"]),
    ]
    last = graphlrp.load(model(["N", 5, 6, 2], behind, ["N", 4, 3, 4]), "epsilon", class_axis=1)
    explanation = last(RNG.normal(size=(1, 5, 6, 2)).astype(np.float32), "all")
    assert explanation.layout == last.plan.layout == "NHWC"
    assert explanation.relevance.shape == (1, 5, 6, 2)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (["N", 3, 5, 6], "NCHW"),
        (["N", 5, 6, 3], "NHWC"),
        (["N", 3, 6, 3], "NCHW"),
        (["N", 7, 5, 6], "NCHW"),
        (["N", "H", "W"], "NHW"),
        (["N", "H", "W", 3], "NHWC"),
        (["N", 5, 6], None),
        (["N", 5], None),
    ],
)
def test_without_such_an_operator_the_shape_tells(shape: list[object], expected: str | None):
    """Named axes first, then an axis of 1 or 3 entries."""
    explainer = graphlrp.load(model(shape, [helper.make_node("Relu", ["x"], ["y"])], shape), "epsilon", verify=False)
    assert explainer.plan.layout == expected
