"""GraphLRP explains the decisions of any model: relevance propagation compiled into one ONNX graph."""

from graphlrp import bow, kernels
from graphlrp.errors import (
    ConservationError,
    GraphLRPError,
    InputError,
    ModelError,
    PluginError,
    PluginWarning,
    ProviderError,
    RelevanceWarning,
    RuleError,
    UnsupportedOperatorError,
)
from graphlrp.explainer import Explainer
from graphlrp.explanation import Explanation
from graphlrp.ir.emitter import Emitter
from graphlrp.ir.facts import Bounds
from graphlrp.ir.functions import Fusion
from graphlrp.ir.source import Source
from graphlrp.ledger import Ledger, LedgerEntry
from graphlrp.loading import composite, convert, load, rule
from graphlrp.plugins.estimators.network import NetworkFeatures
from graphlrp.plugins.mapping import LinearMapping, Mapping
from graphlrp.plugins.nonlinear import ComponentwiseMapping, LinearizedMapping, TaylorMapping
from graphlrp.plugins.spec import hookimpl
from graphlrp.rules import select
from graphlrp.rules.base import Decomposition, Rule
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
from graphlrp.rules.readout import ChannelNorm, ClassActivation, RandomNumbers, Readout, TimesInput
from graphlrp.rules.sampling import GaussianNoise, Sampling, StraightPath
from graphlrp.rules.weights import EqualWeight, TensorWeight, Weight
from graphlrp.rules.windows import HiddenWindows

__version__ = "0.1.0"

__all__ = [
    "AlphaBeta",
    "Bounds",
    "ChannelNorm",
    "ClassActivation",
    "ComponentwiseMapping",
    "Composite",
    "ConservationError",
    "Decomposition",
    "Deconvolution",
    "Emitter",
    "Epsilon",
    "EqualWeight",
    "Explainer",
    "Explanation",
    "Flat",
    "Fusion",
    "Gamma",
    "GaussianNoise",
    "Gradient",
    "GraphLRPError",
    "GuidedBackprop",
    "HiddenWindows",
    "InputError",
    "Ledger",
    "LedgerEntry",
    "LinearMapping",
    "LinearizedMapping",
    "Mapping",
    "ModelError",
    "NetworkFeatures",
    "Pass",
    "PluginError",
    "PluginWarning",
    "ProviderError",
    "RandomNumbers",
    "Readout",
    "RelevanceWarning",
    "Rule",
    "RuleError",
    "Sampling",
    "Source",
    "StraightPath",
    "TaylorMapping",
    "TensorWeight",
    "TimesInput",
    "UnsupportedOperatorError",
    "WSquare",
    "Weight",
    "ZBounds",
    "ZPlus",
    "__version__",
    "bow",
    "composite",
    "convert",
    "hookimpl",
    "kernels",
    "load",
    "rule",
    "select",
]
