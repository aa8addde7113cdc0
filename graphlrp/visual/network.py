"""The picture of a plan: the network in layers, every node with its rule and, after an explanation, with its relevance.

Data flows from top to bottom. A value that is read further down has a lane beside the nodes between, so that no line runs
through a box. A network that would be too tall goes on in the next column, and the lines that are cut lead there::

      input            ╭────────╮
    ┌───────┐          │    ┌───────┐
    │ Conv  │          │    │ Conv  │
    │ stem  │          │    │ R 5.1 │
    │ R 7.1 │          │    │ ███   │
    │ ████  │          │    └───────┘
    └───────┘          │     output
        ╰──────────────╯

The layout is computed from measured text; nothing is left to matplotlib.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import networkx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Curve
from numpy.typing import NDArray

from graphlrp.errors import InputError
from graphlrp.ir.emitter import ABSORBED
from graphlrp.plan import Plan
from graphlrp.visual.layering import Point, layered
from graphlrp.visual.page import DPI, MARGIN, Page
from graphlrp.visual.typesetting import (
    HEADING,
    NOTE,
    TITLE,
    Face,
    Line,
    abbreviated,
    height_of,
    number,
    shortened,
    width_of,
    wrap,
)

if TYPE_CHECKING:
    from graphlrp.explanation import Explanation

KINDS = ("png", "svg", "pdf")

OPERATOR = Face(8.0, "bold")
NAME = Face(6.5, colour="#404040")
RECEIVED = Face(7.0)
MARK = Face(6.0, colour="#8a4200")
LINE_COLOUR, OUTLINE, END_COLOUR, TRACK = "#5c6670", "#8a8a8a", "#ffffff", "#ffffff"
POSITIVE, NEGATIVE = "#d0242b", "#2a52be"

PADDING = 0.07  # inside a box
NARROWEST, NARROWEST_WITH_RELEVANCE, WIDEST = 1.0, 1.45, 1.65  # boxes, without padding
AROUND = 0.16  # room beside a box
LANE = 0.1
GAP = 0.24  # between layers
PORT = 0.13  # between lines that meet at a box
ARROW = 0.065
CORNER = 0.08
BAR = 0.055
GUTTER = 0.4  # between columns
LEGEND = 2.3
SWATCH = 0.34
ENTRY, PART = 0.05, 0.14  # between entries and parts of the legend
TALLEST = 12.0  # up to here a network stands in one column

LARGE = 0.1
"""Share of what a box received from which on it says that it absorbed so much."""

NOISE = 1e-6
"""Share of the largest relevance below which a number is rounding."""


@dataclass(frozen=True)
class Account:
    """What a box received and what it kept, for one sample or as a mean.

    Attributes:
        received: relevance that arrived.
        absorbed: what reached no input, by kind (``bias``, ``stabilizer``, ``constant``, ``dead``, ``residual``).
    """

    received: float
    absorbed: Mapping[str, float] = field(default_factory=dict)

    def mark(self, noise: float = 0.0) -> str:
        """The kinds that absorbed more than a tenth of what was received, the largest first, each with its share.

        Amounts up to ``noise`` are rounding.
        """
        large = [kind for kind, amount in self.absorbed.items() if abs(amount) > max(LARGE * abs(self.received), noise)]
        large.sort(key=lambda kind: -abs(self.absorbed[kind]))
        return ", ".join(f"{kind} {self._share(self.absorbed[kind])}" for kind in large)

    def _share(self, amount: float) -> str:
        if abs(amount) >= 10 * abs(self.received):
            return "> 1000 %"
        return f"{100 * amount / self.received:.0f} %".replace("-", "\N{MINUS SIGN}")


def accounts(plan: Plan, explanation: Explanation, sample: int | None = None) -> dict[str, Account]:
    """What every node, explained input and the explained output received, by their names in ``plan.edges``.

    Raises:
        InputError: as in :func:`network_figure`.
    """
    ledger = plan.ledger_of(explanation)
    count = len(explanation.output)
    if sample is not None and not 0 <= sample < count:
        raise InputError(f"there is no sample {sample}: the explanation has {count}, counted from 0")

    def value(array: NDArray[Any]) -> float:
        return float(np.mean(array, dtype=np.float64) if sample is None else array[sample])

    result = {row.node: Account(0.0) for row in plan.rows}
    for entry in ledger:
        result[entry.name] = Account(value(entry.relevance_in), {kind: value(getattr(entry, kind)) for kind in ABSORBED})
    for key, name in zip(plan.sources, plan.explained, strict=True):
        relevance = explanation.relevance[name] if isinstance(explanation.relevance, Mapping) else explanation.relevance
        result[key] = Account(value(np.asarray(relevance, dtype=np.float64).reshape(count, -1).sum(axis=1)))
    # All relevance starts at the explained output and goes to the one node that the output comes from.
    producer = next(source for source, target in plan.edges if target == plan.sink)
    result[plan.sink] = Account(result[producer].received)
    return result


def network_figure(plan: Plan, explanation: Explanation | None = None, sample: int | None = None) -> Figure:
    """Draw a plan.

    Args:
        plan: of an explainer.
        explanation: made by it with ``ledger=True``; every box then shows the relevance that it received, a bar for its share
            of the largest, and what it absorbed if that is more than a tenth.
        sample: which one to show; the mean over all by default.

    Returns:
        A figure that pyplot knows nothing of; a notebook shows it, ``figure.savefig`` writes it in any format. Its boxes and
        lines bear the identifiers (``gid``) ``node NAME`` and ``edge NAME -> NAME``.

    Raises:
        InputError: an explanation without a ledger or of another plan, no such sample.
    """
    return _draw(plan, explanation, sample).figure


def save_network(
    path: str | os.PathLike[str],
    plan: Plan,
    explanation: Explanation | None = None,
    sample: int | None = None,
    *,
    dpi: float = DPI,
) -> Path:
    """Write :func:`network_figure` as PNG, SVG or PDF, whole or not at all, and return the path.

    Args:
        path: where to; its folder is made if it is missing.
        plan: as for :func:`network_figure`.
        explanation: likewise.
        sample: likewise.
        dpi: pixels per inch of a PNG.

    Raises:
        InputError: as in :func:`network_figure`; the path has another suffix, or cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise InputError(f"the picture of a plan is written as {', '.join(KINDS)}; {path.name!r} ends in none of them")
    page = _draw(plan, explanation, sample)
    try:
        return page.write(path, dpi, cast(Literal["png", "svg", "pdf"], kind))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error


