"""Methods by gradients and excitation backprop, against finite differences and closed forms."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

import graphlrp
from graphlrp import Composite, Epsilon, select
from graphlrp.rules.sampling import GaussianNoise, radau
from tests.baselines.models import (
    DOUBLE,
    explain,
    function,
    noise_of,
    normal,
    per_extent,
    per_sample,
    pictures,
    samples,
    smooth,
    smooth_gradient,
)
from tests.networks import Network, evaluate, gradient

# Sensitivity


@pytest.mark.parametrize(("norm", "order"), [(2, 2), ("2", 2), (float("inf"), np.inf), ("inf", np.inf), (1, 1), (3.5, 3.5)])
def test_sensitivity_is_the_norm_over_channels(norm: Any, order: float) -> None:
    model, x = pictures(), samples()
    hot = np.eye(3)[[1, 2]]
    expected = np.linalg.norm(gradient(function(model), x, hot), ord=order, axis=1)
    relevance = explain(model, "sensitivity", x, [1, 2], norm=norm).relevance
    assert relevance.shape == x.shape
    np.testing.assert_allclose(relevance.sum(1), expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(relevance, np.repeat(relevance[:, :1], 3, axis=1))


def test_sensitivity_finds_the_channels_of_other_layouts() -> None:
    x = samples()
    expected = explain(pictures(), "sensitivity", x, 0).relevance
    last = explain(pictures("NHWC"), "sensitivity", x.transpose(0, 2, 3, 1), 0).relevance
    np.testing.assert_allclose(last, expected.transpose(0, 2, 3, 1), rtol=1e-9)
    # Tokens with features, which no convolution reads: the last axis.
    network = Network(x=["N", 4, 5])
    model = network.model(network("ReduceSum", network("Tanh", network("MatMul", "x", normal(5, 3))), np.array([1]), keepdims=0))
    x = normal(2, 4, 5)
    slopes = gradient(function(model), x, np.eye(3)[[0, 0]])
    relevance = explain(model, "sensitivity", x, 0).relevance
    np.testing.assert_allclose(relevance.sum(2), np.linalg.norm(slopes, axis=2), rtol=1e-5)
    # A signal, which one reads.
    network = Network(x=["N", 2, 9])
    filtered = network("Tanh", network("Conv", "x", normal(3, 2, 3)))
    model = network.model(network("ReduceMean", filtered, np.array([2]), keepdims=0))
    x = normal(2, 2, 9)
    slopes = gradient(function(model), x, np.eye(3)[[0, 0]])
    np.testing.assert_allclose(
        explain(model, "sensitivity", x, 0).relevance.sum(1), np.linalg.norm(slopes, axis=1), rtol=1e-5, atol=1e-9
    )


def test_sensitivity_of_vectors_and_grey_pictures_is_the_magnitude() -> None:
    model, x = smooth(), normal(3, 4)
    np.testing.assert_allclose(
        explain(model, "sensitivity", x, 1).relevance, np.abs(smooth_gradient(x, np.array([1, 1, 1]))), rtol=1e-9
    )
    network = Network(x=["N", "H", "W"])
    model = network.model(network("ReduceSum", network("Tanh", "x"), np.array([2]), keepdims=0))
    x = normal(2, 3, 4)
    np.testing.assert_allclose(explain(model, "sensitivity", x, np.ones((2, 3))).relevance, 1 - np.tanh(x) ** 2, rtol=1e-9)


def test_norms_of_tiny_gradients_do_not_vanish() -> None:
    network = Network(x=["N", 3, 2, 2], dtype=TensorProto.FLOAT)
    scaled = network("Mul", "x", np.full((1, 3, 1, 1), 1e-15))
    model = network.model(network("Flatten", network("GlobalAveragePool", network("Conv", scaled, np.full((2, 3, 1, 1), 1e-15)))))
    relevance = explain(model, "sensitivity", np.ones((1, 3, 2, 2), np.float32), 0, load={}).relevance
    np.testing.assert_allclose(relevance.sum(1), np.sqrt(3) * 1e-30 / 4, rtol=1e-5)


# Integrated gradients


@pytest.mark.parametrize("count", [1, 2, 3, 8, 33])
def test_radau_is_exact_for_polynomials(count: int) -> None:
    nodes, weights = radau(count)
    assert nodes[0] == 1 and np.all(weights > 0) and np.all((nodes > 0) & (nodes <= 1)) and len(set(nodes)) == count
    for degree in range(2 * count - 1):
        np.testing.assert_allclose(np.sum(weights * nodes**degree), 1 / (degree + 1), rtol=1e-12)


def test_integrated_gradients_is_the_integral() -> None:
    model, x = smooth(), 2 * normal(3, 4)
    baseline, classes = np.array([0.5, -0.2, 0.0, 1.0]), np.array([2, 0, 1])
    dense = (np.arange(4000) + 0.5) / 4000
    mean = np.mean([smooth_gradient(baseline + a * (x - baseline), classes) for a in dense], axis=0)
    expected = (x - baseline) * mean
    errors = []
    for steps in (2, 4, 8, 16):
        relevance = explain(model, "integrated-gradients", x, classes, steps=steps, baseline=tuple(baseline)).relevance
        errors.append(np.abs(relevance - expected).max())
    assert all(later < earlier / 5 for earlier, later in pairwise(errors)), errors
    assert errors[-1] < 1e-6 * np.abs(expected).max()


def test_integrated_gradients_is_complete() -> None:
    model, x = pictures(), samples(3)
    baseline = (0.5, -0.5, 0.1)
    (f,) = evaluate(model, {"x": x})
    (f0,) = evaluate(model, {"x": np.broadcast_to(np.reshape(baseline, (1, 3, 1, 1)), x.shape)})
    explanation = explain(model, "integrated-gradients", x, steps=24, baseline=baseline)
    rows, best = np.arange(3), f.argmax(1)
    np.testing.assert_array_equal(explanation.target, best)
    np.testing.assert_allclose(explanation.output, f, rtol=1e-12)
    np.testing.assert_allclose(per_sample(explanation.relevance), (f - f0)[rows, best], rtol=1e-6)
    # So is that of any other start: F(x) = Σ s_c f_c(x) with the weights s that the sample decides.
    weights = normal(3, 3)
    explainer = graphlrp.load(model, graphlrp.composite("integrated-gradients", steps=24), **DOUBLE)
    (zero,) = evaluate(model, {"x": np.zeros_like(x)})
    np.testing.assert_allclose(per_sample(explainer(x, weights).relevance), (weights * (f - zero)).sum(1), rtol=1e-5, atol=1e-7)
    contrast = np.where(np.eye(3)[best] > 0, 1.0, -0.5)
    for initial, start in (("contrastive", contrast), ("value", f * np.eye(3)[best])):
        explainer = graphlrp.load(model, graphlrp.composite("integrated-gradients", steps=24), initial=initial, **DOUBLE)
        np.testing.assert_allclose(per_sample(explainer(x).relevance), (start * (f - zero)).sum(1), rtol=1e-5, atol=1e-7)


def test_one_step_is_gradient_times_distance() -> None:
    model, x = smooth(), normal(3, 4)
    relevance = explain(model, "integrated-gradients", x, 1, steps=1, baseline=0.5).relevance
    np.testing.assert_allclose(relevance, (x - 0.5) * smooth_gradient(x, np.array([1, 1, 1])), rtol=1e-9)


def test_an_inner_value_moves_alone() -> None:
    model, x = smooth(), normal(2, 4)
    explainer = graphlrp.load(model, graphlrp.composite("integrated-gradients", steps=3), explain="hidden", **DOUBLE)
    hidden = np.tanh(x @ normal(4, 6) + normal(6))
    np.testing.assert_allclose(explainer(x, 2).relevance, hidden * normal(6, 3)[:, 2], rtol=1e-9)


# SmoothGrad


@pytest.mark.parametrize("times_input", [False, True])
def test_smoothgrad_is_the_mean_gradient_of_the_copies(times_input: bool) -> None:
    model, x = pictures(), samples()
    noise = noise_of(3, 5, x[0].size).reshape(5, *x.shape[1:])
    extent = per_extent(x)
    slopes = [gradient(function(model), x + 0.2 * extent * copy, np.eye(3)[[2, 0]]) for copy in noise]
    expected = np.mean(slopes, axis=0) * (x if times_input else 1)
    relevance = explain(model, "smoothgrad", x, [2, 0], samples=5, noise=0.2, seed=3, times_input=times_input).relevance
    np.testing.assert_allclose(relevance, expected, rtol=1e-5, atol=1e-7)


def test_noise_is_normal_and_independent() -> None:
    noise = noise_of(0, 12, 3 * 64 * 64)
    assert np.all(np.abs(noise.mean(1)) < 0.03) and np.all(np.abs(noise.std(1) - 1) < 0.03)
    assert np.abs(np.corrcoef(noise) - np.eye(12)).max() < 0.05
    picture = noise.reshape(12, 3, 64, 64)
    for axis, distance in product((1, 2, 3), (1, 2)):
        near = np.take(picture, range(distance, picture.shape[axis]), axis).ravel()
        far = np.take(picture, range(picture.shape[axis] - distance), axis).ravel()
        assert abs(np.corrcoef(near, far)[0, 1]) < 0.02
    assert np.abs(noise).max() < 4.5


def test_without_noise_it_is_the_gradient_and_seeds_differ() -> None:
    model, x = pictures(), samples()
    plain = explain(model, "gradient", x).relevance
    np.testing.assert_allclose(explain(model, "smoothgrad", x, noise=0, samples=2).relevance, plain, rtol=1e-9)
    first, again, other = (explain(model, "smoothgrad", x, samples=3, seed=seed).relevance for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3 * np.abs(first).max()


def test_a_sampling_goes_with_any_rules() -> None:
    model, x = pictures(), samples()
    lrp = Composite([(select.every(), Epsilon(1e-6))], "smooth", sampling=GaussianNoise(4, 0.0))
    expected = graphlrp.load(model, "epsilon", **DOUBLE)(x).relevance
    np.testing.assert_allclose(graphlrp.load(model, lrp, **DOUBLE)(x).relevance, expected, rtol=1e-9)
    assert lrp.before((select.first(), Epsilon(0.1))).sampling == lrp.sampling


# Excitation backprop


def test_excitation_backprop_by_its_definition() -> None:
    # Zhang et al. (2016): P(i|j) = x_i w_ij^+ / Σ_i' x_i' w_i'j^+ for x >= 0, no bias; the target has probability 1.
    weights = [np.abs(normal(5, 6)) * np.sign(normal(5, 6)), normal(6, 4), normal(4, 3)]
    network = Network(x=["N", 5])
    hidden = network("Relu", network("Gemm", "x", weights[0], normal(6)), result="h1")
    hidden = network("Relu", network("Gemm", hidden, weights[1], normal(4)), result="h2")
    model = network.model(network("Gemm", hidden, weights[2], normal(3)))
    x = np.abs(normal(3, 5))
    layers = [x, *evaluate(model, {"x": x}, "h1", "h2")]
    for target in range(3):
        probability = np.tile(np.eye(3)[target], (3, 1))
        for values, w in zip(reversed(layers), reversed(weights), strict=True):
            before = np.zeros_like(values)
            for n, j in product(range(3), range(w.shape[1])):
                share = values[n] * np.maximum(w[:, j], 0)
                before[n] += share / share.sum() * probability[n, j] if share.sum() > 0 else 0
            probability = before
        explanation = explain(model, "excitation-backprop", x, target)
        np.testing.assert_allclose(explanation.relevance, probability, rtol=1e-9, atol=1e-12)
        assert explanation.initial == "one"
    assert graphlrp.load(model, "excitation-backprop").plan.policies["bias"] == "ignore"
    assert graphlrp.load(model, "excitation-backprop", bias="absorb").plan.policies["bias"] == "absorb"
    assert graphlrp.load(model, "epsilon").plan.policies["bias"] == "absorb"
