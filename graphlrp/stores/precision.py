"""In what precision numbers are kept: float16 with a scale per map, and whether a value fits its type at all.

A map R kept as float16 is divided by a power of two s of its own, so that its largest |R| / s is between 2¹⁴ and 2¹⁵, and
multiplied again when it is read. Dividing by a power of two is exact, so the error is that of rounding to float16: at most 2⁻¹¹
of a value, or 2⁻²⁵ s, which is 2⁻³⁹ of the largest value of the map or less, for values so small that float16 has fixed steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError

Array = npt.NDArray[Any]

SCALED = np.dtype(np.float16)
"""What is kept divided by a scale."""

HIGHEST = 15
"""The largest value of a scaled map is below 2 to this power; float16 ends at 2¹⁶."""

SMALLEST = -126
"""Scales are no smaller than 2 to this power: below it float32, as which relevance is read, has no full precision."""


def scales(largest: Array) -> Array:
    """The power of two, float32 [N], that brings max |R| of every map below 2¹⁵; 1 for maps without relevance."""
    _, exponents = np.frexp(largest.astype(np.float64))
    return np.where(largest > 0, np.ldexp(1.0, np.maximum(exponents - HIGHEST, SMALLEST)), 1.0).astype(np.float32)


def checked(values: Array, dtype: np.dtype[Any]) -> Array:
    """Values as a dtype.

    Raises:
        InputError: they do not fit.
    """
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore"):
        converted = values.astype(dtype)
    if converted.dtype.kind == "f" and not np.isfinite(converted).all() and np.isfinite(values).all():
        raise InputError(f"a value of {np.abs(values).max():.3g} is too large for {dtype}: keep dtype='float64'")
    return converted


def divided(values: Array, scale: Array) -> Array:
    """Values [N, ...] over their scales, as float16."""
    return np.asarray(values / scale.reshape(-1, *[1] * (values.ndim - 1)), SCALED)


def multiplied(values: Array, scale: Array) -> Array:
    """The reverse, float32."""
    return np.asarray(values.astype(np.float32) * scale.reshape(-1, *[1] * (values.ndim - 1)))
