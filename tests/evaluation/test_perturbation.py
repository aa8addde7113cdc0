"""Perturbation against its definition, written as plain loops over functions of numpy, and on models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

import graphlrp
from graphlrp import evaluation
from graphlrp.errors import InputError
from tests.builders import residual_network

Array = np.ndarray


def classifier(shape: tuple[int, ...], classes: int = 4, seed: int = 0) -> Callable[[Array], Array]:
    """A function of samples, row by row, so that nothing depends on batches."""
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(int(np.prod(shape)), 6)), generator.normal(size=(6, classes))

    def function(x: Array) -> Array:
        return np.stack([np.tanh(row.reshape(-1) @ first / 4) @ second for row in x.astype(np.float64)])

    return function


def counting(function: Callable[[Array], Array]) -> tuple[Callable[[Array], Array], list[Array]]:
    """The function, and what it was called with."""
    calls: list[Array] = []

    def counted(x: Array) -> Array:
        calls.append(x.copy())
        return function(x)

    return counted, calls


def loop_scores(
    function: Callable[[Array], Array],
    x: Array,
    relevance: Array,
    fill: Array,
    size: int,
    steps: int,
    target: Array,
    *,
    most: bool,
) -> Array:
    """(3.6) for pictures [N, C, H, W] whose sides are multiples of the size, relevances without ties, one given replacement."""
    scores = np.zeros((len(x), steps + 1))
    for n, sample in enumerate(x):
        regions = []
        for top in range(0, x.shape[2], size):
            for left in range(0, x.shape[3], size):
                total = sum(
                    relevance[n, c, y, z]
                    for c in range(x.shape[1])
                    for y in range(top, top + size)
                    for z in range(left, left + size)
                )
                regions.append((total, top, left))
        regions.sort(reverse=most)
        current = sample.copy()
        scores[n, 0] = function(current[None])[0, target[n]]
        for k in range(1, steps + 1):
            _, top, left = regions[k - 1]
            current[:, top : top + size, left : left + size] = fill[n][:, top : top + size, left : left + size]
            scores[n, k] = function(current[None])[0, target[n]]
    return scores


@pytest.fixture(scope="module")
def pictures() -> Array:
    return np.random.default_rng(1).normal(size=(5, 3, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def maps() -> Array:
    return np.random.default_rng(2).normal(size=(5, 3, 12, 12))


FILLS: dict[str, tuple[Any, Callable[[Array], Array]]] = {
    "constant": (0.5, lambda x: np.full_like(x, 0.5)),
    "constant per channel": ([0.5, -1, 2], lambda x: np.broadcast_to(np.array([0.5, -1, 2], x.dtype)[:, None, None], x.shape)),
    "mean": ("mean", lambda x: np.broadcast_to(x.astype(float).mean((2, 3), keepdims=True).astype(x.dtype), x.shape)),
    "data mean": (
        "data-mean",
        lambda x: np.broadcast_to(x.astype(float).mean((0, 2, 3), keepdims=True).astype(x.dtype), x.shape),
    ),
    "blur": (
        evaluation.Blur(1.5),
        lambda x: np.stack([[gaussian_filter(c.astype(float), 1.5, mode="nearest") for c in s] for s in x]).astype(x.dtype),
    ),
    "flip": ("flip", lambda x: (x.min((0, 2, 3), keepdims=True) + x.max((0, 2, 3), keepdims=True)).astype(float) - x),
    "flip of [-1, 1]": (evaluation.Flip(-1, 1), lambda x: -x),
}


@pytest.mark.parametrize("name", FILLS)
def test_curves_follow_the_definition(name: str, pictures: Array, maps: Array) -> None:
    filling, fills = FILLS[name]
    function = classifier((3, 12, 12))
    result = evaluation.perturb(function, pictures, {"m": maps}, order=("morf", "lerf"), region=3, steps=7, filling=filling)
    target = function(pictures).argmax(1)
    assert (result.target == target).all()
    for order in ("morf", "lerf"):
        expected = loop_scores(function, pictures, maps, fills(pictures), 3, 7, target, most=order == "morf")
        curve = result.curve("m", order)
        assert curve.scores.shape == (5, 1, 8)
        np.testing.assert_allclose(curve.scores[:, 0], expected, rtol=1e-5, atol=1e-6)
        # (3.7), term by term.
        total = 0.0
        for n in range(5):
            for k in range(8):
                total += expected[n, 0] - expected[n, k]
        assert curve.aopc == pytest.approx(total / 5 / 8)


def test_noise_is_that_of_perturbed_and_fresh_in_every_repeat(pictures: Array, maps: Array) -> None:
    function = classifier((3, 12, 12))
    options: dict[str, Any] = {"region": 4, "seed": 7}
    result = evaluation.perturb(function, pictures, {"m": maps}, order=("morf", "lerf"), steps=9, repeats=4, **options)
    target = function(pictures).argmax(1)
    fills = evaluation.perturbed(pictures, maps, [9], **options)[:, 0]
    low, high = pictures.min((0, 2, 3))[:, None, None], pictures.max((0, 2, 3))[:, None, None]
    assert (fills >= low).all()
    assert (fills <= high).all()
    for order in ("morf", "lerf"):
        expected = loop_scores(function, pictures, maps, fills, 4, 9, target, most=order == "morf")
        np.testing.assert_allclose(result.curve("m", order).scores[:, 0], expected, rtol=1e-9)
    scores = result.curve("m").scores
    assert scores.shape == (5, 4, 10)
    assert all(len(set(scores[n, :, k])) == 4 for n in range(5) for k in range(1, 10))
    assert (scores[:, :, 0] == scores[:, :1, 0]).all()


def test_noise_is_uniform() -> None:
    x = np.zeros((1, 3, 60, 60), np.float32)
    low, high = (-1, 0, 2), (1, 0.5, 6)
    (fill,) = evaluation.perturbed(x, x, [3600], region=1, filling=evaluation.Uniform(low, high))[0]
    for channel in range(3):
        share = (np.sort(fill[channel].ravel()) - low[channel]) / (high[channel] - low[channel])
        # Kolmogorov and Smirnov: the largest distance from the uniform distribution, 3600 values.
        assert np.abs(share - np.linspace(0, 1, 3600)).max() < 1.95 / 60


def test_all_methods_and_orders_end_in_the_same_inputs(pictures: Array, maps: Array) -> None:
    function, calls = counting(classifier((3, 12, 12)))
    methods = {"a": maps, "b": -maps, "c": np.random.default_rng(9).normal(size=maps.shape)}
    result = evaluation.perturb(function, pictures, methods, order=("morf", "lerf", "random"), region=4, repeats=3)
    assert result.settings["steps"] == 9
    ends = [curve.scores[:, :, -1] for curve in result.curves]
    assert len(ends) == 7
    assert all((end == ends[0]).all() for end in ends)
    for order, other in (("morf", "lerf"), ("lerf", "morf")):
        assert (result.curve("a", order).scores == result.curve("b", other).scores).all()
    # Clean inputs once; inputs that several curves share once: of "b" nothing is computed, the end once per repeat.
    assert max(map(len, calls)) <= 32
    most = 5 + 5 * 3 * (5 * 8 + 1)
    assert sum(map(len, calls)) <= most
    assert sum(map(len, calls)) > most - 5 * 3 * 20  # two ways may also meet by chance


def test_ties_are_drawn_by_lot_and_lerf_is_morf_backwards(pictures: Array) -> None:
    flat = np.zeros((5, 12, 12))
    run: dict[str, Any] = {"region": 3, "filling": 0.0}
    x = np.ones_like(pictures)
    forwards = [evaluation.perturbed(x, flat, [k], **run)[:, 0, 0] for k in range(17)]
    backwards = [evaluation.perturbed(x, flat, [k], order="lerf", **run)[:, 0, 0] for k in range(17)]
    for k in range(17):
        assert ((forwards[k] == 0) ^ (backwards[16 - k] == 0)).all()
    firsts = {tuple(np.argwhere(forwards[1][n] == 0)[0]) for n in range(5)}
    assert len(firsts) > 1  # not the upper left corner of every sample
    half = np.zeros((5, 12, 12))
    half[:, 6:] = 1
    assert (evaluation.perturbed(x, half, [8], **run)[:, 0, :, 6:] == 0).all()
    assert (evaluation.perturbed(x, half, [8], **run)[:, 0, :, :6] == 1).all()


def test_random_orders_are_fresh_for_every_sample_and_repeat() -> None:
    x = np.ones((3, 6), np.float32)
    weights = 2.0 ** np.arange(6)
    result = evaluation.perturb(lambda v: v @ weights, x, [], order="random", filling=0.0, repeats=50)
    assert [curve.order for curve in result.curves] == ["random"]
    drops = -np.diff(result.curves[0].scores, axis=2)
    assert (np.sort(drops, axis=2) == weights).all()
    orders = {tuple(row) for row in drops.reshape(-1, 6)}
    assert len(orders) > 120
    firsts = np.bincount(np.log2(drops[:, :, 0]).astype(int).ravel(), minlength=6)
    assert firsts.min() >= 10
    assert firsts.max() <= 45


def test_exact_contributions_are_the_best_order() -> None:
    generator = np.random.default_rng(0)
    x, weights = generator.normal(size=(20, 9)), generator.normal(size=9)
    result = evaluation.perturb(
        lambda v: v @ weights,
        x,
        {"exact": x * weights, "gradient": np.tile(weights, (20, 1))},
        filling=0.0,
        order=("morf", "random"),
    )
    sorted_terms = -np.sort(-(x * weights), axis=1)
    expected = np.concatenate([np.zeros((20, 1)), sorted_terms.cumsum(1)], axis=1).mean(1)
    np.testing.assert_allclose(result.curve("exact").aopc_per_sample, expected)
    for other in (result.curve("gradient"), result.curve("", "random")):
        assert (result.curve("exact").aopc_per_sample >= other.aopc_per_sample - 1e-12).all()


def test_steps_of_several_regions() -> None:
    generator = np.random.default_rng(0)
    x, weights = generator.normal(size=(4, 10)), generator.normal(size=10)
    one = evaluation.perturb(lambda v: v @ weights, x, {"m": x * weights}, filling=0.0, order="morf")
    three = evaluation.perturb(lambda v: v @ weights, x, {"m": x * weights}, filling=0.0, order="morf", regions_per_step=3)
    assert three.settings["steps"] == 3
    np.testing.assert_allclose(three.curves[0].scores, one.curves[0].scores[:, :, [0, 3, 6, 9]], atol=1e-12)


def test_signs_of_binary_pictures_flip() -> None:
    x = np.where(np.random.default_rng(0).random((2, 1, 10, 10)) < 0.5, -1, 1).astype(np.float32)
    order = np.random.default_rng(1).permutation(100).reshape(10, 10) * np.ones((2, 1, 1))
    states = evaluation.perturbed(x, order, [0, 1, 10, 100], region=1, filling="flip")
    assert [(state != x).mean() for state in np.moveaxis(states, 1, 0)] == pytest.approx([0.0, 0.01, 0.1, 1.0])
    assert (states[:, 2, 0] == np.where(order >= 90, -x[:, 0], x[:, 0])).all()


def test_channels_may_come_last(pictures: Array, maps: Array) -> None:
    first = classifier((3, 12, 12))
    last: dict[str, Any] = {"region": 4, "filling": "mean", "order": ("morf", "lerf")}
    one = evaluation.perturb(first, pictures, {"m": maps}, **last)
    other = evaluation.perturb(
        lambda x: first(np.moveaxis(x, -1, 1)), np.moveaxis(pictures, 1, -1), {"m": np.moveaxis(maps, 1, -1)}, **last
    )
    for a, b in zip(one.curves, other.curves, strict=True):
        np.testing.assert_allclose(a.scores, b.scores)


def test_targets_and_scores(pictures: Array, maps: Array) -> None:
    function = classifier((3, 12, 12))
    options: dict[str, Any] = {"region": 6, "filling": 0.0, "order": "morf"}
    values = {k: evaluation.perturbed(pictures, maps, [k], region=6, filling=0.0)[:, 0] for k in range(5)}
    outputs = np.stack([function(values[k]) for k in range(5)], axis=1)
    rows = np.arange(5)
    for target in (2, np.array([0, 1, 2, 3, 0])):
        chosen = np.broadcast_to(target, 5)
        result = evaluation.perturb(function, pictures, {"m": maps}, target, **options)
        np.testing.assert_allclose(result.curves[0].scores[:, 0], outputs[rows, :, chosen])
        shares = evaluation.perturb(function, pictures, {"m": maps}, target, score="probability", **options)
        np.testing.assert_allclose(shares.curves[0].scores[:, 0], softmax(outputs, axis=2)[rows, :, chosen])

    def margin(outputs: Array, targets: Array) -> Array:
        return outputs[np.arange(len(outputs)), targets] - outputs.mean(1)

    result = evaluation.perturb(function, pictures, {"m": maps}, 1, score=margin, **options)
    np.testing.assert_allclose(result.curves[0].scores[:, 0], outputs[:, :, 1] - outputs.mean(2))
    single = evaluation.perturb(lambda x: function(x)[:, 1], pictures, {"m": maps}, **options)
    np.testing.assert_allclose(single.curves[0].scores[:, 0], outputs[:, :, 1])
    assert (single.target == -1).all()


def test_a_decision_speaks_for_one_of_two_classes(pictures: Array, maps: Array) -> None:
    """Where f(x) < 0 decides, -f is watched, and what is most relevant for it has the most negative relevance."""
    function = classifier((3, 12, 12))
    middle = np.median(function(pictures)[:, 1])

    def f(x: Array) -> Array:
        return np.asarray(function(x)[:, 1] - middle - 1e-3)

    options: dict[str, Any] = {"region": 6, "filling": 0.0, "order": "morf"}
    sides = f(pictures) > 0
    assert 0 < sides.sum() < len(sides)
    signs = np.where(sides, 1.0, -1.0)
    result = evaluation.perturb(f, pictures, {"m": maps}, score="decision", **options)
    assert (result.target == sides).all()
    mirrored = maps * signs[:, None, None, None]
    plain = evaluation.perturb(f, pictures, {"m": mirrored}, score="output", **options)
    np.testing.assert_allclose(result.curves[0].scores, plain.curves[0].scores * signs[:, None, None])
    shares = evaluation.perturb(f, pictures, {"m": maps}, score="probability", **options)
    np.testing.assert_allclose(shares.curves[0].scores, 1 / (1 + np.exp(-result.curves[0].scores)))
    first = evaluation.perturb(f, pictures, {"m": maps}, 0, score="decision", **options)
    opposite = evaluation.perturb(f, pictures, {"m": -maps}, score="output", **options)
    np.testing.assert_allclose(first.curves[0].scores, -opposite.curves[0].scores)
    with pytest.raises(InputError, match=r"one output.*\[4\]"):
        evaluation.perturb(function, pictures, {"m": maps}, score="decision", **options)
    with pytest.raises(InputError, match="0 to 1"):
        evaluation.perturb(f, pictures, {"m": maps}, 2, score="decision", **options)


def test_sums_over_further_axes_of_the_output(pictures: Array, maps: Array) -> None:
    function = classifier((3, 12, 12), classes=12)
    result = evaluation.perturb(
        lambda x: function(x).reshape(-1, 3, 2, 2), pictures, {"m": maps}, region=6, filling=0.0, order="morf"
    )
    per_class = function(pictures).reshape(5, 3, 4).sum(2)
    assert (result.target == per_class.argmax(1)).all()
    np.testing.assert_allclose(result.curves[0].scores[:, 0, 0], per_class.max(1))


def test_batches_and_other_methods_change_nothing(pictures: Array, maps: Array) -> None:
    function = classifier((3, 12, 12))
    options: dict[str, Any] = {"region": 4, "steps": 5, "repeats": 3, "order": ("morf", "random")}
    alone = evaluation.perturb(function, pictures, {"m": maps}, **options, batch_size=1)
    for size in (2, 7, 1000):
        more = evaluation.perturb(function, pictures, {"other": -maps, "m": maps}, **options, batch_size=size)
        for order in ("morf", "random"):
            assert (more.curve("m", order).scores == alone.curve("m", order).scores).all()
    # Nor do samples that come behind, nor further repeats, if the range of the noise is given.
    options |= {"filling": evaluation.Uniform(-1, 1)}
    whole = evaluation.perturb(function, pictures, {"m": maps}, **options)
    part = evaluation.perturb(function, pictures[:2], {"m": maps[:2]}, **{**options, "repeats": 2})
    assert (part.curve("m").scores == whole.curve("m").scores[:2, :2]).all()
    assert (part.curve("", "random").scores == whole.curve("", "random").scores[:2, :2]).all()
    other = evaluation.perturb(function, pictures, {"m": maps}, **options, seed=1)
    assert (other.curve("m").scores[:, :, 1:] != whole.curve("m").scores[:, :, 1:]).all()


def test_batches_are_full_and_bounded(pictures: Array, maps: Array) -> None:
    function, calls = counting(classifier((3, 12, 12)))
    evaluation.perturb(function, pictures, {"m": maps}, region=4, steps=4, filling=0.0, order="morf", batch_size=8)
    # 5 samples of 4 inputs each: several samples share a batch.
    assert [len(call) for call in calls] == [5, 8, 8, 4]


def test_methods_of_every_kind_on_a_model() -> None:
    model = residual_network()
    x = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)
    explainer = graphlrp.load(model, "epsilon-plus")
    relevance = explainer(x).relevance
    seen: list[tuple[Array, Array]] = []

    def method(samples: Array, target: Array) -> Array:
        seen.append((samples, target))
        return explainer(samples, target).relevance

    methods = {
        "name": "epsilon-plus",
        "composite": graphlrp.composite("epsilon-plus"),
        "explainer": explainer,
        "function": method,
        "array": relevance,
        "summed": relevance.sum(1),
    }
    options: dict[str, Any] = {"region": 2, "steps": 6, "repeats": 2, "seed": 3, "order": ("morf", "lerf")}
    result = evaluation.perturb(explainer, x, methods, **options)
    assert result.methods == tuple(methods)
    for name in methods:
        for order in ("morf", "lerf"):
            assert (result.curve(name, order).scores == result.curve("name", order).scores).all(), name
    assert (np.concatenate([target for _, target in seen]) == explainer.predict(x).argmax(1)).all()
    # f is that of the explainer: logits, for the softmax at the end is no part of it.
    states = evaluation.perturbed(x, relevance, range(7), region=2, seed=3)
    for k in range(7):
        expected = explainer.predict(states[:, k])[np.arange(3), result.target]
        np.testing.assert_allclose(result.curve("array").scores[:, 0, k], expected, rtol=1e-5, atol=1e-6)
    loaded = evaluation.perturb(model, x, ["epsilon-plus", "gradient"], **options)
    assert loaded.methods == ("epsilon-plus", "gradient")
    np.testing.assert_allclose(loaded.curve("epsilon-plus").scores, result.curve("name").scores, rtol=1e-5, atol=1e-6)


def test_settings_of_the_explainer_hold_for_presets() -> None:
    model = residual_network()
    x = np.random.default_rng(0).normal(size=(2, 2, 8, 8)).astype(np.float32)
    explainer = graphlrp.load(model, "epsilon", output="a", bias="ignore")
    one = evaluation.perturb(explainer, x, ["epsilon", "gradient"], region=4, filling=0.0)
    assert one.settings["methods"]["epsilon"].startswith("epsilon")
    assert "bias=ignore" in one.settings["methods"]["gradient"]
    summed = explainer.predict(x).sum((2, 3))
    assert (one.target == summed.argmax(1)).all()
    other = evaluation.perturb(model, x, ["epsilon", "gradient"], region=4, filling=0.0, output="a", bias="ignore")
    for a, b in zip(one.curves, other.curves, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-5, atol=1e-5)


def test_classes_on_another_axis() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)
    explainer = graphlrp.load(residual_network(), "epsilon", output="a", class_axis=2)
    result = evaluation.perturb(explainer, x, ["epsilon"], region=4, filling=0.0, order="morf")
    rows = explainer.predict(x).sum((1, 3))
    assert (result.target == rows.argmax(1)).all()
    np.testing.assert_allclose(result.curves[0].scores[:, 0, 0], rows.max(1), rtol=1e-5)
    states = evaluation.perturbed(x, explainer(x).relevance, [2], region=4, filling=0.0)[:, 0]
    expected = explainer.predict(states).sum((1, 3))[np.arange(3), result.target]
    np.testing.assert_allclose(result.curves[0].scores[:, 0, 2], expected, rtol=1e-5)


def test_static_batch_and_pipelines() -> None:
    x = np.random.default_rng(0).normal(size=(2, 2, 8, 8)).astype(np.float32)
    options: dict[str, Any] = {"region": 4, "filling": 0.0, "order": "morf"}
    one = evaluation.perturb(residual_network(batch=3), x, "gradient", **options)
    other = evaluation.perturb(residual_network(), x, "gradient", **options)
    np.testing.assert_allclose(one.curves[0].scores, other.curves[0].scores, rtol=1e-5, atol=1e-6)


def test_features_of_a_table_have_ranges_of_their_own() -> None:
    """Noise stays within the range of each column, means are those of each column."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(30, 3)) * [1e-2, 1.0, 1e4] + [0.0, 5.0, -1e5]
    maps = np.ones(x.shape)
    noisy = evaluation.perturbed(x, maps, [3])[:, 0]
    assert (noisy >= x.min(0)).all() and (noisy <= x.max(0)).all() and not np.isclose(noisy, x).any()
    np.testing.assert_allclose(evaluation.perturbed(x, maps, [3], filling="data-mean")[:, 0], np.tile(x.mean(0), (30, 1)))
    given = evaluation.perturbed(x, maps, [3], filling=evaluation.Uniform(low=[0, 1, 2], high=[0, 1, 2]))[:, 0]
    np.testing.assert_allclose(given, np.tile([0, 1, 2], (30, 1)))
    with pytest.raises(InputError, match="data-mean"):
        evaluation.perturbed(x, maps, [3], filling="mean")
    points = evaluation.perturbed(x, maps, [3], filling="mean", layout="NT")[:, 0]
    np.testing.assert_allclose(points, np.repeat(x.mean(1, keepdims=True), 3, axis=1))


