"""Pictures of the data as pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from graphlrp.errors import InputError
from graphlrp.visual.colour import Pixels

Array = NDArray[Any]


def picture_at(images: Any, position: int) -> Pixels:
    """One picture of the data as uint8 [H, W, 3].

    Args:
        images: pictures [H, W], [H, W, 3], [3, H, W] or [1, H, W]; numbers that are not uint8 are scaled, the smallest of a
            picture to black and the largest to white.
        position: which.

    Raises:
        InputError: there is no such picture, or it is something else.
    """
    try:
        image = np.asarray(images[position])
    except (IndexError, KeyError, ValueError) as error:
        raise InputError(f"there is no image {position}: images are those of the data, one for every map") from error
    if image.ndim == 3 and image.shape[-1] not in (1, 3) and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or image.size == 0:
        raise InputError(f"image {position} has shape {list(image.shape)}, not [H, W], [H, W, 3], [3, H, W] or [1, H, W]")
    if image.dtype != np.uint8:
        values = image.astype(np.float64)
        if not np.isfinite(values).all():
            raise InputError(f"image {position} holds NaN or infinity")
        low, high = values.min(), values.max()
        image = np.rint(255 * (values - low) / ((high - low) or 1.0)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def thumbnail(pixels: Pixels, size: int) -> Pixels:
    """No longer side than ``size`` pixels; smaller pictures are left as they are."""
    height, width, _ = pixels.shape
    ratio = size / max(height, width)
    if ratio >= 1:
        return pixels
    shape = max(1, round(width * ratio)), max(1, round(height * ratio))
    return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.BOX))


def framed(pixels: Pixels, colour: str) -> Pixels:
    """The picture, enlarged by whole numbers to at least 40 pixels, in a frame."""
    times = max(1, round(40 / max(pixels.shape[:2])))
    large = np.repeat(np.repeat(pixels, times, axis=0), times, axis=1)
    result = np.empty((large.shape[0] + 6, large.shape[1] + 6, 3), np.uint8)
    result[:] = np.rint(255 * np.array(to_rgb(colour)))
    result[3:-3, 3:-3] = large
    return result
