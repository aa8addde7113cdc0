"""A file that changes as a whole or not at all, from one commit to the next: what HDF5 is written through.

HDF5 changes its metadata in place, so a process that is killed while it writes leaves a file that nothing can read. Here the
bytes of the last commit stay as they are. What is appended goes to the file at once; pages that change are kept in memory. A
commit

1. syncs the file: what was appended, and the pages of the commit before;
2. writes the changed pages to a journal beside the file, over those of the commit before, and syncs it;
3. writes the pages into the file.

Cut off before the journal is complete, the file is what it was, but for bytes behind its end, which HDF5 does not look at. Cut
off after that, whoever opens the file next does step 3 again, which changes nothing if it had been done. When the file is closed,
it is synced and the journal removed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphlrp.errors import InputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PAGE = 4096
"""Bytes that are kept together when some of them change."""

_HEADER = struct.Struct("<8s16sQQQ")
_PLACE = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MAGIC = b"GLRPjrnl"

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What file systems say that have no locks, as some network file systems do."""


def journal_of(path: Path) -> Path:
    """Where the journal of a file lies."""
    return path.with_name(path.name + ".journal")


class JournaledFile(io.RawIOBase):
    """An existing file, opened for h5py (``h5py.File(file, "r+")``) and locked.

    Attributes:
        path: of the file.
        identity: 16 bytes that tell this file from others, for its journal.
        pending: whether there was a journal; what it holds is seen, but not yet in the file: if ``identity``, now that of the
            journal, says that it belongs to this file, commit.
    """

    def __init__(self, path: Path) -> None:
        """Open, lock, and look for a journal.

        Raises:
            InputError: another process has it open.
            OSError: it cannot be opened for writing.
        """
        self.path = path
        self.identity = bytes(16)
        self.pending = False
        self._pages: dict[int, bytearray] = {}
        self._position = 0
        self._applying = False
        self._journal_file: io.FileIO | None = None
        self._error: OSError | None = None
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115  (closed by close)
        try:
            lock(self._file, path)
            self._committed = self._size = os.fstat(self._file.fileno()).st_size
            self._limit = self._committed
            self._read_journal()
        except BaseException:
            self._file.close()
            raise

    # What h5py asks for

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read what the file will hold after the commit."""
        view = memoryview(buffer).cast("B")
        start = self._position
        count = max(0, min(len(view), self._size - start))
        got = self._read_at(view[:count], start)
        view[got:count] = bytes(count - got)
        for page, first, last in _pages_of(start, start + count):
            content = self._pages.get(page)
            if content is not None and first < len(content):
                last = min(last, len(content))
                view[page + first - start : page + last - start] = content[first:last]
        self._position += count
        return count

    def write(self, data: Any) -> int:
        """Write at the position: into pages where that would change what is committed, else into the file."""
        view = memoryview(data).cast("B")
        start, end = self._position, self._position + len(view)
        if end > self._limit:
            new = max(start, self._limit)
            with self._noting_errors():
                self._write_at(view[new - start :], new)
        # Behind the limit, too, if writing has just failed.
        for page, first, last in _pages_of(start, min(end, self._limit)):
            self._page(page)[first:last] = view[page + first - start : page + last - start]
        self._size = max(self._size, end)
        self._position = end
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size; what is committed is cut off by the commit only."""
        self._size = self._position if size is None else size
        if self._size >= self._limit:
            with self._noting_errors():
                self._resize(self._size)
        return self._size

    # What makes it safe

    def commit(self) -> None:
        """Make all that was written last: before this returns a crash undoes it, afterwards it does not.

        Raises:
            OSError: it could not be written; whoever opens the file next has it as a whole or not at all. This file is of no
                more use: close what h5py made of it, and it.
        """
        if self._error is not None:
            raise self._error
        try:
            self._commit()
        except OSError as error:
            self._error = error
            self.abandon()
            raise

    def _commit(self) -> None:
        self._sync()
        if self._pages or self._size < self._committed:
            self._applying = True
            self._write_journal(self._record())
            for page, content in self._pages.items():
                self._write_at(memoryview(content), page)
            self._resize(self._size)
            self._applying = False
        self._pages.clear()
        self._committed = self._limit = self._size
        self.pending = False

    def abandon(self) -> None:
        """Keep all that is written from now on in memory, for h5py to close in peace, and then forget it."""
        self._limit = 2**63
        for page, content in self._pages.items():
            rest = bytearray(PAGE - len(content))
            self._read_at(memoryview(rest), page + len(content))
            content += rest

    def close(self) -> None:
        """Let go of the file; what is not committed is lost."""
        if not self._file.closed:
            # A commit that failed half-way, or a journal of another file, is left to who opens the file next.
            if not self._applying and not self.pending:
                with contextlib.suppress(OSError):
                    self._resize(self._committed)
                    self._sync()
                    self._remove_journal()
            if self._journal_file is not None:
                self._journal_file.close()
            self._file.close()
        super().close()

    @contextlib.contextmanager
    def _noting_errors(self) -> Iterator[None]:
        """HDF5 cannot close a file that did not take what it wrote, so memory takes it, and the commit raises."""
        try:
            yield
        except OSError as error:
            self._error = error
            self.abandon()

    def _page(self, page: int) -> bytearray:
        if page not in self._pages:
            content = bytearray(min(PAGE, self._limit - page))
            self._read_at(memoryview(content), page)
            self._pages[page] = content
        return self._pages[page]

    # The journal

    def _record(self) -> bytes:
        body = b"".join(
            part for page, content in sorted(self._pages.items()) for part in (_PLACE.pack(page, len(content)), content)
        )
        data = _HEADER.pack(_MAGIC, self.identity, self._size, len(self._pages), len(body)) + body
        return data + _CHECKSUM.pack(zlib.crc32(data))

    def _read_journal(self) -> None:
        """Take the pages of a commit that may have been cut off as changed, so that the next commit brings it to its end."""
        place = journal_of(self.path)
        data = place.read_bytes() if place.exists() else b""
        if len(data) < _HEADER.size:
            return
        magic, identity, size, count, length = _HEADER.unpack_from(data)
        end = _HEADER.size + length
        if magic != _MAGIC or len(data) < end + _CHECKSUM.size:
            return
        if zlib.crc32(data[:end]) != _CHECKSUM.unpack_from(data, end)[0]:
            # It was cut off itself, so no page of it is in the file.
            return
        self.pending, self.identity, self._size = True, identity, size
        start = _HEADER.size
        for _ in range(count):
            page, length = _PLACE.unpack_from(data, start)
            start += _PLACE.size
            self._pages[page] = bytearray(data[start : start + length])
            start += length

    # The operating system, in as few words as possible, so that a test can put a disk that crashes in its place

    def _read_at(self, buffer: memoryview, start: int) -> int:
        self._file.seek(start)
        got = 0
        while got < len(buffer):
            count = self._file.readinto(buffer[got:])
            if not count:
                break
            got += count
        return got

    def _write_at(self, data: memoryview, start: int) -> None:
        self._file.seek(start)
        while len(data):
            data = data[self._file.write(data) :]

    def _resize(self, size: int) -> None:
        self._file.truncate(size)

    def _sync(self) -> None:
        os.fsync(self._file.fileno())

    def _write_journal(self, data: bytes) -> None:
        if self._journal_file is None:
            place = journal_of(self.path)
            is_new = not place.exists()
            self._journal_file = open(place, "wb" if is_new else "r+b", buffering=0)  # noqa: SIM115  (closed by close)
            if is_new:
                sync_folder(place.parent)
        self._journal_file.seek(0)
        rest = memoryview(data)
        while len(rest):
            rest = rest[self._journal_file.write(rest) :]
        os.fsync(self._journal_file.fileno())

    def _remove_journal(self) -> None:
        if self._journal_file is not None:
            self._journal_file.close()
        journal_of(self.path).unlink(missing_ok=True)


def lock(file: io.FileIO, path: Path) -> None:
    """Keep other processes from writing an open file, until it is closed.

    Raises:
        InputError: another process has it open.
    """
    try:
        if sys.platform == "win32":
            # Windows locks bytes against reading; these are behind all that a file holds.
            file.seek(2**62)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return
        raise InputError(f"{path} is in use: another process writes or reads it") from error


def _pages_of(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(page, first, last) of the bytes start ... end, first and last within the page."""
    for page in range(start - start % PAGE, end if end > start else 0, PAGE):
        yield page, max(start - page, 0), min(end - page, PAGE)


def sync_folder(folder: Path) -> None:
    """Make renamed files in a folder last."""
    if sys.platform != "win32":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
