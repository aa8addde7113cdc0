"""Products and quotients of values and constants, attention and softmax, against loops over their definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest

import graphlrp
from tests.networks import Network, as_float, evaluate

Array = np.ndarray
EPSILON = 1e-6


def normal(*shape: int) -> Array:
    return np.random.default_rng([3, len(shape), *shape]).normal(size=shape)


def stabilized(z: Array) -> Array:
    return z + EPSILON * np.where(z >= 0, 1, -1)


def explain(model: onnx.ModelProto, feeds: Mapping[str, Array], relevance: Array, **options: Any) -> graphlrp.Explanation:
    """Messages in float64 with a strict ledger; ONNX Runtime agrees."""
    feeds = dict(feeds)
    explanation = graphlrp.load(model, initial="one", dtype="float64", ledger="strict", verify=False, **options)(feeds, relevance)
    np.testing.assert_allclose(explanation.output, evaluate(model, feeds)[0], rtol=1e-10)
    assert explanation.conservation_error.max() < 1e-9
    single = graphlrp.load(as_float(model), initial="one", providers="cpu", verify=False, **options)
    other = single({name: a.astype(np.float32) for name, a in feeds.items()}, relevance.astype(np.float32))
    pairs = [(explanation.relevance, other.relevance)]
    if isinstance(explanation.relevance, dict):
        pairs = [(explanation.relevance[name], other.relevance[name]) for name in explanation.relevance]
    for ours, theirs in pairs:
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-3 * np.abs(ours).max())
    return explanation


@pytest.mark.parametrize("operator", ["Mul", "Div"])
def test_constants_pass_relevance_on(operator: str) -> None:
    # (2.52): the constant cancels, whatever it is, and where it enlarges the value, messages add up.
    network = Network(x=["N", 2, 1])
    scaled = network(operator, "x", np.array([[0.5], [-2.0]]))
    enlarged = network(operator, scaled, normal(1, 4))
    model = network.model(enlarged)
    relevance = normal(3, 2, 4)
    explanation = explain(model, {"x": normal(3, 2, 1)}, relevance)
    np.testing.assert_allclose(explanation.relevance, relevance.sum(2, keepdims=True), rtol=1e-12)


def test_constant_over_a_value() -> None:
    network = Network(x=["N", 2, 1])
    model = network.model(network("Div", normal(2, 3), network("Exp", "x")))
    relevance = normal(3, 2, 3)
    explanation = explain(model, {"x": normal(3, 2, 1)}, relevance)
    np.testing.assert_allclose(explanation.relevance, relevance.sum(2, keepdims=True), rtol=1e-12)


def test_values_that_are_not_explained_are_constants() -> None:
    network = Network(a=["N", 2, 3], b=["N", 2, 1])
    model = network.model(network("Mul", network("Div", "a", "b"), "b"))
    feeds, relevance = {"a": normal(3, 2, 3), "b": normal(3, 2, 1)}, normal(3, 2, 3)
    np.testing.assert_allclose(explain(model, feeds, relevance, explain="a").relevance, relevance, rtol=1e-12)
    ours = explain(model, feeds, relevance, explain="b", product="uniform").relevance
    # Half to the quotient, which hands it to its denominator, half to the factor: both are b.
    np.testing.assert_allclose(ours, relevance.sum(2, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("policy", ["uniform", "signal"])
def test_product_of_two_values(policy: str) -> None:
    network = Network(a=["N", 2, 3], b=["N", 2])
    gate = network("Unsqueeze", network("Sigmoid", "b"), np.array([2]))
    model = network.model(network("Mul", gate, "a"))
    relevance = normal(3, 2, 3)
    feeds = {"a": normal(3, 2, 3), "b": normal(3, 2)}
    share = 0.5 if policy == "uniform" else 1.0
    ours = explain(model, feeds, relevance, product=policy).relevance
    np.testing.assert_allclose(ours["a"], share * relevance, rtol=1e-12)
    np.testing.assert_allclose(ours["b"], (1 - share) * relevance.sum(2), rtol=1e-12)
    # With one of them held fixed, the other is a value times a constant.
    only = explain(model, feeds, relevance, product=policy, explain="b").relevance
    np.testing.assert_allclose(only, relevance.sum(2), rtol=1e-12)


@pytest.mark.parametrize("gates", [(), ("Sigmoid", "Softmax")], ids=["no gate", "two gates"])
def test_signal_policy_is_uniform_where_it_cannot_tell_the_gate(gates: tuple[str, ...]) -> None:
    network = Network(a=["N", 3], b=["N", 3])
    factors = [network(g, name) if g else name for g, name in zip(gates or ("", ""), ("a", "b"), strict=True)]
    model = network.model(network("Mul", *factors))
    relevance = normal(2, 3)
    ours = explain(model, {"a": normal(2, 3), "b": normal(2, 3)}, relevance, product="signal", softmax="pass").relevance
    np.testing.assert_allclose(ours["a"], relevance / 2, rtol=1e-12)
    np.testing.assert_allclose(ours["b"], relevance / 2, rtol=1e-12)


def test_square_and_quotient_of_values() -> None:
    network = Network(a=["N", 3], b=["N", 1])
    square = network("Mul", "a", "a")
    model = network.model(network("Div", square, network("Exp", "b")))
    relevance = normal(2, 3)
    feeds = {"a": normal(2, 3), "b": normal(2, 1)}
    ours = explain(model, feeds, relevance, explain="a").relevance
    np.testing.assert_allclose(ours, relevance, rtol=1e-12)


@pytest.mark.parametrize("policy", ["attnlrp", "cp"])
def test_matrix_product_of_two_values(policy: str) -> None:
    # Heads [N, H, T, D]; one head of b serves both of a.
    network = Network(a=["N", 2, "T", 4], b=["N", 1, 4, 2])
    model = network.model(network("MatMul", "a", "b"))
    feeds = {"a": normal(2, 2, 3, 4), "b": normal(2, 1, 4, 2)}
    relevance = normal(2, 2, 3, 2)
    z = evaluate(model, feeds)[0]
    to_a, to_b = np.zeros_like(feeds["a"]), np.zeros_like(feeds["b"])
    for n, h, i, j in np.ndindex(*z.shape):
        for k in range(4):
            message = feeds["a"][n, h, i, k] * feeds["b"][n, 0, k, j] / stabilized(z[n, h, i, j]) * relevance[n, h, i, j]
            to_a[n, h, i, k] += message / 2
            to_b[n, 0, k, j] += message * (0.5 if policy == "attnlrp" else 1.0)
    if policy == "attnlrp":
        ours = explain(model, feeds, relevance, attention=policy).relevance
        np.testing.assert_allclose(ours["a"], to_a, rtol=1e-9)
        np.testing.assert_allclose(ours["b"], to_b, rtol=1e-9)
    else:
        # The first factor, the attention matrix, is detached; b has all that ε and constants leave.
        tied = Network(b=["N", 1, 4, 2], x=["N", 2, "T", 4])
        model = tied.model(tied("MatMul", tied("Softmax", tied("Add", "x", tied("ReduceMean", "b", np.array([2, 3])))), "b"))
        rows = evaluate(model, {"x": feeds["a"], "b": feeds["b"]}, tied.nodes[-2].output[0])[0]
        z = rows @ feeds["b"]
        wanted = feeds["b"] * (rows.swapaxes(2, 3) @ (relevance / stabilized(z))).sum(1, keepdims=True)
        ours = explain(model, {"x": feeds["a"], "b": feeds["b"]}, relevance, attention=policy, explain="b").relevance
        np.testing.assert_allclose(ours, wanted, rtol=1e-9)


@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax(axis: int) -> None:
    # AttnLRP, proposition 3.1: Taylor at x, whose Jacobian is y_i (δ_ij - y_j).
    network = Network(x=["N", 3, 4])
    model = network.model(network("Relu", network("Softmax", "x", axis=axis, name="softmax"), name="inner"))
    x, relevance = normal(2, 3, 4), normal(2, 3, 4)[::-1]
    (y,) = evaluate(model, {"x": x})
    moved = [np.moveaxis(array, axis, -1).reshape(-1, x.shape[axis]) for array in (x, y, relevance)]
    rows = []
    for a, b, r in zip(*moved, strict=True):
        jacobian = np.diag(b) - np.outer(b, b)
        # z_ij = x_i ∂y_j/∂x_i, shared by R_j / y_j.
        rows.append(a * (jacobian @ (r / b)))
    wanted = np.moveaxis(np.reshape(rows, np.moveaxis(x, axis, -1).shape), -1, axis)
    explanation = explain(model, {"x": x}, relevance)
    np.testing.assert_allclose(explanation.relevance, wanted, rtol=1e-9, atol=1e-12)
    left = (relevance - wanted).reshape(2, -1).sum(1)
    np.testing.assert_allclose(explanation.ledger["softmax"].bias, left, rtol=1e-9)
    ours = explain(model, {"x": x}, relevance, softmax="pass").relevance
    np.testing.assert_allclose(ours, relevance, rtol=1e-12)


@pytest.mark.parametrize("fill", [-np.inf, -1e9, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize("by", ["Add", "Where"])
def test_masked_positions_get_exactly_nothing(by: str, fill: float) -> None:
    # Causal attention: position j > i is masked before the softmax.
    allowed = np.tril(np.ones((4, 4), bool))
    network = Network(x=["N", 4, 4], v=["N", 4, 2])
    masked = (
        network("Where", allowed, "x", np.array(fill), name="mask")
        if by == "Where"
        else network("Add", "x", np.where(allowed, 0.0, fill), name="mask")
    )
    attention = network("Softmax", masked, axis=-1, name="softmax")
    model = network.model(network("MatMul", attention, "v", name="read"))
    x, v, relevance = normal(2, 4, 4), normal(2, 4, 2), normal(2, 4, 2)
    y, z = evaluate(model, {"x": x, "v": v}, attention, "read:0")
    explanation = explain(model, {"x": x, "v": v}, relevance)
    ours = explanation.relevance
    received = y * ((relevance / stabilized(z)) @ v.swapaxes(1, 2)) / 2
    wanted = np.where(allowed, x * (received - y * received.sum(-1, keepdims=True)), 0)
    if by == "Add":
        wanted = wanted * x / stabilized(x)
    np.testing.assert_allclose(ours["x"], wanted, rtol=1e-8, atol=1e-12)
    assert np.all(ours["x"][:, ~allowed] == 0)
    np.testing.assert_allclose(ours["v"], v * (y.swapaxes(1, 2) @ (relevance / stabilized(z))) / 2, rtol=1e-9)
    for entry in explanation.ledger:
        assert np.isfinite(entry.absorbed).all(), entry.name
