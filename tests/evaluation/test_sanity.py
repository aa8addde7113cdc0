"""Parameter randomisation and continuity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy import stats

import graphlrp
from graphlrp import evaluation
from graphlrp.errors import InputError, ModelError
from graphlrp.evaluation.randomisation import layers_with_parameters
from tests.builders import residual_network

Array = np.ndarray


def chain() -> Any:
    """Two convolutions and a dense layer, without anything between them that chooses."""
    generator = np.random.default_rng(0)
    weights = {
        "first": generator.normal(size=(4, 1, 3, 3)),
        "second": generator.normal(size=(3, 4, 3, 3)),
        "third": generator.normal(size=(48, 5)),
        "bias": generator.normal(size=5),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], "conv1", pads=[0] * 4),
        helper.make_node("Conv", ["a", "second"], ["b"], "conv2", pads=[0] * 4),
        helper.make_node("Flatten", ["b"], ["c"], "flatten"),
        helper.make_node("Gemm", ["c", "third", "bias"], ["y"], "dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture(scope="module")
def pictures() -> Array:
    return np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)


def test_layers_from_the_output_down() -> None:
    layers = layers_with_parameters(graphlrp.load(residual_network(), "epsilon"))
    assert next(iter(layers)) == "dense"
    assert list(layers)[-1] == "conv1"
    assert set(layers) == {"dense", "shortcut", "conv2", "conv1"}
    assert set(layers["dense"]) == {"w4", "b4"}


def captured(monkeypatch: pytest.MonkeyPatch) -> list[ir.Model]:
    """The randomised models, as they are made."""
    from graphlrp.evaluation import randomisation

    made: list[ir.Model] = []
    permuted = randomisation._permuted

    def spy(*arguments: Any) -> ir.Model:
        made.append(permuted(*arguments))
        return made[-1]

    monkeypatch.setattr(randomisation, "_permuted", spy)
    return made


@pytest.mark.parametrize(("order", "method"), [("cascading", "epsilon-plus"), ("independent", "gradient")])
def test_similarities_are_those_of_models_with_permuted_parameters(
    order: str, method: str, pictures: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = captured(monkeypatch)
    model = residual_network()
    result = evaluation.randomise_parameters(model, pictures, method, order=order, seed=5)
    explainer, original = graphlrp.load(model, "epsilon"), graphlrp.load(model, method)
    own = {name: value.const_value.numpy() for name, value in explainer.canonical.graph.initializers.items()}
    parameters = layers_with_parameters(explainer)
    target = explainer.predict(pictures).argmax(1)
    assert result.layers == tuple(parameters)
    for k, (layer, randomised) in enumerate(zip(parameters, made, strict=True)):
        touched = {
            name for other in (list(parameters)[: k + 1] if order == "cascading" else [layer]) for name in parameters[other]
        }
        for name, value in randomised.graph.initializers.items():
            array = value.const_value.numpy()
            assert (np.sort(array, axis=None) == np.sort(own[name], axis=None)).all()
            assert (array != own[name]).any() == (name in touched)
        other_explainer = graphlrp.load(randomised, method)
        before = original(pictures, target).relevance.sum(1).reshape(3, -1)
        after = other_explainer(pictures, target).relevance.sum(1).reshape(3, -1)
        for n in range(3):
            expected = {
                "spearman": stats.spearmanr(before[n], after[n]).statistic,
                "spearman_absolute": stats.spearmanr(abs(before[n]), abs(after[n])).statistic,
                "cosine": before[n] @ after[n] / np.linalg.norm(before[n]) / np.linalg.norm(after[n]),
            }
            for measure, value in expected.items():
                assert result.similarity[measure][0, k, n] == pytest.approx(value, abs=2e-3), (measure, layer)
        others = other_explainer.predict(pictures)
        rows = np.arange(3)
        before_f, after_f = explainer.predict(pictures)[rows, target], others[rows, target]
        assert result.output_change[k] == pytest.approx(np.abs(after_f - before_f).mean() / np.abs(before_f).mean(), rel=1e-3)


def test_what_ignores_the_weights_is_told_from_what_does_not() -> None:
    x = np.random.default_rng(1).normal(size=(4, 1, 8, 8)).astype(np.float32)
    flat = graphlrp.Composite([(graphlrp.select.every(), graphlrp.Flat())], "flat", initial="one")
    result = evaluation.randomise_parameters(chain(), x, [flat, "gradient"], layers=3)
    assert result.layers == ("dense", "conv2", "conv1")
    for measure in ("spearman", "cosine"):
        np.testing.assert_allclose(result.mean(measure)[0], 1, atol=1e-5)
        assert (np.abs(result.mean(measure)[1]) < 0.9).all()


def test_constant_maps_have_no_similarity() -> None:
    x = np.random.default_rng(1).normal(size=(2, 1, 8, 8)).astype(np.float32)
    x[0] = 0
    result = evaluation.randomise_parameters(chain(), x, "gradient-x-input", layers=1)
    assert np.isnan(result.similarity["spearman"][0, 0, 0])
    assert result.mean()[0, 0] == result.similarity["spearman"][0, 0, 1]
    assert np.isnan(evaluation.randomise_parameters(chain(), x[:1], "gradient-x-input", layers=1).mean()).all()


def test_layers_seeds_and_progress(pictures: Array, tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []
    options: dict[str, Any] = {"progress": lambda done, total: reported.append((done, total))}
    model = residual_network()
    result = evaluation.randomise_parameters(model, pictures, "gradient", layers=["conv1", "dense"], **options)
    assert result.layers == ("dense", "conv1")
    assert reported == [(1, 2), (2, 2)]
    again = evaluation.randomise_parameters(graphlrp.load(model, "epsilon"), pictures, "gradient", layers=["conv1", "dense"])
    for measure in result.similarity:
        np.testing.assert_allclose(again.similarity[measure], result.similarity[measure], atol=1e-5)
    other = evaluation.randomise_parameters(model, pictures, "gradient", layers=["conv1", "dense"], seed=1)
    assert not np.allclose(other.similarity["cosine"], result.similarity["cosine"])
    lines = str(result).splitlines()
    assert [line.split("  ")[0].strip() for line in lines[2:]] == ["up to dense", "up to conv1"]
    assert float(lines[2].split()[-1]) == pytest.approx(result.mean()[0, 0], abs=0.006)
    texts = [text.get_text() for text in result.plot("cosine").texts]
    assert {"none", "dense", "conv1", "gradient"} <= set(texts)
    assert result.save_plot(tmp_path / "a.png", dpi=60).stat().st_size > 1000


def test_errors_of_randomisation(pictures: Array) -> None:
    model = residual_network()

    def run(**changes: Any) -> Any:
        given: dict[str, Any] = {"model": model, "x": pictures, "methods": "gradient", **changes}
        return evaluation.randomise_parameters(given.pop("model"), given.pop("x"), given.pop("methods"), **given)

    for changes, message in (
        ({"order": "top-down"}, "unknown order"),
        ({"layers": 9}, "has 4 layers"),
        ({"layers": ["pool"]}, "named pool; from the top there are dense"),
        ({"layers": []}, "no layer"),
        ({"methods": {"a": pictures}}, "cannot be compiled"),
        ({"methods": {"a": lambda x, t: x}}, "cannot be compiled"),
        ({"model": lambda x: x}, "no parameters"),
        ({"x": 3}, "must be an array"),
    ):
        with pytest.raises(InputError, match=message):
            run(**changes)
    with pytest.raises(InputError, match="unknown similarity"):
        run(layers=1).mean("ssim")
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["y"], "pool")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 8, 8])
    graph = helper.make_graph(nodes, "g", [x], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, 1, 1])])
    bare = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(ModelError, match="no linear mapping with parameters"):
        run(model=bare)


@pytest.mark.parametrize("options", [{"noise": 0.1, "samples": 4}, {"translation": 2}, {}])
def test_continuity_follows_the_definition(options: dict[str, Any], pictures: Array) -> None:
    explainer = graphlrp.load(residual_network(), "epsilon-plus")
    seen: list[Array] = []

    def method(x: Array, target: Array) -> Array:
        seen.append(x.copy())
        return explainer(x, target).relevance

    result = evaluation.continuity(explainer, pictures, {"m": method, "gradient": "gradient"}, **options)
    count = {"noise": 4, "translation": 16}.get(next(iter(options), ""), 10)
    assert len(seen) == 1 + count
    target = explainer.predict(pictures).argmax(1)
    for m, explain in enumerate((explainer, graphlrp.load(residual_network(), "gradient"))):
        for n in range(3):
            before = explain(pictures, target).relevance.sum(1)[n]
            ratios = []
            for other in seen[1:]:
                after = explain(other, target).relevance.sum(1)[n]
                ratios.append(np.abs(before - after).sum() / np.sqrt(((pictures[n] - other[n]).astype(float) ** 2).sum()))
            assert result.ratio[m, n] == pytest.approx(max(ratios), rel=1e-4)
            assert result.relative[m, n] == pytest.approx(max(ratios) / np.abs(before).sum(), rel=1e-4)
    if "translation" in options:
        assert (seen[1][:, :, 0, 0] == pictures[:, :, 1, 1]).all() or (seen[1][:, :, 1:, 1:] == pictures[:, :, :-1, :-1]).all()
    lines = str(result).splitlines()
    assert [line.split()[0] for line in lines] == ["method", "--------", "m", "gradient"]


def test_gradients_of_linear_functions_are_continuous() -> None:
    x = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)
    result = evaluation.continuity(chain(), x, ["gradient", "gradient-x-input"], noise=0.5)
    np.testing.assert_allclose(result.ratio[0], 0, atol=1e-4)
    weights = graphlrp.load(chain(), "gradient")(x).relevance.reshape(2, -1)
    # |w · δ|₁ / |δ|₂ ≤ |w|₂
    assert (result.ratio[1] <= np.linalg.norm(weights, axis=1)).all()
    assert (result.ratio[1] > 0.5 * np.linalg.norm(weights, axis=1)).all()


def test_errors_of_continuity(pictures: Array) -> None:
    model = residual_network()
    for options, message in (
        ({"noise": 0.1, "translation": 1}, "not both"),
        ({"noise": 0.0}, "positive standard deviation"),
        ({"samples": 0}, "at least one sample"),
        ({"translation": 0}, "at least one pixel"),
        ({"methods": {"a": pictures}}, "an array says nothing"),
        ({"noise": 1e-30}, "do not change"),
    ):
        given = {"methods": "gradient", **options}
        with pytest.raises(InputError, match=message):
            evaluation.continuity(model, pictures, given.pop("methods"), **given)
    with pytest.raises(InputError, match="pictures are moved"):
        evaluation.continuity(lambda x: x, np.ones((2, 3), np.float32), {"m": lambda x, t: x}, translation=1)
