"""Local features on a dense grid of square areas: where the areas lie, and how their relevance comes to the pixels.

The areas of one size stand in rows and columns, ``step`` pixels apart; the first begins at the upper left corner, and all lie
inside the image. Descriptors are in the order of sizes, then rows, then columns.

What the areas cover is written as products of matrices, for along each axis an area is an interval: with B_y [H, rows] and
B_x [W, columns] telling which pixels belong to which row and column of areas, relevance r [rows, columns] of descriptors goes to
the pixels as B_y r B_xᵀ. The matrices follow from the size of the image, so one graph serves images of all sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.errors import InputError
from graphlrp.ir.emitter import Emitter

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Scale:
    """Square areas of one size.

    Attributes:
        step: pixels from one area to the next, along both axes.
        side: of the areas, in pixels.
        room: side of the square around the middle of an area that lies inside the image; more than ``side`` if areas are turned.
    """

    step: int
    side: int
    room: int

    def count(self, length: int) -> int:
        """How many areas there are along an axis of the image."""
        return (length - self.room) // self.step + 1

    def middles(self, length: int) -> Array:
        """Middles of all areas along an axis of the image."""
        return np.arange(self.count(length)) * self.step + self.room / 2

    # What is emitted: constants of the decomposition, for they depend on the shape of the image only

    def counts(self, op: Emitter, image: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Rows and columns of areas, int64 [1] each, for images [N, H, W] or [N, H, W, C]."""
        rows, columns = (
            op.Add(op.Div(op.Sub(extent(op, image, axis), op.integers([self.room])), op.integers([self.step])), op.integers([1]))
            for axis in (1, 2)
        )
        return rows, columns

    def starts(self, op: Emitter, length: ir.Value) -> ir.Value:
        """First pixel of every room along an axis of the image, int64; ``length`` is the number of its pixels, int64 [1]."""
        return integers_between(op, 0, op.Sub(length, op.integers([self.room - 1])), self.step)


