"""Operators of ``ai.onnx.ml``: outputs against ONNX Runtime's own kernels, decisions and relevance against the estimators."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn import datasets, linear_model, preprocessing, svm
from sklearn.pipeline import make_pipeline

import graphlrp
from graphlrp import ModelError, UnsupportedOperatorError
from graphlrp.ir.canonical import all_passes, canonicalise
from graphlrp.ir.graph import lower
from graphlrp.plugins.estimators.decision import decision
from graphlrp.plugins.manager import Plugins

Array = np.ndarray
FLOAT, INT, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
POST = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")
ML = "ai.onnx.ml"


def _data() -> tuple[Array, Array]:
    x, y = datasets.load_iris(return_X_y=True)
    x = preprocessing.scale(x) + 0.4 * np.random.default_rng(0).normal(size=x.shape)
    return x[::2].astype(np.float32), y[::2]


X, Y = _data()
QUERY = X[::5]
PLUGINS = Plugins()
NAMES = np.array(["setosa", "versicolor", "virginica"])


def samples(classes: int, *, strings: bool = False) -> tuple[Array, Array]:
    chosen = Y > 0 if classes == 2 else Y >= 0
    return X[chosen], (NAMES[Y] if strings else Y * 10)[chosen]


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = ML, **attributes: Any) -> onnx.NodeProto:
    given = {name: value for name, value in attributes.items() if value is not None}
    return helper.make_node(operator, list(inputs), list(outputs), name=f"the {operator}", domain=domain, **given)


def model(
    nodes: Sequence[onnx.NodeProto],
    outputs: dict[str, int],
    constants: dict[str, Array] | None = None,
    width: int = 4,
    kind: int = FLOAT,
    inputs: dict[str, int] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "classical",
        [helper.make_tensor_value_info(name, kind, ["N", n]) for name, n in (inputs or {"x": width}).items()],
        [helper.make_tensor_value_info(name, t, None) for name, t in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    sets = [helper.make_opsetid("", 18), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)


def labels_of(estimator: Any) -> dict[str, Any]:
    classes = estimator.classes_
    return {"classlabels_ints": classes.tolist()} if classes.dtype.kind == "i" else {"classlabels_strings": classes.tolist()}


def label_type(estimator: Any) -> int:
    return INT if estimator.classes_.dtype.kind == "i" else STRING


def numbers(array: Any) -> list[float]:
    return np.ravel(array).astype(np.float32).tolist()


def kernel_attributes(estimator: Any) -> dict[str, Any]:
    return {
        "kernel_type": estimator.kernel.upper(),
        "kernel_params": [float(estimator._gamma), float(estimator.coef0), float(estimator.degree)],
        "support_vectors": numbers(estimator.support_vectors_),
    }


def svc_attributes(estimator: svm.SVC, post: str = "NONE", *, probabilities: bool = False) -> dict[str, Any]:
    # What libsvm keeps, which for two classes has the opposite sign of what scikit-learn shows.
    attributes = {
        **kernel_attributes(estimator),
        **labels_of(estimator),
        "coefficients": numbers(estimator._dual_coef_),
        "rho": numbers(estimator._intercept_),
        "vectors_per_class": estimator.n_support_.tolist(),
        "post_transform": post,
    }
    if probabilities:
        pairs = len(estimator._intercept_)
        attributes.update(prob_a=[-2.0 - k / 3 for k in range(pairs)], prob_b=[0.1 * k for k in range(pairs)])
    return attributes


def classifier(operator: str, estimator: Any, attributes: dict[str, Any], **options: Any) -> onnx.ModelProto:
    return model(
        [node(operator, ["x"], ["label", "scores"], **attributes)], {"label": label_type(estimator), "scores": FLOAT}, **options
    )


def svc_model(estimator: svm.SVC, post: str = "NONE", *, probabilities: bool = False, **options: Any) -> onnx.ModelProto:
    return classifier("SVMClassifier", estimator, svc_attributes(estimator, post, probabilities=probabilities), **options)


def linear_attributes(estimator: Any, post: str = "NONE", *, rows: int | None = None) -> dict[str, Any]:
    weights, intercepts = estimator.coef_, estimator.intercept_
    if len(weights) == 1 and rows != 1:
        weights, intercepts = np.vstack([-weights, weights]), np.hstack([-intercepts, intercepts])
    return {
        **labels_of(estimator),
        "coefficients": numbers(weights),
        "intercepts": numbers(intercepts),
        "multi_class": int(len(weights) > 2),
        "post_transform": post,
    }


def regressor_attributes(estimator: Any) -> dict[str, Any]:
    return {
        **kernel_attributes(estimator),
        "coefficients": numbers(estimator.dual_coef_),
        "rho": numbers(estimator.intercept_),
        "n_supports": len(estimator.support_),
    }


def run(proto: onnx.ModelProto, feeds: Any) -> list[Array]:
    """On ONNX Runtime."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, feeds if isinstance(feeds, dict) else {"x": feeds})]


