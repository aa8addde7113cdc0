"""What all baselines have in common: one graph, one file, targets, pipelines, the command line, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import graphlrp
from graphlrp import Epsilon, RuleError, select
from graphlrp.cli import main
from graphlrp.rules.randomness import ENTRIES
from tests.baselines.models import (
    DOUBLE,
    Array,
    explain,
    noise_of,
    normal,
    per_extent,
    per_sample,
    pictures,
    samples,
    smooth,
)
from tests.builders import residual_network
from tests.networks import Network, evaluate, gradient

METHODS: dict[str, dict[str, Any]] = {
    "gradient": {},
    "gradient-x-input": {},
    "sensitivity": {},
    "integrated-gradients": {"steps": 5, "baseline": 0.25},
    "smoothgrad": {"samples": 4},
    "deconvolution": {},
    "guided-backprop": {},
    "excitation-backprop": {},
    "grad-cam": {},
    "cam": {},
    "occlusion": {"window": 3, "stride": 2, "value": 0.5},
    "random": {},
}


# The sample decides the target


@pytest.mark.parametrize(
    ("name", "parameters"), [("smoothgrad", {"noise": 3.0}), ("integrated-gradients", {"baseline": -5.0}), ("occlusion", {})]
)
def test_the_target_is_that_of_the_sample(name: str, parameters: dict[str, Any]) -> None:
    # Two linear scores that change places wherever x is moved to.
    weights = np.array([[1.0, -1.0], [2.0, -2.0], [0.5, -0.5]])
    network = Network(x=["N", 3])
    model = network.model(network("Gemm", "x", weights))
    x = np.array([[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]])
    explanation = explain(model, name, x, **parameters)
    np.testing.assert_array_equal(explanation.target, [0, 1])
    expected = {
        "smoothgrad": weights.T,
        "integrated-gradients": (x + 5) * weights.T,
        "occlusion": x * weights.T,
    }[name]
    np.testing.assert_allclose(explanation.relevance, expected, rtol=1e-9, atol=1e-12)


# All alike


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_one_graph(name: str, batch: int | str, tmp_path: Path) -> None:
    model = residual_network(batch=batch)
    x = normal(5, 2, 8, 8).astype(np.float32)
    explainer = graphlrp.load(model, graphlrp.composite(name, **METHODS[name]))
    explanation = explainer(x)
    assert explanation.relevance.shape == x.shape and np.isfinite(explanation.relevance).all()
    # The outputs are those of the samples.
    (probabilities,) = onnxruntime.InferenceSession(residual_network().SerializeToString()).run(None, {"input": x})
    np.testing.assert_allclose(explanation.model_outputs["probabilities"], probabilities, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(explanation.target, probabilities.argmax(1))
    np.testing.assert_allclose(explanation.output, explainer.predict(x), rtol=1e-4, atol=1e-5)
    # A sample does not know of the others.
    scale = np.abs(explanation.relevance).max()
    np.testing.assert_allclose(explainer(x, batch_size=2).relevance, explanation.relevance, rtol=1e-5, atol=1e-6 * scale)
    np.testing.assert_allclose(explainer(x[3:4]).relevance[0], explanation.relevance[3], rtol=1e-5, atol=1e-6 * scale)
    np.testing.assert_array_equal(explainer(x).relevance, explanation.relevance)
    # One file for plain ONNX Runtime.
    for kind in ("index", "weights"):
        explainer.save(tmp_path / "explainer.onnx", target=kind)
        onnx.checker.check_model(onnx.load(tmp_path / "explainer.onnx"), full_check=True)
        session = onnxruntime.InferenceSession(tmp_path / "explainer.onnx")
        assert [value.name for value in session.get_inputs()] == ["input", "target"]
        assert [value.name for value in session.get_outputs()] == ["probabilities", "relevance"]
        target = np.array([1, -1]) if kind == "index" else normal(2, 3).astype(np.float32)
        expected = explainer(x[:2], [1, int(explanation.target[1])] if kind == "index" else target)
        output, relevance = session.run(None, {"input": x[:2], "target": target})
        np.testing.assert_allclose(relevance, expected.relevance, rtol=1e-5, atol=1e-6 * scale)
        np.testing.assert_allclose(output, probabilities[:2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_in_double_precision(name: str) -> None:
    model, x = residual_network(), normal(2, 2, 8, 8).astype(np.float32)
    composite = graphlrp.composite(name, **METHODS[name])
    single = graphlrp.load(model, composite)(x).relevance
    double = graphlrp.load(model, composite, dtype="float64")(x.astype(np.float64)).relevance
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-4 * np.abs(double).max())


def test_weights_are_stored_once(tmp_path: Path) -> None:
    network = Network(x=["N", 400], dtype=TensorProto.FLOAT)
    model = network.model(network("Gemm", network("Tanh", network("Gemm", "x", normal(400, 300))), normal(300, 3)))
    for name in ("gradient", "integrated-gradients", "smoothgrad", "occlusion"):
        graphlrp.load(model, name).save(tmp_path / f"{name}.onnx")
    plain = (tmp_path / "gradient.onnx").stat().st_size
    assert (tmp_path / "integrated-gradients.onnx").stat().st_size < plain + 20_000
    assert (tmp_path / "occlusion.onnx").stat().st_size < plain + 20_000
    assert (tmp_path / "smoothgrad.onnx").stat().st_size < plain + 20_000 + 4 * ENTRIES
    # In the body, where ONNX Runtime packs them.
    saved = onnx.load(tmp_path / "smoothgrad.onnx")
    (loop,) = saved.graph.node
    (body,) = (attribute.g for attribute in loop.attribute if attribute.name == "body")
    assert sum(int(np.prod(tensor.dims)) for tensor in saved.graph.initializer) < 10
    assert sum(int(np.prod(tensor.dims)) == 120_000 for tensor in body.initializer) == 1


def test_weights_too_large_for_one_file_go_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(2, 2, 8, 8).astype(np.float32)
    expected = graphlrp.load(residual_network(), "smoothgrad")(x).relevance
    for module in ("graphlrp.runtime", "graphlrp.ir.writing"):
        monkeypatch.setattr(f"{module}.PROTOBUF_LIMIT", 1000)
    explainer = graphlrp.load(residual_network(), "smoothgrad")
    np.testing.assert_array_equal(explainer(x).relevance, expected)
    explainer.save(tmp_path / "explainer.onnx")
    assert (tmp_path / "explainer.onnx.data").stat().st_size > 4 * ENTRIES
    session = onnxruntime.InferenceSession(tmp_path / "explainer.onnx")
    (relevance,) = session.run(["relevance"], {"input": x, "target": np.array([-1, -1])})
    np.testing.assert_array_equal(relevance, expected)


def test_several_inputs() -> None:
    network = Network(a=["N", 3], b=["N", 4])
    joined = network("Concat", "a", "b", axis=1)
    model = network.model(network("Gemm", network("Tanh", network("Gemm", joined, normal(7, 5))), normal(5, 2)))
    feeds = {"a": normal(2, 3), "b": normal(2, 4)}

    def f(a: Array, b: Array) -> Array:
        return evaluate(model, {"a": a, "b": b})[0][:, 1]

    both = graphlrp.load(model, graphlrp.composite("integrated-gradients", steps=20), **DOUBLE)(feeds, 1)
    total = per_sample(both.relevance["a"]) + per_sample(both.relevance["b"])
    np.testing.assert_allclose(total, f(**feeds) - f(0 * feeds["a"], 0 * feeds["b"]), rtol=1e-6)
    one = graphlrp.load(model, graphlrp.composite("integrated-gradients", steps=20), explain="a", **DOUBLE)(feeds, 1)
    np.testing.assert_allclose(per_sample(one.relevance), f(**feeds) - f(0 * feeds["a"], feeds["b"]), rtol=1e-6)
    windows = graphlrp.load(model, "occlusion", **DOUBLE)(feeds, 1)
    for name, array in feeds.items():
        for feature in range(array.shape[1]):
            hidden = {key: value.copy() for key, value in feeds.items()}
            hidden[name][:, feature] = 0
            np.testing.assert_allclose(windows.relevance[name][:, feature], f(**feeds) - f(**hidden), rtol=1e-9, atol=1e-12)
    noisy = graphlrp.load(model, graphlrp.composite("smoothgrad", samples=3), explain="b", **DOUBLE)(feeds, 1).relevance
    noise = noise_of(0, 3, 4)
    moved = [feeds["b"] + 0.15 * per_extent(feeds["b"]) * copy for copy in noise]
    slopes = [
        gradient(lambda b: evaluate(model, {"a": np.repeat(feeds["a"], 4, 0), "b": b})[0], b, np.eye(2)[[1, 1]]) for b in moved
    ]
    np.testing.assert_allclose(noisy, np.mean(slopes, axis=0), rtol=1e-5)


def test_pipelines() -> None:
    data = load_iris()
    network = make_pipeline(StandardScaler(), MLPClassifier((8,), "tanh", solver="lbfgs", max_iter=1000, random_state=0)).fit(
        data.data, data.target
    )
    machine = make_pipeline(StandardScaler(), SVC(decision_function_shape="ovr")).fit(data.data, data.target == 1)
    # The kernel machine is a model-local function, in the body as well.
    for estimator in (network, machine):
        x = data.data[::40]
        explainer = graphlrp.load(estimator, graphlrp.composite("integrated-gradients", steps=48, baseline=3.0))
        explanation = explainer(x)
        f, f0 = explainer.predict(x), explainer.predict(np.full_like(x, 3.0))
        rows = (f - f0)[np.arange(len(x)), explanation.target] if f.ndim > 1 and f.shape[1] > 1 else (f - f0).reshape(-1)
        np.testing.assert_allclose(per_sample(explanation.relevance), rows, rtol=1e-3, atol=1e-4)
        for name in ("sensitivity", "smoothgrad", "occlusion", "random"):
            assert graphlrp.load(estimator, name)(x).relevance.shape == x.shape
    labels = graphlrp.load(network, "smoothgrad")(data.data[::40])
    plain = graphlrp.load(network, "gradient")(data.data[::40])
    assert labels.model_outputs.keys() == plain.model_outputs.keys()
    for name, value in plain.model_outputs.items():
        np.testing.assert_allclose(labels.model_outputs[name], value, rtol=1e-5, atol=1e-6)


def test_outputs_of_other_types_are_those_of_the_sample() -> None:
    network = Network(x=["N", 4], dtype=TensorProto.FLOAT)
    score = network("Gemm", "x", normal(4, 3))
    best = network("ArgMax", score, axis=1, keepdims=0, result="best")
    positive = network("Greater", score, np.zeros(1), result="positive")
    model = network.model(score)
    model.graph.output.extend(
        [
            helper.make_tensor_value_info(best, TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info(positive, TensorProto.BOOL, ["N", 3]),
        ]
    )
    x = normal(3, 4).astype(np.float32)
    for name in ("smoothgrad", "integrated-gradients", "occlusion"):
        outputs = graphlrp.load(model, name)(x).model_outputs
        np.testing.assert_array_equal(outputs["best"], (x @ normal(4, 3).astype(np.float32)).argmax(1))
        np.testing.assert_array_equal(outputs["positive"], x @ normal(4, 3).astype(np.float32) > 0)


def test_restriction_and_rules_before_the_composite() -> None:
    model, x = pictures(), samples()
    parts = [explain(model, "integrated-gradients", x, 1, load={**DOUBLE, "restrict": {"maps": [k]}}).relevance for k in range(5)]
    np.testing.assert_allclose(sum(parts), explain(model, "integrated-gradients", x, 1).relevance, rtol=1e-9, atol=1e-12)
    given = {**DOUBLE, "rules": [(select.first(), graphlrp.rule("flat"))]}
    assert explain(model, "smoothgrad", x, load=given, noise=0).relevance.std(1).max() < 1e-12


# The command line and the plan


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sensitivity:norm=inf", "sensitivity: every -> Gradient(); ChannelNorm(norm=inf)"),
        ("sensitivity:norm=2", "ChannelNorm(norm=2)"),
        ("integrated-gradients:steps=8,baseline=0.5", "StraightPath(steps=8, baseline=0.5); TimesInput(baseline=0.5)"),
        ("integrated-gradients:baseline=0.5/1", "StraightPath(steps=32, baseline=(0.5, 1.0))"),
        ("smoothgrad:samples=3,noise=0.1,times_input=true,seed=4", "GaussianNoise(samples=3, noise=0.1, seed=4); TimesInput("),
        ("grad-cam", "layer=relu2"),
        ("grad-cam:layer=conv1", "layer=conv1"),
        ("cam", "ClassActivation(layer=None, rectified=False)"),
        ("occlusion:window=4/2,stride=2", "occlusion: HiddenWindows(window=(4, 2), stride=2, value=0)"),
        ("random:seed=3", "random: RandomNumbers(seed=3)"),
    ],
)
def test_command_line(text: str, shown: str, tmp_path: Path) -> None:
    onnx.save(residual_network(), tmp_path / "model.onnx")
    result = CliRunner().invoke(main, ["plan", str(tmp_path / "model.onnx"), "--composite", text])
    assert result.exit_code == 0, result.output
    assert shown in " ".join(result.output.split()), result.output


# Errors


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sensitivity", {"norm": 0}, "norm must be a number > 0 or infinity, not 0"),
        ("sensitivity", {"norm": "two"}, "norm must be a number > 0 or infinity, not 'two'"),
        ("sensitivity", {"norm": float("nan")}, "norm must be"),
        ("integrated-gradients", {"steps": 0}, "steps must be a whole number >= 1, not 0"),
        ("integrated-gradients", {"steps": 2.5}, "steps must be a whole number >= 1, not 2.5"),
        ("integrated-gradients", {"baseline": "black"}, "baseline must be a finite number, or one per channel, not 'black'"),
        ("integrated-gradients", {"baseline": float("inf")}, "baseline must be a finite number"),
        ("integrated-gradients", {"baseline": (0.0, 1.0)}, "baseline has 2 numbers, but 'x' of shape .* has 3 channels"),
        ("smoothgrad", {"samples": 0}, "samples must be a whole number >= 1"),
        ("smoothgrad", {"noise": -0.1}, "noise must be a number >= 0, not -0.1"),
        ("smoothgrad", {"seed": -1}, "seed must be a whole number >= 0"),
        ("smoothgrad", {"times_input": "perhaps"}, "times_input must be True or False, not 'perhaps'"),
        ("occlusion", {"window": 0}, "window must be a whole number >= 1"),
        ("occlusion", {"stride": 0}, "stride must be a whole number >= 1"),
        ("occlusion", {"window": 7}, "window 7 is larger than 'x' of shape"),
        ("occlusion", {"window": 2, "stride": 3}, "stride 3 leaves gaps between windows of 2"),
        ("occlusion", {"stride": 2}, "stride 2 leaves gaps between windows of 1"),
        ("occlusion", {"window": (2, 2, 2)}, "window=.* has 3 numbers, but 'x' .* has 2 axes of positions"),
        ("occlusion", {"value": (0.0,) * 4}, "value has 4 numbers, but 'x' of shape .* has 3 channels"),
        ("random", {"seed": 0.5}, "seed must be a whole number >= 0, not 0.5"),
        ("grad-cam", {"layer": "conv3"}, "no layer 'conv3' .*; convolutions are conv1, conv2"),
        ("grad-cam", {"layer": "score"}, "layer 'score' has no maps"),
    ],
)
def test_bad_parameters(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        graphlrp.load(pictures(), graphlrp.composite(name, **parameters))


def test_methods_that_do_not_fit_the_model() -> None:
    with pytest.raises(RuleError, match="no convolution with more than one position"):
        graphlrp.load(smooth(), "grad-cam")
    network = Network(x=["N", 12])
    maps = network("Conv", network("Reshape", "x", np.array([0, 3, 2, 2])), normal(2, 3, 1, 1))
    with pytest.raises(RuleError, match=r"maps of shape .* do not fit 'x'"):
        graphlrp.load(network.model(network("Flatten", network("GlobalAveragePool", maps))), "cam")
    network = Network(x=["N", 4])
    hidden = network("Tanh", network("Gemm", "x", normal(4, 4)), result="h")
    model = network.model(network("Add", hidden, "x"))
    with pytest.raises(RuleError, match="'h' depends on others; explain it alone"):
        graphlrp.load(model, "smoothgrad", explain=["x", "h"])
    whole = onnx.helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 4])
    network = Network(x=["N", 4], dtype=TensorProto.FLOAT)
    model = network.model(network("Gemm", network("Cast", "x", to=TensorProto.FLOAT), normal(4, 2)))
    model.graph.input[0].CopyFrom(whole)
    with pytest.raises(RuleError, match=r"'x' holds integers .*explain="):
        graphlrp.load(model, "smoothgrad")
    pixels = np.arange(8, dtype=np.uint8).reshape(2, 4)
    relevance = graphlrp.load(model, "gradient-x-input")(pixels, 1).relevance
    np.testing.assert_allclose(relevance, pixels * normal(4, 2)[:, 1], rtol=1e-6)


@pytest.mark.parametrize("name", ["sensitivity", "integrated-gradients", "smoothgrad", "grad-cam", "cam", "occlusion", "random"])
@pytest.mark.parametrize(
    "given", [{"ledger": True}, {"ledger": "strict"}, {"report": "maps"}, {"bias": "input"}], ids=lambda given: next(iter(given))
)
def test_what_has_no_ledger(name: str, given: dict[str, Any]) -> None:
    with pytest.raises(RuleError, match=rf"^{name} .*(no meaning)"):
        graphlrp.load(pictures(), name, **given)


@pytest.mark.parametrize("name", ["occlusion", "random"])
def test_rules_without_propagation_are_refused(name: str) -> None:
    with pytest.raises(RuleError, match="propagates nothing, so rules has no effect"):
        graphlrp.load(pictures(), name, rules=[(select.first(), Epsilon())])
    with pytest.raises(RuleError, match="propagates nothing, so restrict has no effect"):
        graphlrp.load(pictures(), name, restrict={"maps": [0]})


def test_conservation_is_not_claimed() -> None:
    assert not any(
        graphlrp.composite(name, **parameters).conserves for name, parameters in METHODS.items() if name != "excitation-backprop"
    )
    assert graphlrp.composite("excitation-backprop").conserves
