"""Component-wise activations: relevance passes unchanged (2.37); gradient rules use their derivatives."""

from __future__ import annotations

from math import inf, pi, sqrt

import numpy as np
import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter
from graphlrp.ir.facts import UNBOUNDED, Bounds, Facts
from graphlrp.plugins.nonlinear import ComponentwiseMapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Gradient


class Relu(ComponentwiseMapping):
    """max(x, 0)."""

    operators = (("", "Relu"),)

    def bounds(self) -> Bounds:
        """Not negative."""
        self.facts.set_rectified(self.output, self.x)
        return self.facts.bounds(self.x).clip(0.0, inf)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """Identity; the message stays a multiple of the activation, which the rule behind it makes use of."""
        return relevance

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """As the gradient rule treats ReLUs."""
        return rule.rectify(op, gradient, self.x)


class Clip(ComponentwiseMapping):
    """min(max(x, low), high), as ReLU6."""

    operators = (("", "Clip"),)

    def bounds(self) -> Bounds:
        """The clipping interval."""
        low, high = (self.facts.constant(self.input(index)) for index in (1, 2))
        bottom = -inf if low is None or low.size == 0 else float(low.item())
        top = inf if high is None or high.size == 0 else float(high.item())
        if (self.input(1) is not None and low is None) or (self.input(2) is not None and high is None):
            return UNBOUNDED
        if bottom == 0 and top == inf:
            self.facts.set_rectified(self.output, self.x)
        return self.facts.bounds(self.x).clip(bottom, top)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """Where nothing was clipped; a lower bound of zero is a ReLU to the gradient rules."""
        low, high = self.facts.constant(self.input(1)), self.input(2)
        if low is None or not low.size or low.item() != 0:
            return op.Where(op.Equal(self.x, self.output), gradient, op.scalar(0.0))
        gradient = rule.rectify(op, gradient, self.x)
        return gradient if high is None else op.Where(op.LessOrEqual(self.x, high), gradient, op.scalar(0.0))


class PiecewiseLinear(ComponentwiseMapping):
    """LeakyRelu, PRelu, ThresholdedRelu, HardSigmoid, HardSwish, Abs, Elu, Selu, Celu, Shrink."""

    operators = (
        ("", "LeakyRelu"),
        ("", "PRelu"),
        ("", "ThresholdedRelu"),
        ("", "HardSigmoid"),
        ("", "HardSwish"),
        ("", "Abs"),
        ("", "Elu"),
        ("", "Selu"),
        ("", "Celu"),
        ("", "Shrink"),
    )

    def bounds(self) -> Bounds:
        """Intervals of those that are bounded."""
        operator = self.node.op_type
        if operator in ("Abs", "ThresholdedRelu"):
            return Bounds(0.0)
        if operator == "HardSigmoid":
            return Bounds(0.0, 1.0)
        if operator == "HardSwish":
            return Bounds(-0.375)
        return UNBOUNDED

    def derivative(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """Slopes of the pieces."""
        operator = self.node.op_type
        one, zero = op.scalar(1.0), op.scalar(0.0)
        above = op.Greater(x, 0.0)
        if operator == "LeakyRelu":
            return op.Where(above, one, op.scalar(self.attribute("alpha", 0.01)))
        if operator == "PRelu":
            slope = self.input(1)
            assert slope is not None
            return op.Where(above, one, slope)
        if operator == "ThresholdedRelu":
            return op.Where(op.Greater(x, float(self.attribute("alpha", 1.0))), one, zero)
        if operator == "HardSigmoid":
            inside = op.And(op.Greater(y, 0.0), op.Less(y, 1.0))
            return op.Where(inside, op.scalar(self.attribute("alpha", 0.2)), zero)
        if operator == "HardSwish":
            middle = op.Add(op.Div(x, 3.0), 0.5)
            return op.Where(op.Less(x, -3.0), zero, op.Where(op.Greater(x, 3.0), one, middle))
        if operator == "Abs":
            return op.Sign(x)
        if operator == "Elu":
            return op.Where(above, one, op.Add(y, float(self.attribute("alpha", 1.0))))
        if operator == "Selu":
            gamma, alpha = self.attribute("gamma", 1.0507009873554805), self.attribute("alpha", 1.6732632423543772)
            return op.Where(above, op.scalar(gamma), op.Add(y, float(gamma * alpha)))
        if operator == "Celu":
            alpha = float(self.attribute("alpha", 1.0))
            return op.Where(above, one, op.Add(op.Div(y, alpha), 1.0))
        return op.Where(op.Greater(op.Abs(x), float(self.attribute("lambd", 0.5))), one, zero)


class Smooth(ComponentwiseMapping):
    """Sigmoid, Tanh, Softplus, Softsign, Gelu, Mish, Swish, Erf, Exp, Log, Sqrt, Reciprocal, Pow and the like."""

    operators = tuple(
        ("", name)
        for name in (
            *("Sigmoid", "Tanh", "Softplus", "Softsign", "Gelu", "Mish", "Swish", "Erf", "Exp", "Log", "Sqrt"),
            *("Reciprocal", "Sin", "Cos", "Tan", "Atan", "Asin", "Acos", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Neg", "Pow"),
        )
    )

    def bounds(self) -> Bounds:
        """Intervals of those that are bounded."""
        if self.node.op_type in ("Sigmoid",):
            return Bounds(0.0, 1.0)
        if self.node.op_type in ("Tanh", "Erf", "Softsign", "Sin", "Cos"):
            return Bounds(-1.0, 1.0)
        if self.node.op_type in ("Exp", "Softplus", "Sqrt"):
            return Bounds(0.0)
        return UNBOUNDED

    def derivative(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """The derivative in closed form."""
        operator = self.node.op_type
        if operator == "Sigmoid":
            return op.Mul(y, op.Sub(1.0, y))
        if operator == "Tanh":
            return op.Sub(1.0, op.Mul(y, y))
        if operator == "Softplus":
            return op.Sigmoid(x)
        if operator == "Softsign":
            distance = op.Add(op.Abs(x), 1.0)
            return op.Reciprocal(op.Mul(distance, distance))
        if operator == "Gelu":
            return self._gelu(op, x)
        if operator == "Mish":
            t = op.Tanh(op.Softplus(x))
            return op.Add(t, op.Mul(op.Mul(x, op.Sigmoid(x)), op.Sub(1.0, op.Mul(t, t))))
        if operator == "Swish":
            alpha = float(self.attribute("alpha", 1.0))
            gate = op.Sigmoid(op.Mul(x, alpha))
            return op.Add(gate, op.Mul(op.Mul(y, alpha), op.Sub(1.0, gate)))
        if operator == "Erf":
            return op.Mul(op.Exp(op.Neg(op.Mul(x, x))), 2 / sqrt(pi))
        if operator == "Pow":
            base, exponent = self.inputs
            if x is exponent:
                return op.Mul(y, op.Log(op.CastLike(base, x)))
            real = op.CastLike(exponent, x)
            return op.Mul(real, op.Pow(x, op.Sub(real, 1.0)))
        square = op.Mul(x, x)
        simple = {
            "Exp": lambda: y,
            "Log": lambda: op.Reciprocal(x),
            "Sqrt": lambda: op.Div(op.scalar(0.5), y),
            "Reciprocal": lambda: op.Neg(op.Mul(y, y)),
            "Sin": lambda: op.Cos(x),
            "Cos": lambda: op.Neg(op.Sin(x)),
            "Tan": lambda: op.Add(op.Mul(y, y), 1.0),
            "Atan": lambda: op.Reciprocal(op.Add(square, 1.0)),
            "Asin": lambda: op.Reciprocal(op.Sqrt(op.Sub(1.0, square))),
            "Acos": lambda: op.Neg(op.Reciprocal(op.Sqrt(op.Sub(1.0, square)))),
            "Sinh": lambda: op.Cosh(x),
            "Cosh": lambda: op.Sinh(x),
            "Asinh": lambda: op.Reciprocal(op.Sqrt(op.Add(square, 1.0))),
            "Acosh": lambda: op.Reciprocal(op.Sqrt(op.Sub(square, op.scalar(1.0)))),
            "Atanh": lambda: op.Reciprocal(op.Sub(1.0, square)),
            "Neg": lambda: op.scalar(-1.0),
        }
        return simple[operator]()

    def _gelu(self, op: Emitter, x: ir.Value) -> ir.Value:
        if self.attribute("approximate", "none") == "tanh":
            inner = op.Mul(op.Add(x, op.Mul(op.Pow(x, 3.0), 0.044715)), sqrt(2 / pi))
            t = op.Tanh(inner)
            slope = op.Mul(op.Add(op.Mul(op.Mul(x, x), 3 * 0.044715), 1.0), sqrt(2 / pi))
            half = op.Mul(op.Add(t, 1.0), 0.5)
            return op.Add(half, op.Mul(op.Mul(op.Mul(x, 0.5), op.Sub(1.0, op.Mul(t, t))), slope))
        half = op.Mul(op.Add(op.Erf(op.Div(x, sqrt(2.0))), 1.0), 0.5)
        density = op.Mul(op.Exp(op.Mul(op.Mul(x, x), -0.5)), 1 / sqrt(2 * pi))
        return op.Add(half, op.Mul(x, density))


class Unchanged(ComponentwiseMapping):
    """Identity, Dropout in inference, Cast between real types."""

    operators = (("", "Identity"), ("", "Dropout"), ("", "Cast"))

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        super().__init__(node, facts)
        training = self.input(2) if node.op_type == "Dropout" else None
        if training is not None and (facts.constant(training) is None or np.any(facts.constant(training))):
            raise RuleError(f"Dropout node {node.name!r} may be in training mode, so its output is random; export for inference")

    def bounds(self) -> Bounds:
        """Those of the input."""
        return self.facts.bounds(self.x)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """Identity."""
        return relevance

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """Identity."""
        return gradient
