"""Compilation: canonical model + composite -> one ONNX graph of forward and relevance pass, and its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from graphlrp.errors import InputError, ModelError, RuleError
from graphlrp.ir.canonical import PassNote
from graphlrp.ir.emitter import ABSORBED, Emitter, rank
from graphlrp.ir.graph import MappingGraph, Place, find_value, lower
from graphlrp.plan import Plan, PlanRow
from graphlrp.plugins.manager import Plugins
from graphlrp.plugins.mapping import LinearMapping
from graphlrp.propagate import Booking, Propagation, describe, propagate
from graphlrp.rules import presets
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite

INITIAL = ("value", "one", "contrastive")
BIAS = LinearMapping.policies["bias"]

TARGET, RELEVANCE, LEDGER, BIAS_INPUT = "target", "relevance", "ledger", "bias"

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


@dataclass
class Compiled:
    """One explainer graph.

    Attributes:
        model: inputs: the model's and the target; outputs: the model's, then the relevances, then what Python reads.
        relevance: explained name -> output name; reported names -> output names in ``reported``.
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
    static_batch: int | None


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
    policies = _policies(settings, composite, plugins)
    rules = {place: composite.rule_for(place) for place in graph.places}
    _check_bias(graph, settings.bias)
    outputs = list(model.graph.outputs)
    op = Emitter(model.graph, ledger=settings.ledger and not standalone, options={**policies, "bias": settings.bias})
    op.dtype = graph.output.dtype or ir.DataType.FLOAT
    _check_rank(graph.output)
    batch_dimension = None if graph.output.shape is None else graph.output.shape[0]
    op.batch_dimension = None if isinstance(batch_dimension, int) else batch_dimension
    initial = settings.initial or composite.initial
    if initial not in INITIAL:
        raise InputError(f"unknown initial relevance {initial!r}; there are {', '.join(INITIAL)}")
    with op.scope(TARGET):
        batch = op.shape([op.size(graph.output, 0)])
        start, target = _start(op, graph.output, initial, settings.class_axis, weights=weights)
    model.graph.inputs.append(target)
    reported = [find_value(model, name) for name in settings.report]
    for name, value in zip(settings.report, reported, strict=True):
        if not graph.facts.active(value):
            raise ModelError(f"report: {name!r} does not depend on the explained input, so it has no relevance")
    result = propagate(graph, rules, op, start, batch, report=reported, restrict=_restrictions(model, graph, settings))
    plan = Plan(
        f"{composite}{why}",
        [str(v.name) for v in graph.inputs],
        str(graph.output.name),
        {**policies, "bias": settings.bias, "initial": initial},
        list(notes),
        list(graph.removed),
        rows=[_row(place, rules[place], result) for place in graph.places],
    )
    with op.scope("result"):
        compiled = _finish(op, model, graph, result, composite, reported, target, batch, plan, outputs, standalone=standalone)
    _tidy(model)
    _describe(model, plan)
    return compiled


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
        return presets.make(chosen, plugins.presets), ""
    families = {place.family for place in graph.places}
    if families & {"attention", "softmax"}:
        name, why = "attnlrp", "the model has attention"
    elif "convolution" in families:
        name, why = "epsilon-plus-flat", "the model has convolutions"
    else:
        name, why = "epsilon", "the model has neither convolutions nor attention"
    return presets.make(name, plugins.presets), f"  (auto: {why})"


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


def _check_rank(output: ir.Value) -> None:
    if output.shape is None:
        raise ModelError(f"the rank of the explained output {output.name!r} is not known; the model's shapes cannot be inferred")
    if rank(output) == 0:
        raise ModelError(f"the explained output {output.name!r} is a scalar; an output needs the batch as its first axis")


