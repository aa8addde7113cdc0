"""The neuron-wise scheduler: one reverse walk over the graph of mappings, and the ledger it keeps.

Relevance starts at the explained output. Every mapping, in reverse topological order, takes the relevance of its outputs and
sends messages to its inputs; messages to the same value add up, which is all the treatment that skips and merges need (2.12).
The walk knows no operator and no rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from graphlrp.errors import ModelError, PluginError, RuleError
from graphlrp.ir.emitter import ABSORBED, Emitter
from graphlrp.ir.graph import MappingGraph, Place, mapping_failed
from graphlrp.rules.base import Rule


@dataclass
class Booking:
    """What the ledger records of one mapping: emitted values, [N] each."""

    place: Place
    received: ir.Value
    magnitude: ir.Value
    sent: ir.Value
    absorbed: dict[str, ir.Value]


@dataclass
class Propagation:
    """Result of the walk."""

    relevance: dict[ir.Value, ir.Value]
    """Relevance of the explained inputs and of the values to report."""

    bookings: list[Booking] = field(default_factory=list)
    biases: list[ir.Value] = field(default_factory=list)
    """[N] each: relevance absorbed by biases, kept where the policy sends it to an input of its own."""


def propagate(
    graph: MappingGraph,
    rules: Mapping[Place, Rule | None],
    op: Emitter,
    initial: ir.Value,
    batch: ir.Value,
    *,
    report: Sequence[ir.Value] = (),
    restrict: Mapping[ir.Value, Callable[[Emitter, ir.Value], ir.Value]] | None = None,
) -> Propagation:
    """Emit the relevance pass.

    Args:
        graph: the mappings.
        rules: rule of each place, None for the mapping's own messages.
        op: emits into the explainer's graph.
        initial: relevance of the explained output, shaped like it.
        batch: number of samples as int64 [1].
        report: further values whose relevance is wanted.
        restrict: for some values, what emits the part of their relevance that goes on; the rest is booked as ``dead``.
    """
    messages: dict[ir.Value, list[ir.Value]] = defaultdict(list)
    messages[graph.output].append(op.shaped(initial, graph.output))
    result = Propagation({})
    wanted = {*graph.inputs, *report}

    def collect(value: ir.Value) -> ir.Value | None:
        """Relevance of a value: the sum of its messages, restricted if asked for."""
        received = messages.pop(value, None)
        if not received:
            return None
        relevance = op.shaped(op.total(received), value)
        if value in wanted:
            result.relevance[value] = relevance
        if restrict and value in restrict:
            kept = restrict[value](op, relevance)
            op.absorb("dead", lambda: op.Sub(relevance, kept))
            result.relevance[value] = kept if value in graph.inputs else relevance
            return kept
        return relevance

    for place in reversed(graph.places):
        rule = rules[place]
        with op.scope(f"relevance/{place.name}", node=place.name, operator=place.operator, rule=describe(place, rule)):
            outputs = list(place.node.outputs)
            before = {value: op.total(list(messages[value])) for value in outputs if messages.get(value)} if op.ledger else {}
            relevances = [collect(value) for value in outputs]
            if all(relevance is None for relevance in relevances):
                op.take_absorbed()
                continue
            sent = _decompose(place, op, relevances, rule)
            for value, message in zip(place.node.inputs, sent, strict=True):
                if value is not None and message is not None and graph.facts.active(value):
                    messages[value].append(_shaped(op, place, message, value))
            absorbed = op.take_absorbed()
            if op.ledger:
                kept = [m for v, m in zip(place.node.inputs, sent, strict=True) if m is not None and graph.facts.active(v)]
                result.bookings.append(_book(place, op, batch, list(before.values()), kept, absorbed))
            elif op.options.get("bias") == "input":
                result.biases += [op.per_sample(amount(), batch) for kind, amount in absorbed if kind == "bias"]
    if op.ledger and op.options.get("bias") == "input":
        result.biases = [booking.absorbed["bias"] for booking in result.bookings if "bias" in booking.absorbed]
    for value in graph.inputs:
        collect(value)
        op.take_absorbed()
    if not any(value in result.relevance for value in graph.inputs):
        names = ", ".join(repr(value.name) for value in graph.inputs)
        raise ModelError(
            f"no relevance reaches {names}: the policies or rules detach every path between it and {graph.output.name!r}"
        )
    for value in graph.inputs:
        # Beside inputs that relevance reaches, one that it does not reach has none: the denominator of a quotient, a gate.
        if value not in result.relevance:
            result.relevance[value] = op.Mul(value, 0.0)
    return result


def describe(place: Place, rule: Rule | None) -> str:
    """A rule as the plan shows it."""
    return str(rule) if rule is not None else f"({place.mapping.native})"


def _decompose(place: Place, op: Emitter, relevances: list[ir.Value | None], rule: Rule | None) -> Sequence[ir.Value | None]:
    """Messages of a mapping; what goes wrong in it is told by name."""
    try:
        sent: Sequence[ir.Value | None] = place.mapping.decompose(op, relevances, rule)
    except Exception as error:
        raise mapping_failed(place.node, type(place.mapping), "messages", error) from error
    count = len(place.node.inputs)
    if len(sent) != count or not all(message is None or isinstance(message, ir.Value) for message in sent):
        kind = type(place.mapping)
        raise PluginError(
            f"{place.operator} node {place.name!r}: {kind.__module__}.{kind.__qualname__} must return an emitted message or None"
            f" for each of its {count} input(s), not {list(sent)!r}"
        )
    return sent


def _shaped(op: Emitter, place: Place, message: ir.Value, value: ir.Value) -> ir.Value:
    """Check that a message has the shape of the input that it goes to."""
    try:
        return op.shaped(message, value)
    except ValueError as error:
        raise RuleError(
            f"{place.operator} node {place.name!r}: {type(place.mapping).__name__} emits a message to {value.name!r} of the wrong"
            f" shape: {error}"
        ) from None


def _book(
    place: Place,
    op: Emitter,
    batch: ir.Value,
    received: list[ir.Value],
    sent: list[ir.Value],
    absorbed: list[tuple[str, Callable[[], ir.Value]]],
) -> Booking:
    """Sum what came in, what went on and what was kept, per sample."""

    def total(values: list[ir.Value]) -> ir.Value:
        sums = [op.per_sample(value, batch) for value in values]
        return op.total(sums) if sums else op.Expand(op.scalar(0.0), batch)

    output = place.node.outputs[0]

    def emitted(amount: Callable[[], ir.Value]) -> ir.Value:
        """What was kept, with the name of the output's batch axis, which inference loses."""
        return op.name_batch(amount(), output)

    kinds = {kind: [emitted(amount) for name, amount in absorbed if name == kind] for kind in ABSORBED}
    return Booking(
        place,
        total(received),
        total([op.Abs(value) for value in received]),
        total(sent),
        {kind: total(values) for kind, values in kinds.items() if values},
    )
