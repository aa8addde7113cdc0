# ruff: noqa: D103
"""Small versions of the experiments, on digits of 8 x 8 pixels that come with scikit-learn; what must hold, holds."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import context
import depth
import digits
import linear
import numpy as np
import onnx
import pytest
import shift
import sklearn.datasets
import sources
import train_cnn
import training
from PIL import Image
from sources import Digits

import graphlrp


def small_digits(low: float = 0.0, high: float = 1.0) -> Digits:
    """1200 digits to train with and 300 to test with, enlarged to 28 x 28 pixels."""
    data = sklearn.datasets.load_digits()
    ink = np.kron(data.images / 16, np.ones((3, 3)))
    pictures = (low + (high - low) * np.pad(ink, ((0, 0), (2, 2), (2, 2)))[:, None]).astype(np.float32)
    labels = data.target.astype(np.int64)
    return Digits(pictures[:1200], labels[:1200], pictures[1200:1500], labels[1200:1500])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests keep what they trained."""
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def network(folder: Path) -> Path:
    data = small_digits()
    return train_cnn.trained("cnn", data.pictures, data.labels, folder=folder)


def check_picture(path: Path) -> None:
    with Image.open(path) as picture:
        assert picture.width >= 700
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
    assert path.stat().st_size < 300_000


def test_digits_are_read_and_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.zeros((sources.TEST + 20, 785), np.uint8)
    rows[:, 100], rows[:, -1] = 255, np.arange(len(rows)) % 10
    path = tmp_path / "digits.csv.gz"
    with gzip.open(path, "wt") as file:
        np.savetxt(file, rows, "%d", ",")
    monkeypatch.setattr(sources, "packaged_file", lambda *_: path)
    data = sources.load_digits(-1, 1)
    assert data.pictures.shape == (20, 1, 28, 28)
    assert data.test_pictures.shape == (sources.TEST, 1, 28, 28)
    assert data.pictures.dtype == np.float32
    assert np.all(data.pictures.reshape(20, -1)[:, 100] == 1)
    assert data.pictures.sum() == 20 * (1 - 783)
    assert sorted(np.concatenate([data.labels, data.test_labels])) == sorted(rows[:, -1])


def test_slopes_are_those_of_the_loss() -> None:
    g = np.random.default_rng(0)
    network = train_cnn.Network(3)
    for layer in network.layers:
        layer.weights = tuple(g.normal(0, 0.3, weight.shape) for weight in layer.weights)
    pictures, labels = g.random((2, 1, 28, 28)), np.array([0, 2])

    def loss() -> float:
        value = pictures.transpose(1, 2, 3, 0)
        for layer in network.layers:
            value = layer.forward(value)
        return float((np.log(np.exp(value).sum(0)) - value[labels, [0, 1]]).mean())

    weights, slopes = network.slopes(pictures, labels)
    assert len(slopes) == 8
    for weight, slope in zip(weights, slopes, strict=True):
        for place in (np.unravel_index(n, weight.shape) for n in g.integers(weight.size, size=4)):
            before = weight[place]
            around = []
            for step in (1e-6, -1e-6):
                weight[place] = before + step
                around.append(loss())
            weight[place] = before
            assert slope[place] == pytest.approx((around[0] - around[1]) / 2e-6, rel=1e-4, abs=1e-7)


