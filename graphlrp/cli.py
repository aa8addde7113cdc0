"""The command line. Exit status 0: done; 1: relevance is not conserved (``check``); 2: bad input, and one line that says what."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import graphlrp
from graphlrp.cli_inputs import (
    is_data,
    is_text,
    picture_options,
    random_samples,
    read_data,
    read_pictures,
    read_references,
    read_texts,
    read_whole,
)
from graphlrp.cli_results import collect, describe, output_paths, save_arrays, write_texts
from graphlrp.cli_rules import read_composite, read_pair, read_restriction
from graphlrp.errors import ConservationError, GraphLRPError, InputError, PluginWarning
from graphlrp.explainer import TOLERANCE, Explainer
from graphlrp.explanation import Explanation
from graphlrp.ir.source import FEATURES, Source, names_in
from graphlrp.ir.writing import write_model
from graphlrp.plugins.manager import Plugins, import_plugin
from graphlrp.plugins.skeleton import KINDS, write_skeleton
from graphlrp.preprocessing import INTERPOLATIONS, LAYOUTS
from graphlrp.tables import Rows
from graphlrp.unpickling import is_pickle, read_estimator

Array = npt.NDArray[Any]

PERCENTILE = 99.5
"""Of |R| in pictures and signals, that gets the full colour; the few beyond would wash out the rest."""


class _Group(click.Group):
    """Turns the package's errors into one line on stderr and exit status 2; commands of plugins stand beside its own."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *Plugins().commands})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return super().get_command(context, name) or Plugins().commands.get(name)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except GraphLRPError as error:
            click.echo(f"graphlrp: {type(error).__name__}: {error}", err=True)
            context.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(graphlrp.__version__, prog_name="graphlrp")
@click.option("--trace-plugins", is_flag=True, envvar="GRAPHLRP_TRACE_PLUGINS", help="Tell of every hook call and registration.")
def main(trace_plugins: bool) -> None:
    """Explain the decisions of models by propagating relevance through them.

    MODEL is an ONNX file, or with --trust a fitted scikit-learn estimator or Pipeline (.joblib, .pkl, .pickle).
    """
    # As `python -m` does: plugins beside the model are found.
    sys.path.insert(0, os.getcwd())
    if trace_plugins:
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("graphlrp.plugins").setLevel(logging.DEBUG)


_plugins_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="MODULE[:OBJECT]",
    help="Python module or file.py, or an object in one, with layers, rules or presets. [repeatable]",
)


def _model_options(function: Any) -> Any:
    """Options of every command that compiles a model."""
    for option in reversed(
        (
            click.option("--explain", multiple=True, metavar="NAME", help="Input or inner value to explain. [repeatable]"),
            click.option("--start", metavar="NAME", help="Output or inner value whose relevance is propagated."),
            click.option(
                "--rule",
                multiple=True,
                metavar="SELECTOR=RULE[:PARAMETER=NUMBER,...]",
                help="Rule that precedes those of the composite, for the mappings chosen by first, last, every, family/NAME,"
                " operator/NAME, name/GLOB or up-to/NODE, e.g. family/dense=gamma:gamma=0.1. [repeatable]",
            ),
            click.option("--class-axis", default=1, show_default=True, help="Axis of the explained output that counts classes."),
            click.option("--initial", metavar="NAME", help="What relevance starts from: value (f(x)), one or contrastive."),
            click.option("--report", multiple=True, metavar="NAME", help="Inner value whose relevance to save too. [repeatable]"),
            click.option(
                "--restrict",
                multiple=True,
                metavar="NAME=CHANNEL,...",
                help="Inner value and the channels of it that relevance goes on through. [repeatable]",
            ),
            click.option("--bias", default="absorb", show_default=True, help="Policy for the relevance of biases."),
            click.option(
                "--policy", multiple=True, metavar="NAME=CHOICE", help="Policy of mappings, e.g. merge=abs. [repeatable]"
            ),
            click.option(
                "--trust", is_flag=True, help="Read MODEL though it is pickled: this runs whatever code the file holds."
            ),
            click.option(
                "--references",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Samples (.csv, .npy) among which Taylor roots of an estimator are looked for. [default: support vectors]",
            ),
            _plugins_option,
            click.option("--provider", multiple=True, metavar="NAME", help="ONNX Runtime provider, cpu or cuda. [repeatable]"),
            click.option("--dtype", default="float32", show_default=True, help="float32, or float64 to verify (slow)."),
        )
    ):
        function = option(function)
    return function


