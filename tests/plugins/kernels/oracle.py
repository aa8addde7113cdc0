"""Kernel machines by definition: float64, one sample and one dimension at a time, from the formulas alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphlrp import kernels

Array = np.ndarray[Any, Any]


def value(kernel: kernels.Kernel, x: Array, y: Array) -> float:
    """k(x, y) of two vectors."""
    match kernel:
        case kernels.Linear():
            return float(sum(a * b for a, b in zip(x, y, strict=True)))
        case kernels.RBF(gamma=gamma):
            return float(np.exp(-gamma * sum((a - b) ** 2 for a, b in zip(x, y, strict=True))))
        case kernels.Polynomial(degree=p, gamma=gamma, coef0=c):
            return float((gamma * sum(a * b for a, b in zip(x, y, strict=True)) + c) ** p)
        case kernels.Sigmoid(gamma=gamma, coef0=c):
            return float(np.tanh(gamma * sum(a * b for a, b in zip(x, y, strict=True)) + c))
        case kernels.Laplacian(gamma=gamma):
            return float(np.exp(-gamma * sum(abs(a - b) for a, b in zip(x, y, strict=True))))
        case kernels.ExponentialChi2(gamma=gamma):
            return float(np.exp(-gamma * sum((a - b) ** 2 / (a + b) for a, b in zip(x, y, strict=True) if a + b)))
        case kernels.Combination(parts=parts):
            return float(
                sum(t.weight * value(t.kernel, *(v if t.columns is None else v[list(t.columns)] for v in (x, y))) for t in parts)
            )
        case _:
            return float(sum(component(kernel, a, b) for a, b in zip(x, y, strict=True)))


def component(kernel: kernels.Kernel, a: float, b: float) -> float:
    """k^(d)(a, b) of a sum over dimensions."""
    match kernel:
        case kernels.Linear():
            return a * b
        case kernels.HistogramIntersection():
            return min(a, b)
        case kernels.AdditiveChi2(distance=False):
            return 2 * a * b / (a + b) if a + b else 0.0
        case kernels.AdditiveChi2(distance=True):
            return -((a - b) ** 2) / (a + b) if a + b else 0.0
        case kernels.Hellinger():
            return float(np.sign(a * b) * np.sqrt(abs(a)) * np.sqrt(abs(b)))
    raise NotImplementedError(kernel)


def contributions(kernel: kernels.Kernel, x: Array, support: Array, dual: Array) -> Array:
    """Σ_i α_i k^(d)(y_i,d, x_d), [D] (2.72)."""
    result = np.zeros(len(x))
    for term in kernel.terms:
        for d in range(len(x)) if term.columns is None else term.columns:
            result[d] += term.weight * sum(a * component(term.kernel, x[d], y[d]) for a, y in zip(dual, support, strict=True))
    return result


def slope(kernel: kernels.Kernel, x: Array, y: Array) -> Array:
    """∂k(y, ·)/∂x_d at x, [D], written down by hand for each kernel."""
    match kernel:
        case kernels.Linear():
            return np.asarray(y)
        case kernels.RBF(gamma=gamma):  # (A.5)
            return np.asarray(value(kernel, x, y) * 2 * gamma * (y - x))
        case kernels.Polynomial(degree=p, gamma=gamma, coef0=c):
            return np.asarray(p * (gamma * x @ y + c) ** (p - 1) * gamma * y)
        case kernels.Sigmoid(gamma=gamma):
            return np.asarray((1 - value(kernel, x, y) ** 2) * gamma * y)
        case kernels.Laplacian(gamma=gamma):
            return np.asarray(value(kernel, x, y) * gamma * np.sign(y - x))
        case kernels.ExponentialChi2(gamma=gamma):  # (A.7)
            total = np.where(x + y == 0, 1, x + y)
            return np.where(x + y == 0, 0.0, value(kernel, x, y) * gamma * (4 * y**2 / total**2 - 1))
        case kernels.Combination(parts=parts):
            result = np.zeros(len(x))
            for t in parts:
                columns = list(range(len(x)) if t.columns is None else t.columns)
                result[columns] += t.weight * slope(t.kernel, x[columns], y[columns])
            return result
        case kernels.HistogramIntersection():
            return (x < y).astype(float)
    raise NotImplementedError(kernel)


def roots(f: Callable[[Array], float], x: Array, references: Array) -> list[Array]:
    """Points with f = 0 on the ways from references of the other side, by bisection."""
    found = []
    side = 1.0 if f(x) >= 0 else -1.0
    for reference in references:
        if f(reference) * side > 0:
            continue
        low, high = 0.0, 1.0
        for _ in range(200):
            middle = (low + high) / 2
            if f(reference + middle * (x - reference)) * side > 0:
                high = middle
            else:
                low = middle
        found.append(reference + high * (x - reference))
    return found


def taylor(
    kernel: kernels.Kernel, x: Array, support: Array, dual: Array, intercept: float, references: Array, level: float = 0.0
) -> tuple[Array, Array]:
    """The root nearest to x, and R_d = (x - x̃)_d Σ_i α_i ∂k(y_i, ·)/∂x_d (x̃) there (2.76)."""

    def f(point: Array) -> float:
        return sum(a * value(kernel, point, y) for a, y in zip(dual, support, strict=True)) + intercept - level

    root = min(roots(f, x, references), key=lambda r: float(np.linalg.norm(x - r)))
    gradient = sum(a * slope(kernel, root, y) for a, y in zip(dual, support, strict=True))
    return root, np.asarray((x - root) * gradient)
