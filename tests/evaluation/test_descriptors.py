"""Replacement of descriptors (C.2) against vectors that are made anew of the descriptors replaced, one by one, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import graphlrp
from graphlrp.bow import DenseSIFT, DescriptorPCA, FisherVector
from graphlrp.evaluation.descriptors import perturb_descriptors, replacements
from tests.plugins.bow.patches import Patches, images

Array = np.ndarray[Any, Any]
PYRAMID = ((1, 1), (2, 1))
BATCH, STEPS, REPEATS = 3, 4, 2


def three_kinds(count: int = 15) -> tuple[Array, Array]:
    x, y = images(count, seed=1), np.arange(count) % 3
    x[y == 2, ::2] += 0.6
    return x, y


def fitted(head: Any = None, **options: Any) -> tuple[Pipeline, Array]:
    x, y = three_kinds()
    pipeline = make_pipeline(Patches(), FisherVector(2, pyramid=PYRAMID, **options), head or LinearSVC())
    return pipeline.fit(x, y), x


def summands(encoding: FisherVector, values: Array) -> Array:
    """Ψ(l) of descriptors, one component and number after the other (4.1-4.3)."""
    result = []
    for x in values:
        densities = [
            pi * np.prod(np.exp(-(((x - mu) / sigma) ** 2) / 2) / sigma)
            for pi, mu, sigma in zip(encoding.weights_, encoding.means_, encoding.deviations_, strict=True)
        ]
        gamma = np.array(densities) / np.sum(densities)
        by_weight, by_mean, by_deviation = [], [], []
        for g, pi, mu, sigma in zip(gamma, encoding.weights_, encoding.means_, encoding.deviations_, strict=True):
            by_weight.append((g - pi) / np.sqrt(pi))
            for number in range(len(x)):
                scaled = (x[number] - mu[number]) / sigma[number]
                by_mean.append(g / np.sqrt(pi) * scaled)
                by_deviation.append(g / np.sqrt(2 * pi) * (scaled**2 - 1))
        result.append([*(by_weight if encoding.weights else []), *by_mean, *by_deviation])
    return np.array(result)


def decision(pipeline: Pipeline, values: Array, cells: Array) -> Array:
    """f of descriptors in the cells of PYRAMID, by scikit-learn's predictor."""
    encoding = pipeline[1]
    z = summands(encoding, values)
    parts = []
    for cell in range(3):
        members = [number for number in range(len(values)) if cell in cells[number]]
        parts.append(sum(z[number] for number in members) / len(members))
    vector = np.concatenate(parts)
    if encoding.improved:
        vector = np.sign(vector) * np.sqrt(np.abs(vector))
        vector = vector / np.linalg.norm(vector)
    return np.asarray(pipeline[2:].decision_function(vector[None])[0])


def cells_by_definition(image: Any) -> list[tuple[int, int]]:
    """The whole image, and its upper or lower half."""
    return [(0, 1 if y < image.size[0] / 2 else 2) for _, y in image.positions]