def canonical(proto: onnx.ModelProto, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Model:
    plugins = PLUGINS
    result = ir.from_proto(proto)
    canonicalise(result, all_passes(dtype, plugins.mappings, plugins.passes))
    return result


def same_outputs(proto: onnx.ModelProto, feeds: Any, *, kept: bool = False, columns: int | None = None) -> ir.Model:
    """The canonical model says what ONNX Runtime says, without operators of ai.onnx.ml unless they are ``kept``."""
    lowered = canonical(proto)
    assert any(n.domain == ML for n in lowered.graph) == kept
    assert [v.name for v in lowered.graph.outputs] == [v.name for v in proto.graph.output]
    expected, got = run(proto, feeds), run(ir.to_proto(lowered), feeds)
    for a, b in zip(expected, got, strict=True):
        assert a.shape == b.shape
        if a.dtype.kind == "f":
            np.testing.assert_allclose(b[:, :columns], a[:, :columns], rtol=2e-5, atol=2e-5)
        else:
            assert a.tolist() == b.tolist()
    return lowered


def explained(lowered: ir.Model, x: Array) -> Array:
    """What is explained by default, as ONNX Runtime computes it."""
    clone = lowered.clone()
    clone.graph.outputs.append(lower(clone, PLUGINS.mappings).output)
    return run(ir.to_proto(clone), x)[-1]


explainer_of = functools.cache(graphlrp.load)


def like_estimator(proto: onnx.ModelProto, estimator: Any, x: Array = QUERY) -> graphlrp.Explanation:
    """Explained as the estimator itself: the decision, its sign and classes in their order, and relevance."""
    explainer, direct = graphlrp.load(proto), explainer_of(estimator)
    margin = decision(estimator, x)
    target = np.argsort(margin, axis=1)[np.arange(len(x)), -1 - np.arange(len(x)) % 2] if margin.ndim == 2 else None
    got, expected = explainer(x, target), direct(x, target)
    scale = np.abs(margin).max()
    np.testing.assert_allclose(got.output, margin.reshape(got.output.shape), atol=1e-5 * scale)
    assert got.output.size == margin.size
    np.testing.assert_allclose(got.relevance, expected.relevance, atol=1e-5 * np.abs(expected.relevance).max())
    assert np.abs(expected.relevance).max() > 0
    return got


@functools.cache
def svc(kernel: str, classes: int, *, strings: bool = False) -> svm.SVC:
    coef0 = -0.5 if kernel == "sigmoid" else 0.3
    return svm.SVC(kernel=kernel, gamma=0.2, coef0=coef0, degree=2).fit(*samples(classes, strings=strings))


@functools.cache
def logistic(classes: int, *, strings: bool = False, C: float = 1.0) -> linear_model.LogisticRegression:
    return linear_model.LogisticRegression(C=C).fit(*samples(classes, strings=strings))


@functools.cache
def one_versus_rest() -> list[linear_model.LogisticRegression]:
    return [linear_model.LogisticRegression().fit(X, k == Y) for k in range(3)]


@functools.cache
def one_class_machine() -> svm.OneClassSVM:
    return svm.OneClassSVM(gamma=0.3, nu=0.3).fit(X)


@functools.cache
def standardised() -> Any:
    return pipeline(preprocessing.StandardScaler())


# Support vector machines


@pytest.mark.parametrize(("kernel", "classes"), [("linear", 2), ("linear", 3), ("rbf", 2)])
def test_support_vector_classifiers_are_explained_like_the_estimator(kernel: str, classes: int) -> None:
    estimator = svc(kernel, classes)
    proto = svc_model(estimator)
    same_outputs(proto, QUERY)
    got = like_estimator(proto, estimator)
    assert got.output.shape == ((len(QUERY),) if classes == 2 else (len(QUERY), 3))


@pytest.mark.parametrize("kernel", ["poly", "sigmoid"])
def test_kernels_have_their_parameters(kernel: str) -> None:
    estimator = svc(kernel, 3)
    lowered = same_outputs(svc_model(estimator), QUERY)
    np.testing.assert_allclose(explained(lowered, QUERY), decision(estimator, QUERY), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("classes", "strings"), [(2, False), (3, True)])
def test_labels_and_scores_with_probabilities_stay_and_the_margin_is_explained(classes: int, strings: bool) -> None:
    estimator = svc("rbf" if classes == 3 else "linear", classes, strings=strings)
    proto = svc_model(estimator, probabilities=True)
    same_outputs(proto, QUERY, kept=True)
    explanation = like_estimator(proto, estimator)
    assert explanation.classes == [str(label) for label in estimator.classes_]
    assert explanation.model_outputs["label"].tolist() == run(proto, QUERY)[0].tolist()
    np.testing.assert_allclose(explanation.model_outputs["scores"].sum(1), 1, atol=1e-5)


# What stays because scores are probabilities stays whatever the transform is.
@pytest.mark.parametrize(
    ("post", "probabilities"), [*((post, False) for post in POST[1:]), ("LOGISTIC", True), ("SOFTMAX_ZERO", True)]
)
@pytest.mark.parametrize("classes", [2, 3])
def test_transforms_of_svm_scores_are_not_explained(post: str, probabilities: bool, classes: int) -> None:
    estimator = svc("rbf", classes)
    proto = svc_model(estimator, post, probabilities=probabilities)
    plain = classes == 3 and not probabilities and post in ("LOGISTIC", "SOFTMAX")
    # Of one decision, ONNX Runtime computes a probit and leaves the second column as it finds it.
    columns = 1 if post == "PROBIT" and classes == 2 and not probabilities else None
    lowered = same_outputs(proto, QUERY, kept=not plain, columns=columns)
    np.testing.assert_allclose(explained(lowered, QUERY), decision(estimator, QUERY), atol=1e-5)


def test_binary_decisions_are_positive_for_the_second_class() -> None:
    x, _ = samples(2)
    estimator = svc("linear", 2, strings=True)
    explanation = graphlrp.load(svc_model(estimator))(x)
    chosen = np.where(explanation.output > 0, estimator.classes_[1], estimator.classes_[0])
    assert chosen.tolist() == estimator.predict(x).tolist() == explanation.model_outputs["label"].tolist()


@pytest.mark.parametrize(("classes", "positive"), [(2, False), (2, True), (3, False)])
@pytest.mark.parametrize("post", POST)
def test_svm_without_support_vectors(classes: int, post: str, positive: bool) -> None:
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(classes, 4))
    weights = np.abs(weights) if positive else weights
    attributes = {"kernel_type": "LINEAR", "kernel_params": [0.0, 0.0, 0.0], "classlabels_ints": list(range(5, 5 + classes))}
    proto = model(
        [
            node(
                "SVMClassifier",
                ["x"],
                ["label", "scores"],
                coefficients=numbers(weights),
                rho=[0.3],
                post_transform=post,
                **attributes,
            )
        ],
        {"label": INT, "scores": FLOAT},
    )
    lowered = same_outputs(proto, QUERY, kept=post in ("PROBIT", "SOFTMAX_ZERO"))
    np.testing.assert_allclose(explained(lowered, QUERY), QUERY @ weights.T + 0.3, atol=1e-5)
    if post == "NONE":
        explanation = graphlrp.load(proto, "basic")(QUERY)
        np.testing.assert_allclose(explanation.relevance, QUERY * weights[explanation.target], atol=1e-5)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_regression_starts_from_its_mean(kernel: str) -> None:
    estimator = svm.SVR(kernel=kernel, gamma=0.2, coef0=0.3, degree=2).fit(X[:, :3], X[:, 3])
    proto = model([node("SVMRegressor", ["x"], ["y"], **regressor_attributes(estimator))], {"y": FLOAT}, width=3)
    same_outputs_of_regression(proto, QUERY[:, :3])
    like_estimator(proto, estimator, QUERY[:, :3])


