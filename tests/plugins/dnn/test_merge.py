"""Merges against their definitions in numpy: shares of sums, winners of maxima, branches of Where; constants in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

import graphlrp
from graphlrp.plugins.manager import Plugins
from graphlrp.testing import check_mapping
from tests.networks import Network, as_float, evaluate

Array = np.ndarray
EPSILON = 1e-6


def normal(*shape: int) -> Array:
    return np.random.default_rng([9, len(shape), *shape]).normal(size=shape)


def unbroadcast(value: Array, shape: Sequence[int]) -> Array:
    """Sum over the axes along which an array of ``shape`` was broadcast."""
    value = value.sum(axis=tuple(range(value.ndim - len(shape))))
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return value.sum(axis=axes, keepdims=True)


@dataclass
class Case:
    """``operator(operands)``; operands are inputs ``a`` and ``b`` or arrays."""

    operator: str
    operands: Sequence[Any]
    a: tuple[int, ...] = (2, 3)
    b: tuple[int, ...] = (2, 3)

    def model(self, *, dynamic: bool = False) -> onnx.ModelProto:
        open_ = {
            name: ["N", *(f"{name}{k}" if dynamic and k else n for k, n in enumerate(shape))]
            for name, shape in (("a", self.a), ("b", self.b))
            if name in self.inputs
        }
        network = Network(**open_)
        return network.model(network(self.operator, *self.operands, name="the node"))

    @property
    def inputs(self) -> list[str]:
        return [name for name in ("a", "b") if any(isinstance(o, str) and o == name for o in self.operands)]

    def feeds(self) -> dict[str, Array]:
        return {name: normal(3, *getattr(self, name)) + (name == "b") for name in self.inputs}

    def values(self, feeds: dict[str, Array]) -> list[Array]:
        return [feeds[o] if isinstance(o, str) else np.asarray(o) for o in self.operands]


SUMS = {
    "add": Case("Add", ["a", "b"]),
    "add, broadcast rows": Case("Add", ["a", "b"], b=(1, 3)),
    "add, both broadcast": Case("Add", ["a", "b"], a=(2, 1), b=(1, 3)),
    "add constant": Case("Add", ["a", normal(2, 3)]),
    "add scalar": Case("Add", [np.array(0.7), "a"]),
    "add constant per channel": Case("Add", ["a", normal(2, 1)]),
    "add constant that enlarges": Case("Add", ["a", normal(4, 1)], a=(1, 3)),
    "add twice the same": Case("Add", ["a", "a"]),
    "sub": Case("Sub", ["a", "b"]),
    "sub broadcast": Case("Sub", ["a", "b"], a=(1, 3)),
    "sub constant": Case("Sub", ["a", normal(3)]),
    "constant minus": Case("Sub", [normal(3), "a"]),
    "sum of three": Case("Sum", ["a", "b", normal(1, 3)], b=(2, 1)),
    "sum of one": Case("Sum", ["a"]),
    "sum with repetition": Case("Sum", ["a", "b", "a"]),
    "mean": Case("Mean", ["a", "b"]),
    "mean of three with constant": Case("Mean", ["a", normal(2, 3), "b"], a=(1, 3)),
}  # fmt: skip

WHOLE = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -2.0]])
EXTREMA = {
    "max": Case("Max", ["a", "b"]),
    "max broadcast": Case("Max", ["a", "b"], b=(1, 3)),
    "max with constant": Case("Max", ["a", WHOLE]),
    "max with scalar": Case("Max", [np.array(0.0), "a"]),
    "max of three": Case("Max", ["a", "b", WHOLE]),
    "max of one": Case("Max", ["a"]),
    "max of the same": Case("Max", ["a", "a"]),
    "min": Case("Min", ["a", "b"]),
    "min with constant": Case("Min", ["b", WHOLE], b=(2, 1)),
    "min of three": Case("Min", ["a", WHOLE[:1], "b"], a=(2, 1)),
}  # fmt: skip

MASK = np.array([[True, False, True], [False, False, True]])
BRANCHES = {
    "where": Case("Where", [MASK, "a", "b"]),
    "where, condition per column": Case("Where", [MASK[0], "a", "b"], a=(2, 1)),
    "where else constant": Case("Where", [MASK, "a", np.array(-3.0)]),
    "where constant": Case("Where", [MASK[:1], normal(2, 3), "b"]),
    "where the same": Case("Where", [MASK, "a", "a"]),
    "where condition enlarges": Case("Where", [MASK, "a", "b"], a=(1, 3), b=(2, 1)),
}  # fmt: skip


def terms(case: Case, values: Sequence[Array]) -> list[Array]:
    """c_k x_k."""
    if case.operator == "Sub":
        return [values[0], -values[1]]
    return [v / len(values) if case.operator == "Mean" else v for v in values]


def z_rule(case: Case, values: Sequence[Array], z: Array, relevance: Array) -> list[Array]:
    """(2.39): c_k x_k / (z + ε sign z) · R."""
    return [term * relevance / (z + EPSILON * np.where(z >= 0, 1, -1)) for term in terms(case, values)]


def by_magnitude(case: Case, values: Sequence[Array], z: Array, relevance: Array) -> list[Array]:
    """|x_k| / Σ |x_k| · R."""
    total = sum((np.abs(v) for v in values), np.zeros_like(z))
    return [np.abs(v) / np.where(total > 0, total, 1) * relevance for v in values]


def equally(case: Case, values: Sequence[Array], z: Array, relevance: Array) -> list[Array]:
    """R / number of inputs that are no constants."""
    active = [isinstance(o, str) for o in case.operands]
    return [relevance / sum(active) if mine else np.zeros_like(relevance) for mine in active]


def winners(case: Case, values: Sequence[Array], z: Array, relevance: Array) -> list[Array]:
    """R / number of winners, for every winner (2.35)."""
    wins = [np.broadcast_to(v == z, z.shape) for v in values]
    return [win / sum(w.astype(int) for w in wins) * relevance for win in wins]


def taken(case: Case, values: Sequence[Array], z: Array, relevance: Array) -> list[Array]:
    """All to the branch taken."""
    condition = np.broadcast_to(values[0], z.shape)
    return [np.zeros_like(z), condition * relevance, ~condition * relevance]


Share = Callable[[Case, Sequence[Array], Array, Array], list[Array]]


def messages(case: Case, oracle: Share) -> Callable[..., list[Array]]:
    """Shares of all operands, that of a constant being what the ledger has to book."""

    def of(inputs: list[Any], output: Array, relevance: Array) -> list[Array]:
        shares = oracle(case, inputs, output, relevance)
        active = [isinstance(operand, str) for operand in case.operands]
        pairs = zip(shares, inputs, active, strict=True)
        return [unbroadcast(share, value.shape) if mine else np.broadcast_to(share, output.shape) for share, value, mine in pairs]

    return of


def conform(case: Case, own: Share, policies: dict[str, dict[str, Share]] | None = None) -> None:
    """All that the conformance kit checks."""
    inputs: list[Any] = []
    first: dict[str, int] = {}
    for position, operand in enumerate(case.operands):
        if not isinstance(operand, str):
            inputs.append(operand)
        elif first.setdefault(operand, position) < position:
            inputs.append(first[operand])
        else:
            inputs.append(getattr(case, operand))
    forward = None if case.operator != "Mean" else lambda *values: sum(values) / len(values)
    report = check_mapping(
        Plugins().mappings["", case.operator],
        inputs,
        operator=case.operator,
        forward=forward,
        messages=messages(case, own),
        policies={name: {choice: messages(case, f) for choice, f in of.items()} for name, of in (policies or {}).items()},
    )
    assert report["messages"].passed and report["forward"].passed and report["gradient"].passed


def check(case: Case, oracle: Share, feeds: dict[str, Array]) -> None:
    """Messages where sizes are known only at run time, also on ONNX Runtime; constants in the ledger."""
    model = case.model(dynamic=True)
    (z,) = evaluate(with_mean(model), feeds)
    relevance = np.random.default_rng(5).normal(size=z.shape)
    shares = oracle(case, case.values(feeds), z, relevance)
    expected = {
        name: sum(unbroadcast(share, feeds[name].shape) for share, o in zip(shares, case.operands, strict=True) if o is name)
        for name in case.inputs
    }
    constant = sum(
        (
            np.broadcast_to(s, z.shape).reshape(3, -1).sum(1)
            for s, o in zip(shares, case.operands, strict=True)
            if not isinstance(o, str)
        ),
        np.zeros(3),
    )
    explainer = graphlrp.load(model, initial="one", dtype="float64", ledger="strict", verify=False)
    explanation = explainer(feeds, relevance)
    np.testing.assert_allclose(explanation.output, z, rtol=1e-12)
    np.testing.assert_allclose(explanation.ledger["the node"].constant, constant, rtol=1e-9, atol=1e-9)
    compare(explanation, expected, 1e-9)
    single = graphlrp.load(as_float(model), initial="one", providers="cpu", verify=False)
    compare(single({name: a.astype(np.float32) for name, a in feeds.items()}, relevance), expected, 1e-3)


def compare(explanation: graphlrp.Explanation, expected: dict[str, Array], tolerance: float) -> None:
    for name, wanted in expected.items():
        ours = explanation.relevance if len(expected) == 1 else explanation.relevance[name]
        np.testing.assert_allclose(ours, wanted, rtol=tolerance, atol=tolerance)


def with_mean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Mean as Sum and Div: the reference of onnx 1.23 does not broadcast the first input of Mean."""
    (node,) = model.graph.node
    if node.op_type != "Mean":
        return model
    network = Network()
    network.inputs, network.initializers = list(model.graph.input), list(model.graph.initializer)
    return network.model(network("Div", network("Sum", *node.input), np.array(float(len(node.input)))))


