"""Kernel machines against their definition, in float64: exact sums over dimensions, and Taylor at the nearest root."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import SVC

import graphlrp
from graphlrp import kernels
from graphlrp.kernels import (
    RBF,
    SVDD,
    AdditiveChi2,
    ExponentialChi2,
    Hellinger,
    HistogramIntersection,
    Laplacian,
    Linear,
    Machine,
    Polynomial,
    Sigmoid,
)
from tests.plugins.kernels import oracle

EXACT = [
    Linear(),
    HistogramIntersection(),
    AdditiveChi2(),
    AdditiveChi2(distance=True),
    Hellinger(),
    0.5 * HistogramIntersection().on([0, 2]) + 2.0 * AdditiveChi2().on(range(1, 4)) + 0.25 * Linear(),
]
TAYLOR = [
    RBF(2.0),
    Polynomial(2, 1.5, 0.5),
    Polynomial(3, 1.0, 1.0),
    Sigmoid(1.0, -0.2),
    Laplacian(1.5),
    ExponentialChi2(2.0),
    RBF(1.0).on([0, 3]) + 0.5 * Laplacian(2.0).on([1, 2]) + 0.3 * HistogramIntersection(),
]


def histograms(count: int, seed: int, dimensions: int = 4) -> np.ndarray:
    """Features that are not negative, some of them zero."""
    generator = np.random.default_rng(seed)
    return generator.random((count, dimensions)) * (generator.random((count, dimensions)) > 0.2)


def machine(kernel: kernels.Kernel, seed: int = 0, **options: object) -> Machine:
    """Twelve support vectors, six for each side, and an intercept that puts the boundary between them."""
    generator = np.random.default_rng(seed)
    support = histograms(12, seed)
    dual = generator.random(12) * np.repeat([1, -1], 6)
    bare = kernel(support, support) @ dual
    return Machine(kernel, support, dual, float(-np.median(bare)), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kernel", EXACT, ids=str)
def test_sums_over_dimensions_are_explained_exactly(kernel: kernels.Kernel) -> None:
    m, x = machine(kernel), histograms(5, 1)
    explanation = graphlrp.load(m, dtype="float64", ledger="strict")(x)
    expected = [oracle.contributions(kernel, row, m.support_vectors, m.dual_coefficients) for row in x]
    np.testing.assert_allclose(explanation.relevance, expected, rtol=1e-10, atol=1e-12)
    f = [sum(a * oracle.value(kernel, row, y) for a, y in zip(m.dual_coefficients, m.support_vectors, strict=True)) for row in x]
    np.testing.assert_allclose(explanation.output, np.asarray(f) + m.intercept, rtol=1e-10)
    np.testing.assert_allclose(explanation.relevance.sum(1) + m.intercept, explanation.output, atol=1e-10)
    bias = sum(entry.bias for entry in explanation.ledger)
    np.testing.assert_allclose(bias, m.intercept, atol=1e-10)


@pytest.mark.parametrize("kernel", TAYLOR, ids=str)
def test_other_kernels_are_explained_at_the_nearest_root(kernel: kernels.Kernel) -> None:
    m, x = machine(kernel, 3), histograms(5, 4)
    explanation = graphlrp.load(m, dtype="float64", ledger="strict")(x)
    for sample, row in enumerate(x):
        root, expected = oracle.taylor(kernel, row, m.support_vectors, m.dual_coefficients, m.intercept, m.support_vectors)
        assert abs(m.decision_function(root[None])[0]) <= 1e-9
        np.testing.assert_allclose(explanation.relevance[sample], expected, rtol=1e-6, atol=1e-8)
    (entry,) = (entry for entry in explanation.ledger if "Kernel" in entry.op)
    np.testing.assert_allclose(entry.residual, explanation.output - explanation.relevance.sum(1), atol=1e-10)


@pytest.mark.parametrize("kernel", [*EXACT, *TAYLOR], ids=str)
def test_single_precision_agrees_with_double(kernel: kernels.Kernel) -> None:
    m, x = machine(kernel, 3), histograms(40, 5)
    single, double = (graphlrp.load(m, dtype=dtype)(x) for dtype in ("float32", "float64"))
    scale = np.abs(double.relevance).max()
    np.testing.assert_allclose(single.relevance, double.relevance, atol=2e-4 * scale)
    np.testing.assert_allclose(single.output, double.output, atol=1e-5)


@pytest.mark.parametrize("kernel", [Linear(), RBF(2.0), HistogramIntersection(), AdditiveChi2(), Laplacian(1.0)], ids=str)
def test_gradient_is_that_of_the_decision_function(kernel: kernels.Kernel) -> None:
    m, x = machine(kernel), histograms(3, 6) + 0.013
    gradient = graphlrp.load(m, "gradient", dtype="float64")(x).relevance
    step = 1e-6
    for d in range(x.shape[1]):
        moved = np.eye(x.shape[1])[d] * step
        expected = (m.decision_function(x + moved) - m.decision_function(x - moved)) / (2 * step)
        np.testing.assert_allclose(gradient[:, d], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernel", [HistogramIntersection(), AdditiveChi2(), Laplacian(1.0), ExponentialChi2(1.0)], ids=str)
def test_support_vectors_in_blocks_give_the_same(kernel: kernels.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    m, x = machine(RBF(1.0) + kernel, 3), histograms(6, 4)  # RBF makes it a Taylor machine: gram and gradient of all of them
    whole = graphlrp.load(m, dtype="float64")(x)
    exact = machine(AdditiveChi2(), 3)
    expected = graphlrp.load(exact, dtype="float64")(x)
    monkeypatch.setattr("graphlrp.plugins.kernels.blocks.BLOCK", 20)  # five support vectors of twelve at a time
    np.testing.assert_allclose(graphlrp.load(m, dtype="float64")(x).relevance, whole.relevance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(graphlrp.load(m)(x).relevance, whole.relevance, atol=1e-4)
    np.testing.assert_allclose(graphlrp.load(exact)(x).relevance, expected.relevance, atol=1e-5)


def test_several_outputs_are_explained_one_by_one() -> None:
    generator = np.random.default_rng(0)
    support, dual, x = histograms(9, 0), generator.normal(size=(9, 3)), histograms(4, 1)
    for kernel in (HistogramIntersection(), AdditiveChi2(), Linear(), Linear().on([1, 3]) + HistogramIntersection()):
        explainer = graphlrp.load(Machine(kernel, support, dual, np.array([0.1, -0.2, 0.3])), dtype="float64")
        for target in range(3):
            expected = [oracle.contributions(kernel, row, support, dual[:, target]) for row in x]
            np.testing.assert_allclose(explainer(x, target).relevance, expected, atol=1e-10)


def test_contrastive_targets_have_their_root_between_the_classes() -> None:
    generator = np.random.default_rng(1)
    support, dual, x = histograms(12, 0), generator.normal(size=(12, 2)), histograms(4, 1)
    both = graphlrp.load(Machine(RBF(2.0), support, dual), dtype="float64", initial="value")(x, np.array([1.0, -1.0]))
    difference = Machine(RBF(2.0), support, dual[:, 0] - dual[:, 1], references=support)
    alone = graphlrp.load(difference, dtype="float64")(x)
    np.testing.assert_allclose(both.relevance, alone.relevance, rtol=1e-6, atol=1e-9)


def test_bias_is_spread_over_all_dimensions() -> None:
    for kernel in (HistogramIntersection(), AdditiveChi2()):
        m, x = machine(kernel), histograms(3, 1)
        absorbed, spread, ignored = (
            graphlrp.load(m, dtype="float64", bias=bias)(x) for bias in ("absorb", "distribute", "ignore")
        )
        np.testing.assert_allclose(spread.relevance, absorbed.relevance + m.intercept / 4, atol=1e-10)  # (2.73)
        np.testing.assert_allclose(spread.relevance.sum(1), spread.output, atol=1e-10)
        share = absorbed.relevance * (absorbed.output / (absorbed.output - m.intercept))[:, None]
        np.testing.assert_allclose(ignored.relevance, share, atol=1e-9)


def test_bias_is_projected_along_the_weights_of_a_linear_machine() -> None:
    m, x = machine(Linear()), histograms(3, 1)
    w = m.support_vectors.T @ m.dual_coefficients
    explanation = graphlrp.load(m, dtype="float64", bias="project", ledger=True)(x)
    np.testing.assert_allclose(explanation.relevance, x * w + w / (w @ w) * m.intercept, atol=1e-10)  # (2.74)


def test_bias_policies_without_a_meaning_are_refused() -> None:
    with pytest.raises(graphlrp.RuleError, match="project"):
        graphlrp.load(machine(HistogramIntersection()), bias="project")


def test_residual_may_be_shared() -> None:
    m, x = machine(RBF(2.0), 3), histograms(5, 4)
    kept, shared = (graphlrp.load(m, dtype="float64", residual=policy, ledger=True)(x) for policy in ("absorb", "share"))
    np.testing.assert_allclose(shared.relevance.sum(1), shared.output, atol=1e-10)
    ratio = shared.output / kept.relevance.sum(1)
    np.testing.assert_allclose(shared.relevance, kept.relevance * ratio[:, None], atol=1e-10)


def test_regression_is_explained_from_a_level() -> None:
    m = machine(RBF(2.0), 3, level=0.1)
    x = histograms(5, 4)
    explanation = graphlrp.load(m, dtype="float64", ledger="strict")(x)
    for sample, row in enumerate(x):
        _, expected = oracle.taylor(RBF(2.0), row, m.support_vectors, m.dual_coefficients, m.intercept, m.support_vectors, 0.1)
        np.testing.assert_allclose(explanation.relevance[sample], expected, rtol=1e-6, atol=1e-8)
    constant = sum(entry.constant for entry in explanation.ledger)
    np.testing.assert_allclose(constant, 0.1, atol=1e-9)


def test_a_sample_without_another_side_is_an_error() -> None:
    m = machine(RBF(2.0), 3)
    x = histograms(6, 4)
    one_sided = m.support_vectors[m.decision_function(m.support_vectors) > 0]
    lonely = np.flatnonzero(m.decision_function(x) > 0)
    explainer = graphlrp.load(graphlrp.convert(m, references=one_sided))
    with pytest.raises(graphlrp.InputError, match=rf"no reference is predicted otherwise.*samples {lonely[0]}"):
        explainer(x)
    others = np.flatnonzero(m.decision_function(x) < 0)
    assert np.isfinite(explainer(x[others]).relevance).all()


def test_a_saved_machine_without_another_side_says_nan(tmp_path: object) -> None:
    import onnxruntime

    m, x = machine(RBF(2.0), 3), histograms(6, 4).astype(np.float32)
    one_sided = m.support_vectors[m.decision_function(m.support_vectors) > 0]
    graphlrp.load(graphlrp.convert(m, references=one_sided)).save(f"{tmp_path}/m.onnx")
    session = onnxruntime.InferenceSession(f"{tmp_path}/m.onnx")
    f, relevance = session.run(["decision", "relevance"], {"input": x, "target": np.zeros(6, np.int64)})
    np.testing.assert_array_equal(np.isnan(relevance).all(1), f > 0)
    assert np.isnan(relevance).any(1).tolist() == np.isnan(relevance).all(1).tolist()


def test_a_saved_machine_is_recognised_again(tmp_path: object) -> None:
    import onnxruntime

    for kernel in (RBF(1.0).on([0, 1]) + 0.5 * Laplacian(2.0), AdditiveChi2(), HistogramIntersection()):
        m, x = machine(kernel, 3), histograms(6, 4)
        graphlrp.convert(m, features=["a", "b", "c", "d"], dtype="float64").save(f"{tmp_path}/m.onnx")
        session = onnxruntime.InferenceSession(f"{tmp_path}/m.onnx")
        np.testing.assert_allclose(session.run(["decision"], {"input": x})[0], m.decision_function(x), atol=1e-10)
        loaded = graphlrp.load(f"{tmp_path}/m.onnx", dtype="float64")
        assert loaded.features == ["a", "b", "c", "d"]
        assert loaded.plan.rows[0].operator.startswith("graphlrp.")
        np.testing.assert_allclose(loaded(x).relevance, graphlrp.load(m, dtype="float64")(x).relevance, atol=1e-10)


def test_hypersphere_rates_outliers() -> None:
    support, alpha, x = histograms(8, 0), np.full(8, 1 / 8), histograms(5, 1)
    for kernel in (Linear(), HistogramIntersection(), AdditiveChi2(), Hellinger()):
        m = SVDD(kernel, support, alpha, 0.05)
        explanation = graphlrp.load(m, dtype="float64", ledger="strict")(x)
        expected = np.zeros(x.shape)
        for n, row in enumerate(x):
            for d in range(4):
                column = support[:, d]
                expected[n, d] = oracle.component(kernel, row[d], row[d])
                expected[n, d] -= 2 * sum(a * oracle.component(kernel, y, row[d]) for a, y in zip(alpha, column, strict=True))
                expected[n, d] += sum(
                    a * b * oracle.component(kernel, y, z)
                    for a, y in zip(alpha, column, strict=True)
                    for b, z in zip(alpha, column, strict=True)
                )
        np.testing.assert_allclose(explanation.relevance, expected, atol=1e-10)  # (A.13)
        np.testing.assert_allclose(explanation.relevance.sum(1) - 0.05, explanation.output, atol=1e-10)
    # The linear one is what it says: squared distances from the mean.
    np.testing.assert_allclose(
        graphlrp.load(SVDD(Linear(), support, alpha, 0.05), dtype="float64")(x).relevance, (x - support.mean(0)) ** 2, atol=1e-10
    )


def test_hypersphere_of_a_distance_kernel_is_a_machine() -> None:
    support, alpha, x = histograms(8, 0), np.full(8, 1 / 8), histograms(5, 1)
    inner = RBF(1.0)(support, support)
    radius = float(np.median(1 - 2 * inner @ alpha + alpha @ inner @ alpha))
    m = SVDD(RBF(1.0), support, alpha, radius)
    explanation = graphlrp.load(m, dtype="float64")(np.concatenate([x, support + 1.5]))
    expected = 1 - 2 * RBF(1.0)(np.concatenate([x, support + 1.5]), support) @ alpha + alpha @ inner @ alpha - radius
    np.testing.assert_allclose(explanation.output, expected, atol=1e-12)
    with pytest.raises(graphlrp.ModelError, match="not constant"):
        graphlrp.load(SVDD(Polynomial(2), support, alpha, 0.1))


def test_kernels_fit_machines_of_scikit_learn() -> None:
    x, y = histograms(60, 0), np.arange(60) % 2
    for kernel in (*EXACT, *TAYLOR):
        fitted = SVC(kernel=kernel, C=10).fit(x, y)
        explanation = graphlrp.load(fitted, dtype="float64")(x[:3])
        np.testing.assert_allclose(explanation.output, fitted.decision_function(x[:3]), atol=1e-9)


def test_twenty_thousand_knots_are_found_by_bisection() -> None:
    generator = np.random.default_rng(0)
    for count in (1, 2, 3, 7, 8, 9, 100):
        support, dual = generator.integers(0, 6, (count, 3)).astype(float), generator.normal(size=count)
        x = generator.integers(-1, 8, (40, 3)).astype(float)  # ties, and values beyond all knots
        m = Machine(HistogramIntersection(), support, dual, 0.5)
        expected = [oracle.contributions(HistogramIntersection(), row, support, dual) for row in x]
        np.testing.assert_allclose(graphlrp.load(m, dtype="float64")(x).relevance, expected, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "rbf"}, "kernel must be one of graphlrp.kernels"),
        ({"support_vectors": np.zeros(3)}, "support_vectors must be a matrix"),
        ({"support_vectors": np.full((3, 2), np.nan)}, "support_vectors hold NaN"),
        ({"dual_coefficients": np.zeros(4)}, "3 support vectors"),
        ({"intercept": np.zeros(2)}, "intercept must be a number or one for each of 1 outputs"),
        ({"references": np.zeros((3, 5))}, "references have 5 columns"),
        ({"features": ["a"]}, "1 names for 2 features"),
    ],
)
def test_machines_that_do_not_fit_are_refused(arguments: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"kernel": RBF(), "support_vectors": np.ones((3, 2)), "dual_coefficients": np.ones(3)}
    with pytest.raises(graphlrp.InputError, match=message):
        Machine(**{**good, **arguments})  # type: ignore[arg-type]


def test_kernels_refuse_what_they_cannot_be() -> None:
    for make in (
        lambda: RBF(-1.0),
        lambda: Polynomial(1.5),  # type: ignore[arg-type]
        lambda: Laplacian(float("nan")),
        lambda: Linear().on([]),
        lambda: Linear().on([1, 1]),
        lambda: Linear().on([-1]),
    ):
        with pytest.raises(graphlrp.InputError):
            make()
    with pytest.raises(graphlrp.InputError, match="column 7, but samples have 4"):
        Linear().on([7])(histograms(2, 0), histograms(2, 1))
    with pytest.raises(graphlrp.InputError, match="equal D"):
        Linear()(np.zeros((2, 3)), np.zeros((2, 4)))


def test_columns_within_columns() -> None:
    x, y = histograms(3, 0, 6), histograms(4, 1, 6)
    nested = (RBF(1.0).on([1, 2]) + Linear()).on([5, 3, 0])
    np.testing.assert_allclose(nested(x, y), RBF(1.0)(x[:, [3, 0]], y[:, [3, 0]]) + x[:, [5, 3, 0]] @ y[:, [5, 3, 0]].T)


def test_a_kernel_of_ones_own_without_a_gradient_says_so() -> None:
    class Cube(kernels.Kernel):
        name = "cube"

        def compute(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return np.asarray((x @ y.T) ** 3)

        def gram(self, op, x, y):  # type: ignore[no-untyped-def]
            z = op.MatMul(x, op.Transpose(y, perm=[1, 0]))
            return op.Mul(op.Mul(z, z), z)

        def __str__(self) -> str:
            return "Cube()"

    m = machine(Polynomial(3, 1.0, 0.0))
    with pytest.raises(graphlrp.RuleError, match=r"Cube.* has no gradient"):
        graphlrp.load(Machine(Cube(), m.support_vectors, m.dual_coefficients, m.intercept))

    class CubeWithGradient(Cube):
        name = "cube-with-gradient"

        def gradient(self, op, x, y, c):  # type: ignore[no-untyped-def]
            z = op.MatMul(x, op.Transpose(y, perm=[1, 0]))
            return op.MatMul(op.Mul(c, op.Mul(op.Mul(z, z), 3.0)), y)

    own = graphlrp.load(Machine(CubeWithGradient(), m.support_vectors, m.dual_coefficients, m.intercept), dtype="float64")
    x = histograms(3, 8)
    np.testing.assert_allclose(own(x).relevance, graphlrp.load(m, dtype="float64")(x).relevance, rtol=1e-6, atol=1e-9)
