"""A relevance database while it is written: begun, continued, checked against what is to be added, and marked as complete."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import h5py
import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.stores.atomic import complete_file
from graphlrp.stores.batches import Piece
from graphlrp.stores.columns import Storage, column, create
from graphlrp.stores.journal import JournaledFile
from graphlrp.stores.reading import FORMAT, VERSION, check_format, finish_journal
from graphlrp.stores.samples import Samples
from graphlrp.stores.settings import differences

Array = npt.NDArray[Any]

START_OVER = "give another path, or overwrite=True to start over"


def begin(
    path: Path, record: dict[str, Any], settings: dict[str, Any], samples: Samples, storage: Storage, *, ragged: bool
) -> None:
    """Make a file with empty columns, whole or not at all.

    Args:
        path: where.
        record: what is to be kept of the first samples, by column.
        settings: what the file is made with.
        samples: the data set.
        storage: how relevance is kept.
        ragged: whether samples may differ in shape.

    Raises:
        InputError: it cannot be written, or another process was first.
    """
    explainer = samples.explainer
    metadata = {
        "settings": settings,
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "initial": explainer.plan.policies["initial"],
        "layout": explainer.plan.layout,
        "explained": [unquote(name.removeprefix("relevance/")) for name in record if name.startswith("relevance/")],
        "inputs": [unquote(name.removeprefix("inputs/")) for name in record if name.startswith("inputs/")],
    }
    with readable_errors(path), complete_file(path, replace=False) as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "finished": False, "identity": secrets.token_hex(16)})
        file["metadata"] = json.dumps(metadata)
        file["plan"] = str(explainer.plan)
        for name, names in (("features", explainer.features), ("classes", explainer.classes)):
            if names is not None:
                file.create_dataset(name, data=np.array(names, dtype=object), dtype=h5py.string_dtype())
        for name, values in record.items():
            large = name.startswith(("relevance/", "inputs/"))
            shapes = ragged and (large or (name == "output" and np.ndim(values[0]) > 1))
            kept = storage if name.startswith("relevance/") else Storage(None, storage.compression if large else None)
            create(file, name, values, kept, ragged=shapes)


class Writer:
    """An unfinished file, locked and open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with readable_errors(path):
            self._journal = JournaledFile(path)
        try:
            with readable_errors(path):
                finish_journal(self._journal)
            try:
                self._file = h5py.File(self._journal, "r+")
            except OSError as error:
                raise InputError(f"{path} is no HDF5 file: {START_OVER}") from error
        except BaseException:
            self._journal.close()
            raise
        try:
            check_format(self._file, path)
            self._journal.identity = bytes.fromhex(self._file.attrs["identity"])
            self._columns = {name: column(self._file, name) for name in self._names()}
        except BaseException:
            self.close()
            raise

    def _names(self) -> list[str]:
        names: list[str] = []
        self._file.visititems(lambda name, item: names.append(name) if "kind" in item.attrs else None)
        return names

    @property
    def done(self) -> int:
        """How many samples there are."""
        return len(self._columns["index"])

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Raise InputError if the file was made with other settings."""
        there = json.loads(self._file["metadata"].asstr()[()])["settings"]
        changed = differences(there, settings)
        if changed:
            raise InputError(f"{self.path} was written with other settings ({changed}): {START_OVER}")

    def check_samples(self, piece: Piece, samples: Samples) -> None:
        """Raise InputError if samples are not those that the file has."""
        there = slice(piece.start, min(piece.stop, self.done))
        length = there.stop - there.start
        if length <= 0:
            return
        for name, values in samples.given(piece).items():
            if values is None or name not in self._columns:
                continue
            kept = self._columns[name][there]
            same = kept.shape[1:] == values.shape[1:] and (kept == values[:length]).reshape(length, -1).all(axis=1)
            if not np.all(same):
                row = piece.start + int(np.argmin(np.broadcast_to(same, (length,))))
                what = "is not the one" if name == "checksum" else f"has another {name} than the one"
                raise InputError(
                    f"sample {row} {what} that {self.path} has there: give the samples in the same order as before, without"
                    f" shuffling; or {START_OVER}"
                )

    def check_unfinished(self) -> None:
        """Raise InputError if the file has been marked as complete."""
        if self._file.attrs["finished"]:
            raise InputError(f"{self.path} is complete with {self.done} samples, but the data set has more: {START_OVER}")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add samples; they count when this returns."""
        if record.keys() != self._columns.keys():
            other = ", ".join(sorted(record.keys() ^ self._columns.keys()))
            raise InputError(f"some batches have what others lack: {other}")
        with (
            readable_errors(self.path, f"; the {self.done} samples before are safe, and the same call goes on behind them"),
            _uninterrupted(),
        ):
            for name, values in record.items():
                self._columns[name].append(values)
            self._file.flush()
            self._journal.commit()

    def finish(self) -> None:
        """Mark the file as complete."""
        with readable_errors(self.path), _uninterrupted():
            if not self._file.attrs["finished"]:
                self._file.attrs["finished"] = True
                self._file.flush()
                self._journal.commit()

    def close(self) -> None:
        """Close the file; what is not committed is forgotten."""
        with _uninterrupted():
            self._journal.abandon()
            self._file.close()
            self._journal.close()


@contextlib.contextmanager
def readable_errors(path: Path, advice: str = "") -> Iterator[None]:
    """What the operating system says as one line that names the file."""
    try:
        yield
    except FileExistsError as error:
        raise InputError(f"{path} is in use: another process has just begun it") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(f"cannot write {path}: {reason}{advice}") from error


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until HDF5 is done: it cannot close a file again in which it was interrupted."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        # Nothing interrupts other threads, and what is no handler of Python cannot be set again.
        yield
        return
    waiting: list[tuple[int, Any]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting and callable(before):
            before(*waiting[0])
