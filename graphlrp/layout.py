"""Which axis of pictures counts their channels."""

from __future__ import annotations

from collections.abc import Sequence

CHANNELS_OF_PICTURES = (1, 3)
"""Grey, or red, green and blue."""


def layout_of_shape(shape: Sequence[object]) -> str:
    """``"NHWC"`` if of four axes only the last could be that of channels, having 1 or 3 entries; else ``"NCHW"``."""
    first, last = shape[1] in CHANNELS_OF_PICTURES, shape[-1] in CHANNELS_OF_PICTURES
    return "NHWC" if last and not first else "NCHW"
