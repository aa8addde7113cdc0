"""From relevance to colours: sum per pixel, normalise (thesis, eq. 2.62), look up in a diverging colour map.

Zero means "this pixel did not matter" and keeps the same neutral colour in every picture; negative and
positive relevance of equal size are equally far from it. So a map is only ever *divided* by something, never
shifted, and the divisor is the same for both signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphlrp.errors import InputError

FloatArray = NDArray[np.float64]
Pixels = NDArray[np.uint8]
RelevanceMaps = NDArray[np.floating] | Sequence[NDArray[np.floating]]


@dataclass(frozen=True)
class ColourMap:
    """Piecewise linear colours over normalised relevance.

    Attributes:
        name: what users call it.
        positions: increasing, from -1 (strongest evidence against) over 0 (neutral) to 1 (strongest for).
        colours: at each position red, green and blue, 0 ... 255.
    """

    name: str
    positions: tuple[float, ...]
    colours: tuple[tuple[float, float, float], ...]

    @property
    def neutral(self) -> tuple[int, int, int]:
        """The colour of zero relevance."""
        red, green, blue = self(np.zeros(())).tolist()
        return red, green, blue

    def __call__(self, normalised: ArrayLike) -> Pixels:
        """Colours of values [...] in [-1, 1] as uint8 [..., 3]; values beyond take that of the nearer end."""
        values = np.asarray(normalised, dtype=np.float64)
        channels = [np.interp(values, self.positions, channel) for channel in zip(*self.colours, strict=True)]
        pixels: Pixels = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
        return pixels


_DEFINITIONS = (
    # Dark ends stretch the range: saturated first, then darker. As in matplotlib (thesis, figure 2.5 a).
    ColourMap(
        "seismic",
        (-1.0, -0.5, 0.0, 0.5, 1.0),
        ((0, 0, 77), (0, 0, 255), (255, 255, 255), (255, 0, 0), (128, 0, 0)),
    ),
    ColourMap("bwr", (-1.0, 0.0, 1.0), ((0, 0, 255), (255, 255, 255), (255, 0, 0))),
    # Neutral is black: faint relevance shows best on a dark screen (in the manner of figure 2.5 c).
    ColourMap(
        "coldnhot",
        (-1.0, -0.5, 0.0, 0.5, 1.0),
        ((0, 255, 255), (0, 0, 255), (0, 0, 0), (255, 0, 0), (255, 255, 0)),
    ),
    # Neutral is green (figure 2.5 b).
    ColourMap(
        "jet",
        (-1.0, -0.75, -0.25, 0.25, 0.75, 1.0),
        ((0, 0, 127.5), (0, 0, 255), (0, 255, 255), (255, 255, 0), (255, 0, 0), (127.5, 0, 0)),
    ),
    # Blue and orange stay apart in every common colour vision deficiency, and opposite values have the same
    # lightness (CIE L* within 1.5), so the map also reads in grey: how dark is how much.
    ColourMap(
        "blue-orange",
        (-1.0, -0.65, -0.4, -0.2, 0.0, 0.2, 0.4, 0.65, 1.0),
        (
            (8, 78, 140),
            (62, 155, 250),
            (143, 194, 252),
            (200, 225, 253),
            (255, 255, 255),
            (253, 213, 183),
            (253, 167, 99),
            (222, 123, 21),
            (115, 61, 6),
        ),
    ),
)
_ALIASES = {"high-contrast": "coldnhot", "colour-blind": "blue-orange"}

COLOUR_MAPS: tuple[str, ...] = (*(definition.name for definition in _DEFINITIONS), *_ALIASES)
"""Names that :func:`colour_map` knows; "high-contrast" is "coldnhot", "colour-blind" is "blue-orange"."""


def colour_map(name: str | ColourMap) -> ColourMap:
    """Find a colour map by name; a :class:`ColourMap` is returned as it is.

    Raises:
        InputError: no such colour map.
    """
    if isinstance(name, ColourMap):
        return name
    for definition in _DEFINITIONS:
        if definition.name == _ALIASES.get(name, name):
            return definition
    raise InputError(f"unknown colour map {name!r}, choose one of {', '.join(COLOUR_MAPS)}")


def hexadecimal(colour: Sequence[int]) -> str:
    """``#rrggbb`` of red, green and blue, 0 to 255."""
    return "#" + "".join(f"{value:02x}" for value in colour)


def ink(colour: Sequence[int]) -> str:
    """Black or white, whichever is told better from a colour (by its luminance, as WCAG defines contrast)."""
    channels = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in np.asarray(colour) / 255]
    luminance = 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


