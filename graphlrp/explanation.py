"""What explaining a batch gives: relevances, what they belong to, and where all relevance went."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from graphlrp.ledger import Ledger, LedgerEntry
from graphlrp.plugins.estimators.text import TextReader

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Explanation:
    """Relevances of a batch.

    Attributes:
        relevance: R shaped like the explained input, or {name: R} if several are explained (or the bias is one of them).
        output: f(x), the explained function's output, with a terminal softmax or sigmoid removed.
        target: what was explained: class indices int64 [N], or class weights shaped like the output.
        intermediate: relevance of the values asked for with ``report``.
        ledger: where all relevance went, None without ``ledger=True``.
        conservation_error: |f_target - ΣR - absorbed| / Σ of magnitudes, [N]; None without ``ledger=True``.
        model_outputs: the model's own outputs by name.
        inputs: what was explained, by name.
        features: names of the features of the input, where the model tells them.
        classes: names of the classes of the output, where the model tells them; of a decision between two, f(x) > 0 speaks for
            the second.
        layout: axes of ``relevance``, such as ``"NCHW"``, if it can be maps of pictures.
        initial: what relevance started from: ``"value"``, ``"one"`` or ``"contrastive"``.
        start: Σ of the relevance at the explained output, [N]: by default f(x) of the target.
        texts: the texts that were given, if the input are counts of their terms.
        reader: what counted them, and knows where they are (see ``graphlrp.visual.text_relevance``).

    Of sparse samples, ``relevance`` and ``inputs`` are sparse, too (csr): features that are absent and have no relevance take no
    memory.
    """

    relevance: Any
    output: Array
    target: Array
    intermediate: dict[str, Array]
    ledger: Ledger | None
    conservation_error: Array | None
    model_outputs: dict[str, Array]
    inputs: dict[str, Array]
    features: list[str] | None = None
    classes: list[str] | None = None
    initial: str = "value"
    layout: str | None = None
    start: Array | None = None
    texts: Sequence[str] | None = None
    reader: TextReader | None = None

    def save_image(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the heatmaps of picture-like inputs as a PNG: one row per sample (see ``graphlrp.visual``)."""
        from graphlrp.visual.explanation import save_explanation

        save_explanation(path, self, **options)

    def plot(self, **options: Any) -> Any:
        """The same as a matplotlib Figure, which notebooks show."""
        from graphlrp.visual.explanation import explanation_to_figure

        return explanation_to_figure(self, **options)

    @classmethod
    def joined(cls, parts: Sequence[Explanation]) -> Explanation:
        """Explanations of one sample each as one.

        What has one entry per sample is joined; arrays of samples that differ in shape become lists of the samples' arrays.
        """
        return cls(**{name: _join([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def predictions(explanation: Explanation, axis: int) -> Array | None:
    """The class with the highest output, summed over further axes; None if the output does not decide between classes."""
    output = explanation.output
    if isinstance(output, list):
        return np.array([_highest(np.asarray(one)[np.newaxis], axis)[0] for one in output], np.int64)
    if output.ndim > 1 and output.shape[axis] > 1:
        return _highest(output, axis)
    if explanation.classes is not None and len(explanation.classes) == 2 and output.size == len(output):
        return (output.reshape(-1) > 0).astype(np.int64)
    return None


def _highest(output: Array, axis: int) -> Array:
    others = tuple(a for a in range(1, output.ndim) if a != axis % output.ndim)
    return np.asarray(output.sum(axis=others).argmax(axis=1))


def of_several_shapes(x: Any) -> bool:
    """Whether x is a sequence of arrays that differ in shape, so that they make no batch."""
    if not isinstance(x, (list, tuple)) or len(x) < 2 or not all(isinstance(sample, np.ndarray) for sample in x):
        return False
    return len({sample.shape for sample in x}) > 1


def _join(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Ledger):
        entries = []
        for own in zip(*values, strict=True):
            joined = (_join([getattr(entry, field.name) for entry in own]) for field in fields(LedgerEntry))
            entries.append(LedgerEntry(*joined))
        return Ledger(entries)
    if isinstance(first, Mapping):
        return {key: _join([value[key] for value in values]) for key in first}
    if issparse(first) or not isinstance(first, np.ndarray):
        return first
    if len({value.shape[1:] for value in values}) > 1:
        return [value[0] for value in values]
    return np.concatenate(values)