def test_estimators_are_models() -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 5))
    machine = LogisticRegression().fit(x, x[:, 0] - x[:, 1] > 0)
    result = evaluation.perturb(machine, x[:10], "basic", filling=0.0, order=("morf", "random"))
    decision = machine.decision_function(x[:10])
    # Relevance for the class that is decided.
    relevance = x[:10] * machine.coef_[0] * np.sign(decision)[:, None]
    falling = -np.sort(-relevance, axis=1)
    np.testing.assert_allclose(
        result.curve("basic").scores[:, 0, 1:], abs(decision)[:, None] - falling.cumsum(1), rtol=1e-4, atol=1e-4
    )


def test_whole_numbers_stay_whole() -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 1, 6, 6)).astype(np.uint8)
    states = evaluation.perturbed(x, np.ones(x.shape), [4], region=3, filling=evaluation.Uniform(0, 255))
    assert states.dtype == np.uint8
    assert len(set(states.ravel().tolist())) > 30
    with pytest.raises(InputError, match=r"cannot hold, such as"):
        evaluation.perturbed(x, np.ones(x.shape), [4], region=3, filling=0.5)


def test_own_fillings_are_repeated() -> None:
    x = np.zeros((2, 1, 4, 4), np.float32)

    def filling(sample: Array, generator: np.random.Generator) -> Array:
        return sample + generator.random()

    result = evaluation.perturb(
        lambda v: v.sum((1, 2, 3)), x, {"m": np.ones(x.shape)}, region=2, filling=filling, repeats=3, order="morf"
    )
    last = result.curves[0].scores[:, :, -1] / 16
    assert len(set(last.ravel().tolist())) == 6
    assert ((last >= 0) & (last < 1)).all()


