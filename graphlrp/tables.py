"""Samples from tables in files of values separated by commas, semicolons or tabs: columns by name, rows by number."""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Which samples of a file, counted from 0.

    Attributes:
        ranges: (start, stop) of each range, in the order wanted; stop None takes all that follow.
        beyond: whether a range may reach beyond the last row.
    """

    ranges: tuple[tuple[int, int | None], ...] = ((0, None),)
    beyond: bool = False

    @classmethod
    def parse(cls, text: str) -> Rows:
        """``0:5`` (five rows), ``3,7`` (two), ``:3,10,20:`` ...

        Raises:
            InputError: it is neither.
        """
        try:
            ranges = []
            for part in text.split(","):
                start, colon, stop = (piece.strip() for piece in part.partition(":"))
                first = int(start) if start or not colon else 0
                last = (int(stop) if stop else None) if colon else first + 1
                if first < 0 or (last is not None and last <= first):
                    raise ValueError
                ranges.append((first, last))
        except ValueError:
            raise InputError(f"rows {text!r}: give numbers and ranges such as 0:5 or 3,7, counted from 0") from None
        return cls(tuple(ranges))

    @property
    def end(self) -> int | None:
        """The row before which all of them lie, None if there is none."""
        stops = [stop for _, stop in self.ranges if stop is not None]
        return max(stops) if len(stops) == len(self.ranges) else None

    def __contains__(self, row: int) -> bool:
        return any(start <= row and (stop is None or row < stop) for start, stop in self.ranges)

    def of(self, count: int) -> list[int]:
        """The rows chosen of ``count``.

        Raises:
            InputError: one of them is not there.
        """
        for start, stop in self.ranges:
            missing = start if start >= count else None if stop is None or stop <= count or self.beyond else count
            if missing is not None:
                raise InputError(f"there is no row {missing}: there are {count} row(s), counted from 0")
        return [row for start, stop in self.ranges for row in range(start, count if stop is None else min(stop, count))]


EVERY = Rows()

TABLES = (".csv", ".tsv")
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""What stands, in any case of letters, in cells that have no value."""
TRUTH = {"true": 1.0, "false": 0.0}
_MEND = "fill in a number, or leave the row out"


