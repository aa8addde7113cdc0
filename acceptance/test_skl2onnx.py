"""Models that skl2onnx writes are explained as the estimators they were made of.

Not matched, because the converter's file is another function than the estimator (skl2onnx 1.20 with scikit-learn 1.9):
``OneVsRestClassifier(SVC())`` without probabilities takes the wrong column, so that no label agrees, and
``OneVsOneClassifier`` says labels that have little to do with the estimator's. ``Normalizer(norm="max")`` divides by the
largest component, the estimator by the largest magnitude: they agree on samples that are not negative.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import (
    calibration,
    compose,
    datasets,
    decomposition,
    feature_selection,
    impute,
    linear_model,
    multiclass,
    preprocessing,
    svm,
)
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline, make_union

import graphlrp
from graphlrp.plugins.estimators.decision import decision

skl2onnx = pytest.importorskip("skl2onnx")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

SINGLE, DOUBLE = np.float32, np.float64
NAMES = np.array(["setosa", "versicolor", "virginica"])


def _data() -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.load_iris(return_X_y=True)
    # Features of about equal size that overlap: kernels keep many support vectors of all classes.
    return preprocessing.scale(x) + 0.4 * np.random.default_rng(0).normal(size=x.shape), y


X, Y = _data()


def converted(estimator: Any, kind: Any = SINGLE, **options: Any) -> Any:
    """The ONNX file; classifiers say a matrix, not maps."""
    if hasattr(estimator, "classes_"):
        last = estimator[-1] if hasattr(estimator, "steps") else estimator
        options = {} if isinstance(last, svm.LinearSVC) else {"zipmap": False, **options}
    return skl2onnx.to_onnx(estimator, X[:1].astype(kind), options={id(estimator): options} if options else None)


def check(estimator: Any, proto: Any, x: np.ndarray, kind: Any = SINGLE, tolerance: float = 1e-5) -> None:
    """The decision and its relevance are those of the estimator."""
    # A file of plain operators does not tell that it was an estimator, and would be explained with a stabilizer.
    explainer, direct = graphlrp.load(proto, "basic"), graphlrp.load(estimator, "basic")
    margin = decision(estimator, x)
    target = margin.argmax(1) if margin.ndim == 2 else None
    got, expected = explainer(x.astype(kind), target), direct(x, target)
    assert got.output.size == margin.size
    np.testing.assert_allclose(got.output, margin.reshape(got.output.shape), atol=3e-5 * np.abs(margin).max())
    scale = np.abs(expected.relevance).max()
    assert scale > 0
    np.testing.assert_allclose(got.relevance, expected.relevance, atol=tolerance * scale)


def fit(estimator: Any, classes: int = 3, *, strings: bool = False) -> Any:
    chosen = classes > Y if classes == 3 else Y > 0
    return estimator.fit(X[chosen], (NAMES[Y] if strings else Y)[chosen])


def machine(kernel: str = "rbf", **parameters: Any) -> svm.SVC:
    return svm.SVC(kernel=kernel, gamma=0.2, coef0=-0.5 if kernel == "sigmoid" else 0.3, degree=2, **parameters)


CLASSIFIERS = {
    "LogisticRegression": linear_model.LogisticRegression(),
    "LDA": LinearDiscriminantAnalysis(),
    "SGD": linear_model.SGDClassifier(random_state=0),
    "SGD log": linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "Perceptron": linear_model.Perceptron(),
    "OneVsRest": multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
    "NuSVC": svm.NuSVC(nu=0.3, gamma=0.2),
    "calibrated": calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=2),
    "calibrated isotonic": calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=2, method="isotonic"),
    "scaled SVC": make_pipeline(preprocessing.StandardScaler(), machine()),
}

SINGLE_ONLY = {
    "LinearSVC": svm.LinearSVC(random_state=0),
    "RidgeClassifier": linear_model.RidgeClassifier(),
    "OneVsRest LinearSVC": multiclass.OneVsRestClassifier(svm.LinearSVC(random_state=0)),
}
"""What skl2onnx does not convert for doubles."""


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, SINGLE) for name in (*CLASSIFIERS, *SINGLE_ONLY)), *((name, DOUBLE) for name in CLASSIFIERS)],
)
def test_classifiers(name: str, kind: Any, classes: int) -> None:
    estimator = fit({**CLASSIFIERS, **SINGLE_ONLY}[name], classes, strings=name in ("LogisticRegression", "scaled SVC"))
    check(estimator, converted(estimator, kind), X[::5], kind)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("probability", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid"])
def test_support_vector_classifiers(kernel: str, probability: bool, classes: int) -> None:
    estimator = fit(machine(kernel, probability=probability), classes)
    check(estimator, converted(estimator), X[::5], tolerance=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("estimator", [machine(), machine(probability=True), linear_model.LogisticRegression()], ids=str)
def test_raw_scores(estimator: Any, classes: int) -> None:
    estimator = fit(estimator, classes)
    check(estimator, converted(estimator, raw_scores=True), X[::5], tolerance=1e-4)


REGRESSORS = {
    "Ridge": linear_model.Ridge(),
    "LinearRegression": linear_model.LinearRegression(),
    "SGD": linear_model.SGDRegressor(random_state=0),
    "LinearSVR": svm.LinearSVR(random_state=0),
    "SVR": svm.SVR(gamma=0.2),
    "SVR poly": svm.SVR(kernel="poly", gamma=0.2, degree=2, coef0=0.3),
    "SVR linear": svm.SVR(kernel="linear"),
    "NuSVR": svm.NuSVR(gamma=0.2),
}


@pytest.mark.parametrize("kind", [SINGLE, DOUBLE])
@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name: str, kind: Any) -> None:
    estimator = REGRESSORS[name].fit(X, X @ [0.5, -1.0, 0.25, 2.0] + Y)
    check(estimator, converted(estimator, kind), X[::5], kind, tolerance=1e-4)


def test_one_class_machine() -> None:
    estimator = svm.OneClassSVM(gamma=0.3, nu=0.3).fit(X)
    check(estimator, converted(estimator), X[::5])


STEPS = {
    "StandardScaler": preprocessing.StandardScaler(),
    "without mean": preprocessing.StandardScaler(with_mean=False),
    "MinMaxScaler": preprocessing.MinMaxScaler(),
    "clipped": preprocessing.MinMaxScaler(clip=True),
    "MaxAbsScaler": preprocessing.MaxAbsScaler(),
    "RobustScaler": preprocessing.RobustScaler(),
    "Normalizer": preprocessing.Normalizer(),
    "Normalizer l1": preprocessing.Normalizer("l1"),
    "PCA": decomposition.PCA(3),
    "whitened": decomposition.PCA(3, whiten=True),
    "TruncatedSVD": decomposition.TruncatedSVD(3, random_state=0),
    "SelectKBest": feature_selection.SelectKBest(k=2),
    "SimpleImputer": impute.SimpleImputer(),
    "chain": make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(3)),
    "union": make_union(preprocessing.StandardScaler(), decomposition.PCA(2)),
    "columns": compose.ColumnTransformer(
        [("a", preprocessing.StandardScaler(), [2, 0]), ("b", preprocessing.MinMaxScaler(), [1])], remainder="passthrough"
    ),
}


@pytest.mark.parametrize("kind", [SINGLE, DOUBLE])
@pytest.mark.parametrize("name", STEPS)
def test_pipelines(name: str, kind: Any) -> None:
    estimator = make_pipeline(STEPS[name], linear_model.LogisticRegression()).fit(X, Y)
    tolerance = 1e-5
    if kind is DOUBLE and name.startswith("Normalizer"):
        # It comes as plain operators, a division by the norm, which passes relevance to the numerator all the same.
        tolerance = 1e-4
    check(estimator, converted(estimator, kind), X[::5], kind, tolerance)


def test_columns_of_a_table() -> None:
    """One input per column, as skl2onnx makes of tables."""
    from skl2onnx.common.data_types import FloatTensorType

    estimator = make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()).fit(X, Y)
    names = list("abcd")
    types = [(name, FloatTensorType([None, 1])) for name in names]
    proto = skl2onnx.convert_sklearn(estimator, initial_types=types, options={id(estimator): {"zipmap": False}})
    x = X[::5].astype(SINGLE)
    got = graphlrp.load(proto)({name: x[:, [k]] for k, name in enumerate(names)}, 1)
    expected = graphlrp.load(estimator)(x, 1)
    np.testing.assert_allclose(np.hstack([got.relevance[name] for name in names]), expected.relevance, atol=1e-5)


def test_maps() -> None:
    estimator = fit(linear_model.LogisticRegression())
    check(estimator, skl2onnx.to_onnx(estimator, X[:1].astype(SINGLE)), X[::5])
