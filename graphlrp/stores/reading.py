"""Reading the relevance of a data set: what was kept of every sample, sliced from the file as it is asked for."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import h5py
import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.explanation import Explanation
from graphlrp.stores.columns import Column, column
from graphlrp.stores.journal import JournaledFile, journal_of

Array = npt.NDArray[Any]

FORMAT, VERSION = "graphlrp relevance", 1
"""What the root of a file says of it."""

BY = {"label": "labels", "target": "target", "prediction": "prediction"}
"""What samples are selected by, and where that is kept."""


def read(path: str | os.PathLike[str]) -> Store:
    """Open a relevance database.

    One whose writer was killed holds all batches that were complete. If the writer was cut off within a commit, the commit is
    brought to its end first, which needs the right to write.

    Raises:
        InputError: no such file, none of ours, or it is being written.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    if journal_of(path).exists():
        try:
            with contextlib.closing(JournaledFile(path)) as file:
                finish_journal(file)
        except OSError as error:
            raise InputError(
                f"{path} was cut off while a batch was written, and cannot be repaired here: {os.strerror(error.errno or 0)}"
            ) from error
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        if isinstance(error, BlockingIOError):
            raise InputError(f"{path} is in use: another process writes it") from error
        raise InputError(f"{path} is no HDF5 file: {error}") from error
    try:
        check_format(opened, path)
    except InputError:
        opened.close()
        raise
    return Store(opened, path)


def check_format(file: h5py.File, path: Path) -> None:
    """Raise InputError if a file is none of ours, or newer."""
    if file.attrs.get("format") != FORMAT:
        raise InputError(f"{path} holds no relevance that graphlrp.stores has written")
    if file.attrs["version"] != VERSION:
        raise InputError(f"{path} has version {file.attrs['version']} of the format, this is GraphLRP for version {VERSION}")


def finish_journal(file: JournaledFile) -> None:
    """Bring a commit that was cut off to its end.

    Raises:
        InputError: the journal belongs to another file.
    """
    if not file.pending:
        return
    try:
        with h5py.File(file, "r") as repaired:
            own = bytes.fromhex(repaired.attrs["identity"])
    except (OSError, KeyError, ValueError):
        own = b""
    if own != file.identity:
        raise InputError(
            f"{journal_of(file.path)} does not belong to {file.path}, but to a file that was there before: delete it"
        )
    file.commit()


