"""Selectors: which mappings of a graph a rule is meant for. Combine them with ``&``, ``|`` and ``~``.

Places are told by data flow, never by the order of nodes: ``first()`` is a linear mapping with no linear mapping before it
on any path from the explained input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from graphlrp.errors import RuleError


class Place(Protocol):
    """What selectors know of a mapping and of where it stands."""

    @property
    def name(self) -> str:
        """Name of the node."""

    @property
    def operator(self) -> str:
        """Operator, with its domain if that is not ONNX's own."""

    @property
    def family(self) -> str:
        """Family of the mapping: convolution, dense, pooling, normalization, activation, merge ..."""

    @property
    def depth(self) -> int:
        """Most linear mappings on a path from an explained input to this one, itself excluded."""

    @property
    def height(self) -> int:
        """Most linear mappings on a path from this one to the explained output, itself excluded."""

    @property
    def linear(self) -> bool:
        """Whether the mapping is linear: a layer with weights, an average, an interpolation."""

    @property
    def reaches(self) -> frozenset[str]:
        """Names of the nodes that come after it on a path to the explained output, itself included."""


@dataclass(frozen=True)
class Selector:
    """A named predicate over places.

    ``explicit`` selectors name what they mean; a rule that does not fit there is an error and not passed over.
    """

    text: str
    matches: Callable[[Place], bool]
    explicit: bool = False
    names_nodes: bool = False
    """Whether it names nodes of one model; then it must match some."""

    def __and__(self, other: Selector) -> Selector:
        return Selector(
            f"{self} & {other}",
            lambda place: self.matches(place) and other.matches(place),
            self.explicit or other.explicit,
            self.names_nodes or other.names_nodes,
        )

    def __or__(self, other: Selector) -> Selector:
        return Selector(
            f"({self} | {other})",
            lambda place: self.matches(place) or other.matches(place),
            self.explicit and other.explicit,
            self.names_nodes and other.names_nodes,
        )

    def __invert__(self) -> Selector:
        return Selector(f"~{self}", lambda place: not self.matches(place))

    def __str__(self) -> str:
        return self.text


def every() -> Selector:
    """Every mapping that the rule fits."""
    return Selector("every", lambda place: True)


def operator(*names: str) -> Selector:
    """Mappings of these operators, such as ``"Conv"`` or ``"com.acme.Maxout"``.

    Raises:
        RuleError: no name given.
    """
    if not names:
        raise RuleError("select.operator: name at least one operator")
    return Selector(f"operator({', '.join(names)})", lambda place: place.operator in names, explicit=True)


def family(*names: str) -> Selector:
    """Mappings of these families, such as ``"convolution"``, ``"dense"``, ``"pooling"``, ``"normalization"``.

    Raises:
        RuleError: no name given.
    """
    if not names:
        raise RuleError("select.family: name at least one family")
    return Selector(f"family({', '.join(names)})", lambda place: place.family in names, explicit=True)


def name(*patterns: str) -> Selector:
    """Mappings whose node name fits a glob such as ``"layer1/*"``.

    Raises:
        RuleError: no pattern given.
    """
    if not patterns:
        raise RuleError("select.name: give at least one pattern")
    return Selector(
        f"name({', '.join(patterns)})",
        lambda place: any(fnmatchcase(place.name, pattern) for pattern in patterns),
        names_nodes=True,
    )


def first() -> Selector:
    """Linear mappings with no linear mapping before them."""
    return Selector("first", lambda place: place.linear and place.depth == 0)


def last() -> Selector:
    """Linear mappings with no linear mapping after them."""
    return Selector("last", lambda place: place.linear and place.height == 0)


def depth(low: int = 0, high: int | None = None) -> Selector:
    """Mappings with at least ``low`` and at most ``high`` linear mappings before them."""
    return Selector(
        f"depth({low}..{'' if high is None else high})",
        lambda place: low <= place.depth <= (place.depth if high is None else high),
    )


def height(low: int = 0, high: int | None = None) -> Selector:
    """Mappings with at least ``low`` and at most ``high`` linear mappings after them."""
    return Selector(
        f"height({low}..{'' if high is None else high})",
        lambda place: low <= place.height <= (place.height if high is None else high),
    )


def up_to(node: str) -> Selector:
    """Mappings from the input up to the node of this name, itself included: everything its output is computed from."""
    return Selector(f"up_to({node})", lambda place: node in place.reaches, names_nodes=True)


def predicate(function: Callable[[Place], bool], text: str = "predicate") -> Selector:
    """Mappings for which ``function(place)`` is true."""
    return Selector(text, function)
