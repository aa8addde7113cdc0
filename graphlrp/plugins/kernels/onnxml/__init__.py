"""Operators of the domain ``ai.onnx.ml``, as converters of scikit-learn write them, in terms of operators that have mappings.

ONNX Runtime has them for the CPU only, and they say labels and probabilities, while what is explained is the decision before
those: the same function that ``graphlrp.load`` explains when it is given the estimator itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
import onnx_ir.passes.common as common

from graphlrp.ir.passes.standard import infer_shapes
from graphlrp.ir.source import PIPELINE
from graphlrp.plugins.kernels.onnxml.explained import choose_explained
from graphlrp.plugins.kernels.onnxml.features import array_feature_extractor, feature_vectorizer, imputer, normalizer, zip_map
from graphlrp.plugins.kernels.onnxml.linear import linear_classifier, linear_regressor
from graphlrp.plugins.kernels.onnxml.lowering import Lowering, Operator, on_matrices
from graphlrp.plugins.kernels.onnxml.machines import svm_classifier, svm_regressor
from graphlrp.plugins.kernels.onnxml.scaling import recognise_scaling, scaler

ML = "ai.onnx.ml"

FEATURES: Mapping[str, Operator] = {
    "Scaler": on_matrices(scaler),
    "Normalizer": on_matrices(normalizer),
    "Imputer": imputer,
    "FeatureVectorizer": feature_vectorizer,
    "ArrayFeatureExtractor": array_feature_extractor,
}
"""Operators that stand before a decision."""

OPERATORS: Mapping[str, Operator] = {
    **FEATURES,
    "SVMClassifier": on_matrices(svm_classifier),
    "SVMRegressor": on_matrices(svm_regressor),
    "LinearClassifier": on_matrices(linear_classifier),
    "LinearRegressor": on_matrices(linear_regressor),
    "ZipMap": zip_map,
}
"""All operators that are lowered."""


def lower_classical_operators(model: ir.Model) -> str | None:
    """Lower operators of ``ai.onnx.ml``, so that they run on every provider and are explained like the estimator itself.

    1. ``SVMClassifier``, ``SVMRegressor`` become ``graphlrp.KernelMachine``, or a dense layer where the kernel is linear; roots
       are looked for between the support vectors. A regression is explained from its mean over them, unless its sign is a
       decision (one-class machines).
    2. ``LinearClassifier``, ``LinearRegressor`` become dense layers. Two rows that are the negative of each other are one
       decision, whose positive side is the second class.
    3. ``Scaler`` and ``Normalizer`` become ``graphlrp.Scaler`` and ``graphlrp.Normalizer``; ``Normalizer`` by the largest
       component becomes a division by it.
    4. ``FeatureVectorizer`` becomes Concat, ``ArrayFeatureExtractor`` Gather; ``Imputer`` is nothing where NaN is replaced, for
       samples are numbers, and Where for other numbers.
    5. A ``ZipMap`` that makes an output is dropped: the matrix that it takes is the output.
    6. Scaling of features that is spelled as Sub and Div or Mul, Sub alone, or Mul and Add, by a constant per feature, behind an
       input [N, D] or columns of it, becomes ``graphlrp.Scaler``.
    7. If the first real-valued output is made of the scores of classifiers, the decision is explained, whatever stands between
       the two (probabilities, votes, calibration): of two classes the one number [N] that is positive for the second class, of
       several the scores [N, C], of pairs of classes the sum per class; of one-versus-rest classifiers their decisions side by
       side, of an average of classifiers the mean of their decisions.

    Labels and scores stay those of ONNX Runtime. Where it computes scores by iteration (probabilities of support vector
    machines) or by formulas of its own (``PROBIT``, ``SOFTMAX_ZERO``, one score with a transform), the original operator stays
    for the outputs, and only the decision is lowered.

    Precondition: one operator set, one precision, constants are initializers. Inputs are [N, D]; operators on others stay.

    Raises:
        ModelError: an attribute is missing, unknown or does not fit the others; it names node and attribute.
    """
    lowering = Lowering(model)
    classical = any(node.domain == ML for node in model.graph)
    if classical:
        _lower_all(lowering, FEATURES)
    # Now, for what decides takes the features as they are when it is lowered.
    recognise_scaling(lowering)
    if classical:
        _lower_all(lowering, OPERATORS)
    if not lowering.notes:
        return None
    if classical:
        # Linear predictors among them are explained as those that come as estimators.
        model.metadata_props.setdefault(PIPELINE, model.producer_name or ML)
        choose_explained(lowering)
    _tidy(model)
    return ", ".join(f"{count} {what}" for what, count in lowering.notes.items())


def _lower_all(lowering: Lowering, operators: Mapping[str, Operator]) -> None:
    pending = [node for node in lowering.graph if node.domain == ML and node.op_type in operators]
    while pending:
        left = [node for node in pending if not _lower(lowering, node)]
        if len(left) == len(pending):
            break
        # What stands behind lowered nodes has a shape only now.
        pending = left
        _tidy(lowering.model)
        infer_shapes(lowering.model)


def _lower(lowering: Lowering, node: ir.Node) -> bool:
    """Lower one node; whether it was."""
    with lowering.at(node.name or node.op_type):
        done = OPERATORS[node.op_type](lowering, node)
    if done is not None:
        lowering.notes[f"{node.op_type} {done}"] += 1
    return done is not None


def _tidy(model: ir.Model) -> None:
    model.graph.sort()
    common.NameFixPass()(model)
