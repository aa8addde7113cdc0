"""Explanations of texts: relevance of the terms that were counted, put back to where they occur.

A model of counts says that a term matters, a reader wants to see where it stands. Every occurrence of a term has the same share
of its relevance; the share is spread evenly over the pieces that the term was made of, the tokens of a word n-gram or the
characters of a character n-gram, and evenly over the characters of a piece. What has no place in the text is kept beside it, so
that nothing is lost:

    Σ spans + Σ unplaced = ΣR
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text
from scipy.sparse import issparse

from graphlrp.errors import InputError
from graphlrp.files import replacing
from graphlrp.visual.colour import ColourMap, FloatArray, colour_map, hexadecimal, ink, scaled
from graphlrp.visual.explained import Explained, caption_of, explained_as
from graphlrp.visual.typesetting import number

FAINT = 0.03
"""Part of the full colour below which a text keeps the colours of its page or terminal."""

COLOURS = "blue-orange"
"""Told apart with every common colour vision deficiency; opposite values are equally dark."""

MOST = 12
"""How many terms that have no place are named."""


class ExplainedText(Explained, Protocol):
    """The part of :class:`graphlrp.Explanation` that is drawn: of counts [N, V], and the texts with what counted their terms."""

    @property
    def texts(self) -> Sequence[str] | None:
        """The N texts."""

    @property
    def reader(self) -> Any:
        """``places(text)``: the terms of a text that the model knows, and where they are."""


@dataclass(frozen=True)
class Span:
    """A term at a place.

    Attributes:
        start: first character of the text that belongs to it.
        end: the one behind the last.
        term: as the vectorizer sees it, e.g. in small letters.
        relevance: its share.
        pieces: (start, end) of the parts that share it evenly; between them may be what the vectorizer skips.
    """

    start: int
    end: int
    term: str
    relevance: float
    pieces: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class TextRelevance:
    """One text and the relevance of its parts.

    Attributes:
        text: as it was given.
        spans: occurrences of terms that the model knows, in the order of the text.
        characters: relevance of every character, float64 [len(text)]; sums to that of the spans.
        unplaced: relevance by term of what has no place in the text: terms that do not occur, which in a kernel machine have
            relevance, too, and those that a tokenizer of the user made of something else.
        absent: those of ``unplaced`` that do not occur in the text at all.
        words: (start, end) of the parts that get one colour: tokens, which do not overlap; None if single characters do.
        caption: what is explained, its first line in bold; ``explanation_caption``.
        sides: what negative relevance speaks for, and what positive.
        title: where the text comes from.
    """

    text: str
    spans: tuple[Span, ...]
    characters: FloatArray
    unplaced: dict[str, float]
    absent: frozenset[str] = frozenset()
    words: tuple[tuple[int, int], ...] | None = None
    caption: str = ""
    sides: tuple[str, str] = ("", "")
    title: str = ""

    @property
    def total(self) -> float:
        """ΣR."""
        return float(self.characters.sum()) + sum(self.unplaced.values())

    def units(self) -> list[tuple[int, int, float]]:
        """The text in parts of one colour each: (start, end, relevance), without gaps; relevance is the sum over the part."""
        if self.words is None:
            return [(k, k + 1, float(value)) for k, value in enumerate(self.characters)]
        result, position = [], 0
        for start, end in (*self.words, (len(self.text), len(self.text))):
            parts = ((position, start), (start, end))
            result += [(a, b, float(self.characters[a:b].sum())) for a, b in parts if b > a]
            position = end
        return result

    @property
    def scale(self) -> float:
        """The largest absolute relevance of a unit, 1 if there is none."""
        return max((abs(value) for _, _, value in self.units()), default=0.0) or 1.0

    @property
    def note(self) -> str:
        """What is to be said of relevance that is not in the text; empty if there is nothing."""
        notes = []
        if not self.spans and not any(term not in self.absent for term in self.unplaced):
            subject = "the text is empty" if not self.text.strip() else "no term of the text is known to the model"
            notes.append(f"{subject}: f(x) is what the model says of any such text")
        for absent, heading in ((True, "terms that do not occur"), (False, "terms whose place is not known")):
            chosen = {term: value for term, value in self.unplaced.items() if (term in self.absent) is absent}
            if chosen:
                largest = sorted(chosen, key=lambda term: -abs(chosen[term]))
                listed = ", ".join(f"{_visible(term)} {number(chosen[term])}" for term in largest[:MOST])
                more = f" and {len(chosen) - MOST:,} more" if len(chosen) > MOST else ""
                notes.append(f"{heading}: {listed}{more}; {number(sum(chosen.values()))} in all")
        return "\n".join(notes)

    def to_rich(self, *, colours: str | ColourMap = COLOURS, scale: float | None = None, few: bool = False) -> Text:
        """The text for a terminal, its relevance as background; letters are black or white, whatever the terminal's colours are.

        Args:
            colours: a colour map or its name.
            scale: relevance that gets the full colour; that of the largest unit if absent.
            few: for a terminal that has no more than 16 colours: yellow is positive, cyan negative, what has little relevance is
                underlined.
        """
        result = Text()
        # Escape sequences of a text are not for the terminal.
        shown = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", self.text)
        for start, end, colour in self._coloured(colour_map(colours), scale):
            style = Style()
            if colour is not None and few:
                style = _basic(float(self.characters[start:end].sum()) / (scale or self.scale))
            elif colour is not None:
                style = Style(color=ink(colour), bgcolor=hexadecimal(colour))
            result.append(shown[start:end], style)
        return result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Title, caption, legend, text and notes."""
        if self.title:
            yield Text(self.title, "bold")
        yield Text(self.caption)
        few = console.color_system in ("standard", "windows")
        if self.characters.any():
            yield _legend(self.scale, self.sides, few=few)
        yield Text("")
        yield self.to_rich(few=few)
        if self.note:
            yield Text(self.note, "italic")

    def to_html(self, *, colours: str | ColourMap = COLOURS, scale: float | None = None) -> str:
        """A fragment of HTML that needs nothing else: text on white with its relevance as background, caption, legend, notes.

        Args:
            colours: a colour map or its name.
            scale: relevance that gets the full colour; that of the largest unit if absent.
        """
        colours, scale = colour_map(colours), scale or self.scale
        parts = []
        for start, end, colour in self._coloured(colours, scale):
            piece = _escaped(self.text[start:end])
            if colour is not None:
                value = number(float(self.characters[start:end].sum()))
                piece = f'<span style="background:{hexadecimal(colour)};color:{ink(colour)}" title="R = {value}">{piece}</span>'
            parts.append(piece)
        first, _, rest = self.caption.partition("\n")
        lines = [
            f'<p style="margin:0 0 2px;font-weight:bold;color:#5a5a5a">{_escaped(self.title)}</p>' if self.title else "",
            f'<p style="margin:0;font-weight:bold">{_escaped(first)}</p>',
            f'<p style="margin:0;white-space:pre-wrap">{_escaped(rest)}</p>' if rest else "",
            _html_legend(colours, scale, self.sides, "word" if self.words is not None else "character")
            if self.characters.any()
            else "",
            f'<div dir="auto" style="{_BODY}">{"".join(parts)}</div>',
            f'<p style="{_NOTE};white-space:pre-line">{_escaped(self.note)}</p>' if self.note else "",
        ]
        return f'<section style="{_SECTION}">\n' + "\n".join(line for line in lines if line) + "\n</section>\n"

    def _coloured(self, colours: ColourMap, scale: float | None) -> list[tuple[int, int, tuple[int, ...] | None]]:
        """Parts of the text and their colours, None where they stay as they are; neighbours of one colour are one part."""
        units = self.units()
        if not units:
            return []
        values = scaled(np.array([value for _, _, value in units]), scale or self.scale)
        pixels = colours(values)
        result: list[tuple[int, int, tuple[int, ...] | None]] = []
        for (start, end, _), value, pixel in zip(units, values, pixels, strict=True):
            colour = None if abs(value) < FAINT else tuple(pixel.tolist())
            if result and result[-1][2] == colour and (self.words is None or colour is None):
                result[-1] = (result[-1][0], end, colour)
            else:
                result.append((start, end, colour))
        return result


