"""Compilation: canonical model + composite -> one ONNX graph of forward and relevance pass, and its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
import onnx_ir.passes.common as common

from graphlrp.differentiate import differentiator
from graphlrp.errors import InputError, ModelError, RuleError
from graphlrp.ir.canonical import PassNote
from graphlrp.ir.emitter import ABSORBED, Emitter
from graphlrp.ir.graph import MappingGraph, Place, explained_output, find_value, lower
from graphlrp.ir.source import PIPELINE
from graphlrp.plan import Plan, PlanRow
from graphlrp.plugins.manager import Plugins
from graphlrp.plugins.mapping import LinearMapping
from graphlrp.propagate import Booking, Propagation, describe, propagate
from graphlrp.rules import presets
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite
from graphlrp.rules.select import Selector
from graphlrp.target import INITIAL, TARGET, check_output, initial_relevance, restrictions

BIAS = LinearMapping.policies["bias"]

RELEVANCE, LEDGER, BIAS_INPUT = "relevance", "ledger", "bias"

RECORDS = ("received", "magnitude", "sent", *ABSORBED)
"""Rows of the ledger output, per mapping."""

IR_VERSION = 10
"""The oldest version of the file format whose nodes carry metadata: what most runtimes read."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides what is compiled."""

    composite: Composite | str = "auto"
    explain: tuple[str, ...] | None = None
    output: str | None = None
    bias: str = "absorb"
    initial: str | None = None
    class_axis: int = 1
    report: tuple[str, ...] = ()
    restrict: Mapping[str, Sequence[int]] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    ledger: bool = False
    rules: tuple[tuple[Selector, Rule], ...] = ()


@dataclass
class Compiled:
    """One explainer graph.

    Attributes:
        model: inputs: the model's and the target; outputs: the model's, then the relevances, then what Python reads.
        relevance: explained name -> output name; reported names -> output names in ``reported``.
        requirements: output name, bool [N] -> what to say of samples where it is false.
        explained_output: output that holds f(x); ``target_shape`` its shape, None where unknown.
    """

    model: ir.Model
    plan: Plan
    relevance: dict[str, str]
    reported: dict[str, str]
    target_input: str
    explained_output: str
    target_shape: list[int | None]
    ledger_output: str | None
    bookings: list[tuple[str, str, str]]
    bias_output: str | None
    requirements: dict[str, str]
    static_batch: int | None
    conserves: bool


def compile_explainer(
    canonical: ir.Model,
    settings: Settings,
    plugins: Plugins,
    notes: Sequence[PassNote] = (),
    *,
    weights: bool = False,
    standalone: bool = False,
) -> Compiled:
    """Compile the explainer of a canonical model, which stays as it is.

    Args:
        canonical: the canonical model.
        settings: what to explain and how.
        plugins: mappings and presets.
        notes: what canonicalisation did, for the plan.
        weights: the target is a float tensor of class weights shaped like the explained output; else int64 [N], where
            a negative index stands for the arg max.
        standalone: outputs are the model's and the relevances only.

    Raises:
        ModelError, UnsupportedOperatorError, RuleError, InputError: as ``graphlrp.load`` says.
    """
    model = canonical.clone()
    model.ir_version = IR_VERSION
    _reserve_names(model)
    graph = lower(model, plugins.mappings, settings.explain, settings.output)
    composite, why = _composite(graph, settings, plugins)
    composite = composite.before(*settings.rules) if settings.rules else composite
    policies = _policies(settings, composite, plugins)
    _check_names(graph, composite)
    _check_choices(graph, {**policies, "bias": settings.bias})
    rules = {place: composite.rule_for(place) for place in graph.places}
    _check_pairs(graph, settings.rules)
    _check_messages(graph, composite)
    _check_bias(graph, settings.bias)
    op = Emitter(model.graph, ledger=settings.ledger and not standalone, options={**policies, "bias": settings.bias})
    op.dtype = graph.output.dtype or ir.DataType.FLOAT
    op.bodies = model.functions
    op.differentiate = differentiator(model, plugins.mappings)
    check_output(graph.output)
    batch_dimension = None if graph.output.shape is None else graph.output.shape[0]
    op.batch_dimension = None if isinstance(batch_dimension, int) else batch_dimension
    initial = settings.initial or composite.initial
    if initial not in INITIAL:
        raise InputError(f"unknown initial relevance {initial!r}; there are {', '.join(INITIAL)}")
    with op.scope(TARGET):
        batch = op.shape([op.size(graph.output, 0)])
        start, target = initial_relevance(
            op, graph.output, initial, settings.class_axis, weights=weights, checks_index=standalone
        )
    if initial == "value":
        op.note_multiple(start, graph.output)
    model.graph.inputs.append(target)
    reported = [find_value(model, name) for name in settings.report]
    for name, value in zip(settings.report, reported, strict=True):
        if not graph.facts.active(value):
            raise ModelError(f"report: {name!r} does not depend on the explained input, so it has no relevance")
    result = propagate(graph, rules, op, start, batch, report=reported, restrict=restrictions(graph, settings.restrict))
    plan = Plan(
        f"{composite}{why}",
        [str(v.name) for v in graph.inputs],
        str(graph.output.name),
        {**policies, "bias": settings.bias, "initial": initial},
        list(notes),
        list(graph.removed),
        rows=[_row(place, rules[place]) for place in graph.places],
    )
    plan.edges = _edges(graph, plan)
    for place in graph.places:
        place.node.metadata_props["graphlrp.rule"] = describe(place, rules[place])
    with op.scope("result"):
        compiled = _finish(op, graph, result, composite, plan, target, batch, reported, standalone=standalone)
    _tidy(model)
    _describe(model, plan)
    return compiled


