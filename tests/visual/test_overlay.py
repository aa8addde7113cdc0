"""Pictures and relevance in one: what is shown where, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from graphlrp.errors import InputError
from graphlrp.visual import colour_map, heatmap, overlay, positive_mask, relevance_overlay

IMAGE = np.random.default_rng(0).integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
HEAT = np.random.default_rng(1).integers(0, 256, size=(4, 6, 3), dtype=np.uint8)


def test_overlay_blends() -> None:
    np.testing.assert_array_equal(overlay(IMAGE, HEAT, 0.0), IMAGE)
    np.testing.assert_array_equal(overlay(IMAGE, HEAT, 1.0), HEAT)
    expected = np.rint(0.75 * IMAGE.astype(float) + 0.25 * HEAT.astype(float))
    np.testing.assert_array_equal(overlay(IMAGE, HEAT, 0.25), expected)


def test_overlay_with_an_opacity_for_every_pixel() -> None:
    alpha = np.zeros((4, 6))
    alpha[1, 2] = 1.0
    blended = overlay(IMAGE, HEAT, alpha)
    np.testing.assert_array_equal(blended[1, 2], HEAT[1, 2])
    blended[1, 2] = IMAGE[1, 2]
    np.testing.assert_array_equal(blended, IMAGE)


def test_overlay_does_not_change_its_arguments() -> None:
    before = IMAGE.copy()
    overlay(IMAGE, HEAT)
    relevance_overlay(IMAGE, np.ones((4, 6)))
    positive_mask(IMAGE, np.ones((4, 6)))
    np.testing.assert_array_equal(IMAGE, before)


def test_relevance_overlay_is_grey_where_nothing_mattered() -> None:
    relevance = np.zeros((4, 6))
    relevance[2, 3], relevance[0, 0] = 2.0, -2.0
    pixels = relevance_overlay(IMAGE, relevance).astype(int)
    coloured = np.ptp(pixels, axis=-1) > 0
    assert np.argwhere(coloured).tolist() == [[0, 0], [2, 3]]
    assert pixels[2, 3, 0] > pixels[2, 3, 2]
    assert pixels[0, 0, 2] > pixels[0, 0, 0]


def test_relevance_overlay_shows_the_end_colour_at_full_opacity() -> None:
    relevance = np.zeros((4, 6))
    relevance[2, 3] = 2.0
    pixels = relevance_overlay(IMAGE, relevance, colours="bwr", alpha=1.0)
    assert tuple(pixels[2, 3].tolist()) == (255, 0, 0)
    paler = relevance_overlay(IMAGE, relevance, colours="bwr", alpha=1.0, scale=8.0)
    assert tuple(paler[2, 3].tolist()) != (255, 0, 0)


def test_positive_mask_lights_positive_relevance_only() -> None:
    relevance = np.zeros((4, 6))
    relevance[0, 0], relevance[1, 1], relevance[2, 2] = 4.0, 1.0, -4.0
    pixels = positive_mask(IMAGE, relevance, dim=0.2)
    light = np.full((4, 6), 0.2)
    light[0, 0], light[1, 1] = 1.0, 0.2 + 0.8 * 0.5
    np.testing.assert_array_equal(pixels, np.rint(IMAGE * light[..., np.newaxis]))


@pytest.mark.parametrize(
    "image",
    [
        IMAGE.astype(np.float32) / 255,
        IMAGE[..., 0],
        IMAGE[..., :2],
        np.zeros((3, 4, 6), np.uint8),
        np.zeros((0, 6, 3), np.uint8),
    ],
)
def test_images_must_be_bytes_with_three_channels_last(image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\]"):
        overlay(image, HEAT)
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\]"):
        positive_mask(image, np.zeros((4, 6)))


def test_sizes_must_agree() -> None:
    with pytest.raises(InputError, match="differ in size"):
        overlay(IMAGE, HEAT[:3])
    for shape in [(6, 4), (4, 6, 3), (1, 4, 6)]:
        with pytest.raises(InputError, match="does not fit the picture"):
            relevance_overlay(IMAGE, np.zeros(shape))
        with pytest.raises(InputError, match="does not fit the picture"):
            positive_mask(IMAGE, np.zeros(shape))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_opacity_must_be_a_fraction(alpha: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        overlay(IMAGE, HEAT, alpha)


def test_opacity_and_dim_are_checked() -> None:
    with pytest.raises(InputError, match="alpha must be one number"):
        overlay(IMAGE, HEAT, np.zeros((6, 4)))
    with pytest.raises(InputError, match="dim"):
        positive_mask(IMAGE, np.zeros((4, 6)), dim=1.5)


def test_heatmaps_can_be_laid_over_pictures() -> None:
    relevance = np.zeros((4, 6))
    np.testing.assert_array_equal(
        overlay(IMAGE, heatmap(relevance), 1.0), np.broadcast_to(colour_map("seismic").neutral, (4, 6, 3))
    )
