"""The section of measures: numbers of every sample, such as those of ``graphlrp.evaluation.localisation``, by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphlrp.errors import InputError
from graphlrp.evaluation.result import mean_interval
from graphlrp.evaluation.tables import with_margin
from graphlrp.reports.section import Section


@dataclass(frozen=True)
class Measured:
    """The mean of one measure for one method.

    Attributes:
        text: the mean and half the width of its 95 % interval.
        mean: over the samples for which it is defined.
        undefined: how many it is not defined for.
    """

    text: str
    mean: float
    undefined: int


def measured(values: Any) -> Measured:
    """The mean of numbers [N]; those that are not finite are counted and left out.

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
    low, high = mean_interval(finite)
    mean = float(finite.mean())
    return Measured(with_margin(mean, float(low), float(high)).replace("-", "\N{MINUS SIGN}"), mean, undefined)


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
    rows = [(method, [measured(values) for values in row.values()]) for method, row in result.items()]
    return Section(heading or "Measures", "measures.html", {"names": names, "rows": rows})
