"""Region perturbation: how fast f(x) falls when what an explanation calls relevant is replaced (3.6), (3.7)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from graphlrp.errors import InputError
from graphlrp.evaluation.layout import Layout
from graphlrp.evaluation.perturber import ORDERS, Path, Perturber
from graphlrp.evaluation.result import RANDOM_ORDER, Curve, PerturbationResult
from graphlrp.evaluation.storage import Scores
from graphlrp.evaluation.subject import Method, Subject, check_samples, choose_target, fingerprint, named_methods, read_score

Array = npt.NDArray[Any]
Progress = bool | Callable[[int, int], None]

BATCHES_PER_CHUNK = 8
"""Samples that are explained and perturbed together give about this many batches, if one sample gives less."""


def perturb(
    model: Any,
    x: Array,
    methods: Any,
    target: Any = None,
    *,
    order: str | Sequence[str] = ("morf", "random"),
    region: Any = None,
    border: str = "leave",
    steps: int | None = None,
    regions_per_step: int = 1,
    filling: Any = "uniform",
    repeats: int = 10,
    score: str | Callable[[Array, Array], Array] = "output",
    layout: str | None = None,
    seed: int = 0,
    batch_size: int = 32,
    progress: Progress = False,
    resume: str | os.PathLike[str] | None = None,
    **options: Any,
) -> PerturbationResult:
    """Replace regions in the order of their relevance and watch f(x) (thesis, 3.4.1).

    x^(0) = x, x^(k) = x^(k-1) with the k-th region replaced, for k = 1 ... L. Relevance of a region is its sum over pixels and
    channels. All methods explain the same class, and it is f of this class that is watched for all k. They are compared under
    the same perturbation: in a repeat, a region is replaced with the same values whatever the method, the order and the step.

    Args:
        model: an Explainer; what ``graphlrp.load`` takes; or a function, inputs [n, ...] -> outputs [n] or [n, C].
        x: samples [N, ...], as the model takes them.
        methods: {name: method}, or one or several that have names of their own. A method is the name of a preset, a Composite or
            a Rule (compiled for the model), an Explainer, a function (x [n, ...], target [n]) -> relevance, or an array of
            relevances.
        target: class whose f is explained and watched, one or one per sample [N]; by default that with the highest f(x).
        order: ``"morf"``, most relevant first; ``"lerf"``, the same order backwards; ``"random"``, a fresh order for each sample
            and repeat, which belongs to no method; or several of them. Among regions of equal relevance a lot decides that is
            drawn per sample, the same for all methods: a map without any relevance is a random order.
        region: size of the windows in pixels, one number or one per axis; by default 9 for pictures and 1 for all else (features,
            points in time). Or a whole number for every pixel, those of the same number forming a region.
        border: ``"leave"``: the grid has whole windows only and lies in the middle; pixels at the border that fill no window are
            never replaced. ``"include"``: they form incomplete regions.
        steps: L; by default 100, or all regions if there are fewer.
        regions_per_step: how many regions are replaced at once.
        filling: what regions are replaced with: ``"uniform"`` (noise between the smallest and the largest value of the samples,
            per channel), ``"mean"`` (of the sample, per channel), ``"data-mean"`` (of all samples), ``"blur"``, ``"flip"``, a
            number or one per channel, a function (sample, generator) -> replacement of the whole sample; or one with parameters:
            ``Uniform(low, high)``, ``Constant(value)``, ``Mean(of)``, ``Blur(sigma)``, ``Flip(low, high)``.
        repeats: how often what is random is repeated. An order by relevance with a filling that is not random is run once.
        score: what is watched: ``"output"``, f of the class, with a terminal softmax removed; ``"probability"``, the softmax of f
            over the classes; or a function (outputs [n, ...], targets [n]) -> [n].
        layout: axes of x such as ``"NHWC"``; by default as the model names them or the shape suggests.
        seed: of everything that is random.
        batch_size: perturbed inputs per run of the model.
        progress: show a bar, or call ``progress(done, total)``; counted are perturbed inputs.
        resume: HDF5 file that keeps the scores of each sample as soon as they are there. If it exists, only samples that it
            lacks are computed; the result is the same as without interruption.
        **options: for ``graphlrp.load``.

    Returns:
        Curves of f(x^(k)), one for each method and order.

    Raises:
        InputError: arguments out of range, relevance that does not fit x, settings that differ from those of the file.
        ModelError, UnsupportedOperatorError, RuleError: as ``graphlrp.load`` says.
    """
    orders = _read_orders(order)
    check_samples(x)
    subject = Subject(model, options, batch_size)
    # Random orders ask no method.
    named = {} if orders == ("random",) else named_methods(methods)
    compiled = [subject.method(name, method, len(x)) for name, method in named.items()]
    x = subject.inputs(x)
    axes = subject.layout(x, layout)
    perturber = Perturber.of(
        x,
        axes,
        region=region,
        border=border,
        filling=filling,
        steps=steps,
        regions_per_step=regions_per_step,
        repeats=repeats,
        seed=seed,
    )
    watch = read_score(score)
    outputs = subject.predict(x)
    targets = choose_target(target, outputs)
    clean = _scores(watch, outputs, targets)
    settings = {
        **perturber.settings(),
        "border": border,
        "score": score if isinstance(score, str) else getattr(score, "__qualname__", type(score).__name__),
        "orders": list(orders),
        "methods": {method.name: method.identity for method in compiled},
        "samples": fingerprint(x),
    }
    run = _Run(subject, perturber, compiled, orders, watch, x, targets, clean)
    scores = Scores(resume, run.curves, perturber.steps, settings, targets, clean)
    run.execute(scores, progress)
    curves = (Curve(name, kind, array) for (name, kind, _), array in zip(run.curves, scores.arrays, strict=True))
    return PerturbationResult(tuple(curves), targets, settings)


def perturbed(
    x: Array,
    relevance: Any,
    steps: Sequence[int],
    *,
    order: str = "morf",
    region: Any = None,
    border: str = "leave",
    regions_per_step: int = 1,
    filling: Any = "uniform",
    layout: str | None = None,
    seed: int = 0,
) -> Array:
    """x^(k) themselves, as ``perturb`` makes them in its first repeat, to look at.

    Args:
        x: samples [N, ...].
        relevance: shaped like x, or without its axis of channels.
        steps: which k.
        order: ``"morf"``, ``"lerf"`` or ``"random"``.
        region: as for ``perturb``, as are all that follow.
        border: what becomes of incomplete windows.
        regions_per_step: how many regions are replaced at once.
        filling: what they are replaced with.
        layout: axes of x.
        seed: of everything that is random.

    Returns:
        [N, len(steps), ...], of the type of x.

    Raises:
        InputError: as ``perturb`` says.
    """
    (kind,) = _read_orders(order)
    check_samples(x)
    axes = Layout.of(np.shape(x), layout)
    wanted = [int(step) for step in steps]
    perturber = Perturber.of(
        x,
        axes,
        region=region,
        border=border,
        filling=filling,
        steps=max([1, *wanted]),
        regions_per_step=regions_per_step,
        repeats=1,
        seed=seed,
    )
    if not wanted or min(wanted) < 0:
        raise InputError(f"steps={steps!r}: name at least one k, counted from 0")
    sums = perturber.regions.sums(axes.relevance_of_places(relevance))
    if len(sums) != len(x):
        raise InputError(f"relevance of {len(sums)} samples for {len(x)}")
    result = np.empty((len(x), len(wanted), *x.shape[1:]), x.dtype)
    for number, sample in enumerate(x):
        path = perturber.path(kind, number, None if kind == "random" else sums[number])
        states = [sample, *(state[0].copy() for state in perturber.along(path, sample, perturber.replacements(sample, number)))]
        for place, step in enumerate(wanted):
            result[number, place] = states[step].reshape(sample.shape)
    return result


class _Run:
    """One call of ``perturb``."""

    def __init__(
        self,
        subject: Subject,
        perturber: Perturber,
        methods: Sequence[Method],
        orders: Sequence[str],
        watch: Callable[[Array, Array], Array],
        x: Array,
        targets: Array,
        clean: Array,
    ) -> None:
        self.subject, self.perturber, self.methods, self.watch = subject, perturber, methods, watch
        self.x, self.targets, self.clean = x, targets, clean
        self.ordered = [order for order in orders if order != "random"]
        self.curves = [(method.name, order, perturber.repeats_of(order)) for method in methods for order in self.ordered]
        if "random" in orders:
            self.curves.append((RANDOM_ORDER, "random", perturber.repeats))
        self.inputs_per_sample = perturber.steps * sum(repeats for _, _, repeats in self.curves)

    def execute(self, scores: Scores, progress: Progress) -> None:
        """Do the samples that are not done, in chunks that do not depend on which these are."""
        total = len(self.x) * self.inputs_per_sample
        bar = tqdm(total=total, unit="input", leave=False) if progress is True else None
        last = 0

        def report(done: int) -> None:
            nonlocal last
            if bar is not None:
                bar.update(done - last)
            elif callable(progress) and done > last:
                progress(done, total)
            last = done

        size = max(1, BATCHES_PER_CHUNK * self.subject.batch_size // self.inputs_per_sample)
        for start in range(0, len(self.x), size):
            rows = slice(start, min(start + size, len(self.x)))
            before = start * self.inputs_per_sample
            if not scores.done[rows].all():
                scores.write(rows, self._chunk(rows, lambda done: report(before + done)))  # noqa: B023
            report(rows.stop * self.inputs_per_sample)
        if bar is not None:
            bar.close()

    def _chunk(self, rows: slice, report: Callable[[int], None]) -> list[Array]:
        """Scores of some samples, [n, repeats, L + 1] for every curve."""
        sums = [self.perturber.regions.sums(m.relevance(self.x, self.targets, rows, self.perturber.layout)) for m in self.methods]
        batch = _Batch(self.subject, self.watch, self.x, report)
        places = [self._sample(number, number - rows.start, sums, batch) for number in range(rows.start, rows.stop)]
        found = batch.finish()
        result = []
        for index, (_, _, repeats) in enumerate(self.curves):
            values = np.empty((len(places), repeats, self.perturber.steps + 1), self.clean.dtype)
            values[:, :, 0] = self.clean[rows, None]
            for row, own in enumerate(places):
                values[row, :, 1:] = found[own[index]]
            result.append(values)
        return result

    def _sample(self, number: int, row: int, sums: Sequence[Array], batch: _Batch) -> list[Array]:
        """Put the perturbed inputs of a sample into batches; for every curve, where their scores will be, [repeats, L]."""
        sample = self.x[number]
        replacements = self.perturber.replacements(sample, number)
        seen: dict[tuple[int, int, int], int] = {}
        result = []
        for path in self._paths(number, row, sums):
            identities = self.perturber.identities(path)
            places = np.empty((path.repeats, self.perturber.steps), np.int64)
            for step, states in enumerate(self.perturber.along(path, sample, replacements)):
                for repeat in range(path.repeats):
                    identity = identities[repeat][step]
                    if identity not in seen:
                        seen[identity] = batch.add(states[repeat], self.targets[number])
                    else:
                        batch.passed += 1
                    places[repeat, step] = seen[identity]
            result.append(places)
        return result

    def _paths(self, number: int, row: int, sums: Sequence[Array]) -> list[Path]:
        paths = [self.perturber.path(order, number, own[row]) for own in sums for order in self.ordered]
        if len(paths) < len(self.curves):
            paths.append(self.perturber.path("random", number))
        return paths


class _Batch:
    """Perturbed inputs that wait for their scores; a full batch is run at once, so memory stays bounded.

    Attributes:
        passed: inputs that were asked for, those that are known already included.
    """

    def __init__(
        self, subject: Subject, watch: Callable[[Array, Array], Array], like: Array, report: Callable[[int], None]
    ) -> None:
        self._subject, self._watch, self._report = subject, watch, report
        self._inputs = np.empty((subject.batch_size, *like.shape[1:]), like.dtype)
        self._rows = self._inputs.reshape(subject.batch_size, -1)
        self._targets = np.empty(subject.batch_size, np.int64)
        self._filled = 0
        self._found: list[Array] = []
        self._count = 0
        self.passed = 0

    def add(self, flat: Array, target: int) -> int:
        """Add an input; gives the number of its score."""
        self._rows[self._filled] = flat
        self._targets[self._filled] = target
        self._filled += 1
        self._count += 1
        self.passed += 1
        if self._filled == len(self._inputs):
            self._evaluate()
        return self._count - 1

    def finish(self) -> Array:
        """All scores."""
        if self._filled:
            self._evaluate()
        return np.concatenate(self._found)

    def _evaluate(self) -> None:
        outputs = self._subject.predict(self._inputs[: self._filled])
        self._found.append(_scores(self._watch, outputs, self._targets[: self._filled]))
        self._filled = 0
        self._report(self.passed)


def _scores(watch: Callable[[Array, Array], Array], outputs: Array, targets: Array) -> Array:
    values = np.asarray(watch(outputs, targets))
    if values.shape != (len(targets),) or not np.isfinite(values).all():
        raise InputError(f"the score must be {len(targets)} finite number(s), one per input, not of shape {list(values.shape)}")
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _read_orders(order: str | Sequence[str]) -> tuple[str, ...]:
    orders = (order,) if isinstance(order, str) else tuple(order)
    if not orders or len(set(orders)) < len(orders) or not set(orders) <= set(ORDERS):
        raise InputError(f"order={order!r}: choose one or several of {', '.join(ORDERS)}")
    return tuple(kind for kind in ORDERS if kind in orders)
