"""Composites: which rule each mapping gets. A list of (selector, rule) pairs, the first that fits wins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from graphlrp.errors import RuleError
from graphlrp.rules.base import Rule
from graphlrp.rules.readout import Readout, TimesInput
from graphlrp.rules.sampling import Sampling
from graphlrp.rules.select import Place, Selector


class RuleTaker(Place, Protocol):
    """A place that can say whether a rule fits."""

    def accepts(self, rule: Rule) -> bool:
        """Whether the mapping at this place has messages for the rule."""


@dataclass(frozen=True)
class Composite:
    """(selector, rule) pairs; a mapping that none fits uses its own messages (activations pass, maxima go to the winner ...).

    Attributes:
        entries: the pairs, in order of precedence.
        name: shown in the plan.
        options: policies of mappings this composite wants unless the user says otherwise, e.g. ``{"merge": "abs"}``.
        initial: what relevance starts from unless the user says otherwise: ``"value"`` is f(x), ``"one"`` is 1.
        readout: what is made of the messages that arrive, by default relevance.
        sampling: at which points around a sample it is explained; by default at the sample alone.

    Raises:
        RuleError: an entry is not a pair of a selector and a rule.
    """

    entries: tuple[tuple[Selector, Rule], ...]
    name: str = "composite"
    options: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    initial: str = "value"
    readout: Readout = field(default_factory=Readout)
    sampling: Sampling | None = None

    def __init__(
        self,
        entries: Iterable[tuple[Selector, Rule]],
        name: str = "composite",
        *,
        options: dict[str, Any] | None = None,
        initial: str = "value",
        readout: Readout | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        pairs = tuple(entries)
        for pair in pairs:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Selector) and isinstance(pair[1], Rule)):
                raise RuleError(
                    f"a composite is a list of (selector, rule) pairs, e.g. (select.every(), Epsilon()), not {pair!r}"
                )
        object.__setattr__(self, "entries", pairs)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", MappingProxyType(dict(options or {})))
        object.__setattr__(self, "initial", initial)
        object.__setattr__(self, "readout", Readout() if readout is None else readout)
        object.__setattr__(self, "sampling", sampling)

    def rule_for(self, place: RuleTaker) -> Rule | None:
        """The rule of a mapping, None for the mapping's own messages.

        Raises:
            RuleError: a selector names the mapping's operator or family, but the rule has no messages there.
        """
        for selector, rule in self.entries:
            if not selector.matches(place):
                continue
            if place.accepts(rule):
                return rule
            if selector.explicit:
                raise RuleError(
                    f"composite {self.name!r}: {rule} does not fit {place.operator} node {place.name!r} (family"
                    f" {place.family}), which {selector} selects"
                )
        return None

    def before(self, *entries: tuple[Selector, Rule], name: str | None = None) -> Composite:
        """A composite with further pairs that take precedence over these."""
        return Composite(
            entries + self.entries,
            name or self.name,
            options=dict(self.options),
            initial=self.initial,
            readout=self.readout,
            sampling=self.sampling,
        )

    @property
    def conserves(self) -> bool:
        """Whether the relevance that it gives is conserved, and accounted for."""
        return all(rule.conserves for _, rule in self.entries) and self.readout.conserves and self.sampling is None

    @property
    def propagates(self) -> bool:
        """Whether messages are propagated at all; else the model is only evaluated."""
        return self.readout.propagates and (self.sampling is None or self.sampling.propagates)

    @property
    def keeps_no_ledger(self) -> str | None:
        """Why there is nothing to account for, None if there is: one propagation from the output to the input."""
        if not self.propagates:
            return "propagates nothing"
        if self.sampling is not None:
            return f"adds up explanations of several points, {self.sampling}"
        if type(self.readout) not in (Readout, TimesInput):
            return f"gives no messages but what {self.readout} makes of them"
        return None

    def __str__(self) -> str:
        parts = [f"{selector} -> {rule}" for selector, rule in self.entries]
        if self.sampling is not None:
            parts.append(str(self.sampling))
        if type(self.readout) is not Readout:
            parts.append(str(self.readout))
        return f"{self.name}: " + "; ".join(parts)
