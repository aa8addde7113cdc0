"""Kernel machines f_j(x) = Σ_i A_ij k(y_i, x) + b_j (2.66): exact where the kernel is a sum over dimensions, else by Taylor."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.errors import ModelError
from graphlrp.ir.emitter import Emitter, static_sizes
from graphlrp.ir.facts import Facts
from graphlrp.plugins.kernels import blocks
from graphlrp.plugins.kernels.decomposable import ExactKernelMachine, coefficients, emit_expansion
from graphlrp.plugins.kernels.kernels import Kernel, Ways, read_kernel
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Gradient

WAYS = 256
"""Ways from references to x that are searched for a root: those where linear interpolation promises the nearest one.

The source takes about 50 samples at random.
"""

BUDGET = 1 << 16
"""Kernel values, per sample and step of the search: machines of many support vectors search fewer ways."""

BUDGET_OF_DIMENSIONS = 1 << 20
"""Summands of kernel values, per sample and step, where a kernel has to go through all dimensions again."""

TOLERANCE = 1e-5
"""|f(x̃)| that counts as a root; in double precision it is much smaller."""

FAR = 1e30


class KernelMachine(Mapping):
    """f_j(x) = Σ_i A_ij k(y_i, x) + b_j for a differentiable kernel, by Taylor decomposition (2.76).

        R_d = (x - x̃)_d Σ_i c_i ∂k(y_i, ·)/∂x_d (x̃),   c_i = Σ_j A_ij R_j / f_j(x)

    x̃ is a root of g = Σ_j R_j / f_j(x) · f_j, which for one explained output is f_j itself: of the points on the decision
    boundary where it is crossed on the way from x to a reference that is predicted otherwise, the one nearest to x. For
    regression, the boundary lies at a reference level of f. What the first order does not reach is booked as ``residual``, and
    the level as ``constant``; the ledger of such a node balances by definition. Policy ``residual``: ``"absorb"`` as above, or
    ``"share"``, which scales R_d to the sum that is explained (section 2.2.5: v_d = z_d / Σ z_d).

    Inputs: x [N, D]; support vectors y [S, D]; dual coefficients A [S, C]; b [C]; references [M, D]; level [C], by default 0.
    Attribute ``kernel``, its text.
    """

    operators = (("graphlrp", "KernelMachine"),)
    family: ClassVar[str] = "kernel"
    native: ClassVar[str] = "Taylor at the nearest root"
    note: ClassVar[str] = "its intercept is part of f: no share of a bias"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"residual": ("absorb", "share")}

    @classmethod
    def lower(cls, node: ir.Node, facts: Facts) -> Mapping:
        """Exact, if the kernel is a sum over dimensions."""
        mapping = cls(node, facts)
        return ExactKernelMachine(node, facts) if mapping.kernel.decomposable else mapping

    @property
    def kernel(self) -> Kernel:
        """The kernel."""
        return read_kernel(str(self.required("kernel")))

    def forward_messages(self, op: Emitter) -> ir.Value:
        """Gram matrix times dual coefficients."""
        return emit_expansion(op, self.kernel, self.x, *self._machine)

    def accepts(self, rule: Rule) -> bool:
        """The gradient rules; all others leave it to its own messages."""
        return isinstance(rule, Gradient)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """Σ_i c_i ∂k/∂x_d."""
        support, dual, _ = self._machine
        return self.kernel.gradient(op, self.x, support, coefficients(op, gradient, dual))

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """The root, and one gradient there."""
        _, dual, intercept = self._machine
        s = op.divide(relevance, self.output)
        c = coefficients(op, s, dual)
        one = op.integers([1])
        level = self.input(5)
        below = op.ReduceSum(op.Mul(s, intercept if level is None else op.Sub(intercept, level)), one, keepdims=1)
        value = op.ReduceSum(op.Mul(s, self.output if level is None else op.Sub(self.output, level)), one, keepdims=1)
        found, root, slope = self._root(op, c, s, below, value)
        message = op.Mul(op.Sub(self.x, root), slope)
        if self.policy(op, "residual") == "share":
            total = op.ReduceSum(message, one, keepdims=1)
            empty = op.Equal(total, 0.0)
            message = op.Mul(message, op.Div(value, op.Where(empty, op.scalar(1.0), total)))
        op.require(
            op.Squeeze(found, one),
            "no reference is predicted otherwise than this sample, so there is no way across the decision boundary; give"
            " references of all classes, graphlrp.convert(machine, references=X), or measure relevance from their mean,"
            " level='mean' (of an estimator's file on the command line: --references X, --level mean)",
        )
        message = op.Where(found, message, op.scalar(float("nan")))
        if level is not None:
            op.absorb("constant", lambda: op.Mul(s, level))
        op.absorb("residual", lambda: value)
        op.absorb("residual", lambda: op.Neg(message))
        return message

    @property
    def _machine(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        support, dual, intercept = (self.input(index) for index in (1, 2, 3))
        assert support is not None and dual is not None and intercept is not None
        return support, dual, intercept

    def _root(
        self, op: Emitter, c: ir.Value, s: ir.Value, below: ir.Value, value: ir.Value
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Whether there is a root [N, 1]; x̃ [N, D]; and the gradient there [N, D]."""
        references = self.input(4)
        if references is None:
            raise ModelError(
                f"KernelMachine node {self.node.name!r}: its kernel {self.kernel} needs references to find a root; give them with"
                " graphlrp.convert(machine, references=X)"
            )
        support, dual, intercept = self._machine
        level, one = self.input(5), op.integers([1])
        side = op.Where(op.Less(value, 0.0), op.scalar(-1.0), op.scalar(1.0))  # [N, 1]
        predicted = emit_expansion(op, self.kernel, references, support, dual, intercept)
        predicted = predicted if level is None else op.Sub(predicted, level)
        others = op.Mul(op.MatMul(s, op.Transpose(predicted, perm=[1, 0])), side)  # [N, R]: negative on the other side
        own = op.Mul(value, side)  # [N, 1]: positive
        # Where the boundary would be if g were linear on the way, and how far that is from x.
        below_zero = op.Min(others, 0.0)
        rest = op.Div(own, op.Max(op.Sub(own, below_zero), op.tiny))
        distances = op.Mul(blocks.squared_distances(op, self.x, references), op.Mul(rest, rest))
        usable = op.Where(op.LessOrEqual(others, TOLERANCE), op.Neg(distances), op.scalar(-FAR))
        rows, vectors = static_sizes(references)[0], static_sizes(support)[0]
        affordable = (
            BUDGET // vectors if self.kernel.interpolates else BUDGET_OF_DIMENSIONS // (vectors * static_sizes(support)[1])
        )
        count = min(rows, WAYS, max(1, affordable))
        ranked: Any = op.TopK(usable, op.integers([count]), axis=1, _outputs=2)
        nearness, chosen = ranked
        valid = op.Greater(nearness, -FAR / 2)
        found = op.Cast(op.ReduceMax(op.Cast(valid, to=int(op.dtype)), one, keepdims=1), to=int(ir.DataType.BOOL))
        ways = self.kernel.ways(op, self.x, references, chosen, support)
        start = op.GatherElements(below_zero, chosen, axis=1)
        t = self._search(op, ways, op.Mul(c, side), op.Mul(below, side), start, own, valid)
        lengths = op.GatherElements(blocks.squared_distances(op, self.x, references), chosen, axis=1)
        left = op.Sub(1.0, t)
        apart = op.Where(valid, op.Neg(op.Mul(op.Mul(left, left), lengths)), op.scalar(-FAR))
        best = op.ArgMax(apart, axis=1, keepdims=1)
        reference = op.Gather(references, op.Squeeze(op.GatherElements(chosen, best, axis=1), one), axis=0)
        along = op.GatherElements(t, best, axis=1)
        root = op.Add(reference, op.Mul(along, op.Sub(self.x, reference)))
        return found, root, ways.gradient(op, best, along, root, c)

    def _search(
        self,
        op: Emitter,
        ways: Ways,
        c: ir.Value,
        below: ir.Value,
        start: ir.Value,
        end: ir.Value,
        valid: ir.Value,
    ) -> ir.Value:
        """t [N, M] where g changes its sign between references (g = ``start`` ≤ 0 at t = 0) and x (g = ``end`` ≥ 0 at t = 1).

        Regula falsi with the Illinois modification, and every third time bisection, so that the interval shrinks whatever the
        function is like; until |g| is small on all ways.
        """
        single = op.dtype == ir.DataType.FLOAT
        steps, tolerance, closest, rounding = (30, TOLERANCE, 1e-7, 2e-7) if single else (90, 1e-12, 1e-16, 1e-15)
        # Below the rounding of a sum of kernel values there is nothing to be found.
        noise = op.Mul(op.Sqrt(op.ReduceSum(op.Mul(c, c), op.integers([1]), keepdims=1)), rounding)
        limit = op.Max(op.Unsqueeze(noise, op.integers([2])), tolerance)
        real, truth = ir.TensorType(op.dtype), ir.TensorType(ir.DataType.BOOL)
        weights, constant = op.Unsqueeze(c, op.integers([2])), op.Unsqueeze(below, op.integers([2]))  # [N, S, 1], [N, 1, 1]
        first = op.Unsqueeze(start, op.integers([2]))  # [N, M, 1]
        zero = op.Mul(first, 0.0)
        last = op.Add(zero, op.Unsqueeze(end, op.integers([2])))
        counts = op.Unsqueeze(valid, op.integers([2]))
        tiny = op.scalar(op.tiny)

        def step(op: Any, number: ir.Value, go_on: ir.Value, *state: ir.Value) -> tuple[ir.Value, ...]:
            low, high, g_low, g_high, side, _ = state
            share = op.Div(op.Neg(g_low), op.Max(op.Sub(g_high, g_low), tiny))
            halved = op.Equal(op.Mod(number, 3), 2)
            t = op.Add(low, op.Mul(op.Sub(high, low), op.Where(halved, op.CastLike(0.5, share), share)))
            g = op.Add(op.MatMul(ways.values(op, t), weights), constant)
            above = op.Greater(g, 0.0)
            # A side that stays twice counts half.
            kept_low = op.Where(op.Greater(side, 0.0), op.Mul(g_low, 0.5), g_low)
            kept_high = op.Where(op.Less(side, 0.0), op.Mul(g_high, 0.5), g_high)
            far = op.And(op.And(op.Greater(op.Abs(g), limit), op.Greater(op.Sub(high, low), closest)), counts)
            more = op.Greater(op.ReduceMax(op.Cast(far, to=int(ir.DataType.INT32)), keepdims=0), 0)
            return (
                more,
                op.Where(above, low, t),
                op.Where(above, t, high),
                op.Where(above, kept_low, g),
                op.Where(above, g, kept_high),
                op.Where(above, op.Add(op.Mul(side, 0.0), 1.0), op.Sub(op.Mul(side, 0.0), 1.0)),
                t,
            )

        names = ("low", "high", "g_low", "g_high", "side", "t")
        inputs = [
            ir.Value(name="number", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([])),
            ir.Value(name="go_on", type=truth, shape=ir.Shape([])),
            *(ir.Value(name=name, type=real, shape=first.shape) for name in names),
        ]
        outputs = [ir.Value(name="more", type=truth), *(ir.Value(name=f"next_{name}", type=real) for name in names)]
        body = op.builder.subgraph(step, inputs, outputs, name="search")
        trips, go_on = op.number(np.asarray(steps, np.int64)), op.number(np.asarray(True))
        states: Any = op.Loop(trips, go_on, zero, op.Add(zero, 1.0), first, last, zero, zero, body=body, _outputs=6)
        t: ir.Value = states[-1]
        t.type, t.shape = real, first.shape
        return op.Squeeze(t, op.integers([2]))
