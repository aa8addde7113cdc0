"""Kernels that are functions of the inner product or of the distance of samples: linear, polynomial, sigmoid, Gaussian."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from sklearn.metrics import pairwise

from graphlrp.errors import InputError
from graphlrp.ir.emitter import Emitter, static_sizes
from graphlrp.plugins.kernels import blocks
from graphlrp.plugins.kernels.kernels import Array, Kernel, Ways, check_positive


class StatisticKernel(Kernel):
    """k = κ(u) for u = scale · statistic(x, y): the inner product, or the squared distance."""

    interpolates: ClassVar[bool] = True
    quadratic: ClassVar[bool] = False
    """Whether the statistic is the squared distance."""

    @property
    def scale(self) -> float:
        """What the statistic is multiplied by."""
        return 1.0

    @abstractmethod
    def of(self, op: Emitter, u: ir.Value) -> ir.Value:
        """κ(u)."""

    @abstractmethod
    def slope(self, op: Emitter, u: ir.Value) -> ir.Value:
        """κ'(u)."""

    def gram(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """κ(u)."""
        return self.of(op, self.statistic(op, x, y))

    def gradient(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """Inner product: s (c ∘ κ') y for the scale s. Squared distance: 2 s (x Σ c κ' - (c ∘ κ') y), as in (A.5)."""
        return self.gradient_of(op, self.statistic(op, x, y), x, y, c)

    def gradient_of(self, op: Emitter, u: ir.Value, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """The gradient where u [N, S] is known."""
        slopes = op.Mul(c, self.slope(op, u))
        if not self.quadratic:
            return op.Mul(op.MatMul(slopes, y), self.scale)
        # Differences from the middle of the support vectors, not from an origin that may be far away.
        middle = op.ReduceMean(y, [0], keepdims=1)
        total = op.ReduceSum(slopes, [1], keepdims=1)
        return op.Mul(op.Sub(op.Mul(op.Sub(x, middle), total), op.MatMul(slopes, op.Sub(y, middle))), 2.0 * self.scale)

    def ways(self, op: Emitter, x: ir.Value, references: ir.Value, chosen: ir.Value, y: ir.Value) -> Ways:
        """By u at both ends."""
        return _StatisticWays(op, self, x, references, chosen, y)

    def statistic(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """u [N, S]."""
        if self.quadratic:
            return op.Mul(blocks.squared_distances(op, x, y), self.scale)
        products = op.MatMul(x, op.Transpose(y, perm=[1, 0]))
        return products if self.scale == 1 else op.Mul(products, self.scale)


class _StatisticWays(Ways):
    """u is linear along a way; a squared distance lies t (1 - t) ‖x - x_r‖² below that (Stewart's theorem)."""

    kernel: StatisticKernel

    def prepare(self, op: Emitter) -> None:
        """u at both ends."""
        self.end = self.kernel.statistic(op, self.x, self.y)
        self.from_references = self.kernel.statistic(op, self.references, self.y)
        self.first = op.Gather(self.from_references, self.chosen, axis=0)  # [N, M, S]
        self.slopes = op.Sub(op.Unsqueeze(self.end, [1]), self.first)
        self.lengths = None
        if self.kernel.quadratic:
            lengths = op.GatherElements(blocks.squared_distances(op, self.x, self.references), self.chosen, axis=1)
            self.lengths = op.Mul(lengths, self.kernel.scale)

    def values(self, op: Emitter, t: ir.Value) -> ir.Value:
        """κ of what lies between."""
        u = op.Add(self.first, op.Mul(t, self.slopes))
        if self.lengths is not None:
            u = op.Sub(u, op.Mul(op.Mul(t, op.Sub(1.0, t)), op.Unsqueeze(self.lengths, [2])))
        return self.kernel.of(op, u)

    def gradient(self, op: Emitter, way: ir.Value, t: ir.Value, root: ir.Value, c: ir.Value) -> ir.Value:
        """By u there, which lies between those at both ends, too."""
        numbers = op.Squeeze(op.GatherElements(self.chosen, way, axis=1), [1])
        first = op.Gather(self.from_references, numbers, axis=0)  # [N, S]
        u = op.Add(first, op.Mul(t, op.Sub(self.end, first)))
        if self.lengths is not None:
            u = op.Sub(u, op.Mul(op.Mul(t, op.Sub(1.0, t)), op.GatherElements(self.lengths, way, axis=1)))
        return self.kernel.gradient_of(op, u, root, self.y, c)


@dataclass(frozen=True)
class Linear(StatisticKernel):
    """⟨x, y⟩ (A.1)."""

    name: ClassVar[str] = "linear"
    decomposable: ClassVar[bool] = True

    def compute(self, x: Array, y: Array) -> Array:
        """⟨x, y⟩."""
        return np.asarray(x @ y.T)

    def of(self, op: Emitter, u: ir.Value) -> ir.Value:
        """u."""
        return u

    def slope(self, op: Emitter, u: ir.Value) -> ir.Value:
        """1."""
        return op.Add(op.Mul(u, 0.0), 1.0)

    def gradient(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """Σ_i c_i y_i."""
        return op.MatMul(c, y)

    def messages(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """x_d Σ_i c_i y_i,d."""
        return op.Mul(x, op.MatMul(c, y))

    def own_messages(self, op: Emitter, x: ir.Value) -> ir.Value:
        """x_d²."""
        return op.Mul(x, x)

    def own_gradient(self, op: Emitter, x: ir.Value) -> ir.Value:
        """2 x_d."""
        return op.Mul(x, 2.0)


@dataclass(frozen=True)
class Polynomial(StatisticKernel):
    """(γ ⟨x, y⟩ + c)^p for a whole p.

    Raises:
        InputError: p is not a whole number ≥ 1, or γ is not positive.
    """

    degree: int = 3
    gamma: float = 1.0
    coef0: float = 0.0
    name: ClassVar[str] = "polynomial"

    def __post_init__(self) -> None:
        check_positive(self, gamma=self.gamma)
        if self.degree != int(self.degree) or self.degree < 1:
            raise InputError(f"Polynomial: degree must be a whole number from 1 on, not {self.degree}")

    def compute(self, x: Array, y: Array) -> Array:
        """By scikit-learn."""
        return np.asarray(pairwise.polynomial_kernel(x, y, degree=self.degree, gamma=self.gamma, coef0=self.coef0))

    @property
    def scale(self) -> float:
        """γ."""
        return self.gamma

    def of(self, op: Emitter, u: ir.Value) -> ir.Value:
        """(u + c)^p."""
        return _power(op, op.Add(u, self.coef0), int(self.degree))

    def slope(self, op: Emitter, u: ir.Value) -> ir.Value:
        """p (u + c)^(p - 1)."""
        return op.Mul(_power(op, op.Add(u, self.coef0), int(self.degree) - 1), float(self.degree))


def _power(op: Emitter, base: ir.Value, degree: int) -> ir.Value:
    """base^degree by multiplication: Pow of negative numbers is slow, and wrong on some providers."""
    result = None
    while degree:
        if degree % 2:
            result = base if result is None else op.Mul(result, base)
        degree //= 2
        base = op.Mul(base, base) if degree else base
    return op.Add(op.Mul(base, 0.0), 1.0) if result is None else result


@dataclass(frozen=True)
class Sigmoid(StatisticKernel):
    """tanh(γ ⟨x, y⟩ + c).

    Raises:
        InputError: γ is not positive.
    """

    gamma: float = 1.0
    coef0: float = 0.0
    name: ClassVar[str] = "sigmoid"

    def __post_init__(self) -> None:
        check_positive(self, gamma=self.gamma)

    def compute(self, x: Array, y: Array) -> Array:
        """By scikit-learn."""
        return np.asarray(pairwise.sigmoid_kernel(x, y, gamma=self.gamma, coef0=self.coef0))

    @property
    def scale(self) -> float:
        """γ."""
        return self.gamma

    def of(self, op: Emitter, u: ir.Value) -> ir.Value:
        """tanh(u + c)."""
        return op.Tanh(op.Add(u, self.coef0))

    def slope(self, op: Emitter, u: ir.Value) -> ir.Value:
        """1 - tanh²."""
        value = self.of(op, u)
        return op.Sub(1.0, op.Mul(value, value))


@dataclass(frozen=True)
class RBF(StatisticKernel):
    """exp(-γ ‖x - y‖²) with γ = 1/σ² (A.4).

    Raises:
        InputError: γ is not positive.
    """

    gamma: float = 1.0
    name: ClassVar[str] = "rbf"
    quadratic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(self, gamma=self.gamma)

    def compute(self, x: Array, y: Array) -> Array:
        """By scikit-learn."""
        return np.asarray(pairwise.rbf_kernel(x, y, gamma=self.gamma))

    @property
    def scale(self) -> float:
        """-γ."""
        return -self.gamma

    def of(self, op: Emitter, u: ir.Value) -> ir.Value:
        """exp(u)."""
        return op.Exp(u)

    def slope(self, op: Emitter, u: ir.Value) -> ir.Value:
        """exp(u)."""
        return op.Exp(u)


@dataclass(frozen=True)
class RandomFourier(StatisticKernel):
    """a cos(⟨x, w⟩ + b): the features of ``RBFSampler``. [w, b] stands in for support vectors, a column more than x has."""

    amplitude: float = 1.0
    name: ClassVar[str] = "random-fourier"

    def compute(self, x: Array, y: Array) -> Array:
        """A cosine."""
        return np.asarray(self.amplitude * np.cos(x @ y[:, :-1].T + y[:, -1]))

    def __call__(self, x: Any, y: Any) -> Array:
        """Numbers [N, S]."""
        return self.compute(np.asarray(x, np.float64), np.asarray(y, np.float64))

    def gradient_of(self, op: Emitter, u: ir.Value, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """-a (c ∘ sin) w."""
        directions, _ = self._split(op, y)
        return op.MatMul(op.Mul(c, self.slope(op, u)), directions)

    def of(self, op: Emitter, u: ir.Value) -> ir.Value:
        """a cos(u)."""
        return op.Mul(op.Cos(u), self.amplitude)

    def slope(self, op: Emitter, u: ir.Value) -> ir.Value:
        """-a sin(u)."""
        return op.Mul(op.Sin(u), -self.amplitude)

    def statistic(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """⟨x, w⟩ + b."""
        directions, offset = self._split(op, y)
        return op.Add(op.MatMul(x, op.Transpose(directions, perm=[1, 0])), op.Transpose(offset, perm=[1, 0]))

    def _split(self, op: Emitter, y: ir.Value) -> tuple[ir.Value, ir.Value]:
        width = static_sizes(y)[1] - 1
        return op.Slice(y, [0], [width], [1]), op.Slice(y, [width], [width + 1], [1])
