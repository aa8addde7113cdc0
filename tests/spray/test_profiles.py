"""What clusters of vectors are about, by plain loops, and how it is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from scipy.sparse import csr_matrix

from graphlrp import InputError, spray
from graphlrp.spray.bars import ELSEWHERE
from graphlrp.visual import colour_map
from tests.spray.test_drawing import draw, texts
from tests.spray.test_sparse import DENSE, MARKED, ROWS, explanation

NAMES = [f"term{k}" for k in range(400)]


@pytest.fixture(scope="module")
def analysis() -> spray.Analysis:
    return spray.analyse(ROWS, clusters=(2, 3), embedding=None)


def by_loops(dense: np.ndarray, labels: np.ndarray, cluster: int, feature: int) -> tuple[float, float, float, float]:
    inside = [row for row, label in zip(dense, labels, strict=True) if label == cluster]
    outside = [row for row, label in zip(dense, labels, strict=True) if label != cluster]
    mean = sum(row[feature] for row in inside) / len(inside)
    elsewhere = sum(row[feature] for row in outside) / len(outside)
    share = sum(abs(row[feature]) for row in inside) / sum(abs(value) for row in inside for value in row)
    return mean, elsewhere, share, sum(row[feature] != 0 for row in inside) / len(inside)


@pytest.mark.parametrize("form", [ROWS, DENSE, explanation(ROWS), None], ids=["sparse", "dense", "explanation", "features"])
def test_means_and_shares_by_their_definition(analysis: spray.Analysis, form) -> None:
    for clustering in (2, 3):
        labels = analysis.labels_of(clustering)
        found = analysis.profile(form, clustering=clustering, count=6)
        assert [own.cluster for own in found] == list(range(clustering))
        for own in found:
            assert (own.count, own.total) == (np.sum(labels == own.cluster), 150)
            for feature in own.features:
                expected = by_loops(DENSE, labels, own.cluster, feature.feature)
                assert (feature.mean, feature.elsewhere, feature.share, feature.present) == pytest.approx(expected, rel=1e-12)
                assert feature.name == f"feature {feature.feature}"
            means = abs(DENSE[labels == own.cluster].mean(axis=0))
            assert [feature.feature for feature in own.features] == np.argsort(-means, kind="stable")[:6].tolist()
            assert own.rest == pytest.approx(1 - sum(feature.share for feature in own.features), rel=1e-9)
            assert own.hidden == DENSE[labels == own.cluster].any(axis=0).sum() - 6


def test_the_planted_term_is_named(analysis: spray.Analysis) -> None:
    clean, marked = analysis.profile(features=NAMES, clustering=2)
    np.testing.assert_array_equal(analysis.labels, MARKED)
    first = marked.features[0]
    assert (first.name, first.elsewhere, first.present) == ("term7", 0.0, 1.0) and first.share > 0.5
    assert str(marked).startswith(f"cluster 1: term7 {first.mean:.3g} ({first.share:.0%}), elsewhere 0;")
    assert all(feature.name != "term7" for feature in clean.features)
    assert analysis.profile(explanation(ROWS, NAMES))[1].features[0].name == "term7"
    # Names that are not those of what is explained.
    assert analysis.profile(explanation(ROWS, NAMES[:5]))[1].features[0].name == "feature 7"


def test_order_by_difference(analysis: spray.Analysis) -> None:
    both = DENSE.copy()
    both[:, 9] = 9.0
    for order, first in (("mean", "feature 9"), ("difference", "feature 7")):
        assert analysis.profile(csr_matrix(both), order=order)[1].features[0].name == first


def test_of_part_of_the_data_and_with_noise() -> None:
    index = np.arange(10, 130)
    found = spray.analyse(
        DENSE, index=index, clusters=2, clustering=lambda rows, count: np.repeat([0, -1, 1], [70, 20, 30]), embedding=None
    )
    for relevance in (DENSE, ROWS, None):
        profiles = found.profile(relevance)
        assert [(own.cluster, own.count, own.total) for own in profiles] == [(0, 70, 120), (1, 30, 120)]
        for own in profiles:
            first = own.features[0]
            expected = by_loops(DENSE[10:130], found.labels, own.cluster, first.feature)
            assert (first.mean, first.elsewhere, first.share, first.present) == pytest.approx(expected)


def test_one_cluster_has_no_elsewhere() -> None:
    one = spray.analyse(ROWS, clusters=1, embedding=None)
    for order in ("mean", "difference"):
        (own,) = one.profile(order=order)
        assert np.isnan(own.features[0].elsewhere) and own.features[0].feature == 7
    assert "\N{EN DASH}" in texts(one.plot_profile())
    draw(one.plot_profile())


def test_a_cluster_without_relevance() -> None:
    some = DENSE.copy()
    some[:30] = 0.0
    with pytest.warns(UserWarning, match="no relevance at all"):
        found = spray.analyse(csr_matrix(some), clusters=2, embedding=None, clustering=lambda rows, k: (np.arange(150) < 30) * 1)
    assert found.profile()[1].features == () and str(found.profile()[1]) == "cluster 1: no relevance"
    assert "no relevance" in texts(found.plot_profile())


def test_figure(analysis: spray.Analysis) -> None:
    negative = ROWS.copy()
    negative.data[negative.indices == 7] *= -1
    for relevance, sign in ((ROWS, 1), (negative, -1)):
        figure = analysis.plot_profile(relevance, features=NAMES, count=5, clustering=2, heading="letters")
        draw(figure)
        found = texts(figure)
        assert {"letters", "term7", "mean relevance in the cluster", "mean over all other maps", "share of |R|"} <= set(found)
        shown = {feature.name for own in analysis.profile(relevance, features=NAMES, count=5) for feature in own.features}
        assert shown <= set(found), "names that fit are not shortened"
        assert f"cluster 1: {MARKED.sum()} of 150 maps ({MARKED.mean():.0%})" in found
        bars = figure.axes[1].patches
        profile = analysis.profile(relevance, count=5, clustering=2)[1]
        np.testing.assert_allclose([bar.get_width() for bar in bars[:5]], [own.mean for own in profile.features])
        np.testing.assert_allclose(
            [bar.get_width() for bar in bars[5:10]], [own.elsewhere for own in profile.features], atol=1e-12
        )
        low, high = figure.axes[1].get_xlim()
        assert all(low <= bar.get_width() <= high for bar in bars[:10]) and low <= 0 <= high
        expected = colour_map("blue-orange")(0.55 * sign) / 255
        np.testing.assert_allclose(bars[0].get_facecolor()[:3], expected)
        np.testing.assert_allclose(bars[5].get_facecolor()[:3], to_rgb(ELSEWHERE))
    own, joint = (analysis.plot_profile(joint=joint) for joint in (False, True))
    assert own.axes[0].get_xlim() != own.axes[1].get_xlim() and joint.axes[0].get_xlim() == joint.axes[1].get_xlim()
    assert len(analysis.plot_profile(cluster=1).axes) == 2


def test_nothing_is_drawn_over_something_else(analysis: spray.Analysis) -> None:
    """Names of any length stay left of the bars, numbers right of them and of each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = ["a " * 60 if k == 7 else name for k, name in enumerate(NAMES)]
    figure = analysis.plot_profile(features=names, count=4)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in figure.texts if text.get_text()]
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
        for other in boxes[number + 1 :]:
            assert box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 + 2 or other.y1 <= box.y0 + 2
        for axes in figure.axes[:-1]:
            frame = axes.get_window_extent()
            assert box.x1 <= frame.x0 or frame.x1 <= box.x0 or box.y1 <= frame.y0 + 1 or frame.y1 <= box.y0 + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "at least one feature"),
        ({"order": "share"}, "mean or difference, not by 'share'"),
        ({"features": NAMES[:3]}, "3 names do not fit 400 features"),
        ({"clustering": 7}, "is not one of"),
        ({"relevance": ROWS[:20]}, "out of range"),
        ({"relevance": DENSE.reshape(150, 20, 20)}, "a profile is of vectors"),
    ],
)
def test_errors(analysis: spray.Analysis, options, message: str) -> None:
    for method in (analysis.profile, analysis.plot_profile):
        with pytest.raises(InputError, match=message):
            method(**options)


def test_errors_of_figures(analysis: spray.Analysis) -> None:
    for options, message in (
        ({"cluster": 9}, "there is no cluster 9; there are 0, 1"),
        ({"width": 1}, "between 4 and 40"),
        ({"colours": "pink"}, "unknown colour map"),
        ({"count": 400, "clustering": 3}, "choose one, or fewer features"),
    ):
        with pytest.raises(InputError, match=message):
            analysis.plot_profile(**options)
    with pytest.raises(InputError, match="what clusters of vectors"):
        analysis.montage(ROWS)
    pictures = spray.analyse(DENSE.reshape(150, 20, 20), clusters=2, embedding=None)
    with pytest.raises(InputError, match="maps are shown by montage"):
        pictures.profile()
