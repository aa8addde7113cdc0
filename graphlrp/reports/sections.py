"""Which section shows which kind of result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.explanation import Explanation
from graphlrp.plan import Plan
from graphlrp.reports.explanations import explanation_section
from graphlrp.reports.figures import figure_section
from graphlrp.reports.plans import plan_section
from graphlrp.reports.section import Section
from graphlrp.reports.style import Style


def section_of(result: Any, style: Style, heading: str, options: Mapping[str, Any]) -> Section:
    """The section for a result, by its type or that of the first of several.

    Raises:
        InputError: there is none, or an option is not one of its.
    """
    sample = next(iter(result.values()), None) if isinstance(result, Mapping) else result
    sample = sample[0] if isinstance(sample, (list, tuple)) and sample else sample
    try:
        if isinstance(sample, Explanation):
            return explanation_section(result, style, heading, **options)
        if isinstance(sample, (Explainer, Plan)):
            return plan_section(result, heading, **options)
        if isinstance(sample, Figure):
            return figure_section(result, heading, **options)
        return _of_consumers(result, sample, style, heading, options)
    except TypeError as error:
        if "keyword argument" in str(error):
            raise InputError(f"a section for {type(sample).__name__}: {str(error).partition('() ')[2]}") from error
        raise


def _of_consumers(result: Any, sample: Any, style: Style, heading: str, options: Mapping[str, Any]) -> Section:
    """Sections of what other packages make of explanations; these are imported only where it may be theirs."""
    from graphlrp.evaluation import ContinuityResult, PerturbationResult, RandomisationResult
    from graphlrp.reports.evaluation import evaluation_section
    from graphlrp.reports.measures import measure_section
    from graphlrp.reports.spectral import analysis_section, ranking_section
    from graphlrp.spray import Analysis, Ranking

    if isinstance(result, (PerturbationResult, RandomisationResult, ContinuityResult)):
        return evaluation_section(result, heading, **options)
    if isinstance(result, Ranking):
        return ranking_section(result, heading, **options)
    if isinstance(result, Analysis):
        return analysis_section(result, style, heading, **options)
    if isinstance(sample, Mapping):
        return measure_section(result, heading, **options)
    several = (
        f" several of type {type(sample).__name__}: add one at a time" if sample is not result else f" {type(result).__name__}"
    )
    raise InputError(f"a report has no section for{several}")
