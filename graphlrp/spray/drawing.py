"""Figures of analyses: spectra, embeddings, rankings.

Clusters have colours that people with colour vision deficiencies tell apart (Okabe and Ito), and marks of different shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from graphlrp.errors import InputError
from graphlrp.spray.maps import map_at
from graphlrp.spray.pictures import framed, picture_at, thumbnail
from graphlrp.spray.spectrum import eigengap
from graphlrp.visual.colour import heatmap

if TYPE_CHECKING:
    from graphlrp.spray.analysis import Analysis
    from graphlrp.spray.ranking import Ranking

Array = NDArray[Any]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#B8A800")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
NOISE = "#9a9a9a"
PALE = "#d0d0d0"


def spectrum_figure(analysis: Analysis, count: int = 20) -> Figure:
    """The smallest eigenvalues of an analysis, and its largest gap (thesis, figure 6.3).

    Args:
        analysis: what was found.
        count: of eigenvalues; more if the gap lies behind them.

    Raises:
        InputError: fewer than two eigenvalues are asked for, or the spectrum has no gap.
    """
    if count < 2:
        raise InputError(f"a spectrum shows at least two eigenvalues, not {count}")
    figure, axes = _new(5.2, 2.8)
    gap = analysis.gap
    draw_spectrum(axes, analysis.eigenvalues[: max(count, gap + 1)], gap)
    axes.set_xlabel("eigenvalue")
    axes.set_ylabel("λ")
    return figure


def embedding_figure(
    analysis: Analysis,
    images: Any = None,
    *,
    relevance: Any = None,
    layout: str | None = None,
    clustering: str | int | None = None,
    embedding: str | None = None,
    colours: str = "seismic",
    across: int = 14,
    title: str = "",
) -> Figure:
    """The maps in the plane, coloured by cluster (thesis, figure 6.4).

    Args:
        analysis: what was found.
        images: pictures of the data, in the order of the maps that were analysed; [H, W], [H, W, 3], [3, H, W] or [1, H, W] each.
            Some of them are drawn where their maps are.
        relevance: the maps that were analysed; drawn as heatmaps instead of images.
        layout: of the maps, as for :func:`analyse`.
        clustering: name or number of clusters; by default the first.
        embedding: name; by default the first besides the eigenvectors.
        colours: of heatmaps.
        across: how many pictures fit side by side.
        title: stands above.

    Raises:
        InputError: there is no such clustering or embedding, or an embedding of fewer than two dimensions.
    """
    if embedding is not None and embedding not in analysis.embeddings:
        raise InputError(f"embedding {embedding!r} is not one of {', '.join(analysis.embeddings)}")
    points = analysis.embedding if embedding is None else analysis.embeddings[embedding]
    if points.shape[1] < 2:
        raise InputError(f"embedding {embedding!r} has one dimension; two are drawn")
    labels = analysis.labels_of(clustering)
    shown = images is not None or relevance is not None
    wide, high = np.maximum(np.ptp(points[:, :2], axis=0), 1e-12)
    figure, axes = _new(6.4, 6.0 * min(max(high / wide, 0.4), 1.4) + 0.4)
    for cluster in np.unique(labels).tolist():
        own = points[labels == cluster]
        size, opacity = (9.0, 0.45) if shown else (18.0, 0.8)
        axes.scatter(own[:, 0], own[:, 1], size, linewidths=0, alpha=opacity, **_style(cluster))
    _frame(axes, points)
    if shown:
        for number, centre, size in _places(points[:, :2], across):
            position = int(analysis.index[number])
            if relevance is not None:
                pixels = heatmap(np.atleast_2d(map_at(relevance, position, layout)), colours=colours)
            else:
                pixels = picture_at(images, position)
            pixels = framed(thumbnail(pixels, 48), _style(int(labels[number]))["color"])
            height, width, _ = pixels.shape
            half = 0.5 * size * np.array([width, height]) / max(width, height)
            extent = (centre[0] - half[0], centre[0] + half[0], centre[1] - half[1], centre[1] + half[1])
            axes.imshow(pixels, extent=extent, interpolation="antialiased", zorder=3)
        # Cells begin at the first sample and end behind the last one.
        _frame(axes, points, 1 / across)
    axes.set(xticks=[], yticks=[], aspect="equal", title=title)
    axes.legend(handles=[_entry(labels, cluster) for cluster in np.unique(labels).tolist()], **_LEGEND)
    return figure


def ranking_figure(ranking: Ranking) -> Figure:
    """The smallest eigenvalues of all classes, ordered by λ2 (thesis, figure 6.5)."""
    names = ranking.classes
    figure, axes = _new(max(3.6, 1.2 + 0.62 * len(names)), 2.9)
    most = max(len(values) for values in ranking.eigenvalues.values())
    width = 0.8 / (most - 1)
    # λ1 is zero for every class.
    for number in range(1, most):
        shade = 0.15 + 0.6 * (number - 1) / max(most - 2, 1)
        heights = [values[number] if number < len(values) else 0.0 for values in ranking.eigenvalues.values()]
        places = np.arange(len(names)) + (number - 0.5 * most) * width
        colour = COLOURS[4] if number == 1 else str(shade)
        axes.bar(places, heights, 0.9 * width, color=colour, label=f"λ{number + 1}")
    axes.set_xticks(np.arange(len(names)), [str(name) for name in names], rotation=0 if len(names) < 12 else 60)
    axes.set_ylabel("λ")
    axes.legend(ncols=most - 1, loc="upper left", frameon=False, fontsize=8, columnspacing=1.0, handlelength=1.0)
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])
    return figure


_LEGEND: dict[str, Any] = {
    "loc": "upper center",
    "bbox_to_anchor": (0.5, -0.01),
    "ncols": 4,
    "frameon": False,
    "fontsize": 8,
    "handletextpad": 0.3,
    "columnspacing": 1.2,
}


def _new(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure in matplotlib's own style, whatever the user's settings say, that pyplot does not know."""
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(width, height), dpi=100, facecolor="white", layout="constrained")
        axes = figure.add_subplot()
    axes.tick_params(labelsize=8, color=PALE)
    axes.spines[:].set(color=PALE, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_spectrum(axes: Axes, eigenvalues: Array, gap: int | None = None) -> None:
    """Draw eigenvalues, increasing, on axes of one's own; a grey band marks a gap.

    Args:
        axes: where to.
        eigenvalues: [m].
        gap: behind which of them; by default the largest (see :func:`eigengap`).
    """
    numbers = np.arange(1, len(eigenvalues) + 1)
    gap = eigengap(eigenvalues) if gap is None else gap
    axes.axvspan(gap, gap + 1, color="#ececec", linewidth=0)
    side = "left" if gap <= 2 else "right" if gap >= len(eigenvalues) - 2 else "center"
    axes.annotate(
        f"gap: {gap} cluster{'s' if gap > 1 else ''}",
        (gap + {"left": 0.0, "center": 0.5, "right": 1.0}[side], 1.0),
        (0, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha=side,
        fontsize=8,
        color="#5a5a5a",
    )
    axes.vlines(numbers, 0, eigenvalues, color=PALE, linewidth=1.0)
    axes.plot(numbers, eigenvalues, "o", color=COLOURS[0], markersize=4, clip_on=False, zorder=3)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0.5, len(numbers) + 0.5)
    every = 1 if len(numbers) <= 12 else 5
    axes.set_xticks([1, *range(every if every > 1 else 2, len(numbers) + 1, every)])


def _style(cluster: int) -> dict[str, Any]:
    if cluster < 0:
        return {"color": NOISE, "marker": "."}
    return {"color": COLOURS[cluster % len(COLOURS)], "marker": MARKS[(cluster + cluster // len(COLOURS)) % len(MARKS)]}


def _entry(labels: Array, cluster: int) -> Line2D:
    """A line of the legend."""
    name = "noise" if cluster < 0 else f"cluster {cluster}"
    style = _style(cluster)
    return Line2D([], [], linestyle="", markersize=5, label=f"{name} ({np.sum(labels == cluster)})", **style)


def _frame(axes: Axes, points: Array, margin: float = 0.05) -> None:
    """A frame around all points, not too narrow."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    longest = float((high - low).max() or 1.0)
    centre, half = (low + high) / 2, np.maximum(0.5 * (high - low), 0.2 * longest) + margin * longest
    axes.set(xlim=(centre[0] - half[0], centre[0] + half[0]), ylim=(centre[1] - half[1], centre[1] + half[1]))
    axes.spines[["top", "right"]].set_visible(True)


def _places(points: Array, across: int) -> list[tuple[int, Array, float]]:
    """One sample of every cell of a grid that has any, the one nearest to the middle: its number, the middle, the cell's size."""
    if across < 1:
        raise InputError(f"at least one picture has to fit, not {across}")
    low, high = points.min(axis=0), points.max(axis=0)
    size = float((high - low).max() or 1.0) / across
    cells = np.minimum(((points - low) / size).astype(int), across - 1)
    middles = low + (cells + 0.5) * size
    away = np.linalg.norm(points - middles, axis=1)
    _, groups = np.unique(cells, axis=0, return_inverse=True)
    order = np.lexsort((away, groups.ravel()))
    _, first = np.unique(groups.ravel()[order], return_index=True)
    return [(int(number), middles[number], 0.94 * size) for number in order[first]]
