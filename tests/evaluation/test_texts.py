"""Deletion of terms: against texts from which words are taken away one by one, and scikit-learn's decision on what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import coo_array, csr_matrix, issparse
from scipy.special import expit
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.svm import SVC, LinearSVC

import graphlrp
from graphlrp import evaluation
from graphlrp.errors import InputError
from graphlrp.evaluation.randomisation import _permuted, layers_with_parameters
from tests.builders import residual_network

Array = np.ndarray

WORDS = {
    "grain": ["wheat", "maize", "harvest", "farmers", "tonnes", "crop", "barley", "exports", "soil", "seed"],
    "money": ["bank", "rates", "interest", "loans", "currency", "deposits", "bonds", "lending", "credit", "dollar"],
    "ship": ["port", "tanker", "cargo", "vessel", "strike", "crew", "freight", "canal", "dock", "harbour"],
}
COMMON = ["the", "said", "year", "market", "price", "week", "government", "country", "report", "april"]


def documents(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of 3 to 30 words, most of them of one of three topics or of none, some of another."""
    generator = np.random.default_rng(seed)
    texts, topics = [], []
    for number in range(count):
        topic = list(WORDS)[number % 3]
        pool = [*WORDS[topic] * 4, *COMMON * 3, *(word for words in WORDS.values() for word in words)]
        texts.append(" ".join(generator.choice(pool, generator.integers(3, 31))))
        topics.append(topic)
    return texts, topics


TRAINING = documents(90, 0)
TEXTS = [*documents(7, 1)[0], "nothing known here at all", "wheat"]
"""Of different lengths; of the last but one, the model knows no term."""


def without(text: str, deleted: set[str]) -> str:
    return " ".join(word for word in text.split() if word not in deleted)


def present(text: str, vocabulary: dict[str, int]) -> list[str]:
    return sorted({word for word in text.split() if word in vocabulary})


def loop_scores(pipeline: Any, text: str, relevance: dict[str, float], steps: int, target: int, *, most: bool) -> list[float]:
    """f of the text, of the text without its most (least) relevant term, without the two ...; as it is when all are gone."""
    order = sorted(present(text, pipeline[0].vocabulary_), key=lambda word: relevance[word], reverse=most)
    scores = []
    for k in range(steps + 1):
        f = pipeline.decision_function([without(text, set(order[:k]))])[0]
        scores.append(float(f[target]) if np.ndim(f) else float(f))
    return scores


def fitted(vectorizer: Any, machine: Any) -> Any:
    return make_pipeline(vectorizer, machine).fit(*TRAINING)


