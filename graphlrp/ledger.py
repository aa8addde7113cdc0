"""The ledger: where all relevance went, mapping by mapping, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from graphlrp.errors import ConservationError, InputError
from graphlrp.ir.emitter import ABSORBED

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class LedgerEntry:
    """What one mapping received, sent on and kept; every array is [N].

    ``relevance_in = relevance_out + bias + stabilizer + constant + dead + residual`` up to rounding. ``relevance_out`` sums
    the actual messages, the kinds of absorption are computed by their own formulas, so the equation is a check and no
    definition. ``magnitude`` is Σ|R| received.
    """

    name: str
    op: str
    rule: str
    relevance_in: Array
    magnitude: Array
    relevance_out: Array
    bias: Array
    stabilizer: Array
    constant: Array
    dead: Array
    residual: Array

    @property
    def absorbed(self) -> Array:
        """What reached no input, [N]."""
        return self.bias + self.stabilizer + self.constant + self.dead + self.residual

    @property
    def imbalance(self) -> Array:
        """|relevance_in - relevance_out - absorbed|, [N]."""
        return np.abs(self.relevance_in - self.relevance_out - self.absorbed)

    @property
    def error(self) -> Array:
        """Imbalance relative to the magnitude of what passed: Σ|R| received, or more where messages cancel, [N]."""
        parts = np.abs(self.bias) + np.abs(self.stabilizer) + np.abs(self.constant) + np.abs(self.dead) + np.abs(self.residual)
        scale = np.maximum(self.magnitude, np.abs(self.relevance_out) + parts)
        return self.imbalance / np.where(scale > 0, scale, 1)


class Ledger(Sequence[LedgerEntry]):
    """Entries in the order of the walk, from the explained output to the inputs."""

    def __init__(self, entries: Sequence[LedgerEntry]) -> None:
        self._entries = list(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Entry by position, or by the name of its node."""
        if isinstance(index, str):
            for entry in self._entries:
                if entry.name == index:
                    return entry
            raise KeyError(index)
        return self._entries[index]

    def __iter__(self) -> Iterator[LedgerEntry]:
        return iter(self._entries)

    @property
    def absorbed(self) -> Array:
        """Relevance that reached no input, over all mappings, [N]."""
        return np.asarray(np.sum([entry.absorbed for entry in self._entries], axis=0))

    def total(self, kind: str) -> Array:
        """What all entries absorbed of one kind, such as ``"bias"`` or ``"residual"``, [N].

        Raises:
            InputError: there is no such kind.
        """
        if kind not in ABSORBED:
            raise InputError(f"unknown kind {kind!r} of absorbed relevance; there are {', '.join(ABSORBED)}")
        return np.asarray(np.sum([getattr(entry, kind) for entry in self._entries], axis=0))

    @property
    def worst(self) -> LedgerEntry:
        """The entry with the largest relative error in any sample."""
        return max(self._entries, key=lambda entry: float(np.max(np.nan_to_num(entry.error, nan=np.inf))))

    def check(self, tolerance: float) -> None:
        """Raise if any entry does not balance.

        Raises:
            ConservationError: the error of some mapping exceeds ``tolerance`` or is not finite; the worst is named.
        """
        worst = self.worst
        error = float(np.max(np.nan_to_num(worst.error, nan=np.inf)))
        if not error <= tolerance:
            sample = int(np.argmax(np.nan_to_num(worst.error, nan=np.inf)))
            got, sent, kept = (float(a[sample]) for a in (worst.relevance_in, worst.relevance_out, worst.absorbed))
            rule = worst.rule.strip("()") if worst.rule.startswith("(") else worst.rule
            raise ConservationError(
                f"{worst.op} node {worst.name!r} ({rule}) does not conserve: sample {sample} received {got:.6g}, sent {sent:.6g}"
                f" and absorbed {kept:.6g}; relative error {error:.2e}, tolerance {tolerance:.0e}"
            )

    def __str__(self) -> str:
        kinds = ("relevance_in", "relevance_out", "bias", "stabilizer", "constant", "dead", "residual")
        columns = " ".join(f"{kind.removeprefix('relevance_'):>12}" for kind in kinds)
        width = min(max(20, *(len(entry.op) for entry in self._entries)), 40)
        header = f"{'node':<32} {'op':<{width}} {columns} {'error':>9}"
        lines = [header, "-" * len(header)]
        for e in self._entries:
            numbers = " ".join(f"{float(np.mean(getattr(e, kind))):12.5g}" for kind in kinds)
            lines.append(f"{e.name[:32]:<32} {e.op[:width]:<{width}} {numbers} {float(np.max(e.error)):9.1e}")
        return "\n".join(lines)


def conservation_error(start: Array, relevance: Sequence[Array], ledger: Ledger) -> Array:
    """|Σ R_start - Σ R_inputs - absorbed| / magnitudes, [N].

    Args:
        start: Σ of the initial relevance per sample, [N].
        relevance: relevance of the explained inputs, [N, ...] each; sparse or not.
        ledger: the ledger of the same run.
    """
    reached = np.sum([per_sample(r) for r in relevance], axis=0)
    absorbed = np.asarray(ledger.absorbed, dtype=np.float64)
    magnitude = (
        np.abs(start)
        + np.sum([per_sample(abs(r)) for r in relevance], axis=0)
        + np.sum([np.abs(entry.absorbed) for entry in ledger], axis=0)
    )
    return np.asarray(np.abs(start - reached - absorbed) / np.where(magnitude > 0, magnitude, 1))


def per_sample(relevance: Any) -> Array:
    """Σ R of every sample, [N], in double precision; of [N, ...] or a sparse [N, D]."""
    if issparse(relevance):
        return np.asarray(relevance.sum(axis=1, dtype=np.float64)).ravel()
    return np.asarray(relevance.reshape(len(relevance), -1).sum(1, dtype=np.float64))