def text_relevance(
    explanation: ExplainedText, sample: int, *, labels: Sequence[str] | None = None, title: str = ""
) -> TextRelevance:
    """Put the relevance of terms back to where they occur in a text.

    Every occurrence of term t has R_t / n_t, for n_t occurrences.

    Args:
        explanation: of a text pipeline that was given texts.
        sample: which text, 0 ... N - 1.
        labels: name of every class; without them the explanation's own.
        title: where the text comes from, e.g. its file.

    Raises:
        InputError: the explanation is not one of texts or of counts of terms, or there is no such sample.
    """
    texts, reader = getattr(explanation, "texts", None), getattr(explanation, "reader", None)
    if texts is None or reader is None:
        raise InputError("the explanation is not one of texts: give the explainer of a text pipeline a list of texts")
    if not -len(texts) <= sample < len(texts):
        raise InputError(f"there is no sample {sample}: there are {len(texts)} texts")
    sample %= len(texts)
    relevance = _of_counts(explanation)
    text, places = texts[sample], reader.places(texts[sample])
    weights: dict[int, float] = {}
    for place in places:
        weights[place.feature] = weights.get(place.feature, 0.0) + place.weight
    row = _row(relevance, sample)
    parts: list[tuple[int, int, float]] = []
    spans: list[Span] = []
    unplaced: dict[int, float] = {}
    for place in places:
        total, pieces = weights[place.feature], place.occurrence.pieces
        if not total:
            continue
        share = row.get(place.feature, 0.0) * place.weight / total
        if not pieces:
            unplaced[place.feature] = unplaced.get(place.feature, 0.0) + share
            continue
        parts += [(start, end, share / len(pieces)) for start, end in pieces]
        # Pieces lie in the order of the text, if they were not looked for.
        ends = min(start for start, _ in pieces), max(end for _, end in pieces)
        spans.append(Span(*ends, place.occurrence.term, share, pieces))
    absent = {feature: value for feature, value in row.items() if not weights.get(feature)}
    spans.sort(key=lambda span: (span.start, span.end))
    names = getattr(explanation, "features", None)

    def named(values: dict[int, float]) -> dict[str, float]:
        return {names[k] if names is not None else f"feature {k}": value for k, value in sorted(values.items()) if value}

    labels = labels if labels is not None else getattr(explanation, "classes", None)
    explained, value, sides = explained_as(explanation, sample, labels)
    directed = getattr(explanation, "initial", "value") == "value"
    return TextRelevance(
        text,
        tuple(spans),
        _spread(parts, len(text)),
        named(unplaced | absent),
        # Terms that cancel each other in a hash do occur.
        frozenset(named({k: value for k, value in absent.items() if k not in weights})),
        _joined(spans) if reader.words else None,
        caption_of(explanation, relevance, sample, explained, value),
        sides if directed else ("", ""),
        title,
    )


