"""What the command line writes of explanations: arrays, pages of text, lines of a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.sparse import issparse

from graphlrp.errors import InputError
from graphlrp.explanation import Explanation
from graphlrp.files import cannot_write, replacing

if TYPE_CHECKING:
    from graphlrp.reports.truth import Decision

Array = npt.NDArray[Any]


def output_paths(output: Path) -> tuple[Path, Path]:
    """Where the picture and the arrays go; their folder is there, or can be made when they are written."""
    if output.suffix.lower() == ".png":
        check_folder(output.parent)
        return output, output.with_suffix(".npz")
    check_folder(output)
    return output / "explanation.png", output / "relevance.npz"


def page_path(output: Path) -> Path:
    """Where a page goes; its folder is there, or can be made when it is written.

    Raises:
        InputError: it is called otherwise than a page, or cannot be written there.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"-o {output}: the page is one file, whose name ends in .html")
    if output.is_dir():
        raise InputError(f"cannot write {output}: it is a folder")
    check_folder(output.parent)
    return output


def size_of(path: Path) -> str:
    """Size of a file."""
    return f"{max(path.stat().st_size / 1e6, 0.1):.1f} MB"


def check_folder(folder: Path) -> Path:
    """A folder that is there and can be written to, or can be made.

    Raises:
        InputError: it is neither.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"cannot write to {folder}: {there} is no folder that can be written to")
    return folder


def print_table(table: Table) -> None:
    """Fit the table to the terminal; into files and pipes it goes unabridged."""
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def write_texts(
    path: Path, explained: Sequence[tuple[str, Explanation]], labels: Sequence[str] | None, sources: Sequence[str]
) -> Path:
    """Texts with the relevance of their parts, as a page; on a terminal they are shown, too."""
    from graphlrp.visual.text import save_html, text_relevance

    several = len({name for name, _ in explained}) > 1
    texts = [
        text_relevance(explanation, sample, labels=labels, title=f"{source} \N{EN DASH} {name}" if several else source)
        for sample, source in enumerate(sources)
        for name, explanation in explained
    ]
    console = Console()
    if console.is_terminal:
        for text in texts:
            console.print(text, "")
    return save_html(path, texts, title=path.stem)


def collect(saved: dict[str, Array], key: str, explanation: Explanation) -> None:
    """Arrays of one explanation, by composite and rank."""
    relevance = explanation.relevance
    for name, array in relevance.items() if isinstance(relevance, dict) else [("", relevance)]:
        _keep(saved, f"{key}/relevance{'/' + name if name else ''}", array)
    for name, array in explanation.intermediate.items():
        saved[f"{key}/report/{name}"] = array
    saved[f"{key}/output"], saved[f"{key}/target"] = explanation.output, explanation.target
    if explanation.conservation_error is not None:
        saved[f"{key}/conservation_error"] = explanation.conservation_error


def _keep(saved: dict[str, Array], key: str, array: Any) -> None:
    """An array as it is; samples of different shapes by their numbers; of a sparse matrix the parts that make it again.

    ``scipy.sparse.csr_matrix((data, indices, indptr), shape)`` takes them.
    """
    if isinstance(array, list):
        for number, own in enumerate(array):
            saved[f"{key}/{number}"] = own
    elif issparse(array):
        for part in ("data", "indices", "indptr"):
            saved[f"{key}/{part}"] = getattr(array, part)
        saved[f"{key}/shape"] = np.asarray(array.shape)
    else:
        saved[key] = array


def table_of_samples(*, decided: bool) -> Table:
    """An empty table for :func:`describe`, with columns for decisions or without."""
    columns = ("true class", "decision") if decided else ()
    return Table("input", "composite", "class", *columns, "f(x)", "sum of R", "absorbed", "conservation error", box=None)


def describe(
    table: Table,
    explanation: Explanation,
    composite: str,
    labels: Sequence[str] | None,
    sources: Sequence[str] | None,
    class_axis: int,
    decisions: Sequence[Decision] | None = None,
    order: Sequence[int] | None = None,
) -> None:
    """One line per sample, in their order or another; over axes that count no classes, f(x) is summed, as the explanation is."""
    from graphlrp.reports.summary import summaries

    found = summaries(explanation, labels, class_axis)
    for sample in range(len(found)) if order is None else order:
        summary = found[sample]
        table.add_row(
            sources[sample] if sources else str(sample),
            composite,
            summary.label,
            *(() if decisions is None else (decisions[sample].truth, decisions[sample].verdict)),
            f"{summary.output:.4g}",
            f"{summary.total:.4g}",
            "-" if summary.absorbed is None else f"{summary.absorbed:.4g}",
            "-" if summary.error is None else f"{summary.error:.1e}",
        )


def save_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """Write a compressed .npz, whole or not at all."""
    try:
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(cannot_write(path, error)) from error