PIPELINES = {
    "tf-idf and a linear machine": lambda: fitted(TfidfVectorizer(), LinearSVC()),
    "sublinear tf-idf": lambda: fitted(TfidfVectorizer(sublinear_tf=True, min_df=2), LinearSVC()),
    "counts and a linear machine": lambda: fitted(CountVectorizer(), LinearSVC(max_iter=20_000)),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_curves_follow_the_definition(name: str) -> None:
    pipeline = PIPELINES[name]()
    vocabulary = pipeline[0].vocabulary_
    explainer = graphlrp.load(pipeline)
    given = np.random.default_rng(3).normal(size=(len(TEXTS), len(vocabulary)))
    result = evaluation.perturb(explainer, TEXTS, {"lrp": explainer, "given": given}, order=("morf", "lerf"))
    counts = [len(present(text, vocabulary)) for text in TEXTS]
    assert result.settings["steps"] == max(counts) < 100
    assert result.settings["regions"] == f"0 to {max(counts)}" and result.settings["region"] == "terms"
    assert (result.target == pipeline.decision_function(TEXTS).argmax(1)).all()
    relevance = {"lrp": explainer(TEXTS).relevance.toarray(), "given": given}
    for method, maps in relevance.items():
        for order in ("morf", "lerf"):
            scores = result.curve(method, order).scores
            assert scores.shape == (len(TEXTS), 1, max(counts) + 1)
            for n, text in enumerate(TEXTS):
                of_words = {word: float(maps[n, column]) for word, column in vocabulary.items()}
                expected = loop_scores(pipeline, text, of_words, max(counts), result.target[n], most=order == "morf")
                if len({of_words[word] for word in present(text, vocabulary)}) == counts[n]:
                    np.testing.assert_allclose(scores[n, 0], expected, rtol=1e-4, atol=1e-5)
                # What is used up stays as it is, to the last bit.
                assert (scores[n, 0, counts[n] :] == scores[n, 0, counts[n]]).all()
    # Without any term there is nothing to delete.
    assert counts[-2] == 0
    for curve in result.curves:
        assert (curve.scores[-2] == curve.scores[-2, 0, 0]).all()


def test_absent_terms_of_a_kernel_machine_are_not_deleted() -> None:
    pipeline = fitted(TfidfVectorizer(), SVC(gamma=0.7, decision_function_shape="ovo"))
    vocabulary = pipeline[0].vocabulary_
    explainer = graphlrp.load(pipeline)
    relevance = explainer(TEXTS).relevance
    counts = explainer.reader(TEXTS)
    assert (abs(relevance.toarray()[counts.toarray() == 0]) > 0).any()
    result = evaluation.perturb(explainer, TEXTS, {"lrp": explainer}, order="morf")
    for n, text in enumerate(TEXTS):
        of_words = {word: float(relevance[n, column]) for word, column in vocabulary.items()}
        expected = loop_scores(pipeline, text, of_words, result.settings["steps"], result.target[n], most=True)
        np.testing.assert_allclose(result.curves[0].scores[n, 0], expected, rtol=1e-3, atol=1e-4)


def test_relevant_terms_beat_random_ones_and_the_best_order_is_that_of_contributions() -> None:
    pipeline = PIPELINES["counts and a linear machine"]()
    texts, topics = documents(30, 5)
    target = [sorted(WORDS).index(topic) for topic in topics]
    result = evaluation.perturb(pipeline, texts, "basic", target, order=("morf", "lerf", "random"), repeats=5)
    morf, lerf, random = (result.curve("basic", order) for order in ("morf", "lerf", "random"))
    # Of a linear function of counts R_t = w_t c_t, so no order is above that by falling R, and none below the reverse.
    assert (morf.aopc_per_sample >= random.aopc_per_sample - 1e-4).all()
    assert (lerf.aopc_per_sample <= random.aopc_per_sample + 1e-4).all()
    assert morf.aopc > random.aopc + 0.1
    assert random.scores.shape[1] == 5
    weighted = evaluation.perturb(PIPELINES["sublinear tf-idf"](), texts, "basic", target, repeats=5)
    assert weighted.curve("basic").aopc > weighted.curve("", "random").aopc


def plain(x: Any) -> Array:
    """A function of rows, sparse or not, one after the other."""
    rows = x.toarray() if issparse(x) else x
    weights = np.cos(np.arange(rows.shape[1] * 3)).reshape(-1, 3)
    return np.stack([np.tanh(row.astype(np.float64) @ weights) @ np.array([[1.0, -2.0], [0.5, 1.0], [2.0, 1.0]]) for row in rows])


def test_sparse_is_dense_where_all_features_are_present() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(6, 11))
    maps = generator.integers(-2, 3, size=x.shape).astype(float)  # ties are drawn by the same lot
    orders = ("morf", "lerf", "random")
    for options in ({}, {"regions_per_step": 2}, {"steps": 4, "seed": 3}):
        dense = evaluation.perturb(plain, x, {"m": maps}, order=orders, region=1, filling=0.0, repeats=3, **options)
        sparse = evaluation.perturb(plain, csr_matrix(x), {"m": maps}, order=orders, repeats=3, **options)
        for one, other in zip(dense.curves, sparse.curves, strict=True):
            # Eleven features are five steps of two; only of sparse samples the last one is deleted, too.
            assert (one.scores == other.scores[:, :, : one.scores.shape[2]]).all()
        assert sparse.settings["share"] == (1.0 if "steps" not in options else pytest.approx(4 / 11, abs=1e-6))


def test_sparse_is_dense_where_only_what_is_present_is_relevant() -> None:
    generator = np.random.default_rng(0)
    x = generator.poisson(0.6, (8, 12)).astype(np.float32)
    x[2] = 0
    maps = np.where(x > 0, generator.random(x.shape) + 0.1, 0.0)
    dense = evaluation.perturb(plain, x, {"m": maps}, order="morf", region=1, filling=0.0)
    sparse = evaluation.perturb(plain, csr_matrix(x), {"m": csr_matrix(maps)}, order="morf", steps=12)
    assert (dense.curves[0].scores == sparse.curves[0].scores).all()


