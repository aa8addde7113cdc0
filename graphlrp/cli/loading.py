"""From MODEL and its options to explainers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

import graphlrp
from graphlrp.cli.inputs import read_references
from graphlrp.cli.rules import read_composite, read_pair, read_restriction
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.ir.source import FEATURES, Source, names_in
from graphlrp.plugins.estimators.text import TextReader
from graphlrp.plugins.manager import Plugins, import_plugin
from graphlrp.rules.composite import Composite
from graphlrp.unpickling import is_pickle, read_estimator

AUTO = "auto"


def load_explainers(
    model: Path, composites: Sequence[str], *, ledger: bool = False, if_any: bool = False, **options: Any
) -> list[Explainer]:
    """An explainer for each composite; the model is read once if reading it runs code.

    Args:
        model: the file.
        composites: as the command line spells them.
        ledger: keep it.
        if_any: but not for composites that have none, such as those that add up explanations of several points.
        **options: those of ``model_options``.

    Raises:
        GraphLRPError: for bad input of any kind.
    """
    policies = {}
    for text in options["policy"]:
        name, separator, choice = text.partition("=")
        if not separator:
            raise InputError(f"--policy {text!r}: give NAME=CHOICE, e.g. merge=abs")
        policies[name] = choice
    plugins = [import_plugin(name) for name in options["plugins"]]
    source = _source(model, options["trust"], options["references"], options["level"], plugins)
    chosen = [read_composite(composite, plugins) for composite in composites]
    return [
        graphlrp.load(
            source(),
            composite,
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
            ledger=ledger and not (if_any and _keeps_no_ledger(composite, plugins)),
            **policies,
        )
        for composite in chosen
    ]


def title_of(composite: str, explainer: Explainer) -> str:
    """What a composite is called where people read it: as the command line spells it, and of ``auto`` what was chosen."""
    return f"{explainer.plan.composite.partition(':')[0]} ({AUTO})" if composite == AUTO else composite


def _keeps_no_ledger(composite: str | Composite, plugins: Sequence[object]) -> bool:
    if composite == AUTO:
        return False
    made = graphlrp.composite(composite, plugins=plugins) if isinstance(composite, str) else composite
    return made.keeps_no_ledger is not None


def _source(model: Path, trust: bool, references: Path | None, level: str | None, plugins: Sequence[object]) -> Callable[[], Any]:
    """What makes the source of an explainer, each its own."""
    if not is_pickle(model):
        if level is not None:
            raise InputError(
                f"--level is for estimators; of {model} it was settled when it was converted:"
                f" graphlrp.convert(estimator, level={level!r}).save(...) settles it otherwise"
            )
        if references is not None:
            raise InputError(f"--references are for estimators; {model} is none, and has its own if it needs any")
        return lambda: model
    sources = Plugins(plugins).frontends
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        estimator = read_estimator(model, sources, trust=trust)
    for warning in caught:
        click.echo(f"graphlrp: {str(warning.message).splitlines()[0]}", err=True)
    chosen: dict[str, Any] = {} if level is None else {"level": level}
    if references is not None:
        source: Source = graphlrp.convert(estimator)
        width = int(source.model.graph.inputs[0].shape[1])  # type: ignore[index, arg-type]
        texts = isinstance(source.read, TextReader)
        chosen["references"] = read_references(references, names_in(source.model, FEATURES), width, texts=texts)
    return (lambda: graphlrp.convert(estimator, **chosen)) if chosen else lambda: estimator