def _draw(plan: Plan, explanation: Explanation | None, sample: int | None) -> Page:
    known: Mapping[str, Account] = {} if explanation is None else accounts(plan, explanation, sample)
    colours = plan.colours
    boxes = [_Box(key, "input", name, END_COLOUR, end=True) for key, name in zip(plan.sources, plan.explained, strict=True)]
    boxes += [_Box(row.node, row.operator, row.node, colours[row.rule]) for row in plan.rows]
    boxes.append(_Box(plan.sink, "output", plan.output, END_COLOUR, end=True))
    arrangement = _Arrangement(boxes, plan.edges, relevance=bool(known))
    legend = _Legend(colours, known, "" if explanation is None else _whose(explanation, sample))
    width = arrangement.right + GUTTER + LEGEND + MARGIN
    heading = wrap(f"{plan.output} in terms of {', '.join(plan.explained)}", HEADING, width - 2 * MARGIN)
    heading += wrap(plan.composite, NOTE, width - 2 * MARGIN)
    top = MARGIN + height_of(heading) + 0.2
    page = Page(width, top + max(arrangement.bottom, legend.height) + MARGIN)
    page.lines(heading, MARGIN, MARGIN)
    pen = _Pen(page, MARGIN, top)
    for edge in plan.edges:
        pen.edge(edge, arrangement.route(*edge))
    for x, y in arrangement.turns():
        pen.arrow(x, y, -ARROW)
    for box in boxes:
        pen.box(box, arrangement, known.get(box.key), legend.largest)
    legend.draw(_Pen(page, page.width - MARGIN - LEGEND, top))
    return page


def _whose(explanation: Explanation, sample: int | None) -> str:
    count = len(explanation.output)
    if sample is not None:
        return f"sample {sample}"
    return f"mean of {count} samples" if count > 1 else ""


