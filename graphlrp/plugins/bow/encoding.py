"""Mappings from local descriptors to a Bag-of-Words vector: assignment to words, pooling, Fisher vectors.

What descriptor l contributes to dimension d is z_ld; no tensor of all of them is ever made. With s_d = R_d / (z_d + ε sign z_d),

    R_l = Σ_d z_ld s_d   (2.78), (2.82)   and R_d / |L| for each l where no descriptor reaches d   (2.79)

Policy ``descriptors``: ``"whole"`` gives every number of a descriptor an equal part of R_l, for pixels count whole descriptors
(2.85); ``"dimensions"`` tells the numbers of a descriptor apart where the coding does (D.3).
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from math import inf
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.errors import ModelError
from graphlrp.ir.emitter import Emitter, static_sizes
from graphlrp.ir.facts import Facts
from graphlrp.plugins.dnn.dense import MatMulConstant
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Epsilon

BLOCK = 1 << 23
"""Distances between descriptors and words that are in memory at a time."""

ROWS = 4096
"""Descriptors in a block, at most."""

CODINGS = ("hard", "soft", "rank", "llc", "tree")


class DescriptorProjection(MatMulConstant):
    """x W for descriptors x [N, L, D] and W [D, E]: principal components, every rule of linear mappings."""

    operators = (("graphlrp", "DescriptorProjection"),)
    family: ClassVar[str] = "descriptors"


class Encoding(Mapping):
    """A mapping whose first input are descriptors [N, L, D], or numbers that belong to them."""

    family: ClassVar[str] = "encoding"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"descriptors": ("whole", "dimensions")}

    def accepts(self, rule: Rule) -> bool:
        """The ε rule: ε stabilises the sums over descriptors."""
        return isinstance(rule, Epsilon)

    def given(self, index: int) -> ir.Value:
        """An input that is there."""
        value = self.input(index)
        assert value is not None
        return value

    def only_first(self, message: ir.Value) -> list[ir.Value | None]:
        """The message to the descriptors; all other inputs get none."""
        return [message, *[None] * (len(self.inputs) - 1)]


class Assignment(Encoding):
    """m_(d)(l) for the n words d that are nearest to l: numbers [N, L, n], and which words, [N, L, n].

        hard   1                                       rank   p^{-rk_d(l)}  (2.86)
        soft   exp(-β ‖l - b_d‖²) / Σ over the n       llc    locality-constrained linear coding: the c with Σ c = 1 that
                                                              minimises ‖l - Σ c_d b_d‖² + λ tr(C) ‖c‖²
        tree   1 for the leaf that is reached by going to the nearest of a node's children, from the root on

    Every number belongs to one descriptor, which takes the sum of their relevance.

    Inputs: descriptors [N, L, D]; words b [K, D], of a tree the nodes of all levels but the root, level by level. Attributes
    ``coding``, ``neighbours`` n, ``base`` p, ``beta`` β, ``ridge`` λ, ``branches`` of every node of a tree.
    """

    operators = (("graphlrp", "Assignment"),)
    native: ClassVar[str] = "to descriptors"

    def forward_messages(self, op: Emitter) -> list[ir.Value]:
        """Block by block of descriptors."""
        words = self.given(1)
        count, width = static_sizes(words)
        x = self.given(0)
        flat = op.Reshape(x, op.integers([-1, width]))
        # The last block is filled up: a large one would cost more than all descriptors of a small image.
        size = max(1, min(ROWS, BLOCK // count))
        length = op.Shape(flat, start=0, end=1)
        parts = op.Div(op.Add(length, op.integers([size - 1])), op.integers([size]))
        missing = op.Sub(op.Mul(parts, op.integers([size])), length)
        padded = op.Pad(flat, op.Concat(op.integers([0, 0]), missing, op.integers([0]), axis=0))
        blocks = op.Reshape(padded, op.Concat(parts, op.integers([size, width]), axis=0))
        real, whole = ir.TensorType(op.dtype), ir.TensorType(ir.DataType.INT64)
        neighbours = int(self.required("neighbours"))

        def block(op: Any, part: ir.Value) -> Sequence[ir.Value]:
            return self._nearest(op, part, words, neighbours)

        body = op.builder.subgraph(
            block,
            [ir.Value(name="descriptors", type=real, shape=ir.Shape([size, width]))],
            [ir.Value(name="numbers", type=real), ir.Value(name="which", type=whole)],
            name="block",
        )
        outputs: Any = op.Scan(blocks, body=body, num_scan_inputs=1, _outputs=2)
        results = []
        for value, kind in zip(outputs, (real, whole), strict=True):
            value.type, value.shape = kind, ir.Shape([None, size, neighbours])
            joined = op.Reshape(value, op.integers([-1, neighbours]))
            cut = op.Slice(joined, op.integers([0]), length, op.integers([0]))
            shaped = op.Reshape(cut, op.shape([op.size(x, 0), op.size(x, 1), neighbours]))
            shaped.type, shaped.shape = kind, ir.Shape([*list(x.shape or ())[:2], neighbours])
            results.append(shaped)
        return results

    def _nearest(self, op: Any, x: ir.Value, words: ir.Value, neighbours: int) -> Sequence[ir.Value]:
        """Numbers and words of a block of descriptors [B, D]."""
        coding = str(self.required("coding"))
        if coding == "tree":
            leaf = self._descend(op, x, words)
            return op.Add(op.Mul(op.Slice(x, [0], [1], [1]), 0.0), 1.0), leaf
        distances = op.Add(op.ReduceSum(op.Mul(x, x), [1], keepdims=1), _apart(op, x, words))
        nearest, which = op.TopK(distances, [neighbours], axis=1, largest=0, _outputs=2)
        if coding == "hard":
            return op.Add(op.Mul(nearest, 0.0), 1.0), which
        if coding == "rank":
            ranks = np.power(float(self.required("base")), -np.arange(1, neighbours + 1))
            row = op.Unsqueeze(op.CastLike(op.Constant(value_floats=ranks.tolist()), nearest), [0])
            return op.Add(op.Mul(nearest, 0.0), row), which
        if coding == "soft":
            return op.Softmax(op.Mul(nearest, -float(self.required("beta"))), axis=1), which
        if coding != "llc":
            raise ModelError(f"Assignment node {self.node.name!r}: unknown coding {coding!r}; there are {', '.join(CODINGS)}")
        shifted = op.Sub(op.Gather(words, which, axis=0), op.Unsqueeze(x, [1]))  # [B, n, D]
        covariance = op.MatMul(shifted, op.Transpose(shifted, perm=[0, 2, 1]))
        identity = op.CastLike(op.Constant(value=ir.tensor(np.eye(neighbours, dtype=np.float32))), covariance)
        trace = op.ReduceSum(op.Mul(covariance, identity), [1, 2], keepdims=1)
        regular = op.Add(covariance, op.Mul(identity, op.Add(op.Mul(trace, float(self.required("ridge"))), 1e-12)))
        solution = _solve_ones(op, regular, neighbours)
        return op.Div(solution, op.ReduceSum(solution, [1], keepdims=1)), which

    def _descend(self, op: Emitter, x: ir.Value, nodes: ir.Value) -> ir.Value:
        """The leaf of every descriptor [B, 1]: children of node i of a level are numbers i · b … of the next one."""
        branches, (total, _) = int(self.required("branches")), static_sizes(nodes)
        children = op.Constant(value_ints=list(range(branches)))
        first, size, here = 0, branches, None
        while first < total:
            level = op.Slice(nodes, [first], [first + size], [0])
            distances = _apart(op, x, level)
            if here is None:
                here = op.ArgMin(distances, axis=1, keepdims=1)
            else:
                below = op.Add(op.Mul(here, branches), op.Unsqueeze(children, [0]))  # [B, b]
                here = op.Add(op.Mul(here, branches), op.ArgMin(op.GatherElements(distances, below, axis=1), axis=1, keepdims=1))
            first, size = first + size, size * branches
        assert here is not None
        return here

    def decompose(self, op: Emitter, relevances: Sequence[ir.Value | None], rule: Rule | None) -> list[ir.Value | None]:
        """Relevance of the numbers; which words they are of has none."""
        return super().decompose(op, [relevances[0], None], rule)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """The sum over words, in equal parts to the numbers of a descriptor."""
        return self.only_first(spread(op, op.ReduceSum(relevance, op.integers([2]), keepdims=1), self.given(0)))


class Pooling(Encoding):
    """x_d = (1/|L| Σ_l m_(d)(l)^p)^{1/p} (2.65), in every cell of a spatial pyramid; p = ∞ is the maximum.

        R_l = Σ_d m_(d)(l)^p / (Σ_l' m_(d)(l')^p + ε) · R_d   (2.82); for p = ∞ the winner takes all, ties share

    Where no descriptor of a cell reaches d, all of them take the same part of R_d (2.79); in a cell without descriptors, those of
    the image do. Inputs: numbers [N, L, n] and words [N, L, n] of ``Assignment``; cells [L, V], which cell of each level a
    descriptor lies in, numbered through all levels. Attributes ``words`` K, ``cells`` C, ``power`` p (0 for ∞).
    Output [N, C · K].
    """

    operators = (("graphlrp", "Pooling"),)
    native: ClassVar[str] = "by m(l)^p"

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        super().__init__(node, facts)
        self.power = float(self.attribute("power", 1.0)) or inf

    def forward_messages(self, op: Emitter) -> ir.Value:
        """Scattered sums or maxima."""
        numbers, index = self.given(0), self._index(op)
        values = op.Expand(self._powers(op, numbers), op.Shape(index))
        pooled = self._scatter(op, values, index, "max" if self.power == inf else "add")
        if self.power == inf:
            return pooled
        mean = op.Div(pooled, op.Max(self._counts(op), 1.0))
        return mean if self.power == 1 else op.Pow(mean, op.scalar(1 / self.power))

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """Gathered back, and the relevance of words that nothing reaches to all."""
        epsilon = rule.epsilon if isinstance(rule, Epsilon) else 0.0
        numbers, index = self.given(0), self._index(op)
        values = op.Expand(self._powers(op, numbers), op.Shape(index))
        flat = op.Reshape(index, op.shape([op.size(numbers, 0), -1]))
        if self.power == inf:
            best = op.Reshape(op.GatherElements(self.output, flat, axis=1), op.Shape(index))
            values = op.Cast(op.And(op.Equal(values, best), op.Greater(values, 0.0)), to=int(op.dtype))
        z = self._scatter(op, values, index, "add")
        empty = op.Equal(z, 0.0)
        zero = op.scalar(0.0)
        s = op.divide_stabilized(op.Where(empty, zero, relevance), op.Where(empty, op.scalar(1.0), z), epsilon)
        own = op.Mul(values, op.Reshape(op.GatherElements(s, flat, axis=1), op.Shape(index)))  # [N, L, V, n]
        # (2.79): per cell, what no descriptor of it reaches, to each of them.
        words, cells, levels = int(self.required("words")), int(self.required("cells")), static_last(self.given(2))
        missed = op.Reshape(op.Where(empty, relevance, zero), op.integers([0, cells, words]))
        lost = op.ReduceSum(missed, op.integers([2]), keepdims=0)
        counts = self._cell_counts(op)  # [1, C]
        inhabited = op.Greater(counts, 0.0)
        share = op.Where(inhabited, op.Div(lost, op.Max(counts, 1.0)), zero)  # [N, C]
        stray = op.ReduceSum(op.Where(inhabited, zero, lost), op.integers([1]), keepdims=1)  # [N, 1]
        length = op.Cast(op.shape([op.size(numbers, 1)]), to=int(op.dtype))
        by_cell = op.Gather(share, op.Reshape(self.given(2), op.integers([-1])), axis=1)  # [N, L · V]
        common = op.ReduceSum(op.Reshape(by_cell, op.shape([op.size(numbers, 0), -1, levels])), op.integers([2]), keepdims=1)
        common = op.Add(common, op.Unsqueeze(op.Div(stray, length), op.integers([2])))  # [N, L, 1]
        neighbours = static_last(numbers)
        total = op.Add(op.ReduceSum(own, op.integers([2]), keepdims=0), op.Div(common, float(neighbours)))
        return self.only_first(op.shaped(total, numbers))

    def _powers(self, op: Emitter, numbers: ir.Value) -> ir.Value:
        """m^p as [N, L, 1, n]."""
        powers = numbers if self.power in (1.0, inf) else op.Pow(numbers, op.scalar(self.power))
        return op.Unsqueeze(powers, op.integers([2]))

    def _index(self, op: Emitter) -> ir.Value:
        """Dimension of every number at every level, [N, L, V, n]."""
        cells = op.Mul(self.given(2), op.integers([int(self.required("words"))]))
        return op.Add(op.Unsqueeze(self.given(1), op.integers([2])), op.Unsqueeze(cells, op.integers([0, 3])))

    def _scatter(self, op: Emitter, values: ir.Value, index: ir.Value, reduction: str) -> ir.Value:
        """Sums or maxima per dimension, [N, C · K]."""
        numbers = self.given(0)
        width = int(self.required("words")) * int(self.required("cells"))
        batch = op.size(numbers, 0)
        flat = [op.Reshape(value, op.shape([batch, -1])) for value in (values, index)]
        result = op.ScatterElements(
            op.Expand(op.scalar(0.0), op.shape([batch, width])), flat[1], flat[0], axis=1, reduction=reduction
        )
        result.type, result.shape = ir.TensorType(op.dtype), ir.Shape([numbers.shape[0] if numbers.shape else None, width])
        return result

    def _cell_counts(self, op: Emitter) -> ir.Value:
        """|L| of every cell, [1, C]."""
        cells = int(self.required("cells"))
        flat = op.Reshape(self.given(2), op.integers([-1]))
        ones = op.Expand(op.scalar(1.0), op.Shape(flat))
        counts = op.ScatterElements(op.Expand(op.scalar(0.0), op.integers([cells])), flat, ones, axis=0, reduction="add")
        return op.Unsqueeze(counts, op.integers([0]))

    def _counts(self, op: Emitter) -> ir.Value:
        """|L| of the cell of every dimension, [1, C · K]."""
        words, cells = int(self.required("words")), int(self.required("cells"))
        repeated = op.Expand(op.Unsqueeze(self._cell_counts(op), op.integers([2])), op.integers([1, cells, words]))
        return op.Reshape(repeated, op.integers([1, cells * words]))


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


def spread(op: Emitter, relevance: ir.Value, x: ir.Value) -> ir.Value:
    """R_l [N, L, 1] in equal parts to the numbers of descriptors [N, L, D]."""
    width = static_last(x)
    return op.shaped(op.Expand(op.Div(relevance, float(width)), op.shape_of(x)), x)


def static_last(x: ir.Value) -> int:
    """Size of the last axis, which is static."""
    size = None if x.shape is None else x.shape[-1]
    if not isinstance(size, int):
        raise ValueError(f"the last axis of {x.name!r} is not static: {x.shape}")
    return size


def _apart(op: Any, x: ir.Value, words: ir.Value) -> ir.Value:
    """‖x - b‖² less ‖x‖², [B, K]."""
    other = op.Transpose(op.ReduceSum(op.Mul(words, words), [1], keepdims=1), perm=[1, 0])
    distances: ir.Value = op.Sub(other, op.Mul(op.MatMul(x, op.Transpose(words, perm=[1, 0])), 2.0))
    return distances


def _solve_ones(op: Emitter, matrix: ir.Value, size: int) -> ir.Value:
    """The solution of A c = 1 for symmetric positive definite A [B, n, n], by elimination, [B, n]."""
    ones = op.Add(op.Mul(op.Slice(matrix, [0], [1], [2]), 0.0), 1.0)
    rows = op.Concat(matrix, ones, axis=2)  # [B, n, n + 1]
    for pivot in range(size):
        line = op.Slice(rows, [pivot], [pivot + 1], [1])
        line = op.Div(line, op.Slice(line, [pivot], [pivot + 1], [2]))
        factors = op.Slice(rows, [pivot], [pivot + 1], [2])
        keep = np.ones((1, size, 1), np.float32)
        keep[0, pivot] = 0
        kept = op.CastLike(op.Constant(value=ir.tensor(keep)), rows)
        chosen = op.CastLike(op.Constant(value=ir.tensor(1 - keep)), rows)
        rows = op.Add(op.Mul(op.Sub(rows, op.Mul(factors, line)), kept), op.Mul(line, chosen))
    return op.Squeeze(op.Slice(rows, [size], [size + 1], [2]), [2])
