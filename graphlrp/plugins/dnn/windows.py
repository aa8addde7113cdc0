"""Geometry of sliding windows, shared by convolutions and pooling: kernel, strides, dilations, padding, in any dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from graphlrp.errors import ModelError
from graphlrp.ir.emitter import Emitter, Size, rank
from graphlrp.plugins.mapping import Mapping


@dataclass(frozen=True)
class Window:
    """Geometry of a sliding window over the spatial axes 2, 3, ... of its input.

    ``begin`` and ``end`` are None if padding is "SAME" for a size that is known only while the model runs.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...] | None
    end: tuple[int, ...] | None
    upper: bool = True
    """With "SAME", whether the odd pixel of padding is at the end."""

    @property
    def dimensions(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def extent(self) -> tuple[int, ...]:
        """Pixels from the first to the last of a window."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def axes(self) -> range:
        """Spatial axes."""
        return range(2, 2 + self.dimensions)

    def starts(self, op: Emitter, x: ir.Value, z: ir.Value) -> list[Size]:
        """Padding before each spatial axis."""
        if self.begin is not None:
            return list(self.begin)
        starts: list[Size] = []
        for axis, stride, extent in zip(self.axes, self.strides, self.extent, strict=True):
            covered = op.Add(
                op.Mul(op.Sub(op.shape([op.size(z, axis)]), op.integers([1])), op.integers([stride])), op.integers([extent])
            )
            missing = op.Max(op.Sub(covered, op.shape([op.size(x, axis)])), op.integers([0]))
            rounded = missing if self.upper else op.Add(missing, op.integers([1]))
            starts.append(op.Div(rounded, op.integers([2])))
        return starts


def read_window(mapping: Mapping, kernel: Sequence[int], x: ir.Value) -> Window:
    """Read the geometry of a node; "SAME" padding becomes numbers where the sizes are static.

    Raises:
        ModelError: the padding is none that ONNX knows.
    """
    d = len(kernel)
    strides = tuple(mapping.attribute("strides") or (1,) * d)
    dilations = tuple(mapping.attribute("dilations") or (1,) * d)
    mode = mapping.attribute("auto_pad", "NOTSET")
    begin: tuple[int, ...] | None
    end: tuple[int, ...] | None
    if mode == "NOTSET":
        pads = tuple(mapping.attribute("pads") or (0,) * (2 * d))
        begin, end = pads[:d], pads[d:]
    elif mode == "VALID":
        begin = end = (0,) * d
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        sizes = [x.shape[2 + axis] if x.shape is not None else None for axis in range(d)]
        begin = end = None
        if all(isinstance(size, int) for size in sizes) or all(stride == 1 for stride in strides):
            first, second = [], []
            for size, k, s, dilation in zip(sizes, kernel, strides, dilations, strict=True):
                extent = dilation * (k - 1) + 1
                total = extent - 1 if s == 1 else max((-(-size // s) - 1) * s + extent - size, 0)  # type: ignore[operator]
                small, large = total // 2, total - total // 2
                first.append(small if mode == "SAME_UPPER" else large)
                second.append(large if mode == "SAME_UPPER" else small)
            begin, end = tuple(first), tuple(second)
    else:
        raise ModelError(f"{mapping.node.op_type} node {mapping.node.name!r}: unknown auto_pad {mode!r}")
    return Window(tuple(kernel), strides, dilations, begin, end, mode != "SAME_LOWER")


def transpose_windows(
    op: Emitter, s: ir.Value, kernel: ir.Value, window: Window, x: ir.Value, z: ir.Value, groups: int
) -> ir.Value:
    """The adjoint of a convolution from x to z: s, shaped like z, goes back to where the windows of z lie in x.

    With static sizes, the transposed convolution itself leaves out the padding; else its full result is cut.
    """
    axes = list(window.axes)
    geometry: dict[str, object] = {"strides": list(window.strides), "dilations": list(window.dilations), "group": groups}
    starts, sizes, outputs = window.starts(op, x, z), op.sizes(x, axes), op.sizes(z, axes)
    static = [n for n in (*starts, *sizes, *outputs) if isinstance(n, int)]
    if len(static) == 3 * len(axes):
        begin, inner, outer = static[: len(axes)], static[len(axes) : 2 * len(axes)], static[2 * len(axes) :]
        full = [(o - 1) * stride + extent for o, stride, extent in zip(outer, window.strides, window.extent, strict=True)]
        surplus = [length - start - size for length, start, size in zip(full, begin, inner, strict=True)]
        pads = [*begin, *(max(extra, 0) for extra in surplus)]
        return op.ConvTranspose(s, kernel, pads=pads, output_padding=[max(-extra, 0) for extra in surplus], **geometry)
    return place(op, op.ConvTranspose(s, kernel, **geometry), starts, sizes, axes)


def place(op: Emitter, value: ir.Value, starts: Sequence[Size], sizes: Sequence[Size], axes: Sequence[int]) -> ir.Value:
    """Cut ``value`` to ``sizes`` along ``axes``, beginning at ``starts``; where it is too short, zeros are appended."""
    have = op.sizes(value, axes)
    if all(isinstance(n, int) for n in [*starts, *sizes, *have]):
        if all(start == 0 and size == length for start, size, length in zip(starts, sizes, have, strict=True)):
            return value
    ends: list[Size] = []
    padding: list[Size] = []
    for start, size, length in zip(starts, sizes, have, strict=True):
        if isinstance(start, int) and isinstance(size, int) and isinstance(length, int):
            ends.append(start + size)
            padding.append(max(start + size - length, 0))
        else:
            end = op.Add(op.shape([start]), op.shape([size]))
            ends.append(end)
            padding.append(op.Max(op.Sub(end, op.shape([length])), op.integers([0])))
    if any(not isinstance(p, int) or p > 0 for p in padding):
        full: list[Size] = [0] * (2 * rank(value))
        for axis, amount in zip(axes, padding, strict=True):
            full[rank(value) + axis] = amount
        value = op.Pad(value, op.shape(full))
    return op.Slice(value, op.shape(list(starts)), op.shape(ends), op.integers(list(axes)))
