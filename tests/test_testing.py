"""The conformance kit finds what is wrong with a plugin, and says where: by output neuron, with its inputs and messages."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphlrp
from graphlrp import Bounds, ComponentwiseMapping, Decomposition, EqualWeight, LinearMapping, Mapping, TaylorMapping, TensorWeight
from graphlrp.testing import LINEAR_RULES, ConformanceError, check_mapping, check_rule, dense, mapping_suite, rule_suite

Array = np.ndarray


def normal(*shape: int) -> Array:
    return np.random.default_rng([4, len(shape), *shape]).normal(size=shape)


# Plugins that are right


class Maxout(Mapping):
    """y_j = max(x_2j, x_2j+1); the winner takes all."""

    operators = (("com.acme", "Maxout"),)
    policies = {"ties": ("share", "lose")}  # noqa: RUF012

    def forward_messages(self, op):
        return op.ReduceMax(self.pairs(op, self.x), op.integers([2]), keepdims=0)

    def bounds(self):
        return self.facts.bounds(self.x)

    def relevance_messages(self, op, relevance, rule):
        wins = op.Cast(op.Equal(self.pairs(op, self.x), self.column(op, self.output)), to=int(op.dtype))
        count = op.ReduceSum(wins, op.integers([2]), keepdims=1)
        if self.policy(op, "ties") == "lose":
            tie = op.Greater(op.Squeeze(count, op.integers([2])), op.scalar(1.0))
            op.absorb("dead", lambda received=relevance: op.Where(tie, received, op.scalar(0.0)))
            relevance = op.Where(tie, op.scalar(0.0), relevance)
        return op.Reshape(op.Mul(wins, op.Div(self.column(op, relevance), count)), op.shape_of(self.x))

    def pairs(self, op, x):
        return op.Reshape(x, op.integers([0, -1, 2]))

    def column(self, op, value):
        return op.Unsqueeze(value, op.integers([2]))


def maxout(x: Array) -> Array:
    return x.reshape(len(x), -1, 2).max(2)


def to_winners(inputs: list[Any], output: Array, relevance: Array) -> Array:
    pairs = inputs[0].reshape(len(output), -1, 2)
    wins = pairs == output[:, :, None]
    return (wins / wins.sum(2, keepdims=True) * relevance[:, :, None]).reshape(len(output), -1)


class Projection(LinearMapping):
    """y = x W + b for a square W."""

    operators = (("com.acme", "Projection"),)

    def weight(self, op):
        return TensorWeight(self.inputs[1], self.facts.bounds(self.inputs[1]))

    def additive(self, op):
        return self.input(2)

    def apply(self, op, x, weight):
        return op.MatMul(x, weight.value)

    def adjoint(self, op, s, weight):
        return op.MatMul(s, op.Transpose(weight.value, perm=[1, 0]))


def projection(x: Array, w: Array, b: Array) -> Array:
    return x @ w + b


class Cube(ComponentwiseMapping):
    """y = x³ / 3 + x."""

    operators = (("com.acme", "Cube"),)

    def forward_messages(self, op):
        return op.Add(op.Div(op.Pow(self.x, 3.0), 3.0), self.x)


class Smooth(TaylorMapping):
    """y = log Σ_k exp(x_k), decomposed at x / 2."""

    operators = (("com.acme", "Smooth"),)

    def forward_messages(self, op):
        return op.Log(op.ReduceSum(op.Exp(self.x), op.integers([2]), keepdims=0))

    def root(self, op):
        return op.Mul(self.x, 0.5)


def smooth(x: Array) -> Array:
    return np.log(np.exp(x).sum(2))


CASES: dict[type[Mapping], tuple[list[Any], dict[str, Any]]] = {
    Maxout: ([(6,)], {"forward": maxout, "messages": to_winners}),
    Projection: ([(4,), normal(4, 4), normal(4)], {"forward": projection, "rules": LINEAR_RULES[:3]}),
    Cube: ([(2, 3)], {"forward": lambda x: x**3 / 3 + x}),
    Smooth: ([(2, 3)], {"forward": smooth}),
}

TestMaxout = mapping_suite(Maxout, [(6,)], forward=maxout, messages=to_winners)


@pytest.mark.parametrize("mapping", CASES, ids=lambda mapping: mapping.__name__)
def test_mappings_that_are_right_pass(mapping: type[Mapping]) -> None:
    inputs, options = CASES[mapping]
    report = check_mapping(mapping, inputs, **options)
    assert report["messages"].passed
    assert report["conservation"].error < 1e-12
    assert report["gradient"].passed
    assert {row.check for row in report if not row.passed} <= {"bounds", "policies"}


# Mappings that are wrong


def failure(mapping: type[Mapping], **changes: Any) -> ConformanceError:
    """The failure of a mapping that is one of the right ones with something changed."""
    parent = next(cls for cls in mapping.__mro__ if cls in CASES)
    inputs, options = CASES[parent]
    with pytest.raises(ConformanceError) as caught:
        check_mapping(mapping, changes.pop("inputs", inputs), **{**options, **changes})
    return caught.value


def shown(error: ConformanceError, *columns: str) -> list[list[str]]:
    """The rows of the table, after the text named the neuron and the table its columns."""
    text = str(error)
    assert error.neuron is not None
    assert f"sample {error.sample!r}, output neuron j = {error.neuron} (y[" in text
    head, *rows = (line.split() for line in text.splitlines()[2:])
    assert head == ["input", "i", *columns]
    return [row for row in rows if row[0].startswith("x")]


MESSAGES = ("x_i", "expected", "actual", "difference")
LINEAR = ("x_i", "z_ij", "expected", "actual", "difference")


class Minimum(Maxout):
    def forward_messages(self, op):
        return op.ReduceMin(self.pairs(op, self.x), op.integers([2]), keepdims=0)


def test_wrong_forward() -> None:
    error = failure(Minimum)
    assert error.check == "forward"
    assert re.search(r"the output is -?[\d.]+, expected is -?[\d.]+", str(error))
    assert len(shown(error, "x_i")) == 6


class Shifted(Projection):
    def adjoint(self, op, s, weight):
        right = super().adjoint(op, s, weight)
        last, rest = op.Slice(right, [3], [4], [1]), op.Slice(right, [0], [3], [1])
        return op.Concat(last, rest, axis=1)


class Untransposed(Projection):
    def adjoint(self, op, s, weight):
        return op.MatMul(s, weight.value)


@pytest.mark.parametrize("mapping", [Shifted, Untransposed])
def test_wrong_adjoint(mapping: type[Mapping]) -> None:
    error = failure(mapping)
    assert (error.check, error.rule) == ("messages", "Epsilon(epsilon=0.1)")
    rows = shown(error, *LINEAR)
    assert sorted(row[0] for row in rows) == ["x[0]", "x[1]", "x[2]", "x[3]"]
    # The expected message is that of the ε rule, and rows come by difference.
    j, (_, w, b) = error.neuron, CASES[Projection][0]
    x = np.array([float(row[1]) for row in sorted(rows)])
    z = x * w[:, j]
    total = z.sum() + b[j]
    np.testing.assert_allclose([float(row[2]) for row in sorted(rows)], z, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose([float(row[3]) for row in sorted(rows)], z / (total + 0.1 * np.sign(total)), rtol=1e-4, atol=1e-4)
    differences = [abs(float(row[5])) for row in rows]
    assert differences == sorted(differences, reverse=True)
    assert "R_j = 1; messages add up to" in str(error) and "the ledger booked bias" in str(error)


class Loser(Maxout):
    """Gives to the loser: all is conserved, and in the wrong place."""

    def relevance_messages(self, op, relevance, rule):
        right = self.pairs(op, super().relevance_messages(op, relevance, rule))
        return op.Reshape(op.Gather(right, [1, 0], axis=2), op.shape_of(self.x))


def test_message_in_the_wrong_place_that_conserves() -> None:
    error = failure(Loser)
    assert error.check == "messages"
    rows = shown(error, *MESSAGES)
    assert {row[0] for row in rows[:2]} == {f"x[{2 * error.neuron}]", f"x[{2 * error.neuron + 1}]"}
    assert sorted(float(row[4]) for row in rows[:2]) == [-1, 1]
    assert "missing 0" in str(error)


def test_contributions_find_a_message_in_the_wrong_place() -> None:
    def contributions(inputs: list[Any]) -> Array:
        pairs = inputs[0].reshape(-1, 2)
        z = np.zeros((6, 3))
        for j, pair in enumerate(pairs):
            z[2 * j : 2 * j + 2, j] = pair == pair.max()
        return z

    report = check_mapping(Maxout, [(6,)], forward=maxout, contributions=contributions)
    assert report["messages"].what == "own messages are proportional to contributions()"
    error = failure(Loser, messages=None, contributions=contributions)
    assert error.check == "messages"
    shown(error, *LINEAR)


def test_without_a_declared_meaning_the_report_says_so() -> None:
    report = check_mapping(Loser, [(6,)], forward=maxout)
    assert report["messages"].reason == "nothing says what they should be: give messages= or contributions="
    assert "messages      not applicable              nothing says what they should be" in str(report)
    assert re.search(r"^forward       passed             0\.0e\+00  the output equals forward\(\)", str(report), re.MULTILINE)


class Crowd(Maxout):
    """Messages lean on the mean of the batch, by no more than what is booked."""

    def relevance_messages(self, op, relevance, rule):
        right = super().relevance_messages(op, relevance, rule)
        mean = op.ReduceMean(op.Abs(self.x), op.integers([0, 1]), keepdims=1)
        message = op.Div(right, op.Add(mean, 1.0))
        op.absorb("dead", lambda: op.Sub(right, message))
        return message


def test_message_that_depends_on_other_samples() -> None:
    error = failure(Crowd)
    assert error.check == "batches"
    assert "the messages of a sample depend on the other samples of its batch of 5" in str(error)
    shown(error, *MESSAGES)


class CrowdedOutput(Cube):
    def forward_messages(self, op):
        return op.Sub(super().forward_messages(op), op.ReduceMean(self.x, op.integers([0]), keepdims=1))


def test_output_that_depends_on_other_samples() -> None:
    error = failure(CrowdedOutput, forward=None)
    assert error.check == "batches"
    assert "the output of a sample depends on the other samples" in str(error)
    shown(error, "x_i")


class Unbooked(Projection):
    """The ε rule without a word of the bias and of ε."""

    def relevance_messages(self, op, relevance, rule):
        s = op.Div(relevance, op.stabilize(self.output, 1e-6))
        return op.Mul(self.x, self.adjoint(op, s, self.weight(op)))


def test_missing_booking() -> None:
    error = failure(Unbooked, rules=[])
    assert error.check == "conservation"
    assert "relevance is lost or made" in str(error)
    assert "the ledger booked nothing; missing" in str(error)
    shown(error, "x_i", "z_ij", "actual")


class BookedTooMuch(Projection):
    def relevance_messages(self, op, relevance, rule):
        op.absorb("constant", lambda: op.Mul(relevance, 0.25))
        return super().relevance_messages(op, relevance, rule)


class BookedAsDead(Projection):
    """Books the bias's share as dead: the sum is right, the kind is not."""

    def relevance_messages(self, op, relevance, rule):
        decomposition = (rule or graphlrp.Epsilon()).linear_messages(op, self, relevance)
        op.absorb("dead", decomposition.bias)
        return decomposition.message


