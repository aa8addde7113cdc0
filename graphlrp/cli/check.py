"""``graphlrp check``."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from graphlrp.cli.inputs import random_samples, read_whole
from graphlrp.cli.loading import load_explainers
from graphlrp.cli.options import PATH, composite_option, model_argument, model_options
from graphlrp.errors import ConservationError, InputError
from graphlrp.explainer import TOLERANCE


@click.command(short_help="Check that relevance is accounted for.")
@model_argument
@click.argument("inputs", nargs=-1, type=PATH)
@composite_option
@click.option("--tolerance", type=click.FloatRange(0), help="Relative error that passes. [default: 1e-4, 1e-9 for float64]")
@click.option("--table", "whole", is_flag=True, help="Show the whole ledger.")
@model_options
def check(model: Path, inputs: tuple[Path, ...], composite: str, tolerance: float | None, whole: bool, **options: Any) -> None:
    """Check that MODEL's relevance is accounted for, on arrays (.npy, .npz), tables (.csv, .tsv) or random numbers.

    Exit status 1 if it is not.
    """
    if tolerance is not None and not math.isfinite(tolerance):
        raise InputError(f"--tolerance {tolerance}: give a finite number from 0 on")
    (explainer,) = load_explainers(model, [composite], ledger=True, **options)
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
