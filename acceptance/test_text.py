"""Text pipelines on real data: Reuters R8, from the texts to the words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.svm import SVC, LinearSVC

import graphlrp
from graphlrp.visual import save_html, text_relevance

Corpus = tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def reuters(assets: Path) -> dict[str, Corpus]:
    """Texts and topics for training and for test."""
    result = {}
    for part in ("train", "test"):
        # Three lines of head; then the topic, a tab and the text.
        lines = (assets / "text" / f"reuters-r8-{part}.tab").read_text(encoding="utf-8").split("\n")[3:]
        rows = [line.split("\t", 1) for line in lines if "\t" in line]
        result[part] = [text for _, text in rows], [topic for topic, _ in rows]
    return result


def test_linear_machine(reuters: dict[str, Corpus], tmp_path: Path) -> None:
    """The decision is that of scikit-learn, relevance is w · tf-idf, and all of it is found in the texts."""
    (train, topics), (test, test_topics) = reuters["train"], reuters["test"]
    pipeline: Any = make_pipeline(TfidfVectorizer(sublinear_tf=True), LinearSVC(random_state=0)).fit(train, topics)
    assert pipeline.score(test, test_topics) > 0.97
    explanation = graphlrp.load(pipeline, ledger="strict")(test)
    decided = pipeline.decision_function(test)
    np.testing.assert_array_equal(explanation.target, decided.argmax(1))
    np.testing.assert_allclose(explanation.output, decided, atol=1e-5)
    features = pipeline[0].transform(test)
    expected = csr_matrix(features.multiply(pipeline[1].coef_[explanation.target]))
    assert abs(explanation.relevance - expected).max() < 1e-6
    for sample in range(0, len(test), 20):
        result = text_relevance(explanation, sample)
        assert not result.unplaced
        assert result.characters.sum() == pytest.approx(explanation.relevance[sample].sum(dtype=np.float64), abs=1e-9)
        assert {test[sample][span.start : span.end] for span in result.spans} == {span.term for span in result.spans}
    # Saved and read again, it takes texts.
    ir.save(graphlrp.convert(pipeline).model, tmp_path / "pipeline.onnx")
    again = graphlrp.load(tmp_path / "pipeline.onnx")(test[:100])
    assert abs(again.relevance - explanation.relevance[:100]).max() == 0
    save_html(tmp_path / "page.html", [text_relevance(again, sample) for sample in range(5)])
    assert (tmp_path / "page.html").stat().st_size > 5000


def test_words_and_parts_of_words(reuters: dict[str, Corpus]) -> None:
    """Two vectorizers side by side: what a word has is the sum of what it has as a word and of its parts."""
    (train, topics), (test, test_topics) = reuters["train"], reuters["test"]
    parts = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), max_features=4000)
    both = FeatureUnion([("words", TfidfVectorizer(max_features=4000)), ("parts", parts)])
    pipeline: Any = make_pipeline(both, LinearSVC(random_state=0)).fit(train[:2000], topics[:2000])
    assert pipeline.score(test[:500], test_topics[:500]) > 0.94
    explanation = graphlrp.load(pipeline, ledger="strict")(test[:100])
    np.testing.assert_allclose(explanation.output, pipeline.decision_function(test[:100]), atol=1e-5)
    for sample in range(0, 100, 10):
        result = text_relevance(explanation, sample)
        assert not result.unplaced
        assert result.total == pytest.approx(explanation.relevance[sample].sum(dtype=np.float64), abs=1e-9)


def test_gaussian_machines(reuters: dict[str, Corpus]) -> None:
    """One machine for each topic; what does not occur has relevance, too, and is kept apart from the text."""
    (train, topics), (test, _) = reuters["train"], reuters["test"]
    head = OneVsRestClassifier(SVC(C=10))
    pipeline: Any = make_pipeline(TfidfVectorizer(max_features=400), head).fit(train[:400], topics[:400])
    explanation = graphlrp.load(pipeline, ledger=True)(test[:30])
    np.testing.assert_allclose(explanation.output, pipeline.decision_function(test[:30]), atol=1e-4)
    assert explanation.conservation_error is not None and explanation.conservation_error.max() < 1e-5
    for sample in range(30):
        result = text_relevance(explanation, sample)
        assert result.absent == set(result.unplaced)
        spans = sum(span.relevance for span in result.spans)
        total = explanation.relevance[sample].sum(dtype=np.float64)
        assert spans + sum(result.unplaced.values()) == pytest.approx(total, abs=1e-9)
