"""A network as a step of a pipeline: relevance from the head's decision down to the network's input."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import graphlrp
from graphlrp import kernels

Array = np.ndarray[Any, Any]


def network(channels: int = 5) -> onnx.ModelProto:
    """Conv, Relu, global average pool, and a dense layer that the features leave out."""
    generator = np.random.default_rng(0)
    weights = {
        "W": generator.normal(size=(channels, 2, 3, 3)),
        "b": generator.normal(size=channels) * 0.1,
        "V": generator.normal(size=(channels, 3)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "W", "b"], ["maps"], pads=[1] * 4),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "V"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, 6, 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def pictures() -> tuple[Array, Array]:
    generator = np.random.default_rng(1)
    x, y = generator.random((60, 2, 6, 6)).astype(np.float32), np.arange(60) % 2
    x[y == 1, 0, :3] += 0.3
    return x, y


def test_a_linear_head_is_one_more_layer() -> None:
    x, y = pictures()
    fitted = make_pipeline(graphlrp.NetworkFeatures(network(), "pooled"), LogisticRegression(C=100)).fit(x, y)
    explanation = graphlrp.load(fitted, "epsilon-plus", dtype="float64", ledger="strict")(x[:4])
    # The same as one network, whose last layer has the head's weights.
    model = network()
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    weights["V"].CopyFrom(numpy_helper.from_array(fitted[1].coef_.T.astype(np.float32), "V"))
    bias = numpy_helper.from_array(fitted[1].intercept_.astype(np.float32), "c")
    model.graph.initializer.append(bias)
    model.graph.node[-1].input.append("c")
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    expected = graphlrp.load(model, "epsilon-plus", dtype="float64")(x[:4])
    np.testing.assert_allclose(explanation.output, expected.output[:, 0], atol=1e-6)
    np.testing.assert_allclose(explanation.relevance, expected.relevance, atol=1e-6)


@pytest.mark.parametrize("kernel", ["rbf", kernels.HistogramIntersection()], ids=str)
def test_a_kernel_machine_on_features_is_explained_down_to_the_pixels(kernel: Any) -> None:
    x, y = pictures()
    fitted = make_pipeline(graphlrp.NetworkFeatures(network(), "pooled"), StandardScaler(), SVC(kernel=kernel)).fit(x, y)
    explainer = graphlrp.load(fitted, dtype="float64", ledger="strict", report="networkfeatures/pooled")
    explanation = explainer(x[:4])
    np.testing.assert_allclose(explanation.output, fitted.decision_function(x[:4]), atol=1e-5)  # features are single precision
    assert explanation.relevance.shape == x[:4].shape
    features = fitted[0].transform(x[:4])
    head = graphlrp.load(fitted[1:], dtype="float64")(features)
    np.testing.assert_allclose(explanation.intermediate["networkfeatures/pooled"][..., 0, 0], head.relevance, atol=1e-4)
    assert "epsilon-plus-flat" in explainer.plan.composite


def test_the_step_behaves_like_one_of_scikit_learn() -> None:
    x, y = pictures()
    step = graphlrp.NetworkFeatures(network(), "active")
    assert step.fit_transform(x, y).shape == (60, 5 * 36)
    fitted = make_pipeline(clone(step), SVC(kernel="linear")).fit(x, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(again.decision_function(x), fitted.decision_function(x))
    np.testing.assert_allclose(graphlrp.load(again)(x[:3]).output, fitted.decision_function(x[:3]), atol=1e-4)
    references = graphlrp.convert(make_pipeline(step, SVC()).fit(x, y), references=x[:30])
    assert graphlrp.load(references)(x[:3]).relevance.shape == (3, 2, 6, 6)


def test_what_is_no_feature_extractor_is_refused() -> None:
    x, y = pictures()
    with pytest.raises(graphlrp.ModelError, match=r"no value 'polled'.*pooled"):
        graphlrp.NetworkFeatures(network(), "polled").fit(x)
    with pytest.raises(graphlrp.InputError, match=r"\[60, 2, 6, 5\]"):
        graphlrp.NetworkFeatures(network()).transform(x[..., :5])
    fitted = make_pipeline(graphlrp.NetworkFeatures(network(), "pooled"), SVC()).fit(x, y)
    with pytest.raises(graphlrp.InputError, match="references have shape"):
        graphlrp.convert(fitted, references=x[:, :1])
