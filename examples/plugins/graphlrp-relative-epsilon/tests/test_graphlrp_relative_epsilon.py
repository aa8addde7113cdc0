"""The rule against its textbook form, and rule and preset in a model."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from graphlrp_relative_epsilon import RelativeEpsilon
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

import graphlrp
from graphlrp.testing import check_rule, rule_suite
from graphlrp.testing.dense import epsilon as textbook_epsilon


def textbook(fraction):
    """The rule for a layer given as a matrix."""

    def expected(dense, x, relevance):
        z = dense.output(x)
        denominator = z + fraction * np.sqrt(np.mean(z**2)) * np.where(z < 0, -1, 1)
        return dense.contributions(x) @ np.divide(relevance, denominator, out=np.zeros_like(z), where=denominator != 0)

    return expected


TestQuarter = rule_suite(RelativeEpsilon(), expected=textbook(0.25))
TestLarge = rule_suite(RelativeEpsilon(2.0), expected=textbook(2.0))
TestZero = rule_suite(RelativeEpsilon(0.0), expected=textbook(0.0))


def test_epsilon_of_the_sample():
    """It is the ε rule with the ε of the sample at hand."""

    def expected(dense, x, relevance):
        scale = np.sqrt(np.mean(dense.output(x) ** 2))
        return textbook_epsilon(dense, x, 0.25 * scale).relevance(relevance) if scale else np.zeros(len(x))

    assert check_rule(RelativeEpsilon(), expected=expected)["messages"].what


def network():
    """Two convolutions with ReLU, a mean over space, two dense layers."""
    numbers = np.random.default_rng(1)
    shapes = {"k1": (4, 3, 3, 3), "b1": (4,), "k2": (4, 4, 3, 3), "b2": (4,), "w3": (4, 6), "b3": (6,), "w4": (6, 5), "b4": (5,)}
    tensors = [onnx.numpy_helper.from_array(numbers.normal(size=s).astype(np.float32) / 3, name) for name, s in shapes.items()]
    tensors.append(onnx.numpy_helper.from_array(np.array([2, 3]), "axes"))
    nodes = [
        make_node("Conv", ["x", "k1", "b1"], ["conv1"], "conv1", pads=[1, 1, 1, 1]),
        make_node("Relu", ["conv1"], ["relu1"], "relu1"),
        make_node("Conv", ["relu1", "k2", "b2"], ["conv2"], "conv2"),
        make_node("Relu", ["conv2"], ["relu2"], "relu2"),
        make_node("ReduceMean", ["relu2", "axes"], ["mean"], "mean", keepdims=0),
        make_node("Gemm", ["mean", "w3", "b3"], ["dense"], "dense"),
        make_node("Relu", ["dense"], ["relu3"], "relu3"),
        make_node("Gemm", ["relu3", "w4", "b4"], ["y"], "head"),
    ]
    x = make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, "H", "W"])
    y = make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5])
    return make_model(make_graph(nodes, "network", [x], [y], tensors), opset_imports=[make_opsetid("", 18)], ir_version=10)


X = np.random.default_rng(2).uniform(-1, 1, size=(4, 3, 6, 5)).astype(np.float32)


def chosen(composite):
    """Node -> rule, of the nodes that got one."""
    return {row.node: row.rule for row in graphlrp.load(network(), composite).plan.rows if row.rule[0] != "("}


@pytest.mark.parametrize("bias", ["absorb", "distribute", "ignore", "input"])
def test_in_a_model(bias):
    """All relevance is accounted for, and ε takes a part that grows with the fraction."""
    taken = []
    for fraction in (0.0, 0.25, 1.0):
        explainer = graphlrp.load(network(), graphlrp.rule("relative-epsilon", fraction=fraction), ledger="strict", bias=bias)
        ledger = explainer(X).ledger
        taken.append(abs(ledger["head"].stabilizer))
    assert not taken[0].any() and (taken[1] < taken[2]).all()


def test_samples_apart():
    """The ε of a sample does not depend on the batch it comes in."""
    explainer = graphlrp.load(network(), graphlrp.rule("relative-epsilon"))
    assert np.allclose(explainer(X).relevance[2:3], explainer(X[2:3]).relevance, atol=1e-6)


def test_scale_of_the_layer():
    """Ten times the activations, ten times the ε: the shares stay what they are."""
    x, w = np.abs(X[:, :, 0, 0]), np.random.default_rng(3).normal(size=(3, 5)).astype(np.float32)
    tensors = [onnx.numpy_helper.from_array(w, "w")]
    ends = [make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size]) for name, size in (("x", 3), ("y", 5))]
    graph = make_graph([make_node("MatMul", ["x", "w"], ["y"], "dense")], "dense", ends[:1], ends[1:], tensors)
    model = make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10)
    explainer = graphlrp.load(model, graphlrp.rule("relative-epsilon"), initial="one")
    assert np.allclose(explainer(x, 1).relevance, explainer(10 * x, 1).relevance, atol=1e-5)


def test_preset():
    """Flat at the input, relative ε in between, ε at the top; z^B where the bounds are given; more top layers if wanted."""
    hidden = "RelativeEpsilon(fraction=0.25)"
    flat = {"conv1": "Flat()", "conv2": hidden, "mean": hidden, "dense": hidden, "head": "Epsilon(epsilon=1e-06)"}
    assert chosen("relative-epsilon-hidden") == flat
    bounded = graphlrp.composite("relative-epsilon-hidden", low=-1, high=[1, 1, 1], top=2, epsilon=0.01)
    assert chosen(bounded)["conv1"].startswith("ZBounds")
    assert chosen(bounded)["dense"] == chosen(bounded)["head"] == "Epsilon(epsilon=0.01)"
    for preset in ("relative-epsilon-hidden", bounded):
        assert graphlrp.load(network(), preset, ledger="strict")(X).conservation_error.max() < 1e-4


@pytest.mark.parametrize("fraction", [-0.1, float("nan"), float("inf"), "a quarter"])
def test_wrong_fraction(fraction):
    """A fraction that makes no ε is an error."""
    with pytest.raises(graphlrp.RuleError, match="fraction"):
        graphlrp.rule("relative-epsilon", fraction=fraction)


@pytest.mark.parametrize("parameters", [{"low": 0}, {"high": 1}, {"top": 0}, {"top": 1.5}, {"low": 2, "high": 1}, {"gamma": 1}])
def test_wrong_preset(parameters):
    """Parameters that make no composite are errors."""
    with pytest.raises(graphlrp.RuleError):
        graphlrp.composite("relative-epsilon-hidden", **parameters)


@pytest.mark.parametrize(
    "options",
    [
        ["--composite", "relative-epsilon-hidden:low=-1,high=1,top=2"],
        ["--composite", "relative-epsilon:fraction=0.5"],
        ["--rule", "family/convolution=relative-epsilon:fraction=0.1"],
    ],
)
def test_command_line(options, tmp_path):
    """Rule and preset have names on the command line."""
    onnx.save(network(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", X)
    command = [sys.executable, "-m", "graphlrp", "explain", "model.onnx", "x.npy", "-o", "out", *options]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert (tmp_path / "out" / "relevance.npz").exists()
