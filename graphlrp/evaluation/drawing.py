"""Line charts: every line is named at its end, and differs from the others in colour and in dashes.

Colours are those of Okabe and Ito, which stay apart in every common colour vision deficiency; dashes and the names hold in grey
print, too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from graphlrp.errors import InputError
from graphlrp.visual.page import MARGIN, Page
from graphlrp.visual.typesetting import CAPTION, NOTE, TITLE, Face, abbreviated, height_of, number, width_of, wrap

Array = npt.NDArray[Any]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#000000")
"""Okabe and Ito's; their orange a little darker, for thin lines on white."""

DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
PLAIN = "#767676"
KINDS = ("png", "svg", "pdf")

_HEIGHT, _WIDTH = 2.7, 3.3
_TALLEST, _LOWEST, _BROAD, _LONGEST_PLACE, _SWATCH = 5.2, 0.8, 3.9, 2.8, 0.3
_LABEL_GAP, _LEADER = 0.05, 0.16


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a chart.

    Attributes:
        name: stands at its end.
        x, y: points.
        band: lower and upper edge of what is shaded around it, None for nothing.
        plain: a baseline, grey and dotted.
    """

    name: str
    x: Array
    y: Array
    band: tuple[Array, Array] | None = None
    plain: bool = False


@dataclass(frozen=True, eq=False)
class Panel:
    """One chart.

    Attributes:
        title: stands above.
        lines: what is drawn; lines of the same name look the same in all panels.
        zero: draw a line at zero.
    """

    title: str
    lines: Sequence[Line]
    zero: bool = False


def draw_panels(panels: Sequence[Panel], *, across: str, up: str, same_scale: bool = True) -> Page:
    """Draw charts side by side on a page of their own.

    Args:
        panels: the charts.
        across: what the horizontal axis shows.
        up: what the vertical axis shows.
        same_scale: whether all vertical axes have the same numbers.
    """
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines if not line.plain))
    labels = max(width_of(line.name, CAPTION) for panel in panels for line in panel.lines)
    limits = [_limits(panels if same_scale else [panel]) for panel in panels]
    ticks = [np.asarray(MaxNLocator(5).tick_values(*own)) for own in limits]
    left = MARGIN + NOTE.line_height + 0.05 + max(width_of(number(value), NOTE) for own in ticks for value in own)
    below = 0.1 + 2 * NOTE.line_height
    above = MARGIN + max(height_of(wrap(panel.title, TITLE, _WIDTH)) for panel in panels) + 0.05
    tall = max(_HEIGHT, max(len(panel.lines) for panel in panels) * CAPTION.line_height)
    step = left + _WIDTH + _LEADER + 2 * _LABEL_GAP + labels + MARGIN
    page = Page(step * len(panels), above + tall + below)
    for index, panel in enumerate(panels):
        start = index * step + left
        page.lines(wrap(panel.title, TITLE, _WIDTH), start, MARGIN)
        axes = page.axes(start, above, _WIDTH, tall)
        _dress(axes, panel, limits[index], ticks[index])
        _numbers(page, axes, panel, start, above, tall, ticks[index], limits[index])
        page.text(across, start + _WIDTH / 2, above + tall + below - NOTE.line_height - 0.02, NOTE, "center")
        page._text(up, index * step + MARGIN + 0.4 * NOTE.line_height, above + tall / 2, NOTE, "center", "center", 90.0)
        ends = _draw_lines(axes, panel, names)
        _name_lines(page, panel, ends, names, start + _WIDTH, above, tall, limits[index])
    return page


def draw_descent(title: str, places: Sequence[str], lines: Sequence[Line], *, across: str) -> Page:
    """Draw values at named places that follow each other down the side, such as the layers of a model.

    Names are written in full up to 2.8 inches, longer ones lose their middle. Where there are so many that the chart would be
    higher than a third of a page, every second name is written, or every third, and so on.

    Args:
        title: stands above.
        places: their names, K, from the top down.
        lines: y is the value at a place and x the number of the place, from 0 on; they are named above the chart.
        across: what the horizontal axis shows.
    """
    names = [line.name for line in lines]
    labels = [abbreviated(place, NOTE, _LONGEST_PLACE) for place in places]
    low, high = _limits([Panel("", lines, zero=True)])
    each = int(np.ceil(len(places) * NOTE.line_height / _TALLEST))
    tall = max(len(places) * NOTE.line_height / each, _LOWEST)
    # On a screen, letters take whole pixels: a little more than was measured.
    left = MARGIN + 1.03 * max(width_of(label, NOTE) for label in labels) + 0.08
    width = left + _BROAD + 2 * MARGIN
    key = _arranged(names, width - 2 * MARGIN)
    heading = wrap(title, TITLE, width - 2 * MARGIN)
    key_top = MARGIN + height_of(heading) + 0.04
    top = key_top + (key[-1][1] + 1) * CAPTION.line_height + 0.08
    page = Page(width, top + tall + 0.12 + 2 * NOTE.line_height)
    page.lines(heading, MARGIN, MARGIN)
    sheet = page.canvas()
    for line, (x, row) in zip(lines, key, strict=True):
        colour, dashes = _look(line, names)
        middle = key_top + (row + 0.5) * CAPTION.line_height
        sheet.plot([MARGIN + x, MARGIN + x + _SWATCH], [middle, middle], color=colour, linestyle=dashes, linewidth=1.3)
        page.text(line.name, MARGIN + x + _SWATCH + _LABEL_GAP, key_top + row * CAPTION.line_height, CAPTION)
    axes = page.axes(left, top, _BROAD, tall)
    axes.set(xlim=(low, high), ylim=(len(places) - 0.5, -0.5))
    for value in MaxNLocator(6).tick_values(low, high):
        if low <= value <= high:
            colour, thickness = ("#8c8c8c", 0.8) if value == 0 else ("#e4e4e4", 0.5)
            axes.axvline(value, color=colour, linewidth=thickness, zorder=0.5)
            x = left + (value - low) / (high - low) * _BROAD
            page.text(number(value), x, top + tall + 0.04, NOTE, "center")
    for place, label in list(enumerate(labels))[::each]:
        axes.axhline(place, color="#f0f0f0", linewidth=0.5, zorder=0)
        page.text(label, left - 0.06, top + (place + 0.5) / len(places) * tall - 0.5 * NOTE.line_height, NOTE, "right")
    for line in lines:
        colour, dashes = _look(line, names)
        mark = "o" if each == 1 else "None"
        axes.plot(line.y, line.x, color=colour, linestyle=dashes, linewidth=1.3, marker=mark, markersize=2.4)
    page.text(across, left + _BROAD / 2, top + tall + 0.06 + NOTE.line_height, NOTE, "center")
    return page


def _arranged(names: Sequence[str], width: float) -> list[tuple[float, int]]:
    """Where the entries of a key go: inches from the left, and the row."""
    places, x, row = [], 0.0, 0
    for name in names:
        own = _SWATCH + _LABEL_GAP + width_of(name, CAPTION)
        if x > 0 and x + own > width:
            x, row = 0.0, row + 1
        places.append((x, row))
        x += own + 0.25
    return places


def write_page(page: Page, path: str | os.PathLike[str], dpi: float) -> Path:
    """Write a page as the suffix of the path says.

    Raises:
        InputError: another suffix than .png, .svg or .pdf.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise InputError(f"{path}: pictures are written as .png, .svg or .pdf")
    return page.write(Path(path), dpi, kind)  # type: ignore[arg-type]


