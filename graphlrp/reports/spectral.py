"""The sections of SpRAy: classes by λ2, and the groups of one class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphlrp.explanation import Explanation
from graphlrp.reports.figures import FigureView, figure_view
from graphlrp.reports.maps import gradient, scales_of
from graphlrp.reports.section import Section
from graphlrp.reports.style import Style
from graphlrp.reports.views import TextDraft, TextView
from graphlrp.spray import Analysis, Profile, Ranking, Suspect, suspicious
from graphlrp.visual.text import TextRelevance, text_relevance
from graphlrp.visual.typesetting import number

Array = NDArray[Any]

WASHED_OUT = 99.5


@dataclass(frozen=True)
class DocumentView:
    """A typical text of a cluster."""

    cluster: int
    source: str
    caption: str
    view: TextView


@dataclass(frozen=True)
class ClusteringView:
    """One clustering.

    Attributes:
        name: such as ``"kmeans-4"``.
        sizes: number of maps by cluster; -1 is noise.
        suspects: clusters that stand apart, the best separated first.
        figures: the embedding, and typical maps or what clusters of vectors are about.
        profiles: the latter in numbers.
        documents: typical texts.
    """

    name: str
    sizes: Sequence[tuple[int, int]]
    suspects: Sequence[Suspect]
    figures: Sequence[FigureView]
    profiles: Sequence[Profile] = ()
    documents: Sequence[DocumentView] = ()


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
    features: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    explain: Callable[[list[int]], Explanation] | None = None,
    documents: int = 3,
) -> Section:
    """The groups of one class.

    Args:
        analysis: what was found.
        style: of the page.
        heading: of the section.
        relevance: the maps that were analysed, of which typical ones are drawn; none without. Of vectors, what clusters are
            about is shown with or without.
        images: pictures of the data, drawn beside their maps.
        layout: of the maps, as for ``graphlrp.spray.analyse``.
        count: of typical maps of every cluster, or of features.
        features: names of the features of vectors; without them those of an explanation.
        sources: where every sample of the data comes from.
        explain: gives an ``Explanation`` of the samples at some positions in the data: typical texts of every cluster are shown
            with their words highlighted. Not needed if relevance is an explanation of texts.
        documents: how many of them.

    Raises:
        InputError: the maps or images are not those of the data.
    """
    gap = analysis.gap
    values = ", ".join(number(value) for value in analysis.eigenvalues[:6])
    spectrum = figure_view(
        analysis.plot_spectrum(), f"The smallest eigenvalues: {values} ...; the largest gap is behind number {gap}"
    )
    drawn = relevance is not None and len(analysis.shape) == 2
    vectors = len(analysis.shape) == 1
    given = relevance if _are_vectors(relevance) else None
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
        profiles: list[Profile] = []
        if vectors:
            options: dict[str, Any] = {"features": features, "clustering": name, "count": count}
            profiles = analysis.profile(given, **options)
            for own in profiles:
                # One figure for each, so that a page on paper may end between them.
                figure = analysis.plot_profile(given, **options, cluster=own.cluster, colours=style.colours)
                caption = f"What cluster {own.cluster} is about" + (
                    "; every cluster has its own scale" if len(profiles) > 1 else ""
                )
                figures.append(figure_view(figure, f"Mean relevance of features in {_in_words(own)}", caption))
        texts = _typical(analysis, name, relevance, explain, documents, sources)
        views = _document_views(texts, style)
        clusterings.append(ClusteringView(name, sizes, suspicious(analysis, name), figures, profiles, views))
    content = {
        "count": len(analysis),
        "gap": gap,
        "components": analysis.components,
        "eigenvalues": analysis.eigenvalues[:12].tolist(),
        "figures": [spectrum],
        "clusterings": clusterings,
        "settings": list(analysis.settings.items()),
        "gradient": gradient(style.colours),
    }
    recolours = any(clustering.documents for clustering in clusterings)
    return Section(heading or "Groups of relevance maps", "spectral.html", content, recolours, fresh=True)


def _are_vectors(relevance: Any) -> bool:
    values = relevance.relevance if isinstance(relevance, Explanation) else relevance
    return len(getattr(values, "shape", ())) == 2


def _in_words(profile: Profile) -> str:
    """The first features of a cluster."""
    elsewhere = profile.count < profile.total
    first = (
        f"{own.name} {number(own.mean)}" + (f", elsewhere {number(own.elsewhere)}" if elsewhere else "")
        for own in profile.features[:3]
    )
    return f"cluster {profile.cluster}: {'; '.join(first) or 'none'}"


def _typical(
    analysis: Analysis,
    clustering: str,
    relevance: Any,
    explain: Callable[[list[int]], Explanation] | None,
    count: int,
    sources: Sequence[str] | None,
) -> list[tuple[int, TextRelevance]]:
    """Typical texts with their cluster; none if it is not known what was explained, or if they are no texts."""
    whole = relevance if isinstance(relevance, Explanation) else None
    if explain is None and (whole is None or whole.texts is None or whole.reader is None):
        return []
    found: list[tuple[int, TextRelevance]] = []
    labels = analysis.clusterings[clustering]
    for cluster in np.unique(labels[labels >= 0]).tolist():
        positions = analysis.typical(cluster, clustering)[:count].tolist()
        explanation = whole if explain is None else explain(positions)
        if explanation is None or explanation.texts is None:
            return []
        for place, position in enumerate(positions):
            title = sources[position] if sources is not None else f"sample {position}"
            found.append((cluster, text_relevance(explanation, position if explain is None else place, title=title)))
    return found


def _document_views(texts: Sequence[tuple[int, TextRelevance]], style: Style) -> list[DocumentView]:
    drafts = [TextDraft(text) for _, text in texts]
    percentile = TextDraft.percentile if style.percentile is None else style.percentile
    scales = scales_of([draft.relevance for draft in drafts], percentile) if drafts else []
    return [
        DocumentView(cluster, text.title, text.caption, draft.view(scale, text.sides, style))
        for (cluster, text), draft, scale in zip(texts, drafts, scales, strict=True)
    ]
