"""What is kept of every sample of a data set, computed piece by piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from graphlrp.adapters.tensors import to_array
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.explanation import predictions
from graphlrp.stores.batches import Piece, count
from graphlrp.stores.columns import Storage
from graphlrp.stores.settings import settings_of
from graphlrp.stores.targets import Targets

Array = npt.NDArray[Any]


class Samples:
    """A data set and what is to be known of it."""

    def __init__(
        self,
        explainer: Explainer,
        x: Any,
        target: Any,
        labels: Any,
        index: Any,
        *,
        sources: Sequence[str] | None,
        keep_inputs: bool,
        batch_size: int,
    ) -> None:
        self.explainer = explainer
        self.x = x
        self.count = count(x)
        self.keep_inputs = keep_inputs
        self.batch_size = batch_size
        self.targets = Targets(target, self.count)
        self._labels = None if labels is None else _per_sample(labels, "labels", self.count)
        self._index = None if index is None else _per_sample(index, "index", self.count)
        self._sources = None if sources is None else [str(source) for source in sources]
        if self._sources is not None and self.count is not None and len(self._sources) != self.count:
            raise InputError(f"sources are {len(self._sources)} texts for {self.count} samples")
        if self._labels is not None and not _are_labels(self._labels):
            raise InputError(
                f"labels are class indices int [N] or bool [N, C], not {self._labels.dtype} {list(self._labels.shape)}"
            )
        if self._index is not None and (self._index.ndim != 1 or self._index.dtype.kind not in "iu"):
            raise InputError(f"index holds positions, int [N], not {self._index.dtype} {list(self._index.shape)}")
        if self._index is not None and len(np.unique(self._index)) < len(self._index):
            raise InputError("index names a position twice")

    def settings(self, piece: Piece, storage: Storage) -> dict[str, Any]:
        """What the file is made with."""
        labelled = self.labels(piece) is not None
        settings = settings_of(self.explainer, self.targets, storage, keep_inputs=self.keep_inputs, labelled=labelled)
        return settings if self._sources is None else {**settings, "sources": True}

    def labels(self, piece: Piece) -> Array | None:
        """True classes of some samples."""
        if self._labels is not None and piece.labels is not None:
            raise InputError("the batches bring labels along: leave out labels=")
        return piece.labels if self._labels is None else _cut(self._labels, piece, "labels")

    def index(self, piece: Piece) -> Array:
        """Positions of some samples."""
        return np.arange(piece.start, piece.stop) if self._index is None else _cut(self._index, piece, "positions")

    def given(self, piece: Piece) -> dict[str, Array | None]:
        """What is known of some samples before they are explained, by column."""
        return {
            "checksum": piece.checksums(),
            "index": self.index(piece),
            "label": self.labels(piece),
            "target": self.targets.given(piece),
        }

    def record(self, piece: Piece) -> dict[str, Any]:
        """Explain some samples: column -> values."""
        labels = self.labels(piece)
        target = self.targets.of(self.explainer, piece, labels, self.batch_size)
        explanation = self.explainer(piece.x, target, batch_size=self.batch_size)
        relevance = explanation.relevance
        if not isinstance(relevance, Mapping):
            relevance = {self.explainer.plan.explained[0]: relevance}
        record: dict[str, Any] = {f"relevance/{quote(name, safe='')}": values for name, values in relevance.items()}
        if self.keep_inputs:
            record |= {f"inputs/{quote(name, safe='')}": values for name, values in explanation.inputs.items()}
            if explanation.texts is not None:
                record["texts"] = list(explanation.texts)
        record |= {"output": explanation.output, "target": explanation.target}
        optional = {
            "prediction": predictions(explanation, self.explainer.settings.class_axis),
            "label": None if labels is None else labels if labels.dtype == bool else labels.astype(np.int64),
            "conservation_error": explanation.conservation_error,
            "source": None if self._sources is None else _part(self._sources, piece),
        }
        record |= {name: values for name, values in optional.items() if values is not None}
        return record | {"index": self.index(piece), "checksum": piece.checksums()}


def _part(sources: Sequence[str], piece: Piece) -> list[str]:
    """Sources of some samples; of batches, it shows only now that there are too few."""
    if piece.stop > len(sources):
        raise InputError(f"there are more samples than the {len(sources)} sources")
    return list(sources[piece.start : piece.stop])


def _per_sample(values: Any, what: str, total: int | None) -> Array:
    array = to_array(values)
    if array.ndim == 0 or (total is not None and len(array) != total):
        raise InputError(f"{what}: {array.size if array.ndim == 0 else len(array)} for {total} samples")
    return array


def _are_labels(values: Array) -> bool:
    return (values.ndim == 1 and values.dtype.kind in "iu") or (values.ndim == 2 and values.dtype == bool)


def _cut(values: Array, piece: Piece, what: str) -> Array:
    if piece.stop > len(values):
        raise InputError(f"{len(values)} {what}, but there are more samples")
    return values[piece.start : piece.stop]
