"""Quantiles of colours against numpy's, and their relevance against (2.85)."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import graphlrp
from graphlrp.plugins.bow.colour import ColourQuantiles
from tests.plugins.bow.areas import areas, explainer, spread, textured

STEP, SIZES = 4, (7, 4)


def fitted(images: Any, **options: Any) -> ColourQuantiles:
    return ColourQuantiles(**{"step": STEP, "sizes": SIZES, "quantiles": 9, **options}).fit(images)


def expected(image: np.ndarray, quantiles: int = 9) -> np.ndarray:
    levels = [k / (quantiles + 1) for k in range(1, quantiles + 1)]
    rows = []
    for y, x, side in areas(*image.shape[:2], STEP, SIZES):
        pixels = image[y : y + side, x : x + side].reshape(side * side, -1)
        rows.append([np.quantile(channel, level) for channel in pixels.T for level in levels])
    return np.asarray(rows)


@pytest.mark.parametrize("shape", [(15, 18), (13, 17, 3)], ids=str)
@pytest.mark.parametrize("quantiles", [9, 1, 4])
def test_descriptors_are_quantiles_of_channels(shape: tuple[int, ...], quantiles: int) -> None:
    image = textured(shape)
    features = fitted([image], quantiles=quantiles)
    (found,) = features.transform([image])
    np.testing.assert_allclose(found.values, expected(image, quantiles), atol=1e-4)
    np.testing.assert_array_equal(
        found.positions, [(x + side / 2, y + side / 2) for y, x, side in areas(*shape[:2], STEP, SIZES)]
    )
    double = explainer(features, dtype="float64")(image[None].astype(float), 0).output
    np.testing.assert_allclose(double[0].reshape(found.values.shape), expected(image, quantiles), atol=1e-10)


@pytest.mark.parametrize("shape", [(15, 18), (13, 17, 3)], ids=str)
def test_relevance_goes_to_the_pixels_of_areas(shape: tuple[int, ...]) -> None:
    images = np.stack([textured(shape, seed) for seed in range(2)]).astype(float)
    features = fitted(images)
    count, width = expected(images[0]).shape
    relevance = np.random.default_rng(3).normal(size=(2, count, width))
    found = explainer(features, dtype="float64", ledger="strict")(images, relevance.reshape(2, -1)).relevance
    np.testing.assert_allclose(found, [spread(own.sum(1)[:, None, None], shape, STEP, SIZES) for own in relevance], atol=1e-12)
    np.testing.assert_allclose(found.reshape(2, -1).sum(1), relevance.sum((1, 2)), atol=1e-10)


def test_images_of_different_sizes_and_of_one_colour() -> None:
    images = [textured((15, 18, 3), 1), textured((9, 30, 3), 2), np.full((7, 7, 3), 20, np.uint8)]
    found = fitted(images).transform(images)
    for image, own in zip(images, found, strict=True):
        np.testing.assert_allclose(own.values, expected(image), atol=1e-4)


def test_estimators_are_cloned_and_pickled() -> None:
    image = textured((15, 18))
    features = fitted([image])
    found = features.transform([image])[0].values
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features)).transform([image])[0].values, found)
    np.testing.assert_array_equal(clone(features).fit_transform([image])[0].values, found)


def test_bad_input_is_refused() -> None:
    image = textured((15, 18))
    with pytest.raises(graphlrp.InputError, match="at least 7 x 7"):
        fitted([image, image[:6]])
    for options, message in (
        ({"sizes": 5}, "sizes must be"),
        ({"quantiles": 0}, "quantiles must be"),
        ({"step": -1}, "step must"),
    ):
        with pytest.raises(graphlrp.InputError, match=message):
            fitted([image], **options)


def test_there_is_no_gradient() -> None:
    image = textured((15, 18)).astype(float)
    with pytest.raises(graphlrp.GraphLRPError):
        explainer(fitted([image]), composite="gradient")
