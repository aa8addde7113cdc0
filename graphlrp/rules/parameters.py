"""Parameters of rules, readouts and samplings: checked, as Python and the command line give them, and shown again."""

from __future__ import annotations

from dataclasses import fields
from math import isfinite
from typing import Any

import numpy as np

from graphlrp.errors import RuleError

Numbers = float | tuple[float, ...]
"""A number, or one per channel."""


def whole_number(name: str, value: object, least: int) -> int:
    """A whole number, which the command line gives as 8.0; ``name`` says whose parameter it is.

    Raises:
        RuleError: it is none, or below ``least``.
    """
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not real or not isfinite(float(value)) or float(value) != int(float(value)) or int(float(value)) < least:  # type: ignore[arg-type]
        raise RuleError(f"{name} must be a whole number >= {least}, not {value!r}")
    return int(float(value))  # type: ignore[arg-type]


def finite_number(name: str, value: object, least: float) -> float:
    """A finite number.

    Raises:
        RuleError: it is none, or below ``least``.
    """
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not real or not isfinite(float(value)) or float(value) < least:  # type: ignore[arg-type]
        raise RuleError(f"{name} must be a number >= {least:g}, not {value!r}")
    return float(value)  # type: ignore[arg-type]


def channel_numbers(name: str, value: object) -> Numbers:
    """A finite number, or a sequence of them, one per channel.

    Raises:
        RuleError: it is neither.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.asarray(np.nan)
    if isinstance(value, (str, bool)) or array.ndim > 1 or not array.size or not np.isfinite(array).all():
        raise RuleError(f"{name} must be a finite number, or one per channel, not {value!r}")
    return float(array) if array.ndim == 0 else tuple(array.tolist())


def yes_or_no(name: str, value: object) -> bool:
    """A choice, which the command line gives as 1.0, 0.0 or a word.

    Raises:
        RuleError: it is none.
    """
    choices = {"true": True, "1.0": True, "1": True, "false": False, "0.0": False, "0": False}
    chosen = choices.get(str(value).lower())
    if chosen is None:
        raise RuleError(f"{name} must be True or False, not {value!r}")
    return chosen


def in_words(parameters: Any) -> str:
    """A frozen dataclass as plans show it: its name and its parameters."""
    texts = (f"{field.name}={_show(getattr(parameters, field.name))}" for field in fields(parameters))
    return f"{type(parameters).__name__}({', '.join(texts)})"


def _show(parameter: object) -> str:
    if isinstance(parameter, (list, tuple)) and len(parameter) > 4:
        return f"[{len(parameter)} numbers]"
    return f"{parameter:g}" if isinstance(parameter, float) else str(parameter)
