"""Passes that bring a model to the form everything later relies on: one operator set, one precision, nothing left to fold."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript import optimizer, version_converter

from graphlrp.errors import ModelError

OPSET = 18
"""Oldest operator set that mappings are written for; older models are converted, newer ones stay as they are."""

OLDEST_OPSET = 7
"""Before it, broadcasting was an attribute (``axis``) and its conversion is not reliable."""

FOLD_LIMIT = 4_000_000
"""Elements of the largest constant that folding may create: kernels yes, fully connected layers made of zeros no."""

_REAL = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


def convert_operator_set(model: ir.Model) -> str | None:
    """Convert to operator set ``OPSET`` if the model's is older.

    Raises:
        ModelError: the model's operator set is older than ``OLDEST_OPSET`` or cannot be converted.
    """
    version = model.graph.opset_imports.get("")
    if version is None:
        model.graph.opset_imports[""] = OPSET
        return None
    if version >= OPSET:
        return None
    if version < OLDEST_OPSET:
        raise ModelError(
            f"the model uses operator set {version}; the oldest supported one is {OLDEST_OPSET}: export the model again"
            " or convert it with onnx.version_converter"
        )
    # The converter would inline functions: graphs are converted one by one, those of functions by themselves.
    functions = dict(model.functions)
    model.functions.clear()
    with _quiet():
        try:
            version_converter.convert_version(model, OPSET, fallback=True)
            for identifier, function in functions.items():
                body = ir.Model(function.graph, ir_version=model.ir_version)
                version_converter.convert_version(body, OPSET, fallback=True)
                attributes = list(function.attributes.values())
                model.functions[identifier] = ir.Function(*identifier, graph=body.graph, attributes=attributes)
        except Exception as error:
            raise ModelError(f"cannot convert the model from operator set {version} to {OPSET}: {error}") from error
    if model.graph.opset_imports.get("") != OPSET:
        raise ModelError(
            f"cannot convert the model from operator set {version} to {OPSET}: convert it with onnx.version_converter,"
            " which names the operator that stands in the way, or export it again with a newer operator set"
        )
    return f"operator set {version} converted to {OPSET}"


def lift_constants(model: ir.Model) -> str | None:
    """Make every ``Constant`` node an initializer, and no initializer an input."""
    inputs = len(model.graph.inputs)
    common.RemoveInitializersFromInputsPass()(model)
    count = sum(node.op_type == "Constant" for node in model.graph)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    notes = []
    if count:
        notes.append(f"{count} Constant node(s) became initializers")
    if inputs != len(model.graph.inputs):
        notes.append(f"{inputs - len(model.graph.inputs)} initializer(s) no longer listed as inputs")
    return ", ".join(notes) or None


class Precision:
    """Bring every real-valued tensor of the model to one element type (float16, bfloat16, float and double)."""

    def __init__(self, dtype: ir.DataType) -> None:
        self.dtype = dtype
        self.__name__ = "precision"

    def __call__(self, model: ir.Model) -> str | None:
        """Convert inputs, initializers, values and the attributes that name or hold real types."""
        graph = model.graph
        changed = 0
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is None or tensor.dtype not in _REAL or tensor.dtype == self.dtype or _is_resize_scale(value):
                continue
            value.const_value = self._convert(tensor)
            value.type = ir.TensorType(self.dtype)
            changed += 1
        for value in graph.inputs:
            changed += self._retype(value)
        functions = [function.graph for function in model.functions.values()]
        for function in functions:
            for value in function.inputs:
                self._retype(value)
        for node in (node for part in (graph, *functions) for node in part.all_nodes()):
            number = node.attributes.get("value_float") or node.attributes.get("value_floats")
            if node.op_type == "Constant" and number is not None:
                node.attributes.clear()
                node.attributes["value"] = ir.AttrTensor("value", ir.tensor(np.asarray(number.value, self.dtype.numpy())))
            for attribute in list(node.attributes.values()):
                if attribute.type == ir.AttributeType.TENSOR:
                    tensor = attribute.as_tensor()
                    if tensor.dtype in _REAL and tensor.dtype != self.dtype:
                        node.attributes[attribute.name] = ir.AttrTensor(attribute.name, self._convert(tensor))
                elif attribute.type == ir.AttributeType.GRAPH:
                    for value in attribute.as_graph().inputs:
                        self._retype(value)
                elif attribute.name in ("to", "dtype") and attribute.type == ir.AttributeType.INT:
                    if attribute.as_int() in _REAL:
                        node.attributes[attribute.name] = ir.AttrInt64(attribute.name, int(self.dtype))
            if node.op_type == "ConstantOfShape" and "value" not in node.attributes:
                zero = ir.tensor(np.zeros(1, self.dtype.numpy()))
                node.attributes["value"] = ir.AttrTensor("value", zero)
            for value in node.outputs:
                self._retype(value)
        return f"{changed} tensor(s) converted to {self.dtype.name.lower()}" if changed else None

    def _retype(self, value: ir.Value) -> bool:
        if value.dtype in _REAL and value.dtype != self.dtype:
            value.type = ir.TensorType(self.dtype)
            return True
        return False

    def _convert(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        return ir.tensor(tensor.numpy().astype(self.dtype.numpy()), name=tensor.name)


def fold_constants(model: ir.Model) -> str | None:
    """Compute everything that depends on constants and static shapes alone; infer the shapes of the rest."""
    before = len(model.graph)
    with _quiet():
        optimizer.fold_constants(
            model,
            onnx_shape_inference=True,
            input_size_limit=np.iinfo(np.int64).max,
            output_size_limit=FOLD_LIMIT,
            should_fold=_fold_filled_tensors,
        )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.RemoveUnusedNodesPass()(model)
    folded = before - len(model.graph)
    return f"{folded} constant node(s) folded" if folded > 0 else None


def remove_no_operations(model: ir.Model) -> str | None:
    """Remove Identity, Dropout (inference), Cast to the type a value has, and Transposes that cancel each other."""
    graph = model.graph
    removed: dict[str, int] = {}
    for node in list(graph):
        source = _same_as(node)
        if source is None:
            continue
        _replace(graph, node.outputs[0], source)
        graph.remove(node, safe=True)
        removed[node.op_type] = removed.get(node.op_type, 0) + 1
    common.RemoveUnusedNodesPass()(model)
    if not removed:
        return None
    return "removed " + ", ".join(f"{count} {operator}" for operator, count in sorted(removed.items()))


def infer_shapes(model: ir.Model) -> str | None:
    """Infer shapes and types of all values."""
    with _quiet():
        common.ShapeInferencePass(data_prop=True)(model)
    return None


def _same_as(node: ir.Node) -> ir.Value | None:
    """The value that a node's only used output is equal to, None if the node does something."""
    if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return None
    source = node.inputs[0]
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return None
    if node.op_type == "Identity":
        return source
    if node.op_type == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else None
        off = training is None or (training.const_value is not None and not training.const_value.numpy().any())
        return source if off else None
    if node.op_type == "Cast":
        return source if source.dtype is not None and source.dtype == node.attributes["to"].as_int() else None
    if node.op_type == "Transpose":
        return _transposed_back(node)
    if node.op_type in ("Reshape", "Flatten", "Expand") and source.shape is not None and source.shape.is_static():
        return source if node.outputs[0].shape == source.shape else None
    return None


def _transposed_back(node: ir.Node) -> ir.Value | None:
    """Merge a Transpose into the Transpose before it; the value before both if they cancel."""
    source = node.inputs[0]
    order = permutation(node)
    if source is None or order is None:
        return None
    before = source.producer()
    if before is not None and before.op_type == "Transpose" and before.domain == "":
        first = permutation(before)
        if first is not None and before.inputs[0] is not None:
            order = [first[axis] for axis in order]
            source = before.inputs[0]
            node.replace_input_with(0, source)
            node.attributes["perm"] = ir.AttrInt64s("perm", order)
    return source if order == sorted(order) else None


def permutation(node: ir.Node) -> list[int] | None:
    """The permutation of a Transpose, None if it is left to the rank and that is not known."""
    if "perm" in node.attributes:
        return list(node.attributes["perm"].as_ints())
    source = node.inputs[0]
    if source is None or source.shape is None:
        return None
    return list(reversed(range(len(source.shape))))


def _replace(graph: ir.Graph, value: ir.Value, source: ir.Value) -> None:
    """Use ``source`` wherever ``value`` was used; an output of the graph keeps its name."""
    if value.is_graph_output():
        producer = source.producer()
        if producer is None or source.is_graph_output() or source.is_graph_input():
            # A graph output must be produced by a node of its own: keep it as an Identity.
            name = value.name
            value.name = f"{name}/removed"
            identity = ir.node("Identity", [source])
            identity.outputs[0].name = name
            identity.outputs[0].type, identity.outputs[0].shape = value.type, value.shape
            node = value.producer()
            assert node is not None
            graph.insert_after(node, identity)
            value.replace_all_uses_with(identity.outputs[0], replace_graph_outputs=True)
            return
        value.replace_all_uses_with(source, replace_graph_outputs=True)
        name, value.name = value.name, f"{value.name}/removed"
        source.name = name
        return
    value.replace_all_uses_with(source)


def _is_resize_scale(value: ir.Value) -> bool:
    """``Resize`` takes its scales as float32 whatever the data are."""
    return any(node.op_type == "Resize" and index == 2 for node, index in value.uses())


def _fold_filled_tensors(node: ir.Node) -> bool | None:
    """Fold ``ConstantOfShape`` (exporters spell paddings and synthetic weights so) up to the size limit."""
    if node.op_type != "ConstantOfShape" or node.inputs[0] is None:
        return None
    shape = node.inputs[0].const_value
    if shape is None:
        return None
    return bool(np.prod(shape.numpy(), dtype=np.float64) <= FOLD_LIMIT)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries' notes on what they do; each pass says itself what it did.

    Levels of loggers belong to the process: the first thread that enters lowers them, the last that leaves puts them back.
    """
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir")]
    with _levels_lock:
        _levels.append([logger.level for logger in loggers] if not _levels else _levels[0])
        for logger in loggers:
            logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        with _levels_lock:
            levels = _levels.pop()
            if not _levels:
                for logger, level in zip(loggers, levels, strict=True):
                    logger.setLevel(level)


_levels: list[list[int]] = []
_levels_lock = threading.Lock()
