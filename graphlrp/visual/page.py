"""A page to draw on: text, pictures and colour bars, placed in inches from the upper left corner.

Whatever a user's matplotlib settings say about TeX, fonts, grids or image origins neither changes nor breaks
a figure: everything that matters is passed explicitly. pyplot with its global state is not used.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from graphlrp.files import replacing
from graphlrp.visual.colour import ColourMap, Pixels
from graphlrp.visual.typesetting import NOTE, Face, Line, number, width_of

DPI = 200
MARGIN = 0.12
BAR_THICKNESS = 0.07
LOWEST_BAR = 0.6  # less would let the numbers beside a vertical bar touch each other
FRAME_COLOUR = "#b4b4b4"
_BAR_TEXT_GAP = 0.05
_CANVASES = {"png": FigureCanvasAgg, "svg": FigureCanvasSVG, "pdf": FigureCanvasPdf}
_UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


class Page:
    """A white sheet of ``width`` by ``height`` inches; ``figure`` is the matplotlib figure behind it."""

    def __init__(self, width: float, height: float) -> None:
        """Make an empty page."""
        self.width, self.height = on_grid(width), on_grid(height)
        self.figure = Figure(figsize=(self.width, self.height), dpi=DPI, facecolor="white")
        self.figure.set_layout_engine("none")  # whatever the user's settings ask for

    def text(
        self,
        text: str,
        left: float,
        top: float,
        face: Face,
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """Set one line of text, taken literally: dollars and backslashes mean nothing special.

        Args:
            text: the line.
            left: where its left end, centre or right end goes, as ``align`` says.
            top: where the upper edge of the line goes.
            face: how it is set.
            align: horizontally.
        """
        # The baseline is placed, not the box: a line without descenders would else sit lower than others.
        self._text(text, left, top + 0.78 * face.line_height, face, align, "baseline", 0.0)

    def lines(self, lines: list[Line], left: float, top: float) -> None:
        """Set lines below each other."""
        for line in lines:
            self.text(line.text, left, top, line.face)
            top += line.face.line_height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without ticks in a thin frame, so that white heatmaps do not melt into the page."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box, facecolor="white")
        axes.set_axisbelow(True)
        axes.grid(False)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(visible=True, color=FRAME_COLOUR, linewidth=0.5)
        return axes

    def picture(self, pixels: Pixels, left: float, top: float, width: float, height: float) -> None:
        """Show pixels [H, W, 3] in a box; they fill it if it has their proportions, roughly."""
        fills = abs(height / width - pixels.shape[0] / pixels.shape[1]) < 0.02
        axes = self.axes(left, top, width, height)
        # "antialiased" keeps square pixels where they are enlarged a lot or by a whole number, and else smooths.
        axes.imshow(pixels, origin="upper", interpolation="antialiased", aspect="auto" if fills else "equal")
        axes.set_anchor("W")

    def horizontal_bar(self, colours: ColourMap, scale: float, clipped: bool, left: float, top: float, width: float) -> None:
        """Draw a colour bar that takes :func:`horizontal_bar_height` inches."""
        axes = self.axes(left, top, width, BAR_THICKNESS)
        _fill(axes, colours(np.linspace(-1, 1, 513))[np.newaxis])
        below, zero, above = bar_numbers(scale, clipped)
        text_top, right, centre = top + BAR_THICKNESS + 0.01, left + width, left + 0.5 * width
        room = 0.5 * width - max(width_of(below, NOTE), width_of(above, NOTE))
        if room < 0.0:  # too narrow for both ends, but they are symmetric
            below, zero, above = "", f"±{number(scale)}", ""
        elif room < 0.1:
            zero = ""
        self.text(below, left, text_top, NOTE)
        self.text(zero, centre, text_top, NOTE, "center")
        self.text(above, right, text_top, NOTE, "right")
        self.text("relevance", centre, text_top + 0.9 * NOTE.line_height, NOTE, "center")

    def vertical_bar(self, colours: ColourMap, scale: float, clipped: bool, left: float, top: float, height: float) -> None:
        """Draw a colour bar, :func:`vertical_bar_width` inches wide and at least ``LOWEST_BAR`` high."""
        height = max(height, LOWEST_BAR)
        axes = self.axes(left, top, BAR_THICKNESS, height)
        _fill(axes, colours(np.linspace(1, -1, 513))[:, np.newaxis])
        text_left, numbers = left + BAR_THICKNESS + _BAR_TEXT_GAP, bar_numbers(scale, clipped)
        for position, text in zip((1.0, 0.5, 0.0), numbers, strict=True):
            self.text(text, text_left, top + position * (height - NOTE.line_height), NOTE)
        label = left + vertical_bar_width(scale, clipped) - 0.5 * NOTE.line_height
        self._text("relevance", label, top + 0.5 * height, NOTE, "center", "center", 90.0)

    def canvas(self) -> Axes:
        """Invisible axes over the whole page, for shapes: their units are inches from the upper left corner."""
        axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0), facecolor="none")
        axes.set_axis_off()
        axes.set(xlim=(0.0, self.width), ylim=(self.height, 0.0))
        return axes

    def write(self, path: str | Path, dpi: float, kind: Literal["png", "svg", "pdf"] = "png") -> Path:
        """Write the page.

        The bytes go to a temporary file beside ``path`` that then takes its place in one step, so nobody ever
        reads half a picture and a failure leaves what was there before. They hold no date and no version: the
        same page gives the same file.

        Args:
            path: where to; its folder is made if it is missing.
            dpi: pixels per inch.
            kind: of file.

        Returns:
            The path.

        Raises:
            OSError: the file cannot be written.
        """
        content = io.BytesIO()
        self.figure.set_dpi(dpi)
        canvas: Any = _CANVASES[kind](self.figure)  # matplotlib does not say what its canvases take
        # Without the salt, the identifiers inside an SVG would be drawn by lot; paths look the same without the font.
        with rc_context({"svg.hashsalt": "graphlrp", "svg.fonttype": "path", "pdf.fonttype": 42}):
            getattr(canvas, f"print_{kind}")(content, metadata=_UNDATED[kind])
        with replacing(path) as unfinished:
            unfinished.write_bytes(content.getbuffer())
        return Path(path)

    def _text(
        self,
        text: str,
        left: float,
        top: float,
        face: Face,
        horizontal: Literal["left", "center", "right"],
        vertical: Literal["baseline", "center"],
        rotation: float,
    ) -> None:
        self.figure.text(
            left / self.width,
            1 - top / self.height,
            text,
            fontproperties=face.font,
            color=face.colour,
            ha=horizontal,
            va=vertical,
            rotation=rotation,
            parse_math=False,
            usetex=False,
        )


def bar_numbers(scale: float, clipped: bool) -> tuple[str, str, str]:
    """The numbers at the lower end, the middle and the upper end of a colour bar.

    Relevance beyond a percentile shares the end colours, and the numbers have to say so.
    """
    at_most, at_least = ("≤ ", "≥ ") if clipped else ("", "")
    return f"{at_most}{number(-scale)}", "0", f"{at_least}{number(scale)}"


def horizontal_bar_height() -> float:
    """Inches that a horizontal colour bar takes with its numbers and its label."""
    return BAR_THICKNESS + 0.01 + 1.9 * NOTE.line_height + 0.03


def vertical_bar_width(scale: float, clipped: bool) -> float:
    """Inches that a vertical colour bar takes with its numbers and its label."""
    widest = max(width_of(text, NOTE) for text in bar_numbers(scale, clipped))
    return BAR_THICKNESS + _BAR_TEXT_GAP + widest + 0.04 + NOTE.line_height


def on_grid(inches: float) -> float:
    """Round to hundredths of an inch, whole pixels at 100 and 200 dpi: pictures then keep sharp edges."""
    return round(inches * 100) / 100


def _fill(axes: Axes, pixels: Pixels) -> None:
    axes.imshow(pixels, origin="upper", aspect="auto", interpolation="nearest")
