"""What a perturbation gives: curves of f(x^(k)), the area over them (3.7), and how sure that is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from graphlrp.errors import InputError
from graphlrp.evaluation.tables import text_table, with_half_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

RANDOM_ORDER = "random order"
TITLES = {"morf": "most relevant first", "lerf": "least relevant first", "random": RANDOM_ORDER}


def mean_interval(values: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Confidence interval of the mean over samples by Student's t, [N, ...] -> [...], [...]; NaN for a single sample.

    Raises:
        InputError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"the level of a confidence interval lies between 0 and 1, such as 0.95, not {level}")
    values = values.astype(np.float64)
    count = len(values)
    if count < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    margin = student.ppf((1 + level) / 2, count - 1) * values.std(axis=0, ddof=1) / np.sqrt(count)
    return values.mean(0) - margin, values.mean(0) + margin


def _mean_and_half_width(values: Array, level: float) -> tuple[float, float]:
    low, high = mean_interval(values, level)
    return float(values.mean()), float((high - low) / 2)


def _short(value: Any) -> str:
    """A parameter of a filling: a name, a number, or numbers per channel."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]" if len(value) <= 3 else f"[{len(value)} numbers]"
    return value if isinstance(value, str) else f"{value:.3g}"


@dataclass(frozen=True, eq=False)
class Curve:
    """f(x^(k)) of a method in one order.

    Attributes:
        method: its name.
        order: ``"morf"``, ``"lerf"``, or ``"random"``, which belongs to no method.
        scores: of the explained class, after k steps, [N, repeats, L + 1]. There is one repeat if nothing is random.
    """

    method: str
    order: str
    scores: Array

    @property
    def per_sample(self) -> Array:
        """f(x^(k)), the mean over repeats, [N, L + 1]."""
        return np.asarray(self.scores.mean(axis=1, dtype=np.float64))

    @property
    def mean(self) -> Array:
        """f(x^(k)), the mean over repeats and samples, [L + 1]."""
        return np.asarray(self.per_sample.mean(axis=0))

    @property
    def aopc_by_steps(self) -> Array:
        """AOPC of every sample as if L were 0, 1, 2 ..., [N, L + 1]."""
        drop = self.per_sample[:, :1] - self.per_sample
        return np.asarray(drop.cumsum(axis=1) / np.arange(1, drop.shape[1] + 1))

    @property
    def aopc_per_sample(self) -> Array:
        """1 / (L + 1) · Σ_{k=0..L} f(x^(0)) - f(x^(k)), [N]."""
        return self.aopc_by_steps[:, -1]

    @property
    def aopc(self) -> float:
        """The area over the perturbation curve, its mean over the samples (3.7)."""
        return float(self.aopc_per_sample.mean())

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Confidence interval of ``mean`` over samples by Student's t, [L + 1], [L + 1]; NaN for a single sample.

        Raises:
            InputError: the level is not between 0 and 1.
        """
        return mean_interval(self.per_sample, level)

    def aopc_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of ``aopc`` over samples by Student's t; NaN for a single sample.

        Raises:
            InputError: the level is not between 0 and 1.
        """
        low, high = mean_interval(self.aopc_per_sample, level)
        return float(low), float(high)


