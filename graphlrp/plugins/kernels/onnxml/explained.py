"""Which decision is explained: the one that the first real-valued output is made of."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.ir.canonical import state_explained
from graphlrp.ir.source import CLASSES
from graphlrp.plugins.kernels.onnxml.linear import are_opposite
from graphlrp.plugins.kernels.onnxml.lowering import Decision, Lowering, width

Array = npt.NDArray[Any]

DECISION = "decision"
"""Name of the explained value."""

_MOVES = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Concat")
_ARITHMETIC = ("Add", "Sum", "Sub", "Neg", "Abs", "Mul", "Div", "Reciprocal", "Exp", "Log", "Pow", "Sqrt", "Sigmoid")
_OVER_CLASSES = ("Normalizer", "Softmax", "ReduceSum", "ReduceMax", "ArgMax", "ArgMin")
_COMPARISONS = ("Max", "Min", "Clip", "Where", "Less", "Equal", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or")

_LINKS = frozenset((*_MOVES, *_ARITHMETIC, *_OVER_CLASSES, *_COMPARISONS))
"""Operators between decisions and what is made of them: probabilities, votes of pairs, calibration."""


def choose_explained(lowering: Lowering) -> None:
    """State the decision behind the first real-valued output, if there is one."""
    outputs, op = lowering.graph.outputs, lowering.op
    real = [value for value in outputs if value.dtype is not None and value.dtype.is_floating_point()]
    if not real:
        return
    # Dense layers are meant only if somebody asks which class they choose.
    plain = len(real) < len(outputs)
    if plain:
        _find_opposite_scores(lowering)
    search = _Search(lowering, plain=plain)
    with lowering.at(DECISION):
        decision = search.decision(real[0])
        if decision is None or decision is real[0]:
            return
        if width(decision) == 1:
            decision = op.Squeeze(decision, op.integers([1]))
        elif decision.is_graph_output():
            decision = op.Identity(decision)
    behind = search.scores(real[0]) or []
    known = lowering.decisions.get(behind[0]) if len(behind) == 1 else None
    if known is not None and known.classes:
        lowering.model.metadata_props.setdefault(CLASSES, json.dumps(list(known.classes)))
    decision.name = _free_name(lowering.graph, decision)
    state_explained(lowering.model, decision)


def _free_name(graph: ir.Graph, decision: ir.Value) -> str:
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    taken = {value.name for value in values if value is not decision}
    name = DECISION
    while name in taken:
        name += "/explained"
    return name


class _Search:
    """Looks for what a value is computed from, as far as only links stand between.

    These are scores of decisions and, if ``plain``, linear scores of dense layers, too.
    """

    def __init__(self, lowering: Lowering, *, plain: bool) -> None:
        self.lowering, self.decisions, self.plain = lowering, lowering.decisions, plain
        self._known: dict[ir.Value, list[ir.Value] | None] = {}

    def scores(self, value: ir.Value) -> list[ir.Value] | None:
        """The scores behind a value, in order; None if there is something else, empty for constants."""
        if value not in self._known:
            self._known[value] = self._find(value)
        return self._known[value]

    def decision(self, value: ir.Value) -> ir.Value | None:
        """What decides a value [N, C]; None if it is not clear."""
        behind = self.scores(value)
        if not behind:
            return None
        if len(behind) == 1:
            return self._emitted(behind[0])
        node = value.producer()
        assert node is not None
        parts = [(part, found) for part in node.inputs if part is not None and (found := self.scores(part))]
        if node.op_type not in ("Concat", "Sum", "Add") or any(len(found) > 1 for _, found in parts):
            return self.decision(parts[0][0])
        each = [(part, found[0]) for part, found in parts]
        if node.op_type == "Concat":
            return self._side_by_side(each)
        # A sum of scores is no average of what is made of them.
        return None if any(part is score for part, score in each) else self._average([score for _, score in each])

    def _find(self, value: ir.Value) -> list[ir.Value] | None:
        if value in self.decisions:
            return [value]
        if value.const_value is not None:
            return []
        node = value.producer()
        if _dense_layer(value) is not None:
            return [value] if self.plain else None
        if node is None or node.domain not in ("", "graphlrp") or node.op_type not in _LINKS:
            return None
        found: list[ir.Value] = []
        for each in node.inputs:
            inner = [] if each is None else self.scores(each)
            if inner is None:
                return None
            found += [score for score in inner if score not in found]
        return found

    def _emitted(self, score: ir.Value) -> ir.Value:
        return self.decisions[score].value if score in self.decisions else score

    def _side_by_side(self, parts: list[tuple[ir.Value, ir.Value]]) -> ir.Value | None:
        """Decisions of one-versus-rest classifiers."""
        if not all(self._grows(part, score) for part, score in parts):
            return None
        values = [self._emitted(score) for _, score in parts]
        return self.lowering.op.Concat(*values, axis=1) if all(width(value) == 1 for value in values) else None

    def _average(self, scores: list[ir.Value]) -> ir.Value | None:
        """The mean of the decisions of several classifiers."""
        values = [self._emitted(score) for score in scores]
        columns = width(values[0])
        if columns is None or any(width(value) != columns for value in values):
            return None
        mean = np.kron(np.full((len(values), 1), 1 / len(values)), np.eye(columns))
        return self.lowering.dense(self.lowering.op.Concat(*values, axis=1), mean, np.zeros(1))

    def _grows(self, value: ir.Value, score: ir.Value) -> bool:
        """Whether a value made of scores is the one column that grows with their decision."""
        if score not in self.decisions:
            return True
        if width(value) != 1:
            return False
        while value is not score and (node := value.producer()) is not None and node.inputs[0] is not None:
            before = node.inputs[0]
            if width(before) == 2 and node.op_type in ("Gather", "Slice"):
                first = node.inputs[1]
                numbers = None if first is None or first.const_value is None else first.const_value.numpy().ravel()
                return numbers is not None and numbers.tolist() in ([self.decisions[score].column], [0, 1])
            value = before
        return False


def _find_opposite_scores(lowering: Lowering) -> None:
    """Enter the decision of dense layers that compute -(x w + b) and x w + b."""
    for node in lowering.graph:
        layer = _dense_layer(node.outputs[0])
        if layer is None or layer[0].op_type != "MatMul" or width(node.outputs[0]) != 2:
            continue
        x, weights = layer[0].inputs
        assert x is not None and weights is not None and weights.const_value is not None
        rows = weights.const_value.numpy().astype(np.float64).T
        intercepts = np.zeros(2) if layer[1] is None else layer[1].astype(np.float64).ravel()
        if len(intercepts) == 2 and are_opposite(rows, intercepts):
            lowering.decisions[node.outputs[0]] = Decision(partial(lowering.dense, x, rows[1:].T, intercepts[1:]))


def _dense_layer(value: ir.Value) -> tuple[ir.Node, Array | None] | None:
    """The node that computes x W of a value x W or x W + b, and what another node adds to it."""
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in ("Add", "MatMul", "Gemm"):
        return None
    first, second = node.inputs[:2]
    assert first is not None and second is not None
    if node.op_type != "Add":
        return (node, None) if second.const_value is not None else None
    product, added = (first, second) if second.const_value is not None else (second, first)
    layer = _dense_layer(product)
    if added.const_value is None or layer is None or layer[0].op_type != "MatMul" or layer[1] is not None:
        return None
    return layer[0], added.const_value.numpy()
