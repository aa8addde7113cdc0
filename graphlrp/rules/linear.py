"""The rules for mappings of the form z_ij = x_i w_ij + b_j, each written once, on ``apply`` and ``adjoint``.

Equation numbers refer to S. Lapuschkin, "Opening the machine learning black box with Layer-wise Relevance Propagation"
(TU Berlin, 2019). Throughout, ``s_j = R_j / denominator_j`` and x^± = max/min(x, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.rules.base import Decomposition, LinearProblem, Rule
from graphlrp.rules.weights import Weight

Part = tuple[ir.Value, Weight]


@dataclass(frozen=True)
class Epsilon(Rule):
    """R_{i←j} = z_ij / (z_j + ε sign(z_j)) · R_j (2.22); ε = 0 is the basic rule (2.10), known as LRP-0.

    The share of ε is booked as ``stabilizer``, that of the bias as ``bias``; with ε = 0, R_j of z_j = 0 is ``dead``.

    Raises:
        RuleError: ε is negative or not a number.
    """

    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        if not (isfinite(self.epsilon) and self.epsilon >= 0):
            raise RuleError(f"Epsilon: epsilon must be a number >= 0, not {self.epsilon}")

    def linear_messages(self, op: Emitter, mapping: LinearProblem, relevance: ir.Value) -> Decomposition:
        """One adjoint."""
        z = mapping.z(op)
        s = op.divide_stabilized(relevance, z, self.epsilon, mapping.rectified(op, relevance))
        bias = mapping.bias(op)
        message = op.Mul(mapping.x, mapping.adjoint(op, s, mapping.weight(op)))
        op.note_multiple(message, mapping.x)
        return Decomposition(message, None if bias is None else lambda: op.Mul(s, bias))


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """R_{i←j} = (α z_ij^+ / z_j^+ + β z_ij^- / z_j^-) · R_j with β = 1 - α (2.26); z^± over messages (2.24).

    z_ij^+ = x^+w^+ + x^-w^-, z_ij^- = x^+w^- + x^-w^+; the bias joins the side of its sign. If one side is empty, its share
    α R_j or β R_j is ``dead`` (negative for β, so the other side is in surplus); ``renormalize=True`` gives all of R_j to
    the side that exists instead, and only R_j without either side is ``dead``.

    Raises:
        RuleError: α < 1.
    """

    alpha: float = 2.0
    renormalize: bool = False

    def __post_init__(self) -> None:
        if not (isfinite(self.alpha) and self.alpha >= 1):
            raise RuleError(f"AlphaBeta: alpha must be a number >= 1 (beta is 1 - alpha), not {self.alpha}")

    @property
    def beta(self) -> float:
        """1 - α."""
        return 1.0 - self.alpha

    def linear_messages(self, op: Emitter, mapping: LinearProblem, relevance: ir.Value) -> Decomposition:
        """An adjoint per sign of the messages and sign of x: two if x ≥ 0 is known, one if also β = 0."""
        bias = mapping.bias(op)
        parts = _sides(op, mapping)
        positive = _side(op, mapping, parts[0], None if bias is None else op.Relu(bias), positive=True)
        both = self.beta != 0 or self.renormalize
        negative = _side(op, mapping, parts[1], None if bias is None else op.Min(bias, 0.0), positive=False) if both else None
        messages: list[ir.Value] = []
        shares: list[tuple[ir.Value, ir.Value]] = []
        for coefficient, side, other in ((self.alpha, positive, negative), (self.beta, negative, positive)):
            if side is None:
                continue
            # A coefficient that does not depend on the data is multiplied into weights, not into relevance.
            scales = coefficient not in (0, 1) and side.z is not None
            scaled = [w.scaled(op, coefficient) for _, w in side.parts] if scales else []
            folded = bool(scaled) and None not in scaled and (not self.renormalize or other is None)
            share = relevance if folded else self._share(op, coefficient, relevance, side, other)
            if share is None:
                continue
            if side.z is None:
                op.absorb("dead", lambda share=share: share)  # type: ignore[misc]
                continue
            factor = coefficient if folded else 1.0
            s = op.divide_one_sided(share, side.z, side.level, factor=factor)
            if side.bias is not None:
                shares.append((s, side.bias if factor == 1 else op.Mul(side.bias, factor)))
            by_input: dict[ir.Value, list[ir.Value]] = {}
            weights = [w for w in scaled if w is not None] if folded else [w for _, w in side.parts]
            for (x, _), weight in zip(side.parts, weights, strict=True):
                by_input.setdefault(x, []).append(mapping.adjoint(op, s, weight))
            messages += [op.Mul(x, op.total(adjoints)) for x, adjoints in by_input.items()]
        message = op.total(messages) if messages else op.Mul(mapping.x, 0.0)
        op.note_multiple(message, mapping.x)
        return Decomposition(message, (lambda: op.total([op.Mul(s, b) for s, b in shares])) if shares else None)

    def _share(self, op: Emitter, coefficient: float, relevance: ir.Value, side: _Side, other: _Side | None) -> ir.Value | None:
        """The relevance that goes to one side: coefficient · R_j, or by renormalisation 1 · R_j or 0."""
        if not self.renormalize or other is None:
            if coefficient == 0:
                return None
            return relevance if coefficient == 1 else op.Mul(relevance, coefficient)
        # R_j of an output without either side is given to the positive side, which books it as dead: once, not twice.
        first, one, zero = coefficient > 0, op.scalar(1.0), op.scalar(0.0)
        other_empty = other.empty(op)
        lost = op.Where(other_empty, one, zero) if first and other_empty is not None else (one if first else zero)
        own_empty = side.empty(op)
        if own_empty is None:
            return op.Mul(relevance, lost) if first else None
        alone = one if other_empty is None else op.Where(other_empty, one, op.scalar(coefficient))
        return op.Mul(relevance, op.Where(own_empty, lost, alone))


@dataclass(frozen=True)
class ZPlus(AlphaBeta):
    """z⁺ rule: AlphaBeta(1), that is R_{i←j} = z_ij^+ / z_j^+ · R_j; without biases, excitation backprop."""

    alpha: float = 1.0

    def __str__(self) -> str:
        return "ZPlus()" if not self.renormalize else "ZPlus(renormalize=True)"


@dataclass(frozen=True)
class Flat(Rule):
    """♭ rule: R_{i←j} = R_j / number of inputs of j (2.27, 5.1). Padding is no input, so the number varies at borders."""

    def linear_messages(self, op: Emitter, mapping: LinearProblem, relevance: ir.Value) -> Decomposition:
        """One adjoint with ones."""
        return _by_weights(op, mapping, relevance, mapping.weight(op).ones(op))


@dataclass(frozen=True)
class WSquare(Rule):
    """w² rule: R_{i←j} = w_ij² / Σ_i' w_i'j² · R_j (2.28). Padding is no input; the bias takes no part."""

    def linear_messages(self, op: Emitter, mapping: LinearProblem, relevance: ir.Value) -> Decomposition:
        """One adjoint with squared weights."""
        return _by_weights(op, mapping, relevance, mapping.weight(op).square(op))


@dataclass(frozen=True)
class ZBounds(Rule):
    """z^B rule for inputs in a box: R_{i←j} ∝ x_i w_ij - l_i w_ij^+ - h_i w_ij^- (Montavon et al. 2017).

    ``low`` and ``high`` bound the input: a number, one per channel (axis 1), or an array shaped like one sample. The bias
    takes no part.

    Raises:
        RuleError: some low is not below its high, or there are not as many as channels.
    """

    low: float | tuple[float, ...] = -1.0
    high: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            bound = getattr(self, name)
            if isinstance(bound, (Sequence, np.ndarray)):
                object.__setattr__(self, name, _numbers(np.asarray(bound, dtype=np.float64).tolist()))
        try:
            ordered = np.all(np.asarray(self.low) < np.asarray(self.high))
        except ValueError as error:
            raise RuleError(f"ZBounds: low and high do not have the same number of channels: {self}") from error
        if not ordered:
            raise RuleError(f"ZBounds: low must be below high, not {self.low} and {self.high}")

    def linear_messages(self, op: Emitter, mapping: LinearProblem, relevance: ir.Value) -> Decomposition:
        """Three adjoints."""
        weight = mapping.weight(op)
        low, high = self._bound(op, mapping.x, self.low), self._bound(op, mapping.x, self.high)
        bounds = [(x, w) for x, w in ((low, weight.positive(op)), (high, weight.negative(op))) if w is not None]
        z = mapping.apply(op, mapping.x, weight)
        for bound, part in bounds:
            z = op.Sub(z, mapping.apply(op, bound, part))
        # Every term is >= 0 for inputs within the bounds; for others the sum may have any sign.
        s = op.divide(relevance, z)
        message = op.Mul(mapping.x, mapping.adjoint(op, s, weight))
        for bound, part in bounds:
            message = op.Sub(message, op.Mul(bound, mapping.adjoint(op, s, part)))
        return Decomposition(message)

    def _bound(self, op: Emitter, x: ir.Value, bound: float | tuple[float, ...]) -> ir.Value:
        """A bound as a tensor [1, ...] of the size of one sample, so that padding stays outside of it."""
        numbers = np.atleast_1d(np.asarray(bound, dtype=np.float64))
        axes = rank(x)
        if numbers.ndim > 1:
            shaped = numbers[np.newaxis] if numbers.ndim == axes - 1 else numbers
            sample = [d if isinstance(d, int) else None for d in list(x.shape or [])[1:]]
            fits = shaped.ndim == axes and shaped.shape[0] == 1
            if not fits or any(d not in (None, n) and n != 1 for d, n in zip(sample, shaped.shape[1:], strict=True)):
                raise RuleError(
                    f"ZBounds: bounds of shape {list(numbers.shape)} for {x.name!r}, whose samples have shape {sample}"
                )
            return op.Expand(op.number(shaped), op.shape([1, *op.sizes(x)[1:]]))
        channels = op.size(x, 1) if axes > 1 else 1
        if numbers.size > 1 and isinstance(channels, int) and numbers.size != channels:
            raise RuleError(f"{self}: {numbers.size} bounds for {channels} channels of {x.name!r}")
        per_channel = numbers.reshape(1, -1, *(1,) * (axes - 2)) if axes > 1 else numbers
        return op.Expand(op.number(per_channel), op.shape([1, *op.sizes(x)[1:]]))


def _numbers(values: list[Any]) -> tuple[Any, ...]:
    """Nested lists as nested tuples, for rules are hashable."""
    return tuple(_numbers(value) if isinstance(value, list) else float(value) for value in values)


@dataclass(frozen=True)
class Gamma(Rule):
    """Generalised γ rule: R_{i←j} ∝ z_ij + γ z_ij^+ where z_j ≥ 0, z_ij + γ z_ij^- where z_j < 0.

    γ = 0 is LRP-0; γ → ∞ approaches z⁺ where z_j > 0. The bias counts like a message of its sign.

    Raises:
        RuleError: γ is negative or not a number.
    """

    gamma: float = 0.25

    def __post_init__(self) -> None:
        if not (isfinite(self.gamma) and self.gamma >= 0):
            raise RuleError(f"Gamma: gamma must be a number >= 0, not {self.gamma}")

    def linear_messages(self, op: Emitter, mapping: LinearProblem, relevance: ir.Value) -> Decomposition:
        """One adjoint for z_ij, one more per sign of z_j and sign of x."""
        z, bias = mapping.z(op), mapping.bias(op)
        positive, negative = _sides(op, mapping)
        zero = op.scalar(0.0)
        below = op.Less(z, 0.0)
        only_positive = mapping.rectified(op, relevance) is not None
        z_positive = _sum(op, [mapping.apply(op, x, w) for x, w in positive], None if bias is None else op.Relu(bias))
        # A difference is good enough here: it is added to z again, so its rounding cannot matter.
        z_negative = None if only_positive or z_positive is None else op.Sub(z, z_positive)
        favoured = op.Where(below, zero if z_negative is None else z_negative, zero if z_positive is None else z_positive)
        if z_positive is None:
            favoured = op.Where(below, z, zero)
        denominator = op.Add(z, op.Mul(favoured, self.gamma))
        s = op.divide(relevance, denominator)
        weighted = op.Mul(s, self.gamma)
        s_positive = op.Where(below, zero, weighted)
        message = [op.Mul(mapping.x, mapping.adjoint(op, s, mapping.weight(op)))]
        sides = [(positive, s_positive)]
        if not only_positive:
            sides.append((negative, op.Where(below, weighted, zero)))
        for side, part in sides:
            message += [op.Mul(x, mapping.adjoint(op, part, w)) for x, w in side]
        result = op.note_multiple(op.total(message), mapping.x)
        if bias is None:
            return Decomposition(result)

        def share() -> ir.Value:
            assert bias is not None
            kept = op.Where(below, op.Min(bias, 0.0), op.Relu(bias))
            return op.Mul(s, op.Add(bias, op.Mul(kept, self.gamma)))

        return Decomposition(result, share)


@dataclass(frozen=True)
class Pass(Rule):
    """Identity (2.37): R_i = R_j, for mappings whose output has the shape of their one input."""


@dataclass(frozen=True)
class Gradient(Rule):
    """∂f/∂x, the chain rule on the same graph (3.1). Starts from 1 instead of f(x); conserves nothing."""

    conserves: ClassVar[bool] = False

    def rectify(self, op: Emitter, gradient: ir.Value, x: ir.Value) -> ir.Value:
        """The ReLU: the gradient where the input was positive."""
        return op.Where(op.Greater(x, 0.0), gradient, op.scalar(0.0))


@dataclass(frozen=True)
class Deconvolution(Gradient):
    """Deconvolution (section 3.2): as the gradient, but a ReLU passes what is positive of the signal itself."""

    def rectify(self, op: Emitter, gradient: ir.Value, x: ir.Value) -> ir.Value:
        """The ReLU: the positive part of the backward signal."""
        return op.Relu(gradient)


@dataclass(frozen=True)
class GuidedBackprop(Gradient):
    """Guided backpropagation (section 3.2): a ReLU passes the positive signal where the input was positive."""

    def rectify(self, op: Emitter, gradient: ir.Value, x: ir.Value) -> ir.Value:
        """The ReLU: both masks."""
        return op.Where(op.Greater(x, 0.0), op.Relu(gradient), op.scalar(0.0))


def _by_weights(op: Emitter, mapping: LinearProblem, relevance: ir.Value, weight: Weight) -> Decomposition:
    """R_{i←j} proportional to a non-negative weight alone; sums over i are needed per position only."""
    ones = op.Expand(op.scalar(1.0), op.shape([1, *op.sizes(mapping.x)[1:]]))
    s = op.divide_one_sided(relevance, mapping.apply(op, ones, weight))
    return Decomposition(op.Expand(mapping.adjoint(op, s, weight), op.shape_of(mapping.x)))


def _sides(op: Emitter, mapping: LinearProblem) -> tuple[list[Part], list[Part]]:
    """(x, w) pairs whose products are the positive and the negative messages; pairs that are zero are left out."""
    weight = mapping.weight(op)
    positive, negative = weight.positive(op), weight.negative(op)
    parts: tuple[list[Part], list[Part]] = ([], [])
    above = mapping.x if mapping.nonnegative else op.Relu(mapping.x)
    signs = [(above, positive, negative)]
    if not mapping.nonnegative:
        signs.append((op.Min(mapping.x, 0.0), negative, positive))
    for x, same, opposite in signs:
        if same is not None:
            parts[0].append((x, same))
        if opposite is not None:
            parts[1].append((x, opposite))
    return parts


@dataclass(frozen=True)
class _Side:
    """The messages of one sign: (x, w) pairs, their sum with the bias of that sign, and the sum's value when all are zero."""

    parts: list[Part]
    bias: ir.Value | None
    z: ir.Value | None
    level: float

    def empty(self, op: Emitter) -> ir.Value | None:
        """Emits where there is no message; None if there is none anywhere."""
        return None if self.z is None else op.Equal(self.z, self.level)


def _side(op: Emitter, mapping: LinearProblem, parts: list[Part], bias: ir.Value | None, *, positive: bool) -> _Side:
    """Sum the messages of one sign.

    A sum that is empty is given a number far below any contribution instead of zero; added to a bias, that costs nothing.
    """
    terms = [mapping.apply(op, x, weight) for x, weight in parts]
    level = op.tiny if positive else -op.tiny
    if bias is not None:
        guarded = op.Add(bias, level)
        return _Side(parts, bias, op.Add(op.total(terms), guarded) if terms else guarded, level)
    if not terms:
        return _Side(parts, None, None, level)
    return _Side(parts, None, (op.Max if positive else op.Min)(op.total(terms), level), level)


def _sum(op: Emitter, terms: list[ir.Value], extra: ir.Value | None) -> ir.Value | None:
    """Sum of terms and of a bias that broadcasts to them."""
    if not terms:
        return extra
    total = op.total(terms)
    return total if extra is None else op.Add(total, extra)
