"""Pooling: averages and sums are linear; maxima give to the winner, ties share; p-means share by x^p."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from functools import cached_property
from itertools import product
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter, Size, rank
from graphlrp.ir.facts import Bounds
from graphlrp.plugins.dnn.windows import Window, place, read_window, transpose_windows
from graphlrp.plugins.mapping import LinearMapping, Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Flat, Gradient
from graphlrp.rules.weights import EqualWeight, Weight


class Averaging(LinearMapping):
    """What averages and sums share: equal weights, and the policy to spread relevance uniformly instead."""

    family: ClassVar[str] = "pooling"
    native: ClassVar[str] = "ε rule, ε = 1e-6: share by activation (2.10)"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"average": ("activation", "uniform")}

    def weight(self, op: Emitter) -> Weight:
        """1/n or 1."""
        return EqualWeight()

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """The rule's messages, or with the policy ``average="uniform"`` equal shares."""
        if self.policy(op, "average") == "uniform":
            rule = Flat()
        return super().relevance_messages(op, relevance, rule)


class AveragePool(Averaging):
    """Windowed mean; padding counts or not, as the node says, but never receives relevance."""

    operators = (("", "AveragePool"),)

    @cached_property
    def window(self) -> Window:
        """Geometry of the window."""
        return read_window(self, self.attribute("kernel_shape"), self.x)

    def bounds(self) -> Bounds:
        """Those of the input, and zero if padding counts."""
        bounds = self.facts.bounds(self.x)
        return Bounds(min(bounds.low, 0.0), max(bounds.high, 0.0))

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """The node itself on another input."""
        attributes = {name: attribute.value for name, attribute in self.node.attributes.items()}
        return op.AveragePool(x, **attributes)

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """s / divisor, spread over each window."""
        sizes = op.sizes(self.x, list(self.window.axes))
        ones = op.Expand(op.scalar(1.0), op.shape([1, 1, *sizes]))
        members = _spread_sum(op, ones, self.window, self.output)
        # The mean of ones is members / divisor, so s · mean / members is s / divisor, whatever padding counts for.
        inverse = op.Div(self.apply(op, ones, weight), op.Max(members, 1.0))
        return spread(op, op.Mul(s, inverse), self.window, self.x, self.output)


class GlobalAveragePool(Averaging):
    """Mean over all spatial axes."""

    operators = (("", "GlobalAveragePool"),)

    def bounds(self) -> Bounds:
        """Those of the input."""
        return self.facts.bounds(self.x)

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """The mean."""
        return op.GlobalAveragePool(x)

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """s / n, the same for every position (size 1 along the spatial axes)."""
        return op.Div(s, _count(op, self.x, list(range(2, rank(self.x)))))


class Reduction(Averaging):
    """ReduceSum and ReduceMean over given axes."""

    operators = (("", "ReduceSum"), ("", "ReduceMean"))

    def bounds(self) -> Bounds:
        """Those of the input for means; for sums, the sign."""
        bounds = self.facts.bounds(self.x)
        if self.node.op_type == "ReduceMean":
            return bounds
        return Bounds(0.0 if bounds.low >= 0 else -np.inf, 0.0 if bounds.high <= 0 else np.inf)

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """The same reduction."""
        axes = reduced_axes(self)
        emit = op.ReduceSum if self.node.op_type == "ReduceSum" else op.ReduceMean
        return emit(x, op.integers(axes), keepdims=int(self.attribute("keepdims", 1)))

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """s or s / n with the reduced axes of size 1."""
        axes = reduced_axes(self)
        if not self.attribute("keepdims", 1):
            s = op.Unsqueeze(s, op.integers(axes))
        return s if self.node.op_type == "ReduceSum" else op.Div(s, _count(op, self.x, axes))


class Maximum(Mapping):
    """What maxima share: winner takes all, ties share equally (2.35)."""

    family: ClassVar[str] = "maximum"
    native: ClassVar[str] = "winner takes all, ties share"

    def bounds(self) -> Bounds:
        """Those of the input."""
        return self.facts.bounds(self.x)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """To the winner; at ties, where there is no derivative, equal shares."""
        return self.winners(op, gradient)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """To the winner."""
        message = self.winners(op, relevance)
        if self.output in op.multiples(relevance):
            op.note_multiple(message, self.x)
        return message

    def winners(self, op: Emitter, signal: ir.Value) -> ir.Value:
        """Route a signal at the output to the inputs that are equal to it."""
        raise NotImplementedError(f"{type(self).__name__}.winners")


class MaxPool(Maximum):
    """Windowed maximum. Padding never wins."""

    operators = (("", "MaxPool"),)

    @cached_property
    def window(self) -> Window:
        """Geometry of the window."""
        return read_window(self, self.attribute("kernel_shape"), self.x)

    def winners(self, op: Emitter, signal: ir.Value) -> ir.Value:
        """Compare every entry of every window with the maximum, count, share, and add up what each pixel won."""
        entries = window_entries(op, self.x, self.window, self.output, -np.inf)
        wins = [op.Cast(op.Equal(entry, self.output), to=int(op.dtype)) for entry in entries]
        share = op.Div(signal, wins[0] if len(wins) == 1 else op.Sum(*wins))
        shares = [op.Mul(win, share) for win in wins]
        return gather_entries(op, shares, self.window, self.x, self.output)