class Store:
    """The relevance of a data set in an open file; use it as a context manager, or close it.

    ``store[rows]`` is an explanation of these samples, with what was kept of them; rows are a slice, numbers, or a mask.

    Attributes:
        path: of the file.
        file: of h5py, open for reading.
        metadata: ``settings`` (what decides the numbers, with the sha256 of the model), ``begun``, ``initial``,
            ``layout``, and the names ``explained`` and ``inputs``.
    """

    def __init__(self, file: h5py.File, path: Path) -> None:
        self.path = path
        self.file = file
        self.metadata: dict[str, Any] = json.loads(file["metadata"].asstr()[()])

    # What there is

    def __len__(self) -> int:
        return int(self.file["index"].shape[0])

    @property
    def finished(self) -> bool:
        """Whether the data set was written to its end."""
        return bool(self.file.attrs["finished"])

    @cached_property
    def relevance(self) -> Any:
        """R of all samples, which is read when it is sliced; {input: R} if several are explained.

        ``[N, ...]`` of samples of one shape; else a sequence of arrays; or rows that are read as csr.
        """
        columns = self._columns("relevance", self.metadata["explained"])
        return columns if len(columns) > 1 else next(iter(columns.values()))

    @cached_property
    def inputs(self) -> dict[str, Column]:
        """What was explained, by name, read when it is sliced; empty if it was not kept."""
        return self._columns("inputs", self.metadata["inputs"])

    @cached_property
    def output(self) -> Column:
        """f(x) of all samples, [N, ...], read when it is sliced."""
        return column(self.file, "output")

    @cached_property
    def target(self) -> Array:
        """What was explained: class indices int64 [N], or class weights."""
        return self._whole("target")

    @cached_property
    def labels(self) -> Array | None:
        """True classes int64 [N] or bool [N, C], None if none were given."""
        return self._whole("label") if "label" in self.file else None

    @cached_property
    def prediction(self) -> Array | None:
        """The class with the highest output, int64 [N]; None if the output does not decide between classes."""
        return self._whole("prediction") if "prediction" in self.file else None

    @cached_property
    def index(self) -> Array:
        """Positions of the samples in their data set, int64 [N]."""
        return self._whole("index")

    @cached_property
    def conservation_error(self) -> Array | None:
        """Of every sample [N], None if there was no ledger."""
        return self._whole("conservation_error") if "conservation_error" in self.file else None

    @cached_property
    def texts(self) -> Column | None:
        """The texts that were explained, None if they were not kept, or there were none."""
        return column(self.file, "texts") if "texts" in self.file else None

    @cached_property
    def sources(self) -> list[str] | None:
        """Where every sample comes from, None if that was not given."""
        return list(column(self.file, "source")[:]) if "source" in self.file else None

    @cached_property
    def features(self) -> list[str] | None:
        """Names of the features of the input, None if the model does not tell."""
        return list(self.file["features"].asstr()[:]) if "features" in self.file else None

    @cached_property
    def classes(self) -> list[str] | None:
        """Names of the classes, None if the model does not tell."""
        return list(self.file["classes"].asstr()[:]) if "classes" in self.file else None

    @property
    def composite(self) -> str:
        """The composite, in words."""
        return str(self.metadata["settings"]["composite"])

    @property
    def plan(self) -> str:
        """The plan of the explainer as a text."""
        return str(self.file["plan"].asstr()[()])

    # Selecting

    def of_class(self, c: int | str, by: str | None = None) -> Array:
        """Rows of the samples of a class, ascending.

        Args:
            c: number of the class, or its name.
            by: ``"label"``, ``"target"`` or ``"prediction"``; by default the labels if there are any, else the targets.

        Raises:
            InputError: no such class, or that was not kept.
        """
        by = by or ("target" if self.labels is None else "label")
        if by not in BY:
            raise InputError(f"samples are selected by {', '.join(BY)}, not by {by!r}")
        values: Array | None = getattr(self, BY[by])
        if values is None:
            raise InputError(f"{self.path} has no {BY[by]}: select by one of the others, {', '.join(BY)}")
        if isinstance(c, str):
            if self.classes is None or c not in self.classes:
                raise InputError(f"there is no class {c!r}; there are {', '.join(self.classes or ['numbers only'])}")
            c = self.classes.index(c)
        if values.ndim == 1:
            return np.flatnonzero(values == c)
        if values.dtype != bool:
            raise InputError("what was explained were class weights: select by label or prediction")
        if not 0 <= c < values.shape[1]:
            raise InputError(f"there is no class {c}: there are {values.shape[1]}")
        return np.flatnonzero(values[:, c])

    def __getitem__(self, rows: Any) -> Explanation:
        rows = [rows] if isinstance(rows, (int, np.integer)) else rows
        relevance = self.relevance
        several = isinstance(relevance, dict)
        return Explanation(
            relevance={name: own[rows] for name, own in relevance.items()} if several else relevance[rows],
            output=self.output[rows],
            target=self.target[rows],
            intermediate={},
            ledger=None,
            conservation_error=None if self.conservation_error is None else self.conservation_error[rows],
            model_outputs={},
            inputs={name: own[rows] for name, own in self.inputs.items()},
            features=self.features,
            classes=self.classes,
            initial=str(self.metadata["initial"]),
            layout=self.metadata["layout"],
            texts=None if self.texts is None else self.texts[rows],
        )

    def batches(self, size: int = 256, rows: Any = None) -> Iterator[tuple[Array, Explanation]]:
        """All samples, some at a time: their rows, and the explanation of these.

        Args:
            size: samples of a batch.
            rows: those that are wanted, in this order; by default all.

        Raises:
            InputError: a size below 1.
        """
        if size < 1:
            raise InputError(f"a batch has at least 1 sample, not {size}")
        chosen = np.arange(len(self)) if rows is None else np.arange(len(self))[rows]
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            yield part, self[part]

    def __iter__(self) -> Iterator[Explanation]:
        """Explanations of one sample each."""
        for _, explanation in self.batches(1):
            yield explanation

    # The file

    def close(self) -> None:
        """Close the file; what has been read stays."""
        self.file.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self.file:
            return f"<Store {self.path}, closed>"
        return f"<Store {self.path}: {len(self)} samples{'' if self.finished else ', unfinished'}, {self.composite}>"

    def _columns(self, kind: str, names: list[str]) -> dict[str, Any]:
        return {name: column(self.file[kind], quote(name, safe="")) for name in names}

    def _whole(self, name: str) -> Array:
        values: Array = column(self.file, name)[:]
        return values
