"""What a rule is, and what it may ask of a linear mapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import onnx_ir as ir

from graphlrp.ir.emitter import Emitter
from graphlrp.rules.parameters import in_words
from graphlrp.rules.weights import Weight


class LinearProblem(Protocol):
    """One linear mapping, z_j = Σ_i x_i w_ij + b_j, as a rule sees it."""

    @property
    def x(self) -> ir.Value:
        """The input."""

    @property
    def nonnegative(self) -> bool:
        """Whether x ≥ 0 is known."""

    def z(self, op: Emitter) -> ir.Value:
        """The forward value, with the bias unless the bias policy leaves it out."""

    def bias(self, op: Emitter) -> ir.Value | None:
        """The bias as a value that broadcasts to z; None if there is none or the policy leaves it out."""

    def weight(self, op: Emitter) -> Weight:
        """The weights."""

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """Σ_i x_i w_ij without bias."""

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """Σ_j w_ij s_j; may have size 1 along axes where the result is constant."""

    def rectified(self, op: Emitter, relevance: ir.Value) -> ir.Value | None:
        """max(z, 0) as a value of the model, if the relevance is known to be zero wherever that is."""


@dataclass(frozen=True)
class Decomposition:
    """What a rule makes of a linear mapping's relevance."""

    message: ir.Value
    """Σ_j R_{i←j}, shaped like the input (or broadcasting to it)."""

    bias: Callable[[], ir.Value] | None = None
    """Emits the share of the bias, shaped like the output."""


@dataclass(frozen=True)
class Rule:
    """How relevance R_j of an output is split into messages R_{i←j}.

    Subclass it as a frozen dataclass, one field per parameter, and write ``linear_messages`` on ``apply`` and ``adjoint``.
    """

    conserves: ClassVar[bool] = True
    """Whether messages and booked absorption add up to the relevance received."""

    def linear_messages(self, op: Emitter, mapping: LinearProblem, relevance: ir.Value) -> Decomposition:
        """Emit the messages of a linear mapping and book what they leave over (``op.absorb``)."""
        raise NotImplementedError(f"{type(self).__name__} has no messages for linear mappings")

    def __str__(self) -> str:
        return in_words(self)
