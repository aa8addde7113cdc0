"""GraphLRP explains the decisions of any model: relevance propagation compiled into one ONNX graph."""

from graphlrp.errors import (
    ConservationError,
    GraphLRPError,
    InputError,
    ModelError,
    PluginError,
    ProviderError,
    RuleError,
    UnsupportedOperatorError,
)
from graphlrp.explainer import Explainer, Explanation, composite, load
from graphlrp.ledger import Ledger, LedgerEntry
from graphlrp.plugins.mapping import LinearMapping, Mapping
from graphlrp.plugins.spec import hookimpl
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

__version__ = "0.1.0"

__all__ = [
    "AlphaBeta",
    "Composite",
    "ConservationError",
    "Deconvolution",
    "Epsilon",
    "Explainer",
    "Explanation",
    "Flat",
    "Gamma",
    "Gradient",
    "GraphLRPError",
    "GuidedBackprop",
    "InputError",
    "Ledger",
    "LedgerEntry",
    "LinearMapping",
    "Mapping",
    "ModelError",
    "Pass",
    "PluginError",
    "ProviderError",
    "Rule",
    "RuleError",
    "UnsupportedOperatorError",
    "WSquare",
    "ZBounds",
    "ZPlus",
    "__version__",
    "composite",
    "hookimpl",
    "load",
    "select",
]
