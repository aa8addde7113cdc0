"""Export of a relevance database to a project that ViRelAy opens: four HDF5, JSON and YAML files in a folder.

What ViRelAy 1.0 reads, and what it takes for granted:

- the smallest of the three axes of a picture or its relevance are its channels, and one channel cannot be shown: it gets three;
- entries of groups are taken in the order of their names, so names are numbers of one length;
- a category whose name is the WordNet ID of a label is shown with the label's name;
- the names of clusterings and embeddings are those of the first category, so categories with other names are another analysis;
- ``-`` in the name of an analysis is read as ``_``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import yaml

from graphlrp.adapters.tensors import to_array
from graphlrp.errors import InputError
from graphlrp.stores.atomic import complete_file
from graphlrp.stores.pictures import write_pictures, write_relevance
from graphlrp.stores.reading import Store

Array = npt.NDArray[Any]

SPECTRAL = "spectral"
"""The embedding whose eigenvalues are shown."""

PROJECT, LABELS, DATASET, ATTRIBUTIONS = "project.yaml", "labels.json", "dataset.h5", "attributions.h5"


class Analysis(Protocol):
    """What is shown of an analysis, such as the result of SpRAy.

    Attributes:
        index: rows of the samples in the store, int [n].
        clusterings: name -> label of the cluster of every sample, int [n].
        embeddings: name -> place of every sample, [n, d].
        eigenvalues: of the spectral embedding, or None.
    """

    @property
    def index(self) -> Array:
        """Rows."""

    @property
    def clusterings(self) -> Mapping[str, Array]:
        """Clusters."""

    @property
    def embeddings(self) -> Mapping[str, Array]:
        """Embeddings."""

    @property
    def eigenvalues(self) -> Array | None:
        """Eigenvalues."""


def export_virelay(
    folder: str | os.PathLike[str],
    store: Store,
    images: Any,
    label_map: Sequence[str] | Sequence[Mapping[str, Any]] | Mapping[int, str] | None = None,
    analyses: Mapping[Any, Analysis] | None = None,
    *,
    labels: Any = None,
    input: str | None = None,
    project_name: str = "GraphLRP",
    model_name: str = "model",
    dataset_name: str = "data set",
    analysis_name: str = "spectral_analysis",
    batch_size: int = 64,
) -> Path:
    """Write a project for ViRelAy: ``virelay FOLDER/project.yaml`` opens it.

    Pictures and relevance go from file to file, ``batch_size`` of them at a time.

    Args:
        folder: is made if it is missing; files of an earlier export are replaced.
        store: relevance of pictures.
        images: the pictures of the data set, uint8: [M, C, H, W], [M, H, W, C] or [M, H, W], anything that is sliced like that,
            or any iterable of pictures, whose sizes may differ then. The store's sample of position k belongs to picture k.
        label_map: names of the classes; {class: name}; or dictionaries with ``index``, ``word_net_id`` and ``name``. By default
            the names that the model tells, or numbers.
        analyses: category -> analysis. A class, as a number, is a category that is shown with its name.
        labels: true classes of all pictures, int [M] or bool [M, C]; by default those of the store, if it has all pictures.
        input: which relevance, if several inputs are explained.
        project_name: what ViRelAy shows.
        model_name: what ViRelAy shows.
        dataset_name: what ViRelAy shows.
        analysis_name: what the analyses are; those whose clusterings or embeddings have other names get a number behind it.
        batch_size: pictures in memory at the same time.

    Returns:
        The path of the project file.

    Raises:
        InputError: relevance that belongs to no pictures, pictures that are not bytes, labels or names that are missing,
            analyses that do not fit together, a folder that cannot be written to.
    """
    folder = Path(folder)
    relevance = _relevance_of(store, input)
    names = _labels(label_map, store)
    categories = {_category(key, names): analysis for key, analysis in (analyses or {}).items()}
    for category, analysis in categories.items():
        _check_analysis(category, analysis, len(store))
    methods = _methods(categories, analysis_name)
    scores = _scores(store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as unfinished:
            place = Path(unfinished)
            with complete_file(place / DATASET) as file:
                count = write_pictures(file, images, batch_size)
                file["label"] = known = _check_labels(labels, store, count, names)
            with complete_file(place / ATTRIBUTIONS) as file:
                file.update({"index": store.index, "label": known[store.index], "prediction": scores})
                write_relevance(file, relevance, batch_size)
            for name, part in methods.items():
                _write_analyses(place / _file_of(name), part, store.index)
            (place / LABELS).write_text(json.dumps(names, indent=1, ensure_ascii=False), encoding="utf-8")
            project = _project(store, known, list(methods), project_name, model_name, dataset_name)
            (place / PROJECT).write_text(yaml.safe_dump(project, sort_keys=False, allow_unicode=True), encoding="utf-8")
            for path in sorted(place.iterdir(), key=lambda path: path.name == PROJECT):
                os.replace(path, folder / path.name)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {os.strerror(error.errno) if error.errno else error}") from error
    return folder / PROJECT


# What is shown


def _relevance_of(store: Store, name: str | None) -> Any:
    relevance = store.relevance
    if not isinstance(relevance, dict):
        return relevance
    if name not in relevance:
        raise InputError(f"several inputs are explained: choose one of {', '.join(map(repr, relevance))} with input=...")
    return relevance[name]


def _labels(label_map: Any, store: Store) -> list[dict[str, Any]]:
    """The label map as ViRelAy wants it."""
    if label_map is None:
        label_map = store.classes
    if label_map is None:
        highest = [int(part.max(initial=0)) for part in (store.labels, store.prediction) if part is not None and part.ndim == 1]
        widths = [part.shape[1] for part in (store.labels, store.target) if part is not None and part.ndim == 2]
        label_map = [f"class {index}" for index in range(max([*(h + 1 for h in highest), *widths, 1]))]
    if isinstance(label_map, Mapping):
        label_map = [{"index": int(index), "name": name} for index, name in sorted(label_map.items())]
    entries: list[dict[str, Any]] = [{"index": k, "name": e} if isinstance(e, str) else dict(e) for k, e in enumerate(label_map)]
    if not entries or any("index" not in entry or "name" not in entry for entry in entries):
        raise InputError("a label map is a list of names, {class: name}, or dictionaries with 'index', 'word_net_id' and 'name'")
    digits = len(str(max(int(entry["index"]) for entry in entries)))
    return [
        {
            "index": int(entry["index"]),
            "word_net_id": str(entry.get("word_net_id", f"{int(entry['index']):0{digits}d}")),
            "name": str(entry["name"]),
        }
        for entry in entries
    ]


def _check_labels(labels: Any, store: Store, count: int, names: list[dict[str, Any]]) -> Array:
    """Labels of all pictures."""
    if len(store) and int(store.index.max()) >= count:
        raise InputError(
            f"the store has relevance of picture {int(store.index.max())}, but there are {count} pictures, from 0 on"
        )
    if labels is None:
        if store.labels is None:
            raise InputError("ViRelAy shows the true class of every picture, which the store does not have: give labels=")
        if len(store) != count:
            raise InputError(f"the store has labels of {len(store)} of {count} pictures: give labels= of all")
        labels = np.empty_like(store.labels)
        labels[store.index] = store.labels
    array = to_array(labels)
    if len(array) != count:
        raise InputError(f"{len(array)} labels for {count} pictures")
    if not ((array.ndim == 1 and array.dtype.kind in "iu") or (array.ndim == 2 and array.dtype == bool)):
        raise InputError(f"labels are class indices int [M] or bool [M, C], not {array.dtype} {list(array.shape)}")
    used = np.unique(array) if array.ndim == 1 else np.flatnonzero(array.any(axis=0))
    unnamed = sorted(set(used.tolist()) - {entry["index"] for entry in names})
    if unnamed:
        raise InputError(f"the label map has no name for class {unnamed[0]}")
    return array if array.ndim == 2 else array.astype(np.int64)


def _scores(store: Store) -> Array:
    """f(x) of every class, [N, C]."""
    output = store.output[:]
    if isinstance(output, list) or output.ndim > 2:
        raise InputError("ViRelAy shows one number per class: explain a model whose output is [N, C]")
    return np.asarray(output.reshape(len(output), -1))


def _project(store: Store, labels: Array, methods: list[str], name: str, model: str, dataset: str) -> dict[str, Any]:
    project: dict[str, Any] = {
        "name": name,
        "model": model,
        "label_map": LABELS,
        "dataset": {"name": dataset, "type": "hdf5", "path": DATASET},
        "attributions": {
            "attribution_method": store.composite.partition(":")[0],
            "attribution_strategy": _strategy(store, labels[store.index]),
            "sources": [ATTRIBUTIONS],
        },
    }
    if methods:
        project["analyses"] = [{"analysis_method": name, "sources": [_file_of(name)]} for name in methods]
    return {"project": project}


def _strategy(store: Store, labels: Array) -> str:
    """Which class was explained, in ViRelAy's words where it has one."""
    if store.prediction is not None and np.array_equal(store.target, store.prediction):
        return "predicted_label"
    return "true_label" if np.array_equal(store.target, labels) else "chosen_label"


