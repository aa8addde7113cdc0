"""Machines that are sums over input dimensions: f_j(x) = Σ_d z_dj(x_d) + b_j, explained exactly (2.71, 2.72).

    R_d = Σ_j z_dj / (z_j + ε sign z_j) · R_j

With ε = 0 and relevance that starts from f(x), R_d = Σ_i α_i y_i k^(d)(x_i,d, x_d) and R_b = b: nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from typing import ClassVar

import onnx_ir as ir

from graphlrp.ir.emitter import Emitter, static_sizes
from graphlrp.plugins.kernels.kernels import Kernel, read_kernel
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Epsilon, Gradient


class DecomposableMapping(Mapping):
    """z_j = Σ_d z_dj(x_d) + b_j for any functions z_dj of one component each.

    Write ``shares``, and ``additive`` if there is a b.
    """

    family: ClassVar[str] = "kernel"
    native: ClassVar[str] = "exact sum over dimensions"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"bias": ("absorb", "distribute", "ignore", "input")}

    def shares(self, op: Emitter, s: ir.Value) -> ir.Value:
        """Emit Σ_j z_dj s_j, shaped like x."""
        raise NotImplementedError(f"{type(self).__name__}.shares")

    def additive(self, op: Emitter) -> ir.Value | None:
        """b_j, which broadcasts to the output; None if there is none."""
        return None

    def accepts(self, rule: Rule) -> bool:
        """The ε rule and the gradient rules."""
        return isinstance(rule, (Epsilon, Gradient))

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """The exact contributions, and the bias where the policy wants it."""
        epsilon = rule.epsilon if isinstance(rule, Epsilon) else 0.0
        policy, bias = op.options.get("bias", "absorb"), self.additive(op)
        z = self.output
        if bias is not None and policy == "ignore":
            z, bias = op.Sub(z, bias), None
        s = op.divide_stabilized(relevance, z, epsilon)
        message = self.shares(op, s)
        if bias is None:
            return message
        if policy != "distribute":
            op.absorb("bias", lambda: op.Mul(s, bias))
            return message
        # (2.73): uniformly over all dimensions.
        share = op.ReduceSum(op.Mul(s, bias), op.integers([1]), keepdims=1)
        width = op.shape([op.size(self.x, 1)])
        return op.Add(message, op.Div(share, op.Cast(width, to=int(op.dtype))))


class ExactKernelMachine(DecomposableMapping):
    """f_j(x) = Σ_i A_ij k(y_i, x) + b_j for a kernel that is a sum over dimensions (2.72).

    Inputs: x [N, D], support vectors y [S, D], dual coefficients A [S, C], b [C]; attribute ``kernel``, its text. The inputs
    that ``KernelMachine`` has for a root are not read.
    """

    @property
    def kernel(self) -> Kernel:
        """The kernel."""
        return read_kernel(str(self.required("kernel")))

    @property
    def support(self) -> ir.Value:
        """y."""
        return _given(self, 1)

    @property
    def dual(self) -> ir.Value:
        """A."""
        return _given(self, 2)

    def forward_messages(self, op: Emitter) -> ir.Value:
        """Gram matrix times dual coefficients."""
        return emit_expansion(op, self.kernel, self.x, self.support, self.dual, _given(self, 3))

    def shares(self, op: Emitter, s: ir.Value) -> ir.Value:
        """Σ_i c_i k^(d)(y_i,d, x_d) with c = A s."""
        return self.kernel.messages(op, self.x, self.support, coefficients(op, s, self.dual))

    def additive(self, op: Emitter) -> ir.Value:
        """b."""
        return _given(self, 3)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """Σ_i c_i ∂k/∂x_d."""
        return self.kernel.gradient(op, self.x, self.support, coefficients(op, gradient, self.dual))


class KernelDistance(DecomposableMapping):
    """a(x) - r: squared distance in kernel space from the centre of a hypersphere, less its radius (A.12, A.13).

        R_d = k^(d)(x_d, x_d) - 2 Σ_i α_i k^(d)(y_i,d, x_d) + Σ_ij α_i α_j k^(d)(y_i,d, y_j,d)

    Inputs: x [N, D], support vectors y [S, D], α [S, 1], r [1]; attribute ``kernel``, its text.
    """

    operators = (("graphlrp", "KernelDistance"),)

    @property
    def kernel(self) -> Kernel:
        """The kernel."""
        return read_kernel(str(self.required("kernel")))

    def forward_messages(self, op: Emitter) -> ir.Value:
        """The sum of all contributions, and -r."""
        total = op.ReduceSum(self._contributions(op, None), op.integers([1]), keepdims=1)
        return op.Sub(total, _given(self, 3))

    def shares(self, op: Emitter, s: ir.Value) -> ir.Value:
        """The contributions."""
        return self._contributions(op, s)

    def additive(self, op: Emitter) -> ir.Value:
        """-r."""
        return op.Neg(_given(self, 3))

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """Of k(x, x) by the kernel's own gradient in both places, of the rest by that in x."""
        x, support, alpha = self.x, _given(self, 1), _given(self, 2)
        slopes = self.kernel.gradient(op, x, support, coefficients(op, op.Mul(gradient, -2.0), alpha))
        own = self.kernel.own_gradient(op, x)
        return op.Add(slopes, op.Mul(own, gradient))

    def _contributions(self, op: Emitter, s: ir.Value | None) -> ir.Value:
        """Per dimension, times s [N, 1] if it is given."""
        x, support, alpha = self.x, _given(self, 1), _given(self, 2)
        ones = op.Add(op.Mul(op.ReduceSum(x, op.integers([1]), keepdims=1), 0.0), 1.0) if s is None else s
        cross = self.kernel.messages(op, x, support, coefficients(op, op.Mul(ones, -2.0), alpha))
        within = self.kernel.messages(op, support, support, op.Expand(op.Transpose(alpha, perm=[1, 0]), self._square(op)))
        constant = op.MatMul(op.Transpose(alpha, perm=[1, 0]), within)
        own = op.Add(self.kernel.own_messages(op, x), constant)
        return op.Add(op.Mul(own, ones), cross)

    def _square(self, op: Emitter) -> ir.Value:
        count, _ = static_sizes(_given(self, 1))
        return op.integers([count, count])