def test_texts_are_their_counts() -> None:
    pipeline = PIPELINES["tf-idf and a linear machine"]()
    explainer = graphlrp.load(pipeline)
    counts = explainer.reader(TEXTS)
    options: dict[str, Any] = {"order": ("morf", "random"), "repeats": 2}
    of_texts = evaluation.perturb(explainer, TEXTS, ["basic", "epsilon"], **options)
    # As a tuple, as an array, as bytes; as a matrix of another format and of whole numbers.
    others = (tuple(TEXTS), np.array(TEXTS, object), [text.encode() for text in TEXTS], coo_array(counts.astype(int)))
    for other in others:
        of_other = evaluation.perturb(explainer, other, ["basic", "epsilon"], **options)
        assert of_other.settings == of_texts.settings
        for one, two in zip(of_texts.curves, of_other.curves, strict=True):
            assert (one.scores == two.scores).all()
    loaded = evaluation.perturb(pipeline, TEXTS, "basic", **options)
    np.testing.assert_allclose(loaded.curve("basic").scores, of_texts.curve("basic").scores, rtol=1e-4, atol=1e-5)


def test_methods_of_every_kind() -> None:
    explainer = graphlrp.load(PIPELINES["tf-idf and a linear machine"]())
    relevance = explainer(TEXTS).relevance
    counts = explainer.reader(TEXTS)
    seen: list[Any] = []

    def method(x: Any, target: Array) -> Any:
        seen.append((x, target))
        return explainer(x, target).relevance

    methods = {
        "name": "basic",
        "explainer": explainer,
        "csr": relevance,
        "dense": relevance.toarray(),
        "function": method,
        "dense function": lambda x, target: explainer(x, target).relevance.toarray(),
    }
    result = evaluation.perturb(explainer, TEXTS, methods, order=("morf", "lerf"), steps=5)
    for name in methods:
        for order in ("morf", "lerf"):
            assert (result.curve(name, order).scores == result.curve("csr", order).scores).all(), name
    assert all(issparse(x) for x, _ in seen)
    assert sum(x.shape[0] for x, _ in seen) == len(TEXTS)
    assert (abs(sum(x.sum() for x, _ in seen) - counts.sum())) == 0
    assert (np.concatenate([target for _, target in seen]) == result.target).all()


def test_hashed_terms_and_unions() -> None:
    hashed = fitted(HashingVectorizer(n_features=64), LinearSVC())  # many terms share a number, some with the other sign
    union = FeatureUnion([("words", TfidfVectorizer()), ("parts", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3)))])
    for pipeline in (hashed, fitted(union, LinearSVC())):
        explainer = graphlrp.load(pipeline)
        counts = explainer.reader(TEXTS).toarray()
        relevance = explainer(TEXTS).relevance.toarray()
        result = evaluation.perturb(explainer, TEXTS, "basic", order="morf", steps=6)
        for n in range(len(TEXTS)):
            order = sorted(np.flatnonzero(counts[n]), key=lambda column: -relevance[n, column])
            current = counts[n].copy()
            for k in range(1, 7):
                current[order[k - 1 : k]] = 0
                expected = explainer.predict({"input": current[None].astype(np.float32)})[0, result.target[n]]
                assert result.curves[0].scores[n, 0, k] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_decision_between_two_and_its_probability() -> None:
    texts, topics = TRAINING
    two = [k for k, topic in enumerate(topics) if topic != "ship"]
    pipeline = make_pipeline(TfidfVectorizer(), LinearSVC()).fit([texts[k] for k in two], [topics[k] for k in two])
    result = evaluation.perturb(pipeline, TEXTS, "basic", order="morf")
    f = pipeline.decision_function(TEXTS)
    assert result.settings["score"] == "decision" and (result.target == (f > 0)).all()
    np.testing.assert_allclose(result.curves[0].scores[:, 0, 0], abs(f), rtol=1e-4, atol=1e-6)
    plain = evaluation.perturb(pipeline, TEXTS, "basic", order="morf", score="output")
    assert (plain.target == -1).all()
    np.testing.assert_allclose(plain.curves[0].scores[:, 0, 0], f, rtol=1e-4, atol=1e-6)
    shares = evaluation.perturb(pipeline, TEXTS, "basic", order="morf", score="probability")
    np.testing.assert_allclose(shares.curves[0].scores, expit(result.curves[0].scores), rtol=1e-5)


def test_batches_and_other_methods_change_nothing() -> None:
    generator = np.random.default_rng(0)
    x = csr_matrix(generator.poisson(0.5, (9, 20)))
    maps = generator.normal(size=x.shape)
    options: dict[str, Any] = {"repeats": 3, "order": ("morf", "random"), "steps": 7}
    alone = evaluation.perturb(plain, x, {"m": maps}, **options, batch_size=1)
    for size in (2, 7, 1000):
        more = evaluation.perturb(plain, x, {"other": -maps, "m": maps}, **options, batch_size=size)
        for order in ("morf", "random"):
            assert (more.curve("m", order).scores == alone.curve("m", order).scores).all()
    part = evaluation.perturb(plain, x[:4], {"m": maps[:4]}, **options)
    assert (part.curve("", "random").scores == alone.curve("", "random").scores[:4]).all()