# Analyses


def _category(key: Any, names: list[dict[str, Any]]) -> str:
    """The category of a class is named as its label, so that ViRelAy knows what to call it."""
    if isinstance(key, (int, np.integer)):
        found = next((str(entry["word_net_id"]) for entry in names if entry["index"] == int(key)), None)
        if found is None:
            raise InputError(f"the label map has no name for class {key}, of which there is an analysis")
        return found
    return str(key)


def _check_analysis(category: str, analysis: Analysis, count: int) -> None:
    """Raise InputError if an analysis is of something else than the store, or cannot be shown."""
    rows = np.asarray(analysis.index)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows) or rows.min() < 0 or rows.max() >= count:
        raise InputError(f"the analysis of {category!r} has to be of rows of the store, 0 to {count - 1}")
    for what in ("clusterings", "embeddings"):
        if not getattr(analysis, what):
            raise InputError(f"the analysis of {category!r} has no {what}: ViRelAy needs one at least")
    for name in (category, *analysis.clusterings, *analysis.embeddings):
        if not name or "/" in name or name in (".", ".."):
            raise InputError(f"{name!r} is no name for HDF5: it must not be empty, nor hold a slash")
    for name, values in (*analysis.clusterings.items(), *analysis.embeddings.items()):
        if len(values) != len(rows):
            raise InputError(f"{name!r} of {category!r} has {len(values)} entries for {len(rows)} samples")
    for name, values in analysis.embeddings.items():
        if np.ndim(values) != 2 or not np.isfinite(values).all():
            raise InputError(f"the embedding {name!r} of {category!r} has to be [n, d] and finite")
    if analysis.eigenvalues is not None and SPECTRAL not in analysis.embeddings:
        raise InputError(f"the analysis of {category!r} has eigenvalues, but no embedding {SPECTRAL!r} that they belong to")