def test_wrong_booking() -> None:
    error = failure(BookedTooMuch)
    assert error.check == "conservation" and "constant 0.25" in str(error) and "missing -0.25" in str(error)
    error = failure(BookedAsDead)
    assert error.check == "conservation"
    assert re.search(r"the ledger booked 0 as bias, expected is -?[\d.]+", str(error))
    shown(error, "x_i", "z_ij", "actual")


class Averaged(Maxout):
    """Every pair gets the mean relevance of all: right where relevance is constant."""

    def relevance_messages(self, op, relevance, rule):
        mean = op.ReduceMean(relevance, op.integers([1]), keepdims=1)
        return super().relevance_messages(op, op.Expand(mean, op.shape_of(relevance)), rule)


class Positive(Maxout):
    """Right for relevance that is not negative."""

    def relevance_messages(self, op, relevance, rule):
        return super().relevance_messages(op, op.Abs(relevance), rule)


class Largest(Maxout):
    """Scales by the largest relevance: right for one output at a time, and for constant relevance."""

    def relevance_messages(self, op, relevance, rule):
        largest = op.ReduceMax(op.Abs(relevance), op.integers([1]), keepdims=1)
        sign = op.Mul(op.Sign(relevance), largest)
        return super().relevance_messages(op, sign, rule)