def _start(op: Emitter, output: ir.Value, initial: str, class_axis: int, *, weights: bool) -> tuple[ir.Value, ir.Value]:
    """Initial relevance, shaped like the explained output, and the input that chooses the target."""
    axes = rank(output)
    batch_dimension = output.shape[0] if output.shape is not None else None
    if weights:
        target = ir.Value(name=TARGET, type=ir.TensorType(op.dtype), shape=output.shape)
        return (op.Mul(output, target) if initial == "value" else op.Identity(target)), target
    target = ir.Value(name=TARGET, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([batch_dimension]))
    if axes == 1:
        # One number per sample: it is the target whatever the index says.
        chosen = op.GreaterOrEqual(target, op.integers([-(2**63)]))
        hot = op.Cast(chosen, to=int(op.dtype))
        return (op.Mul(output, hot) if initial == "value" else hot), target
    if not -axes <= class_axis < axes:
        raise InputError(f"class_axis={class_axis} does not fit the explained output {output.name!r} of shape {output.shape}")
    class_axis %= axes
    if class_axis == 0:
        raise InputError("class_axis=0 is the batch; choose the axis that counts classes")
    others = [axis for axis in range(1, axes) if axis != class_axis]
    scores = op.ReduceSum(output, op.integers(others), keepdims=0) if others else output
    best = op.ArgMax(scores, axis=1, keepdims=0)
    zero = op.number(np.asarray(0, np.int64))
    index = op.Where(op.Less(target, zero), best, target)
    one = op.number(np.asarray(1, np.int64))
    count = op.Reshape(op.shape([op.size(output, class_axis)]), op.number(np.zeros(0, np.int64)))
    classes = op.Range(zero, count, one)
    hot = op.Cast(op.Equal(op.Unsqueeze(index, op.integers([1])), classes), to=int(op.dtype))
    if initial == "contrastive":
        rest = op.Cast(op.Max(op.Sub(count, one), one), to=int(op.dtype))
        hot = op.Sub(hot, op.Div(op.Sub(1.0, hot), rest))
    shape = [0] + [-1 if axis == class_axis else 1 for axis in range(1, axes)]
    shaped = op.Reshape(hot, op.integers(shape)) if others else hot
    if initial == "value":
        return op.Mul(output, shaped), target
    return (op.Expand(shaped, op.shape_of(output)) if others else shaped), target


def _restrictions(model: ir.Model, graph: MappingGraph, settings: Settings) -> dict[ir.Value, Any]:
    """For values where relevance is restricted to some channels (axis 1): what emits the part that goes on."""
    result = {}
    for name, channels in settings.restrict.items():
        value = find_value(model, name)
        if value in graph.inputs:
            raise InputError(f"restrict: {name!r} is an explained input; select channels of its relevance instead")
        if not graph.facts.active(value) or value.producer() not in {place.node for place in graph.places}:
            raise ModelError(f"restrict: {name!r} does not lie between the explained input and the explained output")
        numbers = [int(c) for c in np.atleast_1d(np.asarray(channels))]
        size = value.shape[1] if value.shape is not None and len(value.shape) > 1 else None
        if not isinstance(size, int):
            raise InputError(f"restrict: {name!r} of shape {value.shape} has no channel axis of known size")
        wrong = [c for c in numbers if not -size <= c < size]
        if wrong or not numbers:
            raise InputError(f"restrict: channels {wrong or numbers} of {name!r}, which has {size}")
        mask = np.zeros((1, size, *(1,) * (rank(value) - 2)))
        mask[:, numbers] = 1
        result[value] = lambda op, relevance, mask=mask: op.Mul(relevance, op.number(mask))
    return result


def _row(place: Place, rule: Rule | None, result: Propagation) -> PlanRow:
    mapping = place.mapping
    notes = []
    if place.linear and mapping.nonnegative:
        notes.append("x >= 0")
    return PlanRow(place.name, place.operator, type(mapping).__name__, place.family, describe(place, rule), ", ".join(notes))


def _finish(
    op: Emitter,
    model: ir.Model,
    graph: MappingGraph,
    result: Propagation,
    composite: Composite,
    reported: list[ir.Value],
    target: ir.Value,
    batch: ir.Value,
    plan: Plan,
    own_outputs: list[ir.Value],
    *,
    standalone: bool,
) -> Compiled:
    """Add the outputs."""
    taken = {value.name for value in [*model.graph.inputs, *own_outputs]}

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
    first = graph.output.shape[0] if graph.output.shape is not None else None
    inputs = [v.shape[0] for v in model.graph.inputs if v is not target and v.shape is not None and len(v.shape)]
    static = {d for d in inputs if isinstance(d, int)}
    return Compiled(
        model,
        plan,
        relevance,
        report_names,
        str(target.name),
        explained,
        [d if isinstance(d, int) else None for d in graph.output.shape or ()],
        ledger,
        [(b.place.name, b.place.operator, row.rule) for b in result.bookings for row in plan.rows if row.node == b.place.name],
        bias_output,
        next(iter(static)) if (len(static) == 1 and len(inputs) == 1) or (isinstance(first, int) and static == {first}) else None,
    )


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
