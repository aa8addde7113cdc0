"""Real networks: predictions first, then finite and conserving relevance for every preset that conserves.

Conservation is per sample: what the explained output is worth equals the relevance of the input plus what the ledger
says was absorbed, within 1e-4 of the sum of magnitudes in float32 and 1e-9 in float64. The ledger is checked against
two things that do not come from it: the basic rule's sum of relevance must be the directional derivative of the network
along its own input (both by ONNX Runtime alone), and a rule without biases must hand the output on in full.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest

import graphlrp
from acceptance import images, zoo
from acceptance.conftest import Packaged

SINGLE = 1e-4
DOUBLE = 1e-9
PRESETS = (
    "epsilon",
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-alpha2beta1",
    "epsilon-alpha2beta1-flat",
    "epsilon-gamma-box",
    "attnlrp",
    "deep-taylor",
    "deep-taylor-box",
    "excitation-backprop",
)
EQUAL_WEIGHTS_PRESETS = ("epsilon", "epsilon-plus-flat", "epsilon-alpha2beta1")
SAMPLES = 4


def composite(preset: str, low: tuple[float, ...], high: tuple[float, ...]) -> graphlrp.Composite:
    """A preset; those with a box take the bounds of the input."""
    if preset == "epsilon-gamma-box":
        return graphlrp.composite(preset, low=low, high=high)
    if preset == "deep-taylor-box":
        return graphlrp.composite("deep-taylor", low=low, high=high)
    return graphlrp.composite(preset)


def check(explanation: graphlrp.Explanation, x: np.ndarray, output: np.ndarray, tolerance: float) -> None:
    """Relevance is there, finite and conserving, and explains what the network predicts."""
    relevance = np.asarray(explanation.relevance)
    assert relevance.shape == x.shape
    assert np.isfinite(relevance).all()
    assert np.abs(relevance).reshape(len(x), -1).max(1).min() > 0
    assert np.array_equal(np.asarray(explanation.target), output.reshape(len(x), -1).argmax(1))
    error = np.asarray(explanation.conservation_error)
    assert error.shape == (len(x),)
    assert error.max() <= tolerance


@pytest.mark.parametrize("name", zoo.TRAINED)
def test_predictions(assets: Path, name: str) -> None:
    """Each trained network gets the accuracy it is known for."""
    model = zoo.TRAINED[name]
    x, label = model.read(assets, None)
    output = zoo.predict(model.path(assets), x)
    assert np.mean(output.argmax(1) == label) == pytest.approx(model.accuracy, abs=0.5 / len(label))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", zoo.TRAINED)
def test_trained(assets: Path, name: str, preset: str) -> None:
    """Trained networks in float32."""
    model = zoo.TRAINED[name]
    x, _ = model.read(assets, SAMPLES)
    output = zoo.predict(model.path(assets), x)
    explainer = graphlrp.load(model.path(assets), composite(preset, model.low, model.high), ledger=True)
    explanation = explainer(x)
    assert np.abs(explanation.output - output).max() < 1e-4 * np.abs(output).max()
    check(explanation, x, output, SINGLE)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["resnet20", "densenet-bc"])
def test_trained_in_double_precision(assets: Path, name: str, preset: str) -> None:
    """The small networks in float64."""
    model = zoo.TRAINED[name]
    x, _ = model.read(assets, 2)
    output = zoo.predict(model.path(assets), x)
    rules = composite(preset, model.low, model.high)
    explanation = graphlrp.load(model.path(assets), rules, dtype="float64", ledger=True)(x.astype(np.float64))
    check(explanation, x, output, DOUBLE)


@pytest.mark.parametrize("name", ["squeezenet", "resnet20", "resnet56", "densenet-bc"])
def test_sum_of_the_basic_rule(assets: Path, name: str) -> None:
    """With epsilon = 0 and absorbed biases, relevance sums to the derivative of f((1 + t) x) at t = 0.

    These networks are piecewise linear (rectifiers, maxima), where the basic rule is gradient times input. The derivative
    is a central difference of ONNX Runtime's outputs and knows nothing of relevance.
    """
    model = zoo.TRAINED[name]
    x, _ = model.read(assets, SAMPLES)
    output = zoo.predict(model.path(assets), x)
    target = output.argmax(1)
    step = 1e-3
    above, below = (zoo.predict(model.path(assets), x * np.float32(1 + sign * step)) for sign in (1, -1))
    derivative = ((above - below) / (2 * step))[np.arange(len(x)), target]
    explanation = graphlrp.load(model.path(assets), graphlrp.Epsilon(epsilon=0.0))(x, target)
    total = np.asarray(explanation.relevance, np.float64).reshape(len(x), -1).sum(1)
    assert np.abs(total - derivative).max() < 0.02 * np.abs(output).max()


LOSSLESS = {
    "flat": (graphlrp.Flat(), ("efficientnet-lite0", "densenet-bc")),
    "positive": (graphlrp.AlphaBeta(alpha=1.0, renormalize=True), ("densenet-bc",)),
}


@pytest.mark.parametrize(("rule", "name"), [(rule, name) for rule, (_, names) in LOSSLESS.items() for name in names])
def test_everything_arrives_without_biases(assets: Path, rule: str, name: str) -> None:
    """Where biases are left out and merges halve, nothing is lost: relevance sums to the output.

    Not so, rightly, where a neuron lives on its bias alone (positive messages of depthwise convolutions whose inputs are
    all zero; SqueezeNet pads its last 1x1 convolution, so outputs at the border have no input), and where a merge gives to
    padding (the shortcuts of the ResNets for CIFAR-10).
    """
    model = zoo.TRAINED[name]
    x, _ = model.read(assets, SAMPLES)
    output = zoo.predict(model.path(assets), x).max(1)
    explanation = graphlrp.load(model.path(assets), LOSSLESS[rule][0], bias="ignore", merge="equal")(x)
    total = np.asarray(explanation.relevance, np.float64).reshape(len(x), -1).sum(1)
    assert np.abs(total - output).max() < 1e-4 * np.abs(output).max()


@lru_cache(maxsize=1)
def light(name: str, weights: str) -> onnx.ModelProto:
    """A large graph as shipped or with random weights."""
    model = zoo.light_model(name)
    return zoo.randomised(model) if weights == "random" else model


LIGHT = [
    (name, weights, preset)
    for name in zoo.light_models()
    for weights, presets in (("shipped", EQUAL_WEIGHTS_PRESETS), ("random", PRESETS))
    for preset in presets
]


@pytest.fixture(scope="module")
def photo(packaged: Packaged) -> np.ndarray:
    """A neutral photo for the large graphs: `[1, 3, 224, 224]`, about -1 to 1."""
    path = packaged("scikit-image", "0.26.0", f"skimage/data/{images.NEUTRAL_PHOTOS[0]}")
    return images.efficientnet_input(path)[None].astype(np.float32)


def test_light_predictions(photo: np.ndarray) -> None:
    """The graphs of the onnx package as shipped put out what the package stores (their weights are all the same)."""
    for name in zoo.light_models():
        output = zoo.predict(zoo.light_model(name), photo)
        assert np.abs(output - zoo.light_output(name)).max() < 1e-5


@pytest.mark.parametrize(("name", "weights", "preset"), LIGHT)
def test_light(name: str, weights: str, preset: str, photo: np.ndarray) -> None:
    """The large graphs of the onnx package in float32, with equal weights (ties everywhere) and with random ones."""
    model = light(name, weights)
    output = zoo.predict(model, photo)
    rules = composite(preset, (-127 / 128,) * 3, (1.0,) * 3)
    # Equal weights make outputs of up to 1e21, close to where float32 ends: there relevance starts from 1 and not from f(x).
    initial = "one" if weights == "shipped" else None
    explanation = graphlrp.load(model, rules, ledger=True, initial=initial)(photo)
    if weights == "random":
        check(explanation, photo, output, SINGLE)
    else:
        assert np.isfinite(explanation.relevance).all()
        assert np.asarray(explanation.conservation_error).max() <= SINGLE
