"""``Explainer``: a compiled model; calling it makes an ``Explanation``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.sparse import issparse
from tqdm.auto import tqdm

from graphlrp.choices import checked_composite
from graphlrp.compiler import RECORDS, Compiled, Settings, compile_explainer, compile_forward
from graphlrp.errors import InputError, ModelError, RelevanceWarning, RuleError
from graphlrp.explanation import Explanation, of_several_shapes
from graphlrp.feeds import read_feeds
from graphlrp.ir.canonical import PassNote, all_passes, canonicalise
from graphlrp.ir.emitter import ABSORBED
from graphlrp.ir.source import CLASSES, FEATURES, Source, names_in
from graphlrp.ir.writing import write_model
from graphlrp.ledger import Ledger, LedgerEntry, conservation_error, per_sample
from graphlrp.plan import Plan
from graphlrp.plugins.estimators.text import TextReader
from graphlrp.plugins.manager import Plugins
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite
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
            replace(self._settings, composite=checked_composite(composite), ledger=ledger),
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


def _largest(values: Any) -> float:
    """The largest magnitude of an input, 0 if it has no numbers."""
    numbers = values.data if issparse(values) else np.asarray(values)
    return float(np.max(np.abs(numbers.astype(np.float64)), initial=0.0))


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
