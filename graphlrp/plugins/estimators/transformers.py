"""How scikit-learn's transformers become nodes: ``convert(builder, estimator, stream)`` returns the stream behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import decomposition, feature_selection, impute, kernel_approximation, preprocessing
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.feature_selection._base import SelectorMixin

from graphlrp.errors import ModelError
from graphlrp.plugins.estimators.building import Builder, Expansion, Stream
from graphlrp.plugins.estimators.known_kernels import kernel_of
from graphlrp.plugins.estimators.text import tf_idf
from graphlrp.plugins.kernels.preprocessing import FUNCTIONS
from graphlrp.plugins.kernels.products import RandomFourier

Converter = Callable[[Builder, Any, Stream], Stream]


def standard_scaler(builder: Builder, step: Any, stream: Stream) -> Stream:
    """(x - mean) / scale, each only if the scaler does it."""
    offset = step.mean_ if step.with_mean else 0.0
    return _scaled(builder, step, stream, offset, 1.0 / step.scale_ if step.with_std else 1.0)


def min_max_scaler(builder: Builder, step: Any, stream: Stream) -> Stream:
    """x · scale + min, clipped if asked for."""
    scaled = _scaled(builder, step, stream, -step.min_ / step.scale_, step.scale_)
    if not step.clip:
        return scaled
    low, high = (builder.op.scalar(float(end)) for end in step.feature_range)
    return Stream(builder.op.Clip(scaled.value, low, high), scaled.references)


def max_abs_scaler(builder: Builder, step: Any, stream: Stream) -> Stream:
    """x / scale."""
    return _scaled(builder, step, stream, 0.0, 1.0 / step.scale_)


def robust_scaler(builder: Builder, step: Any, stream: Stream) -> Stream:
    """(x - centre) / scale, each only if the scaler does it."""
    offset = step.center_ if step.with_centering else 0.0
    return _scaled(builder, step, stream, offset, 1.0 / step.scale_ if step.with_scaling else 1.0)


def normalizer(builder: Builder, step: Any, stream: Stream) -> Stream:
    """x / ‖x‖."""
    return stream.moved(builder.node("Normalizer", stream.value, width=stream.width, norm=step.norm), step.transform)


def imputer(builder: Builder, step: Any, stream: Stream) -> Stream:
    """Nothing: samples with missing numbers are not explained. Features that were never seen are dropped."""
    if step.add_indicator or not (isinstance(step.missing_values, float) and np.isnan(step.missing_values)):
        raise ModelError(f"{builder.where}: only missing values that are NaN, without an indicator, can be told from numbers")
    kept = np.flatnonzero(~np.isnan(np.asarray(step.statistics_, np.float64)))
    if step.keep_empty_features:
        kept = np.arange(len(step.statistics_))
    return stream.moved(builder.columns(stream.value, kept.tolist()), step.transform)


def principal_components(builder: Builder, step: Any, stream: Stream) -> Stream:
    """(x - mean) W', whitened if asked for."""
    weights = step.components_.T
    if step.whiten:
        scale = np.sqrt(step.explained_variance_)
        weights = weights / np.maximum(scale, np.finfo(scale.dtype).eps)
    centred = builder.scaled(stream.value, step.mean_, 1.0)
    return stream.moved(builder.linear(centred, weights), step.transform)


def truncated_svd(builder: Builder, step: Any, stream: Stream) -> Stream:
    """x W'."""
    return stream.moved(builder.linear(stream.value, step.components_.T), step.transform)


def selector(builder: Builder, step: Any, stream: Stream) -> Stream:
    """The chosen columns."""
    kept = step.get_support(indices=True)
    if not len(kept):
        raise ModelError(f"{builder.where}: no feature is selected")
    return stream.moved(builder.columns(stream.value, kept.tolist()), step.transform)


def nystroem(builder: Builder, step: Any, stream: Stream) -> Stream:
    """k(components, x) W': not computed before it is known what comes behind."""
    kernel, unit = kernel_of(builder, step.kernel, step, stream.width)
    stream = unit_length(builder, stream) if unit else stream
    components = _rows(step.components_, unit=unit)
    return Stream(stream.value, stream.references, Expansion(kernel, components, np.asarray(step.normalization_).T))


def rbf_sampler(builder: Builder, step: Any, stream: Stream) -> Stream:
    """√(2/n) cos(x w + b): not computed before it is known what comes behind."""
    support = np.column_stack([step.random_weights_.T, step.random_offset_])
    kernel = RandomFourier(float(np.sqrt(2.0 / step.n_components)))
    return Stream(stream.value, stream.references, Expansion(kernel, support, np.eye(len(support))))


def chi2_sampler(builder: Builder, step: Any, stream: Stream) -> Stream:
    """(2n - 1) features of every x_d."""
    interval = getattr(step, "sample_interval_", None) or step.sample_interval or {1: 0.8, 2: 0.5, 3: 0.4}[step.sample_steps]
    width = (2 * step.sample_steps - 1) * stream.width
    value = builder.node("SampledChi2", stream.value, width=width, steps=step.sample_steps, interval=float(interval))
    return stream.moved(value, step.transform)


def function(builder: Builder, step: Any, stream: Stream) -> Stream:
    """A function of every component by itself, whose relevance passes (2.37)."""
    if step.func is None:
        return stream
    name = getattr(step.func, "__name__", repr(step.func))
    known_functions = [name for name in FUNCTIONS if name != "sublinear"]
    known = isinstance(step.func, np.ufunc) and name in known_functions
    if not known or step.kw_args:
        raise ModelError(
            f"{builder.where}: FunctionTransformer({name}) is not known to be a function of one component; there are numpy's and"
            f" scipy.special's {', '.join(known_functions)}, without arguments. Write a transformer with a method lower()"
        )
    value = builder.node("Function", stream.value, width=stream.width, function=name)
    return stream.moved(value, step.transform)


def _scaled(builder: Builder, step: Any, stream: Stream, offset: Any, scale: Any) -> Stream:
    return stream.moved(builder.scaled(stream.value, offset, scale), step.transform)


def unit_length(builder: Builder, stream: Stream) -> Stream:
    """x / ‖x‖, for the cosine kernel."""
    value = builder.node("Normalizer", stream.value, width=stream.width, norm="l2")
    return stream.moved(value, lambda x: preprocessing.normalize(x))


def _rows(array: Any, *, unit: bool) -> Any:
    rows = array.toarray() if hasattr(array, "toarray") else np.asarray(array, np.float64)
    return preprocessing.normalize(rows) if unit else rows


TRANSFORMERS: dict[type, Converter] = {
    preprocessing.StandardScaler: standard_scaler,
    preprocessing.MinMaxScaler: min_max_scaler,
    preprocessing.MaxAbsScaler: max_abs_scaler,
    preprocessing.RobustScaler: robust_scaler,
    preprocessing.Normalizer: normalizer,
    preprocessing.FunctionTransformer: function,
    impute.SimpleImputer: imputer,
    decomposition.PCA: principal_components,
    decomposition.IncrementalPCA: principal_components,
    decomposition.TruncatedSVD: truncated_svd,
    kernel_approximation.Nystroem: nystroem,
    kernel_approximation.RBFSampler: rbf_sampler,
    kernel_approximation.AdditiveChi2Sampler: chi2_sampler,
    TfidfTransformer: tf_idf,
    SelectorMixin: selector,
    feature_selection.SelectKBest: selector,
}
"""Transformers by class; subclasses are meant, too."""