def same_outputs_of_regression(proto: onnx.ModelProto, x: Array) -> None:
    (expected,), (got,) = run(proto, x), run(ir.to_proto(canonical(proto)), x)
    assert expected.shape == got.shape == (len(x), 1)
    np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("one_class", [0, 1])
def test_one_class_machines_are_explained_from_their_boundary(one_class: int) -> None:
    estimator = one_class_machine()
    attributes = {**regressor_attributes(estimator), "one_class": one_class}
    nodes = [node("SVMRegressor", ["x"], ["y"], **attributes)]
    outputs = {"y": FLOAT}
    if not one_class:
        nodes.append(node("Sign", ["y"], ["sign"], domain=""))
        outputs["sign"] = FLOAT
    proto = model(nodes, outputs)
    for a, b in zip(run(proto, QUERY), run(ir.to_proto(canonical(proto)), QUERY), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-4)
    like_estimator(proto, estimator)


def test_regression_without_support_vectors() -> None:
    weights = np.array([0.5, -1.0, 0.25, 2.0])
    attributes = {"kernel_type": "RBF", "kernel_params": [0.1, 0.0, 3.0], "n_supports": 0, "rho": [0.5]}
    proto = model([node("SVMRegressor", ["x"], ["y"], coefficients=numbers(weights), **attributes)], {"y": FLOAT})
    same_outputs_of_regression(proto, QUERY)
    np.testing.assert_allclose(graphlrp.load(proto, "basic")(QUERY).relevance, QUERY * weights, atol=1e-5)


