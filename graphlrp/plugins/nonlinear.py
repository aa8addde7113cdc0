"""What a mapping that is not a weighted sum may be built on: component-wise, Taylor decomposition, linearisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from graphlrp.ir.emitter import Emitter
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Epsilon, Gradient


class ComponentwiseMapping(Mapping):
    """y_i = γ(x_i): the one input of an output receives all of its relevance (2.37).

    Write ``derivative`` for the gradient rules, unless the node has a body, whose derivative is known.
    """

    family: ClassVar[str] = "activation"
    native: ClassVar[str] = "pass"

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """Identity; summed where the input was broadcast against a constant."""
        return op.sum_to(relevance, self.x)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value | Sequence[ir.Value | None]:
        """The signal times γ'(x)."""
        if type(self).derivative is ComponentwiseMapping.derivative:
            return super().gradient(op, gradient, rule)
        return op.sum_to(op.Mul(gradient, self.derivative(op, self.x, self.output)), self.x)

    def derivative(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """γ'(x), given x and y = γ(x)."""
        raise NotImplementedError(f"{type(self).__name__}.derivative")


class TaylorMapping(Mapping):
    """Taylor decomposition of order one around a root x̃ (2.17-2.20).

        R_{i←j} = ∂f_j/∂x_i(x̃) · (x_i - x̃_i) / (f_j(x) + ε sign) · R_j

    Write ``root``; the derivatives follow from the node's body. What order one does not reach, f_j(x̃) and the terms of higher
    order, is booked as ``residual``: it is small for a root that is near and where f is close to zero. As the residual is what
    the messages leave over, the ledger of such a node balances by definition; ``graphlrp.testing`` checks its messages.
    """

    native: ClassVar[str] = "Taylor, ε = 1e-6"

    def root(self, op: Emitter) -> ir.Value | Sequence[ir.Value]:
        """Emit x̃, shaped like x; one per active input if there are several. By default zero."""
        return [op.shaped(op.Mul(value, 0.0), value) for value in self._active_values]

    def expansion_point(self, op: Emitter, roots: Sequence[ir.Value]) -> Sequence[ir.Value]:
        """Where the derivative is taken, given the root per active input: there."""
        return roots

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """One repetition of the forward pass and one walk back through it."""
        root = self.root(op)
        roots = [root] if isinstance(root, ir.Value) else list(root)
        s = op.divide_stabilized(relevance, self.output, Epsilon().epsilon)
        slopes = self.differentiate(op, self.expansion_point(op, roots), s)
        op.absorb("residual", lambda: op.Mul(s, self.output))
        messages: list[ir.Value | None] = [None] * len(slopes)
        for index, x, origin in zip(self.active, self._active_values, roots, strict=True):
            slope = slopes[index]
            assert slope is not None
            message = op.Mul(op.Sub(x, origin), slope)
            op.absorb("residual", lambda message=message: op.Neg(message))  # type: ignore[misc]
            messages[index] = message
        return messages

    @property
    def _active_values(self) -> list[ir.Value]:
        return [value for value in self.inputs if value is not None and self.facts.active(value)]


class LinearizedMapping(TaylorMapping):
    """Gradient × input, opted into by name: R_{i←j} = x_i · ∂f_j/∂x_i(x) / (f_j(x) + ε sign) · R_j.

    Exact where f is piecewise linear without bias; elsewhere Σ_i x_i ∂f_j/∂x_i differs from f_j, and the difference is booked
    as ``residual``.
    """

    native: ClassVar[str] = "gradient × input, ε = 1e-6"

    def expansion_point(self, op: Emitter, roots: Sequence[ir.Value]) -> Sequence[ir.Value]:
        """x itself."""
        return self._active_values
