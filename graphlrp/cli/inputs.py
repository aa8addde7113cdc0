"""From the INPUT files and their options on the command line to what an explainer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.cli.labels import no_utf8
from graphlrp.cli.options import InputOptions
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.preprocessing import Preprocessing, read_arrays, read_input
from graphlrp.tables import EVERY, Rows, Table, is_table, read_table

Array = npt.NDArray[Any]

ARRAYS = (".npy", ".npz")
TEXTS = (".txt",)
PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files that a folder is searched for."""

FIRST = Rows(((0, 8),), beyond=True)
"""Rows of a table, or lines of a text, that are explained if none are chosen."""


@dataclass(frozen=True)
class Samples:
    """What is explained, and what is said of it.

    Attributes:
        x: array, sparse matrix, list of texts, or arrays by name.
        sources: where every sample comes from; None where their number says it all.
        pictures: uint8 [H, W, 3] of every sample, if they are pictures.
        features: names of the features that the file has and the model has not.
        folders: name of the folder that a picture was found in, below the one that was given; None if none was.
        notes: what the user should know.
    """

    x: Any
    sources: list[str] | None = None
    pictures: list[Array] | None = None
    features: list[str] | None = None
    folders: list[str] | None = None
    notes: tuple[str, ...] = ()


def is_data(path: Path) -> bool:
    """Whether a file holds arrays or a table, by its name; all else is taken for a picture."""
    return path.suffix.lower() in ARRAYS or is_table(path)


def is_text(path: Path) -> bool:
    """Whether a file holds a text, by its name."""
    return path.suffix.lower() in TEXTS


def read_samples(inputs: Sequence[Path], explainer: Explainer, options: InputOptions, *, everything: bool = False) -> Samples:
    """Samples from INPUTS: pictures and folders of them, texts, a table, or arrays.

    Args:
        inputs: the files.
        explainer: what they are for.
        options: how they are read.
        everything: take all rows of a table and all lines of a text if none are chosen.

    Raises:
        InputError: a file is missing, cannot be read or does not fit.
    """
    rows = Rows.parse(options.rows) if options.rows is not None else EVERY if everything else None
    data = next((path for path in inputs if is_text(path) or is_data(path)), None)
    if data is not None and options.given:
        raise InputError(
            f"{', '.join(options.given)}: for pictures only; {data} is taken as it is, so preprocess it before it is saved, and"
            " leave the option out"
        )
    if options.lines and not any(is_text(path) for path in inputs):
        raise InputError("--lines is for texts (.txt)")
    if any(is_text(path) for path in inputs):
        whole = options.rows is None and not options.lines
        return read_texts(inputs, explainer, lines=options.lines, rows=None if whole else rows)
    if not any(is_data(path) for path in inputs):
        return read_pictures(inputs, picture_options(explainer, **options.preprocessing), EVERY if rows is None else rows)
    if len(inputs) > 1:
        raise InputError(f"give one file of arrays or one table, not {len(inputs)} files; its samples are explained together")
    return read_data(inputs[0], explainer, rows)