def test_right_for_constant_relevance_only() -> None:
    error = failure(Averaged)
    assert error.check == "messages"
    shown(error, *MESSAGES)
    for mapping in (Positive, Largest):
        error = failure(mapping, messages=None)
        assert error.check == "linearity"
        assert "messages are not linear in the relevance" in str(error)
        shown(error, *MESSAGES)


class Magnitudes(Projection):
    """The ε rule on |x|: right where x >= 0."""

    def relevance_messages(self, op, relevance, rule):
        x, weight, bias = op.Abs(self.x), self.weight(op), self.additive(op)
        s = op.divide_stabilized(relevance, op.Add(self.apply(op, x, weight), bias), 1e-6)
        op.absorb("bias", lambda: op.Mul(s, bias))
        return op.Mul(x, self.adjoint(op, s, weight))


def test_right_for_nonnegative_inputs_only() -> None:
    error = failure(Magnitudes, rules=[])
    assert error.check == "messages"
    shown(error, *LINEAR)
    inputs, options = CASES[Projection]
    report = check_mapping(Magnitudes, inputs, **{**options, "rules": [], "domain": (0.0, 2.0), "policies": {}})
    assert report["messages"].what == "own messages equal the textbook form"


class Misled(Projection):
    """Leaves out weights below zero where x >= 0 is known."""

    def adjoint(self, op, s, weight):
        return super().adjoint(op, s, (weight.positive(op) or weight) if self.nonnegative else weight)


