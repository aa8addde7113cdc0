"""What an estimator itself says, as numbers: the original that its graph is compared with."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn import calibration, compose, model_selection, multiclass, neural_network, pipeline, svm
from sklearn.base import is_classifier
from sklearn.neural_network._base import ACTIVATIONS

from graphlrp.plugins.estimators.building import dense
from graphlrp.plugins.kernels.pairs import pair_votes

Array = npt.NDArray[Any]

SEARCHES = (model_selection.GridSearchCV, model_selection.RandomizedSearchCV)


def decision(estimator: Any, x: Any) -> Array:
    """f(x) [N] or [N, C] by the estimator's own code.

    Of several classes, a support vector machine says votes; here the decisions that they are made of are summed per class.
    """
    if isinstance(estimator, SEARCHES):
        return decision(estimator.best_estimator_, x)
    if isinstance(estimator, pipeline.Pipeline):
        for _, step in estimator.steps[:-1]:
            x = transformed(step, x)
        return decision(estimator.steps[-1][1], x)
    if isinstance(estimator, calibration.CalibratedClassifierCV):
        parts = [decision(part.estimator, x) for part in estimator.calibrated_classifiers_]
        return np.asarray(np.mean(parts, axis=0))
    if isinstance(estimator, multiclass.OneVsOneClassifier):
        parts = [decision(part, x) for part in estimator.estimators_]
        return np.asarray(np.column_stack(parts) @ -pair_votes(len(estimator.classes_)))
    if isinstance(estimator, multiclass.OneVsRestClassifier):
        parts = [decision(part, x) for part in estimator.estimators_]
        return parts[0] if len(parts) == 1 else np.column_stack(parts)
    if isinstance(estimator, (svm.SVC, svm.NuSVC)) and len(estimator.classes_) > 2:
        pairs = copy.copy(estimator)
        pairs.decision_function_shape = "ovo"
        values = np.asarray(pairs.decision_function(x))
        return values if estimator.decision_function_shape == "ovo" else np.asarray(values @ pair_votes(len(estimator.classes_)))
    if isinstance(estimator, neural_network.MLPClassifier):
        value = x if issparse(x) else np.asarray(x)
        for number, (weights, intercept) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
            if number:
                ACTIVATIONS[estimator.activation](value)  # in place
            value = value @ weights + intercept
        return value[:, 0] if value.shape[1] == 1 else value
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(x))
    if is_classifier(estimator):
        raise TypeError(f"{type(estimator).__name__} says no decision but classes")
    return np.asarray(estimator.predict(x))


def transformed(step: Any, x: Any) -> Any:
    """What a transformer makes of numbers, also one that was fitted on a table, whose columns are in the order of their names."""
    if isinstance(step, pipeline.Pipeline):
        for _, part in step.steps:
            x = transformed(part, x)
        return x
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return x
    if not isinstance(step, compose.ColumnTransformer) or not hasattr(step, "feature_names_in_"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return step.transform(x)
    parts = []
    for name, part, _ in step.transformers_:
        columns, place = step._transformer_to_input_indices.get(name, []), step.output_indices_[name]
        if (isinstance(part, str) and part == "drop") or not len(columns) or place.start == place.stop:
            continue
        own = dense(transformed(part, x[:, list(columns)])) * (step.transformer_weights or {}).get(name, 1.0)
        parts.append((place.start, own))
    return np.concatenate([own for _, own in sorted(parts, key=lambda part: part[0])], axis=1)
