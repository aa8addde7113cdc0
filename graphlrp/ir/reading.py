"""Reading models: a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model`` become one ``onnx_ir.Model``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import networkx
import onnx
import onnx_ir as ir

from graphlrp.errors import ModelError

ModelSource: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model"


def read_model(source: ModelSource) -> ir.Model:
    """Read a model; weights in external files are memory-mapped, so models over 2 GB can be read.

    An ``onnx_ir.Model`` is cloned: the caller's object is never changed.

    Raises:
        ModelError: the file is missing, empty, truncated or no ONNX model, or the graph is empty, cyclic
            or uses values that nothing produces.
    """
    if isinstance(source, ir.Model):
        model = source.clone()
        name = source.graph.name or "model"
    elif isinstance(source, onnx.ModelProto):
        # A copy: tensors of the result refer to the message, which is the caller's to change.
        message = onnx.ModelProto()
        message.CopyFrom(source)
        model, name = _from_proto(message, "ModelProto"), "ModelProto"
    elif isinstance(source, bytes):
        try:
            proto = onnx.load_model_from_string(source)
        except Exception as error:
            raise ModelError(f"the {len(source)} bytes given are not an ONNX model: {_first_line(error)}") from error
        model, name = _from_proto(proto, "bytes"), "bytes"
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        name = str(path)
        if not path.is_file():
            raise ModelError(f"no such model file: {path}")
        try:
            model = _load(path)
        except Exception as error:
            raise ModelError(
                f"{path} ({path.stat().st_size:,} bytes) cannot be read as an ONNX model; it may be truncated or of"
                f" another format: {_first_line(error)}"
            ) from error
    else:
        raise ModelError(
            f"cannot read a model from {type(source).__name__}: give a path, bytes, onnx.ModelProto or onnx_ir.Model"
        )
    _check(model, name)
    return model


def _load(path: Path) -> ir.Model:
    """A model from a file; only one with maps, which is small, is read as a message first."""
    try:
        return ir.load(path)
    except Exception:
        proto = onnx.load(path)
        if not _without_maps(proto):
            raise
        return ir.from_proto(proto)


def _without_maps(proto: onnx.ModelProto) -> bool:
    """Let outputs that are lists of maps, {class: score} per sample, be the matrix that they are made of; whether there were any.

    No map can be explained, and onnx-ir reads none.
    """
    makers = {node.output[0]: node for node in proto.graph.node if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml"}
    found = [output for output in proto.graph.output if output.name in makers]
    for output in found:
        node = makers[output.name]
        node.op_type, node.domain = "Identity", ""
        del node.attribute[:]
        output.ClearField("type")
    return bool(found)


def _from_proto(proto: onnx.ModelProto, name: str) -> ir.Model:
    _without_maps(proto)
    try:
        return ir.from_proto(proto)
    except Exception as error:
        raise ModelError(f"{name} is not a readable ONNX model: {_first_line(error)}") from error


def _check(model: ir.Model, name: str) -> None:
    """Refuse what cannot be a computation: no nodes, no outputs, dangling values, cycles, missing weight files."""
    graph = model.graph
    if not graph.opset_imports:
        raise ModelError(f"{name}: the model imports no operator set; the file may be truncated")
    if len(graph) == 0:
        raise ModelError(f"{name}: the graph has no nodes, so there is nothing to explain")
    if not graph.outputs:
        raise ModelError(f"{name}: the graph has no outputs, so there is nothing to explain")
    known = {id(value) for value in graph.inputs} | {id(value) for value in graph.initializers.values()}
    for node in graph:
        for value in node.inputs:
            if value is None or not value.name:
                continue
            if value.producer() is None and id(value) not in known:
                raise ModelError(f"{name}: node {node.name or node.op_type!r} uses {value.name!r}, which nothing produces")
        _check_node(node, graph.opset_imports, name)
    for value in graph.outputs:
        if value.producer() is None and id(value) not in known:
            raise ModelError(f"{name}: nothing produces the output {value.name!r}")
    try:
        graph.sort()
    except ValueError as error:
        raise ModelError(f"{name}: the graph has a cycle: {' -> '.join(_cycle(graph))}") from error
    for value in graph.initializers.values():
        _check_weight(value, name)


def _check_node(node: ir.Node, versions: Mapping[str, int], name: str) -> None:
    """Refuse nodes that lack inputs or attributes which their operator needs; operators unknown to ONNX are left to plugins."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        schema = onnx.defs.get_schema(node.op_type, versions.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        return
    label = f"{name}: node {node.name or node.outputs[0].name!r} ({node.op_type})"
    if len(node.inputs) < schema.min_input:
        raise ModelError(f"{label} has {len(node.inputs)} input(s) where its operator needs {schema.min_input}")
    missing = [key for key, attribute in schema.attributes.items() if attribute.required and key not in node.attributes]
    if missing:
        raise ModelError(f"{label} lacks the attribute(s) {', '.join(missing)}")


def _check_weight(value: ir.Value, name: str) -> None:
    """Refuse weights whose file is missing or whose numbers are not all there."""
    tensor = value.const_value
    if isinstance(tensor, ir.ExternalTensor):
        path = Path(tensor.path)
        if not path.is_file():
            raise ModelError(f"{name}: the weight {value.name!r} lies in the external file {path}, which is missing")
        end = (tensor.offset or 0) + tensor.nbytes
        if path.stat().st_size < end:
            raise ModelError(
                f"{name}: the weight {value.name!r} ends at byte {end:,} of the external file {path}, which has"
                f" {path.stat().st_size:,}; it may be truncated"
            )
    elif isinstance(tensor, ir.TensorProtoTensor) and tensor.dtype != ir.DataType.STRING:
        size = len(tensor.tobytes())
        if size != tensor.nbytes:
            raise ModelError(
                f"{name}: the weight {value.name!r} of shape {tensor.shape} needs {tensor.nbytes:,} bytes and has {size:,}"
            )


def _cycle(graph: ir.Graph) -> list[str]:
    """Names of the nodes of one cycle."""
    follows = networkx.DiGraph(
        (producer, node) for node in graph for value in node.inputs if value is not None and (producer := value.producer())
    )
    edges = networkx.find_cycle(follows)
    return [node.name or node.op_type for node in (edges[0][0], *(edge[1] for edge in edges))]


def _first_line(error: BaseException) -> str:
    """The first line of what went wrong in the end; libraries wrap it in where that was."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
