"""The node tests of ONNX itself: every supported operator as its authors exercise it runs, conserves and keeps its value."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import graphlrp
from graphlrp.plugins.dnn import MAPPINGS

# A terminal softmax or sigmoid is removed from the explained function, so a model of one node has nothing left.
OPERATORS = sorted({name for mapping in MAPPINGS for _, name in mapping.operators} - {"Softmax", "Sigmoid"})

# The node tests of these move the batch, drop it, or take integers.
NO_BATCH = {"Cast", "Dropout", "Einsum", "Tile", "Trilu", "Where"}

# Operators whose real-valued inputs are all data; of the others only the first is.
SEVERAL = {"Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min", "Concat", "Where", "MatMul"}

# What these cases do is refused with a RuleError that says so: random outputs, samples that depend on each other.
REFUSED = {
    "test_training_dropout",
    "test_training_dropout_default",
    "test_training_dropout_mask",
    "test_training_dropout_default_mask",
    "test_batchnorm_example_training_mode",
    "test_batchnorm_epsilon_training_mode",
    "test_resize_tf_crop_and_resize",
    "test_resize_tf_crop_and_resize_extrapolation_value",
    "test_resize_tf_crop_and_resize_axes_2_3",
    "test_resize_tf_crop_and_resize_axes_3_2",
}

# ONNX Runtime computes other numbers than the ONNX specification here; nothing of ours is involved.
RUNTIME_DEVIATES = {"test_resize_downsample_scales_linear_align_corners", "test_resize_downsample_scales_cubic_align_corners"}


@lru_cache
def cases() -> dict[str, list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found: dict[str, list[Any]] = {}
        for case in collect_testcases(None):
            if len(case.model.graph.node) == 1:
                found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


def array(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def as_model(case: Any) -> tuple[onnx.ModelProto, dict[str, np.ndarray], np.ndarray] | None:
    """Model, data and expected output with the parameters as initializers; None if it takes no batch of real numbers."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    if not graph.output[0].type.HasField("tensor_type"):
        return None
    # Cases carry the newest operator set, which runtimes may not know, though the operator is an old one.
    if onnx.defs.get_schema(graph.node[0].op_type, model.opset_import[0].version).since_version <= 21:
        model.opset_import[0].version = min(model.opset_import[0].version, 21)
    names = [value.name for value in graph.input]
    inputs, outputs = case.data_sets[0]
    values = [array(value) for value in inputs]
    expected = array(outputs[0])
    if len(values) != len(names) or not values or expected.dtype != np.float32 or values[0].dtype != np.float32:
        return None
    several = graph.node[0].op_type in SEVERAL
    data = [n for k, (n, v) in enumerate(zip(names, values, strict=True)) if v.dtype.kind == "f" and (several or not k)]
    for name, value in zip(names, values, strict=True):
        if name not in data:
            graph.initializer.append(numpy_helper.from_array(value, name))
    for value in [value for value in graph.input if value.name not in data]:
        graph.input.remove(value)
    feeds = {name: value for name, value in zip(names, values, strict=True) if name in data}
    shapes = [value.shape for value in feeds.values()] + [expected.shape]
    # A batch: every tensor has one, of the same size and not empty.
    if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) != 1 or 0 in expected.shape:
        return None
    if any(value.size == 0 or not np.isfinite(value).all() for value in feeds.values()):
        return None
    return model, feeds, expected


def runs(model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime has a kernel for the types of the case and knows its operator set."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = 10
    try:
        onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except (onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented, onnxruntime.capi.onnxruntime_pybind11_state.Fail):
        return False
    return True


@pytest.mark.parametrize("operator", OPERATORS)
def test_node_tests_of_onnx(operator: str) -> None:
    tried = unknown = 0
    for case in cases().get(operator, []):
        prepared = as_model(case)
        if prepared is None:
            continue
        model, feeds, expected = prepared
        output = model.graph.output[0].name
        if case.name in REFUSED:
            with pytest.raises(graphlrp.RuleError):
                graphlrp.load(model, output=output)
            continue
        if operator == "Einsum" and len(model.graph.node[0].input) == 1:
            continue
        if not runs(model):
            unknown += 1
            continue
        explainer = graphlrp.load(model, "epsilon", ledger="strict", initial="one", output=output, providers="cpu")
        relevance = np.random.default_rng(0).normal(size=expected.shape).astype(np.float32)
        explanation = explainer(feeds, relevance, batch_size=10**6)
        if case.name not in RUNTIME_DEVIATES:
            np.testing.assert_allclose(explanation.output, expected, rtol=1e-3, atol=1e-5, err_msg=case.name)
        assert explanation.conservation_error.max() < 1e-4, case.name
        tried += 1
    assert tried or unknown or operator not in cases() or operator in NO_BATCH, "no node test of ONNX suits this operator"
