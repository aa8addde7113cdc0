"""What stands before a machine: scaling, normalising, explicit feature maps."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Dictionary
from math import cosh, pi
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.errors import ModelError
from graphlrp.ir.emitter import Emitter
from graphlrp.plugins.kernels.sums import signed_root
from graphlrp.plugins.mapping import Mapping
from graphlrp.plugins.nonlinear import ComponentwiseMapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Epsilon, Gradient


class Scaler(ComponentwiseMapping):
    """z_d = (x_d - offset_d) · scale_d: scaling of features, whose relevance passes (2.37).

    Relevance so speaks of x_d measured from its offset, as a mean, which is what the model was made to see. Policy ``scaler``:
    ``"pass"`` as above; ``"z"`` shares with the offset instead, R_d = x_d scale_d / (z_d + ε sign z_d) · R, and books its part
    as ``bias``.

    Inputs: x [N, D]; offset and scale [D].
    """

    operators = (("graphlrp", "Scaler"),)
    family: ClassVar[str] = "scaling"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"scaler": ("pass", "z")}

    def forward_messages(self, op: Emitter) -> ir.Value:
        """(x - offset) · scale."""
        _, offset, scale = self.inputs
        return op.Mul(op.Sub(self.x, offset), scale)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """Identity, or the share of x_d."""
        if self.policy(op, "scaler") == "pass":
            return relevance
        _, offset, scale = self.inputs
        s = op.divide_stabilized(relevance, self.output, Epsilon().epsilon)
        op.absorb("bias", lambda: op.Neg(op.Mul(s, op.Mul(offset, scale))))
        return op.Mul(op.Mul(self.x, scale), s)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """The signal times the scale."""
        return op.Mul(gradient, self.inputs[2])


class Normalizer(ComponentwiseMapping):
    """z = x / ‖x‖ per sample, and 0 for x = 0; attribute ``norm``: ``l1``, ``l2`` or ``max``. The norm counts as constant."""

    operators = (("graphlrp", "Normalizer"),)
    family: ClassVar[str] = "scaling"

    def forward_messages(self, op: Emitter) -> ir.Value:
        """x / ‖x‖."""
        norm, x, axis = str(self.required("norm")), self.x, op.integers([-1])
        if norm not in ("l1", "l2", "max"):
            raise ModelError(f"Normalizer node {self.node.name!r}: unknown norm {norm!r}; there are l1, l2, max")
        one = op.scalar(1.0)
        if norm == "l2":
            size = op.ReduceSum(op.Mul(x, x), axis, keepdims=1)
        else:
            magnitude = op.Abs(x)
            size = op.ReduceSum(magnitude, axis, keepdims=1) if norm == "l1" else op.ReduceMax(magnitude, axis, keepdims=1)
        # Without a sample there is no direction: nothing of what follows has a derivative there, and none is passed on.
        empty = op.Equal(size, 0.0)
        size = op.Where(empty, one, size)
        return op.Where(empty, op.scalar(0.0), op.Div(x, op.Sqrt(size) if norm == "l2" else size))


class SignedRoot(ComponentwiseMapping):
    """z_d = sign(x_d) √|x_d|: the explicit map of the Hellinger kernel (4.5)."""

    operators = (("graphlrp", "SignedRoot"),)
    family: ClassVar[str] = "scaling"

    def forward_messages(self, op: Emitter) -> ir.Value:
        """sign(x) √|x|."""
        return signed_root(op, self.x)

    def derivative(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """1 / (2 √|x|), 0 where x is."""
        empty = op.Equal(y, 0.0)
        return op.Where(empty, op.scalar(0.0), op.Div(0.5, op.Abs(op.Where(empty, op.scalar(1.0), y))))


class SampledChi2(Mapping):
    """Features of ``AdditiveChi2Sampler``: 2n - 1 numbers for every x_d.

        √(x_d L),  and for j = 1 … n - 1  √(2 x_d L sech(π j L)) cos(j L ln x_d)  and the same with sin;  0 where x_d is

    Every one of them stems from one x_d, which takes the sum of their relevance.

    Input: x [N, D]; attributes ``steps`` n and ``interval`` L. Output [N, (2n - 1) D], one number of all dimensions after the
    other.
    """

    operators = (("graphlrp", "SampledChi2"),)
    family: ClassVar[str] = "scaling"
    native: ClassVar[str] = "sum over features of a dimension"

    def forward_messages(self, op: Emitter) -> ir.Value:
        """All features."""
        steps, interval, x = int(self.required("steps")), float(self.required("interval")), self.x
        empty = op.LessOrEqual(x, 0.0)
        filled = op.Where(empty, op.scalar(1.0), x)
        zero, logarithm = op.scalar(0.0), op.Log(filled)
        parts = [op.Where(empty, zero, op.Sqrt(op.Mul(filled, interval)))]
        for j in range(1, steps):
            factor = op.Sqrt(op.Mul(filled, 2 * interval / cosh(pi * j * interval)))
            angle = op.Mul(logarithm, j * interval)
            parts += [op.Where(empty, zero, op.Mul(factor, part)) for part in (op.Cos(angle), op.Sin(angle))]
        return op.Concat(*parts, axis=1) if len(parts) > 1 else parts[0]

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """Sums over the features of a dimension."""
        features = op.Reshape(relevance, op.shape([0, 2 * int(self.required("steps")) - 1, op.size(self.x, 1)]))
        return op.ReduceSum(features, op.integers([1]), keepdims=0)


FUNCTIONS: dict[str, Callable[[Any, ir.Value], ir.Value]] = {
    "log": lambda op, x: op.Log(x),
    "log1p": lambda op, x: op.Log(op.Add(x, 1.0)),
    "expm1": lambda op, x: op.Sub(op.Exp(x), 1.0),
    "log2": lambda op, x: op.Mul(op.Log(x), 1 / np.log(2)),
    "log10": lambda op, x: op.Mul(op.Log(x), 1 / np.log(10)),
    "exp": lambda op, x: op.Exp(x),
    "sqrt": lambda op, x: op.Sqrt(x),
    "absolute": lambda op, x: op.Abs(x),
    "square": lambda op, x: op.Mul(x, x),
    "tanh": lambda op, x: op.Tanh(x),
    "arctan": lambda op, x: op.Atan(x),
    "arcsinh": lambda op, x: op.Asinh(x),
    "sin": lambda op, x: op.Sin(x),
    "cos": lambda op, x: op.Cos(x),
    "negative": lambda op, x: op.Neg(x),
    "reciprocal": lambda op, x: op.Reciprocal(x),
    "expit": lambda op, x: op.Sigmoid(x),
    "sublinear": lambda op, x: op.Where(
        op.Greater(x, 0.0), op.Add(op.Log(op.Where(op.Greater(x, 0.0), x, op.scalar(1.0))), 1.0), op.scalar(0.0)
    ),
}
"""Functions of one component, of numpy or scipy.special, by name; ``sublinear`` is 1 + ln x of a count, 0 where there is none."""


class Function(ComponentwiseMapping):
    """z_d = γ(x_d) for a γ of ``FUNCTIONS``, attribute ``function``: relevance passes (2.37)."""

    operators = (("graphlrp", "Function"),)
    family: ClassVar[str] = "scaling"

    def forward_messages(self, op: Emitter) -> ir.Value:
        """γ(x)."""
        name = str(self.required("function"))
        if name not in FUNCTIONS:
            raise ModelError(f"Function node {self.node.name!r}: unknown function {name!r}; there are {', '.join(FUNCTIONS)}")
        return FUNCTIONS[name](op, self.x)
