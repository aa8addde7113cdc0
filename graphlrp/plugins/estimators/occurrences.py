"""Where in a text the terms lie that a vectorizer of scikit-learn counts.

The vectorizer says *what* it counts, not where. Here its analysis is repeated on a text whose characters remember which
characters of the original they were made of. What comes out is compared with the vectorizer's own terms; where they are not the
same, as with a tokenizer of the user's own that stems, terms are looked for in the text one behind the other.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.feature_extraction.text import CountVectorizer, strip_accents_ascii, strip_accents_unicode

Piece = tuple[int, int]
"""Start and end of a part of the original text."""

_SPACES = re.compile(r"\s\s+")
_STEPS = (
    "decode",
    "build_analyzer",
    "build_preprocessor",
    "build_tokenizer",
    "get_stop_words",
    "_word_ngrams",
    "_char_ngrams",
    "_char_wb_ngrams",
)


@dataclass(frozen=True)
class Occurrence:
    """A term at a place.

    Attributes:
        term: as the vectorizer sees it.
        pieces: the parts of the original text that it was made of: a token of a word n-gram, a character of a character n-gram;
            all have the same share in it. Empty if its place is not known.
    """

    term: str
    pieces: tuple[Piece, ...]


def occurrences(vectorizer: Any, text: str) -> list[Occurrence]:
    """All terms of a text, also those that are not in the vocabulary, once for each time that the vectorizer counts them.

    Args:
        vectorizer: ``CountVectorizer``, ``TfidfVectorizer`` or ``HashingVectorizer``, or one derived from them.
        text: the original text.
    """
    expected = list(vectorizer.build_analyzer()(text))
    if own_code(vectorizer, but=("preprocessor", "tokenizer", "strip_accents")) is None:
        found = _analysed(vectorizer, text)
        if found is not None and Counter(o.term for o in found) == Counter(expected):
            return found
    return [Occurrence(term, tuple(pieces)) for term, pieces in zip(expected, _sought(expected, Traced.of(text)), strict=True)]


def own_code(vectorizer: Any, but: Sequence[str] = ()) -> str | None:
    """Name of the setting or method of a vectorizer that is Python code of the user, None if all is scikit-learn's."""
    for name in ("analyzer", "preprocessor", "tokenizer", "strip_accents"):
        if name not in but and callable(getattr(vectorizer, name)):
            return name
    # HashingVectorizer has the same methods, from the same class.
    return next((name for name in _STEPS if getattr(type(vectorizer), name) is not getattr(CountVectorizer, name)), None)


