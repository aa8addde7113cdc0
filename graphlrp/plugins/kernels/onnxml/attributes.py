"""Attributes of nodes of ``ai.onnx.ml``, and what to say of those that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.errors import ModelError

Array = npt.NDArray[Any]

TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")
"""What may be made of scores."""


def wrong(node: ir.Node, name: str, what: str) -> ModelError:
    """The error that names a node and its attribute."""
    return ModelError(f"{node.op_type} node {node.name!r}: the attribute {name} {what}")


def floats(node: ir.Node, name: str) -> npt.NDArray[np.float64]:
    """Real numbers [n], none if there is no such attribute."""
    return np.atleast_1d(np.asarray(_value(node, name, []), np.float64))


def integers(node: ir.Node, name: str) -> npt.NDArray[np.int64]:
    """Whole numbers [n], none if there is no such attribute."""
    return np.atleast_1d(np.asarray(_value(node, name, []), np.int64))


def integer(node: ir.Node, name: str, default: int) -> int:
    """A whole number."""
    return int(_value(node, name, default))


def required(node: ir.Node, name: str) -> npt.NDArray[np.float64]:
    """Real numbers [n].

    Raises:
        ModelError: there is no such attribute.
    """
    if name not in node.attributes:
        raise wrong(node, name, "is missing")
    return floats(node, name)


def rows(node: ir.Node, name: str, count: int, width: int | None, what: str) -> npt.NDArray[np.float64]:
    """Real numbers [count, width], for any width if that is None; ``what`` a row is.

    Raises:
        ModelError: there is no such attribute, or it has another number of numbers.
    """
    numbers = required(node, name)
    if count < 1 or not numbers.size or numbers.size % count or width not in (None, numbers.size // count):
        features = "" if width is None else f" of {width} features"
        raise wrong(node, name, f"has {numbers.size} numbers for {count} {what}{features}")
    return numbers.reshape(count, -1)


def choice(node: ir.Node, name: str, known: Sequence[str]) -> str:
    """One of the ``known`` words, by default the first.

    Raises:
        ModelError: it is another word.
    """
    word = str(_value(node, name, known[0]))
    if word not in known:
        raise wrong(node, name, f"is {word!r}; there are {', '.join(known)}")
    return word


def transform(node: ir.Node) -> str:
    """What is made of scores."""
    return choice(node, "post_transform", TRANSFORMS)


def labels(node: ir.Node) -> Sequence[Any]:
    """Labels of the classes, strings or integers.

    Raises:
        ModelError: there are none.
    """
    for name in ("classlabels_strings", "classlabels_ints"):
        found: Sequence[Any] = _value(node, name, ())
        if len(found):
            return found
    raise wrong(node, "classlabels_ints", "is missing, and so is classlabels_strings")


def is_calibrated(node: ir.Node) -> bool:
    """Whether scores become probabilities by a fitted sigmoid."""
    return floats(node, "prob_a").size > 0


def _value(node: ir.Node, name: str, default: Any) -> Any:
    return node.attributes[name].value if name in node.attributes else default
