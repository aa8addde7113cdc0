"""The mapping from descriptors to the words that are nearest to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.errors import ModelError
from graphlrp.ir.emitter import Emitter, static_sizes
from graphlrp.plugins.bow.encoding import Encoding, spread
from graphlrp.rules.base import Rule

BLOCK = 1 << 23
"""Distances between descriptors and words that are in memory at a time."""

ROWS = 4096
"""Descriptors in a block, at most."""

CODINGS = ("hard", "soft", "rank", "llc", "tree")


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
