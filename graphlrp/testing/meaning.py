"""What messages should be, as far as a class or its author says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.plugins.nonlinear import ComponentwiseMapping, TaylorMapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import AlphaBeta, Epsilon, Flat, Gamma, Pass, WSquare, ZBounds, ZPlus
from graphlrp.testing import dense
from graphlrp.testing.bench import Expansion, Variant
from graphlrp.testing.dense import Dense, Shares
from graphlrp.testing.subject import Subject, name_of

Array = npt.NDArray[Any]

MessagesFunction = Callable[[list[Any], Array, Array], Any]
"""(inputs of the node, output, relevance of the output), [N, ...] each -> message, or one per input of the node.

At the place of a constant stands its share, which the ledger is to have booked; None if that is not known.
"""

TextbookFunction = Callable[[Dense, Array, Array], Array]
"""(the linear mapping, x [D], relevance [M]) -> relevance [D]."""

NUMERIC = 1e-6
"""Relative error of a derivative by central differences."""


@dataclass(frozen=True)
class Expectation:
    """Dense messages that a mapping should send.

    Attributes:
        meaning: where they come from, in words.
        messages: [S, M, D].
        names: of the samples.
        tolerance: relative error that is none, at least.
        shares: by the textbook, with what is booked; None if only messages are known.
        constants: relevance that constants take, [S, M]; None if it is not known.
    """

    meaning: str
    messages: Array
    names: tuple[str, ...]
    tolerance: float = 0.0
    shares: list[Shares] | None = None
    constants: Array | None = None


class Meaning:
    """Expected messages of a subject.

    Args:
        subject: what is checked.
        messages: the mapping's own messages in numpy, if the author gives them.
        textbook: forms of rules that the author gives.
        by_rule: messages in numpy under rules that the mapping takes.
    """

    def __init__(
        self,
        subject: Subject,
        messages: MessagesFunction | None,
        textbook: Mapping[Rule, TextbookFunction],
        by_rule: Mapping[Rule, MessagesFunction],
    ) -> None:
        self.subject, self.messages, self.textbook, self.by_rule = subject, messages, dict(textbook), dict(by_rule)

    def of(self, rule: Rule | None) -> Expectation | None:
        """What the messages of a rule, or the mapping's own, should be; None if nothing says so."""
        subject = self.subject
        every = subject.samples.names
        if rule is not None and rule in self.by_rule:
            return self.by_function(self.by_rule[rule], f"{name_of(rule)} equals its function")
        if rule is None and self.messages is not None:
            return self.by_function(self.messages, "own messages equal messages()")
        if rule is None and subject.contributions is not None:
            return Expectation("own messages are proportional to contributions()", self._by_contributions(), every)
        if subject.linear:
            return self._by_textbook(rule)
        if isinstance(subject.lowered, ComponentwiseMapping) and (rule is None or isinstance(rule, Pass)):
            return self.by_function(self._identity, "own messages are the identity")
        if isinstance(subject.lowered, TaylorMapping) and rule is None:
            meaning = "own messages equal numeric derivatives · (x - root) / f"
            return Expectation(meaning, self._by_derivatives(), subject.generic, 10 * NUMERIC)
        return None

    def by_function(self, messages: MessagesFunction, meaning: str) -> Expectation:
        """What a numpy function says of the mapping's own messages.

        Raises:
            InputError: it returns something of another shape, or no numbers.
        """
        bench, samples = self.subject.bench, self.subject.samples
        count, size = len(samples), bench.outputs
        rows = count * size
        inputs = bench.all_inputs([np.repeat(array, size, axis=0) for array in samples.arrays])
        output = np.repeat(bench.forward(*samples.arrays), size, axis=0)
        result = messages(inputs, output, np.tile(np.eye(size), (count, 1)).reshape(output.shape))
        given: list[Any] = [None] * len(inputs)
        if isinstance(result, np.ndarray):
            (index,) = bench.names
            given[index] = result
        else:
            given[: len(result)] = result
        flat = []
        for index, shape in zip(bench.names, bench.shapes, strict=True):
            total = np.zeros((rows, *shape))
            for position in bench.positions(index):
                part = given[position]
                if part is not None and np.shape(part) != total.shape:
                    raise InputError(
                        f"{bench.title}: messages() returned shape {np.shape(part)} for input of shape {total.shape}"
                    )
                total += 0.0 if part is None else part
            flat.append(total.reshape(count, size, -1))
        if not all(np.isfinite(array).all() for array in flat):
            raise InputError(f"{bench.title}: messages() returned numbers that are not finite, for zero inputs perhaps")
        known = [given[index] for index in bench.constants if given[index] is not None]
        booked = sum((np.reshape(share, (rows, -1)).sum(axis=1) for share in known), np.zeros(rows)).reshape(count, size)
        return Expectation(meaning, np.concatenate(flat, axis=2), samples.names, constants=booked if known else None)

    def _identity(self, inputs: list[Any], output: Array, relevance: Array) -> list[Array | None]:
        """Messages of a component-wise mapping: summed where the input was broadcast to the output."""
        (index,) = self.subject.bench.names
        (shape,) = self.subject.bench.shapes
        summed = relevance.sum(axis=tuple(range(1, output.ndim - len(shape))))
        axes = tuple(axis for axis, size in enumerate(shape, start=1) if size == 1)
        messages: list[Array | None] = [None] * len(inputs)
        messages[index] = summed.sum(axis=axes, keepdims=True)
        return messages

    def _by_contributions(self) -> Array:
        """z_ij scaled, for every j, to what fits the messages best: what is compared is their proportion."""
        subject = self.subject
        actual = subject.expand("messages", Variant()).messages
        z = np.stack([subject.given_contributions(s).T for s in range(len(subject.samples))])
        square = (z**2).sum(axis=2, keepdims=True)
        return np.asarray((actual * z).sum(axis=2, keepdims=True) / np.where(square > 0, square, 1) * z)

    def _by_derivatives(self) -> Array:
        """∂f_j/∂x_i at the expansion point · (x_i - root_i) / (f_j + ε sign), [S, M, D]."""
        subject = self.subject
        samples = subject.samples.only(subject.generic)
        with subject.guard("messages"):
            points, roots = subject.bench.expansion_points(samples.arrays)
        distance = [(x - root).reshape(len(samples), 1, -1) for x, root in zip(samples.arrays, roots, strict=True)]
        f = subject.function(*samples.arrays).reshape(len(samples), -1, 1)
        stabilized = f + Epsilon().epsilon * np.where(f >= 0, 1, -1)
        return np.asarray(subject.slopes(points) * np.concatenate(distance, axis=2) / stabilized)

    def _by_textbook(self, rule: Rule | None) -> Expectation | None:
        """Messages of a rule on a linear mapping, whose own messages are those of the ε rule."""
        subject = self.subject
        names, samples = subject.samples.names, subject.samples.arrays[0]
        if rule is not None and rule in self.textbook:
            function, rows = self.textbook[rule], []
            for x in samples:
                rows.append([function(subject.matrix, x.reshape(-1), one) for one in np.eye(subject.bench.outputs)])
            return Expectation(f"{rule} equals expected()", np.asarray(rows, dtype=np.float64), names)
        shares = textbook_shares(rule or Epsilon(), subject.matrix, samples)
        if shares is None:
            return None
        meaning = f"{'own messages equal' if rule is None else f'{rule} equals'} the textbook form"
        return Expectation(meaning, dense_messages(shares), names, shares=shares)


def textbook_shares(rule: Rule, matrix: Dense, samples: Array) -> list[Shares] | None:
    """Shares of every sample by the textbook form of a built-in rule; None for any other rule."""
    forms: dict[type[Rule], Callable[[Any, Array], Shares]] = {
        Epsilon: lambda r, x: dense.epsilon(matrix, x, r.epsilon),
        AlphaBeta: lambda r, x: dense.alpha_beta(matrix, x, r.alpha, renormalize=r.renormalize),
        ZPlus: lambda r, x: dense.alpha_beta(matrix, x, 1.0, renormalize=r.renormalize),
        Flat: lambda r, x: dense.flat(matrix, x),
        WSquare: lambda r, x: dense.w_square(matrix, x),
        ZBounds: lambda r, x: dense.z_bounds(matrix, x, _per_channel(r.low, x), _per_channel(r.high, x)),
        Gamma: lambda r, x: dense.gamma(matrix, x, r.gamma),
    }
    form = forms.get(type(rule))
    return None if form is None else [form(rule, x) for x in samples]


def dense_messages(shares: list[Shares]) -> Array:
    """Messages of several samples, [S, M, D]."""
    return np.stack([share.messages.T for share in shares])


def expected_kinds(shares: list[Shares], expansion: Expansion) -> dict[str, Array]:
    """What is to be booked, kind -> [S, M]; nothing of the kinds that rules for linear mappings do not have."""
    none = np.zeros(len(shares[0].bias))
    return {kind: np.stack([getattr(share, kind, none) for share in shares]) for kind in expansion.booked}


def _per_channel(bound: Any, x: Array) -> Array:
    """Bounds as ``ZBounds`` takes them, against one sample: numbers per channel stand along the first axis."""
    numbers = np.asarray(bound, dtype=np.float64)
    return numbers.reshape(-1, *(1,) * (x.ndim - 1)) if numbers.ndim == 1 else numbers