@dataclass(frozen=True)
class Table:
    """Samples read from a table.

    Attributes:
        values: float64 [N, D].
        names: of the D columns, None without a header.
        rows: where each of the N samples stands in the table, counted from 0 and without the header.
        unused: names of columns that the model does not take.
        more: whether the table goes on below the rows that were asked for.
    """

    values: Array
    names: list[str] | None
    rows: list[int]
    unused: list[str]
    more: bool


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its name: ``.csv``, ``.tsv``, either with ``.gz``."""
    return Path(path.name.removesuffix(".gz")).suffix.lower() in TABLES


def read_table(path: Path, features: Sequence[str] | None = None, width: int | None = None, rows: Rows = EVERY) -> Table:
    """Numbers from a file of values separated by commas, semicolons or tabs, the columns in the order of the model.

    The first row is a header if any cell of it is no number, or if it counts its columns as tables without names do. Where both
    sides have names, columns are found by name and others are left out; else their number has to fit. Truth values are 1 and 0;
    beside semicolons, numbers may have decimal commas.

    Args:
        path: the file, which may be compressed (``.gz``).
        features: names of the D features.
        width: D, where it is known and the names are not.
        rows: which ones to keep; nothing is read beyond the last of them.

    Raises:
        InputError: the file is missing, empty or no table, lacks columns or has too many; a cell is empty, NaN, infinite or no
            number (with its row and column); a row is not there.
    """
    try:
        delimiter = _delimiter(path)
        with _open_text(path) as file:
            return _read_rows(path, csv.reader(file, delimiter=delimiter), delimiter, features, width, rows)
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} cannot be read as a table: it is no UTF-8 text ({error.reason} at byte {error.start})"
        ) from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error


def _read_rows(path: Path, reader: Any, delimiter: str, features: Sequence[str] | None, width: int | None, rows: Rows) -> Table:
    lines: Iterator[list[str]] = (row for row in reader if row)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{path} is empty")
    cells = [cell.strip() for cell in first]
    names = cells if _names_columns(cells, delimiter, features) else None
    columns = _columns(path, names, len(cells), features, width)
    titles = [str(column) if names is None else repr(names[column]) for column in columns]
    if names is None and not _counts_columns(cells):
        lines = itertools.chain([first], lines)
    values, places, seen, more = array("d"), dict[int, str](), 0, False
    for row, line in enumerate(lines):
        if rows.end is not None and row >= rows.end:
            more = True
            break
        seen += 1
        if row not in rows:
            continue
        places[row] = f"{path}, row {row} (line {reader.line_num})"
        if len(line) != len(cells):
            raise InputError(f"{places[row]} has {len(line)} cells, the first line has {len(cells)}")
        try:
            values.extend([float(line[column]) for column in columns])
        except ValueError:
            pairs = zip(columns, titles, strict=True)
            values.extend([_cell(line[column], delimiter, f"{places[row]}, column {title}") for column, title in pairs])
    if not seen:
        raise InputError(f"{path} holds no samples, only a header")
    wanted = rows.of(seen)
    matrix = np.frombuffer(values, dtype=np.float64).reshape(-1, len(columns))
    wrong = np.argwhere(~np.isfinite(matrix))
    if len(wrong):
        sample, column = wrong[0]
        place = f"{list(places.values())[sample]}, column {titles[column]}"
        raise InputError(f"{place} holds {matrix[sample, column]}: {_MEND}")
    position = {row: index for index, row in enumerate(places)}
    used = set(columns)
    return Table(
        matrix[[position[row] for row in wanted]],
        None if names is None else [names[column] for column in columns],
        wanted,
        [] if names is None else [name for column, name in enumerate(names) if column not in used],
        more,
    )


def _names_columns(cells: Sequence[str], delimiter: str, features: Sequence[str] | None) -> bool:
    """Whether a row is a header: one of its cells holds something that is neither a number nor a missing one."""
    if features is not None and set(features) <= set(cells):
        return True
    return any(cell.lower() not in MISSING and _number(cell, delimiter) is None for cell in cells)


def _counts_columns(cells: Sequence[str]) -> bool:
    """Whether a row is 0, 1, 2 ..., what programs write above columns that have no names."""
    return len(cells) > 2 and list(cells) == [str(column) for column in range(len(cells))]


def _columns(path: Path, names: Sequence[str] | None, count: int, features: Sequence[str] | None, width: int | None) -> list[int]:
    """Where the features stand among the columns of a table."""
    if names is not None and features is not None:
        counts = Counter(names)
        missing = [feature for feature in features if not counts[feature]]
        if missing:
            raise InputError(f"{path} lacks the column(s) {_listed(missing)}; it has {_listed(names)}")
        twice = [feature for feature in features if counts[feature] > 1]
        if twice:
            raise InputError(f"{path} has more than one column {_listed(twice)}")
        place = {name: column for column, name in enumerate(names)}
        return [place[feature] for feature in features]
    expected = len(features) if features is not None else width
    if expected is not None and count != expected:
        hint = (
            "name the columns in a first row, so that they can be chosen by name"
            if features is not None
            else "the model does not know the names of its features: leave out columns that are none (numbers of rows, targets),"
            " or fit the estimator on a table whose columns have names"
        )
        raise InputError(f"{path} has {count} column(s), the model takes {expected} features; {hint}")
    return list(range(count))


def _cell(text: str, delimiter: str, place: str) -> float:
    shown = text.strip()
    if shown.lower() in MISSING:
        raise InputError(f"{place} {f'holds {shown!r}' if shown else 'is empty'}: {_MEND}")
    value = _number(shown, delimiter)
    if value is None:
        raise InputError(f"{place} holds {shown[:40]!r}, which is no number: give the numbers that the model was fitted on")
    return value


def _number(text: str, delimiter: str) -> float | None:
    text = text.strip().lower()
    if text in TRUTH:
        return TRUTH[text]
    if delimiter == ";":
        # Where numbers have decimal commas, values are separated by semicolons.
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def _delimiter(path: Path) -> str:
    """The one that cuts the first two rows into the same number of cells; semicolons first, for the sake of decimal commas."""
    for delimiter in (";", "\t"):
        with _open_text(path) as file:
            rows = (row for row in csv.reader(file, delimiter=delimiter) if row)
            # A row of many cells taken for one cell may be too long for one.
            with contextlib.suppress(csv.Error):
                first = len(next(rows, []))
                if first > 1 and len(next(rows, [""] * first)) == first:
                    return delimiter
    return ","


def _open_text(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
