"""Figures of matplotlib as a section, and as pictures of other sections."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from graphlrp.errors import InputError
from graphlrp.reports.maps import data_uri
from graphlrp.reports.section import Section

DPI = 144
"""Enough for paper at the size they are shown."""


@dataclass(frozen=True)
class FigureView:
    """A picture and what it shows; the size is in pixels of the page."""

    uri: str
    alt: str
    width: int
    height: int
    caption: str = ""


def figure_view(figure: Figure, alt: str, caption: str = "") -> FigureView:
    """A figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None}, facecolor="white")
    width, height = figure.get_size_inches()
    return FigureView(data_uri(content.getvalue(), "image/png"), alt, round(96 * width), round(96 * height), caption)


def figure_section(result: Any, heading: str, *, alt: str = "", caption: str = "") -> Section:
    """A figure, or several by their captions.

    Raises:
        InputError: there is no text that says what it shows.
    """
    given = result if isinstance(result, Mapping) else {caption: result}
    if not alt:
        raise InputError("give alt=..., a text that says what the figure shows, for readers who do not see it")
    views = [figure_view(figure, f"{alt} {name}".strip() if len(given) > 1 else alt, name) for name, figure in given.items()]
    return Section(heading or "Figure", "figures.html", {"figures": views})
