"""Whole pipelines from pixels: images of different sizes, both depths, tiles, files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC, LinearSVC

import graphlrp
from graphlrp import kernels
from graphlrp.bow import BagOfWords, ColourQuantiles, DenseSIFT, DescriptorPCA, FisherVector
from graphlrp.tiles import explain_tiles

Array = np.ndarray[Any, Any]


def picture(kind: int, height: int, width: int, seed: int) -> Array:
    """Vertical or horizontal stripes with noise, 0 … 255."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.sin((x if kind else y) * 0.9 + generator.random() * 6)
    return np.asarray(np.clip(128 + 60 * waves + generator.normal(0, 10, (height, width)), 0, 255))


@pytest.fixture(scope="module")
def pictures() -> tuple[list[Array], Array]:
    sizes = np.random.default_rng(0).integers(24, 40, (16, 2))
    return [picture(k % 2, *size, seed=k) for k, size in enumerate(sizes)], np.arange(16) % 2


@pytest.fixture(scope="module")
def fitted(pictures: tuple[list[Array], Array]) -> Pipeline:
    steps = (DenseSIFT(step=4, bin_sizes=(3, 4)), DescriptorPCA(8), FisherVector(3, pyramid=((1, 1), (1, 2))))
    return make_pipeline(*steps, LinearSVC()).fit(*pictures)


def test_images_of_different_sizes_in_one_call(fitted: Pipeline, pictures: tuple[list[Array], Array]) -> None:
    x, _ = pictures
    assert fitted.score(*pictures) == 1
    explainer = graphlrp.load(fitted, ledger=True)
    explanation = explainer(x[:4])
    assert [r.shape for r in explanation.relevance] == [image.shape for image in x[:4]]
    np.testing.assert_allclose(explanation.output, fitted.decision_function(x[:4]), atol=1e-4)
    assert explanation.conservation_error.max() < 1e-4
    assert all(len(entry.bias) == 4 for entry in explanation.ledger)
    for number in range(4):
        alone = explainer(x[number][None])
        np.testing.assert_allclose(alone.relevance[0], explanation.relevance[number], atol=1e-7)
        assert alone.layout == "NHW"
    same = [image[:24, :24] for image in x[:3]]
    np.testing.assert_allclose(explainer(np.stack(same)).relevance, explainer(same).relevance)
    with pytest.raises(graphlrp.InputError, match="3 targets for 4 samples"):
        explainer(x[:4], [0, 0, 0])


def test_pictures_of_different_sizes_are_drawn(fitted: Pipeline, pictures: tuple[list[Array], Array], tmp_path: Any) -> None:
    from PIL import Image

    explanation = graphlrp.load(fitted)(pictures[0][:2])
    explanation.save_image(tmp_path / "maps.png", sources=["a", "b"])
    assert Image.open(tmp_path / "maps.png").size[0] > 400
    with pytest.raises(graphlrp.InputError, match="1 sources for 2 samples"):
        explanation.save_image(tmp_path / "maps.png", sources=["a"])


def test_deeper_relevance_has_the_same_sum_and_finer_detail(fitted: Pipeline, pictures: tuple[list[Array], Array]) -> None:
    x = pictures[0][0][None]
    whole = graphlrp.load(fitted, graphlrp.composite("bag-of-words", epsilon=1e-3), ledger=True)(x)
    deep = graphlrp.load(fitted, graphlrp.composite("bag-of-words", epsilon=1e-3, deep=True), ledger=True)(x)
    assert deep.conservation_error.max() < 1e-4
    # The numbers of a descriptor may cancel, so relevance within its area varies more.
    assert np.abs(np.diff(deep.relevance[0], axis=1)).mean() > np.abs(np.diff(whole.relevance[0], axis=1)).mean()
    kept = deep.ledger.total("stabilizer") - whole.ledger.total("stabilizer")
    np.testing.assert_allclose(deep.relevance.sum() + kept, whole.relevance.sum(), atol=1e-3)


def test_words_of_colours_and_a_kernel_machine() -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 255, (10, 20, 24, 3)).astype(np.uint8)
    x[1::2, ..., 0] //= 3
    labels = np.arange(10) % 2
    for kernel in (kernels.HistogramIntersection(), kernels.ExponentialChi2(1.0)):
        fitted = make_pipeline(ColourQuantiles(step=4, sizes=(8,), quantiles=3), BagOfWords(6, coding="rank"), SVC(kernel=kernel))
        fitted.fit(x, labels)
        explanation = graphlrp.load(fitted, ledger=True)(x[:3])
        assert explanation.relevance.shape == (3, 20, 24, 3)
        np.testing.assert_allclose(explanation.output, fitted.decision_function(x[:3]), atol=1e-3)
        assert explanation.conservation_error.max() < 1e-4
        assert explanation.layout == "NHWC"


