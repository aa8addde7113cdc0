"""A model whose operators are being lowered: what has been done so far, and the nodes that all of them are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.ir.emitter import Emitter

Array = npt.NDArray[Any]

REAL = (ir.DataType.FLOAT, ir.DataType.DOUBLE)

LOWERED = "lowered"
"""What is noted of a node that other nodes take the place of."""


@dataclass
class Decision:
    """What lies behind scores.

    Attributes:
        emit: emits the decision [N, C], C = 1 for two classes.
        classes: their names, empty if there are none.
        column: the column of scores that grows with a decision that is one number.
    """

    emit: Callable[[], ir.Value]
    classes: Sequence[str] = ()
    column: int = 1

    @cached_property
    def value(self) -> ir.Value:
        """The decision, emitted when first asked for."""
        return self.emit()


class Lowering:
    """A model whose operators are being lowered.

    Attributes:
        model: the model.
        graph: its graph.
        op: emits ONNX operators into it; the methods emit what operators are lowered to.
        decisions: what lies behind the scores that are known.
        notes: what has been done, and how often.
    """

    def __init__(self, model: ir.Model) -> None:
        self.model, self.graph = model, model.graph
        self.op = Emitter(self.graph, ledger=False, options={})
        self.op.dtype = _precision(self.graph)
        self.decisions: dict[ir.Value, Decision] = {}
        self.notes: Counter[str] = Counter()
        self._place = ""

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Nodes and numbers emitted inside are named after a place."""
        self._place = place
        with self.op.scope(place):
            yield

    # Emitting

    def number(self, array: Any, name: str) -> ir.Value:
        """Real numbers as an initializer."""
        return self.op.number(np.asarray(array, np.float64), f"{self._place}/{name}")

    def real(self, x: ir.Value) -> ir.Value:
        """A value as real numbers."""
        return x if x.dtype == self.op.dtype else self.op.Cast(x, to=int(self.op.dtype))

    def node(self, operator: str, *inputs: ir.Value, width: int | None, **attributes: Any) -> ir.Value:
        """A node of the domain ``graphlrp`` with an output [N, width]."""
        self.model.opset_imports.setdefault("graphlrp", 1)
        value: ir.Value = getattr(self.op, operator)(*inputs, _domain="graphlrp", **attributes)
        assert inputs[0].shape is not None
        value.type = ir.TensorType(self.op.dtype)
        value.shape = ir.Shape([inputs[0].shape[0], width])
        return value

    def dense(self, x: ir.Value, weights: Array, intercept: Array) -> ir.Value:
        """x W + b; without a b where it is zero."""
        inputs = [x, self.number(weights, "weights")]
        if np.any(intercept):
            return self.op.Gemm(*inputs, self.number(intercept, "intercept"))
        return self.op.MatMul(*inputs)

    # Putting in place

    def replace(self, old: ir.Value, new: ir.Value, decision: Decision | None = None) -> None:
        """Use ``new`` wherever ``old`` was used, scores of a ``decision`` if one is given; an output keeps its name."""
        if old.is_graph_output():
            if new.producer() is None or new.is_graph_output():
                new = self.op.Identity(new)
            name, old.name = old.name, f"{old.name}/lowered"
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            new.name = name
        else:
            old.replace_all_uses_with(new)
        if decision is not None:
            self.decisions[new] = decision


Operator = Callable[[Lowering, ir.Node], str | None]
"""Lowers one node; returns what was done with it, None if it stays."""


def on_matrices(lower: Callable[[Lowering, ir.Node, ir.Value], str | None]) -> Operator:
    """Lower nodes whose first input is a matrix, which comes as real numbers [N, D]; others stay."""

    def lower_matrix(lowering: Lowering, node: ir.Node) -> str | None:
        x = node.inputs[0]
        return lower(lowering, node, lowering.real(x)) if x is not None and is_matrix(x) else None

    return lower_matrix


def is_matrix(value: ir.Value) -> bool:
    """Whether a value is known to have two axes."""
    return value.shape is not None and len(value.shape) == 2


def width(value: ir.Value) -> int | None:
    """D of [N, D], None if it is not known."""
    columns = value.shape[1] if value.shape is not None and is_matrix(value) else None
    return columns if isinstance(columns, int) else None


def _precision(graph: ir.Graph) -> ir.DataType:
    """The element type of the model's real numbers."""
    values = chain(graph.inputs, graph.outputs, graph.initializers.values())
    return next((value.dtype for value in values if value.dtype in REAL), ir.DataType.FLOAT)