@pytest.mark.parametrize(
    ("head", "options"),
    [
        (LinearSVC(), {}),
        (LinearSVC(), {"improved": False, "weights": True}),
        (make_pipeline(StandardScaler(), SVC(decision_function_shape="ovr", kernel="linear")), {"weights": True}),
    ],
    ids=["improved", "all gradients", "scaled"],
)
def test_scores_are_those_of_the_descriptors_replaced(head: Any, options: dict[str, Any]) -> None:
    pipeline, x = fitted(head, **options)
    sample = x[:2]
    generator = np.random.default_rng(3)
    described = pipeline[0].transform(sample)
    relevance = generator.normal(size=(2, len(described[0])))
    result = perturb_descriptors(
        pipeline,
        sample,
        {"given": relevance},
        order=("morf", "lerf"),
        batch=BATCH,
        steps=STEPS,
        repeats=REPEATS,
        seed=5,
        batch_size=2,
    )
    linear = isinstance(head, LinearSVC)
    for number, image in enumerate(described):
        cells = cells_by_definition(image)
        target = int(np.argmax(decision(pipeline, image.values.astype(float), cells))) if linear else result.target[number]
        assert result.target[number] == target
        for kind, ordered in (("morf", np.argsort(-relevance[number])), ("lerf", np.argsort(relevance[number]))):
            scores = result.curve("given", kind).scores[number]
            for repeat in range(REPEATS):
                other = replacements(pipeline[1], len(image), 5, number, repeat)
                values = image.values.astype(float)
                for step in range(STEPS + 1):
                    if step:
                        chosen = ordered[(step - 1) * BATCH : step * BATCH]
                        values[chosen] = other[chosen]
                    if linear:
                        expected = decision(pipeline, values, cells)[target]
                        assert scores[repeat, step] == pytest.approx(expected, rel=1e-9, abs=1e-9)
                if not linear:
                    # The decisions of three machines between two classes each, summed by class.
                    machine = pipeline[2:][-1][-1]
                    machine.decision_function_shape = "ovo"
                    pairs = decision(pipeline, values, cells)
                    machine.decision_function_shape = "ovr"
                    votes = [pairs[0] + pairs[1], pairs[2] - pairs[0], -pairs[1] - pairs[2]]
                    assert scores[repeat, -1] == pytest.approx(votes[target], rel=1e-9, abs=1e-9)


def test_area_over_the_curve() -> None:
    pipeline, x = fitted()
    relevance = np.random.default_rng(3).normal(size=(2, 20))
    result = perturb_descriptors(pipeline, x[:2], {"given": relevance}, batch=BATCH, steps=STEPS, repeats=REPEATS)
    curve = result.curve("given")
    assert curve.scores.shape == (2, REPEATS, STEPS + 1)
    total = 0.0
    for sample in curve.scores:
        for scores in sample:
            total += sum(scores[0] - score for score in scores) / (STEPS + 1)
    assert curve.aopc == pytest.approx(total / (2 * REPEATS))
    assert result.orders == ("morf", "random") and "4 steps of 3 of 20 regions (local descriptors)" in str(result)


def test_methods_of_all_kinds_agree() -> None:
    pipeline, x = fitted()
    sample, target = x[:2], np.array([1, 2])
    node = next(node for node in graphlrp.convert(pipeline).model.graph if node.op_type == "FisherVector")
    report = str(node.inputs[0].name)
    explainer = graphlrp.load(pipeline, report=report)
    relevance = explainer(sample, target).intermediate[report].sum(-1)
    methods = {
        "preset": "bag-of-words",
        "composite": graphlrp.composite("bag-of-words"),
        "explainer": explainer,
        "array": relevance,
        "list": list(relevance),
        "function": lambda image, target: relevance[int(target) - 1],
    }
    result = perturb_descriptors(pipeline, sample, methods, target, batch=2, repeats=1, order="morf")
    assert result.methods == tuple(methods) and result.target.tolist() == [1, 2]
    assert result.curve("preset").scores.shape == (2, 1, 11)
    for name in methods:
        np.testing.assert_array_equal(result.curve(name).scores, result.curve("preset").scores)
    other = graphlrp.load(pipeline)
    with pytest.raises(graphlrp.InputError, match=f"load it with report={report!r}"):
        perturb_descriptors(pipeline, sample, {"mute": other}, target, batch=2)


