"""The public face: ``load`` makes an ``Explainer``, calling it makes an ``Explanation``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.sparse import issparse
from tqdm.auto import tqdm

from graphlrp.compiler import RECORDS, RELEVANCE, Compiled, Settings, compile_explainer, compile_forward
from graphlrp.errors import InputError, ModelError, RelevanceWarning, RuleError
from graphlrp.explanation import Explanation, of_several_shapes
from graphlrp.feeds import read_feeds
from graphlrp.ir.canonical import PassNote, all_passes, canonicalise
from graphlrp.ir.emitter import ABSORBED
from graphlrp.ir.functions import EmitOperators
from graphlrp.ir.passes.standard import Precision
from graphlrp.ir.reading import read_model
from graphlrp.ir.source import CLASSES, FEATURES, Source, names_in
from graphlrp.ir.writing import write_model
from graphlrp.ledger import Ledger, LedgerEntry, conservation_error, per_sample
from graphlrp.plan import Plan
from graphlrp.plugins.estimators.frontend import convert_estimator, is_estimator, reader_of
from graphlrp.plugins.estimators.text import TextReader
from graphlrp.plugins.manager import Plugins
from graphlrp.rules import presets
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite
from graphlrp.rules.select import Selector, every
from graphlrp.runtime import Session, open_session, run_batches
from graphlrp.target import is_single, no_class_to_choose, read_target
from graphlrp.verification import SAMPLES, Verification

Array = npt.NDArray[Any]
Target = "int | str | Sequence[int] | Array | None"

DTYPES = {"float32": ir.DataType.FLOAT, "float64": ir.DataType.DOUBLE}

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
"""Relative errors up to which a strict ledger takes relevance as conserved."""

HUGE = {"float32": 1e12, "float64": 1e100}
"""Magnitudes of inputs from which on they are to blame for relevance that is not finite: a cube of them overflows."""

GROWTH = 1e6
"""Σ|R| over |f(x)| from which on a sum of float32 relevances says little about f(x)."""


class Explainer:
    """A model compiled together with its relevance pass. Made by ``graphlrp.load``."""

    def __init__(
        self,
        source: Source,
        settings: Settings,
        *,
        dtype: str,
        providers: Sequence[str] | str | None,
        plugins: Plugins,
        strict: bool,
        verify: bool,
    ) -> None:
        model = source.model.clone()
        self._read = source.read
        self._settings = settings
        self._dtype = dtype
        self._providers = providers
        self._plugins = plugins
        self._strict = strict
        self._verify = verify
        passes = all_passes(DTYPES[dtype], plugins.mappings, plugins.passes)
        self._verification = Verification(source.model, model, passes, plugins.mappings, dtype, source.original, source.name)
        self._notes: list[PassNote] = canonicalise(model, passes)
        self._canonical = model
        self._compiled: dict[bool, Compiled] = {}
        self._sessions: dict[bool, Session] = {}
        self._forward: tuple[Session, str] | None = None
        self._compiled[False] = compile_explainer(model, settings, plugins, self._notes)
        if strict and not self._compiled[False].conserves:
            raise RuleError(f"ledger='strict' needs rules that conserve; {self.plan.composite} does not")
        self._verified = False

    # What it does

    @property
    def plan(self) -> Plan:
        """What was done to the model and which rule every mapping has."""
        return self._compiled[False].plan

    @property
    def settings(self) -> Settings:
        """What was chosen when it was loaded; what came of that is in the plan."""
        return self._settings

    @property
    def dtype(self) -> str:
        """What it is computed in, ``"float32"`` or ``"float64"``."""
        return self._dtype

    @property
    def canonical(self) -> ir.Model:
        """A copy of the canonical model: what patterns match and mappings are lowered from."""
        return self._canonical.clone()

    @property
    def features(self) -> list[str] | None:
        """Names of the features of the input, None if the model does not tell."""
        return names_in(self._canonical, FEATURES)

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, None if the model does not tell."""
        return names_in(self._canonical, CLASSES)

    @property
    def output_shape(self) -> list[int | None]:
        """Shape of f(x), the explained output, with the batch; None where a size is not known."""
        return list(self._compiled[False].target_shape)

    @property
    def reader(self) -> TextReader | None:
        """What counts the terms of texts, None if the model takes no texts."""
        return self._read if isinstance(self._read, TextReader) else None

    @property
    def inputs(self) -> dict[str, ir.Value]:
        """The model's inputs by name."""
        return {str(value.name): value for value in self._canonical.graph.inputs}

    def __call__(
        self,
        x: Any,
        target: Any = None,
        *,
        batch_size: int = 32,
        progress: bool | Callable[[int, int], None] = False,
    ) -> Explanation:
        """Explain f(x).

        Args:
            x: array [N, ...], or {name: array} for models with several inputs; a list of arrays of different shapes, whose
                relevance then is a list, too; a list of texts for text pipelines.
            target: None for the arg max of every sample; a class index, or one per sample [N], unless the output is one number
                per sample; class weights shaped like the output; ``"all"`` for all outputs together.
            batch_size: samples per run; models with a static batch size keep theirs.
            progress: show a bar if there are several batches, or call ``progress(done, total)``.

        Returns:
            The explanation.

        Raises:
            InputError: wrong names, shapes, types, NaN or infinities, a class out of range, no samples.
            ConservationError: with ``ledger="strict"``, if relevance is not accounted for.
        """
        if of_several_shapes(x):
            return self._one_by_one(x, target, progress)
        feeds = read_feeds(x if self._read is None else self._read(x), self.inputs)
        count = next(iter(feeds.values())).shape[0]
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}")
        array, weights = read_target(
            target, count, self.output_shape, self._settings.class_axis, self.classes, DTYPES[self._dtype].numpy()
        )
        compiled = self._compile(weights)
        feeds[compiled.target_input] = array
        if self._verify and not self._verified:
            # A static batch is filled up by beginning again.
            rows = np.arange(compiled.static_batch or min(count, SAMPLES)) % count
            self._verify_on({name: a[rows] for name, a in feeds.items() if name != compiled.target_input})
        own = [str(value.name) for value in self._canonical.graph.outputs]
        names = list(dict.fromkeys([*own, compiled.explained_output, *compiled.relevance.values(), *compiled.reported.values()]))
        names += [name for name in (compiled.bias_output, compiled.ledger_output) if name is not None]
        names += compiled.requirements
        axis = {} if compiled.ledger_output is None else {compiled.ledger_output: 2}
        values = dict(
            zip(
                names,
                run_batches(
                    self._session(weights),
                    names,
                    feeds,
                    batch_size=batch_size,
                    static_batch=compiled.static_batch,
                    progress=progress,
                    batch_axis=axis,
                    sparse={key for name, key in compiled.relevance.items() if issparse(feeds.get(name))},
                ),
                strict=True,
            )
        )
        explanation = self._explanation(compiled, values, feeds, array, weights, own)
        if self.reader is None:
            return explanation
        return replace(explanation, texts=self.reader.texts(x), reader=self.reader)

    def predict(self, x: Any, *, batch_size: int = 32, progress: bool | Callable[[int, int], None] = False) -> Any:
        """f(x), the explained function's output with a terminal softmax or sigmoid removed, without its relevance.

        Args:
            x: as for explaining; a list of arrays of different shapes is taken one by one.
            batch_size: samples per run; models with a static batch size keep theirs.
            progress: show a bar if there are several batches, or call ``progress(done, total)``.

        Returns:
            Array [N, ...], what ``Explanation.output`` holds.

        Raises:
            InputError: as for explaining.
        """
        if of_several_shapes(x):
            return np.concatenate([self.predict(np.asarray(sample)[None]) for sample in x])
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}")
        feeds = read_feeds(x if self._read is None else self._read(x), self.inputs)
        if self._forward is None:
            model = compile_forward(self._canonical, self._settings)
            self._forward = open_session(model, self._dtype, self._providers), str(model.graph.outputs[0].name)
        session, name = self._forward
        (values,) = run_batches(
            session,
            [name],
            feeds,
            batch_size=batch_size,
            static_batch=self._compiled[False].static_batch,
            progress=progress,
            batch_axis={},
        )
        return values

    def with_composite(
        self, composite: str | Composite | Rule, *, ledger: bool = False, model: ir.Model | None = None
    ) -> Explainer:
        """The same model under another composite, all other settings as they are.

        Args:
            composite: as for ``graphlrp.load``.
            ledger: keep the ledger.
            model: another canonical model in place of this one, such as ``canonical`` with other weights.

        Raises:
            RuleError: unknown composite, or one that does not fit.
        """
        return Explainer(
            Source(self.canonical if model is None else model, read=self._read),
            replace(self._settings, composite=_checked(composite), ledger=ledger),
            dtype=self._dtype,
            providers=self._providers,
            plugins=self._plugins,
            strict=False,
            verify=False,
        )

    def save(self, path: str | os.PathLike[str], *, target: str = "index", explanation: Explanation | None = None) -> None:
        """Write the explainer as one ONNX file that plain ONNX Runtime runs.

        Its inputs are the model's and ``target``: int64 [N], -1 for the arg max (``target="weights"``: class weights shaped like
        the explained output). Its outputs are the model's and ``relevance`` (``relevance/<input>`` if several are explained).
        Weights over 1.8 GB go to a file beside it. Written atomically: an existing file is replaced as a whole or not at all.

        The model's nodes carry their rule as metadata, ``graphlrp.rule``, which Netron shows. With an ``explanation`` made with
        ``ledger=True`` they also carry ``graphlrp.relevance_in``, ``graphlrp.relevance_out`` and ``graphlrp.absorbed``, the mean
        of its samples.

        Raises:
            InputError: ``target`` is neither ``"index"`` nor ``"weights"``; an explanation without a ledger or of another plan.
        """
        if target not in ("index", "weights"):
            raise InputError(f"save: target must be 'index' or 'weights', not {target!r}")
        ledger = None if explanation is None else self.plan.ledger_of(explanation)
        compiled = compile_explainer(
            self._canonical, self._settings, self._plugins, self._notes, weights=target == "weights", standalone=True
        )
        if ledger is not None:
            _note_relevance(compiled.model, ledger)
        write_model(compiled.model, path)

    def verify(self, x: Any) -> float:
        """Compare the canonical model with the original on data.

        Returns:
            The largest difference of any output, relative to the largest magnitude of that output.

        Raises:
            ModelError: they differ by more than rounding can explain; the pass that is to blame is named if one can be found.
        """
        return self._verify_on(read_feeds(x if self._read is None else self._read(x), self.inputs))

    # How it does it

    def _one_by_one(self, x: Sequence[Any], target: Any, progress: bool | Callable[[int, int], None]) -> Explanation:
        """Samples of different shapes, each in a batch of its own."""
        targets = [target] * len(x) if target is None or isinstance(target, str) or np.ndim(target) == 0 else list(target)
        if len(targets) != len(x):
            raise InputError(f"{len(targets)} targets for {len(x)} samples; give one index, or one per sample")
        bar = tqdm(total=len(x), unit="sample", leave=False) if progress is True else None
        parts = []
        for number, (sample, own) in enumerate(zip(x, targets, strict=True)):
            weights = own is not None and np.ndim(own) > 0
            parts.append(self(np.asarray(sample)[None], np.asarray(own)[None] if weights else own))
            if bar is not None:
                bar.update()
            elif callable(progress):
                progress(number + 1, len(x))
        if bar is not None:
            bar.close()
        return Explanation.joined(parts)

    def _compile(self, weights: bool) -> Compiled:
        if weights not in self._compiled:
            self._compiled[weights] = compile_explainer(
                self._canonical, self._settings, self._plugins, self._notes, weights=weights
            )
        return self._compiled[weights]

    def _session(self, weights: bool) -> Session:
        if weights not in self._sessions:
            self._sessions[weights] = open_session(self._compile(weights).model, self._dtype, self._providers)
        return self._sessions[weights]

    def _explanation(
        self,
        compiled: Compiled,
        values: dict[str, Array],
        feeds: dict[str, Array],
        target: Array,
        weights: bool,
        own: list[str],
    ) -> Explanation:
        output = values[compiled.explained_output]
        if not weights and is_single(output.shape) and np.any(target >= 0):
            raise no_class_to_choose(self.classes)
        if not weights and output.ndim > 1 and np.any(target >= output.shape[self._settings.class_axis]):
            count = output.shape[self._settings.class_axis]
            raise InputError(f"class {target.max()} is out of range: the explained output has classes 0 to {count - 1}")
        if weights and target.shape != output.shape:
            raise InputError(f"class weights have shape {target.shape}; the explained output has {output.shape}")
        for key, otherwise in compiled.requirements.items():
            lacking = np.flatnonzero(~values[key])
            if len(lacking):
                listed = ", ".join(map(str, lacking[:10])) + (" ..." if len(lacking) > 10 else "")
                raise InputError(f"{otherwise} (samples {listed} of {len(values[key])})")
        relevance = {name: values[key] for name, key in compiled.relevance.items()}
        axis = self._settings.class_axis
        if not weights and output.ndim > 1 and np.any(target < 0):
            others = tuple(a for a in range(1, output.ndim) if a != axis % output.ndim)
            target = np.where(target < 0, output.sum(axis=others).argmax(axis=1), target)
        elif not weights:
            target = np.maximum(target, 0)
        start = self._initial_sum(output, target, weights, self.plan.policies["initial"])
        value = self._initial_sum(output, target, weights, "value")
        for name, array in relevance.items():
            self._check_finite(name, array, compiled.conserves, value, feeds)
        if compiled.bias_output is not None:
            relevance["bias"] = values[compiled.bias_output]
        if compiled.conserves:
            self._warn_of_growth(relevance, start)
        ledger, error = None, None
        if compiled.ledger_output is not None:
            records = values[compiled.ledger_output]
            ledger = Ledger(
                [
                    LedgerEntry(*names, *(records[index, k] for k in range(len(RECORDS))))
                    for index, names in enumerate(compiled.bookings)
                ]
            )
            inputs = [r for name, r in relevance.items() if not (name == "bias" and compiled.bias_output)]
            error = conservation_error(start, inputs, ledger) if len(ledger) else np.zeros(len(output))
            if self._strict:
                ledger.check(TOLERANCE[self._dtype])
        return Explanation(
            relevance if len(relevance) > 1 else next(iter(relevance.values())),
            output,
            target,
            {name: values[key] for name, key in compiled.reported.items()},
            ledger,
            error,
            {name: values[name] for name in own},
            {name: array for name, array in feeds.items() if name != compiled.target_input},
            self.features,
            self.classes,
            self.plan.policies["initial"],
            self.plan.layout,
            start=start,
        )

    def _check_finite(self, name: str, relevance: Any, conserves: bool, value: Array, feeds: Mapping[str, Any]) -> None:
        """Relevance that is NaN or infinite, or of such an f(x), is an error that says why and of which samples."""
        finite = np.isfinite(relevance.data if issparse(relevance) else relevance)
        explained = np.isfinite(value)
        if finite.all() and explained.all():
            return
        rows = relevance.tocoo().row[~finite] if issparse(relevance) else np.nonzero(~finite)[0]
        samples = np.unique(rows) if explained.all() else np.flatnonzero(~explained)
        listed = ", ".join(map(str, samples[:10])) + (" ..." if len(samples) > 10 else "")
        subject = f"the relevance of {name!r}" if explained.all() else "the explained f(x) itself"
        what = f"{subject} is not finite in samples {listed} of {relevance.shape[0]}"
        largest = max(_largest(feed) for feed in feeds.values())
        if largest > HUGE[self._dtype]:
            raise InputError(
                f"{what}: the input has magnitudes up to {largest:.0e}, which overflow {self._dtype} on the way; scale it as the"
                " model expects"
            )
        if not explained.all():
            raise ModelError(f"{what}, so there is nothing to explain: leave these samples out, or look at the model")
        composite, bias = self.plan.composite.split(":")[0], self.plan.policies["bias"]
        why = (
            f" with bias={bias!r}: sums of messages close to zero blow it up layer by layer; use a larger epsilon, another rule"
            " or bias='absorb'"
            if conserves
            else ": a derivative on the way is infinite or undefined there; leave these samples out, or take another method"
        )
        raise RuleError(f"{what} under {composite!r}{why}")

    def _warn_of_growth(self, relevance: Mapping[str, Array], start: Array) -> None:
        """Finite relevance may still be so large that what it sums to is lost in rounding."""
        magnitude = np.sum([per_sample(abs(r.astype(np.float64))) for r in relevance.values()], axis=0)
        explained = start != 0
        ratio = float(np.max(magnitude[explained] / np.abs(start[explained]), initial=0.0))
        if ratio > GROWTH:
            warnings.warn(
                f"relevance grew to {ratio:.0e} times the explained value under {self.plan.composite.split(':')[0]!r} with"
                f" bias={self.plan.policies['bias']!r}: sums of messages close to zero blow it up; use a larger epsilon, another"
                " rule or bias='absorb', and look at the ledger",
                RelevanceWarning,
                stacklevel=4,
            )

    def _initial_sum(self, output: Array, target: Array, weights: bool, initial: str) -> Array:
        """Σ of the initial relevance per sample, computed from the output and not by the graph."""
        count = len(output)
        numbers = output.astype(np.float64)
        if weights:
            start = numbers * target if initial == "value" else target.astype(np.float64)
            return np.asarray(start.reshape(count, -1).sum(1))
        if output.ndim == 1:
            return numbers if initial == "value" else np.ones(count)
        by_class = np.moveaxis(numbers, self._settings.class_axis, 1).reshape(count, output.shape[self._settings.class_axis], -1)
        chosen = by_class[np.arange(count), target]
        if initial == "value":
            return np.asarray(chosen.sum(1))
        return np.full(count, float(chosen.shape[1])) if initial == "one" else np.zeros(count)

    def _verify_on(self, feeds: Mapping[str, Array]) -> float:
        """Original against canonical outputs; the difference goes into the plan."""
        self._verified = True
        difference, self.plan.verification = self._verification.compare(feeds)
        return difference


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
    composite = _checked(composite)
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


