"""SIFT turned to its main direction, against sums over pixels, and against itself in turned images."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp.bow import BagOfWords, DenseSIFT, DescriptorPCA, Descriptors, FisherVector
from tests.plugins.bow.areas import explainer, textured

Array = np.ndarray[Any, Any]
SIZES, STEP = (2, 3), 5
ROOMS = (12, 18)


def fitted(images: Any, **options: Any) -> DenseSIFT:
    return DenseSIFT(**{"step": STEP, "bin_sizes": SIZES, "orientation": "main", **options}).fit(images)


def places(height: int, width: int, sizes: tuple[int, ...] = SIZES, step: int = STEP) -> list[tuple[int, int, int]]:
    """x, y and b of all descriptors: the square that holds the area however it is turned lies in the image."""
    found = []
    for size in sizes:
        half = int(np.ceil(2 * np.sqrt(2) * size))
        for y in range(half, height - half + 1, step):
            found += [(x, y, size) for x in range(half, width - half + 1, step)]
    return found


def gradient(grey: Array, row: int, column: int) -> tuple[float, float]:
    """Length, and angle in degrees, of the gradient at an inner pixel."""
    right, up = grey[row, column + 1] - grey[row, column - 1], grey[row - 1, column] - grey[row + 1, column]
    return float(np.hypot(right, up)), float(np.degrees(np.arctan2(up, right)) % 360)


def near(angle: float, direction: float) -> float:
    """t of the difference of two angles, in units of 45°."""
    apart = abs(angle - direction) % 360
    return max(0.0, 1 - min(apart, 360 - apart) / 45)


def inner_pixels(grey: Array) -> list[tuple[int, int, float, float]]:
    rows, columns = grey.shape
    return [(r, c, *gradient(grey, r, c)) for r in range(1, rows - 1) for c in range(1, columns - 1)]


def main_direction(pixels: list[tuple[int, int, float, float]], x: int, y: int, size: int) -> float:
    """The fullest of 48 bins."""
    bins = np.zeros(48)
    for row, column, length, angle in pixels:
        u, v = (column - x) / size, (row - y) / size
        if max(abs(u), abs(v)) <= 2:
            for k in range(48):
                bins[k] += length * np.exp(-(u**2 + v**2) / 2) * near(angle, 7.5 * k)
    return 7.5 * int(bins.argmax())


def turned(u: float, v: float, angle: float) -> tuple[float, float]:
    """To the right and down on the image, of a place that is (u, v) in coordinates turned by an angle."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return c * u + s * v, c * v - s * u


def normalised(histogram: Array, clip: float = 0.2) -> Array:
    if not histogram.any():
        return histogram.ravel()
    clipped = np.minimum(histogram / np.linalg.norm(histogram), clip).ravel()
    return np.asarray(clipped / np.linalg.norm(clipped))


def exact(pixels: list[tuple[int, int, float, float]], x: int, y: int, size: int, angle: float) -> Array:
    """The descriptor in turned coordinates, all pixels with their own weights."""
    histogram = np.zeros((4, 4, 8))
    for row, column, length, own in pixels:
        u, v = turned((column - x) / size, (row - y) / size, -angle)
        if max(abs(u), abs(v)) < 2.5:
            weight = length * np.exp(-(u**2 + v**2) / 8)
            for k in range(4):
                for m in range(4):
                    inside = max(0.0, 1 - abs(v - k + 1.5)) * max(0.0, 1 - abs(u - m + 1.5))
                    for o in range(8):
                        histogram[k, m, o] += weight * inside * near(own - angle, 45 * o)
    return normalised(histogram)


def sampled(pixels: list[tuple[int, int, float, float]], x: int, y: int, size: int, angle: float) -> Array:
    """The same of gradients that were smoothed, at the half pixels (pixels for bins from 6 on) next to 9 x 9 turned places."""
    fine, width = (2 if size < 6 else 1), max(size / 2, 1)
    histogram = np.zeros((4, 4, 8))

    def line(at: float, pixel: int) -> float:
        weights = [max(0.0, 1 - abs(at - p) / width) for p in range(int(at) - size, int(at) + size + 2)]
        return max(0.0, 1 - abs(at - pixel) / width) / sum(weights)

    for i in range(-4, 5):
        for j in range(-4, 5):
            v, u = i / 2, j / 2
            right, down = (np.rint(np.round(z * size * fine, 6)) / fine for z in turned(u, v, angle))
            directions = np.zeros(8)
            for row, column, length, own in pixels:
                if abs(column - x - right) < width and abs(row - y - down) < width:
                    share = length * line(x + right, column) * line(y + down, row)
                    directions += [share * near(own - angle, 45 * o) for o in range(8)]
            for k in range(4):
                for m in range(4):
                    inside = max(0.0, 1 - abs(v - k + 1.5)) * max(0.0, 1 - abs(u - m + 1.5))
                    histogram[k, m] += inside * np.exp(-(u**2 + v**2) / 8) * directions
    return normalised(histogram)


