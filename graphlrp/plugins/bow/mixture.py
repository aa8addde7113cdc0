"""Mappings of Gaussian mixtures: posteriors of their components, and Fisher vectors."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.ir.emitter import Emitter, static_sizes
from graphlrp.plugins.bow.encoding import Encoding, spread
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Epsilon


class Posterior(Encoding):
    """γ_k(l): which component of a Gaussian mixture a descriptor belongs to, [N, L, K].

    Inputs: descriptors [N, L, D]; weights π [K]; means μ [K, D]; deviations σ [K, D].
    """

    operators = (("graphlrp", "Posterior"),)
    native: ClassVar[str] = "to descriptors"

    def forward_messages(self, op: Emitter) -> ir.Value:
        """Softmax of log densities, by two products of matrices."""
        x, weights, means, deviations = (self.given(index) for index in range(4))
        precision = op.Reciprocal(op.Mul(deviations, deviations))
        constant = op.Sub(
            op.Log(weights),
            op.Add(
                op.Mul(op.ReduceSum(op.Mul(op.Mul(means, means), precision), op.integers([1]), keepdims=0), 0.5),
                op.ReduceSum(op.Log(deviations), op.integers([1]), keepdims=0),
            ),
        )
        linear = op.MatMul(x, op.Transpose(op.Mul(means, precision), perm=[1, 0]))
        square = op.MatMul(op.Mul(x, x), op.Transpose(op.Mul(precision, -0.5), perm=[1, 0]))
        return op.Softmax(op.Add(op.Add(linear, square), constant), axis=2)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """The sum over components, in equal parts to the numbers of a descriptor."""
        return self.only_first(spread(op, op.ReduceSum(relevance, op.integers([2]), keepdims=1), self.given(0)))


class FisherVector(Encoding):
    """Gradients of the log likelihood of descriptors under a Gaussian mixture, pooled in the cells of a pyramid (4.1-4.3).

        Ψ_π,k = 1/(|L| √π_k) Σ_l (γ_k(l) - π_k)                      only if ``weights`` is set
        Ψ_μ,k = 1/(|L| √π_k) Σ_l γ_k(l) (l - μ_k)/σ_k
        Ψ_σ,k = 1/(|L| √(2 π_k)) Σ_l γ_k(l) ((l - μ_k)²/σ_k² - 1)

    z_ld are the summands without 1/|L|. R_l = Σ_k γ_k(l) [a_k + b_k · l + c_k · l²] with a, b, c made of s_d: the cost of the
    forward pass. ε stabilises the sums over descriptors; the source takes 1 and 100.

    Inputs: descriptors [N, L, D]; γ [N, L, K]; cells [L, V]; π [K]; μ and σ [K, D]. Attributes ``cells`` C, ``weights``.
    Output [N, C · K · (2 D + weights)], cell by cell, and in each of them all π, all μ, all σ.
    """

    operators = (("graphlrp", "FisherVector"),)
    native: ClassVar[str] = "by Ψ(l), ε = 1"

    def forward_messages(self, op: Emitter) -> ir.Value:
        """Statistics of order zero, one and two of every cell."""
        parts, counts = self._sums(op), self._counts(op)
        scaled = [op.Div(part, op.Max(count, 1.0)) for part, count in zip(parts, counts, strict=True)]
        return op.Concat(*scaled, axis=1) if len(scaled) > 1 else scaled[0]

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """Three products of matrices per cell."""
        epsilon = rule.epsilon if isinstance(rule, Epsilon) else 1.0
        x, gamma = self.given(0), self.given(1)
        components, width = static_sizes(self.given(4))
        own = components * (2 * width + self._weights)
        square = op.Mul(x, x)
        messages, common = [], []
        for cell, count in enumerate(self._counts(op)):
            received = op.Slice(relevance, op.integers([cell * own]), op.integers([(cell + 1) * own]), op.integers([1]))
            z = op.Mul(op.Slice(self.output, op.integers([cell * own]), op.integers([(cell + 1) * own]), op.integers([1])), count)
            member = op.Unsqueeze(self._member(op, cell), op.integers([0, 2]))  # [1, L, 1]
            vacant = op.Equal(count, 0.0)
            # In a cell without descriptors, those of the image take its relevance (2.79).
            lost = op.Where(vacant, op.ReduceSum(received, op.integers([1]), keepdims=1), op.scalar(0.0))
            common.append(lost)
            s = op.divide_stabilized(op.Where(vacant, op.scalar(0.0), received), z, epsilon)
            a, b, c, weights = self._shares(op, s)
            # Descriptors of other cells are masked in [L, D], not in [L, K], which is larger.
            parts = op.Add(op.MatMul(gamma, a), op.Add(op.Mul(x, op.MatMul(gamma, b)), op.Mul(square, op.MatMul(gamma, c))))
            message = op.Mul(parts, member)
            if weights is not None:
                # (γ_k - π_k)/√π_k belongs to no dimension of the descriptor: to all of them alike.
                pi = self.given(3)
                scores = op.MatMul(op.Mul(op.Sub(gamma, pi), member), op.Unsqueeze(weights, op.integers([2])))
                message = op.Add(message, op.Div(scores, float(width)))
            messages.append(message)
        total = messages[0] if len(messages) == 1 else op.Sum(*messages)
        length = op.Cast(op.shape([op.size(x, 1)]), to=int(op.dtype))
        stray = op.Div(op.total(common), op.Mul(length, float(width)))
        total = op.Add(total, op.Unsqueeze(stray, op.integers([2])))
        if self.policy(op, "descriptors") == "whole":
            total = spread(op, op.ReduceSum(total, op.integers([2]), keepdims=1), x)
        return self.only_first(op.shaped(total, x))

    @property
    def _weights(self) -> int:
        return int(self.attribute("weights", 0))

    def _member(self, op: Emitter, cell: int) -> ir.Value:
        """1 for the descriptors of a cell, [L]."""
        inside = op.Equal(self.given(2), op.integers([cell]))
        return op.ReduceMax(op.Cast(inside, to=int(op.dtype)), op.integers([1]), keepdims=0)

    def _counts(self, op: Emitter) -> list[ir.Value]:
        """|L| of every cell, scalars."""
        return [op.ReduceSum(self._member(op, cell), keepdims=0) for cell in range(int(self.required("cells")))]

    def _sums(self, op: Emitter) -> list[ir.Value]:
        """Sums over the descriptors of each cell, [N, K (2 D + weights)] each."""
        x, gamma, _, pi, means, deviations = (self.given(index) for index in range(6))
        components, width = static_sizes(means)
        square = op.Mul(x, x)
        root = op.Unsqueeze(op.Sqrt(pi), op.integers([1]))
        across = op.Transpose(gamma, perm=[0, 2, 1])  # [N, K, L]
        result = []
        for cell, count in enumerate(self._counts(op)):
            member = op.Unsqueeze(self._member(op, cell), op.integers([0, 2]))  # [1, L, 1]
            order0 = op.MatMul(across, member)  # [N, K, 1]
            order1, order2 = op.MatMul(across, op.Mul(x, member)), op.MatMul(across, op.Mul(square, member))
            mean = op.Div(op.Sub(order1, op.Mul(order0, means)), op.Mul(deviations, root))
            spread_ = op.Add(op.Sub(order2, op.Mul(op.Mul(order1, means), 2.0)), op.Mul(order0, op.Mul(means, means)))
            variance = op.Sub(op.Div(spread_, op.Mul(deviations, deviations)), order0)
            variance = op.Div(variance, op.Mul(root, float(np.sqrt(2))))
            flat = [op.Reshape(part, op.integers([0, components * width])) for part in (mean, variance)]
            if self._weights:
                weight = op.Sub(op.Squeeze(order0, op.integers([2])), op.Mul(pi, count))
                flat.insert(0, op.Div(weight, op.Sqrt(pi)))
            result.append(op.Concat(*flat, axis=1))
        return result

    def _shares(self, op: Emitter, s: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value | None]:
        """a, b, c [N, K, D] with z_ld s_d = γ_k (a + b l + c l²), and s of the weights over √π [N, K]."""
        pi, means, deviations = (self.given(index) for index in (3, 4, 5))
        components, width = static_sizes(means)
        first, root = components * self._weights, op.Unsqueeze(op.Sqrt(pi), op.integers([1]))
        pieces = []
        for start in (first, first + components * width):
            piece = op.Slice(s, op.integers([start]), op.integers([start + components * width]), op.integers([1]))
            pieces.append(op.Reshape(piece, op.integers([0, components, width])))
        by_mean = op.Div(pieces[0], op.Mul(deviations, root))
        scale = op.Mul(op.Mul(deviations, deviations), op.Mul(root, float(np.sqrt(2))))
        by_variance = op.Div(pieces[1], scale)
        b = op.Sub(by_mean, op.Mul(op.Mul(by_variance, means), 2.0))
        rest = op.Sub(op.Mul(means, means), op.Mul(deviations, deviations))
        a = op.Sub(op.Mul(by_variance, rest), op.Mul(by_mean, means))
        weights = None
        if self._weights:
            own = op.Slice(s, op.integers([0]), op.integers([first]), op.integers([1]))
            weights = op.Div(own, op.Sqrt(pi))
        return a, b, by_variance, weights
