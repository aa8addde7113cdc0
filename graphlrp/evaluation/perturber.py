"""Perturbed inputs x^(0) ... x^(L) of one sample after the other, the same however the work is divided (3.6).

All that is drawn by lot is drawn per sample, from the seed and the number of the sample alone: neither the size of batches, nor
which samples were done before, nor how many methods are compared changes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.evaluation.filling import Filling, fill, read_filling
from graphlrp.evaluation.layout import Layout
from graphlrp.evaluation.regions import Regions, most_relevant_first
from graphlrp.evaluation.subject import fingerprint

Array = npt.NDArray[Any]

ORDERS = ("morf", "lerf", "random")
DEFAULT_STEPS = 100

_LOT, _NOISE, _ORDER = range(3)
"""Streams of random numbers: ties, fillings, random orders."""


@dataclass(frozen=True, eq=False)
class Path:
    """A way through the perturbed inputs of one sample, for some repeats.

    Attributes:
        regions: replaced at each step, int64 [repeats or 1, L, regions per step]; 1 if all repeats go the same way.
        repeats: how many there are.
    """

    regions: Array
    repeats: int


@dataclass(frozen=True, eq=False)
class Perturber:
    """Makes perturbed inputs.

    Attributes:
        layout, regions, filling: what is perturbed, where, and how.
        steps: L.
        regions_per_step: replaced at once.
        repeats: of what is random.
        seed: of all that is random.
    """

    layout: Layout
    regions: Regions
    filling: Filling
    steps: int
    regions_per_step: int
    repeats: int
    seed: int

    @classmethod
    def of(
        cls,
        x: Array,
        layout: Layout,
        *,
        region: Any,
        border: str,
        filling: Any,
        steps: int | None,
        regions_per_step: int,
        repeats: int,
        seed: int,
    ) -> Perturber:
        """From what a user gives.

        Raises:
            InputError: numbers out of range, more steps than regions.
        """
        regions = Regions.of(layout, region, border)
        for name, value in (
            ("regions_per_step", regions_per_step),
            ("repeats", repeats),
            ("steps", 1 if steps is None else steps),
        ):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise InputError(f"seed must be a whole number of at least 0, not {seed!r}")
        most = regions.count // regions_per_step
        chosen = min(DEFAULT_STEPS, most) if steps is None else steps
        if not 1 <= chosen <= most:
            raise InputError(
                f"{chosen} steps of {regions_per_step} region(s) need {chosen * regions_per_step} regions; an input of"
                f" {'x'.join(map(str, layout.places))} places has {regions.count} of {regions.text}"
            )
        prepared = read_filling(filling).prepared(x, layout)
        return cls(layout, regions, prepared, int(chosen), int(regions_per_step), int(repeats), int(seed))

    @property
    def replacements_per_sample(self) -> int:
        """How many replacements differ: one if the filling is not random."""
        return self.repeats if self.filling.random else 1

    def repeats_of(self, order: str) -> int:
        """How many repeats differ: a fixed order with a filling that is not random needs one."""
        return self.repeats if order == "random" else self.replacements_per_sample

    def replacements(self, sample: Array, number: int) -> Array:
        """What regions of a sample are replaced with, flattened, [replacements, size]."""
        generators = (self._generator(_NOISE, number, repeat) for repeat in range(self.replacements_per_sample))
        return np.stack([fill(self.filling, sample, self.layout, generator).ravel() for generator in generators])

    def path(self, order: str, number: int, sums: Array | None = None) -> Path:
        """The way of an order through a sample.

        Args:
            order: ``"morf"``, ``"lerf"`` (the same way backwards) or ``"random"``.
            number: of the sample.
            sums: relevance of its regions [count]; none for a random order.
        """
        shape = (self.steps, self.regions_per_step)
        length = self.steps * self.regions_per_step
        if sums is None:
            lots = [self._generator(_ORDER, number, repeat).permutation(self.regions.count) for repeat in range(self.repeats)]
            return Path(np.stack([lot[:length].reshape(shape) for lot in lots]), self.repeats)
        falling = most_relevant_first(sums, self._generator(_LOT, number).permutation(self.regions.count))
        ordered = falling if order == "morf" else falling[::-1]
        return Path(ordered[:length].reshape(1, *shape), self.repeats_of(order))

    def along(self, path: Path, sample: Array, replacements: Array) -> Iterator[Array]:
        """x^(1) ... x^(L) of a path, flattened, [repeats, size] each; the array is overwritten by the next step."""
        states = np.repeat(sample.reshape(1, -1), path.repeats, axis=0)
        for step in range(self.steps):
            for way in range(len(path.regions)):
                index = self._indices(path.regions[way, step])
                if len(path.regions) == 1:
                    states[:, index] = replacements[:, index]
                else:
                    states[way, index] = replacements[way % len(replacements), index]
            yield states

    def identities(self, path: Path) -> list[list[tuple[int, int, int]]]:
        """For each repeat and step what tells its perturbed input from the others of the sample.

        That is the replacement and the set of regions, as the sum (exclusive or) of 128 random bits of each of them: two sets
        share it with a probability of 2^-128.
        """
        bits = np.bitwise_xor.reduce(self._codes[path.regions], axis=2)
        sums = np.broadcast_to(np.bitwise_xor.accumulate(bits, axis=1), (path.repeats, self.steps, 2))
        several = self.filling.random
        return [[(repeat if several else 0, *pair) for pair in row] for repeat, row in enumerate(sums.tolist())]

    @cached_property
    def _codes(self) -> Array:
        return np.random.default_rng(0).integers(0, 2**64, (self.regions.count, 2), np.uint64)

    @cached_property
    def _flat(self) -> list[Array]:
        return [self.layout.flat_indices(places) for places in self.regions.places()]

    def _indices(self, regions: Array) -> Array:
        return self._flat[regions[0]] if len(regions) == 1 else np.concatenate([self._flat[region] for region in regions])

    def _generator(self, stream: int, number: int, repeat: int = 0) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream, number, repeat)))

    def settings(self) -> dict[str, Any]:
        """Everything that decides what is made, as JSON takes it."""
        return {
            "layout": self.layout.axes,
            "region": self.regions.text,
            "regions": self.regions.count,
            **({} if self.regions.windows else {"segmentation": fingerprint(self.regions.labels)}),
            "steps": self.steps,
            "regions_per_step": self.regions_per_step,
            "share": round(self.regions.covered(self.steps * self.regions_per_step), 6),
            "repeats": self.repeats,
            "seed": self.seed,
            **self.filling.settings(),
        }