def test_relevance_tells_what_matters() -> None:
    """Descriptors of images of several sizes: those that speak for a class are worth more than others."""
    generator = np.random.default_rng(0)

    def picture(kind: int, height: int, width: int) -> Array:
        y, x = np.mgrid[:height, :width]
        image = generator.normal(128, 12, (height, width))
        image[:, width // 2 :] += 50 * np.sin((x if kind else y) * 0.9)[:, width // 2 :]
        return np.asarray(image.clip(0, 255))

    labels = np.arange(14) % 2
    pictures = [picture(kind, *generator.integers(40, 56, 2)) for kind in labels]
    pipeline = make_pipeline(DenseSIFT(4, (3, 4)), DescriptorPCA(8), FisherVector(3, pyramid=((1, 1), (1, 2))), LinearSVC())
    chosen = [picture for picture, kind in zip(pictures, labels, strict=True) if kind][:3]
    seen = []
    search = GridSearchCV(pipeline, {"linearsvc__C": [1.0]}, cv=2).fit(pictures, labels)
    result = perturb_descriptors(
        search,
        chosen,
        {"ε = 1": graphlrp.composite("bag-of-words", epsilon=1.0)},
        order=("morf", "lerf", "random"),
        batch=10,
        repeats=3,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert result.target.tolist() == [1] * 3 and result.settings["score"] == "decision"
    assert result.curve("ε = 1").aopc > result.curve("", "random").aopc > result.curve("ε = 1", "lerf").aopc
    assert seen[-1][0] == seen[-1][1] == 3 * 3 * 3 * (result.settings["steps"] + 1)
    again = perturb_descriptors(search, chosen[:2], "bag-of-words", batch=10, repeats=2, steps=5, batch_size=3)
    whole = perturb_descriptors(search, chosen[:2], "bag-of-words", batch=10, repeats=2, steps=5)
    np.testing.assert_allclose(again.curve("bag-of-words").scores, whole.curve("bag-of-words").scores, rtol=1e-12)


def test_results_are_kept(tmp_path: Any) -> None:
    from graphlrp.evaluation import read_result

    pipeline, x = fitted()
    result = perturb_descriptors(pipeline, x[:2], "bag-of-words", batch=BATCH, repeats=1)
    result.save(tmp_path / "result.h5")
    again = read_result(tmp_path / "result.h5")
    assert str(again) == str(result)
    np.testing.assert_array_equal(again.curve("bag-of-words").scores, result.curve("bag-of-words").scores)
    assert result.save_plot(tmp_path / "curves.png").stat().st_size > 5000


def test_bad_input_is_told() -> None:
    pipeline, x = fitted()
    relevance = np.ones((2, 20))
    for wrong, message in (
        (lambda: perturb_descriptors(pipeline[:1], x[:2], {"a": relevance}), "one FisherVector and a predictor"),
        (lambda: perturb_descriptors(LinearSVC(), x[:2], {"a": relevance}), "not in LinearSVC"),
        (lambda: perturb_descriptors(pipeline, x[:2], {"a": relevance}), "batch=100: an image has 20 descriptors only"),
        (lambda: perturb_descriptors(pipeline, x[:2], {"a": relevance}, batch=5, steps=5), "there are 1 to 4 steps of 5"),
        (lambda: perturb_descriptors(pipeline, x[:2], {"a": relevance}, batch=5, order="up"), "order='up'"),
        (lambda: perturb_descriptors(pipeline, x[:2], {"a": relevance}, batch=0), "batch must be"),
        (lambda: perturb_descriptors(pipeline, x[:2], {"a": relevance[:1]}, batch=5), "relevance of 1 images; there are 2"),
        (lambda: perturb_descriptors(pipeline, x[:2], {"a": relevance[:, 1:]}, batch=5), r"20 finite numbers.*\[19\]"),
        (lambda: perturb_descriptors(pipeline, x[:2], {"a": relevance}, 3, batch=5), "classes 0 to 2"),
        (lambda: perturb_descriptors(pipeline, x[:2], relevance, batch=5), "has no name"),
    ):
        with pytest.raises(graphlrp.InputError, match=message):
            wrong()
    unfitted = make_pipeline(Patches().fit(x), FisherVector(2), LinearSVC())
    with pytest.raises(graphlrp.InputError, match="not fitted"):
        perturb_descriptors(unfitted, x[:2], "bag-of-words")
