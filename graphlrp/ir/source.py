"""A source of a model: the model, and what only its origin knows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from graphlrp.ir.writing import write_model

Array = npt.NDArray[Any]

FEATURES, CLASSES = "graphlrp.features", "graphlrp.classes"
"""Metadata of a model: names of the features of its input and of the classes of its output, as JSON lists."""

EXPLAINED = "graphlrp.explained"
"""Metadata of a model: name of the value that is explained if the user names none, where that is not what an output holds."""

PIPELINE = "graphlrp.pipeline"
"""Metadata of a model that was made of an estimator: what it is."""

TEXT = "graphlrp.text"
"""Metadata of a model whose input are counts of terms: how texts are read, as JSON."""


@dataclass(frozen=True)
class Source:
    """What a frontend makes of an object.

    Attributes:
        model: the model.
        read: what a user gives -> an array, or arrays by name.
        original: arrays by name -> the outputs that the model should have, for verification.
        name: what the original is called.
    """

    model: ir.Model
    read: Callable[[Any], Any] | None = None
    original: Callable[[Mapping[str, Array]], Sequence[Array]] | None = None
    name: str = "model"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as an ONNX file, whole or not at all."""
        write_model(self.model, path)


def names_in(model: ir.Model, key: str) -> list[str] | None:
    """Names that a model carries in its metadata, None if it has none."""
    text = model.metadata_props.get(key)
    return None if text is None else [str(name) for name in json.loads(text)]
