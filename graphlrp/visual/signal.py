"""Explanations of inputs that are no pictures: recordings [C, T] and feature vectors [D].

A recording is drawn as lines over bands coloured by relevance: the curve stays readable, and the eye sees
which part of it mattered. Features are drawn as bars, the most relevant ones on top, between their values and
their relevances in numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from graphlrp.errors import InputError
from graphlrp.visual.colour import ColourMap, FloatArray, colour_map, relevance_scale, scaled
from graphlrp.visual.page import DPI, MARGIN, Page, vertical_bar_width
from graphlrp.visual.typesetting import (
    NOTE,
    TITLE,
    Line,
    abbreviated,
    exact_number,
    height_of,
    number,
    shortened,
    width_of,
    wrap,
    wrap_caption,
)

PANEL_GAP = 0.24
CHANNEL_HEIGHT = 0.62
SINGLE_CHANNEL_HEIGHT = 1.2
CHANNEL_GAP = 0.06
FEATURE_HEIGHT = 0.17
BAR_GAP = 0.16
NUMBER_GAP = 0.07
TALLEST_BAR = 2.4
LINE_COLOUR = "#1a1a1a"
EDGE_COLOUR = "#6e6e6e"
TALLEST_PICTURE = 2**16 - 1
"""Pixels; higher ones cannot be drawn, nor would anybody look at them."""


@dataclass(frozen=True, eq=False)
class SignalPanel:
    """One explanation of one signal or feature vector.

    Attributes:
        signal: [C, T], C channels of T samples, or [D], D features or samples of one channel.
        relevance: like the signal.
        title: stands above, e.g. the composite.
        caption: stands below, its first line in bold.
        names: of the C channels or the D features; numbers if empty.
        sides: what relevance to the left of zero, negative, speaks for, and what relevance to the right; above bars.
        absent: how many features without relevance are not among the D, as those of a sparse vector.

    Raises:
        InputError: shapes differ or have another rank, values are not finite, or the number of names is
            wrong.
    """

    signal: NDArray[np.generic]
    relevance: FloatArray
    title: str = ""
    caption: str = ""
    names: tuple[str, ...] = ()
    sides: tuple[str, str] = ("", "")
    absent: int = 0

    def __post_init__(self) -> None:
        """Check what was given."""
        signal, relevance = np.asarray(self.signal), np.asarray(self.relevance)
        if signal.shape != relevance.shape or signal.ndim not in (1, 2):
            raise InputError(
                f"signal {list(signal.shape)} and relevance {list(relevance.shape)} must have the same shape, [C, T] or [D]"
            )
        relevance_scale([relevance])  # raises for NaN and infinity
        if not np.isfinite(signal.astype(np.float64)).all():
            raise InputError("the signal contains NaN or infinity")
        if self.names and len(self.names) != signal.shape[0]:
            raise InputError(f"{len(self.names)} names do not fit {signal.shape[0]} channels or features")


class SignalOptions(TypedDict, total=False):
    """How a figure is drawn.

    Attributes:
        colours: a colour map or its name; "seismic" if absent.
        joint: one common scale for all panels (thesis, eq. 2.62) instead of one for each.
        percentile: of abs(R), that gets the end colour; 100, the largest, if absent.
        style: "line", "bars", or "auto" (if absent), which draws [C, T] as lines and [D] as bars.
        most: how many features bars show, the largest abs(R) first; 20 if absent.
        width: of the figure, in inches; 6.8 if absent.
    """

    colours: str | ColourMap
    joint: bool
    percentile: float
    style: Literal["auto", "line", "bars"]
    most: int
    width: float


def save_signal_figure(
    path: str | Path, panels: Sequence[SignalPanel], *, dpi: float = DPI, **options: Unpack[SignalOptions]
) -> Path:
    """Write :func:`signal_figure` as PNG, whole or not at all, and return the path.

    Args:
        path: where to; its folder is made if it is missing.
        panels: see :func:`signal_figure`.
        dpi: pixels per inch.
        **options: see :class:`SignalOptions`.

    Raises:
        InputError: as in :func:`signal_figure`, or there are more panels than a picture can hold.
        OSError: the file cannot be written.
    """
    return _page(panels, TALLEST_PICTURE / dpi, **options).write(path, dpi)


def signal_figure(panels: Sequence[SignalPanel], **options: Unpack[SignalOptions]) -> Figure:
    """Draw explained signals or feature vectors, one below the other.

    Args:
        panels: what to draw.
        **options: see :class:`SignalOptions`.

    Returns:
        A figure that pyplot knows nothing of; a notebook shows it, ``figure.savefig`` writes it in any
        format.

    Raises:
        InputError: there is no panel, bars are asked for a signal of several channels, or an option has no
            meaning.
    """
    return _page(panels, **options).figure


def _page(
    panels: Sequence[SignalPanel],
    tallest: float = np.inf,
    *,
    colours: str | ColourMap = "seismic",
    joint: bool = False,
    percentile: float = 100.0,
    style: Literal["auto", "line", "bars"] = "auto",
    most: int = 20,
    width: float = 6.8,
) -> Page:
    if not len(panels):
        raise InputError("a figure needs at least one panel")
    colours = colour_map(colours)
    if style not in ("auto", "line", "bars"):
        raise InputError(f"style must be 'auto', 'line' or 'bars', not {style!r}")
    if most < 1:
        raise InputError(f"bars must show at least one feature, not {most}")
    if not 3.0 <= width <= 40.0:
        raise InputError(f"the width of a figure must be between 3 and 40 inches, not {width}")
    maps = [panel.relevance for panel in panels]
    scales = relevance_scale(maps, joint=joint, percentile=percentile).tolist()
    reaches = relevance_scale(maps, joint=joint).tolist()
    clipped = percentile < 100.0
    # All curves end at the same place, whatever the length of the numbers beside their colour bars. Bars have their numbers.
    right = width - MARGIN - BAR_GAP - max(vertical_bar_width(scale, clipped) for scale in scales)
    drawings: list[_Drawing] = []
    for panel, scale, reach in zip(panels, scales, reaches, strict=True):
        if np.ndim(panel.signal) == 2 or style == "line":
            if style == "bars":
                raise InputError("bars show features [D]; a signal [C, T] is drawn with style='line'")
            drawings.append(_Lines(panel, _Frame(colours, scale, clipped, right, width - 2 * MARGIN)))
        else:
            frame = _Frame(colours, scale, clipped, width - MARGIN, width - 2 * MARGIN)
            drawings.append(_Bars(panel, frame, most, reach))
    _align([drawing for drawing in drawings if isinstance(drawing, _Bars)])
    height = 2 * MARGIN + sum(drawing.height for drawing in drawings) + PANEL_GAP * (len(drawings) - 1)
    if height > tallest:
        raise InputError(
            f"{len(panels)} panels are {height:.0f} inches high, a picture at most {tallest:.0f}: draw fewer samples"
        )
    page = Page(width, height)
    top = MARGIN
    for drawing in drawings:
        drawing.draw(page, top)
        top += drawing.height + PANEL_GAP
    return page


@dataclass(frozen=True)
class _Frame:
    """What a panel is told: its colours, the right end of its content, and the width of its text (inches)."""

    colours: ColourMap
    scale: float
    clipped: bool
    right: float
    text_width: float


class _Drawing(ABC):
    """A panel that knows its height before it is drawn; inches from the upper left corner of the page."""

    def __init__(self, panel: SignalPanel, frame: _Frame) -> None:
        self.frame = frame
        self.signal = np.atleast_2d(np.asarray(panel.signal, dtype=np.float64))
        self.relevance = np.atleast_2d(np.asarray(panel.relevance, dtype=np.float64))
        self.title = wrap(panel.title, TITLE, frame.text_width)
        self.caption = wrap_caption(panel.caption, frame.text_width)

    @property
    @abstractmethod
    def content_height(self) -> float:
        """Of the axes."""

    @property
    def head_height(self) -> float:
        """Of what is written directly above the axes."""
        return 0.0

    @property
    @abstractmethod
    def note_height(self) -> float:
        """Of what is written directly below the axes."""

    @abstractmethod
    def draw_content(self, page: Page, top: float) -> None:
        """Draw the axes and the notes."""

    @property
    def height(self) -> float:
        return self._title_height + self.head_height + self.content_height + self.note_height + height_of(self.caption)

    @property
    def _title_height(self) -> float:
        return height_of(self.title) + (0.05 if self.title else 0.0)

    def draw(self, page: Page, top: float) -> None:
        page.lines(self.title, MARGIN, top)
        top += self._title_height + self.head_height
        self.draw_content(page, top)
        page.lines(self.caption, MARGIN, top + self.content_height + self.note_height)


class _Lines(_Drawing):
    """A curve for each channel over bands coloured by relevance."""

    def __init__(self, panel: SignalPanel, frame: _Frame) -> None:
        super().__init__(panel, frame)
        channels = len(self.signal)
        self.channel_height = SINGLE_CHANNEL_HEIGHT if channels == 1 else CHANNEL_HEIGHT
        # The names of a vector are those of its samples, too many to write below each other.
        names = panel.names if np.ndim(panel.signal) == 2 else ()
        if not names and channels > 1:
            names = tuple(str(channel) for channel in range(channels))
        name_width = min(max((width_of(name, NOTE) for name in names), default=0.0), 1.2)
        self.names = [self._fitting(name, name_width) for name in names] or [[]]
        self.left = MARGIN + name_width + (0.08 if name_width else 0.0)

    def _fitting(self, name: str, width: float) -> list[Line]:
        """A name broken into no more lines than are as high as its channel."""
        lines, most = wrap(name, NOTE, width), int(self.channel_height / NOTE.line_height)
        if len(lines) <= most:
            return lines
        last = shortened(f"{lines[most - 1].text} {lines[most].text}", NOTE, width)
        return [*lines[: most - 1], Line(last, NOTE)]

    @property
    def content_height(self) -> float:
        channels = len(self.signal)
        return channels * self.channel_height + (channels - 1) * CHANNEL_GAP

    @property
    def note_height(self) -> float:
        return NOTE.line_height + 0.07

    def draw_content(self, page: Page, top: float) -> None:
        samples, left, right, first_top = self.signal.shape[1], self.left, self.frame.right, top
        times = np.arange(samples)
        # All channels share the axis of values: which one moves more is part of the signal.
        low, high = float(self.signal.min()), float(self.signal.max())
        space = 0.08 * (high - low) or 1.0
        extent = (-0.5, samples - 0.5, low - space, high + space)
        for name, signal, relevance in zip(self.names, self.signal, self.relevance, strict=True):
            axes = page.axes(left, top, right - left, self.channel_height)
            band = self.frame.colours(scaled(relevance, self.frame.scale))[np.newaxis]
            axes.imshow(band, extent=extent, origin="upper", aspect="auto", interpolation="nearest")
            marker = "o" if samples == 1 else "None"
            for colour, thickness, opacity in (("white", 2.2, 0.7), (LINE_COLOUR, 0.9, 1.0)):
                axes.plot(
                    times,
                    signal,
                    color=colour,
                    linewidth=thickness,
                    alpha=opacity,
                    linestyle="-",
                    marker=marker,
                    markersize=4,
                    solid_joinstyle="round",
                )
            axes.set_xlim(extent[0], extent[1])
            axes.set_ylim(extent[2], extent[3])
            page.lines(name, MARGIN, top + 0.5 * (self.channel_height - height_of(name)))
            top += self.channel_height + CHANNEL_GAP
        axis_top = top - CHANNEL_GAP + 0.02
        page.text("0", left, axis_top, NOTE)
        page.text("sample", 0.5 * (left + right), axis_top, NOTE, "center")
        page.text(str(samples - 1), right, axis_top, NOTE, "right")
        frame, height = self.frame, min(self.content_height, TALLEST_BAR)
        page.vertical_bar(frame.colours, frame.scale, frame.clipped, right + BAR_GAP, first_top, height)


class _Bars(_Drawing):
    """A bar for each of the most relevant features: positive relevance to the right, negative to the left."""

    def __init__(self, panel: SignalPanel, frame: _Frame, most: int, reach: float) -> None:
        super().__init__(panel, frame)
        values, relevance = self.signal[0], self.relevance[0]
        # A stable order: features of equal relevance stay in the order of the input.
        order = np.argsort(-np.abs(relevance), kind="stable")[:most]
        names = [panel.names[feature] if panel.names else f"feature {feature}" for feature in order]
        longest = 0.4 * (frame.right - MARGIN)
        self.labels = [_label(name, float(values[feature]), longest) for name, feature in zip(names, order, strict=True)]
        self.left = MARGIN + max(width_of(label, NOTE) for label in self.labels) + 0.08
        self.reach = reach
        self.shown = relevance[order]
        # In units of the reach: a side takes the room that its longest bar needs.
        longest_bars = (max(-float(self.shown.min()), 0.0), max(float(self.shown.max()), 0.0))
        self.low, self.high = (bar / reach + 0.04 for bar in longest_bars)
        self.numbers = [number(float(value)) for value in self.shown]
        self.right = frame.right - max(width_of(text, NOTE) for text in self.numbers) - NUMBER_GAP
        self.sides = panel.sides
        hidden = len(relevance) - len(order)
        rest = number(float(relevance.sum() - self.shown.sum()))
        notes = [f"{hidden:,} more feature{'s' if hidden > 1 else ''}: relevance {rest} in all"] if hidden else []
        notes += [f"{panel.absent:,}{'' if hidden else ' more'} without relevance"] if panel.absent else []
        self.note = shortened("; ".join(notes), NOTE, frame.right - self.left)

    @property
    def content_height(self) -> float:
        return len(self.labels) * FEATURE_HEIGHT

    @property
    def head_height(self) -> float:
        return NOTE.line_height + 0.04 if any(self.sides) else 0.0

    @property
    def note_height(self) -> float:
        return (NOTE.line_height + 0.04 if self.note else 0.0) + 0.05

    def draw_content(self, page: Page, top: float) -> None:
        self._draw_sides(page, top - self.head_height)
        axes = page.axes(self.left, top, self.right - self.left, self.content_height)
        fill = self.frame.colours(scaled(self.shown, self.frame.scale)) / 255.0
        positions = np.arange(len(self.shown))
        axes.barh(positions, self.shown, height=0.72, color=fill, edgecolor=EDGE_COLOUR, linewidth=0.4)
        axes.axvline(0.0, color=EDGE_COLOUR, linewidth=0.6, linestyle="-")
        # One scale for both sides, so that lengths can be compared, and not clipped where the colours are.
        axes.set_xlim(-self.low * self.reach, self.high * self.reach)
        axes.set_ylim(len(self.shown) - 0.5, -0.5)
        row_height = self.content_height / len(self.labels)
        for index, (label, relevance) in enumerate(zip(self.labels, self.numbers, strict=True)):
            label_top = top + (index + 0.5) * row_height - 0.5 * NOTE.line_height
            page.text(label, self.left - 0.06, label_top, NOTE, "right")
            page.text(relevance, self.frame.right, label_top, NOTE, "right")
        page.text(self.note, self.left, top + self.content_height + 0.03, NOTE)

    def _draw_sides(self, page: Page, top: float) -> None:
        """What both directions mean, from zero outwards."""
        zero, gap = self.left + self.low / (self.low + self.high) * (self.right - self.left), 0.05
        left, right = "\N{BLACK LEFT-POINTING SMALL TRIANGLE} ", " \N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
        # They may reach beyond the axes, and beyond zero where the other one leaves room.
        whole = self.frame.right - MARGIN - 4 * gap - width_of(left + right, NOTE)
        names = [name if room > 0.04 else "" for name, room in zip(self.sides, (self.low, self.high), strict=True)]
        widths = [width_of(name, NOTE) for name in names]
        negative, positive = (
            abbreviated(name, NOTE, max(whole / 2, whole - other)) for name, other in zip(names, reversed(widths), strict=True)
        )
        end, start = zero - gap, zero + gap
        if negative:
            end = max(end, MARGIN + width_of(left + negative, NOTE))
            start = max(start, end + 2 * gap)
        if positive:
            start = min(start, self.frame.right - width_of(positive + right, NOTE))
            end = min(end, start - 2 * gap)
        if negative:
            page.text(left + negative, end, top, NOTE, "right")
        if positive:
            page.text(positive + right, start, top, NOTE)


def _align(drawings: Sequence[_Bars]) -> None:
    """Put the zeros of all panels below each other, however long their names and numbers are."""
    for drawing in drawings:
        drawing.left = max(other.left for other in drawings)
        drawing.right = min(other.right for other in drawings)
        drawing.low = max(other.low for other in drawings)
        drawing.high = max(other.high for other in drawings)


def _label(name: str, value: float, width: float) -> str:
    """A name and its value; the name is cut where it is long, the value never."""
    end = f" = {exact_number(value)}"
    return abbreviated(" ".join(name.split()), NOTE, max(width - width_of(end, NOTE), 0.3)) + end