def test_wrong_use_of_facts() -> None:
    error = failure(Misled)
    assert error.check == "facts"
    assert "where x >= 0 is known from the graph" in str(error)
    shown(error, *LINEAR)


class Narrow(Maxout):
    def bounds(self):
        return Bounds(0.0)


class NarrowInside(Maxout):
    def bounds(self):
        bounds = self.facts.bounds(self.x)
        return Bounds(bounds.low, bounds.high / 2)


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        (Narrow, r"states \[0, inf\] for inputs anywhere, the output is -"),
        (NarrowInside, r"for inputs in \[-0.5, 2\], the output is"),
    ],
)
def test_wrong_bounds(mapping: type[Mapping], text: str) -> None:
    error = failure(mapping)
    assert error.check == "bounds"
    assert re.search(text, str(error))
    assert len(shown(error, "x_i")) == 6


class Doubled(Projection):
    def gradient(self, op, gradient, rule):
        return op.Mul(super().gradient(op, gradient, rule), 2.0)


class BrokenDerivative(Cube):
    def derivative(self, op, x, y):
        return op.Mul(x, x)


@pytest.mark.parametrize("mapping", [Doubled, BrokenDerivative])
def test_wrong_gradient(mapping: type[Mapping]) -> None:
    error = failure(mapping)
    assert error.check == "gradient"
    assert "∂y_j/∂x_i differs from central differences" in str(error)
    shown(error, *MESSAGES)


class Frozen(Maxout):
    def relevance_messages(self, op, relevance, rule):
        return op.Reshape(super().relevance_messages(op, relevance, rule), op.integers([5, 6]))


class FrozenForward(Cube):
    def forward_messages(self, op):
        return op.Reshape(super().forward_messages(op), op.integers([1, 2, 3]))


def test_shape_frozen_to_the_batch() -> None:
    error = failure(Frozen)
    assert error.check == "batches"
    assert "fails for a batch of 1: " in str(error)
    assert failure(FrozenForward).check == "forward"


class SinglePrecision(Cube):
    def forward_messages(self, op):
        third = op.Cast(op.Cast(op.scalar(1 / 3), to=1), to=int(op.dtype))
        return op.Add(op.Mul(op.Pow(self.x, 3.0), third), self.x)


class DoublePrecision(Maxout):
    def relevance_messages(self, op, relevance, rule):
        return op.Mul(super().relevance_messages(op, relevance, rule), op.Cast(op.scalar(1.0), to=11))


def test_constants_of_one_precision() -> None:
    error = failure(SinglePrecision)
    assert error.check == "forward"
    shown(error, "x_i")
    error = failure(DoublePrecision)
    assert error.check == "float32"
    assert "under own messages fails" in str(error)


class Unguarded(Projection):
    def relevance_messages(self, op, relevance, rule):
        s = op.Div(relevance, op.MatMul(self.x, self.inputs[1]))
        return op.Mul(self.x, self.adjoint(op, s, self.weight(op)))


def test_relevance_that_is_no_number() -> None:
    error = failure(Unguarded, rules=[graphlrp.Epsilon(0.0)])
    assert (error.check, error.sample) == ("finite", "all zero")
    assert "nan" in str(error)
    shown(error, "x_i", "z_ij", "actual")


class Greedy(Maxout):
    """The policy to lose ties books them, and gives them away all the same."""

    def relevance_messages(self, op, relevance, rule):
        if self.policy(op, "ties") == "lose":
            op.absorb("dead", lambda: op.Mul(relevance, 0.5))
            return op.Identity(super().relevance_messages(op, relevance, rule))
        return super().relevance_messages(op, relevance, rule)


