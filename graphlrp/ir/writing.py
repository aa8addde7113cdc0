"""Writing models: whole or not at all, with the weights in a file beside where protobuf cannot hold them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir

from graphlrp.errors import InputError
from graphlrp.files import cannot_write

PROTOBUF_LIMIT = 1_800_000_000
"""Bytes of weights above which a model goes through files; protobuf messages end at 2 GB."""


def write_model(model: ir.Model, path: str | os.PathLike[str]) -> None:
    """Write a model atomically; weights over the limit of protobuf go to ``<name>.data`` beside it.

    Raises:
        InputError: the folder does not exist or cannot be written to.
    """
    path = Path(path)
    held = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    weights = sum(tensor.nbytes for tensor in held if tensor is not None)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            written = Path(folder) / path.name
            if weights > PROTOBUF_LIMIT:
                ir.save(model, written, external_data=f"{path.name}.data")
                os.replace(Path(folder) / f"{path.name}.data", path.parent / f"{path.name}.data")
            else:
                proto = ir.to_proto(ir.external_data.load_to_model(model))
                onnx.checker.check_model(proto, full_check=False)
                written.write_bytes(proto.SerializeToString())
            os.replace(written, path)
    except OSError as error:
        raise InputError(cannot_write(path, error)) from error
