"""Compilation: canonical model + composite -> one ONNX graph of forward and relevance pass, and its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
import onnx_ir.passes.common as common

from graphlrp.choices import automatic_composite, check_choices, chosen_policies, named_composite
from graphlrp.differentiate import differentiator
from graphlrp.errors import InputError, ModelError
from graphlrp.ir.axes import layout_of
from graphlrp.ir.canonical import PassNote
from graphlrp.ir.emitter import ABSORBED, Emitter
from graphlrp.ir.graph import MappingGraph, Place, explained_output, find_value, lower
from graphlrp.method import AnyOperator, Method
from graphlrp.plan import Plan, PlanRow
from graphlrp.plugins.manager import Plugins
from graphlrp.propagate import Booking, Propagation
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite
from graphlrp.rules.select import Selector
from graphlrp.target import INITIAL, TARGET, check_output, initial_relevance

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
    bias: str | None = None
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
    named = named_composite(settings, plugins)
    # What is only evaluated needs no mapping.
    table = plugins.mappings if named is None or named.propagates else AnyOperator()
    graph = lower(model, table, settings.explain, settings.output)
    composite, why = (named, None) if named is not None else automatic_composite(graph, plugins)
    composite = composite.before(*settings.rules) if settings.rules else composite
    policies = chosen_policies(settings, composite, plugins)
    check_choices(graph, composite, settings, policies)
    check_output(graph.output)
    initial = settings.initial or composite.initial
    if initial not in INITIAL:
        raise InputError(f"unknown initial relevance {initial!r}; there are {', '.join(INITIAL)}")
    reported = _reported(graph, settings)
    method = Method(graph, composite, table)
    plan = Plan(
        f"{composite}  (auto: {why})" if why else str(composite),
        [str(v.name) for v in graph.inputs],
        str(graph.output.name),
        {**policies, "initial": initial, **composite.readout.decided(graph)},
        list(notes),
        list(graph.removed),
        rows=[_row(place, method.rule_text(place)) for place in graph.places],
        layout=layout_of(graph.inputs[0]) if len(graph.inputs) == 1 else None,
    )
    plan.edges = _edges(graph, plan)
    for row, place in zip(plan.rows, graph.places, strict=True):
        place.node.metadata_props["graphlrp.rule"] = row.rule
    op = Emitter(model.graph, ledger=settings.ledger and not standalone, options=policies)
    op.dtype = graph.output.dtype or ir.DataType.FLOAT
    op.bodies = model.functions
    op.differentiate = differentiator(model, plugins.mappings)
    batch_dimension = None if graph.output.shape is None else graph.output.shape[0]
    op.batch_dimension = None if isinstance(batch_dimension, int) else batch_dimension
    with op.scope(TARGET):
        batch = op.shape([op.size(graph.output, 0)])
        start, target = initial_relevance(
            op, graph.output, initial, settings.class_axis, weights=weights, checks_index=standalone
        )
    if initial == "value" and composite.sampling is None:
        op.note_multiple(start, graph.output)
    model.graph.inputs.append(target)
    result = method.emit(op, start, batch, reported, settings.restrict)
    with op.scope("result"):
        compiled = _finish(op, graph, result, composite, plan, target, batch, reported, standalone=standalone)
    enclose = method.close(op, compiled)
    _tidy(model)
    enclose()
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


def _reported(graph: MappingGraph, settings: Settings) -> list[ir.Value]:
    reported = [find_value(graph.model, name) for name in settings.report]
    for name, value in zip(settings.report, reported, strict=True):
        if not graph.facts.active(value):
            raise ModelError(f"report: {name!r} does not depend on the explained input, so it has no relevance")
    return reported


def _row(place: Place, rule: str) -> PlanRow:
    mapping = place.mapping
    notes = [mapping.note] if mapping.note else []
    if place.linear and mapping.nonnegative:
        notes.append("x >= 0")
    return PlanRow(place.name, place.operator, type(mapping).__name__, place.family, rule, ", ".join(notes))


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
