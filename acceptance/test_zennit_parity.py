"""Parity with zennit in float64 on small networks; differences are named and shown to be the whole difference.

Opt-in: needs torch and zennit, without which this module is not collected. zennit is compared with, side by side; it is
never part of GraphLRP.

What differs, and is set equal here:

- zennit adds a stabilizer (1e-6) to every denominator of every rule. GraphLRP has one where the rule has one (epsilon; its
  presets also put the epsilon rule on average pooling) and a fixed 1e-6 where branches are added. The comparison asks
  zennit for 1e-12 where ours has none, and for ours where it has one.
- zennit's folding of batch normalisation leaves an identity behind that still divides by sqrt(1 + epsilon), which changes
  the network by half that epsilon. The comparison uses epsilon = 0 there.
- zennit's w^2 rule squares the bias too and lets it take its share; ours leaves it out (zennit: `zero_params="bias"`).
- Excitation backprop starts from 1 and leaves biases out; zennit's does so when its bias is set to zero.
- Of equal maxima, torch gives everything to the first; ours share equally.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from zennit import composites, rules
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.core import Composite
from zennit.layer import Sum
from zennit.types import AvgPool, Convolution

import graphlrp
from acceptance.torch_networks import NETWORKS, network, sample, to_onnx
from graphlrp import select

pytestmark = pytest.mark.zennit

TOLERANCE = 1e-8
TINY = 1e-12
MERGE = 1e-6
LOW, HIGH = -1.0, 1.0


def shared(epsilon: float) -> dict[str, object]:
    """Options of zennit's composites that set pooling and merges to our stabilizers, and fold batch normalisation."""
    layer_map = [(AvgPool, rules.Norm(stabilizer=epsilon)), (Sum, rules.Norm(stabilizer=MERGE))]
    return {"layer_map": layer_map, "stabilizer": TINY, "canonizers": [SequentialMergeBatchNorm()]}


PRESETS: dict[str, tuple[Callable[[], Composite], Callable[[], graphlrp.Composite], dict[str, object]]] = {
    "epsilon-plus": (
        lambda: composites.EpsilonPlus(epsilon=1e-3, **shared(1e-3)),
        lambda: graphlrp.composite("epsilon-plus", epsilon=1e-3),
        {},
    ),
    "epsilon-plus-flat": (
        lambda: composites.EpsilonPlusFlat(epsilon=1e-3, **shared(1e-3)),
        lambda: graphlrp.composite("epsilon-plus-flat", epsilon=1e-3),
        {},
    ),
    "epsilon-alpha2beta1": (
        lambda: composites.EpsilonAlpha2Beta1(epsilon=1e-2, **shared(1e-2)),
        lambda: graphlrp.composite("epsilon-alpha2beta1", epsilon=1e-2),
        {},
    ),
    "epsilon-alpha2beta1-flat": (
        lambda: composites.EpsilonAlpha2Beta1Flat(epsilon=1e-2, **shared(1e-2)),
        lambda: graphlrp.composite("epsilon-alpha2beta1-flat", epsilon=1e-2),
        {},
    ),
    "epsilon-gamma-box": (
        lambda: composites.EpsilonGammaBox(
            low=torch.full((1, 3, 1, 1), LOW, dtype=torch.float64),
            high=torch.full((1, 3, 1, 1), HIGH, dtype=torch.float64),
            epsilon=1e-3,
            gamma=0.25,
            **shared(1e-3),
        ),
        lambda: graphlrp.composite("epsilon-gamma-box", low=LOW, high=HIGH, epsilon=1e-3, gamma=0.25),
        {},
    ),
    "excitation-backprop": (
        lambda: composites.ExcitationBackprop(zero_params="bias", **shared(TINY)),
        lambda: graphlrp.composite("excitation-backprop"),
        {},
    ),
}
BASELINES = {
    "gradient": lambda: None,
    "deconvolution": composites.DeconvNet,
    "guided-backprop": composites.GuidedBackprop,
}


