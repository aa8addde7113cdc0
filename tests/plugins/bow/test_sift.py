"""Dense SIFT against its definition, pixel by pixel, and its relevance against (2.85)."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import graphlrp
from graphlrp.plugins.bow.sift import DenseSIFT, DenseSIFTMapping
from graphlrp.plugins.estimators.building import Builder, Stream
from tests.plugins.bow.areas import areas, explainer, sift, spread, textured

SIZES = (2, 3)
SIDES = (8, 12)
STEP = 5
GREY = np.array([0.299, 0.587, 0.114])


def fitted(images: Any, **options: Any) -> DenseSIFT:
    return DenseSIFT(**{"step": STEP, "bin_sizes": SIZES, **options}).fit(images)


def expected(image: np.ndarray, **options: Any) -> np.ndarray:
    grey = image @ GREY if image.ndim == 3 else image.astype(float)
    places = areas(*image.shape[:2], STEP, SIDES)
    return np.stack([sift(grey, x + side // 2, y + side // 2, side // 4, **options) for y, x, side in places])


@pytest.mark.parametrize("shape", [(21, 26), (17, 19, 3)], ids=str)
@pytest.mark.parametrize("options", [{}, {"clip": 0.1}, {"root": True}], ids=str)
def test_descriptors_are_those_of_the_definition(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    image = textured(shape)
    features = fitted([image], **options)
    (found,) = features.transform([image])
    # A square root makes 1e-5 of the rounding of a zero.
    np.testing.assert_allclose(found.values, expected(image, **options), atol=1e-4 if "root" in options else 2e-6)
    assert found.values.dtype == np.float32 and found.size == shape[:2]
    double = explainer(features, dtype="float64")(image[None].astype(float), 0).output
    np.testing.assert_allclose(double[0].reshape(-1, 128), expected(image, **options), atol=1e-7)  # clip is a float32


def test_a_single_edge_falls_where_it_should() -> None:
    image = np.zeros((33, 33))
    image[:, 17:] = 100  # brighter to the right: direction 0, columns 16 and 17
    (found,) = DenseSIFT(100, (8,), clip=1.0).fit([image]).transform([image])
    histogram = found.values[0].reshape(4, 4, 8)
    assert found.positions.tolist() == [[16, 16]]
    assert not histogram[..., 1:].any() and not histogram[:, [0, 3]].any() and (histogram[:, 1:3, 0] > 0).all()
    down = DenseSIFT(100, (8,), clip=1.0).fit([image]).transform([image.T])[0].values[0].reshape(4, 4, 8)
    np.testing.assert_allclose(down[..., 6], histogram[..., 0].T, atol=1e-6)  # brighter below: 270°, for the y axis goes up


def test_positions_are_the_middles_of_areas_inside_the_image() -> None:
    image = textured((21, 26))
    (found,) = fitted([image]).transform([image])
    middles = [(x + side / 2, y + side / 2) for y, x, side in areas(21, 26, STEP, SIDES)]
    np.testing.assert_array_equal(found.positions, middles)
    features = fitted([image])
    assert sum(rows * columns for rows, columns in features.grid.shape(21, 26)) == len(found) == len(middles)


def test_areas_are_those_of_the_descriptors() -> None:
    """In the order of descriptors, as boxes that Pillow crops; turned ones around the same middles."""
    image = textured((29, 26))
    for features, sides in ((fitted([image]), SIDES), (fitted([image], orientation="main"), None)):
        boxes = features.areas(29, 26)
        (found,) = features.transform([image])
        np.testing.assert_array_equal((boxes[:, :2] + boxes[:, 2:]) / 2, found.positions)
        if sides is not None:
            np.testing.assert_array_equal(boxes, [(x, y, x + side, y + side) for y, x, side in areas(29, 26, STEP, sides)])
        assert set(boxes[:, 2] - boxes[:, 0]) == set(SIDES)
    with pytest.raises(graphlrp.InputError, match="at least 12 x 12"):
        fitted([image]).areas(11, 26)


def test_every_scale_may_have_its_step() -> None:
    image = textured((29, 26)).astype(float)
    both = fitted([image], step=(4, 7))
    single = [fitted([image], step=step, bin_sizes=(size,)) for step, size in zip((4, 7), SIZES, strict=True)]
    (found,) = both.transform([image])
    apart = [features.transform([image])[0] for features in single]
    np.testing.assert_array_equal(found.values, np.concatenate([own.values for own in apart]))
    np.testing.assert_array_equal(found.positions, np.concatenate([own.positions for own in apart]))
    np.testing.assert_array_equal(both.areas(29, 26), np.concatenate([features.areas(29, 26) for features in single]))
    relevance = np.random.default_rng(0).normal(size=(1, len(found), 128))
    parts = np.split(relevance, [len(apart[0])], axis=1)
    maps = explainer(both, dtype="float64")(image[None], relevance.reshape(1, -1)).relevance
    expected = sum(
        explainer(features, dtype="float64")(image[None], part.reshape(1, -1)).relevance
        for features, part in zip(single, parts, strict=True)
    )
    np.testing.assert_allclose(maps, expected, atol=1e-12)


@pytest.mark.parametrize("policy", ["area", "bins"])
@pytest.mark.parametrize("shape", [(21, 26), (17, 19, 3)], ids=str)
@pytest.mark.parametrize("sizes", [SIZES, (3,)], ids=str)
@pytest.mark.parametrize("static", [False, True], ids=["any size", "one size"])
def test_relevance_goes_to_the_pixels_of_areas(policy: str, shape: tuple[int, ...], sizes: tuple[int, ...], static: bool) -> None:
    images = np.stack([textured(shape, seed) for seed in range(2)]).astype(float)
    features = fitted(images, bin_sizes=sizes)
    sides = tuple(4 * size for size in sizes)
    count = len(list(areas(*shape[:2], STEP, sides)))
    relevance = np.random.default_rng(3).normal(size=(2, count, 128))
    explain = explainer(features, shape if static else None, dtype="float64", ledger="strict", sift=policy)
    found = explain(images, relevance.reshape(2, -1)).relevance
    cells = 4 if policy == "bins" else 1
    parts = relevance.reshape(2, count, 4, 4, 8).sum(4)
    parts = parts if policy == "bins" else parts.sum((2, 3), keepdims=True)
    np.testing.assert_allclose(found, [spread(part, shape, STEP, sides, cells) for part in parts], atol=1e-12)
    np.testing.assert_allclose(found.reshape(2, -1).sum(1), relevance.sum((1, 2)), atol=1e-10)
    single = explainer(features, shape if static else None, sift=policy)(images.astype(np.float32), relevance.reshape(2, -1))
    np.testing.assert_allclose(single.relevance, found, atol=1e-5)


def test_pixels_outside_all_areas_get_nothing() -> None:
    image = textured((22, 20)).astype(float)
    features = fitted([image], bin_sizes=(3,))  # rows 0, 5, 10 and columns 0, 5 of areas of 12 pixels
    relevance = np.ones((1, 6 * 128))
    for policy in ("area", "bins"):
        found = explainer(features, dtype="float64", sift=policy)(image[None], relevance).relevance[0]
        assert not found[22:].any() and not found[:, 17:].any() and (found[:22, :17] > 0).all()


def test_images_of_different_sizes_are_described_one_by_one() -> None:
    images = [textured((21, 26), 1), textured((14, 30), 2), textured((21, 26), 3)]
    found = fitted(images).transform(images)
    for image, own in zip(images, found, strict=True):
        np.testing.assert_allclose(own.values, fitted([image]).transform([image])[0].values)
        assert own.size == image.shape and len(own.positions) == len(own)
    explain = explainer(fitted(images), dtype="float64")
    for image in images[:2]:
        relevance = explain(image[None].astype(float), 5).relevance
        assert relevance.shape == (1, *image.shape) and relevance.sum() == pytest.approx(1)
    batch = fitted(images).transform(np.stack(images[::2]))
    np.testing.assert_array_equal(batch[1].values, found[2].values)


def test_descriptors_without_texture_are_zero() -> None:
    image = np.full((40, 40), 77, np.uint8)
    image[20:, 20:] = textured((20, 20))
    for root in (False, True):
        (found,) = fitted([image], root=root).transform([image])
        assert np.isfinite(found.values).all()
        empty = ~found.values.any(1)
        assert 0 < empty.sum() < len(found)
        np.testing.assert_allclose(np.linalg.norm(found.values[~empty], axis=1), 1, atol=1e-5)
    gradient = explainer(fitted([image]), composite="gradient", dtype="float64")(image[None].astype(float), 130).relevance
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("root", [False, True])
def test_gradient_is_that_of_the_descriptors(root: bool) -> None:
    generator = np.random.default_rng(0)
    image = generator.random((13, 14)) * 255
    explain = explainer(fitted([image], root=root), composite="gradient", dtype="float64")
    count = len(list(areas(13, 14, STEP, SIDES)))
    # Square roots of next to nothing are steep: weights of large numbers only.
    weights = generator.normal(size=(1, count * 128)) * (explain(image[None], 0).output > 0.02)
    gradient = explain(image[None], weights).relevance[0]
    for y, x in ((6, 6), (1, 3), (0, 5), (12, 13), (7, 2)):
        moved = np.zeros_like(image)
        moved[y, x] = 1e-5
        above, below = (explain(other[None], 0).output @ weights[0] for other in (image + moved, image - moved))
        assert gradient[y, x] == pytest.approx(float((above - below)[0]) / 2e-5, rel=1e-4, abs=1e-8)


def test_positions_are_constants_of_the_decomposition() -> None:
    image = textured((21, 26)).astype(float)
    features = fitted([image])
    builder = Builder(features.input_shape)
    stream = features.lower(builder, Stream(builder.input))
    assert stream.positions is not None
    op = builder.op
    both = op.Concat(stream.value, op.Add(op.Mul(stream.value, 0.0), op.ReduceMean(stream.positions)), axis=2)
    model = builder.finish(op.ReduceSum(both, op.integers([1]), keepdims=0), "out", single=False)
    explanation = graphlrp.load(model, "basic", plugins=[DenseSIFTMapping], dtype="float64", ledger="strict")(image[None], 128)
    assert explanation.relevance.sum() == pytest.approx(0)
    assert sum(float(entry.constant[0]) for entry in explanation.ledger) == pytest.approx(float(explanation.output[0, 128]))


def test_estimators_are_cloned_and_pickled() -> None:
    image = textured((21, 26))
    features = fitted([image], clip=0.3, root=True)
    found = features.transform([image])[0].values
    copy = pickle.loads(pickle.dumps(features))
    np.testing.assert_array_equal(copy.transform([image])[0].values, found)
    again = clone(features)
    assert again.get_params() == features.get_params() and not hasattr(again, "channels_")
    np.testing.assert_array_equal(again.fit_transform([image])[0].values, found)
    # Another parameter, another graph.
    assert len(features.set_params(step=2).transform([image])[0]) > len(found)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([textured((21, 26)), textured((11, 26))], "image 1 is 11 pixels high and 26 wide.*at least 12 x 12"),
        ([textured((21, 26)), textured((21, 26, 3))], r"image 0 is \[21, 26\], image 1 \[21, 26, 3\]"),
        ([textured((21, 26, 4))], r"image 0 has shape \[21, 26, 4\]"),
        (textured((21, 26)), r"a single one needs a leading axis"),
        ([], "no images"),
        (None, "images are an array"),
        ("photo.png", "read the files first"),
        ([np.full((21, 26), np.nan)], "image 0 holds NaN"),
        ([np.zeros((21, 26), complex)], "image 0 is of type complex128"),
    ],
    ids=str,
)
def test_bad_images_are_refused(images: Any, message: str) -> None:
    with pytest.raises(graphlrp.InputError, match=message):
        fitted(images)
    with pytest.raises(graphlrp.InputError, match=message):
        fitted([textured((21, 26))]).transform(images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0}, "step must be"),
        ({"step": 1.5}, "step must be"),
        ({"step": (3, 4, 5)}, "one for each of the 2 sizes"),
        ({"bin_sizes": ()}, "bin_sizes must be"),
        ({"bin_sizes": 4}, "bin_sizes must be"),
        ({"bin_sizes": (4, -1)}, "bin_sizes must be"),
        ({"clip": 0}, "clip must be"),
        ({"clip": "much"}, "clip must be"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(graphlrp.InputError, match=message):
        fitted([textured((21, 26))], **options)


def test_what_cannot_be_described_is_refused() -> None:
    image = textured((21, 26))
    with pytest.raises(graphlrp.InputError, match="image 1 has no gradient"):
        fitted([image]).transform([image, np.full((21, 26), 9)])
    colour = np.tile(np.array([213, 77, 11], np.uint8), (53, 61, 1))
    with pytest.raises(graphlrp.InputError, match="image 0 has no gradient"):
        fitted([colour]).transform([colour])
    with pytest.raises(graphlrp.InputError, match="not fitted"):
        DenseSIFT().transform([textured((50, 50))])
    with pytest.raises(graphlrp.InputError, match=r"have 3 channel\(s\)"):
        fitted([image]).transform([textured((21, 26, 3))])
