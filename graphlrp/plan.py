"""The plan: what was done to the model and which rule every mapping got, as a table to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from graphlrp.ir.canonical import PassNote


@dataclass(frozen=True)
class PlanRow:
    """One mapping of the plan."""

    node: str
    operator: str
    mapping: str
    family: str
    rule: str
    notes: str = ""


@dataclass
class Plan:
    """What an explainer does, in order of the data flow.

    Attributes:
        composite: the composite, and why if it was chosen automatically.
        explained: names of the explained inputs, ``output`` the explained output.
        passes: what canonicalisation did.
        removed: operators behind the explained output that are no part of the explained function.
        verification: how canonical and original outputs agree.
        rows: one per mapping, in topological order.
    """

    composite: str
    explained: Sequence[str]
    output: str
    policies: dict[str, str]
    passes: list[PassNote]
    removed: list[str]
    verification: str = "not yet verified"
    rows: list[PlanRow] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"explains   {self.output} in terms of {', '.join(self.explained)}",
            f"composite  {self.composite}",
        ]
        if self.policies:
            lines.append("policies   " + ", ".join(f"{name}={value}" for name, value in sorted(self.policies.items())))
        lines += [f"pass       {note.name}: {note.note}" for note in self.passes]
        lines += [f"removed    {name} is no part of the explained function" for name in self.removed]
        lines.append(f"verified   {self.verification}")
        header = ("node", "op", "mapping", "rule", "notes")
        table = [header] + [(row.node, row.operator, row.mapping, row.rule, row.notes) for row in self.rows]
        widths = [min(max(len(line[column]) for line in table), 60) for column in range(len(header))]
        lines.append("")
        for index, line in enumerate(table):
            lines.append("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
            if index == 0:
                lines.append("  ".join("-" * width for width in widths))
        return "\n".join(lines)

    def json(self) -> str:
        """The plan as JSON."""
        return json.dumps(asdict(self), indent=2)