@dataclass(frozen=True)
class Grid:
    """Square areas on a dense grid, of one or more sizes."""

    scales: tuple[Scale, ...]

    @classmethod
    def of(cls, steps: int | Sequence[int], sides: Sequence[int], rooms: Sequence[int] | None = None) -> Grid:
        """A grid of areas of some sides; the step is one for all, or one for each."""
        each = [steps] * len(sides) if isinstance(steps, int) else list(steps)
        return cls(tuple(Scale(*scale) for scale in zip(each, sides, rooms or sides, strict=True)))

    @property
    def steps(self) -> int | list[int]:
        """The step of all sizes, or those of each, as the attribute of a node."""
        each = [scale.step for scale in self.scales]
        return each[0] if len(set(each)) == 1 else each

    def shape(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of areas, per size."""
        return [(scale.count(height), scale.count(width)) for scale in self.scales]

    def areas(self, height: int, width: int) -> Array:
        """Left, upper, right and lower border of every area, [L, 4]."""
        boxes = []
        for scale in self.scales:
            y, x = np.meshgrid(scale.middles(height), scale.middles(width), indexing="ij")
            middles = np.stack([x.ravel(), y.ravel()], axis=1)
            boxes.append(np.concatenate([middles - scale.side / 2, middles + scale.side / 2], axis=1))
        return np.concatenate(boxes)

    def check(self, height: int, width: int, image: str) -> None:
        """Refuse an image that the largest area does not fit in.

        Raises:
            InputError: with what the image is called, its size and the smallest possible one.
        """
        need = max(scale.room for scale in self.scales)
        if min(height, width) < need:
            raise InputError(
                f"{image} is {height} pixels high and {width} wide; the areas of local features need images of at least"
                f" {need} x {need} pixels: leave it out, enlarge it, or choose smaller areas"
            )

    def positions(self, op: Emitter, image: ir.Value) -> ir.Value:
        """Middles of all areas, (x, y) in pixels from the upper left corner of the image, [L, 2].

        Pixel k reaches from k to k + 1, so the middle of an area of the pixels 0 … 15 is 8.
        """
        parts = []
        for scale in self.scales:
            y, x = (
                op.Add(op.Cast(scale.starts(op, extent(op, image, axis)), to=int(op.dtype)), op.scalar(scale.room / 2))
                for axis in (1, 2)
            )
            y, x = op.Unsqueeze(y, op.integers([1])), op.Unsqueeze(x, op.integers([0]))
            both = [op.Add(x, op.Mul(y, op.scalar(0.0))), op.Add(y, op.Mul(x, op.scalar(0.0)))]
            parts.append(op.Concat(*(op.Reshape(part, op.integers([-1, 1])) for part in both), axis=1))
        value: ir.Value = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)
        return value

    def split(self, op: Emitter, value: ir.Value, image: ir.Value) -> list[ir.Value]:
        """Descriptors [N, L, ...] of every size, [N, rows · columns, ...]."""
        if len(self.scales) == 1:
            return [value]
        sizes = op.Concat(*(op.Mul(*scale.counts(op, image)) for scale in self.scales), axis=0)
        parts: Any = op.Split(value, sizes, axis=1, _outputs=len(self.scales))
        return list(parts)

    def spread(self, op: Emitter, relevance: ir.Value, image: ir.Value) -> ir.Value:
        """Relevance of descriptors to the pixels of their areas: R_p = Σ_{l∋p} R_l / |area(l)| (2.85).

        Args:
            op: emits.
            relevance: [N, L, c, c] of the c x c equal cells that every area is divided into; c = 1 is the area as a whole, and
                c divides all sides.
            image: [N, H, W] or [N, H, W, C].

        Returns:
            [N, H, W]; ΣR is conserved, and pixels outside all areas get 0.
        """
        assert relevance.shape is not None
        cells = int(relevance.shape[2])  # type: ignore[arg-type]
        height, width = (extent(op, image, axis) for axis in (1, 2))
        shares = []
        for scale, part in zip(self.scales, self.split(op, relevance, image), strict=True):
            rows, columns = scale.counts(op, image)
            shape = op.Concat(op.integers([0]), rows, columns, op.integers([cells, cells]), axis=0)
            tall = op.Transpose(op.Reshape(part, shape), perm=[0, 1, 3, 2, 4])  # [N, rows, c, columns, c]
            shape = op.Concat(op.integers([0]), op.Mul(rows, op.integers([cells])), op.integers([-1]), axis=0)
            per_pixel = op.Mul(op.Reshape(tall, shape), op.scalar((cells / scale.side) ** 2))
            covers_y, covers_x = _covers(op, height, scale, cells), _covers(op, width, scale, cells)
            shares.append(op.MatMul(op.MatMul(covers_y, per_pixel), op.Transpose(covers_x, perm=[1, 0])))
        return op.total(shares)


def integers_between(op: Emitter, first: int, end: ir.Value, step: int = 1) -> ir.Value:
    """first, first + step, … below ``end``, which is int64 [1]."""
    scalars = [op.number(np.asarray(number, np.int64)) for number in (first, step)]
    numbers: ir.Value = op.Range(scalars[0], op.Squeeze(end, op.integers([0])), scalars[1])
    return numbers


def _covers(op: Emitter, length: ir.Value, scale: Scale, cells: int) -> ir.Value:
    """1 where a pixel lies in a cell, [pixels, areas · cells] along one axis."""
    first = op.Unsqueeze(scale.starts(op, length), op.integers([1]))
    cell = scale.side // cells
    margin = (scale.room - scale.side) // 2
    begin = op.Reshape(op.Add(first, op.integers(range(margin, margin + scale.side, cell))), op.integers([1, -1]))
    numbers = op.Unsqueeze(integers_between(op, 0, length), op.integers([1]))
    inside = op.And(op.GreaterOrEqual(numbers, begin), op.Less(numbers, op.Add(begin, op.integers([cell]))))
    covers: ir.Value = op.Cast(inside, to=int(op.dtype))
    return covers


def whole_numbers(given: Any, name: str, least: int = 1) -> tuple[int, ...]:
    """A parameter that is a sequence of whole numbers.

    Raises:
        InputError: it is not.
    """
    numbers = [] if isinstance(given, str) or not np.iterable(given) else list(given)
    if not numbers or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= least for n in numbers):
        raise InputError(f"{name} must be whole numbers from {least} on, as in ({least + 3}, {least + 5}), not {given!r}")
    return tuple(int(n) for n in numbers)


def whole_number(given: Any, name: str) -> int:
    """A parameter that is a whole number from 1 on.

    Raises:
        InputError: it is not.
    """
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < 1:
        raise InputError(f"{name} must be a whole number from 1 on, not {given!r}")
    return int(given)


def steps_of(given: Any, sizes: Sequence[int]) -> tuple[int, ...]:
    """The step of every size, of one number for all or of a sequence of as many.

    Raises:
        InputError: it is neither.
    """
    each = given if np.iterable(given) and not isinstance(given, str) else [given] * len(sizes)
    steps = whole_numbers(each, "step")
    if len(steps) != len(sizes):
        raise InputError(f"step is one number for all areas, or one for each of the {len(sizes)} sizes, not {given!r}")
    return steps


def extent(op: Emitter, image: ir.Value, axis: int) -> ir.Value:
    """Size of an axis of images as int64 [1]."""
    return op.shape([op.size(image, axis)])
