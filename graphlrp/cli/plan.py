"""``graphlrp plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from graphlrp.cli.inputs import random_samples
from graphlrp.cli.loading import load_explainers
from graphlrp.cli.options import PATH, composite_option, model_argument, model_options
from graphlrp.errors import InputError
from graphlrp.ir.writing import write_model


@click.command(short_help="Show what is done to MODEL, and draw it.")
@model_argument
@composite_option
@click.option("-o", "--output", type=PATH, help="Draw it, too: a .png, .svg or .pdf file to write.")
@click.option("--canonical", type=PATH, help="Write the canonical model, too, which mappings are lowered from.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@model_options
def plan(model: Path, composite: str, output: Path | None, canonical: Path | None, as_json: bool, **options: Any) -> None:
    """Show what is done to MODEL and which rule every mapping gets."""
    (explainer,) = load_explainers(model, [composite], **options)
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
