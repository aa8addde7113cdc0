"""Dense SIFT: histograms of gradient directions in 4 x 4 bins (Lowe, 2004), on a grid of several scales.

A descriptor at pixel (x, y) with bins of b pixels sums, over the pixels p at offset (u, v) = (p - (x, y)) / b,

    Σ_p |g_p| · exp(-(u² + v²) / 8) · t(v - r_k) · t(u - c_k) · t((angle(g_p) - o_k) / 45°),   t(a) = max(0, 1 - |a|)

for bins at r_k, c_k ∈ {-1.5, -0.5, 0.5, 1.5} and directions o_k = 0°, 45°, …, 315°, with central differences g of the grey image
(zero on its border), the y axis upwards. It is scaled to length 1, clipped, and scaled again. That is OpenCV's descriptor of an
upright keypoint (angle 0, size 2b/3) at (x, y) on an image that was not blurred before, but neither the grey image nor the
descriptor is rounded to bytes.

The weights are products of a factor for u and one for v, and the offsets are those of a grid: for every direction, the sums of
all descriptors of a scale are a product of three matrices, weights of rows · gradients · weights of columns.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from math import pi
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from graphlrp.errors import InputError, ModelError, RuleError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.plugins.bow import rotation
from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.bow.features import AreaMapping, LocalFeatures
from graphlrp.plugins.bow.grid import Array, Grid, Scale, extent, integers_between, steps_of, whole_numbers
from graphlrp.plugins.bow.rotation import BINS, DIRECTIONS
from graphlrp.plugins.mapping import Messages
from graphlrp.rules.linear import Gradient

ORIENTATIONS = ("upright", "main")

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey image (ITU-R BT.601)."""

END = np.iinfo(np.int64).max


