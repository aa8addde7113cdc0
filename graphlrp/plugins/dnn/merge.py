"""Merges: Add, Sub, Sum, Mean share relevance by the z-rule (2.39); Max and Min give to the winner."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from math import inf
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.ir.emitter import Emitter
from graphlrp.ir.facts import Bounds
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Gradient

EPSILON = 1e-6


class Merge(Mapping):
    """z = Σ_k c_k x_k with c_k = ±1, or 1/n for Mean: R_{k←j} = c_k x_k / (z + ε sign z) · R_j (2.39).

    Constants take their share to the ledger: ``bias`` if they follow a product with weights, else ``constant``.
    Policy ``merge``: ``"z"`` as above; ``"abs"`` shares by magnitude |x_k| / Σ|x_k|; ``"equal"`` shares equally among the
    inputs that are no constants.
    """

    operators = (("", "Add"), ("", "Sub"), ("", "Sum"), ("", "Mean"))
    family: ClassVar[str] = "merge"
    native: ClassVar[str] = "z-rule over inputs, ε = 1e-6"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"merge": ("z", "abs", "equal")}

    def bounds(self) -> Bounds:
        """Sums of bounds."""
        bounds = [self.facts.bounds(value) for value in self.inputs]
        if self.node.op_type == "Sub":
            bounds[1] = Bounds(-bounds[1].high, -bounds[1].low)
        scale = 1 / len(bounds) if self.node.op_type == "Mean" else 1.0
        return Bounds(sum(b.low for b in bounds) * scale, sum(b.high for b in bounds) * scale)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """Shares of all inputs."""
        policy = self.policy(op, "merge")
        z, zero = self.output, op.scalar(0.0)
        infinite = op.IsInf(z) if policy != "equal" and self._masking else None
        if infinite is not None:
            # Nothing finite has a share of an infinite sum: the constant takes it all, which is nothing behind a softmax.
            op.absorb("constant", lambda received=relevance: op.Where(infinite, received, zero))  # type: ignore[misc]
            relevance, z = op.Where(infinite, zero, relevance), op.Where(infinite, op.scalar(1.0), z)
        if policy == "equal":
            share = op.Mul(relevance, 1 / len(self.active)) if len(self.active) > 1 else relevance
            return [op.sum_to(share, v) if v is not None and self.facts.active(v) else None for v in self.inputs]
        if policy == "abs":
            terms = [op.Abs(value) for value in self.inputs]
            s = op.divide_one_sided(relevance, op.total(terms))
        else:
            terms = [self._term(op, index) for index in range(len(self.inputs))]
            s = op.divide_stabilized(relevance, z, EPSILON, self.facts.rectified_factor(op.multiples(relevance), z))
        messages: list[ir.Value | None] = []
        for index, term in enumerate(terms):
            value = self.inputs[index]
            assert value is not None
            if index in self.active:
                messages.append(op.note_multiple(op.sum_to(op.Mul(term, s), value), value))
            else:
                finite = term if infinite is None else op.Where(infinite, zero, term)
                op.absorb(self._kind(index), lambda term=finite: op.Mul(term, s))  # type: ignore[misc]
                messages.append(None)
        return messages

    @property
    def _masking(self) -> bool:
        """Whether a constant may be infinite, as masks of attention are."""
        constants = [self.constant(index) for index in range(len(self.inputs)) if index not in self.active]
        return any(numbers is None or not np.isfinite(numbers).all() for numbers in constants)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> list[ir.Value | None]:
        """c_k times the signal."""
        messages: list[ir.Value | None] = []
        for index, value in enumerate(self.inputs):
            if value is None or index not in self.active:
                messages.append(None)
                continue
            signal = gradient
            if self.node.op_type == "Sub" and index == 1:
                signal = op.Neg(gradient)
            elif self.node.op_type == "Mean":
                signal = op.Mul(gradient, 1 / len(self.inputs))
            messages.append(op.sum_to(signal, value))
        return messages

    def _term(self, op: Emitter, index: int) -> ir.Value:
        """c_k x_k."""
        value = self.inputs[index]
        assert value is not None
        if self.node.op_type == "Sub" and index == 1:
            return op.Neg(value)
        return op.Mul(value, 1 / len(self.inputs)) if self.node.op_type == "Mean" else value

    def _kind(self, index: int) -> str:
        """A parameter added to a product with weights is that layer's bias, any other constant is a constant."""
        value = self.inputs[index]
        producers = [self.inputs[k].producer() for k in self.active]  # type: ignore[union-attr]
        parameter = value is not None and value.const_value is not None
        layer = any(p is not None and p.op_type in ("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum") for p in producers)
        return "bias" if parameter and layer else "constant"


class Extremum(Mapping):
    """Max and Min over inputs: the winner takes all, ties share equally (2.35); winning constants book theirs."""

    operators = (("", "Max"), ("", "Min"))
    family: ClassVar[str] = "maximum"
    native: ClassVar[str] = "winner takes all, ties share"

    def bounds(self) -> Bounds:
        """Extrema of bounds."""
        bounds = [self.facts.bounds(value) for value in self.inputs]
        pick = max if self.node.op_type == "Max" else min
        return Bounds(pick((b.low for b in bounds), default=-inf), pick((b.high for b in bounds), default=inf))

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """Shares of the winners."""
        return self._route(op, relevance, book=True)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> list[ir.Value | None]:
        """To the winners."""
        return self._route(op, gradient, book=False)

    def _route(self, op: Emitter, signal: ir.Value, *, book: bool) -> list[ir.Value | None]:
        wins = [op.Cast(op.Equal(value, self.output), to=int(op.dtype)) for value in self.inputs]
        share = op.Div(signal, op.total(wins))
        messages: list[ir.Value | None] = []
        for index, win in enumerate(wins):
            value = self.inputs[index]
            assert value is not None
            if index in self.active:
                messages.append(op.sum_to(op.Mul(win, share), value))
            else:
                if book:
                    op.absorb("constant", lambda win=win: op.Mul(win, share))  # type: ignore[misc]
                messages.append(None)
        return messages


class Selection(Mapping):
    """Where(condition, a, b): each position's relevance goes to the branch that was taken."""

    operators = (("", "Where"),)
    family: ClassVar[str] = "merge"
    native: ClassVar[str] = "to the branch taken"

    def bounds(self) -> Bounds:
        """Both branches."""
        a, b = self.facts.bounds(self.inputs[1]), self.facts.bounds(self.inputs[2])
        return Bounds(min(a.low, b.low), max(a.high, b.high))

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """Masked copies; constants book theirs."""
        return self._route(op, relevance, book=True)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> list[ir.Value | None]:
        """Masked copies."""
        return self._route(op, gradient, book=False)

    def _route(self, op: Emitter, signal: ir.Value, *, book: bool) -> list[ir.Value | None]:
        condition, zero = self.inputs[0], op.scalar(0.0)
        parts: Sequence[ir.Value] = (op.Where(condition, signal, zero), op.Where(condition, zero, signal))
        messages: list[ir.Value | None] = [None]
        for index, part in enumerate(parts, start=1):
            value = self.inputs[index]
            if value is not None and index in self.active:
                messages.append(op.sum_to(part, value))
            else:
                if book:
                    op.absorb("constant", lambda part=part: part)  # type: ignore[misc]
                messages.append(None)
        return messages
