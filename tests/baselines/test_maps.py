"""Class activation maps, occlusion and random numbers, against plain loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest

import graphlrp
from graphlrp.rules import randomness
from tests.baselines.models import (
    DOUBLE,
    Array,
    explain,
    function,
    normal,
    per_sample,
    pictures,
    quantiles,
    samples,
    smooth,
)
from tests.networks import Network, as_float, evaluate, gradient

# Class activation maps


def interpolated(maps: Array, height: int, width: int) -> Array:
    """Bilinear interpolation of [h, w] maps, pixel by pixel; centres of pixels lie at half numbers."""
    result = np.zeros((height, width))
    for row, column in product(range(height), range(width)):
        y, x = ((p + 0.5) * n / m - 0.5 for p, n, m in ((row, maps.shape[0], height), (column, maps.shape[1], width)))
        y, x = min(max(y, 0), maps.shape[0] - 1), min(max(x, 0), maps.shape[1] - 1)
        top, left = int(y), int(x)
        low, right = min(top + 1, maps.shape[0] - 1), min(left + 1, maps.shape[1] - 1)
        v, u = y - top, x - left
        above = (1 - u) * maps[top, left] + u * maps[top, right]
        below = (1 - u) * maps[low, left] + u * maps[low, right]
        result[row, column] = (1 - v) * above + v * below
    return result


def upper_part() -> onnx.ModelProto:
    """What ``pictures`` makes of its maps."""
    network = Network(maps=["N", 5, 3, 4])
    pooled = network("Flatten", network("GlobalAveragePool", network("Mul", "maps", "maps")))
    return network.model(network("Gemm", pooled, normal(5, 3), normal(3)))


@pytest.mark.parametrize("name", ["grad-cam", "cam"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_grad_cam_by_loops(name: str, layout: str) -> None:
    model, x = pictures(), samples()
    (maps,) = evaluate(model, {"x": x}, "maps")
    slopes = gradient(function(upper_part(), "maps"), maps, np.eye(3)[[1, 2]])
    expected = np.zeros((2, 6, 8))
    for n in range(2):
        total = sum(slopes[n, k].mean() * maps[n, k] for k in range(5))
        total = np.maximum(total, 0) if name == "grad-cam" else total
        expected[n] = interpolated(np.asarray(total), 6, 8) * (3 * 4) / (6 * 8)
    given = x if layout == "NCHW" else x.transpose(0, 2, 3, 1)
    explanation = explain(pictures(layout), name, given, [1, 2], layer="act2")
    channel = 1 if layout == "NCHW" else 3
    np.testing.assert_allclose(explanation.relevance.sum(channel), expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(explanation.relevance.std(channel), 0, atol=1e-12)
    # The name of the value will do as well.
    by_value = explain(pictures(layout), name, given, [1, 2], layer="maps").relevance
    np.testing.assert_array_equal(by_value, explanation.relevance)


def test_cam_of_pooling_and_a_dense_layer() -> None:
    # Zhou et al. (2016): the map of class c is Σ_k w_kc A_k; its mean over positions is f_c without the bias.
    network = Network(x=["N", 2, 8, 8])
    maps = network("Relu", network("Conv", "x", normal(4, 2, 3, 3), normal(4), strides=[2, 2], pads=[1] * 4), result="maps")
    weights, bias = normal(4, 3), normal(3)
    model = network.model(network("Gemm", network("Flatten", network("GlobalAveragePool", maps)), weights, bias))
    x = normal(3, 2, 8, 8)
    activations, scores = evaluate(model, {"x": x}, "maps", model.graph.output[0].name)
    explanation = explain(model, "cam", x)
    best = scores.argmax(1)
    for n, c in enumerate(best):
        classic = np.tensordot(weights[:, c], activations[n], 1) / 16
        np.testing.assert_allclose(explanation.relevance[n].sum(0), interpolated(classic, 8, 8) * 16 / 64, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(per_sample(explanation.relevance), scores[range(3), best] - bias[best], rtol=1e-9)


def test_cam_of_a_signal() -> None:
    network = Network(x=["N", 2, 12])
    maps = network("Relu", network("Conv", "x", normal(4, 2, 3), strides=[2], pads=[1, 1]), result="maps")
    weights = normal(4, 3)
    model = network.model(network("Gemm", network("Flatten", network("GlobalAveragePool", maps)), weights))
    x = normal(2, 2, 12)
    (activations,) = evaluate(model, {"x": x}, "maps")
    relevance = explain(model, "cam", x, 1).relevance
    for n in range(2):
        classic = weights[:, 1] @ activations[n] / 6
        np.testing.assert_allclose(relevance[n].sum(0), interpolated(classic[None], 1, 12)[0] / 2, rtol=1e-9, atol=1e-12)


def residual_tail(network: Network) -> str:
    """A convolution, batch normalisation, a skip and a ReLU, named after what they are."""
    stem = network("Relu", network("Conv", "x", normal(4, 3, 3, 3), pads=[1] * 4, name="stem"), name="stem_act")
    deep = network("Conv", stem, normal(4, 4, 3, 3), pads=[1] * 4, name="deep")
    parameters = [np.ones(4), np.zeros(4), np.zeros(4), np.ones(4)]
    normed = network("BatchNormalization", deep, *parameters, name="norm")
    return str(network("Relu", network("Add", normed, stem, name="join"), name="last"))


@pytest.mark.parametrize("kind", ["residual", "vgg", "dense", "gated", "class maps"])
def test_the_layer_that_is_chosen(kind: str) -> None:
    network = Network(x=["N", 3, 8, 8])
    if kind == "residual":
        value = residual_tail(network)
        expected = "last"
    elif kind == "vgg":
        value = network("Relu", network("Conv", "x", normal(4, 3, 3, 3), pads=[1] * 4), name="before the pool")
        value = network("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
        expected = "before the pool"
    elif kind == "dense":
        first = network("Relu", network("Conv", "x", normal(4, 3, 3, 3), pads=[1] * 4))
        second = network("Conv", first, normal(4, 4, 3, 3), pads=[1] * 4)
        value = network("Relu", network("Concat", first, second, axis=1), name="joined")
        expected = "joined"
    elif kind == "gated":
        maps = network("Conv", "x", normal(4, 3, 3, 3), pads=[1] * 4)
        squeezed = network("Conv", network("GlobalAveragePool", maps), normal(4, 4, 1, 1))
        value = network("Mul", maps, network("Sigmoid", squeezed), name="gated")
        # A convolution of one position, after everything, is a dense layer.
        expected = "gated"
    else:
        value = network("Relu", network("Conv", "x", normal(3, 3, 3, 3), pads=[1] * 4), name="class maps")
        expected = "class maps"
    value = network("GlobalAveragePool", value)
    if kind == "gated":
        value = network("Conv", value, normal(3, 4, 1, 1))
    elif kind != "class maps":
        value = network("Conv", value, normal(3, 8 if kind == "dense" else 4, 1, 1))
    plan = graphlrp.load(network.model(network("Flatten", value)), "grad-cam").plan
    assert plan.policies["layer"] == expected
    rules = {row.node: row.rule for row in plan.rows}
    assert set(rules.values()) <= {"(evaluated)", "Gradient()"}
    assert plan.rows[0].rule == "(evaluated)" and plan.rows[-1].rule == "Gradient()"
    assert rules[expected] == "(evaluated)"


# Occlusion


def by_windows(
    f: Callable[[Array], Array], x: Array, weights: Array, window: tuple[int, ...], stride: tuple[int, ...], value: Any
) -> Array:
    """Occlusion of [N, C, ...] or [N, D], window by window: the map over positions."""
    first = 2 if x.ndim > 2 else 1
    extent = x.shape[first:]
    starts = []
    for size, w, s in zip(extent, window, stride, strict=True):
        regular = list(range(0, size - w + 1, s))
        starts.append(regular + ([size - w] if regular[-1] != size - w else []))
    total, cover = np.zeros((len(x), *extent)), np.zeros(extent)
    clean = (f(x) * weights).sum(1)
    for corner in product(*starts):
        place = tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))
        hidden = x.copy()
        for channel in range(x.shape[1]) if first == 2 else [None]:
            where = (slice(None), *(() if channel is None else (channel,)), *place)
            hidden[where] = np.asarray(value).reshape(-1)[channel or 0] if np.size(value) > 1 else value
        change = clean - (f(hidden) * weights).sum(1)
        total[(slice(None), *place)] += change.reshape(-1, *[1] * len(extent))
        cover[place] += 1
    return total / cover


@pytest.mark.parametrize(
    ("window", "stride", "value"),
    [
        (2, 2, 0.0),
        (3, 2, (0.5, -1.0, 0.25)),
        ((2, 5), (1, 4), 0.3),
        (6, 1, 0.0),
        ((6, 8), 3, 0.0),
        (1, 1, 0.1),
        ((4, 7), (3, 2), 0.0),
    ],
)
def test_occlusion_by_loops(window: Any, stride: Any, value: Any) -> None:
    model, x = pictures(), samples()
    pair = [size if isinstance(size, tuple) else (size, size) for size in (window, stride)]
    expected = by_windows(function(model), x, np.eye(3)[[0, 2]], *pair, value)
    explanation = explain(model, "occlusion", x, [0, 2], window=window, stride=stride, value=value)
    np.testing.assert_allclose(explanation.relevance.sum(1), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(explanation.relevance.std(1), 0, atol=1e-12)
    last = explain(
        pictures("NHWC"), "occlusion", x.transpose(0, 2, 3, 1), [0, 2], window=window, stride=stride, value=value
    ).relevance
    np.testing.assert_allclose(last.sum(3), expected, rtol=1e-9, atol=1e-12)


def test_windows_of_pictures_are_an_eighth_by_default() -> None:
    network = Network(x=["N", 1, 17, 16])
    model = network.model(network("Flatten", network("AveragePool", network("Tanh", "x"), kernel_shape=[17, 8], strides=[1, 8])))
    x = normal(2, 1, 17, 16)
    expected = by_windows(function(model), x, np.eye(2), (3, 2), (2, 1), 0.0)
    np.testing.assert_allclose(explain(model, "occlusion", x, [0, 1]).relevance[:, 0], expected, rtol=1e-9, atol=1e-12)


def test_occlusion_of_vectors() -> None:
    model, x = smooth(), normal(3, 4)
    f, hot = function(model), np.eye(3)[[2, 0, 1]]
    explained = explain(model, "occlusion", x, [2, 0, 1])
    np.testing.assert_allclose(explained.relevance, by_windows(f, x, hot, (1,), (1,), 0.0), rtol=1e-9, atol=1e-12)
    value = tuple(normal(4))
    several = explain(model, "occlusion", x, [2, 0, 1], window=3, stride=1, value=value).relevance
    expected = np.zeros_like(x)
    for start in (0, 1):
        hidden = x.copy()
        hidden[:, start : start + 3] = value[start : start + 3]
        expected[:, start : start + 3] += ((f(x) - f(hidden)) * hot).sum(1, keepdims=True)
    np.testing.assert_allclose(several, expected / np.array([1, 2, 2, 1]), rtol=1e-9, atol=1e-12)


def test_occlusion_of_pictures_of_any_size() -> None:
    model = pictures(sizes=("height", "width"))
    explainer = graphlrp.load(as_float(model), graphlrp.composite("occlusion", window=(3, 4), stride=2))
    for height, width in ((6, 8), (3, 9)):
        x = samples(2, 3, height, width)
        expected = by_windows(function(model), x, np.eye(3)[[1, 1]], (3, 4), (2, 2), 0.0)
        np.testing.assert_allclose(explainer(x.astype(np.float32), 1).relevance.sum(1), expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(graphlrp.InputError, match="window is larger than 'x'"):
        explainer(samples(1, 3, 6, 3).astype(np.float32), 1)
    by_default = graphlrp.load(as_float(model), graphlrp.composite("occlusion", stride=2))
    expected = by_windows(function(model), samples(1, 3, 17, 16), np.eye(3)[[1]], (3, 2), (2, 2), 0.0)
    large = samples(1, 3, 17, 16).astype(np.float32)
    np.testing.assert_allclose(by_default(large, 1).relevance.sum(1), expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(graphlrp.InputError, match="or smaller than the stride"):
        by_default(large[:, :, :, :8], 1)


def test_occlusion_needs_no_mappings() -> None:
    network = Network(x=["N", 5])
    model = network.model(network("CumSum", "x", np.array(1)))
    x = normal(2, 5)
    with pytest.raises(graphlrp.UnsupportedOperatorError):
        graphlrp.load(model, "gradient")
    relevance = explain(model, "occlusion", x, 3).relevance
    np.testing.assert_allclose(relevance, np.where(np.arange(5) <= 3, x, 0), rtol=1e-9, atol=1e-12)
    plan = graphlrp.load(model, "occlusion").plan
    assert [(row.operator, row.rule) for row in plan.rows] == [("CumSum", "(evaluated)")]


# Random


def test_random_numbers() -> None:
    model, x = pictures(sizes=("height", "width")), normal(4, 3, 40, 48)
    explainer = graphlrp.load(as_float(model), "random")
    relevance = explainer(x.astype(np.float32)).relevance
    assert relevance.shape == x.shape and np.abs(relevance).max() <= 1
    assert abs(relevance.mean()) < 0.02 and abs(relevance.var() - 1 / 3) < 0.02
    flat = relevance.reshape(4, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.05
    assert abs(np.corrcoef(flat[0][1:], flat[0][:-1])[0, 1]) < 0.03
    # The same for the same sample, wherever it stands, and in whatever precision.
    np.testing.assert_array_equal(explainer(x[[2, 0]].astype(np.float32)).relevance, relevance[[2, 0]])
    single = x.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(graphlrp.load(model, "random", **DOUBLE)(single).relevance, relevance, atol=1e-6)
    other = graphlrp.load(as_float(model), graphlrp.composite("random", seed=1))(x.astype(np.float32)).relevance
    assert abs(np.corrcoef(other.ravel(), relevance.ravel())[0, 1]) < 0.05
    # A sample that differs in one number has other numbers.
    x[1] = x[0]
    x[1, 2, 5, 5] += 1e-3
    close = explainer(x.astype(np.float32)).relevance
    assert abs(np.corrcoef(close[0].ravel(), close[1].ravel())[0, 1]) < 0.05


def test_tables_are_quantiles_in_random_order() -> None:
    table = randomness._table(randomness.NORMAL, 0)
    np.testing.assert_allclose(np.sort(table), quantiles(), atol=1e-12)