def _look(line: Line, names: Sequence[str]) -> tuple[str, Any]:
    if line.plain:
        return PLAIN, DASHES[2]
    place = names.index(line.name)
    return COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    values = [0.0] if any(panel.zero for panel in panels) else []
    for panel in panels:
        for line in panel.lines:
            for array in (line.y, *(line.band or ())):
                values += [float(value) for value in array[np.isfinite(array)]]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def _dress(axes: Axes, panel: Panel, limits: tuple[float, float], numbers: Array) -> None:
    longest = max(float(line.x[-1]) for line in panel.lines)
    axes.set(xlim=(0.0, longest or 1.0), ylim=limits)
    for value in numbers:
        if limits[0] <= value <= limits[1]:
            axes.axhline(value, color="#e4e4e4", linewidth=0.5, zorder=0)
    if panel.zero:
        axes.axhline(0.0, color="#8c8c8c", linewidth=0.8, zorder=1)


def _numbers(
    page: Page,
    axes: Axes,
    panel: Panel,
    left: float,
    top: float,
    tall: float,
    numbers: Array,
    limits: tuple[float, float],
) -> None:
    """Numbers along both axes."""
    for value in numbers:
        share = (value - limits[0]) / (limits[1] - limits[0])
        if 0.0 <= share <= 1.0:
            page.text(number(value), left - 0.04, top + (1 - share) * tall - 0.55 * NOTE.line_height, NOTE, "right")
    longest = axes.get_xlim()[1]
    for value in MaxNLocator(5, integer=True).tick_values(0, longest):
        if 0.0 <= value <= longest:
            page.text(number(value), left + value / longest * _WIDTH, top + tall + 0.04, NOTE, "center")


