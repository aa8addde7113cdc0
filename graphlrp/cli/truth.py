"""``--truth`` of the commands that show single samples: the true classes, and which decisions are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from graphlrp.cli.datasets import DataSet, read_truth
from graphlrp.cli.explaining import Explained
from graphlrp.cli.inputs import FIRST
from graphlrp.cli.options import PATH
from graphlrp.errors import InputError
from graphlrp.preprocessing import read_arrays
from graphlrp.tables import Rows

if TYPE_CHECKING:
    from graphlrp.reports.truth import Decision

Array = npt.NDArray[Any]

truth_option = click.option(
    "--truth",
    type=PATH,
    metavar="FILE",
    help="True class numbers (.npy), of the samples explained or of all that --rows chooses from: wrong decisions are marked."
    " [default: the folders of pictures, if they are called as classes]",
)


def known_truth(path: Path | None, explained: Explained, rows: str | None, class_axis: int) -> Array | None:
    """True classes of the samples that were explained, int64 [N]; None if they are not known.

    Args:
        path: file with one class number for each sample, or for each of those that ``rows`` chooses from.
        explained: the samples and what came of them.
        rows: which samples of the file were chosen.
        class_axis: axis of the output that counts classes.

    Raises:
        InputError: the file cannot be read or does not fit.
    """
    from graphlrp.reports.truth import decisions

    samples = explained.samples
    best = next(iter(explained.by_rank.values()))[0]
    count = len(best.output)
    if path is None:
        truth = read_truth(None, DataSet(None, count, folders=samples.folders), explained.labels)
        try:
            # Folders may be called by numbers that are no classes.
            if truth is not None:
                decisions(best, truth, explained.labels, class_axis)
        except InputError:
            return None
        return truth
    given = read_arrays(path)
    if isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind in "iu":
        if len(given) != count and (rows is not None or (count == FIRST.end and _may_be_cut(samples.x))):
            chosen = (Rows.parse(rows) if rows is not None else FIRST).of(len(given))
            given = given[chosen]
        if len(given) == count:
            return np.asarray(given, np.int64)
    raise InputError(f"--truth {path}: give one class number for each of the {count} samples, whole numbers [N]")


def decided(truth: Array | None, explained: Explained, class_axis: int) -> list[Decision] | None:
    """The decision for every sample; None if the true classes are not known.

    Raises:
        InputError: the output decides between no classes, or there are no such classes.
    """
    from graphlrp.reports.truth import decisions

    if truth is None:
        return None
    return decisions(next(iter(explained.by_rank.values()))[0], truth, explained.labels, class_axis)


def marked(sources: Sequence[str] | None, found: Sequence[Decision] | None) -> Sequence[str] | None:
    """Where samples come from, with the true classes below, and what is wrong."""
    if found is None:
        return sources
    names = sources if sources is not None else [f"sample {number}" for number in range(len(found))]
    return [
        f"{name}\ntrue class {own.truth}{f', wrong: decided for {own.predicted}' if own.wrong else ''}"
        for name, own in zip(names, found, strict=True)
    ]


def counted(found: Sequence[Decision]) -> str:
    """How many are wrong, for the end of a command."""
    return f"wrong decisions: {sum(one.wrong for one in found)} of {len(found)}"


def _may_be_cut(x: Any) -> bool:
    """Whether samples are of a kind of which only the first are explained if none are chosen: rows and lines."""
    return issparse(x) or isinstance(x, list) or (isinstance(x, np.ndarray) and x.ndim == 2)
