"""Relevance to colours: zero is neutral, signs are mirrored, sums are kept, scales are what they say."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from graphlrp.errors import InputError
from graphlrp.visual import (
    COLOUR_MAPS,
    ColourMap,
    colour_map,
    heatmap,
    normalise,
    pixel_relevance,
    relevance_scale,
)

NEUTRAL = {"seismic": (255, 255, 255), "bwr": (255, 255, 255), "coldnhot": (0, 0, 0), "jet": (128, 255, 128)}


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours, straight from the definition."""
    values = colours / 255.0
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_zero_is_neutral_whatever_the_range_of_the_map(name: str) -> None:
    neutral = colour_map(name).neutral
    for other in (5.0, -5.0, 1e-30, -1e30, 0.0):
        pixels = heatmap([[0.0, other]], colours=name)
        assert tuple(pixels[0, 0].tolist()) == neutral
        assert (tuple(pixels[0, 1].tolist()) == neutral) == (other == 0.0)


@pytest.mark.parametrize(("name", "neutral"), NEUTRAL.items())
def test_neutral_colours(name: str, neutral: tuple[int, int, int]) -> None:
    assert colour_map(name).neutral == neutral


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_warm_is_positive_and_cold_is_negative(name: str) -> None:
    for strength in (0.5, 1.0):
        for_it, against_it = colour_map(name)(np.array([strength, -strength])).astype(int)
        assert for_it[0] > for_it[2], "positive relevance must have more red than blue"
        assert against_it[2] > against_it[0], "negative relevance must have more blue than red"


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_positions_are_symmetric_about_zero(name: str) -> None:
    positions = colour_map(name).positions
    assert positions == tuple(-position for position in reversed(positions))
    assert positions[0] == -1.0
    assert list(positions) == sorted(set(positions))


@pytest.mark.parametrize("name", ["bwr", "coldnhot", "jet"])
def test_exchanging_red_and_blue_mirrors_the_map(name: str) -> None:
    values = np.linspace(0, 1, 51)
    positive, negative = colour_map(name)(values).astype(int), colour_map(name)(-values).astype(int)
    assert np.abs(positive - negative[:, ::-1]).max() <= 1  # rounding


@pytest.mark.parametrize("name", ["seismic", "bwr"])
def test_same_colours_as_matplotlib(name: str) -> None:
    values = np.linspace(-1, 1, 257)
    theirs = matplotlib.colormaps[name](0.5 * (values + 1), bytes=True)[:, :3].astype(int)
    # matplotlib rounds values to 256 entries and has none for zero.
    assert np.abs(colour_map(name)(values).astype(int) - theirs).max() <= 4


def test_colour_blind_map_is_as_dark_for_negative_as_for_positive_relevance() -> None:
    values = np.linspace(0, 1, 51)
    positive, negative = (lightness(colour_map("colour-blind")(sign * values)) for sign in (1, -1))
    assert np.abs(positive - negative).max() < 2.0
    for side in (positive, negative):
        assert (np.diff(side) < 0).all(), "stronger must be darker"


def test_aliases() -> None:
    assert colour_map("high-contrast") is colour_map("coldnhot")
    assert colour_map("colour-blind") is colour_map("blue-orange")
    own = ColourMap("own", (-1.0, 0.0, 1.0), ((0, 0, 0), (9, 9, 9), (255, 255, 255)))
    assert colour_map(own) is own
    assert heatmap([[0.0]], colours=own).tolist() == [[[9, 9, 9]]]


def test_unknown_colour_map_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'rainbow'.*seismic.*colour-blind"):
        colour_map("rainbow")


