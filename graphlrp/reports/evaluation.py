"""The section of an evaluation: perturbation curves, randomised parameters, continuity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphlrp.evaluation.continuity import ContinuityResult
from graphlrp.evaluation.randomisation import RandomisationResult
from graphlrp.evaluation.result import RANDOM_ORDER, TITLES, Curve, PerturbationResult
from graphlrp.reports.figures import figure_view
from graphlrp.reports.measures import Measured, measured, measures_content
from graphlrp.reports.section import Section
from graphlrp.visual.typesetting import number

Evaluation = PerturbationResult | RandomisationResult | ContinuityResult

PLACES = 11
"""How many points of a curve are given as numbers."""

FEW = 10
"""Of fewer samples, the page says that their interval says little."""


@dataclass(frozen=True)
class CurveRow:
    """One curve in numbers.

    Attributes:
        method: its name.
        order: in words.
        values: the mean f(x^(k)) at the steps of the table.
    """

    method: str
    order: str
    values: Sequence[float]


def evaluation_section(result: Evaluation, heading: str) -> Section:
    """The section of what ``graphlrp.evaluation`` returns.

    Raises:
        InputError: see the result's ``plot``.
    """
    if isinstance(result, PerturbationResult):
        return _perturbation(result, heading)
    if isinstance(result, RandomisationResult):
        return _randomisation(result, heading)
    rows = [
        (name, [measured(ratio), measured(relative)])
        for name, ratio, relative in zip(result.methods, result.ratio, result.relative, strict=True)
    ]
    names = ["‖R(x) − R(x′)‖₁ / ‖x − x′‖₂", "the same, of ‖R(x)‖₁"]
    return Section(heading or "Continuity", "measures.html", measures_content(names, rows))


def _perturbation(result: PerturbationResult, heading: str) -> Section:
    orders = [order for order in result.orders if order != "random"]
    has_random = "random" in result.orders
    figures = [figure_view(result.plot(), _described(result), "f(x) of the explained class while regions are replaced")]
    if has_random and orders:
        alt = "AOPC less that of random orders, by the number of steps; " + "; ".join(_gains(result, orders))
        figures.append(figure_view(result.plot(relative=True), alt, "AOPC less that of random orders, as a function of L"))
    steps = len(result.curves[0].mean) - 1
    places = np.unique(np.linspace(0, steps, min(PLACES, steps + 1)).round().astype(int)).tolist()
    content = {
        "orders": [TITLES[order] for order in orders] or [RANDOM_ORDER],
        "has_random": has_random and bool(orders),
        "rows": _table(result, orders),
        "settings": _settings(result),
        "figures": figures,
        "places": places,
        "curves": [CurveRow(curve.method, TITLES[curve.order], curve.mean[places].tolist()) for curve in result.curves],
        "steps": steps,
        "count": len(result.curves[0].aopc_per_sample),
        "few": FEW,
    }
    return Section(heading or "Perturbation", "perturbation.html", content)


def _table(result: PerturbationResult, orders: Sequence[str]) -> list[tuple[str, list[Measured | None]]]:
    """Of every method, AOPC in every order, each followed by the difference to random orders if there are any."""
    random = result.curve("", "random") if "random" in result.orders else None
    rows: list[tuple[str, list[Measured | None]]] = []
    for method in result.methods:
        cells: list[Measured | None] = []
        for order in orders:
            values = result.curve(method, order).aopc_per_sample
            cells.append(measured(values))
            cells += [measured(values - random.aopc_per_sample)] if random is not None else []
        rows.append((method, cells))
    if random is not None:
        cell = measured(random.aopc_per_sample)
        rows.append((RANDOM_ORDER, [cell, None] * len(orders) or [cell]))
    return rows


def _settings(result: PerturbationResult) -> list[tuple[str, str]]:
    """What was done, and what the methods are."""
    methods = result.settings.get("methods", {})
    identities = methods.items() if isinstance(methods, Mapping) else ()
    return [*result.protocol().items(), *((str(name), str(identity)) for name, identity in identities)]


def _described(result: PerturbationResult) -> str:
    """The curves in words."""

    def ends(curve: Curve) -> str:
        name = curve.method if curve.order == "random" else f"{curve.method}, {TITLES[curve.order]}"
        return f"{name}: from {number(curve.mean[0])} to {number(curve.mean[-1])}"

    return f"Curves of f(x) over {len(result.curves[0].mean) - 1} steps. {'; '.join(map(ends, result.curves))}"


def _gains(result: PerturbationResult, orders: Sequence[str]) -> list[str]:
    return [
        f"{curve.method}, {TITLES[order]}: {number(curve.mean[-1])} in the end"
        for order in orders
        for curve in result.relative(order)
    ]


def _randomisation(result: RandomisationResult, heading: str) -> Section:
    means = result.mean()
    described = "; ".join(
        f"{name}: {number(row[-1])} in the end" if np.isfinite(row[-1]) else f"{name}: undefined in the end"
        for name, row in zip(result.methods, means, strict=True)
    )
    up_to = "up to " if result.order == "cascading" else ""
    content = {
        "methods": result.methods,
        "rows": [
            (f"{up_to}{layer}", float(change), [None if np.isnan(value) else float(value) for value in column])
            for layer, change, column in zip(result.layers, result.output_change, means.T, strict=True)
        ],
        "figures": [figure_view(result.plot(), f"Rank correlation with the original maps, layer by layer; {described}")],
        "cascading": result.order == "cascading",
    }
    return Section(heading or "Randomised parameters", "randomisation.html", content)
