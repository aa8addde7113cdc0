"""HDF5 files that get their name when they are complete.

HDF5 itself does not get over a full disk: it can neither write nor close the file, and may crash later on. So it writes through a
``JournaledFile``, which takes what the disk does not, and says so in the end.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from graphlrp.files import temporary_of
from graphlrp.stores.journal import JournaledFile, sync_folder

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What file systems say that have no hard links."""


@contextlib.contextmanager
def complete_file(path: Path, *, replace: bool = True, **options: Any) -> Iterator[h5py.File]:
    """A new HDF5 file to be filled.

    Args:
        path: its name, which it gets when the block ends without an error.
        replace: whether it may take the place of another file.
        **options: those of ``h5py.File``.

    Raises:
        FileExistsError: there is a file, and it is not to be replaced.
        OSError: it cannot be written.
    """
    temporary = temporary_of(path)
    empty = io.BytesIO()
    h5py.File(empty, "w", **options).close()
    try:
        temporary.write_bytes(empty.getvalue())
        with contextlib.closing(JournaledFile(temporary)) as journal:
            file = h5py.File(journal, "r+", **options)
            try:
                yield file
                file.flush()
                journal.commit()
            finally:
                journal.abandon()
                file.close()
        if replace:
            os.replace(temporary, path)
        else:
            _name(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _name(temporary: Path, path: Path) -> None:
    """Rename a file to a name that nobody has; FileExistsError if somebody has it."""
    if sys.platform == "win32":
        os.rename(temporary, path)
        return
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.replace(temporary, path)
    else:
        temporary.unlink()