def test_policies() -> None:
    error = failure(Greedy)
    assert error.check == "policies"
    assert "with ties='lose'" in str(error)
    shown(error, "x_i", "actual")
    inputs, options = CASES[Maxout]
    assert check_mapping(Greedy, inputs, **options, policies={"ties": {"share": to_winners}})["policies"].passed
    error = failure(Maxout, policies={"ties": {"lose": to_winners}})
    assert (error.check, error.sample) == ("policies", "ties")
    with pytest.raises(graphlrp.InputError, match="no policy 'ties' with 'vanish'"):
        check_mapping(Maxout, inputs, **options, policies={"ties": {"vanish": None}})


class WrongRoot(Smooth):
    """The slopes are taken at another point than the root."""

    def expansion_point(self, op, roots):
        return [self.x]

    def relevance_messages(self, op, relevance, rule):
        message, *_ = super().relevance_messages(op, relevance, rule)
        excess = op.Mul(message, 0.5)
        op.absorb("residual", lambda: op.Neg(excess))
        return op.Add(message, excess)


def test_wrong_taylor_decomposition() -> None:
    error = failure(WrongRoot)
    assert error.check == "messages"
    shown(error, *MESSAGES)


class WrongIdentity(Cube):
    def relevance_messages(self, op, relevance, rule):
        return op.Concat(op.Slice(relevance, [1], [2], [1]), op.Slice(relevance, [0], [1], [1]), axis=1)


def test_wrong_identity() -> None:
    error = failure(WrongIdentity)
    assert error.check == "messages"
    assert float(shown(error, *MESSAGES)[0][4]) in (-1, 1)


class Raising(Maxout):
    def relevance_messages(self, op, relevance, rule):
        return op.Mul(relevance, self.attribute("no such thing")["at all"])


class Misshapen(Maxout):
    def relevance_messages(self, op, relevance, rule):
        return relevance


class MisshapenAtRunTime(Maxout):
    """Half of a message, of a length that nothing tells before it runs."""

    def relevance_messages(self, op, relevance, rule):
        right = super().relevance_messages(op, relevance, rule)
        half = op.Div(op.Shape(op.NonZero(op.Greater(self.x, -1e9)), start=0, end=1), op.integers([1]))
        return op.Slice(right, op.integers([0]), half, op.integers([1]))


def test_mappings_that_fail() -> None:
    error = failure(Raising)
    assert error.check == "batches" and "Raising" in str(error) and "TypeError" in str(error)
    assert "of the wrong shape" in str(failure(Misshapen))
    error = failure(MisshapenAtRunTime)
    assert error.check == "batches" and "the message to 'x' has shape (5, 2), 'x' has (5, 6)" in str(error)


def test_values_that_enter_twice() -> None:
    # x + x: two messages to one value, which must not be counted four times.
    class Doubling(Mapping):
        operators = (("com.acme", "Sum"),)

        def forward_messages(self, op):
            return op.Add(*self.inputs)

        def relevance_messages(self, op, relevance, rule):
            return [op.Mul(relevance, 0.5), op.Mul(relevance, 0.5)]

    class Quadrupling(Doubling):
        def relevance_messages(self, op, relevance, rule):
            return [relevance, relevance]

    def halves(inputs: list[Any], output: Array, relevance: Array) -> list[Array]:
        return [relevance / 2, relevance / 2]

    options = {"forward": lambda a, b: a + b, "messages": halves}
    assert check_mapping(Doubling, [(3,), 0], **options)["messages"].passed
    with pytest.raises(ConformanceError, match="wrong messages"):
        check_mapping(Quadrupling, [(3,), 0], **options)