def compile_forward(canonical: ir.Model, settings: Settings) -> ir.Model:
    """The explained function f alone: the canonical model with f(x), a terminal softmax removed, as its one output."""
    model = canonical.clone()
    model.ir_version = IR_VERSION
    output, _ = explained_output(model, settings.output)
    model.graph.outputs[:] = [output]
    _tidy(model)
    return model


def _reserve_names(model: ir.Model) -> None:
    """Make room for the names that the explainer adds: inner values that bear them are renamed."""
    taken = {value.name for value in [*model.graph.inputs, *model.graph.outputs]}
    for name in (TARGET, RELEVANCE, LEDGER):
        if name in taken:
            raise ModelError(
                f"the model has an input or output named {name!r}, a name that the explainer's own interface uses; rename it"
            )
    for node in model.graph:
        for value in node.outputs:
            if value.name in (TARGET, RELEVANCE, LEDGER):
                value.name = f"model/{value.name}"


def _composite(graph: MappingGraph, settings: Settings, plugins: Plugins) -> tuple[Composite, str]:
    """The composite, chosen by the graph if it is to be."""
    chosen = settings.composite
    if isinstance(chosen, Composite):
        return chosen, ""
    if chosen != "auto":
        return presets.make(chosen, plugins.presets, plugins.rules), ""
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
    return presets.make(name, plugins.presets, plugins.rules), f"  (auto: {why})"


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


def _check_choices(graph: MappingGraph, chosen: Mapping[str, str]) -> None:
    """A mapping may offer fewer choices of a policy than others do."""
    for place in graph.places:
        for name, choices in place.mapping.policies.items():
            if name in chosen and chosen[name] not in choices:
                raise RuleError(
                    f"{place.operator} node {place.name!r}: its mapping {type(place.mapping).__name__} has no choice"
                    f" {chosen[name]!r} of the policy {name}; it has {', '.join(choices)}"
                )


def _policies(settings: Settings, composite: Composite, plugins: Plugins) -> dict[str, str]:
    """Policies of mappings: the composite's, overridden by the user's.

    Raises:
        RuleError: unknown names or choices.
    """
    known = plugins.policies
    if settings.bias not in BIAS:
        raise RuleError(f"unknown bias policy {settings.bias!r}; there are {', '.join(BIAS)}")
    chosen = {**composite.options, **settings.policies}
    for name, value in chosen.items():
        if name not in known or name == "bias":
            listed = "; ".join(f"{n}: {', '.join(c)}" for n, c in sorted(known.items()) if n != "bias")
            raise RuleError(f"unknown option {name!r}; policies of mappings are: {listed}")
        if value not in known[name]:
            raise RuleError(f"unknown {name} policy {value!r}; there are {', '.join(known[name])}")
    return {name: str(value) for name, value in chosen.items()}


def _check_bias(graph: MappingGraph, bias: str) -> None:
    if bias == "project":
        linear = [place.name for place in graph.places if place.linear]
        others = [p.name for p in graph.places if not p.linear and p.family != "movement"]
        if len(linear) != 1 or others:
            raise RuleError(
                f"bias='project' is for linear predictors: one linear mapping and nothing else, not {len(linear)} linear mappings"
                f" and {len(others)} others; use bias='distribute'"
            )


def _row(place: Place, rule: Rule | None) -> PlanRow:
    mapping = place.mapping
    notes = [mapping.note] if mapping.note else []
    if place.linear and mapping.nonnegative:
        notes.append("x >= 0")
    return PlanRow(place.name, place.operator, type(mapping).__name__, place.family, describe(place, rule), ", ".join(notes))


