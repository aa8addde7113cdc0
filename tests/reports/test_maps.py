"""Heatmaps whose colours live in their palette: pixels show R at any scale, and another palette is all that changes."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from graphlrp.errors import InputError
from graphlrp.reports.maps import heatmap_uri, overlay_uri, picture_uri, reduced, scales_of
from graphlrp.visual.colour import COLOUR_MAPS, colour_map, heatmap
from graphlrp.visual.overlay import relevance_overlay
from tests.reports.pages import picture, pixels

GENERATOR = np.random.default_rng(3)
MAPS = [GENERATOR.normal(size=(20, 30)) ** 3, 40 * GENERATOR.normal(size=(9, 7)), np.zeros((5, 5))]


@pytest.mark.parametrize("colours", COLOUR_MAPS)
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("percentile", [100.0, 90.0])
def test_heatmaps_are_those_of_the_figures(colours: str, joint: bool, percentile: float) -> None:
    for relevance, scales in zip(MAPS, scales_of(MAPS, percentile), strict=True):
        shown = pixels(heatmap_uri(relevance, scales, colour_map(colours), joint)).astype(int)
        # Half a level at R is √(|R| top) / 127; colours change by up to 510 between 0 and the scale.
        scale = scales[joint]
        expected = heatmap(relevance, colours=colours, scale=scale).astype(int)
        assert np.abs(shown - expected).max() <= 510 / 127 * (min(scales.top, scale) * scales.top) ** 0.5 / scale + 1
        assert (shown[relevance == 0] == colour_map(colours).neutral).all()


def test_scales_are_max_norms_or_percentiles_alone_and_together() -> None:
    first, second, nothing = scales_of(MAPS, 100.0)
    assert first.own == np.abs(MAPS[0]).max() and second.own == np.abs(MAPS[1]).max() and nothing.own == 1.0
    together = max(first.own, second.own)
    assert {first.joint, second.joint, nothing.joint, first.reach} == {together}
    clipped = scales_of(MAPS, 90.0)
    magnitudes = np.abs(np.concatenate([values.ravel() for values in MAPS]))
    assert clipped[0].own == np.percentile(np.abs(MAPS[0]), 90) and clipped[0].joint == np.percentile(magnitudes, 90)
    assert clipped[0].clipped and not first.clipped
    for values, scales in zip(MAPS, clipped, strict=True):
        assert scales.top >= scales.own and (scales.top >= min(scales.joint, np.abs(values).max()))
    with pytest.raises(InputError, match="percentile"):
        scales_of(MAPS, 0.0)


def test_only_the_palette_depends_on_colours_and_scale() -> None:
    scales = scales_of(MAPS, 95.0)[0]
    for uri in (heatmap_uri, overlay_uri):
        images = [
            picture(uri(MAPS[0], scales, colour_map(name), joint)) for name in ("seismic", "jet") for joint in (False, True)
        ]
        assert all(image.mode == "P" for image in images)
        levels = [np.asarray(image) for image in images]
        assert all((other == levels[0]).all() for other in levels[1:])
        palettes = [bytes(image.getpalette() or []) for image in images]
        assert len(set(palettes)) == 4
        # The middle is zero.
        middle = len(palettes[0]) // 6
        assert tuple(palettes[0][3 * middle : 3 * middle + 3]) == (255, 255, 255)


def test_overlay_is_that_of_the_figures() -> None:
    relevance = MAPS[0]
    image = GENERATOR.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    scales = scales_of([relevance], 100.0)[0]
    above = np.asarray(picture(overlay_uri(relevance, scales, colour_map("seismic"), False)).convert("RGBA"), np.float64)
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float64)[..., np.newaxis]
    # As the page does it: grey at 75 % over the neutral colour, then the colours at their opacity.
    below = 0.75 * grey + 0.25 * np.array(colour_map("seismic").neutral)
    alpha = above[..., 3:] / 255
    shown = (1 - alpha) * below + alpha * above[..., :3]
    expected = relevance_overlay(image, relevance, colours="seismic", scale=scales.own)
    # 31 levels on each side.
    assert np.abs(shown - expected).mean() < 4
    assert np.abs(shown - expected).max() < 40


def test_pictures_are_png_where_that_is_smaller_and_jpeg_else() -> None:
    noise = GENERATOR.integers(0, 256, (100, 80, 3), dtype=np.uint8)
    plain = np.full((100, 80, 3), 200, np.uint8)
    digit = GENERATOR.integers(0, 256, (28, 28, 3), dtype=np.uint8)
    assert picture_uri(noise).startswith("data:image/jpeg") and picture_uri(plain).startswith("data:image/png")
    np.testing.assert_array_equal(pixels(picture_uri(digit)), digit)
    assert picture(picture_uri(noise, grey=True)).mode == "L"


def test_large_maps_are_reduced_by_means() -> None:
    relevance = GENERATOR.normal(size=(400, 200)) * 1e-30
    image = GENERATOR.integers(0, 256, (400, 200, 3), dtype=np.uint8)
    small, means = reduced(image, relevance, 100)
    assert small.shape == (100, 50, 3) and small.dtype == np.uint8
    np.testing.assert_allclose(means, relevance.reshape(100, 4, 50, 4).mean((1, 3)), rtol=1e-4, atol=1e-36)
    same = reduced(image, relevance, 400)
    assert same[0] is image and same[1] is relevance


def test_palettes_are_in_chunks_that_the_script_finds() -> None:
    """The script walks the chunks and replaces what PLTE and tRNS hold; there is one of each, before the pixels."""
    scales = scales_of(MAPS, 95.0)[0]
    uri = overlay_uri(MAPS[0], scales, colour_map("seismic"), False)
    content = io.BytesIO(base64.b64decode(uri.partition(",")[2]))
    assert content.read(8) == b"\x89PNG\r\n\x1a\n"
    chunks = []
    while name := content.read(8):
        length = int.from_bytes(name[:4], "big")
        chunks.append((name[4:], length))
        content.read(length + 4)
    names = [name for name, _ in chunks]
    assert names.index(b"PLTE") < names.index(b"tRNS") < names.index(b"IDAT")
    assert dict(chunks)[b"PLTE"] == 3 * 63 and dict(chunks)[b"tRNS"] == 63