_composites = click.option(
    "--composite",
    "composites",
    multiple=True,
    default=("auto",),
    show_default=True,
    metavar="NAME[:PARAMETER=NUMBER[/NUMBER...],...]",
    help="Preset of rules, e.g. epsilon-gamma-box:low=-2.1,high=2.6/2.4/2.3. [repeatable]",
)


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A folder, or the PNG file to write.")
@_composites
@click.option("--target", type=int, help="Class to explain. [default: the top classes]")
@click.option("--top-k", default=1, show_default=True, type=click.IntRange(1), help="Explain the k classes that score highest.")
@click.option(
    "--labels", type=click.Path(path_type=Path), help="Names of the classes, one a line. [default: what the model declares]"
)
@click.option(
    "--rows", metavar="A:B,C,...", help="Samples of INPUT to explain, counted from 0. [default: all; of a table or lines, 8]"
)
@click.option("--lines", is_flag=True, help="Every line of a text is a document. [default: every file]")
@click.option("--most", default=20, show_default=True, type=click.IntRange(1), help="How many features bars show.")
@click.option("--size", metavar="N or HxW", help="Size of the model's input. [default: what the model declares]")
@click.option("--resize", type=int, help="Length of the short side before the centre is cut out.")
@click.option("--interpolation", type=click.Choice(list(INTERPOLATIONS)), default="bilinear", show_default=True)
@click.option(
    "--mean", default="0", show_default=True, help="Subtracted from pixels 0-255: a number, or one per channel: 123,117,104."
)
@click.option("--std", default="1", show_default=True, help="Divides what is left: a number, or one per channel.")
@click.option("--scale", default=1.0, show_default=True, help="Multiplies what is left.")
@click.option("--layout", type=click.Choice(list(LAYOUTS)), help="[default: what the model's shape says]")
@click.option("--channels", type=click.Choice(["RGB", "BGR", "L"]), help="[default: RGB, L for one channel]")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1))
@click.option("--colours", default="seismic", show_default=True, help="Colour map of the relevances.")
@click.option("--percentile", type=float, help="|R| that gets the full colour. [default: 99.5, of features the largest]")
@_model_options
def explain(
    model: Path,
    inputs: tuple[Path, ...],
    output: Path,
    composites: tuple[str, ...],
    target: int | None,
    top_k: int,
    labels: Path | None,
    rows: str | None,
    lines: bool,
    most: int,
    size: str | None,
    resize: int | None,
    interpolation: str,
    mean: str,
    std: str,
    scale: float,
    layout: str | None,
    channels: str | None,
    batch_size: int,
    colours: str,
    percentile: float | None,
    **options: Any,
) -> None:
    """Explain what MODEL says of INPUTS: pictures, texts (.txt), a table (.csv, .tsv), or arrays in a .npy or .npz file.

    Columns of a table are found by the names of the model's features, if both have names.

    Writes the heatmaps (explanation.png), texts with the relevance of their parts (explanation.html), and the relevances with
    outputs and targets (relevance.npz).
    """
    from graphlrp.visual import save_figure, save_signal_figure
    from graphlrp.visual.explanation import explanation_panels

    picture_path, array_path = output_paths(output)
    names = _read_labels(labels) if labels is not None else None
    chosen = Rows.parse(rows) if rows is not None else None
    explainers = dict(zip(composites, _load(model, composites, ledger=True, **options), strict=True))
    first = next(iter(explainers.values()))
    names = names if names is not None else first.classes
    if lines and not any(is_text(path) for path in inputs):
        raise InputError("--lines is for texts (.txt)")
    if any(is_text(path) for path in inputs):
        samples = read_texts(inputs, first, lines=lines, rows=chosen)
    elif not any(is_data(path) for path in inputs):
        if chosen is not None:
            raise InputError("--rows chooses samples of a table or of arrays; of pictures, name those to explain")
        samples = read_pictures(inputs, picture_options(first, size, resize, interpolation, mean, std, scale, layout, channels))
    elif len(inputs) > 1:
        raise InputError(f"give one file of arrays or one table, not {len(inputs)} files; its samples are explained together")
    else:
        samples = read_data(inputs[0], first, chosen)
    for note in samples.notes:
        click.echo(f"graphlrp: {note}", err=True)
    cells: list[list[list[Any]]] = []
    saved: dict[str, Array] = {}
    explained: list[tuple[str, Explanation]] = []
    table = Table("input", "composite", "class", "f(x)", "sum of R", "absorbed", "conservation error", box=None)
    for name, explainer in explainers.items():
        bar = sys.stderr.isatty()
        for rank, explanation in enumerate(_by_rank(explainer, samples.x, target, top_k, batch_size, progress=bar)):
            panels = explanation_panels(
                explanation,
                images=samples.pictures,
                labels=names,
                features=samples.features,
                sources=samples.sources,
                title=name if len(explainers) > 1 else "",
            )
            while len(cells) <= rank:
                cells.append([])
            cells[rank].append(list(panels))
            explained.append((name, explanation))
            collect(saved, f"{name}/{rank}", explanation)
            describe(table, explanation, name, names, samples.sources, options["class_axis"])
    # Picture by picture, the classes below each other; composites side by side.
    grid = [[column[sample] for column in cells[rank]] for sample in range(len(cells[0][0])) for rank in range(len(cells))]
    picture_path.parent.mkdir(parents=True, exist_ok=True)
    if hasattr(grid[0][0], "image"):
        save_figure(picture_path, grid, colours=colours, percentile=PERCENTILE if percentile is None else percentile)
    else:
        flat = [panel for row in grid for panel in row]
        if percentile is None:
            percentile = 100.0 if flat[0].signal.ndim == 1 else PERCENTILE
        save_signal_figure(picture_path, flat, colours=colours, percentile=percentile, most=most)
    save_arrays(array_path, saved)
    written = [picture_path, array_path]
    if explained[0][1].texts is not None:
        written.insert(0, write_texts(picture_path.with_suffix(".html"), explained, names, samples.sources or []))
    _print(table)
    click.echo(f"wrote {', '.join(map(str, written[:-1]))} and {written[-1]}")


