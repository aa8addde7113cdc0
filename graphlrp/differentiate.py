"""Derivatives of what was emitted: the same walk as for relevance, under a gradient rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter
from graphlrp.ir.graph import between
from graphlrp.propagate import propagate
from graphlrp.rules.base import Rule


def differentiator(model: ir.Model, table: Mapping[tuple[str, str], Any]) -> Callable[..., Sequence[ir.Value]]:
    """What ``Emitter.vector_jacobian`` calls: the walk over the nodes of ``model`` by the mappings of ``table``."""

    def differentiate(
        op: Emitter, output: ir.Value, inputs: Sequence[ir.Value], signal: ir.Value, rule: Rule
    ) -> Sequence[ir.Value]:
        graph = between(model, table, list(inputs), output)
        for place in graph.places:
            if not place.accepts(rule):
                raise RuleError(f"{place.operator} node {place.name!r}: its mapping has no gradient")
        result = propagate(graph, dict.fromkeys(graph.places, rule), op, signal, op.integers([1]))
        return [result.relevance[value] for value in inputs]

    return differentiate
