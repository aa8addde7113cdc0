"""The graph of mappings: the cone between the explained inputs and the explained output.

Nodes that do not depend on an explained input by value, or do not reach the explained output, are no part of it. The graph
is a ``networkx.MultiDiGraph``: nodes are places (a mapping and where it stands), edges carry the value that flows.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import networkx
import onnx_ir as ir

from graphlrp.errors import GraphLRPError, InputError, ModelError, PluginError, RuleError, UnsupportedOperatorError
from graphlrp.ir.facts import Bounds, Facts
from graphlrp.ir.source import EXPLAINED

_DECIDING = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})

_MOVES = frozenset({"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice"})

_IDENTIFIERS = frozenset({ir.DataType.INT64, ir.DataType.INT32})
"""Element types of words, users and other things that are numbered and looked up."""


class Lowered(Protocol):
    """What the graph asks of a mapping."""

    def bounds(self) -> Bounds:
        """Bounds of the first output."""


class MappingClass(Protocol):
    """What the table of mappings holds."""

    def lower(self, node: ir.Node, facts: Facts) -> Any:
        """The mapping of a node."""


@dataclass(eq=False)
class Place:
    """A mapping and where it stands; what selectors and the plan read."""

    node: ir.Node
    mapping: Any
    graph: MappingGraph
    depth: int = 0
    height: int = 0

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.node.name or ""

    @property
    def operator(self) -> str:
        """Operator, with its domain if that is not ONNX's own."""
        return operator_name(self.node)

    @property
    def family(self) -> str:
        """Family of the mapping."""
        return str(self.mapping.family)

    @property
    def linear(self) -> bool:
        """Whether the mapping takes the rules for linear mappings."""
        return hasattr(self.mapping, "adjoint")

    @cached_property
    def reaches(self) -> frozenset[str]:
        """Names of the nodes after it on the way to the explained output, itself included."""
        return frozenset({self.name} | {place.name for place in networkx.descendants(self.graph.network, self)})

    def accepts(self, rule: Any) -> bool:
        """Whether the mapping has messages for a rule."""
        return bool(self.mapping.accepts(rule))


@dataclass(eq=False)
class MappingGraph:
    """The DAG of mappings of one canonical model, for one choice of explained inputs and output.

    Attributes:
        model: the canonical model; the mappings' nodes are its nodes.
        inputs: explained values.
        output: explained value.
        places: mappings in topological order.
        removed: operators removed from the explained function behind ``output``, such as a terminal softmax.
        network: the same as a networkx graph.
    """

    model: ir.Model
    inputs: list[ir.Value]
    output: ir.Value
    facts: Facts
    places: list[Place] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    network: networkx.MultiDiGraph = field(default_factory=networkx.MultiDiGraph)


