"""Moving Transposes behind the operators they commute with, so that those of NHWC exports cancel.

1. component-wise operators of one value: ``f(T(x)) = T(f(x))``;
2. component-wise operators of several: ``T(a) + T(b) = T(a + b)`` for equal permutations, ``T(a) + c = T(a + T⁻¹(c))`` for
   constants;
3. Pad: its amounts are permuted.

Precondition: constants are initializers, ranks are inferred. Postcondition: the function is the same; Transposes that met
their inverse are gone (``remove_no_operations`` does that).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from graphlrp.ir.passes.standard import permutation, remove_no_operations

_UNARY = frozenset(
    {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Selu", "Softplus", "Abs", "Neg", "Exp"}
    | {"Log", "Sqrt", "Erf", "Gelu", "Mish", "Identity", "Cast", "Dropout"}
)
_NARY = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"})


def sink_transposes(model: ir.Model) -> str | None:
    """Move Transposes down until they cancel or meet an operator that they do not commute with."""
    graph = model.graph
    before = sum(node.op_type == "Transpose" for node in graph)
    if before < 2:
        return None
    moved = 0
    changed = True
    while changed:
        changed = False
        for node in list(graph):
            if _sink_below(graph, node):
                moved += 1
                changed = True
    remove_no_operations(model)
    after = sum(node.op_type == "Transpose" for node in graph)
    return f"{before - after} of {before} Transposes cancelled" if after < before else None


def _sink_below(graph: ir.Graph, node: ir.Node) -> bool:
    """Move the Transpose(s) that feed ``node`` behind it; False if they do not commute."""
    if node.domain not in ("", "ai.onnx") or len(node.outputs) != 1 or node.op_type not in _UNARY | _NARY | {"Pad"}:
        return False
    data = list(node.inputs) if node.op_type in _NARY else list(node.inputs[:1])
    sources: list[ir.Value | None] = []
    order: list[int] | None = None
    freed = False
    for value in data:
        producer = None if value is None else value.producer()
        if producer is not None and producer.op_type == "Transpose" and producer.domain == "":
            own = permutation(producer)
            if own is None or (order is not None and own != order) or value is None:
                return False
            # A Transpose that others need too has to stay.
            freed = freed or (len(value.uses()) == data.count(value) and not value.is_graph_output())
            order = own
            sources.append(producer.inputs[0])
        elif value is not None and value.const_value is not None and node.op_type in _NARY:
            sources.append(None)
        else:
            return False
    if order is None or not freed:
        return False
    inverse = np.argsort(order)
    new_inputs: list[ir.Value | None] = []
    for value, source in zip(data, sources, strict=True):
        new_inputs.append(source if source is not None else _constant_before(graph, value, inverse))
    if node.op_type == "Pad":
        amounts = _pads_before(graph, node, order)
        if amounts is None:
            return False
        node.replace_input_with(1, amounts)
    for index, value in enumerate(new_inputs):
        node.replace_input_with(index, value)
    _transpose_behind(graph, node, order)
    return True


def _constant_before(graph: ir.Graph, value: ir.Value | None, inverse: np.ndarray) -> ir.Value:
    """The constant that, transposed, broadcasts as ``value`` does."""
    assert value is not None and value.const_value is not None
    array = value.const_value.numpy()
    if array.size == 1:
        return value
    full = array.reshape((1,) * (len(inverse) - array.ndim) + array.shape).transpose(inverse)
    return _register(graph, f"{value.name}/transposed", np.ascontiguousarray(full))


def _pads_before(graph: ir.Graph, node: ir.Node, order: list[int]) -> ir.Value | None:
    pads = node.inputs[1]
    if pads is None or pads.const_value is None or (len(node.inputs) > 3 and node.inputs[3] is not None):
        return None
    amounts = pads.const_value.numpy().reshape(2, -1)
    moved = np.zeros_like(amounts)
    # Axis k of the transposed value is axis order[k] of the value before.
    moved[:, order] = amounts
    return _register(graph, f"{pads.name}/transposed", moved.reshape(-1))


def _register(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    while name in graph.initializers:
        name += "'"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def _transpose_behind(graph: ir.Graph, node: ir.Node, order: list[int]) -> None:
    """Let ``node`` produce the untransposed value, and a Transpose behind it the one that others use."""
    value = node.outputs[0]
    behind = ir.node("Transpose", [value], attributes={"perm": order}, name=f"{node.name}/transpose")
    result = behind.outputs[0]
    result.type, result.shape = value.type, value.shape
    graph.insert_after(node, behind)
    name = value.name
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    behind.replace_input_with(0, value)
    result.name, value.name = name, f"{name}/untransposed"
    if value.shape is not None:
        value.shape = ir.Shape([value.shape[int(axis)] for axis in np.argsort(order)])
