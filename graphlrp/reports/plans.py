"""The section of rules: what was done to the model, which rule every node has, and the network as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context

from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.plan import Plan, PlanRow
from graphlrp.reports.maps import data_uri
from graphlrp.reports.section import Section
from graphlrp.visual.network import network_figure


@dataclass(frozen=True)
class PlanView:
    """One plan.

    Attributes:
        name: of the composite.
        facts: (what, text) about the model as a whole.
        rows: a node each.
        colours: of the rules.
        drawing: SVG of the network as data URI; None if it is not drawn.
    """

    name: str
    facts: Sequence[tuple[str, str]]
    rows: Sequence[PlanRow]
    colours: Mapping[str, str]
    drawing: str | None


def plan_section(result: Any, heading: str, *, drawing: bool = True) -> Section:
    """Plans by the name of their composite, or one.

    Args:
        result: a Plan or an Explainer, or several by name.
        heading: of the section.
        drawing: draw the network, too.

    Raises:
        InputError: anything else than plans and explainers.
    """
    given = result if isinstance(result, Mapping) else {"": result}
    if not given:
        raise InputError("a section of rules needs at least one plan")
    content = {"plans": [_view(name, value, drawing) for name, value in given.items()]}
    return Section(heading or "Rules", "plans.html", content, fresh=True)


def _view(name: str, value: Any, drawing: bool) -> PlanView:
    plan = value.plan if isinstance(value, Explainer) else value
    if not isinstance(plan, Plan):
        raise InputError(f"a section of rules is made of plans or explainers, not of {type(value).__name__}")
    facts = [("explains", f"{plan.output} in terms of {', '.join(plan.explained)}"), ("composite", plan.composite)]
    facts += (
        [("policies", ", ".join(f"{key}={choice}" for key, choice in sorted(plan.policies.items())))] if plan.policies else []
    )
    facts += [("pass", f"{note.name}: {note.note}") for note in plan.passes]
    facts += [("removed", f"{operator} is no part of the explained function") for operator in plan.removed]
    facts.append(("verified", plan.verification))
    return PlanView(name, facts, plan.rows, plan.colours, _drawing(plan) if drawing else None)


def _drawing(plan: Plan) -> str:
    content = io.BytesIO()
    # Without the salt, the identifiers inside would be drawn by lot; paths look the same without the font.
    with rc_context({"svg.hashsalt": "graphlrp", "svg.fonttype": "path"}):
        network_figure(plan).savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return data_uri(content.getvalue(), "image/svg+xml")
