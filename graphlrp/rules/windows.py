"""Occlusion: the sampling that hides one window after the other and looks how the explained value changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.rules.parameters import Numbers, channel_numbers, whole_number
from graphlrp.rules.readout import Explained
from graphlrp.rules.sampling import Evaluation, Sampling

Extent = int | tuple[int, ...] | None

EIGHTH = 8
"""Windows that stand side by side along an axis of a picture, by default."""


@dataclass(frozen=True)
class HiddenWindows(Sampling):
    """h_p = mean over the windows that hold p of f(x) - f(x without the window) (Zeiler and Fergus 2014).

    Windows begin every ``stride`` positions; the last one of an axis ends at the border. Every channel gets an equal part of h_p.

    Attributes:
        window: positions along every axis, a number or one per axis; by default an eighth of height and width, one feature of a
            vector, one token of a sequence.
        stride: positions from one window to the next, likewise; by default half of the window.
        value: what stands in the window, a number or one per channel (per feature of a vector).

    Raises:
        RuleError: parameters out of range.
    """

    propagates: ClassVar[bool] = False

    window: Extent = None
    stride: Extent = None
    value: Numbers = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", _extent("HiddenWindows: window", self.window))
        object.__setattr__(self, "stride", _extent("HiddenWindows: stride", self.stride))
        object.__setattr__(self, "value", channel_numbers("HiddenWindows: value", self.value))

    def evaluate(self, op: Emitter, explained: Sequence[Explained], index: ir.Value) -> Evaluation:
        """The inputs, the one whose turn it is with a window hidden."""
        grids, points = [], []
        # Evaluation 0 hides nothing.
        turn = op.Sub(op.Reshape(index, op.integers([1])), op.integers([1]))
        count = op.integers([1])
        for entry in explained:
            windows, strides = self._along(entry, "window"), self._along(entry, "stride")
            self._check(entry, windows, strides)
            grid = _Grid(op, entry, windows, strides, turn)
            value = entry.per_channel(op, self.value, "HiddenWindows: value")
            points.append(op.Where(grid.mask, value, entry.value))
            turn = op.Sub(turn, grid.total)
            count = op.Add(count, grid.total)
            grids.append(grid)

        def shares(difference: ir.Value) -> list[ir.Value]:
            return [grid.share(difference) for grid in grids]

        return Evaluation(op.Squeeze(count, op.integers([0])), points, shares=shares)

    def _along(self, entry: Explained, name: str) -> list[int | None]:
        """Window or stride along every axis of positions, None where it follows from the size.

        Raises:
            RuleError: not one number per axis.
        """
        given, axes = getattr(self, name), entry.axes.positions
        if isinstance(given, tuple) and len(given) != len(axes):
            raise RuleError(
                f"HiddenWindows: {name}={given} has {len(given)} numbers, but {entry.value.name!r} of shape {entry.value.shape}"
                f" has {len(axes)} axes of positions"
            )
        if name == "window" and given is None and not entry.axes.ordered:
            return [1] * len(axes)
        return list(given) if isinstance(given, tuple) else [given] * len(axes)

    def _check(self, entry: Explained, windows: Sequence[int | None], strides: Sequence[int | None]) -> None:
        """Refuse what is known not to fit.

        Raises:
            RuleError: a window larger than the input, or gaps between windows.
        """
        for axis, window, stride in zip(entry.axes.positions, windows, strides, strict=True):
            size = None if entry.value.shape is None else entry.value.shape[axis]
            known = window if window is not None or not isinstance(size, int) else -(-size // EIGHTH)
            if known is not None and isinstance(size, int) and known > size:
                raise RuleError(
                    f"HiddenWindows: window {self.window} is larger than {entry.value.name!r} of shape {entry.value.shape}"
                )
            if known is not None and stride is not None and stride > known:
                raise RuleError(f"HiddenWindows: stride {self.stride} leaves gaps between windows of {known}")


class _Grid:
    """The windows of one input, emitted: which one is hidden in this turn, and in how many a position is.

    Args:
        op: emits.
        entry: the input.
        windows, strides: along every axis of positions.
        turn: int64 [1]: number of the window; none is hidden where there is no such window.
    """

    def __init__(
        self, op: Emitter, entry: Explained, windows: list[int | None], strides: list[int | None], turn: ir.Value
    ) -> None:
        self._op, self._entry = op, entry
        lines = [
            _Line(op, op.shape([op.size(entry.value, axis)]), window, stride)
            for axis, window, stride in zip(entry.axes.positions, windows, strides, strict=True)
        ]
        self.total = op.integers([1])
        for line in lines:
            self.total = op.Mul(self.total, line.count)
        zero = op.integers([0])
        self.mask = op.And(op.GreaterOrEqual(turn, zero), op.Less(turn, self.total))
        self._cover = op.scalar(1.0)
        rest = op.Max(turn, zero)
        # The last axis runs fastest.
        for line, axis in reversed(list(zip(lines, entry.axes.positions, strict=True))):
            place = op.integers([-1 if k == axis else 1 for k in range(rank(entry.value))])
            self.mask = op.And(self.mask, op.Reshape(line.hidden(op.Mod(rest, line.count)), place))
            self._cover = op.Mul(self._cover, op.Reshape(line.cover(), place))
            rest = op.Div(rest, line.count)
        unknown = [line.fits for line in lines if line.fits is not None]
        self._fits = unknown[0] if unknown else None
        for fits in unknown[1:]:
            self._fits = op.And(self._fits, fits)
        if self._fits is not None:
            said = f"HiddenWindows: the window is larger than {entry.value.name!r}, or smaller than the stride"
            op.requirements.append((said, op.Expand(self._fits, op.shape([op.size(entry.value, 0)]))))

    def share(self, difference: ir.Value) -> ir.Value:
        """``difference`` [N] in the hidden window, divided by the number of windows that a position is in."""
        op = self._op
        inside = op.Div(op.Cast(self.mask, to=int(op.dtype)), self._cover)
        column = op.Reshape(difference, op.integers([-1] + [1] * (rank(self._entry.value) - 1)))
        share = self._entry.spread(op, op.Mul(inside, column))
        return share if self._fits is None else op.Where(self._fits, share, op.scalar(float("nan")))


class _Line:
    """Windows along one axis of ``size`` (int64 [1]) positions: ``count``, one every ``stride`` and the last at the border."""

    def __init__(self, op: Emitter, size: ir.Value, window: int | None, stride: int | None) -> None:
        self._op, one = op, op.integers([1])
        eighth = op.Div(op.Add(size, op.integers([EIGHTH - 1])), op.integers([EIGHTH]))
        self._window = eighth if window is None else op.integers([window])
        half = op.Div(op.Add(self._window, one), op.integers([2]))
        self._stride = half if stride is None else op.integers([stride])
        self._room = op.Max(op.Sub(size, self._window), op.integers([0]))
        self.count = op.Add(op.Div(op.Add(self._room, op.Sub(self._stride, one)), self._stride), one)
        self._positions = _range(op, size)
        unknown = size.const_value is None and (window is not None or stride is not None)
        self.fits = op.And(op.LessOrEqual(self._window, size), op.LessOrEqual(self._stride, self._window)) if unknown else None

    def hidden(self, number: ir.Value) -> ir.Value:
        """bool [size]: the positions in the window of this number, int64 [1]."""
        op = self._op
        start = op.Min(op.Mul(number, self._stride), self._room)
        before_end = op.Less(self._positions, op.Add(start, self._window))
        return op.And(op.GreaterOrEqual(self._positions, start), before_end)

    def cover(self) -> ir.Value:
        """[size]: how many windows every position is in."""
        op, p, zero, one = self._op, self._positions, self._op.integers([0]), self._op.integers([1])
        # Of the windows that begin at multiples of the stride: from the first that has not ended to the last that has begun.
        begun = op.Min(op.Div(p, self._stride), op.Sub(self.count, op.integers([2])))
        past = op.Max(op.Sub(op.Add(p, one), self._window), zero)
        ended = op.Div(op.Add(past, op.Sub(self._stride, one)), self._stride)
        regular = op.Max(op.Add(op.Sub(begun, ended), one), zero)
        last = op.Cast(op.GreaterOrEqual(p, self._room), to=int(ir.DataType.INT64))
        return op.Cast(op.Add(regular, last), to=int(op.dtype))


def _range(op: Emitter, count: ir.Value) -> ir.Value:
    """0, 1, ... up to ``count`` (int64 [1])."""
    zero, one = (op.number(np.asarray(number, np.int64)) for number in (0, 1))
    return op.Range(zero, op.Squeeze(count, op.integers([0])), one)


def _extent(name: str, value: Extent) -> Extent:
    """Sizes as whole numbers.

    Raises:
        RuleError: they are none, or below 1.
    """
    if value is None:
        return None
    if isinstance(value, (tuple, list)):
        return tuple(whole_number(name, part, 1) for part in value)
    return whole_number(name, value, 1)
