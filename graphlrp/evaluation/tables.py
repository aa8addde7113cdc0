"""Small tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isnan, log10


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their names, the first one flush left, all others flush right."""
    table = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    lines = []
    for line in table:
        cells = [
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def with_margin(value: float, low: float, high: float) -> str:
    """A mean and half the width of its interval, to the digits that the interval leaves; the mean alone if there is none."""
    return with_half_width(value, (high - low) / 2)


def with_half_width(value: float, margin: float) -> str:
    """The same of half the width."""
    if isnan(margin):
        return f"{value:.3g}"
    digits = decimals(margin if margin > 0 else value)
    # Rounding first, and adding zero, keeps "-0" out.
    return f"{round(value, digits) + 0.0:.{digits}f} ± {margin:.{digits}f}"


def decimals(value: float) -> int:
    """Decimal places for two significant digits of a number."""
    return 2 if value == 0 else min(max(1 - floor(log10(abs(value))), 0), 8)
