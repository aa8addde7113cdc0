"""What is made of several estimators: pipelines, unions, columns, several classes, calibration, search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import onnx_ir as ir
from sklearn import calibration, compose, multiclass, pipeline
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from graphlrp.errors import InputError, ModelError
from graphlrp.plugins.estimators.building import Builder, Stream
from graphlrp.plugins.estimators.decision import SEARCHES, transformed
from graphlrp.plugins.estimators.predictors import PREDICTORS
from graphlrp.plugins.estimators.text import misplaced
from graphlrp.plugins.estimators.transformers import TRANSFORMERS
from graphlrp.plugins.kernels.declared import SVDD, Machine
from graphlrp.plugins.kernels.pairs import pair_votes


def transform(builder: Builder, step: Any, stream: Stream) -> Stream:
    """The stream behind a transformer.

    Raises:
        ModelError: it is not known.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return stream
    if isinstance(step, pipeline.Pipeline):
        for name, part in step.steps:
            with builder.step(name):
                stream = transform(builder, part, stream)
        return stream
    if hasattr(step, "lower"):
        lowered: Stream = step.lower(builder, builder.emitted(stream))
        return lowered
    convert = _known({**TRANSFORMERS, **_COMPOSED}, step)
    if convert is None:
        raise ModelError(f"{builder.where}: {unknown(step)}")
    behind: Stream = convert(builder, step, builder.emitted(stream))
    return behind


def decide(builder: Builder, estimator: Any, stream: Stream) -> ir.Value:
    """f(x) [N, C] of a predictor, C = 1 where the decision is one number.

    Raises:
        ModelError: it is not known.
    """
    if isinstance(estimator, SEARCHES):
        return decide(builder, estimator.best_estimator_, stream)
    if isinstance(estimator, pipeline.Pipeline):
        *steps, (name, last) = estimator.steps
        for label, step in steps:
            with builder.step(label):
                stream = transform(builder, step, stream)
        with builder.step(name):
            return decide(builder, last, stream)
    if isinstance(estimator, calibration.CalibratedClassifierCV):
        values = []
        for number, calibrated in enumerate(estimator.calibrated_classifiers_):
            with builder.step(f"fold{number}"):
                values.append(decide(builder, calibrated.estimator, stream))
        return values[0] if len(values) == 1 else builder.mixed(values, [1 / len(values)] * len(values))
    if isinstance(estimator, (multiclass.OneVsRestClassifier, multiclass.OneVsOneClassifier)):
        values = []
        for number, part in enumerate(estimator.estimators_):
            with builder.step(f"estimator{number}"):
                part_value = decide(builder, part, _columns_of(estimator, builder, stream))
                if list(part_value.shape or ())[1:] != [1]:
                    raise ModelError(f"{builder.where}: a decision between two classes is one number, not {part_value.shape}")
                values.append(part_value)
        if isinstance(estimator, multiclass.OneVsOneClassifier):
            # A pair's estimator is positive for its second class.
            return builder.linear(builder.joined(values), -pair_votes(len(estimator.classes_)))
        return builder.joined(values)
    convert = _known(PREDICTORS, estimator)
    if convert is None:
        raise ModelError(f"{builder.where}: {unknown(estimator)}")
    value: ir.Value = convert(builder, estimator, stream)
    return value


def check(estimator: Any, where: str = "") -> None:
    """Refuse what is not fitted or not known, all of it at once.

    Raises:
        InputError: something is not fitted.
        ModelError: steps that cannot be lowered.
    """
    problems: list[str] = []
    for name, part in leaves(estimator, where):
        if _known({**TRANSFORMERS, **PREDICTORS}, part) is None and not hasattr(part, "lower"):
            problems.append(f"{name}: {unknown(part)}")
            continue
        if isinstance(part, (Machine, SVDD)):
            continue
        try:
            check_is_fitted(part)
        except NotFittedError:
            raise InputError(f"{name}: {type(part).__name__} is not fitted; call fit first") from None
    if problems:
        raise ModelError("no mapping is known for\n  " + "\n  ".join(problems))


def describe(estimator: Any) -> str:
    """An estimator in a few words: the classes of its steps."""
    names = [type(part).__name__ for _, part in leaves(estimator)]
    shown = names[:6] + ([f"{len(names) - 6} more"] if len(names) > 6 else [])
    return f"{type(estimator).__name__} of {', '.join(shown)}" if names != [type(estimator).__name__] else names[0]