def _draw_lines(axes: Axes, panel: Panel, names: Sequence[str]) -> list[float]:
    """Draws; gives the height of each line's end."""
    ends = []
    for line in panel.lines:
        colour, dashes = _look(line, names)
        if line.band is not None and np.isfinite(line.band[0]).all():
            axes.fill_between(line.x, *line.band, color=colour, alpha=0.13, linewidth=0)
        axes.plot(line.x, line.y, color=colour, linestyle=dashes, linewidth=1.3, solid_capstyle="butt")
        known = line.y[np.isfinite(line.y)]
        ends.append(float(known[-1]) if len(known) else 0.0)
    return ends


def _name_lines(
    page: Page,
    panel: Panel,
    ends: Sequence[float],
    names: Sequence[str],
    right: float,
    top: float,
    tall: float,
    limits: tuple[float, float],
) -> None:
    """Names behind the ends of their lines, moved apart where they would overlap, with a leader to each end."""
    wanted = [top + (limits[1] - end) / (limits[1] - limits[0]) * tall for end in ends]
    places = _apart(wanted, CAPTION.line_height, top, top + tall)
    leaders = page.axes(right, top, _LEADER, tall)
    leaders.set_axis_off()
    leaders.set(xlim=(0.0, 1.0), ylim=(top + tall, top))
    for line, end, place in zip(panel.lines, wanted, places, strict=True):
        colour, _ = _look(line, names)
        leaders.plot([0.0, 1.0], [end, place], color=colour, linewidth=0.6, clip_on=False)
        face = Face(CAPTION.points, colour=PLAIN if line.plain else "#1a1a1a")
        page.text(line.name, right + _LEADER + _LABEL_GAP, place - 0.55 * CAPTION.line_height, face)


def _apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least ``gap`` apart and within the bounds, in the order of the wanted ones and close to them."""
    order = np.argsort(wanted, kind="stable")
    places = np.asarray(wanted, np.float64)[order]
    steps = np.arange(len(places)) * gap
    # Places less their minimal steps must not fall: the closest such sequence is that of isotonic regression.
    from sklearn.isotonic import IsotonicRegression

    free = IsotonicRegression().fit_transform(np.arange(len(places)), places - steps) if len(places) > 1 else places
    spread = np.clip(free, low, max(low, high - steps[-1])) + steps
    result = np.empty(len(places))
    result[order] = spread
    return [float(value) for value in result]
