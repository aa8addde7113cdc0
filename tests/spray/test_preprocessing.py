"""Preprocessing against definitions in plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphlrp import InputError, spray
from graphlrp.spray.preprocessing import as_step

GENERATOR = np.random.default_rng(0)


def pooled_pixel_by_pixel(relevance: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Every pixel is cut into parts so small that each lies in one cell."""
    height, width = relevance.shape
    result = np.zeros((rows, columns))
    for y in range(height * rows):
        for x in range(width * columns):
            # Parts of 1/rows x 1/columns pixels.
            result[y // height, x // width] += relevance[y // rows, x // columns] / (rows * columns)
    return result


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"), [(8, 8, 20, 20), (7, 9, 3, 2), (6, 4, 3, 2), (3, 5, 3, 5), (1, 1, 4, 3)]
)
def test_sum_pool_is_the_sum_of_the_parts_of_pixels(height: int, width: int, rows: int, columns: int) -> None:
    relevance = GENERATOR.normal(size=(2, height, width))
    expected = np.stack([pooled_pixel_by_pixel(one, rows, columns) for one in relevance])
    np.testing.assert_allclose(spray.SumPool(rows, columns)(relevance), expected, atol=1e-12)


def test_sum_pool_of_whole_cells_sums_blocks() -> None:
    relevance = GENERATOR.normal(size=(3, 40, 60))
    expected = relevance.reshape(3, 20, 2, 20, 3).sum(axis=(2, 4))
    np.testing.assert_allclose(spray.SumPool()(relevance), expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 47), st.integers(1, 47), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_sum_pool_keeps_the_sum_and_the_centre_of_mass(height: int, width: int, cells: int, seed: int) -> None:
    relevance = np.random.default_rng(seed).uniform(size=(1, height, width))
    pooled = spray.SumPool(cells)(relevance)
    assert pooled.shape == (1, cells, cells)
    assert pooled.sum() == pytest.approx(relevance.sum())
    centre = [((np.arange(n) + 0.5) / n * r.sum(axis)).sum() for r, n, axis in ((relevance[0], height, 1), (pooled[0], cells, 1))]
    # A pixel's mass moves by no more than a cell or a pixel.
    assert abs(centre[0] - centre[1]) <= relevance.sum() * max(1 / cells, 1 / height)


def test_low_pass_keeps_the_sum_and_smooths() -> None:
    relevance = np.zeros((1, 15, 15))
    relevance[0, 3, 11] = 2.0
    smooth = spray.GaussianLowPass(2.0)(relevance)
    assert smooth.sum() == pytest.approx(2.0)
    assert smooth.max() < 0.2
    # By the definition of a Gaussian, away from the border.
    y, x = np.mgrid[:15, :15]
    expected = np.exp(-((y - 7) ** 2 + (x - 7) ** 2) / 2.0)
    single = np.zeros((1, 15, 15))
    single[0, 7, 7] = expected.sum()
    np.testing.assert_allclose(spray.GaussianLowPass(1.0)(single)[0], expected, atol=1e-3)


def test_fourier_magnitude_does_not_see_where() -> None:
    relevance = GENERATOR.normal(size=(1, 9, 12))
    magnitude = spray.FourierMagnitude()(relevance)
    np.testing.assert_allclose(spray.FourierMagnitude()(np.roll(relevance, (2, 5), axis=(1, 2))), magnitude, atol=1e-12)
    assert (magnitude**2).sum() == pytest.approx((relevance**2).sum())
    assert magnitude[0, 9 // 2, 12 // 2] == pytest.approx(abs(relevance.sum()) / np.sqrt(9 * 12))
    # One coefficient by its definition.
    y, x = np.mgrid[:9, :12]
    coefficient = (relevance[0] * np.exp(-2j * np.pi * (2 * y / 9 + 3 * x / 12))).sum() / np.sqrt(9 * 12)
    assert magnitude[0, 4 + 2, 6 + 3] == pytest.approx(abs(coefficient))


@pytest.mark.parametrize("factor", [1.0, 1e-170, 1e170])
def test_normalise(factor: float) -> None:
    relevance = np.array([[[3.0, -4.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]) * factor
    np.testing.assert_allclose(spray.Normalise("l2")(relevance)[0], [[0.6, -0.8], [0, 0]])
    np.testing.assert_allclose(spray.Normalise("l1")(relevance)[0], [[3 / 7, -4 / 7], [0, 0]])
    np.testing.assert_allclose(spray.Normalise("max")(relevance)[0], [[0.75, -1.0], [0, 0]])
    for by in ("l1", "l2", "max"):
        assert not spray.Normalise(by)(relevance)[1].any()
        np.testing.assert_array_equal(spray.Normalise(by)(relevance[:, 0])[1], [0, 0])


def test_chain_takes_steps_in_order() -> None:
    relevance = GENERATOR.normal(size=(4, 10, 10))
    steps = (spray.GaussianLowPass(1.0), spray.SumPool(5), spray.Normalise("l1"))
    expected = relevance
    for step in steps:
        expected = step(expected)
    np.testing.assert_array_equal(spray.Chain(steps)(relevance), expected)
    assert as_step(steps, 3) == spray.Chain(steps)
    assert as_step(None, 3) == spray.SumPool(20, None)
    assert as_step(None, 2) == spray.Identity()
    assert as_step(np.abs, 3) is np.abs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spray.SumPool(0), "at least one row"),
        (lambda: spray.GaussianLowPass(-1), "must be positive"),
        (lambda: spray.GaussianLowPass(float("nan")), "must be positive"),
        (lambda: spray.Normalise("l3"), "not by 'l3'"),
        (lambda: spray.Chain((spray.SumPool,)), "such as spray.SumPool"),
        (lambda: as_step("sum", 3), "such as spray.SumPool"),
        (lambda: spray.SumPool()(np.zeros((3, 4))), r"\[n, H, W\], not vectors \[3, 4\]"),
        (lambda: spray.FourierMagnitude()(np.zeros((3, 4))), "choose another step"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
