"""The public face: ``load`` makes an ``Explainer`` of a model; rules, composites and pipelines by name or by hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from graphlrp.choices import checked_composite
from graphlrp.compiler import RELEVANCE, Settings
from graphlrp.errors import InputError, ModelError
from graphlrp.explainer import DTYPES, Explainer
from graphlrp.ir.functions import EmitOperators
from graphlrp.ir.passes.standard import Precision
from graphlrp.ir.reading import read_model
from graphlrp.ir.source import Source
from graphlrp.plugins.estimators.frontend import convert_estimator, is_estimator, reader_of
from graphlrp.plugins.manager import Plugins
from graphlrp.rules import presets
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite
from graphlrp.rules.select import Selector


def load(
    source: Any,
    composite: str | Composite | Rule = "auto",
    *,
    rules: Iterable[tuple[Selector, Rule]] = (),
    explain: str | Sequence[str] | None = None,
    output: str | None = None,
    bias: str | None = None,
    dtype: str = "float32",
    providers: Sequence[str] | str | None = None,
    plugins: Iterable[object] = (),
    ledger: bool | str = False,
    initial: str | None = None,
    class_axis: int = 1,
    report: str | Sequence[str] = (),
    restrict: Mapping[str, Sequence[int]] | None = None,
    verify: bool = True,
    **options: str,
) -> Explainer:
    """Compile a model and its relevance pass into one graph.

    Args:
        source: path, bytes, ``onnx.ModelProto``, ``onnx_ir.Model``, or anything that a frontend of a plugin takes.
        composite: name of a preset, a Composite, one rule for every mapping, or ``"auto"``.
        rules: (selector, rule) pairs that precede those of the composite, whichever that is.
        explain: names of the inputs or inner values to explain; by default every real-valued input, or, where there is none,
            the embedded rows that integer inputs look up.
        output: name of the output or inner value to explain; by default the first output, its terminal softmax removed.
        bias: what happens to the relevance of biases: ``"absorb"`` (to the ledger, the default unless the composite says
            otherwise), ``"distribute"`` (2.73), ``"project"`` (2.74), ``"ignore"`` (left out of denominators), ``"input"`` (an
            extra input named ``"bias"`` receives it).
        dtype: ``"float32"``, or ``"float64"`` for verification (runs on onnx.reference, slowly).
        providers: ONNX Runtime providers, or ``"cpu"``, ``"cuda"``; by default CUDA if there is a device, else the CPU.
        plugins: modules, objects with hooks, or Mapping classes.
        ledger: keep the ledger; ``"strict"`` raises ConservationError if it does not balance.
        initial: ``"value"`` (f(x)), ``"one"``, or ``"contrastive"`` (+1 target, -1/(C-1) the others).
        class_axis: axis of the output that counts classes; over further axes the target is summed.
        report: names of inner values whose relevance is wanted as well.
        restrict: {value name: channels}: relevance goes on through these channels only.
        verify: compare the canonical with the original model on the first samples that are explained.
        **options: policies of mappings: ``merge``, ``product``, ``attention``, ``softmax``, ``average``, ``lrn`` ...

    Returns:
        The explainer, compiled; sessions are opened when it is first called.

    Raises:
        ModelError: unreadable model, unknown names, an output that does not depend on the explained input.
        UnsupportedOperatorError: operators without a mapping, all of them.
        RuleError: unknown composite, rule parameters or policies.
        ProviderError: a provider that this machine does not have.
        PluginError: a broken plugin.
    """
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; there are {', '.join(DTYPES)}")
    if ledger not in (True, False, "strict"):
        raise InputError(f"ledger must be False, True or 'strict', not {ledger!r}")
    composite = checked_composite(composite)
    from graphlrp.runtime import resolve_providers

    if providers is not None:
        resolve_providers(providers)
    explained = (explain,) if isinstance(explain, str) else None if explain is None else tuple(explain)
    if explained is not None and (not explained or len(set(explained)) < len(explained)):
        raise InputError(f"explain={explain!r}: name one or more values, each once; leave it out for every real-valued input")
    settings = Settings(
        composite,
        explained,
        output,
        bias,
        initial,
        class_axis,
        (report,) if isinstance(report, str) else tuple(report),
        dict(restrict or {}),
        dict(options),
        bool(ledger),
        tuple(rules),
    )
    known = Plugins(plugins)
    converted = known.convert(source)
    if not isinstance(converted, Source):
        model = read_model(converted)  # type: ignore[arg-type]
        _refuse_explainer(model, converted)
        converted = Source(model, read=reader_of(model))
    return Explainer(
        converted,
        settings,
        dtype=dtype,
        providers=providers,
        plugins=known,
        strict=ledger == "strict",
        verify=verify,
    )


def composite(name: str, *, plugins: Iterable[object] = (), **parameters: object) -> Composite:
    """A preset by name with parameters, e.g. ``composite("epsilon-gamma-box", low=-2.1, high=2.6)``.

    Args:
        name: a built-in preset, one of an installed plugin, or one of ``plugins``; or a rule, for every mapping.
        plugins: as for ``load``.
        **parameters: those of the preset.

    Raises:
        RuleError: unknown name or parameters.
        PluginError: a broken plugin.
    """
    known = Plugins(plugins)
    return presets.make(name, known.presets, known.rules, **parameters)


def rule(name: str, *, plugins: Iterable[object] = (), **parameters: object) -> Rule:
    """A rule by name with parameters, e.g. ``rule("alpha-beta", alpha=2.0)``, for a composite or for ``load``.

    Raises:
        RuleError: unknown name or parameters.
        PluginError: a broken plugin.
    """
    return presets.make_rule(name, Plugins(plugins).rules, **parameters)


def convert(
    source: Any,
    *,
    references: Any = None,
    features: Sequence[str] | None = None,
    level: str = "boundary",
    dtype: str = "float64",
    plugins: Iterable[object] = (),
) -> Source:
    """The model of a fitted scikit-learn estimator or Pipeline, or of a declared machine, for ``load``.

    ``load`` does this by itself; do it by hand to give references or names, or to have the model, for instance as a file that
    plain ONNX Runtime runs and ``load`` recognises: ``convert(pipeline, dtype="float32").save("pipeline.onnx")``.

    Args:
        source: the estimator, or ``graphlrp.kernels.Machine`` or ``SVDD``.
        references: samples [M, D] as the estimator takes them, among which Taylor decomposition looks for the way across the
            decision boundary (2.76); by default the support vectors.
        features: names of the D features; by default those that the estimator was fitted on.
        level: what Taylor decomposition of a classifier measures relevance from: ``"boundary"``, f = 0, or ``"mean"``, the mean
            of f over the references, which there always is.
        dtype: of the model, ``"float64"`` or ``"float32"``.
        plugins: as for ``load``.

    Raises:
        InputError: not fitted; references or names that do not fit; a source of another kind.
        ModelError: steps that have no mapping, all of them.
    """
    if not is_estimator(source):
        raise InputError(f"convert takes a scikit-learn estimator or a declared machine, not {type(source).__name__}")
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; there are {', '.join(DTYPES)}")
    result = convert_estimator(source, references, features=features, level=level)
    known = Plugins(plugins)
    Precision(DTYPES[dtype])(result.model)
    EmitOperators(known.mappings, DTYPES[dtype])(result.model)
    return result


def _refuse_explainer(model: ir.Model, source: Any) -> None:
    """A model that was compiled with its relevance pass is no model to explain.

    Raises:
        ModelError: it is one.
    """
    explains = model.metadata_props.get("graphlrp.explains")
    # Somebody may have cut the model out of it again.
    if explains is None or not any(str(value.name).startswith(RELEVANCE) for value in model.graph.outputs):
        return
    what = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the model"
    raise ModelError(
        f"{what} is already an explainer, made by compile or save, which explains {explains}: run it with onnxruntime, or give"
        " the model that it was made from"
    )
