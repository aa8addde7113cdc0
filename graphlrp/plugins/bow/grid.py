"""Local features on a dense grid of square areas: where the areas lie, and how their relevance comes to the pixels.

The areas of one size stand in rows and columns, ``step`` pixels apart; the first begins at the upper left corner, and all lie
inside the image. Descriptors are in the order of sizes, then rows, then columns.

What the areas cover is written as products of matrices, for along each axis an area is an interval: with B_y [H, rows] and
B_x [W, columns] telling which pixels belong to which row and column of areas, relevance r [rows, columns] of descriptors goes to
the pixels as B_y r B_xᵀ. The matrices follow from the size of the image, so one graph serves images of all sizes.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from sklearn.base import BaseEstimator, TransformerMixin

from graphlrp.errors import InputError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.ir.functions import EmitOperators
from graphlrp.ir.passes.standard import Precision
from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.estimators.building import Builder, Stream
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Gradient
from graphlrp.runtime import Session, open_session

Array = npt.NDArray[Any]

DESCRIPTORS, POSITIONS = "descriptors", "positions"


@dataclass(frozen=True)
class Grid:
    """Square areas on a dense grid.

    Attributes:
        step: pixels from one area to the next, along both axes.
        sides: side of the areas in pixels, one grid each.
    """

    step: int
    sides: tuple[int, ...]

    def shape(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of areas, per size."""
        return [((height - side) // self.step + 1, (width - side) // self.step + 1) for side in self.sides]

    def check(self, height: int, width: int, image: str) -> None:
        """Refuse an image that the largest area does not fit in.

        Raises:
            InputError: with what the image is called, its size and the smallest possible one.
        """
        need = max(self.sides)
        if min(height, width) < need:
            raise InputError(
                f"{image} is {height} pixels high and {width} wide; the areas of local features need images of at least"
                f" {need} x {need} pixels: leave it out, enlarge it, or choose smaller areas"
            )

    # What is emitted: constants of the decomposition, for they depend on the shape of the image only

    def counts(self, op: Emitter, image: ir.Value, side: int) -> tuple[ir.Value, ir.Value]:
        """Rows and columns of areas of one size, int64 [1] each, for images [N, H, W] or [N, H, W, C]."""
        rows, columns = (
            op.Add(op.Div(op.Sub(_length(op, image, axis), op.integers([side])), op.integers([self.step])), op.integers([1]))
            for axis in (1, 2)
        )
        return rows, columns

    def starts(self, op: Emitter, length: ir.Value, side: int) -> ir.Value:
        """First pixel of every area along an axis of the image, int64; ``length`` is the number of its pixels, int64 [1]."""
        return integers_between(op, 0, op.Sub(length, op.integers([side - 1])), self.step)

    def positions(self, op: Emitter, image: ir.Value) -> ir.Value:
        """Middles of all areas, (x, y) in pixels from the upper left corner of the image, [L, 2].

        Pixel k reaches from k to k + 1, so the middle of an area of the pixels 0 … 15 is 8.
        """
        parts = []
        for side in self.sides:
            y, x = (
                op.Add(op.Cast(self.starts(op, _length(op, image, axis), side), to=int(op.dtype)), op.scalar(side / 2))
                for axis in (1, 2)
            )
            y, x = op.Unsqueeze(y, op.integers([1])), op.Unsqueeze(x, op.integers([0]))
            both = [op.Add(x, op.Mul(y, op.scalar(0.0))), op.Add(y, op.Mul(x, op.scalar(0.0)))]
            parts.append(op.Concat(*(op.Reshape(part, op.integers([-1, 1])) for part in both), axis=1))
        value: ir.Value = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)
        return value

    def split(self, op: Emitter, value: ir.Value, image: ir.Value) -> list[ir.Value]:
        """Descriptors [N, L, ...] of every size, [N, rows, columns, ...]."""
        assert value.shape is not None
        counts = [self.counts(op, image, side) for side in self.sides]
        parts: Sequence[ir.Value] = [value]
        if len(counts) > 1:
            sizes = op.Concat(*(op.Mul(rows, columns) for rows, columns in counts), axis=0)
            parts = op.Split(value, sizes, axis=1, _outputs=len(counts))  # type: ignore[assignment]
        rest = op.integers(value.shape[2:])  # type: ignore[arg-type]
        return [
            op.Reshape(part, op.Concat(op.integers([0]), rows, columns, rest, axis=0))
            for part, (rows, columns) in zip(parts, counts, strict=True)
        ]

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
        height, width = (_length(op, image, axis) for axis in (1, 2))
        shares = []
        for side, part in zip(self.sides, self.split(op, relevance, image), strict=True):
            rows, _ = self.counts(op, image, side)
            tall = op.Transpose(part, perm=[0, 1, 3, 2, 4])  # [N, rows, c, columns, c]
            shape = op.Concat(op.integers([0]), op.Mul(rows, op.integers([cells])), op.integers([-1]), axis=0)
            per_pixel = op.Mul(op.Reshape(tall, shape), op.scalar((cells / side) ** 2))
            covers_y, covers_x = self._covers(op, height, side, cells), self._covers(op, width, side, cells)
            shares.append(op.MatMul(op.MatMul(covers_y, per_pixel), op.Transpose(covers_x, perm=[1, 0])))
        return op.total(shares)

    def _covers(self, op: Emitter, length: ir.Value, side: int, cells: int) -> ir.Value:
        """1 where a pixel lies in a cell, [pixels, areas · cells] along one axis."""
        first = op.Unsqueeze(self.starts(op, length, side), op.integers([1]))
        cell = side // cells
        begin = op.Reshape(op.Add(first, op.integers(range(0, side, cell))), op.integers([1, -1]))
        pixels = op.Unsqueeze(integers_between(op, 0, length), op.integers([1]))
        inside = op.And(op.GreaterOrEqual(pixels, begin), op.Less(pixels, op.Add(begin, op.integers([cell]))))
        covers: ir.Value = op.Cast(inside, to=int(op.dtype))
        return covers


class AreaMapping(Mapping):
    """Local features of an image: what a descriptor receives goes to the pixels of its area in equal parts (2.84, 2.85).

        R_p = Σ_{l∋p} R_l / |area(l)|,   R_l = Σ_d R_ld

    What a pixel contributes to a descriptor is not defined in general, so no more structure than the area is assumed; this is the
    ♭ rule (2.27). Channels of a pixel share equally. Relevance is conserved, and pixels outside all areas get 0.

    Input: images [N, H, W] or [N, H, W, C]; output [N, L, D]. Attribute ``step`` of the grid.
    """

    family: ClassVar[str] = "descriptors"
    native: ClassVar[str] = "equal parts to the pixels of the area"

    @property
    def grid(self) -> Grid:
        """Where the areas lie."""
        raise NotImplementedError(f"{type(self).__name__}.grid")

    def cells(self, op: Emitter, relevance: ir.Value) -> ir.Value:
        """Relevance [N, L, D] summed to the cells of areas, [N, L, c, c]; by default, the area is one cell."""
        return op.Unsqueeze(op.ReduceSum(relevance, op.integers([2]), keepdims=1), op.integers([3]))

    def accepts(self, rule: Rule) -> bool:
        """The gradient rules; all others leave it to its own messages."""
        return isinstance(rule, Gradient)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """Equal parts to the pixels of every cell."""
        image = self.x
        pixels = self.grid.spread(op, self.cells(op, relevance), image)
        if rank(image) == 3:
            return op.shaped(pixels, image)
        channels = op.Cast(_length(op, image, 3), to=int(op.dtype))
        shares = op.Unsqueeze(op.Div(pixels, channels), op.integers([3]))
        return op.shaped(op.Expand(shares, op.shape_of(image)), image)


class LocalFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Estimator of local features: images in, descriptors out, by the very graph that explanations run.

    Subclasses say what the grid is, and name their node and its attributes. Images are [H, W] or [H, W, 3] (red, green, blue),
    0 … 255, of any real type; several are one array or a list, in which sizes may differ. ``fit`` learns nothing but whether they
    have colours.
    """

    mapping: ClassVar[type[Mapping]]
    providers: Any

    @property
    def grid(self) -> Grid:
        """Where the areas lie.

        Raises:
            InputError: a parameter that makes no sense.
        """
        raise NotImplementedError(f"{type(self).__name__}.grid")

    def attributes(self) -> Dictionary[str, Any]:
        """Attributes of the node."""
        raise NotImplementedError(f"{type(self).__name__}.attributes")

    def width(self, channels: int) -> int:
        """Numbers per descriptor, D."""
        raise NotImplementedError(f"{type(self).__name__}.width")

    def fit(self, images: Any, y: Any = None) -> LocalFeatures:
        """Check that all images can be described, and note whether they have colours (``channels_``: 3 or 1).

        Raises:
            InputError: an image that is none, or too small; colours and grey mixed; a parameter that makes no sense.
        """
        self.attributes()
        self.channels_ = _channels(_read_images(images, self.grid))
        return self

    def transform(self, images: Any) -> list[Descriptors]:
        """The descriptors of every image.

        Raises:
            InputError: as for ``fit``; other channels than those fitted on; an image that is the same all over; not fitted.
        """
        fitted = self._fitted()
        read = _read_images(images, self.grid)
        channels = _channels(read)
        if channels != fitted:
            raise InputError(
                f"the images have {channels} channel(s), those that {type(self).__name__} was fitted on {self.channels_}"
            )
        session = self._session()
        described = []
        for number, image in enumerate(read):
            values, positions = session.run([DESCRIPTORS, POSITIONS], {"input": image[None].astype(np.float32)})
            self.check_values(values[0], number)
            described.append(Descriptors(values[0], positions, (image.shape[0], image.shape[1])))
        return described

    def read(self, images: Any) -> Any:
        """Images as a model takes them, of numbers 0 … 255: an array [N, H, W] or [N, H, W, 3], or a list if sizes differ.

        Raises:
            InputError: an image that is none, too small, or the same all over.
        """
        if isinstance(images, Dictionary):
            return images
        read = _read_images(images, self.grid)
        for number, image in enumerate(read):
            if np.ptp(image) == 0:
                raise InputError(f"image {number} has no texture: all of its pixels are {image.flat[0]:g}")
        same = len({image.shape for image in read}) == 1
        return np.stack(read).astype(np.float64) if same else [image.astype(np.float64) for image in read]

    def check_values(self, values: Array, number: int) -> None:
        """Refuse descriptors of which nothing can be learned; by default, none are refused."""

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """The node of the descriptors, [N, L, D], and ``positions`` beside it."""
        image = stream.value
        node = getattr(builder.op, self.mapping.operators[0][1])
        value: ir.Value = node(image, _domain=self.mapping.operators[0][0], **self.attributes())
        value.type = ir.TensorType(builder.op.dtype)
        # Descriptors of another step are of another number, so they are named otherwise.
        length = "/".join(["L", *builder.path])
        value.shape = ir.Shape(["N", length, self.width(1 if rank(image) == 3 else self._fitted())])
        return replace(stream.moved(value, self.transform), positions=self.grid.positions(builder.op, image))

    @property
    def input_shape(self) -> tuple[str | int, ...]:
        """Shape of one image: height and width of any size, and 3 if it has colours."""
        return ("H", "W") if self._fitted() == 1 else ("H", "W", self.channels_)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**super().__getstate__()}
        state.pop("_opened", None)  # a session cannot be pickled
        return state

    def _fitted(self) -> int:
        if not hasattr(self, "channels_"):
            raise InputError(f"{type(self).__name__} is not fitted; call fit first")
        return int(self.channels_)

    def _session(self) -> Session:
        key = repr((self.attributes(), self.channels_, self.providers))
        if getattr(self, "_opened", ("", None))[0] != key:
            builder = Builder(self.input_shape)
            stream = self.lower(builder, Stream(builder.input))
            assert stream.positions is not None
            for value, name in ((stream.value, DESCRIPTORS), (stream.positions, POSITIONS)):
                value.name = name
                builder.model.graph.outputs.append(value)
            Precision(ir.DataType.FLOAT)(builder.model)
            EmitOperators({self.mapping.operators[0]: self.mapping}, ir.DataType.FLOAT)(builder.model)
            self._opened = (key, open_session(builder.model, "float32", self.providers))
        session: Session = self._opened[1]
        return session


def integers_between(op: Emitter, first: int, end: ir.Value, step: int = 1) -> ir.Value:
    """first, first + step, … below ``end``, which is int64 [1]."""
    scalars = [op.number(np.asarray(number, np.int64)) for number in (first, step)]
    numbers: ir.Value = op.Range(scalars[0], op.Squeeze(end, op.integers([0])), scalars[1])
    return numbers


def whole_numbers(given: Any, name: str, least: int = 1) -> tuple[int, ...]:
    """A parameter that is a sequence of whole numbers.

    Raises:
        InputError: it is not.
    """
    numbers = [] if isinstance(given, str) or not np.iterable(given) else list(given)
    if not numbers or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= least for n in numbers):
        raise InputError(f"{name} must be whole numbers from {least} on, as in ({least + 3}, {least + 5}), not {given!r}")
    return tuple(int(n) for n in numbers)


def _length(op: Emitter, image: ir.Value, axis: int) -> ir.Value:
    """Size of an axis as int64 [1]."""
    return op.shape([op.size(image, axis)])


def _read_images(images: Any, grid: Grid) -> list[Array]:
    """Images as arrays, checked one by one."""
    if isinstance(images, np.ndarray) and images.dtype != object and images.ndim not in (3, 4):
        raise InputError(
            f"images are an array [N, H, W] or [N, H, W, 3], or a list of them, not an array {list(images.shape)}; a single one"
            " needs a leading axis: image[None]"
        )
    try:
        read = [np.asarray(image) for image in images]
    except (TypeError, ValueError) as error:
        raise InputError(f"images are an array [N, H, W] or [N, H, W, 3], or a list of images: {error}") from error
    if not read:
        raise InputError("there are no images")
    for number, image in enumerate(read):
        if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise InputError(f"image {number} has shape {list(image.shape)}; an image is [H, W] or [H, W, 3]")
        if image.dtype.kind not in "fiu":
            raise InputError(f"image {number} is of type {image.dtype}; images are numbers from 0 to 255")
        grid.check(image.shape[0], image.shape[1], f"image {number}")
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise InputError(f"image {number} holds NaN or infinite numbers")
    return read


def _channels(images: Sequence[Array]) -> int:
    """3 or 1, the same for all images."""
    kinds = [3 if image.ndim == 3 else 1 for image in images]
    if len(set(kinds)) > 1:
        other = next(number for number, kind in enumerate(kinds) if kind != kinds[0])
        raise InputError(
            f"image 0 is {list(images[0].shape)}, image {other} {list(images[other].shape)}: give all images colours or none"
        )
    return kinds[0]
