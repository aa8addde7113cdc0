"""The numbers of an explanation: class, f(x), ΣR, what was absorbed, and whether that adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse

from graphlrp.target import is_single

if TYPE_CHECKING:
    from graphlrp.explanation import Explanation


@dataclass(frozen=True)
class Summary:
    """What is said of one sample.

    Attributes:
        label: name of the explained class, or its number.
        output: f(x), over axes that count no classes summed as the explanation is.
        total: ΣR over all explained inputs.
        absorbed: relevance that reached no input; None without a ledger.
        error: conservation error; None without a ledger.
        sides: what negative and positive relevance speak for; empty where relevance starts from something else than f(x).
    """

    label: str
    output: float
    total: float
    absorbed: float | None
    error: float | None
    sides: tuple[str, str] = ("", "")


def summaries(explanation: Explanation, labels: Sequence[str] | None = None, class_axis: int = 1) -> list[Summary]:
    """The numbers of every sample.

    Args:
        explanation: of N samples.
        labels: names of the classes; without them the explanation's own.
        class_axis: axis of the output that counts classes.

    Returns:
        N entries.
    """
    labels = labels if labels is not None else explanation.classes
    count = len(explanation.output)
    totals = _totals(explanation.relevance, count)
    ledger, errors = explanation.ledger, explanation.conservation_error
    return [
        Summary(
            label,
            value,
            totals[sample],
            None if ledger is None else float(ledger.absorbed[sample]),
            None if errors is None else float(errors[sample]),
            _sides(explanation, labels, label) if explanation.initial == "value" else ("", ""),
        )
        for sample, (label, value) in enumerate(_explained(explanation, sample, labels, class_axis) for sample in range(count))
    ]


def _totals(relevance: Any, count: int) -> list[float]:
    """ΣR of every sample; of arrays, sparse matrices, lists of arrays that differ in shape, or several of them by name."""
    parts = list(relevance.values()) if isinstance(relevance, Mapping) else [relevance]
    result = [0.0] * count
    for part in parts:
        for sample in range(count):
            result[sample] += float(part[sample].sum(dtype=np.float64) if not issparse(part) else part[sample].sum())
    return result


def _explained(explanation: Explanation, sample: int, labels: Sequence[str] | None, class_axis: int) -> tuple[str, float]:
    """What a sample is explained as, and its f(x)."""
    target, output = np.asarray(explanation.target), np.asarray(explanation.output, dtype=np.float64)
    if target.shape == output.shape and target.dtype.kind == "f":
        return "weighted classes", float((output[sample] * target[sample]).sum())
    if output.ndim == 1 or _decides(output.shape, labels):
        # One output decides between two classes by its sign, or is no class at all.
        value = float(output[sample].sum())
        return (labels[int(value > 0)] if labels is not None and len(labels) == 2 else "output"), value
    index = int(target[sample])
    value = float(np.moveaxis(output, class_axis, 1)[sample, index].sum())
    return (labels[index] if labels is not None and index < len(labels) else str(index)), value


def _decides(shape: tuple[int, ...], labels: Sequence[str] | None) -> bool:
    """Whether an output of one number per sample has the names of two classes, between which its sign decides."""
    return is_single(shape) and labels is not None and len(labels) == 2


def _sides(explanation: Explanation, labels: Sequence[str] | None, label: str) -> tuple[str, str]:
    if np.ndim(explanation.output) == 1 or _decides(np.shape(explanation.output), labels):
        return (
            (f"for {labels[0]}", f"for {labels[1]}")
            if labels is not None and len(labels) == 2
            else ("lowers f(x)", "raises f(x)")
        )
    if np.ndim(explanation.target) > 1:
        return "lowers f(x)", "raises f(x)"
    name = label if labels is not None and label in labels else f"class {label}"
    return f"against {name}", f"for {name}"