def unknown(part: Any) -> str:
    """What to say of an estimator that nothing is known of."""
    text = misplaced(part)
    if text is not None:
        return text
    known = sorted({kind.__name__ for kind in (*TRANSFORMERS, *PREDICTORS) if not kind.__name__.startswith(("Base", "Linear"))})
    return (
        f"{type(part).__module__.partition('.')[0]}'s {type(part).__name__} is not supported. Give it a method"
        " lower(builder, stream), or use some of: linear models, " + ", ".join(known)
    )


def leaves(estimator: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Estimators that are not made of others, with the way there."""

    def inside(name: str) -> str:
        return f"{where} > {name}" if where else f"step {name!r}"

    if estimator is None or isinstance(estimator, str):
        return
    if isinstance(estimator, pipeline.Pipeline):
        parts = [(name, part) for name, part in estimator.steps]
    elif isinstance(estimator, pipeline.FeatureUnion):
        parts = list(estimator.transformer_list)
    elif isinstance(estimator, compose.ColumnTransformer):
        _fitted(estimator, "transformers_", where)
        parts = [(name, part) for name, part, _ in estimator.transformers_]
    elif isinstance(estimator, SEARCHES):
        _fitted(estimator, "best_estimator_", where)
        parts = [("best", estimator.best_estimator_)]
    elif isinstance(estimator, calibration.CalibratedClassifierCV):
        _fitted(estimator, "calibrated_classifiers_", where)
        parts = [(f"fold{k}", part.estimator) for k, part in enumerate(estimator.calibrated_classifiers_)]
    elif isinstance(estimator, (multiclass.OneVsRestClassifier, multiclass.OneVsOneClassifier)):
        _fitted(estimator, "estimators_", where)
        parts = [(f"estimator{k}", part) for k, part in enumerate(estimator.estimators_)]
    else:
        yield where or type(estimator).__name__, estimator
        return
    for name, part in parts:
        yield from leaves(part, inside(name))


def _fitted(estimator: Any, attribute: str, where: str) -> None:
    if not hasattr(estimator, attribute):
        raise InputError(f"{where or type(estimator).__name__}: {type(estimator).__name__} is not fitted; call fit first")


def _known(table: dict[type, Any], estimator: Any) -> Callable[..., Any] | None:
    """What the table holds for the class, or the nearest class above it."""
    return next((table[kind] for kind in type(estimator).__mro__ if kind in table), None)


def _columns_of(estimator: Any, builder: Builder, stream: Stream) -> Stream:
    """One-versus-one on a precomputed kernel takes columns of it."""
    if getattr(estimator, "pairwise_indices_", None) is not None:
        raise ModelError(f"{builder.where}: precomputed kernels keep no support vectors to explain by")
    return stream


def _union(builder: Builder, union: pipeline.FeatureUnion, stream: Stream) -> Stream:
    """Features of all transformers side by side, weighted."""
    values = []
    for name, part in union.transformer_list:
        if isinstance(part, str) and part == "drop":
            continue
        with builder.step(name):
            own = builder.emitted(transform(builder, part, stream)).value
            weight = (union.transformer_weights or {}).get(name, 1.0)
            values.append(builder.scaled(own, 0.0, weight))
    if not values:
        raise ModelError(f"{builder.where}: all transformers are dropped")
    return stream.moved(builder.joined(values), union.transform)


def _by_columns(builder: Builder, step: compose.ColumnTransformer, stream: Stream) -> Stream:
    """Every transformer on its columns, side by side in the order of the output."""
    parts = []
    for name, part, _ in step.transformers_:
        columns = step._transformer_to_input_indices.get(name, [])
        place = step.output_indices_[name]
        if (isinstance(part, str) and part == "drop") or not len(columns) or place.start == place.stop:
            continue
        with builder.step(name):
            references = None if stream.references is None else stream.references[:, list(columns)]
            chosen = replace(stream, value=builder.columns(stream.value, list(columns)), references=references)
            own = builder.emitted(transform(builder, part, chosen)).value
            weight = (step.transformer_weights or {}).get(name, 1.0)
            parts.append((place.start, builder.scaled(own, 0.0, weight)))
    if not parts:
        raise ModelError(f"{builder.where}: no columns are left")
    parts.sort(key=lambda part: part[0])
    value = builder.joined([value for _, value in parts])
    return stream.moved(value, lambda x: transformed(step, x))


_COMPOSED: dict[type, Any] = {pipeline.FeatureUnion: _union, compose.ColumnTransformer: _by_columns}
