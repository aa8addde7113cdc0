"""An analysis as one HDF5 file.

Layout: data sets ``index``, ``features``, ``eigenvalues``; groups ``embeddings`` and ``clusterings`` with one data set for every
name; group ``affinity`` with ``data``, ``indices`` and ``indptr`` of the csr matrix; attributes ``format``, ``shape``,
``components``, and the settings, each as ``settings/<name>``. Sparse features are a group like ``affinity`` in place of a data
set, and the format is the second.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.sparse import csr_array, issparse

from graphlrp.errors import InputError
from graphlrp.spray.analysis import Analysis
from graphlrp.spray.sparse import Rows
from graphlrp.stores.atomic import complete_file

FORMAT, FORMAT_SPARSE = "graphlrp.spray 1", "graphlrp.spray 2"
PARTS = ("data", "indices", "indptr")
"""Of a csr matrix."""


def write_analysis(path: str | os.PathLike[str], analysis: Analysis) -> None:
    """Write an analysis; an existing file is replaced as a whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(path) as file:
        file.attrs["format"] = FORMAT_SPARSE if issparse(analysis.features) else FORMAT
        file.attrs["shape"] = np.asarray(analysis.shape, np.int64)
        file.attrs["components"] = analysis.components
        for name, value in analysis.settings.items():
            file.attrs[f"settings/{name}"] = value
        for name in ("index", "features", "affinity", "eigenvalues"):
            values = getattr(analysis, name)
            if issparse(values):
                for part in PARTS:
                    file[f"{name}/{part}"] = getattr(values, part)
            else:
                file[name] = values
        for kind in ("embeddings", "clusterings"):
            group = file.create_group(kind, track_order=True)
            for name, values in getattr(analysis, kind).items():
                group[name] = values


def read_analysis(path: str | os.PathLike[str]) -> Analysis:
    """Read an analysis.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    if not Path(path).is_file():
        raise InputError(f"no such file: {path}")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") not in (FORMAT, FORMAT_SPARSE):
                raise InputError(f"{path} is no analysis: it does not say that it is of the format {FORMAT!r}")
            return _read(file)
    except (OSError, KeyError) as error:
        raise InputError(f"{path} is no analysis, or it is damaged: {error}") from error


def _read(file: Any) -> Analysis:
    count = len(file["index"])
    shape = tuple(int(size) for size in file.attrs["shape"])
    return Analysis(
        index=file["index"][:],
        features=_rows(file["features"], (count, math.prod(shape))),
        shape=shape,
        affinity=_rows(file["affinity"], (count, count)),
        components=int(file.attrs["components"]),
        eigenvalues=file["eigenvalues"][:],
        embeddings={name: values[:] for name, values in file["embeddings"].items()},
        clusterings={name: values[:] for name, values in file["clusterings"].items()},
        settings={
            name.removeprefix("settings/"): str(value) for name, value in file.attrs.items() if name.startswith("settings/")
        },
    )


def _rows(place: Any, shape: tuple[int, int]) -> Rows:
    """A data set, or the csr matrix of a group."""
    return csr_array(tuple(place[part][:] for part in PARTS), shape=shape) if isinstance(place, h5py.Group) else place[:]
