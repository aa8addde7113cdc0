"""The chart of randomised layers: names can be read, however many there are."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from graphlrp.evaluation import RandomisationResult


def result_of(layers: int, name: str, methods: int = 3) -> RandomisationResult:
    generator = np.random.default_rng(0)
    names = tuple(name.format(number) for number in range(layers))
    similarity = {"spearman": generator.uniform(-0.3, 1, (methods, layers, 4))}
    labels = tuple(f"a-method-with-a-name:parameter={number}" for number in range(methods))
    return RandomisationResult(labels, names, "cascading", similarity, np.ones(layers))


def boxes(result: RandomisationResult) -> tuple[dict[str, Bbox], Bbox]:
    figure = result.plot()
    renderer = FigureCanvasAgg(figure).get_renderer()
    return {text.get_text(): text.get_window_extent(renderer) for text in figure.texts}, figure.bbox


@pytest.mark.parametrize("layers", [1, 20, 100])
@pytest.mark.parametrize(
    "name", ["l{}", "/layer3/layer3.{}/conv2/Conv", "/features/features.{}/block/expand/projection/Convolution_1"]
)
def test_names_of_layers_are_level_whole_and_apart(layers: int, name: str) -> None:
    result = result_of(layers, name)
    texts, page = boxes(result)
    for box in texts.values():
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1
    for one, other in itertools.combinations(texts.values(), 2):
        assert one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
    # Names that lose their middle keep their ends.
    shown = [text for text in texts if text in result.layers or text.startswith("/features/features.")]
    assert len(shown) >= min(layers, 30)
    if layers <= 20 and "Convolution" not in name:
        assert set(result.layers) <= set(texts)
    assert {"none", *result.methods} <= set(texts)
    width, height = result.plot().get_size_inches()
    assert width < 8 and height < 6.5


def test_lines_go_down_from_where_nothing_is_randomised(tmp_path: Path) -> None:
    result = result_of(5, "layer {}", methods=2)
    axes = next(axes for axes in result.plot().axes if len(axes.lines) > 3 and axes.get_ylim()[0] > 1)
    drawn = [line for line in axes.lines if len(line.get_xdata()) == 6]
    for line, values in zip(drawn, result.mean(), strict=True):
        np.testing.assert_allclose(line.get_xdata(), [1.0, *values])
        assert list(line.get_ydata()) == list(range(6))
    low, high = axes.get_ylim()
    assert low > high
    assert result.save_plot(tmp_path / "layers.png").stat().st_size > 5000