@dataclass(frozen=True)
class _Box:
    """A node, an explained input or the explained output."""

    key: str
    title: str
    name: str
    colour: str
    end: bool = False


class _Arrangement:
    """Where boxes and lines are, in inches from the upper left corner of the network.

    Attributes:
        width, height: of every box.
        right, bottom: extent of the whole.
    """

    def __init__(self, boxes: Sequence[_Box], edges: Sequence[tuple[str, str]], *, relevance: bool) -> None:
        widest = max(max(width_of(box.title, OPERATOR), width_of(box.name, NAME)) for box in boxes)
        narrowest = NARROWEST_WITH_RELEVANCE if relevance else NARROWEST
        self.width = 2 * PADDING + min(max(widest + 0.01, narrowest), WIDEST)
        self.height = 2 * PADDING + OPERATOR.line_height + NAME.line_height
        if relevance:
            self.height += RECEIVED.line_height + BAR + 0.03
        graph = networkx.DiGraph()
        graph.add_nodes_from(box.key for box in boxes)
        graph.add_edges_from(edges)
        self.layers = layered(graph, self.width + 2 * AROUND, LANE)
        self.furthest = {
            source: max(graph.successors(source), key=self.layers.layer.__getitem__)
            for source in graph
            if graph.out_degree(source)
        }
        self.points: networkx.DiGraph = self.layers.points
        self.gaps = [self._gap(row) for row in self.layers.rows]
        self.columns = self._columns()
        self.column = {layer: index for index, column in enumerate(self.columns) for layer in column}
        self._place()

    def corner(self, key: str) -> tuple[float, float]:
        """Upper left corner of a box."""
        point = (key, self.layers.layer[key])
        return self._x(point) - self.width / 2, self.tops[point[1]]

    def route(self, source: str, target: str) -> Curve:
        """The line of an edge; it ends at the upper side of the target.

        Edges of one source share a lane. It belongs to the one that leads furthest down, the others begin where they leave it.
        """
        path, whole = self.layers.path(source, target), self.furthest[source] == target
        if not whole:
            path = path[-2:]
        start = path[0]
        route = _Route(self._leave(start, path[1]), self.tops[start[1]] + self.height)
        if self._is_cut(start[1]) and not whole:
            route = _Route(*self._entry(start))
        for upper, lower in itertools.pairwise(path):
            if self._is_cut(upper[1]) and whole:
                self._turn(route, upper)
            if lower is path[-1]:
                route.swing(self._arrive(upper, lower), self.tops[lower[1]])
            else:
                route.swing(self._x(lower), self.tops[lower[1]])
                route.line(self._x(lower), self.tops[lower[1]] + self.height)
        return route.curve

    def turns(self) -> Iterator[tuple[float, float]]:
        """Points between columns that lines pass on their way up."""
        for column in self.columns[:-1]:
            for point in self._passing(column[-1]):
                x, _, _ = self._gutter(point)
                yield x, (self.tops[column[0]] + self.tops[column[-1]]) / 2

    # Layers and columns

    def _gap(self, row: Sequence[Point]) -> float:
        """Room below a layer: more where lines go far to the side, or they would be flat."""
        x = self.layers.x
        reach = max((abs(x[point] - x[reader]) for point in row for reader in self.points.successors(point)), default=0.0)
        return GAP + 0.08 * min(max(reach - self.width, 0.0), 3.0)

    def _passing(self, layer: int) -> list[Point]:
        """Points of a layer whose lines go on below it, from left to right."""
        return [point for point in self.layers.rows[layer] if self.points.out_degree(point)]

    def _extent(self, first: int, last: int) -> float:
        """From the upper edge of one layer to the lower edge of another."""
        return (last - first + 1) * self.height + sum(self.gaps[first:last])

    def _columns(self) -> list[range]:
        """Cut the layers into columns of similar height where few lines are cut: a shortest path from cut to cut."""
        count, x = len(self.layers.rows), self.layers.x.values()
        total, breadth = self._extent(0, count - 1), max(x) - min(x) + self.width + GUTTER
        parts = 1
        while total / parts > max(TALLEST, 0.8 * parts * breadth):
            parts += 1
        costs, starts = [0.0] + [math.inf] * count, [0] * (count + 1)
        for stop in range(1, count + 1):
            lines = 0 if stop == count else len(self._passing(stop - 1)) - 1
            for start in range(stop - 1, -1, -1):
                excess = self._extent(start, stop - 1) * parts / total - 1
                if excess > 0.2 and start < stop - 1:
                    break
                # The last column may be short.
                weight = 0.3 if stop == count and excess < 0 else 1.0
                cost = costs[start] + 0.08 * lines + weight * excess**2
                if cost < costs[stop]:
                    costs[stop], starts[stop] = cost, start
        columns: list[range] = []
        while count:
            columns.insert(0, range(starts[count], count))
            count = starts[count]
        return columns

    def _place(self) -> None:
        cuts = [self._passing(column[-1]) for column in self.columns[:-1]]
        lines = max(map(len, cuts), default=0)
        # Lines that come from the column before pass above the first layer.
        first = lines * LANE + CORNER + GAP if cuts else 0.0
        left = self.bottom = 0.0
        self.tops: dict[int, float] = {}
        self.shifts: list[float] = []
        self.rights: list[float] = []
        for index, column in enumerate(self.columns):
            for layer in column:
                self.tops[layer] = first + self._extent(column[0], layer) - self.height
            here = [point for layer in column for point in self.layers.rows[layer]] + (cuts[index - 1] if index else [])
            sides = [(self.layers.x[point], self._half(point, column)) for point in here]
            self.shifts.append(left - min(x - half for x, half in sides))
            self.rights.append(self.shifts[-1] + max(x + half for x, half in sides))
            passing = len(cuts[index]) if index < len(cuts) else 0
            left = self.rights[-1] + GUTTER + passing * LANE
            self.bottom = max(self.bottom, self.tops[column[-1]] + self.height + (passing * LANE + CORNER if passing else 0.0))
        self.right = self.rights[-1]

    def _half(self, point: Point, column: range) -> float:
        """Half of the width that a point takes in a column."""
        return self.width / 2 if not self.layers.is_lane(point) and point[1] in column else 0.02

    def _x(self, point: Point, column: int | None = None) -> float:
        return self.layers.x[point] + self.shifts[self.column[point[1]] if column is None else column]

    # Lines

    def _is_cut(self, layer: int) -> bool:
        """Whether the next layer stands in the next column."""
        return self.column[layer] != self.column[layer + 1]

    def _beside(self, point: Point, other: float) -> float:
        """The place on the upper or lower side of a box that is nearest to a line at ``other``."""
        reach = self.width / 2 - PORT
        return self._x(point) + min(max(other - self._x(point), -reach), reach)

    def _leave(self, point: Point, reader: Point) -> float:
        """Where a line leaves a box or a lane: towards its reader, or downwards at the end of a column."""
        if self.layers.is_lane(point) or self._is_cut(point[1]):
            return self._x(point)
        return self._beside(point, self._x(reader))

    def _arrive(self, point: Point, reader: Point) -> float:
        """Where a line meets the box of its reader: towards where it comes from, apart from others."""
        column = self.column[reader[1]]
        origins = sorted(self.points.predecessors(reader), key=lambda origin: self.layers.x[origin])
        places = np.array([self._beside(reader, self._x(origin, column)) for origin in origins])
        room, middle = self.width - 2 * PORT, self._x(reader)
        steps = np.arange(len(origins)) * min(PORT, room / max(len(origins) - 1, 1))
        # Pushed apart to the right, then back from the right end.
        places = np.maximum.accumulate(places - steps)
        places = np.minimum(places, middle + room / 2 - steps[-1]) + steps
        return float(places[origins.index(point)])

    def _gutter(self, point: Point) -> tuple[float, float, float]:
        """Where the line of a point goes on to the next column: x between the columns, y below and y above them.

        Lines are nested, so that they do not cross: the one from the left goes round all others.
        """
        index = self.column[point[1]]
        passing = self._passing(point[1])
        rank = passing.index(point)
        outer = LANE * (len(passing) - 1 - rank)
        bottom = self.tops[point[1]] + self.height
        top = self.tops[self.columns[index + 1][0]] - GAP - CORNER
        return self.rights[index] + GUTTER / 2 + outer, bottom + CORNER + outer, top - LANE * rank

    def _entry(self, point: Point) -> tuple[float, float]:
        """Where the line of a point at the end of a column begins in the next."""
        column = self.column[point[1]] + 1
        return self._x(point, column), self.tops[self.columns[column][0]] - GAP

    def _turn(self, route: _Route, point: Point) -> None:
        """Lead the line of a point from the end of its column to the beginning of the next."""
        x, below, above = self._gutter(point)
        entry = self._entry(point)
        route.corners((route.x, below), (x, below), (x, above), (entry[0], above))
        route.line(*entry)