@main.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The ONNX file to write.")
@click.option("--composite", default="auto", show_default=True, metavar="NAME[:PARAMETER=NUMBER[/NUMBER...],...]")
@click.option(
    "--target", type=click.Choice(["index", "weights"]), default="index", show_default=True, help="Kind of the target input."
)
@_model_options
def compile_(model: Path, output: Path, composite: str, target: str, **options: Any) -> None:
    """Write MODEL and its relevance pass as one ONNX file, which plain ONNX Runtime runs."""
    (explainer,) = _load(model, [composite], **options)
    explainer.save(output, target=target)
    click.echo(f"wrote {output} ({output.stat().st_size / 1e6:.3g} MB)")


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--composite", default="auto", show_default=True, metavar="NAME[:PARAMETER=NUMBER[/NUMBER...],...]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw it, too: a .png, .svg or .pdf file to write.")
@click.option(
    "--canonical", type=click.Path(path_type=Path), help="Write the canonical model, too, which mappings are lowered from."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@_model_options
def plan(model: Path, composite: str, output: Path | None, canonical: Path | None, as_json: bool, **options: Any) -> None:
    """Show what is done to MODEL and which rule every mapping gets."""
    (explainer,) = _load(model, [composite], **options)
    random = random_samples(explainer)
    if random is not None:
        try:
            explainer.verify(random)
        except (InputError, ValueError) as error:
            # Some kernels and preprocessing are not defined everywhere.
            explainer.plan.verification = f"not verified on random numbers: {error}"
    if output is not None:
        explainer.plan.save_image(output)
    if canonical is not None:
        write_model(explainer.canonical, canonical)
    console = Console()
    if console.is_terminal and not as_json:
        console.print(explainer.plan)
    else:
        click.echo(explainer.plan.json() if as_json else str(explainer.plan))
    for path in (output, canonical):
        if path is not None:
            click.echo(f"wrote {path}", err=as_json)


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--composite", default="auto", show_default=True, metavar="NAME[:PARAMETER=NUMBER[/NUMBER...],...]")
@click.option("--tolerance", type=float, help="Relative error that passes. [default: 1e-4, 1e-9 for float64]")
@click.option("--table", "whole", is_flag=True, help="Show the whole ledger.")
@_model_options
def check(model: Path, inputs: tuple[Path, ...], composite: str, tolerance: float | None, whole: bool, **options: Any) -> None:
    """Check that MODEL's relevance is accounted for, on arrays (.npy, .npz), tables (.csv, .tsv) or random numbers.

    Exit status 1 if it is not.
    """
    (explainer,) = _load(model, [composite], ledger=True, **options)
    limit = TOLERANCE[options["dtype"]] if tolerance is None else tolerance
    if inputs:
        data = [(str(path), read_whole(path, explainer)) for path in inputs]
    else:
        random = random_samples(explainer)
        if random is None:
            raise InputError("the model's inputs have dynamic sizes; give an array file to check it on")
        try:
            explainer.verify(random)
        except ValueError as error:
            raise InputError(f"the model does not take random numbers ({error}); give samples to check it on") from error
        data = [("random numbers", random)]
    failed = False
    for name, x in data:
        explanation = explainer(x)
        assert explanation.ledger is not None and explanation.conservation_error is not None
        if whole:
            click.echo(str(explanation.ledger))
        worst = float(np.max(np.nan_to_num(explanation.conservation_error, nan=np.inf)))
        click.echo(f"{name}: conservation error of the whole model {worst:.1e}; {explainer.plan.verification}")
        try:
            explanation.ledger.check(limit)
            if worst > limit:
                raise ConservationError(f"the whole model does not conserve: relative error {worst:.2e}, tolerance {limit:.0e}")
            entry = explanation.ledger.worst
            click.echo(f"  every mapping balances; worst is {entry.op} {entry.name!r} with {float(entry.error.max()):.1e}")
        except ConservationError as error:
            click.echo(f"  {error}", err=True)
            failed = True
    if failed:
        sys.exit(1)


@main.group(invoke_without_command=True)
@_plugins_option
@click.pass_context
def plugins(context: click.Context, plugins: tuple[str, ...]) -> None:
    """List plugins: name, version, origin, what each registers, replaces, and what is wrong with it.

    Exit status 1 if an installed plugin does not work.
    """
    if context.invoked_subcommand is not None:
        return
    with warnings.catch_warnings():
        # The table tells it.
        warnings.simplefilter("ignore", PluginWarning)
        origins = Plugins([import_plugin(name) for name in plugins]).origins
    table = Table("plugin", "version", "origin", "registers", box=None, show_lines=True)
    for origin in origins:
        lines = [f"{kind}: {', '.join(names)}" for kind, names in origin.registered.items()]
        lines += [f"replaces: {', '.join(origin.replaced)}"] if origin.replaced else []
        lines += [f"LEFT OUT: {origin.error}"] if origin.error else []
        version = graphlrp.__version__ if origin.source == "built-in" else origin.version
        table.add_row(origin.name, version, origin.source, escape("\n".join(lines)))
    _print(table)
    if any(origin.error for origin in origins):
        sys.exit(1)


@plugins.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), default="layer", show_default=True, help="What the package adds.")
@click.option("--into", default=".", type=click.Path(path_type=Path), help="Folder to write the package's folder to.")
def new_plugin(name: str, kind: str, into: Path) -> None:
    """Write a package with a plugin: a layer or a rule of its own, tests, and the entry point that makes it known."""
    folder = write_skeleton(name, into, kind)
    click.echo(f"wrote {folder}; now: pip install -e '{folder}[test]' && pytest {folder} && graphlrp plugins")


