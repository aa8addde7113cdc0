"""The section of explanations: sample by sample the input and its relevance, composites and classes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from graphlrp.errors import InputError
from graphlrp.explanation import Explanation
from graphlrp.reports.ledgers import ledger_summary
from graphlrp.reports.maps import SMALL, Scales, gradient, picture_uri, reduced, scales_of
from graphlrp.reports.section import Section
from graphlrp.reports.style import Style
from graphlrp.reports.summary import Summary, summaries
from graphlrp.reports.truth import Decision, decisions, wrong_first
from graphlrp.reports.views import BarsDraft, Draft, MapDraft, SignalDraft, TextDraft, View
from graphlrp.visual.explanation import explanation_panels
from graphlrp.visual.figure import Panel
from graphlrp.visual.text import text_relevance


@dataclass(frozen=True, eq=False)
class Picture:
    """An input that is a picture."""

    name: str
    uri: str
    width: int
    height: int
    squares: bool


@dataclass(frozen=True, eq=False)
class Cell:
    """One sample under one composite for one class.

    Attributes:
        composite: its name, empty if it is not known.
        summary: the numbers.
        views: by the name of the input; the name is empty if there is only one.
    """

    composite: str
    summary: Summary
    views: Sequence[tuple[str, View]]


@dataclass(frozen=True, eq=False)
class Sample:
    """What is said of one sample.

    Attributes:
        number: its place, from 1 on.
        source: where it comes from.
        pictures: its inputs, those that are pictures.
        rows: one for each class, the composites side by side.
        decision: of the model, beside the true class; None if that is not known.
    """

    number: int
    source: str
    pictures: Sequence[Picture]
    rows: Sequence[Sequence[Cell]]
    decision: Decision | None = None


@dataclass
class _Part:
    """An explanation on its way to the page: of every sample a draft for every input."""

    composite: str
    rank: int
    summaries: list[Summary]
    drafts: list[list[tuple[str, Draft]]]
    views: list[list[tuple[str, View]]] = field(default_factory=list)


def explanation_section(
    explanations: Any,
    style: Style,
    heading: str,
    *,
    images: Sequence[ArrayLike] | None = None,
    labels: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    truth: ArrayLike | None = None,
    layout: str | None = None,
    class_axis: int = 1,
    most: int = 20,
    longest: int = 320,
    ledger: bool = True,
) -> Section:
    """Explanations of the same samples.

    Args:
        explanations: one, or by the name of its composite one, or a sequence of them, one for each class.
        style: of the page.
        heading: of the section.
        images: uint8 [H, W, 3] for every sample, what the model saw; without them its input is scaled to black ... white.
        labels: names of the classes; without them the explanations' own.
        features: names of the features; likewise.
        sources: where every sample comes from, e.g. its file.
        truth: true classes, whole numbers [N]; samples that the model decides wrongly are marked, and come first.
        layout: of pictures, see :func:`graphlrp.visual.explanation_panels`.
        class_axis: axis of the output that counts classes.
        most: how many features bars show.
        longest: pixels up to which pictures are shown as they are; larger ones are shown smaller.
        ledger: say where relevance went that did not reach the input, if the explanations have ledgers.

    Raises:
        InputError: no explanation, or explanations of other samples; what cannot be drawn; true classes that do not fit.
    """
    named = _named(explanations)
    count = len(next(iter(named.values()))[0].output)
    if any(len(one.output) != count for several in named.values() for one in several):
        raise InputError("explanations side by side must be of the same samples, and these differ in their number")
    if sources is not None and len(sources) != count:
        raise InputError(f"{len(sources)} sources for {count} samples")
    if most < 1 or longest < 8:
        raise InputError(
            f"bars show at least one feature and pictures have at least 8 pixels, not most={most}, longest={longest}"
        )
    names = list(sources) if sources is not None else [f"sample {k}" for k in range(count)]
    drawing: dict[str, Any] = {"images": images, "labels": labels, "features": features, "layout": layout}
    parts = [
        _Part(composite, rank, summaries(one, labels, class_axis), _drafts(one, names, most, longest, drawing))
        for composite, several in named.items()
        for rank, one in enumerate(several)
    ]
    _draw(parts, style)
    found = None if truth is None else decisions(next(iter(named.values()))[0], truth, labels, class_axis)
    order = range(count) if found is None else wrong_first(found)
    samples = [_sample(names[k], k, parts, None if found is None else found[k]) for k in order]
    ledgers = [
        summary
        for composite, several in named.items()
        for rank, one in enumerate(several)
        if ledger and (summary := ledger_summary(one, _title(composite, rank, len(several)), first=rank == 0)) is not None
    ]
    pictures = any(sample.pictures for sample in samples)
    content = {
        "samples": samples,
        "decided": found is not None,
        "wrong": sum(decision.wrong for decision in found or ()),
        # What takes half of a screen stands side by side: samples that are one cell, or else the classes of a sample.
        "beside": not pictures and len(parts) == 1,
        "classes_beside": not pictures and len(named) == 1,
        "kinds": sorted({view.kind for part in parts for views in part.views for _, view in views}),
        "several": len(named) > 1,
        "accounted": any(summary.absorbed is not None for part in parts for summary in part.summaries),
        "ledgers": ledgers,
        "gradient": gradient(style.colours),
    }
    return Section(heading or "Explanations", "explanations.html", content, recolours=True, fresh=True)


def _title(composite: str, rank: int, ranks: int) -> str:
    return composite if ranks == 1 else f"{composite}, class {rank + 1} of {ranks}"


def _named(explanations: Any) -> dict[str, list[Explanation]]:
    """By the name of the composite, a list of explanations, one for each class."""
    given = explanations if isinstance(explanations, Mapping) else {"": explanations}
    named = {str(name): [value] if isinstance(value, Explanation) else list(value) for name, value in given.items()}
    if not named or not all(named.values()):
        raise InputError("a report needs at least one explanation")
    for value in (one for several in named.values() for one in several):
        if not isinstance(value, Explanation):
            raise InputError(f"a section of explanations is made of Explanations, not of {type(value).__name__}")
    return named


def _drafts(
    explanation: Explanation, sources: Sequence[str], most: int, longest: int, drawing: Mapping[str, Any]
) -> list[list[tuple[str, Draft]]]:
    """Of every sample, what is to be drawn, by the name of the input."""
    labels = drawing["labels"]
    if explanation.texts is not None:
        texts = [text_relevance(explanation, k, labels=labels) for k in range(len(sources))]
        return [[("", TextDraft(text))] for text in texts]
    names: Sequence[str | None] = [None]
    if isinstance(explanation.relevance, Mapping):
        names = [name for name in explanation.relevance if name in explanation.inputs]
    result: list[list[tuple[str, Draft]]] = [[] for _ in sources]
    for name in names:
        panels = explanation_panels(explanation, input=name, **drawing)
        key = name if name is not None and len(names) > 1 else ""
        for drafts, panel in zip(result, panels, strict=True):
            drafts.append((key, _draft(panel, most, longest)))
    return result


def _draft(panel: Any, most: int, longest: int) -> Draft:
    if isinstance(panel, Panel):
        return MapDraft(*reduced(panel.image, panel.relevance, longest))
    return SignalDraft(panel) if np.ndim(panel.signal) == 2 else BarsDraft(panel, most)


def _draw(parts: Sequence[_Part], style: Style) -> None:
    """Views of all drafts; maps of one input and one kind share the joint scale."""
    groups: dict[tuple[str, type], list[Draft]] = {}
    for part in parts:
        for drafts in part.drafts:
            for name, draft in drafts:
                groups.setdefault((name, type(draft)), []).append(draft)
    scales: dict[int, Scales] = {}
    for group in groups.values():
        percentile = group[0].percentile if style.percentile is None else style.percentile
        found = scales_of([draft.relevance for draft in group], percentile)
        scales.update({id(draft): scale for draft, scale in zip(group, found, strict=True)})
    for part in parts:
        for summary, drafts in zip(part.summaries, part.drafts, strict=True):
            part.views.append([(name, draft.view(scales[id(draft)], summary.sides, style)) for name, draft in drafts])


def _sample(source: str, index: int, parts: Sequence[_Part], decision: Decision | None) -> Sample:
    rows: dict[int, list[Cell]] = {}
    for part in parts:
        rows.setdefault(part.rank, []).append(Cell(part.composite, part.summaries[index], part.views[index]))
    pictures = [
        Picture(name, picture_uri(draft.image), draft.image.shape[1], draft.image.shape[0], max(draft.image.shape) <= SMALL)
        for name, draft in parts[0].drafts[index]
        if isinstance(draft, MapDraft)
    ]
    return Sample(index + 1, source, pictures, [rows[rank] for rank in sorted(rows)], decision)