def one_hot(output: torch.Tensor) -> torch.Tensor:
    """One at the largest output of each sample."""
    return torch.eye(output.shape[1], dtype=output.dtype)[output.argmax(1)]


def by_zennit(module: torch.nn.Module, composite: Composite | None, x: np.ndarray, *, from_one: bool) -> np.ndarray:
    """Relevance by zennit, started at the largest output with its value or with 1."""

    def start(output: torch.Tensor) -> torch.Tensor:
        return one_hot(output) if from_one else one_hot(output) * output

    with Gradient(module, composite) as attributor:
        _, relevance = attributor(torch.from_numpy(x).requires_grad_(), start)
    return relevance.detach().numpy()


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference relative to the largest relevance."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions(name: str) -> None:
    """The ONNX model computes what the torch module computes."""
    module, x = network(name), sample()
    explanation = graphlrp.load(to_onnx(module), "epsilon", dtype="float64")(x)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    assert np.abs(explanation.output - expected).max() < 1e-12
    assert np.array_equal(explanation.target, expected.argmax(1))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_preset(name: str, preset: str) -> None:
    """Our presets and zennit's composites of the same name agree."""
    theirs, ours, options = PRESETS[preset]
    module, x = network(name), sample()
    explanation = graphlrp.load(to_onnx(module), ours(), dtype="float64", ledger=True, **options)(x)
    expected = by_zennit(module, theirs(), x, from_one=ours().initial == "one")
    assert difference(explanation.relevance, expected) < TOLERANCE
    assert explanation.conservation_error.max() < 1e-9


@pytest.mark.parametrize("preset", BASELINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_baseline(name: str, preset: str) -> None:
    """The baselines agree, and so does gradient times input."""
    module, x = network(name), sample()
    ours = graphlrp.load(to_onnx(module), preset, dtype="float64")(x).relevance
    theirs = by_zennit(module, BASELINES[preset](), x, from_one=True)
    assert difference(ours, theirs) < TOLERANCE
    if preset == "gradient":
        product = graphlrp.load(to_onnx(module), "gradient-x-input", dtype="float64")(x).relevance
        assert difference(product, theirs * x) < TOLERANCE


def every_layer(rule: rules.BasicHook) -> Composite:
    """zennit: one rule on all linear layers, the basic rule on pooling, nothing else."""
    basic = rules.Norm(stabilizer=TINY)
    layers = (Convolution, torch.nn.Linear)
    return composites.LayerMapComposite([(AvgPool, basic), (layers, rule), (torch.nn.ReLU, rules.Pass())])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        pytest.param(lambda: rules.Epsilon(epsilon=0.1), lambda: graphlrp.Epsilon(epsilon=0.1), id="epsilon"),
        pytest.param(lambda: rules.ZPlus(stabilizer=TINY), lambda: graphlrp.ZPlus(), id="z-plus"),
        pytest.param(
            lambda: rules.AlphaBeta(alpha=3.0, beta=2.0, stabilizer=TINY),
            lambda: graphlrp.AlphaBeta(alpha=3.0),
            id="alpha-3",
        ),
        pytest.param(
            lambda: rules.Gamma(gamma=0.5, stabilizer=TINY),
            lambda: graphlrp.Gamma(gamma=0.5),
            id="generalised-gamma",
        ),
        pytest.param(lambda: rules.Flat(stabilizer=TINY), lambda: graphlrp.Flat(), id="flat"),
        pytest.param(
            lambda: rules.WSquare(stabilizer=TINY, zero_params="bias"),
            lambda: graphlrp.WSquare(),
            id="weight-square",
        ),
        pytest.param(
            lambda: rules.ZBox(low=-2.0, high=30.0, stabilizer=TINY),
            lambda: graphlrp.ZBounds(low=-2.0, high=30.0),
            id="bounds",
        ),
    ],
)
def test_rule_on_every_layer(theirs: Callable[[], rules.BasicHook], ours: Callable[[], graphlrp.Rule]) -> None:
    """Each single rule on all layers with weights, signed inputs included."""
    module, x = network("plain"), sample()
    composite = graphlrp.Composite([(select.family("pooling"), graphlrp.Epsilon(epsilon=0.0)), (select.every(), ours())])
    explanation = graphlrp.load(to_onnx(module), composite, dtype="float64", ledger=True)(x)
    assert difference(explanation.relevance, by_zennit(module, every_layer(theirs()), x, from_one=False)) < TOLERANCE
    assert explanation.conservation_error.max() < 1e-9