def test_network_learns_and_is_exported_as_it_is(network: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_digits()
    assert train_cnn.accuracy(network, data.test_pictures, data.test_labels) > 0.9
    assert train_cnn.trained("cnn", data.pictures, data.labels, folder=folder) == network
    assert "trained" not in capsys.readouterr().out
    assert train_cnn.trained("cnn", data.pictures[:200], data.labels[:200], 1, folder=folder) != network
    untrained, value = train_cnn.Network(), data.test_pictures[:5].transpose(1, 2, 3, 0)
    for layer in untrained.layers:
        value = layer.forward(value)
    output = graphlrp.load(untrained.to_onnx()).predict(data.test_pictures[:5])
    np.testing.assert_allclose(output, value.T, rtol=1e-4, atol=1e-5)


def test_linear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linear.main(tmp_path)
    check_picture(tmp_path / "linear.png")
    printed = capsys.readouterr().out
    (w1, w2), b = map(float, re.findall(r"w = \[(\S+) (\S+)\]", printed)[0]), float(re.findall(r"b = (\S+),", printed)[0])
    found = np.array(re.findall(r"R_1 = *(\S+), R_2 = *(\S+), R_b = *(\S+),", printed), float)
    expected = np.column_stack([linear.SAMPLES * (w1, w2), np.full(4, b)])
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_digits(-1, 1)
    few = Digits(data.pictures[:500], data.labels[:500], data.test_pictures, data.test_labels)
    digits.main(tmp_path, few)
    check_picture(tmp_path / "digits.png")
    check_picture(tmp_path / "digits-classes.png")
    printed = capsys.readouterr().out
    assert min(map(float, re.findall(r": accuracy (\S+)", printed))) > 0.75
    assert float(re.findall(r"largest difference (\S+)", printed)[0]) < 1e-5


def test_shift(network: Path, folder: Path) -> None:
    x, a = small_digits().test_pictures[:3], onnx.load(network)
    of_two = graphlrp.load(shift.network_b_of_two_inputs(a))
    outputs = [
        graphlrp.load(a).predict(x),
        graphlrp.load(shift.network_b(a)).predict(x - 1),
        of_two.predict({"image": x - 1, "compensation": np.ones_like(x)}),
    ]
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], rtol=1e-4, atol=1e-4)
    maps = shift.explain(a, x)
    assert not maps["A epsilon"][x == 0].any()
    assert not maps["B epsilon"][x == 1].any()
    assert shift.relative(maps["A epsilon"], maps["B epsilon"]) > 0.2
    assert shift.relative(maps["A epsilon"], maps["B' sum"]) < 1e-4
    assert shift.relative(maps["A flat"], maps["B flat"]) < 1e-4
    shift.draw(x, maps, folder)
    check_picture(folder / "shift.png")


def test_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_digits()
    models = train_cnn.checkpoints("cnn", data.pictures, data.labels, (0, 40, 576), folder=folder)
    course = training.measure(models, data, samples=6)
    assert course.accuracy[0] < 0.5 < course.accuracy[-1]
    for score in training.SCORES:
        assert course.aopc(score)[-1] > course.aopc(score)[0]
        assert course.gain(score)[-1] > 0
    training.report(course)
    assert capsys.readouterr().out.count("correlation") == 2
    training.draw(course, folder)
    check_picture(folder / "training.png")


def test_backgrounds_and_boxes_of_scenes() -> None:
    data, g = small_digits(), np.random.default_rng(0)
    labels = data.labels[data.labels < 6]
    own, wrong = (context.choose_backgrounds(labels, g, which) for which in ("own", "wrong"))
    informative = labels < 3
    assert (own == labels)[informative].mean() > 0.9
    assert not (wrong == labels)[informative].any()
    assert len(np.unique(own[labels == 4])) == 3
    scenes = context.compose(data.pictures, data.labels, 0, 0, "own")
    blank = context.compose(0.25 * (data.pictures > 0.2), data.labels, 0, 0, "own")
    changed = np.abs(scenes.pictures - blank.pictures)[:, 0] > 0.14
    for ink, (left, top, right, bottom) in zip(changed, scenes.boxes, strict=True):
        ink[top:bottom, left:right] = False
    assert not changed.any()


# A network of six epochs has no positive relevance for some classes, and μ is not defined there.
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_context(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_digits()
    context.main(tmp_path, Digits(data.pictures[:700], data.labels[:700], data.test_pictures[:60], data.test_labels[:60]), 6)
    check_picture(tmp_path / "context.png")
    assert capsys.readouterr().out.count("accuracy lost") == 4


def test_scale_of_maps_grows_as_their_structures() -> None:
    noise = np.fft.rfft2(np.random.default_rng(0).normal(size=(112, 112)))
    frequency = np.hypot(np.fft.fftfreq(112)[:, None], np.fft.rfftfreq(112))
    for sigma in (2.0, 4.0):
        smooth = np.fft.irfft2(noise * np.exp(-2 * (np.pi * sigma * frequency) ** 2), (112, 112))
        # White noise behind a Gaussian filter has a Gaussian autocorrelation, of deviation √2 σ.
        assert depth.scale_of(smooth) == pytest.approx(sigma * 2 * np.sqrt(np.log(2)), rel=0.12)


def test_depth(tmp_path: Path) -> None:
    model = sources.write_efficientnet(tmp_path)
    x = np.asarray(depth.PICTURES.tensor([depth.PICTURES.picture(sources.photograph("chelsea.png"))]))
    found = {node: depth.explain(model, x, node) for node in ("", "blocks.7.add")}
    assert [flat for _, flat in found.values()] == [0, 24]
    fine, coarse = (depth.scale_of(maps[0]) for maps, _ in found.values())
    assert coarse > 1.5 * fine
