"""The colours of a page are told apart by readers who see fewer of them."""

from __future__ import annotations

import numpy as np
import pytest

from graphlrp.reports import Report
from graphlrp.visual import colour_map

# Dichromats, Machado, Oliveira and Fernandes (2009), severity 1; for linear RGB.
DEFICIENCIES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)


def linear(colours: np.ndarray) -> np.ndarray:
    shares = colours / 255.0
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    xyz = np.clip(light, 0, 1) @ TO_XYZ.T / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize("name", ["blue-orange", "seismic", "bwr", "coldnhot"])
def test_for_and_against_differ_to_every_reader(name: str, deficiency: str) -> None:
    """A difference of 2.3 is just noticed; what has less than a seventh of the full colour is too faint to be read at all."""
    values = np.linspace(0.15, 1, 40)
    seen = np.array(DEFICIENCIES[deficiency]).T
    positive, negative = (lab(linear(colour_map(name)(sign * values)) @ seen) for sign in (1, -1))
    assert np.linalg.norm(positive - negative, axis=-1).min() > 20


def test_in_grey_the_default_says_how_much_but_not_for_which_side() -> None:
    name = Report("page")._style.colours.name
    assert name == "blue-orange"
    values = np.linspace(0, 1, 101)
    positive, negative = (lab(linear(colour_map(name)(sign * values)))[:, 0] for sign in (1, -1))
    assert np.abs(positive - negative).max() < 2
    assert (np.diff(positive) < 0).all() and (np.diff(negative) < 0).all()
    jet = lab(linear(colour_map("jet")(values)))[:, 0]
    assert np.diff(jet).max() > 0 > np.diff(jet).min()