def test_shares_of_constants() -> None:
    class Offset(Mapping):
        operators = (("com.acme", "Offset"),)

        def forward_messages(self, op):
            return op.Add(*self.inputs)

        def relevance_messages(self, op, relevance, rule):
            s = op.divide_stabilized(relevance, self.output, 0.1)
            op.absorb("constant", lambda: op.Mul(s, self.inputs[1]))
            return op.Mul(s, self.x)

    def shares(inputs: list[Any], output: Array, relevance: Array) -> list[Array]:
        s = relevance / (output + 0.1 * np.where(output >= 0, 1, -1))
        return [inputs[0] * s, inputs[1] * s]

    def wrong(inputs: list[Any], output: Array, relevance: Array) -> list[Array]:
        message, constant = shares(inputs, output, relevance)
        return [message, 2 * constant]

    inputs, forward = [(3,), normal(3)], lambda a, b: a + b
    assert check_mapping(Offset, inputs, forward=forward, messages=shares)["messages"].passed
    with pytest.raises(ConformanceError, match="as the share of constants, expected is"):
        check_mapping(Offset, inputs, forward=forward, messages=wrong)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: check_mapping(Maxout, [np.ones(3)]), "none of its inputs is explained"),
        (lambda: check_mapping(Maxout, [(6,)], operator="Minout"), r"its operators are com\.acme\.Maxout"),
        (lambda: check_mapping(Maxout, [(6,)], messages=to_winners, contributions=to_winners), "not both"),
        (lambda: check_mapping(Maxout, [(6,)], rules=[graphlrp.Epsilon()]), "has no messages for Epsilon"),
        (lambda: check_mapping(Maxout, [(6,)], messages=lambda i, y, r: r), r"messages\(\) returned shape"),
        (lambda: check_mapping(Maxout, [(6,)], contributions=lambda i: i[0]), r"z_ij is \[D, M\] = \(6, 3\)"),
        (lambda: check_mapping(dnn_mapping("Log"), [(3,)], operator="Log"), "give domain="),
        (lambda: check_mapping(dnn_mapping("Identity"), [(3,)]), "canonicalisation removes the node"),
        (lambda: check_rule(graphlrp.Pass()), "has no linear_messages"),
    ],
)
def test_misuse(call: Callable[[], object], text: str) -> None:
    with pytest.raises(graphlrp.InputError, match=text):
        call()


def dnn_mapping(operator: str) -> type[Mapping]:
    from graphlrp.plugins.manager import Plugins

    return Plugins().mappings["", operator]


def test_operators_that_the_reference_of_onnx_gets_wrong() -> None:
    # It leaves out channels of LRN, does not have GlobalLpPool, and rounds constants of Gelu.
    report = check_mapping(dnn_mapping("LRN"), [(5, 2, 2)], operator="LRN", attributes={"size": 3})
    assert report["forward"].what == "the output equals ONNX Runtime on 6 samples"
    report = check_mapping(dnn_mapping("GlobalLpPool"), [(2, 3, 2)], operator="GlobalLpPool")
    assert report["forward"].what == "the output equals ONNX Runtime on 6 samples"
    report = check_mapping(dnn_mapping("Gelu"), [(4,)], operator="Gelu", opset=20)
    assert report["forward"].what == "the output equals onnx.reference on 6 samples"
    assert report["forward"].error < 1e-6


# Rules


@dataclass(frozen=True)
class Magnitude(graphlrp.Rule):
    """R_{i←j} = |z_ij| / Σ_i |z_ij| · R_j; the bias takes no part."""

    def linear_messages(self, op, mapping, relevance):
        x, weight = op.Abs(mapping.x), mapping.weight(op)
        parts = [(w, sign) for w, sign in ((weight.positive(op), 1.0), (weight.negative(op), -1.0)) if w is not None]
        s = self.quotient(op, relevance, op.total([op.Mul(mapping.apply(op, x, w), sign) for w, sign in parts]))
        return Decomposition(op.Mul(x, op.total([op.Mul(mapping.adjoint(op, s, w), sign) for w, sign in parts])))

    def quotient(self, op, relevance, z):
        return op.divide_one_sided(relevance, z)


def by_magnitude(layer: dense.Dense, x: Array, relevance: Array) -> Array:
    z = np.abs(layer.contributions(x))
    total = z.sum(0)
    return z @ np.divide(relevance, total, out=np.zeros_like(total), where=total > 0)


TestMagnitude = rule_suite(Magnitude(), expected=by_magnitude)


@pytest.mark.parametrize("rule", LINEAR_RULES, ids=str)
def test_built_in_rules_pass(rule: graphlrp.Rule) -> None:
    report = check_rule(rule)
    assert report["messages"].what == f"{rule} equals the textbook form"
    assert all(row.passed for row in report)


def test_bounds_of_inputs_known_per_channel() -> None:
    from graphlrp.testing import PROBLEMS

    problems = {"padded convolution": PROBLEMS["padded convolution"]}
    assert check_rule(graphlrp.ZBounds((-3.0, -2.0), (2.5, 4.0)), problems=problems, domain=(-2.0, 2.4))["messages"].passed


def rule_failure(rule: graphlrp.Rule, **options: Any) -> ConformanceError:
    with pytest.raises(ConformanceError) as caught:
        check_rule(rule, **{"expected": by_magnitude, **options})
    assert caught.value.rule == str(rule)
    return caught.value


