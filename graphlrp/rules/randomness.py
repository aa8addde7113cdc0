"""Random numbers that a graph gives again and again.

ONNX's random operators keep a state between runs, so a second call gives other numbers. Here the numbers stand in a table of
M = 65536, and the one of position p is the entry ((a·p + b) mod P) mod M, P = 2³¹ - 1: the universal hash of Carter and Wegman
(1979), in integers, which every runtime computes alike. The pair (a, b) is drawn with NumPy, or computed from a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.special import ndtri

from graphlrp.ir.emitter import Emitter, rank

Array = npt.NDArray[np.float64]

PRIME = 2**31 - 1
ENTRIES = 2**16

FINENESS = 2.0**20
"""Steps that a sample is told apart by, relative to its largest magnitude."""


def _uniform(levels: Array) -> Array:
    return 2 * levels - 1


UNIFORM: Callable[[Array], Array] = _uniform
"""Numbers spread evenly over [-1, 1]."""

NORMAL: Callable[[Array], Array] = ndtri
"""Standard normal numbers."""


class RandomTable:
    """A table of random numbers, and what reads it: the quantiles of a distribution, in random order.

    Args:
        op: emits.
        quantile: the inverse of the distribution function.
        seed: of the order.
    """

    def __init__(self, op: Emitter, quantile: Callable[[Array], Array], seed: int) -> None:
        self._op = op
        self._numbers = op.number(_table(quantile, seed))

    def read(self, like: ir.Value, factor: ir.Value, offset: ir.Value) -> ir.Value:
        """Numbers shaped like a sample, ``[K, ...]`` for ``factor`` and ``offset`` int64 [K, 1], in [1, P) and [0, P)."""
        op = self._op
        sizes = op.shape(op.sizes(like, range(1, rank(like))))
        hashed = op.Mod(op.Add(op.Mul(factor, self._positions(sizes)), offset), op.integers([PRIME]))
        numbers = op.Gather(self._numbers, op.Mod(hashed, op.integers([ENTRIES])))
        return op.Reshape(numbers, op.Concat(op.integers([-1]), sizes, axis=0))

    def by_content(self, sample: ir.Value) -> ir.Value:
        """Numbers shaped like the value, others for other samples: (a, b) are hashes of the sample itself."""
        op = self._op
        sizes = op.shape(op.sizes(sample, range(1, rank(sample))))
        # In single precision, for a hash of numbers that are rounded otherwise would be another one.
        single = op.Cast(sample, to=int(ir.DataType.FLOAT))
        flat = op.Reshape(single, op.integers([0, -1])) if rank(sample) > 1 else op.Unsqueeze(single, op.integers([1]))
        largest = op.Max(op.ReduceMax(op.Abs(flat), op.integers([1]), keepdims=1), 1e-20)
        # Whole numbers, whose sum is the same in any order.
        levels = op.Cast(op.Round(op.Mul(op.Div(flat, largest), FINENESS)), to=int(ir.DataType.INT64))
        drawn = np.random.default_rng(1).integers(1, PRIME, size=4)
        hashes = []
        for factor, offset in drawn.reshape(2, 2):
            weights = op.Mod(op.Add(op.Mul(self._positions(sizes), op.integers([factor])), op.integers([offset])), self._prime)
            terms = op.Mod(op.Mul(op.Add(levels, op.integers([int(FINENESS)])), weights), self._prime)
            hashes.append(op.Mod(op.ReduceSum(terms, op.integers([1]), keepdims=1), self._prime))
        # A factor of zero would give one number everywhere.
        numbers = self.read(sample, op.Max(hashes[0], op.integers([1])), hashes[1])
        return op.shaped(numbers, sample)

    @property
    def _prime(self) -> ir.Value:
        return self._op.integers([PRIME])

    def _positions(self, sizes: ir.Value) -> ir.Value:
        """0, 1, ... for every number of a sample."""
        op = self._op
        count = op.ReduceProd(sizes, keepdims=0)
        return op.Range(op.number(np.asarray(0, np.int64)), count, op.number(np.asarray(1, np.int64)))


def draw_pairs(seed: int, count: int) -> npt.NDArray[np.int64]:
    """Pairs (a, b), int64 [count, 2]."""
    # Not the stream that orders the table.
    generator = np.random.default_rng([seed, count])
    return np.stack([generator.integers(1, PRIME, count), generator.integers(0, PRIME, count)], axis=1)


@cache
def _table(quantile: Callable[[Array], Array], seed: int) -> Array:
    levels = (np.arange(ENTRIES) + 0.5) / ENTRIES
    table = np.asarray(np.random.default_rng(seed).permutation(quantile(levels)))
    table.flags.writeable = False
    return table
