"""From the arguments of a command to explanations: by composite, and by class where the k best are asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from graphlrp.cli.inputs import Samples, read_samples
from graphlrp.cli.labels import check_labels, read_labels
from graphlrp.cli.loading import load_explainers, title_of
from graphlrp.cli.options import InputOptions
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.explanation import Explanation
from graphlrp.target import is_single, no_class_to_choose


@dataclass(frozen=True)
class Explained:
    """Explanations of the same samples; iterated as (composite, rank, explanation).

    Attributes:
        samples: what was explained.
        labels: names of the classes, if known.
        explainers: by composite, as the command line spells it.
        by_rank: explanations of the best class, the second best ..., by composite.
    """

    samples: Samples
    labels: Sequence[str] | None
    explainers: Mapping[str, Explainer]
    by_rank: Mapping[str, Sequence[Explanation]]

    def title(self, name: str) -> str:
        """What a composite is called where people read it."""
        return title_of(name, self.explainers[name])

    def __iter__(self) -> Iterator[tuple[str, int, Explanation]]:
        for name, explanations in self.by_rank.items():
            for rank, explanation in enumerate(explanations):
                yield name, rank, explanation


def explain_inputs(
    model: Path,
    inputs: Sequence[Path],
    composites: Sequence[str],
    target: int | None,
    top_k: int,
    chosen: InputOptions,
    options: Mapping[str, Any],
) -> Explained:
    """Explain INPUTS with every composite, and keep its ledger if it has one.

    Raises:
        InputError: and other errors of the package, for bad input.
    """
    if target is not None and top_k > 1:
        raise InputError(f"--target {target} explains one class, --top-k {top_k} the {top_k} that score highest: give either")
    labels = read_labels(chosen.labels) if chosen.labels is not None else None
    explainers = dict(zip(composites, load_explainers(model, composites, ledger=True, if_any=True, **options), strict=True))
    first = next(iter(explainers.values()))
    check_labels(labels, first.output_shape, first.settings.class_axis)
    if target is not None and is_single(first.output_shape):
        raise no_class_to_choose(first.classes)
    _check_top_k(top_k, first.output_shape)
    samples = read_samples(inputs, first, chosen)
    for note in samples.notes:
        click.echo(f"graphlrp: {note}", err=True)
    by_rank = {
        name: _by_rank(explainer, samples.x, target, top_k, chosen.batch_size, progress=sys.stderr.isatty())
        for name, explainer in explainers.items()
    }
    best = next(iter(by_rank.values()))[0]
    if not isinstance(best.output, list):
        check_labels(labels, best.output.shape, first.settings.class_axis)
    return Explained(samples, labels if labels is not None else first.classes, explainers, by_rank)


def _by_rank(
    explainer: Explainer, x: Any, target: int | None, top_k: int, batch_size: int, *, progress: bool
) -> Sequence[Explanation]:
    """Explanations of one class, or of the k classes that score highest for each input."""
    best = explainer(x, target, batch_size=batch_size, progress=progress)
    if target is not None or top_k == 1:
        return [best]
    _check_top_k(top_k, best.output.shape)
    order = np.argsort(-best.output, axis=1)
    more = [explainer(x, order[:, k], batch_size=batch_size, progress=progress) for k in range(1, top_k)]
    return [best, *more]


def _check_top_k(top_k: int, shape: Sequence[int | None]) -> None:
    """Refuse more classes than there are, as far as the shape of the output tells.

    Raises:
        InputError: there are fewer.
    """
    if top_k == 1:
        return
    if is_single(shape):
        raise InputError(f"--top-k {top_k}: f(x) is one number per sample, so there are no classes to rank; leave it out")
    if len(shape) != 2:
        raise InputError(f"--top-k {top_k}: classes are ranked of an output [N, C], and this one has the shape {list(shape)}")
    if shape[1] is not None and shape[1] < top_k:
        raise InputError(f"--top-k {top_k}: the explained output has {shape[1]} classes; give 1 to {shape[1]}")
