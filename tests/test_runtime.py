"""Sessions, providers, batches and what is saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

import graphlrp
from tests.builders import residual_network
from tests.networks import Network


def data(count: int) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(count, 2, 8, 8)).astype(np.float32)


def test_batches_give_what_one_run_gives_and_report_progress() -> None:
    explainer = graphlrp.load(residual_network(), "epsilon-plus", ledger=True)
    x = data(11)
    whole = explainer(x)
    seen: list[tuple[int, int]] = []
    parts = explainer(x, batch_size=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 11), (8, 11), (11, 11)]
    np.testing.assert_allclose(parts.relevance, whole.relevance, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(parts.target, whole.target)
    assert parts.conservation_error.shape == (11,)
    assert len(parts.ledger) == len(whole.ledger)
    assert parts.ledger.worst.relevance_in.shape == (11,)


@pytest.mark.parametrize("batch", [1, 4])
def test_static_batch_sizes(batch: int) -> None:
    x = data(6)
    expected = graphlrp.load(residual_network(), "epsilon-plus")(x, 1).relevance
    explanation = graphlrp.load(residual_network(batch=batch), "epsilon-plus", ledger="strict")(x, 1)
    np.testing.assert_allclose(explanation.relevance, expected, rtol=1e-5, atol=1e-7)
    assert explanation.conservation_error.shape == (6,)


def test_float64_verifies_float32() -> None:
    x = data(2)
    single = graphlrp.load(residual_network(), "epsilon-alpha2beta1-flat", ledger="strict")(x, 0)
    double = graphlrp.load(residual_network(), "epsilon-alpha2beta1-flat", ledger="strict", dtype="float64")(x, 0)
    assert double.relevance.dtype == np.float64
    assert (double.conservation_error < 1e-12).all()
    np.testing.assert_allclose(single.relevance, double.relevance, rtol=1e-3, atol=1e-5)


def test_providers_that_are_not_there_are_errors() -> None:
    with pytest.raises(graphlrp.ProviderError, match="NoSuchProvider"):
        graphlrp.load(residual_network(), providers=["NoSuchProvider"])
    if not any(device.ep_name == "CUDAExecutionProvider" for device in onnxruntime.get_ep_devices()):
        with pytest.raises(graphlrp.ProviderError, match="CUDA"):
            graphlrp.load(residual_network(), providers="cuda")


@pytest.mark.parametrize("target", ["index", "weights"])
def test_saved_file_equals_the_explainer(tmp_path: Path, target: str) -> None:
    explainer = graphlrp.load(residual_network(), "epsilon-plus-flat", ledger=True, bias="input")
    path = tmp_path / "explainer.onnx"
    explainer.save(path, target=target)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input", "target"]
    assert [o.name for o in session.get_outputs()] == ["probabilities", "relevance", "relevance/bias"]
    x = data(3)
    weights = np.random.default_rng(5).normal(size=(3, 3)).astype(np.float32)
    given = np.array([-1, 0, 2]) if target == "index" else weights
    best = int(explainer(x).target[0])
    expected = explainer(x, [best, 0, 2] if target == "index" else weights)
    probabilities, relevance, bias = session.run(None, {"input": x, "target": given})
    np.testing.assert_allclose(relevance, expected.relevance["input"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(bias, expected.relevance["bias"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(probabilities, expected.model_outputs["probabilities"], rtol=1e-6)
    assert list(tmp_path.iterdir()) == [path]


def test_saved_nodes_say_who_made_them(tmp_path: Path) -> None:
    import onnx

    graphlrp.load(residual_network(), "epsilon-plus-flat").save(tmp_path / "e.onnx")
    model = onnx.load(tmp_path / "e.onnx")
    emitted = [n for n in model.graph.node if n.name.startswith("relevance/conv1/")]
    assert emitted
    assert {(p.key, p.value) for p in emitted[0].metadata_props} == {
        ("graphlrp.node", "conv1"),
        ("graphlrp.operator", "Conv"),
        ("graphlrp.rule", "Flat()"),
    }
    assert {p.key for p in model.metadata_props} >= {"graphlrp.composite", "graphlrp.explains"}


def test_a_saved_file_refuses_a_class_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "explainer.onnx"
    graphlrp.load(residual_network(), "epsilon").save(path)
    session = onnxruntime.InferenceSession(str(path))
    x = np.zeros((1, 2, 8, 8), np.float32)
    assert np.isfinite(session.run(None, {"input": x, "target": np.array([2])})[1]).all()
    with pytest.raises(Exception, match="out of data bounds"):
        session.run(None, {"input": x, "target": np.array([3])})


def test_relevance_that_blows_up_is_told() -> None:
    net = Network(TensorProto.FLOAT, x=["N", 2])
    difference = net("Gemm", "x", np.array([[1.0], [-1.0]]), np.array([1.0]), name="difference")
    model = net.model(net("Gemm", difference, np.array([[1.0, 2.0]]), name="head"))
    x = np.array([[1.0, 1.0 - 1e-7]], np.float32)
    with pytest.warns(graphlrp.RelevanceWarning, match="relevance grew to .* times the explained value under 'Epsilon"):
        graphlrp.load(model, graphlrp.Epsilon(1e-9), bias="ignore")(x)


def test_predict_gives_the_explained_output_without_relevance() -> None:
    explainer = graphlrp.load(residual_network(), "epsilon-plus")
    x = data(7)
    np.testing.assert_allclose(explainer.predict(x, batch_size=3), explainer(x).output, rtol=1e-5, atol=1e-6)
    static = graphlrp.load(residual_network(batch=4))
    np.testing.assert_allclose(static.predict(x), explainer.predict(x), rtol=1e-5, atol=1e-6)
    inner = graphlrp.load(residual_network(), output="r1")
    np.testing.assert_allclose(inner.predict(x), inner(x).output, rtol=1e-5, atol=1e-6)


def test_predict_removes_the_softmax_as_explaining_does() -> None:
    net = Network(TensorProto.FLOAT, x=["N", 3])
    weight = np.random.default_rng(0).normal(size=(3, 4))
    model = net.model(net("Softmax", net("MatMul", "x", weight), axis=-1))
    x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(graphlrp.load(model).predict(x), x @ weight, rtol=1e-5)