def html_page(texts: Sequence[TextRelevance], *, title: str = "Relevance", joint: bool = False, **options: Any) -> str:
    """A page of HTML that needs nothing else, a section for each text.

    Args:
        texts: what to show.
        title: of the page.
        joint: one common scale for all texts instead of one for each.
        **options: those of ``TextRelevance.to_html``.
    """
    if joint:
        options["scale"] = max((text.scale for text in texts), default=1.0)
    return (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escaped(title)}</title>\n</head>\n"
        '<body style="margin:0 auto;padding:16px;max-width:46em;background:#ffffff">\n'
        f"{''.join(text.to_html(**options) for text in texts)}</body>\n</html>\n"
    )


def save_html(path: str | os.PathLike[str], texts: Sequence[TextRelevance] | TextRelevance, **options: Any) -> Path:
    """Write ``html_page``, whole or not at all, and return the path.

    Args:
        path: where to; its folder is made if it is missing.
        texts: one or several, see :func:`text_relevance`.
        **options: those of :func:`html_page`.

    Raises:
        OSError: the file cannot be written.
    """
    page = html_page([texts] if isinstance(texts, TextRelevance) else texts, **options)
    with replacing(path) as unfinished:
        # Lone surrogates, which a text may hold, have no UTF-8.
        unfinished.write_text(page, encoding="utf-8", errors="replace", newline="")
    return Path(path)