# Linear models


@pytest.mark.parametrize(("classes", "strings"), [(2, False), (3, True)])
@pytest.mark.parametrize("post", POST)
def test_linear_classifiers(post: str, classes: int, strings: bool) -> None:
    estimator = logistic(classes, strings=strings)
    proto = classifier("LinearClassifier", estimator, linear_attributes(estimator, post))
    lowered = same_outputs(proto, QUERY, kept=post in ("SOFTMAX_ZERO", "PROBIT"))
    np.testing.assert_allclose(explained(lowered, QUERY), decision(estimator, QUERY), atol=1e-5)
    if post == "LOGISTIC":
        like_estimator(proto, estimator)


@pytest.mark.parametrize("post", POST[:2])
def test_one_row_of_weights_is_one_decision(post: str) -> None:
    estimator = logistic(2)
    proto = classifier("LinearClassifier", estimator, linear_attributes(estimator, post, rows=1))
    lowered = same_outputs(proto, QUERY, kept=post != "NONE")
    np.testing.assert_allclose(explained(lowered, QUERY), decision(estimator, QUERY), atol=1e-5)


def test_two_rows_that_are_no_negatives_are_two_scores() -> None:
    rng = np.random.default_rng(3)
    weights, intercepts = rng.normal(size=(2, 4)).astype(np.float32), [0.5, -0.25]
    attributes = {"coefficients": numbers(weights), "intercepts": intercepts, "classlabels_ints": [0, 1]}
    proto = model([node("LinearClassifier", ["x"], ["label", "scores"], **attributes)], {"label": INT, "scores": FLOAT})
    same_outputs(proto, QUERY)
    explanation = graphlrp.load(proto, "basic")(QUERY, 0)
    np.testing.assert_allclose(explanation.output, QUERY @ weights.T + intercepts, atol=1e-5)
    np.testing.assert_allclose(explanation.relevance, QUERY * weights[0], atol=1e-5)


@pytest.mark.parametrize("intercepts", [None, [0.5], [0.5, -1.0]])
@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_linear_regressors(post: str, intercepts: list[float] | None) -> None:
    targets = len(intercepts or [0.0])
    weights = np.random.default_rng(2).normal(size=(targets, 4)).astype(np.float32)
    attributes = {"coefficients": numbers(weights), "intercepts": intercepts, "targets": targets, "post_transform": post}
    proto = model([node("LinearRegressor", ["x"], ["y"], **attributes)], {"y": FLOAT})
    lowered = same_outputs(proto, QUERY, kept=post == "SOFTMAX_ZERO" and targets == 2)
    np.testing.assert_allclose(explained(lowered, QUERY), QUERY @ weights.T + (intercepts or 0.0), atol=1e-5)
    if post == "NONE":
        explanation = graphlrp.load(proto, "basic")(QUERY, 0 if targets > 1 else None)
        np.testing.assert_allclose(explanation.relevance, QUERY * weights[0], atol=1e-5)


