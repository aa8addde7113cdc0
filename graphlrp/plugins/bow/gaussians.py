"""A Gaussian mixture with diagonal covariances: a vocabulary of descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from sklearn.mixture import GaussianMixture

from graphlrp.errors import InputError
from graphlrp.plugins.bow.naming import name_value
from graphlrp.plugins.estimators.building import Builder

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Gaussians:
    """π [K] with Σπ = 1, μ [K, D] and σ [K, D] of K components.

    Raises:
        InputError: shapes that do not fit, or weights and deviations that are not positive.
    """

    weights: Array
    means: Array
    deviations: Array

    def __post_init__(self) -> None:
        pi, mu, sigma = self.weights, self.means, self.deviations
        fits = mu.ndim == 2 and pi.shape == mu.shape[:1] and sigma.shape == mu.shape and mu.size > 0
        if not fits or not (pi > 0).all() or not (sigma > 0).all() or not np.isfinite([pi.sum(), mu.sum(), sigma.sum()]).all():
            raise InputError(
                "a mixture has finite numbers π [K] > 0, μ and σ > 0 [K, D]; these are of shapes"
                f" {list(pi.shape)}, {list(mu.shape)}, {list(sigma.shape)}"
            )

    @classmethod
    def of(cls, weights: Any, means: Any, deviations: Any) -> Gaussians:
        """From arrays of any kind; weights are scaled to sum to 1."""
        try:
            pi, mu, sigma = (np.asarray(array, np.float64) for array in (weights, means, deviations))
        except (TypeError, ValueError) as error:
            raise InputError(f"a mixture has numbers π [K], μ and σ [K, D]: {error}") from error
        return cls(pi / (pi.sum() or 1.0), mu, sigma)

    @classmethod
    def fitted(cls, rows: Array, components: int, random_state: Any) -> Gaussians:
        """Fitted to rows [M, D], from k-means++ on."""
        mixture = GaussianMixture(
            components, covariance_type="diag", init_params="k-means++", reg_covar=1e-4, random_state=random_state
        ).fit(rows)
        return cls(mixture.weights_, mixture.means_, np.sqrt(mixture.covariances_))

    def posterior(self, values: Array) -> Array:
        """γ [L, K] of values [L, D]."""
        precision = 1 / self.deviations**2
        exponent = values @ (self.means * precision).T - 0.5 * (values**2) @ precision.T
        exponent -= 0.5 * (self.means**2 * precision).sum(1)
        exponent += np.log(self.weights) - np.log(self.deviations).sum(1)
        exponent -= exponent.max(1, keepdims=True)
        weights = np.exp(exponent)
        return np.asarray(weights / weights.sum(1, keepdims=True))

    def sample(self, count: int, generator: np.random.Generator) -> Array:
        """Values [count, D] drawn from the mixture."""
        chosen = generator.choice(len(self.weights), count, p=self.weights)
        noise = generator.normal(size=(count, self.means.shape[1]))
        return np.asarray(self.means[chosen] + self.deviations[chosen] * noise)

    def emit(self, builder: Builder, x: ir.Value) -> tuple[ir.Value, list[ir.Value]]:
        """γ [N, L, K] of emitted descriptors [N, L, D], and π, μ, σ as initializers."""
        numbers = [
            builder.number(array, name)
            for array, name in ((self.weights, "weights"), (self.means, "means"), (self.deviations, "deviations"))
        ]
        gamma = builder.node("Posterior", x, *numbers, width=len(self.weights), like=x)
        return name_value(builder, gamma, "posteriors"), numbers