class _Route:
    """A line under construction."""

    def __init__(self, x: float, y: float) -> None:
        self.x, self.y = x, y
        self._vertices, self._codes = [(x, y)], [Curve.MOVETO]

    @property
    def curve(self) -> Curve:
        """The line so far."""
        return Curve(np.array(self._vertices), self._codes)

    def line(self, x: float, y: float) -> None:
        """Straight on."""
        self._add(Curve.LINETO, (x, y))

    def swing(self, x: float, y: float) -> None:
        """To a place further down and to the side: starts and ends vertically."""
        if abs(x - self.x) < 1e-6:
            self.line(x, y)
        else:
            middle = (self.y + y) / 2
            self._add(Curve.CURVE4, (self.x, middle), (x, middle), (x, y))

    def corners(self, *corners: tuple[float, float]) -> None:
        """Along these corners, which are rounded; the line stops short of where the last one ends."""
        for (x, y), following in itertools.pairwise((*corners, (corners[-1][0], corners[-1][1] + CORNER))):
            before, after = _towards((x, y), (self.x, self.y)), _towards((x, y), following)
            self.line(*before)
            self._add(Curve.CURVE3, (x, y), after)

    def _add(self, code: Any, *vertices: tuple[float, float]) -> None:
        self._vertices += vertices
        self._codes += [code] * len(vertices)
        self.x, self.y = vertices[-1]


