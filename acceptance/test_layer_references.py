"""Single layers: stored relevance of the rules of innvestigate for eight samples, in float32.

Each file holds one method and six layers with weights of their own. Relevance starts at the largest output of a sample.
What the references mean, beyond their names:

- `LRPEpsilon` uses 1e-7. `BoundedDeepTaylor` bounds the input by +-128, `LRPZ_boxed_input_layer_rule` by +-10.
- The methods that end in `Flat` and the `input_layer_rule` ones put their rule on the first layer, which is the only one.
- All biases are zero, so the `IgnoreBias` variants are further samples of the same rules.
- Average pooling is weighted by activation whatever the rule; only `BoundedDeepTaylor` shares equally.
- `GuidedBackprop` starts from the output, ours from 1.
- Where alpha = 2 meets an output without negative messages, relevance doubles (`LRPAlpha2Beta1`, dense layers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import graphlrp
from acceptance import dense_oracle as oracle
from acceptance.onnx_models import to_onnx
from acceptance.references import LAYERS, LayerReference, channels_first, layer_reference
from graphlrp import select

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Method:
    """The rule of a file for layers with weights and for average pooling: for the oracle and for GraphLRP."""

    shares: tuple[oracle.Share, oracle.Share]
    composite: Callable[[], graphlrp.Composite]
    from_one: bool = False
    conserves: bool = True


def rules(weighted: tuple[oracle.Share, graphlrp.Rule], pooling: tuple[oracle.Share, graphlrp.Rule] | None = None) -> Method:
    """A method of relevance propagation; pooling is activation-weighted unless said otherwise."""
    pooling = pooling or (oracle.epsilon(0.0), graphlrp.Epsilon(epsilon=0.0))
    pairs = [(select.family("pooling"), pooling[1]), (select.every(), weighted[1])]
    return Method((weighted[0], pooling[0]), lambda: graphlrp.Composite(pairs))


def gradient_share(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The weight itself."""
    return np.broadcast_to(weight, np.broadcast_shapes(x.shape, weight.shape))


def backward(preset: str, shares: tuple[oracle.Share, oracle.Share], *, from_one: bool = False) -> Method:
    """A method of backpropagation, which has a preset and no rules to choose."""
    return Method(shares, lambda: graphlrp.composite(preset), from_one, conserves=False)


Z = oracle.epsilon(0.0), graphlrp.Epsilon(epsilon=0.0)
EPSILON = oracle.epsilon(1e-7), graphlrp.Epsilon(epsilon=1e-7)
ALPHA_1 = oracle.alpha_beta(1.0), graphlrp.AlphaBeta(alpha=1.0)
ALPHA_2 = oracle.alpha_beta(2.0), graphlrp.AlphaBeta(alpha=2.0)
Z_PLUS = oracle.alpha_beta(1.0), graphlrp.ZPlus()
FLAT = oracle.flat(), graphlrp.Flat()
WEIGHT_SQUARE = oracle.weight_square(), graphlrp.WSquare()
BOUNDS_10 = oracle.bounded(-10.0, 10.0), graphlrp.ZBounds(low=-10.0, high=10.0)
BOUNDS_128 = oracle.bounded(-128.0, 128.0), graphlrp.ZBounds(low=-128.0, high=128.0)

METHODS = {
    "BoundedDeepTaylor": rules(BOUNDS_128, FLAT),
    "Gradient": backward("gradient", (gradient_share, oracle.flat()), from_one=True),
    "GuidedBackprop": backward("guided-backprop", (gradient_share, oracle.flat())),
    "InputTimesGradient": backward("gradient-x-input", (oracle.epsilon(0.0), oracle.epsilon(0.0))),
    "LRPAlpha1Beta0": rules(ALPHA_1),
    "LRPAlpha1Beta0IgnoreBias": rules(ALPHA_1),
    "LRPAlpha2Beta1": rules(ALPHA_2),
    "LRPAlpha2Beta1IgnoreBias": rules(ALPHA_2),
    "LRPEpsilon": rules(EPSILON),
    "LRPEpsilonIgnoreBias": rules(EPSILON),
    "LRPFlat": rules(FLAT, Z),
    "LRPSequentialPresetAFlat": rules(FLAT, Z),
    "LRPSequentialPresetBFlat": rules(FLAT, Z),
    "LRPWSquare": rules(WEIGHT_SQUARE),
    "LRPZ": rules(Z),
    "LRPZIgnoreBias": rules(Z),
    "LRPZPlus": rules(Z_PLUS),
    "LRPZ_Flat_input_layer_rule": rules(FLAT, Z),
    "LRPZ_boxed_input_layer_rule": rules(BOUNDS_10, Z),
}

every_reference = pytest.mark.parametrize(("method", "layer"), [(m, layer) for m in METHODS for layer in LAYERS])


def read(assets: Path, method: str, layer: str) -> LayerReference:
    """One layer of the file of a method."""
    return layer_reference(assets / "references" / "innvestigate_layers" / f"{method}.hdf5", layer)


def test_all_files_are_known(assets: Path) -> None:
    """No reference file is left out."""
    files = (assets / "references" / "innvestigate_layers").glob("*.hdf5")
    assert {file.stem for file in files} == set(METHODS)


@every_reference
def test_oracle(assets: Path, method: str, layer: str) -> None:
    """The textbook messages give the stored relevance: the file means what is written above."""
    reference = read(assets, method, layer)
    channels_last = not layer.startswith("Dense")
    x = channels_first(reference.x) if channels_last else reference.x
    output = oracle.values(reference.network, x)[-1]
    assert np.abs(output - reference.output).max() < TOLERANCE
    start = np.zeros_like(output)
    rows, largest = np.arange(len(output)), output.argmax(1)
    start[rows, largest] = 1.0 if METHODS[method].from_one else output[rows, largest]
    share = METHODS[method].shares[layer == "AveragePooling2D"]
    relevance = oracle.explain(reference.network, [share], x, start)
    relevance = np.moveaxis(relevance, 1, -1) if channels_last else relevance
    assert np.abs(relevance - reference.relevance).max() < TOLERANCE


@every_reference
def test_reference(assets: Path, method: str, layer: str) -> None:
    """GraphLRP gives the stored relevance."""
    reference = read(assets, method, layer)
    channels_last = not layer.startswith("Dense")
    model = to_onnx(
        reference.network,
        reference.x.shape[1:],
        pooling="average",
        channels_last_input=channels_last,
    )
    expected = METHODS[method]
    explanation = graphlrp.load(model, expected.composite(), dtype="float64", ledger=expected.conserves)(reference.x)
    assert np.abs(explanation.output - reference.output).max() < TOLERANCE
    relevance = explanation.relevance
    if method == "GuidedBackprop":
        relevance = relevance * explanation.output.max(1)[:, None, None, None]
    assert relevance.shape == reference.x.shape
    assert np.abs(relevance - reference.relevance).max() < TOLERANCE
    if expected.conserves:
        assert explanation.conservation_error.max() < 1e-9
