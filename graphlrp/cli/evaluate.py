"""``graphlrp evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy.typing as npt

from graphlrp.cli.inputs import Samples, read_samples
from graphlrp.cli.labels import check_labels, read_labels
from graphlrp.cli.loading import load_explainers, title_of
from graphlrp.cli.options import (
    PATH,
    InputOptions,
    input_options,
    inputs_argument,
    model_argument,
    model_options,
    report_options,
)
from graphlrp.cli.results import check_folder
from graphlrp.errors import InputError, ModelError
from graphlrp.evaluation.filling import FILLINGS
from graphlrp.evaluation.perturber import ORDERS
from graphlrp.evaluation.reading import check_samples
from graphlrp.evaluation.watched import SCORES
from graphlrp.explainer import Explainer
from graphlrp.target import is_single

Array = npt.NDArray[Any]

SHOWN = 4
"""Samples whose relevance the page shows."""

RANDOMISED = 50
"""Samples that are explained anew for every layer that is randomised."""


@click.command(short_help="Compare methods by replacing what they call relevant.")
@model_argument
@inputs_argument
@click.option("-o", "--output", required=True, type=PATH, help="A folder.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("auto",),
    show_default=True,
    metavar="NAME[:PARAMETER=NUMBER,...]",
    help="Preset of rules or baseline to compare. [repeatable]",
)
@click.option(
    "--order",
    "orders",
    multiple=True,
    type=click.Choice(ORDERS),
    default=("morf", "random"),
    show_default=True,
    help="Most or least relevant regions first, or any. [repeatable]",
)
@click.option("--region", metavar="N or HxW", help="Size of the regions. [default: 9 for pictures, else 1; of texts, terms]")
@click.option("--steps", type=click.IntRange(1), help="How many are replaced. [default: 100, or all if there are fewer]")
@click.option(
    "--filling",
    metavar="NAME or NUMBER,...",
    help=f"What they are replaced with: {', '.join(FILLINGS)}, or a number, one or one per channel. [default: uniform; terms of"
    " texts, and features of sparse samples, are deleted]",
)
@click.option("--repeats", default=10, show_default=True, type=click.IntRange(1), help="Of what is random.")
@click.option(
    "--score",
    type=click.Choice(SCORES),
    help="What is watched. [default: the decision where one number decides between two classes, else the output]",
)
@click.option("--seed", default=0, show_default=True, help="Of everything that is random.")
@click.option("--target", type=int, help="Class to explain and to watch. [default: that with the highest f(x)]")
@click.option(
    "--randomise",
    is_flag=True,
    help="Also randomise the layers of MODEL one after another, from the output down, and compare maps, of at most"
    f" {RANDOMISED} samples.",
)
@click.option("--resume", is_flag=True, help="Go on with what an interrupted run has left in the folder.")
@input_options
@report_options
@model_options
def evaluate(
    model: Path,
    inputs: tuple[Path, ...],
    output: Path,
    methods: tuple[str, ...],
    orders: tuple[str, ...],
    region: str | None,
    steps: int | None,
    filling: str | None,
    repeats: int,
    score: str | None,
    seed: int,
    target: int | None,
    randomise: bool,
    resume: bool,
    title: str | None,
    colours: str,
    joint: bool,
    percentile: float | None,
    **options: Any,
) -> None:
    """Replace what methods call relevant in INPUTS, step by step, and watch what MODEL says.

    The sooner f(x) falls, the better the method knows what matters. Inputs are read as by explain; of a table, all rows are
    taken, and of texts with --lines all lines. Of texts, terms are deleted. Pictures may differ in size where the model takes
    any; regions have the same size in all of them.

    Writes the curves (curves.png), the page (report.html), and the scores of every sample (perturbation.h5), which are kept as
    they come: with --resume an interrupted run goes on. With --randomise, also randomisation.png: a map that hardly changes when
    a layer is randomised does not show what the layer has learned.
    """
    from graphlrp.evaluation import perturb, randomise_parameters
    from graphlrp.reports import Report

    folder = check_folder(output)
    scores = folder / "perturbation.h5"
    if scores.exists() and not resume:
        raise InputError(f"{scores} is there: go on with it by --resume, or give another folder")
    chosen = InputOptions.taken_from(options)
    page = Report(title or f"Methods judged on {model.name}", model=model, colours=colours, joint=joint, percentile=percentile)
    replacement, size = _filling(filling), _size(region)
    labels = read_labels(chosen.labels) if chosen.labels is not None else None
    names = tuple(dict.fromkeys(methods))
    loaded = zip(names, load_explainers(model, names, **options), strict=True)
    explainers = {title_of(name, explainer): explainer for name, explainer in loaded}
    first = next(iter(explainers.values()))
    samples = read_samples(inputs, first, chosen, everything=True)
    x = _single(samples.x, first)
    count = check_samples(x)
    # What is wrong with the samples shows before it takes long. One number per sample has no class to choose.
    with _size_hint(x):
        shape = first.predict(x[:1]).shape
        check_labels(labels, shape, options["class_axis"])
        single = is_single(shape)
        result = perturb(
            first,
            x,
            explainers,
            target,
            order=orders,
            region=size,
            steps=steps,
            filling=replacement,
            repeats=repeats,
            score=score,
            seed=seed,
            batch_size=chosen.batch_size,
            progress=sys.stderr.isatty(),
            resume=scores,
        )
        written = [folder / "curves.png", folder / "report.html"]
    result.save_plot(written[0])
    page.add(result)
    randomised = None
    if randomise:
        randomised = randomise_parameters(
            first,
            x[:RANDOMISED],
            {name: explainer.settings.composite for name, explainer in explainers.items()},
            None if single else result.target[:RANDOMISED],
            seed=seed,
            batch_size=chosen.batch_size,
            progress=sys.stderr.isatty(),
        )
        written.insert(1, randomised.save_plot(folder / "randomisation.png"))
        page.add(randomised)
    page.add(
        {name: explainer(x[:SHOWN], None if single else result.target[:SHOWN]) for name, explainer in explainers.items()},
        f"What the methods say of {SHOWN} of {count} samples" if count > SHOWN else "What the methods say",
        **_shown(samples, labels, first, count),
        class_axis=options["class_axis"],
    )
    page.save(written[-1])
    click.echo(str(result))
    if randomised is not None:
        click.echo(f"\n{randomised}")
    click.echo(f"wrote {', '.join(map(str, written))} and {scores}")


@contextmanager
def _size_hint(x: Any) -> Iterator[None]:
    """Say of errors with samples that differ in shape, such as pictures that are too small, how they get one."""
    try:
        yield
    except (InputError, ModelError) as error:
        if not isinstance(x, list):
            raise
        raise type(error)(f"{error}; the pictures differ in size, and --size brings them to one") from error


def _single(x: Any, explainer: Explainer) -> Any:
    """The samples of the one input there is."""
    if not isinstance(x, dict):
        return x
    if len(x) == 1 and list(x) == list(explainer.inputs):
        return next(iter(x.values()))
    raise InputError(
        f"evaluate perturbs a model's only input, and these are several ({', '.join(x)}): in Python, graphlrp.evaluation.perturb"
        " takes a function of the one to perturb as the model, and methods as functions or arrays"
    )


def _shown(samples: Samples, labels: list[str] | None, explainer: Explainer, count: int) -> dict[str, Any]:
    sources = samples.sources if samples.sources is not None else [f"sample {k}" for k in range(count)]
    return {
        "images": None if samples.pictures is None else samples.pictures[:SHOWN],
        "labels": labels if labels is not None else explainer.classes,
        "features": samples.features,
        "sources": sources[:SHOWN],
    }


def _size(text: str | None) -> int | tuple[int, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        raise InputError(f"--region {text!r}: give a number, or HEIGHTxWIDTH") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _filling(text: str | None) -> Any:
    if text is None or text in FILLINGS:
        return text
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--filling {text!r}: choose one of {', '.join(FILLINGS)}, or give a number, one or one per channel"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers
