"""Products: by constants relevance passes; of two values that both depend on the input it is divided by policy."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from typing import ClassVar

import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.ir.facts import Bounds, Facts
from graphlrp.plugins.dnn.dense import EinsumConstant, MatMulConstant
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Gradient

EPSILON = 1e-6

_GATES = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})


class Product(Mapping):
    """Mul: with a constant, identity after cancelling (2.52); of two active values, by the policy ``product``.

    ``"uniform"`` gives half to each factor; ``"signal"`` gives all to the signal and nothing to the gate, the factor that
    comes out of a sigmoid or softmax (uniform if there is none or both do).
    """

    operators = (("", "Mul"),)
    family: ClassVar[str] = "product"
    native: ClassVar[str] = "pass, divided between active factors"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"product": ("uniform", "signal")}

    def bounds(self) -> Bounds:
        """Products of the ends of both intervals."""
        a, b = self.facts.bounds(self.inputs[0]), self.facts.bounds(self.inputs[1])
        if a.low >= 0 and b.low >= 0:
            return Bounds(a.low * b.low if a.low and b.low else 0.0)
        return Bounds()

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """Shares of the active factors."""
        shares = self._shares(op)
        messages: list[ir.Value | None] = []
        for value, share in zip(self.inputs, shares, strict=True):
            if value is None or share == 0:
                messages.append(None)
            else:
                messages.append(op.sum_to(relevance if share == 1 else op.Mul(relevance, share), value))
        return messages

    def _shares(self, op: Emitter) -> list[float]:
        if len(self.active) == 1:
            return [1.0 if index in self.active else 0.0 for index in range(2)]
        if self.policy(op, "product") == "signal":
            gates = [self._gate(value) for value in self.inputs]
            if gates[0] != gates[1]:
                return [0.0 if gate else 1.0 for gate in gates]
        return [0.5, 0.5]

    @staticmethod
    def _gate(value: ir.Value | None) -> bool:
        """Whether a factor comes out of a sigmoid or softmax, perhaps through movements."""
        while value is not None and (node := value.producer()) is not None:
            if node.op_type in _GATES:
                return True
            if node.op_type not in ("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand"):
                return False
            value = node.inputs[0]
        return False

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> list[ir.Value | None]:
        """The signal times the other factor."""
        a, b = self.inputs
        assert a is not None and b is not None
        return [op.sum_to(op.Mul(gradient, other), own) if self.facts.active(own) else None for own, other in ((a, b), (b, a))]


class Quotient(Mapping):
    """Div: the denominator is treated as a constant where the numerator depends on the input; alone, it receives all."""

    operators = (("", "Div"),)
    family: ClassVar[str] = "product"
    native: ClassVar[str] = "pass to the numerator"

    def bounds(self) -> Bounds:
        """The sign, if both are known not to be negative."""
        a, b = self.facts.bounds(self.inputs[0]), self.facts.bounds(self.inputs[1])
        return Bounds(0.0) if a.low >= 0 and b.low >= 0 else Bounds()

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """All to the numerator if it is active, else to the denominator."""
        index = self.active[0]
        value = self.inputs[index]
        assert value is not None
        messages: list[ir.Value | None] = [None, None]
        messages[index] = op.sum_to(relevance, value)
        return messages

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> list[ir.Value | None]:
        """g / b and -g z / b."""
        a, b = self.inputs
        assert a is not None and b is not None
        over = op.Div(gradient, b)
        return [
            op.sum_to(over, a) if self.facts.active(a) else None,
            op.sum_to(op.Neg(op.Mul(over, self.output)), b) if self.facts.active(b) else None,
        ]


class MatMul(Mapping):
    """MatMul: a dense layer if one factor is constant, else a product of two active matrices.

    Policy ``attention`` for the latter, z_j = Σ_i a_i b_i: ``"attnlrp"`` gives a_i · (adjoint of s)_i / 2 to either side
    (Achtibat et al. 2024); ``"cp"`` treats the first factor, the attention matrix, as a constant.
    """

    operators = (("", "MatMul"),)
    family: ClassVar[str] = "attention"
    native: ClassVar[str] = "ε rule, halves to both factors"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"attention": ("attnlrp", "cp")}

    @classmethod
    def lower(cls, node: ir.Node, facts: Facts) -> Mapping:
        """Dense with a constant factor."""
        active = [facts.active(value) for value in node.inputs]
        return cls(node, facts) if all(active) else MatMulConstant(node, facts)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """Adjoints of both sides times the sides."""
        a, b = self.inputs
        assert a is not None and b is not None
        s = op.divide_stabilized(relevance, self.output, EPSILON)
        to_a, to_b = self._adjoints(op, s)
        if self.policy(op, "attention") == "cp":
            return [None, op.Mul(b, to_b)]
        return [op.Mul(op.Mul(a, to_a), 0.5), op.Mul(op.Mul(b, to_b), 0.5)]

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> list[ir.Value | None]:
        """g B^T and A^T g."""
        return list(self._adjoints(op, gradient))

    def _adjoints(self, op: Emitter, s: ir.Value) -> tuple[ir.Value, ir.Value]:
        a, b = self.inputs
        assert a is not None and b is not None
        if rank(a) < 2 or rank(b) < 2:
            raise RuleError(
                f"MatMul node {self.node.name!r}: products of two active vectors are not decomposed; use Mul and ReduceSum"
            )
        return op.sum_to(op.MatMul(s, _flip(op, b)), a), op.sum_to(op.MatMul(_flip(op, a), s), b)


class Einsum(Mapping):
    """Einsum with one constant operand is a dense layer."""

    operators = (("", "Einsum"),)

    @classmethod
    def lower(cls, node: ir.Node, facts: Facts) -> Mapping:
        """Dense with a constant operand.

        Raises:
            RuleError: not one active and one constant operand.
        """
        active = [facts.active(value) for value in node.inputs]
        if len(active) != 2 or all(active):
            raise RuleError(
                f"Einsum node {node.name!r}: only one operand that depends on the explained input with one constant is"
                " decomposed; export with MatMul, Mul and ReduceSum"
            )
        return EinsumConstant(node, facts)


class Softmax(Mapping):
    """Softmax inside a model: Taylor, R_i = x_i (R_i - y_i Σ_j R_j) (AttnLRP, proposition 3.1), with the bias to the ledger.

    Masked positions (x = -inf, y = 0) receive exactly 0. Policy ``softmax``: ``"taylor"``, or ``"pass"``.
    """

    operators = (("", "Softmax"),)
    family: ClassVar[str] = "softmax"
    native: ClassVar[str] = "Taylor (AttnLRP)"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"softmax": ("taylor", "pass")}

    def bounds(self) -> Bounds:
        """A distribution."""
        return Bounds(0.0, 1.0)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """The Taylor messages; what they leave of R is the term of order zero, booked as bias."""
        if self.policy(op, "softmax") == "pass":
            return relevance
        y, axis = self.output, int(self.attribute("axis", -1))
        centred = op.Sub(relevance, op.Mul(y, op.ReduceSum(relevance, op.integers([axis]), keepdims=1)))
        message = op.Where(op.Equal(y, 0.0), op.scalar(0.0), op.Mul(self.x, centred))
        op.absorb("bias", lambda: op.Sub(relevance, message))
        return message

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """y (g - Σ y g)."""
        weighted = op.Mul(self.output, gradient)
        axis = int(self.attribute("axis", -1))
        return op.Sub(weighted, op.Mul(self.output, op.ReduceSum(weighted, op.integers([axis]), keepdims=1)))


def _flip(op: Emitter, value: ir.Value) -> ir.Value:
    axes = list(range(rank(value)))
    return op.Transpose(value, perm=[*axes[:-2], axes[-1], axes[-2]])
