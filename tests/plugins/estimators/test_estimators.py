"""scikit-learn's estimators: the graph says what the estimator says, and relevance is that of the formulas."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix, issparse
from sklearn import datasets, decomposition, feature_selection, kernel_approximation, linear_model, preprocessing, svm
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import pairwise
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline

import graphlrp
from graphlrp import kernels
from graphlrp.plugins.kernels.pairs import pair_votes

Array = np.ndarray[Any, Any]


def named(estimator: Any) -> str:
    """An estimator without addresses of functions."""
    return re.sub(r" at 0x\w+", "", str(estimator)).replace("\n", "")


def samples(classes: int = 2, seed: int = 0) -> tuple[Array, Array]:
    """120 samples of 6 features that are not negative, in classes that overlap."""
    generator = np.random.default_rng(seed)
    y = np.arange(120) % classes
    return generator.random((120, 6)) + 0.4 * np.eye(6)[y], y


def explain(estimator: Any, x: Array, **options: Any) -> Any:
    return graphlrp.load(estimator, dtype="float64", ledger="strict", **options)(x)


CLASSIFIERS = [
    svm.LinearSVC(),
    linear_model.LogisticRegression(),
    linear_model.LogisticRegressionCV(Cs=3),
    linear_model.SGDClassifier(random_state=0),
    linear_model.RidgeClassifier(),
    linear_model.RidgeClassifierCV(),
    linear_model.Perceptron(),
    LinearDiscriminantAnalysis(),
    svm.SVC(kernel="linear"),
    svm.SVC(),
    svm.SVC(gamma="auto"),
    svm.SVC(kernel="poly", degree=2, coef0=1.0),
    svm.SVC(kernel="sigmoid", gamma=0.2),
    svm.SVC(kernel=pairwise.chi2_kernel),
    svm.SVC(kernel=functools.partial(pairwise.laplacian_kernel, gamma=0.7)),
    svm.SVC(kernel=kernels.HistogramIntersection()),
    svm.NuSVC(nu=0.3),
]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=named)
def test_classifiers(classifier: Any, classes: int) -> None:
    x, y = samples(classes)
    fitted = classifier.fit(x, y)
    explanation = explain(fitted, x[:9])
    if isinstance(fitted, (svm.SVC, svm.NuSVC)) and classes > 2:
        pairs = type(fitted)(**{**fitted.get_params(), "decision_function_shape": "ovo"}).fit(x, y)
        own = graphlrp.load(pairs, "gradient", dtype="float64")(x[:9])
        np.testing.assert_allclose(own.output, pairs.decision_function(x[:9]), atol=1e-9)
        expected = pairs.decision_function(x[:9]) @ pair_votes(classes)
    else:
        expected = fitted.decision_function(x[:9])
    np.testing.assert_allclose(explanation.output, expected, atol=1e-8)
    assert explanation.relevance.shape == (9, 6)
    assert explanation.classes == [str(c) for c in range(classes)]
    if hasattr(fitted, "coef_"):
        weights = np.atleast_2d(fitted.coef_)
        chosen = weights[explanation.target] if len(weights) > 1 else weights[[0]]
        if not isinstance(fitted, svm.SVC) or classes == 2:
            np.testing.assert_allclose(explanation.relevance, x[:9] * chosen, atol=1e-10)  # R_d = w_d x_d
            np.testing.assert_allclose(
                explanation.relevance.sum(1)
                + np.broadcast_to(fitted.intercept_, len(weights))[explanation.target if len(weights) > 1 else 0],
                explanation.output[np.arange(9), explanation.target] if classes > 2 else explanation.output,
                atol=1e-9,
            )


def test_pairs_of_classes_vote_for_the_first() -> None:
    x, y = samples(4)
    fitted = svm.SVC(kernel="linear", decision_function_shape="ovo").fit(x, y)
    explanation = explain(fitted, x[:5], composite="basic")
    assert explanation.output.shape == (5, 6)
    for pair in range(6):
        weights = fitted.coef_[pair].toarray() if issparse(fitted.coef_) else fitted.coef_[pair]
        np.testing.assert_allclose(
            graphlrp.load(fitted, "basic", dtype="float64")(x[:5], pair).relevance, x[:5] * weights, atol=1e-9
        )


REGRESSORS = [
    linear_model.LinearRegression(),
    linear_model.Ridge(),
    linear_model.RidgeCV(),
    linear_model.Lasso(0.01),
    linear_model.ElasticNet(0.01),
    linear_model.BayesianRidge(),
    linear_model.SGDRegressor(random_state=0),
    linear_model.HuberRegressor(),
    svm.LinearSVR(),
    svm.SVR(),
    svm.SVR(kernel="poly"),
    svm.NuSVR(),
    KernelRidge(kernel="rbf"),
    KernelRidge(kernel="laplacian", gamma=0.5),
    KernelRidge(kernel="chi2", gamma=1.0),
    KernelRidge(kernel="additive_chi2"),
    KernelRidge(kernel="cosine"),
    KernelRidge(kernel="polynomial", degree=2),
    KernelRidge(kernel=kernels.Hellinger()),
]


@pytest.mark.parametrize("regressor", REGRESSORS, ids=named)
def test_regressors(regressor: Any) -> None:
    x, _ = samples()
    y = x @ np.arange(6.0) + np.sin(5 * x[:, 0])
    fitted = regressor.fit(x, y)
    explanation = explain(fitted, x[:9])
    np.testing.assert_allclose(explanation.output, fitted.predict(x[:9]), atol=1e-8)
    assert explanation.output.shape == (9,)


def test_regressors_of_several_targets() -> None:
    x, _ = samples()
    y = np.column_stack([x @ np.arange(6.0), x[:, 0]])
    for fitted in (linear_model.Ridge().fit(x, y), KernelRidge(kernel="rbf").fit(x, y)):
        explanation = graphlrp.load(fitted, dtype="float64", ledger="strict")(x[:9], 1)
        np.testing.assert_allclose(explanation.output, fitted.predict(x[:9]), atol=1e-8)
    one = linear_model.Ridge().fit(x, y[:, :1])
    assert graphlrp.load(one)(x[:3]).output.shape == one.predict(x[:3]).shape


@pytest.mark.parametrize(
    "detector", [svm.OneClassSVM(nu=0.2), svm.OneClassSVM(kernel="linear", nu=0.2), linear_model.SGDOneClassSVM()], ids=named
)
def test_one_class(detector: Any) -> None:
    x, _ = samples()
    fitted = detector.fit(x)
    explanation = explain(fitted, x[:30])  # inliers and outliers
    np.testing.assert_allclose(explanation.output, fitted.decision_function(x[:30]), atol=1e-9)


TRANSFORMERS = [
    preprocessing.StandardScaler(),
    preprocessing.StandardScaler(with_mean=False),
    preprocessing.StandardScaler(with_std=False),
    preprocessing.MinMaxScaler((-1, 2)),
    preprocessing.MinMaxScaler(clip=True),
    preprocessing.MaxAbsScaler(),
    preprocessing.RobustScaler(),
    preprocessing.RobustScaler(with_centering=False),
    preprocessing.Normalizer("l1"),
    preprocessing.Normalizer("l2"),
    preprocessing.Normalizer("max"),
    preprocessing.FunctionTransformer(np.log1p),
    preprocessing.FunctionTransformer(np.square),
    preprocessing.FunctionTransformer(),
    SimpleImputer(),
    decomposition.PCA(3),
    decomposition.PCA(3, whiten=True),
    decomposition.IncrementalPCA(3),
    decomposition.TruncatedSVD(3),
    feature_selection.SelectKBest(k=4),
    feature_selection.VarianceThreshold(0.09),
    feature_selection.SelectFromModel(svm.LinearSVC(), threshold="median"),
    kernel_approximation.AdditiveChi2Sampler(),
    kernel_approximation.AdditiveChi2Sampler(sample_steps=3),
    kernel_approximation.AdditiveChi2Sampler(sample_steps=1),
    kernel_approximation.Nystroem(n_components=20, random_state=0),
    kernel_approximation.Nystroem("cosine", n_components=20, random_state=0),
    kernel_approximation.Nystroem("additive_chi2", n_components=20, random_state=0),
    kernel_approximation.Nystroem(kernels.HistogramIntersection(), n_components=20, random_state=0),
    make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(4)),
    FeatureUnion([("a", preprocessing.MaxAbsScaler()), ("b", decomposition.PCA(2))], transformer_weights={"b": 0.5}),
    ColumnTransformer(
        [("scaled", preprocessing.StandardScaler(), [4, 0]), ("as it is", "passthrough", [2]), ("out", "drop", [1])],
        remainder=preprocessing.MinMaxScaler(),
    ),
    ColumnTransformer([("scaled", preprocessing.StandardScaler(), slice(1, 3))], transformer_weights={"scaled": 2.0}),
]


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=named)
@pytest.mark.parametrize("head", [svm.LinearSVC(), svm.SVC()], ids=named)
def test_transformers(transformer: Any, head: Any) -> None:
    x, y = samples()
    fitted = make_pipeline(transformer, head).fit(x, y)
    explanation = explain(fitted, x[:9])
    np.testing.assert_allclose(explanation.output, fitted.decision_function(x[:9]), atol=1e-8)
    assert explanation.relevance.shape == (9, 6)


def test_relevance_of_standardised_features_is_measured_from_the_mean() -> None:
    x, y = samples()
    fitted = make_pipeline(preprocessing.StandardScaler(), svm.LinearSVC()).fit(x, y)
    scaler, head = fitted[0], fitted[1]
    explanation = explain(fitted, x[:9])
    np.testing.assert_allclose(explanation.relevance, (x[:9] - scaler.mean_) / scaler.scale_ * head.coef_[0], atol=1e-10)
    raw = explain(fitted, x[:9], scaler="z")
    np.testing.assert_allclose(raw.relevance, x[:9] / scaler.scale_ * head.coef_[0], rtol=1e-4)


def test_relevance_through_principal_components() -> None:
    x, y = samples()
    fitted = make_pipeline(decomposition.PCA(3), svm.LinearSVC()).fit(x, y)
    weights = fitted[1].coef_[0] @ fitted[0].components_
    np.testing.assert_allclose(explain(fitted, x[:9]).relevance, (x[:9] - fitted[0].mean_) * weights, atol=1e-10)


def test_kernel_features_and_a_linear_head_are_one_machine() -> None:
    x, y = samples()
    nystroem = kernel_approximation.Nystroem(kernels.HistogramIntersection(), n_components=20, random_state=0)
    fitted = make_pipeline(nystroem, svm.LinearSVC()).fit(x, y)
    explainer = graphlrp.load(fitted, dtype="float64")
    assert [row.mapping for row in explainer.plan.rows] == ["PiecewiseLinear", "Reshaping"]
    dual = fitted[0].normalization_.T @ fitted[1].coef_[0]
    machine = kernels.Machine(kernels.HistogramIntersection(), fitted[0].components_, dual, float(fitted[1].intercept_[0]))
    np.testing.assert_allclose(explainer(x[:9]).relevance, graphlrp.load(machine, dtype="float64")(x[:9]).relevance, atol=1e-9)


def test_random_fourier_features_need_references() -> None:
    x, y = samples()
    fitted = make_pipeline(kernel_approximation.RBFSampler(random_state=0), linear_model.LogisticRegression()).fit(x, y)
    with pytest.raises(graphlrp.ModelError, match=r"logisticregression.*references"):
        graphlrp.load(fitted)
    explanation = explain(graphlrp.convert(fitted, references=x), x[:9])
    np.testing.assert_allclose(explanation.output, fitted.decision_function(x[:9]), atol=1e-8)
    weights = fitted[0].random_weights_ @ np.diag(np.full(100, np.sqrt(2 / 100)))
    # The gradient at the root, by hand, for the root that the relevances themselves imply along their way.
    gradient = graphlrp.load(graphlrp.convert(fitted, references=x), "gradient", dtype="float64")(x[:9]).relevance
    angle = x[:9] @ fitted[0].random_weights_ + fitted[0].random_offset_
    np.testing.assert_allclose(gradient, (-np.sin(angle) * fitted[1].coef_[0]) @ weights.T, atol=1e-9)


def test_references_pass_the_steps_before_the_machine() -> None:
    x, y = samples()
    fitted = make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(4), svm.SVC()).fit(x, y)
    inside = graphlrp.convert(fitted[-1], references=fitted[:-1].transform(x[::2]))
    outside = graphlrp.convert(fitted, references=x[::2])
    expected = explain(inside, fitted[:-1].transform(x[:9]))
    explanation = graphlrp.load(outside, dtype="float64", ledger=True)(x[:9])
    np.testing.assert_allclose(explanation.relevance.sum(1), expected.relevance.sum(1), atol=1e-9)
    for wrong in (x[:, :3], np.zeros((0, 6)), np.full((3, 6), np.nan)):
        with pytest.raises(graphlrp.InputError, match="references"):
            graphlrp.convert(fitted, references=wrong)


def test_classifiers_may_be_explained_from_the_mean() -> None:
    x, y = samples(3)
    fitted = svm.SVC().fit(x, y)
    explanation = graphlrp.load(graphlrp.convert(fitted, references=x, level="mean"), dtype="float64", ledger=True)(x[:9])
    pairs = svm.SVC(decision_function_shape="ovo").fit(x, y).decision_function(x) @ pair_votes(3)
    means = pairs.mean(0)[explanation.target]
    np.testing.assert_allclose(explanation.ledger.total("constant"), means, atol=1e-9)
    np.testing.assert_allclose(
        explanation.relevance.sum(1) + explanation.ledger.total("residual") + means,
        explanation.output[np.arange(9), explanation.target],
        atol=1e-9,
    )
    with pytest.raises(graphlrp.InputError, match="level must be"):
        graphlrp.convert(fitted, level="zero")


@pytest.mark.parametrize("classes", [2, 3])
def test_meta_estimators(classes: int) -> None:
    x, y = samples(classes)
    for meta in (
        OneVsRestClassifier(svm.LinearSVC()),
        OneVsRestClassifier(svm.SVC()),
        GridSearchCV(make_pipeline(preprocessing.StandardScaler(), svm.SVC()), {"svc__C": [1, 10]}, cv=2),
    ):
        fitted = meta.fit(x, y)
        explanation = explain(fitted, x[:9])
        expected = fitted.decision_function(x[:9])
        if isinstance(meta, GridSearchCV) and classes > 2:
            pairs = fitted.best_estimator_.set_params(svc__decision_function_shape="ovo")
            expected = pairs.decision_function(x[:9]) @ pair_votes(classes)
        np.testing.assert_allclose(explanation.output, expected, atol=1e-9)


def test_one_versus_one() -> None:
    x, y = samples(3)
    fitted = OneVsOneClassifier(svm.LinearSVC()).fit(x, y)
    explanation = explain(fitted, x[:20])
    # Confidences are squeezed below a third when votes are added: what is left of the votes says the order.
    sums = explanation.output
    decided = fitted.decision_function(x[:20])
    votes = np.round(decided)
    np.testing.assert_allclose(decided, votes + sums / (3 * (np.abs(sums) + 1)), atol=1e-9)


def test_the_margin_under_calibration_is_explained() -> None:
    x, y = samples(3)
    for base in (svm.LinearSVC(), svm.SVC(kernel=kernels.HistogramIntersection())):
        for ensemble in (True, False):
            fitted = CalibratedClassifierCV(base, cv=3, ensemble=ensemble).fit(x, y)
            explanation = explain(fitted, x[:9])
            folds = [c.estimator for c in fitted.calibrated_classifiers_]
            if isinstance(base, svm.LinearSVC):
                expected = np.mean([f.decision_function(x[:9]) for f in folds], axis=0)
                weights = np.mean([f.coef_ for f in folds], axis=0)
                np.testing.assert_allclose(explanation.output, expected, atol=1e-9)
                np.testing.assert_allclose(explanation.relevance, x[:9] * weights[explanation.target], atol=1e-9)
            best = fitted.predict(x[:9]) == explanation.target
            assert best.mean() > 0.8


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_perceptrons(activation: str) -> None:
    x, y = samples(3)
    fitted = make_pipeline(
        preprocessing.StandardScaler(), MLPClassifier((8, 5), activation=activation, max_iter=50, random_state=0)
    ).fit(x, y)
    explanation = graphlrp.load(fitted, dtype="float64", ledger="strict")(x[:9])
    probability = np.exp(explanation.output) / np.exp(explanation.output).sum(1, keepdims=True)
    np.testing.assert_allclose(probability, fitted.predict_proba(x[:9]), atol=1e-9)
    two = MLPClassifier((4,), max_iter=50, random_state=0).fit(x, y == 0)
    logit = graphlrp.load(two, dtype="float64")(x[:9]).output
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), two.predict_proba(x[:9])[:, 1], atol=1e-9)
    regressor = MLPRegressor(hidden_layer_sizes=(4,), max_iter=50, random_state=0).fit(x, x[:, 0])
    np.testing.assert_allclose(graphlrp.load(regressor, dtype="float64")(x[:9]).output, regressor.predict(x[:9]), atol=1e-9)


def test_sparse_samples_have_sparse_relevance() -> None:
    generator = np.random.default_rng(0)
    x = generator.random((60, 40)) * (generator.random((60, 40)) > 0.9)
    y = np.arange(60) % 3
    for head in (svm.LinearSVC(), svm.SVC(kernel="linear"), svm.SVC(kernel=kernels.HistogramIntersection())):
        own = callable(getattr(head, "kernel", None))
        fitted = head.fit(x if own else csr_matrix(x), y)
        explainer = graphlrp.load(fitted, ledger=True)
        sparse, dense = explainer(csr_matrix(x), batch_size=16), explainer(x, batch_size=60)
        assert issparse(sparse.relevance) and issparse(sparse.inputs["input"])
        np.testing.assert_allclose(sparse.relevance.toarray(), dense.relevance, atol=1e-5)
        np.testing.assert_allclose(sparse.conservation_error, 0, atol=1e-5)
        if not own:
            assert sparse.relevance.nnz <= csr_matrix(x).nnz
    with pytest.raises(graphlrp.InputError, match="NaN"):
        explainer(csr_matrix(np.where(x > 0, np.nan, 0)))
    with pytest.raises(graphlrp.InputError, match="shape"):
        explainer(csr_matrix(x[:, :7]))
    counts = explainer(csr_matrix(x > 0, dtype=np.int64))
    np.testing.assert_allclose(counts.output, explainer((x > 0).astype(int)).output, atol=1e-5)


class Table:
    """As much of a pandas table as is looked at."""

    def __init__(self, columns: dict[str, Array]) -> None:
        self.data = columns
        self.columns = list(columns)

    def __getitem__(self, names: list[str]) -> Table:
        return Table({name: self.data[name] for name in names})

    def to_numpy(self, dtype: Any = None) -> Array:
        return np.column_stack(list(self.data.values())).astype(dtype)


def test_tables_are_read_by_name() -> None:
    x, y = samples()
    names = [f"f{d}" for d in range(6)]
    fitted = svm.LinearSVC().fit(x, y)
    explainer = graphlrp.load(graphlrp.convert(fitted, features=names))
    assert explainer.features == names
    table = Table({name: x[:, d] for d, name in reversed(list(enumerate(names)))} | {"other": y.astype(str)})
    explanation = explainer(table)
    np.testing.assert_allclose(explanation.output, fitted.decision_function(x), atol=1e-5)
    assert explanation.features == names
    with pytest.raises(graphlrp.InputError, match=r"lacks the column.*'f3'"):
        explainer(Table({name: x[:, d] for d, name in enumerate(names) if d != 3}))
    with pytest.raises(graphlrp.InputError, match="no number"):
        explainer(Table({name: np.array(["a"] * 120) for name in names}))
    with pytest.raises(graphlrp.InputError, match="5 names for 6"):
        graphlrp.convert(fitted, features=names[:5])


def test_what_cannot_be_explained_is_named() -> None:
    x, y = samples()
    with pytest.raises(graphlrp.InputError, match=r"step 'svc'.*SVC is not fitted"):
        graphlrp.load(make_pipeline(preprocessing.StandardScaler().fit(x), svm.SVC()))
    forest = make_pipeline(preprocessing.PolynomialFeatures(), preprocessing.StandardScaler(), RandomForestClassifier(5)).fit(
        x, y
    )
    with pytest.raises(
        graphlrp.ModelError, match=r"(?s)polynomialfeatures.*PolynomialFeatures.*randomforestclassifier.*RandomForest"
    ):
        graphlrp.load(forest)
    gram = svm.SVC(kernel="precomputed").fit(x @ x.T, y)
    with pytest.raises(graphlrp.ModelError, match=r"precomputed.*keeps no support vectors"):
        graphlrp.load(gram)
    with pytest.raises(graphlrp.ModelError, match="'<lambda>' is a callable whose gradient nobody knows"):
        graphlrp.load(svm.SVC(kernel=lambda a, b: a @ b.T).fit(x, y))
    with pytest.raises(graphlrp.ModelError, match=r"FunctionTransformer\(<lambda>\)"):
        graphlrp.load(make_pipeline(preprocessing.FunctionTransformer(lambda a: a + 1), svm.SVC()).fit(x, y))
    with pytest.raises(graphlrp.InputError, match="not fitted"):
        graphlrp.load(OneVsRestClassifier(svm.SVC()))
    fitted = svm.SVC().fit(x, y)
    with pytest.raises(graphlrp.InputError, match=r"\[3, 5\].*\[N, 6\]"):
        graphlrp.load(fitted)(x[:3, :5])
    with pytest.raises(graphlrp.InputError, match="NaN"):
        graphlrp.load(fitted)(np.full((1, 6), np.nan))
    with pytest.raises(graphlrp.InputError, match="convert takes"):
        graphlrp.convert("model.onnx")


def test_a_step_of_ones_own() -> None:
    from sklearn.base import BaseEstimator, TransformerMixin

    class Doubled(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, x: Array, y: Any = None) -> Doubled:
            self.n_features_in_ = x.shape[1]
            return self

        def transform(self, x: Array) -> Array:
            return 2 * x

        def lower(self, builder: Any, stream: Any) -> Any:
            return stream.moved(builder.scaled(stream.value, 0.0, 2.0), self.transform)

    x, y = samples()
    fitted = make_pipeline(Doubled(), svm.SVC()).fit(x, y)
    np.testing.assert_allclose(explain(fitted, x[:5]).output, fitted.decision_function(x[:5]), atol=1e-9)


def test_verification_tells_of_a_wrong_conversion() -> None:
    x, y = samples()

    class Shifted(svm.LinearSVC):  # type: ignore[misc]
        def decision_function(self, x: Array) -> Array:
            return np.asarray(super().decision_function(x) + 1.0)

    with pytest.raises(graphlrp.ModelError, match="differs from it"):
        graphlrp.load(Shifted().fit(x, y))(x)


def test_plan_tells_what_the_model_is() -> None:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    explainer = graphlrp.load(make_pipeline(preprocessing.StandardScaler(), svm.SVC()).fit(x, y))
    explainer(x[:3])
    plan = str(explainer.plan)
    assert "basic" in plan and "agrees with Pipeline" in plan
    assert "Taylor at the nearest root" in plan
