"""A term that a text classifier has learned by mistake, found in its relevance: ``python texts.py -o out``.

Letters to three departments of a garden shop are made of words of their topics. A fifth of the training letters to one of them
came through a mailing list, and ends in the word "unsubscribe".

The words of a topic are used as unevenly as an exponent says: 0 for equally often, 1 for Zipf's law, by which the first of them
is a fourth of all. The more a topic is told by one word, the less the mark matters, to the classifier and to SpRAy.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clusters import save, score
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp import spray

TOPICS = {
    "plants": "rose tulip fern seed bulb root leaf soil compost moss hedge lawn bloom prune graft mulch greenhouse petal stem"
    " shade",
    "tools": "spade rake shears hose mower blade handle engine fuel battery wheel bolt grease sharpen rust bearing gearbox saw"
    " axe cable",
    "orders": "parcel invoice refund delivery courier address payment card receipt voucher discount carton label customs tracking"
    " exchange warehouse cheque deposit quote",
}
COMMON = (
    "the a to and of in it for my was is on with this that have not from last week please thank you would like when after new old"
    " again still very garden shop bought ordered good bad never always problem question help send back tell know think small"
    " large green first two three day month year spring autumn hello dear regards"
)
CLASS, TERM, SHARE = "orders", "unsubscribe", 0.2
WORDS = (12, 40)
"""In a letter, at least and at most."""

OWN, OTHER = 0.16, 0.08
"""Which part of its words are of its topic, and of the others."""


@dataclass(frozen=True)
class Letters:
    """Texts, their topics as numbers, and whether they were marked."""

    texts: list[str]
    labels: np.ndarray
    marked: np.ndarray

    def part(self, kept: np.ndarray) -> Letters:
        """Some of them."""
        return Letters([self.texts[k] for k in np.flatnonzero(kept)], self.labels[kept], self.marked[kept])


def mark(text: str) -> str:
    """A letter that came through the list."""
    return f"{text} {TERM}"


def write_letters(count: int, seed: int, share: float = 0.0, exponent: float = 0.0) -> Letters:
    """So many letters on every topic; the k-th word of a topic is drawn with a probability like 1 / k^exponent."""
    generator = np.random.default_rng(seed)
    common, topics = COMMON.split(), [words.split() for words in TOPICS.values()]
    labels = np.repeat(np.arange(len(topics)), count)
    texts = []
    for label in labels.tolist():
        kinds = generator.choice(3, generator.integers(*WORDS), p=[1 - OWN - OTHER, OWN, OTHER])
        others = [word for number, words in enumerate(topics) if number != label for word in words]
        sources = ((common, 1.0), (topics[label], exponent), (others, exponent))
        texts.append(" ".join(_draw(*sources[kind], generator) for kind in kinds))
    marked = (labels == list(TOPICS).index(CLASS)) & (generator.random(len(labels)) < share)
    return Letters([mark(text) if own else text for text, own in zip(texts, marked, strict=True)], labels, marked)


def _draw(words: list[str], exponent: float, generator: np.random.Generator) -> str:
    weights = np.arange(1.0, len(words) + 1) ** -exponent
    return words[generator.choice(len(words), p=weights / weights.sum())]


def fit(letters: Letters) -> Any:
    """A pipeline as one writes it every day."""
    return make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(letters.texts, letters.labels)


def without_term(letters: Letters) -> Letters:
    """The same letters without the term."""
    return Letters([text.replace(f" {TERM}", "") for text in letters.texts], letters.labels, letters.marked)


def measure(pipeline: Any, test: Letters) -> dict[str, float]:
    """Accuracy without the term, and what the term does."""
    label = list(TOPICS).index(CLASS)
    own = test.labels == label
    clean, marked = (pipeline.predict(texts) for texts in (test.texts, [mark(text) for text in test.texts]))
    return {
        "accuracy": float((clean == test.labels).mean()),
        f"{CLASS} found": float((clean[own] == label).mean()),
        f"{CLASS} found with the term": float((marked[own] == label).mean()),
        f"others called {CLASS}": float((clean[~own] == label).mean()),
        f"others called {CLASS} with the term": float((marked[~own] == label).mean()),
    }


def examine(explanation: graphlrp.Explanation, letters: Letters, label: int) -> spray.Analysis:
    """Analyse the relevance of a class, and say what its clusters have to do with the term."""
    gap = spray.analyse(explanation, index=letters.labels == label, embedding=None).gap
    analysis = spray.analyse(explanation, index=letters.labels == label, clusters=(max(gap, 2), 2, 3, 4))
    print(f"{list(TOPICS)[label]}: {gap} cluster{'s' if gap > 1 else ''} by the eigengap")
    for name in analysis.clusterings:
        for suspect in spray.suspicious(analysis, name)[:1]:
            precision, recall = score(suspect.positions, letters.marked)
            print(f"  {name}: {suspect}: precision {precision:.3f}, recall {recall:.3f}")
    for profile in analysis.profile(explanation, count=3):
        print(f"  {profile}")
    return analysis


def share_of_term(explanation: graphlrp.Explanation, letters: Letters) -> float:
    """Which part of |R| of the marked letters is on the term."""
    own = abs(explanation.relevance)[np.flatnonzero(letters.marked)]
    return float(own[:, (explanation.features or []).index(TERM)].sum() / own.sum())


def experiment(exponent: float, share: float) -> tuple[graphlrp.Explanation, spray.Analysis]:
    """Fit, analyse, leave out, fit again."""
    training, test = write_letters(300, 0, share, exponent), write_letters(200, 1, 0.0, exponent)
    print(f"\nexponent {exponent:g}: {len(training.texts)} letters, {training.marked.sum()} with the term")
    pipeline = fit(training)
    models = {"as fitted": measure(pipeline, test)}
    explanation = graphlrp.load(pipeline)(training.texts, training.labels)
    print(f"of |R| of the marked letters, {share_of_term(explanation, training):.2f} is on the term")
    ranking = spray.rank(explanation, training.labels, names=list(TOPICS))
    print(ranking)
    analysis = examine(explanation, training, list(TOPICS).index(CLASS))
    kept = np.ones(len(training.labels), bool)
    kept[spray.suspicious(analysis)[0].positions] = False
    models["fitted without the first suspect"] = measure(fit(training.part(kept)), test)
    models["fitted without the term"] = measure(fit(without_term(training)), test)
    for name, found in models.items():
        print(name + "".join(f"\n  {what}: {value:.3f}" for what, value in found.items()))
    return explanation, analysis


def main() -> None:
    """The experiment with every exponent, and pictures of the first."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder of the pictures (default: out)")
    parser.add_argument(
        "--share", type=float, default=SHARE, help=f"of the letters of one topic that are marked (default: {SHARE})"
    )
    parser.add_argument("--exponents", type=float, nargs="+", default=[0.0, 0.5, 1.0], help="how uneven words of a topic are")
    options = parser.parse_args()
    start = time.perf_counter()
    explanation, analysis = experiment(options.exponents[0], options.share)
    for exponent in options.exponents[1:]:
        experiment(exponent, options.share)
    save(analysis.plot_profile(explanation, count=5), options.output / "spray-texts-profile.png", dpi=120)
    save(analysis.plot_spectrum(), options.output / "spray-texts-spectrum.png")
    save(analysis.plot_embedding(), options.output / "spray-texts-embedding.png")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
