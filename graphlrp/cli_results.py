"""What the command line writes of explanations: arrays, pages of text, lines of a table."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.sparse import issparse

from graphlrp.errors import InputError
from graphlrp.explanation import Explanation

Array = npt.NDArray[Any]


def output_paths(output: Path) -> tuple[Path, Path]:
    """Where the picture and the arrays go; their folder is there, or can be made when they are written."""
    if output.suffix.lower() == ".png":
        folder, paths = output.parent, (output, output.with_suffix(".npz"))
    else:
        folder, paths = output, (output / "explanation.png", output / "relevance.npz")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"cannot write to {folder}: {there} is no folder that can be written to")
    return paths


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


def describe(
    table: Table,
    explanation: Explanation,
    composite: str,
    labels: Sequence[str] | None,
    sources: Sequence[str] | None,
    class_axis: int,
) -> None:
    """One line per sample; over axes that count no classes, f(x) is summed, as the explanation is."""
    assert explanation.ledger is not None and explanation.conservation_error is not None
    relevance = explanation.relevance
    arrays = list(relevance.values()) if isinstance(relevance, dict) else [relevance]
    output = explanation.output[:, np.newaxis] if explanation.output.ndim == 1 else np.moveaxis(explanation.output, class_axis, 1)
    for sample in range(len(output)):
        index = int(explanation.target[sample])
        value = output[sample, index].sum()
        if explanation.output.ndim == 1:
            # One output decides between two classes by its sign, or is no class at all.
            label = labels[int(value > 0)] if labels is not None and len(labels) == 2 else "output"
        else:
            label = labels[index] if labels and index < len(labels) else str(index)
        table.add_row(
            sources[sample] if sources else str(sample),
            composite,
            label,
            f"{value:.4g}",
            f"{sum(float(a[sample].sum()) for a in arrays):.4g}",
            f"{float(explanation.ledger.absorbed[sample]):.4g}",
            f"{float(explanation.conservation_error[sample]):.1e}",
        )


def save_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """Write a compressed .npz, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    os.close(handle)
    try:
        np.savez_compressed(name, **arrays)  # type: ignore[arg-type]
        os.replace(name, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)