class PiecewiseLinear(DecomposableMapping):
    """f_j(x) = Σ_d (p_kdj + q_kdj x_d) + b_j, where x_d lies behind k of the knots of its dimension.

    This is what a machine with histogram intersection is: with the support vectors sorted per dimension, two cumulative sums
    tell Σ_i α_i min(y_i,d, x_d) for any x_d (Maji, Berg and Malik, 2008). Knots are found by bisection, so a sample costs
    D log S, not D S.

    Inputs: x [N, D]; knots [D, S], ascending; p and q [D, S + 1, C]; b [C].
    """

    operators = (("graphlrp", "PiecewiseLinear"),)

    def forward_messages(self, op: Emitter) -> ir.Value:
        """The sum of all contributions, and b."""
        return op.Add(op.ReduceSum(self._contributions(op), op.integers([1]), keepdims=0), _given(self, 4))

    def shares(self, op: Emitter, s: ir.Value) -> ir.Value:
        """Contributions [N, D, C] times s [N, C]."""
        return op.Squeeze(op.MatMul(self._contributions(op), op.Unsqueeze(s, op.integers([2]))), op.integers([2]))

    def additive(self, op: Emitter) -> ir.Value:
        """b."""
        return _given(self, 4)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """q."""
        slopes = self._gather(op, _given(self, 3), self._positions(op))
        return op.Squeeze(op.MatMul(slopes, op.Unsqueeze(gradient, op.integers([2]))), op.integers([2]))

    def _contributions(self, op: Emitter) -> ir.Value:
        positions = self._positions(op)
        offset, slope = (self._gather(op, _given(self, index), positions) for index in (2, 3))
        return op.Add(offset, op.Mul(slope, op.Unsqueeze(self.x, op.integers([2]))))

    def _positions(self, op: Emitter) -> ir.Value:
        """How many knots lie below x_d, [N, D]: bits from the highest on, all dimensions at once."""
        knots = _given(self, 1)
        width, count = static_sizes(knots)
        flat = op.Reshape(knots, op.integers([-1]))
        first = op.integers(range(0, width * count, count))
        below = op.Cast(op.Mul(self.x, 0.0), to=int(ir.DataType.INT64))
        bit = 1 << (count.bit_length() - 1) if count else 0
        while bit:
            tried = op.Add(below, op.integers([bit]))
            # Knot number `tried`, counted from one; beyond the last there is none.
            index = op.Add(op.Min(op.Sub(tried, op.integers([1])), op.integers([count - 1])), first)
            inside = op.And(op.LessOrEqual(tried, op.integers([count])), op.Less(op.Gather(flat, index, axis=0), self.x))
            below = op.Where(inside, tried, below)
            bit >>= 1
        return below

    def _gather(self, op: Emitter, table: ir.Value, positions: ir.Value) -> ir.Value:
        """Rows of a table [D, S + 1, C]: [N, D, C]."""
        width, count, classes = static_sizes(table)
        first = op.integers(range(0, width * count, count))
        return op.Gather(op.Reshape(table, op.integers([-1, classes])), op.Add(positions, first), axis=0)


def emit_expansion(op: Emitter, kernel: Kernel, x: ir.Value, support: ir.Value, dual: ir.Value, intercept: ir.Value) -> ir.Value:
    """Σ_i A_ij k(y_i, x) + b_j."""
    return op.Add(op.MatMul(kernel.gram(op, x, support), dual), intercept)


def coefficients(op: Emitter, s: ir.Value, dual: ir.Value) -> ir.Value:
    """c_i = Σ_j A_ij s_j, [N, S]."""
    return op.MatMul(s, op.Transpose(dual, perm=[1, 0]))


def _given(mapping: Mapping, index: int) -> ir.Value:
    value = mapping.input(index)
    assert value is not None
    return value
