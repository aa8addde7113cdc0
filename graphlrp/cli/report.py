"""``graphlrp report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from graphlrp.cli.results import describe, page_path, print_table, size_of, table_of_samples
from graphlrp.cli.truth import counted, decided, known_truth, truth_option

if TYPE_CHECKING:
    from graphlrp.reports.truth import Decision


@click.command(short_help="Write explanations as one page of HTML.")
@model_argument
@inputs_argument
@click.option("-o", "--output", required=True, type=PATH, help="The HTML file to write.")
@composites_option
@target_options
@truth_option
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
    truth: Path | None,
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
    the numbers, the ledger, and the rules. Where the true classes are known, wrong decisions of MODEL are marked and come first.
    """
    from graphlrp.reports import Report

    path = page_path(output)
    chosen = InputOptions.taken_from(options)
    page = Report(title or f"What {model.name} saw", model=model, colours=colours, joint=joint, percentile=percentile)
    explained = explain_inputs(model, inputs, composites, target, top_k, chosen, options)
    samples, class_axis = explained.samples, options["class_axis"]
    true = known_truth(truth, explained, chosen.rows, class_axis)
    decisions = decided(true, explained, class_axis)
    page.add(
        {explained.title(name): explanations for name, explanations in explained.by_rank.items()},
        images=samples.pictures,
        labels=explained.labels,
        features=samples.features,
        sources=samples.sources,
        truth=true,
        class_axis=class_axis,
        most=most,
        ledger=ledger,
    )
    if plan:
        page.add({explained.title(name): explainer for name, explainer in explained.explainers.items()})
    page.save(path)
    print_table(_table(explained, class_axis, decisions))
    if decisions is not None:
        click.echo(counted(decisions))
    click.echo(f"wrote {path} ({size_of(path)})")


def _table(explained: Explained, class_axis: int, decisions: Sequence[Decision] | None) -> Table:
    from graphlrp.reports.truth import wrong_first

    table = table_of_samples(decided=decisions is not None)
    order = None if decisions is None else wrong_first(decisions)
    sources = explained.samples.sources
    for name, _, explanation in explained:
        describe(table, explanation, explained.title(name), explained.labels, sources, class_axis, decisions, order)
    return table
