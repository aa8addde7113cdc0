"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cannot_write(path: Path, error: OSError) -> str:
    """Why a file cannot be written, in words that name what the user named and no temporary file."""
    folder = path.parent
    if path.is_dir():
        return f"cannot write {path}: it is a folder"
    if not folder.exists():
        return f"cannot write {path}: there is no folder {folder}"
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return f"cannot write {path}: {folder} is no folder that can be written to"
    return f"cannot write {path}: {error.strerror or error}"


def temporary_of(path: Path) -> Path:
    """Where a file is made before it gets its name; every time another place, for others may make the same file."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place to write a file to, which takes the place of ``path`` when the block ends without an error.

    The folder is made if it is missing.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary_of(path)
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
