"""``graphlrp compile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphlrp.cli.loading import load_explainers
from graphlrp.cli.options import PATH, composite_option, model_argument, model_options
from graphlrp.errors import InputError


@click.command("compile", short_help="Write MODEL with its relevance pass as one ONNX file.")
@model_argument
@click.option("-o", "--output", required=True, type=PATH, help="The ONNX file to write.")
@composite_option
@click.option(
    "--target", type=click.Choice(["index", "weights"]), default="index", show_default=True, help="Kind of the target input."
)
@model_options
def compile_(model: Path, output: Path, composite: str, target: str, **options: Any) -> None:
    """Write MODEL and its relevance pass as one ONNX file, which plain ONNX Runtime runs."""
    if output.suffix.lower() != ".onnx":
        raise InputError(f"-o {output}: the explainer is an ONNX file, whose name ends in .onnx")
    (explainer,) = load_explainers(model, [composite], **options)
    explainer.save(output, target=target)
    click.echo(f"wrote {output} ({output.stat().st_size / 1e6:.3g} MB)")
