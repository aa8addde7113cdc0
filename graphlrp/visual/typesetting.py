"""Type for figures: one typeface, measured before it is placed, so that nothing overlaps and names wrap.

Sizes of type are in points, all other lengths in inches.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

POINTS_PER_INCH = 72.0
LINE_SPACING = 1.32
_MEASURING_DPI = 720.0
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Face:
    """A way to set text: size in points, weight and colour."""

    points: float
    weight: Literal["normal", "bold"] = "normal"
    colour: str = "#1a1a1a"

    @property
    def font(self) -> FontProperties:
        """The font; it comes with matplotlib, so figures look the same everywhere."""
        return FontProperties(family="DejaVu Sans", size=self.points, weight=self.weight)

    @property
    def line_height(self) -> float:
        """Inches from one baseline to the next."""
        return self.points * LINE_SPACING / POINTS_PER_INCH


HEADING = Face(11.0, "bold")
TITLE = Face(8.5, "bold")
CAPTION = Face(8.0)
NOTE = Face(7.0, colour="#5a5a5a")


@dataclass(frozen=True)
class Line:
    """One line of text and how it is set."""

    text: str
    face: Face


@functools.lru_cache(maxsize=8192)
def width_of(text: str, face: Face) -> float:
    """Inches that one line of text takes."""
    width, _, _ = _measuring_renderer().get_text_width_height_descent(text, face.font, ismath=False)
    return float(width) / _MEASURING_DPI


def wrap(text: str, face: Face, width: float) -> list[Line]:
    """Break text into lines no wider than ``width`` inches.

    Lines break at spaces and after hyphens, slashes, underscores, colons and commas, but not inside a number or a parameter such
    as ``low=-0.99`` that fits into a line of its own; what is wider than a line breaks anywhere. Line ends in the text are kept.
    """
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in _pieces(paragraph, face, width):
            while width_of((line + word).strip(), face) > width:
                if line.strip():
                    lines.append(line.strip())
                    line, word = "", word.lstrip()
                    continue
                fitting = _longest_start(word, face, width)
                lines.append(word[:fitting])
                word = word[fitting:]
            line += word
        lines.append(line.strip())
    return [Line(line, face) for line in lines]


_BREAKS = re.compile(r"\s+|[^\s\-/_:,]*[\-/_:,]+|[^\s\-/_:,]+")
_WHOLE = re.compile(r"(?<!\w)\w+=[^\s,]*,?|(?<![\w.])[-\N{MINUS SIGN}]?\d[\d.]*(?:[eE][-+]?\d+)?(?![\w.]),?")
"""A parameter and its value, or a number."""


def _pieces(text: str, face: Face, width: float) -> list[str]:
    """Parts of a text between which lines may break; those that are whole only if they fit into a line."""
    pieces, start = [], 0
    for match in _WHOLE.finditer(text):
        if width_of(match[0], face) <= width:
            pieces += [*_BREAKS.findall(text[start : match.start()]), match[0]]
            start = match.end()
    return pieces + _BREAKS.findall(text[start:])


def wrap_caption(caption: str, width: float) -> list[Line]:
    """Break a caption into lines, its first paragraph in bold."""
    first, _, rest = caption.partition("\n")
    return wrap(first, TITLE, width) + wrap(rest, CAPTION, width)


def height_of(lines: list[Line]) -> float:
    """Inches that lines below each other take."""
    return sum(line.face.line_height for line in lines)


def shortened(text: str, face: Face, width: float) -> str:
    """The text, with an ellipsis for its end if it is wider than ``width`` inches."""
    if width_of(text, face) <= width:
        return text
    while text and width_of(text + "…", face) > width:
        text = text[:-1]
    return text + "…"


def abbreviated(text: str, face: Face, width: float) -> str:
    """The text, with an ellipsis for its middle if it is wider than ``width`` inches: names differ at their ends."""
    kept = len(text)
    result = text
    while kept > 1 and width_of(result, face) > width:
        kept -= 1
        result = f"{text[: kept // 2]}…{text[len(text) - (kept + 1) // 2 :]}"
    return result


def number(value: float) -> str:
    """Three significant digits, with the minus sign and the powers of ten of a printed text."""
    mantissa, _, exponent = f"{value + 0.0:.3g}".partition("e")
    power = f"\N{MULTIPLICATION SIGN}10{str(int(exponent)).translate(_SUPERSCRIPTS)}" if exponent else ""
    return mantissa.replace("-", "\N{MINUS SIGN}") + power


def exact_number(value: float) -> str:
    """A feature's value: as people write it up to a million, for it is data and no measure."""
    if value == round(value) and abs(value) < 1e6:
        return str(round(value)).replace("-", "\N{MINUS SIGN}")
    return f"{value:.0f}".replace("-", "\N{MINUS SIGN}") if 1e3 <= abs(value) < 1e6 else number(value)


@functools.cache
def _measuring_renderer() -> Any:
    """Measures only; its high resolution keeps rounding to whole pixels out of the measure."""
    return RendererAgg(1, 1, _MEASURING_DPI)  # type: ignore[no-untyped-call]


def _longest_start(word: str, face: Face, width: float) -> int:
    """How many characters of a word fit into a line: at least one."""
    return next((count for count in range(len(word), 1, -1) if width_of(word[:count], face) <= width), 1)
