"""Mappings that pool what descriptors say of words, in the cells of a spatial pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, ClassVar

import onnx_ir as ir

from graphlrp.ir.emitter import Emitter
from graphlrp.ir.facts import Facts
from graphlrp.plugins.bow.encoding import Encoding, static_last
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Epsilon


class CellPooling(Encoding):
    """What pooling in cells shares.

    Where no descriptor of a cell reaches a dimension d, all of them take the same part of R_d (2.79); in a cell without
    descriptors, those of the image do.

    Attributes: ``words`` K, ``cells`` C, ``power`` p (0 for ∞). Output [N, C · K], cell by cell.
    """

    native: ClassVar[str] = "by m(l)^p"
    cells_at: ClassVar[int]
    """Which input are the cells [L, V]: in which cell of each level a descriptor lies, numbered through all levels."""

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        super().__init__(node, facts)
        self.power = float(self.attribute("power", 1.0)) or inf

    @property
    def sizes(self) -> tuple[int, int]:
        """C and K."""
        return int(self.required("cells")), int(self.required("words"))

    def mean(self, op: Emitter, sums: ir.Value) -> ir.Value:
        """(Σ_l m^p / |L|)^{1/p} of sums [N, C · K]."""
        cells, words = self.sizes
        counts = op.Expand(op.Unsqueeze(self._counts(op), op.integers([2])), op.integers([1, cells, words]))
        mean = op.Div(sums, op.Max(op.Reshape(counts, op.integers([1, cells * words])), 1.0))
        return mean if self.power == 1 else op.Pow(mean, op.scalar(1 / self.power))

    def powers(self, op: Emitter, numbers: ir.Value) -> ir.Value:
        """m^p."""
        return numbers if self.power in (1.0, inf) else op.Pow(numbers, op.scalar(self.power))

    def shares(self, op: Emitter, relevance: ir.Value, z: ir.Value, rule: Rule | None) -> tuple[ir.Value, ir.Value]:
        """R_d / (z_d + ε), and what every descriptor receives of dimensions that none of its cell reaches, [N, L, 1] (2.79)."""
        epsilon = rule.epsilon if isinstance(rule, Epsilon) else 0.0
        empty, zero = op.Equal(z, 0.0), op.scalar(0.0)
        s = op.divide_stabilized(op.Where(empty, zero, relevance), op.Where(empty, op.scalar(1.0), z), epsilon)
        missed = op.Reshape(op.Where(empty, relevance, zero), op.integers([0, *self.sizes]))
        lost = op.ReduceSum(missed, op.integers([2]), keepdims=0)  # [N, C]
        counts = self._counts(op)
        inhabited = op.Greater(counts, 0.0)
        share = op.Where(inhabited, op.Div(lost, op.Max(counts, 1.0)), zero)
        stray = op.ReduceSum(op.Where(inhabited, zero, lost), op.integers([1]), keepdims=1)  # [N, 1]
        cells, numbers = self.given(self.cells_at), self.given(0)
        by_cell = op.Gather(share, op.Reshape(cells, op.integers([-1])), axis=1)  # [N, L · V]
        levels = op.Reshape(by_cell, op.shape([op.size(numbers, 0), -1, static_last(cells)]))
        length = op.Cast(op.shape([op.size(numbers, 1)]), to=int(op.dtype))
        common = op.ReduceSum(levels, op.integers([2]), keepdims=1)
        return s, op.Add(common, op.Unsqueeze(op.Div(stray, length), op.integers([2])))

    def _counts(self, op: Emitter) -> ir.Value:
        """|L| of every cell, [1, C]."""
        flat = op.Reshape(self.given(self.cells_at), op.integers([-1]))
        ones = op.Expand(op.scalar(1.0), op.Shape(flat))
        nothing = op.Expand(op.scalar(0.0), op.integers(self.sizes[:1]))
        return op.Unsqueeze(op.ScatterElements(nothing, flat, ones, axis=0, reduction="add"), op.integers([0]))


class Pooling(CellPooling):
    """x_d = (1/|L| Σ_l m_(d)(l)^p)^{1/p} (2.65), in every cell of a spatial pyramid; p = ∞ is the maximum.

        R_l = Σ_d m_(d)(l)^p / (Σ_l' m_(d)(l')^p + ε) · R_d   (2.82); for p = ∞ the winner takes all, ties share

    Inputs: numbers [N, L, n] and words [N, L, n] of ``Assignment``; cells [L, V].
    """

    operators = (("graphlrp", "Pooling"),)
    cells_at: ClassVar[int] = 2

    def forward_messages(self, op: Emitter) -> ir.Value:
        """Scattered sums or maxima."""
        index = self._index(op)
        pooled = self._scatter(op, self._values(op, index), index, "max" if self.power == inf else "add")
        return pooled if self.power == inf else self.mean(op, pooled)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """Gathered back, and the relevance of words that nothing reaches to all."""
        numbers, index = self.given(0), self._index(op)
        values = self._values(op, index)
        flat = op.Reshape(index, op.shape([op.size(numbers, 0), -1]))
        if self.power == inf:
            best = op.Reshape(op.GatherElements(self.output, flat, axis=1), op.Shape(index))
            values = op.Cast(op.And(op.Equal(values, best), op.Greater(values, 0.0)), to=int(op.dtype))
        s, common = self.shares(op, relevance, self._scatter(op, values, index, "add"), rule)
        own = op.Mul(values, op.Reshape(op.GatherElements(s, flat, axis=1), op.Shape(index)))  # [N, L, V, n]
        total = op.Add(op.ReduceSum(own, op.integers([2]), keepdims=0), op.Div(common, float(static_last(numbers))))
        return self.only_first(op.shaped(total, numbers))

    def _values(self, op: Emitter, index: ir.Value) -> ir.Value:
        """m^p for every level, [N, L, V, n]."""
        return op.Expand(op.Unsqueeze(self.powers(op, self.given(0)), op.integers([2])), op.Shape(index))

    def _index(self, op: Emitter) -> ir.Value:
        """Dimension of every number at every level, [N, L, V, n]."""
        cells = op.Mul(self.given(2), op.integers(self.sizes[1:]))
        return op.Add(op.Unsqueeze(self.given(1), op.integers([2])), op.Unsqueeze(cells, op.integers([0, 3])))

    def _scatter(self, op: Emitter, values: ir.Value, index: ir.Value, reduction: str) -> ir.Value:
        """Sums or maxima per dimension, [N, C · K]."""
        numbers, (cells, words) = self.given(0), self.sizes
        batch = op.size(numbers, 0)
        flat = [op.Reshape(value, op.shape([batch, -1])) for value in (values, index)]
        nothing = op.Expand(op.scalar(0.0), op.shape([batch, cells * words]))
        result = op.ScatterElements(nothing, flat[1], flat[0], axis=1, reduction=reduction)
        result.type, result.shape = (
            ir.TensorType(op.dtype),
            ir.Shape([numbers.shape[0] if numbers.shape else None, cells * words]),
        )
        return result


class PosteriorPooling(CellPooling):
    """The same for numbers m_(d)(l) of every word: posteriors of a Gaussian mixture, whose components are the words.

    By products of matrices, for nothing is sparse. Inputs: γ [N, L, K]; cells [L, V].
    """

    operators = (("graphlrp", "PosteriorPooling"),)
    cells_at: ClassVar[int] = 1

    def forward_messages(self, op: Emitter) -> ir.Value:
        """Sums or maxima of every cell."""
        if self.power < inf:
            return self.mean(op, self._sums(op, self.powers(op, self.given(0))))
        return self._flat(op, self._maxima(op, self._members(op)))

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """γ^p times the shares of its cells."""
        gamma, (cells, words) = self.given(0), self.sizes
        members = self._members(op)
        if self.power < inf:
            values = self.powers(op, gamma)
            s, common = self.shares(op, relevance, self._sums(op, values), rule)
            by_cell = op.Reshape(s, op.integers([0, cells, words]))
            own = op.Mul(values, op.MatMul(op.Transpose(members, perm=[1, 0]), by_cell))
        else:
            winners = [op.Mul(won, member) for won, member in self._winners(op, members)]
            counts = [op.ReduceSum(won, op.integers([1]), keepdims=1) for won in winners]
            s, common = self.shares(op, relevance, self._flat(op, counts), rule)
            parts: Any = op.Split(s, op.integers([words] * cells), axis=1, _outputs=cells) if cells > 1 else [s]
            pairs = zip(winners, parts, strict=True)
            own = op.total([op.Mul(won, op.Unsqueeze(part, op.integers([1]))) for won, part in pairs])
        return self.only_first(op.shaped(op.Add(own, op.Div(common, float(words))), gamma))

    def _members(self, op: Emitter) -> ir.Value:
        """1 where a descriptor lies in a cell, [C, L]."""
        cells = op.Unsqueeze(self.given(1), op.integers([0]))
        inside = op.Equal(cells, op.Unsqueeze(op.integers(range(self.sizes[0])), op.integers([1, 2])))  # [C, L, V]
        return op.ReduceMax(op.Cast(inside, to=int(op.dtype)), op.integers([2]), keepdims=0)

    def _sums(self, op: Emitter, values: ir.Value) -> ir.Value:
        """Σ over the descriptors of every cell, [N, C · K]."""
        cells, words = self.sizes
        return op.Reshape(op.MatMul(self._members(op), values), op.integers([0, cells * words]))

    def _maxima(self, op: Emitter, members: ir.Value) -> list[ir.Value]:
        """The largest γ of every cell, [N, 1, K] each; 0 where there are no descriptors."""
        rows = (
            op.Slice(members, op.integers([cell]), op.integers([cell + 1]), op.integers([0])) for cell in range(self.sizes[0])
        )
        masks = (op.Unsqueeze(row, op.integers([2])) for row in rows)
        return [op.ReduceMax(op.Mul(self.given(0), mask), op.integers([1]), keepdims=1) for mask in masks]

    def _winners(self, op: Emitter, members: ir.Value) -> list[tuple[ir.Value, ir.Value]]:
        """1 where γ [N, L, K] is as large as the maximum of a cell and not zero, and the cell's descriptors [1, L, 1]."""
        gamma, found = self.given(0), []
        for cell, best in enumerate(self._maxima(op, members)):
            row = op.Slice(members, op.integers([cell]), op.integers([cell + 1]), op.integers([0]))
            won = op.And(op.Equal(gamma, best), op.Greater(gamma, 0.0))
            found.append((op.Cast(won, to=int(op.dtype)), op.Unsqueeze(row, op.integers([2]))))
        return found

    def _flat(self, op: Emitter, parts: Sequence[ir.Value]) -> ir.Value:
        """[N, 1, K] of every cell as [N, C · K]."""
        joined = op.Concat(*parts, axis=1) if len(parts) > 1 else parts[0]
        cells, words = self.sizes
        return op.Reshape(joined, op.integers([0, cells * words]))
