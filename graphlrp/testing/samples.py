"""Inputs of every kind that a mapping may go wrong on, and relevance that is not constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

GENERIC = ("random", "all negative", "nonnegative")
"""Samples without ties and zeros, where functions have derivatives."""

NONNEGATIVE = ("nonnegative", "some zero", "all zero")
"""Samples without negative numbers."""

TIES = (-1.37, 0.0, 0.71)
"""The only numbers in a sample of ties; few of them never add up to zero by accident."""


@dataclass(frozen=True)
class Samples:
    """Samples of all explained inputs of a node.

    Attributes:
        names: one per sample.
        arrays: one per input, [S, ...]; numbers that have a float32, so that both precisions see the same.
    """

    names: tuple[str, ...]
    arrays: list[Array]

    @staticmethod
    def draw(shapes: Sequence[tuple[int, ...]], domain: tuple[float, float] | None, seed: int, extra: int = 0) -> Samples:
        """A sample of every kind that lies in the domain, and ``extra`` random ones of several scales."""
        kinds: dict[str, list[Array]] = {}
        for index, shape in enumerate(shapes):
            generator = np.random.default_rng([seed, index])
            for name, array in _kinds(generator, shape, domain, extra).items():
                kinds.setdefault(name, []).append(array.astype(np.float32).astype(np.float64))
        if domain is not None:
            low, high = domain
            kinds = {n: arrays for n, arrays in kinds.items() if all(((a >= low) & (a <= high)).all() for a in arrays)}
        arrays = [np.stack([kinds[name][index] for name in kinds]) for index in range(len(shapes))]
        return Samples(tuple(kinds), arrays)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flat(self) -> Array:
        """All D input components, [S, D]."""
        return np.concatenate([array.reshape(len(array), -1) for array in self.arrays], axis=1)

    def only(self, names: Sequence[str]) -> Samples:
        """Some of the samples, by name."""
        chosen = [index for index, name in enumerate(self.names) if name in names]
        return Samples(tuple(self.names[index] for index in chosen), [array[chosen] for array in self.arrays])

    def cycled(self, count: int) -> Samples:
        """As many samples, in turn."""
        chosen = [index % len(self) for index in range(count)]
        return Samples(tuple(self.names[index] for index in chosen), [array[chosen] for array in self.arrays])


def relevances(count: int, shape: tuple[int, ...], seed: int) -> Array:
    """Relevance that differs from output to output, of both signs and with zeros, [count, ...]."""
    generator = np.random.default_rng([seed, 7])
    relevance = generator.normal(size=(count, *shape))
    return np.where(generator.random(relevance.shape) < 0.2, 0.0, relevance)


def _kinds(
    generator: np.random.Generator, shape: tuple[int, ...], domain: tuple[float, float] | None, extra: int
) -> dict[str, Array]:
    """Samples of one input by name; some of them may lie outside of the domain."""
    if domain is None:
        random, negative, positive = (generator.normal(size=shape) for _ in range(3))
        negative, positive, ties = -np.abs(negative), np.abs(positive), np.asarray(TIES)
    else:
        low, high = domain
        # Away from the ends, where a derivative may have no room, and where rounding leads outside.
        low, high = low + 0.01 * (high - low), high - 0.01 * (high - low)
        random = generator.uniform(low, high, shape)
        negative = generator.uniform(low, min(high, 0.0), shape) if low < 0 else np.full(shape, -1.0)
        positive = generator.uniform(max(low, 0.0), high, shape) if high > 0 else np.full(shape, 1.0)
        ties = low + (high - low) * np.asarray([0.21, 0.5, 0.83])
    kinds = {
        "random": random,
        "all negative": negative,
        "ties": generator.choice(ties, shape),
        "nonnegative": positive,
        "some zero": np.where(np.arange(positive.size).reshape(shape) % 2 == 0, 0.0, positive),
        "all zero": np.zeros(shape),
    }
    for k in range(extra):
        scale = 10.0 ** (k % 5 - 2)
        kinds[f"random {k}"] = scale * generator.normal(size=shape) if domain is None else generator.uniform(low, high, shape)
    return kinds