def pixel_relevance(relevance: ArrayLike, layout: str = "NCHW") -> FloatArray:
    """Sum relevance over the channels of every pixel, which keeps the total.

    Args:
        relevance: [N, C, H, W] or [N, H, W, C]; without the batch axis [C, H, W] or [H, W, C]; one map [H,
            W].
        layout: order of the axes: "NCHW" or "NHWC". Maps that have a batch axis but no channels are "NHW".

    Returns:
        [N, H, W], with N = 1 where the batch axis was missing.

    Raises:
        InputError: the relevance has fewer than two axes or does not fit the layout, or the layout is
            unknown.
    """
    if layout not in ("NCHW", "NHWC", "NHW"):
        raise InputError(f"unknown layout {layout!r} of relevance, choose NCHW, NHWC or NHW")
    values = np.asarray(relevance, dtype=np.float64)
    if values.ndim < 2:
        raise InputError(
            f"relevance of shape {list(values.shape)} is a signal, not a picture: it has no height and width."
            " Draw it with graphlrp.visual.signal_figure"
        )
    axes = {4: layout, 3: layout if layout == "NHW" else layout[1:], 2: "HW"}.get(values.ndim, "")
    if len(axes) != values.ndim:
        raise InputError(f"relevance of shape {list(values.shape)} does not fit the layout {layout}")
    if "C" in axes:
        values = values.sum(axis=axes.index("C"))
    return values if "N" in axes else values[np.newaxis]


def relevance_scale(maps: RelevanceMaps, *, joint: bool = False, percentile: float = 100.0) -> FloatArray:
    """The S of R / S: what counts as full colour in each map.

    S = max_i |R_i| (eq. 2.62). With ``joint``, all maps share the largest S, so that their strengths can be
    compared: several samples for one class, or several classes for one sample.

    Args:
        maps: [N, ...], or a sequence of N arrays of any shapes.
        joint: one common factor for all maps.
        percentile: 100 takes the maximum; less takes that percentile of |R|, so that a few extreme pixels do
            not wash out the rest. The values beyond are then shown in the end colours.

    Returns:
        [N], positive; 1 for maps that are zero everywhere (dividing leaves them zero).

    Raises:
        InputError: a map has no elements or contains NaN or infinity, or the percentile is not in (0, 100].
    """
    if not 0.0 < percentile <= 100.0:
        raise InputError(f"the percentile must be above 0 and at most 100, not {percentile}")
    magnitudes = [np.abs(_finite(values, index)).ravel() for index, values in enumerate(maps)]
    if joint and magnitudes:
        magnitudes = [np.concatenate(magnitudes)] * len(magnitudes)
    return np.array([_scale_of(magnitude, percentile) for magnitude in magnitudes], dtype=np.float64)


def normalise(maps: RelevanceMaps, *, joint: bool = False, percentile: float = 100.0) -> list[FloatArray]:
    """Divide every map by its scale (see :func:`relevance_scale`) and clip to [-1, 1]; zero stays zero.

    Args:
        maps: [N, ...], or a sequence of N arrays of any shapes.
        joint: one common factor for all maps.
        percentile: of |R|, that becomes 1.

    Returns:
        N arrays, shaped like the maps.

    Raises:
        InputError: as in :func:`relevance_scale`.
    """
    scales = relevance_scale(maps, joint=joint, percentile=percentile)
    return [scaled(values, scale) for values, scale in zip(maps, scales.tolist(), strict=True)]


def heatmap(
    relevance: ArrayLike,
    *,
    colours: str | ColourMap = "seismic",
    scale: float | None = None,
    percentile: float = 100.0,
) -> Pixels:
    """Colour one relevance map.

    Args:
        relevance: [H, W], summed over channels (:func:`pixel_relevance`).
        colours: a colour map or its name.
        scale: relevance that gets the end colour, e.g. a common one from :func:`relevance_scale`; without it
            the map's own.
        percentile: for the map's own scale.

    Returns:
        uint8 [H, W, 3].

    Raises:
        InputError: the relevance is not [H, W] or not finite; the scale is not positive; the colour map is
            unknown.
    """
    values = np.asarray(relevance, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(f"a heatmap needs relevance [H, W], not {list(values.shape)}: sum it with pixel_relevance first")
    return colour_map(colours)(scaled(values, scale, percentile))


def scaled(relevance: ArrayLike, scale: float | None = None, percentile: float = 100.0) -> FloatArray:
    """Divide one map by a scale, its own if none is given, and clip to [-1, 1]. [...] -> [...].

    Raises:
        InputError: the relevance is empty or not finite, or the scale is not positive.
    """
    values = _finite(relevance, 0)
    if scale is None:
        scale = float(relevance_scale([values], percentile=percentile)[0])
    elif not (np.isfinite(scale) and scale > 0):
        raise InputError(f"the scale of a relevance map must be positive and finite, not {scale}")
    # Clipping first: dividing a huge value by a tiny scale could overflow.
    clipped: FloatArray = np.clip(values, -scale, scale) / scale
    return clipped


def _scale_of(magnitudes: FloatArray, percentile: float) -> float:
    # A percentile of a map that is mostly zero can be zero although the map is not.
    return float(np.percentile(magnitudes, percentile)) or float(magnitudes.max()) or 1.0


def _finite(values: ArrayLike, index: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise InputError(f"relevance map {index} of shape {list(array.shape)} has no elements")
    if not np.isfinite(array).all():
        raise InputError(f"relevance map {index} contains NaN or infinity: there is no colour for that")
    return array
