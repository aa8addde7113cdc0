"""Does a rule keep its contract? It is checked on dense and convolutional problems that rules go wrong on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.plugins import mapping as mappings
from graphlrp.plugins.dnn.convolution import Convolution
from graphlrp.plugins.dnn.dense import Gemm
from graphlrp.rules.base import Rule
from graphlrp.testing.bench import Variant
from graphlrp.testing.compare import compare_messages
from graphlrp.testing.dense import Input
from graphlrp.testing.mapping import Conformance
from graphlrp.testing.meaning import TextbookFunction
from graphlrp.testing.report import NotApplicable, Report, Row

Array = npt.NDArray[Any]

RULE_CHECKS = ("finite", "batches", "linearity", "messages", "conservation", "facts", "rectified", "float32")
"""The checks of a rule, in the order in which they build on each other."""


@dataclass(frozen=True)
class Problem:
    """A linear mapping that a rule is checked on.

    Attributes:
        mapping: its class.
        inputs: the shape of a sample, and constants, per input of the node.
        attributes: of the node.
    """

    mapping: type[mappings.Mapping]
    inputs: Sequence[Input]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def _numbers(*shape: int) -> Array:
    return np.random.default_rng([11, len(shape), *shape]).normal(size=shape)


def _with_dead_neuron(weights: Array) -> Array:
    """No weight leads to output 1, none from input 0, and others are missing."""
    weights = weights.copy()
    weights[:, 1] = 0
    weights[0] = 0
    weights[2, ::2] = 0
    return weights


PROBLEMS: dict[str, Problem] = {
    "dense": Problem(Gemm, [(6,), _numbers(6, 4), _numbers(4)]),
    "dense without bias": Problem(Gemm, [(6,), _numbers(6, 4)]),
    "dense with a dead neuron": Problem(Gemm, [(5,), _with_dead_neuron(_numbers(5, 4)), np.array([0.3, 0.0, -0.2, 0.0])]),
    "dense with weights >= 0": Problem(Gemm, [(4,), np.abs(_numbers(4, 3)), np.array([0.5, 0.0, -0.4])]),
    "dense with weights <= 0": Problem(Gemm, [(4,), -np.abs(_numbers(4, 3)), np.array([0.5, 0.0, -0.4])]),
    "padded convolution": Problem(Convolution, [(2, 3, 4), _numbers(3, 2, 3, 3), _numbers(3)], {"pads": [1, 1, 1, 1]}),
    "convolution in groups": Problem(Convolution, [(4, 4, 4), _numbers(4, 2, 2, 2)], {"group": 2, "strides": [2, 2]}),
}
"""Problems that rules go wrong on: z_j = 0, weights of one sign, padding, groups, with bias and without."""


def check_rule(
    rule: Rule,
    *,
    expected: TextbookFunction | None = None,
    conserves: bool | None = None,
    problems: Mapping[str, Problem] | None = None,
    domain: tuple[float, float] | None = None,
    tolerance: float = 1e-8,
    seed: int = 0,
) -> Report:
    """Check that a rule for linear mappings keeps its contract, on small dense and convolutional layers.

    Everything is computed in float64 with R_j = 1 at every output neuron j by itself, for inputs of either sign, zeros and
    ties; ``RULE_CHECKS`` lists the checks, methods of ``RuleConformance``.

    Args:
        rule: the rule.
        expected: its textbook form in numpy, ``expected(dense, x, relevance) -> relevance``: ``dense`` has ``weights`` [D, M],
            ``bias`` [M], ``connected`` [D, M] and ``contributions(x)`` [D, M], x is [D], the relevance of the outputs [M], that
            of the inputs [D]. Built-in rules have one already; without one, the report says that nothing was compared.
        conserves: whether it conserves; by default what its class says.
        problems: the layers it is checked on, by name; by default ``PROBLEMS``.
        domain: interval that inputs are drawn from.
        tolerance: relative error that is taken for rounding.
        seed: of the random numbers.

    Returns:
        What passed, and what does not apply here.

    Raises:
        ConformanceError: a check fails; the text shows the neuron that is worst, with its inputs and messages.
        InputError: the rule has no messages for linear mappings.
    """
    conformance = RuleConformance(
        rule, expected=expected, conserves=conserves, problems=problems, domain=domain, tolerance=tolerance, seed=seed
    )
    return Report(conformance.title, tuple(conformance.row(check) for check in RULE_CHECKS))


class RuleConformance:
    """The checks of one rule. Each can be run by itself; what they share is computed once.

    The arguments are those of ``check_rule``. Every check returns what it compared and the worst error of all problems.
    """

    def __init__(
        self,
        rule: Rule,
        *,
        expected: TextbookFunction | None = None,
        conserves: bool | None = None,
        problems: Mapping[str, Problem] | None = None,
        domain: tuple[float, float] | None = None,
        tolerance: float = 1e-8,
        seed: int = 0,
    ) -> None:
        if type(rule).linear_messages is Rule.linear_messages:
            raise InputError(f"{rule} has no linear_messages, so there is nothing to check")
        self.rule, self.expected, self.tolerance = rule, expected, tolerance
        self.conserves = rule.conserves if conserves is None else conserves
        self._problems = PROBLEMS if problems is None else problems
        self._domain, self._seed = domain, seed

    @property
    def title(self) -> str:
        """The rule and what it is checked on."""
        return f"{self.rule} on {len(self._problems)} layers"

    def row(self, check: str) -> Row:
        """Run one check on every problem.

        Raises:
            ConformanceError: it fails.
        """
        try:
            what, error = getattr(self, check)()
        except NotApplicable as reason:
            return Row(check, "", None, str(reason))
        return Row(check, what, error)

    @cached_property
    def conformances(self) -> dict[str, Conformance]:
        """The rule on every problem, as one of the rules that the mapping is checked with."""
        return {
            name: Conformance(
                problem.mapping,
                problem.inputs,
                attributes=problem.attributes,
                rules=(self.rule,),
                domain=self._domain,
                tolerance=self.tolerance,
                seed=self._seed,
                textbook={} if self.expected is None else {self.rule: self.expected},
                conserves=self.conserves,
                name=name,
            )
            for name, problem in self._problems.items()
        }

    # The checks

    def finite(self) -> tuple[str, float | None]:
        """Messages and what is booked are numbers, also where z_j = 0."""
        return self._each(Conformance.finite)

    def batches(self) -> tuple[str, float | None]:
        """Batches of 1, 2 and 5 samples give what the samples give one by one."""
        return self._each(Conformance.batches)

    def linearity(self) -> tuple[str, float | None]:
        """Messages of random relevance, with zeros and negative numbers, are Σ_j R_{i←j} R_j."""
        return self._each(Conformance.linearity)

    def messages(self) -> tuple[str, float | None]:
        """Messages equal ``expected``, or the textbook form of a built-in rule."""
        try:
            return self._each(Conformance.messages)
        except NotApplicable:
            raise NotApplicable("nothing says what they should be: give expected=") from None

    def conservation(self) -> tuple[str, float | None]:
        """Σ_i R_{i←j} and what the ledger booked add up to R_j for every neuron j."""
        return self._each(Conformance.conservation)

    def facts(self) -> tuple[str, float | None]:
        """That inputs are known not to be negative makes no difference to messages."""
        return self._each(Conformance.facts)

    def rectified(self) -> tuple[str, float]:
        """That relevance is known to be zero where z_j <= 0, for a ReLU stands behind, makes no difference to messages."""
        largest, note = 0.0, "where a ReLU stands behind; expected is R_j times what they are without"
        for conformance in self.conformances.values():
            subject, bench = conformance.subject, conformance.bench
            samples, variant = subject.samples, Variant(self.rule, behind=True)
            plain = subject.expand("rectified", Variant(self.rule))
            known = subject.expand("rectified", variant)
            # Relevance starts as max(z, 0) here, so that is what R_j is.
            rectified = np.maximum(bench.forward(*samples.arrays).reshape(len(samples), -1), 0)
            wanted = plain.messages * rectified[:, :, None]
            error = compare_messages(
                subject, "rectified", self.rule, known, wanted, samples.names, self.tolerance, note, rectified
            )
            largest = max(largest, error)
        return "the same messages whether relevance is known to be zero where z_j <= 0 or not", largest

    def float32(self) -> tuple[str, float | None]:
        """ONNX Runtime in float32 agrees with float64."""
        return self._each(Conformance.float32)

    def _each(self, check: Callable[[Conformance], tuple[str, float | None]]) -> tuple[str, float | None]:
        """Run a check of mappings on every problem."""
        outcomes = [check(conformance) for conformance in self.conformances.values()]
        return outcomes[0][0], max((error for _, error in outcomes if error is not None), default=None)
