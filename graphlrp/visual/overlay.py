"""Relevance and picture in one: blended colours, or light where relevance is positive."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphlrp.errors import InputError
from graphlrp.visual.colour import ColourMap, Pixels, colour_map, scaled

# Weights of red, green and blue in perceived brightness (ITU-R BT.601, as in JPEG).
_LUMA = np.array([0.299, 0.587, 0.114])
_FADING = 0.25


def checked_image(image: ArrayLike, what: str = "image") -> Pixels:
    """Return the picture as an array.

    Raises:
        InputError: it is not uint8 [H, W, 3].
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.size == 0:
        raise InputError(f"the {what} must be uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
    return pixels


def checked_relevance(relevance: ArrayLike, image: Pixels) -> NDArray[np.float64]:
    """Return the relevance as an array.

    Raises:
        InputError: it has not the height and width of the picture.
    """
    values = np.asarray(relevance, dtype=np.float64)
    if values.shape != image.shape[:2]:
        raise InputError(
            f"relevance {list(values.shape)} does not fit the picture {list(image.shape)}:"
            " both need the height and width of the model's input"
        )
    return values


def overlay(image: ArrayLike, heat: ArrayLike, alpha: ArrayLike = 0.5) -> Pixels:
    """Blend colours over a picture: ``(1 - alpha) image + alpha heat``.

    Args:
        image: uint8 [H, W, 3].
        heat: uint8 [H, W, 3], e.g. from :func:`~graphlrp.visual.heatmap`.
        alpha: opacity of the colours in [0, 1]: one number, or one per pixel [H, W].

    Returns:
        uint8 [H, W, 3].

    Raises:
        InputError: types, shapes or opacity are wrong.
    """
    below, above = checked_image(image), checked_image(heat, "heatmap")
    if below.shape != above.shape:
        raise InputError(f"picture {list(below.shape)} and heatmap {list(above.shape)} differ in size")
    opacity = np.asarray(alpha, dtype=np.float64)
    if opacity.shape not in ((), below.shape[:2]):
        raise InputError(f"alpha must be one number or [H, W] = {list(below.shape[:2])}, not {list(opacity.shape)}")
    if not ((opacity >= 0) & (opacity <= 1)).all():
        raise InputError("alpha must lie between 0 and 1")
    opacity = opacity[..., np.newaxis]
    return np.rint((1 - opacity) * below + opacity * above).astype(np.uint8)


def relevance_overlay(
    image: ArrayLike,
    relevance: ArrayLike,
    *,
    colours: str | ColourMap = "seismic",
    scale: float | None = None,
    alpha: float = 0.85,
) -> Pixels:
    """Colour what mattered and leaves the rest a grey picture: the opacity of a pixel grows with its |R|.

    The picture turns grey because its own colours would be read as relevance.

    Args:
        image: uint8 [H, W, 3].
        relevance: [H, W].
        colours: a colour map or its name.
        scale: relevance that gets the end colour; without it the largest |R|.
        alpha: opacity where |R| reaches the scale.

    Returns:
        uint8 [H, W, 3].

    Raises:
        InputError: types or shapes are wrong.
    """
    pixels = checked_image(image)
    values = checked_relevance(relevance, pixels)
    strength = scaled(values, scale)
    colours = colour_map(colours)
    # Faded towards the neutral colour's lightness: dark colours on a dark picture (or bright on bright) would
    # be lost.
    grey = (1 - _FADING) * (pixels @ _LUMA) + _FADING * np.dot(colours.neutral, _LUMA)
    faded = np.repeat(np.rint(grey).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    # The square root lets weak relevance be seen: opacity is not what is measured, the colour is.
    return overlay(faded, colours(strength), alpha * np.sqrt(np.abs(strength)))


def positive_mask(image: ArrayLike, relevance: ArrayLike, *, scale: float | None = None, dim: float = 0.15) -> Pixels:
    """Dim the picture and light it where relevance is positive (in the manner of thesis, figure D.1).

    Args:
        image: uint8 [H, W, 3].
        relevance: [H, W]; negative relevance counts as none.
        scale: relevance that gets full light; without it the largest |R|.
        dim: light of a pixel without positive relevance, in [0, 1].

    Returns:
        uint8 [H, W, 3]: ``image (dim + (1 - dim) sqrt(max(R, 0) / scale))``.

    Raises:
        InputError: types, shapes or ``dim`` are wrong.
    """
    pixels = checked_image(image)
    values = checked_relevance(relevance, pixels)
    if not 0.0 <= dim <= 1.0:
        raise InputError(f"dim must lie between 0 and 1, not {dim}")
    light = dim + (1 - dim) * np.sqrt(np.maximum(scaled(values, scale), 0.0))
    return np.rint(pixels * light[..., np.newaxis]).astype(np.uint8)
