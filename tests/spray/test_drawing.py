"""Figures: what is drawn, and that bad requests are refused."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from graphlrp import InputError, spray
from graphlrp.spray.pictures import framed, picture_at, thumbnail
from tests.spray.test_analysis import planted

MAPS, CORNER = planted(120)
IMAGES = np.random.default_rng(0).integers(0, 256, (120, 24, 24), np.uint8)


@pytest.fixture(scope="module")
def analysis() -> spray.Analysis:
    return spray.analyse(MAPS, clusters=(2, 5), embedding=spray.TSNE(iterations=250))


def draw(figure: Figure) -> np.ndarray:
    figure.set_dpi(50)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    assert pixels.std() > 5
    return pixels


def texts(figure: Figure) -> list[str]:
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts] + [axes.get_title()]
        if axes.get_legend() is not None:
            found += [text.get_text() for text in axes.get_legend().get_texts()]
    return found


def test_spectrum(analysis: spray.Analysis) -> None:
    figure = analysis.plot_spectrum(10)
    draw(figure)
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 11))
    np.testing.assert_array_equal(line.get_ydata(), analysis.eigenvalues[:10])
    assert "gap: 2 clusters" in texts(figure)
    with pytest.raises(InputError, match="at least two"):
        analysis.plot_spectrum(1)


def test_embedding(analysis: spray.Analysis) -> None:
    figure = analysis.plot_embedding()
    draw(figure)
    points = np.concatenate([part.get_offsets() for part in figure.axes[0].collections])
    assert sorted(map(tuple, points)) == sorted(map(tuple, analysis.embedding.astype(points.dtype)))
    assert f"cluster 1 ({CORNER.sum()})" in texts(figure)
    assert len(figure.axes[0].images) == 0
    for options in ({"images": IMAGES}, {"relevance": MAPS}):
        pictures = analysis.plot_embedding(**options, across=8)
        draw(pictures)
        shown = pictures.axes[0].images
        assert 8 < len(shown) <= 64
        # They do not overlap.
        boxes = np.array([image.get_extent() for image in shown])
        for number, (left, right, low, high) in enumerate(boxes):
            others = np.delete(boxes, number, axis=0)
            assert not np.any((others[:, 0] < right) & (left < others[:, 1]) & (others[:, 2] < high) & (low < others[:, 3]))
    assert len(np.unique(analysis.labels_of(5))) == 5
    draw(analysis.plot_embedding(clustering=5, embedding="spectral", title="five"))
    with pytest.raises(InputError, match="'umap' is not one of spectral, tsne"):
        analysis.plot_embedding(embedding="umap")
    with pytest.raises(InputError, match="at least one picture"):
        analysis.plot_embedding(IMAGES, across=0)
    with pytest.raises(InputError, match="there is no image"):
        analysis.plot_embedding(IMAGES[:3])


def test_montage(analysis: spray.Analysis) -> None:
    figure = analysis.montage(MAPS, IMAGES, count=4, heading="strategies")
    draw(figure)
    # Two clusters, each with its mean, four maps and four pictures.
    assert len(figure.axes) == 2 * 9
    found = texts(figure)
    assert f"cluster 1: {CORNER.sum()} of 120 maps ({CORNER.mean():.0%})" in found and "strategies" in found
    shown = [int(text) for text in found if text.isdigit()]
    assert len(shown) == 8 and CORNER[shown].tolist() == [False] * 4 + [True] * 4
    # The most typical first.
    members = np.flatnonzero(CORNER)
    centre = analysis.features[CORNER].mean(axis=0)
    order = sorted(members, key=lambda one: ((analysis.features[one] - centre) ** 2).sum())
    assert shown[4:] == order[:4]
    one = analysis.montage(MAPS, cluster=1, count=12)
    draw(one)
    assert len([text for text in texts(one) if text.isdigit()]) == 12 and len(one.axes) == 13


def test_montage_of_maps_of_different_sizes() -> None:
    maps = [one[0, : 24 - number % 5] for number, one in enumerate(MAPS)]
    found = spray.analyse(maps, clusters=2, embedding=None)
    draw(found.montage(maps, count=3))


def test_montage_errors(analysis: spray.Analysis) -> None:
    for options, message in (
        ({"cluster": 7}, "there is no cluster 7"),
        ({"count": 0}, "at least one map"),
        ({"width": 0.1}, "between 0.3 and 10"),
        ({"colours": "rainbow"}, "unknown colour map"),
        ({"clustering": "kmeans-9"}, "is not one of"),
    ):
        with pytest.raises(InputError, match=message):
            analysis.montage(MAPS, **options)
    vectors = np.random.default_rng(0).normal(size=(40, 8))
    with pytest.raises(InputError, match="signal_figure"):
        spray.analyse(vectors, clusters=2, embedding=None).montage(vectors)


def test_ranking() -> None:
    ranking = spray.rank({"clean": MAPS[~CORNER], "tagged": MAPS})
    figure = ranking.plot()
    draw(figure)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["tagged", "clean"]
    heights = [[bar.get_height() for bar in bars] for bars in figure.axes[0].containers]
    np.testing.assert_allclose(np.transpose(heights), [ranking.eigenvalues[name][1:] for name in ranking.classes])


def test_users_settings_change_nothing() -> None:
    import matplotlib

    analysis = spray.analyse(MAPS, clusters=2, embedding=None)
    plain = draw(analysis.plot_spectrum())
    with matplotlib.rc_context({"axes.facecolor": "black", "axes.grid": True, "lines.linewidth": 9, "font.size": 20}):
        changed = draw(analysis.plot_spectrum())
    np.testing.assert_array_equal(plain, changed)


def test_pictures() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for image in (grey, grey[None], grey[..., None], np.stack([grey] * 3), np.stack([grey] * 3, -1)):
        np.testing.assert_array_equal(picture_at([image], 0), np.stack([grey] * 3, -1))
    scaled = picture_at([grey / 7.0 - 1.0], 0)
    assert (scaled.min(), scaled.max()) == (0, 255)
    assert picture_at([np.ones((2, 2))], 0).max() == 0
    small = thumbnail(np.full((100, 50, 3), 7, np.uint8), 20)
    assert small.shape == (20, 10, 3) and (small == 7).all()
    assert framed(small, "#ff0000").shape == (46, 26, 3)
    for wrong in (np.zeros((5, 5, 2)), np.zeros(5), np.full((2, 2), np.nan)):
        with pytest.raises(InputError, match="image 0"):
            picture_at([wrong], 0)
