"""The plan: what was done to the model and which rule every mapping got, to read as a table or as a picture."""

from __future__ import annotations

import colorsys
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from graphlrp.errors import InputError
from graphlrp.ir.canonical import PassNote
from graphlrp.ledger import Ledger

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from graphlrp.explanation import Explanation

UNCHANGED = ("(pass)", "(copy back)", "Pass()")
"""Rules that hand on relevance as it is."""

UNCHANGED_COLOUR = "#ececec"

RULE_COLOURS = {
    "Epsilon": "#bdd7f0",
    "ZPlus": "#fbcf9d",
    "AlphaBeta": "#f2b8a8",
    "Gamma": "#f6e08c",
    "Flat": "#c3e3b1",
    "WSquare": "#a8ddd0",
    "ZBounds": "#d5c5ee",
    "Gradient": "#dcc9a6",
    "(z-rule": "#a9dcec",
    "(winner": "#f5c1dc",
    "(ε": "#c5cdf5",
    "(Taylor": "#dde89f",
    "(share": "#d9b6c6",
    "": "#b9cdb0",
}
"""Fill colour by how the rule's text begins; dark text is legible on all of them, on a screen and in print."""


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
        edges: where data flows: name of a node or explained input -> name of a node or of the explained output, each pair
            once, in the order of the rows. An explained value that bears the name of a node is told apart from it by
            " (input)" or " (output)" behind its name.
        layout: axes of what is explained, such as ``"NCHW"``, if that is one value that can be pictures.
    """

    composite: str
    explained: Sequence[str]
    output: str
    policies: dict[str, str]
    passes: list[PassNote]
    removed: list[str]
    verification: str = "not yet verified"
    rows: list[PlanRow] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)
    layout: str | None = None

    @property
    def sources(self) -> list[str]:
        """The explained inputs as ``edges`` names them, in the order of ``explained``."""
        taken = {self.output, *(row.node for row in self.rows)}
        return [f"{name} (input)" if name in taken else name for name in self.explained]

    @property
    def sink(self) -> str:
        """The explained output as ``edges`` names it."""
        taken = {*self.explained, *(row.node for row in self.rows)}
        return f"{self.output} (output)" if self.output in taken else self.output

    @property
    def colours(self) -> dict[str, str]:
        """Fill colour ``#rrggbb`` of every rule of the plan, in order of appearance; rules that change nothing are grey."""
        rules = list(dict.fromkeys(row.rule for row in self.rows))
        colours = dict.fromkeys((rule for rule in rules if rule in UNCHANGED), UNCHANGED_COLOUR)
        free = dict(RULE_COLOURS)
        for rule in rules:
            start = next((start for start in free if start and rule.startswith(start)), None)
            if rule not in colours and start is not None:
                colours[rule] = free.pop(start)
        remaining = iter(free.values())
        for index, rule in enumerate(rules):
            if rule not in colours:
                # Steps of the golden angle keep hues apart, however many there are.
                red, green, blue = colorsys.hls_to_rgb(index * 0.618 % 1, 0.8, 0.5)
                colours[rule] = next(remaining, f"#{int(255 * red):02x}{int(255 * green):02x}{int(255 * blue):02x}")
        return {rule: colours[rule] for rule in rules}

    def __str__(self) -> str:
        lines = [f"{name:<11}{text}" for name, text in self._header()]
        header = ("node", "op", "mapping", "rule", "notes")
        table = [header] + [(row.node, row.operator, row.mapping, row.rule, row.notes) for row in self.rows]
        widths = [min(max(len(line[column]) for line in table), 60) for column in range(len(header))]
        lines.append("")
        for index, line in enumerate(table):
            lines.append("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
            if index == 0:
                lines.append("  ".join("-" * width for width in widths))
        return "\n".join(lines)

    def __rich__(self) -> RenderableType:
        """The same for terminals: ``rich.print(plan)``; every rule has the colour that it has in the picture."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        header = Table.grid(padding=(0, 2))
        for name, text in self._header():
            header.add_row(Text(name, "bold"), Text(text))
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for name in ("node", "op", "mapping", "rule", "notes"):
            # A name that is cut off would be of no use: it is what options and selectors ask for.
            table.add_column(name, overflow="fold")
        colours = self.colours
        for row in self.rows:
            rule = Text(row.rule, f"#1a1a1a on {colours[row.rule]}")
            table.add_row(Text(row.node), Text(row.operator), Text(row.mapping), rule, Text(row.notes))
        return Group(header, "", table)

    def json(self) -> str:
        """The plan as JSON."""
        return json.dumps(asdict(self), indent=2)

    def save_image(
        self,
        path: str | os.PathLike[str],
        explanation: Explanation | None = None,
        sample: int | None = None,
        **options: Any,
    ) -> None:
        """Write the network with its rules, and with the relevance of an explanation, as PNG, SVG or PDF.

        Args:
            path: where to; its suffix says which.
            explanation: made with ``ledger=True``; every box then shows the relevance that it received.
            sample: which one to show; the mean over all by default.
            **options: those of ``graphlrp.visual.save_network``.

        Raises:
            InputError: another suffix, an explanation without a ledger or of another plan, no such sample.
        """
        from graphlrp.visual.network import save_network

        save_network(path, self, explanation, sample, **options)

    def plot(self, explanation: Explanation | None = None, sample: int | None = None) -> Figure:
        """The same as a matplotlib Figure, which notebooks show."""
        from graphlrp.visual.network import network_figure

        return network_figure(self, explanation, sample)

    def ledger_of(self, explanation: Explanation) -> Ledger:
        """The ledger of an explanation that was made by this plan.

        Raises:
            InputError: it has none, or names other mappings or rules than the plan.
        """
        if explanation.ledger is None:
            raise InputError("the explanation has no ledger, so nobody knows where relevance went: load with ledger=True")
        rules = {row.node: row.rule for row in self.rows}
        for entry in explanation.ledger:
            if rules.get(entry.name) != entry.rule:
                raise InputError(
                    f"the explanation was not made by this plan: its ledger has {entry.op} {entry.name!r} with {entry.rule},"
                    + (f" the plan has {rules[entry.name]} there" if entry.name in rules else " which is not in the plan")
                )
        return explanation.ledger

    def _header(self) -> list[tuple[str, str]]:
        lines = [("explains", f"{self.output} in terms of {', '.join(self.explained)}"), ("composite", self.composite)]
        if self.policies:
            lines.append(("policies", ", ".join(f"{name}={value}" for name, value in sorted(self.policies.items()))))
        lines += [("pass", f"{note.name}: {note.note}") for note in self.passes]
        lines += [("removed", f"{name} is no part of the explained function") for name in self.removed]
        return [*lines, ("verified", self.verification)]
