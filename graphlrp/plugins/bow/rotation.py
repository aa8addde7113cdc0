"""Dense SIFT turned to the main direction of its gradients.

The main direction of a descriptor with bins of b pixels is that of 48 directions θ, 7.5° apart, with the largest

    Σ_p |g_p| · exp(-|p - (x, y)|² / (2 b²)) · t((angle(g_p) - θ) / 45°),   |u|, |v| ≤ 2b,   t(a) = max(0, 1 - |a|)

The descriptor is the upright one in coordinates that are turned by θ, with angles measured from θ. What it sums over pixels in
upright coordinates would have weights of its own at every θ. It is therefore sampled: for piecewise linear weights W on a grid of
half bins, Σ_p g_p W(p) = Σ_s W(s) Σ_p g_p t(p_x - s_x) t(p_y - s_y) with t as wide as half a bin, so that the gradients are
smoothed once for all descriptors, and each of them takes the 9 x 9 samples at its turned half bins. Turned, the interpolation is
along the axes of the image and no longer along those of the descriptor, and samples are taken at the nearest pixel, or half pixel
where bins are small: that is all that is approximate. The eight directions of a descriptor are eight of the 48, 45° apart, which
lie side by side in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, pi, sqrt
from typing import Any

import numpy as np
import onnx_ir as ir

from graphlrp.ir.emitter import Emitter
from graphlrp.plugins.bow.grid import Array, Scale, extent, integers_between

TURNS, DIRECTIONS, BINS = 48, 8, 4

BETWEEN = TURNS // DIRECTIONS
"""Turns from one direction of a descriptor to the next."""

CHANNELS = np.arange(TURNS).reshape(DIRECTIONS, BETWEEN).T.ravel()
"""Maps of directions as they lie in memory: those of one descriptor, 45° apart, are neighbours."""

SMALL = 6
"""Bins below so many pixels are sampled at half pixels."""

BLOCK = 256
"""Descriptors that are sampled at a time."""

PIXELS = 1 << 16
"""Pixels of areas that relevance goes to at a time."""


def room(size: int) -> int:
    """Side of the square that holds an area of 4 x 4 bins however it is turned, for bins of a size."""
    return 2 * ceil(sqrt(2) * BINS / 2 * size)


def direction_maps(op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    """|g| t((angle(g) - θ) / 45°) for all θ, [N, 48, H, W] in the order of ``CHANNELS``, of gradients g [N, H, W], y upwards."""
    along_x, along_y = op.Abs(x), op.Abs(y)
    ratio = op.Div(op.Min(along_x, along_y), op.Max(op.Max(along_x, along_y), op.tiny))
    angle = op.Mul(op.Atan(ratio), 4 / pi)  # in units of 45°, turned into the sector between 0° and 45°
    angle = op.Where(op.Greater(along_y, along_x), op.Sub(2.0, angle), angle)
    angle = op.Where(op.Less(x, 0.0), op.Sub(4.0, angle), angle)
    angle = op.Where(op.Less(y, 0.0), op.Sub(8.0, angle), angle)
    apart = op.Abs(op.Sub(op.Unsqueeze(angle, op.integers([1])), op.number(CHANNELS[:, None, None] / BETWEEN)))
    near = op.Max(op.Sub(1.0, op.Min(apart, op.Sub(8.0, apart))), 0.0)
    magnitude = op.Sqrt(op.Add(op.Mul(x, x), op.Mul(y, y)))
    maps: ir.Value = op.Mul(near, op.Unsqueeze(magnitude, op.integers([1])))
    return maps


@dataclass(frozen=True, eq=False)
class Turned:
    """Turned descriptors of one scale of images [N, H, W] or [N, H, W, C].

    Attributes:
        op: emits.
        scale: where they lie.
        size: b.
        image: the images.
    """

    op: Emitter
    scale: Scale
    size: int
    image: ir.Value

    # Forward

    def main_directions(self, maps: ir.Value) -> ir.Value:
        """Which of the 48, int64 [N, L]; ``maps`` [N, 48, H - 2, W - 2] are of the inner pixels."""
        op = self.op
        weights_y, weights_x = self._window(1), self._window(2)
        sums = op.MatMul(op.MatMul(weights_y, maps), op.Transpose(weights_x, perm=[1, 0]))
        flat = op.Reshape(sums, op.integers([0, TURNS, -1]))
        largest = op.ArgMax(flat, axis=1, keepdims=0)
        return op.Gather(op.number(CHANNELS.astype(np.int64)), largest, axis=0)

    def histograms(self, maps: ir.Value, turns: ir.Value) -> ir.Value:
        """Sums over the 4 x 4 bins and 8 directions, [N, L, 128], for main directions [N, L]."""
        op = self.op
        samples, plane = self._samples(maps)
        weights, table = op.number(_bin_weights()), self._table(plane)
        first = self._first(op.Add(extent(op, self.image, 2), op.integers([1])), plane)

        def block(op: Any, starts: ir.Value, turned: ir.Value) -> ir.Value:
            index = op.Add(op.Gather(table, turned, axis=0), op.Unsqueeze(starts, [1]))
            histogram: ir.Value = op.MatMul(weights, op.Gather(samples, index, axis=0))
            return histogram

        blocks, length = self._blocks([first, turns], BLOCK)
        found = ir.Value(name="histograms", type=ir.TensorType(op.dtype))
        body = op.builder.subgraph(block, [_row("starts", BLOCK), _row("turned", BLOCK)], [found], name="block")
        stacked = op.Scan(*blocks, body=body, num_scan_inputs=2)
        stacked.type, stacked.shape = ir.TensorType(op.dtype), ir.Shape([None, BLOCK, BINS**2, DIRECTIONS])
        flat = op.Reshape(stacked, op.integers([-1, BINS**2, DIRECTIONS]))
        joined = op.Slice(flat, op.integers([0]), length, op.integers([0]))
        # The eight maps begin at the smallest angle; the descriptor begins at its main direction.
        order = (np.arange(TURNS)[:, None] // BETWEEN + np.arange(DIRECTIONS)) % DIRECTIONS
        own = op.Gather(op.number(order), op.Reshape(turns, op.integers([-1])), axis=0)
        own = op.Expand(op.Unsqueeze(own, op.integers([1])), op.Shape(joined))
        value = op.GatherElements(joined, own, axis=2)
        shape = op.Concat(op.Shape(turns), op.integers([BINS**2 * DIRECTIONS]), axis=0)
        histograms = op.Reshape(value, shape)
        histograms.shape = ir.Shape([*(turns.shape or [None, None]), BINS**2 * DIRECTIONS])
        return histograms

    # Relevance

    def spread(self, relevance: ir.Value, turns: ir.Value) -> ir.Value:
        """Relevance [N, L, c, c] of the cells of turned areas, in equal parts to their pixels [N, H, W]."""
        op = self.op
        assert relevance.shape is not None
        cells = int(relevance.shape[2])  # type: ignore[arg-type]
        side = self.scale.side
        height, width = (extent(op, self.image, axis) for axis in (1, 2))
        plane = op.Mul(height, width)
        # Middles of pixels of an upright area, and which cell they lie in; a product is quicker than looking that up.
        v, u = (grid.ravel() for grid in np.mgrid[:side, :side])
        inside = op.number((v * cells // side * cells + u * cells // side == np.arange(cells**2)[:, None]).astype(float))
        # Rounded first, so that on the border between two pixels it is the same one everywhere.
        offsets = (np.floor(np.round(turned, 6)).astype(np.int16) for turned in _turned(u, v, side))
        across, down = (op.Cast(op.number(offset), to=int(ir.DataType.INT64)) for offset in offsets)
        table = op.Add(op.Mul(down, width), across)
        shares = op.Reshape(op.Mul(relevance, (cells / side) ** 2), op.integers([-1, cells**2]))
        size = max(1, min(BLOCK, PIXELS // side**2))
        blocks, _ = self._blocks([self._first(width, plane), turns], size)
        count = op.shape([op.size(shares, 0)])
        missing = op.Sub(op.Mul(op.Shape(blocks[0], start=0, end=1), op.integers([size])), count)
        padded = op.Pad(shares, op.Concat(op.integers([0, 0]), missing, op.integers([0]), axis=0))
        pieces = op.Reshape(padded, op.integers([-1, size, cells**2]))

        def block(op: Any, pixels: ir.Value, starts: ir.Value, turned: ir.Value, share: ir.Value) -> ir.Value:
            index = op.Add(op.Gather(table, turned, axis=0), op.Unsqueeze(starts, [1]))
            parts = op.Reshape(op.MatMul(share, inside), [-1])
            total: ir.Value = op.ScatterElements(pixels, op.Reshape(index, [-1]), parts, axis=0, reduction="add")
            return total

        real = ir.TensorType(op.dtype)
        inputs = [
            ir.Value(name="pixels", type=real, shape=ir.Shape([None])),
            _row("starts", size),
            _row("turned", size),
            ir.Value(name="share", type=real, shape=ir.Shape([size, cells**2])),
        ]
        body = op.builder.subgraph(block, inputs, [ir.Value(name="total", type=real, shape=ir.Shape([None]))], name="block")
        batch = op.shape([op.size(turns, 0)])
        nothing = op.Expand(op.scalar(0.0), op.Mul(plane, batch))
        total = op.Scan(nothing, *blocks, pieces, body=body, num_scan_inputs=3)
        total.type, total.shape = real, ir.Shape([None])
        return op.Reshape(total, op.Concat(batch, height, width, axis=0))

    # Pieces

    def _window(self, axis: int) -> ir.Value:
        """exp(-u² / 2) for |u| ≤ 2 along one axis, [descriptors, inner pixels]."""
        op, length = self.op, extent(self.op, self.image, axis)
        middle = op.Unsqueeze(self._middles(axis), op.integers([1]))
        offset = op.Sub(integers_between(op, 1, op.Sub(length, op.integers([1]))), middle)
        u = op.Div(op.Cast(offset, to=int(op.dtype)), float(self.size))
        inside = op.LessOrEqual(op.Abs(u), BINS / 2)
        window: ir.Value = op.Where(inside, op.Exp(op.Mul(op.Mul(u, u), -0.5)), op.scalar(0.0))
        return window

    def _middles(self, axis: int) -> ir.Value:
        """Middles of descriptors along one axis, int64."""
        op = self.op
        return op.Add(self.scale.starts(op, extent(op, self.image, axis)), op.integers([self.scale.room // 2]))

    @cached_property
    def _fine(self) -> int:
        """Samples per pixel along an axis."""
        return 2 if self.size < SMALL else 1

    def _samples(self, maps: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Smoothed maps, a row of 8 directions for every sample, and how many rows an image has.

        In the order image, half pixels (row, column), the 6 turns between directions, rows and columns of pixels 0 … H and W.
        """
        op, fine = self.op, self._fine
        width = max(self.size / 2, 1)
        reach = ceil(width) - 1
        pixels = np.arange(-reach, reach + 2)
        lines = [np.maximum(0, 1 - np.abs(pixels - phase / fine) / width) for phase in range(fine)]
        before, behind = reach + 1, reach + 3  # from the inner pixels 1 … H - 2 to 0 … H

        def smoothed(value: ir.Value, line: Array, axis: int) -> ir.Value:
            shape = [TURNS, 1, 1, 1]
            shape[axis] = len(line)
            weights = op.number(np.broadcast_to(line / line.sum(), (TURNS, len(line))).reshape(shape))
            pads = [before, 0, behind, 0] if axis == 2 else [0, before, 0, behind]
            return op.Conv(value, weights, group=TURNS, pads=pads)

        phases = [smoothed(rows, line, 3) for rows in [smoothed(maps, line, 2) for line in lines] for line in lines]
        kinds = op.integers([0, BETWEEN, DIRECTIONS, -1])
        parts = [op.Transpose(op.Reshape(phase, kinds), perm=[0, 1, 3, 2]) for phase in phases]
        joined = op.Concat(*parts, axis=1) if len(parts) > 1 else parts[0]
        together = op.Reshape(joined, op.integers([-1, DIRECTIONS]))
        together.shape = ir.Shape([None, DIRECTIONS])
        rows, columns = (op.Add(extent(op, self.image, axis), op.integers([1])) for axis in (1, 2))
        return together, op.Mul(op.Mul(rows, columns), op.integers([fine**2 * BETWEEN]))

    def _table(self, plane: ir.Value) -> ir.Value:
        """How far from its middle the samples of a descriptor lie, int64 [48, 81], of ``plane`` samples of an image."""
        op, fine = self.op, self._fine
        v, u = (grid.ravel() for grid in np.mgrid[: 2 * BINS + 1, : 2 * BINS + 1])
        # In numpy, so that what lies halfway between two samples is rounded in the same way everywhere.
        across, down = (
            np.rint(np.round(turned * self.size * fine / 2, 6)).astype(np.int64) for turned in _turned(u, v, 2 * BINS, middle=0.0)
        )
        kind = (down % fine * fine + across % fine) * BETWEEN + np.arange(TURNS)[:, None] % BETWEEN
        columns = op.Add(extent(op, self.image, 2), op.integers([1]))
        pixel = op.Add(op.Mul(op.number(down // fine), columns), op.number(across // fine))
        return op.Add(pixel, op.Mul(op.number(kind), op.Div(plane, op.integers([BETWEEN * fine**2]))))

    def _first(self, columns: ir.Value, plane: ir.Value) -> ir.Value:
        """Number of the pixel in the middle of every descriptor, int64 [N, L], for images of ``plane`` numbers."""
        op = self.op
        y, x = (self._middles(axis) for axis in (1, 2))
        inside = op.Reshape(op.Add(op.Unsqueeze(op.Mul(y, columns), op.integers([1])), x), op.integers([1, -1]))
        one = op.number(np.asarray(1, np.int64))
        images = op.Range(op.number(np.asarray(0, np.int64)), op.Squeeze(op.Shape(self.image, start=0, end=1)), one)
        return op.Add(inside, op.Unsqueeze(op.Mul(images, plane), op.integers([1])))

    def _blocks(self, values: list[ir.Value], size: int) -> tuple[list[ir.Value], ir.Value]:
        """int64 [N, L] as [blocks, size], filled up with zeros, and N · L."""
        op = self.op
        result = []
        for value in values:
            flat = op.Reshape(value, op.integers([-1]))
            length = op.Shape(flat)
            parts = op.Div(op.Add(length, op.integers([size - 1])), op.integers([size]))
            missing = op.Sub(op.Mul(parts, op.integers([size])), length)
            result.append(op.Reshape(op.Pad(flat, op.Concat(op.integers([0]), missing, axis=0)), op.integers([-1, size])))
        return result, length


def _turned(u: Array, v: Array, side: int, middle: float = 0.5) -> tuple[Array, Array]:
    """Offsets to the right and down of places (u, v) on an area from 0 to ``side``, turned by each of the 48, [48, places]."""
    angles = np.arange(TURNS)[:, None] * (2 * pi / TURNS)
    u, v = u + middle - side / 2, v + middle - side / 2
    return np.cos(angles) * u + np.sin(angles) * v, np.cos(angles) * v - np.sin(angles) * u


def _bin_weights() -> Array:
    """t(v - r_k) t(u - c_k) exp(-(u² + v²) / 8) of the 16 bins at the samples, [16, 81]."""
    places = np.arange(2 * BINS + 1) / 2 - BINS / 2
    near = np.maximum(0, 1 - np.abs(places - (np.arange(BINS)[:, None] - (BINS - 1) / 2)))
    line = near * np.exp(-2 * places**2 / BINS**2)
    return np.asarray(np.einsum("kv,mu->kmvu", line, line).reshape(BINS**2, -1))


def _row(name: str, size: int) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([size]))