@pytest.mark.parametrize("column", [0, 1])
def test_one_versus_rest_is_explained_by_all_decisions(column: int) -> None:
    """Only the column that grows with a decision speaks for it."""
    binary = one_versus_rest()
    nodes, parts = [], []
    for k, estimator in enumerate(binary):
        attributes = linear_attributes(estimator, "LOGISTIC") | {"classlabels_ints": [0, 1]}
        attributes.pop("classlabels_strings", None)
        nodes.append(helper.make_node("LinearClassifier", ["x"], [f"l{k}", f"p{k}"], domain=ML, name=f"c{k}", **attributes))
        nodes.append(helper.make_node("ArrayFeatureExtractor", [f"p{k}", "column"], [f"q{k}"], domain=ML, name=f"a{k}"))
        parts.append(f"q{k}")
    nodes += [
        node("Concat", parts, ["joined"], domain="", axis=1),
        node("ReduceSum", ["joined", "axis"], ["total"], domain=""),
        node("Div", ["joined", "total"], ["scores"], domain=""),
    ]
    constants = {"column": np.array([column]), "axis": np.array([1])}
    proto = model(nodes, {"scores": FLOAT}, constants)
    decisions = explained(same_outputs(proto, QUERY), QUERY)
    margins = np.column_stack([estimator.decision_function(QUERY) for estimator in binary])
    assert np.allclose(decisions, margins, atol=1e-4) == (column == 1)


@pytest.mark.parametrize("averaged", [True, False])
def test_an_average_of_classifiers_is_explained_by_the_mean_of_their_decisions(averaged: bool) -> None:
    """A sum of scores themselves is none."""
    estimators = [logistic(3), logistic(3, C=10)]
    nodes = []
    for k, estimator in enumerate(estimators):
        attributes = linear_attributes(estimator, "SOFTMAX")
        nodes.append(helper.make_node("LinearClassifier", ["x"], [f"l{k}", f"p{k}"], domain=ML, name=f"c{k}", **attributes))
        nodes.append(helper.make_node("Mul", [f"p{k}", "half"], [f"q{k}"], name=f"m{k}"))
    nodes.append(node("Sum", ["q0", "q1"] if averaged else ["p0", "p1"], ["scores"], domain=""))
    proto = model(nodes, {"scores": FLOAT}, {"half": np.array(0.5, np.float32)})
    mean = sum(estimator.decision_function(QUERY) for estimator in estimators) / 2
    expected = mean if averaged else sum(estimator.predict_proba(QUERY) for estimator in estimators)
    np.testing.assert_allclose(explained(same_outputs(proto, QUERY), QUERY), expected, atol=1e-4)


# Features


def behind(
    nodes: Sequence[onnx.NodeProto], estimator: Any, constants: dict[str, Array] | None = None, **options: Any
) -> onnx.ModelProto:
    """A linear classifier behind nodes that make ``z``."""
    last = node("LinearClassifier", ["z"], ["label", "scores"], **linear_attributes(estimator))
    return model([*nodes, last], {"label": INT, "scores": FLOAT}, constants, **options)


def pipeline(*steps: Any) -> Any:
    return make_pipeline(*steps, linear_model.LogisticRegression()).fit(*samples(3))


@pytest.mark.parametrize("kind", [FLOAT, TensorProto.DOUBLE])
def test_scaler(kind: int) -> None:
    estimator = standardised()
    scaler = estimator[0]
    nodes = [node("Scaler", ["x"], ["z"], offset=numbers(scaler.mean_), scale=numbers(1 / scaler.scale_))]
    proto = behind(nodes, estimator[-1], kind=kind)
    lowered = canonical(proto)
    assert "Scaler" in [n.op_type for n in lowered.graph if n.domain == "graphlrp"]
    like_estimator(proto, estimator)


def test_scaler_of_one_number() -> None:
    proto = behind([node("Scaler", ["x"], ["z"], offset=[0.5], scale=[2.0])], logistic(3))
    same_outputs(proto, QUERY)


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_normalizer(norm: str) -> None:
    estimator = pipeline(preprocessing.Normalizer(norm.lower()))
    proto = behind([node("Normalizer", ["x"], ["z"], norm=norm)], estimator[-1])
    same_outputs(proto, QUERY)
    like_estimator(proto, estimator)


