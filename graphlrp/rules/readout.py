"""Readouts: what is made of the messages that arrive where the walk ends.

Relevance is the messages themselves. Baselines make something else of them: they multiply them by the input, take their norm
over channels, or stop at the last feature maps and weight these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.axes import Axes, axes_of
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.ir.graph import MappingGraph, Place
from graphlrp.rules.parameters import Numbers, channel_numbers, in_words, whole_number
from graphlrp.rules.randomness import UNIFORM, RandomTable


@dataclass(frozen=True)
class Explained:
    """An explained input."""

    value: ir.Value

    @cached_property
    def axes(self) -> Axes:
        """What its axes mean."""
        return axes_of(self.value)

    def real(self, op: Emitter) -> ir.Value:
        """The input in the element type of the explainer, which pixels in integers do not have."""
        value = self.value
        return value if value.dtype == op.dtype else op.shaped(op.Cast(value, to=int(op.dtype)), value)

    def per_channel(self, op: Emitter, numbers: Numbers, what: str) -> ir.Value:
        """A number, or one per channel (per feature of a vector), as a value that broadcasts to the input.

        Raises:
            RuleError: there are not as many as channels, or no channels. ``what`` names the parameter.
        """
        array = np.asarray(numbers, np.float64)
        if array.ndim == 0:
            return op.number(array)
        axis = self.axes.channel if rank(self.value) > 2 else rank(self.value) - 1
        size = None if axis is None or self.value.shape is None else self.value.shape[axis]
        if axis is None or axis == 0 or (isinstance(size, int) and size != array.size):
            have = "no channels" if axis in (None, 0) else f"{size} channels" if rank(self.value) > 2 else f"{size} features"
            raise RuleError(f"{what} has {array.size} numbers, but {self.value.name!r} of shape {self.value.shape} has {have}")
        return op.number(array.reshape([-1 if k == axis else 1 for k in range(rank(self.value))]))

    def spread(self, op: Emitter, value: ir.Value) -> ir.Value:
        """Give every channel an equal part of ``value``, which has size 1 along the axis of channels."""
        if self.axes.channel is not None:
            count = op.size(self.value, self.axes.channel)
            whole = op.scalar(count) if isinstance(count, int) else op.Cast(count, to=int(op.dtype))
            value = op.Div(value, whole)
        return op.Expand(value, op.shape_of(self.value))


@dataclass(frozen=True)
class Readout:
    """The messages as they are: relevance."""

    propagates: ClassVar[bool] = True
    """Whether it needs messages at all."""

    conserves: ClassVar[bool] = True
    """Whether what is read out sums to the messages."""

    def ends(self, graph: MappingGraph) -> list[ir.Value]:
        """The values whose messages are read: those that are explained.

        Raises:
            RuleError: the graph has none that fit.
        """
        return graph.inputs

    def decided(self, graph: MappingGraph) -> dict[str, str]:
        """What was left to the graph to decide, for the plan."""
        return {}

    def read(
        self, op: Emitter, explained: Sequence[Explained], ends: Sequence[ir.Value], messages: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """Emit the relevance of every explained input; it may have size 1 along axes where it is constant.

        Args:
            op: emits.
            explained: the explained inputs.
            ends: where the walk ended; nowhere without propagation.
            messages: what arrived there.
        """
        return list(messages)

    def __str__(self) -> str:
        return in_words(self)


@dataclass(frozen=True)
class TimesInput(Readout):
    """(x - x̃) · message, of gradients the first-order effect of the step from the baseline x̃ to x.

    ``baseline`` is a number, or one per channel (per feature of a vector).
    """

    conserves: ClassVar[bool] = False
    baseline: Numbers = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", channel_numbers("TimesInput: baseline", self.baseline))

    def read(
        self, op: Emitter, explained: Sequence[Explained], ends: Sequence[ir.Value], messages: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """One product."""
        products = []
        for entry, message in zip(explained, messages, strict=True):
            step = entry.real(op)
            if np.any(self.baseline):
                step = op.Sub(step, entry.per_channel(op, self.baseline, "TimesInput: baseline"))
            products.append(op.Mul(message, step))
        return products


@dataclass(frozen=True)
class ChannelNorm(Readout):
    """h_p = ‖(message_{p,c})_c‖_q per position p (3.1), spread evenly over the channels c, so that it is their sum.

    Of inputs without channels, the magnitude. ``norm`` is q: a number > 0, or infinity.

    Raises:
        RuleError: ``norm`` is none.
    """

    conserves: ClassVar[bool] = False
    norm: float = 2.0

    def __post_init__(self) -> None:
        try:
            number = float(self.norm)
        except (TypeError, ValueError):
            number = 0.0
        if not number > 0:
            raise RuleError(f"ChannelNorm: norm must be a number > 0 or infinity, not {self.norm!r}")
        object.__setattr__(self, "norm", number)

    def read(
        self, op: Emitter, explained: Sequence[Explained], ends: Sequence[ir.Value], messages: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """A reduction."""
        return [self._norm(op, entry, message) for entry, message in zip(explained, messages, strict=True)]

    def _norm(self, op: Emitter, entry: Explained, message: ir.Value) -> ir.Value:
        magnitude = op.Abs(message)
        if entry.axes.channel is None:
            return magnitude
        # A message may have size 1 where it is the same for all channels, but every channel counts.
        full = op.shaped(op.Expand(magnitude, op.shape_of(entry.value)), entry.value)
        axis = op.integers([entry.axes.channel])
        largest = op.ReduceMax(full, axis, keepdims=1)
        if self.norm == inf:
            return entry.spread(op, largest)
        # Powers of numbers up to 1 neither overflow nor vanish.
        scale = op.Max(largest, op.tiny)
        powers = op.Pow(op.Div(full, scale), self.norm)
        return entry.spread(op, op.Mul(scale, op.Pow(op.ReduceSum(powers, axis, keepdims=1), 1 / self.norm)))


@dataclass(frozen=True)
class ClassActivation(Readout):
    """Σ_k α_k A_k of feature maps A [N, K, ...], α_k the mean of their messages over positions (Selvaraju et al. 2017).

    The map is interpolated linearly to the size of the input and divided by the factor by which that increases the number of
    positions, so that its sum stays what it was at the layer; every channel gets an equal part. For networks that end in global
    average pooling and a dense layer, this is CAM (Zhou et al. 2016), whose sum is f(x) without the bias.

    Attributes:
        layer: name of the node, or of its output, whose maps are weighted; by default the last value with more than one position
            that a convolution computes, behind the component-wise operators and merges that follow it.
        rectified: leave out what is negative, as Grad-CAM does.
    """

    conserves: ClassVar[bool] = False
    layer: str | None = None
    rectified: bool = True

    def ends(self, graph: MappingGraph) -> list[ir.Value]:
        """The feature maps."""
        return [_last_maps(graph) if self.layer is None else self._named(graph, self.layer)]

    def decided(self, graph: MappingGraph) -> dict[str, str]:
        """The layer."""
        node = self.ends(graph)[0].producer()
        return {"layer": str(node.name if node is not None else self.layer)}

    def _named(self, graph: MappingGraph, name: str) -> ir.Value:
        for place in graph.places:
            for value in place.node.outputs:
                if name == value.name or (name == place.name and value is place.node.outputs[0]):
                    if not _has_positions(value):
                        raise RuleError(
                            f"ClassActivation: layer {name!r} has no maps: its output has shape {value.shape}, not [N, K, ...]"
                        )
                    return value
        listed = ", ".join(place.name for place in graph.places if place.family == "convolution")
        raise RuleError(
            f"ClassActivation: no layer {name!r} between the explained input and output; convolutions are {listed or 'none'}"
        )

    def read(
        self, op: Emitter, explained: Sequence[Explained], ends: Sequence[ir.Value], messages: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """Weight, sum up, interpolate."""
        ((maps,), (message,)) = ends, messages
        spatial = op.integers(range(2, rank(maps)))
        weighted = op.Mul(maps, op.ReduceMean(message, spatial, keepdims=1))
        total = op.ReduceSum(weighted, op.integers([1]), keepdims=1)
        total = op.Relu(total) if self.rectified else total
        return [entry.spread(op, self._interpolated(op, entry, maps, total)) for entry in explained]

    def _interpolated(self, op: Emitter, entry: Explained, maps: ir.Value, total: ir.Value) -> ir.Value:
        """The map [N, 1, ...] at the positions of the input, with the axes of the input."""
        positions = entry.axes.positions
        if len(positions) != rank(maps) - 2 or not entry.axes.ordered:
            raise RuleError(
                f"ClassActivation: maps of shape {maps.shape} do not fit {entry.value.name!r} of shape {entry.value.shape}; name"
                " the picture with explain=..., or another layer"
            )
        wanted, have = op.shape(op.sizes(entry.value, positions)), op.shape(op.sizes(maps, range(2, rank(maps))))
        # Of several axes, ONNX Runtime interpolates two or three that follow each other: a signal is a picture of height 1.
        flat = len(positions) == 1
        picture = op.Unsqueeze(total, op.integers([2])) if flat else total
        sizes = op.Concat(op.Shape(picture, start=0, end=3 if flat else 2), wanted, axis=0)
        large = op.Resize(picture, None, None, sizes, mode="linear", coordinate_transformation_mode="half_pixel")
        large = op.Squeeze(large, op.integers([2])) if flat else large
        share = op.Div(_product(op, have), _product(op, wanted))
        return _channels_at(op, op.Mul(large, share), entry)


def _product(op: Emitter, sizes: ir.Value) -> ir.Value:
    return op.Cast(op.ReduceProd(sizes, keepdims=0), to=int(op.dtype))


def _channels_at(op: Emitter, value: ir.Value, entry: Explained) -> ir.Value:
    """Bring [N, 1, ...] to the axes of an input."""
    axes = rank(entry.value)
    if entry.axes.channel == 1:
        return value
    squeezed = op.Squeeze(value, op.integers([1]))
    return squeezed if entry.axes.channel is None else op.Unsqueeze(squeezed, op.integers([entry.axes.channel % axes]))


def _has_positions(value: ir.Value) -> bool:
    """Whether a value [N, K, ...] has more than one position, as far as is known."""
    return value.shape is not None and len(value.shape) > 2 and any(size != 1 for size in list(value.shape)[2:])


def _last_maps(graph: MappingGraph) -> ir.Value:
    """The last output of a convolution with more than one position, and what mappings that keep positions make of it.

    Raises:
        RuleError: there is none.
    """
    found = [place for place in graph.places if place.family == "convolution" and _has_positions(place.node.outputs[0])]
    if not found:
        raise RuleError(
            "ClassActivation: the model has no convolution with more than one position between the explained input and output;"
            " name a layer"
        )
    reached, last = {found[-1].node.outputs[0]}, found[-1].node.outputs[0]
    for place in graph.places:
        if place.family in ("activation", "normalization", "merge", "product") or _joins_channels(place):
            output = place.node.outputs[0]
            if any(value in reached and _same_positions(value, output) for value in place.node.inputs if value is not None):
                reached.add(output)
                last = output
    return last


def _joins_channels(place: Place) -> bool:
    axis = place.node.attributes.get("axis")
    return place.operator == "Concat" and axis is not None and axis.as_int() == 1


def _same_positions(value: ir.Value, output: ir.Value) -> bool:
    """Whether two values have maps of one size, as far as is known."""
    if value.shape is None or output.shape is None or len(value.shape) != len(output.shape):
        return False
    pairs = zip(list(value.shape)[2:], list(output.shape)[2:], strict=True)
    return all(a == b or not isinstance(a, int) or not isinstance(b, int) for a, b in pairs)


@dataclass(frozen=True)
class RandomNumbers(Readout):
    """Uniform random numbers in [-1, 1], a control: what a method has to be better than.

    They depend on the seed and on the sample itself, not on its place among others, so the same call gives the same numbers.

    Raises:
        RuleError: ``seed`` is no whole number >= 0.
    """

    propagates: ClassVar[bool] = False
    conserves: ClassVar[bool] = False
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole_number("RandomNumbers: seed", self.seed, 0))

    def read(
        self, op: Emitter, explained: Sequence[Explained], ends: Sequence[ir.Value], messages: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """A table, read at places that are chosen by the sample."""
        table = RandomTable(op, UNIFORM, self.seed)
        return [table.by_content(entry.real(op)) for entry in explained]
