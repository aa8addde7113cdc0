"""Kernel machines on real data: a linear machine on gait recordings, a support vector regression of image quality, text.

The references of the gait recordings are the relevances that their authors stored; those of the regression are computed here,
in float64, from (2.76) and (A.5).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import issparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import SVC, LinearSVC

import graphlrp
from acceptance.test_gait import EPSILON, Recordings, folder, linear_reference, recordings, stored  # noqa: F401
from graphlrp.kernels import RBF, ExponentialChi2, HistogramIntersection, Linear, Machine

NAME = "SvmLinearL2C1em1"


@pytest.mark.parametrize("explained", ["act", "dom"])
@pytest.mark.parametrize("rule", ["epsilon", "epsilon_zb"])
def test_linear_machine_on_gait_recordings(folder: Path, recordings: Recordings, rule: str, explained: str) -> None:  # noqa: F811
    """The stored relevance of a linear support vector machine, declared from its arrays."""
    reference = linear_reference(folder, recordings, NAME)
    (dense,) = [layer for layer in reference.network if hasattr(layer, "weight") and getattr(layer, "weight", None) is not None]
    weights, bias = np.asarray(dense.weight, np.float64), np.asarray(dense.bias, np.float64)
    weights = weights if weights.shape[0] == 606 else weights.T
    machine = Machine(Linear(), weights.T, np.eye(2), bias)
    x = recordings.x[reference.index].reshape(-1, 606)
    scores = reference.outputs["y_pred"]
    target = recordings.label[reference.index] if explained == "act" else scores.argmax(1)
    ours: graphlrp.Rule = graphlrp.Epsilon(EPSILON)
    if rule == "epsilon_zb":
        ours = graphlrp.ZBounds(low=recordings.low.ravel(), high=recordings.high.ravel())
    explanation = graphlrp.load(machine, ours, dtype="float64", ledger="strict")(x, target)
    assert np.abs(explanation.output - scores).max() < 1e-10
    expected = reference.outputs[f"R_pred_{explained}_{rule}"].reshape(-1, 606)
    assert np.abs(explanation.relevance - expected).max() < 1e-10


def libsvm_regression(path: Path) -> Machine:
    """A regression in libsvm's text format: lines of α and of features as index:value."""
    header, _, body = path.read_text().partition("SV\n")
    settings = dict(line.split(maxsplit=1) for line in header.splitlines() if line.strip())
    rows = [line.split() for line in body.splitlines() if line.strip()]
    support = np.zeros((len(rows), 36))
    for row, line in zip(support, rows, strict=True):
        for pair in line[1:]:
            index, value = pair.split(":")
            row[int(index) - 1] = float(value)
    dual = np.array([float(line[0]) for line in rows])
    assert len(rows) == int(settings["total_sv"])
    return Machine(RBF(float(settings["gamma"])), support, dual, -float(settings["rho"]))


def nearest_root(machine: Machine, level: float, x: np.ndarray) -> np.ndarray:
    """The root of f - level nearest to x on the ways from all support vectors of the other side, by bisection."""

    def f(points: np.ndarray) -> np.ndarray:
        return machine.decision_function(points) - level

    side = 1.0 if f(x[None])[0] >= 0 else -1.0
    references = machine.support_vectors[f(machine.support_vectors) * side <= 0]
    low, high = np.zeros(len(references)), np.ones(len(references))
    for _ in range(60):
        middle = (low + high) / 2
        beyond = f(references + middle[:, None] * (x - references)) * side > 0
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    roots = references + high[:, None] * (x - references)
    return np.asarray(roots[np.linalg.norm(roots - x, axis=1).argmin()])


def test_regression_of_image_quality(assets: Path) -> None:
    """Every sample has the relevance of (2.76) and (A.5) at the nearest root, where f has its mean over the references."""
    machine = libsvm_regression(assets / "references" / "brisque_svr_rbf.libsvm.txt")
    level = float(machine.decision_function(machine.support_vectors).mean())
    machine = Machine(machine.kernel, machine.support_vectors, machine.dual_coefficients, machine.intercept, level=level)
    generator = np.random.default_rng(0)
    pairs = generator.choice(770, (24, 2), replace=False)
    x = machine.support_vectors[pairs].mean(1)
    from graphlrp.plugins.kernels import machine as mapping

    explanation = graphlrp.load(machine, dtype="float64", ledger="strict")(x)
    np.testing.assert_allclose(explanation.output, machine.decision_function(x), rtol=1e-9)
    gamma, support = machine.kernel.gamma, machine.support_vectors  # type: ignore[attr-defined]
    assert len(support) * mapping.WAYS > mapping.BUDGET  # not all ways are searched
    nearest = 0
    for sample, relevance in zip(x, explanation.relevance, strict=True):
        root = nearest_root(machine, level, sample)
        c = machine.dual_coefficients * np.exp(-gamma * ((support - root) ** 2).sum(1))
        expected = (sample - root) * 2 * gamma * (c @ support - c.sum() * root)
        nearest += np.abs(relevance - expected).max() <= 1e-6 * np.abs(expected).max()
    assert nearest >= 18
    constant = sum(entry.constant for entry in explanation.ledger)
    np.testing.assert_allclose(constant, level, rtol=1e-9)


def test_text_is_explained_term_by_term(assets: Path) -> None:
    """Reuters R8: sparse relevance of linear and kernel machines sums to the decision less the intercept."""

    def read(part: str) -> tuple[list[str], list[str]]:
        (path,) = sorted((assets / "text").glob(f"reuters-r8-*{part}*.tab"))
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        rows = [row for row in rows if len(row) == 2 and row[0] not in ("text", "class", "d", "string")]
        first = {row[0] for row in rows}
        texts, labels = (0, 1) if len(first) > 50 else (1, 0)
        return [row[texts] for row in rows], [row[labels] for row in rows]

    train, train_labels = read("train")
    test, test_labels = read("test")
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    x, z = vectorizer.fit_transform(train), vectorizer.transform(test)
    linear = LinearSVC().fit(x, train_labels)
    assert linear.score(z, test_labels) > 0.95
    explanation = graphlrp.load(linear, ledger="strict")(z, batch_size=64)
    assert issparse(explanation.relevance) and explanation.relevance.nnz <= z.nnz
    rows = np.arange(len(test))
    decided = linear.decision_function(z)
    np.testing.assert_array_equal(explanation.target, decided.argmax(1))
    total = np.asarray(explanation.relevance.sum(1)).ravel() + linear.intercept_[explanation.target]
    np.testing.assert_allclose(total, decided[rows, explanation.target], atol=1e-5)
    # Kernel machines on the 300 most frequent terms of two classes.
    kinds = np.isin(train_labels, ["earn", "acq"])
    chosen = np.asarray(x.sum(0)).ravel().argsort()[-300:]
    few, labels = x[kinds][:600, chosen], np.asarray(train_labels)[kinds][:600]
    for kernel in (RBF(1.0), ExponentialChi2(0.5), HistogramIntersection()):
        fitted = SVC(kernel=kernel).fit(few.toarray(), labels)
        explained = graphlrp.load(fitted, ledger="strict")(few[:100])
        np.testing.assert_allclose(explained.output, fitted.decision_function(few[:100].toarray()), atol=1e-3)
        assert explained.conservation_error.max() < 1e-5
