"""What a composite makes of a graph: one propagation, many of them, or none.

1. one propagation: the walk from the explained output to the explained inputs, or to where the readout wants to end;
2. a sampling: the same at several points around the sample, in a loop, for which the explained inputs are replaced by the points;
3. no propagation: the model is only evaluated, so it may have any operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter
from graphlrp.ir.facts import Facts
from graphlrp.ir.graph import MappingGraph, Place, between
from graphlrp.plugins.mapping import Mapping as RelevanceMapping
from graphlrp.propagate import Propagation, describe, propagate
from graphlrp.repetition import ALL, SUM, Repetition
from graphlrp.rules.composite import Composite
from graphlrp.rules.readout import Explained
from graphlrp.rules.sampling import Evaluation
from graphlrp.target import restrictions

if TYPE_CHECKING:
    from graphlrp.compiler import Compiled

EVALUATED = "(evaluated)"
"""What the plan says of nodes through which nothing is propagated."""


class Evaluated(RelevanceMapping):
    """A node that is evaluated and not asked for messages, whatever its operator."""

    native = EVALUATED[1:-1]


class AnyOperator(Mapping[tuple[str, str], Any]):
    """A table of mappings that knows every operator, where none is asked for messages."""

    def __getitem__(self, key: tuple[str, str]) -> type[Evaluated]:
        return Evaluated

    def __contains__(self, key: object) -> bool:
        return True

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Method:
    """One composite on one graph.

    Args:
        graph: from the explained inputs to the explained output.
        composite: what to do with it.
        table: (domain, operator) -> mapping class.

    Raises:
        RuleError: the composite does not fit the graph.
    """

    def __init__(self, graph: MappingGraph, composite: Composite, table: Mapping[tuple[str, str], Any]) -> None:
        self._graph, self._composite, self._table = graph, composite, table
        # Selectors speak of the whole graph, also where the walk ends early.
        self._rules = {place.node: composite.rule_for(place) for place in graph.places}
        self._walk = graph
        if composite.propagates and (ends := composite.readout.ends(graph)) != graph.inputs:
            self._walk = between(graph.model, table, ends, graph.output, graph.removed)
        self._walked = {place.node for place in self._walk.places} if composite.propagates else set()
        self._repetition: Repetition | None = None
        self._evaluation: Evaluation | None = None

    def rule_text(self, place: Place) -> str:
        """What the plan says of a node."""
        return describe(place, self._rules[place.node]) if place.node in self._walked else EVALUATED

    def emit(
        self,
        op: Emitter,
        start: ir.Value,
        batch: ir.Value,
        reported: Sequence[ir.Value],
        restrict: Mapping[str, Sequence[int]],
    ) -> Propagation:
        """Emit the relevance of the explained inputs, or what one evaluation adds to it.

        Args:
            op: emits.
            start: initial relevance, shaped like the explained output.
            batch: number of samples as int64 [1].
            reported: further values whose relevance is wanted.
            restrict: {value name: channels} that relevance goes on through.
        """
        explained = [Explained(value) for value in self._graph.inputs]
        if self._composite.sampling is not None:
            start = self._sample(op, explained, start)
        if not self._composite.propagates:
            parts = self._differences(op, explained, start, batch)
            return Propagation(dict(zip(self._graph.inputs, parts, strict=True)))
        rules = {place: self._rules[place.node] for place in self._walk.places}
        limits = restrictions(self._walk, restrict)
        result = propagate(self._walk, rules, op, start, batch, report=reported, restrict=limits)
        with op.scope("readout"):
            ends = self._walk.inputs
            parts = self._composite.readout.read(op, explained, ends, [result.relevance[value] for value in ends])
            if self._evaluation is not None and self._evaluation.weight is not None:
                parts = [op.Mul(part, self._evaluation.weight) for part in parts]
        result.relevance.update(zip(self._graph.inputs, parts, strict=True))
        return result

    def close(self, op: Emitter, compiled: Compiled) -> Callable[[], None]:
        """Emit what carries the outputs of one evaluation to the next; returns what makes the loop of the tidied graph."""
        if self._repetition is None or self._evaluation is None:
            return lambda: None
        modes = {**dict.fromkeys(compiled.relevance.values(), SUM), **dict.fromkeys(compiled.requirements, ALL)}
        return self._repetition.close(compiled.model, self._evaluation.count, modes)

    def _sample(self, op: Emitter, explained: Sequence[Explained], start: ir.Value) -> ir.Value:
        """Put the points of an evaluation in the place of the explained inputs; returns the start, which the sample decides."""
        assert self._composite.sampling is not None
        self._check_points(explained)
        self._repetition = Repetition(op)
        moved = [_stand_in(op.graph, entry.value) for entry in explained]
        with op.scope("sampling"):
            self._evaluation = self._composite.sampling.evaluate(op, explained, self._repetition.index)
        for copy, point in zip(moved, self._evaluation.points, strict=True):
            node = copy.producer()
            assert node is not None
            node.replace_input_with(0, op.shaped(point, copy))
        if self._walk is self._graph and self._composite.propagates:
            self._walk = between(self._graph.model, self._table, moved, self._graph.output, self._graph.removed)
        with op.scope("sampling"):
            return op.shaped(self._repetition.first(start), self._graph.output)

    def _check_points(self, explained: Sequence[Explained]) -> None:
        """Only real values that do not depend on each other can be moved.

        Raises:
            RuleError: they cannot.
        """
        method = f"{self._composite.name}: {self._composite.sampling}"
        for entry in explained:
            value = entry.value
            if value.dtype is not None and not value.dtype.is_floating_point():
                raise RuleError(
                    f"{method} moves the input, but {value.name!r} holds integers ({value.dtype}); name the real value that they"
                    " become with explain=..."
                )
            others = [other.value for other in explained if other is not entry]
            facts = Facts(self._graph.model.graph, others)
            if others and value not in others and facts.active(value):
                raise RuleError(f"{method} moves all explained inputs, but {value.name!r} depends on others; explain it alone")

    def _differences(self, op: Emitter, explained: Sequence[Explained], start: ir.Value, batch: ir.Value) -> list[ir.Value]:
        """Relevance without propagation."""
        if self._repetition is None or self._evaluation is None or self._evaluation.shares is None:
            with op.scope("readout"):
                return self._composite.readout.read(op, explained, [], [])
        with op.scope("sampling"):
            score = op.per_sample(op.Mul(start, self._graph.output), batch)
            return self._evaluation.shares(op.Sub(self._repetition.first(score), score))


def _stand_in(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """A copy of a value that everything reads in its place from now on."""
    node = ir.node("Identity", [value], name=f"{value.name}/point")
    copy = node.outputs[0]
    copy.name, copy.type, copy.shape = f"{value.name}/point", value.type, value.shape
    for user, index in list(value.uses()):
        if user is not node:
            user.replace_input_with(index, copy)
    graph.append(node)
    return copy
