"""Local features of images: the estimator that describes them, and the mapping that explains them down to the pixels."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from sklearn.base import BaseEstimator, TransformerMixin

from graphlrp.errors import InputError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.ir.functions import EmitOperators
from graphlrp.ir.passes.standard import Precision
from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.bow.grid import Array, Grid, extent
from graphlrp.plugins.bow.naming import name_value
from graphlrp.plugins.estimators.building import Builder, Stream
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Gradient
from graphlrp.runtime import Session, open_session

DESCRIPTORS, POSITIONS = "descriptors", "positions"


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

    def spread(self, op: Emitter, relevance: ir.Value, image: ir.Value) -> ir.Value:
        """Relevance of cells [N, L, c, c] to the pixels [N, H, W]."""
        return self.grid.spread(op, relevance, image)

    def accepts(self, rule: Rule) -> bool:
        """The gradient rules; all others leave it to its own messages."""
        return isinstance(rule, Gradient)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """Equal parts to the pixels of every cell."""
        image = self.x
        pixels = self.spread(op, self.cells(op, relevance), image)
        if rank(image) == 3:
            return op.shaped(pixels, image)
        channels = op.Cast(extent(op, image, 3), to=int(op.dtype))
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
            found = session.run([DESCRIPTORS, POSITIONS, *self.further], {"input": image[None].astype(np.float32)})
            self.check_values(found[0][0], number)
            described.append(self.described(image.shape[:2], found[0][0], found[1], *(value[0] for value in found[2:])))
        return described

    def areas(self, height: int, width: int) -> Array:
        """Where the descriptors of an image lie: left, upper, right and lower border of their areas in pixels, [L, 4].

        In the order of the axis of descriptors: sizes, then rows, then columns. Their middles are the positions of ``transform``.

        Raises:
            InputError: no area fits in such an image.
        """
        self.grid.check(height, width, "an image")
        return self.grid.areas(height, width)

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

    @property
    def further(self) -> tuple[str, ...]:
        """Names of what the node computes beside descriptors: whole numbers [N, L]."""
        return ()

    def described(self, size: tuple[int, int], values: Array, positions: Array, *further: Array) -> Descriptors:
        """The descriptors of an image of a size, of all that was computed."""
        return Descriptors(values, positions, size)

    def check_values(self, values: Array, number: int) -> None:
        """Refuse descriptors of which nothing can be learned; by default, none are refused."""

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """The node of the descriptors, [N, L, D], and ``positions`` beside it."""
        image = stream.value
        (domain, operator), names = self.mapping.operators[0], [DESCRIPTORS, *self.further]
        outputs: Any = getattr(builder.op, operator)(image, _domain=domain, _outputs=len(names), **self.attributes())
        values = [outputs] if isinstance(outputs, ir.Value) else list(outputs)
        # Descriptors of another step are of another number, so they are named otherwise.
        length = "/".join(["L", *builder.path])
        for value, name in zip(reversed(values), reversed(names), strict=True):
            value.type, value.shape = ir.TensorType(ir.DataType.INT64), ir.Shape(["N", length])
            name_value(builder, value, name)
        values[0].type = ir.TensorType(builder.op.dtype)
        values[0].shape = ir.Shape(["N", length, self.width(1 if rank(image) == 3 else self._fitted())])
        return replace(stream.moved(values[0], self.transform), positions=self.grid.positions(builder.op, image))

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
            stream.positions.name = POSITIONS
            node = stream.value.producer()
            assert node is not None
            builder.model.graph.outputs.extend([*node.outputs, stream.positions])
            Precision(ir.DataType.FLOAT)(builder.model)
            EmitOperators({self.mapping.operators[0]: self.mapping}, ir.DataType.FLOAT)(builder.model)
            self._opened = (key, open_session(builder.model, "float32", self.providers))
        session: Session = self._opened[1]
        return session


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
        if image.dtype.kind in "US":
            raise InputError("images are arrays of pixels, not names; read the files first: np.asarray(PIL.Image.open(name))")
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