def test_references_are_images(fitted: Pipeline, pictures: tuple[list[Array], Array]) -> None:
    x, y = pictures
    machine = make_pipeline(*[step for _, step in fitted.steps[:-1]], SVC()).fit(x, y)
    explanation = graphlrp.load(graphlrp.convert(machine, references=x))(x[:2])
    np.testing.assert_allclose(explanation.output, machine.decision_function(x[:2]), atol=1e-3)
    with pytest.raises(graphlrp.InputError, match=r"image 0 has shape \[3\]"):
        graphlrp.convert(machine, references=[np.zeros(3)])


def test_tiles_of_a_large_picture(fitted: Pipeline) -> None:
    large = np.concatenate([picture(0, 60, 48, 50), picture(1, 60, 48, 51)], axis=1)
    tiled = explain_tiles(graphlrp.load(fitted), large, size=32, stride=16)
    assert tiled.relevance.shape == large.shape and (tiled.cover > 0).all()
    assert tiled.relevance[:, :40].sum() < 0 < tiled.relevance[:, 56:].sum()


def test_pipeline_and_explainer_are_files(fitted: Pipeline, pictures: tuple[list[Array], Array], tmp_path: Any) -> None:
    import onnx
    import onnxruntime

    x = pictures[0][0][None].astype(np.float32)
    graphlrp.convert(fitted, dtype="float32").save(tmp_path / "pipeline.onnx")
    names = {function.name for function in onnx.load(tmp_path / "pipeline.onnx").functions}
    assert names == {"DenseSIFT", "DescriptorProjection", "FisherVector", "Normalizer", "Posterior", "Scaler", "SignedRoot"}
    (f,) = onnxruntime.InferenceSession(tmp_path / "pipeline.onnx").run(["decision"], {"input": x})
    np.testing.assert_allclose(f, fitted.decision_function(pictures[0][:1]), atol=1e-4)
    explainer = graphlrp.load(tmp_path / "pipeline.onnx")
    expected = graphlrp.load(fitted)(x).relevance
    np.testing.assert_allclose(explainer(x).relevance, expected, atol=1e-6)
    explainer.save(tmp_path / "explainer.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "explainer.onnx")
    (relevance,) = session.run(["relevance"], {"input": x, "target": np.array([-1])})
    np.testing.assert_allclose(relevance, expected, atol=1e-6)


def test_bad_pictures_are_told(fitted: Pipeline, pictures: tuple[list[Array], Array]) -> None:
    explainer = graphlrp.load(fitted)
    with pytest.raises(graphlrp.InputError, match=r"8 x 8|smallest|at least"):
        explainer(np.random.default_rng(0).random((1, 8, 8)))
    with pytest.raises(graphlrp.InputError, match=r"gradient|texture"):
        explainer(np.full((1, 30, 30), 7.0))
    with pytest.raises(graphlrp.InputError, match="shape"):
        explainer(np.random.default_rng(0).random((1, 30, 30, 3)))


def test_command_line_explains_pictures_with_a_saved_pipeline(
    fitted: Pipeline, pictures: tuple[list[Array], Array], tmp_path: Any
) -> None:
    from click.testing import CliRunner
    from PIL import Image

    from graphlrp.cli import main

    graphlrp.convert(fitted, dtype="float32").save(tmp_path / "pipeline.onnx")
    paths = []
    for number, image in enumerate(pictures[0][:2]):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(image.astype(np.uint8)).save(paths[-1])
    result = CliRunner().invoke(main, ["explain", str(tmp_path / "pipeline.onnx"), *paths, "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    expected = graphlrp.load(fitted)([image.astype(np.uint8) for image in pictures[0][:2]]).relevance
    with np.load(tmp_path / "out" / "relevance.npz") as saved:
        for number in range(2):
            np.testing.assert_allclose(saved[f"auto/0/relevance/{number}"], expected[number], atol=1e-6)
    assert Image.open(tmp_path / "out" / "explanation.png").size[0] > 400


def test_several_kinds_of_words_side_by_side(pictures: tuple[list[Array], Array]) -> None:
    from sklearn.pipeline import make_union

    branches = [make_pipeline(DenseSIFT(step, (size,)), BagOfWords(5, coding="rank")) for step, size in ((4, 3), (5, 4))]
    fitted = make_pipeline(make_union(*branches), LinearSVC()).fit(*pictures)
    x = pictures[0][:2]
    for source in (fitted, graphlrp.convert(fitted), graphlrp.convert(fitted, dtype="float32")):
        explanation = graphlrp.load(source, ledger=True)(x)
        np.testing.assert_allclose(explanation.output, fitted.decision_function(x), atol=1e-4)
        assert explanation.conservation_error.max() < 1e-4