def test_difference_of_the_stabilizer() -> None:
    """zennit's stabilizer of all rules is the whole difference: it scales with the stabilizer and vanishes with it."""
    module, x = network("plain"), sample()
    ours = graphlrp.load(to_onnx(module), graphlrp.composite("epsilon-plus", epsilon=1e-3), dtype="float64")(x)
    sizes = []
    for stabilizer in (1e-6, 1e-7):
        theirs = composites.EpsilonPlus(epsilon=1e-3, **{**shared(1e-3), "stabilizer": stabilizer})
        sizes.append(difference(ours.relevance, by_zennit(module, theirs, x, from_one=False)))
    assert 1e-8 < sizes[0] < 1e-3
    assert sizes[0] / sizes[1] == pytest.approx(10.0, rel=0.05)


def test_difference_of_batch_normalisation() -> None:
    """What zennit's folding changes is the network itself, by sqrt(1 + epsilon) at each normalisation; ours does not."""
    module, x = network("residual", normalisation_epsilon=1e-5), sample()
    with torch.no_grad():
        plain = module(torch.from_numpy(x)).numpy()
        with composites.EpsilonPlus(canonizers=[SequentialMergeBatchNorm()]).context(module) as folded:
            theirs = folded(torch.from_numpy(x)).numpy()
    ours = graphlrp.load(to_onnx(module), "epsilon-plus", dtype="float64")(x).output
    assert np.abs(ours - plain).max() < 1e-12
    assert 1e-6 < np.abs(theirs - plain).max() < 1e-3


def test_difference_of_the_weight_square_rule() -> None:
    """zennit's squared bias takes the share b^2 / (b^2 + sum of w^2) of each neuron, and that is the whole difference."""
    torch.manual_seed(3)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4)).double()
    torch.nn.init.normal_(module[1].bias, std=2.0)
    x = sample()
    explanation = graphlrp.load(to_onnx(module), graphlrp.WSquare(), dtype="float64")(x)
    theirs = by_zennit(module, every_layer(rules.WSquare(stabilizer=TINY)), x, from_one=False)
    squares = (module[1].weight.detach().numpy() ** 2).sum(1)
    bias = module[1].bias.detach().numpy() ** 2
    kept = (squares / (squares + bias))[explanation.target][:, None, None, None]
    assert difference(explanation.relevance, theirs) > 1e-3
    assert difference(explanation.relevance * kept, theirs) < TOLERANCE


def test_difference_of_ties() -> None:
    """Of equal maxima torch gives all to the first, GraphLRP an equal share to each; their sums per window agree."""
    torch.manual_seed(4)
    layers = [torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4)]
    module = torch.nn.Sequential(*layers).double()
    x = np.repeat(np.repeat(sample()[:, :, ::2, ::2], 2, axis=2), 2, axis=3)
    ours = graphlrp.load(to_onnx(module), graphlrp.Epsilon(epsilon=0.1), dtype="float64")(x).relevance
    theirs = by_zennit(module, every_layer(rules.Epsilon(epsilon=0.1)), x, from_one=False)
    windows = ours.reshape(-1, 3, 8, 2, 8, 2)
    assert np.abs(windows - windows.mean((3, 5), keepdims=True)).max() < 1e-15
    assert difference(ours, theirs) > 0.1
    assert difference(windows.sum((3, 5)), theirs.reshape(-1, 3, 8, 2, 8, 2).sum((3, 5))) < TOLERANCE
