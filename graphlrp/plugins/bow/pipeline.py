"""Estimators of Bag-of-Words pipelines, in the manner of scikit-learn: descriptors in, one vector per image out.

    make_pipeline(DenseSIFT(), DescriptorPCA(64), FisherVector(128), SVC(kernel="linear"))

Their input are the ``Descriptors`` of images. All of them can be cloned, searched over and pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from graphlrp.errors import InputError, ModelError
from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.bow.encoding import CODINGS
from graphlrp.plugins.estimators.building import Builder, Stream

Array = npt.NDArray[Any]

Pyramid = Sequence[tuple[int, int]]
"""Levels of a spatial pyramid: rows and columns of cells each."""

WHOLE: Pyramid = ((1, 1),)


class _DescriptorStep(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What steps on descriptors share."""

    def _rows(self, images: Sequence[Descriptors], count: int, random_state: Any) -> Array:
        """Descriptors of all images, at most ``count`` of them, drawn evenly; without those that are zero."""
        images = check_descriptors(images)
        share = max(1, count // len(images))
        generator = check_random_state(random_state)
        parts = []
        for image in images:
            textured = np.flatnonzero(np.any(image.values != 0, axis=1))
            chosen = textured if len(textured) <= share else generator.choice(textured, share, replace=False)
            parts.append(image.values[chosen])
        rows = np.concatenate(parts).astype(np.float64)
        if not len(rows):
            raise InputError("all descriptors of all images are zero: there is no texture to learn from")
        return rows

    def _checked(self, images: Sequence[Descriptors], width: int) -> Sequence[Descriptors]:
        images = check_descriptors(images)
        for number, image in enumerate(images):
            if image.values.shape[1] != width:
                raise InputError(
                    f"{type(self).__name__}: descriptors of image {number} have {image.values.shape[1]} numbers, the"
                    f" vocabulary was made of {width}"
                )
        return images


class DescriptorPCA(_DescriptorStep):
    """Principal components of descriptors: (l - mean) W.

    Args:
        n_components: how many.
        samples: of how many descriptors, at most, they are computed.
        random_state: chooses them.
    """

    def __init__(self, n_components: int = 64, *, samples: int = 100_000, random_state: Any = 0) -> None:
        self.n_components = n_components
        self.samples = samples
        self.random_state = random_state

    def fit(self, images: Sequence[Descriptors], y: Any = None) -> DescriptorPCA:
        """Compute the components."""
        rows = self._rows(images, self.samples, self.random_state)
        if not 1 <= self.n_components <= min(rows.shape):
            raise InputError(
                f"DescriptorPCA: {self.n_components} components of {len(rows)} descriptors of {rows.shape[1]} numbers"
            )
        fitted = PCA(self.n_components, svd_solver="full").fit(rows)
        self.mean_, self.components_ = fitted.mean_, fitted.components_
        return self

    def transform(self, images: Sequence[Descriptors]) -> list[Descriptors]:
        """The components of every descriptor."""
        check_is_fitted(self)
        images = self._checked(images, len(self.mean_))
        return [image.changed((image.values - self.mean_) @ self.components_.T) for image in images]

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """A scaler and a projection."""
        centred = builder.scaled(stream.value, self.mean_, 1.0)
        weights = builder.number(self.components_.T, "components")
        value = builder.node("DescriptorProjection", centred, weights, width=len(self.components_), like=centred)
        return stream.moved(value, self.transform)


class _Pooled(_DescriptorStep):
    """Steps that pool descriptors in the cells of a pyramid."""

    pyramid: Pyramid

    def _cells(self, image: Descriptors) -> Array:
        """Which cell of every level a descriptor lies in, numbered through all levels, [L, V]."""
        height, width = image.size
        x, y = image.positions.T
        return np.stack(
            [
                first
                + np.minimum((y * rows / height).astype(int), rows - 1) * columns
                + np.minimum((x * columns / width).astype(int), columns - 1)
                for first, rows, columns in self._levels()
            ],
            axis=1,
        )

    def _levels(self) -> list[tuple[int, int, int]]:
        """Number of the first cell, rows and columns of every level."""
        levels, first = [], 0
        for rows, columns in self.pyramid:
            levels.append((first, rows, columns))
            first += rows * columns
        return levels

    @property
    def cells(self) -> int:
        """Number of all cells."""
        return sum(rows * columns for rows, columns in self.pyramid)

    def _check_pyramid(self) -> None:
        if not self.pyramid or any(len(level) != 2 or min(level) < 1 for level in self.pyramid):
            raise InputError(f"{type(self).__name__}: a pyramid has levels (rows, columns) from (1, 1) on, not {self.pyramid}")

    def _emit_cells(self, builder: Builder, stream: Stream) -> ir.Value:
        """The cells as a value [L, V], made of positions and the size of the image alone."""
        op = builder.op
        if stream.positions is None:
            raise ModelError(f"{builder.where}: there are no local descriptors before this step; put DenseSIFT there")
        positions = stream.positions  # [L, 2] (x, y)
        extent = op.Gather(op.Cast(op.Shape(builder.input), to=int(op.dtype)), op.integers([2, 1]), axis=0)  # width, height
        levels = []
        for first, rows, columns in self._levels():
            count = op.number(np.asarray([columns, rows], np.float64))
            inside = op.Cast(op.Floor(op.Div(op.Mul(positions, count), extent)), to=int(ir.DataType.INT64))
            inside = op.Min(inside, op.integers([columns - 1, rows - 1]))
            number = op.ReduceSum(op.Mul(inside, op.integers([1, columns])), op.integers([1]), keepdims=1)
            levels.append(op.Add(number, op.integers([first])))
        cells: ir.Value = op.Concat(*levels, axis=1) if len(levels) > 1 else levels[0]
        length = stream.value.shape[1] if stream.value.shape is not None else None
        cells.type, cells.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([length, len(levels)])
        return cells


class BagOfWords(_Pooled):
    """Histograms of visual words: which of K words descriptors are near, pooled over the image or the cells of a pyramid.

    Args:
        words: K; or the words themselves, [K, D].
        coding: ``"hard"``, the nearest word; ``"soft"``, exp(-β ‖l - b‖²) over the n nearest; ``"rank"``, p^{-rank} of the n
            nearest (2.86); ``"llc"``, locality-constrained linear coding over the n nearest; ``"tree"``, the leaf of a tree of
            k-means, in which every node has ``branches`` children: K is a power of that.
        neighbours: n; 1 for hard assignment.
        base: p of the ranks.
        beta: β; by default one over the mean squared distance to the nearest word.
        ridge: λ of the linear coding.
        branches: children of every node of a tree.
        power: p of the p-means (2.65): 1 is the mean, ``inf`` the maximum.
        pyramid: levels (rows, columns).
        samples: of how many descriptors, at most, words are computed.
        random_state: of their choice, and of k-means.
    """

    def __init__(
        self,
        words: Any = 256,
        *,
        coding: str = "hard",
        neighbours: int = 4,
        base: float = 2.0,
        beta: float | None = None,
        ridge: float = 1e-4,
        branches: int = 8,
        power: float = 1.0,
        pyramid: Pyramid = WHOLE,
        samples: int = 100_000,
        random_state: Any = 0,
    ) -> None:
        self.words = words
        self.coding = coding
        self.neighbours = neighbours
        self.base = base
        self.beta = beta
        self.ridge = ridge
        self.branches = branches
        self.power = power
        self.pyramid = pyramid
        self.samples = samples
        self.random_state = random_state

    def fit(self, images: Sequence[Descriptors], y: Any = None) -> BagOfWords:
        """Find the words by k-means, unless they are given."""
        self._check_pyramid()
        if self.coding not in CODINGS:
            raise InputError(f"BagOfWords: unknown coding {self.coding!r}; there are {', '.join(CODINGS)}")
        if self.neighbours < 1 or not self.power >= 1 or self.base <= 1:
            raise InputError(
                "BagOfWords: neighbours and power are at least 1 and base is more, not"
                f" {self.neighbours}, {self.power}, {self.base}"
            )
        rows = self._rows(images, self.samples, self.random_state)
        if self.coding == "tree":
            self.nodes_ = self._grow(rows)
            self.words_ = self.nodes_[-self.words :]
        elif np.ndim(self.words) == 2:
            self.words_ = np.asarray(self.words, np.float64)
            if self.words_.shape[1] != rows.shape[1]:
                raise InputError(f"BagOfWords: words have {self.words_.shape[1]} numbers, descriptors {rows.shape[1]}")
        else:
            if not 1 <= self.words <= len(rows):
                raise InputError(f"BagOfWords: {self.words} words of {len(rows)} descriptors")
            clusters = MiniBatchKMeans(self.words, random_state=self.random_state, n_init=3).fit(rows)
            self.words_ = np.asarray(clusters.cluster_centers_, np.float64)
        nearest = _distances(rows[:: max(1, len(rows) // 2000)], self.words_).min(1)
        self.beta_ = float(1 / max(nearest.mean(), 1e-12)) if self.beta is None else float(self.beta)
        return self

    def _grow(self, rows: Array) -> Array:
        """Nodes of all levels but the root, level by level; a node of fewer descriptors than branches repeats itself."""
        depth = 0 if np.ndim(self.words) else round(np.log(self.words) / np.log(self.branches)) if self.branches > 1 else 0
        if depth < 1 or self.branches**depth != self.words:
            raise InputError(f"BagOfWords: a tree of {self.branches} branches has a power of them as words, not {self.words}")
        nodes, members = [], [rows]
        for _ in range(depth):
            level: list[Array] = []
            below: list[Array] = []
            for own in members:
                distinct = len(np.unique(own, axis=0))
                if distinct < self.branches:
                    centre = own.mean(0) if len(own) else np.full(rows.shape[1], 1e6)
                    level += [centre] * self.branches
                    below += [own] + [own[:0]] * (self.branches - 1)
                    continue
                fitted = MiniBatchKMeans(self.branches, random_state=self.random_state, n_init=3).fit(own)
                nearest = _distances(own, fitted.cluster_centers_).argmin(1)
                level += list(fitted.cluster_centers_)
                below += [own[nearest == branch] for branch in range(self.branches)]
            nodes += level
            members = below
        return np.asarray(nodes, np.float64)

    def _descend(self, values: Array) -> Array:
        """The leaf of every descriptor, [L, 1]."""
        first, size = 0, self.branches
        here = np.zeros(len(values), np.int64)
        while first < len(self.nodes_):
            distances = _distances(values, self.nodes_[first : first + size])
            below = here[:, None] * self.branches + np.arange(self.branches)
            here = here * self.branches + np.take_along_axis(distances, below, 1).argmin(1)
            first, size = first + size, size * self.branches
        return here[:, None]

    @property
    def _neighbours(self) -> int:
        return 1 if self.coding in ("hard", "tree") else min(self.neighbours, len(self.words_))

    def assign(self, image: Descriptors) -> tuple[Array, Array]:
        """Numbers m and the words they are of, [L, n] each."""
        if self.coding == "tree":
            leaves = self._descend(image.values.astype(np.float64))
            return np.ones(leaves.shape), leaves
        numbers, which = [], []
        for part in np.array_split(image.values.astype(np.float64), max(1, len(image) * len(self.words_) // (1 << 24) + 1)):
            distances = _distances(part, self.words_)
            order = np.argsort(distances, axis=1, kind="stable")[:, : self._neighbours]
            which.append(order)
            numbers.append(self._code(part, order, np.take_along_axis(distances, order, 1)))
        return np.concatenate(numbers), np.concatenate(which)

    def _code(self, part: Array, order: Array, distances: Array) -> Array:
        if self.coding == "hard":
            return np.ones(order.shape)
        if self.coding == "rank":
            return np.broadcast_to(self.base ** -np.arange(1.0, order.shape[1] + 1), order.shape)
        if self.coding == "soft":
            weights = np.exp(-self.beta_ * (distances - distances.min(1, keepdims=True)))
            return np.asarray(weights / weights.sum(1, keepdims=True))
        shifted = self.words_[order] - part[:, None]
        covariance = shifted @ shifted.transpose(0, 2, 1)
        identity = np.eye(order.shape[1])
        trace = np.trace(covariance, axis1=1, axis2=2)[:, None, None]
        solved = np.linalg.solve(covariance + identity * (self.ridge * trace + 1e-12), np.ones((*order.shape, 1)))[..., 0]
        return np.asarray(solved / solved.sum(1, keepdims=True))

    def transform(self, images: Sequence[Descriptors]) -> Array:
        """Histograms [N, cells · K]."""
        check_is_fitted(self)
        images = self._checked(images, self.words_.shape[1])
        count = len(self.words_)
        result = np.zeros((len(images), self.cells, count))
        for histogram, image in zip(result, images, strict=True):
            numbers, which = self.assign(image)
            cells = self._cells(image)
            for level in range(cells.shape[1]):
                index = (np.repeat(cells[:, level], which.shape[1]), which.ravel())
                if np.isinf(self.power):
                    np.maximum.at(histogram, index, numbers.ravel())
                else:
                    np.add.at(histogram, index, numbers.ravel() ** self.power)
            if not np.isinf(self.power):
                lengths = np.bincount(cells.ravel(), minlength=self.cells)[:, None]
                histogram[:] = (histogram / np.maximum(lengths, 1)) ** (1 / self.power)
        return result.reshape(len(images), -1)

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """An assignment and a pooling."""
        count, neighbours = len(self.words_), self._neighbours
        assigned: Any = builder.op.Assignment(
            stream.value,
            builder.number(self.nodes_ if self.coding == "tree" else self.words_, "words"),
            _domain="graphlrp",
            _outputs=2,
            coding=self.coding,
            neighbours=neighbours,
            base=float(self.base),
            beta=self.beta_,
            ridge=float(self.ridge),
            branches=self.branches,
        )
        length = stream.value.shape[1] if stream.value.shape is not None else None
        for value, dtype in zip(assigned, (builder.op.dtype, ir.DataType.INT64), strict=True):
            value.type, value.shape = ir.TensorType(dtype), ir.Shape(["N", length, neighbours])
        cells = self._emit_cells(builder, stream)
        power = 0.0 if np.isinf(self.power) else float(self.power)
        width = self.cells * count
        value = builder.node("Pooling", *assigned, cells, width=width, words=count, cells=self.cells, power=power)
        return stream.moved(value, self.transform)


class FisherVector(_Pooled):
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
        pi, mu, sigma = (np.asarray(array, np.float64) for array in (weights, means, deviations))
        if mu.ndim != 2 or pi.shape != mu.shape[:1] or sigma.shape != mu.shape or min(pi.min(), sigma.min()) <= 0:
            raise InputError(f"a mixture has π [K] > 0, μ and σ > 0 [K, D], not {pi.shape}, {mu.shape}, {sigma.shape}")
        result = cls(len(pi), **parameters)
        result.weights_, result.means_, result.deviations_ = pi / pi.sum(), mu, sigma
        return result

    def fit(self, images: Sequence[Descriptors], y: Any = None) -> FisherVector:
        """Fit the mixture."""
        self._check_pyramid()
        rows = self._rows(images, self.samples, self.random_state)
        if not 1 <= self.components <= len(rows):
            raise InputError(f"FisherVector: {self.components} components of {len(rows)} descriptors")
        mixture = GaussianMixture(
            self.components, covariance_type="diag", init_params="k-means++", reg_covar=1e-4, random_state=self.random_state
        ).fit(rows)
        self.weights_, self.means_ = mixture.weights_, mixture.means_
        self.deviations_ = np.sqrt(mixture.covariances_)
        return self

    def posterior(self, values: Array) -> Array:
        """γ [L, K]."""
        scaled = (values[:, None] - self.means_) / self.deviations_ if len(values) < 64 else None
        if scaled is not None:
            exponent = -0.5 * (scaled**2).sum(2)
        else:
            precision = 1 / self.deviations_**2
            exponent = values @ (self.means_ * precision).T - 0.5 * (values**2) @ precision.T
            exponent -= 0.5 * (self.means_**2 * precision).sum(1)
        exponent = exponent + np.log(self.weights_) - np.log(self.deviations_).sum(1)
        exponent -= exponent.max(1, keepdims=True)
        weights = np.exp(exponent)
        return np.asarray(weights / weights.sum(1, keepdims=True))

    def transform(self, images: Sequence[Descriptors]) -> Array:
        """Vectors [N, cells · K · (2 D + weights)]."""
        check_is_fitted(self)
        images = self._checked(images, self.means_.shape[1])
        vectors = np.stack([self._encode(image) for image in images])
        return normalize(np.sign(vectors) * np.sqrt(np.abs(vectors))) if self.improved else vectors

    def _encode(self, image: Descriptors) -> Array:
        values, cells = image.values.astype(np.float64), self._cells(image)
        gamma = self.posterior(values)
        pi, mu, sigma = self.weights_[:, None], self.means_, self.deviations_
        parts = []
        for cell in range(self.cells):
            member = (cells == cell).any(1)
            g, x, count = gamma[member], values[member], max(int(member.sum()), 1)
            order0, order1, order2 = g.sum(0)[:, None], g.T @ x, g.T @ x**2
            part = [
                (order1 - order0 * mu) / (sigma * np.sqrt(pi)),
                ((order2 - 2 * order1 * mu + order0 * mu**2) / sigma**2 - order0) / np.sqrt(2 * pi),
            ]
            if self.weights:
                part.insert(0, (order0 - len(g) * pi) / np.sqrt(pi))
            parts += [p.ravel() / count for p in part]
        return np.concatenate(parts)

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """Posteriors, the vector, and its normalisation."""
        mixture = [
            builder.number(array, name)
            for array, name in ((self.weights_, "weights"), (self.means_, "means"), (self.deviations_, "deviations"))
        ]
        components, width = self.means_.shape
        gamma = builder.node("Posterior", stream.value, *mixture, width=components, like=stream.value)
        cells = self._emit_cells(builder, stream)
        total = self.cells * components * (2 * width + bool(self.weights))
        value = builder.node(
            "FisherVector", stream.value, gamma, cells, *mixture, width=total, cells=self.cells, weights=int(self.weights)
        )
        if self.improved:
            value = builder.node("SignedRoot", value, width=total)
            value = builder.node("Normalizer", value, width=total, norm="l2")
        return stream.moved(value, self.transform)


def check_descriptors(images: Any) -> Sequence[Descriptors]:
    """Refuse what are no descriptors of images.

    Raises:
        InputError: no images, or something else than ``Descriptors``.
    """
    if isinstance(images, Descriptors) or not isinstance(images, Sequence) or not len(images):
        raise InputError("give the descriptors of one or more images, as a list of Descriptors, which DenseSIFT makes of images")
    for number, image in enumerate(images):
        if not isinstance(image, Descriptors):
            raise InputError(f"image {number}: {type(image).__name__} are no Descriptors; put DenseSIFT before this step")
        if not len(image):
            raise InputError(f"image {number} of {image.size[0]} x {image.size[1]} pixels has no descriptors")
    return images


def _distances(rows: Array, words: Array) -> Array:
    return np.asarray((rows**2).sum(1)[:, None] + (words**2).sum(1) - 2 * rows @ words.T)
