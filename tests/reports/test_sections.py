"""Sections of rules, evaluations and analyses: their tables have the numbers of the results."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm as normal
from scipy.stats import t as student
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import graphlrp
from graphlrp import evaluation, spray
from graphlrp.errors import InputError
from graphlrp.reports import Report
from graphlrp.reports.measures import wilson_interval
from tests.reports.conftest import Pictures
from tests.reports.pages import Element, check_page


def page_of(result: Any, **options: Any) -> Element:
    return check_page(Report("page").add(result, **options).html())


def table_of(page: Element, caption: str) -> list[Element]:
    (table,) = (table for table in page.all("table") if table.only("caption").words.startswith(caption))
    return table.only("tbody").all("tr")


def cells_of(row: Element) -> list[str]:
    return [cell.words for cell in row.children if cell.tag in ("th", "td")]


# Rules


def test_rules_are_those_of_the_plan(pictures: Pictures) -> None:
    page = page_of(pictures.explainers)
    assert [heading.words for heading in page.all("h3")] == list(pictures.explainers)
    for part, explainer in zip(page.all("article", "plan"), pictures.explainers.values(), strict=True):
        rows = [cells_of(row) for row in part.only("table").only("tbody").all("tr")]
        assert rows == [[row.node, row.operator, row.mapping, row.rule, row.notes] for row in explainer.plan.rows]
        drawing = base64.b64decode(part.only("img").attributes["src"].partition(",")[2]).decode()
        assert all(f'id="node {row.node}"' in drawing for row in explainer.plan.rows)
        assert explainer.plan.composite in part.only("dl").text
    plain = page_of(pictures.explainers["epsilon"].plan, drawing=False)
    assert not plain.all("img") and not plain.all("h3")


def test_plans_and_nothing_else(pictures: Pictures) -> None:
    with pytest.raises(InputError, match="not of str"):
        Report("page").add({"a": pictures.explainers["epsilon"], "b": "nonsense"})


# Evaluations


@pytest.fixture(scope="module")
def perturbation(pictures: Pictures) -> evaluation.PerturbationResult:
    x = next(iter(pictures.explanations["epsilon"][0].inputs.values()))
    explainer = pictures.explainers["epsilon"]
    orders = ("morf", "lerf", "random")
    return evaluation.perturb(explainer, x, ["epsilon", "gradient"], order=orders, region=4, steps=5, repeats=2)


def interval(values: np.ndarray) -> float:
    """Half the width of the 95 % interval of a mean, by Student's t."""
    return float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def test_areas_over_curves_are_those_of_the_result(perturbation: evaluation.PerturbationResult) -> None:
    page = page_of(perturbation)
    rows = table_of(page, "Area over the perturbation curve")
    assert [row.only("th").words for row in rows] == ["epsilon", "gradient", "random order"]
    random = perturbation.curve("", "random").aopc_per_sample
    for row, method in zip(rows, ("epsilon", "gradient"), strict=False):
        expected: list[float] = []
        for order in ("morf", "lerf"):
            own = perturbation.curve(method, order).aopc_per_sample
            expected += [float(own.mean()), float((own - random).mean())]
            margin = cells_of(row)[1 + 2 * ("morf", "lerf").index(order)].split(" ± ")[1]
            # Two digits are shown.
            assert float(margin) == pytest.approx(interval(own), rel=0.06)
        assert row.numbers == pytest.approx(expected)
    assert rows[2].numbers == pytest.approx([float(random.mean())] * 2)
    curves = table_of(page, "f(x) after k of 5 steps")
    assert len(curves) == 5
    for row, curve in zip(curves, perturbation.curves, strict=True):
        assert row.numbers == pytest.approx(curve.mean.tolist())
    images = page.all("img")
    assert len(images) == 2 and all("epsilon, most relevant first" in image.attributes["alt"] for image in images)
    settings = {row.only("dt").words: row.only("dd").words for row in page.only("main").only("dl", "facts").all("div")}
    assert settings["regions"].startswith("4x4, together ") and settings["repeats"] == "2" and settings["samples"] == "3"


def test_several_evaluations_are_added_one_by_one(perturbation: evaluation.PerturbationResult) -> None:
    with pytest.raises(InputError, match="several of type PerturbationResult: add one at a time"):
        Report("page").add({"a": perturbation, "b": perturbation})