def _print(table: Table) -> None:
    """Fit the table to the terminal; into files and pipes it goes unabridged."""
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def _load(model: Path, composites: Sequence[str], *, ledger: bool = False, **options: Any) -> list[Explainer]:
    """An explainer for each composite; the model is read once if reading it runs code."""
    policies = {}
    for text in options["policy"]:
        name, separator, choice = text.partition("=")
        if not separator:
            raise InputError(f"--policy {text!r}: give NAME=CHOICE, e.g. merge=abs")
        policies[name] = choice
    plugins = [import_plugin(name) for name in options["plugins"]]
    source = _source(model, options["trust"], options["references"], plugins)
    return [
        graphlrp.load(
            source(),
            read_composite(composite, plugins),
            rules=[read_pair(text, plugins) for text in options["rule"]],
            plugins=plugins,
            class_axis=options["class_axis"],
            initial=options["initial"],
            report=options["report"],
            restrict=dict(read_restriction(text) for text in options["restrict"]),
            explain=options["explain"] or None,
            output=options["start"],
            bias=options["bias"],
            dtype=options["dtype"],
            providers=list(options["provider"]) or None,
            ledger=ledger,
            **policies,
        )
        for composite in composites
    ]


def _source(model: Path, trust: bool, references: Path | None, plugins: Sequence[object]) -> Callable[[], Any]:
    """What makes the source of an explainer, each its own."""
    if not is_pickle(model):
        if references is not None:
            raise InputError(f"--references are for estimators; {model} is none, and has its own if it needs any")
        return lambda: model
    sources = Plugins(plugins).frontends
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        estimator = read_estimator(model, sources, trust=trust)
    for warning in caught:
        click.echo(f"graphlrp: {str(warning.message).splitlines()[0]}", err=True)
    if references is None:
        return lambda: estimator
    source: Source = graphlrp.convert(estimator)
    width = int(source.model.graph.inputs[0].shape[1])  # type: ignore[index, arg-type]
    given = read_references(references, names_in(source.model, FEATURES), width)
    return lambda: graphlrp.convert(estimator, references=given)


def _read_labels(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read labels from {path}: {error}") from error


def _by_rank(
    explainer: Explainer, x: Any, target: int | None, top_k: int, batch_size: int, *, progress: bool
) -> Sequence[Explanation]:
    """Explanations of one class, or of the k classes that score highest for each input."""
    best = explainer(x, target, batch_size=batch_size, progress=progress)
    if target is not None or top_k == 1:
        return [best]
    if best.output.ndim != 2 or best.output.shape[1] < top_k:
        raise InputError(f"--top-k {top_k}: the explained output has shape {list(best.output.shape)}")
    order = np.argsort(-best.output, axis=1)
    more = [explainer(x, order[:, k], batch_size=batch_size, progress=progress) for k in range(1, top_k)]
    return [best, *more]
