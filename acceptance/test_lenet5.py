"""LeNet-5 on MNIST: ten digits and twelve settings of rules, stored by the reference implementation in float64.

The stored relevance starts at the largest logit (one setting: at another class). What the settings mean:

- `simple` is the basic rule: 1e-16 is added to the denominators of convolutions and 1e-12 to those of pooling.
- Sum pooling is scaled by 1/sqrt(4) *after* it; the stabilizer of the epsilon rule is added to the plain sum. In ONNX,
  pooling is a convolution with weights 1/2 or a mean times 2: its stabilizer is scaled by 1/2 or 1/4 accordingly.
- `alphabeta_2` applies alpha = 2 to sum pooling too. After a rectifier there are no negative messages, so each of the
  three pooling layers doubles relevance. That is the formula as it stands (the ledger books the surplus as `dead`).
  `conv_alpha2_pool_simple` is what one would use.
- The rule of the first layer (`first_ww`, `first_flat`) replaces the other rule on the first convolution only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import graphlrp
from acceptance import dense_oracle as oracle
from acceptance.layers import Layer, SumPool
from acceptance.onnx_models import pooling_factor, to_onnx
from acceptance.references import Digits, channels_first, digits, lenet5
from graphlrp import select

TOLERANCE = 1e-6
ACCURACY = 0.9924


@dataclass(frozen=True)
class Setting:
    """Rules of the first convolution, the other convolutions, and pooling: for the oracle and for GraphLRP."""

    first: tuple[oracle.Share, graphlrp.Rule]
    convolution: tuple[oracle.Share, graphlrp.Rule]
    pooling: tuple[oracle.Share, Callable[[float], graphlrp.Rule]]
    start: str = "R_init"


def epsilon(value: float) -> tuple[oracle.Share, graphlrp.Rule]:
    """The epsilon rule, twice."""
    return oracle.epsilon(value), graphlrp.Epsilon(epsilon=value)


def alpha_beta(alpha: float) -> tuple[oracle.Share, graphlrp.Rule]:
    """The alpha-beta rule, twice."""
    return oracle.alpha_beta(alpha), graphlrp.AlphaBeta(alpha=alpha)


def pool_epsilon(value: float) -> tuple[oracle.Share, Callable[[float], graphlrp.Rule]]:
    """The epsilon rule of a pooling layer whose sum is written `factor` times smaller."""
    return oracle.epsilon(value), lambda factor: graphlrp.Epsilon(epsilon=value * factor)


def pool_alpha_beta(alpha: float) -> tuple[oracle.Share, Callable[[float], graphlrp.Rule]]:
    """The alpha-beta rule of a pooling layer."""
    return oracle.alpha_beta(alpha), lambda factor: graphlrp.AlphaBeta(alpha=alpha)


FLAT = oracle.flat(), graphlrp.Flat()
WEIGHT_SQUARE = oracle.weight_square(), graphlrp.WSquare()

SETTINGS = {
    "simple": Setting(epsilon(1e-16), epsilon(1e-16), pool_epsilon(1e-12)),
    "epsilon_1": Setting(epsilon(1.0), epsilon(1.0), pool_epsilon(1.0)),
    "epsilon_0.01": Setting(epsilon(0.01), epsilon(0.01), pool_epsilon(0.01)),
    "epsilon_0.01_other": Setting(epsilon(0.01), epsilon(0.01), pool_epsilon(0.01), "R_init_other"),
    "alphabeta_2": Setting(alpha_beta(2.0), alpha_beta(2.0), pool_alpha_beta(2.0)),
    "alphabeta_1": Setting(alpha_beta(1.0), alpha_beta(1.0), pool_alpha_beta(1.0)),
    "alpha1_first_ww": Setting(WEIGHT_SQUARE, alpha_beta(1.0), pool_alpha_beta(1.0)),
    "eps0.01_first_ww": Setting(WEIGHT_SQUARE, epsilon(0.01), pool_epsilon(0.01)),
    "alpha1_first_flat": Setting(FLAT, alpha_beta(1.0), pool_alpha_beta(1.0)),
    "eps0.01_first_flat": Setting(FLAT, epsilon(0.01), pool_epsilon(0.01)),
    "conv_alpha2_pool_simple": Setting(alpha_beta(2.0), alpha_beta(2.0), pool_epsilon(1e-12)),
    "conv_alpha1_pool_simple": Setting(alpha_beta(1.0), alpha_beta(1.0), pool_epsilon(1e-12)),
}


@pytest.fixture(scope="module")
def folder(assets: Path) -> Path:
    """Folder of the reference."""
    return assets / "mnist" / "lrp_toolbox"


@pytest.fixture(scope="module")
def network(folder: Path) -> list[Layer]:
    """LeNet-5 as layers."""
    return lenet5(folder)


@pytest.fixture(scope="module")
def test_digits(folder: Path) -> Digits:
    """The 10,000 test digits."""
    return digits(folder)


@pytest.fixture(scope="module")
def stored(folder: Path) -> dict[str, np.ndarray]:
    """The stored reference."""
    with np.load(folder / "lenet5_reference_heatmaps.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def x(stored: dict[str, np.ndarray]) -> np.ndarray:
    """The ten explained digits `[10, 1, 32, 32]`."""
    return channels_first(stored["x"])


def single_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model in float32, which ONNX Runtime can run on a CPU."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for initializer in result.graph.initializer:
        array = numpy_helper.to_array(initializer).astype(np.float32)
        initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
    for value in [*result.graph.input, *result.graph.output]:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del result.graph.value_info[:]
    return result


def explainer(network: list[Layer], setting: Setting, pooling: str) -> graphlrp.Explainer:
    """Compile LeNet-5 with the rules of a setting."""
    (factor,) = {pooling_factor(layer, pooling) for layer in network if isinstance(layer, SumPool)}
    composite = graphlrp.Composite(
        [
            (select.name("pool_*"), setting.pooling[1](factor)),
            (select.first(), setting.first[1]),
            (select.every(), setting.convolution[1]),
        ]
    )
    model = to_onnx(network, (1, 32, 32), pooling=pooling)
    return graphlrp.load(model, composite, dtype="float64", ledger=True)


def test_predictions(network: list[Layer], test_digits: Digits, stored: dict[str, np.ndarray], x: np.ndarray) -> None:
    """The network is the right one: stored logits, stored digits, known accuracy."""
    assert np.abs(oracle.values(network, x)[-1] - stored["logits"]).max() < 1e-12
    assert np.array_equal(test_digits.x[stored["index"]], x)
    assert np.array_equal(test_digits.label[stored["index"]], stored["label"])
    model = single_precision(to_onnx(network, (1, 32, 32)))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": test_digits.x.astype(np.float32)})
    assert abs(np.mean(logits.argmax(1) == test_digits.label) - ACCURACY) < 5e-4


@pytest.mark.parametrize("name", SETTINGS)
def test_oracle(name: str, network: list[Layer], stored: dict[str, np.ndarray], x: np.ndarray) -> None:
    """The textbook messages give the stored relevance: the setting means what is written above."""
    setting = SETTINGS[name]
    first, convolution, pooling = setting.first[0], setting.convolution[0], setting.pooling[0]
    rules = [first, pooling, convolution, pooling, convolution, pooling, convolution]
    relevance = oracle.explain(network, rules, x, stored[setting.start])
    assert np.abs(relevance - channels_first(stored[f"R_{name}"])).max() < 1e-12


@pytest.mark.parametrize("pooling", ["convolution", "average"])
@pytest.mark.parametrize("name", SETTINGS)
def test_reference(name: str, pooling: str, network: list[Layer], stored: dict[str, np.ndarray], x: np.ndarray) -> None:
    """GraphLRP gives the stored relevance."""
    setting = SETTINGS[name]
    target = np.abs(stored[setting.start]).argmax(1)
    explanation = explainer(network, setting, pooling)(x, target)
    assert np.abs(explanation.output - stored["logits"]).max() < TOLERANCE
    assert np.abs(explanation.relevance - channels_first(stored[f"R_{name}"])).max() < TOLERANCE
    assert explanation.conservation_error.max() < 1e-9