@pytest.mark.parametrize("name", SUMS)
def test_sums(name: str) -> None:
    conform(SUMS[name], z_rule, {"merge": {"z": z_rule, "abs": by_magnitude, "equal": equally}})


@pytest.mark.parametrize("name", EXTREMA)
def test_extrema(name: str) -> None:
    conform(EXTREMA[name], winners)


@pytest.mark.parametrize("name", BRANCHES)
def test_branches(name: str) -> None:
    conform(BRANCHES[name], taken)


def test_broadcasting_that_shows_only_at_run_time() -> None:
    # Sizes are unknown while compiling; which of them are 1 decides where relevance is summed.
    for case in (SUMS["add, broadcast rows"], SUMS["add, both broadcast"], SUMS["add"], SUMS["add constant"]):
        check(case, z_rule, case.feeds())
    feeds = {name: np.round(array) for name, array in EXTREMA["max broadcast"].feeds().items()}
    check(EXTREMA["max broadcast"], winners, feeds)
    check(BRANCHES["where condition enlarges"], taken, BRANCHES["where condition enlarges"].feeds())


def test_condition_that_depends_on_the_input() -> None:
    # The condition decides, but only what is taken is explained.
    network = Network(a=["N", 2, 3], b=["N", 2, 3])
    model = network.model(network("Where", network("Greater", "a", "b"), "a", network("Neg", "b"), name="the node"))
    a, b, relevance = normal(3, 2, 3), normal(3, 2, 3)[::-1], normal(3, 3, 2).swapaxes(1, 2)
    explainer = graphlrp.load(model, initial="one", dtype="float64", ledger="strict", verify=False)
    explanation = explainer({"a": a, "b": b}, relevance)
    compare(explanation, {"a": np.where(a > b, relevance, 0), "b": np.where(a > b, 0, relevance)}, 1e-12)


