"""Samples of any kind, as those see them that perturb and compare.

What is perturbed of a sample is an array of a layout: the sample itself, or of a sparse one the numbers that it stores, which are
features without neighbours. All that differs between the kinds is in the classes that follow from ``Samples``: how samples and
batches are handed to a model, which regions they have, what these are replaced with, and which relevance belongs to them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy.typing as npt

from graphlrp.evaluation.batches import Batch
from graphlrp.evaluation.filling import Filling
from graphlrp.evaluation.layout import Layout
from graphlrp.evaluation.regions import Regions

Array = npt.NDArray[Any]


class Samples(ABC):
    """Samples of one kind.

    Attributes:
        exhaustible: whether a sample may run out of regions before the last step, and stay as it is from there on.
    """

    exhaustible: ClassVar[bool] = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> Array:
        """What is perturbed of a sample."""

    @abstractmethod
    def layout(self, number: int) -> Layout:
        """Axes and shape of what is perturbed of a sample."""

    @abstractmethod
    def taken(self, rows: slice) -> Any:
        """Samples as a model or a method takes them."""

    @abstractmethod
    def batch(self, size: int) -> Batch:
        """An empty batch of perturbed samples."""

    @abstractmethod
    def collected(self, states: Sequence[Array]) -> Any:
        """The same K states of every sample, [K, size] each, flattened as what is perturbed of it, as one answer to the user."""

    @abstractmethod
    def relevance(self, relevance: Any, name: str, rows: slice) -> Sequence[Array]:
        """Relevance of the places of what is perturbed, float64 [*places] for each sample of ``rows``.

        Args:
            relevance: of these samples, as a method gives it.
            name: what it is called in errors.
            rows: which samples.

        Raises:
            InputError: it does not fit the samples, or is not finite.
        """

    @abstractmethod
    def compared(self, first: Any, second: Any) -> Iterator[tuple[Array, Array]]:
        """Two relevances of all samples side by side, float64 [n, places] each, a few samples after the other.

        Raises:
            InputError: as for ``relevance``.
        """

    @abstractmethod
    def regions(self, number: int, region: Any, border: str) -> Regions:
        """The regions of a sample; ``region`` and ``border`` as ``Regions.of`` takes them.

        Raises:
            InputError: they do not fit.
        """

    @abstractmethod
    def filling(self, filling: Any) -> Filling:
        """What regions are replaced with, with everything that it takes from the samples.

        Raises:
            InputError: there is no such filling for these samples.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A few letters that tell the samples from others."""

    def together(self, count: int, batch_size: int) -> int:
        """How many samples are explained together where ``count`` are wanted."""
        return count
