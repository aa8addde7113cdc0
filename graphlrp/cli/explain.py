"""``graphlrp explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy.typing as npt

from graphlrp.cli.explaining import explain_inputs
from graphlrp.cli.options import (
    PATH,
    InputOptions,
    composites_option,
    input_options,
    inputs_argument,
    model_argument,
    model_options,
    target_options,
)
from graphlrp.cli.results import collect, describe, output_paths, print_table, save_arrays, table_of_samples, write_texts
from graphlrp.cli.truth import counted, decided, known_truth, marked, truth_option

Array = npt.NDArray[Any]

PERCENTILE = 99.5
"""Of |R| in pictures and signals, that gets the full colour; the few beyond would wash out the rest."""


@click.command(short_help="Write heatmaps, bars or highlighted texts, and relevances.")
@model_argument
@inputs_argument
@click.option("-o", "--output", required=True, type=PATH, help="A folder, or the PNG file to write.")
@composites_option
@target_options
@truth_option
@input_options
@click.option("--most", default=20, show_default=True, type=click.IntRange(1), help="How many features bars show.")
@click.option("--colours", default="seismic", show_default=True, help="Colour map of the relevances.")
@click.option("--percentile", type=float, help="|R| that gets the full colour. [default: 99.5, of features the largest]")
@model_options
def explain(
    model: Path,
    inputs: tuple[Path, ...],
    output: Path,
    composites: tuple[str, ...],
    target: int | None,
    top_k: int,
    truth: Path | None,
    most: int,
    colours: str,
    percentile: float | None,
    **options: Any,
) -> None:
    """Explain what MODEL says of INPUTS: pictures, texts (.txt), a table (.csv, .tsv), or arrays in a .npy or .npz file.

    A folder stands for the pictures in it. Columns of a table are found by the names of the model's features, if both have
    names.

    Writes the heatmaps (explanation.png), texts with the relevance of their parts (explanation.html), and the relevances with
    outputs and targets (relevance.npz).
    """
    from graphlrp.visual import save_figure, save_signal_figure
    from graphlrp.visual.explanation import explanation_panels

    picture_path, array_path = output_paths(output)
    chosen = InputOptions.taken_from(options)
    explained = explain_inputs(model, inputs, composites, target, top_k, chosen, options)
    samples, names = explained.samples, explained.labels
    cells: list[list[list[Any]]] = []
    saved: dict[str, Array] = {}
    class_axis = options["class_axis"]
    decisions = decided(known_truth(truth, explained, chosen.rows, class_axis), explained, class_axis)
    sources = marked(samples.sources, decisions)
    table = table_of_samples(decided=decisions is not None)
    for name, rank, explanation in explained:
        panels = explanation_panels(
            explanation,
            images=samples.pictures,
            labels=names,
            features=samples.features,
            sources=sources,
            title=explained.title(name) if len(composites) > 1 else "",
        )
        while len(cells) <= rank:
            cells.append([])
        cells[rank].append(list(panels))
        collect(saved, f"{name}/{rank}", explanation)
        describe(table, explanation, explained.title(name), names, samples.sources, class_axis, decisions)
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
    texts = [(explained.title(name), explanation) for name, _, explanation in explained if explanation.texts is not None]
    if texts:
        written.insert(0, write_texts(picture_path.with_suffix(".html"), texts, names, sources or []))
    print_table(table)
    if decisions is not None:
        click.echo(counted(decisions))
    click.echo(f"wrote {', '.join(map(str, written[:-1]))} and {written[-1]}")
