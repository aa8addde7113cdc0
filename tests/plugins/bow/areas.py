"""Local features and their relevance, pixel by pixel from the definitions; nothing here is fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import graphlrp
from graphlrp.plugins.bow.features import LocalFeatures
from graphlrp.plugins.estimators.building import Builder, Stream

BINS = 4


def areas(height: int, width: int, step: int, sides: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """First row, first column and side of every area, in the order of descriptors."""
    for side in sides:
        for y in range(height):
            for x in range(width):
                if y % step == 0 and x % step == 0 and y + side <= height and x + side <= width:
                    yield y, x, side


def spread(relevance: np.ndarray, shape: tuple[int, ...], step: int, sides: tuple[int, ...], cells: int = 1) -> np.ndarray:
    """(2.85) for relevance [L, c, c] of the cells of areas, and an image of a shape."""
    pixels = np.zeros(shape[:2])
    for own, (first_y, first_x, side) in zip(relevance, areas(*shape[:2], step, sides), strict=True):
        cell = side // cells
        for y in range(side):
            for x in range(side):
                pixels[first_y + y, first_x + x] += own[y // cell, x // cell] / cell**2
    channels = shape[2] if len(shape) == 3 else 1
    return pixels if channels == 1 else np.repeat(pixels[..., None] / channels, channels, axis=2)


def sift(grey: np.ndarray, x: int, y: int, size: int, clip: float = 0.2, root: bool = False) -> np.ndarray:
    """The descriptor at a pixel, with bins of ``size`` pixels."""
    histogram = np.zeros((BINS, BINS, 8))
    for row in range(1, grey.shape[0] - 1):
        for column in range(1, grey.shape[1] - 1):
            v, u = (row - y) / size, (column - x) / size
            right, up = grey[row, column + 1] - grey[row, column - 1], grey[row - 1, column] - grey[row + 1, column]
            if max(abs(u), abs(v)) >= (BINS + 1) / 2:
                continue  # beyond the reach of the outer bins
            weight = np.hypot(right, up) * np.exp(-(u**2 + v**2) / (2 * (BINS / 2) ** 2))
            angle = np.degrees(np.arctan2(up, right)) % 360
            for k in range(BINS):
                for m in range(BINS):
                    near = max(0, 1 - abs(v - k + 1.5)) * max(0, 1 - abs(u - m + 1.5))
                    for o in range(8):
                        apart = abs(angle - 45 * o)
                        histogram[k, m, o] += weight * near * max(0, 1 - min(apart, 360 - apart) / 45)
    length = np.linalg.norm(histogram)
    if length == 0:
        return histogram.ravel()
    clipped = np.minimum(histogram / length, clip)
    value = clipped.ravel() / np.linalg.norm(clipped)
    return np.sqrt(value / value.sum()) if root else value


def textured(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """An image of bytes with edges and noise in it."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 60, shape)
    image[shape[0] // 3 :, shape[1] // 4 : shape[1] // 2] += 120
    image[: shape[0] // 2, shape[1] // 2 :] += np.arange(shape[0] // 2).reshape(-1, 1, *[1] * (len(shape) - 2)) * 3
    return np.clip(image, 0, 255).astype(np.uint8)


def explainer(features: LocalFeatures, shape: tuple[int | str, ...] | None = None, **options: Any) -> graphlrp.Explainer:
    """Explains descriptors [N, L · D]: with class weights as target, those are the relevance that arrives at them."""
    builder = Builder(features.input_shape if shape is None else shape)
    with builder.step("features"):
        stream = features.lower(builder, Stream(builder.input))
    flat = builder.op.Reshape(stream.value, builder.op.integers([0, -1]))
    model = builder.finish(flat, "descriptors", single=False)
    return graphlrp.load(model, plugins=[features.mapping], initial="one", **options)
