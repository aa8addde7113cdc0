"""How the relevance of one input is shown: as a heatmap, as bands behind a signal, as bars, or as highlighted words.

A view is made in two steps, since the common scale of all maps (2.62) is known only when all of them are there: a draft has the
map, its ``view`` gets the scales. ``kind`` names the part of the template that shows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphlrp.reports.maps import SMALL, Scales, heatmap_uri, overlay_uri, picture_uri
from graphlrp.reports.style import Style
from graphlrp.visual.colour import FloatArray, Pixels, hexadecimal, ink
from graphlrp.visual.signal import SignalPanel
from graphlrp.visual.text import FAINT, TextRelevance
from graphlrp.visual.typesetting import exact_number

WASHED_OUT = 99.5
"""Percentile of |R| that gets the full colour in pictures and signals: the few beyond would wash out the rest."""

POINTS = 1500
"""How many points of a signal are drawn; of longer ones the extremes of that many parts."""


@dataclass(frozen=True, eq=False)
class MapView:
    """A heatmap, and the same over the grey picture."""

    scales: Scales
    sides: tuple[str, str]
    heat: str
    overlay: str
    grey: str
    neutral: str
    width: int
    height: int
    squares: bool
    kind: ClassVar[str] = "map"


@dataclass(frozen=True, eq=False)
class MapDraft:
    """A picture uint8 [H, W, 3] and its relevance [H, W]."""

    image: Pixels
    relevance: FloatArray
    percentile: ClassVar[float] = WASHED_OUT

    def view(self, scales: Scales, sides: tuple[str, str], style: Style) -> MapView:
        """Both pictures with the palette of the style."""
        height, width = self.relevance.shape
        return MapView(
            scales,
            sides,
            heatmap_uri(self.relevance, scales, style.colours, style.joint),
            overlay_uri(self.relevance, scales, style.colours, style.joint),
            picture_uri(self.image, grey=True),
            hexadecimal(style.colours.neutral),
            width,
            height,
            max(width, height) <= SMALL,
        )


@dataclass(frozen=True)
class Channel:
    """A curve, points of a polyline in a box of 100 × 100, over a band of colours."""

    name: str
    band: str
    points: str


@dataclass(frozen=True, eq=False)
class SignalView:
    """Channels below each other; they share the axis of values."""

    scales: Scales
    sides: tuple[str, str]
    channels: Sequence[Channel]
    samples: int
    kind: ClassVar[str] = "signal"


@dataclass(frozen=True, eq=False)
class SignalDraft:
    """A signal [C, T] and its relevance."""

    panel: SignalPanel
    percentile: ClassVar[float] = WASHED_OUT

    @property
    def relevance(self) -> FloatArray:
        """[C, T]."""
        return np.asarray(self.panel.relevance, np.float64)

    def view(self, scales: Scales, sides: tuple[str, str], style: Style) -> SignalView:
        """Curves between 8 and 92, so that their ends do not touch the frame."""
        signal = np.asarray(self.panel.signal, np.float64)
        names = self.panel.names or [str(channel) if len(signal) > 1 else "" for channel in range(len(signal))]
        low, high = float(signal.min()), float(signal.max())
        heights = 92 - 84 * (signal - low) / ((high - low) or 1.0)
        channels = [
            Channel(name, heatmap_uri(_means(relevance)[np.newaxis], scales, style.colours, style.joint), _points(line))
            for name, line, relevance in zip(names, heights, self.relevance, strict=True)
        ]
        return SignalView(scales, sides, channels, signal.shape[1])


def _points(heights: FloatArray) -> str:
    places = (np.arange(len(heights)) + 0.5) * (100 / len(heights))
    if len(heights) > POINTS:
        parts = np.array_split(np.arange(len(heights)), POINTS // 2)
        chosen = np.concatenate([np.unique([part[heights[part].argmin()], part[heights[part].argmax()]]) for part in parts])
        places, heights = places[chosen], heights[chosen]
    return " ".join(f"{x:.3f},{y:.1f}" for x, y in zip(places, heights, strict=True))


def _means(relevance: FloatArray) -> FloatArray:
    if len(relevance) <= POINTS:
        return relevance
    return np.array([part.mean() for part in np.array_split(relevance, POINTS)])


@dataclass(frozen=True)
class Bar:
    """One feature: ``share`` is its relevance over the largest |R| of the sample, and the length of its bar."""

    name: str
    value: str
    relevance: float
    share: float
    colour: str


@dataclass(frozen=True, eq=False)
class BarsView:
    """The features that matter most.

    Attributes:
        scales: both normalisations.
        sides: what negative and positive relevance speak for.
        bars: the largest |R| first.
        hidden: how many more features there are.
        hidden_relevance: and theirs.
        absent: how many features of a sparse sample have none.
        joint: whether lengths are those of the common scale.
    """

    scales: Scales
    sides: tuple[str, str]
    bars: Sequence[Bar]
    hidden: int
    hidden_relevance: float
    absent: int
    joint: bool
    kind: ClassVar[str] = "bars"


@dataclass(frozen=True, eq=False)
class BarsDraft:
    """A vector of features [D] and its relevance."""

    panel: SignalPanel
    most: int
    percentile: ClassVar[float] = 100.0

    @property
    def relevance(self) -> FloatArray:
        """[D]."""
        return np.asarray(self.panel.relevance, np.float64)

    def view(self, scales: Scales, sides: tuple[str, str], style: Style) -> BarsView:
        """Features of equal relevance stay in the order of the input."""
        relevance = self.relevance
        order = np.argsort(-np.abs(relevance), kind="stable")[: self.most].tolist()
        colours = style.colours(relevance / scales[style.joint]).tolist()
        bars = [
            Bar(
                self.panel.names[k] if self.panel.names else f"feature {k}",
                exact_number(float(self.panel.signal[k])),
                float(relevance[k]),
                float(relevance[k]) / scales.largest,
                hexadecimal(colours[k]),
            )
            for k in order
        ]
        hidden = float(relevance.sum() - relevance[order].sum())
        return BarsView(scales, sides, bars, len(relevance) - len(order), hidden, self.panel.absent, style.joint)


@dataclass(frozen=True)
class Part:
    """A part of a text that has one colour; none where its relevance is too faint."""

    text: str
    relevance: float
    share: float
    background: str | None
    ink: str | None


@dataclass(frozen=True, eq=False)
class TextView:
    """A text with its relevance as background."""

    scales: Scales
    sides: tuple[str, str]
    parts: Sequence[Part]
    unit: str
    note: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, eq=False)
class TextDraft:
    """A text and the relevance of its parts."""

    text: TextRelevance
    percentile: ClassVar[float] = 100.0

    @property
    def relevance(self) -> FloatArray:
        """Of every part, [P]."""
        return np.array([value for _, _, value in self.text.units()] or [0.0])

    def view(self, scales: Scales, sides: tuple[str, str], style: Style) -> TextView:
        """Neighbours of equal relevance, such as the characters of a term, are one part."""
        parts = []
        joined = self.text.words is None
        for relevance, group in itertools.groupby(self.text.units(), key=lambda unit: unit[2]):
            units = list(group)
            ends = [(units[0][0], units[-1][1])] if joined else [(start, end) for start, end, _ in units]
            value = relevance / scales[style.joint]
            colour = style.colours(value).tolist()
            faint = abs(value) < FAINT
            for start, end in ends:
                whole = float(self.text.characters[start:end].sum())
                look = (None, None) if faint else (hexadecimal(colour), ink(colour))
                parts.append(Part(self.text.text[start:end], whole, relevance / scales.largest, *look))
        unit = "character" if joined else "word"
        return TextView(scales, sides, parts, unit, self.text.note)


View = MapView | SignalView | BarsView | TextView
Draft = MapDraft | SignalDraft | BarsDraft | TextDraft
