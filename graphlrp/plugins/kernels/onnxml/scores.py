"""What classifiers say: labels, and scores that transforms make of decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from graphlrp.plugins.kernels.onnxml.lowering import LOWERED, Decision, Lowering

OWN_FORMULAS = ("PROBIT", "SOFTMAX_ZERO")
"""Transforms that only ONNX Runtime computes."""


def names(labels: Sequence[Any]) -> list[str]:
    """Labels as names of classes."""
    return [str(label) for label in labels]


def transformed(lowering: Lowering, scores: ir.Value, transform: str) -> ir.Value:
    """Scores behind a transform."""
    if transform == "LOGISTIC":
        return lowering.op.Sigmoid(scores)
    return lowering.op.Softmax(scores, axis=-1) if transform == "SOFTMAX" else scores


def second_where(lowering: Lowering, condition: ir.Value) -> ir.Value:
    """The class [N] of two: the second where a condition [N, 1] holds."""
    op = lowering.op
    return op.Squeeze(op.Cast(condition, to=int(ir.DataType.INT64)), op.integers([1]))


def say(lowering: Lowering, node: ir.Node, labels: Sequence[Any], index: ir.Value, scores: ir.Value, decision: Decision) -> str:
    """Let labels by the class [N] and scores [N, C] be what a node says."""
    if isinstance(labels[0], str):
        name = f"labels_{len(lowering.graph.initializers)}"
        tensor = ir.StringTensor([label.encode() for label in labels], name=name, shape=ir.Shape([len(labels)]))
        table = lowering.op.builder.initializer(tensor, name=name, qualify=False)
    else:
        table = lowering.op.number(np.asarray(labels, np.int64))
    lowering.replace(node.outputs[0], lowering.op.Gather(table, index, axis=0))
    lowering.replace(node.outputs[1], scores, decision)
    return LOWERED


def keep(lowering: Lowering, node: ir.Node, decision: Decision, width: int) -> str:
    """Leave a node in place for its outputs, whose shapes nothing else tells."""
    batch = node.inputs[0].shape[0]  # type: ignore[union-attr, index]
    *label, scores = node.outputs
    for value in label:
        value.shape = ir.Shape([batch])
    scores.type, scores.shape = ir.TensorType(lowering.op.dtype), ir.Shape([batch, width])
    lowering.decisions[scores] = decision
    return "kept for its scores"