def read_texts(paths: Sequence[Path], explainer: Explainer, *, lines: bool = False, rows: Rows | None = None) -> Samples:
    """Samples from files of text: every file is a document, or with ``lines`` every line that is not blank.

    Args:
        paths: the files, UTF-8.
        explainer: what they are for.
        lines: one document per line.
        rows: which of those documents, counted from 0 over all files; None for the first 8.

    Raises:
        InputError: the model takes no texts; a file cannot be read; there are no such documents.
    """
    wrong = next((path for path in paths if not is_text(path)), None)
    if wrong is not None:
        raise InputError(f"{wrong} is no text, the other files are: give either only .txt files, or none")
    if explainer.reader is None:
        raise InputError(f"{paths[0]} is a text, and the model takes none: its input has no vectorizer before it")
    if rows is not None and not lines:
        raise InputError("--rows chooses documents among --lines; of files, name those to explain")
    documents = [(path.name, _text(path)) for path in paths]
    if not lines:
        return Samples([text for _, text in documents], [name for name, _ in documents])
    documents = [
        (f"{name}, line {number}", line)
        for name, text in documents
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    if not documents:
        raise InputError(f"{', '.join(map(str, paths))}: all lines are blank")
    chosen = (rows or FIRST).of(len(documents))
    cut = rows is None and len(chosen) < len(documents)
    notes = (f"explaining the first {FIRST.end} of {len(documents)} lines; choose others with --rows",) if cut else ()
    return Samples([documents[k][1] for k in chosen], [documents[k][0] for k in chosen], notes=notes)


def read_data(path: Path, explainer: Explainer, rows: Rows | None) -> Samples:
    """Samples from a file of arrays or a table.

    Args:
        path: the file.
        explainer: what they are for.
        rows: which ones; None for all, but of a table or matrix [N, D] for the first 8.

    Raises:
        InputError: the file cannot be read or does not fit; there are no such rows.
    """
    if is_table(path):
        table = read_table(path, explainer.features, _width(path, explainer), rows or FIRST)
        notes = [_cut(path)] if table.more and rows is None else []
        notes += [_left_out(path, table)] if table.unused else []
        names = table.names if explainer.features is None else None
        return Samples(table.values, [f"row {row}" for row in table.rows], features=names, notes=tuple(notes))
    x = read_arrays(path)
    named = x if isinstance(x, dict) else {"": x}
    counts = {part.shape[0] for part in named.values() if part.ndim}
    matrix = not isinstance(x, dict) and x.ndim == 2
    if len(counts) != 1 or not min(counts) or (rows is None and not matrix):
        # Whatever may be wrong with it, the explainer says it best.
        return Samples(x)
    (count,) = counts
    chosen = (rows or FIRST).of(count)
    named = {name: part[chosen] if part.ndim else part for name, part in named.items()}
    cut = rows is None and len(chosen) < count
    return Samples(
        named if isinstance(x, dict) else named[""], [f"row {row}" for row in chosen], notes=(_cut(path),) if cut else ()
    )


def read_references(path: Path, features: Sequence[str] | None, width: int, *, texts: bool = False) -> Any:
    """Samples [M, D] among which roots are looked for; or, for a model that takes texts, the lines of a text.

    Raises:
        InputError: the file cannot be read or does not fit.
    """
    if is_text(path):
        if not texts:
            raise InputError(f"--references {path} is a text, and the model takes none: give a .csv or .npy file")
        lines = [line for line in _text(path).split("\n") if line.strip()]
        if not lines:
            raise InputError(f"--references {path}: all lines are blank")
        return lines
    if is_table(path):
        return read_table(path, features, width).values
    references = read_arrays(path)
    if isinstance(references, dict):
        raise InputError(f"{path} holds {len(references)} arrays; references are one matrix [M, {width}]: a .npy or .csv file")
    return references


def read_whole(path: Path, explainer: Explainer) -> Any:
    """All samples of a file of arrays or a table, or the one of a text.

    Raises:
        InputError: the file cannot be read or does not fit.
    """
    if is_text(path):
        return read_texts([path], explainer).x
    return read_data(path, explainer, EVERY).x if is_table(path) else read_arrays(path)


def random_samples(explainer: Explainer) -> dict[str, Array] | None:
    """Seeded normal numbers of the declared shapes, None if sizes other than the batch are dynamic."""
    generator = np.random.default_rng(0)
    result = {}
    for name, value in explainer.inputs.items():
        if value.shape is None or any(not isinstance(d, int) for d in list(value.shape)[1:]):
            return None
        batch = value.shape[0] if isinstance(value.shape[0], int) else 2
        shape = [batch, *list(value.shape)[1:]]
        dtype: ir.DataType | None = value.dtype
        if dtype is None or not dtype.is_floating_point():
            return None
        result[name] = generator.normal(size=shape).astype(dtype.numpy())  # type: ignore[arg-type]
    return result


def read_pictures(paths: Sequence[Path], preprocessing: Preprocessing, rows: Rows = EVERY) -> Samples:
    """Samples from pictures and folders of pictures, or ``rows`` of them.

    Raises:
        InputError: a file is missing or no picture, a folder holds none; there are no such rows.
    """
    found = find_pictures(paths)
    found = [found[k] for k in rows.of(len(found))]
    pictures = [preprocessing.picture(path) for path, _, _ in found]
    shown = [np.repeat(p, 3, axis=2) if p.shape[2] == 1 else p for p in pictures]
    x = preprocessing.tensor(pictures, any_size=preprocessing.size is None)
    folders = [folder for _, _, folder in found]
    return Samples(x, [name for _, name, _ in found], shown, folders=folders if any(folders) else None)


def find_pictures(paths: Sequence[Path]) -> list[tuple[Path, str, str]]:
    """Every picture, what it is called, and the folder it was found in, if that is one below a folder that was given.

    Raises:
        InputError: a folder holds no pictures.
    """
    result: list[tuple[Path, str, str]] = []
    for path in paths:
        if not path.is_dir():
            result.append((path, path.name, ""))
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES and file.is_file())
        if not inside:
            raise InputError(f"the folder {path} holds no pictures ({', '.join(PICTURES)})")
        for file in inside:
            below = file.relative_to(path)
            result.append((file, below.as_posix(), below.parts[0] if len(below.parts) > 1 else ""))
    return result