class SignedMagnitude(Magnitude):
    """Right for x >= 0 only."""

    def linear_messages(self, op, mapping, relevance):
        message = super().linear_messages(op, mapping, relevance).message
        return Decomposition(op.Mul(message, op.Where(op.Less(mapping.x, 0.0), op.scalar(-1.0), op.scalar(1.0))))


class UnguardedMagnitude(Magnitude):
    def quotient(self, op, relevance, z):
        return op.Div(relevance, z)


class UnbookedMagnitude(Magnitude):
    def quotient(self, op, relevance, z):
        return op.Div(relevance, op.Add(z, 0.01))


class PositiveMagnitude(Magnitude):
    """Right for relevance >= 0 only."""

    def quotient(self, op, relevance, z):
        return super().quotient(op, op.Relu(relevance), z)


class CrowdedMagnitude(Magnitude):
    def quotient(self, op, relevance, z):
        return super().quotient(op, relevance, op.Add(z, op.ReduceMean(z, op.integers([0]), keepdims=1)))


class MisledMagnitude(Magnitude):
    """Takes x for z where x >= 0 is known."""

    def linear_messages(self, op, mapping, relevance):
        decomposition = super().linear_messages(op, mapping, relevance)
        return graphlrp.Flat().linear_messages(op, mapping, relevance) if mapping.nonnegative else decomposition


class MisrectifiedMagnitude(Magnitude):
    """Doubles where a ReLU stands behind."""

    def linear_messages(self, op, mapping, relevance):
        if mapping.rectified(op, relevance) is not None:
            relevance = op.Mul(relevance, 2.0)
        return super().linear_messages(op, mapping, relevance)


class DoubleMagnitude(Magnitude):
    def quotient(self, op, relevance, z):
        return op.Mul(super().quotient(op, relevance, z), op.Cast(op.scalar(1.0), to=11))


@pytest.mark.parametrize(
    ("rule", "check", "columns"),
    [
        (SignedMagnitude(), "messages", LINEAR),
        (UnguardedMagnitude(), "finite", ("x_i", "z_ij", "actual")),
        (PositiveMagnitude(), "linearity", LINEAR),
        (CrowdedMagnitude(), "batches", LINEAR),
        (MisledMagnitude(), "facts", LINEAR),
        (MisrectifiedMagnitude(), "rectified", LINEAR),
        (graphlrp.Flat(), "messages", LINEAR),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, graphlrp.Rule) else "",
)
def test_wrong_rules(rule: graphlrp.Rule, check: str, columns: tuple[str, ...]) -> None:
    error = rule_failure(rule)
    assert error.check == check
    assert shown(error, *columns)


def test_rules_that_lose_relevance() -> None:
    error = rule_failure(UnbookedMagnitude(), expected=None)
    assert error.check == "conservation" and "the ledger booked nothing" in str(error)
    shown(error, "x_i", "z_ij", "actual")
    report = check_rule(UnbookedMagnitude(), conserves=False)
    assert report["conservation"].reason == "UnbookedMagnitude() says that it does not conserve"
    assert report["messages"].reason == "nothing says what they should be: give expected="


def test_rules_of_one_precision() -> None:
    error = rule_failure(DoubleMagnitude())
    assert error.check == "float32"
    assert str(error).startswith("float32: dense under DoubleMagnitude() fails: ")


# Suites


def test_suites_name_every_check_and_skip_what_does_not_apply() -> None:
    suite = mapping_suite(Loser, [(6,)], forward=maxout)
    names = [name for name in vars(suite) if name.startswith("test_")]
    assert names == [f"test_{row.check}" for row in check_mapping(Maxout, [(6,)])]
    assert "Batches of 1, 2 and 5" in suite.test_batches.__doc__
    suite().test_forward()
    with pytest.raises(pytest.skip.Exception, match="nothing says what they should be"):
        suite().test_messages()
    wrong = mapping_suite(Loser, [(6,)], forward=maxout, messages=to_winners)
    wrong().test_conservation()
    with pytest.raises(ConformanceError):
        wrong().test_messages()
    wrong = rule_suite(graphlrp.Flat(), expected=by_magnitude)
    wrong().test_finite()
    with pytest.raises(ConformanceError):
        wrong().test_messages()


def test_importing_the_kit_needs_no_pytest() -> None:
    code = "import sys, graphlrp.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The oracle


