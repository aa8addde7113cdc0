"""Maxout against the conformance kit of GraphLRP, and in models."""

from functools import partial

import numpy as np
import onnx
import pytest
from graphlrp_maxout import DOMAIN, Maxout
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

import graphlrp
from graphlrp.testing import mapping_suite

PIECES = 3
generator = np.random.default_rng(0)
W, B = generator.normal(size=(5, 4 * PIECES)), generator.normal(size=4 * PIECES)
TIED = np.repeat(generator.normal(size=(5, 4)), PIECES, axis=1)  # all pieces of a neuron are the same, so all win


def activations(x, w, bias=None):
    """a_jk, [N, ..., M, K]."""
    flat = x @ w + (0 if bias is None else bias)
    return flat.reshape(*flat.shape[:-1], -1, PIECES)


def forward(x, w, bias=None):
    """z_j, [N, ..., M]."""
    return activations(x, w, bias).max(axis=-1)


def messages(inputs, output, relevance, epsilon=1e-6):
    """Neuron by neuron, piece by piece: the ε rule for the winners, which share ties equally."""
    x, w, *more = inputs
    bias = more[0] if more and more[0] is not None else np.zeros(w.shape[1])
    result = np.zeros_like(x)
    for at in np.ndindex(output.shape):
        sample, j = at[:-1], at[-1]
        pieces = [j * PIECES + k for k in range(PIECES)]
        values = np.array([x[sample] @ w[:, column] + bias[column] for column in pieces])
        winners = [column for column, value in zip(pieces, values, strict=False) if value == values.max()]
        z = values.max()
        denominator = z + (epsilon if z >= 0 else -epsilon)
        if denominator == 0:
            continue  # nothing to share by: the relevance is dead
        for column in winners:
            result[sample] += x[sample] * w[:, column] / denominator * relevance[at] / len(winners)
    return result


EPSILONS = {graphlrp.Epsilon(epsilon): partial(messages, epsilon=epsilon) for epsilon in (0.0, 0.25)}
OPTIONS = {"attributes": {"pieces": PIECES}, "forward": forward, "messages": messages, "rules": EPSILONS}
TestWithBias = mapping_suite(Maxout, inputs=[(5,), W, B], **OPTIONS)
TestWithoutBias = mapping_suite(Maxout, inputs=[(5,), W], **OPTIONS)
TestBiasLeftOut = mapping_suite(Maxout, inputs=[(5,), W, None], **OPTIONS)
TestPositions = mapping_suite(Maxout, inputs=[(2, 5), W, B], **OPTIONS)
TestTies = mapping_suite(Maxout, inputs=[(5,), TIED], **OPTIONS)


def maxout_model(inputs=("h", "w", "b"), batch="N", **attributes):
    """Gemm, Maxout with 3 pieces, MatMul; ``attributes`` are those of Maxout."""
    numbers = np.random.default_rng(1)
    constants = {"u": numbers.normal(size=(6, 5)), "c": numbers.normal(size=5), "w": W, "b": B, "v": numbers.normal(size=(4, 3))}
    nodes = [
        make_node("Gemm", ["x", "u", "c"], ["h"], "dense"),
        make_node("Maxout", list(inputs), ["z"], "maxout", domain=DOMAIN, **attributes),
        make_node("MatMul", ["z", "v"], ["y"], "head"),
    ]
    x = make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 6])
    y = make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, 3])
    initializers = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()]
    opsets = [make_opsetid("", 18), make_opsetid(DOMAIN, 1)]
    return make_model(make_graph(nodes, "model", [x], [y], initializers), opset_imports=opsets, ir_version=10)


X = generator.normal(size=(5, 6)).astype(np.float32)


@pytest.mark.parametrize(("batch", "samples"), [("N", 5), ("N", 1), (1, 1)])
@pytest.mark.parametrize("inputs", [("h", "w", "b"), ("h", "w"), ("h", "w", "")])
def test_in_a_model(inputs, batch, samples):
    """Installed, the plugin needs no mention; all relevance is accounted for, that of the biases as ``bias``."""
    explainer = graphlrp.load(maxout_model(inputs, batch, pieces=PIECES), "epsilon", ledger="strict")
    explanation = explainer(X[:samples])
    reached = explanation.relevance.sum(axis=1) + explanation.ledger.absorbed
    assert np.allclose(reached, explanation.output.max(axis=1), rtol=1e-3, atol=1e-4)
    assert explanation.ledger["maxout"].bias.any() == ("b" in inputs)


def test_output():
    """The model computes what numpy says it does."""
    numbers = np.random.default_rng(1)
    u, c, v = numbers.normal(size=(6, 5)), numbers.normal(size=5), numbers.normal(size=(4, 3))
    output = graphlrp.load(maxout_model(pieces=PIECES), "epsilon")(X).output
    assert np.allclose(output, forward(X @ u + c, W, B) @ v, atol=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, 0.25])
def test_epsilon_of_the_composite(epsilon):
    """An ``Epsilon`` chosen by the user brings its ε."""
    rules = [(graphlrp.select.family("maxout"), graphlrp.Epsilon(epsilon))]
    explainer = graphlrp.load(maxout_model(pieces=PIECES), rules=rules, explain="h", output="z", ledger="strict")
    explanation = explainer(X, "all")
    u, c = (onnx.numpy_helper.to_array(tensor) for tensor in maxout_model().graph.initializer[:2])
    expected = messages([X @ u + c, W, B], explanation.output, explanation.output, epsilon)
    assert np.allclose(explanation.relevance, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rule", [graphlrp.Gamma(), graphlrp.Pass()])
def test_other_rules_do_not_fit(rule):
    """A rule for linear neurons that is not ε is refused, and not replaced in silence."""
    with pytest.raises(graphlrp.RuleError, match=r"no mapping that takes .* is selected by family\(maxout\)"):
        graphlrp.load(maxout_model(pieces=PIECES), "epsilon", rules=[(graphlrp.select.family("maxout"), rule)])


def test_gradient():
    """The gradient rules differentiate the winning piece."""
    model = maxout_model(pieces=PIECES)
    explainer = graphlrp.load(model, "gradient", dtype="float64")
    x, step = X.astype(float), 1e-6
    for i in range(x.shape[1]):
        plus, minus = x.copy(), x.copy()
        plus[:, i] += step
        minus[:, i] -= step
        slope = (explainer(plus, 0).output[:, 0] - explainer(minus, 0).output[:, 0]) / (2 * step)
        assert np.allclose(explainer(x, 0).relevance[:, i], slope, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "attributes", "message"),
    [
        (("h", "w", "b"), {}, "'pieces'"),
        (("h", "w", "b"), {"pieces": 5}, "pieces = 5"),
        (("h", "w", "b"), {"pieces": "three"}, "'three'"),
        (("h",), {"pieces": PIECES}, "second input"),
        (("h", "u"), {"pieces": PIECES}, "D = 5"),
        (("h", "w", "c"), {"pieces": PIECES}, "12 numbers"),
    ],
)
def test_no_maxout(inputs, attributes, message):
    """A node that is no maxout layer is an error that names the node and what is wrong."""
    with pytest.raises(graphlrp.GraphLRPError, match=f"'maxout'.*{message}"):
        graphlrp.load(maxout_model(inputs, **attributes), "epsilon")
