"""Does a mapping keep its contract? ``Conformance`` has the checks, one method each; ``check_mapping`` runs them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Dictionary
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError, RuleError, UnsupportedOperatorError
from graphlrp.plugins.mapping import LinearMapping, Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import AlphaBeta, Epsilon, Flat, Gamma, Gradient, WSquare, ZBounds, ZPlus
from graphlrp.testing.bench import Bench, Variant
from graphlrp.testing.compare import (
    compare_balance,
    compare_batches,
    compare_constants,
    compare_gradient,
    compare_kinds,
    compare_messages,
    compare_sums,
)
from graphlrp.testing.dense import OPSET, Dense, Input, with_bias_policy
from graphlrp.testing.meaning import (
    NUMERIC,
    Meaning,
    MessagesFunction,
    TextbookFunction,
    dense_messages,
    expected_kinds,
    textbook_shares,
)
from graphlrp.testing.report import ConformanceError, NotApplicable, Report, Row
from graphlrp.testing.samples import NONNEGATIVE, Samples, relevances
from graphlrp.testing.subject import Subject, name_of, worst

Array = npt.NDArray[Any]

CHECKS = (
    "forward",
    "batches",
    "finite",
    "linearity",
    "messages",
    "conservation",
    "facts",
    "bounds",
    "gradient",
    "policies",
    "float32",
)
"""The checks of a mapping, in the order in which they build on each other."""

LINEAR_RULES: tuple[Rule, ...] = (
    Epsilon(0.1),
    Epsilon(0.0),
    AlphaBeta(2.0),
    AlphaBeta(2.0, renormalize=True),
    ZPlus(),
    ZPlus(renormalize=True),
    Flat(),
    WSquare(),
    ZBounds(-4.0, 5.0),
    Gamma(0.5),
)
"""Every rule for linear mappings, with its variants; those that stand first of their kind are checked in float32 as well."""

SINGLE = 1e-4
"""Relative error that is taken for the rounding of float32, before cancellation enlarges it."""

INTERVALS = ((0.0, np.inf), (-1.5, -0.25), (-0.5, 2.0))
"""What inputs are known to lie in when bounds are checked, besides nothing."""

Policies = Dictionary[str, Dictionary[str, MessagesFunction | None]]
"""Policy -> choice -> own messages under it, None if only conservation is to be checked."""


def check_mapping(
    mapping: type[Mapping],
    inputs: Sequence[Input],
    *,
    attributes: Dictionary[str, Any] | None = None,
    operator: str | tuple[str, str] | None = None,
    forward: Callable[..., Array] | None = None,
    messages: MessagesFunction | None = None,
    contributions: Callable[[list[Any]], Array] | None = None,
    rules: Sequence[Rule] | Dictionary[Rule, MessagesFunction] | None = None,
    policies: Policies | None = None,
    domain: tuple[float, float] | None = None,
    opset: int = OPSET,
    tolerance: float = 1e-8,
    seed: int = 0,
) -> Report:
    """Check that a mapping keeps its contract, on a model of one node.

    Everything is computed in float64 with R_j = 1 at every output neuron j by itself, so that all messages R_{i←j} are known;
    ``CHECKS`` lists the checks, methods of ``Conformance``. What the messages should be follows from the class:

    - ``LinearMapping``: the forward function is probed for z_ij = x_i w_ij, and every rule must equal its textbook form;
    - ``ComponentwiseMapping``: the identity, summed where the input is broadcast;
    - ``TaylorMapping``, ``LinearizedMapping``: numeric derivatives · (x - root) / f;
    - any other class: ``messages`` or ``contributions``; without either, the report says that nothing was compared.

    Args:
        mapping: the class, as ``graphlrp.load(plugins=[...])`` takes it.
        inputs: per input of the node: for one that depends on the explained input, the shape of a sample without the batch
            (small, for every output becomes a row of the batch); for a constant, an array (float64 takes the precision of the
            model, any other type is kept); for a value that enters again, the position where it entered first; None for one
            that is left out.
        attributes: of the node.
        operator: which of ``mapping.operators``, by default the first.
        forward: the node in numpy, ``forward(*inputs) -> y``, [N, ...] each, constants as they are, None for what is left out.
            By default ``onnx.reference``, if the operator is one of ONNX, or ONNX Runtime where that disagrees. A result in
            float32 is compared as such.
        messages: the mapping's own messages in numpy, ``messages(inputs, output, relevance)``, with the inputs of the node and
            its output, [N, ...] each: the message to the one explained input, or a list with one per input of the node. At the
            place of a constant stands its share, which the ledger is to have booked, or None.
        contributions: z_ij in numpy, ``contributions(inputs) -> [D, M]``, for the inputs of one sample, without batch: own
            messages must be proportional to z_ij for every j. D counts the components of all explained inputs.
        rules: what is checked besides the mapping's own messages; all linear rules by default, if it is a ``LinearMapping``. For
            a mapping of another kind that takes rules, a dictionary {rule: function}, each function like ``messages``.
        policies: which choices of which policies are checked, with the messages of each where they are known:
            ``{"merge": {"z": f, "equal": None}}``. By default all choices of all policies that the class declares.
        domain: interval that inputs are drawn from, for functions that are not defined everywhere.
        opset: version of ONNX's operators.
        tolerance: relative error that is taken for rounding.
        seed: of the random numbers.

    Returns:
        What passed, and what does not apply here.

    Raises:
        ConformanceError: a check fails; the text shows the neuron that is worst, with its inputs and messages.
        InputError: the arguments do not describe a node.
    """
    conformance = Conformance(
        mapping,
        inputs,
        attributes=attributes,
        operator=operator,
        forward=forward,
        messages=messages,
        contributions=contributions,
        rules=rules,
        policies=policies,
        domain=domain,
        opset=opset,
        tolerance=tolerance,
        seed=seed,
    )
    return Report(conformance.title, tuple(conformance.row(check) for check in CHECKS))


class Conformance:
    """The checks of one mapping. Each can be run by itself; what they share is computed once.

    Args:
        textbook: forms of rules that have none here.
        conserves: whether the rules conserve, by default what their classes say.
        name: what failures call the node, by default class and operator.

    All other arguments are those of ``check_mapping``. Every check returns what it compared and the worst error.

    Raises:
        InputError: the arguments do not describe a node.
    """

    def __init__(
        self,
        mapping: type[Mapping],
        inputs: Sequence[Input],
        *,
        attributes: Dictionary[str, Any] | None = None,
        operator: str | tuple[str, str] | None = None,
        forward: Callable[..., Array] | None = None,
        messages: MessagesFunction | None = None,
        contributions: Callable[[list[Any]], Array] | None = None,
        rules: Sequence[Rule] | Dictionary[Rule, MessagesFunction] | None = None,
        policies: Policies | None = None,
        domain: tuple[float, float] | None = None,
        opset: int = OPSET,
        tolerance: float = 1e-8,
        seed: int = 0,
        textbook: Dictionary[Rule, TextbookFunction] | None = None,
        conserves: bool | None = None,
        name: str | None = None,
    ) -> None:
        if messages is not None and contributions is not None:
            raise InputError("give messages or contributions, not both: either says what the mapping's own messages are")
        self.bench = Bench(mapping, inputs, operator=operator, attributes=attributes, opset=opset, name=name)
        self.subject = Subject(self.bench, forward, contributions, domain, seed)
        by_rule = rules if isinstance(rules, Dictionary) else {}
        self.meaning = Meaning(self.subject, messages, textbook or {}, by_rule)
        self.tolerance = tolerance
        self._rules = None if rules is None else tuple(rules)
        self._policies, self._conserves = policies, conserves

    @property
    def title(self) -> str:
        """Class and operator."""
        return self.bench.title

    def row(self, check: str) -> Row:
        """Run one check.

        Raises:
            ConformanceError: it fails.
        """
        try:
            what, error = getattr(self, check)()
        except NotApplicable as reason:
            return Row(check, "", None, str(reason))
        return Row(check, what, error)

    @cached_property
    def rules(self) -> list[Rule | None]:
        """The rules to be checked; None stands for the mapping's own messages."""
        subject, mapping = self.subject, self.subject.lowered
        given = LINEAR_RULES if self._rules is None and subject.linear else self._rules or ()
        for rule in given:
            if not mapping.accepts(rule):
                raise InputError(f"{self.title}: {type(mapping).__name__} has no messages for {rule}")
        # A linear mapping without messages of its own has those of the ε rule, which is checked as a rule.
        own = not subject.linear or type(mapping).relevance_messages is not LinearMapping.relevance_messages
        own = own or self.meaning.messages is not None or subject.contributions is not None or not given
        return [*([None] if own else []), *given]

    # The checks

    def forward(self) -> tuple[str, float]:
        """What the node computes equals ``forward``, or what ONNX says."""
        subject, samples = self.subject, self.subject.samples
        with subject.guard("forward"):
            actual = self.bench.forward(*samples.arrays)
        if actual.dtype != np.float64:
            raise ConformanceError("forward", f"forward: {self.title} computes {actual.dtype} where the model is of float64")
        if subject.independent is None:
            raise NotApplicable("nothing else defines the operator: give forward=, the same in numpy")
        expected = subject.independent(*samples.arrays)
        if expected.shape != actual.shape:
            text = f"forward: {self.title} has an output of shape {actual.shape}, expected is {expected.shape}"
            raise ConformanceError("forward", text)
        y, wanted = (array.reshape(len(samples), -1).astype(np.float64) for array in (actual, expected))
        largest = float(np.abs(wanted).max())
        error = np.abs(y - wanted) / (largest if largest > 0 else 1.0)
        s, j = worst(error)
        # Of an operator of ONNX, what is compared is not the plugin's; some have constants in single precision there.
        limit = SINGLE if expected.dtype != np.float64 else NUMERIC if subject.given is None else 0.0
        if not error[s, j] <= max(self.tolerance, limit):
            text = f"the output is {y[s, j]:.9g}, expected is {wanted[s, j]:.9g}"
            neuron = subject.neuron(j, samples.flat[s], z=subject.contribution(s, j))
            subject.fail("forward", text, neuron, sample=samples.names[s])
        return f"the output equals {subject.source} on {len(samples)} samples", float(error.max())

    def batches(self) -> tuple[str, float]:
        """Batches of 1, 2 and 5 samples give what the samples give one by one."""
        samples = self.subject.samples.cycled(5)
        relevance = relevances(5, self.bench.output_shape, self.subject.seed)
        largest = 0.0
        for rule in self.rules:
            # What is the mapping's own is seen with the first rule; with the others, it is the rule that may go wrong.
            for sizes in ((1,) * 5, (2, 3)) if rule is self.rules[0] else ((1, 4),):
                error = compare_batches(self.subject, rule, samples, relevance, sizes, self.tolerance)
                largest = max(largest, error)
        return "samples of a batch do not see each other; batches of 1, 2 and 5", largest

    def finite(self) -> tuple[str, None]:
        """Messages and what is booked are numbers, whatever the input: zeros, ties, one sign."""
        subject = self.subject
        for rule in self.rules:
            expansion = subject.expand("finite", Variant(rule))
            wrong = ~np.isfinite(expansion.messages).all(axis=2)
            for booked in expansion.booked.values():
                wrong |= ~np.isfinite(booked)
            if wrong.any():
                s, j = (int(k) for k in np.argwhere(wrong)[0])
                neuron, name = subject.sent(expansion, s, j, s), subject.samples.names[s]
                subject.fail("finite", "relevance is not finite", neuron, under=name_of(rule), sample=name)
        missing = [name for name in subject.drawn.names if name not in subject.samples.names]
        what = f"finite for inputs {', '.join(subject.samples.names)}"
        return what + (f" (left out, for the output is not finite: {', '.join(missing)})" if missing else ""), None

    def linearity(self) -> tuple[str, float]:
        """Messages of random relevance, with zeros and negative numbers, are Σ_j R_{i←j} R_j."""
        count, outputs = len(self.subject.samples), self.bench.outputs
        relevance = relevances(2 * count, (outputs,), self.subject.seed).reshape(count, 2, outputs)
        errors = [compare_sums(self.subject, rule, relevance, self.tolerance) for rule in self.rules]
        return "messages of random relevance are the sums of those of single outputs", max(errors)

    def messages(self) -> tuple[str, float]:
        """Messages are what the class, the author or the textbook says."""
        largest, compared, unknown = 0.0, [], []
        for rule in self.rules:
            expected = self.meaning.of(rule)
            if expected is None:
                unknown.append(name_of(rule))
                continue
            expansion = self.subject.expand("messages", Variant(rule), expected.names)
            tolerance = max(expected.tolerance, self.tolerance)
            wanted, names = expected.messages, expected.names
            error = compare_messages(self.subject, "messages", rule, expansion, wanted, names, tolerance)
            if expected.constants is not None:
                error = max(error, compare_constants(self.subject, "messages", expansion, expected.constants, self.tolerance))
            largest = max(largest, error)
            compared.append((rule, expected.meaning))
        if not compared:
            raise NotApplicable("nothing says what they should be: give messages= or contributions=")
        own = [meaning for rule, meaning in compared if rule is None]
        rules = [meaning for rule, meaning in compared if rule is not None]
        what = [*own, *(rules if len(rules) < 2 else [f"{len(rules)} rules equal the textbook form"])]
        return "; ".join(what) + (f" (nothing says what {', '.join(unknown)} should be)" if unknown else ""), largest

    def conservation(self) -> tuple[str, float]:
        """Σ_i R_{i←j} and what the ledger booked add up to R_j for every neuron j; by kind where the kinds are known."""
        conserving = [rule for rule in self.rules if self._conserving(rule)]
        if not conserving:
            raise NotApplicable(f"{', '.join(map(name_of, self.rules))} says that it does not conserve")
        subject, largest, names = self.subject, 0.0, self.subject.samples.names
        for rule in conserving:
            expansion = subject.expand("conservation", Variant(rule))
            largest = max(largest, compare_balance(subject, "conservation", rule, expansion, names, self.tolerance))
            expected = self.meaning.of(rule) if subject.linear else None
            if expected is not None and expected.shares is not None:
                kinds = expected_kinds(expected.shares, expansion)
                largest = max(largest, compare_kinds(subject, "conservation", rule, expansion, kinds, self.tolerance))
        return "messages and what the ledger booked add up to R_j for every neuron j", largest

    def facts(self) -> tuple[str, float]:
        """That inputs are known not to be negative, for a ReLU stands before them, makes no difference to messages."""
        subject = self.subject
        names = tuple(name for name in subject.samples.names if name in NONNEGATIVE)
        if not names:
            raise NotApplicable("every sample of the domain has negative numbers")
        largest, note = 0.0, "where x >= 0 is known from the graph; expected is what they are where it is not"
        for rule in self.rules:
            plain = subject.expand("facts", Variant(rule), names)
            known = subject.expand("facts", Variant(rule, front=("Relu",)), names)
            error = compare_messages(subject, "facts", rule, known, plain.messages, names, self.tolerance, note)
            largest = max(largest, error)
            if self._conserving(rule):
                largest = max(largest, compare_balance(subject, "facts", rule, known, names, self.tolerance, note))
        return "the same messages whether x >= 0 is known from the graph or not", largest

    def bounds(self) -> tuple[str, None]:
        """The interval that ``bounds()`` states holds the output, for inputs that lie anywhere or in a known interval."""
        subject, told = self.subject, []
        drawn = Samples.draw(self.bench.shapes, subject.domain, subject.seed, extra=40)
        for interval in (None, *INTERVALS):
            low, high = interval or (-np.inf, np.inf)
            front: tuple[str, ...] = ()
            if subject.domain is not None and (low > subject.domain[1] or high < subject.domain[0]):
                continue
            if interval is not None:
                front = ("Relu",) if np.isinf(high) else ("Clip", str(low), str(high))
            with subject.guard("bounds"):
                mapping = self.bench.lowered(front)
                stated = mapping.facts.bounds(mapping.output)
            arrays = [np.clip(array, low, high) for array in drawn.arrays]
            y = subject.function(*arrays).reshape(len(drawn), -1)
            # Where the output is no number, there is nothing to be held.
            y = np.where(np.isfinite(y), y, np.clip(0.0, stated.low, stated.high))
            excess = np.maximum(stated.low - y, y - stated.high) - self.tolerance * np.maximum(1, np.abs(y))
            s, j = worst(excess)
            where = "inputs anywhere" if interval is None else f"inputs in [{low:g}, {high:g}]"
            if excess[s, j] > 0:
                text = f"bounds() states [{stated.low:g}, {stated.high:g}] for {where}, the output is {y[s, j]:.6g}"
                neuron = subject.neuron(j, np.concatenate([array[s].ravel() for array in arrays]))
                subject.fail("bounds", text, neuron, sample=drawn.names[s])
            if np.isfinite([stated.low, stated.high]).any():
                told.append(f"[{stated.low:g}, {stated.high:g}] for {where}")
        if not told:
            raise NotApplicable("bounds() states nothing of the output")
        return f"the interval stated holds the output, as {told[0]}", None

    def gradient(self) -> tuple[str, float]:
        """The vector-Jacobian product equals central differences."""
        subject, variant = self.subject, Variant(Gradient())
        try:
            self.bench.compiled(variant)
        except (RuleError, UnsupportedOperatorError) as failure:
            if isinstance(failure, RuleError) and "no gradient" not in str(failure):
                raise subject.broken("gradient", failure, variant.rule) from failure
            raise NotApplicable(str(failure).splitlines()[0]) from failure
        except Exception as failure:
            raise subject.broken("gradient", failure, variant.rule) from failure
        expansion = subject.expand("gradient", variant, subject.generic)
        error = compare_gradient(subject, expansion, Gradient(), max(NUMERIC, self.tolerance))
        return "∂y_j/∂x_i equals central differences", error

    def policies(self) -> tuple[str, float]:
        """Every choice of every policy of the mapping conserves, and has the messages that are given for it."""
        subject, largest, checked, names = self.subject, 0.0, [], self.subject.samples.names
        for policy, choices in self._choices.items():
            for choice, messages in choices.items():
                checked.append(f"{policy}={choice}")
                if policy == "bias" and subject.linear:
                    largest = max(largest, self._bias_policy(choice))
                    continue
                note = f"with {policy}={choice!r}"
                expansion = subject.expand("policies", Variant(policies=((policy, choice),)))
                if messages is not None:
                    expected = self.meaning.by_function(messages, f"{note}, equals its function")
                    wanted = expected.messages
                    error = compare_messages(subject, "policies", None, expansion, wanted, names, self.tolerance, note)
                    if expected.constants is not None:
                        taken = expected.constants
                        error = max(error, compare_constants(subject, "policies", expansion, taken, self.tolerance, note))
                    largest = max(largest, error)
                largest = max(largest, compare_balance(subject, "policies", None, expansion, names, self.tolerance, note))
        if not checked:
            raise NotApplicable("the mapping has no policies")
        return f"conserves with {', '.join(checked)}", largest

    def float32(self) -> tuple[str, float]:
        """ONNX Runtime in float32 agrees with float64, in output and messages."""
        subject, largest, names = self.subject, 0.0, self.subject.samples.names
        # One variant of a rule is enough, for what is delicate is the mapping's arithmetic.
        chosen = {type(rule): rule for rule in reversed(self.rules)}
        for rule in reversed(chosen.values()):
            variant = Variant(rule, "float32")
            try:
                self.bench.compiled(variant)
            except Exception as failure:
                self._check_runtime(failure)
                raise subject.broken("float32", failure, rule) from failure
            double, single = subject.expand("float32", Variant(rule)), subject.expand("float32", variant)
            if single.messages.dtype != np.float32:
                text = f"float32: {self.title} under {name_of(rule)} sends messages of {single.messages.dtype}"
                raise ConformanceError("float32", text, rule=name_of(rule))
            error = np.abs(single.output - double.output) / np.maximum(1, np.abs(double.output).max(axis=1, keepdims=True))
            s, j = worst(error)
            if not error[s, j] <= SINGLE:
                text = f"the output is {single.output[s, j]:.8g} in float32, {double.output[s, j]:.8g} in float64"
                neuron = subject.neuron(j, subject.samples.flat[s], z=subject.contribution(s, j))
                subject.fail("float32", text, neuron, under=name_of(rule), sample=names[s])
            # Messages that cancel are so much less precise.
            tolerance = SINGLE * np.maximum(1, np.abs(double.messages).sum(axis=2))
            note = "in float32; expected is what they are in float64"
            wanted = double.messages
            largest = max(largest, compare_messages(subject, "float32", rule, single, wanted, names, tolerance, note))
        return "ONNX Runtime in float32 agrees with float64 in output and messages", largest

    # What they need

    @property
    def _choices(self) -> dict[str, dict[str, MessagesFunction | None]]:
        """The choices of policies to be checked.

        Raises:
            InputError: a policy or choice that the mapping does not have.
        """
        declared = {**self.bench.mapping.policies, **type(self.subject.lowered).policies}
        if self.subject.linear:
            declared = {**LinearMapping.policies, **declared}
        if self._policies is None:
            return {policy: dict.fromkeys(choices) for policy, choices in declared.items()}
        for policy, choices in self._policies.items():
            unknown = set(choices) - set(declared.get(policy, ()))
            if unknown:
                raise InputError(f"{self.title} has no policy {policy!r} with {', '.join(map(repr, sorted(unknown)))}")
        return {policy: dict(choices) for policy, choices in self._policies.items()}

    def _conserving(self, rule: Rule | None) -> bool:
        return rule is None or (rule.conserves if self._conserves is None else self._conserves)

    def _bias_policy(self, choice: str) -> float:
        """What a bias policy makes of the ε rule, against the textbook."""
        subject, matrix, rule, names = self.subject, self.subject.matrix, Epsilon(0.1), self.subject.samples.names
        expansion = subject.expand("policies", Variant(rule, policies=() if choice == "absorb" else (("bias", choice),)))
        if choice == "ignore":
            matrix = Dense(matrix.weights, np.zeros_like(matrix.bias), matrix.connected)
        shares = textbook_shares(rule, matrix, subject.samples.arrays[0])
        assert shares is not None
        placed = [with_bias_policy(matrix, share, choice) for share in shares]
        note, kinds = f"with bias={choice!r}", expected_kinds(placed, expansion)
        errors = [
            compare_messages(subject, "policies", rule, expansion, dense_messages(placed), names, self.tolerance, note),
            compare_balance(subject, "policies", rule, expansion, names, self.tolerance, note),
            compare_kinds(subject, "policies", rule, expansion, kinds, self.tolerance, note),
        ]
        if expansion.bias_input is not None:
            wanted = kinds["bias"]
            error = np.abs(expansion.bias_input - wanted) / np.maximum(1, np.abs(wanted))
            s, j = worst(error)
            if not error[s, j] <= self.tolerance:
                text = f"the bias as an input received {expansion.bias_input[s, j]:.6g}, expected is {wanted[s, j]:.6g}"
                subject.fail("policies", text, subject.sent(expansion, s, j, s), under=name_of(rule), sample=names[s])
            errors.append(float(error.max()))
        return max(errors)

    def _check_runtime(self, error: Exception) -> None:
        """Whether ONNX Runtime runs the bare node.

        Raises:
            NotApplicable: it does not, and the operator is none of the plugin's.
        """
        if self.bench.domain:
            return
        try:
            self.bench.run_bare(*self.subject.samples.arrays)
        except Exception as lacking:
            text = str(lacking).strip().splitlines()[0]
            raise NotApplicable(f"ONNX Runtime does not run the operator by itself: {text}") from error