class GlobalMaxPool(Maximum):
    """Maximum over all spatial axes."""

    operators = (("", "GlobalMaxPool"),)

    def winners(self, op: Emitter, signal: ir.Value) -> ir.Value:
        """Equal shares of all positions that hold the maximum."""
        return _reduce_winners(op, self.x, self.output, signal, list(range(2, rank(self.x))))


class ReduceMaximum(Maximum):
    """ReduceMax and ReduceMin over given axes."""

    operators = (("", "ReduceMax"), ("", "ReduceMin"))

    def winners(self, op: Emitter, signal: ir.Value) -> ir.Value:
        """Equal shares of all positions that hold the extremum."""
        axes, z = reduced_axes(self), self.output
        if not self.attribute("keepdims", 1):
            z, signal = op.Unsqueeze(z, op.integers(axes)), op.Unsqueeze(signal, op.integers(axes))
        return _reduce_winners(op, self.x, z, signal, axes)


class PowerMean(Mapping):
    """p-norms: LpPool, GlobalLpPool, ReduceL1, ReduceL2, ReduceSumSquare; R_{i←j} = |x_i|^p / Σ|x|^p · R_j (2.82)."""

    operators = (("", "LpPool"), ("", "GlobalLpPool"), ("", "ReduceL1"), ("", "ReduceL2"), ("", "ReduceSumSquare"))
    family: ClassVar[str] = "pooling"
    native: ClassVar[str] = "share by |x|^p"

    @property
    def p(self) -> int:
        """The exponent."""
        fixed = {"ReduceL1": 1, "ReduceL2": 2, "ReduceSumSquare": 2}
        return fixed.get(self.node.op_type) or int(self.attribute("p", 2))

    def bounds(self) -> Bounds:
        """Norms are not negative."""
        return Bounds(0.0)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """Share by |x|^p; where all inputs are zero, R_j is dead."""
        powers = self._powers(op)
        message = op.Mul(powers, self._spread(op, op.divide_one_sided(relevance, self._sum(op, powers))))
        return op.note_multiple(message, self.x)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """∂/∂x (Σ|x|^p)^{1/p} = sign(x) |x|^{p-1} / z^{p-1}; 2x for the sum of squares."""
        slope = op.Mul(op.Sign(self.x), op.Pow(op.Abs(self.x), float(self.p - 1)))
        if self.node.op_type == "ReduceSumSquare":
            return op.Mul(op.Mul(slope, 2.0), self._spread(op, gradient))
        if self.p == 1:
            return op.Mul(slope, self._spread(op, gradient))
        z = op.Max(op.Pow(self.output, float(self.p - 1)), op.tiny)
        return op.Mul(slope, self._spread(op, op.Div(gradient, z)))

    def _powers(self, op: Emitter) -> ir.Value:
        magnitude = op.Abs(self.x)
        return magnitude if self.p == 1 else op.Pow(magnitude, float(self.p))

    @cached_property
    def _window(self) -> Window:
        return read_window(self, self.attribute("kernel_shape"), self.x)

    @property
    def _axes(self) -> list[int]:
        return list(range(2, rank(self.x))) if self.node.op_type == "GlobalLpPool" else reduced_axes(self)

    def _sum(self, op: Emitter, powers: ir.Value) -> ir.Value:
        if self.node.op_type == "LpPool":
            return _spread_sum(op, powers, self._window, self.output)
        keep = 1 if self.node.op_type == "GlobalLpPool" else int(self.attribute("keepdims", 1))
        return op.ReduceSum(powers, op.integers(self._axes), keepdims=keep)

    def _spread(self, op: Emitter, s: ir.Value) -> ir.Value:
        if self.node.op_type == "LpPool":
            return spread(op, s, self._window, self.x, self.output)
        if self.node.op_type != "GlobalLpPool" and not self.attribute("keepdims", 1):
            return op.Unsqueeze(s, op.integers(self._axes))
        return s


def reduced_axes(mapping: Mapping) -> list[int]:
    """Non-negative axes that a Reduce node reduces.

    Raises:
        RuleError: they are computed while the model runs.
    """
    axes = mapping.attribute("axes")
    if axes is None and mapping.input(1) is not None:
        numbers = mapping.constant(1)
        if numbers is None:
            raise RuleError(
                f"{mapping.node.op_type} node {mapping.node.name!r}: its axes are computed at run time; make them constant"
            )
        axes = numbers.reshape(-1).tolist()
    x = mapping.inputs[0]
    assert x is not None
    if not axes:
        return [] if mapping.attribute("noop_with_empty_axes", 0) else list(range(rank(x)))
    return sorted(int(axis) % rank(x) for axis in axes)