def test_progress_counts_perturbed_inputs(pictures: Array, maps: Array) -> None:
    reported: list[tuple[int, int]] = []
    evaluation.perturb(
        classifier((3, 12, 12)),
        pictures,
        {"m": maps, "the same": maps},
        region=4,
        steps=4,
        repeats=2,
        progress=lambda done, total: reported.append((done, total)),
        order="morf",
        batch_size=4,
    )
    total = 5 * 2 * 2 * 4
    done = [pair[0] for pair in reported]
    assert {pair[1] for pair in reported} == {total}
    assert done == sorted(set(done))
    assert done[-1] == total
    assert len(done) >= 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "mirf"}, "choose one or several"),
        ({"order": ("morf", "morf")}, "choose one or several"),
        ({"order": ()}, "choose one or several"),
        ({"steps": 10}, r"10 steps of 1 region\(s\) need 10 regions; .* has 9 of 4x4"),
        ({"steps": 0}, "steps must be"),
        ({"steps": 2.0}, "steps must be"),
        ({"regions_per_step": 10}, "has 9 of"),
        ({"repeats": 0}, "repeats must be"),
        ({"seed": -1}, "seed must be"),
        ({"filling": "noise"}, "unknown filling 'noise'; there are uniform, mean"),
        ({"filling": [1, 2]}, "one per channel, of which there are 3"),
        ({"filling": float("nan")}, "finite number"),
        ({"filling": object()}, "filling is a name, a number"),
        ({"filling": evaluation.Uniform(1, 0)}, "range of the input is empty"),
        ({"filling": evaluation.Mean("batch")}, "choose 'image' or 'data'"),
        ({"filling": evaluation.Blur(0)}, "must be positive"),
        ({"filling": lambda sample, generator: sample[0, 0, 0, None, None, None, None]}, "gives shape"),
        ({"score": "accuracy"}, "unknown score"),
        ({"score": lambda outputs, targets: outputs}, "one per input"),
        ({"target": 9}, "classes 0 to 3"),
        ({"target": [1, 2]}, "one per sample"),
        ({"target": "all"}, "target must be None"),
        ({"batch_size": 0}, "batch_size"),
        ({"layout": "NHW"}, "does not fit the shape"),
        ({"methods": {}}, "no method"),
        ({"methods": {"m": np.zeros((4, 3, 12, 12))}}, "relevance of 4 samples; there are 5"),
        ({"methods": {"m": np.zeros((5, 3, 12, 13))}}, "does not fit inputs"),
        ({"methods": {"m": lambda x, t: np.full(x.shape, np.inf)}}, "NaN or infinities"),
        ({"methods": {"m": lambda x, t: np.zeros((len(x) + 1, *x.shape[1:]))}}, "is that of 2 sample\\(s\\) for 1"),
        ({"methods": [np.zeros((5, 3, 12, 12))]}, "no name"),
        ({"methods": {"m": "epsilon"}}, "a function cannot be compiled"),
        ({"methods": {"m": None}}, "give a preset's name"),
        ({"bias": "ignore"}, "options of graphlrp.load"),
        ({"x": [[1.0]]}, "must be an array"),
        ({"x": np.zeros((0, 3, 12, 12))}, "at least one"),
    ],
)
def test_errors(options: dict[str, Any], message: str, pictures: Array, maps: Array) -> None:
    given = {"x": pictures, "methods": {"m": maps}, "region": 4, **options}
    with pytest.raises(InputError, match=message):
        evaluation.perturb(classifier((3, 12, 12)), given.pop("x"), given.pop("methods"), given.pop("target", None), **given)


def test_errors_of_single_outputs_and_names() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(InputError, match="leave target out"):
        evaluation.perturb(lambda v: v.sum(1), x, {"m": x}, 0)
    with pytest.raises(InputError, match="no neighbours"):
        evaluation.perturb(lambda v: v.sum(1), x, {"m": x}, filling="blur")
    with pytest.raises(InputError, match=r"same name: gradient"):
        evaluation.perturb(residual_network(), np.ones((1, 2, 8, 8), np.float32), ["gradient", "gradient"])
    with pytest.raises(InputError, match="no order by it"):
        evaluation.perturb(lambda v: v.sum(1), x, {"m": x * np.nan})
