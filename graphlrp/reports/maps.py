"""Pictures for a page: heatmaps whose colours live in their palette, so that the page can change them without new pixels.

A pixel of a heatmap is a level, and the palette of the PNG says which colour a level has. Levels lie closer near zero, since a
map may be shown at several scales:

    R = sign(k) (k / 127)² top,   k = -127 ... 127

Another colour map or another normalisation (2.62) is another palette of 765 bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from graphlrp.visual.colour import ColourMap, FloatArray, Pixels, hexadecimal, relevance_scale
from graphlrp.visual.page import bar_numbers

LEVELS = 127
"""On both sides of zero."""

COARSE = 31
"""The same for overlays: what is below shows through, so that fewer will do."""

OPACITY = 0.85
"""Of an overlay where |R| reaches the scale, as in :func:`graphlrp.visual.relevance_overlay`."""

SMALL = 48
"""Pixels up to which the longer side is shown as squares."""

QUALITY = 85


@dataclass(frozen=True)
class Scales:
    """The two normalisations of a map (2.62): by its own scale and by that of all maps together.

    Attributes:
        own: S of this map alone.
        joint: S of all maps.
        top: the largest |R| that has a colour of its own under either of them.
        largest: the largest |R| of this map.
        reach: the largest |R| of all maps.
        clipped: whether |R| may be larger than the scale.
    """

    own: float
    joint: float
    top: float
    largest: float
    reach: float
    clipped: bool

    def __getitem__(self, joint: bool) -> float:
        """The scale that is in use."""
        return self.joint if joint else self.own

    @property
    def numbers(self) -> dict[str, tuple[str, str, str]]:
        """What stands at the ends and in the middle of the colour bar."""
        return {"own": bar_numbers(self.own, self.clipped), "joint": bar_numbers(self.joint, self.clipped)}


def scales_of(maps: Sequence[FloatArray], percentile: float) -> list[Scales]:
    """Both normalisations of every map.

    Args:
        maps: of any shapes.
        percentile: of |R|, that gets the full colour.

    Raises:
        InputError: a map is empty or not finite, the percentile is not in (0, 100].
    """
    own = relevance_scale(maps, percentile=percentile).tolist()
    joint = relevance_scale(maps, joint=True, percentile=percentile).tolist()
    largest = relevance_scale(maps).tolist()
    return [
        Scales(alone, together, max(alone, min(together, most)), most, max(largest), percentile < 100.0)
        for alone, together, most in zip(own, joint, largest, strict=True)
    ]


def heatmap_uri(relevance: FloatArray, scales: Scales, colours: ColourMap, joint: bool) -> str:
    """A relevance map [H, W] as a PNG with a palette."""
    return _palette_png(relevance, scales, colours, joint, LEVELS, transparent=False)


def overlay_uri(relevance: FloatArray, scales: Scales, colours: ColourMap, joint: bool) -> str:
    """The same, to be laid over the picture: the opacity of a colour grows with √|R|."""
    return _palette_png(relevance, scales, colours, joint, COARSE, transparent=True)


def picture_uri(pixels: Pixels, *, grey: bool = False) -> str:
    """A picture [H, W, 3], as PNG if that is smaller or the picture so small that every pixel counts, else as JPEG."""
    image = Image.fromarray(pixels)
    image = image.convert("L") if grey else image
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True)
    image.save(jpeg, "JPEG", quality=QUALITY, optimize=True)
    if max(image.size) <= SMALL or png.tell() <= jpeg.tell():
        return data_uri(png.getvalue(), "image/png")
    return data_uri(jpeg.getvalue(), "image/jpeg")


def reduced(pixels: Pixels, relevance: FloatArray, longest: int) -> tuple[Pixels, FloatArray]:
    """Picture and map, brought down until the longer side has ``longest`` pixels; relevance is averaged, pixels smoothed."""
    height, width = relevance.shape
    factor = longest / max(height, width)
    if factor >= 1:
        return pixels, relevance
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    # Single precision is enough for colours, but not for relevance that is very small or large.
    unit = float(np.abs(relevance).max()) or 1.0
    mean = np.asarray(Image.fromarray((relevance / unit).astype(np.float32)).resize(size, Image.Resampling.BOX), np.float64)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)), mean * unit


def gradient(colours: ColourMap) -> Markup:
    """The colour map as a CSS gradient, from -1 to 1."""
    steps = ",".join(hexadecimal(colour) for colour in colours(np.linspace(-1, 1, 33)).tolist())
    return Markup(f"linear-gradient(to right,{steps})")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def levels_of(relevance: FloatArray, top: float, levels: int) -> NDArray[np.uint8]:
    """Level of every pixel plus ``levels``, so that zero relevance is in the middle."""
    shares = np.clip(relevance, -top, top) / top
    return np.asarray(np.rint(np.sign(shares) * np.sqrt(np.abs(shares)) * levels + levels), np.uint8)


def _palette_png(
    relevance: FloatArray, scales: Scales, colours: ColourMap, joint: bool, levels: int, *, transparent: bool
) -> str:
    shares = np.linspace(-1.0, 1.0, 2 * levels + 1)
    values = np.clip(np.sign(shares) * shares**2 * (scales.top / scales[joint]), -1.0, 1.0)
    image = Image.fromarray(levels_of(relevance, scales.top, levels))
    image.putpalette(colours(values).tobytes())
    content = io.BytesIO()
    if transparent:
        alpha = np.rint(255 * OPACITY * np.sqrt(np.abs(values))).astype(np.uint8)
        image.save(content, "PNG", optimize=True, transparency=alpha.tobytes())
    else:
        image.save(content, "PNG", optimize=True)
    return data_uri(content.getvalue(), "image/png")
