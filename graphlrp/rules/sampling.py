"""Samplings: explanations that evaluate the model at several points around a sample.

Evaluation 0 is always the sample itself: it decides what is explained (the target, the weights of its classes), and its outputs
are the model's. The others lie on a path, carry noise, or have a window hidden. What the evaluations contribute is added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.special import roots_jacobi

from graphlrp.ir.emitter import Emitter, rank
from graphlrp.rules.parameters import Numbers, channel_numbers, finite_number, in_words, whole_number
from graphlrp.rules.randomness import NORMAL, RandomTable, draw_pairs
from graphlrp.rules.readout import Explained

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """What was emitted for one evaluation.

    Attributes:
        count: how many evaluations there are, the sample itself included: an int64 scalar.
        points: what stands in the place of every explained input; in evaluation 0 the input itself.
        weight: what the explanation of this evaluation counts in the sum; None if relevance is not propagated.
        shares: emits, then, what this evaluation adds to the relevance of every explained input, given [N], by how much the
            explained value of the sample is above that of this evaluation.
    """

    count: ir.Value
    points: list[ir.Value]
    weight: ir.Value | None = None
    shares: Callable[[ir.Value], list[ir.Value]] | None = None


@dataclass(frozen=True)
class Sampling:
    """Which points the model is evaluated at, and what the evaluations contribute. All explained inputs move together."""

    propagates: ClassVar[bool] = True
    """Whether relevance is propagated at every point; else only f is evaluated."""

    def evaluate(self, op: Emitter, explained: Sequence[Explained], index: ir.Value) -> Evaluation:
        """Emit the points of evaluation number ``index``, an int64 scalar.

        Raises:
            RuleError: the parameters do not fit the inputs.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return in_words(self)


@dataclass(frozen=True)
class StraightPath(Sampling):
    """Points x̃ + α (x - x̃) on the line from the baseline x̃ to the sample, weighted to be the mean over α in [0, 1].

    The nodes α are those of Gauss and Radau with α = 1 among them: exact for integrands that are polynomials of degree up to
    2·steps - 2, and the sample itself, whose evaluation decides the target, is one of the steps.

    Attributes:
        steps: number of points.
        baseline: x̃, a number or one per channel (per feature of a vector).

    Raises:
        RuleError: parameters out of range.
    """

    steps: int = 32
    baseline: Numbers = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole_number("StraightPath: steps", self.steps, 1))
        object.__setattr__(self, "baseline", channel_numbers("StraightPath: baseline", self.baseline))

    def evaluate(self, op: Emitter, explained: Sequence[Explained], index: ir.Value) -> Evaluation:
        """x + (α - 1)(x - x̃), which is x exactly at α = 1."""
        nodes, weights = radau(self.steps)
        back = op.Gather(op.number(nodes - 1.0), index)
        points = []
        for entry in explained:
            baseline = entry.per_channel(op, self.baseline, "StraightPath: baseline")
            points.append(op.Add(entry.value, op.Mul(op.Sub(entry.value, baseline), back)))
        return Evaluation(op.number(np.asarray(self.steps, np.int64)), points, op.Gather(op.number(weights), index))


def radau(count: int) -> tuple[Array, Array]:
    """Nodes in (0, 1] and weights, of sum 1, of the Gauss-Radau quadrature with a node at 1, which comes first."""
    if count == 1:
        return np.ones(1), np.ones(1)
    inner, weights = roots_jacobi(count - 1, 1.0, 0.0)
    # Jacobi weights are those of ∫ (1 - t) g(t) dt over [-1, 1].
    weights = weights / (1 - inner) / 2
    return np.append(1.0, (inner + 1) / 2), np.append(1.0 / count**2, weights)


@dataclass(frozen=True)
class GaussianNoise(Sampling):
    """Copies x + σ·(normal numbers), σ = noise · (max x - min x) of the sample, all of the same weight; the sample has none.

    The numbers depend on the seed, the copy and the position, and not on the other samples: see ``RandomTable``.

    Attributes:
        samples: number of copies.
        noise: σ as a fraction of the range of the sample.
        seed: of the random numbers.

    Raises:
        RuleError: parameters out of range.
    """

    samples: int = 25
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", whole_number("GaussianNoise: samples", self.samples, 1))
        object.__setattr__(self, "noise", finite_number("GaussianNoise: noise", self.noise, 0.0))
        object.__setattr__(self, "seed", whole_number("GaussianNoise: seed", self.seed, 0))

    def evaluate(self, op: Emitter, explained: Sequence[Explained], index: ir.Value) -> Evaluation:
        """The sample plus its noise, times zero in evaluation 0."""
        count = self.samples + 1
        table = RandomTable(op, NORMAL, self.seed)
        first = np.arange(count) == 0
        factor = op.Gather(op.number(np.where(first, 0.0, self.noise)), index)
        pairs = draw_pairs(self.seed, len(explained) * count).reshape(len(explained), count, 2)
        points = []
        for entry, own in zip(explained, pairs, strict=True):
            x = entry.value
            others = op.integers(range(1, rank(x)))
            extent = op.Abs(x) if rank(x) == 1 else op.Sub(op.ReduceMax(x, others), op.ReduceMin(x, others))
            a, b = (op.Gather(op.number(own[:, column : column + 1]), index) for column in (0, 1))
            points.append(op.Add(x, op.Mul(table.read(x, a, b), op.Mul(extent, factor))))
        weight = op.Gather(op.number(np.where(first, 0.0, 1 / self.samples)), index)
        return Evaluation(op.number(np.asarray(count, np.int64)), points, weight)