def test_normalizer_divides_by_the_largest_component() -> None:
    """As ONNX Runtime does; scikit-learn divides by the largest magnitude, which is the same for what is not negative."""
    x = np.vstack([QUERY, -np.abs(QUERY[:3]), np.zeros((1, 4), np.float32)])
    estimator = pipeline(preprocessing.Normalizer("max"))
    proto = behind([node("Normalizer", ["x"], ["z"], norm="MAX")], estimator[-1])
    same_outputs(proto, x)
    like_estimator(proto, estimator, np.abs(QUERY))


@pytest.mark.parametrize("kind", [FLOAT, INT])
def test_columns_are_joined(kind: int) -> None:
    estimator = logistic(3)
    given = {"a": 1, "b": 2, "c": 3}
    nodes = [node("FeatureVectorizer", list(given), ["z"], inputdimensions=[1, 2, 1])]
    proto = behind(nodes, estimator, inputs=given, kind=kind)
    rng = np.random.default_rng(0)
    feeds = {name: 3 * rng.normal(size=(20, n)) for name, n in given.items()}
    feeds = {name: array.astype(np.float32 if kind == FLOAT else np.int64) for name, array in feeds.items()}
    same_outputs(proto, feeds)
    if kind == FLOAT:
        explanation = graphlrp.load(proto, "basic")(feeds, 1)
        weights = estimator.coef_[1]
        np.testing.assert_allclose(explanation.relevance["b"], feeds["b"] * weights[1:3], atol=1e-5)
        np.testing.assert_allclose(explanation.relevance["c"][:, 0], feeds["c"][:, 0] * weights[3], atol=1e-5)
        assert not explanation.relevance["c"][:, 1:].any()


def test_chosen_columns() -> None:
    estimator = linear_model.LogisticRegression().fit(X[:, [2, 0]], Y)
    proto = behind([node("ArrayFeatureExtractor", ["x", "columns"], ["z"])], estimator, {"columns": np.array([[2, 0]])})
    same_outputs(proto, QUERY)
    explanation = graphlrp.load(proto, "basic")(QUERY, 2)
    np.testing.assert_allclose(explanation.relevance[:, [2, 0]], QUERY[:, [2, 0]] * estimator.coef_[2], atol=1e-5)
    assert not explanation.relevance[:, [1, 3]].any()


def test_labels_are_looked_up() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["scores"], domain=""),
        node("ArgMax", ["scores"], ["best"], domain="", axis=1),
        node("ArrayFeatureExtractor", ["names", "best"], ["label"]),
    ]
    names = numpy_helper.from_array(np.array([b"a", b"b", b"c"], object), "names")
    proto = model(
        nodes, {"label": STRING, "scores": FLOAT}, {"w": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)}
    )
    proto.graph.initializer.append(names)
    lowered = canonical(proto)
    assert not any(n.domain == ML for n in lowered.graph)
    expected, got = run(proto, QUERY), run(ir.to_proto(lowered), QUERY)
    assert got[0].tolist() == expected[0].tolist()
    assert got[0].shape == (1, len(QUERY))


@pytest.mark.parametrize("missing", [float("nan"), 0.5])
def test_imputer(missing: float) -> None:
    estimator = logistic(3)
    x = QUERY.copy()
    x[::3, 1] = 0.5
    nodes = [node("Imputer", ["x"], ["z"], imputed_value_floats=[1.0, 2.0, 3.0, 4.0], replaced_value_float=missing)]
    proto = behind(nodes, estimator)
    same_outputs(proto, x)
    explanation = graphlrp.load(proto, "basic")(x, 0)
    expected = x * estimator.coef_[0]
    if missing == 0.5:
        expected[::3, 1] = 0
    np.testing.assert_allclose(explanation.relevance, expected, atol=1e-5)


def test_imputer_of_whole_numbers() -> None:
    x = np.arange(12).reshape(3, 4) % 5
    attributes = {"imputed_value_int64s": [7, 8, 9, 10], "replaced_value_int64": 3}
    proto = behind([node("Imputer", ["x"], ["z"], **attributes)], logistic(3), kind=INT)
    same_outputs(proto, x)


