"""The section of measures: numbers of every sample, such as those of ``graphlrp.evaluation.localisation``, by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from graphlrp.errors import InputError
from graphlrp.evaluation.result import mean_interval
from graphlrp.evaluation.tables import with_margin
from graphlrp.reports.section import Section


@dataclass(frozen=True)
class Measured:
    """The mean of one measure for one method.

    Attributes:
        text: the mean and half the width of its 95 % interval, or of a share the ends of the interval.
        mean: over the samples for which it is defined.
        undefined: how many it is not defined for.
        share: whether it is the share of samples whose value is 1.
    """

    text: str
    mean: float
    undefined: int
    share: bool = False


def wilson_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a share p = hits / n by Wilson's score.

    (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n), z the (1 + level)/2 quantile of the normal distribution. It stays
    between 0 and 1, and has a width where all values are equal.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", J. Am. Stat. Assoc. 22 (1927).
    """
    share, z = hits / count, float(norm.ppf((1 + level) / 2))
    centre = share + z**2 / (2 * count)
    margin = z * float(np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)))
    low, high = ((centre + side * margin) / (1 + z**2 / count) for side in (-1, 1))
    # Rounding must not cut off 0 and 1.
    return (0.0 if hits == 0 else low), (1.0 if hits == count else high)


def measured(values: Any, *, shares: bool = False) -> Measured:
    """The mean of numbers [N]; those that are not finite are counted and left out.

    Args:
        values: of every sample.
        shares: take values that are all 0 or 1 for answers, yes or no, whose mean is a share with :func:`wilson_interval`.

    Raises:
        InputError: they are no numbers [N], or there are none.
    """
    array = np.asarray(values)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "fiub":
        raise InputError(f"a measure is one number for each sample [N], not of shape {list(array.shape)} and type {array.dtype}")
    finite = array[np.isfinite(array)].astype(np.float64)
    undefined = len(array) - len(finite)
    if not len(finite):
        return Measured("\N{EN DASH}", float("nan"), undefined)
    mean = float(finite.mean())
    if shares and np.isin(finite, (0.0, 1.0)).all():
        low, high = wilson_interval(int(finite.sum()), len(finite))
        return Measured(f"{mean:.2f} ({low:.2f} to {high:.2f})", mean, undefined, share=True)
    lower, upper = mean_interval(finite)
    return Measured(with_margin(mean, float(lower), float(upper)).replace("-", "\N{MINUS SIGN}"), mean, undefined)


def measure_section(result: Mapping[str, Mapping[str, Any]], heading: str) -> Section:
    """A table with a row for each method and a column for each measure.

    Args:
        result: {method: {measure: numbers [N]}}; all methods have the same measures.
        heading: of the section.

    Raises:
        InputError: methods of different measures, or what is no number for each sample.
    """
    names: Sequence[str] = list(next(iter(result.values())))
    if any(list(row) != names for row in result.values()) or not names:
        raise InputError(f"every method needs the same measures, {', '.join(names) or 'at least one'}")
    rows = [(method, [measured(values, shares=True) for values in row.values()]) for method, row in result.items()]
    return Section(heading or "Measures", "measures.html", measures_content(names, rows))


def measures_content(names: Sequence[str], rows: Sequence[tuple[str, Sequence[Measured]]]) -> Mapping[str, Any]:
    """What the template of a table of measures reads."""
    cells = [cell for _, row in rows for cell in row]
    kinds = {"shares": any(cell.share for cell in cells), "means": not all(cell.share for cell in cells)}
    return {"names": names, "rows": rows, **kinds}