_SECTION = "font:14px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#ffffff;margin:0 0 28px;padding:2px"
# Browsers leave out backgrounds when they print, unless they are told not to.
_PRINTED = "-webkit-print-color-adjust:exact;print-color-adjust:exact"
_BODY = f"margin:8px 0 0;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.7;{_PRINTED}"
_NOTE = "margin:4px 0 0;font-size:12px;color:#5a5a5a"


def _html_legend(colours: ColourMap, scale: float, sides: tuple[str, str], unit: str) -> str:
    """A colour bar with its ends."""
    steps = ",".join(hexadecimal(tuple(colour)) for colour in colours(np.linspace(-1, 1, 17)).tolist())
    low, high = (f"{number(end)} {_escaped(side)}".strip() for end, side in zip((-scale, scale), sides, strict=True))
    bar = (
        f"display:inline-block;width:140px;height:10px;margin:0 6px;border:1px solid #b4b4b4;vertical-align:middle;"
        f"background:linear-gradient(to right,{steps});{_PRINTED}"
    )
    return f'<p style="{_NOTE}">{low}<span style="{bar}"></span>{high} (relevance of a {unit})</p>'


def _legend(scale: float, sides: tuple[str, str], *, few: bool) -> Text:
    """The same for a terminal."""
    low, high = (f"{number(end)} {side}".strip() for end, side in zip((-scale, scale), sides, strict=True))
    result = Text(f"{low} ")
    for value in np.linspace(-1, 1, 15).tolist():
        colour = tuple(colour_map(COLOURS)(value).tolist())
        result.append(" ", _basic(value) if few else Style(bgcolor=hexadecimal(colour)))
    return result.append(f" {high}")


def _basic(value: float) -> Style:
    """One of the 16 colours that every terminal has, for a part of the scale."""
    if abs(value) < FAINT:
        return Style()
    return Style(underline=True) if abs(value) < 0.25 else Style(color="black", bgcolor="yellow" if value > 0 else "cyan")


def _of_counts(explanation: ExplainedText) -> Any:
    """R [N, V] of the counts."""
    relevance, (name, counts) = explanation.relevance, next(iter(explanation.inputs.items()))
    relevance = relevance.get(name) if isinstance(relevance, Mapping) else relevance
    if relevance is None or relevance.shape != counts.shape:
        raise InputError("the explanation is not one of the counts of terms: leave out explain=...")
    return relevance


def _row(relevance: Any, sample: int) -> dict[int, float]:
    """Relevance that is not zero, by feature."""
    row = relevance[sample].toarray().ravel() if issparse(relevance) else np.asarray(relevance[sample])
    return {int(k): float(row[k]) for k in np.flatnonzero(row)}


def _spread(parts: Sequence[tuple[int, int, float]], length: int) -> FloatArray:
    """Relevance [length] of characters, of parts (start, end, relevance) that share theirs evenly."""
    if not parts:
        return np.zeros(length)
    starts, ends, values = (np.array(column) for column in zip(*parts, strict=True))
    sizes = ends - starts
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    total = np.bincount(np.repeat(starts, sizes) + within, np.repeat(values / sizes, sizes), length)
    return np.asarray(total, np.float64)


def _joined(spans: Sequence[Span]) -> tuple[tuple[int, int], ...]:
    """Pieces of terms that overlap become one."""
    result: list[tuple[int, int]] = []
    for start, end in sorted({piece for span in spans for piece in span.pieces}):
        if result and start < result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return tuple(result)


def _escaped(text: str) -> str:
    """Text of HTML: what it must not hold is replaced, and what a browser would read as a line end of another kind kept."""
    plain = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)
    return html.escape(plain).replace("\r", "&#13;")


def _visible(term: str) -> str:
    """A term whose white space at the ends shows."""
    return repr(term) if term != term.strip() or not term else term
