"""What a kernel is: numbers for fitting (``SVC(kernel=RBF(0.1))``), ONNX nodes for running and explaining; sums of kernels.

A kernel computes k(x, y) between samples x and support vectors y, and knows its messages: k^(d)(x_d, y_d) if it is a sum over
dimensions, ∂k/∂x_d if it is differentiable. Kernels can be added, weighted and restricted to columns (2.67):

    0.5 * RBF(gamma=2.0).on(range(0, 100)) + HistogramIntersection().on(range(100, 300))

To add a kernel, subclass ``Kernel`` as a frozen dataclass; its name and fields are what a saved machine stores of it.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.sparse import issparse

from graphlrp.errors import InputError, ModelError, RuleError
from graphlrp.ir.emitter import Emitter, static_sizes

Array = npt.NDArray[Any]


class Ways:
    """Straight ways to x [N, D] from those of ``references`` [R, D] that ``chosen`` [N, M] numbers; y [S, D] is the machine's.

    The point at t of the way from x_r is x̃ = x_r + t (x - x_r).
    """

    def __init__(self, op: Emitter, kernel: Kernel, x: ir.Value, references: ir.Value, chosen: ir.Value, y: ir.Value) -> None:
        self.kernel, self.x, self.references, self.chosen, self.y = kernel, x, references, chosen, y
        self.prepare(op)

    def prepare(self, op: Emitter) -> None:
        """Emit what all points need."""
        self.start = op.Gather(self.references, self.chosen, axis=0)  # [N, M, D]
        self.way = op.Sub(op.Unsqueeze(self.x, [1]), self.start)

    def values(self, op: Emitter, t: ir.Value) -> ir.Value:
        """Emit k(y_i, x̃) [N, M, S] for t [N, M, 1]."""
        points = op.Add(self.start, op.Mul(t, self.way))
        flat = op.Reshape(points, [-1, static_sizes(self.references)[1]])
        return op.Reshape(self.kernel.gram(op, flat, self.y), op.Concat(op.Shape(self.chosen), [-1], axis=0))

    def gradient(self, op: Emitter, way: ir.Value, t: ir.Value, root: ir.Value, c: ir.Value) -> ir.Value:
        """Emit Σ_i c_i ∂k(y_i, x̃)/∂x_d [N, D] at one x̃ per sample: ``root`` [N, D], at t [N, 1] of the way numbered [N, 1]."""
        return self.kernel.gradient(op, root, self.y, c)


class Kernel(ABC):
    """k(x, y) for samples x [N, D] and support vectors y [S, D]."""

    name: ClassVar[str]
    """What saved machines call it."""

    decomposable: ClassVar[bool] = False
    """Whether k is a sum over dimensions, so that its contributions are exact (2.72)."""

    interpolates: ClassVar[bool] = False
    """Whether k at points of a way follows from what is known of its ends, so that dimensions need not be gone through again."""

    known: ClassVar[dict[str, type[Kernel]]] = {}
    """All kernel classes by name."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in cls.__dict__:
            Kernel.known[cls.name] = cls

    # What a kernel is

    @abstractmethod
    def compute(self, x: Array, y: Array) -> Array:
        """k [N, S] as numbers, in float64."""

    @abstractmethod
    def gram(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """Emit k [N, S]."""

    def gradient(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """Emit Σ_i c_i ∂k(y_i, x)/∂x_d [N, D] for c [N, S]."""
        raise RuleError(f"the kernel {self} has no gradient: give {type(self).__qualname__} a method gradient(op, x, y, c)")

    def messages(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """Emit Σ_i c_i k^(d)(y_i,d, x_d) [N, D] for c [N, S]; only for sums over dimensions."""
        raise RuleError(f"the kernel {self} is a sum over dimensions but has no method messages(op, x, y, c)")

    def own_messages(self, op: Emitter, x: ir.Value) -> ir.Value:
        """Emit k^(d)(x_d, x_d) [N, D]; only for sums over dimensions."""
        raise RuleError(f"the kernel {self} is a sum over dimensions but has no method own_messages(op, x)")

    def own_gradient(self, op: Emitter, x: ir.Value) -> ir.Value:
        """Emit ∂k(x, x)/∂x_d [N, D]; only for sums over dimensions."""
        raise RuleError(f"the kernel {self} has no method own_gradient(op, x), the derivative of k(x, x)")

    def ways(self, op: Emitter, x: ir.Value, references: ir.Value, chosen: ir.Value, y: ir.Value) -> Ways:
        """Ways between samples and references; a function of distances or products need not go through all dimensions again."""
        return Ways(op, self, x, references, chosen, y)

    # Numbers

    def __call__(self, x: Any, y: Any) -> Any:
        """k as numbers: a matrix [N, S] for two matrices, one number for two vectors, as scikit-learn asks for it."""
        x, y = (a.toarray() if issparse(a) else np.asarray(a, dtype=np.float64) for a in (x, y))
        if x.ndim == 1 and y.ndim == 1:
            return float(self.compute(x[None], y[None])[0, 0])
        if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
            raise InputError(f"the kernel {self} takes [N, D] and [S, D] of equal D, not {list(x.shape)} and {list(y.shape)}")
        return self.compute(x, y)

    # Algebra

    def on(self, columns: Iterable[int] | slice) -> Combination:
        """The kernel between some columns of the samples only.

        Raises:
            InputError: no columns, negative or repeated ones.
        """
        numbers = _column_numbers(columns)
        return Combination((Term(1.0, self, numbers),))

    @property
    def terms(self) -> tuple[Term, ...]:
        """The kernel as a weighted sum of kernels."""
        return (Term(1.0, self, None),)

    def __add__(self, other: object) -> Combination:
        if not isinstance(other, Kernel):
            return NotImplemented
        return Combination((*self.terms, *other.terms))

    def __mul__(self, weight: object) -> Combination:
        if not isinstance(weight, (int, float, np.floating, np.integer)):
            return NotImplemented
        return Combination(tuple(Term(float(weight) * t.weight, t.kernel, t.columns) for t in self.terms))

    __rmul__ = __mul__

    # Saving

    def to_dict(self) -> dict[str, Any]:
        """Name and parameters."""
        fields: Any = dataclasses.fields(self) if dataclasses.is_dataclass(self) else ()
        return {"kernel": self.name, **{field.name: getattr(self, field.name) for field in fields}}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Kernel:
        """The inverse of ``to_dict``."""
        return cls(**{name: value for name, value in given.items() if name != "kernel"})

    def json(self) -> str:
        """The kernel as text, which ``read_kernel`` reads."""
        return json.dumps(self.to_dict())


def read_kernel(text: str) -> Kernel:
    """A kernel from its text.

    Raises:
        ModelError: no kernel of that name is known.
    """
    given = json.loads(text)
    return _from_dict(given)


def _from_dict(given: dict[str, Any]) -> Kernel:
    name = given.get("kernel")
    if name not in Kernel.known:
        raise ModelError(
            f"unknown kernel {name!r}; there are {', '.join(sorted(Kernel.known))}. A kernel of your own is known as soon as the"
            " module with its class is imported, for instance as a plugin"
        )
    return Kernel.known[name].from_dict(given)


@dataclass(frozen=True)
class Term:
    """weight · kernel between some columns, all if None."""

    weight: float
    kernel: Kernel
    columns: tuple[int, ...] | None


@dataclass(frozen=True)
class Combination(Kernel):
    """Σ_u w_u k_u(x^(u), y^(u)) (2.67): a weighted sum of kernels, each between columns of its own."""

    parts: tuple[Term, ...]
    name: ClassVar[str] = "combination"

    @property
    def decomposable(self) -> bool:  # type: ignore[override]
        """Whether all terms are."""
        return all(term.kernel.decomposable for term in self.parts)

    @property
    def interpolates(self) -> bool:  # type: ignore[override]
        """Whether all terms do."""
        return all(term.kernel.interpolates for term in self.parts)

    @property
    def terms(self) -> tuple[Term, ...]:
        """Its terms."""
        return self.parts

    def on(self, columns: Iterable[int] | slice) -> Combination:
        """Every term between some of its columns: those of ``columns``, counted within them."""
        outer = _column_numbers(columns)
        chosen = []
        for term in self.parts:
            if term.columns is not None and max(term.columns) >= len(outer):
                raise InputError(f"a term of {self} takes column {max(term.columns)}, of {len(outer)} columns")
            inner = outer if term.columns is None else tuple(outer[c] for c in term.columns)
            chosen.append(Term(term.weight, term.kernel, inner))
        return Combination(tuple(chosen))

    def compute(self, x: Array, y: Array) -> Array:
        """The sum."""
        total = np.zeros((len(x), len(y)))
        for term in self.parts:
            columns = slice(None) if term.columns is None else list(self._checked(term, x.shape[1]))
            total += term.weight * term.kernel.compute(x[:, columns], y[:, columns])
        return total

    def gram(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """The sum."""
        return self._sum(op, y, lambda term: term.kernel.gram(op, _columns(op, x, term), _columns(op, y, term)), spread=False)

    def gradient(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """The sum, each term to its columns."""
        return self._sum(op, y, lambda term: term.kernel.gradient(op, _columns(op, x, term), _columns(op, y, term), c))

    def messages(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """The sum, each term to its columns."""
        return self._sum(op, y, lambda term: term.kernel.messages(op, _columns(op, x, term), _columns(op, y, term), c))

    def own_messages(self, op: Emitter, x: ir.Value) -> ir.Value:
        """The sum, each term to its columns."""
        return self._sum(op, x, lambda term: term.kernel.own_messages(op, _columns(op, x, term)))

    def own_gradient(self, op: Emitter, x: ir.Value) -> ir.Value:
        """The sum, each term to its columns."""
        return self._sum(op, x, lambda term: term.kernel.own_gradient(op, _columns(op, x, term)))

    def ways(self, op: Emitter, x: ir.Value, references: ir.Value, chosen: ir.Value, y: ir.Value) -> Ways:
        """The sum of the terms along their ways."""
        return _CombinedWays(op, self, x, references, chosen, y)

    def to_dict(self) -> dict[str, Any]:
        """All terms; columns in a row as their first and the one behind the last."""
        return {
            "kernel": self.name,
            "terms": [{"weight": t.weight, "columns": _write_columns(t.columns), "of": t.kernel.to_dict()} for t in self.parts],
        }

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Kernel:
        """All terms."""
        return cls(tuple(Term(t["weight"], _from_dict(t["of"]), _read_columns(t["columns"])) for t in given["terms"]))

    def __str__(self) -> str:
        return " + ".join(
            f"{t.weight:g} {t.kernel}" + ("" if t.columns is None else f"[{len(t.columns)} columns]") for t in self.parts
        )

    def _sum(self, op: Emitter, y: ir.Value, emit: Callable[[Term], ir.Value], *, spread: bool = True) -> ir.Value:
        width = _width(y)
        parts = []
        for term in self.parts:
            self._checked(term, width)
            part = op.Mul(emit(term), term.weight)
            parts.append(_spread(op, part, term.columns, width) if spread and term.columns is not None else part)
        return _total(op, parts)

    def _checked(self, term: Term, width: int) -> tuple[int, ...]:
        columns = term.columns or ()
        if columns and max(columns) >= width:
            raise InputError(f"{term.kernel} takes column {max(columns)}, but samples have {width}")
        return columns


class _CombinedWays(Ways):
    """Every term in its columns."""

    kernel: Combination

    def prepare(self, op: Emitter) -> None:
        """The ways of the terms."""
        self.parts = []
        for term in self.kernel.parts:
            x, references, y = (_columns(op, value, term) for value in (self.x, self.references, self.y))
            self.parts.append((term.weight, term.kernel.ways(op, x, references, self.chosen, y)))

    def values(self, op: Emitter, t: ir.Value) -> ir.Value:
        """Their sum."""
        return _total(op, [op.Mul(ways.values(op, t), weight) for weight, ways in self.parts])


def _column_numbers(columns: Iterable[int] | slice) -> tuple[int, ...]:
    if isinstance(columns, slice):
        if columns.stop is None:
            raise InputError("columns: give a slice with an end, slice(0, 10)")
        columns = range(*columns.indices(columns.stop))
    numbers = tuple(int(c) for c in columns)
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise InputError(f"columns are different numbers from 0 on, not {numbers[:10]}")
    return numbers


def _write_columns(columns: tuple[int, ...] | None) -> Any:
    if columns is None:
        return None
    first, last = columns[0], columns[-1]
    return {"from": first, "to": last + 1} if columns == tuple(range(first, last + 1)) else list(columns)


def _read_columns(given: Any) -> tuple[int, ...] | None:
    if given is None:
        return None
    return tuple(range(given["from"], given["to"])) if isinstance(given, dict) else tuple(given)


def _columns(op: Emitter, x: ir.Value, term: Term) -> ir.Value:
    return x if term.columns is None else op.Gather(x, list(term.columns), axis=1)


def _spread(op: Emitter, part: ir.Value, columns: tuple[int, ...], width: int) -> ir.Value:
    """Put columns where they belong among ``width``, zeros elsewhere."""
    source = np.full(width, len(columns), np.int64)
    source[list(columns)] = np.arange(len(columns))
    padded = op.Pad(part, [0, 0, 0, 1])
    return op.Gather(padded, source.tolist(), axis=1)


def _width(value: ir.Value) -> int:
    """Number of columns, of samples or support vectors."""
    assert value.shape is not None
    return int(value.shape[1])  # type: ignore[arg-type]


def _total(op: Emitter, values: list[ir.Value]) -> ir.Value:
    return values[0] if len(values) == 1 else op.Sum(*values)


def check_positive(kernel: Kernel, **numbers: float) -> None:
    """Refuse parameters of a kernel that are not positive.

    Raises:
        InputError: one is not.
    """
    for name, number in numbers.items():
        if not isfinite(number) or number <= 0:
            raise InputError(f"{type(kernel).__name__}: {name} must be a number > 0, not {number}")
