"""Names of classes from a file, and whether there are as many as the model has classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graphlrp.errors import InputError
from graphlrp.target import is_single


def read_labels(path: Path) -> list[str]:
    """Names of classes, one a line.

    Raises:
        InputError: the file cannot be read or is empty.
    """
    try:
        names = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read labels from {path}: {no_utf8(error)}") from error
    except OSError as error:
        raise InputError(f"cannot read labels from {path}: {error.strerror or error}") from error
    if not names:
        raise InputError(f"--labels {path} is empty: it needs the name of a class in every line")
    return names


def check_labels(labels: Sequence[str] | None, shape: Sequence[int | None], class_axis: int) -> None:
    """Refuse names that are not as many as the classes; where one number decides between classes by its sign, these are 2.

    Args:
        labels: the names; None for none.
        shape: of the explained output, None where a size is not known.
        class_axis: its axis that counts classes.

    Raises:
        InputError: there are more names or fewer.
    """
    if labels is None or not -len(shape) <= class_axis < max(len(shape), 2):
        return
    single = is_single(shape)
    count = 2 if single else shape[class_axis]
    if count is not None and len(labels) != count:
        what = "is one number per sample, which decides between 2 classes at most" if single else f"has {count} classes"
        raise InputError(f"--labels: {len(labels)} name(s), but the explained output {what}")


def no_utf8(error: UnicodeDecodeError) -> str:
    """What is wrong with a text in another encoding."""
    return f"it is no UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