def test_pixel_relevance_keeps_the_sum_of_every_pixel() -> None:
    relevance = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    summed = pixel_relevance(relevance)
    assert summed.shape == (2, 4, 5)
    np.testing.assert_allclose(summed[1, 2, 3], relevance[1, :, 2, 3].sum())
    np.testing.assert_allclose(summed.sum(axis=(1, 2)), relevance.sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(pixel_relevance(relevance.transpose(0, 2, 3, 1), "NHWC"), summed)


def test_pixel_relevance_without_batch_or_channels() -> None:
    relevance = np.random.default_rng(1).normal(size=(3, 4, 5))
    np.testing.assert_allclose(pixel_relevance(relevance), relevance.sum(axis=0)[np.newaxis])
    np.testing.assert_allclose(pixel_relevance(relevance, "NHWC"), relevance.sum(axis=2)[np.newaxis])
    np.testing.assert_array_equal(pixel_relevance(relevance, "NHW"), relevance)
    np.testing.assert_array_equal(pixel_relevance(relevance[0]), relevance[:1])


def test_single_precision_is_summed_in_double_precision() -> None:
    relevance = np.array([2.0**25, 1.0, -(2.0**25)], dtype=np.float32).reshape(1, 3, 1, 1)
    assert pixel_relevance(relevance).item() == 1.0


@pytest.mark.parametrize("shape", [(), (7,)])
def test_signals_are_no_pictures(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="signal_figure"):
        pixel_relevance(np.zeros(shape))


@pytest.mark.parametrize(("shape", "layout"), [((1, 1, 3, 4, 5), "NCHW"), ((1, 3, 4, 5), "NHW")])
def test_relevance_must_fit_the_layout(shape: tuple[int, ...], layout: str) -> None:
    with pytest.raises(InputError, match="does not fit the layout"):
        pixel_relevance(np.zeros(shape), layout)


def test_unknown_layout() -> None:
    with pytest.raises(InputError, match="CHWN"):
        pixel_relevance(np.zeros((1, 3, 4, 5)), "CHWN")


def test_each_map_is_divided_by_its_own_maximum() -> None:
    maps = np.array([[[1.0, -4.0]], [[0.5, 0.25]]])
    np.testing.assert_array_equal(relevance_scale(maps), [4.0, 0.5])
    np.testing.assert_array_equal(normalise(maps), [[[0.25, -1.0]], [[1.0, 0.5]]])


def test_joint_normalisation_preserves_ratios_between_maps() -> None:
    maps = [np.array([[1.0, -4.0]]), np.array([[0.5], [2.0]])]
    np.testing.assert_array_equal(relevance_scale(maps, joint=True), [4.0, 4.0])
    first, second = normalise(maps, joint=True)
    np.testing.assert_array_equal(first, [[0.25, -1.0]])
    np.testing.assert_array_equal(second, [[0.125], [0.5]])


def test_normalisation_commutes_with_the_sign() -> None:
    maps = np.random.default_rng(2).normal(size=(3, 6, 6))
    for percentile in (100.0, 90.0):
        np.testing.assert_array_equal(
            normalise(-maps, percentile=percentile),
            [-values for values in normalise(maps, percentile=percentile)],
        )


def test_percentile_clips_outliers_only() -> None:
    values = np.ones((10, 10))
    values[0, 0] = -1000.0
    (clipped,) = normalise([values], percentile=95.0)
    assert clipped[0, 0] == -1.0
    assert clipped[5, 5] == 1.0
    (full,) = normalise([values])
    assert full[5, 5] == pytest.approx(0.001)


def test_a_sparse_map_is_not_divided_by_a_zero_percentile() -> None:
    values = np.zeros((10, 10))
    values[3, 4] = 2.0
    assert relevance_scale([values], percentile=50.0) == [2.0]


def test_a_map_of_zeros_stays_zero() -> None:
    assert relevance_scale(np.zeros((1, 2, 2))) == [1.0]
    assert not normalise(np.zeros((1, 2, 2)))[0].any()


@pytest.mark.parametrize("factor", [1e-300, 1e-9, 3.0, 1e300])
def test_heatmap_does_not_depend_on_the_unit_of_relevance(factor: float) -> None:
    values = np.random.default_rng(3).normal(size=(5, 6))
    np.testing.assert_array_equal(heatmap(values * factor), heatmap(values))


def test_heatmap_with_a_common_scale_is_paler() -> None:
    pixels = heatmap([[1.0]], colours="bwr", scale=4.0)
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [[[255, 191, 191]]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_there_is_no_colour_for_what_is_not_finite(value: float) -> None:
    for scale in (None, 1.0):
        with pytest.raises(InputError, match="NaN or infinity"):
            heatmap([[0.0, value]], scale=scale)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scale_must_be_positive(scale: float) -> None:
    with pytest.raises(InputError, match="positive and finite"):
        heatmap([[1.0]], scale=scale)


@pytest.mark.parametrize("percentile", [0.0, -5.0, 100.5, np.nan])
def test_percentile_must_be_one(percentile: float) -> None:
    with pytest.raises(InputError, match="percentile"):
        relevance_scale([np.ones((2, 2))], percentile=percentile)


def test_heatmap_wants_one_summed_map() -> None:
    with pytest.raises(InputError, match=r"\[3, 4, 5\].*pixel_relevance"):
        heatmap(np.zeros((3, 4, 5)))
    with pytest.raises(InputError, match="no elements"):
        heatmap(np.zeros((0, 5)))
