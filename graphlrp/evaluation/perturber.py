"""Perturbed inputs x^(0) ... x^(L) of one sample after the other, the same however the work is divided (3.6).

All that is drawn by lot is drawn per sample, from the seed and the number of the sample alone: neither the size of batches, nor
which samples were done before, nor how many methods are compared changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.evaluation.filling import Filling, fill
from graphlrp.evaluation.forms import NO_REGION, Form, Forms
from graphlrp.evaluation.regions import most_relevant_first
from graphlrp.evaluation.samples import Samples
from graphlrp.evaluation.values import fingerprint

Array = npt.NDArray[Any]

ORDERS = ("morf", "lerf", "random")
DEFAULT_STEPS = 100

_LOT, _NOISE, _ORDER = range(3)
"""Streams of random numbers: ties, fillings, random orders."""


NOTHING = (0, 0, 0)
"""Identity of an input of which nothing is replaced (see ``Perturber.identities``)."""


@dataclass(frozen=True, eq=False)
class Path:
    """A way through the perturbed inputs of one sample, for some repeats.

    Attributes:
        regions: replaced at each step, int64 [repeats or 1, L, regions per step]; 1 if all repeats go the same way. ``NO_REGION``
            where the sample has no more.
        repeats: how many there are.
    """

    regions: Array
    repeats: int


@dataclass(frozen=True, eq=False)
class Perturber:
    """Makes perturbed inputs.

    Attributes:
        samples: what is perturbed.
        forms: of the samples, which say where their regions are.
        filling: what regions are replaced with.
        steps: L.
        regions_per_step: replaced at once.
        repeats: of what is random.
        seed: of all that is random.
    """

    samples: Samples
    forms: Forms
    filling: Filling
    steps: int
    regions_per_step: int
    repeats: int
    seed: int

    @classmethod
    def of(
        cls,
        samples: Samples,
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
        forms = Forms(samples.layout, lambda number: samples.regions(number, region, border))
        counts = [forms[number].regions.count for number in range(len(samples))]
        for name, value in (
            ("regions_per_step", regions_per_step),
            ("repeats", repeats),
            ("steps", 1 if steps is None else steps),
        ):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise InputError(f"seed must be a whole number of at least 0, not {seed!r}")
        if samples.exhaustible:
            most = max(-(-max(counts) // regions_per_step), 1)
        else:
            fewest = int(np.argmin(counts))
            most = counts[fewest] // regions_per_step
        chosen = min(DEFAULT_STEPS, most) if steps is None else steps
        if not samples.exhaustible and not 1 <= chosen <= most:
            form = forms[fewest]
            raise InputError(
                f"{chosen} steps of {regions_per_step} region(s) need {chosen * regions_per_step} regions;"
                f" {'an input' if len(set(counts)) == 1 else f'sample {fewest}'} of"
                f" {'x'.join(map(str, form.layout.places))} places has {form.regions.count} of {form.regions.text}"
            )
        return cls(samples, forms, samples.filling(filling), int(chosen), int(regions_per_step), int(repeats), int(seed))

    @property
    def replacements_per_sample(self) -> int:
        """How many replacements differ: one if the filling is not random."""
        return self.repeats if self.filling.random else 1

    def repeats_of(self, order: str) -> int:
        """How many repeats differ: a fixed order with a filling that is not random needs one."""
        return self.repeats if order == "random" else self.replacements_per_sample

    def replacements(self, number: int) -> Array:
        """What regions of a sample are replaced with, flattened, [replacements, size]."""
        sample, layout = self.samples[number], self.forms[number].layout
        generators = (self._generator(_NOISE, number, repeat) for repeat in range(self.replacements_per_sample))
        return np.stack([fill(self.filling, sample, layout, generator).ravel() for generator in generators])

    def path(self, order: str, number: int, sums: Array | None = None) -> Path:
        """The way of an order through a sample.

        Args:
            order: ``"morf"``, ``"lerf"`` (the same way backwards) or ``"random"``.
            number: of the sample.
            sums: relevance of its regions [count]; none for a random order.
        """
        count = self.forms[number].regions.count
        if sums is None:
            lots = [self._generator(_ORDER, number, repeat).permutation(count) for repeat in range(self.repeats)]
            return Path(np.stack([self._by_steps(lot) for lot in lots]), self.repeats)
        falling = most_relevant_first(sums, self._generator(_LOT, number).permutation(count))
        ordered = falling if order == "morf" else falling[::-1]
        return Path(self._by_steps(ordered)[np.newaxis], self.repeats_of(order))

    def along(self, path: Path, number: int, replacements: Array) -> Iterator[Array]:
        """x^(1) ... x^(L) of a path, flattened, [repeats, size] each; the array is overwritten by the next step."""
        form = self.forms[number]
        states = np.repeat(self.samples[number].reshape(1, -1), path.repeats, axis=0)
        for step in range(self.steps):
            for way in range(len(path.regions)):
                index = form.indices(path.regions[way, step])
                if len(path.regions) == 1:
                    states[:, index] = replacements[:, index]
                else:
                    states[way, index] = replacements[way % len(replacements), index]
            yield states

    def identities(self, path: Path, number: int) -> list[list[tuple[int, int, int]]]:
        """For each repeat and step what tells its perturbed input from the others of the sample.

        That is the replacement and the set of regions, as the sum (exclusive or) of 128 random bits of each of them: two sets
        share it with a probability of 2^-128.
        """
        bits = np.bitwise_xor.reduce(self.forms[number].codes[path.regions], axis=2)
        sums = np.broadcast_to(np.bitwise_xor.accumulate(bits, axis=1), (path.repeats, self.steps, 2))
        several = self.filling.random
        return [[(repeat if several else 0, *pair) for pair in row] for repeat, row in enumerate(sums.tolist())]

    def _by_steps(self, ordered: Array) -> Array:
        """As many regions as are replaced, [L, regions per step]."""
        result = np.full(self.steps * self.regions_per_step, NO_REGION)
        chosen = ordered[: len(result)]
        result[: len(chosen)] = chosen
        return result.reshape(self.steps, self.regions_per_step)

    def _generator(self, stream: int, number: int, repeat: int = 0) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream, number, repeat)))

    def settings(self) -> dict[str, Any]:
        """Everything that decides what is made, as JSON takes it."""
        first = self.forms[0]
        every = [self.forms[number] for number in range(len(self.samples))]
        counts = [form.regions.count for form in every]
        return {
            "layout": first.layout.axes,
            "region": first.regions.text,
            "regions": counts[0] if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}",
            **({} if first.regions.windows else {"segmentation": fingerprint(first.regions.labels)}),
            "steps": self.steps,
            "regions_per_step": self.regions_per_step,
            "share": round(self._share(every), 6),
            "repeats": self.repeats,
            "seed": self.seed,
            **self.filling.settings(),
        }

    def _share(self, forms: Sequence[Form]) -> float:
        """Mean share of the places that are replaced in the end, of samples that have any."""
        replaced = self.steps * self.regions_per_step
        shares = {form: form.regions.covered(min(replaced, form.regions.count)) for form in forms if form.regions.count}
        if len(shares) == 1:
            return next(iter(shares.values()))
        return float(np.mean([shares[form] for form in forms if form in shares])) if shares else 0.0
