"""A disk that crashes after every single operation: what is there afterwards is what one of the commits left."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from graphlrp.errors import InputError
from graphlrp.stores.journal import PAGE, JournaledFile, journal_of, lock

Operation = tuple[str, Any, Any]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of these tests is one that crashes by design; the real one need not keep up."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


class RecordedFile(JournaledFile):
    """A file that notes what it asks of the operating system."""

    def __init__(self, path: Path) -> None:
        self.operations: list[Operation] = []
        super().__init__(path)

    def _write_at(self, data: memoryview, start: int) -> None:
        self.operations.append(("write", start, bytes(data)))
        super()._write_at(data, start)

    def _resize(self, size: int) -> None:
        self.operations.append(("resize", size, None))
        super()._resize(size)

    def _sync(self) -> None:
        self.operations.append(("sync", None, None))
        super()._sync()

    def _write_journal(self, data: bytes) -> None:
        self.operations.append(("journal", data, None))
        super()._write_journal(data)

    def _remove_journal(self) -> None:
        self.operations.append(("no journal", None, None))
        super()._remove_journal()


class Disk:
    """What a file and its journal hold after some operations, of which those behind the last sync may be lost."""

    def __init__(self, content: bytes) -> None:
        self.safe = bytearray(content)
        self.journal = b""
        self.lagging: list[bytes] = []
        self.waiting: list[Operation] = []

    def do(self, operation: Operation) -> None:
        kind, first, _ = operation
        self.lagging = [self.journal] if kind == "no journal" else []
        if kind == "sync":
            for one in self.waiting:
                self.apply(self.safe, one)
            self.waiting.clear()
        elif kind == "journal":
            # It may be cut off at any byte, of the old one anything may be left behind that.
            cuts = [0, 1, 20, len(first) // 2, len(first) - 1]
            self.lagging = [first[:cut] + rest for cut in cuts for rest in (self.journal[cut:], b"", bytes(99))]
            self.journal = first + self.journal[len(first) :]
        elif kind == "no journal":
            self.journal = b""
        else:
            self.waiting.append(operation)

    @staticmethod
    def apply(content: bytearray, operation: Operation) -> None:
        kind, first, data = operation
        if kind == "resize":
            del content[first:]
            content.extend(bytes(first - len(content)))
            return
        content.extend(bytes(max(0, first - len(content))))
        content[first : first + len(data)] = data

    def crashes(self, generator: np.random.Generator) -> Iterator[tuple[bytes, bytes]]:
        """File and journal as they may be found: with all that waits (the process was killed), with none, or with some of it."""
        for choice in ("all", "none", "some", "some"):
            content = bytearray(self.safe)
            for operation in self.waiting:
                if choice == "none" or (choice == "some" and generator.random() < 0.5):
                    continue
                if choice == "some" and operation[0] == "write" and generator.random() < 0.3:
                    operation = ("write", operation[1], operation[2][: generator.integers(len(operation[2]) + 1)])
                self.apply(content, operation)
            yield bytes(content), self.journal
            for journal in self.lagging:
                yield bytes(content), journal


def found(folder: Path, content: bytes, journal: bytes) -> bytes:
    """The file after it was opened and brought in order."""
    path = folder / "found.h5"
    path.write_bytes(content)
    if journal:
        journal_of(path).write_bytes(journal)
    with contextlib.closing(JournaledFile(path)) as file:
        if file.pending:
            file.commit()
    assert not journal_of(path).exists()
    return path.read_bytes()


def test_bytes_after_any_crash_are_those_of_a_commit(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    path = tmp_path / "file"
    start = generator.bytes(3 * PAGE + 100)
    path.write_bytes(start)
    states, ends = [start], []
    with contextlib.closing(RecordedFile(path)) as file:
        for _ in range(6):
            for _ in range(8):
                size = file.seek(0, io.SEEK_END)
                if generator.random() < 0.15:
                    file.truncate(max(1, size - int(generator.integers(2 * PAGE))))
                    continue
                file.seek(int(generator.integers(size + 50)))
                file.write(generator.bytes(int(generator.integers(1, 2 * PAGE))))
            file.commit()
            states.append(path.read_bytes())
            ends.append(len(file.operations))
    operations = file.operations
    disk = Disk(start)
    seen, crashes = set(), 0
    for number, operation in enumerate(operations):
        disk.do(operation)
        last = sum(end <= number + 1 for end in ends)
        for content, journal in disk.crashes(generator):
            result = found(tmp_path, content, journal)
            # Behind the end of the last commit there may be bytes of the next one.
            state = next(k for k in (last + 1, last) if k < len(states) and result[: len(states[k])] == states[k])
            assert len(result) == len(states[state]) or state == last
            seen.add(state)
            crashes += 1
    assert seen == set(range(7))
    assert crashes >= 4 * ends[-1]


def test_reading_sees_what_was_written(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    path = tmp_path / "file"
    expected = bytearray(generator.bytes(5000))
    path.write_bytes(expected)
    with contextlib.closing(JournaledFile(path)) as file:
        for number in range(200):
            start = int(generator.integers(len(expected) + 1))
            data = generator.bytes(int(generator.integers(3 * PAGE)))
            file.seek(start)
            file.write(data)
            expected[start : start + len(data)] = data
            start = int(generator.integers(len(expected)))
            file.seek(start)
            buffer = bytearray(int(generator.integers(2 * PAGE)))
            count = file.readinto(buffer)
            assert buffer[:count] == expected[start : start + count]
            assert count == min(len(buffer), len(expected) - start)
            if number % 20 == 0:
                file.commit()
                assert path.read_bytes() == expected
        committed = len(path.read_bytes())
    assert len(path.read_bytes()) <= committed


def dataset(path: Path, compression: str | None) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (0, 3, 5), "f4", maxshape=(None, 3, 5), chunks=(4, 3, 5), compression=compression)
        file.create_dataset("t", (0,), h5py.string_dtype(), maxshape=(None,))
        file.attrs["count"] = 0


def extend(file: h5py.File, values: np.ndarray) -> None:
    count = len(file["x"])
    file["x"].resize(count + len(values), axis=0)
    file["x"][count:] = values
    file["t"].resize(count + len(values), axis=0)
    file["t"][count:] = [str(value) for value in values[:, 0, 0]]
    file.attrs["count"] = count + len(values)
    file.flush()


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_hdf5_after_any_crash_holds_whole_batches(tmp_path: Path, compression: str | None) -> None:
    generator = np.random.default_rng(2)
    values = generator.normal(size=(33, 3, 5)).astype(np.float32)
    path = tmp_path / "file.h5"
    dataset(path, compression)
    disk = Disk(path.read_bytes())
    ends, counts = [], [0]
    with contextlib.closing(RecordedFile(path)) as file:
        opened = h5py.File(file, "r+")
        for start, stop in ((0, 7), (7, 8), (8, 20), (20, 33)):
            extend(opened, values[start:stop])
            file.commit()
            ends.append(len(file.operations))
            counts.append(stop)
        opened.close()
    operations = file.operations
    seen = set()
    for number, operation in enumerate(operations):
        disk.do(operation)
        last = sum(end <= number + 1 for end in ends)
        for content, journal in disk.crashes(generator):
            found(tmp_path, content, journal)
            with h5py.File(tmp_path / "found.h5") as result:
                count = int(result.attrs["count"])
                assert count in counts[last : last + 2]
                np.testing.assert_array_equal(result["x"][:], values[:count])
                assert result["t"].asstr()[:].tolist() == [str(value) for value in values[:count, 0, 0]]
            seen.add(count)
    assert seen == {0, 7, 8, 20, 33}


def test_a_full_disk_leaves_the_last_commit_and_lets_hdf5_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.h5"
    values = np.random.default_rng(3).normal(size=(40, 3, 5)).astype(np.float32)
    for failing in ("_write_at", "_resize", "_sync", "_write_journal"):
        dataset(path, "gzip")
        with contextlib.closing(JournaledFile(path)) as file:
            opened = h5py.File(file, "r+")
            extend(opened, values[:15])
            file.commit()
            with monkeypatch.context() as patched:

                def full(*arguments: object) -> None:
                    raise OSError(errno.ENOSPC, "No space left on device")

                patched.setattr(file, failing, full)
                extend(opened, values[15:])
                with pytest.raises(OSError, match="No space left"):
                    file.commit()
                with pytest.raises(OSError, match="No space left"):
                    file.commit()
                opened.close()
        with h5py.File(path) as result:
            np.testing.assert_array_equal(result["x"][:], values[:15])


def test_abandoned_changes_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "file.h5"
    values = np.random.default_rng(4).normal(size=(9000, 3, 5)).astype(np.float32)
    dataset(path, None)
    before = path.read_bytes()
    with contextlib.closing(JournaledFile(path)) as file:
        opened = h5py.File(file, "r+")
        extend(opened, values[:5000])
        file.abandon()
        extend(opened, values[5000:])
        np.testing.assert_array_equal(opened["x"][:], values)
        opened.close()
    assert path.read_bytes() == before


def test_a_locked_file_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with contextlib.closing(JournaledFile(path)):
        with pytest.raises(InputError, match="in use"):
            JournaledFile(path)
        with open(path, "rb", buffering=0) as other, pytest.raises(InputError, match="in use"):
            lock(other, path)
    JournaledFile(path).close()


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 200])
def test_what_is_no_whole_journal_is_ignored(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    journal_of(path).write_bytes(damage)
    with contextlib.closing(JournaledFile(path)) as file:
        assert not file.pending
    assert path.read_bytes() == b"content"
    assert not journal_of(path).exists()
