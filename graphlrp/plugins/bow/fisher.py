"""Fisher vectors of descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from graphlrp.errors import InputError
from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.bow.gaussians import Gaussians
from graphlrp.plugins.bow.grid import whole_number
from graphlrp.plugins.bow.naming import name_value
from graphlrp.plugins.bow.steps import WHOLE, Array, PooledStep, Pyramid, check_width
from graphlrp.plugins.estimators.building import Builder, Stream


class FisherVector(PooledStep):
    """Fisher vectors of descriptors under a Gaussian mixture with diagonal covariances (4.1-4.3).

    Args:
        components: K of the mixture.
        improved: signed square root and ℓ2 norm behind it (4.5); by default both.
        weights: also Ψ_π.
        pyramid: levels (rows, columns).
        samples: of how many descriptors, at most, the mixture is fitted.
        random_state: of their choice, and of the mixture.
    """

    def __init__(
        self,
        components: int = 64,
        *,
        improved: bool = True,
        weights: bool = False,
        pyramid: Pyramid = WHOLE,
        samples: int = 100_000,
        random_state: Any = 0,
    ) -> None:
        self.components = components
        self.improved = improved
        self.weights = weights
        self.pyramid = pyramid
        self.samples = samples
        self.random_state = random_state

    @classmethod
    def from_arrays(cls, weights: Any, means: Any, deviations: Any, **parameters: Any) -> FisherVector:
        """A fitted one, of the mixture of an existing model: π [K], μ and σ [K, D].

        Raises:
            InputError: shapes that do not fit, or weights and deviations that are not positive.
        """
        result = cls(len(np.atleast_1d(np.asarray(weights))), **parameters)
        result.mixture = Gaussians.of(weights, means, deviations)
        return result

    def fit(self, images: Sequence[Descriptors], y: Any = None) -> FisherVector:
        """Fit the mixture."""
        self._check_pyramid()
        components = whole_number(self.components, "FisherVector: components")
        rows = self._rows(images)
        if components > len(rows):
            raise InputError(f"FisherVector: {components} components of {len(rows)} descriptors")
        self.mixture = Gaussians.fitted(rows, components, self.random_state)
        return self

    @property
    def mixture(self) -> Gaussians:
        """The mixture: ``weights_`` π, ``means_`` μ and ``deviations_`` σ."""
        check_is_fitted(self)
        return Gaussians(self.weights_, self.means_, self.deviations_)

    @mixture.setter
    def mixture(self, mixture: Gaussians) -> None:
        self.weights_, self.means_, self.deviations_ = mixture.weights, mixture.means, mixture.deviations

    def transform(self, images: Sequence[Descriptors]) -> Array:
        """Vectors [N, cells · K · (2 D + weights)]."""
        check_is_fitted(self)
        images = self._checked(images, self.means_.shape[1])
        vectors = []
        for image in images:
            values, cells = image.values.astype(np.float64), self.cells_of(image)
            vectors.append((self.sums(values, cells) / np.maximum(self.counts(cells), 1)[:, None]).ravel())
        return self.normalised(np.stack(vectors))

    def normalised(self, vectors: Array) -> Array:
        """Signed square roots, scaled to length 1 (4.5), of vectors [N, ...]; the vectors themselves unless ``improved``."""
        if not self.improved:
            return vectors
        return np.asarray(normalize(np.sign(vectors) * np.sqrt(np.abs(vectors))))

    def counts(self, cells: Array) -> Array:
        """|L| of every cell, for the cells [L, V] of descriptors."""
        return np.bincount(cells.ravel(), minlength=self.cells)

    def sums(self, values: Array, cells: Array) -> Array:
        """Σ_l Ψ(l) over the descriptors [L, D] of every cell, [C, K · (2 D + weights)]; |L| times the vector (4.1-4.3)."""
        gamma = self.mixture.posterior(values)
        pi, mu, sigma = self.weights_[:, None], self.means_, self.deviations_
        result = []
        for cell in range(self.cells):
            member = (cells == cell).any(1)
            g, x = gamma[member], values[member]
            order0, order1, order2 = g.sum(0)[:, None], g.T @ x, g.T @ x**2
            parts = [
                (order1 - order0 * mu) / (sigma * np.sqrt(pi)),
                ((order2 - 2 * order1 * mu + order0 * mu**2) / sigma**2 - order0) / np.sqrt(2 * pi),
            ]
            if self.weights:
                parts.insert(0, (order0 - len(g) * pi) / np.sqrt(pi))
            result.append(np.concatenate([part.ravel() for part in parts]))
        return np.stack(result)

    def names_in_cell(self) -> list[str]:
        """Names of the dimensions, by component."""
        components, width = self.means_.shape
        names = [f"component{k}/weight" for k in range(components)] if self.weights else []
        for kind in ("mean", "deviation"):
            names += [f"component{k}/{kind}{d}" for k in range(components) for d in range(width)]
        return names

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """Posteriors, the vector, and its normalisation."""
        check_width(builder, stream, self.means_.shape[1])
        gamma, mixture = self.mixture.emit(builder, stream.value)
        cells = self._emit_cells(builder, stream)
        components, width = self.means_.shape
        total = self.cells * components * (2 * width + bool(self.weights))
        value = builder.node(
            "FisherVector", stream.value, gamma, cells, *mixture, width=total, cells=self.cells, weights=int(self.weights)
        )
        name_value(builder, value, "vector")
        if self.improved:
            value = name_value(builder, builder.node("SignedRoot", value, width=total), "roots")
            value = name_value(builder, builder.node("Normalizer", value, width=total, norm="l2"), "normalised")
        return stream.moved(value, self.transform)
