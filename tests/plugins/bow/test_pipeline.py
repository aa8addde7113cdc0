"""Bag-of-Words pipelines against sums over all descriptors and dimensions, one by one, in float64."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.svm import SVC, LinearSVC

import graphlrp
from graphlrp import kernels
from graphlrp.bow import BagOfWords, DescriptorPCA, Descriptors, FisherVector
from tests.plugins.bow.patches import Patches, images

Array = np.ndarray[Any, Any]
PYRAMID = ((1, 1), (2, 2), (3, 1))


def labels(x: Array) -> Array:
    return np.arange(len(x)) % 2


def load(pipeline: Pipeline, **options: Any) -> Any:
    return graphlrp.load(pipeline, dtype="float64", ledger="strict", **options)


CODINGS = [
    BagOfWords(7),
    BagOfWords(7, coding="soft", neighbours=3),
    BagOfWords(7, coding="rank", neighbours=4),
    BagOfWords(7, coding="llc", neighbours=3),
    BagOfWords(9, coding="tree", branches=3),
    BagOfWords(7, coding="soft", power=3.0),
    BagOfWords(7, coding="soft", power=np.inf),
    BagOfWords(7, power=np.inf),
    BagOfWords(7, coding="rank", pyramid=PYRAMID),
    BagOfWords(5, vocabulary="gmm", coding="soft"),
    BagOfWords(5, vocabulary="gmm", coding="soft", power=2.0, pyramid=PYRAMID),
    BagOfWords(5, vocabulary="gmm", coding="soft", power=np.inf, pyramid=PYRAMID),
    BagOfWords(5, vocabulary="gmm", coding="rank"),
    BagOfWords(7, coding="soft", power=np.inf, pyramid=PYRAMID),
    FisherVector(3),
    FisherVector(3, improved=False),
    FisherVector(3, weights=True, pyramid=PYRAMID),
]


HEADS = [LinearSVC(), SVC(kernel=kernels.HistogramIntersection()), SVC()]


@pytest.mark.parametrize(("coding", "head"), [(c, HEADS[k % 3]) for k, c in enumerate(CODINGS)], ids=str)
def test_graph_computes_what_the_estimators_compute(coding: Any, head: Any) -> None:
    x = images()
    fitted = make_pipeline(Patches(), DescriptorPCA(3), clone(coding), clone(head)).fit(x, labels(x))
    explanation = load(fitted)(x[:4])
    np.testing.assert_allclose(explanation.output, fitted.decision_function(x[:4]), atol=1e-7)
    assert explanation.relevance.shape == x[:4].shape
    single = graphlrp.load(fitted, ledger=True)(x[:4])
    np.testing.assert_allclose(single.output, explanation.output, atol=2e-3)
    assert single.conservation_error.max() < 1e-4


def contributions(step: Any, image: Descriptors) -> Array:
    """z_ld [L, C · K] by definition: m^p, or the summands of a Fisher vector."""
    cells = step.cells_of(image)
    if isinstance(step, BagOfWords):
        numbers, which = step.assign(image)
        m = np.zeros((len(image), step.cells, len(step.words_)))
        for number in range(len(image)):
            for cell in cells[number]:
                for value, word in zip(numbers[number], which[number], strict=True):
                    m[number, cell, word] += value
        if np.isinf(step.power):
            winners = (m == m.max(0)) & (m > 0)
            m = winners.astype(float)
        else:
            m = m**step.power
        return m.reshape(len(image), -1)
    gamma = step.mixture.posterior(image.values.astype(float))
    result = []
    for number, x in enumerate(image.values.astype(float)):
        row = []
        for cell in range(step.cells):
            parts = []
            scaled = (x - step.means_) / step.deviations_
            if step.weights:
                parts.append((gamma[number] - step.weights_) / np.sqrt(step.weights_))
            parts.append((gamma[number][:, None] * scaled / np.sqrt(step.weights_)[:, None]).ravel())
            parts.append((gamma[number][:, None] * (scaled**2 - 1) / np.sqrt(2 * step.weights_)[:, None]).ravel())
            row.append(np.concatenate(parts) * (cell in cells[number]))
        result.append(np.concatenate(row))
    return np.array(result)


def by_descriptor(step: Any, image: Descriptors, relevance: Array, epsilon: float) -> Array:
    """R_l of (2.78), (2.79) and (2.82), one dimension after the other."""
    z = contributions(step, image)
    cells = step.cells_of(image)
    own = len(relevance) // step.cells
    result = np.zeros(len(image))
    for d, received in enumerate(relevance):
        if (z[:, d] == 0).all():
            members = np.flatnonzero((cells == d // own).any(1))
            members = members if len(members) else np.arange(len(image))
            result[members] += received / len(members)
        else:
            total = z[:, d].sum()
            stable = total + epsilon * (1 if total >= 0 else -1)
            result += z[:, d] / (stable or 1.0) * received
    return result


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_relevance_of_descriptors_by_definition(coding: Any) -> None:
    x = images(seed=3)
    fitted = make_pipeline(Patches(), clone(coding), LinearSVC()).fit(x, labels(x))
    epsilon = 0.5 if isinstance(coding, FisherVector) else 0.0
    explanation = load(fitted, composite=graphlrp.composite("bag-of-words", epsilon=epsilon))(x[:3])
    for sample, image in enumerate(fitted[0].transform(x[:3])):
        vector = fitted[1].transform([image])[0]
        expected = by_descriptor(fitted[1], image, vector * fitted[2].coef_[0], epsilon)
        cut = fitted[0].transform(explanation.relevance[[sample]])[0].values  # relevance of the pixels of each patch
        np.testing.assert_allclose(cut.sum(1), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(cut, np.repeat(cut[:, :1], 4, axis=1), rtol=1e-5, atol=1e-9)  # pixels share equally


def test_dimensions_of_descriptors_are_told_apart_if_asked_for() -> None:
    x = images(seed=3)
    fitted = make_pipeline(Patches(), FisherVector(3, improved=False), LinearSVC()).fit(x, labels(x))
    deep = graphlrp.composite("bag-of-words", epsilon=0.0, deep=True)
    explanation, whole = (
        load(fitted, composite=deep)(x[:3]),
        load(fitted, composite=graphlrp.composite("bag-of-words", epsilon=0.0))(x[:3]),
    )
    step, weights = fitted[1], fitted[2].coef_[0]
    mu, sigma, pi = step.means_, step.deviations_, step.weights_
    for sample, image in enumerate(fitted[0].transform(x[:3])):
        values = image.values.astype(float)
        gamma, vector = step.mixture.posterior(values), step.transform([image])[0]
        s = (weights * vector / (vector * len(values))).reshape(2, 3, 4)
        scaled = (values[:, None] - mu) / sigma  # [L, K, D]
        z = np.stack(
            [gamma[..., None] * scaled / np.sqrt(pi)[:, None], gamma[..., None] * (scaled**2 - 1) / np.sqrt(2 * pi)[:, None]]
        )
        expected = np.einsum("slkd,skd->ld", z, s)
        cut = fitted[0].transform(explanation.relevance[[sample]])[0].values
        np.testing.assert_allclose(cut, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(explanation.relevance.sum((1, 2)), whole.relevance.sum((1, 2)), atol=1e-8)


def test_values_inside_have_names() -> None:
    """Relevance of descriptors and words by the names of steps; it is the same whatever is between them."""
    x = images(seed=3)
    union = FeatureUnion([("hard", BagOfWords(4)), ("vectors", FisherVector(2, pyramid=((1, 1), (1, 2))))])
    steps = [("patches", Patches()), ("pca", DescriptorPCA(3)), ("both", union), ("svc", LinearSVC())]
    fitted = Pipeline(steps).fit(x, labels(x))
    names = ("pca/descriptors", "both/hard/words", "both/vectors/vector", "both/vectors/normalised")
    explainer = load(fitted, report=names)
    assert {"both/hard/words", "both/vectors/vector"} <= {row.node for row in explainer.plan.rows}
    explanation = explainer(x[:2])
    found = explanation.intermediate
    assert [found[name].shape for name in names] == [(2, 20, 3), (2, 4), (2, 36), (2, 36)]
    parts = fitted[:-1].transform(x[:2]) * fitted[-1].coef_[0]
    np.testing.assert_allclose(found["both/hard/words"], parts[:, :4], atol=1e-6)
    np.testing.assert_allclose(found["both/vectors/vector"], parts[:, 4:], atol=1e-6)
    by_patch = fitted[0].transform(explanation.relevance)
    np.testing.assert_allclose(
        found["pca/descriptors"].sum(2), [patches.values.sum(1) for patches in by_patch], rtol=1e-4, atol=1e-6
    )
    assert graphlrp.load(graphlrp.convert(fitted), report=names)(x[:2]).intermediate.keys() == found.keys()


def test_dimensions_have_names() -> None:
    descriptors = Patches().fit(images()).transform(images())
    words = BagOfWords(3, pyramid=((1, 1), (1, 2))).fit(descriptors)
    assert words.get_feature_names_out()[[0, 2, 4]].tolist() == ["cell0/word0", "cell0/word2", "cell1/word1"]
    vector = FisherVector(2, weights=True).fit(descriptors)
    names = vector.get_feature_names_out().tolist()
    assert names[:4] == ["component0/weight", "component1/weight", "component0/mean0", "component0/mean1"]
    assert len(names) == vector.transform(descriptors).shape[1] and names[-1] == "component1/deviation3"


def test_of_words_at_the_same_distance_the_first_ones_are_taken() -> None:
    generator = np.random.default_rng(0)
    words = generator.integers(0, 2, (30, 4)).astype(float)  # many of them are the same
    values = generator.integers(0, 2, (50, 4)).astype(np.float32)
    image = Descriptors(values, np.ones((50, 2)), (8, 10))
    for count in (1, 2, 5, 30):
        _, which = BagOfWords(words, coding="rank", neighbours=count).fit([image]).assign(image)
        distances = ((values[:, None] - words) ** 2).sum(2)
        expected = [sorted(range(30), key=lambda word: (row[word], word))[:count] for row in distances]
        np.testing.assert_array_equal(which, expected)


def test_relevance_of_words_nobody_uses_goes_to_all() -> None:
    x = images(seed=5)
    words = np.array([[0.2] * 4, [0.9] * 4, [90.0] * 4])  # the last one is far from everything
    fitted = make_pipeline(Patches(), BagOfWords(words), SVC(kernel=kernels.AdditiveChi2(distance=True))).fit(x, labels(x))
    histogram = fitted[:-1].transform(x[:2])
    assert (histogram[:, 2] == 0).all()
    # A machine whose decision depends on what is absent.
    machine = kernels.Machine(kernels.HistogramIntersection(), histogram - [0, 0, 0.5], np.array([1.0, 1.0]))
    absent = graphlrp.load(machine, dtype="float64")(histogram).relevance
    assert (absent[:, 2] < 0).all()
    pipeline = Pipeline([*fitted.steps[:-1], ("machine", machine)])
    explanation = load(pipeline)(x[:2])
    np.testing.assert_allclose(explanation.relevance.sum((1, 2)), explanation.output, atol=1e-9)
    assert (explanation.ledger.total("dead") == 0).all()


def test_estimators_behave_like_those_of_scikit_learn() -> None:
    x = images(24)
    pipeline = make_pipeline(Patches(), BagOfWords(5, random_state=0), SVC(kernel="linear"))
    search = GridSearchCV(pipeline, {"bagofwords__words": [3, 6], "bagofwords__coding": ["hard", "rank"]}, cv=2).fit(x, labels(x))
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_allclose(load(again)(x[:3]).output, search.decision_function(x[:3]), atol=1e-9)
    assert clone(FisherVector(5, weights=True)).get_params()["weights"] is True


def test_a_mixture_of_an_existing_model() -> None:
    x = images()
    own = FisherVector(3).fit(Patches().fit(x).transform(x))
    given = FisherVector.from_arrays(own.weights_, own.means_, own.deviations_)
    descriptors = Patches().fit(x).transform(x)
    np.testing.assert_allclose(given.transform(descriptors), own.transform(descriptors))
    for wrong in (([1.0], np.zeros((2, 3)), np.ones((2, 3))), ([0.5, 0.5], np.full((2, 3), np.nan), np.ones((2, 3))), "abc"):
        with pytest.raises(graphlrp.InputError, match="a mixture has"):
            FisherVector.from_arrays(*wrong)


def test_references_pass_all_steps() -> None:
    x = images(30)
    fitted = make_pipeline(Patches(), BagOfWords(5), SVC()).fit(x, labels(x))
    explanation = graphlrp.load(graphlrp.convert(fitted, references=x), dtype="float64", ledger=True)(x[:3])
    np.testing.assert_allclose(explanation.output, fitted.decision_function(x[:3]), atol=1e-9)


def test_a_saved_pipeline_runs_under_plain_onnxruntime(tmp_path: Any) -> None:
    import onnx
    import onnxruntime

    x = images()
    for coding in (BagOfWords(6, coding="llc", neighbours=2, pyramid=PYRAMID), FisherVector(3, pyramid=PYRAMID)):
        fitted = make_pipeline(Patches(), DescriptorPCA(3), coding, SVC()).fit(x, labels(x))
        graphlrp.convert(fitted, dtype="float32").save(tmp_path / "pipeline.onnx")
        names = {function.name for function in onnx.load(tmp_path / "pipeline.onnx").functions}
        assert names >= {"DescriptorProjection", "KernelMachine"}
        session = onnxruntime.InferenceSession(tmp_path / "pipeline.onnx")
        (f,) = session.run(["decision"], {"input": x[:4].astype(np.float32)})
        np.testing.assert_allclose(f, fitted.decision_function(x[:4]), atol=1e-3)
        explainer = graphlrp.load(tmp_path / "pipeline.onnx")
        explainer.save(tmp_path / "explainer.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "explainer.onnx")
        (relevance,) = session.run(["relevance"], {"input": x[:4].astype(np.float32), "target": np.full(4, -1)})
        np.testing.assert_allclose(relevance, explainer(x[:4].astype(np.float32)).relevance, atol=1e-6)
        assert "bag-of-words" in explainer.plan.composite


def test_bad_input_is_told() -> None:
    x = images()
    descriptors = Patches().fit(x).transform(x)
    blank = [Descriptors(np.zeros_like(d.values), d.positions, d.size) for d in descriptors]
    for wrong, message in (
        (lambda: BagOfWords(5).fit(x), "Descriptors"),
        (lambda: BagOfWords(5).fit(list(x)), "ndarray are no Descriptors"),
        (lambda: BagOfWords(5).fit(blank), "no texture"),
        (lambda: BagOfWords(5, coding="fuzzy").fit(descriptors), "unknown coding 'fuzzy'"),
        (lambda: BagOfWords(10, coding="tree", branches=3).fit(descriptors), "a power of them as words, not 10"),
        (lambda: BagOfWords(5, power=0.5).fit(descriptors), "power must be a number from 1 on"),
        (lambda: BagOfWords(5, vocabulary="dictionary").fit(descriptors), "unknown vocabulary 'dictionary'"),
        (lambda: BagOfWords(9, vocabulary="gmm", coding="tree", branches=3).fit(descriptors), "no tree"),
        (lambda: BagOfWords(np.ones((3, 4)), vocabulary="gmm").fit(descriptors), "words that are known"),
        (lambda: BagOfWords(10_000).fit(descriptors), "10000 words of"),
        (lambda: BagOfWords(np.ones((3, 7))).fit(descriptors), "words have 7 numbers, descriptors 4"),
        (lambda: FisherVector(5, pyramid=((0, 1),)).fit(descriptors), "pyramid"),
        (lambda: DescriptorPCA(9).fit(descriptors), "9 components"),
        (lambda: DescriptorPCA(0.9).fit(descriptors), "n_components must be a whole number"),
        (lambda: FisherVector("many").fit(descriptors), "components must be a whole number"),
        (lambda: BagOfWords(2.5).fit(descriptors), "words must be a whole number"),
        (lambda: BagOfWords(5, neighbours=1.5).fit(descriptors), "neighbours must be a whole number"),
        (lambda: BagOfWords(5, samples=0).fit(descriptors), "samples must be a whole number"),
        (lambda: BagOfWords(5, base=1).fit(descriptors), "base must be a number above 1"),
        (lambda: BagOfWords(5, beta=-1.0).fit(descriptors), "beta must be a number above 0"),
        (lambda: BagOfWords(5, pyramid=(2, 2)).fit(descriptors), "a pyramid has levels"),
        (lambda: BagOfWords(np.full((3, 4), np.nan)).fit(descriptors), "NaN"),
        (lambda: BagOfWords(np.ones((3, 4)), coding="tree").fit(descriptors), "words of a tree cannot be given"),
        (lambda: LinearSVC().fit(descriptors, labels(x)), "no row of numbers"),
        (lambda: PCA(2).fit(descriptors), "use DescriptorPCA"),
        (
            lambda: DescriptorPCA(2).fit(descriptors).transform([descriptors[0].changed(np.ones((20, 3)))]),
            "image 0 have 3 numbers",
        ),
    ):
        with pytest.raises(graphlrp.InputError, match=message):
            wrong()
    narrow = DescriptorPCA(2).fit_transform(descriptors)
    heads = [LinearSVC().fit(np.eye(2, size), [0, 1]) for size in (3, 8)]
    for steps in (
        [DescriptorPCA(2).fit(DescriptorPCA(3).fit_transform(descriptors)), BagOfWords(3).fit(narrow), heads[0]],
        [BagOfWords(3).fit(narrow), heads[0]],
        [FisherVector(2).fit(narrow), heads[1]],
    ):
        with pytest.raises(graphlrp.InputError, match="descriptors of 4 numbers arrive, and it was fitted on"):
            graphlrp.load(make_pipeline(Patches().fit(x), *steps))
    with pytest.raises(graphlrp.ModelError, match="no local descriptors before this step"):
        graphlrp.load(make_pipeline(BagOfWords(3).fit(narrow), heads[0]))
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        BagOfWords(5).transform(descriptors)
    with pytest.raises(graphlrp.InputError, match="not fitted"):
        graphlrp.load(Pipeline([("patches", Patches().fit(x)), ("words", BagOfWords(5)), ("svc", SVC())]))
