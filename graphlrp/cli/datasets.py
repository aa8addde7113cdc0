"""From INPUT files to a data set that is explained batch by batch, and need not fit into memory if it is made of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from graphlrp.cli.inputs import find_pictures, is_data, is_text, picture_options, read_samples
from graphlrp.cli.labels import check_labels, read_labels
from graphlrp.cli.options import InputOptions
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.preprocessing import Preprocessing, read_arrays
from graphlrp.tables import EVERY, Rows

Array = npt.NDArray[Any]


class Pictures(Sequence[Array]):
    """Pictures in files, each read when it is asked for: uint8 [H, W, 3]."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing) -> None:
        self._paths, self._preprocessing = paths, preprocessing

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, position: int) -> Array: ...

    @overload
    def __getitem__(self, position: slice) -> list[Array]: ...

    def __getitem__(self, position: int | slice) -> Array | list[Array]:
        if isinstance(position, slice):
            return [self[k] for k in range(len(self))[position]]
        picture = self._preprocessing.picture(self._paths[position])
        return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


class Batches:
    """The same as inputs of a model, batch by batch, as often as is asked for; a list where pictures may differ in size."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing, size: int) -> None:
        self._paths, self._preprocessing, self._size = paths, preprocessing, size

    def __iter__(self) -> Iterator[Any]:
        any_size = self._preprocessing.size is None
        for start in range(0, len(self._paths), self._size):
            pictures = [self._preprocessing.picture(path) for path in self._paths[start : start + self._size]]
            x = self._preprocessing.tensor(pictures, any_size=any_size)
            yield list(x) if any_size else x


@dataclass(frozen=True)
class DataSet:
    """Many samples and what is known of them.

    Attributes:
        x: what ``graphlrp.stores.write`` takes.
        count: N.
        sources: where every sample comes from; None where its number says it all.
        images: pictures by position, if they are pictures.
        folders: names of the folders that pictures were found in, one for each; None if there are none.
        layout: axes of pictures.
    """

    x: Any
    count: int
    sources: list[str] | None = None
    images: Sequence[Array] | None = None
    folders: list[str] | None = None
    layout: str | None = None


def read_data_set(inputs: Sequence[Path], explainer: Explainer, options: InputOptions) -> DataSet:
    """All samples of INPUTS.

    Raises:
        InputError: a file is missing, cannot be read or does not fit.
    """
    if options.labels is not None:
        check_labels(read_labels(options.labels), explainer.output_shape, explainer.settings.class_axis)
    if any(is_text(path) or is_data(path) for path in inputs) or options.lines:
        samples = read_samples(inputs, explainer, options, everything=True)
        x = samples.x
        return DataSet(x, _count(x), samples.sources)
    found = find_pictures(inputs)
    missing = next((path for path, _, _ in found if not path.is_file()), None)
    if missing is not None:
        raise InputError(f"no such file or folder: {missing}")
    rows = EVERY if options.rows is None else Rows.parse(options.rows)
    found = [found[k] for k in rows.of(len(found))]
    paths = [path for path, _, _ in found]
    preprocessing = picture_options(explainer, **options.preprocessing)
    folders = [folder for _, _, folder in found]
    if any(folders) and not all(folders):
        raise InputError(
            f"{found[folders.index('')][1]} lies in no folder of a class, other pictures do: sort all of them, or none"
        )
    return DataSet(
        Batches(paths, preprocessing, options.batch_size),
        len(paths),
        [name for _, name, _ in found],
        Pictures(paths, preprocessing),
        folders if any(folders) else None,
        preprocessing.layout,
    )


def _count(x: Any) -> int:
    if isinstance(x, dict):
        return len(next(iter(x.values())))
    return int(x.shape[0]) if issparse(x) else len(x)


def read_truth(path: Path | None, data: DataSet, classes: Sequence[str] | None) -> Array | None:
    """True classes int64 [N]: of a file, or of the folders where these are called as classes or their numbers are.

    Raises:
        InputError: the file cannot be read or does not fit.
    """
    if path is not None:
        truth = read_arrays(path)
        if not isinstance(truth, np.ndarray) or truth.shape != (data.count,) or truth.dtype.kind not in "iu":
            raise InputError(f"--truth {path}: give one class number for each of the {data.count} samples, whole numbers [N]")
        return truth.astype(np.int64)
    if data.folders is None:
        return None
    if classes is not None and set(data.folders) <= set(classes):
        return np.array([list(classes).index(name) for name in data.folders], np.int64)
    if all(name.isdecimal() for name in data.folders):
        return np.array([int(name) for name in data.folders], np.int64)
    return None
