"""Reading models: a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model`` become one ``onnx_ir.Model``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

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
        model, name = _from_proto(source, "ModelProto"), "ModelProto"
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
            model = ir.load(path)
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


def _from_proto(proto: onnx.ModelProto, name: str) -> ir.Model:
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
    try:
        graph.sort()
    except ValueError as error:
        raise ModelError(f"{name}: the graph has a cycle: {_first_line(error)}") from error
    for value in graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and not Path(tensor.path).is_file():
            raise ModelError(f"{name}: the weight {value.name!r} lies in the external file {tensor.path}, which is missing")


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
