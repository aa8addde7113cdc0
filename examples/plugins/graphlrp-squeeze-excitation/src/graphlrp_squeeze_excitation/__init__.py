"""Squeeze-and-excitation blocks (Hu et al., "Squeeze-and-Excitation Networks", 2018) as one mapping of GraphLRP.

Exporters spell such a block out as six or more nodes. Passes find the spellings and make one node of each block, so that the
policy ``gate`` can say what the gate takes part in.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, ClassVar

import onnx_ir as ir

import graphlrp

DOMAIN = "squeeze-excitation.example"
EPSILON = 1e-6


class SqueezeExcitation(graphlrp.Mapping):
    """y_chw = x_chw · g_c(x), with g = σ(p), p = W₂a + b₂, a = max(h, 0), h = W₁s + b₁ and s_c the mean of x_chw over h, w.

    The policy ``gate`` chooses the messages. ε is 1e-6 wherever it occurs.

    ``signal``
        R_{i←j} = δ_ij R_j: all relevance goes to the features, the gate is a constant factor. Nothing is absorbed.
    ``share``
        R_{i←j} = ½ δ_ij R_j + (what the gate hands on): half goes to the features; the other half, summed over h and w, is the
        relevance R_c of the gate. That passes σ unchanged and is shared by the ε rule in both layers of the gate and in the mean,

            R_k = Σ_c a_k w₂_ck / (p_c + ε sign p_c) · R_c,      R_c' = Σ_k s_c' w₁_kc' / (h_k + ε sign h_k) · R_k,
            R_c'hw = x_c'hw / (Σ_hw x_c'hw + ε sign) · R_c'

        The shares of b₁ and b₂ are booked as ``bias``, those of ε as ``stabilizer``.
    ``gradient``
        R_{i←j} = x_i ∂y_j/∂x_i / (y_j + ε sign y_j) · R_j: gradient × input of the whole block. What that does not reach,
        Σ_j y_j/(y_j + ε sign) R_j - Σ_ij R_{i←j}, is booked as ``residual``, the share of ε as ``stabilizer``.

    Inputs: x [N, C, H, W], W₁ [K, C, 1, 1], W₂ [C, K, 1, 1], and b₂ [C], b₁ [K], which may be left out.
    Output: y [N, C, H, W].
    """

    operators = ((DOMAIN, "SqueezeExcitation"),)
    family = "gate"
    native = "policy gate"
    policies: ClassVar[dict[str, tuple[str, ...]]] = {"gate": ("signal", "share", "gradient")}

    def bounds(self) -> graphlrp.Bounds:
        """The gate is in [0, 1]."""
        x = self.facts.bounds(self.inputs[0])
        return graphlrp.Bounds(min(x.low, 0.0), max(x.high, 0.0))

    def forward_messages(self, op: graphlrp.Emitter) -> ir.Value:
        """y with the logistic function as σ; a block that was found in a model computes what stands there."""
        x, w1, w2, b2, b1 = (self.input(index) for index in range(5))
        return op.Mul(x, op.Sigmoid(op.Conv(op.Relu(op.Conv(op.GlobalAveragePool(x), w1, b1)), w2, b2)))

    def relevance_messages(self, op: graphlrp.Emitter, relevance: ir.Value, rule: graphlrp.Rule | None) -> ir.Value:
        """The messages that the policy chooses."""
        choice = self.policy(op, "gate")
        if choice == "share":
            half = op.Mul(relevance, 0.5)
            return op.total([half, self.through_gate(op, op.ReduceSum(half, op.integers([2, 3]), keepdims=1))])
        if choice == "gradient":
            s = op.divide_stabilized(relevance, self.output, EPSILON)
            message = op.Mul(self.x, self.differentiate(op, [self.x], s)[0])
            op.absorb("residual", lambda: op.Sub(op.Mul(s, self.output), message))
            return message
        return relevance

    def through_gate(self, op: graphlrp.Emitter, relevance: ir.Value) -> ir.Value:
        """Messages to x [N, C, H, W] of the relevance of the gate [N, C, 1, 1]."""
        _, w1, w2, b2, b1 = (self.input(index) for index in range(5))
        squeezed = op.GlobalAveragePool(self.x)
        hidden = op.Conv(squeezed, w1, b1)
        active = op.Relu(hidden)
        relevance = self.through_convolution(op, relevance, active, w2, b2, op.Conv(active, w2, b2))
        relevance = self.through_convolution(op, relevance, squeezed, w1, b1, hidden)
        total = op.ReduceSum(self.x, op.integers([2, 3]), keepdims=1)
        return op.Mul(self.x, op.divide_stabilized(relevance, total, EPSILON))

    @staticmethod
    def through_convolution(
        op: graphlrp.Emitter, relevance: ir.Value, x: ir.Value, w: ir.Value, bias: ir.Value | None, z: ir.Value
    ) -> ir.Value:
        """The ε rule for a 1×1 convolution: R_i = x_i Σ_j w_ji s_j with s_j = R_j / (z_j + ε sign z_j); bias b_j s_j."""
        s = op.divide_stabilized(relevance, z, EPSILON)
        if bias is not None:
            op.absorb("bias", lambda: op.Mul(s, op.Unsqueeze(bias, op.integers([1, 2]))))
        return op.Mul(x, op.Conv(s, op.Transpose(w, perm=[1, 0, 2, 3])))


# What exporters write, in the canonical form of GraphLRP: +3 before a clipped gate has become a part of the bias b₂.
SQUEEZES: tuple[Callable[[Any, Any], Any], ...] = (
    lambda op, x: op.GlobalAveragePool(x),
    lambda op, x: op.ReduceMean(x, [2, 3]),
    lambda op, x: op.ReduceMean(x, [-2, -1]),
    lambda op, x: op.ReduceMean(x, [-1, -2]),
)
GATES: tuple[Callable[[Any, Any], Any], ...] = (
    lambda op, p: op.Sigmoid(p),
    lambda op, p: op.HardSigmoid(p),
    lambda op, p: op.Div(op.Clip(p, 0.0, 6.0), 6.0),
    lambda op, p: op.Mul(op.Clip(p, 0.0, 6.0), 1.0 / 6.0),
)


def is_block(context: Any, x: ir.Value, w1: ir.Value, w2: ir.Value, **biases: ir.Value) -> bool:
    """Whether both convolutions are 1×1, not grouped, and lead from the channels of x back to as many."""
    if x.shape is None or len(x.shape) != 4 or any(w.const_value is None for w in (w1, w2, *biases.values())):
        return False
    (hidden, channels, *kernel1), (outputs, inputs, *kernel2) = w1.const_value.shape, w2.const_value.shape
    return [*kernel1, *kernel2] == [1, 1, 1, 1] and inputs == hidden and outputs == channels == x.shape[1]


def spellings(squeeze: Callable[[Any, Any], Any], gate: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], ...]:
    """The block with this mean and this gate: with both biases, with b₂, which a clipped gate always has, and with none."""

    def with_biases(op, x, w1, w2, b2, b1):
        return op.Mul(x, gate(op, op.Conv(op.Relu(op.Conv(squeeze(op, x), w1, b1)), w2, b2)))

    def with_second_bias(op, x, w1, w2, b2):
        return op.Mul(x, gate(op, op.Conv(op.Relu(op.Conv(squeeze(op, x), w1)), w2, b2)))

    def without_bias(op, x, w1, w2):
        return op.Mul(x, gate(op, op.Conv(op.Relu(op.Conv(squeeze(op, x), w1)), w2)))

    return with_biases, with_second_bias, without_bias


@graphlrp.hookimpl
def register_mappings(register):
    """Make the block known."""
    register(SqueezeExcitation)


@graphlrp.hookimpl
def register_passes(register):
    """Find the block in all its spellings."""
    patterns = [spelling for squeeze, gate in product(SQUEEZES, GATES) for spelling in spellings(squeeze, gate)]
    register(graphlrp.Fusion(patterns, (DOMAIN, "SqueezeExcitation"), is_block, name="fuse squeeze-and-excitation"))
