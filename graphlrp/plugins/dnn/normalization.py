"""Normalisation layers: BatchNormalization that could not be folded, and local response normalisation."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from math import inf
from typing import ClassVar

import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.ir.facts import Bounds, Facts
from graphlrp.plugins.mapping import LinearMapping, Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Epsilon, Gradient
from graphlrp.rules.weights import TensorWeight, Weight


class BatchNormalization(LinearMapping):
    """z = s x + (β - s μ) with s = γ / √(σ² + ε) per channel: a linear mapping of one input per output.

    Messages are R · s x / z (2.54), the rest goes to the bias. This is what remains where folding into a neighbour is not
    exact, as between a concatenation and a ReLU.
    """

    operators = (("", "BatchNormalization"),)
    family: ClassVar[str] = "normalization"

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        super().__init__(node, facts)
        if self.attribute("training_mode", 0):
            raise RuleError(
                f"BatchNormalization node {node.name!r} is in training mode: samples depend on each other; export for inference"
            )

    def _scale(self, op: Emitter) -> ir.Value:
        _, gamma, _, _, variance = self.inputs[:5]
        return op.Div(gamma, op.Sqrt(op.Add(variance, float(self.attribute("epsilon", 1e-5)))))

    def _per_channel(self, op: Emitter, value: ir.Value) -> ir.Value:
        return op.Reshape(value, op.integers([1, -1] + [1] * (rank(self.x) - 2)))

    def weight(self, op: Emitter) -> Weight:
        """s as [1, C, 1, ...]."""
        return TensorWeight(self._per_channel(op, self._scale(op)))

    def additive(self, op: Emitter) -> ir.Value:
        """β - s μ as [1, C, 1, ...]."""
        _, _, beta, mean, _ = self.inputs[:5]
        return self._per_channel(op, op.Sub(beta, op.Mul(self._scale(op), mean)))

    def z(self, op: Emitter) -> ir.Value:
        """The forward value; without the bias, s x itself, for taking the bias off again would leave its rounding where x = 0."""
        return self.output if op.options.get("bias") != "ignore" else self.apply(op, self.x, self.weight(op))

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """s x."""
        assert isinstance(weight, TensorWeight)
        return op.Mul(x, weight.value)

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """The same product."""
        assert isinstance(weight, TensorWeight)
        return op.Mul(s, weight.value)


class LocalResponseNormalization(Mapping):
    """z_j = x_j / (k + a Σ_{i in window} x_i²)^c: Taylor decomposition around (0, ..., x_j, ..., 0) (2.44-2.46).

        z_ij = (1/n) x_j / (k + a x_j²)^c - [i ≠ j] 2 a c x_i² x_j / (k + a Σ x²)^{c+1},   R_{i←j} = z_ij / Σ_i z_ij · R_j

    with n the number of channels in the window. Policy ``lrn``: ``"taylor"`` as above; ``"taylor-own"`` leaves the term of
    order zero with neuron j instead of spreading it over the window; ``"identity"`` treats the denominator as a constant.
    """

    operators = (("", "LRN"),)
    family: ClassVar[str] = "normalization"
    native: ClassVar[str] = "Taylor (2.46)"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"lrn": ("taylor", "taylor-own", "identity")}

    def bounds(self) -> Bounds:
        """The sign of the input."""
        bounds = self.facts.bounds(self.x)
        return Bounds(0.0 if bounds.low >= 0 else -inf, 0.0 if bounds.high <= 0 else inf)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """Window sums along the channels."""
        policy = self.policy(op, "lrn")
        if policy == "identity":
            return relevance
        x, c = self.x, self._c
        square = op.Mul(x, x)
        zero_order = op.Div(x, op.Pow(op.Add(op.Mul(square, self._a), self._k), c))
        full = op.Add(op.Mul(self._window_sum(op, square), self._a), self._k)
        slope = op.Div(op.Mul(x, 2 * self._a * c), op.Pow(full, c + 1))
        z = op.Sub(zero_order, op.Mul(slope, op.Sub(self._window_sum(op, square), square)))
        s = op.divide_stabilized(relevance, z, Epsilon().epsilon)
        q = op.Mul(slope, s)
        suppressed = op.Mul(square, op.Sub(self._window_sum(op, q, transposed=True), q))
        own = op.Mul(zero_order, s)
        if policy == "taylor":
            ones = op.Expand(op.scalar(1.0), op.shape([1, op.size(x, 1)] + [1] * (rank(x) - 2)))
            own = self._window_sum(op, op.Div(own, self._window_sum(op, ones)), transposed=True)
        return op.Sub(own, suppressed)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """g / D^c - 2 a c x Σ_j x_j g_j / D_j^{c+1}."""
        x, c = self.x, self._c
        full = op.Add(op.Mul(self._window_sum(op, op.Mul(x, x)), self._a), self._k)
        own = op.Div(gradient, op.Pow(full, c))
        q = op.Div(op.Mul(op.Mul(x, gradient), 2 * self._a * c), op.Pow(full, c + 1))
        return op.Sub(own, op.Mul(x, self._window_sum(op, q, transposed=True)))

    @property
    def _a(self) -> float:
        return float(self.attribute("alpha", 1e-4)) / int(self.attribute("size"))

    @property
    def _c(self) -> float:
        return float(self.attribute("beta", 0.75))

    @property
    def _k(self) -> float:
        return float(self.attribute("bias", 1.0))

    def _window_sum(self, op: Emitter, value: ir.Value, *, transposed: bool = False) -> ir.Value:
        """Sum over the channels of each window; ``transposed`` over the windows each channel lies in."""
        size = int(self.attribute("size"))
        before, after = (size - 1) // 2, size // 2
        if transposed:
            before, after = after, before
        channels = op.size(value, 1)
        padding = [0] * (2 * rank(value))
        padding[1], padding[rank(value) + 1] = before, after
        padded = op.Pad(value, op.integers(padding))
        if isinstance(channels, int):
            pieces = [op.Slice(padded, op.integers([k]), op.integers([k + channels]), op.integers([1])) for k in range(size)]
        else:
            pieces = [
                op.Slice(padded, op.integers([k]), op.Add(channels, op.integers([k])), op.integers([1])) for k in range(size)
            ]
        return pieces[0] if size == 1 else op.Sum(*pieces)