def window_entries(op: Emitter, x: ir.Value, window: Window, z: ir.Value, fill: float) -> list[ir.Value]:
    """Entry k of every window as a tensor shaped like z, for every offset k of the kernel; padding holds ``fill``."""
    axes = list(window.axes)
    starts = window.starts(op, x, z)
    outputs = op.sizes(z, axes)
    amounts: list[Size] = [0, 0, *starts, 0, 0]
    lengths: list[Size] = []
    for axis, start, count, stride, extent in zip(axes, starts, outputs, window.strides, window.extent, strict=True):
        size = op.size(x, axis)
        if isinstance(size, int) and isinstance(start, int) and isinstance(count, int):
            amounts.append(max((count - 1) * stride + extent - start - size, 0))
        else:
            covered = op.Add(op.Mul(op.Sub(op.shape([count]), op.integers([1])), op.integers([stride])), op.integers([extent]))
            rest = op.Sub(op.Sub(covered, op.shape([start])), op.shape([size]))
            amounts.append(op.Max(rest, op.integers([0])))
        lengths.append(
            (count - 1) * stride + 1
            if isinstance(count, int)
            else op.Add(op.Mul(op.Sub(count, op.integers([1])), op.integers([stride])), op.integers([1]))
        )
    padded = x if all(isinstance(a, int) and a == 0 for a in amounts) else op.Pad(x, op.shape(amounts), op.scalar(fill))
    entries = []
    for offset in product(*(range(k) for k in window.kernel)):
        begin = [o * d for o, d in zip(offset, window.dilations, strict=True)]
        ends = [
            b + length if isinstance(length, int) else op.Add(length, op.integers([b]))
            for b, length in zip(begin, lengths, strict=True)
        ]
        entries.append(op.Slice(padded, op.integers(begin), op.shape(ends), op.integers(axes), op.integers(list(window.strides))))
    return entries


def gather_entries(op: Emitter, entries: list[ir.Value], window: Window, x: ir.Value, z: ir.Value) -> ir.Value:
    """Adjoint of ``window_entries``: add up, for every pixel, the entries that it is.

    A transposed convolution with one channel per entry, whose kernel is 1 where the entry lies in the window. Channels of x are
    folded into the batch.
    """
    count = len(entries)
    stacked = op.Concat(*(op.Unsqueeze(entry, op.integers([2])) for entry in entries), axis=2)
    folded = op.Reshape(stacked, op.shape([-1, count, *op.sizes(z, window.axes)]))
    places = op.number(np.eye(count).reshape(count, 1, *window.kernel))
    gathered = transpose_windows(op, folded, places, window, x, z, 1)
    return op.Reshape(gathered, op.shape([*op.sizes(z)[:2], *op.sizes(x, window.axes)]))


def spread(op: Emitter, s: ir.Value, window: Window, x: ir.Value, z: ir.Value) -> ir.Value:
    """Adjoint of summing over windows: every pixel receives the s of all windows it lies in.

    Channels are folded into the batch, so that the kernel of ones is one channel deep.
    """
    axes = list(window.axes)
    d = window.dimensions
    if all(w == t for w, t in zip(window.extent, window.strides, strict=True)) and window.begin == (0,) * d:
        # Windows tile the input: repeat every s.
        sizes = op.sizes(s)
        repeats: list[Size] = list(sizes[:2])
        shape: list[Size] = list(sizes[:2])
        merged: list[Size] = list(sizes[:2])
        for n, k in zip(sizes[2:], window.strides, strict=True):
            shape += [n, 1]
            repeats += [n, k]
            merged.append(n * k if isinstance(n, int) else op.Mul(n, op.integers([k])))
        full = op.Reshape(op.Expand(op.Reshape(s, op.shape(shape)), op.shape(repeats)), op.shape(merged))
        return place(op, full, [0] * d, op.sizes(x, axes), axes)
    folded = op.Reshape(s, op.shape([-1, 1, *op.sizes(s)[2:]]))
    kernel = op.Expand(op.scalar(1.0), op.integers([1, 1, *window.kernel]))
    cut = transpose_windows(op, folded, kernel, window, x, z, 1)
    return op.Reshape(cut, op.shape([*op.sizes(s)[:2], *op.sizes(x, axes)]))


def _spread_sum(op: Emitter, x: ir.Value, window: Window, z: ir.Value) -> ir.Value:
    """Sum over windows; padding adds nothing."""
    entries = window_entries(op, x, window, z, 0.0)
    return entries[0] if len(entries) == 1 else op.Sum(*entries)


def _reduce_winners(op: Emitter, x: ir.Value, z: ir.Value, signal: ir.Value, axes: list[int]) -> ir.Value:
    wins = op.Cast(op.Equal(x, z), to=int(op.dtype))
    return op.Mul(wins, op.Div(signal, op.ReduceSum(wins, op.integers(axes), keepdims=1)))


def _count(op: Emitter, x: ir.Value, axes: list[int]) -> ir.Value:
    """Number of components along ``axes``, as a scalar of the explainer's type."""
    sizes = op.sizes(x, axes)
    if all(isinstance(size, int) for size in sizes):
        return op.scalar(float(np.prod([int(size) for size in sizes if isinstance(size, int)])))
    return op.Cast(op.ReduceProd(op.shape(sizes), keepdims=0), to=int(op.dtype))