def test_difference_of_a_value_with_itself_is_the_stabilizers() -> None:
    case = Case("Sub", ["a", "a"])
    relevance = normal(3, 2, 3)
    explanation = graphlrp.load(case.model(), initial="one", dtype="float64", ledger="strict", verify=False)(
        case.feeds(), relevance
    )
    np.testing.assert_allclose(explanation.relevance, 0, atol=1e-9)
    np.testing.assert_allclose(explanation.ledger["the node"].stabilizer, relevance.sum((1, 2)), rtol=1e-9)


def test_a_parameter_behind_a_product_is_its_bias_and_anything_else_a_constant() -> None:
    # Tokens [N, T, D]: MatMul and Add stay apart, as in transformers.
    network = Network(x=["N", 2, 3], mask=["N", 2, 3])
    product = network("MatMul", "x", normal(3, 3))
    biased = network("Add", product, normal(3), name="bias")
    shifted = network("Add", network("Relu", biased), normal(3), name="shift")
    masked = network("Add", shifted, "mask", name="mask")
    model = network.model(masked)
    feeds = {"x": normal(3, 2, 3), "mask": normal(3, 1, 1) * np.ones((1, 2, 3))}
    relevance = normal(3, 2, 3)
    explanation = graphlrp.load(model, "epsilon", explain="x", initial="one", dtype="float64", ledger="strict", verify=False)(
        feeds, relevance
    )
    z, s, b = evaluate(model, feeds, masked, shifted, biased)

    def share(part: Array, whole: Array, received: Array) -> Array:
        return part * received / (whole + EPSILON * np.where(whole >= 0, 1, -1))

    received = share(s, z, relevance)
    ledger = explanation.ledger
    np.testing.assert_allclose(ledger["mask"].constant, share(feeds["mask"], z, relevance).sum((1, 2)), rtol=1e-8)
    np.testing.assert_allclose(ledger["shift"].constant, share(normal(3), s, received).sum((1, 2)), rtol=1e-8)
    received = share(np.maximum(b, 0), s, received)
    np.testing.assert_allclose(ledger["bias"].bias, share(normal(3), b, received).sum((1, 2)), rtol=1e-8)
    assert np.all(ledger["bias"].constant == 0)
    assert np.all(ledger["shift"].bias == 0)
