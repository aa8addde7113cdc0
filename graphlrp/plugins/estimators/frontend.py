"""From a fitted estimator to a model: ``convert`` for what can be said by hand, a frontend of ``load`` for all else."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.sparse import csr_matrix, issparse

from graphlrp.errors import InputError, ModelError
from graphlrp.ir.passes.standard import OPSET
from graphlrp.ir.source import CLASSES, FEATURES, PIPELINE, TEXT, Source, names_in
from graphlrp.plugins.estimators.building import Builder, Stream, dense
from graphlrp.plugins.estimators.composition import check, decide, describe, leaves
from graphlrp.plugins.estimators.decision import decision
from graphlrp.plugins.estimators.network import NetworkFeatures
from graphlrp.plugins.estimators.text import TextReader, split
from graphlrp.plugins.kernels.declared import SVDD, Machine

Array = npt.NDArray[Any]

INPUT, OUTPUT = "input", "decision"
"""Names in the model of a pipeline."""


def convert_estimator(
    estimator: Any, references: Any = None, *, features: Sequence[str] | None = None, level: str = "boundary"
) -> Source:
    """The model of a fitted estimator, a Pipeline of them, or a declared machine.

    Args:
        estimator: what to convert.
        references: samples [M, D] (or M texts), as the estimator takes them, among which roots are looked for (2.76); by default
            the support vectors of the machine.
        features: names of the D features; by default those that the estimator was fitted on.
        level: what Taylor decomposition of a classifier measures relevance from: ``"boundary"``, f = 0, or ``"mean"``, the mean
            of f over the references, as for regression.

    Raises:
        InputError: not fitted, or references of another width.
        ModelError: steps that cannot be lowered, all of them.
    """
    if level not in ("boundary", "mean"):
        raise InputError(f"level must be 'boundary' or 'mean', not {level!r}")
    what, name = describe(estimator), type(estimator).__name__
    estimator, reader = split(estimator)
    check(estimator)
    shape = sample_shape(estimator)
    names = features if features is not None else feature_names(estimator) if reader is None else reader.features

    first = next((leaf for _, leaf in leaves(estimator)), None)

    def table(x: Any) -> Any:
        return first.read(x) if first is not None and hasattr(first, "read") else read_table(x, names)

    read: Callable[[Any], Any] = table if reader is None else replace(reader, table=table)
    if names is not None and (len(names),) != shape:
        raise InputError(f"{len(names)} names for {' x '.join(map(str, shape))} features")
    networks = [leaf for _, leaf in leaves(estimator) if isinstance(leaf, NetworkFeatures)]
    builder = Builder(shape, INPUT, version=networks[0].version if networks else OPSET, from_mean=level == "mean")
    stream = Stream(builder.input, None if references is None else _references(read(references), shape))
    value = decide(builder, estimator, stream)
    single = value.shape is not None and value.shape[1] == 1 and not _many_outputs(estimator)
    model = builder.finish(value, OUTPUT, single=single)
    model.metadata_props[PIPELINE] = what
    if reader is not None:
        model.metadata_props[TEXT] = reader.json()
    if names is not None:
        model.metadata_props[FEATURES] = json.dumps([str(name) for name in names])
    classes = getattr(estimator, "classes_", None)
    if classes is not None and not isinstance(classes, list):
        model.metadata_props[CLASSES] = json.dumps([str(label) for label in classes])

    def original(feeds: Mapping[str, Array]) -> list[Array]:
        x = np.asarray(feeds[INPUT], np.float64)
        if isinstance(estimator, (Machine, SVDD)):
            return [estimator.decision_function(x)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return [np.reshape(decision(estimator, x), (len(x),) if single else (len(x), -1))]

    return Source(model, read=read, original=original, name=name)


def reader_of(model: ir.Model) -> TextReader | None:
    """What reads texts for the model of a text pipeline that was saved, None for all other models.

    Raises:
        ModelError: its metadata are damaged.
    """
    text = model.metadata_props.get(TEXT)
    return None if text is None else TextReader.of_json(text, lambda x: read_table(x, names_in(model, FEATURES)))


def read_table(x: Any, names: Sequence[str] | None) -> Any:
    """Samples as a matrix of numbers: an array, a list of rows, a table (its columns by name), or sparse (then csr).

    Raises:
        InputError: a table lacks columns, or something is no number.
    """
    if isinstance(x, Mapping):
        return x
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):
        if names is not None and any(isinstance(column, str) for column in x.columns):
            missing = [name for name in names if name not in x.columns]
            if missing:
                listed = ", ".join(map(repr, missing[:10]))
                raise InputError(f"the table lacks the column(s) {listed}; it has {list(x.columns)[:20]}")
            x = x[list(names)]
        try:
            x = x.to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"the table holds something that is no number: {error}") from error
    if issparse(x):
        return csr_matrix(x, dtype=np.float64)
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise InputError(f"the samples are no matrix: {error}") from error
    if array.dtype.kind in "iub" and array.ndim:
        return array.astype(np.float64)
    return array


def sample_shape(estimator: Any) -> tuple[int | str, ...]:
    """Shape of one sample: (D,), or what a network takes."""
    if isinstance(estimator, (Machine, SVDD)):
        return (int(np.shape(estimator.support_vectors)[1]),)
    parts = [leaf for _, leaf in leaves(estimator)]
    if parts and hasattr(parts[0], "input_shape"):
        return tuple(parts[0].input_shape)
    for part in (estimator, *parts):
        count = getattr(part, "n_features_in_", None)
        if count is not None:
            return (int(count),)
        # With a callable kernel, a machine checks nothing of what it is fitted on, but keeps it.
        fitted_on = getattr(part, "_BaseLibSVM__Xfit", None)
        if fitted_on is not None:
            return (int(np.shape(fitted_on)[1]),)
    raise ModelError(f"{type(estimator).__name__} does not say how many features it takes (n_features_in_)")


def feature_names(estimator: Any) -> Sequence[str] | None:
    """Names of the features that the estimator was fitted on."""
    if isinstance(estimator, (Machine, SVDD)):
        return estimator.features
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def _many_outputs(estimator: Any) -> bool:
    """Whether the decision is a matrix though it has one column, as a regression on one of several targets is."""
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if isinstance(last, Machine):
        return np.ndim(last.dual_coefficients) == 2
    for name in ("coef_", "dual_coef_"):
        numbers = getattr(last, name, None)
        if numbers is not None and not hasattr(last, "classes_") and not hasattr(last, "support_") and np.ndim(numbers) == 2:
            return np.ndim(getattr(last, "intercept_", 0.0)) == 1
    return False


def _references(references: Any, shape: tuple[int | str, ...]) -> Any:
    if any(isinstance(size, str) for size in shape):
        # Images of any size: a list, as the steps of a Bag-of-Words pipeline hand on.
        images = [np.asarray(image, np.float64) for image in references]
        if not images or any(image.ndim != len(shape) for image in images):
            raise InputError(f"references must be one or more images of {len(shape)} axes")
        return images
    array = dense(references)
    if array.shape[1:] != shape or not len(array):
        raise InputError(f"references have shape {list(array.shape)}; give samples [M, {', '.join(map(str, shape))}]")
    if not np.isfinite(array).all():
        raise InputError("references hold NaN or infinities")
    return array


def is_estimator(source: Any) -> bool:
    """Whether ``convert_estimator`` takes a source."""
    return any(f"{kind.__module__}.{kind.__qualname__}" == "sklearn.base.BaseEstimator" for kind in type(source).__mro__) or (
        isinstance(source, (Machine, SVDD))
    )
