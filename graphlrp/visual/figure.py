"""The picture of an explanation that a person would publish: input, heatmap, overlay, and what they mean.

One row per picture (or per explained class): the input, then for every panel, e.g. of every composite, its heatmap and that
heatmap over the input::

    input      epsilon-plus-flat          relevance over input  epsilon                    relevance over input
    [photo]    [heatmap]                  [overlay]             [heatmap]                  [overlay]
    cat.png    -0.1       0       0.1                           -0.3       0       0.3
               tabby cat                                        tabby cat
               f(x) = 9.17   ΣR = 9.02                          f(x) = 9.17   ΣR = 9.10

The layout is computed from measured text; nothing is left to matplotlib.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from matplotlib.figure import Figure

from graphlrp.errors import InputError
from graphlrp.visual.colour import ColourMap, FloatArray, Pixels, colour_map, heatmap, relevance_scale
from graphlrp.visual.overlay import checked_image, checked_relevance, positive_mask, relevance_overlay
from graphlrp.visual.page import (
    DPI,
    LOWEST_BAR,
    MARGIN,
    Page,
    horizontal_bar_height,
    on_grid,
    vertical_bar_width,
)
from graphlrp.visual.typesetting import CAPTION, HEADING, TITLE, Line, height_of, number, wrap, wrap_caption

COLUMN_GAP = 0.12
ROW_GAP = 0.2
TEXT_GAP = 0.05
BAR_GAP = 0.16
TALLEST = 1.5  # a picture is at most this many times as high as its column is wide


@dataclass(frozen=True, eq=False)
class Panel:
    """One explanation of one picture.

    Attributes:
        image: uint8 [H, W, 3], what the model saw.
        relevance: [H, W], summed over channels.
        title: stands above the heatmap, e.g. the composite.
        caption: stands below it, its first line in bold, e.g. :func:`explanation_caption`.
        source: stands below the input, e.g. the file; that of a row's first panel counts.

    Raises:
        InputError: the picture is not uint8 [H, W, 3], or the relevance has another size or is not finite.
    """

    image: Pixels
    relevance: FloatArray
    title: str = ""
    caption: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        """Check what was given."""
        values = checked_relevance(self.relevance, checked_image(self.image))
        relevance_scale([values])  # raises for NaN and infinity


class FigureOptions(TypedDict, total=False):
    """How a figure is drawn.

    Attributes:
        colours: a colour map or its name; "seismic" if absent.
        joint: one common scale for all panels (thesis, eq. 2.62) instead of one for each.
        percentile: of abs(R), that gets the end colour; 100, the largest, if absent.
        over: how relevance is laid over the picture: "blend" (colours; if absent), "mask" (light where it is
            positive) or None (not at all).
        heading: stands above everything.
        width: of a picture, in inches; 2.24 (twice 224 pixels at 200 dpi) if absent.
    """

    colours: str | ColourMap
    joint: bool
    percentile: float
    over: Literal["blend", "mask"] | None
    heading: str
    width: float


def explanation_caption(name: str, output: float, total: float, composite: str = "", absorbed: float | None = None) -> str:
    """The usual caption: class, f(x), ΣR, what was absorbed, and the composite if the title does not say it.

    Args:
        name: of the explained class or output.
        output: f(x), the explained output.
        total: ΣR, the relevance of all inputs; what is missing to f(x) went to biases and stabilisers.
        composite: name of the composite.
        absorbed: what the ledger says went to biases, constants and stabilisers; None if no ledger was kept.
    """
    kept = "" if absorbed is None else f"absorbed by biases and the like: {number(absorbed)}"
    lines = [name, f"f(x) = {number(output)}   ΣR = {number(total)}", kept, composite]
    return "\n".join(line for line in lines if line)


def save_figure(path: str | Path, rows: Sequence[Sequence[Panel]], *, dpi: float = DPI, **options: Unpack[FigureOptions]) -> Path:
    """Write :func:`explanation_figure` as PNG, whole or not at all, and return the path.

    Args:
        path: where to; its folder is made if it is missing.
        rows: see :func:`explanation_figure`.
        dpi: pixels per inch.
        **options: see :class:`FigureOptions`.

    Raises:
        InputError: as in :func:`explanation_figure`.
        OSError: the file cannot be written.
    """
    return _Layout(rows, **options).draw().write(path, dpi)


def explanation_figure(rows: Sequence[Sequence[Panel]], **options: Unpack[FigureOptions]) -> Figure:
    """Draw explanations, a row for each picture or class; of each composite the heatmap, and by default that over the picture.

    Args:
        rows: panels; those of one row explain the same picture. Rows may differ in length and in picture size.
        **options: see :class:`FigureOptions`.

    Returns:
        A figure that pyplot knows nothing of; a notebook shows it, ``figure.savefig`` writes it in any
        format.

    Raises:
        InputError: there is no panel, a row is empty, its panels differ in size, or an option has no meaning.
    """
    return _Layout(rows, **options).draw().figure


@dataclass(frozen=True)
class _Cell:
    """One picture of the figure with what stands around it."""

    pixels: Pixels
    title: list[Line]
    caption: list[Line]
    scale: float | None = None  # the relevance at the end of the colour bar below, if there is one

    @property
    def height_below(self) -> float:
        return (horizontal_bar_height() if self.scale is not None else 0.0) + height_of(self.caption)


class _Layout:
    """Where everything goes, in inches from the upper left corner."""

    def __init__(
        self,
        rows: Sequence[Sequence[Panel]],
        *,
        colours: str | ColourMap = "seismic",
        joint: bool = False,
        percentile: float = 100.0,
        over: Literal["blend", "mask"] | None = "blend",
        heading: str = "",
        width: float = 2.24,
    ) -> None:
        self.colours, self.over, self.heading, self.width = colour_map(colours), over, heading, on_grid(width)
        self.clipped = percentile < 100.0
        if self.over not in ("blend", "mask", None):
            raise InputError(f"over must be 'blend', 'mask' or None, not {self.over!r}")
        if not 0.9 <= self.width <= 20.0:
            raise InputError(f"the width of a picture must be between 0.9 and 20 inches, not {self.width}")
        _check_rows(rows)
        maps = [panel.relevance for row in rows for panel in row]
        scales = relevance_scale(maps, joint=joint, percentile=percentile).tolist()
        self.joint_scale: float | None = scales[0] if joint else None
        remaining = iter(scales)
        self.rows = [self._cells(row, list(itertools.islice(remaining, len(row)))) for row in rows]

    def _cells(self, row: Sequence[Panel], scales: list[float]) -> list[_Cell]:
        cells = [self._cell(row[0].image, "input", wrap(row[0].source, CAPTION, self.width))]
        for panel, own_scale in zip(row, scales, strict=True):
            pixels = heatmap(panel.relevance, colours=self.colours, scale=own_scale)
            caption = wrap_caption(panel.caption, self.width)
            bar = own_scale if self.joint_scale is None else None
            cells.append(self._cell(pixels, panel.title or "relevance", caption, bar))
            if self.over == "blend":
                pixels = relevance_overlay(panel.image, panel.relevance, colours=self.colours, scale=own_scale)
                cells.append(self._cell(pixels, "relevance over input", []))
            elif self.over == "mask":
                pixels = positive_mask(panel.image, panel.relevance, scale=own_scale)
                cells.append(self._cell(pixels, "positive relevance", []))
        return cells

    def _cell(self, pixels: Pixels, title: str, caption: list[Line], scale: float | None = None) -> _Cell:
        return _Cell(pixels, wrap(title, TITLE, self.width), caption, scale)

    def draw(self) -> Page:
        columns = max(len(cells) for cells in self.rows)
        right = MARGIN + columns * self.width + (columns - 1) * COLUMN_GAP
        width = right + MARGIN
        if self.joint_scale is not None:
            width += BAR_GAP + vertical_bar_width(self.joint_scale, self.clipped)
        heading = wrap(self.heading, HEADING, width - 2 * MARGIN)
        first_top = on_grid(MARGIN + height_of(heading) + (0.08 if heading else 0.0))
        tops = [first_top]
        for index in range(len(self.rows)):
            tops.append(on_grid(tops[-1] + self._row_height(index) + ROW_GAP))

        page = Page(width, tops[-1] - ROW_GAP + MARGIN)
        page.lines(heading, MARGIN, MARGIN)
        for index, top in enumerate(tops[:-1]):
            self._draw_row(page, index, top)
        if self.joint_scale is not None:
            bar_top = on_grid(first_top + self._title_height(0))
            height = self._picture_height(0)
            page.vertical_bar(self.colours, self.joint_scale, self.clipped, right + BAR_GAP, bar_top, height)
        return page

    def _draw_row(self, page: Page, index: int, top: float) -> None:
        height = self._picture_height(index)
        picture_top = on_grid(top + self._title_height(index))
        for column, cell in enumerate(self.rows[index]):
            left = on_grid(MARGIN + column * (self.width + COLUMN_GAP))
            if self._has_titles(index):
                page.lines(cell.title, left, picture_top - TEXT_GAP - height_of(cell.title))
            page.picture(cell.pixels, left, picture_top, self.width, height)
            below = on_grid(picture_top + height + TEXT_GAP)
            if cell.scale is not None:
                page.horizontal_bar(self.colours, cell.scale, self.clipped, left, below, self.width)
                below += horizontal_bar_height()
            page.lines(cell.caption, left, below)

    def _has_titles(self, index: int) -> bool:
        """Titles stand above the first row, and above a later one if the row before it has other titles."""
        if index == 0:
            return True
        above, here = self.rows[index - 1], self.rows[index]
        return [cell.title for cell in here] != [cell.title for cell in above[: len(here)]]

    def _title_height(self, index: int) -> float:
        if not self._has_titles(index):
            return 0.0
        return max(height_of(cell.title) for cell in self.rows[index]) + TEXT_GAP

    def _picture_height(self, index: int) -> float:
        height, width, _ = self.rows[index][0].pixels.shape
        return max(on_grid(self.width * min(height / width, TALLEST)), 0.01)

    def _row_height(self, index: int) -> float:
        content = self._picture_height(index)
        if index == 0 and self.joint_scale is not None:
            content = max(content, LOWEST_BAR)
        return self._title_height(index) + content + TEXT_GAP + max(cell.height_below for cell in self.rows[index])


def _check_rows(rows: Sequence[Sequence[Panel]]) -> None:
    if not len(rows) or not all(len(row) for row in rows):
        raise InputError("a figure needs at least one row, and every row at least one panel")
    for index, row in enumerate(rows):
        if len({panel.image.shape for panel in row}) > 1:
            raise InputError(
                f"the panels of row {index} explain pictures of different sizes; a row holds explanations of one picture"
            )
