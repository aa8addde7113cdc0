"""Support vector machines, as kernel machines, or as dense layers where the kernel is linear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.errors import InputError
from graphlrp.plugins.kernels.kernels import Kernel
from graphlrp.plugins.kernels.onnxml import attributes
from graphlrp.plugins.kernels.onnxml.linear import linear_machine, single_target
from graphlrp.plugins.kernels.onnxml.lowering import LOWERED, Decision, Lowering, width
from graphlrp.plugins.kernels.onnxml.scores import OWN_FORMULAS, keep, names, say, second_where, transformed
from graphlrp.plugins.kernels.pairs import pair_coefficients, pair_votes
from graphlrp.plugins.kernels.products import RBF, Linear, Polynomial, Sigmoid

Array = npt.NDArray[Any]

_SIGNS = frozenset({"Sign", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"})
"""Operators that ask for the sign of a value."""


@dataclass(frozen=True)
class _Machine:
    """f_j(x) = Σ_i A_ij k(y_i, x) + b_j: support vectors y [S, D]; dual coefficients A [S, C]; b [C]."""

    kernel: Kernel
    support: Array
    dual: Array
    intercept: Array

    def voted(self, votes: Array) -> _Machine:
        """The machine of what the f_j [C] count in sums of them, ``votes`` [C, sums]."""
        return _Machine(self.kernel, self.support, self.dual @ votes, self.intercept @ votes)

    def emit(self, lowering: Lowering, x: ir.Value, *, regression: bool = False) -> ir.Value:
        """f(x) [N, C]; the support vectors are references, and their mean is where a regression starts."""
        if isinstance(self.kernel, Linear):
            return lowering.dense(x, self.support.T @ self.dual, self.intercept)
        numbers = {
            "support_vectors": self.support,
            "dual_coefficients": self.dual,
            "intercept": self.intercept,
            "references": self.support,
        }
        if regression:
            numbers["level"] = np.mean(self.kernel(self.support, self.support) @ self.dual + self.intercept, axis=0)
        inputs = [lowering.number(array, name) for name, array in numbers.items()]
        return lowering.node("KernelMachine", x, *inputs, width=self.dual.shape[1], kernel=self.kernel.json())


def svm_classifier(lowering: Lowering, node: ir.Node, x: ir.Value) -> str:
    """Decisions between all pairs of classes, explained by their sum per class."""
    if not attributes.integers(node, "vectors_per_class").sum():
        return linear_machine(lowering, node, x)
    labels, transform = attributes.labels(node), attributes.transform(node)
    classes = len(labels)
    machine, votes = _pairs(node, x, classes), pair_votes(classes)
    # A pair is positive for its first class; of two classes, the decision is to be for the second one.
    counted = machine.voted(votes[:, 1:] if classes == 2 else votes)
    decision = Decision(lambda: counted.emit(lowering, x), names(labels))
    calibrated = attributes.is_calibrated(node)
    if calibrated or transform in OWN_FORMULAS or (classes == 2 and transform != "NONE"):
        return keep(lowering, node, decision, classes if calibrated or classes == 2 else len(votes))
    op = lowering.op
    if classes == 2:
        # ONNX Runtime writes what speaks for the first class into the second column, and so does not say which class wins.
        scores, decision.column = op.Concat(decision.value, op.Neg(decision.value), axis=1), 0
        index = second_where(lowering, op.GreaterOrEqual(decision.value, op.scalar(0.0)))
    else:
        by_pair = machine.emit(lowering, x)
        scores = transformed(lowering, by_pair, transform)
        wins = op.Cast(op.Greater(by_pair, op.scalar(0.0)), to=int(op.dtype))
        lost = -votes.clip(max=0).sum(0)  # what class j has before any pair i < j is won by i
        won = op.MatMul(wins, lowering.number(votes, "votes"))
        index = op.ArgMax(op.Add(won, lowering.number(lost, "lost")), axis=1, keepdims=0)
    return say(lowering, node, labels, index, scores, decision)


def svm_regressor(lowering: Lowering, node: ir.Node, x: ir.Value) -> str:
    """Explained from its mean, unless its sign is a decision."""
    dual, rho = attributes.required(node, "coefficients"), attributes.required(node, "rho")
    if not rho.size:
        raise attributes.wrong(node, "rho", "is empty")
    output, count = node.outputs[0], attributes.integer(node, "n_supports", 0)
    decides = attributes.integer(node, "one_class", 0) != 0
    if not count:
        value = single_target(lowering, node, x, rho[:1])
    elif dual.size != count:
        raise attributes.wrong(node, "coefficients", f"has {dual.size} numbers for {count} support vectors")
    else:
        machine = _Machine(_kernel(node), _support(node, x, count), dual[:, None], rho[:1])
        value = machine.emit(lowering, x, regression=not decides and not _is_compared(output))
    if decides:
        op = lowering.op
        signs = op.Where(op.Greater(value, op.scalar(0.0)), op.scalar(1.0), op.scalar(-1.0))
        lowering.replace(output, signs, Decision(lambda: value))
    else:
        lowering.replace(output, value)
    return LOWERED


def _pairs(node: ir.Node, x: ir.Value, classes: int) -> _Machine:
    """The decisions between all pairs of classes."""
    counts = attributes.integers(node, "vectors_per_class")
    if len(counts) != classes or classes < 2:
        raise attributes.wrong(node, "vectors_per_class", f"has {len(counts)} numbers for {classes} classes")
    dual, rho, count = attributes.required(node, "coefficients"), attributes.required(node, "rho"), int(counts.sum())
    expected = (classes - 1) * count
    if dual.size != expected:
        what = f"has {dual.size} numbers; {classes} classes and {count} support vectors make {expected}"
        raise attributes.wrong(node, "coefficients", what)
    pairs = classes * (classes - 1) // 2
    for name in ("rho", "prob_a", "prob_b"):
        found = len(attributes.floats(node, name))
        # Probabilities may be left out.
        if found != pairs and (found or name == "rho"):
            raise attributes.wrong(node, name, f"has {found} numbers for {pairs} pairs of classes")
    by_pair = pair_coefficients(dual.reshape(classes - 1, count), counts)
    return _Machine(_kernel(node), _support(node, x, count), by_pair, rho)


def _support(node: ir.Node, x: ir.Value, count: int) -> Array:
    return attributes.rows(node, "support_vectors", count, width(x), "support vectors")


def _kernel(node: ir.Node) -> Kernel:
    """The kernel of a support vector machine."""
    kind = attributes.choice(node, "kernel_type", ("LINEAR", "POLY", "RBF", "SIGMOID"))
    if kind == "LINEAR":
        return Linear()
    parameters = attributes.required(node, "kernel_params").tolist()
    if len(parameters) != 3:
        raise attributes.wrong(node, "kernel_params", f"has {len(parameters)} numbers; it takes gamma, coef0 and degree")
    gamma, coef0, degree = parameters
    try:
        if kind == "RBF":
            return RBF(gamma)
        if kind == "SIGMOID":
            return Sigmoid(gamma, coef0)
        if degree != int(degree):
            raise InputError(f"degree {degree} is no whole number")
        return Polynomial(int(degree), gamma, coef0)
    except InputError as error:
        raise attributes.wrong(node, "kernel_params", f"is {parameters}: {error}") from error


def _is_compared(value: ir.Value) -> bool:
    """Whether the sign of a value is asked for somewhere."""
    return any(
        node.op_type in _SIGNS or (node.op_type in ("Cast", "Identity", "Reshape") and _is_compared(node.outputs[0]))
        for node, _ in value.uses()
    )