def picture_options(
    explainer: Explainer,
    size: str | None,
    resize: int | None,
    interpolation: str,
    mean: str,
    std: str,
    scale: float,
    layout: str | None,
    channels: str | None,
) -> Preprocessing:
    """Options where they are given, else what the model declares.

    Raises:
        InputError: the model takes no pictures, or an option has no meaning.
    """
    inputs = list(explainer.inputs.values())
    if len(inputs) != 1:
        raise InputError(
            f"the model has {len(inputs)} inputs ({', '.join(explainer.inputs)}); give them as arrays in one .npz file"
        )
    own_layout, own_channels, own_size = read_input(inputs[0])
    return Preprocessing(
        _size(size) if size is not None else own_size,
        resize,
        interpolation,
        _numbers("--mean", mean),
        _numbers("--std", std),
        scale,
        layout or own_layout,
        channels or own_channels,
    )


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read a text from {path}: {no_utf8(error)}") from error
    except OSError as error:
        raise InputError(f"cannot read a text from {path}: {error.strerror or error}") from error


def _size(text: str) -> tuple[int, int]:
    try:
        numbers = [int(part) for part in text.lower().split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise InputError(f"--size {text!r}: give a number, or HEIGHTxWIDTH")
    return numbers[0], numbers[-1]


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} {text!r}: give a number, or one per channel, separated by commas") from None


def _width(path: Path, explainer: Explainer) -> int | None:
    """D of the one input [N, D] that a table can be given to."""
    if len(explainer.inputs) != 1:
        raise InputError(
            f"{path} is a table, and the model has {len(explainer.inputs)} inputs ({', '.join(explainer.inputs)}); give them as"
            " arrays in one .npz file"
        )
    (value,) = explainer.inputs.values()
    if value.shape is not None and len(value.shape) != 2:
        raise InputError(
            f"{path} is a table, and input {value.name!r} of shape {value.shape} takes none; give arrays (.npy, .npz)"
        )
    width = None if value.shape is None else value.shape[1]
    return width if isinstance(width, int) else None


def _cut(path: Path) -> str:
    return f"explaining the first {FIRST.end} rows of {path}; choose others with --rows"


def _left_out(path: Path, table: Table) -> str:
    names = ", ".join(repr(name) for name in table.unused[:10])
    more = f" and {len(table.unused) - 10} more" if len(table.unused) > 10 else ""
    return f"{path}: the model does not take the column(s) {names}{more}"
