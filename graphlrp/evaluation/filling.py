"""What regions are replaced with: g of (3.6).

Every filling makes one whole replacement of a sample, from which each region takes its part. So a place is given the same value
at whatever step and for whatever method it is replaced, and methods are compared under the same perturbation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from graphlrp.errors import InputError
from graphlrp.evaluation.layout import Layout

Array = npt.NDArray[Any]
Numbers = float | Sequence[float] | Array | None


class Data(Protocol):
    """All samples, as far as fillings take something from them."""

    @property
    def layouts(self) -> Sequence[Layout]:
        """Their layouts, those that differ; the axes and channels of all are the same."""

    def per_channel(self, function: Callable[..., Any]) -> list[float]:
        """``np.min``, ``np.max`` or ``np.mean`` of all numbers of every channel."""


@dataclass(frozen=True)
class Filling(ABC):
    """Makes replacements of samples. Subclass it as a frozen dataclass, one field per parameter.

    Attributes:
        random: whether replacements are drawn, so that repeating makes sense.
    """

    random: ClassVar[bool] = False

    def prepared(self, data: Data) -> Filling:
        """The filling with everything that it takes from all samples; checks its parameters."""
        return self

    @abstractmethod
    def replacement(self, sample: Array, layout: Layout, generator: np.random.Generator) -> Array:
        """A replacement of one sample, or what broadcasts to its shape."""

    def settings(self) -> dict[str, Any]:
        """Its name and parameters, as JSON takes them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"filling": type(self).__name__} | {
            name: np.asarray(value).tolist() if isinstance(value, (np.ndarray, tuple, list)) else value
            for name, value in values.items()
        }


@dataclass(frozen=True)
class Uniform(Filling):
    """Noise, uniform between two bounds and independent for each number of the input: the source's choice.

    Bounds are those of a channel, and of a feature where samples are rows of a table [N, D].

    Inputs of whole numbers get whole numbers from low to high, both included.

    Attributes:
        low: of the input's range, one number or one per channel or feature; by default the smallest of the samples, per channel.
        high: likewise; by default the largest.
    """

    low: Numbers = None
    high: Numbers = None
    random: ClassVar[bool] = True

    def prepared(self, data: Data) -> Filling:
        """The bounds, as far as they are not given."""
        return _with_bounds(self, data)

    def replacement(self, sample: Array, layout: Layout, generator: np.random.Generator) -> Array:
        """Noise shaped like the sample."""
        low, high = layout.by_channel(self.low, "low"), layout.by_channel(self.high, "high")
        if sample.dtype.kind in "iu":
            return generator.integers(low.astype(np.int64), high.astype(np.int64), sample.shape, endpoint=True)
        return low + (high - low) * generator.random(sample.shape)


@dataclass(frozen=True)
class Constant(Filling):
    """The same value everywhere.

    Attributes:
        value: one number, or one per channel.
    """

    value: Numbers = 0.0

    def prepared(self, data: Data) -> Filling:
        """Itself."""
        data.layouts[0].by_channel(self.value, "value")
        return self

    def replacement(self, sample: Array, layout: Layout, generator: np.random.Generator) -> Array:
        """The value."""
        return layout.by_channel(self.value, "value")


@dataclass(frozen=True)
class Mean(Filling):
    """The mean, per channel, or per feature of a table.

    Attributes:
        of: ``"image"``, every sample's own, which rows of a table do not have, or ``"data"``, that of all samples.
    """

    of: str = "image"

    def prepared(self, data: Data) -> Filling:
        """Itself, or the constant that the mean of all samples is."""
        if self.of not in ("image", "data"):
            raise InputError(f"the mean of {self.of!r} has no meaning: choose 'image' or 'data'")
        if self.of == "image" and data.layouts[0].tabular:
            raise InputError(
                "the features of one sample have no mean in common: take filling='data-mean', that of each feature over all"
                " samples, or layout='NT' if they are points of a signal"
            )
        return self if self.of == "image" else Constant(data.per_channel(np.mean))

    def replacement(self, sample: Array, layout: Layout, generator: np.random.Generator) -> Array:
        """The mean of the sample."""
        return layout.by_channel(per_channel(np.mean, sample[None], layout), "mean")


@dataclass(frozen=True)
class Blur(Filling):
    """The sample blurred as a whole, by a Gaussian along all axes of places; edges are continued.

    Attributes:
        sigma: standard deviation in places; by default a twentieth of the sample's shortest axis.
    """

    sigma: float | None = None

    def prepared(self, data: Data) -> Filling:
        """With its standard deviation; where samples differ in shape, each has its own."""
        layout = data.layouts[0]
        if len(layout.axes.replace("C", "")) == 2 and layout.axes[-1] == "D":
            raise InputError("features have no neighbours, so they cannot be blurred: choose another filling")
        if self.sigma is None and len(data.layouts) > 1:
            return self
        sigma = self._sigma(layout)
        if not (np.isfinite(sigma) and sigma > 0):
            raise InputError(f"sigma={self.sigma} of a blur must be positive")
        return replace(self, sigma=float(sigma))

    def replacement(self, sample: Array, layout: Layout, generator: np.random.Generator) -> Array:
        """The blurred sample."""
        sigmas = [0.0 if letter == "C" else self._sigma(layout) for letter in layout.axes[1:]]
        return np.asarray(gaussian_filter(sample.astype(np.float64), sigmas, mode="nearest"))

    def _sigma(self, layout: Layout) -> float:
        return min(layout.places) / 20 if self.sigma is None else self.sigma


