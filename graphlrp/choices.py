"""What the user chose, checked against the graph before anything is emitted: composite, rules, policies, what to report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphlrp.errors import InputError, RuleError
from graphlrp.ir.graph import MappingGraph
from graphlrp.ir.source import PIPELINE
from graphlrp.plugins.manager import Plugins
from graphlrp.plugins.mapping import LinearMapping
from graphlrp.rules import presets
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite
from graphlrp.rules.select import Selector, every

if TYPE_CHECKING:
    from graphlrp.compiler import Settings

BIAS = LinearMapping.policies["bias"]


def named_composite(settings: Settings, plugins: Plugins) -> Composite | None:
    """The composite that the user chose, None if the graph is to choose.

    Raises:
        RuleError: there is none of this name.
    """
    chosen = settings.composite
    if isinstance(chosen, Composite):
        return chosen
    return None if chosen == "auto" else presets.make(chosen, plugins.presets, plugins.rules)


def automatic_composite(graph: MappingGraph, plugins: Plugins) -> tuple[Composite, str]:
    """The composite that suits a graph, and why."""
    families = {place.family for place in graph.places}
    if families & {"attention", "softmax"}:
        name, why = "attnlrp", "the model has attention"
    elif "encoding" in families:
        name, why = "bag-of-words", "the model is a Bag-of-Words pipeline"
    elif "convolution" in families:
        name, why = "epsilon-plus-flat", "the model has convolutions"
    elif (families & {"kernel", "scaling"} or PIPELINE in graph.model.metadata_props) and "activation" not in families:
        name, why = "basic", "the model is a linear predictor or a kernel machine"
    else:
        name, why = "epsilon", "the model has neither convolutions nor attention"
    return presets.make(name, plugins.presets, plugins.rules), why


def check_choices(graph: MappingGraph, composite: Composite, settings: Settings, policies: Mapping[str, str]) -> None:
    """Refuse what would have no effect or no meaning.

    Raises:
        RuleError: it would.
    """
    _check_method(composite, settings, policies["bias"])
    _check_names(graph, composite)
    _check_policies(graph, policies)
    _check_pairs(graph, settings.rules)
    _check_messages(graph, composite)
    _check_bias(graph, policies["bias"])


def checked_composite(composite: Any) -> str | Composite:
    """A composite by name or as it is; a rule is one for every mapping.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(composite, Rule):
        return Composite([(every(), composite)], str(composite))
    if not isinstance(composite, (str, Composite)):
        raise InputError(f"composite must be a name, a Composite or a Rule, not {type(composite).__name__}")
    return composite


def _check_method(composite: Composite, settings: Settings, bias: str) -> None:
    """Methods that are no plain propagation keep no ledger and report nothing in between."""
    why = composite.keeps_no_ledger
    if why is not None:
        refused = {"a ledger": settings.ledger, "report": settings.report, "bias='input'": bias == "input"}
        for name in [name for name, wanted in refused.items() if wanted]:
            raise RuleError(f"{composite.name} {why}, so {name} has no meaning with it; leave it out or choose another composite")
    if not composite.propagates:
        for name in [name for name, wanted in (("rules", settings.rules), ("restrict", settings.restrict)) if wanted]:
            raise RuleError(f"{composite.name} propagates nothing, so {name} has no effect; leave it out")


def _check_names(graph: MappingGraph, composite: Composite) -> None:
    """A selector that names nodes must find some, or its rule would be lost silently."""
    for selector, rule in composite.entries:
        if selector.names_nodes and not any(selector.matches(place) for place in graph.places):
            names = ", ".join(place.name for place in graph.places[:6])
            raise RuleError(
                f"composite {composite.name!r}: no mapping is selected by {selector} for {rule}; mappings are named {names} ..."
            )


def _check_pairs(graph: MappingGraph, pairs: Sequence[tuple[Selector, Rule]]) -> None:
    """A pair that the user put before the composite must apply somewhere."""
    for selector, rule in pairs:
        if not any(selector.matches(place) and place.accepts(rule) for place in graph.places):
            listed = {f"{place.operator} (family {place.family})" for place in graph.places if place.accepts(rule)}
            raise RuleError(
                f"rules: no mapping that takes {rule} is selected by {selector}; those that take it are"
                f" {', '.join(sorted(listed)) or 'none'}"
            )


def _check_messages(graph: MappingGraph, composite: Composite) -> None:
    """A rule that has no messages for anything, for want of its method perhaps, must not be passed over silently."""
    for _, rule in composite.entries:
        silent = type(rule).linear_messages is Rule.linear_messages
        if silent and not any(place.accepts(rule) for place in graph.places):
            name = f"{type(rule).__module__}.{type(rule).__qualname__}"
            raise RuleError(
                f"composite {composite.name!r}: {name} has no linear_messages, and no mapping of the model takes {rule}"
            )


def _check_policies(graph: MappingGraph, chosen: Mapping[str, str]) -> None:
    """A mapping may offer fewer choices of a policy than others do."""
    for place in graph.places:
        for name, choices in place.mapping.policies.items():
            if name in chosen and chosen[name] not in choices:
                raise RuleError(
                    f"{place.operator} node {place.name!r}: its mapping {type(place.mapping).__name__} has no choice"
                    f" {chosen[name]!r} of the policy {name}; it has {', '.join(choices)}"
                )


def chosen_policies(settings: Settings, composite: Composite, plugins: Plugins) -> dict[str, str]:
    """Policies of mappings: the composite's, overridden by the user's; that of biases is always among them.

    Raises:
        RuleError: unknown names or choices.
    """
    known = plugins.policies
    wanted = dict(composite.options)
    bias = settings.bias if settings.bias is not None else str(wanted.pop("bias", BIAS[0]))
    if bias not in BIAS:
        raise RuleError(f"unknown bias policy {bias!r}; there are {', '.join(BIAS)}")
    wanted.pop("bias", None)
    chosen = {**wanted, **settings.policies}
    for name, value in chosen.items():
        if name not in known or name == "bias":
            listed = "; ".join(f"{n}: {', '.join(c)}" for n, c in sorted(known.items()) if n != "bias")
            raise RuleError(f"unknown option {name!r}; policies of mappings are: {listed}")
        if value not in known[name]:
            raise RuleError(f"unknown {name} policy {value!r}; there are {', '.join(known[name])}")
    return {**{name: str(value) for name, value in chosen.items()}, "bias": bias}


def _check_bias(graph: MappingGraph, bias: str) -> None:
    if bias == "project":
        linear = [place.name for place in graph.places if place.linear]
        others = [p.name for p in graph.places if not p.linear and p.family != "movement"]
        if len(linear) != 1 or others:
            raise RuleError(
                f"bias='project' is for linear predictors: one linear mapping and nothing else, not {len(linear)} linear mappings"
                f" and {len(others)} others; use bias='distribute'"
            )
