"""An analysis as one HDF5 file.

Layout: data sets ``index``, ``features``, ``eigenvalues``; groups ``embeddings`` and ``clusterings`` with one data set for every
name; group ``affinity`` with ``data``, ``indices`` and ``indptr`` of the csr matrix; attributes ``format``, ``shape``,
``components``, and the settings, each as ``settings/<name>``.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.sparse import csr_array

from graphlrp.errors import InputError
from graphlrp.spray.analysis import Analysis

FORMAT = "graphlrp.spray 1"


def write_analysis(path: str | os.PathLike[str], analysis: Analysis) -> None:
    """Write an analysis; an existing file is replaced as a whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with h5py.File(unfinished, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["shape"] = np.asarray(analysis.shape, np.int64)
            file.attrs["components"] = analysis.components
            for name, value in analysis.settings.items():
                file.attrs[f"settings/{name}"] = value
            for name in ("index", "features", "eigenvalues"):
                file[name] = getattr(analysis, name)
            for kind in ("embeddings", "clusterings"):
                group = file.create_group(kind, track_order=True)
                for name, values in getattr(analysis, kind).items():
                    group[name] = values
            for part in ("data", "indices", "indptr"):
                file[f"affinity/{part}"] = getattr(analysis.affinity, part)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_analysis(path: str | os.PathLike[str]) -> Analysis:
    """Read an analysis.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    if not Path(path).is_file():
        raise InputError(f"no such file: {path}")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise InputError(f"{path} is no analysis: it does not say that it is of the format {FORMAT!r}")
            return _read(file)
    except (OSError, KeyError) as error:
        raise InputError(f"{path} is no analysis, or it is damaged: {error}") from error


def _read(file: Any) -> Analysis:
    count = len(file["index"])
    affinity = csr_array(tuple(file["affinity"][part][:] for part in ("data", "indices", "indptr")), shape=(count, count))
    return Analysis(
        index=file["index"][:],
        features=file["features"][:],
        shape=tuple(int(size) for size in file.attrs["shape"]),
        affinity=affinity,
        components=int(file.attrs["components"]),
        eigenvalues=file["eigenvalues"][:],
        embeddings={name: values[:] for name, values in file["embeddings"].items()},
        clusterings={name: values[:] for name, values in file["clusterings"].items()},
        settings={
            name.removeprefix("settings/"): str(value) for name, value in file.attrs.items() if name.startswith("settings/")
        },
    )