@pytest.mark.parametrize("spelling", ["Sub Div", "Sub Mul", "Mul Add"])
def test_scaling_that_is_spelled_out_is_recognised(spelling: str) -> None:
    estimator = standardised()
    mean, scale = (a.astype(np.float32) for a in (estimator[0].mean_, estimator[0].scale_))
    constants = {
        "Sub Div": (mean, scale),
        "Sub Mul": (mean, (1 / scale)[None]),
        "Mul Add": (1 / scale, -mean / scale),
    }[spelling]
    first, second = spelling.split()
    nodes = [node(first, ["x", "a"], ["y"], domain=""), node(second, ["y", "b"], ["z"], domain="")]
    proto = behind(nodes, estimator[-1], dict(zip("ab", constants, strict=True)))
    same_outputs(proto, QUERY)
    like_estimator(proto, estimator)


@pytest.mark.parametrize("shape", [["N", 3, 4], ["N", 4]])
def test_scaling_of_pictures_or_by_one_number_is_not_touched(shape: list[Any]) -> None:
    constant = np.full(4 if len(shape) == 3 else 1, 0.5, np.float32)
    nodes = [node("Sub", ["x", "a"], ["y"], domain=""), node("Div", ["y", "a"], ["z"], domain="")]
    proto = model(nodes, {"z": FLOAT}, {"a": constant})
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", FLOAT, shape))
    assert not any(n.domain == "graphlrp" for n in canonical(proto).graph)


def test_scaling_behind_a_layer_is_not_touched() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["h"], domain=""),
        node("Relu", ["h"], ["r"], domain=""),
        node("Sub", ["r", "a"], ["y"], domain=""),
        node("Div", ["y", "b"], ["z"], domain=""),
    ]
    constants = {"w": np.eye(4, dtype=np.float32), "a": np.arange(4, dtype=np.float32), "b": np.arange(1, 5, dtype=np.float32)}
    assert not any(n.domain == "graphlrp" for n in canonical(model(nodes, {"z": FLOAT}, constants)).graph)


# What stands behind decisions


def test_maps_are_dropped() -> None:
    estimator = logistic(3)
    first = node("LinearClassifier", ["x"], ["label", "scores"], **linear_attributes(estimator, "SOFTMAX"))
    maps = node("ZipMap", ["scores"], ["by class"], classlabels_int64s=[0, 10, 20])
    proto = model([first, maps], {"label": INT, "by class": FLOAT})
    proto.graph.output[1].ClearField("type")
    # Of messages and files, maps are dropped as they are read.
    explainer = graphlrp.load(ir.from_proto(proto), verify=False)
    explanation = explainer(QUERY)
    np.testing.assert_allclose(explanation.output, estimator.decision_function(QUERY), atol=1e-5)
    np.testing.assert_allclose(explanation.model_outputs["by class"], estimator.predict_proba(QUERY), atol=1e-6)
    assert any("ZipMap" in note.note for note in explainer.plan.passes)


def test_an_output_can_still_be_named() -> None:
    proto = svc_model(svc("linear", 3))
    explanation = graphlrp.load(proto, output="scores")(QUERY, 1)
    np.testing.assert_allclose(explanation.output, run(proto, QUERY)[1], atol=1e-5)
    by_default = graphlrp.load(proto)
    assert by_default.plan.output == "decision"
    assert not np.allclose(by_default(QUERY, 1).relevance, explanation.relevance)


