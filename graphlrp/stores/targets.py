"""Which classes of a data set are explained, as its samples come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from graphlrp.adapters.tensors import to_array
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.stores.batches import Piece

Array = npt.NDArray[Any]

PREDICTED, LABELS, ALL = "the highest output", "labels", "all"


class Targets:
    """What to explain of every sample.

    Attributes:
        text: what it is, for people and to compare.
    """

    def __init__(self, target: Any, count: int | None) -> None:
        """Read what a user gives.

        Args:
            target: as ``stores.write`` says.
            count: of samples, None if it is not known.

        Raises:
            InputError: an unknown word, or not one per sample.
        """
        self._function: Callable[[Array], Any] | None = None
        self._values: Array | None = None
        self._word: str | None = None
        if target is None:
            self.text = PREDICTED
        elif isinstance(target, str):
            if target not in (LABELS, ALL):
                raise InputError(
                    f"unknown target {target!r}: give None, a class, classes [N], weights, 'labels', 'all', or a function"
                )
            self.text = self._word = target
        elif callable(target):
            self._function = target
            self.text = f"function {getattr(target, '__qualname__', type(target).__name__)}"
        else:
            self._values = to_array(target)
            self.text = self._describe(self._values, count)

    @staticmethod
    def _describe(values: Array, count: int | None) -> str:
        whole = values.dtype.kind in "iu"
        if values.ndim == 0 and whole:
            return f"class {values}"
        per_sample = values.ndim > 1 or whole
        if per_sample and count is not None and len(values) != count:
            raise InputError(f"{len(values)} targets for {count} samples; give one class, or one per sample")
        if not per_sample:
            return f"weights {values.tolist()}"
        return "given classes" if whole else "given weights"

    def given(self, piece: Piece) -> Array | None:
        """Those that the user gave, one for each of some samples; None if there are none.

        Raises:
            InputError: too few.
        """
        if self._values is None or self._values.ndim == 0 or self.text.startswith("weights"):
            return None
        if piece.stop > len(self._values):
            raise InputError(f"{len(self._values)} targets, but there are more samples")
        return self._values[piece.start : piece.stop]

    def of(self, explainer: Explainer, piece: Piece, labels: Array | None, batch_size: int) -> Any:
        """The target of some samples as the explainer takes it.

        Raises:
            InputError: there are no labels, or not one class each; too few targets.
        """
        if self._function is not None:
            return to_array(self._function(explainer.predict(piece.x, batch_size=batch_size)))
        if self._word == LABELS:
            if labels is None or labels.ndim != 1:
                raise InputError("target='labels' needs a label per sample: give labels=, or batches (samples, labels)")
            return labels
        given = self.given(piece)
        return given if given is not None else self._word if self._values is None else self._values
