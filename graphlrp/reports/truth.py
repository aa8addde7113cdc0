"""Whether a model is right: its decision for every sample beside the true class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from graphlrp.errors import InputError

if TYPE_CHECKING:
    from graphlrp.explanation import Explanation


@dataclass(frozen=True)
class Decision:
    """What is said of one sample.

    Attributes:
        truth: name of the true class, or its number.
        predicted: of the class that the model decides for.
        wrong: whether they differ.
    """

    truth: str
    predicted: str
    wrong: bool

    @property
    def verdict(self) -> str:
        """In words, for a cell of a table."""
        return f"wrong: {self.predicted}" if self.wrong else "right"


def decisions(
    explanation: Explanation, truth: ArrayLike, labels: Sequence[str] | None = None, class_axis: int = 1
) -> list[Decision]:
    """Decisions of the model, whatever class was explained: for the class with the highest f(x), or of two by the sign of f(x).

    Args:
        explanation: of N samples.
        truth: true classes, whole numbers [N].
        labels: names of the classes; without them the explanation's own.
        class_axis: axis of the output that counts classes.

    Returns:
        N entries.

    Raises:
        InputError: f(x) decides between no classes; the true classes are not one for each sample, or there are no such classes.
    """
    from graphlrp.explanation import predictions

    labels = labels if labels is not None else explanation.classes
    count = len(explanation.output)
    predicted = predictions(explanation, class_axis)
    if predicted is None:
        raise InputError("truth tells right decisions from wrong ones, and f(x) decides between no classes here: leave it out")
    given: Any = np.asarray(truth)
    if given.shape != (count,) or given.dtype.kind not in "iu":
        raise InputError(
            f"truth has to be one class number for each of the {count} samples, whole numbers [N], not of shape"
            f" {list(given.shape)} and type {given.dtype}"
        )
    # One number decides between two classes.
    sizes = [np.shape(one)[class_axis - (class_axis > 0)] if np.ndim(one) else 1 for one in explanation.output]
    classes = max(2, *sizes)
    outside = [number for number in given.tolist() if not 0 <= number < classes]
    if outside:
        raise InputError(f"truth holds class {outside[0]}; there are classes 0 to {classes - 1}")

    def name(number: int) -> str:
        return labels[number] if labels is not None and number < len(labels) else str(number)

    return [Decision(name(own), name(other), own != other) for own, other in zip(given.tolist(), predicted.tolist(), strict=True)]


def wrong_first(found: Sequence[Decision]) -> list[int]:
    """Positions of the samples, those decided wrongly before the others and else in their order."""
    return sorted(range(len(found)), key=lambda sample: not found[sample].wrong)