@pytest.fixture(scope="module")
def described() -> tuple[Array, Descriptors]:
    image = gaussian_filter(textured((27, 24)).astype(float), 0.6)
    return image, fitted([image]).transform([image])[0]


def test_places_and_main_directions(described: tuple[Array, Descriptors]) -> None:
    image, found = described
    pixels, expected = inner_pixels(image), places(*image.shape)
    np.testing.assert_array_equal(found.positions, [(x, y) for x, y, _ in expected])
    np.testing.assert_allclose(found.angles, [main_direction(pixels, *place) for place in expected])
    assert len(set(found.angles)) > 6


def test_descriptors_are_those_of_the_definition(described: tuple[Array, Descriptors]) -> None:
    image, found = described
    pixels = inner_pixels(image)
    for place, angle, values in zip(places(*image.shape), found.angles, found.values, strict=True):
        np.testing.assert_allclose(values, sampled(pixels, *place, angle), atol=2e-6)


def test_descriptors_are_nearly_those_of_all_pixels(described: tuple[Array, Descriptors]) -> None:
    image, found = described
    pixels = inner_pixels(image)
    likeness = [
        np.corrcoef(values, exact(pixels, *place, angle))[0, 1]
        for place, angle, values in zip(places(*image.shape), found.angles, found.values, strict=True)
    ]
    assert min(likeness) > 0.95 and np.mean(likeness) > 0.98


def test_larger_bins_are_sampled_at_pixels() -> None:
    image = gaussian_filter(textured((50, 46)).astype(float), 1)
    (found,) = fitted([image], bin_sizes=(6,), step=9).transform([image])
    pixels = inner_pixels(image)
    for place, angle, values in list(zip(places(50, 46, (6,), 9), found.angles, found.values, strict=True))[:2]:
        assert angle == main_direction(pixels, *place)
        np.testing.assert_allclose(values, sampled(pixels, *place, angle), atol=2e-6)


def test_float64_colours_and_several_images() -> None:
    images = np.stack([textured((24, 22, 3), seed) for seed in range(2)])
    features = fitted(images)
    found = features.transform(images)
    double = explainer(features, dtype="float64")(images.astype(float), 0).output
    np.testing.assert_allclose(double.reshape(2, -1, 128), [own.values for own in found], atol=3e-6)
    both = fitted(images, clip=0.3, root=True).transform(list(images))
    for own, image in zip(both, images, strict=True):
        np.testing.assert_array_equal(own.values, fitted([image], clip=0.3, root=True).transform([image])[0].values)


def test_turned_by_a_right_angle_descriptors_stay_the_same() -> None:
    """Exactly, at the place where the pixel comes to lie; its angle is 90° more."""
    for size, step in ((2, 3), (3, 4), (6, 7)):
        room = 2 * int(np.ceil(2 * np.sqrt(2) * size))
        length = room + 1 + 3 * step  # so that places come to lie on places
        image = textured((length, length), size).astype(float)
        features = fitted([image], bin_sizes=(size,), step=step)
        before, after = features.transform([image, np.rot90(image)])
        place = {tuple(position): number for number, position in enumerate(after.positions)}
        order = [place[y, length - 1 - x] for x, y in before.positions]
        assert sorted(order) == list(range(16))
        np.testing.assert_allclose(after.values[order], before.values, atol=1e-5)
        np.testing.assert_allclose(after.angles[order], (before.angles + 90) % 360)


def test_turned_by_any_angle_descriptors_stay_nearly_the_same() -> None:
    generator = np.random.default_rng(0)
    noise = gaussian_filter(generator.normal(size=(121, 121)), 2)
    image = 128 + 40 * noise / noise.std()
    y, x = np.mgrid[:121, :121] - 60.0
    for angle in (20.0, 50.0):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        moved = map_coordinates(image, [60 + s * x + c * y, 60 + c * x - s * y], order=3, mode="nearest")
        likeness = {}
        for orientation in ("main", "upright"):
            features = DenseSIFT(1, (6,), orientation=orientation).fit([image])
            before, after = features.transform([image, moved])
            table = {tuple(position): values for position, values in zip(before.positions, before.values, strict=True)}
            pairs = []
            for (u, v), values in zip(after.positions - 60, after.values, strict=True):
                origin = (60 + round(c * u - s * v), 60 + round(s * u + c * v))
                if max(abs(u), abs(v)) < 25 and (u + v) % 5 == 0:
                    pairs.append(float(values @ table[origin]))
            likeness[orientation] = np.mean(pairs)
        print(angle, likeness)
        assert likeness["main"] > 0.95 > 0.86 > likeness["upright"]


