"""What the axes of an input are: samples, channels, and the places that relevance belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from graphlrp.errors import InputError
from graphlrp.layout import layout_of_shape

Array = npt.NDArray[Any]

DEFAULTS = {1: "N", 2: "ND", 3: "NCT", 5: "NCDHW"}


@dataclass(frozen=True)
class Layout:
    """Axes of a batch and their sizes.

    Attributes:
        axes: a letter for each axis; ``N`` first, ``C`` for channels (second, last, or none), any other letter for the axes
            of places: pixels, points in time, features.
        sample: shape of a sample, without the batch.
    """

    axes: str
    sample: tuple[int, ...]

    @classmethod
    def of(cls, shape: Sequence[int], axes: str | None = None) -> Layout:
        """The layout of a batch of this shape.

        Args:
            shape: of the batch.
            axes: such as ``"NHWC"``; by default ``"ND"`` for two axes, ``"NCT"`` for three, and for four ``"NHWC"`` if only the
                last could be that of channels, having 1 or 3 entries, else ``"NCHW"``.

        Raises:
            InputError: the axes do not fit the shape or have no meaning.
        """
        if axes is None:
            axes = layout_of_shape(shape) if len(shape) == 4 else DEFAULTS.get(len(shape), "N")
        if len(axes) != len(shape) or len(axes) < 2:
            raise InputError(f"layout {axes!r} does not fit the shape {list(shape)}: give a letter for each axis, such as 'NCHW'")
        if axes[0] != "N" or len(set(axes)) < len(axes) or not set(axes) - {"N", "C"}:
            raise InputError(f"layout {axes!r} must begin with N, and name axes of places (H, W, T, D ...), each once")
        if "C" in axes and axes.index("C") not in (1, len(axes) - 1):
            raise InputError(f"layout {axes!r}: channels C come second or last")
        return cls(axes, tuple(int(size) for size in shape[1:]))

    @property
    def channel_axis(self) -> int | None:
        """Axis of channels in the batch, None if there is none."""
        return self.axes.index("C") if "C" in self.axes else None

    @property
    def places(self) -> tuple[int, ...]:
        """Sizes of the axes of places."""
        return tuple(size for letter, size in zip(self.axes[1:], self.sample, strict=True) if letter != "C")

    @property
    def channels(self) -> int:
        """Number of channels, 1 if there is no axis of channels."""
        return 1 if self.channel_axis is None else self.sample[self.channel_axis - 1]

    @property
    def tabular(self) -> bool:
        """Whether the places are features of a table, each in units of its own."""
        return self.axes == "ND"

    @property
    def unit_axis(self) -> int | None:
        """Axis of the batch along which numbers are in different units: that of channels, or of the features of a table."""
        return 1 if self.tabular else self.channel_axis

    @property
    def pictorial(self) -> bool:
        """Whether the places are pixels."""
        return {"H", "W"} <= set(self.axes)

    def flat_indices(self, places: Array) -> Array:
        """Where all channels of some places (numbers in row-major order) stand in a flattened sample, [channels · places]."""
        channels = np.arange(self.channels)[:, None]
        if self.channel_axis is None or self.channel_axis == 1:
            return np.asarray(channels * math.prod(self.places) + places).ravel()
        return np.asarray(channels + places * self.channels).ravel()

    def by_channel(self, values: Any, name: str) -> Array:
        """A number, or one per channel (per feature of a table), as an array that broadcasts to a sample.

        Raises:
            InputError: it is neither, or not finite.
        """
        array = np.asarray(values, np.float64)
        axis = self.unit_axis
        count = 1 if axis is None else self.sample[axis - 1]
        if array.ndim > 1 or array.size not in (1, count) or not np.isfinite(array).all():
            what = "feature" if self.tabular else "channel"
            raise InputError(f"{name}={values!r}: give one finite number, or one per {what}, of which there are {count}")
        if array.size == 1:
            return array.reshape(())
        return array.reshape([-1 if a == axis else 1 for a in range(1, len(self.axes))])

    def relevance_of_places(self, relevance: Any, name: str = "relevance") -> Array:
        """Σ of relevance over channels, float64 [N, *places].

        Args:
            relevance: shaped like the input; without its axis of channels; or with one more axis at the end, as relevance of
                embedded tokens has.
            name: what it is called in errors.

        Raises:
            InputError: another shape, another type than real numbers, NaN or infinities.
        """
        array = np.asarray(relevance.toarray() if issparse(relevance) else relevance)
        if array.dtype.kind not in "fiub":
            raise InputError(f"{name} is of type {array.dtype}, not of real numbers")
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise InputError(f"{name} holds NaN or infinities, so there is no order by it")
        own = array.shape[1:]
        if own == self.sample:
            return array if self.channel_axis is None else array.sum(axis=self.channel_axis)
        if own == self.places:
            return array
        if own[:-1] == self.sample and self.channel_axis is None:
            return np.asarray(array.sum(axis=-1))
        raise InputError(
            f"{name} has shape {list(array.shape)}, which does not fit inputs [N, {', '.join(map(str, self.sample))}]"
            f" ({self.axes}) or their places [N, {', '.join(map(str, self.places))}]"
        )


def layouts_of(shapes: Sequence[Sequence[int]], axes: str | None = None) -> list[Layout]:
    """Layouts of samples of these shapes, which have the same axes and channels.

    Args:
        shapes: of the samples, without a batch.
        axes: of a batch, as for ``Layout.of``.

    Raises:
        InputError: the axes of a sample, or its channels, differ from those of the first.
    """
    known = {tuple(shape): Layout.of((1, *shape), axes) for shape in shapes}
    layouts = [known[tuple(shape)] for shape in shapes]
    first = layouts[0]
    for number, layout in enumerate(layouts):
        if (layout.axes, layout.channels) != (first.axes, first.channels):
            raise InputError(
                f"sample {number} of shape {list(layout.sample)} is taken for {layout.axes[1:]} of {layout.channels} channel(s),"
                f" the first one of shape {list(first.sample)} for {first.axes[1:]} of {first.channels}: give the layout, such"
                " as 'NHW', or samples that have the same axes"
            )
    return layouts
