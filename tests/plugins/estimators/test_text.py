"""Text pipelines: the graph says what scikit-learn says of the same texts, and terms are found where they are."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from scipy.sparse import csr_matrix, issparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

import graphlrp
from graphlrp import kernels
from graphlrp.errors import InputError, ModelError
from graphlrp.plugins.estimators.occurrences import occurrences

TEXTS = [
    "The cat sat on the mat, and the cat purred.",
    "A dog ate my homework; the dog is no cat!",
    "Cats purr. Dogs bark. Who sat on my mat?",
    "My homework is about dogs and about cats",
    "the mat, the mat, the mat",
    "Bark, dog, bark: no homework today",
] * 2
KINDS = np.array(["cat", "dog", "cat", "dog", "cat", "dog"] * 2)
NEW = ["The cat ate the mat the dog sat on, the cat!", "Nothing known", "", "homework HOMEWORK Homework"]
CHARACTERS = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def shortened(text: str) -> list[str]:
    """A tokenizer that stems."""
    return [word.rstrip("s") for word in words(text)]


def parts_of(text: str) -> list[str]:
    """An analyzer whose terms are not in the text."""
    return [f"<{word}>" for word in words(text)]


VECTORIZERS = [
    CountVectorizer(),
    CountVectorizer(binary=True, ngram_range=(1, 2), stop_words=["the"]),
    CountVectorizer(vocabulary=["cat", "dog", "mat"]),
    CountVectorizer(max_df=0.4, min_df=2, lowercase=False),
    TfidfVectorizer(),
    TfidfVectorizer(sublinear_tf=True, smooth_idf=False),
    TfidfVectorizer(norm="l1", binary=True, stop_words="english"),
    TfidfVectorizer(use_idf=False, norm=None),
    TfidfVectorizer(analyzer="char", ngram_range=(1, 3)),
    CHARACTERS,
    TfidfVectorizer(tokenizer=shortened, token_pattern=None),
    TfidfVectorizer(analyzer=parts_of),
    TfidfVectorizer(dtype=np.float32),
    HashingVectorizer(n_features=32),
    HashingVectorizer(n_features=32, norm=None, binary=True, alternate_sign=False),
    make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)),
    make_pipeline(HashingVectorizer(n_features=64, norm=None), TfidfTransformer(), TruncatedSVD(4, random_state=0)),
    make_pipeline("passthrough", CountVectorizer(), SelectKBest(chi2, k=5), StandardScaler(with_mean=False)),
    FeatureUnion([("words", TfidfVectorizer()), ("parts", CHARACTERS)], transformer_weights={"words": 2.0}),
    FeatureUnion(
        [("w", make_pipeline(CountVectorizer(), MaxAbsScaler())), ("off", "drop"), ("h", HashingVectorizer(n_features=8))]
    ),
]


def named(estimator: Any) -> str:
    return re.sub(r" at 0x\w+", "", str(estimator)).replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("vectorizer", VECTORIZERS, ids=named)
def test_all_vectorizers(vectorizer: Any, tmp_path: Path) -> None:
    fitted = make_pipeline(vectorizer, LinearSVC(random_state=0)).fit(TEXTS, KINDS)
    explainer = graphlrp.load(fitted, dtype="float64", ledger="strict")
    explanation = explainer(NEW)
    np.testing.assert_allclose(explanation.output, fitted.decision_function(NEW), atol=1e-9)
    assert issparse(explanation.relevance)
    total = np.asarray(explanation.relevance.sum(1)).ravel() + fitted[-1].intercept_
    np.testing.assert_allclose(total, explanation.output, atol=1e-6)
    assert explanation.texts == NEW
    assert "agrees with Pipeline" in str(explainer.plan.verification)
    # From a file, texts are read the same; without code of the user, which it has not.
    ir.save(graphlrp.convert(fitted).model, tmp_path / "pipeline.onnx")
    loaded = graphlrp.load(tmp_path / "pipeline.onnx", dtype="float64")
    assert explanation.reader is not None
    if any(callable(getattr(part.vectorizer, name)) for part in explanation.reader.parts for name in ("tokenizer", "analyzer")):
        with pytest.raises(InputError, match=r"(tokenizer|analyzer) of its vectorizer is Python code.*counts of their terms"):
            loaded(NEW)
        again = loaded(explanation.reader.counts(NEW))
    else:
        again = loaded(NEW)
        assert again.texts == NEW
    np.testing.assert_allclose(again.relevance.toarray(), explanation.relevance.toarray(), atol=1e-12)


def test_relevance_of_a_term_is_its_weight_times_its_tf_idf() -> None:
    fitted = make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), LinearSVC(random_state=0)).fit(TEXTS, KINDS)
    explanation = graphlrp.load(fitted, dtype="float64")(NEW)
    expected = fitted[0].transform(NEW).toarray() * fitted[1].coef_
    np.testing.assert_allclose(explanation.relevance.toarray(), expected, atol=1e-12)
    assert explanation.features == fitted[0].get_feature_names_out().tolist()
    assert explanation.classes == ["cat", "dog"]


@pytest.mark.parametrize("options", [{}, {"sublinear_tf": True}, {"norm": "l1"}], ids=str)
@pytest.mark.parametrize("machine", [LinearSVC(), MLPClassifier((5,), max_iter=80, random_state=0)], ids=named)
def test_gradients_with_respect_to_counts(machine: Any, options: dict[str, Any]) -> None:
    """Against differences of what scikit-learn makes of counts a little larger; without a term there is no derivative."""
    pipeline = make_pipeline(TfidfVectorizer(**options), machine).fit(TEXTS, KINDS)
    vectorizer, predictor = pipeline[0], pipeline[1]
    new = [NEW[0], "a dog and a cat", "Nothing known", ""]
    counts = CountVectorizer(vocabulary=vectorizer.vocabulary_).transform(new).toarray().astype(float)
    weighting = TfidfTransformer(**{"sublinear_tf": False, "norm": "l2", **options})
    weighting.idf_ = vectorizer.idf_

    def f(counts: np.ndarray) -> np.ndarray:
        weighted = weighting.transform(csr_matrix(counts)).toarray()
        if isinstance(predictor, LinearSVC):
            return np.asarray(predictor.decision_function(weighted))
        hidden = np.maximum(weighted @ predictor.coefs_[0] + predictor.intercepts_[0], 0)
        return np.asarray((hidden @ predictor.coefs_[1] + predictor.intercepts_[1])[:, 0])

    found = graphlrp.load(pipeline, "gradient", dtype="float64")(new).relevance.toarray()
    assert not found[2:].any()
    step = 1e-6
    for sample in range(2):
        present = np.flatnonzero(counts[sample])
        assert len(present) > 2
        for term in present:
            more, less = counts[sample].copy(), counts[sample].copy()
            more[term] += step
            less[term] -= step
            slope = (f(more[None]) - f(less[None]))[0] / (2 * step)
            assert found[sample, term] == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("vectorizer", [CountVectorizer(), TfidfVectorizer()], ids=named)
@pytest.mark.parametrize(
    "kernel", ["rbf", kernels.ExponentialChi2(0.5), kernels.HistogramIntersection(), kernels.Hellinger()], ids=named
)
def test_kernel_machines(kernel: Any, vectorizer: Any) -> None:
    fitted = Pipeline([("v", vectorizer), ("svc", SVC(kernel=kernel))])
    x = vectorizer.fit_transform(TEXTS)
    if not isinstance(kernel, str):
        # A kernel that is a function takes dense numbers.
        fitted = Pipeline([("v", vectorizer), ("dense", Dense()), ("svc", SVC(kernel=kernel))])
    fitted.fit(TEXTS, KINDS)
    explanation = graphlrp.load(fitted, dtype="float64", ledger="strict")(NEW)
    np.testing.assert_allclose(explanation.output, fitted.decision_function(NEW), atol=1e-8)
    assert explanation.relevance.shape == (4, x.shape[1])
    own = graphlrp.load(graphlrp.convert(fitted, references=TEXTS[:6]), dtype="float64", ledger="strict")(NEW)
    np.testing.assert_allclose(own.output, explanation.output, atol=1e-9)


class Dense(FunctionTransformer):
    """Sparse to dense, by a method of its own."""

    def transform(self, x: Any) -> Any:
        return x.toarray() if issparse(x) else x

    def fit(self, x: Any, y: Any = None) -> Dense:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


@pytest.mark.parametrize(
    "estimator",
    [
        GridSearchCV(make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)), {"linearsvc__C": [0.1, 1]}, cv=2),
        CalibratedClassifierCV(make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)), cv=2),
        make_pipeline(TfidfVectorizer(), CalibratedClassifierCV(LinearSVC(random_state=0), cv=2)),
        OneVsRestClassifier(make_pipeline(TfidfVectorizer(), LogisticRegression())),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_vectorizers_inside_of_other_estimators(estimator: Any) -> None:
    kinds = np.array(["cat", "dog", "bird"] * 4)
    estimator.fit(TEXTS, kinds)
    explainer = graphlrp.load(estimator, dtype="float64", ledger="strict")
    explanation = explainer(NEW)
    if hasattr(estimator, "decision_function"):
        np.testing.assert_allclose(explanation.output, estimator.decision_function(NEW), atol=1e-9)
    assert "agrees with" in str(explainer.plan.verification)
    if isinstance(estimator, CalibratedClassifierCV):
        assert explanation.features is not None and {name[:7] for name in explanation.features} == {"fold0__", "fold1__"}


def test_regression_and_classes() -> None:
    prices = make_pipeline(TfidfVectorizer(), Ridge()).fit(TEXTS, np.arange(12.0))
    np.testing.assert_allclose(graphlrp.load(prices, dtype="float64")(NEW).output, prices.predict(NEW), atol=1e-9)


def test_features_of_several_vectorizers_have_their_names_before_them() -> None:
    both = FeatureUnion([("words", TfidfVectorizer()), ("parts", CountVectorizer(analyzer="char"))])
    fitted = make_pipeline(both, LinearSVC(random_state=0)).fit(TEXTS, KINDS)
    assert graphlrp.load(fitted).features == both.get_feature_names_out().tolist()


def test_what_stands_for_texts() -> None:
    fitted = make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(TEXTS, KINDS)
    explainer = graphlrp.load(fitted, dtype="float64")
    expected = explainer(NEW).relevance.toarray()
    counts = CountVectorizer(vocabulary=fitted[0].vocabulary_).transform(NEW)
    for x in (tuple(NEW), np.array(NEW), np.array(NEW, dtype=object), [text.encode() for text in NEW], counts, counts.toarray()):
        relevance = explainer(x).relevance
        np.testing.assert_allclose(relevance.toarray() if issparse(relevance) else relevance, expected)
    assert explainer(counts).texts is None
    # As for all models, arrays by name are taken as they are.
    explainer({"input": counts.toarray() * 0.5})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("The cat", r"single text.*\[text\]"),
        (["cat", None], "text 1 is no text but a NoneType"),
        (["cat", float("nan")], "text 1 is no text but a float: nan"),
        ([], "no samples"),
        ([b"\xff\xfe\xfd"], "not encoded as the vectorizer expects"),
        ([[0.5] * 22], "no counts but perhaps TF-IDF weights"),
        ([[1.0, 2.0]], r"shape \[1, 2\], the model wants"),
    ],
)
def test_what_is_no_list_of_texts(x: Any, message: str) -> None:
    fitted = make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(TEXTS, KINDS)
    with pytest.raises(InputError, match=message):
        graphlrp.load(fitted)(x)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (make_pipeline(TfidfVectorizer(), LinearSVC()), InputError, "TfidfVectorizer is not fitted"),
        (make_pipeline(CountVectorizer(), LinearSVC()), InputError, "CountVectorizer is not fitted"),
        (
            make_pipeline(FunctionTransformer(), TfidfVectorizer(), LinearSVC()).fit(TEXTS, KINDS),
            ModelError,
            "step 'tfidfvectorizer': TfidfVectorizer takes texts, so it has to be the first step",
        ),
        (
            make_pipeline(ColumnTransformer([("text", TfidfVectorizer(), 0)]), LinearSVC()).fit(np.array(TEXTS)[:, None], KINDS),
            ModelError,
            "step 'columntransformer' > text: TfidfVectorizer takes texts",
        ),
    ],
    ids=["tf-idf", "counts", "second step", "columns"],
)
def test_pipelines_that_cannot_be_explained(estimator: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        graphlrp.load(estimator)


def test_damaged_metadata() -> None:
    model = graphlrp.convert(make_pipeline(TfidfVectorizer(), LinearSVC()).fit(TEXTS, KINDS)).model
    for text in ("{", '{"vectorizers": [{}]}', "[]"):
        model.metadata_props["graphlrp.text"] = text
        with pytest.raises(ModelError, match="how texts are read"):
            graphlrp.load(model)


# Places

STRANGE = [
    "İstanbul'da İyi çay: Straße, STRASSE, ﬁne ﬂour Ⅷ",
    "Crème brûlée — cre\u0300me bru\u0302le\u0301e ΟΔΟΣ οδός",
    "  two  spaces,\n\n\ttabs and a\u00a0no-break  space  ",
    "",
    " ",
    "x",
    "日本語 テキスト 한국어 가각 e\u0301",
    "a-b a_b 12 3.4 🙂🙂 family: 👨\u200d👩\u200d👧",
]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"lowercase": False},
    {"strip_accents": "unicode"},
    {"strip_accents": "ascii"},
    {"ngram_range": (1, 3), "stop_words": ["and", "a"]},
    {"ngram_range": (2, 2), "token_pattern": r"(?u)\b(\w)\w*\b"},
    {"token_pattern": r"\S+"},
    {"token_pattern": r"\d*"},
    {"analyzer": "char", "ngram_range": (1, 4)},
    {"analyzer": "char", "ngram_range": (2, 3), "strip_accents": "unicode"},
    {"analyzer": "char_wb", "ngram_range": (1, 5)},
    {"analyzer": "char_wb", "ngram_range": (3, 3), "strip_accents": "ascii"},
    {"tokenizer": str.split, "token_pattern": None},
    {"preprocessor": str.upper},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=named)
def test_places_are_those_of_a_search_from_the_definition(settings: dict[str, Any]) -> None:
    """A piece of the text, analysed by itself, is again the part of the term that is said to be there."""
    vectorizer = CountVectorizer(**settings)
    part = vectorizer.build_preprocessor()
    for text in STRANGE + TEXTS:
        found = occurrences(vectorizer, text)
        assert Counter(o.term for o in found) == Counter(vectorizer.build_analyzer()(text))
        for occurrence in found:
            pieces = [part(text[start:end]) for start, end in occurrence.pieces]
            if settings.get("preprocessor") or r"(\w)" in (settings.get("token_pattern") or ""):
                # Of a ligature there are two large letters, each made of all of it.
                continue
            if settings.get("analyzer") is None:
                # ς at the end of a word is σ in the middle of one; a ligature holds more than one letter.
                assert " ".join(pieces).replace("ς", "σ") == occurrence.term.replace("ς", "σ")
            else:
                spaced = [re.sub(r"\s\s+", " ", piece) for piece in pieces]
                kept = occurrence.term if settings["analyzer"] == "char" else occurrence.term.strip(" ")
                assert len(spaced) == len(kept)
                assert all(
                    letter.replace("ς", "σ") in piece.replace("ς", "σ") for letter, piece in zip(kept, spaced, strict=True)
                )


@pytest.mark.parametrize(
    ("settings", "text", "expected"),
    [
        ({}, "İyi ΟΔΟΣ", {"yi": ["yi"], "οδος": ["ΟΔΟΣ"]}),
        ({"token_pattern": r"\S+"}, "bir İyi gün", {"bir": ["bir"], "i\u0307yi": ["İyi"], "gün": ["gün"]}),
        ({"strip_accents": "unicode"}, "bir İyi gün", {"bir": ["bir"], "iyi": ["İyi"], "gun": ["gün"]}),
        ({"strip_accents": "unicode"}, "cafe\u0301 Café ﬁne", {"cafe": ["cafe\u0301", "Café"], "fine": ["ﬁne"]}),
        ({"strip_accents": "ascii"}, "Straße über", {"strae": ["Straße"], "uber": ["über"]}),
        ({}, "Straße İ straße", {"straße": ["Straße", "straße"]}),
        ({"token_pattern": r"#(\w+)"}, "a #Tag #tag", {"tag": ["Tag", "tag"]}),
        (
            {"ngram_range": (2, 2), "stop_words": ["of"]},
            "State of the art",
            {"state the": ["State of the"], "the art": ["the art"]},
        ),
        ({"analyzer": "char", "ngram_range": (2, 2)}, "a \n b", {"a ": ["a \n "], " b": [" \n b"]}),
        ({"analyzer": "char_wb", "ngram_range": (3, 3)}, "Abc", {" ab": ["Ab"], "abc": ["Abc"], "bc ": ["bc"]}),
        ({"analyzer": "char_wb", "ngram_range": (5, 6)}, "ab", {" ab ": ["ab"]}),
        ({"tokenizer": shortened, "token_pattern": None}, "Dogs, dog", {"dog": ["Dog", "dog"]}),
        ({"analyzer": parts_of}, "Dogs", {"<dogs>": [None]}),
        ({"preprocessor": lambda text: "new " + text}, "Old", {"new": [None], "Old": ["Old"]}),
    ],
    ids=named,
)
def test_places(settings: dict[str, Any], text: str, expected: dict[str, list[str | None]]) -> None:
    found: dict[str, list[str | None]] = {}
    for occurrence in occurrences(CountVectorizer(**settings), text):
        pieces = occurrence.pieces
        found.setdefault(occurrence.term, []).append(text[pieces[0][0] : pieces[-1][1]] if pieces else None)
    assert found == expected


class Doubled(CountVectorizer):
    """A vectorizer with an analysis of its own."""

    def build_analyzer(self) -> Any:
        own = super().build_analyzer()
        return lambda text: [term for term in own(text) for _ in range(2)]


def test_derived_vectorizers_are_followed_by_search() -> None:
    fitted = make_pipeline(Doubled(), LinearSVC(random_state=0)).fit(TEXTS, KINDS)
    explanation = graphlrp.load(fitted, dtype="float64")(NEW)
    np.testing.assert_allclose(explanation.output, fitted.decision_function(NEW), atol=1e-9)
    assert explanation.reader is not None
    assert "missing" in explanation.reader.json()
    assert all(place.occurrence.pieces for place in explanation.reader.places(NEW[0]))
