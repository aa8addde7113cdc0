"""Dense SIFT beside OpenCV's descriptor at the same keypoints, on photographs (opt-in: needs OpenCV)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acceptance.sources import SourceError, packaged_file
from graphlrp.plugins.bow.sift import DenseSIFT

cv2 = pytest.importorskip("cv2")

BINS = (3, 4, 6, 8)
STEP = 7
UNBLURRED = 0.5
"""The blur that OpenCV takes every image to have: asked for as much, it adds next to none."""

PHOTOS = ("camera.png", "coins.png", "chelsea.png", "coffee.png", "rocket.jpg")


def photo(name: str, folder: Path) -> Image.Image:
    try:
        path = packaged_file("scikit-image", "0.26.0", f"skimage/data/{name}", folder)
    except SourceError as error:
        pytest.skip(str(error))
    with Image.open(path) as image:
        return image.resize((480, 360))


def compare(image: np.ndarray, grey: np.ndarray, orientation: str = "upright") -> list[np.ndarray]:
    """Correlation of our descriptors with OpenCV's, per scale; those that either of them leaves zero are left out."""
    features = DenseSIFT(STEP, BINS, orientation=orientation).fit([image])
    (found,) = features.transform([image])
    # OpenCV measures angles clockwise.
    angles = np.zeros(len(found)) if found.angles is None else (360 - found.angles) % 360
    extractor = cv2.SIFT_create(sigma=UNBLURRED)
    correlations, first = [], 0
    for size, (rows, columns) in zip(BINS, features.grid.shape(360, 480), strict=True):
        count = rows * columns
        part = slice(first, first + count)
        first += count
        places = zip(found.positions[part], angles[part], strict=True)
        keypoints = [cv2.KeyPoint(float(x), float(y), 2 * size / 3, float(angle), 1.0, 0) for (x, y), angle in places]
        kept, theirs = extractor.compute(grey, keypoints)
        np.testing.assert_array_equal([point.pt for point in kept], found.positions[part])
        # OpenCV rounds 512 times the numbers to bytes, and makes 255 of what is above.
        ours = np.minimum(512 * found.values[part], 255)
        described = theirs.any(1) & ours.any(1)
        assert described.mean() > 0.95
        centred = [table[described] - table[described].mean(1, keepdims=True) for table in (ours, theirs)]
        lengths = np.prod([np.linalg.norm(table, axis=1) for table in centred], axis=0)
        correlation = (centred[0] * centred[1]).sum(1) / lengths
        correlations.append(correlation)
        print(
            f"bins of {size}: {described.sum()} of {count} descriptors, correlation at least {correlation.min():.4f}, 1 % below"
            f" {np.quantile(correlation, 0.01):.4f}, median {np.median(correlation):.4f}, mean {correlation.mean():.5f};"
            f" difference at most {np.abs(ours - theirs).max():.1f} of 255"
        )
    assert first == len(found)
    return correlations


@pytest.mark.parametrize("name", PHOTOS)
def test_descriptors_of_grey_images_are_those_of_opencv(name: str, tmp_path: Path) -> None:
    grey = np.asarray(photo(name, tmp_path).convert("L"))
    assert all(correlation.min() >= 0.99 for correlation in compare(grey, grey))


@pytest.mark.parametrize("name", PHOTOS[2:])
def test_descriptors_of_colour_images_are_nearly_those_of_opencv(name: str, tmp_path: Path) -> None:
    image = np.asarray(photo(name, tmp_path).convert("RGB"))
    # OpenCV rounds the grey image to bytes, which changes a lot where there is next to no texture.
    assert all(correlation.mean() >= 0.97 for correlation in compare(image, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)))


@pytest.mark.parametrize("name", PHOTOS)
def test_turned_descriptors_are_nearly_those_of_opencv_at_these_angles(name: str, tmp_path: Path) -> None:
    """Ours are sampled at 9 x 9 places, OpenCV's are sums over all pixels."""
    grey = np.asarray(photo(name, tmp_path).convert("L"))
    for correlation in compare(grey, grey, "main"):
        assert correlation.min() >= 0.93 and np.quantile(correlation, 0.01) >= 0.97 and correlation.mean() >= 0.99
