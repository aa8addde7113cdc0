"""The weights w_ij of a linear mapping, as rules see them: something that can be split by sign, squared, set to one.

A rule never touches a kernel's layout. It asks for ``weight.positive(op)`` and hands the result back to the mapping's
``apply`` and ``adjoint``; what comes back is emitted once and reused. ``None`` stands for weights that are all zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import onnx_ir as ir

from graphlrp.ir.emitter import Emitter
from graphlrp.ir.facts import UNBOUNDED, Bounds


class Weight(ABC):
    """The w_ij of a linear mapping."""

    @abstractmethod
    def positive(self, op: Emitter) -> Weight | None:
        """max(w, 0), None if that is zero everywhere."""

    @abstractmethod
    def negative(self, op: Emitter) -> Weight | None:
        """min(w, 0), None if that is zero everywhere."""

    @abstractmethod
    def ones(self, op: Emitter) -> Weight:
        """1 wherever i is an input of j."""

    @abstractmethod
    def square(self, op: Emitter) -> Weight:
        """w²."""

    def scaled(self, op: Emitter, factor: float) -> Weight | None:
        """factor · w, if that costs nothing while the model runs; else None."""
        return None


@dataclass(frozen=True)
class EqualWeight(Weight):
    """Weights that are positive and equal for all inputs of an output, as in averages and sums.

    Every rule that normalises per output sees no difference between w, w² and 1 here.
    """

    def positive(self, op: Emitter) -> Weight:
        """The same weights."""
        return self

    def negative(self, op: Emitter) -> None:
        """None: there are no negative weights."""

    def ones(self, op: Emitter) -> Weight:
        """The same weights, which is equivalent (see the class)."""
        return self

    def square(self, op: Emitter) -> Weight:
        """The same weights, which is equivalent (see the class)."""
        return self


@dataclass(frozen=True)
class TensorWeight(Weight):
    """Weights held by one value, in whatever layout the mapping reads."""

    value: ir.Value
    bounds: Bounds = UNBOUNDED
    all_ones: bool = False
    """Mappings may use this to avoid multiplying by ones."""

    def positive(self, op: Emitter) -> Weight | None:
        """max(w, 0)."""
        if self.bounds.low >= 0:
            return self
        if self.bounds.high <= 0:
            return None
        return TensorWeight(op.Relu(self.value), Bounds(0, self.bounds.high))

    def negative(self, op: Emitter) -> Weight | None:
        """min(w, 0)."""
        if self.bounds.high <= 0:
            return self
        if self.bounds.low >= 0:
            return None
        return TensorWeight(op.Min(self.value, 0.0), Bounds(self.bounds.low, 0))

    def ones(self, op: Emitter) -> Weight:
        """A tensor of ones."""
        return TensorWeight(op.Expand(op.scalar(1.0), op.shape_of(self.value)), Bounds(1, 1), all_ones=True)

    def square(self, op: Emitter) -> Weight:
        """w²."""
        return TensorWeight(op.Mul(self.value, self.value), Bounds(0))

    def scaled(self, op: Emitter, factor: float) -> Weight | None:
        """A product that ONNX Runtime computes when it loads the model; None for weights that come from its inputs."""
        value = self.value
        while (node := value.producer()) is not None and node.inputs and node.inputs[0] is not None:
            value = node.inputs[0]
        if value.const_value is None:
            return None
        ends = (self.bounds.low * factor, self.bounds.high * factor)
        return TensorWeight(op.Mul(self.value, factor), Bounds(min(ends), max(ends)))


@dataclass(frozen=True)
class SeparableWeight(Weight):
    """A sum of outer products of one matrix per axis, as interpolation has: w = Σ_t Π_axis M_t,axis.

    Terms come from splitting by sign: (ab)^+ = a^+b^+ + a^-b^-, so they never overlap in sign.
    """

    terms: tuple[tuple[ir.Value, ...], ...]
    nonnegative: bool

    def _split(self, op: Emitter, parity: int) -> SeparableWeight | None:
        terms: list[tuple[tuple[ir.Value, ...], int]] = [((), 0)]
        (matrices,) = self.terms
        for matrix in matrices:
            positive, negative = op.Relu(matrix), op.Min(matrix, 0.0)
            terms = [((*t, positive), p) for t, p in terms] + [((*t, negative), 1 - p) for t, p in terms]
        return SeparableWeight(tuple(t for t, p in terms if p == parity), nonnegative=parity == 0)

    def positive(self, op: Emitter) -> Weight | None:
        """Terms with an even number of negative factors."""
        return self if self.nonnegative else self._split(op, 0)

    def negative(self, op: Emitter) -> Weight | None:
        """Terms with an odd number of negative factors."""
        return None if self.nonnegative else self._split(op, 1)

    def ones(self, op: Emitter) -> Weight:
        """1 where a weight is not zero."""
        (matrices,) = self.terms
        masks = tuple(op.Where(op.Equal(m, 0.0), op.scalar(0.0), op.scalar(1.0)) for m in matrices)
        return SeparableWeight((masks,), nonnegative=True)

    def square(self, op: Emitter) -> Weight:
        """The square of an outer product is the outer product of squares."""
        (matrices,) = self.terms
        return SeparableWeight((tuple(op.Mul(m, m) for m in matrices),), nonnegative=True)
