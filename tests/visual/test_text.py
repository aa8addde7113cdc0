"""Relevance of terms where they occur: nothing is lost, the text stays as it is, and what is drawn can be read."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.svm import SVC, LinearSVC

import graphlrp
from graphlrp.errors import InputError
from graphlrp.visual import TextRelevance, html_page, save_html, text_relevance

TEXTS = ["the cat sat on the mat", "a dog ate my homework", "cats purr on the mat", "my dog ate the homework again"] * 3
KINDS = ["cat", "dog"] * 6
STRANGE = 'İ <b>The cat</b> & "the" MAT\r\nsaß\tcafé — dog\x1b[31m\x00 end'
NEW = ["The cat ate the homework, the homework!", STRANGE, "", "Unknown words only"]


def fitted(vectorizer: Any, head: Any = None) -> Any:
    return make_pipeline(vectorizer, head or LinearSVC(random_state=0)).fit(TEXTS, KINDS)


def explained(vectorizer: Any, head: Any = None, **options: Any) -> graphlrp.Explanation:
    return graphlrp.load(fitted(vectorizer, head), dtype="float64", ledger=True, **options)(NEW)


PIPELINES = [
    TfidfVectorizer(),
    TfidfVectorizer(ngram_range=(1, 3), stop_words=["the"], sublinear_tf=True),
    TfidfVectorizer(analyzer="char", ngram_range=(1, 3), strip_accents="unicode", use_idf=False),
    TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 6)),
    CountVectorizer(binary=True),
    HashingVectorizer(n_features=4),
    HashingVectorizer(n_features=4, binary=True),
    TfidfVectorizer(tokenizer=lambda text: [word[::-1] for word in text.split()], token_pattern=None),
    FeatureUnion([("words", TfidfVectorizer()), ("parts", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)))]),
]


@pytest.mark.parametrize("head", [LinearSVC(random_state=0), SVC()], ids=["linear", "rbf"])
@pytest.mark.parametrize("vectorizer", PIPELINES, ids=range(len(PIPELINES)))
def test_nothing_is_lost(vectorizer: Any, head: Any) -> None:
    explanation = explained(vectorizer, head)
    for sample, text in enumerate(NEW):
        result = text_relevance(explanation, sample)
        total = explanation.relevance[sample].sum()
        assert result.text == text and result.characters.shape == (len(text),)
        spans = sum(span.relevance for span in result.spans)
        np.testing.assert_allclose(spans + sum(result.unplaced.values()), total, atol=1e-12)
        np.testing.assert_allclose(result.characters.sum(), spans, atol=1e-12)
        np.testing.assert_allclose(result.total, total, atol=1e-12)
        units = result.units()
        assert "".join(text[start:end] for start, end, _ in units) == text
        np.testing.assert_allclose(sum(value for _, _, value in units), spans, atol=1e-12)
        if isinstance(head, LinearSVC):
            assert not result.absent


def test_against_a_slow_search() -> None:
    explanation = explained(TfidfVectorizer(ngram_range=(1, 2)))
    row = explanation.relevance[0].toarray()[0]
    expected = np.zeros(len(NEW[0]))
    count = 0
    for feature, term in enumerate(explanation.features or []):
        pattern = r"\b" + r"\W+".join(map(re.escape, term.split())) + r"\b"
        # Looked for behind every character, for n-grams overlap.
        found = [m for k in range(len(NEW[0])) if (m := re.compile(pattern).match(NEW[0].lower(), k))]
        count += len(found)
        for match in found:
            for word in re.finditer(r"\w+", match[0]):
                start = match.start() + word.start()
                expected[start : start + len(word[0])] += row[feature] / len(found) / len(term.split()) / len(word[0])
    result = text_relevance(explanation, 0)
    np.testing.assert_allclose(result.characters, expected, atol=1e-12)
    assert len(result.spans) == count
    assert [(s.start, s.end, s.term) for s in result.spans][:3] == [(0, 3, "the"), (0, 7, "the cat"), (4, 7, "cat")]
    assert " ".join(NEW[0][start:end] for start, end in result.words or ()) == "The cat ate the homework the homework"


def test_terms_share_a_hash_by_what_they_add_to_it() -> None:
    head = LogisticRegression()
    explanation = explained(HashingVectorizer(n_features=4, norm=None), head)
    weights = fitted(HashingVectorizer(n_features=4, norm=None), head)[-1].coef_[0]
    assert explanation.features is None
    for span in text_relevance(explanation, 0).spans:
        one = HashingVectorizer(n_features=4, norm=None).transform([span.term]).toarray()[0]
        # Terms that cancel each other have no relevance; all others that of their own weight.
        assert span.relevance == pytest.approx(one @ weights)


def test_what_does_not_occur_may_have_relevance() -> None:
    result = text_relevance(explained(TfidfVectorizer(), SVC()), 0)
    assert {"dog", "my"} <= result.absent == set(result.unplaced)
    assert "terms that do not occur: " in result.note


def test_terms_without_a_place_are_named() -> None:
    tokens = TfidfVectorizer(tokenizer=lambda text: [word[::-1] for word in text.split()], token_pattern=None)
    result = text_relevance(explained(tokens), 0)
    assert not result.spans
    assert "tac" in result.unplaced and not result.absent
    assert "terms whose place is not known" in result.note


@pytest.mark.parametrize(("sample", "message"), [(2, "the text is empty"), (3, "no term of the text is known to the model")])
def test_texts_without_terms(sample: int, message: str) -> None:
    pipeline = fitted(TfidfVectorizer())
    explanation = graphlrp.load(pipeline, dtype="float64", ledger="strict")(NEW)
    result = text_relevance(explanation, sample)
    assert explanation.output[sample] == pytest.approx(pipeline[-1].intercept_[0])
    assert result.total == 0 and not result.unplaced and message in result.note
    assert message in result.to_html() and "relevance of a word" not in result.to_html()


class Reader(HTMLParser):
    """What a browser shows of a fragment: the text of its one div, and tags that do not match."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""
        self.colours: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "!doctype"):
            self.open.append(tag)
        assert {name for name, _ in attributes} <= {"style", "title", "dir", "charset", "name", "content"}
        if "div" in self.open and tag == "span":
            style = dict(pair.split(":") for pair in str(dict(attributes)["style"]).split(";"))
            self.colours.append((style["background"], style["color"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "div" in self.open:
            self.text += data


def contrast(a: str, b: str) -> float:
    """Of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vectorizer", [TfidfVectorizer(), CountVectorizer(analyzer="char", ngram_range=(1, 2))])
def test_html_shows_the_text_as_it_is(vectorizer: Any, tmp_path: Path) -> None:
    explanation = explained(vectorizer)
    results = [text_relevance(explanation, sample, title=f"<{sample}>") for sample in range(4)]
    for result in results:
        reader = Reader()
        reader.feed(result.to_html())
        reader.close()
        assert not reader.open
        assert reader.text == result.text.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
        assert all(contrast(back, ink) >= 4.5 for back, ink in reader.colours)
    path = save_html(tmp_path / "new" / "page.html", results, title="A & B", joint=True)
    page = path.read_bytes().decode("utf-8")
    assert page == html_page(results, title="A & B", joint=True)
    reader = Reader()
    reader.feed(page)
    assert not reader.open and "<title>A &amp; B</title>" in page and "&lt;1&gt;" in page
    assert "script" not in page and "http" not in page
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]


def test_caption_and_legend() -> None:
    result = text_relevance(explained(TfidfVectorizer()), 0)
    first, numbers, absorbed = result.caption.split("\n")
    assert re.fullmatch(r"(cat|dog), as f\(x\) [<>] 0", first)
    assert re.fullmatch(r"f\(x\) = \S+ {3}ΣR = \S+", numbers)
    assert absorbed.startswith("absorbed by biases")
    assert result.sides == ("for cat", "for dog")
    assert text_relevance(explained(TfidfVectorizer()), 0, labels=["no", "yes"]).sides == ("for no", "for yes")
    html = result.to_html()
    assert "for cat" in html and "for dog" in html and "(relevance of a word)" in html
    assert text_relevance(explained(TfidfVectorizer(), initial="one"), 0).sides == ("", "")


# rich renders a style once for all kinds of colours that a process prints.
@pytest.mark.parametrize(("system", "codes"), [("truecolor", "48;2;"), ("256", "48;[25];"), ("standard", "30;4[36]"), (None, "")])
def test_terminal(system: Any, codes: str) -> None:
    result = text_relevance(explained(TfidfVectorizer()), 1, title="[bold]a.txt")
    stream = io.StringIO()
    Console(file=stream, force_terminal=system is not None, color_system=system, width=80).print(result)
    printed = stream.getvalue()
    assert re.search(codes, printed) and "[bold]a.txt" in printed
    # What a text holds is not for the terminal to obey.
    assert "\x1b[31m" not in printed and "\x00" not in printed
    plain = result.to_rich().plain
    assert len(plain) == len(result.text) and "<b>The cat</b>" in plain


def test_colours_follow_relevance() -> None:
    characters = np.zeros(11)
    characters[0:2], characters[3:5], characters[6:8] = 0.5, -0.5, 0.005
    result = TextRelevance("aa bb cc dd", (), characters, {}, words=((0, 2), (3, 5), (6, 8), (9, 11)))
    spans = re.findall(r'background:(#\w+);color:(#\w+)" title="R = (\S+)">(\w+)', result.to_html())
    # The ends of the map; what has hardly any relevance looks like the page.
    assert spans == [("#733d06", "#ffffff", "1", "aa"), ("#084e8c", "#ffffff", "−1", "bb")]
    single = replace(result, words=None)
    assert re.findall(r'title="R = (\S+)">(\w+)', single.to_html()) == [("1", "aa"), ("−1", "bb")]
    assert result.to_html(scale=10.0).count("title=") == 2


def test_only_texts_can_be_shown_as_texts() -> None:
    pipeline = fitted(TfidfVectorizer())
    explainer = graphlrp.load(pipeline)
    counts = CountVectorizer(vocabulary=pipeline[0].vocabulary_).transform(NEW)
    with pytest.raises(InputError, match="not one of texts"):
        text_relevance(explainer(counts), 0)
    with pytest.raises(InputError, match="no sample 4: there are 4 texts"):
        text_relevance(explainer(NEW), 4)
    assert text_relevance(explainer(NEW), -4).text == NEW[0]
    projected = make_pipeline(TfidfVectorizer(), TruncatedSVD(2), LinearSVC(random_state=0)).fit(TEXTS, KINDS)
    inner = graphlrp.load(projected, explain="v_truncatedsvd.MatMul_2")
    with pytest.raises(InputError, match="leave out explain"):
        text_relevance(inner(NEW), 0)