@dataclass(frozen=True)
class Traced:
    """A text made of another one: character k was made of ``[starts[k], ends[k])`` of the original."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str) -> Traced:
        """The original itself."""
        return cls(text, range(len(text)), range(1, len(text) + 1))

    def changed(self, change: Callable[[str], str]) -> Traced | None:
        """The text as a function makes it that changes characters one by one; None if it does more than that.

        Only the lengths are taken character by character: the small form of a final Σ depends on what is around it. A combining
        mark that vanishes belongs to the character before it.
        """
        text, lengths = change(self.text), [len(change(character)) for character in self.text]
        if sum(lengths) != len(text):
            return None
        starts: list[int] = []
        ends: list[int] = []
        for character, start, end, length in zip(self.text, self.starts, self.ends, lengths, strict=True):
            if length:
                starts += [start] * length
                ends += [end] * length
            elif unicodedata.combining(character) and ends and ends[-1] == start:
                ends[-1] = end
        return Traced(text, starts, ends)

    def single_spaced(self) -> Traced:
        """Two or more white spaces are one, as character n-grams see them."""
        kept: list[tuple[str, int, int]] = []
        position = 0
        for match in _SPACES.finditer(self.text):
            kept += self._characters(position, match.start())
            kept.append((" ", self.starts[match.start()], self.ends[match.end() - 1]))
            position = match.end()
        kept += self._characters(position, len(self.text))
        return Traced("".join(c for c, _, _ in kept), [s for _, s, _ in kept], [e for _, _, e in kept])

    def piece(self, start: int, end: int) -> Piece:
        """Where in the original a part that is not empty lies."""
        return self.starts[start], self.ends[end - 1]

    def _characters(self, start: int, end: int) -> Iterator[tuple[str, int, int]]:
        return zip(self.text[start:end], self.starts[start:end], self.ends[start:end], strict=True)


def _analysed(vectorizer: Any, text: str) -> list[Occurrence] | None:
    """The analysis of scikit-learn, with places; None if a function of the user cannot be followed."""
    traced = _preprocessed(vectorizer, Traced.of(text))
    if traced is None:
        return None
    low, high = vectorizer.ngram_range
    if vectorizer.analyzer == "word":
        tokens = list(_tokens(vectorizer, traced))
        stop_words = vectorizer.get_stop_words()
        if stop_words is not None:
            tokens = [token for token in tokens if token.term not in stop_words]
        if (low, high) == (1, 1):
            return tokens
        return [
            Occurrence(" ".join(part.term for part in parts), tuple(piece for part in parts for piece in part.pieces))
            for n in range(low, high + 1)
            for parts in (tokens[k : k + n] for k in range(len(tokens) - n + 1))
        ]
    traced = traced.single_spaced()
    if vectorizer.analyzer == "char":
        return [_characters(traced, k, k + n) for n in range(low, high + 1) for k in range(len(traced.text) - n + 1)]
    result = []
    for match in re.finditer(r"\S+", traced.text):
        start, width = match.start() - 1, len(match[0]) + 2
        for n in range(low, high + 1):
            # The padding around a word is no character of the text. A word that is too short for n counts once, as a whole.
            for k in range(max(width - n, 0) + 1):
                first, last = start + k, min(start + k + n, start + width)
                inner = _characters(traced, max(first, match.start()), min(last, match.end()))
                padded = " " * (first < match.start()) + inner.term + " " * (last > match.end())
                result.append(Occurrence(padded, inner.pieces))
            if width <= n:
                break
    return result


def _preprocessed(vectorizer: Any, traced: Traced) -> Traced | None:
    if vectorizer.preprocessor is not None:
        return traced.changed(vectorizer.preprocessor)
    lowered = traced.changed(str.lower) if vectorizer.lowercase else traced
    given = vectorizer.strip_accents
    strip = {"ascii": strip_accents_ascii, "unicode": strip_accents_unicode}.get(given, given)
    return lowered.changed(strip) if strip and lowered is not None else lowered


def _tokens(vectorizer: Any, traced: Traced) -> Iterator[Occurrence]:
    """Tokens of a text in their order."""
    if vectorizer.tokenizer is not None:
        tokens = list(vectorizer.tokenizer(traced.text))
        yield from (Occurrence(token, tuple(pieces)) for token, pieces in zip(tokens, _sought(tokens, traced), strict=True))
        return
    pattern = re.compile(vectorizer.token_pattern)
    for match in pattern.finditer(traced.text):
        # As findall: the one group if there is one, and nothing if it takes no part in the match.
        start, end = match.span(1 if pattern.groups else 0)
        pieces = (traced.piece(start, end),) if start < end else ()
        yield Occurrence(traced.text[start:end] if pieces else "", pieces)


def _characters(traced: Traced, start: int, end: int) -> Occurrence:
    """A part of a text, character by character."""
    return Occurrence(traced.text[start:end], tuple(traced.piece(k, k + 1) for k in range(start, end)))


def _sought(terms: Sequence[Any], traced: Traced) -> Iterator[list[Piece]]:
    """Where terms lie that are looked for one behind the other, in any case of letters; nothing for those that are not there.

    A term that does not come any more is looked for from the beginning: n-grams follow all words.
    """
    lowered = traced.changed(str.lower) or traced
    position = 0
    for term in terms:
        place = None
        if isinstance(term, str) and term:
            ways = ((where, form, begin) for begin in (position, 0) for where, form in ((traced, term), (lowered, term.lower())))
            found = ((where, where.text.find(form, begin), len(form)) for where, form, begin in ways)
            place = next(((where.piece(at, at + width), at + width) for where, at, width in found if at >= 0), None)
        if place is None:
            yield []
            continue
        piece, position = place
        yield [piece]
