"""Which rows a key asks for, the way numpy reads it, and how to read them: run by run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError

Array = npt.NDArray[Any]


class Rows:
    """Something with rows."""

    def __len__(self) -> int:
        raise NotImplementedError

    def chosen(self, key: Any) -> tuple[Array, bool]:
        """Numbers of rows, and whether it was one row.

        Raises:
            InputError: there is no such row.
        """
        count = len(self)
        if isinstance(key, slice):
            return np.arange(count)[key], False
        if key is Ellipsis:
            return np.arange(count), False
        rows = np.asarray(key)
        if rows.dtype == bool:
            if rows.shape != (count,):
                raise InputError(f"a mask of shape {rows.shape} for {count} samples")
            return np.flatnonzero(rows), False
        if rows.size == 0:
            return np.zeros(0, np.int64), False
        if rows.ndim > 1 or rows.dtype.kind not in "iu":
            raise InputError(f"samples are chosen by numbers, a slice or a mask, not by {key!r}")
        numbers = rows.reshape(-1).astype(np.int64)
        wrong = numbers[(numbers < -count) | (numbers >= count)]
        if len(wrong):
            raise InputError(f"there is no sample {wrong[0]}: there are {count}, counted from 0")
        return np.where(numbers < 0, numbers + count, numbers), rows.ndim == 0


def runs(rows: Array) -> list[tuple[int, int]]:
    """Rows in ascending order, each once, as ranges (start, stop)."""
    ends = np.flatnonzero(np.diff(rows) != 1)
    return list(zip(rows[np.r_[0, ends + 1]].tolist(), (rows[np.r_[ends, len(rows) - 1]] + 1).tolist(), strict=True))
