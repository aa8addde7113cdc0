"""The ledger on a page: what was absorbed by kind, and the nodes that matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphlrp.explanation import Explanation
from graphlrp.ir.emitter import ABSORBED
from graphlrp.reports.summary import summaries

WORST = 8
"""How many nodes are listed."""


@dataclass(frozen=True)
class NodeSummary:
    """One node; numbers are means over the samples, the error is the largest."""

    name: str
    operator: str
    rule: str
    received: float
    absorbed: float
    kind: str
    error: float


@dataclass(frozen=True)
class LedgerSummary:
    """One ledger; numbers are means over the samples, the error is the largest.

    Attributes:
        title: whose it is.
        first: whether it is that of the best class, whose nodes are listed.
        start: what relevance started from, as far as it is accounted for: ΣR + absorbed.
        total: ΣR of the inputs.
        kinds: what was absorbed, by kind.
        error: of the whole model.
        nodes: those that absorbed most.
        worst: the node that balances worst.
        count: number of nodes.
        more: whether more nodes absorb relevance than are listed.
    """

    title: str
    first: bool
    start: float
    total: float
    kinds: dict[str, float]
    error: float
    nodes: Sequence[NodeSummary]
    worst: NodeSummary
    count: int
    more: bool


def ledger_summary(explanation: Explanation, title: str, *, first: bool = True) -> LedgerSummary | None:
    """Summarise the ledger of an explanation; None if it has none or an empty one."""
    ledger, errors = explanation.ledger, explanation.conservation_error
    if ledger is None or errors is None or not len(ledger):
        return None
    nodes = []
    for entry in ledger:
        kinds = {kind: _mean(getattr(entry, kind)) for kind in ABSORBED}
        largest = max(kinds, key=lambda kind: abs(kinds[kind]))
        nodes.append(
            NodeSummary(
                entry.name,
                entry.op,
                entry.rule,
                _mean(entry.relevance_in),
                sum(kinds.values()),
                largest if kinds[largest] else "",
                _largest(entry.error),
            )
        )
    total = float(np.mean([one.total for one in summaries(explanation)]))
    kinds = {kind: _mean(ledger.total(kind)) for kind in ABSORBED}
    most = sorted((node for node in nodes if node.absorbed), key=lambda node: -abs(node.absorbed))
    worst = max(nodes, key=lambda node: node.error)
    return LedgerSummary(
        title,
        first,
        total + sum(kinds.values()),
        total,
        kinds,
        _largest(errors),
        most[:WORST],
        worst,
        len(nodes),
        len(most) > WORST,
    )


def _mean(values: object) -> float:
    return float(np.mean(np.asarray(values), dtype=np.float64))


def _largest(values: object) -> float:
    return float(np.max(np.nan_to_num(np.asarray(values), nan=np.inf)))
