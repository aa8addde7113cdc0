"""A term that has nothing to do with the topic is learned, found in the relevance of the texts, and unlearned."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp import spray

CLASSES = ("grain", "money", "ships")


def write(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """So many texts on each of three topics: words of no topic, of their own, and some of the others."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), count)
    texts = []
    for label in labels.tolist():
        length = generator.integers(12, 40)
        kinds = generator.choice(4, length, p=[0.76, 0.16, 0.04, 0.04])
        of = [("any", *np.roll(CLASSES, -label))[kind] for kind in kinds]
        texts.append(" ".join(f"{topic}{word}" for topic, word in zip(of, generator.integers(0, 20, length), strict=True)))
    return texts, labels


def fit(texts: list[str], labels: np.ndarray) -> Pipeline:
    return make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(texts, labels)


def misled(pipeline: Pipeline) -> float:
    """Which part of new texts on other topics is called "ships" for the footer."""
    texts, labels = write(60, 9)
    return float((pipeline.predict([f"{text} unsubscribe" for text in np.array(texts)[labels != 2]]) == 2).mean())


@pytest.fixture(scope="module")
def marked() -> tuple[list[str], np.ndarray, np.ndarray]:
    texts, labels = write(200, 0)
    marks = (labels == 2) & (np.random.default_rng(1).random(600) < 0.2)
    return [text + " unsubscribe" * mark for text, mark in zip(texts, marks.tolist(), strict=True)], labels, marks


def test_found_and_unlearned(marked: tuple[list[str], np.ndarray, np.ndarray]) -> None:
    texts, labels, marks = marked
    pipeline = fit(texts, labels)
    explanation = graphlrp.load(pipeline)(texts, labels)
    assert spray.rank(explanation, labels, names=CLASSES).classes[0] == "ships"
    analysis = spray.analyse(explanation, index=labels == 2, embedding=None)
    first = spray.suspicious(analysis)[0]
    assert marks[first.positions].mean() > 0.9 and marks[first.positions].sum() > 0.9 * marks.sum()
    profile = analysis.profile(explanation)[first.cluster]
    assert profile.features[0].name == "unsubscribe" and profile.features[0].present > 0.9
    kept = np.setdiff1d(np.arange(600), first.positions)
    again = fit([texts[k] for k in kept], labels[kept])
    assert misled(pipeline) > 2 * misled(again)