def test_one_order_alone(pictures: Pictures) -> None:
    x = next(iter(pictures.explanations["epsilon"][0].inputs.values()))
    explainer = pictures.explainers["epsilon"]
    for order, figures in (("morf", 1), ("random", 1)):
        result = evaluation.perturb(explainer, x, "epsilon", order=order, region=8, steps=2, repeats=2)
        page = page_of(result)
        rows = table_of(page, "Area over the perturbation curve")
        assert len(page.all("img")) == figures and len(rows) == 1 and len(rows[0].numbers) == 1


def test_randomised_parameters_and_continuity(pictures: Pictures) -> None:
    x = next(iter(pictures.explanations["epsilon"][0].inputs.values()))
    explainer = pictures.explainers["epsilon"]
    randomised = evaluation.randomise_parameters(explainer, x, ["epsilon", "gradient"])
    rows = table_of(page_of(randomised), "Rank correlation")
    assert [row.only("th").words for row in rows] == [f"up to {layer}" for layer in randomised.layers]
    shown = np.array([row.numbers for row in rows])
    np.testing.assert_allclose(shown[:, 0], randomised.output_change)
    np.testing.assert_allclose(shown[:, 1:], randomised.mean().T)
    changes = evaluation.continuity(explainer, x, ["epsilon", "gradient"])
    rows = table_of(page_of(changes), "Measures by method")
    expected = np.stack([changes.ratio.mean(1), changes.relative.mean(1)], axis=1)
    np.testing.assert_allclose([row.numbers for row in rows], expected)


def test_measures_are_means_over_what_is_defined() -> None:
    values = np.array([0.2, 0.4, np.inf, np.nan, 0.9])
    page = page_of({"lrp": {"ratio": values, "hit": np.array([True, False, True, True, True])}})
    (row,) = table_of(page, "Measures by method")
    defined = values[[0, 1, 4]]
    assert row.numbers == pytest.approx([0.5, 0.8])
    assert cells_of(row)[1].endswith("(2 undefined)")
    mean, margin = cells_of(row)[1].removesuffix(" (2 undefined)").split(" ± ")
    assert float(mean) == pytest.approx(0.5) and float(margin) == pytest.approx(interval(defined), abs=0.006)
    # Yes or no: p ± z √(p (1 - p) / n + z² / 4n²) around p + z² / 2n, over 1 + z² / n, worked out by hand for 4 of 5.
    assert cells_of(row)[2] == "0.80 (0.38 to 0.96)" and "(Wilson)" in page.text and "Student" in page.text
    assert "Wilson" not in page_of({"lrp": {"ratio": values}}).text
    only = page_of({"lrp": {"hit": np.ones(12, bool)}})
    assert cells_of(table_of(only, "Measures")[0])[1] == "1.00 (0.76 to 1.00)" and "Student" not in only.text
    (nothing,) = table_of(page_of({"a": {"b": np.array([np.nan])}}), "Measures")
    assert cells_of(nothing)[1] == "\N{EN DASH} (1 undefined)"


@pytest.mark.parametrize("count", [1, 2, 12, 40])
def test_intervals_of_shares_hold_what_the_test_does_not_reject(count: int) -> None:
    """Wilson's interval inverts the score test: at its ends, |p̂ - p| = z √(p (1 - p) / n)."""
    for hits in range(count + 1):
        low, high = wilson_interval(hits, count)
        assert 0 <= low <= hits / count <= high <= 1 and high - low > 0
        for end in (low, high):
            assert abs(hits / count - end) == pytest.approx(normal.ppf(0.975) * np.sqrt(end * (1 - end) / count), abs=1e-9)


def test_few_samples_are_said_to_be_few(pictures: Pictures, perturbation: evaluation.PerturbationResult) -> None:
    assert "Only 3 samples:" in page_of(perturbation).text
    x = next(iter(pictures.explanations["epsilon"][0].inputs.values()))
    options: dict[str, Any] = {"order": "morf", "region": 8, "steps": 1}
    one = evaluation.perturb(pictures.explainers["epsilon"], x[:1], "epsilon", **options)
    assert "Only one sample:" in page_of(one).text
    many = evaluation.perturb(pictures.explainers["epsilon"], np.concatenate([x] * 4)[:10], "epsilon", **options)
    assert "Only" not in page_of(many).only("main").text


