"""What of an explanation is drawn, and how it is put into words: what was explained, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graphlrp.target import is_single
from graphlrp.visual.figure import explanation_caption
from graphlrp.visual.typesetting import number

Array = NDArray[Any]


class Explained(Protocol):
    """The part of :class:`graphlrp.Explanation` that is drawn.

    Attributes:
        relevance: shaped like the input, or {name: relevance} if several inputs are explained; sparse if the input is.
        output: f(x), [N, ...]. A decision between two classes is one output [N]; above 0 it speaks for the second.
        target: class indices int64 [N], or class weights shaped like the output.
        inputs: {name: input}.

    Three more are drawn where they are there: ``features``, names of the D features of an input [N, D], and ``classes``,
    names of the classes, both None where they have none; and ``initial``, what relevance starts from, ``"value"`` if absent.
    """

    @property
    def relevance(self) -> Any:
        """R."""

    @property
    def output(self) -> Array:
        """f(x)."""

    @property
    def target(self) -> Array:
        """What was explained."""

    @property
    def inputs(self) -> Mapping[str, Array]:
        """x."""


def explained_as(explanation: Explained, sample: int, labels: Sequence[str] | None) -> tuple[str, float | None, tuple[str, str]]:
    """What a sample is explained as, its f(x), and what negative and positive relevance speak for."""
    target, output = np.asarray(explanation.target), np.asarray(explanation.output)
    unnamed = ("lowers f(x)", "raises f(x)")
    indices = target.ndim == 1 and target.dtype.kind in "iu"
    if indices and is_single(output.shape) and labels is not None and len(labels) == 2:
        # One column decides by its sign as one number does.
        output = output.reshape(len(output))
    if indices and output.ndim == 2:
        index = int(target[sample])
        name = labels[index] if labels is not None and index < len(labels) else f"class {index}"
        return name, float(output[sample, index]), (f"against {name}", f"for {name}")
    if output.ndim == 1 and (indices or np.all(target == 1)):
        value = float(output[sample])
        if labels is None or len(labels) != 2:
            return "output", value, unnamed
        sign = ">" if value > 0 else "<" if value < 0 else "="
        return f"{labels[int(value > 0)]}, as f(x) {sign} 0", value, (f"for {labels[0]}", f"for {labels[1]}")
    if target.shape == output.shape:
        return "weighted classes", float((output[sample].astype(np.float64) * target[sample]).sum()), unnamed
    return "", None, unnamed


def caption_of(explanation: Explained, relevance: Any, sample: int, name: str, value: float | None) -> str:
    """What stands below a map: what was explained and its f(x), ΣR and what was absorbed."""
    total = float(relevance[sample].sum(dtype=np.float64))
    if value is None:
        return f"\N{GREEK CAPITAL LETTER SIGMA}R = {number(total)}"
    ledger = getattr(explanation, "ledger", None)
    absorbed = None if ledger is None else float(ledger.absorbed[sample])
    return explanation_caption(name, value, total, absorbed=absorbed)
