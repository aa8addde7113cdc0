"""Profiles of clusters as bars: mean relevance in the cluster against the mean over all other maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from graphlrp.errors import InputError
from graphlrp.spray.profiles import Order, Profile, profiles
from graphlrp.visual.colour import ColourMap, colour_map
from graphlrp.visual.page import MARGIN, Page
from graphlrp.visual.typesetting import HEADING, NOTE, TITLE, abbreviated, height_of, number, shortened, width_of, wrap

if TYPE_CHECKING:
    from graphlrp.spray.analysis import Analysis

ROW = 0.24
"""Inches of a feature: two bars."""

PANEL_GAP = 0.2
COLUMN_GAP = 0.14
SHADE = 0.55
"""Of the colour map: bars of one sign have one colour."""

ELSEWHERE = "#d4d4d4"
EDGE = "#6e6e6e"
HEADS = ("in cluster", "elsewhere", "share of |R|")
TALLEST = 150.0
"""Inches; higher figures cannot be drawn, nor would anybody look at them."""


def profile_figure(
    analysis: Analysis,
    relevance: Any = None,
    *,
    features: Sequence[str] | None = None,
    clustering: str | int | None = None,
    cluster: int | None = None,
    count: int = 8,
    order: Order = "mean",
    joint: bool = False,
    colours: str | ColourMap = "blue-orange",
    width: float = 6.8,
    heading: str = "",
) -> Figure:
    """Of every cluster the features that matter most: a coloured bar for the cluster, a grey one for all other maps.

    Args:
        analysis: of vectors.
        relevance: see :func:`graphlrp.spray.profiles`, as all of the next.
        features: names.
        clustering: name or number of clusters.
        cluster: only this one.
        count: of features.
        order: of features.
        joint: one common scale for all clusters instead of one for each.
        colours: a colour map or its name: negative means have its colour below zero, positive ones that above.
        width: of the figure, in inches.
        heading: stands above everything.

    Raises:
        InputError: as for profiles; there is no such cluster; an option has no meaning.
    """
    colours = colour_map(colours)
    if not 4.0 <= width <= 40.0:
        raise InputError(f"the width of a figure must be between 4 and 40 inches, not {width}")
    found = profiles(analysis, relevance, features=features, clustering=clustering, count=count, order=order)
    chosen = [profile for profile in found if cluster is None or profile.cluster == cluster]
    if not chosen:
        raise InputError(f"there is no cluster {cluster}; there are {', '.join(str(own.cluster) for own in found) or 'none'}")
    return _draw(chosen, colours, width, heading, joint=joint).figure


@dataclass(frozen=True)
class _Columns:
    """Right ends of names and of the three columns of numbers, and the ends of the bars between them, in inches."""

    names: float
    left: float
    right: float
    numbers: tuple[float, float, float]


def _draw(found: Sequence[Profile], colours: ColourMap, width: float, heading: str, *, joint: bool) -> Page:
    head = wrap(heading, HEADING, width - 2 * MARGIN)
    title = TITLE.line_height + NOTE.line_height + 0.07
    heights = [title + ROW * max(len(own.features), 1) + 0.03 + NOTE.line_height for own in found]
    total = 2 * MARGIN + height_of(head) + sum(heights) + PANEL_GAP * len(found) + NOTE.line_height
    if total > TALLEST:
        raise InputError(f"the profiles of {len(found)} clusters are {total:.0f} inches high: choose one, or fewer features")
    page = Page(width, total)
    page.lines(head, MARGIN, MARGIN)
    columns = _columns(found, width)
    every = [_reach([own]) for own in found]
    top = MARGIN + height_of(head)
    for own, height, reach in zip(found, heights, every, strict=True):
        low, high = _reach(found) if joint else reach
        _panel(page, own, colours, columns, top, low, high)
        top += height + PANEL_GAP
    signs = [own.mean < 0 for profile in found for own in profile.features]
    _legend(page, colours, top, negative=any(signs), positive=not all(signs))
    return page


def _columns(found: Sequence[Profile], width: float) -> _Columns:
    """Names take what they need, up to a third of the width."""
    longest = max((width_of(" ".join(own.name.split()), NOTE) for profile in found for own in profile.features), default=0.5)
    # With a little more, so that rounding does not shorten the longest.
    names = MARGIN + min(longest + 0.01, (width - 2 * MARGIN) / 3)
    rights, right = [], width - MARGIN
    for position in (2, 1, 0):
        texts = [HEADS[position], *(_numbers(own)[position] for profile in found for own in profile.features)]
        rights.append(right)
        right -= max(width_of(text, NOTE) for text in texts) + COLUMN_GAP
    return _Columns(names, names + 0.08, right, (rights[2], rights[1], rights[0]))


def _numbers(own: Any) -> tuple[str, str, str]:
    elsewhere = "\N{EN DASH}" if math.isnan(own.elsewhere) else number(own.elsewhere)
    return number(own.mean), elsewhere, f"{own.share:.0%}"


def _reach(found: Sequence[Profile]) -> tuple[float, float]:
    """The ends of the axis: a side without bars takes no room."""
    values = np.array([value for profile in found for own in profile.features for value in (own.mean, own.elsewhere)] or [1.0])
    values = values[~np.isnan(values)]
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    space = 0.03 * max(high - low, np.finfo(float).tiny)
    return low - space, high + space


def _panel(page: Page, own: Profile, colours: ColourMap, columns: _Columns, top: float, low: float, high: float) -> None:
    share = own.count / own.total
    page.text(
        shortened(f"cluster {own.cluster}: {own.count} of {own.total} maps ({share:.0%})", TITLE, page.width - 2 * MARGIN),
        MARGIN,
        top,
        TITLE,
    )
    top += TITLE.line_height + 0.02
    if not own.features:
        page.text("no relevance", MARGIN, top + NOTE.line_height, NOTE)
        return
    for text, right in zip(HEADS, columns.numbers, strict=True):
        page.text(text, right, top, NOTE, "right")
    top += NOTE.line_height + 0.05
    axes = page.axes(columns.left, top, columns.right - columns.left, ROW * len(own.features))
    places = np.arange(len(own.features))
    means = np.array([feature.mean for feature in own.features])
    elsewhere = np.nan_to_num([feature.elsewhere for feature in own.features])
    fill = colours(SHADE * np.sign(means)) / 255.0
    edge: dict[str, Any] = {"edgecolor": EDGE, "linewidth": 0.4}
    axes.barh(places - 0.14, means, height=0.44, color=fill, **edge)
    axes.barh(places + 0.25, elsewhere, height=0.24, color=ELSEWHERE, **edge)
    axes.axvline(0.0, color=EDGE, linewidth=0.6, linestyle="-")
    axes.set_xlim(low, high)
    axes.set_ylim(len(places) - 0.5, -0.5)
    for place, feature in enumerate(own.features):
        line = top + (place + 0.5) * ROW - 0.5 * NOTE.line_height
        name = abbreviated(" ".join(feature.name.split()), NOTE, columns.names - MARGIN)
        page.text(name, columns.names, line, NOTE, "right")
        for text, right in zip(_numbers(feature), columns.numbers, strict=True):
            page.text(text, right, line, NOTE, "right")
    if own.hidden:
        rest = f"{own.hidden:,} more feature{'s' if own.hidden > 1 else ''}: {own.rest:.0%} of |R|"
        page.text(rest, columns.left, top + ROW * len(own.features) + 0.03, NOTE)


def _legend(page: Page, colours: ColourMap, top: float, *, negative: bool, positive: bool) -> None:
    """What the bars are."""
    canvas = page.canvas()
    left, size = MARGIN, 0.09
    fills = [colours(SHADE * sign) / 255.0 for sign, used in ((-1, negative), (1, positive)) if used]
    for fills_of, text in ((fills, "mean relevance in the cluster"), ([ELSEWHERE], "mean over all other maps")):
        for fill in fills_of:
            box = (left, top + 0.5 * (NOTE.line_height - size))
            canvas.add_patch(Rectangle(box, size, size, facecolor=fill, edgecolor=EDGE, linewidth=0.4))
            left += size + 0.03
        page.text(text, left + 0.02, top, NOTE)
        left += width_of(text, NOTE) + 0.25
