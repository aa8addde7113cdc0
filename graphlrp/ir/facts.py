"""What is known about values before anything runs: which depend on the explained input, their bounds, constants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

SHAPE_ONLY = frozenset({"Shape", "Size", "ConstantOfShape", "RandomNormalLike", "RandomUniformLike", "EyeLike"})
"""Operators whose outputs depend on the shape of their inputs, not on their numbers."""


@dataclass(frozen=True)
class Bounds:
    """Closed interval that holds every component of a value."""

    low: float = -inf
    high: float = inf

    @property
    def nonnegative(self) -> bool:
        """No component is below zero."""
        return self.low >= 0

    def clip(self, low: float, high: float) -> Bounds:
        """Bounds after clipping to ``[low, high]``."""
        return Bounds(min(max(self.low, low), high), max(min(self.high, high), low))


UNBOUNDED = Bounds()


class Facts:
    """Facts about the values of one canonical model.

    ``active`` values depend, by value, on an explained input: relevance can flow through them. All others are constants
    of the decomposition, whether they are initializers, computed from shapes, or come from inputs that are not explained.
    """

    def __init__(self, graph: ir.Graph, explained: Iterable[ir.Value]) -> None:
        self._active: set[ir.Value] = set(explained)
        self._bounds: dict[ir.Value, Bounds] = {}
        self._rectified: dict[ir.Value, ir.Value] = {}
        self.cut: list[ir.Node] = []
        """Nodes that end the dependence: comparisons, roundings to integers and other piecewise constant maps."""
        for node in graph:
            if node.op_type in SHAPE_ONLY:
                continue
            if any(value in self._active for value in node.inputs if value is not None):
                real = [v for v in node.outputs if v.dtype is None or v.dtype.is_floating_point()]
                if not real:
                    self.cut.append(node)
                self._active.update(real)

    def active(self, value: ir.Value | None) -> bool:
        """Whether a value depends on an explained input by value."""
        return value is not None and value in self._active

    def constant(self, value: ir.Value | None) -> npt.NDArray[np.generic] | None:
        """The numbers of an initializer; None for anything that is computed while the model runs."""
        if value is None or value.const_value is None:
            return None
        return value.const_value.numpy()

    def bounds(self, value: ir.Value | None) -> Bounds:
        """Bounds of a value; those of initializers are read off their numbers."""
        if value is None:
            return UNBOUNDED
        if value not in self._bounds:
            self._bounds[value] = self._read(value)
        return self._bounds[value]

    def set_bounds(self, value: ir.Value, bounds: Bounds) -> None:
        """State bounds, as the mapping that produces the value infers them."""
        self._bounds[value] = bounds

    def set_rectified(self, value: ir.Value, z: ir.Value) -> None:
        """State that ``value`` is max(z, 0)."""
        self._rectified[value] = z

    def rectified_factor(self, factors: Iterable[ir.Value], z: ir.Value) -> ir.Value | None:
        """The one of ``factors`` that is max(z, 0), if any."""
        return next((factor for factor in factors if self._rectified.get(factor) is z), None)

    def _read(self, value: ir.Value) -> Bounds:
        tensor = value.const_value
        if tensor is None or tensor.size == 0 or not (tensor.dtype.is_floating_point() or tensor.dtype.is_integer()):
            return UNBOUNDED
        numbers = tensor.numpy()
        return Bounds(float(numbers.min()), float(numbers.max()))