@dataclass(frozen=True, eq=False)
class RelativeCurve:
    """AOPC of a method less that of a random order of regions, as a function of L.

    Attributes:
        method, order: as of the curve.
        values: AOPC as if L were 0, 1, 2 ... less that of the random order, sample by sample, [N, L + 1].
    """

    method: str
    order: str
    values: Array

    @property
    def mean(self) -> Array:
        """The mean over samples, [L + 1]."""
        return np.asarray(self.values.mean(axis=0))

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Confidence interval of ``mean`` by Student's t, of the differences within samples.

        Raises:
            InputError: the level is not between 0 and 1.
        """
        return mean_interval(self.values, level)


@dataclass(frozen=True)
class ResultRow:
    """A curve in two numbers, or four if there are random orders; means over samples and half the width of their intervals.

    Attributes:
        method: its name.
        order: ``"morf"``, ``"lerf"`` or ``"random"``.
        aopc: area over the perturbation curve (3.7).
        half_width: of its confidence interval (Student's t); NaN for a single sample.
        less_random: the area less that over the curve of random orders, sample by sample; None of these, and without them.
        less_random_half_width: likewise.
    """

    method: str
    order: str
    aopc: float
    half_width: float
    less_random: float | None
    less_random_half_width: float | None


@dataclass(frozen=True, eq=False)
class PerturbationResult:
    """Curves of several methods over the same samples. Made by ``graphlrp.evaluation.perturb``.

    Attributes:
        curves: one per method and order; that of random orders last.
        target: class of every sample, whose f is watched, int64 [N]; 0 or 1 of a decision; -1 where f(x) is one number.
        settings: everything that decided what was done.
    """

    curves: tuple[Curve, ...]
    target: Array
    settings: Mapping[str, Any]

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods."""
        return tuple(dict.fromkeys(curve.method for curve in self.curves if curve.order != "random"))

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders there are curves of."""
        return tuple(dict.fromkeys(curve.order for curve in self.curves))

    def curve(self, method: str, order: str = "morf") -> Curve:
        """The curve of a method; that of random orders for the order ``"random"``, whatever the method.

        Raises:
            InputError: there is none.
        """
        for curve in self.curves:
            if curve.order == order and (curve.method == method or order == "random"):
                return curve
        raise InputError(
            f"there is no curve of {method!r} in the order {order!r}; methods: {', '.join(self.methods) or 'none'}; orders:"
            f" {', '.join(self.orders)}"
        )

    def relative(self, order: str = "morf") -> tuple[RelativeCurve, ...]:
        """AOPC relative to random orders as a function of L, as in figure 3.5, one curve per method.

        Raises:
            InputError: there is no curve of random orders, or none of this order.
        """
        if "random" not in self.orders or order not in self.orders or order == "random":
            raise InputError(
                f"relative curves need the orders {order!r} and 'random': there are {', '.join(self.orders)}; give"
                " order=('morf', 'random') to perturb"
            )
        baseline = self.curve("", "random").aopc_by_steps
        curves = (self.curve(method, order) for method in self.methods)
        return tuple(RelativeCurve(curve.method, order, curve.aopc_by_steps - baseline) for curve in curves)

    def rows(self, level: float = 0.95) -> list[ResultRow]:
        """AOPC with confidence intervals as numbers, a record for each method and order; random orders last.

        ``pandas.DataFrame(result.rows())`` is a table of them.

        Raises:
            InputError: the level is not between 0 and 1.
        """
        random = self.curve("", "random") if "random" in self.orders else None
        ordered = [order for order in self.orders if order != "random"]
        rows = []
        for curve in (self.curve(method, order) for method in self.methods for order in ordered):
            less: tuple[float | None, float | None] = (None, None)
            if random is not None:
                less = _mean_and_half_width(curve.aopc_per_sample - random.aopc_per_sample, level)
            rows.append(ResultRow(curve.method, curve.order, *_mean_and_half_width(curve.aopc_per_sample, level), *less))
        if random is not None:
            rows.append(ResultRow(RANDOM_ORDER, "random", *_mean_and_half_width(random.aopc_per_sample, level), None, None))
        return rows

    def table(self, level: float = 0.95) -> str:
        """``rows`` as text, a line per method; behind AOPC, if there are random orders, the difference to them.

        Raises:
            InputError: the level is not between 0 and 1.
        """
        ordered = [order for order in self.orders if order != "random"]
        has_random = "random" in self.orders
        header = ["method"]
        for order in ordered or ["random"]:
            header.append(f"AOPC {TITLES[order]}" if ordered else "AOPC")
            if has_random and ordered:
                header.append("less random")
        lines: dict[tuple[str, bool], list[str]] = {}
        for row in self.rows(level):
            cells = [with_half_width(row.aopc, row.half_width)]
            if has_random and ordered:
                less, half_width = row.less_random, row.less_random_half_width
                cells.append("" if less is None or half_width is None else with_half_width(less, half_width))
            is_random = row.order == "random"
            lines.setdefault((row.method, is_random), []).extend(cells * max(len(ordered), 1) if is_random else cells)
        return text_table(header, [[method, *cells] for (method, _), cells in lines.items()])

    def protocol(self) -> dict[str, str]:
        """What was done, in words."""
        values = self.settings
        parameters = ", ".join(
            f"{key}={_short(values[key])}" for key in ("value", "low", "high", "of", "sigma") if values.get(key) is not None
        )
        share = f", together {values['share']:.1%} of the input" if "share" in values else ""
        others = {key: str(values[key]) for key in ("repeats", "score", "border", "seed") if key in values}
        return {
            "samples": str(len(self.target)),
            "steps": f"{values['steps']} of {values['regions_per_step']} of {values['regions']} regions",
            "regions": f"{values['region']}{share}",
            "filling": f"{values['filling']}({parameters})" if parameters else str(values["filling"]),
            **others,
        }

    def __str__(self) -> str:
        words = self.protocol()
        steps, _, regions = words["steps"].partition(" of ")
        text = (
            f"{words['samples']} sample(s), {steps} steps of {regions} ({words['regions']})\nfilling {words['filling']},"
            f" {words['repeats']} repeat(s), score {words['score']}; mean over samples and its 95 % interval"
        )
        return f"{text}\n\n{self.table()}"

    def plot(self, *, relative: bool = False, bands: bool | None = None, level: float = 0.95) -> Figure:
        """Mean curves as a matplotlib Figure, a panel for each order.

        Args:
            relative: AOPC less that of random orders as a function of L, as in figure 3.5, and not f(x^(k)).
            bands: shade confidence intervals; by default if there are at most 3 methods.
            level: of the intervals.

        Raises:
            InputError: as ``relative()`` says; the level is not between 0 and 1.
        """
        figure: Figure = self._page(relative, bands, level).figure
        return figure

    def save_plot(self, path: str | os.PathLike[str], *, dpi: float = 150, **options: Any) -> Path:
        """Write ``plot(**options)`` as PNG, SVG or PDF, as the suffix says, and return the path.

        Raises:
            InputError: another suffix; as ``plot`` says.
        """
        from graphlrp.evaluation.drawing import write_page

        options = {"relative": False, "bands": None, "level": 0.95} | options
        return write_page(self._page(**options), path, dpi)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to an HDF5 file, whole or not at all; ``graphlrp.evaluation.read_result`` reads it."""
        from graphlrp.evaluation.storage import write_result

        write_result(path, self)

    def _page(self, relative: bool, bands: bool | None, level: float) -> Any:
        from graphlrp.evaluation.drawing import Line, Panel, draw_panels

        shaded = len(self.methods) <= 3 if bands is None else bands
        ordered = [order for order in self.orders if order != "random"] or ["random"]
        panels = []
        for order in ordered:
            lines = []
            curves: tuple[Curve, ...] | tuple[RelativeCurve, ...]
            if relative:
                curves = self.relative(order)
            else:
                curves = tuple(curve for curve in self.curves if curve.order in (order, "random"))
            for curve in curves:
                band = curve.interval(level) if shaded else None
                lines.append(Line(curve.method, np.arange(len(curve.mean)), curve.mean, band, plain=curve.order == "random"))
            panels.append(Panel(TITLES[order], lines, zero=relative))
        score = str(self.settings["score"])
        up = "AOPC less that of random orders" if relative else "f(x)" if score == "output" else score
        return draw_panels(panels, across="steps L" if relative else "steps k", up=up)