def test_no_zeros_are_stored_and_batches_are_bounded() -> None:
    x = csr_matrix(np.random.default_rng(0).poisson(2.0, (9, 8)))
    x.data[3] = 0  # a stored zero is no feature that is present
    calls: list[Any] = []

    def function(rows: Any) -> Array:
        assert issparse(rows) and (rows.data != 0).all()
        calls.append(rows)
        return np.log(rows.data).sum() + plain(rows)

    copy = x.copy()
    result = evaluation.perturb(lambda rows: function(rows)[:, 0], x, {"m": np.ones(x.shape)}, order="morf", batch_size=4)
    assert (abs(x - copy)).nnz == 0 and x.nnz == copy.nnz  # what is given stays as it is
    assert max(rows.shape[0] for rows in calls) == 4
    # Every state once: the clean samples, and one per term of theirs.
    assert sum(rows.shape[0] for rows in calls) == 9 + np.count_nonzero(x.toarray())
    assert result.settings["steps"] == max(np.count_nonzero(x.toarray(), axis=1))


def test_perturbed_gives_sparse_matrices() -> None:
    x = csr_matrix(np.array([[1, 0, 2, 3, 0], [0, 0, 0, 0, 0], [0, 4, 0, 0, 5]], np.float32))
    maps = np.array([[3, 9, 1, 2, 9], [1, 2, 3, 4, 5], [0, 1, 0, 0, -1]], float)
    states = evaluation.perturbed(x, maps, [0, 1, 2, 9])
    assert all(state.format == "csr" and state.dtype == np.float32 for state in states)
    expected = [
        [[1, 0, 2, 3, 0], [0] * 5, [0, 4, 0, 0, 5]],
        [[0, 0, 2, 3, 0], [0] * 5, [0, 0, 0, 0, 5]],
        [[0, 0, 2, 0, 0], [0] * 5, [0] * 5],
        [[0] * 5, [0] * 5, [0] * 5],
    ]
    assert [state.toarray().tolist() for state in states] == expected
    backwards = evaluation.perturbed(x, csr_matrix(maps), [1], order="lerf")
    assert backwards[0].toarray().tolist() == [[1, 0, 0, 3, 0], [0] * 5, [0, 4, 0, 0, 0]]
    two = evaluation.perturbed(x, maps, [1], regions_per_step=2)
    assert two[0].toarray().tolist() == expected[2]


class KilledError(Exception):
    """Somebody pulled the plug."""


def test_interruptions_leave_no_trace(tmp_path: Path) -> None:
    explainer = graphlrp.load(PIPELINES["tf-idf and a linear machine"]())
    options: dict[str, Any] = {"order": ("morf", "lerf", "random"), "repeats": 2, "batch_size": 4}

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KilledError

    whole = evaluation.perturb(explainer, TEXTS, ["basic", "epsilon"], **options)
    path = tmp_path / "scores.h5"
    with pytest.raises(KilledError):
        evaluation.perturb(explainer, TEXTS, ["basic", "epsilon"], **options, resume=path, progress=stop)
    again = evaluation.perturb(explainer, TEXTS, ["basic", "epsilon"], **options, resume=path)
    for one, other in zip(whole.curves, again.curves, strict=True):
        assert one.scores.tobytes() == other.scores.tobytes()
    assert evaluation.read_result(path).settings == whole.settings
    with pytest.raises(InputError, match="begun with other settings: samples was"):
        evaluation.perturb(explainer, [*TEXTS[:-1], "maize"], ["basic", "epsilon"], **options, resume=path)


def test_what_is_told_of_texts() -> None:
    explainer = graphlrp.load(PIPELINES["tf-idf and a linear machine"]())
    text = str(evaluation.perturb(explainer, TEXTS[:3], "basic"))
    most = max(len(present(t, explainer.reader.parts[0].vectorizer.vocabulary_)) for t in TEXTS[:3])
    assert f"{most} steps of 1 of" in text and "regions (terms, together 100.0% of the input)" in text
    assert "filling Deletion," in text


