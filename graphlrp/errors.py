"""Exceptions: every one of them names what is wrong, where, and the way out."""

from __future__ import annotations

from collections.abc import Sequence


class GraphLRPError(Exception):
    """Base of every error that GraphLRP raises on purpose."""


class ModelError(GraphLRPError):
    """The model cannot be read, is malformed, or lacks what was asked of it (a value, an output, a path)."""


class InputError(GraphLRPError):
    """An argument or an input array has the wrong name, shape, type or content."""


class RuleError(GraphLRPError):
    """A rule, selector, composite or policy is unknown, has bad parameters, or does not fit its mapping."""


class ProviderError(GraphLRPError):
    """An execution provider was asked for that this machine does not have."""


class PluginError(GraphLRPError):
    """A plugin is broken or conflicts with another one."""


class ConservationError(GraphLRPError):
    """The ledger does not balance: relevance appeared or vanished at the node named in the message."""


class RelevanceWarning(UserWarning):
    """Relevance is finite and accounted for, but too large to be of use."""


class PluginWarning(UserWarning):
    """An installed plugin does not work and is left out."""


class UnsupportedOperatorError(ModelError):
    """Operators on the path of relevance that no mapping is registered for.

    Attributes:
        nodes: ``(node name, domain, operator)`` of *every* such node of the model.
    """

    def __init__(self, nodes: Sequence[tuple[str, str, str]]) -> None:
        self.nodes = tuple(nodes)
        lines = [f"  {name}: {domain + '.' if domain else ''}{operator}" for name, domain, operator in self.nodes]
        super().__init__(
            f"{len(self.nodes)} node(s) on the path of relevance have operators that no mapping is registered for:\n"
            + "\n".join(lines)
            + "\nRegister a mapping for them: subclass graphlrp.Mapping (or graphlrp.LinearMapping), give it"
            " operators = ((domain, operator),), and pass it with graphlrp.load(..., plugins=[TheMapping])."
        )
