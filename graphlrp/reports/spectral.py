"""The sections of SpRAy: classes by λ2, and the groups of one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphlrp.reports.figures import FigureView, figure_view
from graphlrp.reports.section import Section
from graphlrp.reports.style import Style
from graphlrp.spray import Analysis, Ranking, Suspect, suspicious
from graphlrp.visual.typesetting import number

Array = NDArray[Any]

WASHED_OUT = 99.5


@dataclass(frozen=True)
class ClusteringView:
    """One clustering.

    Attributes:
        name: such as ``"kmeans-4"``.
        sizes: number of maps by cluster; -1 is noise.
        suspects: clusters that stand apart, the best separated first.
        figures: the embedding and typical maps.
    """

    name: str
    sizes: Sequence[tuple[int, int]]
    suspects: Sequence[Suspect]
    figures: Sequence[FigureView]


def ranking_section(ranking: Ranking, heading: str) -> Section:
    """Classes by λ2, the smallest first."""
    most = max(len(values) for values in ranking.eigenvalues.values())
    rows = [(str(name), ranking.counts[name], values.tolist()) for name, values in ranking.eigenvalues.items()]
    first = f"{rows[0][0]} has the smallest λ2, {number(rows[0][2][1])}"
    figure = figure_view(ranking.plot(), f"The smallest eigenvalues of {len(rows)} classes, ordered by λ2; {first}")
    return Section(heading or "Classes by λ2", "ranking.html", {"rows": rows, "most": most, "figures": [figure]})


def analysis_section(
    analysis: Analysis,
    style: Style,
    heading: str,
    *,
    relevance: Any = None,
    images: Any = None,
    layout: str | None = None,
    count: int = 8,
) -> Section:
    """The groups of one class.

    Args:
        analysis: what was found.
        style: of the page.
        heading: of the section.
        relevance: the maps that were analysed, of which typical ones are drawn; none without.
        images: pictures of the data, drawn beside their maps.
        layout: of the maps, as for ``graphlrp.spray.analyse``.
        count: of typical maps of every cluster.

    Raises:
        InputError: the maps or images are not those of the data.
    """
    gap = analysis.gap
    values = ", ".join(number(value) for value in analysis.eigenvalues[:6])
    spectrum = figure_view(
        analysis.plot_spectrum(), f"The smallest eigenvalues: {values} ...; the largest gap is behind number {gap}"
    )
    drawn = relevance is not None and len(analysis.shape) == 2
    percentile = WASHED_OUT if style.percentile is None else style.percentile
    clusterings = []
    for name, labels in analysis.clusterings.items():
        sizes = [(int(c), int(n)) for c, n in zip(*np.unique(labels, return_counts=True), strict=True)]
        told = "; ".join(f"{'noise' if c < 0 else f'cluster {c}'}: {n} maps" for c, n in sizes)
        figures = []
        if len(analysis.embeddings) > 1:
            figure = analysis.plot_embedding(images, clustering=name)
            figures.append(figure_view(figure, f"The maps in the plane, coloured by cluster. {told}", "The maps in the plane"))
        if drawn:
            figure = analysis.montage(
                relevance, images, clustering=name, layout=layout, count=count, colours=style.colours, percentile=percentile
            )
            alt = f"A row for every cluster: the mean of its maps and the {count} maps nearest to it. {told}"
            figures.append(
                figure_view(
                    figure, alt, "Typical maps of every cluster, each with its own scale; numbers are positions in the data"
                )
            )
        clusterings.append(ClusteringView(name, sizes, suspicious(analysis, name), figures))
    content = {
        "count": len(analysis),
        "gap": gap,
        "components": analysis.components,
        "eigenvalues": analysis.eigenvalues[:12].tolist(),
        "figures": [spectrum],
        "clusterings": clusterings,
        "settings": list(analysis.settings.items()),
    }
    return Section(heading or "Groups of relevance maps", "spectral.html", content, fresh=True)
