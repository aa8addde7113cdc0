"""Typical maps of every cluster, so that a person sees what its maps have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from graphlrp.errors import InputError
from graphlrp.spray.maps import map_at
from graphlrp.spray.pictures import picture_at
from graphlrp.visual.colour import ColourMap, Pixels, colour_map, heatmap
from graphlrp.visual.page import MARGIN, Page, on_grid
from graphlrp.visual.typesetting import HEADING, NOTE, TITLE, height_of, shortened, wrap

if TYPE_CHECKING:
    from graphlrp.spray.analysis import Analysis

Array = NDArray[Any]
GAP = 0.06
ROW_GAP = 0.16
TALLEST = 1.5  # a row of pictures is at most this many times as high as they are wide


def montage(
    analysis: Analysis,
    relevance: Any,
    images: Any = None,
    *,
    clustering: str | int | None = None,
    cluster: int | None = None,
    count: int = 8,
    layout: str | None = None,
    colours: str | ColourMap = "seismic",
    percentile: float = 100.0,
    width: float = 0.9,
    heading: str = "",
) -> Figure:
    """A row for every cluster: the mean of its preprocessed maps, and those of its maps that are nearest to this mean.

    Every map has its own scale.

    Args:
        analysis: what was found.
        relevance: the maps that were analysed.
        images: pictures of the data, drawn above their maps; as for :func:`embedding_figure`.
        clustering: name or number of clusters; by default the first.
        cluster: only this one; its maps then fill as many rows as they need.
        count: of maps, at most, of every cluster.
        layout: of the maps, as for :func:`analyse`.
        colours: a colour map or its name.
        percentile: of |R|, that gets the end colour.
        width: of a picture, in inches.
        heading: stands above everything.

    Raises:
        InputError: there is no such cluster; the maps are vectors; the maps or images are not those of the data.
    """
    if count < 1:
        raise InputError(f"a montage shows at least one map of every cluster, not {count}")
    if not 0.3 <= width <= 10.0:
        raise InputError(f"the width of a picture must be between 0.3 and 10 inches, not {width}")
    labels = analysis.labels_of(clustering)
    chosen = [number for number in np.unique(labels).tolist() if number >= 0] if cluster is None else [cluster]
    colours = colour_map(colours)
    rows: list[_Row] = []
    for number in chosen:
        inside = np.flatnonzero(labels == number)
        if not len(inside):
            raise InputError(f"there is no cluster {number}; there are {', '.join(map(str, np.unique(labels)))}")
        typical = analysis.typical(number, clustering)[:count]
        maps = [heatmap(_picture(relevance, int(at), layout), colours=colours, percentile=percentile) for at in typical]
        pictures = None if images is None else [picture_at(images, int(at)) for at in typical]
        mean = _mean(analysis, inside, colours, maps[0].shape)
        title = f"{_name(number)}: {len(inside)} of {len(labels)} maps ({len(inside) / len(labels):.0%})"
        across = min(8, len(maps)) if cluster is not None else len(maps)
        for start in range(0, len(maps), across):
            part = slice(start, start + across)
            own = mean if start == 0 else None
            rows.append(
                _Row("" if start else title, own, maps[part], pictures and pictures[part], [int(at) for at in typical[part]])
            )
    return _draw(rows, on_grid(width), heading).figure


@dataclass(frozen=True)
class _Row:
    """Pictures side by side, in one or two lines."""

    title: str
    mean: Pixels | None
    maps: list[Pixels]
    pictures: list[Pixels] | None
    positions: list[int]


def _draw(rows: list[_Row], width: float, heading: str) -> Page:
    has_mean = any(row.mean is not None for row in rows)
    columns = max(len(row.maps) for row in rows) + has_mean
    total = 2 * MARGIN + columns * width + (columns - 1) * GAP + (GAP if has_mean else 0.0)
    head = wrap(heading, HEADING, total - 2 * MARGIN)
    heights = [on_grid(width * min(max(m.shape[0] / m.shape[1] for m in row.maps), TALLEST)) for row in rows]
    tall = [
        (TITLE.line_height + 0.03 if row.title else 0.0) + height * (2 if row.pictures else 1) + (GAP if row.pictures else 0.0)
        for row, height in zip(rows, heights, strict=True)
    ]
    page = Page(total, 2 * MARGIN + height_of(head) + sum(tall) + len(rows) * (NOTE.line_height + ROW_GAP) - ROW_GAP)
    page.lines(head, MARGIN, MARGIN)
    top = MARGIN + height_of(head)
    for row, height in zip(rows, heights, strict=True):
        if row.title:
            page.text(shortened(row.title, TITLE, total - 2 * MARGIN), MARGIN, top, TITLE)
            top += TITLE.line_height + 0.03
        below = top + (height + GAP if row.pictures else 0.0)
        left = MARGIN
        if has_mean:
            if row.mean is not None:
                page.picture(row.mean, left, on_grid(below), width, height)
                page.text("mean", left, below + height + 0.01, NOTE)
            left += width + 2 * GAP
        for number, pixels in enumerate(row.maps):
            page.picture(pixels, on_grid(left), on_grid(below), width, height)
            if row.pictures:
                page.picture(row.pictures[number], on_grid(left), on_grid(top), width, height)
            page.text(str(row.positions[number]), left, below + height + 0.01, NOTE)
            left += width + GAP
        top = below + height + NOTE.line_height + ROW_GAP
    return page


def _mean(analysis: Analysis, inside: Array, colours: ColourMap, like: tuple[int, ...]) -> Pixels | None:
    """The mean of a cluster's features, if they are maps, in the proportions of a map."""
    if len(analysis.shape) != 2:
        return None
    mean = heatmap(analysis.features[inside].mean(axis=0, dtype=np.float64).reshape(analysis.shape), colours=colours)
    longest = 240 / max(like[:2])
    size = max(1, round(like[1] * longest)), max(1, round(like[0] * longest))
    return np.asarray(Image.fromarray(mean).resize(size, Image.Resampling.NEAREST))


def _picture(relevance: Any, position: int, layout: str | None) -> Array:
    values = map_at(relevance, position, layout)
    if values.ndim != 2:
        raise InputError(
            "a montage shows maps [H, W]; what clusters of vectors [D] are about is drawn by plot_profile,"
            " one of them by graphlrp.visual.signal_figure"
        )
    return values


def _name(cluster: int) -> str:
    return "noise" if cluster < 0 else f"cluster {cluster}"