def test_the_oracle_knows_nothing_of_the_package() -> None:
    tree = ast.parse(Path(dense.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert {name.partition(".")[0] for name in imported} <= {*sys.stdlib_module_names, "numpy", "onnx"}


def slow_alpha_beta(layer: dense.Dense, x: Array, relevance: Array, alpha: float, *, renormalize: bool) -> Array:
    """(2.26), message by message."""
    result = np.zeros(len(x))
    for j in range(len(relevance)):
        z, b = x * layer.weights[:, j], layer.bias[j]
        positive, negative = z[z > 0].sum() + max(b, 0), z[z < 0].sum() + min(b, 0)
        a = alpha
        if renormalize and (positive == 0 or negative == 0):
            a = 0.0 if positive == 0 else 1.0
        for i in range(len(x)):
            if z[i] > 0:
                result[i] += a * z[i] / positive * relevance[j]
            elif z[i] < 0:
                result[i] += (1 - a) * z[i] / negative * relevance[j]
    return result


def slow_gamma(layer: dense.Dense, x: Array, relevance: Array, gamma: float) -> Array:
    """The generalised γ rule, message by message."""
    result = np.zeros(len(x))
    for j in range(len(relevance)):
        z = [*(x * layer.weights[:, j]), layer.bias[j]]
        side = 1 if sum(z) >= 0 else -1
        raised = [one + gamma * (one if one * side > 0 else 0) for one in z]
        for i in range(len(x)):
            if sum(raised) != 0:
                result[i] += raised[i] / sum(raised) * relevance[j]
    return result


def test_textbook_rules_are_shares() -> None:
    weights, bias = normal(5, 6), normal(6)
    weights[:, 1], bias[1] = 0, 0
    weights[:, 2], bias[2] = np.abs(weights[:, 2]), 0.3
    layer, relevance = dense.Dense(weights, bias, np.ones((5, 6), bool)), normal(1, 6)[0]
    for x in (normal(5, 1)[:, 0], np.abs(normal(5, 1)[:, 0]), np.zeros(5)):
        forms = [
            dense.epsilon(layer, x, 0.0),
            dense.epsilon(layer, x, 0.2),
            *(dense.alpha_beta(layer, x, a, renormalize=r) for a in (1.0, 2.0) for r in (False, True)),
            dense.flat(layer, x),
            dense.w_square(layer, x),
            dense.z_bounds(layer, x, -3.0, 2.0),
            dense.gamma(layer, x, 0.5),
        ]
        forms += [dense.with_bias_policy(layer, form, policy) for form in forms for policy in ("distribute", "project")]
        for form in forms:
            whole = form.messages.sum(0) + form.bias + form.stabilizer + form.dead
            np.testing.assert_allclose(whole, 1, rtol=1e-12)
        for alpha, renormalize in ((1.0, False), (2.0, False), (2.0, True)):
            slow = slow_alpha_beta(layer, x, relevance, alpha, renormalize=renormalize)
            fast = dense.alpha_beta(layer, x, alpha, renormalize=renormalize).relevance(relevance)
            np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            dense.gamma(layer, x, 0.5).relevance(relevance), slow_gamma(layer, x, relevance, 0.5), rtol=1e-12, atol=1e-14
        )


def test_probing_and_differentiating() -> None:
    w, b = normal(3, 2), normal(2)
    w[1, 0] = 0
    layer = dense.probe(lambda x: x @ w + b, (3,), lambda x: x @ np.ones((3, 2)))
    np.testing.assert_allclose(layer.weights, w, atol=1e-15)
    np.testing.assert_allclose(layer.bias, b)
    assert layer.connected.all() and not dense.probe(lambda x: x @ w + b, (3,)).connected[1, 0]
    x, y = normal(4, 2), normal(4, 2)[::-1]
    slopes = dense.jacobian(lambda x, y: x * y, [x, y])
    assert slopes.shape == (4, 2, 4)
    wanted = np.concatenate([np.einsum("nj,ij->nji", y, np.eye(2)), np.einsum("nj,ij->nji", x, np.eye(2))], axis=2)
    np.testing.assert_allclose(slopes, wanted, atol=1e-9)


def test_equal_weights_need_no_tensor() -> None:
    class RunningSum(LinearMapping):
        operators = (("", "CumSum"),)

        def weight(self, op):
            return EqualWeight()

        def apply(self, op, x, weight):
            return op.CumSum(x, self.input(1))

        def adjoint(self, op, s, weight):
            return op.CumSum(s, self.input(1), reverse=1)

    assert "10 rules" in check_mapping(RunningSum, [(5,), np.array(1)])["messages"].what
