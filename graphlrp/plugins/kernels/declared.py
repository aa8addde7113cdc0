"""Machines declared from arrays, for those that scikit-learn did not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.plugins.kernels.kernels import Kernel

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Machine:
    """A kernel machine f_j(x) = Σ_i A_ij k(y_i, x) + b_j (2.66), as arrays.

    Args:
        kernel: k.
        support_vectors: y [S, D].
        dual_coefficients: A = α_i y_i, [S], or [S, C] for C outputs.
        intercept: b, a number or [C].
        references: [M, D], samples among which the way across the decision boundary is looked for; by default the support
            vectors. Only kernels that are no sum over dimensions need them.
        level: value of f, a number or [C], that relevance is measured from, for regression: the root is where f has it.
        features: names of the D features.

    Raises:
        InputError: shapes that do not fit, NaN.
    """

    kernel: Kernel
    support_vectors: Array
    dual_coefficients: Array
    intercept: float | Array = 0.0
    references: Array | None = None
    level: float | Array = 0.0
    features: Sequence[str] | None = field(default=None)

    def __post_init__(self) -> None:
        if not isinstance(self.kernel, Kernel):
            raise InputError(f"kernel must be one of graphlrp.kernels, such as RBF(gamma=0.5), not {self.kernel!r}")
        support, dual = _matrix("support_vectors", self.support_vectors), np.asarray(self.dual_coefficients, np.float64)
        if dual.shape[:1] != (len(support),) or dual.ndim > 2:
            raise InputError(
                f"dual_coefficients have shape {list(dual.shape)} for {len(support)} support vectors; give [S] or [S, C]"
            )
        if not np.isfinite(dual).all():
            raise InputError("dual_coefficients hold NaN or infinities")
        outputs = dual.shape[1] if dual.ndim == 2 else 1
        for name in ("intercept", "level"):
            numbers = np.asarray(getattr(self, name), np.float64)
            if numbers.shape not in ((), (outputs,)) or not np.isfinite(numbers).all():
                raise InputError(f"{name} must be a number or one for each of {outputs} outputs, not {getattr(self, name)}")
        if self.references is not None:
            references = _matrix("references", self.references)
            if references.shape[1] != support.shape[1]:
                raise InputError(f"references have {references.shape[1]} columns, support vectors {support.shape[1]}")
        if self.features is not None and len(self.features) != support.shape[1]:
            raise InputError(f"{len(self.features)} names for {support.shape[1]} features")

    def decision_function(self, x: Any) -> Array:
        """f(x) as numbers, [N] or [N, C]."""
        return np.asarray(self.kernel(x, self.support_vectors) @ np.asarray(self.dual_coefficients, np.float64) + self.intercept)


@dataclass(frozen=True, eq=False)
class SVDD:
    """Support vector data description: f(x) = a(x) - r, outlierness (A.12).

        a(x) = k(x, x) - 2 Σ_i α_i k(y_i, x) + Σ_ij α_i α_j k(y_i, y_j)

    is the squared distance in kernel space from the centre of a hypersphere, and r its squared radius.

    Args:
        kernel: k.
        support_vectors: y [S, D].
        coefficients: α [S].
        radius: r.
        references: as for ``Machine``.
        features: names of the D features.

    Raises:
        InputError: shapes that do not fit, NaN.
    """

    kernel: Kernel
    support_vectors: Array
    coefficients: Array
    radius: float
    references: Array | None = None
    features: Sequence[str] | None = field(default=None)

    def __post_init__(self) -> None:
        if np.ndim(self.coefficients) != 1 or np.ndim(self.radius) != 0:
            raise InputError("SVDD: coefficients are [S], the radius is a number")
        Machine(self.kernel, self.support_vectors, self.coefficients, float(self.radius), self.references, 0.0, self.features)

    @property
    def centre(self) -> float:
        """Σ_ij α_i α_j k(y_i, y_j)."""
        alpha = np.asarray(self.coefficients, np.float64)
        return float(alpha @ self.kernel(self.support_vectors, self.support_vectors) @ alpha)

    def decision_function(self, x: Any) -> Array:
        """f(x) as numbers, [N]: positive for outliers."""
        x = np.asarray(x, np.float64)
        # Of small blocks, only the diagonal is wanted.
        blocks = np.array_split(x, max(1, -(-len(x) // 64)))
        own = np.concatenate([np.diagonal(self.kernel(block, block)) for block in blocks])
        return np.asarray(own - 2 * self.kernel(x, self.support_vectors) @ self.coefficients + self.centre - self.radius)


def _matrix(name: str, given: Any) -> Array:
    array = np.asarray(given, np.float64)
    if array.ndim != 2 or not array.size:
        raise InputError(f"{name} must be a matrix, not an array of shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} hold NaN or infinities")
    return array