def _methods(categories: Mapping[str, Analysis], name: str) -> dict[str, dict[str, Analysis]]:
    """Categories whose clusterings and embeddings have the same names, by the name of their analysis."""
    name = name.replace("-", "_")
    if not name or "/" in name:
        raise InputError(f"{name!r} is no name for an analysis: it becomes one of a file")
    groups: dict[Any, dict[str, Analysis]] = {}
    for category, analysis in categories.items():
        key = frozenset(analysis.clusterings), frozenset(analysis.embeddings)
        groups.setdefault(key, {})[category] = analysis
    return {name if number == 1 else f"{name}_{number}": group for number, group in enumerate(groups.values(), 1)}


def _file_of(method: str) -> str:
    return f"analysis.{method}.h5"


def _write_analyses(path: Path, categories: Mapping[str, Analysis], positions: Array) -> None:
    # Attributes of any length are known to HDF5 from 1.8 on.
    with complete_file(path, libver=("v108", "latest")) as file:
        for category, analysis in categories.items():
            group = file.create_group(category)
            group["index"] = positions[np.asarray(analysis.index)]
            for name, labels in analysis.clusterings.items():
                group[f"cluster/{name}"] = np.asarray(labels, np.int64)
            for name, places in analysis.embeddings.items():
                group[f"embedding/{name}"] = np.asarray(places, np.float32)
            if analysis.eigenvalues is not None:
                group[f"embedding/{SPECTRAL}"].attrs["eigenvalue"] = np.asarray(analysis.eigenvalues, np.float32)