def _towards(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """A corner's radius away from ``start``."""
    distance = math.dist(start, end)
    part = min(CORNER, distance / 2) / distance if distance else 0.0
    return start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])


class _Pen:
    """Draws on a page, in inches from a place on it."""

    def __init__(self, page: Page, left: float, top: float) -> None:
        self.page, self.left, self.top = page, left, top
        self.axes = page.figure.axes[0] if page.figure.axes else page.canvas()

    def text(self, text: str, x: float, y: float, face: Face, align: Literal["left", "right"] = "left") -> None:
        """Set one line of text."""
        self.page.text(text, self.left + x, self.top + y, face, align)

    def rectangle(self, x: float, y: float, width: float, height: float, *, rounded: float = 0.0, **style: Any) -> None:
        """Draw a rectangle."""
        style = {"edgecolor": "none", "linewidth": 0.7, **style}
        shape = f"round,pad=0,rounding_size={rounded}" if rounded else "square,pad=0"
        self.axes.add_artist(FancyBboxPatch((self.left + x, self.top + y), width, height, boxstyle=shape, **style))

    def edge(self, edge: tuple[str, str], curve: Curve) -> None:
        """Draw the line of an edge, which ends in an arrow."""
        vertices: NDArray[Any] = np.asarray(curve.vertices)
        moved = Curve(np.add(vertices, (self.left, self.top)), curve.codes)
        style = {"edgecolor": LINE_COLOUR, "linewidth": 0.9, "capstyle": "butt", "joinstyle": "round"}
        self.axes.add_artist(PathPatch(moved, facecolor="none", gid=f"edge {edge[0]} -> {edge[1]}", **style))
        self.arrow(float(vertices[-1, 0]), float(vertices[-1, 1]), ARROW)

    def arrow(self, x: float, y: float, length: float) -> None:
        """Draw the head of an arrow that ends at a place; it points downwards if its length is positive."""
        x, y = self.left + x, self.top + y
        half = 0.55 * abs(length)
        corners = [(x, y), (x - half, y - length), (x + half, y - length)]
        self.axes.add_artist(Polygon(corners, closed=True, facecolor=LINE_COLOUR, edgecolor="none"))

    def box(self, box: _Box, arrangement: _Arrangement, account: Account | None, largest: float) -> None:
        """Draw a box."""
        (x, y), width, height = arrangement.corner(box.key), arrangement.width, arrangement.height
        rounded, outline = (0.16, LINE_COLOUR) if box.end else (0.06, OUTLINE)
        style = {"facecolor": box.colour, "edgecolor": outline, "gid": f"node {box.key}"}
        self.rectangle(x, y, width, height, rounded=rounded, **style)
        x, y, width = x + PADDING, y + PADDING, width - 2 * PADDING
        self.text(abbreviated(box.title, OPERATOR, width), x, y, OPERATOR)
        y += OPERATOR.line_height
        self.text(abbreviated(box.name, NAME, width), x, y, NAME)
        if account is not None:
            self._account(account, x, y + NAME.line_height, width, largest)

    def _account(self, account: Account, x: float, y: float, width: float, largest: float) -> None:
        received = f"R {number(account.received)}"
        self.text(received, x, y, RECEIVED)
        if mark := account.mark(NOISE * largest):
            self.mark(shortened(mark, MARK, width - width_of(received, RECEIVED) - 0.14), x + width, y)
        y += RECEIVED.line_height + 0.03
        self.rectangle(x, y, width, BAR, facecolor=TRACK, edgecolor=OUTLINE, linewidth=0.3)
        self.bar(x, y, width * abs(account.received) / largest if largest else 0.0, account.received)

    def bar(self, x: float, y: float, width: float, value: float) -> None:
        """Draw a bar in the colour of its sign."""
        self.rectangle(x, y, width, BAR, facecolor=POSITIVE if value > 0 else NEGATIVE)

    def mark(self, text: str, right: float, y: float) -> None:
        """Set a note in a frame, right of a line of ``RECEIVED``."""
        width = width_of(text, MARK) + 0.06
        style = {"facecolor": "#fff6ea", "edgecolor": MARK.colour, "linewidth": 0.5}
        self.rectangle(right - width, y + 0.005, width, MARK.line_height + 0.005, rounded=0.03, **style)
        self.text(text, right - 0.03, y + 0.008, MARK, "right")