# Analyses


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    """Two groups of maps that look at opposite corners."""
    generator = np.random.default_rng(0)
    result = 0.1 * generator.random((40, 1, 12, 12))
    result[:12, :, :4, :4] += 1
    result[12:, :, 8:, 8:] += 1
    return result


def test_groups_are_those_of_the_analysis(maps: np.ndarray) -> None:
    analysis = spray.analyse(maps, neighbours=6, clusters=[2, 3], seed=1)
    page = page_of(analysis, relevance=maps, images=np.zeros((40, 12, 12), np.uint8))
    (row,) = table_of(page, "The smallest eigenvalues")
    assert row.numbers == analysis.eigenvalues[:12].tolist()
    assert [heading.words for heading in page.all("h3")] == ["kmeans-2", "kmeans-3"]
    for part, name in zip(page.all("article", "clustering"), analysis.clusterings, strict=True):
        sizes = dict(zip(*np.unique(analysis.clusterings[name], return_counts=True), strict=True))
        assert part.only("p", "sizes").words == ", ".join(f"cluster {c}: {n} maps" for c, n in sizes.items())
        rows = table_of(part, "Clusters that stand apart")
        suspects = spray.suspicious(analysis, name)
        assert [cells_of(row)[:2] for row in rows] == [[str(s.cluster), str(len(s.positions))] for s in suspects]
        assert [row.numbers for row in rows] == [[s.cut, s.spread] for s in suspects]
        # The plane and the montage.
        assert len(part.all("img")) == 2
    assert "cluster 1: 12 maps" in page.only("main").words


def test_analyses_without_maps_or_plane(maps: np.ndarray) -> None:
    # So many neighbours connect everything.
    vectors = spray.analyse(maps.reshape(40, -1), neighbours=25, embedding=None, clusters=1)
    page = page_of(vectors, relevance=maps.reshape(40, -1))
    # The spectrum, and what the cluster is about.
    assert len(page.all("img")) == 2
    assert "No cluster stands apart." in page.text


def test_typical_texts_of_an_explanation() -> None:
    words = np.array(["tin", "zinc", "lead", "iron", "gold", "salt", "rye", "oats"])
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    texts = [" ".join(generator.choice(words[:5] if label else words[3:], 4)) for label in labels]
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, labels)
    explanation = graphlrp.load(pipeline)(texts)
    analysis = spray.analyse(explanation, index=labels == 1, clusters=2, embedding=None)
    page = page_of(analysis, relevance=explanation, documents=2, count=3, sources=[f"text {k}" for k in range(40)])
    typical = [(c, k) for c in range(2) for k in analysis.typical(c)[:2].tolist()]
    assert [heading.words for heading in page.all("h4")] == [f"Typical of cluster {c}: text {k}" for c, k in typical]
    assert [part.text for part in page.all("div", "text")] == [texts[k] for _, k in typical]
    shown = [(own.cluster, feature) for own in analysis.profile(explanation, count=3) for feature in own.features]
    rows = table_of(page, "Mean relevance of features")
    assert [cells_of(row)[:2] for row in rows] == [[str(cluster), feature.name] for cluster, feature in shown]
    assert [row.numbers for row in rows] == [[feature.mean, feature.elsewhere] for _, feature in shown]
    # The spectrum, and a figure for every cluster. Without the texts, there are no typical ones.
    assert len(page.all("img")) == 3
    page = page_of(analysis, features=explanation.features)
    assert not page.all("h4") and len(page.all("img")) == 3


def test_classes_are_in_the_order_of_the_ranking(maps: np.ndarray) -> None:
    ranking = spray.rank(maps, np.arange(40) % 2, names=["even <b>", "odd"])
    page = page_of(ranking)
    rows = table_of(page, "The smallest eigenvalues of every class")
    assert [cells_of(row)[0] for row in rows] == ranking.classes
    for row, name in zip(rows, ranking.classes, strict=True):
        assert row.numbers == ranking.eigenvalues[name].tolist() and cells_of(row)[1] == "20"
