"""Perturbation results in HDF5 files: written sample by sample while they come, read again as a whole.

The file has room for everything from the beginning, so that writing a sample changes neither its size nor its structure, and
``done`` says which samples are complete. What is killed on the way leaves at worst a sample that counts as not done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.evaluation.result import Curve, PerturbationResult
from graphlrp.files import replacing

Array = npt.NDArray[Any]

FORMAT = "graphlrp perturbation 1"


class Scores:
    """Scores of all samples, in memory or also in a file, of which some may be done.

    Attributes:
        done: bool [N].
        arrays: scores of each curve, [N, repeats, L + 1].
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        curves: Sequence[tuple[str, str, int]],
        steps: int,
        settings: Mapping[str, Any],
        target: Array,
        clean: Array,
    ) -> None:
        """Open what is there, or make it.

        Args:
            path: of the file; None keeps everything in memory.
            curves: (method, order, repeats) of each.
            steps: L.
            settings: that decide the scores; those in the file must be the same.
            target: class of every sample.
            clean: f(x) of every sample, by which the model is recognised.
        """
        self._path = None if path is None else Path(path)
        count = len(target)
        if self._path is not None and self._path.exists():
            self.done, self.arrays = self._continue(self._path, curves, steps, settings, target, clean)
            return
        self.done = np.zeros(count, bool)
        self.arrays = [np.zeros((count, repeats, steps + 1), clean.dtype) for _, _, repeats in curves]
        if self._path is not None:
            names = [(method, order) for method, order, _ in curves]
            _create(self._path, names, self.arrays, settings, target, clean, self.done)

    def write(self, rows: slice, values: Sequence[Array]) -> None:
        """Keep the scores of some samples, [n, repeats, L + 1] for each curve, and note that these are done."""
        for array, part in zip(self.arrays, values, strict=True):
            array[rows] = part
        self.done[rows] = True
        if self._path is None:
            return
        with h5py.File(self._path, "r+") as file:
            for index, part in enumerate(values):
                file[f"scores/{index:04}"][rows] = part
            file.flush()
            file["done"][rows] = True

    @staticmethod
    def _continue(
        path: Path,
        curves: Sequence[tuple[str, str, int]],
        steps: int,
        settings: Mapping[str, Any],
        target: Array,
        clean: Array,
    ) -> tuple[Array, list[Array]]:
        with _open(path) as file:
            old = json.loads(file.attrs["settings"])
            new = json.loads(json.dumps(dict(settings)))
            differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            if differing:
                listed = "; ".join(f"{key} was {_short(old.get(key))}, now {_short(new.get(key))}" for key in differing)
                raise InputError(f"{path} was begun with other settings: {listed}. Give these, or another file")
            if not np.array_equal(file["target"][:], target):
                raise InputError(f"{path} was begun with other targets; give these, or another file")
            if not np.allclose(file["clean"][:], clean, rtol=1e-3, atol=1e-5):
                raise InputError(f"{path} was begun with another model: it gives other f(x) for the same x. Give another file")
            names = [(group.attrs["method"], group.attrs["order"], group.shape) for group in file["scores"].values()]
            wanted = [(method, order, (len(target), repeats, steps + 1)) for method, order, repeats in curves]
            if names != wanted:
                raise InputError(f"{path} was begun for other curves: {names}; give another file")
            return file["done"][:].astype(bool), [group[:] for group in file["scores"].values()]


def write_result(path: str | os.PathLike[str], result: PerturbationResult) -> None:
    """Write a result, whole or not at all."""
    names = [(curve.method, curve.order) for curve in result.curves]
    arrays = [curve.scores for curve in result.curves]
    clean = arrays[0][:, 0, 0]
    _create(Path(path), names, arrays, result.settings, result.target, clean, np.ones(len(result.target), bool))


def read_result(path: str | os.PathLike[str]) -> PerturbationResult:
    """Read what ``PerturbationResult.save`` wrote, or what ``perturb(..., resume=path)`` completed.

    Raises:
        InputError: no such file, another kind of file, or samples that are not done yet.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    with _open(path) as file:
        done = file["done"][:].astype(bool)
        if not done.all():
            raise InputError(
                f"{path} holds {done.sum()} of {len(done)} samples; continue with the same call of perturb, resume={str(path)!r}"
            )
        curves = tuple(Curve(group.attrs["method"], group.attrs["order"], group[:]) for group in file["scores"].values())
        return PerturbationResult(curves, file["target"][:], json.loads(file.attrs["settings"]))


def _create(
    path: Path,
    names: Sequence[tuple[str, str]],
    arrays: Sequence[Array],
    settings: Mapping[str, Any],
    target: Array,
    clean: Array,
    done: Array,
) -> None:
    """Write a file beside its place, then put it there in one step."""
    try:
        with replacing(path) as unfinished, h5py.File(unfinished, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["settings"] = json.dumps(dict(settings))
            file["target"], file["clean"], file["done"] = target, clean, done
            group = file.create_group("scores", track_order=True)
            for index, ((method, order), array) in enumerate(zip(names, arrays, strict=True)):
                scores = group.create_dataset(f"{index:04}", data=array)
                scores.attrs["method"], scores.attrs["order"] = method, order
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error


def _open(path: Path) -> h5py.File:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is no HDF5 file, or a damaged one; give another") from error
    if file.attrs.get("format") != FORMAT:
        file.close()
        raise InputError(f"{path} is no result of a perturbation; give another file")
    return file


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