def _edges(graph: MappingGraph, plan: Plan) -> list[tuple[str, str]]:
    """Where data flows, from the explained inputs to the explained output."""
    names = {value: place.name for place in graph.places for value in place.node.outputs}
    names.update(zip(graph.inputs, plan.sources, strict=True))
    edges = []
    for place in graph.places:
        active = [value for value in place.node.inputs if value in names and graph.facts.active(value)]
        edges += [(names[value], place.name) for value in active]
    return list(dict.fromkeys([*edges, (names[graph.output], plan.sink)]))


def _finish(
    op: Emitter,
    graph: MappingGraph,
    result: Propagation,
    composite: Composite,
    plan: Plan,
    target: ir.Value,
    batch: ir.Value,
    reported: list[ir.Value],
    *,
    standalone: bool,
) -> Compiled:
    """Add the outputs behind the model's own."""
    model = graph.model
    taken = {value.name for value in [*model.graph.inputs, *model.graph.outputs]}

    def add(value: ir.Value, name: str, like: ir.Value | None = None) -> str:
        while name in taken:
            name += "'"
        taken.add(name)
        copy = op.Identity(value)
        copy.name, copy.type = name, value.type
        copy.shape = like.shape if like is not None else value.shape
        model.graph.outputs.append(copy)
        return name

    relevance: dict[str, str] = {}
    single = len(graph.inputs) == 1
    for value in graph.inputs:
        message = result.relevance[value]
        if composite.times_input:
            message = op.Mul(message, value)
        if message.shape != value.shape:
            message = op.Expand(message, op.shape_of(value))
        relevance[str(value.name)] = add(message, RELEVANCE if single else f"{RELEVANCE}/{value.name}", value)
    bias_output = None
    if op.options["bias"] == "input":
        absorbed = op.total(result.biases) if result.biases else op.Expand(op.scalar(0.0), batch)
        bias_output = add(absorbed, f"{RELEVANCE}/{BIAS_INPUT}")
    report_names: dict[str, str] = {}
    for value in reported:
        if value not in result.relevance:
            raise ModelError(f"report: no relevance passes through {value.name!r}")
        report_names[str(value.name)] = add(result.relevance[value], f"{RELEVANCE}/{value.name}", value)
    explained, ledger = str(graph.output.name), None
    if not standalone:
        if not graph.output.is_graph_output():
            explained = add(graph.output, f"explained/{graph.output.name}")
        if op.ledger and result.bookings:
            ledger = add(_ledger(op, result.bookings, batch), LEDGER)
    held = [] if standalone else op.requirements
    requirements = {add(holds, f"requirement/{k}"): otherwise for k, (otherwise, holds) in enumerate(held)}
    rules = {row.node: row.rule for row in plan.rows}
    return Compiled(
        model,
        plan,
        relevance,
        report_names,
        str(target.name),
        explained,
        [d if isinstance(d, int) else None for d in graph.output.shape or ()],
        ledger,
        [(b.place.name, b.place.operator, rules[b.place.name]) for b in result.bookings],
        bias_output,
        requirements,
        _static_batch([value for value in model.graph.inputs if value is not target]),
        composite.conserves,
    )


def _static_batch(inputs: list[ir.Value]) -> int | None:
    """The number of samples that the model insists on, None if it takes any."""
    sizes = {value.shape[0] for value in inputs if value.shape is not None and len(value.shape)}
    (size,) = sizes if len(sizes) == 1 else (None,)
    return size if isinstance(size, int) else None


def _ledger(op: Emitter, bookings: list[Booking], batch: ir.Value) -> ir.Value:
    """All bookings as one tensor [mappings, records, N]."""
    zero = op.Expand(op.scalar(0.0), batch)
    rows = []
    for booking in bookings:
        records = [booking.received, booking.magnitude, booking.sent]
        records += [booking.absorbed.get(kind, zero) for kind in ABSORBED]
        rows += records
    stacked = op.Concat(*(op.Reshape(row, op.integers([1, -1])) for row in rows), axis=0)
    return op.Reshape(stacked, op.integers([len(bookings), len(RECORDS), -1]))


def _tidy(model: ir.Model) -> None:
    """Drop what nobody uses, order the nodes."""
    common.RemoveUnusedNodesPass()(model)
    model.graph.sort()
    common.NameFixPass()(model)
    common.RemoveUnusedOpsetsPass()(model)


def _describe(model: ir.Model, plan: Plan) -> None:
    """Say in the file what it is."""
    model.producer_name = "graphlrp"
    model.metadata_props["graphlrp.composite"] = plan.composite
    model.metadata_props["graphlrp.explains"] = f"{plan.output} in terms of {', '.join(plan.explained)}"
    model.doc_string = (
        "Forward and relevance pass in one graph. Input 'target': index of the explained class per sample, -1 for the arg max."
    )
