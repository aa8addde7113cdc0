"""What a check says: a report of what passed and what did not apply, or an error that shows the neuron that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ROWS = 12
"""Inputs that the table of a neuron shows at most."""


class ConformanceError(AssertionError):
    """A mapping or rule does not keep its contract. The text names the check and shows the neuron that is worst.

    Attributes:
        check: name of the check.
        rule: the rule, ``"own messages"`` for those of the mapping itself, "" where no rule plays a part.
        sample: name of the sample, "" where none plays a part.
        neuron: index j of the offending output neuron in the flattened sample, None where it is no matter of one.
    """

    def __init__(self, check: str, text: str, *, rule: str = "", sample: str = "", neuron: int | None = None) -> None:
        super().__init__(text)
        self.check, self.rule, self.sample, self.neuron = check, rule, sample, neuron


class NotApplicable(Exception):  # noqa: N818 - it tells of no error
    """A check that has nothing to check here; the text says why."""


@dataclass(frozen=True)
class Row:
    """The outcome of one check.

    Attributes:
        check: its name.
        what: what it compared.
        error: the worst relative error, None where nothing was measured.
        reason: why the check does not apply, "" if it passed.
    """

    check: str
    what: str
    error: float | None = None
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the check applied; a check that fails raises."""
        return not self.reason


@dataclass(frozen=True)
class Report:
    """The checks of one mapping or rule, which all passed or did not apply; ``print`` it."""

    title: str
    rows: tuple[Row, ...] = field(default=())

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, check: str) -> Row:
        """The row of a check by name.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.check == check:
                return row
        raise KeyError(check)

    def __str__(self) -> str:
        lines = [self.title, f"{'check':<13} {'result':<14} {'worst error':>11}  what"]
        lines.append("-" * len(lines[-1]))
        for row in self.rows:
            result, what = ("passed", row.what) if row.passed else ("not applicable", row.reason)
            error = "" if row.error is None else f"{row.error:.1e}"
            lines.append(f"{row.check:<13} {result:<14} {error:>11}  {what}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Neuron:
    """One output neuron j in one sample, for the table of a failure.

    Attributes:
        output: the neuron by name, ``y[1, 0]``.
        index: j, its index in the flattened sample.
        inputs: names of the D inputs i.
        x: their values, [D].
        z: z_ij, [D], None if it is not known.
        expected: the messages that are expected, [D], None if that is not known.
        actual: the messages that were sent, [D], None if it is not about messages.
        relevance: R_j, None if it is not about messages.
        booked: what the ledger says of R_j, by kind; None if it is not known.
        quantity: what ``expected`` and ``actual`` are.
    """

    output: str
    index: int
    inputs: Sequence[str]
    x: Array
    z: Array | None = None
    expected: Array | None = None
    actual: Array | None = None
    relevance: float | None = None
    booked: Mapping[str, float] | None = None
    quantity: str = "message"

    def __str__(self) -> str:
        columns: dict[str, Array] = {"x_i": self.x}
        if self.z is not None:
            columns["z_ij"] = self.z
        if self.expected is not None:
            columns["expected"] = self.expected
        if self.actual is not None:
            columns["actual"] = self.actual
        order, difference = self._order(), None
        if self.expected is not None and self.actual is not None:
            difference = columns["difference"] = self.actual - self.expected
        width = max(len(name) for name in ["input i", *(self.inputs[i] for i in order[:ROWS])])
        lines = [f"  {'input i':<{width}} " + " ".join(f"{name:>13}" for name in columns)]
        for i in order[:ROWS]:
            lines.append(
                f"  {self.inputs[i]:<{width}} " + " ".join(f"{float(column[i]) + 0.0:13.6g}" for column in columns.values())
            )
        if len(order) > ROWS:
            rest = "" if difference is None else f", differences up to {float(np.abs(difference[order[ROWS:]]).max()):.1e}"
            lines.append(f"  ... and {len(order) - ROWS} more inputs{rest}")
        if self.relevance is not None and self.actual is not None:
            sent = float(self.actual.sum())
            told = f"  R_j = {self.relevance:.6g}; {self.quantity}s add up to {sent:.6g}"
            if self.booked is not None:
                kinds = {kind: amount for kind, amount in self.booked.items() if amount != 0}
                told += "; the ledger booked " + (", ".join(f"{k} {a:.6g}" for k, a in kinds.items()) or "nothing")
                told += f"; missing {self.relevance - sent - sum(kinds.values()):.6g}"
            lines.append(told)
        return "\n".join(lines)

    def _order(self) -> Array:
        """Inputs by difference, or by what there is to see of them."""
        keys = [np.abs(self.x)]
        keys += [np.abs(column) for column in (self.z, self.expected, self.actual) if column is not None]
        if self.expected is not None and self.actual is not None:
            keys.append(np.abs(self.actual - self.expected))
        elif self.actual is not None and self.z is not None:
            # Without an expectation, whoever gets much for little comes first.
            keys.append(np.abs(self.actual))
        return np.lexsort([-np.nan_to_num(key, nan=np.inf) for key in keys])
