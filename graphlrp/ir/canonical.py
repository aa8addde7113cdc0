"""Canonicalisation: the passes in their order, what each did, and the proof that the function stayed the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir
import onnx_ir.passes.common as common

from graphlrp.errors import GraphLRPError, ModelError
from graphlrp.ir.functions import EmitOperators, InlineFunctions, Table
from graphlrp.ir.passes.affine import fold_affine
from graphlrp.ir.passes.layout import sink_transposes
from graphlrp.ir.passes.padding import fold_padding
from graphlrp.ir.passes.standard import (
    Precision,
    convert_operator_set,
    fold_constants,
    infer_shapes,
    lift_constants,
    remove_no_operations,
)
from graphlrp.ir.source import EXPLAINED

Pass: TypeAlias = Callable[[ir.Model], "str | None"]
"""Changes a model in place and says in a few words what it did, None if nothing."""


@dataclass(frozen=True)
class RegisteredPass:
    """A pass of a plugin.

    Attributes:
        apply: the pass.
        early: whether it runs before operators get their bodies, so that it may emit such operators.
    """

    apply: Pass
    early: bool = False


@dataclass(frozen=True)
class PassNote:
    """What one pass did."""

    name: str
    note: str


def all_passes(dtype: ir.DataType, table: Table, registered: Sequence[RegisteredPass] = ()) -> tuple[Pass, ...]:
    """The passes a model goes through, in order: the standard ones, then those that plugins registered.

    ``table`` holds the operators that mappings are registered for. Early passes of plugins find one operator set, one precision
    and no constants left to fold.
    """
    return (
        InlineFunctions(table),
        convert_operator_set,
        lift_constants,
        Precision(dtype),
        fold_constants,
        remove_no_operations,
        *(entry.apply for entry in registered if entry.early),
        EmitOperators(table, dtype),
        infer_shapes,
        sink_transposes,
        fold_padding,
        fold_affine,
        *(entry.apply for entry in registered if not entry.early),
        release_explained,
        infer_shapes,
    )


def state_explained(model: ir.Model, value: ir.Value) -> None:
    """State, in a pass, which value of a model is explained if the user names none.

    No output need depend on it: it is one itself until all passes are through, so that none of them removes or renames it.
    """
    model.metadata_props[EXPLAINED] = str(value.name)
    model.meta[EXPLAINED] = True
    model.graph.outputs.append(value)


def release_explained(model: ir.Model) -> str | None:
    """Take the value that ``state_explained`` kept out of the outputs."""
    if not model.meta.pop(EXPLAINED, False):
        return None
    return f"{model.graph.outputs.pop().name!r} is explained"


def canonicalise(model: ir.Model, passes: Sequence[Pass]) -> list[PassNote]:
    """Run ``passes`` on ``model`` in place; returns what each of them did.

    Names of nodes and values are made unique and non-empty first, for the plan and the emitted graph are read by name.
    """
    common.NameFixPass()(model)
    notes = []
    for apply in passes:
        name = getattr(apply, "__name__", type(apply).__name__).replace("_", " ")
        try:
            note = apply(model)
        except GraphLRPError:
            raise
        except Exception as error:
            module = getattr(apply, "__module__", "?")
            raise ModelError(f"the pass {name!r} of {module} fails on this model: {type(error).__name__}: {error}") from error
        if note:
            notes.append(PassNote(name, note))
    return notes