def test_the_explainer_can_be_saved(tmp_path: Any) -> None:
    estimator = svc("linear", 3, strings=True)
    explainer = graphlrp.load(svc_model(estimator, probabilities=True))
    explainer.save(tmp_path / "explainer.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "explainer.onnx"), providers=["CPUExecutionProvider"])
    got = session.run(["relevance", "label"], {"x": QUERY, "target": np.full(len(QUERY), -1)})
    np.testing.assert_allclose(got[0], explainer(QUERY).relevance, atol=1e-6)
    assert got[1].tolist() == estimator.predict(QUERY).tolist()


def test_double_precision() -> None:
    estimator = svc("linear", 3)
    explanation = graphlrp.load(svc_model(estimator), dtype="float64")(QUERY.astype(np.float64))
    # Attributes of ai.onnx.ml are numbers of single precision, whatever the model is.
    np.testing.assert_allclose(explanation.output, decision(estimator, QUERY), atol=1e-5)
    assert explanation.relevance.dtype == np.float64


# Bad input


@pytest.mark.parametrize(
    ("change", "attribute"),
    [
        ({"coefficients": [1.0, 2.0]}, "coefficients"),
        ({"coefficients": None}, "coefficients"),
        ({"rho": None}, "rho"),
        ({"rho": [1.0, 2.0]}, "rho"),
        ({"kernel_type": "CHI2"}, "kernel_type"),
        ({"kernel_params": [0.5]}, "kernel_params"),
        ({"kernel_params": [-0.5, 0.0, 3.0]}, "kernel_params"),
        ({"kernel_type": "POLY", "kernel_params": [0.5, 0.0, 2.5]}, "kernel_params"),
        ({"kernel_params": None}, "kernel_params"),
        ({"support_vectors": [1.0, 2.0, 3.0]}, "support_vectors"),
        ({"support_vectors": None}, "support_vectors"),
        ({"vectors_per_class": [3]}, "vectors_per_class"),
        ({"classlabels_ints": None}, "classlabels_ints"),
        ({"prob_a": [1.0], "prob_b": [1.0]}, "prob_a"),
        ({"post_transform": "TANH"}, "post_transform"),
    ],
)
def test_attributes_that_do_not_fit_are_named(change: dict[str, Any], attribute: str) -> None:
    estimator = svc("rbf", 3)
    proto = classifier("SVMClassifier", estimator, svc_attributes(estimator) | change)
    with pytest.raises(ModelError, match=f"SVMClassifier node 'the SVMClassifier'.* {attribute} "):
        canonical(proto)


@pytest.mark.parametrize(
    ("operator", "attributes", "attribute"),
    [
        ("LinearClassifier", {"coefficients": [1.0] * 9, "intercepts": [0.0, 0.0], "classlabels_ints": [0, 1]}, "coefficients"),
        ("LinearClassifier", {"coefficients": [1.0] * 8, "classlabels_ints": [0, 1]}, "intercepts"),
        ("LinearClassifier", {"coefficients": [1.0] * 8, "intercepts": [0.0, 0.0], "classlabels_ints": [0]}, "intercepts"),
        ("LinearRegressor", {"coefficients": [1.0] * 7, "targets": 2}, "coefficients"),
        ("LinearRegressor", {"coefficients": [1.0] * 8, "targets": 2, "intercepts": [1.0]}, "intercepts"),
        ("LinearRegressor", {"targets": 1}, "coefficients"),
        ("SVMRegressor", {"coefficients": [1.0], "n_supports": 2, "rho": [0.0]}, "coefficients"),
        ("SVMRegressor", {"coefficients": [1.0] * 2, "n_supports": 2}, "rho"),
        ("Scaler", {"offset": [0.0] * 3, "scale": [1.0] * 3}, "scale"),
        ("Scaler", {"offset": [0.0] * 4, "scale": [1.0] * 3}, "offset"),
        ("Scaler", {"scale": [1.0] * 4}, "offset"),
        ("Normalizer", {"norm": "L3"}, "norm"),
        ("Imputer", {"replaced_value_float": 1.0}, "imputed_value_floats"),
        ("Imputer", {"imputed_value_floats": [1.0] * 3, "replaced_value_float": 1.0}, "imputed_value_floats"),
        ("FeatureVectorizer", {"inputdimensions": [5]}, "inputdimensions"),
        ("FeatureVectorizer", {"inputdimensions": [2, 2]}, "inputdimensions"),
    ],
)
def test_attributes_of_other_operators_that_do_not_fit(operator: str, attributes: dict[str, Any], attribute: str) -> None:
    outputs = {"label": INT, "y": FLOAT} if operator == "LinearClassifier" else {"y": FLOAT}
    proto = model([node(operator, ["x"], list(outputs), **attributes)], outputs)
    with pytest.raises(ModelError, match=f"{operator} node 'the {operator}'.* {attribute} "):
        canonical(proto)


def test_other_operators_of_the_domain_are_not_supported() -> None:
    proto = behind([node("Binarizer", ["x"], ["z"], threshold=0.5)], logistic(3))
    with pytest.raises(UnsupportedOperatorError, match=r"ai\.onnx\.ml\.Binarizer"):
        graphlrp.load(proto)
