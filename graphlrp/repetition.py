"""Many evaluations of one graph as one graph: an ONNX ``Loop`` whose body is the graph.

The memory is that of one evaluation. Weights stand in the body, once: ONNX Runtime lays out and packs weights of a body like
those of any graph, but not weights that a body takes from the graph around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphlrp.ir.emitter import Emitter

FIRST, SUM, ALL = "first", "sum", "all"
"""What becomes of an output of the body: that of evaluation 0, the sum of all, or whether all are true."""


@dataclass
class _State:
    """A value that goes from one evaluation to the next, and what it is before the first."""

    before: ir.Value
    after: ir.Value
    start: ir.TensorProtocol


class Repetition:
    """What makes the graph under construction the body of a loop.

    Args:
        op: emits into the graph.

    Attributes:
        index: number of the evaluation, an int64 scalar; 0 is the sample itself.
        is_first: whether it is 0.
    """

    def __init__(self, op: Emitter) -> None:
        self._op = op
        self._states: list[_State] = []
        self.index = _value("evaluation", ir.DataType.INT64, [])
        self._condition = _value("evaluation/continues", ir.DataType.BOOL, [])
        with op.scope("evaluation"):
            self.is_first = op.Equal(self.index, op.number(np.asarray(0, np.int64)))

    def first(self, value: ir.Value) -> ir.Value:
        """Emit the value that this one had in evaluation 0."""
        before = self._before(value)
        # Before evaluation 0 there is a placeholder of another shape, so a Where would not do for every type and shape.
        kept = ir.node(
            "If",
            [self.is_first],
            {"then_branch": _branch(value, f"{before.name}/own"), "else_branch": _branch(before, f"{before.name}/kept")},
            name=f"{before.name}/first",
        )
        self._op.builder.add_node(kept)
        return self._state(before, kept.outputs[0], value)

    def sum(self, value: ir.Value) -> ir.Value:
        """Emit the sum of this value over the evaluations so far."""
        before = self._before(value)
        return self._state(before, self._op.Add(before, value), value)

    def all(self, value: ir.Value) -> ir.Value:
        """Emit whether this bool value was true in all evaluations so far."""
        before = self._before(value)
        return self._state(before, self._op.And(before, value), value, start=True)

    def _before(self, value: ir.Value) -> ir.Value:
        assert value.dtype is not None
        # The shape is that of a scalar before evaluation 0 and that of the value from then on.
        return _value(f"evaluation/state_{len(self._states)}", value.dtype, None)

    def _state(self, before: ir.Value, after: ir.Value, like: ir.Value, *, start: bool = False) -> ir.Value:
        after.type, after.shape = like.type, like.shape
        assert like.dtype is not None
        placeholder = np.full((), start, like.dtype.numpy()) if like.dtype != ir.DataType.STRING else np.asarray(b"", object)
        tensor = ir.StringTensor(placeholder) if like.dtype == ir.DataType.STRING else ir.tensor(placeholder)
        self._states.append(_State(before, after, tensor))
        return after

    def close(self, model: ir.Model, count: ir.Value, modes: Mapping[str, str]) -> Callable[[], None]:
        """Emit what carries the outputs of the graph from evaluation to evaluation.

        Args:
            model: whose graph is to be the body.
            count: number of evaluations, an emitted int64 scalar.
            modes: name of an output -> FIRST, SUM or ALL; FIRST for those that are not named.

        Returns:
            What makes the graph the body of the loop, once it is tidied up.
        """
        op, graph = self._op, model.graph
        carry = {FIRST: self.first, SUM: self.sum, ALL: self.all}
        public = list(graph.outputs)
        with op.scope("evaluation"):
            carried = [carry[modes.get(str(value.name), FIRST)](value) for value in public]
            continues = op.Less(op.Add(self.index, op.number(np.asarray(1, np.int64))), count)
        names = [str(value.name) for value in public]
        inputs = list(graph.inputs)
        graph.outputs[:] = [continues, *(state.after for state in self._states)]
        graph.inputs.extend([self.index, self._condition, *(state.before for state in self._states)])

        def enclose() -> None:
            outer = self._outer(graph, inputs, dict(zip(carried, names, strict=True)))
            model.graph = outer

        return enclose

    def _outer(self, body: ir.Graph, inputs: list[ir.Value], names: Mapping[ir.Value, str]) -> ir.Graph:
        """The graph around the loop, with the inputs and outputs that the body had."""
        taken = {value.name for node in body for value in node.outputs} | {value.name for value in body.inputs}
        body.inputs[:] = [self.index, self._condition, *(state.before for state in self._states)]
        starts = [_initializer(f"{state.before.name}/start", state.start) for state in self._states]
        continues = _initializer("evaluation/begin", ir.tensor(np.asarray(True)))
        loop = ir.node("Loop", [None, continues, *starts], {"body": body}, num_outputs=len(self._states), name="evaluations")
        outputs = {}
        for state, value in zip(self._states, loop.outputs, strict=True):
            value.name = f"{state.before.name}/end"
            value.type, value.shape = state.after.type, state.after.shape
            outputs[state.after] = value
        for node in body:
            for value in node.outputs:
                # Names of an inner graph must not be those of the graph around it.
                if value.name in names.values():
                    value.name = _free(f"evaluation/{value.name}", taken)
        for inner, name in names.items():
            outputs[inner].name = name
        return ir.Graph(
            inputs,
            [outputs[inner] for inner in names],
            nodes=[loop],
            initializers=[continues, *starts],
            opset_imports=dict(body.opset_imports),
            name=body.name,
        )


def _value(name: str, dtype: ir.DataType, shape: list[int] | None) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=None if shape is None else ir.Shape(shape))


def _initializer(name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """A scalar of the graph around the loop."""
    tensor.name = name
    return ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape([]), const_value=tensor)


def _branch(value: ir.Value, name: str) -> ir.Graph:
    """A graph that hands on a value of the graph around it."""
    node = ir.node("Identity", [value], name=name)
    node.outputs[0].name, node.outputs[0].type = name, value.type
    return ir.Graph([], [node.outputs[0]], nodes=[node], name=name)


def _free(name: str, taken: set[str | None]) -> str:
    while name in taken:
        name += "'"
    taken.add(name)
    return name
