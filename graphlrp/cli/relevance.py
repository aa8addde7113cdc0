"""``graphlrp relevance``, and the store that ``graphlrp spray`` makes in the same way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np
import numpy.typing as npt

from graphlrp.cli.datasets import DataSet, read_data_set, read_truth
from graphlrp.cli.labels import check_labels, read_labels
from graphlrp.cli.loading import load_explainers
from graphlrp.cli.options import (
    PATH,
    InputOptions,
    composite_option,
    input_options,
    inputs_argument,
    model_argument,
    model_options,
)
from graphlrp.cli.results import check_folder, size_of
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.target import is_single, no_class_to_choose

if TYPE_CHECKING:
    from graphlrp.stores import Store

Array = npt.NDArray[Any]
Command = TypeVar("Command", bound=Callable[..., Any])

SUFFIXES = (".h5", ".hdf5")


def store_options(function: Command) -> Command:
    """Which classes are explained, and how relevance is kept."""
    for option in reversed(
        (
            click.option(
                "--target",
                metavar="CLASS",
                help="Class to explain: a number, 'true', or 'best'. [default: the true one if it is known, else the best]",
            ),
            click.option(
                "--truth",
                type=PATH,
                metavar="FILE",
                help="True class numbers (.npy). [default: the folders of pictures, if they are called as classes]",
            ),
            click.option(
                "--precision",
                type=click.Choice(["float16", "float32", "float64"]),
                default="float32",
                show_default=True,
                help="Of the relevances that are kept; float16 with a scale for every map.",
            ),
            click.option("--compression", type=click.Choice(["gzip", "lzf"]), help="Of the relevances that are kept."),
        )
    ):
        function = option(function)
    return function


@click.command(short_help="Keep the relevance of a data set in one file.")
@model_argument
@inputs_argument
@click.option("-o", "--output", required=True, type=PATH, help="The HDF5 file to write, or to go on with.")
@composite_option
@store_options
@click.option("--keep-inputs", is_flag=True, help="Keep what was explained, too.")
@click.option("--overwrite", is_flag=True, help="Start over even if there is a file.")
@input_options
@model_options
def relevance(
    model: Path,
    inputs: tuple[Path, ...],
    output: Path,
    composite: str,
    target: str | None,
    truth: Path | None,
    precision: str,
    compression: str | None,
    keep_inputs: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Explain many INPUTS and keep their relevance in one HDF5 file.

    A folder stands for the pictures in it and below; if it has folders for the classes, their names are the true classes. Inputs
    are read batch by batch. An interrupted run goes on where it stopped when the same command is given again.
    """
    path = store_path(output)
    chosen = InputOptions.taken_from(options)
    names = read_labels(chosen.labels) if chosen.labels is not None else None
    (explainer,) = load_explainers(model, [composite], **options)
    data = read_data_set(inputs, explainer, chosen)
    labels = read_truth(truth, data, names if names is not None else explainer.classes)
    with write_store(
        path,
        explainer,
        data,
        labels,
        target,
        precision=precision,
        compression=compression,
        keep_inputs=keep_inputs,
        overwrite=overwrite,
        batch_size=chosen.batch_size,
    ) as store:
        for line in described(store, names):
            click.echo(line)
    click.echo(f"wrote {path} ({size_of(path)})")


def store_path(path: Path) -> Path:
    """Where a store goes.

    Raises:
        InputError: it is called otherwise than a store, or cannot be written there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"-o {path}: relevances are kept in one file, whose name ends in .h5")
    check_folder(path.parent).mkdir(parents=True, exist_ok=True)
    return path


def write_store(
    path: Path, explainer: Explainer, data: DataSet, labels: Array | None, target: str | None, **options: Any
) -> Store:
    """Explain a data set into a store, with a bar on a terminal; ``options`` are ``precision`` and those of ``stores.write``."""
    from graphlrp import stores

    return stores.write(
        path,
        explainer,
        data.x,
        _target(target, labels, explainer),
        labels=labels,
        sources=data.sources,
        dtype=options.pop("precision"),
        progress=sys.stderr.isatty(),
        **options,
    )


def described(store: Store, names: Sequence[str] | None) -> list[str]:
    """What is in a store, in a few lines.

    Raises:
        InputError: names that are not as many as the classes.
    """
    if store.target.dtype.kind in "iu" and np.ndim(store.output[:1]) in (1, 2):
        check_labels(names, np.shape(store.output[:1]), 1)
    names = names if names is not None else store.classes
    target = np.asarray(store.target)
    relevances = store.relevance if isinstance(store.relevance, dict) else {"": store.relevance}
    shapes = [f"{name + ' ' if name else ''}{_shape(column)}" for name, column in relevances.items()]
    lines = [f"{len(store)} samples, relevance {', '.join(shapes)}, {store.composite.partition(':')[0]}"]
    if target.ndim == 1 and np.ndim(store.output[:1]) > 1:
        classes, counts = np.unique(target, return_counts=True)
        listed = [f"{class_name(c, names)} {n}" for c, n in sorted(zip(classes, counts, strict=True), key=lambda pair: -pair[1])]
        lines.append(f"explained: {', '.join(listed[:10])}{f' and {len(listed) - 10} more' if len(listed) > 10 else ''}")
    if store.labels is not None and store.prediction is not None and store.labels.ndim == 1:
        lines.append(f"predicted as labelled: {np.mean(store.labels == store.prediction):.1%}")
    return lines


def class_name(number: int, names: Sequence[str] | None) -> str:
    """Name of a class, or its number."""
    return names[number] if names is not None and 0 <= number < len(names) else str(number)


def _shape(column: Any) -> str:
    shape = getattr(column, "shape", None)
    return "of several shapes" if shape is None else f"[{', '.join(map(str, shape))}]"


def _target(text: str | None, labels: Array | None, explainer: Explainer) -> Any:
    if text is None:
        # One number that decides between two classes has no class to choose.
        return None if labels is None or is_single(explainer.output_shape) else "labels"
    if text == "best":
        return None
    if text == "true":
        if labels is None:
            raise InputError("--target true: the true classes are not known; give --truth, or folders called as classes are")
        if is_single(explainer.output_shape):
            raise no_class_to_choose(explainer.classes)
        return "labels"
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--target {text!r}: give the number of a class, 'true' or 'best'") from None
