"""Kernels that are sums over dimensions, and exponentials of distances that are: histogram intersection, χ², Laplacian ..."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from sklearn.metrics import pairwise

from graphlrp.ir.emitter import Emitter
from graphlrp.plugins.kernels import blocks
from graphlrp.plugins.kernels.kernels import Array, Kernel, check_positive


class AdditiveKernel(Kernel):
    """k = Σ_d κ(x_d, y_d)."""

    decomposable: ClassVar[bool] = True

    @abstractmethod
    def pair(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """κ(a, b), component by component."""

    @abstractmethod
    def pair_slope(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """∂κ/∂a."""

    def gram(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """The sum, support vectors block by block."""
        return blocks.sums(op, x, y, self.pair)

    def messages(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """Σ_i c_i κ(x_d, y_i,d), support vectors block by block."""
        return blocks.weighted(op, x, y, c, self.pair)

    def gradient(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """Σ_i c_i ∂κ/∂x_d, support vectors block by block."""
        return blocks.weighted(op, x, y, c, self.pair_slope)

    def own_messages(self, op: Emitter, x: ir.Value) -> ir.Value:
        """κ(x_d, x_d)."""
        return self.pair(op, x, x)


@dataclass(frozen=True)
class HistogramIntersection(AdditiveKernel):
    """Σ_d min(x_d, y_d) (A.2)."""

    name: ClassVar[str] = "histogram-intersection"

    def compute(self, x: Array, y: Array) -> Array:
        """Sample by sample."""
        return np.stack([np.minimum(row, y).sum(1) for row in x]) if len(x) else np.zeros((0, len(y)))

    def pair(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """min(a, b)."""
        return op.Min(a, b)

    def pair_slope(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """1 where a < b."""
        return op.CastLike(op.Less(a, b), a)

    def own_gradient(self, op: Emitter, x: ir.Value) -> ir.Value:
        """1, for min(x, x) = x."""
        return op.Add(op.Mul(x, 0.0), 1.0)


@dataclass(frozen=True)
class AdditiveChi2(AdditiveKernel):
    """Σ_d 2 x_d y_d / (x_d + y_d), 0/0 = 0; as a negative distance -Σ_d (x_d - y_d)² / (x_d + y_d).

    ``distance=True`` is what scikit-learn calls ``additive_chi2_kernel``. Features are not negative.
    """

    distance: bool = False
    name: ClassVar[str] = "additive-chi2"

    def compute(self, x: Array, y: Array) -> Array:
        """By scikit-learn: 2xy/(x + y) = (x + y)/2 - (x - y)²/(2 (x + y))."""
        distances = np.asarray(pairwise.additive_chi2_kernel(x, y))
        return distances if self.distance else (x.sum(1)[:, None] + y.sum(1) + distances) / 2

    def pair(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """Its summand."""
        if self.distance:
            return op.Neg(_chi2(op, a, b))
        return op.Div(op.Mul(op.Mul(a, b), 2.0), _positive(op, op.Add(a, b)))

    def pair_slope(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """2 b²/(a + b)², as a negative distance 4 b²/(a + b)² - 1."""
        return op.Neg(_chi2_slope(op, a, b)) if self.distance else op.Mul(op.Sub(1.0, _chi2_slope(op, a, b)), 0.5)

    def own_gradient(self, op: Emitter, x: ir.Value) -> ir.Value:
        """1, for 2 x x / (x + x) = x; 0 as a negative distance."""
        return op.Add(op.Mul(x, 0.0), 0.0 if self.distance else 1.0)


def _positive(op: Emitter, total: ir.Value) -> ir.Value:
    """A denominator: where it is zero, so is the numerator."""
    return op.Where(op.Equal(total, 0.0), op.CastLike(1.0, total), total)


def _chi2(op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
    """(a - b)²/(a + b)."""
    difference = op.Sub(a, b)
    return op.Div(op.Mul(difference, difference), _positive(op, op.Add(a, b)))


def _chi2_slope(op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
    """∂/∂a of (a - b)²/(a + b): 1 - 4 b²/(a + b)², and 0 where a + b = 0 (A.7)."""
    total = op.Add(a, b)
    ratio = op.Div(b, _positive(op, total))
    slope = op.Sub(1.0, op.Mul(op.Mul(ratio, ratio), 4.0))
    return op.Where(op.Equal(total, 0.0), op.CastLike(0.0, slope), slope)


@dataclass(frozen=True)
class Hellinger(Kernel):
    """Σ_d sign(x_d y_d) √(|x_d| |y_d|) (4.6): the linear kernel of signed roots."""

    name: ClassVar[str] = "hellinger"
    decomposable: ClassVar[bool] = True

    def compute(self, x: Array, y: Array) -> Array:
        """⟨φ(x), φ(y)⟩."""
        return np.asarray((np.sign(x) * np.sqrt(np.abs(x))) @ (np.sign(y) * np.sqrt(np.abs(y))).T)

    def gram(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """⟨φ(x), φ(y)⟩."""
        return op.MatMul(signed_root(op, x), op.Transpose(signed_root(op, y), perm=[1, 0]))

    def messages(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """φ(x_d) Σ_i c_i φ(y_i,d)."""
        return op.Mul(signed_root(op, x), op.MatMul(c, signed_root(op, y)))

    def own_messages(self, op: Emitter, x: ir.Value) -> ir.Value:
        """|x_d|."""
        return op.Abs(x)

    def own_gradient(self, op: Emitter, x: ir.Value) -> ir.Value:
        """sign(x_d)."""
        return op.Sign(x)

    def gradient(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """Σ_i c_i φ(y_i,d) / (2 √|x_d|), 0 where x_d is."""
        root = _positive(op, op.Sqrt(op.Abs(x)))
        slope = op.Where(op.Equal(x, 0.0), op.CastLike(0.0, x), op.Div(0.5, root))
        return op.Mul(op.MatMul(c, signed_root(op, y)), slope)


def signed_root(op: Emitter, x: ir.Value) -> ir.Value:
    """φ(x) = sign(x) √|x|."""
    return op.Mul(op.Sign(x), op.Sqrt(op.Abs(x)))


class ExponentialKernel(Kernel):
    """k = exp(-γ Σ_d δ(x_d, y_d))."""

    gamma: float

    @abstractmethod
    def distance(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """δ(a, b), component by component."""

    @abstractmethod
    def distance_slope(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """∂δ/∂a."""

    def gram(self, op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
        """Distances block by block."""
        return op.Exp(op.Mul(blocks.sums(op, x, y, self.distance), -self.gamma))

    def gradient(self, op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value) -> ir.Value:
        """-γ Σ_i c_i k_i ∂δ/∂x_d, block by block."""
        weights = op.Mul(op.Mul(c, self.gram(op, x, y)), -self.gamma)
        return blocks.weighted(op, x, y, weights, self.distance_slope)


@dataclass(frozen=True)
class Laplacian(ExponentialKernel):
    """exp(-γ Σ_d |x_d - y_d|).

    Raises:
        InputError: γ is not positive.
    """

    gamma: float = 1.0
    name: ClassVar[str] = "laplacian"

    def __post_init__(self) -> None:
        check_positive(self, gamma=self.gamma)

    def compute(self, x: Array, y: Array) -> Array:
        """By scikit-learn."""
        return np.asarray(pairwise.laplacian_kernel(x, y, gamma=self.gamma))

    def distance(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """|a - b|."""
        return op.Abs(op.Sub(a, b))

    def distance_slope(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """sign(a - b)."""
        return op.Sign(op.Sub(a, b))


@dataclass(frozen=True)
class ExponentialChi2(ExponentialKernel):
    """exp(-γ Σ_d (x_d - y_d)² / (x_d + y_d)), 0/0 = 0 (A.6). Features are not negative.

    Raises:
        InputError: γ is not positive.
    """

    gamma: float = 1.0
    name: ClassVar[str] = "exponential-chi2"

    def __post_init__(self) -> None:
        check_positive(self, gamma=self.gamma)

    def compute(self, x: Array, y: Array) -> Array:
        """By scikit-learn."""
        return np.asarray(pairwise.chi2_kernel(x, y, gamma=self.gamma))

    def distance(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """(a - b)²/(a + b)."""
        return _chi2(op, a, b)

    def distance_slope(self, op: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        """1 - 4 b²/(a + b)²."""
        return _chi2_slope(op, a, b)
