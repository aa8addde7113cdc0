"""Histograms of visual words."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import onnx_ir as ir
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils.validation import check_is_fitted

from graphlrp.errors import InputError
from graphlrp.plugins.bow.assignment import CODINGS
from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.bow.gaussians import Gaussians
from graphlrp.plugins.bow.grid import whole_number
from graphlrp.plugins.bow.naming import name_value
from graphlrp.plugins.bow.steps import WHOLE, Array, PooledStep, Pyramid, check_width
from graphlrp.plugins.estimators.building import Builder, Stream

VOCABULARIES = ("kmeans", "gmm")


class BagOfWords(PooledStep):
    """Histograms of visual words: which of K words descriptors are near, pooled over the image or the cells of a pyramid.

    Args:
        words: K; or the words themselves, [K, D].
        coding: ``"hard"``, the nearest word; ``"soft"``, exp(-β ‖l - b‖²) over the n nearest; ``"rank"``, p^{-rank} of the n
            nearest (2.86); ``"llc"``, locality-constrained linear coding over the n nearest; ``"tree"``, the leaf of a tree of
            k-means, in which every node has ``branches`` children: K is a power of that.
        vocabulary: how words are found: ``"kmeans"``; or ``"gmm"``, the components of a Gaussian mixture with diagonal
            covariances. Soft coding are then their posteriors, of all K; the other codings go by the distance to their means.
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
        vocabulary: str = "kmeans",
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
        self.vocabulary = vocabulary
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
        """Find the words, unless they are given.

        Raises:
            InputError: parameters that make no sense or do not fit each other, or no descriptors to learn from.
        """
        self._check_parameters()
        rows = self._rows(images)
        if self.coding == "tree":
            self.nodes_ = self._grow(rows)
            self.words_ = self.nodes_[-self.words :]
        elif self._given:
            self.words_ = np.asarray(self.words, np.float64)
            if not np.isfinite(self.words_).all():
                raise InputError("BagOfWords: the words hold NaN or infinite numbers")
            if self.words_.shape[1] != rows.shape[1]:
                raise InputError(f"BagOfWords: words have {self.words_.shape[1]} numbers, descriptors {rows.shape[1]}")
        else:
            self._find(rows)
        nearest = _distances(rows[:: max(1, len(rows) // 2000)], self.words_).min(1)
        self.beta_ = float(1 / max(nearest.mean(), 1e-12)) if self.beta is None else float(self.beta)
        return self

    @property
    def _given(self) -> bool:
        return np.ndim(self.words) > 0

    def _check_parameters(self) -> None:
        self._check_pyramid()
        for name, chosen, known in (("vocabulary", self.vocabulary, VOCABULARIES), ("coding", self.coding, CODINGS)):
            if chosen not in known:
                raise InputError(f"BagOfWords: unknown {name} {chosen!r}; there are {', '.join(known)}")
        whole_number(self.neighbours, "BagOfWords: neighbours")
        limits = (("power", self.power, 1, "from 1 on"), ("base", self.base, np.nextafter(1, 2), "above 1"))
        for name, number, least, text in (*limits, ("ridge", self.ridge, 0, "from 0 on")):
            if not isinstance(number, Real) or not number >= least:
                raise InputError(f"BagOfWords: {name} must be a number {text}, not {number!r}")
        if self.beta is not None and not (isinstance(self.beta, Real) and self.beta > 0):
            raise InputError(f"BagOfWords: beta must be a number above 0 or None, not {self.beta!r}")
        if self._given and (np.ndim(self.words) != 2 or not len(self.words)):
            raise InputError(f"BagOfWords: words are a number or an array [K, D], not an array {list(np.shape(self.words))}")
        if self.vocabulary == "gmm" and (self.coding == "tree" or self._given):
            raise InputError(
                "BagOfWords: a mixture is fitted, and it is no tree; give vocabulary='kmeans' with "
                + ("coding='tree'" if self.coding == "tree" else "words that are known")
            )

    def _find(self, rows: Array) -> None:
        """Words of rows, by k-means or as the means of a mixture."""
        count = whole_number(self.words, "BagOfWords: words")
        if count > len(rows):
            raise InputError(f"BagOfWords: {count} words of {len(rows)} descriptors")
        if self.vocabulary == "gmm":
            self.mixture_ = Gaussians.fitted(rows, count, self.random_state)
            self.words_ = self.mixture_.means
        else:
            clusters = MiniBatchKMeans(count, random_state=self.random_state, n_init=3).fit(rows)
            self.words_ = np.asarray(clusters.cluster_centers_, np.float64)

    def _grow(self, rows: Array) -> Array:
        """Nodes of all levels but the root, level by level; a node of fewer descriptors than branches repeats itself."""
        if np.ndim(self.words):
            raise InputError("BagOfWords: words of a tree cannot be given; give their number, or another coding")
        words, branches = whole_number(self.words, "BagOfWords: words"), whole_number(self.branches, "BagOfWords: branches")
        depth = round(np.log(words) / np.log(branches)) if branches > 1 else 0
        if depth < 1 or branches**depth != words:
            raise InputError(f"BagOfWords: a tree of {branches} branches has a power of them as words, not {words}")
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

    @property
    def _by_posterior(self) -> bool:
        return self.vocabulary == "gmm" and self.coding == "soft"

    def assign(self, image: Descriptors) -> tuple[Array, Array]:
        """Numbers m and the words they are of, [L, n] each; posteriors of a mixture are of all words, n = K."""
        values = image.values.astype(np.float64)
        if self._by_posterior:
            gamma = self.mixture_.posterior(values)
            return gamma, np.broadcast_to(np.arange(gamma.shape[1]), gamma.shape)
        if self.coding == "tree":
            leaves = self._descend(values)
            return np.ones(leaves.shape), leaves
        numbers, which = [], []
        for part in np.array_split(values, max(1, len(image) * len(self.words_) // (1 << 24) + 1)):
            distances = _distances(part, self.words_)
            order = _nearest(distances, self._neighbours)
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
            cells = self.cells_of(image)
            for level in range(cells.shape[1]):
                index = (cells[:, level, None] * count + which).ravel()
                if np.isinf(self.power):
                    np.maximum.at(histogram.reshape(-1), index, numbers.ravel())
                else:
                    sums = np.bincount(index, numbers.ravel() ** self.power, minlength=histogram.size)
                    histogram += sums.reshape(histogram.shape)
            if not np.isinf(self.power):
                lengths = np.bincount(cells.ravel(), minlength=self.cells)[:, None]
                histogram[:] = (histogram / np.maximum(lengths, 1)) ** (1 / self.power)
        return result.reshape(len(images), -1)

    def names_in_cell(self) -> list[str]:
        """Names of the words."""
        return [f"word{number}" for number in range(len(self.words_))]

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """An assignment or posteriors, and a pooling."""
        check_width(builder, stream, self.words_.shape[1])
        count, neighbours = len(self.words_), self._neighbours
        power = 0.0 if np.isinf(self.power) else float(self.power)
        pooling: dict[str, Any] = {"width": self.cells * count, "words": count, "cells": self.cells, "power": power}
        if self._by_posterior:
            gamma, _ = self.mixture_.emit(builder, stream.value)
            value = builder.node("PosteriorPooling", gamma, self._emit_cells(builder, stream), **pooling)
            return stream.moved(name_value(builder, value, "words"), self.transform)
        assigned: Any = builder.op.Assignment(
            stream.value,
            builder.number(self.nodes_ if self.coding == "tree" else self.words_, "centres"),
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
        for value, dtype, name in zip(
            reversed(assigned), (ir.DataType.INT64, builder.op.dtype), ("nearest", "assignment"), strict=True
        ):
            value.type, value.shape = ir.TensorType(dtype), ir.Shape(["N", length, neighbours])
            name_value(builder, value, name)
        value = builder.node("Pooling", *assigned, self._emit_cells(builder, stream), **pooling)
        return stream.moved(name_value(builder, value, "words"), self.transform)


def _nearest(distances: Array, count: int) -> Array:
    """The ``count`` nearest words [L, count], in order; of words that are equally far, the first ones."""
    if count == 1:
        return np.asarray(distances.argmin(1)[:, None])
    if count == distances.shape[1]:
        return np.asarray(np.argsort(distances, axis=1, kind="stable"))
    chosen = np.sort(np.argpartition(distances, count - 1, axis=1)[:, :count], axis=1)
    near = np.take_along_axis(distances, chosen, 1)
    result = np.take_along_axis(chosen, np.argsort(near, axis=1, kind="stable"), 1)
    # A partition takes any of several words at the same distance.
    tied = (distances <= near.max(1, keepdims=True)).sum(1) > count
    result[tied] = np.argsort(distances[tied], axis=1, kind="stable")[:, :count]
    return np.asarray(result)


def _distances(rows: Array, words: Array) -> Array:
    """‖l - b‖², [L, K]."""
    distances = rows @ (-2 * words.T)
    distances += (rows**2).sum(1)[:, None]
    distances += (words**2).sum(1)
    return np.asarray(distances)
