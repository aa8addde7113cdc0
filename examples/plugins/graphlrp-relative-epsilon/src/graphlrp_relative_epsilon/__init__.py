"""The ε rule with an ε relative to the layer's activation scale, and a preset that uses it on hidden layers, for GraphLRP.

Montavon, Binder, Lapuschkin, Samek, Müller: "Layer-Wise Relevance Propagation: An Overview" (2019), section 10.2, and the
tutorial that goes with it (ε = 0.25 std).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

import graphlrp
from graphlrp import Composite, Decomposition, Epsilon, Flat, ZBounds, select
from graphlrp.rules.base import LinearProblem

Bound: TypeAlias = float | Sequence[float]


@dataclass(frozen=True)
class RelativeEpsilon(graphlrp.Rule):
    """R_{i←j} = z_ij / (z_j + ε sign z_j) · R_j with ε = fraction · sqrt(mean_j z_j²), one ε per sample and layer.

    The mean is over all outputs j of a sample, that is, over all axes but the first. The share of ε is booked as ``stabilizer``,
    that of the bias as ``bias``. sign(0) = 1; where all z are 0, so is the denominator, and R_j is ``dead``.

    Raises:
        graphlrp.RuleError: the fraction is negative or no finite number.
    """

    fraction: float = 0.25

    def __post_init__(self) -> None:
        if not isinstance(self.fraction, int | float) or not 0 <= self.fraction < math.inf:
            raise graphlrp.RuleError(f"fraction of RelativeEpsilon must be a number >= 0, not {self.fraction!r}")

    def linear_messages(self, op: graphlrp.Emitter, mapping: LinearProblem, relevance: ir.Value) -> Decomposition:
        """One adjoint."""
        z, bias, weight = mapping.z(op), mapping.bias(op), mapping.weight(op)
        axes = op.integers(range(1, len(z.shape)))
        epsilon = op.Mul(op.Sqrt(op.ReduceMean(op.Mul(z, z), axes, keepdims=1)), self.fraction)
        sign = op.Where(op.Less(z, 0.0), op.scalar(-1.0), op.scalar(1.0))
        share = op.Mul(epsilon, sign)
        s = op.divide(relevance, op.Add(z, share))
        op.absorb("stabilizer", lambda: op.Mul(s, share))
        message = op.Mul(mapping.x, mapping.adjoint(op, s, weight))
        return Decomposition(message, None if bias is None else lambda: op.Mul(s, bias))


def relative_epsilon_hidden(
    fraction: float = 0.25, epsilon: float = 1e-6, top: int = 1, low: Bound | None = None, high: Bound | None = None
) -> Composite:
    """ε close to zero at the top, relative to the activations in hidden layers, and z^B or flat at the input.

    Args:
        fraction: ε of hidden layers over the root mean square of their outputs.
        epsilon: of the ``top`` last layers.
        top: how many linear layers count as the top.
        low: smallest value of the model's input, one number or one per channel, for z^B at the first layer.
        high: largest value of the input; without both bounds, the first layer gets the flat rule.

    Raises:
        graphlrp.RuleError: ``top`` is no positive integer, one of the bounds is missing, or a parameter is none of its rule.
    """
    if top != int(top) or top < 1:
        raise graphlrp.RuleError(f"top counts layers from the output, a positive integer, not {top!r}")
    if (low is None) != (high is None):
        raise graphlrp.RuleError("z^B needs both bounds of the input, low and high; without either, the first layer is flat")
    first = Flat() if low is None else ZBounds(low, high)
    entries = [
        (select.height(0, int(top) - 1), Epsilon(epsilon)),
        (select.first(), first),
        (select.every(), RelativeEpsilon(fraction)),
    ]
    return Composite(entries, "relative-epsilon-hidden")


@graphlrp.hookimpl
def register_rules(register):
    """Make the rule known by name."""
    register("relative-epsilon", RelativeEpsilon)


@graphlrp.hookimpl
def register_presets(register):
    """Make the preset known by name."""
    register("relative-epsilon-hidden", relative_epsilon_hidden)
