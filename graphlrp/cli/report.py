"""``graphlrp report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from graphlrp.cli.explaining import Explained, explain_inputs
from graphlrp.cli.options import (
    PATH,
    InputOptions,
    composites_option,
    input_options,
    inputs_argument,
    model_argument,
    model_options,
    report_options,
    target_options,
)
from graphlrp.cli.results import describe, page_path, print_table, size_of


@click.command(short_help="Write explanations as one page of HTML.")
@model_argument
@inputs_argument
@click.option("-o", "--output", required=True, type=PATH, help="The HTML file to write.")
@composites_option
@target_options
@input_options
@report_options
@click.option("--most", default=20, show_default=True, type=click.IntRange(1), help="How many features bars show.")
@click.option("--ledger/--no-ledger", default=True, show_default=True, help="Say which nodes absorbed relevance.")
@click.option("--plan/--no-plan", default=True, show_default=True, help="Draw the network and list the rules.")
@model_options
def report(
    model: Path,
    inputs: tuple[Path, ...],
    output: Path,
    composites: tuple[str, ...],
    target: int | None,
    top_k: int,
    title: str | None,
    colours: str,
    joint: bool,
    percentile: float | None,
    most: int,
    ledger: bool,
    plan: bool,
    **options: Any,
) -> None:
    """Explain what MODEL says of INPUTS on one page of HTML that needs nothing else.

    Inputs and options are those of explain. The page has the inputs with their relevance, composites and classes side by side,
    the numbers, the ledger, and the rules.
    """
    from graphlrp.reports import Report

    path = page_path(output)
    chosen = InputOptions.taken_from(options)
    page = Report(title or f"What {model.name} saw", model=model, colours=colours, joint=joint, percentile=percentile)
    explained = explain_inputs(model, inputs, composites, target, top_k, chosen, options)
    samples = explained.samples
    page.add(
        dict(explained.by_rank),
        images=samples.pictures,
        labels=explained.labels,
        features=samples.features,
        sources=samples.sources,
        class_axis=options["class_axis"],
        most=most,
        ledger=ledger,
    )
    if plan:
        page.add(dict(explained.explainers))
    page.save(path)
    print_table(_table(explained, options["class_axis"]))
    click.echo(f"wrote {path} ({size_of(path)})")


def _table(explained: Explained, class_axis: int) -> Table:
    table = Table("input", "composite", "class", "f(x)", "sum of R", "absorbed", "conservation error", box=None)
    for name, _, explanation in explained:
        describe(table, explanation, name, explained.labels, explained.samples.sources, class_axis)
    return table
