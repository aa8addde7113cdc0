"""How scikit-learn's predictors become nodes: ``convert(builder, estimator, stream)`` returns f(x), always [N, C]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from sklearn import kernel_ridge, linear_model, neural_network, svm
from sklearn.base import is_regressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel
from sklearn.linear_model._stochastic_gradient import BaseSGDRegressor
from sklearn.preprocessing import normalize

from graphlrp.errors import ModelError
from graphlrp.plugins.estimators.building import Builder, Stream, dense
from graphlrp.plugins.estimators.known_kernels import kernel_of
from graphlrp.plugins.estimators.transformers import unit_length
from graphlrp.plugins.kernels.declared import SVDD, Machine
from graphlrp.plugins.kernels.pairs import pair_coefficients, pair_votes
from graphlrp.plugins.kernels.products import RBF
from graphlrp.plugins.kernels.sums import ExponentialChi2, Laplacian

Array = npt.NDArray[Any]

Converter = Callable[[Builder, Any, Stream], ir.Value]


def linear(builder: Builder, estimator: Any, stream: Stream) -> ir.Value:
    """x w + b."""
    weights = np.atleast_2d(dense(estimator.coef_)).T
    return builder.head(stream, weights, np.ravel(estimator.intercept_), regression=is_regressor(estimator))


def one_class_sgd(builder: Builder, estimator: Any, stream: Stream) -> ir.Value:
    """x w - offset."""
    return builder.head(stream, np.reshape(estimator.coef_, (-1, 1)), -np.ravel(estimator.offset_))


def support_vector_machine(builder: Builder, estimator: Any, stream: Stream) -> ir.Value:
    """Σ_i α_i y_i k(x_i, x) + b; of several classes by the policy of ``decision_function_shape``."""
    stream = builder.emitted(stream)
    kernel, unit = kernel_of(builder, estimator.kernel, estimator, stream.width)
    stream = unit_length(builder, stream) if unit else stream
    if callable(estimator.kernel):
        # Of the samples it was fitted on, the machine keeps the numbers of those that support it, and all of them aside.
        support = dense(estimator._BaseLibSVM__Xfit)[estimator.support_]
    else:
        support = dense(estimator.support_vectors_)
    support = normalize(support) if unit else support
    dual, intercept = dense(estimator.dual_coef_), np.ravel(estimator.intercept_)
    if len(getattr(estimator, "classes_", ())) > 2:
        dual = pair_coefficients(dual, estimator.n_support_)
        if estimator.decision_function_shape == "ovr":
            votes = pair_votes(len(estimator.n_support_))
            dual, intercept = dual @ votes, intercept @ votes
    else:
        dual = dual.T
    return builder.machine(stream, kernel, support, dual, intercept, regression=is_regressor(estimator))


def ridge_of_kernels(builder: Builder, estimator: Any, stream: Stream) -> ir.Value:
    """Σ_i α_i k(x_i, x)."""
    stream = builder.emitted(stream)
    kernel, unit = kernel_of(builder, estimator.kernel, estimator, stream.width)
    stream = unit_length(builder, stream) if unit else stream
    support, dual = dense(estimator.X_fit_), dense(estimator.dual_coef_)
    support = normalize(support) if unit else support
    return builder.machine(stream, kernel, support, dual if dual.ndim == 2 else dual[:, None], 0.0, regression=True)


def perceptron_layers(builder: Builder, estimator: Any, stream: Stream) -> ir.Value:
    """Dense layers up to what the output activation gets."""
    value = builder.emitted(stream).value
    activations = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}
    layers = list(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    for number, (weights, intercept) in enumerate(layers):
        with builder.step(f"layer{number}"):
            value = builder.linear(value, weights, intercept)
            if number < len(layers) - 1 and estimator.activation != "identity":
                value = getattr(builder.op, activations[estimator.activation])(value)
    return value


def declared_machine(builder: Builder, machine: Machine, stream: Stream) -> ir.Value:
    """As it is declared."""
    references = stream.references if machine.references is None else np.asarray(machine.references, np.float64)
    dual = np.asarray(machine.dual_coefficients, np.float64)
    dual = dual if dual.ndim == 2 else dual[:, None]
    stream = Stream(stream.value, references)
    return builder.machine(stream, machine.kernel, machine.support_vectors, dual, machine.intercept, level=machine.level)


def hypersphere(builder: Builder, machine: SVDD, stream: Stream) -> ir.Value:
    """a(x) - r: exact if the kernel is a sum over dimensions; by Taylor if k(x, x) = 1 (A.12, A.13)."""
    alpha = np.asarray(machine.coefficients, np.float64)[:, None]
    if machine.kernel.decomposable:
        numbers = {"support_vectors": machine.support_vectors, "coefficients": alpha, "radius": np.full(1, float(machine.radius))}
        inputs = [builder.number(array, name) for name, array in numbers.items()]
        return builder.node("KernelDistance", stream.value, *inputs, width=1, kernel=machine.kernel.json())
    if not isinstance(machine.kernel, (RBF, Laplacian, ExponentialChi2)):
        raise ModelError(
            f"SVDD: the kernel {machine.kernel} is no sum over dimensions and k(x, x) is not constant; use RBF, Laplacian,"
            " ExponentialChi2, or one that is a sum over dimensions"
        )
    references = stream.references if machine.references is None else np.asarray(machine.references, np.float64)
    intercept = 1.0 + machine.centre - machine.radius
    return builder.machine(Stream(stream.value, references), machine.kernel, machine.support_vectors, -2 * alpha, intercept)


PREDICTORS: dict[type, Converter] = {
    LinearClassifierMixin: linear,
    LinearModel: linear,
    BaseSGDRegressor: linear,
    svm.LinearSVR: linear,
    LinearDiscriminantAnalysis: linear,
    linear_model.HuberRegressor: linear,
    linear_model.SGDOneClassSVM: one_class_sgd,
    svm.SVC: support_vector_machine,
    svm.NuSVC: support_vector_machine,
    svm.SVR: support_vector_machine,
    svm.NuSVR: support_vector_machine,
    svm.OneClassSVM: support_vector_machine,
    kernel_ridge.KernelRidge: ridge_of_kernels,
    neural_network.MLPClassifier: perceptron_layers,
    neural_network.MLPRegressor: perceptron_layers,
    Machine: declared_machine,
    SVDD: hypersphere,
}
"""Predictors by class; subclasses are meant, too."""
