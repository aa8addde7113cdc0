"""Relevance of many samples, sorted by class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphlrp.cli.datasets import DataSet
from graphlrp.cli.relevance import class_name
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.explanation import Explanation
from graphlrp.tables import Rows, is_table, read_table
from graphlrp.target import is_single

if TYPE_CHECKING:
    from graphlrp.stores import Store

Array = npt.NDArray[Any]

PORTION = 64
"""Maps that are read at once."""


@dataclass(frozen=True)
class Groups:
    """Relevance of many samples, sorted by class.

    Attributes:
        maps: relevance by position, read when it is sliced.
        layout: its axes, if they are not the usual ones.
        members: positions of every class, by its name.
        sources: where every sample comes from; None where its number says it all.
        images: pictures by position, None if there are none.
        by: what samples are sorted by, in words.
        features: names of the features, if they are vectors that have some.
        explain: gives explanations of the samples at some positions, if they are texts that can be shown.
    """

    maps: Any
    layout: str | None
    members: Mapping[str, Array]
    sources: Sequence[str] | None
    images: Sequence[Array] | None
    by: str
    features: Sequence[str] | None = None
    explain: Callable[[list[int]], Explanation] | None = None

    def part(self, rows: Array) -> MapsOf:
        """The maps of some samples, a portion at a time."""
        return MapsOf(self.maps, rows)


def groups_of(store: Store, names: Sequence[str] | None, data: DataSet | None) -> Groups:
    """Sort the samples of a store by class: the true one, else the folder, else the one that was explained.

    Args:
        store: open, and open as long as the groups are read.
        names: of the classes.
        data: what was explained; None if nobody knows.

    Raises:
        InputError: several inputs were explained, or samples have no single class.
    """
    maps = store.relevance
    if isinstance(maps, dict):
        raise InputError(f"several inputs are explained ({', '.join(maps)}): choose one with --explain")
    layout = store.metadata["layout"] or (data.layout if data is not None else None)
    shape = getattr(maps, "shape", None)
    if shape is None:
        maps = MapsOfSizes(maps)
    elif len(shape) == 4:
        layout = layout or ("NHWC" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "NCHW")
    else:
        layout = None
    images: Any = data.images if data is not None else None
    if images is None and layout is not None and len(store.inputs) == 1:
        (images,) = store.inputs.values()
    if data is not None and data.folders is not None and store.labels is None:
        found, by = np.array(data.folders), "folder"
        members = {str(name): np.flatnonzero(found == name) for name in np.unique(found)}
    else:
        numbers, by = _classes_of(store)
        if numbers.ndim != 1:
            raise InputError("samples have several labels, or class weights were explained: they cannot be sorted by class")
        members = {class_name(int(c), names): np.flatnonzero(numbers == c) for c in np.unique(numbers)}
    return Groups(maps, layout, members, data.sources if data is not None else store.sources, images, by)


def feature_names(store: Store, inputs: Sequence[Path]) -> list[str] | None:
    """Names of the features of vectors: the model's, else those of the columns of a table; None if there are none that fit."""
    if getattr(store.relevance, "ndim", 0) != 2:
        return None
    width: int = store.relevance.shape[1]
    names = store.features
    if names is None and len(inputs) == 1 and is_table(inputs[0]):
        names = read_table(inputs[0], None, width, Rows(((0, 1),))).names
    # Those of a model are the names of its input, which need not be what is explained.
    return list(names) if names is not None and len(names) == width else None


def explain_texts(store: Store, explainer: Explainer, data: DataSet) -> Callable[[list[int]], Explanation] | None:
    """Explanations of some of the texts that the relevance of a store is of; None if they are no texts."""
    texts = explainer.reader.texts(data.x) if explainer.reader is not None else None
    if texts is None:
        return None
    # One number per sample has no class to choose.
    single = is_single(np.shape(store.output[:1]))
    return lambda positions: explainer([texts[k] for k in positions], None if single else store.target[positions])


def _classes_of(store: Store) -> tuple[Array, str]:
    """A class number for every sample, and what it says."""
    if store.labels is not None:
        return store.labels, "true class"
    # One number decides between two classes by its sign, so which one was explained is what was predicted.
    if len(np.shape(store.output[:1])) == 1 and store.prediction is not None:
        return store.prediction, "predicted class"
    return store.target, "explained class"


class MapsOfSizes:
    """Maps of several sizes: one, some, or all in order, some at a time."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, rows: Any) -> Any:
        return self._column[rows]

    def __iter__(self) -> Iterator[Any]:
        yield from MapsOf(self._column, np.arange(len(self)))


@dataclass(frozen=True)
class MapsOf:
    """Some maps, a portion at a time."""

    maps: Any
    rows: Array

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self.rows), PORTION):
            yield self.maps[self.rows[start : start + PORTION]]
