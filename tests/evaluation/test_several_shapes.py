"""Samples that differ in shape: each is perturbed as if it were alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scipy import stats
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp import evaluation
from graphlrp.bow import BagOfWords, DenseSIFT
from graphlrp.errors import InputError
from tests.builders import tensor

Array = np.ndarray
SHAPES = [(6, 9), (9, 6), (6, 9), (12, 12), (7, 10)]


def of_shapes(seed: int, channels: int = 3, first: bool = True) -> list[Array]:
    generator = np.random.default_rng(seed)
    arrays = [generator.normal(size=(channels, *shape)) for shape in SHAPES]
    return [array if first else np.moveaxis(array, 0, -1) for array in arrays]


PICTURES = [picture.astype(np.float32) for picture in of_shapes(1)]
MAPS = of_shapes(2)


def function(x: Any) -> Array:
    """Of every sample by itself, an array or one of a list."""
    return np.stack(
        [np.tanh(np.cos(np.arange(sample.size * 2)).reshape(2, -1) @ sample.astype(np.float64).ravel() / 3) for sample in x]
    )


def any_size_network() -> onnx.ModelProto:
    generator = np.random.default_rng(4)
    weights = {"w": generator.normal(size=(6, 3, 3, 3)), "v": generator.normal(size=(6, 4))}
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["conv"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["conv"], ["relu"], "relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "v"], ["y"], "dense"),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, "height", "width"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])]
    graph = helper.make_graph(nodes, "any", inputs, outputs, [tensor(name, array) for name, array in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    "filling", [0.5, [0.5, -1.0, 2.0], "mean", "blur", evaluation.Flip(-2, 2), evaluation.Blur(1.5)], ids=str
)
@pytest.mark.parametrize("border", ["leave", "include"])
def test_every_sample_is_perturbed_as_if_it_were_alone(filling: Any, border: str) -> None:
    options: dict[str, Any] = {"order": ("morf", "lerf"), "region": (3, 3), "filling": filling, "steps": 5, "border": border}
    together = evaluation.perturb(function, PICTURES, {"m": MAPS}, **options, batch_size=4)
    for number, (picture, own) in enumerate(zip(PICTURES, MAPS, strict=True)):
        alone = evaluation.perturb(function, picture[None], {"m": own[None]}, **options)
        assert together.target[number] == alone.target[0]
        for order in ("morf", "lerf"):
            assert (together.curve("m", order).scores[number] == alone.curve("m", order).scores[0]).all()
        (states,) = evaluation.perturbed(picture[None], own[None], [0, 2, 5], region=3, filling=filling, border=border)
        listed = evaluation.perturbed(PICTURES, MAPS, [0, 2, 5], region=3, filling=filling, border=border)
        assert listed[number].shape == (3, *picture.shape) and (listed[number] == states).all()


def test_fillings_take_their_numbers_from_all_samples() -> None:
    options: dict[str, Any] = {"region": 3, "order": "morf", "repeats": 2}
    pixels = np.concatenate([picture.reshape(3, -1) for picture in PICTURES], axis=1)
    uniform = evaluation.perturb(function, PICTURES, {"m": MAPS}, **options)
    assert uniform.settings["filling"] == "Uniform"
    assert uniform.settings["low"] == pixels.min(1).tolist() and uniform.settings["high"] == pixels.max(1).tolist()
    mean = evaluation.perturb(function, PICTURES, {"m": MAPS}, **options, filling="data-mean")
    np.testing.assert_allclose(mean.settings["value"], pixels.astype(np.float64).mean(1), rtol=1e-6)
    states = evaluation.perturbed(PICTURES, MAPS, [6], region=3, filling=evaluation.Uniform(-1, [0, 1, 2]))
    for state, picture in zip(states, PICTURES, strict=True):
        changed = state[0] != picture
        assert changed.any()
        for channel in range(3):
            values = state[0, channel][changed[channel]]
            assert values.min() >= -1 and values.max() <= channel


def test_noise_is_drawn_per_sample_and_repeat_and_batches_change_nothing() -> None:
    options: dict[str, Any] = {"region": 3, "order": ("morf", "random"), "repeats": 3}
    one = evaluation.perturb(function, PICTURES, {"m": MAPS}, **options, batch_size=1)
    assert one.settings["steps"] == 6 and one.settings["regions"] == "6 to 16" and one.settings["region"] == "3x3"
    # 6 regions of 9 pixels: of 54, 54, 54, 144 and 70 pixels.
    assert one.settings["share"] == pytest.approx(np.mean([1, 1, 1, 54 / 144, 54 / 70]), abs=1e-6)
    for size in (3, 100):
        other = evaluation.perturb(function, PICTURES, {"other": [-m for m in MAPS], "m": MAPS}, **options, batch_size=size)
        for order in ("morf", "random"):
            assert (one.curve("m", order).scores == other.curve("m", order).scores).all()
    scores = one.curve("m").scores
    assert all(len(set(scores[n, :, k])) == 3 for n in range(5) for k in range(1, 7))


def test_lists_of_one_shape_are_an_array() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3, 6, 6)).astype(np.float32)
    maps = np.random.default_rng(1).normal(size=x.shape)
    options: dict[str, Any] = {"order": ("morf", "lerf", "random"), "region": 2, "repeats": 2}
    one = evaluation.perturb(function, x, {"m": maps}, **options)
    for given, relevance in ((list(x), list(maps)), (tuple(x), maps), (list(x), maps)):
        other = evaluation.perturb(function, given, {"m": relevance}, **options)
        assert other.settings == one.settings
        for a, b in zip(one.curves, other.curves, strict=True):
            assert a.scores.tobytes() == b.scores.tobytes()
    states = evaluation.perturbed(list(x), list(maps), [1, 3], region=2)
    assert (states == evaluation.perturbed(x, maps, [1, 3], region=2)).all()


def test_methods_of_every_kind_on_a_model_of_any_size() -> None:
    explainer = graphlrp.load(any_size_network(), "epsilon")
    relevance = explainer(PICTURES).relevance
    seen: list[Any] = []

    def method(x: Any, target: Array) -> Any:
        seen.append(x)
        return explainer(x, target).relevance

    methods = {
        "name": "epsilon",
        "explainer": explainer,
        "list": relevance,
        "summed": [own.sum(0) for own in relevance],
        "function": method,
    }
    options: dict[str, Any] = {"region": 3, "order": ("morf", "lerf"), "repeats": 2, "batch_size": 4, "seed": 2}
    result = evaluation.perturb(explainer, PICTURES, methods, **options)
    for name in methods:
        for order in ("morf", "lerf"):
            assert (result.curve(name, order).scores == result.curve("list", order).scores).all(), name
    assert all(isinstance(x, list) for x in seen) and sum(map(len, seen)) == len(PICTURES)
    states = evaluation.perturbed(PICTURES, relevance, range(7), region=3, seed=2)
    for number, own in enumerate(states):
        expected = explainer.predict(own)[:, result.target[number]]
        np.testing.assert_allclose(result.curve("list").scores[number, 0], expected, rtol=1e-4, atol=1e-5)


def test_bags_of_words_of_grey_pictures() -> None:
    generator = np.random.default_rng(0)
    sizes = [(40, 48), (48, 40), (40, 48), (44, 44)]
    pictures = [generator.integers(0, 256, size).astype(np.float64) for size in sizes * 2]
    pictures[0][:20] = np.arange(48) * 5
    pipeline = make_pipeline(DenseSIFT(step=8, bin_sizes=(4,)), BagOfWords(6, samples=500), LinearSVC())
    pipeline.fit(pictures, [0, 1] * 4)
    result = evaluation.perturb(pipeline, pictures[:4], "bag-of-words", region=8, repeats=2, order=("morf", "random"))
    assert result.settings["layout"] == "NHW" and result.settings["regions"] == "25 to 30" and result.settings["steps"] == 25
    assert result.settings["low"] == [0.0] and result.settings["high"] == [255.0]
    f = pipeline.decision_function(pictures[:4])
    np.testing.assert_allclose(result.curves[0].scores[:, 0, 0], abs(f), rtol=1e-3, atol=1e-4)
    explainer = graphlrp.load(pipeline)
    relevance = [own * sign for own, sign in zip(explainer(pictures[:4]).relevance, np.sign(f), strict=True)]
    states = evaluation.perturbed(pictures[:4], relevance, [3], region=8, layout="NHW", seed=0)
    # perturb makes float32 of the pictures, so its noise is rounded.
    expected = np.sign(f) * pipeline.decision_function([state[0] for state in states])
    np.testing.assert_allclose(result.curves[0].scores[:, 0, 3], expected, rtol=1e-3, atol=1e-3)


def test_what_is_left_may_be_refused() -> None:
    """Of a picture of which all is replaced by one grey, there is nothing to describe."""
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (8, 48, 48)).astype(np.float64)
    pipeline = make_pipeline(DenseSIFT(step=8, bin_sizes=(4,)), BagOfWords(6, samples=300), LinearSVC()).fit(pictures, [0, 1] * 4)
    options: dict[str, Any] = {"region": 8, "filling": 100.0, "order": "morf"}
    with pytest.raises(InputError, match=r"refuses what perturbing makes .*no texture.*fewer steps"):
        evaluation.perturb(pipeline, pictures[:2], "bag-of-words", **options)
    assert evaluation.perturb(pipeline, pictures[:2], "bag-of-words", steps=30, **options).settings["steps"] == 30


class KilledError(Exception):
    """Somebody pulled the plug."""


def test_interruptions_leave_no_trace(tmp_path: Path) -> None:
    options: dict[str, Any] = {"region": 3, "repeats": 2, "batch_size": 3}

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KilledError

    explainer = graphlrp.load(any_size_network(), "epsilon")
    whole = evaluation.perturb(explainer, PICTURES, ["epsilon", "gradient"], **options)
    path = tmp_path / "scores.h5"
    with pytest.raises(KilledError):
        evaluation.perturb(explainer, PICTURES, ["epsilon", "gradient"], **options, resume=path, progress=stop)
    again = evaluation.perturb(explainer, PICTURES, ["epsilon", "gradient"], **options, resume=path)
    for one, other in zip(whole.curves, again.curves, strict=True):
        assert one.scores.tobytes() == other.scores.tobytes()
    others = [*PICTURES[:-1], PICTURES[-1] + np.float32(0.0) + (np.arange(10, dtype=np.float32) == 3) * np.float32(1e-3)]
    with pytest.raises(InputError, match=r"begun with other settings: .*samples was"):
        evaluation.perturb(explainer, others, ["epsilon", "gradient"], **options, resume=path)


def test_localisation() -> None:
    boxes = [(0, 0, 3, 2), [(1, 1, 2, 2), (4, 3, 6, 6)], (2, 2, 8, 5), (0, 0, 11, 12), (3, 0, 10, 7)]
    masks = []
    for shape, own in zip(SHAPES, boxes, strict=True):
        mask = np.zeros(shape, bool)
        for left, top, right, bottom in own if isinstance(own, list) else [own]:
            mask[top:bottom, left:right] = True
        masks.append(mask)
    measures = (evaluation.outside_inside_ratio, evaluation.pointing_game, evaluation.relevance_mass, evaluation.relevance_rank)
    for measure in measures:
        alone = [measure(own[None], [where])[0] for own, where in zip(MAPS, boxes, strict=True)]
        assert measure(MAPS, boxes).tolist() == alone
        assert measure(MAPS, masks).tolist() == alone
        assert measure([own.sum(0) for own in MAPS], masks, layout="NHW").tolist() == pytest.approx(alone)
        last = [np.moveaxis(own, 0, -1) for own in MAPS]
        assert measure(last, boxes, layout="NHWC").tolist() == pytest.approx(alone)
        assert measure([MAPS[0]], [masks[0]]).tolist() == alone[:1]
    explanation = graphlrp.load(any_size_network(), "epsilon")(PICTURES)
    expected = evaluation.relevance_mass(explanation.relevance, boxes)
    assert evaluation.relevance_mass(explanation, boxes).tolist() == expected.tolist()
    for wrong, message in (
        (boxes[:4], "of 4 samples for 5"),
        ([*boxes[:3], (0, 0, 12, 12), boxes[4]], r"sample\(s\) 3 cover the whole picture"),
        ([*boxes[:4], (0, 0, 12, 3)], "of sample 4 is empty or reaches beyond the picture, which is 10 wide and 7 high"),
        ([*masks[:4], masks[0]], r"masks have shape \[1, 6, 9\]; the maps have \[1, 7, 10\]"),
        ([*masks[:1], np.zeros((9, 6), bool), *masks[2:]], r"sample\(s\) 1 hold no pixel"),
    ):
        with pytest.raises(InputError, match=message):
            evaluation.outside_inside_ratio(MAPS, wrong)


def test_randomised_parameters_sample_by_sample() -> None:
    model = any_size_network()
    together = evaluation.randomise_parameters(model, PICTURES, ["epsilon", "gradient"], 1)
    for number, picture in enumerate(PICTURES):
        alone = evaluation.randomise_parameters(model, picture[None], ["epsilon", "gradient"], 1)
        for measure in alone.similarity:
            np.testing.assert_allclose(
                together.similarity[measure][..., number], alone.similarity[measure][..., 0], rtol=1e-3, atol=2e-3
            )


@pytest.mark.parametrize("options", [{"noise": 0.1, "samples": 3}, {"translation": 1}, {}])
def test_continuity_sample_by_sample(options: dict[str, Any]) -> None:
    explainer = graphlrp.load(any_size_network(), "epsilon")
    seen: list[list[Array]] = []

    def method(x: list[Array], target: Array) -> Any:
        seen.append([sample.copy() for sample in x])
        return explainer(x, target)

    result = evaluation.continuity(explainer, PICTURES, {"m": method}, 2, **options)
    assert len(seen) == 1 + {"noise": 3, "translation": 8}.get(next(iter(options), ""), 10)
    before = [own.sum(0) for own in explainer(PICTURES, 2).relevance]
    for number, picture in enumerate(PICTURES):
        ratios = []
        for others in seen[1:]:
            after = explainer(others, 2).relevance[number].sum(0)
            distance = np.sqrt(((others[number].astype(float) - picture) ** 2).sum())
            ratios.append(np.abs(after - before[number]).sum() / distance)
        assert result.ratio[0, number] == pytest.approx(max(ratios), rel=1e-4)
    if not options:
        pixels = np.concatenate([picture.ravel() for picture in PICTURES])
        noise = np.concatenate([(a - b).ravel() for a, b in zip(seen[1], PICTURES, strict=True)])
        assert noise.std() == pytest.approx(pixels.std() / 100, rel=0.1)
        assert stats.kstest(noise / noise.std(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 7}, r"7 steps of 1 region\(s\) need 7 regions; sample 0 of 6x9 places has 6 of 3x3"),
        ({"regions_per_step": 8}, "sample 0 of 6x9 places has 6"),
        ({"region": 7}, "sample 0: a region of 7x7 does not fit into an input of 6x9 places"),
        ({"region": np.zeros((6, 9), int)}, "a number for every pixel fits samples of one shape"),
        ({"region": (1, 2, 3)}, "a number for every pixel"),
        ({"layout": "NHW"}, "does not fit the shape"),
        ({"layout": "NHWC"}, r"sample 1 of shape \[3, 9, 6\] is taken for HWC of 6 channel\(s\), the first one"),
        ({"x": [*PICTURES[:4], PICTURES[4][:1]]}, r"sample 4 of shape \[1, 7, 10\] is taken for CHW of 1 channel"),
        ({"x": [*PICTURES[:4], PICTURES[4][0]]}, r"sample 4 of shape \[7, 10\] is taken for CT of 7"),
        ({"x": [*PICTURES[:2], PICTURES[2].astype(str)]}, "sample 2 of x must be an array of numbers"),
        ({"x": [*PICTURES[:2], PICTURES[2][:, :0]]}, "sample 2 of x must be"),
        ({"methods": {"m": MAPS[:4]}}, "relevance of 4 samples; there are 5"),
        ({"methods": {"m": [*MAPS[:4], MAPS[0]]}}, r"the relevance of 'm' for sample 4 has shape \[1, 3, 6, 9\]"),
        ({"methods": {"m": lambda x, t: x[:-1]}}, "is that of . sample\\(s\\) for"),
        ({"methods": {"m": lambda x, t: None}}, "must be a list of arrays, one for each sample, not NoneType"),
        ({"filling": [1, 2]}, "one per channel, of which there are 3"),
        ({"filling": evaluation.Blur(-1)}, "must be positive"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    given = {"x": PICTURES, "methods": {"m": MAPS}, "region": 3, **options}
    with pytest.raises(InputError, match=message):
        evaluation.perturb(function, given.pop("x"), given.pop("methods"), **given)
