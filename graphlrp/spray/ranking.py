"""Which classes deserve a look first (thesis, figure 6.5)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from graphlrp.errors import InputError
from graphlrp.spray.affinity import Affinity, NearestNeighbours, checked_affinity
from graphlrp.spray.maps import read_features, unpack
from graphlrp.spray.preprocessing import Step
from graphlrp.spray.progress import Progress, steps_of
from graphlrp.spray.spectrum import Laplacian, smallest_eigenvalues

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Classes by λ2, the smallest first.

    Attributes:
        eigenvalues: the smallest eigenvalues of every class, [m] each; classes in the order of their λ2.
        counts: number of maps of every class, in the same order.
    """

    eigenvalues: dict[Any, Array]
    counts: dict[Any, int]

    @property
    def classes(self) -> list[Any]:
        """The classes, the most suspicious first."""
        return list(self.eigenvalues)

    def __str__(self) -> str:
        """A table."""
        most = max(len(values) for values in self.eigenvalues.values())
        width = max(5, *(len(str(name)) for name in self.classes))
        lines = [f"{'class':{width}}   maps" + "".join(f"{f'λ{number + 1}':>8}" for number in range(most))]
        for name, values in self.eigenvalues.items():
            lines.append(f"{name!s:{width}} {self.counts[name]:6}" + "".join(f"{value:8.4f}" for value in values))
        return "\n".join(lines)

    def plot(self) -> Figure:
        """The spectra side by side (figure 6.5)."""
        from graphlrp.spray.drawing import ranking_figure

        return ranking_figure(self)


def rank(
    relevance: Any,
    labels: Any = None,
    *,
    names: Sequence[str] | None = None,
    layout: str | None = None,
    preprocess: Step | Sequence[Step] | None = None,
    neighbours: int | None = None,
    affinity: Affinity | None = None,
    laplacian: Laplacian = "symmetric",
    eigenvalues: int = 5,
    seed: int = 0,
    progress: Progress = False,
) -> Ranking:
    """Order classes by the second eigenvalue of their maps' graph.

    A small λ2 says that the maps of a class fall into groups with few connections: more than one strategy, maybe one that looks
    at an artefact. L_sym is normalised, so classes of different sizes can be compared.

    Args:
        relevance: {class: maps}; or all maps, with ``labels``. Maps as for :func:`analyse`, dense or sparse.
        labels: [N], the class of every map.
        names: of the classes 0, 1, ... of labels.
        layout: as for :func:`analyse`.
        preprocess: see there.
        neighbours: see there; by default ⌈ln N⌉ of every class.
        affinity: see there.
        laplacian: see there.
        eigenvalues: how many; the source shows 5.
        seed: see there.
        progress: counts classes.

    Raises:
        InputError: as for :func:`analyse`, with the name of the class; labels and maps do not fit.
    """
    if neighbours is not None and affinity is not None:
        raise InputError("give neighbours=... or affinity=..., not both")
    if eigenvalues < 2:
        raise InputError(f"classes are ordered by the second eigenvalue, so at least 2 are needed, not {eigenvalues}")
    graph_of = affinity if affinity is not None else NearestNeighbours(neighbours)
    if labels is not None and not isinstance(relevance, Mapping):
        relevance, layout = unpack(relevance, layout)
    parts = _classes(relevance, labels, names)
    step = steps_of(progress, len(parts))
    found: dict[Hashable, tuple[Array, int]] = {}
    for number, (name, (maps, index)) in enumerate(parts.items(), start=1):
        try:
            values = read_features(maps, preprocess, layout=layout, index=index).values
            matrix = checked_affinity(graph_of(values), values.shape[0])
            found[name] = smallest_eigenvalues(matrix, laplacian, eigenvalues, seed).eigenvalues, values.shape[0]
        except InputError as error:
            raise InputError(f"class {name}: {error}") from error
        step(str(name) if number < len(parts) else "done")
    order = sorted(found, key=lambda name: tuple(found[name][0][1:]))
    return Ranking({name: found[name][0] for name in order}, {name: found[name][1] for name in order})


def _classes(relevance: Any, labels: Any, names: Sequence[str] | None) -> dict[Any, tuple[Any, Array | None]]:
    """Maps of every class and which of them to take."""
    if labels is None:
        if not isinstance(relevance, Mapping) or not relevance:
            raise InputError("rank wants {class: maps}, or maps and the labels=... of all of them")
        return {name: (maps, None) for name, maps in relevance.items()}
    array = np.asarray(labels)
    if array.ndim != 1 or not len(array):
        raise InputError(f"labels are one for every map, [N], not {list(array.shape)}")
    if not hasattr(relevance, "__getitem__") or isinstance(relevance, Mapping):
        raise InputError("with labels, the maps are an array or a list: they are read once for every class")
    count = relevance.shape[0] if hasattr(relevance, "shape") else len(relevance)
    if count != len(array):
        raise InputError(f"{len(array)} labels for {count} maps")
    found: dict[Any, tuple[Any, Array | None]] = {
        label: (relevance, np.flatnonzero(array == label)) for label in np.unique(array).tolist()
    }
    if names is None:
        return found
    wrong = [label for label in found if not isinstance(label, int) or not 0 <= label < len(names)]
    if wrong:
        raise InputError(f"label {wrong[0]!r} has no name: there are {len(names)} names")
    return {names[label]: part for label, part in found.items()}