def _checked(composite: Any) -> str | Composite:
    """A composite by name or as it is; a rule is one for every mapping."""
    if isinstance(composite, Rule):
        return Composite([(every(), composite)], str(composite))
    if not isinstance(composite, (str, Composite)):
        raise InputError(f"composite must be a name, a Composite or a Rule, not {type(composite).__name__}")
    return composite


def _largest(values: Any) -> float:
    """The largest magnitude of an input, 0 if it has no numbers."""
    numbers = values.data if issparse(values) else np.asarray(values)
    return float(np.max(np.abs(numbers.astype(np.float64)), initial=0.0))


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


def _note_relevance(model: ir.Model, ledger: Ledger) -> None:
    """Write what the ledger says of the model's own nodes into their metadata, the mean of all samples."""
    entries = {entry.name: entry for entry in ledger}
    for node in model.graph:
        # Nodes of the relevance pass say which node they belong to.
        entry = None if "graphlrp.node" in node.metadata_props else entries.get(node.name or "")
        if entry is None:
            continue
        means = {kind: float(np.mean(getattr(entry, kind), dtype=np.float64)) for kind in ABSORBED}
        absorbed = ", ".join(f"{kind} {mean:.4g}" for kind, mean in means.items() if mean)
        node.metadata_props["graphlrp.relevance_in"] = f"{np.mean(entry.relevance_in, dtype=np.float64):.4g}"
        node.metadata_props["graphlrp.relevance_out"] = f"{np.mean(entry.relevance_out, dtype=np.float64):.4g}"
        node.metadata_props["graphlrp.absorbed"] = absorbed or "nothing"
