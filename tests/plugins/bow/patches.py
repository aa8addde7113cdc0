"""The simplest local features: the pixels of patches beside each other. Their relevance is that of the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.estimators.building import Builder, Stream

Array = np.ndarray[Any, Any]


class Patches(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Grey images [N, H, W] in patches of ``size`` x ``size`` pixels, row by row."""

    def __init__(self, size: int = 2) -> None:
        self.size = size

    def fit(self, images: Array, y: Any = None) -> Patches:
        self.input_shape = self.shape_ = tuple(images.shape[1:])
        return self

    def transform(self, images: Array) -> list[Descriptors]:
        n, (rows, columns) = self.size, (length // self.size for length in images.shape[1:])
        cut = images.reshape(-1, rows, n, columns, n).transpose(0, 1, 3, 2, 4).reshape(len(images), rows * columns, n * n)
        y, x = np.mgrid[:rows, :columns] * n + n / 2
        positions = np.stack([x.ravel(), y.ravel()], axis=1)
        return [Descriptors(values.astype(np.float32), positions, images.shape[1:]) for values in cut]

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        op, n = builder.op, self.size
        height, width = self.input_shape
        cut = op.Reshape(stream.value, [0, height // n, n, width // n, n])
        value = op.Reshape(op.Transpose(cut, perm=[0, 1, 3, 2, 4]), [0, height // n * (width // n), n * n])
        (first, *_) = self.transform(np.zeros((1, height, width)))
        moved = stream.moved(value, self.transform)
        return type(moved)(moved.value, moved.references, None, builder.number(first.positions, "positions"))


def images(count: int = 12, seed: int = 0, height: int = 8, width: int = 10) -> Array:
    """Grey images of two kinds, for ``np.arange(count) % 2``."""
    generator = np.random.default_rng(seed)
    x = generator.random((count, height, width))
    x[1::2, :, ::2] += 0.7
    return x
