"""What the estimators of Bag-of-Words pipelines share, and principal components of descriptors.

Their input are the ``Descriptors`` of images. All of them can be cloned, searched over and pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from graphlrp.errors import InputError, ModelError
from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.bow.grid import whole_number, whole_numbers
from graphlrp.plugins.bow.naming import name_value
from graphlrp.plugins.estimators.building import Builder, Stream

Array = npt.NDArray[Any]

Pyramid = Sequence[tuple[int, int]]
"""Levels of a spatial pyramid: rows and columns of cells each."""

WHOLE: Pyramid = ((1, 1),)


class DescriptorStep(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What steps on descriptors share."""

    samples: int
    random_state: Any

    def _rows(self, images: Sequence[Descriptors]) -> Array:
        """Descriptors of all images, at most ``samples`` of them, drawn evenly; without those that are zero."""
        images = check_descriptors(images)
        share = max(1, whole_number(self.samples, f"{type(self).__name__}: samples") // len(images))
        generator = check_random_state(self.random_state)
        parts = []
        for image in images:
            textured = np.flatnonzero(np.any(image.values != 0, axis=1))
            chosen = textured if len(textured) <= share else generator.choice(textured, share, replace=False)
            parts.append(image.values[chosen])
        rows = np.concatenate(parts).astype(np.float64)
        if not len(rows):
            raise InputError("all descriptors of all images are zero: there is no texture to learn from")
        return rows

    def _checked(self, images: Sequence[Descriptors], width: int) -> Sequence[Descriptors]:
        images = check_descriptors(images)
        for number, image in enumerate(images):
            if image.values.shape[1] != width:
                raise InputError(
                    f"{type(self).__name__}: descriptors of image {number} have {image.values.shape[1]} numbers, the"
                    f" vocabulary was made of {width}"
                )
        return images


class DescriptorPCA(DescriptorStep):
    """Principal components of descriptors: (l - mean) W.

    Args:
        n_components: how many.
        samples: of how many descriptors, at most, they are computed.
        random_state: chooses them.
    """

    def __init__(self, n_components: int = 64, *, samples: int = 100_000, random_state: Any = 0) -> None:
        self.n_components = n_components
        self.samples = samples
        self.random_state = random_state

    def fit(self, images: Sequence[Descriptors], y: Any = None) -> DescriptorPCA:
        """Compute the components."""
        components = whole_number(self.n_components, "DescriptorPCA: n_components")
        rows = self._rows(images)
        if components > min(rows.shape):
            raise InputError(f"DescriptorPCA: {components} components of {len(rows)} descriptors of {rows.shape[1]} numbers")
        fitted = PCA(components, svd_solver="full").fit(rows)
        self.mean_, self.components_ = fitted.mean_, fitted.components_
        return self

    def transform(self, images: Sequence[Descriptors]) -> list[Descriptors]:
        """The components of every descriptor."""
        check_is_fitted(self)
        images = self._checked(images, len(self.mean_))
        return [image.changed((image.values - self.mean_) @ self.components_.T) for image in images]

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """A scaler and a projection."""
        check_width(builder, stream, len(self.mean_))
        centred = builder.scaled(stream.value, self.mean_, 1.0)
        if centred is not stream.value:
            name_value(builder, centred, "centred")
        weights = builder.number(self.components_.T, "components")
        value = builder.node("DescriptorProjection", centred, weights, width=len(self.components_), like=centred)
        return stream.moved(name_value(builder, value, "descriptors"), self.transform)


class PooledStep(DescriptorStep):
    """Steps that pool descriptors in the cells of a pyramid."""

    pyramid: Pyramid

    def cells_of(self, image: Descriptors) -> Array:
        """Which cell of every level a descriptor lies in, numbered through all levels, [L, V]."""
        height, width = image.size
        x, y = image.positions.T
        return np.stack(
            [
                first
                + np.minimum((y * rows / height).astype(int), rows - 1) * columns
                + np.minimum((x * columns / width).astype(int), columns - 1)
                for first, rows, columns in self._levels()
            ],
            axis=1,
        )

    def _levels(self) -> list[tuple[int, int, int]]:
        """Number of the first cell, rows and columns of every level."""
        levels, first = [], 0
        for rows, columns in self.pyramid:
            levels.append((first, rows, columns))
            first += rows * columns
        return levels

    @property
    def cells(self) -> int:
        """Number of all cells."""
        return sum(rows * columns for rows, columns in self.pyramid)

    def names_in_cell(self) -> list[str]:
        """Names of the dimensions of one cell."""
        raise NotImplementedError(f"{type(self).__name__}.names_in_cell")

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the dimensions of the vector, as in ``word3``, or ``cell2/word3`` where there is more than one cell."""
        check_is_fitted(self)
        names = self.names_in_cell()
        if self.cells > 1:
            names = [f"cell{cell}/{name}" for cell in range(self.cells) for name in names]
        return np.asarray(names, dtype=object)

    def _check_pyramid(self) -> None:
        try:
            levels = [whole_numbers(level, "level") for level in self.pyramid]
        except (TypeError, InputError):
            levels = []
        if not levels or any(len(level) != 2 for level in levels):
            raise InputError(
                f"{type(self).__name__}: a pyramid has levels of (rows, columns), as in ((1, 1), (2, 2)), not {self.pyramid!r}"
            )

    def _emit_cells(self, builder: Builder, stream: Stream) -> ir.Value:
        """The cells as a value [L, V], made of positions and the size of the image alone."""
        op = builder.op
        positions = stream.positions  # [L, 2] (x, y)
        assert positions is not None
        extent = op.Gather(op.Cast(op.Shape(builder.input), to=int(op.dtype)), op.integers([2, 1]), axis=0)  # width, height
        levels = []
        for first, rows, columns in self._levels():
            count = op.number(np.asarray([columns, rows], np.float64))
            inside = op.Cast(op.Floor(op.Div(op.Mul(positions, count), extent)), to=int(ir.DataType.INT64))
            inside = op.Min(inside, op.integers([columns - 1, rows - 1]))
            number = op.ReduceSum(op.Mul(inside, op.integers([1, columns])), op.integers([1]), keepdims=1)
            levels.append(op.Add(number, op.integers([first])))
        cells: ir.Value = op.Concat(*levels, axis=1) if len(levels) > 1 else levels[0]
        length = stream.value.shape[1] if stream.value.shape is not None else None
        cells.type, cells.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([length, len(levels)])
        return cells


def check_width(builder: Builder, stream: Stream, width: int) -> None:
    """Refuse what are no descriptors, or those of other numbers than a step was fitted on.

    Raises:
        InputError: they are of others.
        ModelError: there are no local features before the step.
    """
    if stream.positions is None:
        raise ModelError(f"{builder.where}: there are no local descriptors before this step; put DenseSIFT there")
    given = None if stream.value.shape is None else stream.value.shape[-1]
    if isinstance(given, int) and given != width:
        raise InputError(
            f"{builder.where}: descriptors of {given} numbers arrive, and it was fitted on {width}; fit all steps together"
        )


def check_descriptors(images: Any) -> Sequence[Descriptors]:
    """Refuse what are no descriptors of images.

    Raises:
        InputError: no images, or something else than ``Descriptors``.
    """
    if isinstance(images, Descriptors) or not isinstance(images, Sequence) or not len(images):
        raise InputError("give the descriptors of one or more images, as a list of Descriptors, which DenseSIFT makes of images")
    for number, image in enumerate(images):
        if not isinstance(image, Descriptors):
            raise InputError(f"image {number}: {type(image).__name__} are no Descriptors; put DenseSIFT before this step")
        if not len(image):
            raise InputError(f"image {number} of {image.size[0]} x {image.size[1]} pixels has no descriptors")
    return images