def spread(relevance: Array, found: Descriptors, shape: tuple[int, int], cells: int) -> Array:
    """R_p: the pixels that the middles of pixels of upright areas fall on when they are turned."""
    pixels = np.zeros(shape)
    for own, (x, y, size), angle in zip(relevance, places(*shape), found.angles, strict=True):
        for i in range(4 * size):
            for j in range(4 * size):
                right, down = turned(j + 0.5 - 2 * size, i + 0.5 - 2 * size, angle)
                row, column = y + int(np.floor(round(down, 6))), x + int(np.floor(round(right, 6)))
                pixels[row, column] += own[i * cells // (4 * size), j * cells // (4 * size)] * (cells / (4 * size)) ** 2
    return pixels


@pytest.mark.parametrize(("policy", "static"), [("area", False), ("bins", True)])
def test_relevance_goes_to_turned_areas(policy: str, static: bool) -> None:
    shape = (27, 24)
    images = np.stack([textured(shape, seed) for seed in range(2)]).astype(float)
    features = fitted(images)
    found = features.transform(images)
    relevance = np.random.default_rng(3).normal(size=(2, len(found[0]), 128))
    explain = explainer(features, shape if static else None, dtype="float64", ledger="strict", sift=policy)
    maps = explain(images, relevance.reshape(2, -1)).relevance
    parts = relevance.reshape(2, -1, 4, 4, 8).sum(4)
    parts = parts if policy == "bins" else parts.sum((2, 3), keepdims=True)
    expected = [spread(part, own, shape, 4 if policy == "bins" else 1) for part, own in zip(parts, found, strict=True)]
    np.testing.assert_allclose(maps, expected, atol=1e-12)
    np.testing.assert_allclose(maps.reshape(2, -1).sum(1), relevance.sum((1, 2)), atol=1e-10)
    single = explainer(features, shape if static else None, sift=policy)(images.astype(np.float32), relevance.reshape(2, -1))
    np.testing.assert_allclose(single.relevance, maps, atol=1e-5)


def test_relevance_of_a_turned_picture_is_the_turned_map() -> None:
    size, step = 3, 4
    length = 2 * int(np.ceil(2 * np.sqrt(2) * size)) + 1 + 4 * step
    image = textured((length, length), 4).astype(float)
    features = DenseSIFT(step, (size,), orientation="main")
    pipeline = make_pipeline(features, BagOfWords(4, samples=200), LinearSVC()).fit([image, image[::-1]], [0, 1])
    explain = graphlrp.load(pipeline, dtype="float64")
    before, after = (explain(x[None]).relevance[0] for x in (image, np.rot90(image)))
    # A middle is a pixel, the corner of four of which the area is around.
    np.testing.assert_allclose(np.roll(after, 1, axis=0), np.rot90(before), atol=1e-6)


def test_pipelines_and_files(tmp_path: Any) -> None:
    import onnxruntime

    images = [textured((40 + 2 * k, 44 - k), k).astype(float) for k in range(8)]
    labels = np.arange(8) % 2
    pipeline = make_pipeline(
        DenseSIFT((3, 4), (2, 3), orientation="main"), DescriptorPCA(6), FisherVector(2, pyramid=((1, 1), (1, 2))), LinearSVC()
    ).fit(images, labels)
    explanation = graphlrp.load(pipeline, graphlrp.composite("bag-of-words", deep=True), ledger=True)(images[:2])
    np.testing.assert_allclose(explanation.output, pipeline.decision_function(images[:2]), atol=1e-4)
    assert explanation.conservation_error.max() < 1e-4
    assert [own.shape for own in explanation.relevance] == [image.shape for image in images[:2]]
    x = images[0][None].astype(np.float32)
    graphlrp.convert(pipeline, dtype="float32").save(tmp_path / "pipeline.onnx")
    loaded = graphlrp.load(tmp_path / "pipeline.onnx", graphlrp.composite("bag-of-words", deep=True))
    np.testing.assert_allclose(loaded(x).relevance[0], explanation.relevance[0], atol=1e-5)
    loaded.save(tmp_path / "explainer.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "explainer.onnx")
    (relevance,) = session.run(["relevance"], {"input": x, "target": np.array([-1])})
    np.testing.assert_allclose(relevance[0], explanation.relevance[0], atol=1e-5)
    copy = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(copy.decision_function(images), pipeline.decision_function(images))


def test_what_is_not_possible_is_told() -> None:
    image = textured((27, 24)).astype(float)
    with pytest.raises(graphlrp.InputError, match="orientation must be 'upright' or 'main', not 'turned'"):
        fitted([image], orientation="turned")
    with pytest.raises(graphlrp.InputError, match="at least 18 x 18"):
        fitted([image[:17]])
    with pytest.raises(graphlrp.RuleError, match="have no gradient; use DenseSIFT"):
        explainer(fitted([image]), composite="gradient")
    assert not np.isnan(fitted([image]).transform([np.where(np.arange(24) > 20, image, 7)])[0].values).any()