@dataclass(frozen=True)
class Flip(Filling):
    """The state flip of binary inputs, low + high - x (S. Bach et al. 2015); of others it is the negative.

    Attributes:
        low: of the input's range, one number or one per channel or feature; by default the smallest of the samples, per channel.
        high: likewise; by default the largest.
    """

    low: Numbers = None
    high: Numbers = None

    def prepared(self, data: Data) -> Filling:
        """The bounds, as far as they are not given."""
        return _with_bounds(self, data)

    def replacement(self, sample: Array, layout: Layout, generator: np.random.Generator) -> Array:
        """The flipped sample."""
        return np.asarray(layout.by_channel(self.low, "low") + layout.by_channel(self.high, "high") - sample)


@dataclass(frozen=True)
class Function(Filling):
    """A function of the sample and a generator of random numbers, ``function(sample, generator)``.

    Attributes:
        function: gives a replacement of the sample's shape; it is called once per sample and repeat.
    """

    function: Callable[[Array, np.random.Generator], Array]
    random: ClassVar[bool] = True

    def replacement(self, sample: Array, layout: Layout, generator: np.random.Generator) -> Array:
        """What the function gives."""
        return np.asarray(self.function(sample.copy(), generator))

    def settings(self) -> dict[str, Any]:
        """Its name; what a function does cannot be written down."""
        return {"filling": "Function", "function": getattr(self.function, "__qualname__", type(self.function).__name__)}


@dataclass(frozen=True)
class Deletion(Constant):
    """Features of sparse samples, such as the terms of a text, become absent."""

    def settings(self) -> dict[str, Any]:
        """Its name; there is nothing else to say."""
        return {"filling": "Deletion"}


FILLINGS: dict[str, Filling] = {
    "uniform": Uniform(),
    "mean": Mean(),
    "data-mean": Mean("data"),
    "blur": Blur(),
    "flip": Flip(),
}
"""Fillings by name."""


def read_filling(filling: Any) -> Filling:
    """A filling by name, itself, a constant (number, or numbers per channel), or a function; None is uniform noise.

    Raises:
        InputError: it is none of these.
    """
    if filling is None:
        return Uniform()
    if isinstance(filling, Filling):
        return filling
    if isinstance(filling, str):
        if filling in FILLINGS:
            return FILLINGS[filling]
        raise InputError(
            f"unknown filling {filling!r}; there are {', '.join(FILLINGS)}, a number, and graphlrp.evaluation.Uniform ..."
        )
    if callable(filling):
        return Function(filling)
    try:
        return Constant(np.asarray(filling, np.float64).tolist())
    except (TypeError, ValueError):
        raise InputError(
            f"a filling is a name, a number, numbers per channel or a function, not {type(filling).__name__}"
        ) from None


def read_deletion(filling: Any, word: str) -> Filling:
    """The filling of sparse samples: none, or the constant 0.

    Raises:
        InputError: another one.
    """
    found = Constant(0.0) if filling is None else read_filling(filling)
    if type(found) not in (Constant, Deletion) or np.any(np.asarray(found.value) != 0):  # type: ignore[attr-defined]
        raise InputError(f"filling={filling!r}: {word} of sparse samples can be deleted only; leave filling out, or give 0")
    return Deletion()


def fill(filling: Filling, sample: Array, layout: Layout, generator: np.random.Generator) -> Array:
    """A whole replacement of a sample, in its shape and type.

    Raises:
        InputError: the filling gives another shape, or numbers that the sample's type cannot hold.
    """
    values = filling.replacement(sample, layout, generator)
    try:
        whole = np.broadcast_to(values, sample.shape)
    except ValueError:
        raise InputError(f"the filling gives shape {list(values.shape)} for a sample of shape {list(sample.shape)}") from None
    result = whole.astype(sample.dtype)
    if not np.isfinite(whole).all() or (sample.dtype.kind in "iu" and not np.array_equal(result, whole)):
        raise InputError(
            f"the filling gives numbers that an input of {sample.dtype} cannot hold, such as {np.ravel(whole)[0]:.6g}: give"
            " samples of floating-point numbers, if the model takes them, or another filling"
        )
    return result


def per_channel(function: Callable[..., Any], x: Array, layout: Layout) -> list[float]:
    """``np.min``, ``np.max`` or ``np.mean`` of every channel, or feature of a table, of samples [N, ...]."""
    axes = tuple(axis for axis in range(x.ndim) if axis != layout.unit_axis)
    return [
        float(value)
        for value in np.ravel(function(x, axis=axes, dtype=np.float64) if function is np.mean else function(x, axis=axes))
    ]


def _with_bounds(filling: Uniform | Flip, data: Data) -> Filling:
    low = data.per_channel(np.min) if filling.low is None else filling.low
    high = data.per_channel(np.max) if filling.high is None else filling.high
    layout = data.layouts[0]
    if np.any(layout.by_channel(low, "low") > layout.by_channel(high, "high")):
        raise InputError(f"the range of the input is empty: low={low}, high={high}")
    return replace(filling, low=low, high=high)