class DenseSIFTMapping(AreaMapping):
    """Dense SIFT of images; policy ``sift`` says how deep relevance goes.

    ``"area"`` (2.85): relevance of a descriptor, in equal parts to all pixels of its area. ``"bins"`` (D.1.2): relevance of each
    of the 4 x 4 bins, summed over directions, in equal parts to the pixels of that bin, which resolves 16 times finer.

    The area is 4b x 4b pixels, columns x - 2b … x + 2b - 1 and so the rows, and a bin of it b x b. Linear interpolation and the
    middle on a pixel let the sums reach at most half a bin and a pixel farther; that is weighted little, and not counted. Areas
    and bins of turned descriptors are turned with them: their pixels are those that the middles of pixels of an upright one fall
    on.

    Input: images [N, H, W] or [N, H, W, 3] in 0 … 255; output [N, L, 128] in the order bin row, bin column, direction, and, if
    they are turned, which of the 48 main directions each has, int64 [N, L].
    Attributes: ``step`` (one, or one per size), ``bin_sizes`` (b), ``clip``, ``root`` (1: square roots of shares, RootSIFT),
    ``orientation``.
    """

    operators = (("graphlrp", "DenseSIFT"),)
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"sift": ("area", "bins")}

    @property
    def bin_sizes(self) -> tuple[int, ...]:
        """b."""
        return tuple(self.required("bin_sizes"))

    @property
    def grid(self) -> Grid:
        """Areas of 4 bins."""
        return _grid(self.required("step"), self.bin_sizes, self.turned)

    @property
    def turned(self) -> bool:
        """Whether descriptors are turned to their main directions."""
        return bool(self.attribute("orientation", ORIENTATIONS[0]) != ORIENTATIONS[0])

    def cells(self, op: Emitter, relevance: ir.Value) -> ir.Value:
        """The area, or its bins."""
        if self.policy(op, "sift") == "area":
            return super().cells(op, relevance)
        bins = op.Reshape(relevance, op.integers([0, 0, BINS, BINS, DIRECTIONS]))
        return op.ReduceSum(bins, op.integers([4]), keepdims=0)

    def spread(self, op: Emitter, relevance: ir.Value, image: ir.Value) -> ir.Value:
        """To areas as they lie."""
        if not self.turned:
            return super().spread(op, relevance, image)
        parts, turns = (self.grid.split(op, value, image) for value in (relevance, self.node.outputs[1]))
        return op.total(
            [scale.spread(part, turn) for scale, part, turn in zip(self._scales(op, image), parts, turns, strict=True)]
        )

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> Messages | ir.Value:
        """That of upright descriptors.

        Raises:
            RuleError: descriptors are turned.
        """
        if self.turned:
            raise RuleError(
                "descriptors that are turned to their main direction jump where that changes and have no gradient; use"
                " DenseSIFT(orientation='upright') or another composite"
            )
        return super().gradient(op, gradient, rule)

    def forward_messages(self, op: Emitter) -> list[ir.Value]:
        """Gradients, sums, lengths."""
        image = self.x
        x, y = self._gradients(op)
        if self.turned:
            maps, found = rotation.direction_maps(op, x, y), []
            for own in self._scales(op, image):
                turns = own.main_directions(maps)
                found.append((self._normalised(op, own.histograms(maps, turns)), turns))
            return [_joined(op, values) for values in zip(*found, strict=True)]
        gradients = self._directions(op, x, y)
        height, width = (extent(op, image, axis) for axis in (1, 2))
        parts = []
        for size, scale in zip(self.bin_sizes, self.grid.scales, strict=True):
            rows, _ = scale.counts(op, image)
            weights_y, weights_x = _weights(op, height, scale, size), _weights(op, width, scale, size)
            sums = op.MatMul(op.MatMul(weights_y, gradients), op.Transpose(weights_x, perm=[1, 0]))
            shape = op.Concat(op.integers([0, DIRECTIONS]), rows, op.integers([BINS, -1, BINS]), axis=0)
            ordered = op.Transpose(op.Reshape(sums, shape), perm=[0, 2, 4, 3, 5, 1])
            parts.append(self._normalised(op, op.Reshape(ordered, op.integers([0, -1, BINS * BINS * DIRECTIONS]))))
        return [_joined(op, parts)]

    def _scales(self, op: Emitter, image: ir.Value) -> list[rotation.Turned]:
        """What emits the turned descriptors of every scale."""
        return [rotation.Turned(op, scale, size, image) for scale, size in zip(self.grid.scales, self.bin_sizes, strict=True)]

    def _grey(self, op: Emitter) -> ir.Value:
        """The grey image, [N, H, W]."""
        image = self.x
        if rank(image) == 3:
            return image
        assert image.shape is not None
        if image.shape[3] != len(GREY):
            raise ModelError(f"DenseSIFT node {self.node.name!r}: images are [N, H, W] or [N, H, W, 3], not {image.shape}")
        value: ir.Value = op.ReduceSum(op.Mul(image, op.number(np.asarray(GREY))), op.integers([3]), keepdims=0)
        return value

    def _gradients(self, op: Emitter) -> tuple[ir.Value, ir.Value]:
        """Of the grey image to the right and upwards, for every inner pixel, [N, H - 2, W - 2] each."""
        grey = self._grey(op)
        x = op.Sub(_cut(op, grey, (1, 2), (-1, END)), _cut(op, grey, (1, 0), (-1, -2)))
        y = op.Sub(_cut(op, grey, (0, 1), (-2, -1)), _cut(op, grey, (2, 1), (END, -1)))
        return x, y

    def _directions(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """|g|, shared between the two directions next to that of g, for every inner pixel, [N, 8, H - 2, W - 2].

        Turned into the sector between 0° and 45°, the angle is that between the larger and the smaller of |g_x| and |g_y|: it
        says how much goes to the diagonal, the signs say to which one, and the rest goes to the larger one's axis.
        """
        zero = op.scalar(0.0)
        along_x, along_y = op.Abs(x), op.Abs(y)
        ratio = op.Div(op.Min(along_x, along_y), op.Max(op.Max(along_x, along_y), op.tiny))
        # ONNX Runtime has no Atan on CUDA and computes this one node, of the size of the image, on the CPU.
        share = op.Min(op.Mul(op.Atan(ratio), 4 / pi), 1.0)
        # The guard keeps the derivative of the root finite; where it replaces a zero, no direction takes it.
        magnitude = op.Sqrt(op.Max(op.Add(op.Mul(x, x), op.Mul(y, y)), op.tiny))
        diagonal = op.Mul(magnitude, share)
        straight = op.Sub(magnitude, diagonal)
        steep = op.Greater(along_y, along_x)
        horizontal, vertical = op.Where(steep, zero, straight), op.Where(steep, straight, zero)
        right, left, up, down = op.Greater(x, 0.0), op.Less(x, 0.0), op.Greater(y, 0.0), op.Less(y, 0.0)
        maps = [
            op.Where(right, horizontal, zero),
            op.Where(op.And(right, up), diagonal, zero),
            op.Where(up, vertical, zero),
            op.Where(op.And(left, up), diagonal, zero),
            op.Where(left, horizontal, zero),
            op.Where(op.And(left, down), diagonal, zero),
            op.Where(down, vertical, zero),
            op.Where(op.And(right, down), diagonal, zero),
        ]
        value: ir.Value = op.Concat(*(op.Unsqueeze(part, op.integers([1])) for part in maps), axis=1)
        return value

    def _normalised(self, op: Emitter, sums: ir.Value) -> ir.Value:
        """Length 1, no number above ``clip``, length 1 again; nothing stays nothing."""
        value = _unit(op, op.Min(_unit(op, sums), float(self.attribute("clip", 0.2))))
        if not self.attribute("root", 0):
            return value
        share = op.Div(value, op.Max(op.ReduceSum(value, op.integers([2]), keepdims=1), op.tiny))
        empty = op.Equal(share, 0.0)
        return op.Where(empty, op.scalar(0.0), op.Sqrt(op.Where(empty, op.scalar(1.0), share)))


class DenseSIFT(LocalFeatures):
    """SIFT descriptors (Lowe, 2004) on a dense grid of several scales, upright or turned to their main direction.

        make_pipeline(DenseSIFT(step=4), ...)

    A descriptor at pixel (x, y) is OpenCV's for ``cv2.KeyPoint(x, y, size=2 * b / 3, angle=0)`` on the grey image, without blur
    and without rounding to bytes: 128 numbers of length 1 in the order bin row, bin column, direction (0° is to the right, 90°
    upwards). Its area is the 4b x 4b pixels around (x, y), and areas lie inside the image. A descriptor without any gradient is
    zero. Positions are (x, y).

    With ``orientation="main"``, a descriptor is turned so that its axis lies along the main direction of the gradients in its
    area, one of 48; ``Descriptors.angles`` tells it. It then stays nearly the same when the image is turned. The areas lie inside
    the image however they are turned, so there are fewer of them. It is nearly OpenCV's for a keypoint of that angle.

    Every scale has to fit in every image, for what is learned of descriptors would otherwise be of other scales for small images
    than for large ones, and nobody would notice.

    Args:
        step: pixels from one descriptor to the next; one number, or one for each of the sizes.
        bin_sizes: b, side of one of the 4 x 4 bins in pixels; one grid each.
        clip: largest number of a descriptor before it is scaled to length 1 the second time.
        orientation: ``"upright"``, or ``"main"``.
        root: RootSIFT (Arandjelović and Zisserman, 2012): square roots of the shares in the sum of a descriptor.
        providers: as for ``graphlrp.load``, for ``transform``.
    """

    mapping = DenseSIFTMapping

    def __init__(
        self,
        step: int | Sequence[int] = 3,
        bin_sizes: Sequence[int] = (4, 6, 8),
        *,
        orientation: str = "upright",
        clip: float = 0.2,
        root: bool = False,
        providers: Any = None,
    ) -> None:
        self.step = step
        self.bin_sizes = bin_sizes
        self.orientation = orientation
        self.clip = clip
        self.root = root
        self.providers = providers

    @property
    def grid(self) -> Grid:
        """Where the areas lie."""
        if self.orientation not in ORIENTATIONS:
            raise InputError(f"orientation must be {' or '.join(map(repr, ORIENTATIONS))}, not {self.orientation!r}")
        sizes = whole_numbers(self.bin_sizes, "bin_sizes")
        return _grid(steps_of(self.step, sizes), sizes, self._turned)

    def attributes(self) -> Dictionary[str, Any]:
        """Attributes of the node."""
        if isinstance(self.clip, bool) or not isinstance(self.clip, (int, float)) or not 0 < self.clip <= 1:
            raise InputError(f"clip must be above 0 and at most 1, not {self.clip!r}")
        sizes = [scale.side // BINS for scale in self.grid.scales]
        attributes = {"step": self.grid.steps, "bin_sizes": sizes, "clip": float(self.clip), "root": int(bool(self.root))}
        return attributes | ({"orientation": self.orientation} if self._turned else {})

    @property
    def _turned(self) -> bool:
        return bool(self.orientation != ORIENTATIONS[0])

    @property
    def further(self) -> tuple[str, ...]:
        """The main directions, if descriptors are turned to them."""
        return ("directions",) if self._turned else ()

    def described(self, size: tuple[int, int], values: Array, positions: Array, *further: Array) -> Descriptors:
        """With the angles of main directions."""
        angles = further[0] * (360 / rotation.TURNS) if further else None
        return Descriptors(values, positions, size, angles)

    def width(self, channels: int) -> int:
        """128."""
        return BINS * BINS * DIRECTIONS

    def check_values(self, values: Array, number: int) -> None:
        """Refuse an image without any gradient."""
        if not values.any():
            raise InputError(
                f"image {number} has no gradient in any area (is it the same all over?), so nothing can be described"
            )


def _grid(steps: Any, sizes: Sequence[int], turned: bool) -> Grid:
    """Areas of 4 bins, with room to be turned in."""
    return Grid.of(steps, [BINS * size for size in sizes], [rotation.room(size) for size in sizes] if turned else None)


def _joined(op: Emitter, values: Sequence[ir.Value]) -> ir.Value:
    """Descriptors of all sizes."""
    value: ir.Value = values[0] if len(values) == 1 else op.Concat(*values, axis=1)
    return value


def _weights(op: Emitter, length: ir.Value, scale: Scale, size: int) -> ir.Value:
    """t(u - c_k) exp(-u² / 8) along one axis, [descriptors · 4, inner pixels]."""
    first = op.Unsqueeze(scale.starts(op, length), op.integers([1]))
    pixels = integers_between(op, 1, op.Sub(length, op.integers([1])))
    offset = op.Sub(pixels, op.Add(first, op.integers([BINS * size // 2])))
    u = op.Unsqueeze(op.Div(op.Cast(offset, to=int(op.dtype)), float(size)), op.integers([1]))  # [descriptors, 1, pixels]
    middles = op.number(np.arange(BINS)[:, None] - (BINS - 1) / 2)
    near = op.Max(op.Sub(1.0, op.Abs(op.Sub(u, middles))), 0.0)
    weights = op.Mul(near, op.Exp(op.Mul(op.Mul(u, u), -2 / BINS**2)))
    value: ir.Value = op.Reshape(weights, op.Concat(op.integers([-1]), op.Sub(length, op.integers([2])), axis=0))
    return value


def _cut(op: Emitter, image: ir.Value, begin: tuple[int, int], end: tuple[int, int]) -> ir.Value:
    """Rows and columns of an image [N, H, W]."""
    value: ir.Value = op.Slice(image, op.integers(begin), op.integers(end), op.integers([1, 2]))
    return value


def _unit(op: Emitter, value: ir.Value) -> ir.Value:
    """Scaled to length 1 along the last axis; zero stays zero."""
    square = op.ReduceSum(op.Mul(value, value), op.integers([2]), keepdims=1)
    unit: ir.Value = op.Div(value, op.Sqrt(op.Max(square, op.tiny)))
    return unit