class _Legend:
    """What colours, bars and marks mean.

    Attributes:
        largest: |R| that has the longest bar.
        height: in inches.
    """

    def __init__(self, colours: Mapping[str, str], known: Mapping[str, Account], whose: str) -> None:
        self.largest = max((abs(account.received) for account in known.values()), default=0.0)
        # Rules that change nothing share a colour.
        self.colours = {", ".join(rule for rule in colours if colours[rule] == colour): colour for colour in colours.values()}
        self.parts = [("rule", list(self.colours))]
        if known:
            received = f"relevance received, {whose}" if whose else "relevance received"
            longest = f"positive; longest bar: |R| = {number(self.largest)}"
            share = f"share of R that the node absorbed, if more than {100 * LARGE:.0f} %"
            self.parts.append(("relevance", [received, longest, "negative", share]))
        self.height = -PART
        for _, texts in self.parts:
            self.height += PART + TITLE.line_height + sum(height_of(self._lines(text)) + ENTRY for text in texts)

    def draw(self, pen: _Pen) -> None:
        """Draw it from the pen's place on."""
        y = 0.0
        for title, texts in self.parts:
            pen.text(title, 0.0, y, TITLE)
            y += TITLE.line_height
            for index, text in enumerate(texts):
                self._sample(pen, title, index, text, y + ENTRY / 2)
                for line in self._lines(text):
                    pen.text(line.text, SWATCH + 0.08, y + ENTRY / 2, line.face)
                    y += line.face.line_height
                y += ENTRY
            y += PART

    def _lines(self, text: str) -> list[Line]:
        return wrap(text, NOTE, LEGEND - SWATCH - 0.08)

    def _sample(self, pen: _Pen, title: str, index: int, text: str, y: float) -> None:
        """What a line of the legend explains."""
        if title == "rule":
            pen.rectangle(0.0, y, SWATCH, NOTE.line_height, rounded=0.03, facecolor=self.colours[text], edgecolor=OUTLINE)
        elif index == 0:
            pen.text("R", 0.0, y, RECEIVED)
        elif index < 3:
            pen.bar(0.0, y + 0.04, SWATCH, 1.0 if index == 1 else -1.0)
        else:
            pen.mark("bias", SWATCH, y)
