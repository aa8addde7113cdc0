"""Presets: named composites with parameters. ``composite("epsilon-gamma-box", low=-2.1, high=2.6)`` makes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from graphlrp.errors import RuleError
from graphlrp.rules import select
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite
from graphlrp.rules.linear import (
    AlphaBeta,
    Deconvolution,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    GuidedBackprop,
    Pass,
    WSquare,
    ZBounds,
    ZPlus,
)
from graphlrp.rules.parameters import Numbers, yes_or_no
from graphlrp.rules.readout import ChannelNorm, ClassActivation, RandomNumbers, Readout, TimesInput
from graphlrp.rules.sampling import GaussianNoise, StraightPath
from graphlrp.rules.windows import Extent, HiddenWindows

Bound = float | tuple[float, ...]


def basic() -> Composite:
    """The basic rule (2.10), LRP-0, everywhere: exact contributions of linear predictors and kernel machines (2.72)."""
    return Composite([(select.every(), Epsilon(0.0))], "basic")


def epsilon(epsilon: float = 1e-6) -> Composite:
    """ε rule everywhere."""
    return Composite([(select.every(), Epsilon(epsilon))], "epsilon")


def epsilon_plus(epsilon: float = 1e-6) -> Composite:
    """z⁺ on convolutions, ε elsewhere."""
    return Composite([(select.family("convolution"), ZPlus()), (select.every(), Epsilon(epsilon))], "epsilon-plus")


def epsilon_plus_flat(epsilon: float = 1e-6, up_to: str | None = None) -> Composite:
    """As ``epsilon-plus``, ♭ on the first linear mappings, or on all up to the node named ``up_to``."""
    return _flat(epsilon_plus(epsilon), up_to, "epsilon-plus-flat")


def epsilon_alpha2beta1(epsilon: float = 1e-2, alpha: float = 2.0) -> Composite:
    """α = 2, β = -1 on convolutions, ε elsewhere."""
    return Composite(
        [(select.family("convolution"), AlphaBeta(alpha)), (select.every(), Epsilon(epsilon))], "epsilon-alpha2beta1"
    )


def epsilon_alpha2beta1_flat(epsilon: float = 1e-2, alpha: float = 2.0, up_to: str | None = None) -> Composite:
    """As ``epsilon-alpha2beta1``, ♭ on the first linear mappings, or on all up to the node named ``up_to`` (5.4)."""
    return _flat(epsilon_alpha2beta1(epsilon, alpha), up_to, "epsilon-alpha2beta1-flat")


def epsilon_gamma_box(low: Bound, high: Bound, epsilon: float = 1e-6, gamma: float = 0.25) -> Composite:
    """z^B on the first linear mappings (inputs in [low, high]), γ on convolutions, ε elsewhere."""
    return Composite(
        [
            (select.first(), ZBounds(low, high)),
            (select.family("convolution"), Gamma(gamma)),
            (select.every(), Epsilon(epsilon)),
        ],
        "epsilon-gamma-box",
    )


def attnlrp(epsilon: float = 1e-6, gamma: float | None = None) -> Composite:
    """AttnLRP: ε on linear mappings, γ on convolutions if given; products and attention by their AttnLRP policies."""
    entries = [(select.every(), Epsilon(epsilon))]
    composite = Composite(entries, "attnlrp", options={"product": "uniform", "attention": "attnlrp"})
    return composite if gamma is None else composite.before((select.family("convolution"), Gamma(gamma)))


def deep_taylor(low: Bound | None = None, high: Bound | None = None) -> Composite:
    """Deep Taylor decomposition: z⁺ on linear mappings; on the first, z^B if the bounds are given, else w²."""
    if (low is None) != (high is None):
        raise RuleError("deep-taylor: give both low and high, or neither")
    first = WSquare() if low is None or high is None else ZBounds(low, high)
    return Composite([(select.first(), first), (select.every(), ZPlus())], "deep-taylor")


def excitation_backprop() -> Composite:
    """Excitation backprop (Zhang et al. 2016): z⁺ on every linear mapping, biases left out, from a probability of 1."""
    return Composite([(select.every(), ZPlus())], "excitation-backprop", options={"bias": "ignore"}, initial="one")


def gradient() -> Composite:
    """∂f/∂x of the target."""
    return Composite([(select.every(), Gradient())], "gradient", initial="one")


def gradient_x_input() -> Composite:
    """x · ∂f/∂x of the target."""
    return Composite([(select.every(), Gradient())], "gradient-x-input", initial="one", readout=TimesInput())


def sensitivity(norm: float = 2.0) -> Composite:
    """‖∂f/∂x_p‖ over the channels of every position p (3.1), 2 or inf, in equal parts to the channels."""
    return Composite([(select.every(), Gradient())], "sensitivity", initial="one", readout=ChannelNorm(norm))


def integrated_gradients(steps: int = 32, baseline: Numbers = 0.0) -> Composite:
    """(x - baseline) · mean of ∂f/∂x on the line from the baseline to x (Sundararajan et al. 2017)."""
    path = StraightPath(steps, baseline)
    readout = TimesInput(path.baseline)
    return Composite([(select.every(), Gradient())], "integrated-gradients", initial="one", readout=readout, sampling=path)


def smoothgrad(samples: int = 25, noise: float = 0.15, times_input: bool = False, seed: int = 0) -> Composite:
    """Mean of ∂f/∂x over noisy copies of x, times x if ``times_input`` (Smilkov et al. 2017)."""
    copies = GaussianNoise(samples, noise, seed)
    readout = TimesInput() if yes_or_no("smoothgrad: times_input", times_input) else Readout()
    return Composite([(select.every(), Gradient())], "smoothgrad", initial="one", readout=readout, sampling=copies)


def deconvolution() -> Composite:
    """Deconvolution of the target."""
    return Composite([(select.every(), Deconvolution())], "deconvolution", initial="one")


def guided_backprop() -> Composite:
    """Guided backpropagation of the target."""
    return Composite([(select.every(), GuidedBackprop())], "guided-backprop", initial="one")


def grad_cam(layer: str | None = None) -> Composite:
    """Positive part of the feature maps of ``layer``, weighted by their mean gradients (Selvaraju et al. 2017)."""
    return Composite([(select.every(), Gradient())], "grad-cam", initial="one", readout=ClassActivation(layer))


def cam(layer: str | None = None) -> Composite:
    """The same with its negative part: class activation maps (Zhou et al. 2016), for any head."""
    readout = ClassActivation(layer, rectified=False)
    return Composite([(select.every(), Gradient())], "cam", initial="one", readout=readout)


def occlusion(window: Extent = None, stride: Extent = None, value: Numbers = 0.0) -> Composite:
    """f(x) - f(x with a window hidden), the mean over the windows that a position is in (Zeiler and Fergus 2014)."""
    return Composite([], "occlusion", initial="one", sampling=HiddenWindows(window, stride, value))


def random(seed: int = 0) -> Composite:
    """Uniform random numbers, a control."""
    return Composite([], "random", initial="one", readout=RandomNumbers(seed))


def _flat(base: Composite, up_to: str | None, name: str) -> Composite:
    where = select.first() if up_to is None else select.up_to(up_to)
    return base.before((where, Flat()), name=name)


PRESETS: dict[str, Callable[..., Composite]] = {
    preset.__name__.replace("_", "-"): preset
    for preset in (
        basic,
        epsilon,
        epsilon_plus,
        epsilon_plus_flat,
        epsilon_alpha2beta1,
        epsilon_alpha2beta1_flat,
        epsilon_gamma_box,
        attnlrp,
        deep_taylor,
        excitation_backprop,
        gradient,
        gradient_x_input,
        sensitivity,
        integrated_gradients,
        smoothgrad,
        deconvolution,
        guided_backprop,
        grad_cam,
        cam,
        occlusion,
        random,
    )
}
"""The built-in presets by name."""

RULES: dict[str, type[Rule]] = {
    "epsilon": Epsilon,
    "alpha-beta": AlphaBeta,
    "z-plus": ZPlus,
    "flat": Flat,
    "w-square": WSquare,
    "z-bounds": ZBounds,
    "gamma": Gamma,
    "pass": Pass,
    "gradient": Gradient,
    "deconvolution": Deconvolution,
    "guided-backprop": GuidedBackprop,
}
"""The built-in rules by name."""


def make(
    name: str, presets: Mapping[str, Callable[..., Composite]], rules: Mapping[str, type[Rule]], **parameters: object
) -> Composite:
    """Make the preset ``name`` out of ``presets`` with parameters; or a rule of ``rules``, for every mapping that takes it.

    Raises:
        RuleError: no such preset or rule, or it does not take these parameters, or needs some that are not given.
    """
    if name not in presets and name not in rules:
        raise RuleError(
            f"unknown composite {name!r}; there are auto, {', '.join(sorted(presets))}; rules for every mapping:"
            f" {', '.join(sorted(rules.keys() - presets.keys()))}"
        )
    if name not in presets:
        rule = make_rule(name, rules, **parameters)
        return Composite([(select.every(), rule)], str(rule))
    _bind("composite", name, presets[name], parameters)
    return presets[name](**parameters)


def make_rule(name: str, rules: Mapping[str, type[Rule]], **parameters: object) -> Rule:
    """Make the rule ``name`` out of ``rules``.

    Raises:
        RuleError: no such rule, or wrong parameters.
    """
    if name not in rules:
        raise RuleError(f"unknown rule {name!r}; there are {', '.join(sorted(rules))}")
    _bind("rule", name, rules[name], parameters)
    return rules[name](**parameters)


def _bind(kind: str, name: str, function: Callable[..., object], parameters: Mapping[str, object]) -> None:
    try:
        inspect.signature(function).bind(**parameters)
    except TypeError as error:
        signature = inspect.signature(function)
        taken = str(signature).partition(" ->")[0] if signature.parameters else "none"
        # Who gave some knows how.
        how = "" if parameters else f"; give them with graphlrp.{kind}({name!r}, ...), on the command line {name}:NAME=NUMBER,..."
        raise RuleError(f"{kind} {name!r}: {error}; its parameters are {taken}{how}") from None