def test_only_texts_without_terms() -> None:
    explainer = graphlrp.load(PIPELINES["tf-idf and a linear machine"]())
    result = evaluation.perturb(explainer, ["nothing", "at all"], "basic", repeats=2)
    assert result.settings["steps"] == 1 and result.settings["regions"] == 0
    assert all((curve.scores == curve.scores[:, :1, :1]).all() for curve in result.curves)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": 2}, r"region=2: every one of the terms that a sample has is a region by itself"),
        ({"region": np.zeros(5, int)}, "leave region out"),
        ({"filling": "mean"}, "filling='mean': terms of sparse samples can be deleted only"),
        ({"filling": 1.0}, "or give 0"),
        ({"filling": evaluation.Uniform(0, 1)}, "deleted only"),
        ({"filling": "noise"}, "unknown filling"),
        ({"border": "crop"}, "unknown border"),
        ({"layout": "NHW"}, "does not fit the shape"),
        ({"steps": 0}, "steps must be"),
        ({"x": "wheat"}, "a single text"),
        ({"x": []}, "must be an array"),
        ({"x": ["wheat", 3]}, "text 1 is no text"),
        ({"x": {"input": 3}}, r"several inputs \(input\)"),
        ({"x": csr_matrix((0, 30))}, "at least one"),
        ({"x": csr_matrix(np.full((2, 40), 0.5))}, "no counts"),
        ({"x": csr_matrix(np.ones((2, 7)))}, "the model wants"),
        ({"methods": {"m": np.ones((9, 7))}}, r"has shape \[1, 7\], which does not fit inputs \[N, 40\]"),
        ({"methods": {"m": csr_matrix((8, 40))}}, "relevance of 8 samples; there are 9"),
        ({"methods": {"m": csr_matrix(np.full((9, 40), np.nan))}}, "NaN"),
        ({"methods": {"m": lambda x, t: x[:0]}}, "is that of 0 sample\\(s\\) for"),
        ({"methods": csr_matrix((9, 40))}, "no name"),
        ({"methods": {"m": lambda x, t: {"a": x}}}, "several relevances"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    given = {"x": TEXTS, "methods": "basic", **options}
    with pytest.raises(InputError, match=message):
        evaluation.perturb(PIPELINES["tf-idf and a linear machine"](), given.pop("x"), given.pop("methods"), **given)


def test_texts_where_nothing_counts_them() -> None:
    for model in (plain, residual_network()):
        with pytest.raises(InputError, match=r"nothing here counts their terms: .* explainer\.reader\(texts\)"):
            evaluation.perturb(model, TEXTS, {"m": np.ones((9, 3))})
    with pytest.raises(InputError, match="nothing here counts their terms"):
        evaluation.perturbed(TEXTS, np.ones((9, 3)), [1])


def test_randomised_parameters_are_compared_term_by_term() -> None:
    pipeline = fitted(TfidfVectorizer(), LinearSVC())
    explainer = graphlrp.load(pipeline, "epsilon")
    counts = explainer.reader(TEXTS).toarray()
    # The gradient is there for absent terms, too; of the norm of nothing there is none.
    known = [text for text, row in zip(TEXTS, counts, strict=True) if row.any()]
    for method, texts in (("epsilon", TEXTS), ("gradient", known)):
        own = graphlrp.load(pipeline, method)
        randomised = _permuted(own.canonical, layers_with_parameters(own), 0)
        maps = [one(texts, 1).relevance.toarray() for one in (own, own.with_composite(method, model=randomised))]
        counts = explainer.reader(texts).toarray()
        for given in (texts, csr_matrix(counts)):
            result = evaluation.randomise_parameters(explainer, given, method, 1)
            for n in range(len(texts)):
                union = (counts[n] != 0) | (maps[0][n] != 0) | (maps[1][n] != 0)
                before, after = (array[n][union] for array in maps)
                expected = dict.fromkeys(("spearman", "spearman_absolute", "cosine"), np.nan)
                if len(before):
                    expected["cosine"] = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
                if len(before) > 1:
                    expected["spearman"] = stats.spearmanr(before, after).statistic
                    expected["spearman_absolute"] = stats.spearmanr(abs(before), abs(after)).statistic
                for measure, value in expected.items():
                    assert result.similarity[measure][0, -1, n] == pytest.approx(value, abs=2e-3, nan_ok=True), (measure, n)
        assert union.sum() == (40 if method == "gradient" else counts[-1].sum())


def test_continuity_has_no_meaning() -> None:
    pipeline = PIPELINES["tf-idf and a linear machine"]()
    with pytest.raises(InputError, match=r"sparse samples do not change a little.*randomise_parameters"):
        evaluation.continuity(pipeline, TEXTS, "basic")
