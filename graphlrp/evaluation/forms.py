"""What samples of one shape have in common for whoever perturbs them: their regions, and where these stand in a flat sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.evaluation.layout import Layout
from graphlrp.evaluation.regions import Regions

Array = npt.NDArray[Any]

NO_REGION = -1
"""Stands where there are no more regions."""


@dataclass(frozen=True, eq=False)
class Form:
    """The form of a sample.

    Attributes:
        layout: of what is perturbed of it.
        regions: of these places.
    """

    layout: Layout
    regions: Regions

    def sums(self, relevance: Array) -> Array:
        """Σ of relevance over every region, float64 [*places] -> [count]."""
        return np.asarray(self.regions.sums(relevance[np.newaxis])[0])

    def indices(self, regions: Array) -> Array:
        """Where regions stand in a flattened sample."""
        return self._flat[regions[0]] if len(regions) == 1 else np.concatenate([self._flat[region] for region in regions])

    @cached_property
    def codes(self) -> Array:
        """128 random bits for every region, uint64 [count + 1, 2], and behind them the zeros of ``NO_REGION``."""
        codes = np.random.default_rng(0).integers(0, 2**64, (self.regions.count + 1, 2), np.uint64)
        codes[NO_REGION] = 0
        return codes

    @cached_property
    def _flat(self) -> list[Array]:
        """By region; the last entry is that of ``NO_REGION``."""
        return [*(self.layout.flat_indices(places) for places in self.regions.places()), np.empty(0, np.int64)]


class Forms:
    """Forms by the number of a sample; samples of one shape share theirs."""

    def __init__(self, layout: Callable[[int], Layout], regions: Callable[[int], Regions]) -> None:
        self._layout, self._regions = layout, regions
        self._known: dict[Layout, Form] = {}

    def __getitem__(self, number: int) -> Form:
        layout = self._layout(number)
        if layout not in self._known:
            self._known[layout] = Form(layout, self._regions(number))
        return self._known[layout]