def operator_name(node: ir.Node) -> str:
    """Operator of a node, with its domain if that is not ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def lower(
    model: ir.Model,
    table: Dictionary[tuple[str, str], MappingClass],
    explain: Sequence[str] | None = None,
    output: str | None = None,
) -> MappingGraph:
    """Lower a canonical model to its graph of mappings.

    Args:
        model: the canonical model.
        table: (domain, operator) -> mapping class.
        explain: names of the inputs or intermediate values to explain; every real-valued input by default, or else the rows
            of embeddings that integer inputs look up.
        output: name of the output or intermediate value to explain; by default the first real-valued output, with a
            terminal softmax, log-softmax or sigmoid removed.

    Raises:
        ModelError: a name is unknown, or the output does not depend on the explained input by value.
        UnsupportedOperatorError: operators without a mapping on the path of relevance, all of them.
    """
    inputs = _explained_inputs(model, explain)
    target, removed = explained_output(model, output)
    return between(model, table, inputs, target, removed)


def between(
    model: ir.Model,
    table: Dictionary[tuple[str, str], MappingClass],
    inputs: list[ir.Value],
    target: ir.Value,
    removed: Sequence[str] = (),
) -> MappingGraph:
    """The mappings between some values of a model and another one.

    Raises:
        ModelError, UnsupportedOperatorError: as ``lower`` says.
    """
    facts = Facts(model.graph, inputs)
    if not facts.active(target):
        _explain_independence(model, inputs, target, facts)
    cone = _cone(model, target, set(inputs), facts)
    missing = [node for node in cone if _key(node) not in table]
    if missing:
        raise UnsupportedOperatorError([(node.name or "", node.domain, node.op_type) for node in missing])
    graph = MappingGraph(model, inputs, target, facts, removed=list(removed))
    by_node: dict[ir.Node, Place] = {}
    for node in cone:
        try:
            mapping = table[_key(node)].lower(node, facts)
            facts.set_bounds(node.outputs[0], mapping.bounds())
        except Exception as error:
            raise mapping_failed(node, table[_key(node)], "lowering", error) from error
        place = Place(node, mapping, graph)
        by_node[node] = place
        graph.places.append(place)
        graph.network.add_node(place)
        for value in node.inputs:
            producer = None if value is None or value in inputs else value.producer()
            if value is not None and facts.active(value) and producer in by_node:
                graph.network.add_edge(by_node[producer], place, value=value)
    _measure(graph)
    return graph


def mapping_failed(node: ir.Node, mapping: Any, what: str, error: Exception) -> GraphLRPError:
    """The error to raise where a mapping class fails on a node.

    Errors of the package are meant for the user: they get the node's name if they lack it. Anything else is a fault of the
    class, which is told with its module.
    """
    label = f"{operator_name(node)} node {node.name!r}"
    if isinstance(error, GraphLRPError):
        plain = type(error) in (ModelError, InputError, RuleError, PluginError)
        return type(error)(f"{label}: {error}") if plain and repr(node.name) not in str(error) else error
    name = f"{mapping.__module__}.{mapping.__qualname__}"
    return PluginError(f"{label}: {what} by {name} failed: {type(error).__name__}: {error}")


def _key(node: ir.Node) -> tuple[str, str]:
    return ("" if node.domain == "ai.onnx" else node.domain, node.op_type)


def _explained_inputs(model: ir.Model, explain: Sequence[str] | None) -> list[ir.Value]:
    if explain is None:
        real = [v for v in model.graph.inputs if v.dtype is not None and v.dtype.is_floating_point()]
        if real:
            return real
        whole = [v for v in model.graph.inputs if v.dtype in (ir.DataType.UINT8, ir.DataType.INT8)]
        if whole:
            return whole
        embedded = [row for value in model.graph.inputs for row in _embedded_rows(value)]
        if embedded:
            return embedded
        listed = ", ".join(f"{v.name} ({v.dtype})" for v in model.graph.inputs)
        raise ModelError(
            f"the model has no real-valued input to explain (inputs: {listed or 'none'}) and looks none of them up in a table of"
            " embeddings; name an inner value with explain=..."
        )
    values: list[ir.Value] = []
    for value in (find_value(model, name) for name in explain):
        if value.is_graph_input() and value.dtype in _IDENTIFIERS:
            rows = _embedded_rows(value)
            if not rows:
                raise ModelError(
                    f"explain: {value.name!r} holds integers ({value.dtype}), and no Gather looks them up in a table of"
                    " embeddings; name the real-valued value that they become"
                )
            values += [row for row in rows if row not in values]
        elif value not in values:
            values.append(value)
    return values


def _embedded_rows(identifiers: ir.Value) -> list[ir.Value]:
    """The rows of tables that integers, reshaped or cast on their way, look up: what is explained in their place."""
    if identifiers.dtype not in _IDENTIFIERS:
        return []
    rows: list[ir.Value] = []
    for node, index in identifiers.uses():
        table = node.inputs[0]
        if node.op_type == "Gather" and index == 1 and table is not None and table.const_value is not None:
            if table.dtype is not None and table.dtype.is_floating_point():
                rows.append(node.outputs[0])
        elif node.op_type in _MOVES and index == 0:
            rows += _embedded_rows(node.outputs[0])
    return rows


def find_value(model: ir.Model, name: str) -> ir.Value:
    """A value of the canonical model by name.

    Raises:
        ModelError: there is none; the message lists names that are close.
    """
    values = {v.name: v for v in [*model.graph.inputs, *model.graph.outputs]}
    for node in model.graph:
        values.update({v.name: v for v in node.outputs})
    if name in values:
        return values[name]
    from difflib import get_close_matches

    close = get_close_matches(name, [n for n in values if n], n=4, cutoff=0.3)
    raise ModelError(
        f"the canonical model has no value {name!r}"
        + (f"; close are: {', '.join(close)}" if close else "")
        + " (values inside folded layers are gone: graphlrp plan lists what is there)"
    )


def explained_output(model: ir.Model, output: str | None) -> tuple[ir.Value, list[str]]:
    """The explained value, walking back over terminal activations whose γ(0) ≠ 0, and what was removed."""
    stated = model.metadata_props.get(EXPLAINED)
    if output is None and stated is not None:
        return find_value(model, stated), []
    if output is None:
        real = [v for v in model.graph.outputs if v.dtype is None or v.dtype.is_floating_point()]
        if not real:
            raise ModelError("the model has no real-valued output; name the value to explain with output=...")
        value = real[0]
    else:
        value = find_value(model, output)
        if not value.is_graph_output():
            return value, []
    removed: list[str] = []
    candidate = value
    passed: list[str] = []
    while (node := candidate.producer()) is not None and node.inputs and node.inputs[0] is not None:
        if node.op_type in _DECIDING:
            removed = [*removed, *passed, f"{node.op_type} {node.name!r}"]
            passed = []
            value = candidate = node.inputs[0]
        elif node.op_type in ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            passed.append(f"{node.op_type} {node.name!r}")
            candidate = node.inputs[0]
        else:
            break
    return value, removed


def _explain_independence(model: ir.Model, inputs: list[ir.Value], target: ir.Value, facts: Facts) -> None:
    names = ", ".join(repr(v.name) for v in inputs)
    if facts.cut:
        cuts = ", ".join(f"{operator_name(n)} {n.name!r}" for n in facts.cut[:5])
        raise ModelError(
            f"the output {target.name!r} depends on {names} only through operators without a derivative ({cuts}); explain a"
            " value before them with output=..."
        )
    raise ModelError(
        f"the output {target.name!r} does not depend on the explained input {names}; choose others with explain= or output="
    )


def _cone(model: ir.Model, target: ir.Value, inputs: set[ir.Value], facts: Facts) -> list[ir.Node]:
    """Active nodes that reach the target, in topological order."""
    wanted: set[ir.Node] = set()
    stack = [target]
    while stack:
        value = stack.pop()
        node = value.producer()
        if value in inputs or node is None or node in wanted:
            continue
        wanted.add(node)
        stack += [v for v in node.inputs if v is not None and facts.active(v)]
    return [node for node in model.graph if node in wanted]


def _measure(graph: MappingGraph) -> None:
    """Number of linear mappings before and after each place, along the longest path."""
    network = graph.network
    for place in graph.places:
        place.depth = max((p.depth + p.linear for p in network.predecessors(place)), default=0)
    for place in reversed(graph.places):
        place.height = max((p.height + p.linear for p in network.successors(place)), default=0)
