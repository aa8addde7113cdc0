"""Linear classifiers and regressors, as dense layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.plugins.kernels.onnxml import attributes
from graphlrp.plugins.kernels.onnxml.lowering import LOWERED, Decision, Lowering, width
from graphlrp.plugins.kernels.onnxml.scores import OWN_FORMULAS, keep, names, say, second_where, transformed

Array = npt.NDArray[Any]


def linear_classifier(lowering: Lowering, node: ir.Node, x: ir.Value) -> str:
    """A row of weights per class, or one for two classes."""
    labels, transform = attributes.labels(node), attributes.transform(node)
    intercepts = attributes.required(node, "intercepts")
    count = len(intercepts)
    if len(labels) < count or (count == 1 and len(labels) != 2) or not count:
        raise attributes.wrong(node, "intercepts", f"has {count} numbers for {len(labels)} classes")
    decision, emit_scores = _scores(lowering, x, _weights(node, x, count), intercepts, labels)
    if transform in OWN_FORMULAS or (count == 1 and transform != "NONE"):
        return keep(lowering, node, decision, max(count, 2))
    op, scores = lowering.op, emit_scores()
    if count == 1:
        index = second_where(lowering, op.Greater(scores, op.scalar(0.0)))
        scores = op.Concat(op.Sub(op.scalar(1.0), scores), scores, axis=1)
    else:
        index = op.ArgMax(scores, axis=1, keepdims=0)
        scores = transformed(lowering, scores, transform)
    return say(lowering, node, labels, index, scores, decision)


def linear_machine(lowering: Lowering, node: ir.Node, x: ir.Value) -> str:
    """An SVMClassifier without support vectors: a row of weights per class, one bias for all."""
    labels, transform = attributes.labels(node), attributes.transform(node)
    rho = attributes.required(node, "rho")
    if not rho.size:
        raise attributes.wrong(node, "rho", "is empty")
    classes = len(labels)
    weights = _weights(node, x, classes)
    decision, emit_scores = _scores(lowering, x, weights, np.full(classes, rho[0]), labels)
    if transform in OWN_FORMULAS:
        return keep(lowering, node, decision, classes)
    op, scores = lowering.op, emit_scores()
    index = op.ArgMax(scores, axis=1, keepdims=0)
    if classes == 2 and not attributes.is_calibrated(node):
        # ONNX Runtime's way: the second class already where any score is positive (0.5 if no weight is negative).
        largest = op.ReduceMax(scores, op.integers([1]), keepdims=0)
        second = op.GreaterOrEqual(largest, op.scalar(0.5)) if (weights >= 0).all() else op.Greater(largest, op.scalar(0.0))
        index = op.Where(second, op.number(np.asarray(1, np.int64)), index)
    if classes > 1:
        scores = transformed(lowering, scores, transform)
    return say(lowering, node, labels, index, scores, decision)


def linear_regressor(lowering: Lowering, node: ir.Node, x: ir.Value) -> str:
    """A row of weights per target."""
    transform, targets = attributes.transform(node), attributes.integer(node, "targets", 1)
    intercepts = attributes.floats(node, "intercepts")
    if len(intercepts) not in (0, targets):
        raise attributes.wrong(node, "intercepts", f"has {len(intercepts)} numbers for {targets} target(s)")
    decision = Decision(partial(lowering.dense, x, _weights(node, x, targets).T, intercepts))
    if transform == "PROBIT" or (transform == "SOFTMAX_ZERO" and targets > 1):
        return keep(lowering, node, decision, targets)
    if targets == 1 or transform == "NONE":
        lowering.replace(node.outputs[0], decision.value)
    else:
        lowering.replace(node.outputs[0], transformed(lowering, decision.value, transform), decision)
    return LOWERED


def single_target(lowering: Lowering, node: ir.Node, x: ir.Value, intercept: Array) -> ir.Value:
    """An SVMRegressor without support vectors: one row of weights."""
    return lowering.dense(x, _weights(node, x, 1).T, intercept)


def are_opposite(rows: Array, intercepts: Array) -> bool:
    """Whether linear scores are x w + b and -(x w + b): one decision, said twice."""
    return len(rows) == 2 and bool((rows[0] == -rows[1]).all()) and intercepts[0] == -intercepts[1]


def _weights(node: ir.Node, x: ir.Value, rows: int) -> Array:
    return attributes.rows(node, "coefficients", rows, width(x), "row(s) of weights")


def _scores(
    lowering: Lowering, x: ir.Value, rows: Array, intercepts: Array, labels: Sequence[Any]
) -> tuple[Decision, Callable[[], ir.Value]]:
    """The decision of linear scores, and what emits the scores [N, rows]."""
    opposite = are_opposite(rows, intercepts)
    weights, offset = (rows[1:], intercepts[1:]) if opposite else (rows, intercepts)
    decision = Decision(partial(lowering.dense, x, weights.T, offset), names(labels))

    def emit() -> ir.Value:
        value = decision.value
        return lowering.op.Concat(lowering.op.Neg(value), value, axis=1) if opposite else value

    return decision, emit
