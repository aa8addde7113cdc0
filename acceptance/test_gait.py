"""Gait recordings: a linear network, a linear support vector machine and a 1-D convolutional network, in float64.

Inputs are 970 recordings of 101 time steps of 6 signals; the linear models flatten them as they are, the convolutional
network takes the signals one after another as one sequence of 606 values. What the references mean:

- The stored explanations are those of the 105 test samples. Which of the recordings these are is found by their scores.
- The convolutional network writes `[N, 606, 1, 1]`; its dense layer and all its epsilon rules use 1e-5, "composite" puts
  alpha on convolutions, and a suffix (`flat`, `zB`) replaces the rule of the first convolution. There is no pooling.
- The zB rule is bounded by the smallest and largest value *of each of the 606 inputs* in the training data. These bounds
  are stored with the convolutional network, signals first; the linear models use the same ones.
- `act` explains the labelled class and `dom` the predicted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.io

import graphlrp
from acceptance import dense_oracle as oracle
from acceptance.layers import Layer
from acceptance.onnx_models import to_onnx
from acceptance.references import gait_network
from graphlrp import select

TOLERANCE = 1e-6
EPSILON = 1e-5
LINEAR_MODELS = {"MlpLinear": 0.8952380952380953, "SvmLinearL2C1em1": 0.8857142857142857}
CONVOLUTIONAL_ACCURACY = 0.8476190476190476


@dataclass(frozen=True)
class Recordings:
    """Recordings `x[970, 101, 6]`, their labels, and bounds `[101, 6]` of each input in the training data."""

    x: np.ndarray
    label: np.ndarray
    low: np.ndarray
    high: np.ndarray


@pytest.fixture(scope="module")
def folder(assets: Path) -> Path:
    """Folder of the references."""
    return assets / "references" / "gait"


@pytest.fixture(scope="module")
def stored(folder: Path) -> dict[str, np.ndarray]:
    """The stored reference of the convolutional network."""
    with np.load(folder / "cnn1dc8_part0_reference_heatmaps.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def recordings(folder: Path, stored: dict[str, np.ndarray]) -> Recordings:
    """All recordings and the bounds."""
    with np.load(folder / "gait_inputs_recovered.npz") as file:
        x, label = file["x"], file["y"].argmax(1)
    low, high = (stored[name].reshape(6, 101).T for name in ("zb_lower", "zb_upper"))
    return Recordings(x, label, low, high)


def signals_first(x: np.ndarray) -> np.ndarray:
    """Recordings `[N, 101, 6]` as sequences `[N, 1, 606, 1]`, one signal after another."""
    return x.transpose(0, 2, 1).reshape(len(x), 1, -1, 1)


@dataclass(frozen=True)
class LinearReference:
    """A linear model, its stored outputs, and which recordings they belong to."""

    network: list[Layer]
    outputs: dict[str, np.ndarray]
    index: np.ndarray


def linear_reference(folder: Path, recordings: Recordings, name: str) -> LinearReference:
    """Read a linear model and find its test samples by their scores."""
    network = gait_network(folder / f"{name}.part-0.model.txt")
    outputs = scipy.io.loadmat(folder / f"{name}.part-0.outputs.mat")
    flattened = recordings.x.reshape(len(recordings.x), -1)
    scores = oracle.values(network, flattened)[-1]
    distance = np.abs(scores[:, None] - outputs["y_pred"][None]).max(-1)
    index = distance.argmin(0)
    assert distance.min(0).max() < 1e-12
    assert len(set(index)) == len(index)
    return LinearReference(network, outputs, index)


@pytest.mark.parametrize("name", LINEAR_MODELS)
def test_linear_predictions(folder: Path, recordings: Recordings, name: str) -> None:
    """The samples were found: the published accuracy comes out."""
    reference = linear_reference(folder, recordings, name)
    correct = reference.outputs["y_pred"].argmax(1) == recordings.label[reference.index]
    assert correct.mean() == pytest.approx(LINEAR_MODELS[name], abs=1e-12)
    assert reference.outputs["acc"].item() == pytest.approx(LINEAR_MODELS[name], abs=1e-12)


@pytest.mark.parametrize("explained", ["act", "dom"])
@pytest.mark.parametrize("rule", ["epsilon", "epsilon_zb"])
@pytest.mark.parametrize("name", LINEAR_MODELS)
def test_linear_reference(folder: Path, recordings: Recordings, name: str, rule: str, explained: str) -> None:
    """Textbook messages and GraphLRP give the stored relevance of the linear models."""
    reference = linear_reference(folder, recordings, name)
    x = recordings.x[reference.index]
    scores = reference.outputs["y_pred"]
    target = recordings.label[reference.index] if explained == "act" else scores.argmax(1)
    expected = reference.outputs[f"R_pred_{explained}_{rule}"]

    flattened = x.reshape(len(x), -1)
    start = np.where(np.arange(2) == target[:, None], scores, 0.0)
    low, high = recordings.low.reshape(1, -1), recordings.high.reshape(1, -1)
    share = oracle.epsilon(EPSILON) if rule == "epsilon" else oracle.BoundedPerInput(low, high)
    textbook = oracle.explain(reference.network, [share], flattened, start)
    assert np.abs(textbook.reshape(x.shape) - expected).max() < 1e-12

    ours: graphlrp.Rule = graphlrp.Epsilon(epsilon=EPSILON)
    if rule == "epsilon_zb":
        ours = graphlrp.ZBounds(low=recordings.low.ravel(), high=recordings.high.ravel())
    model = to_onnx(reference.network, x.shape[1:])
    explanation = graphlrp.load(model, ours, dtype="float64", ledger=True)(x, target)
    assert np.abs(explanation.output - scores).max() < 1e-9
    assert np.abs(explanation.relevance - expected).max() < TOLERANCE
    assert explanation.conservation_error.max() < 1e-9


SETTINGS = {
    "epsilon1e-5": (None, ""),
    "epsilon_flat": (None, "flat"),
    "epsilon_zB": (None, "zB"),
    "composite_alpha1": (1.0, ""),
    "composite_alpha1_flat": (1.0, "flat"),
    "composite_alpha1_zB": (1.0, "zB"),
    "composite_alpha2": (2.0, ""),
    "composite_alpha2_flat": (2.0, "flat"),
    "composite_alpha2_zB": (2.0, "zB"),
}


@pytest.fixture(scope="module")
def convolutional(folder: Path) -> list[Layer]:
    """The convolutional network."""
    return gait_network(folder / "Cnn1DC8.part-0.model.txt")


def test_convolutional_predictions(
    folder: Path, recordings: Recordings, convolutional: list[Layer], stored: dict[str, np.ndarray]
) -> None:
    """The stored logits and the published accuracy come out."""
    x = signals_first(recordings.x)
    assert np.array_equal(x[stored["index"]], stored["x"].transpose(0, 3, 1, 2))
    index = linear_reference(folder, recordings, "MlpLinear").index
    logits = oracle.values(convolutional, x[index])[-1]
    assert np.mean(logits.argmax(1) == recordings.label[index]) == pytest.approx(CONVOLUTIONAL_ACCURACY, abs=1e-12)
    explained = oracle.values(convolutional, x[stored["index"]])[-1]
    assert np.abs(explained - stored["logits"]).max() < 1e-12


@pytest.mark.parametrize("name", SETTINGS)
def test_convolutional_oracle(name: str, convolutional: list[Layer], stored: dict[str, np.ndarray]) -> None:
    """The textbook messages give the stored relevance: the setting means what is written above."""
    alpha, suffix = SETTINGS[name]
    middle = oracle.epsilon(EPSILON) if alpha is None else oracle.alpha_beta(alpha)
    first: oracle.Rule = middle
    if suffix == "flat":
        first = oracle.flat()
    elif suffix == "zB":
        first = oracle.BoundedPerInput(*(stored[key].transpose(0, 3, 1, 2) for key in ("zb_lower", "zb_upper")))
    rules = [first, middle, middle, oracle.epsilon(EPSILON)]
    relevance = oracle.explain(convolutional, rules, stored["x"].transpose(0, 3, 1, 2), stored["R_init"])
    assert np.abs(relevance - stored[f"R_{name}"].transpose(0, 3, 1, 2)).max() < 1e-9


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("name", SETTINGS)
def test_convolutional_reference(name: str, dimensions: int, convolutional: list[Layer], stored: dict[str, np.ndarray]) -> None:
    """GraphLRP gives the stored relevance, with convolutions over time and with images of width 1."""
    shape = (1, 606) if dimensions == 1 else (1, 606, 1)
    x = stored["x"].reshape(-1, *shape)
    alpha, suffix = SETTINGS[name]
    middle = graphlrp.Epsilon(epsilon=EPSILON) if alpha is None else graphlrp.AlphaBeta(alpha=alpha)
    first: graphlrp.Rule = middle
    if suffix == "flat":
        first = graphlrp.Flat()
    elif suffix == "zB":
        first = graphlrp.ZBounds(low=stored["zb_lower"].reshape(shape), high=stored["zb_upper"].reshape(shape))
    composite = graphlrp.Composite(
        [
            (select.first(), first),
            (select.operator("Conv"), middle),
            (select.every(), graphlrp.Epsilon(epsilon=EPSILON)),
        ]
    )
    model = to_onnx(convolutional, shape, dimensions=dimensions)
    explanation = graphlrp.load(model, composite, dtype="float64", ledger=True)(x, stored["R_init"].argmax(1))
    assert np.abs(explanation.output - stored["logits"]).max() < 1e-9
    assert np.abs(explanation.relevance.reshape(16, -1) - stored[f"R_{name}"].reshape(16, -1)).max() < TOLERANCE
    assert explanation.conservation_error.max() < 1e-9
