"""Region perturbation: how fast f(x) falls when what an explanation calls relevant is replaced (3.6), (3.7)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from graphlrp.errors import InputError
from graphlrp.evaluation.perturber import NOTHING, ORDERS, Path, Perturber
from graphlrp.evaluation.reading import check_samples, read_samples
from graphlrp.evaluation.result import RANDOM_ORDER, Curve, PerturbationResult
from graphlrp.evaluation.samples import Samples
from graphlrp.evaluation.storage import Scores
from graphlrp.evaluation.subject import Method, Subject, named_methods
from graphlrp.evaluation.values import read_values
from graphlrp.evaluation.watched import Score, Watched, choose_watched

Array = npt.NDArray[Any]
Progress = bool | Callable[[int, int], None]

BATCHES_PER_CHUNK = 8
"""Samples that are explained and perturbed together give about this many batches, if one sample gives less."""

_CLEAN = -1
"""Place of the score of the sample itself, which no batch has to compute."""


def perturb(
    model: Any,
    x: Any,
    methods: Any,
    target: Any = None,
    *,
    order: str | Sequence[str] = ("morf", "random"),
    region: Any = None,
    border: str = "leave",
    steps: int | None = None,
    regions_per_step: int = 1,
    filling: Any = None,
    repeats: int = 10,
    score: Score = None,
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

    Of texts and other sparse samples the regions are the terms (features) that a sample has, and they are deleted: a term with
    all its occurrences. A sample whose regions are used up stays as it is from there on, so f(x^(k)) is f without any term; of a
    sample that has none it is f(x) for all k. Absent features are no regions, even if they have relevance.

    Args:
        model: an Explainer; what ``graphlrp.load`` takes; or a function, inputs [n, ...] -> outputs [n] or [n, C].
        x: samples, as the model takes them: an array [N, ...]; a sparse matrix [N, V]; texts, whose terms the model counts; or a
            list of arrays that differ in shape, such as pictures, each of which has a grid of its own. Functions are given
            counts (csr) of texts, and lists where shapes differ.
        methods: {name: method}, or one or several that have names of their own. A method is the name of a preset, a Composite or
            a Rule (compiled for the model), an Explainer, a function (x [n, ...], target [n]) -> relevance, or an array of
            relevances (of sparse samples also csr, of a list a list).
        target: class whose f is explained and watched, one or one per sample [N]; by default that with the highest f(x). Where
            one number decides between two classes, 0 or 1; by default what is decided.
        order: ``"morf"``, most relevant first; ``"lerf"``, the same order backwards; ``"random"``, a fresh order for each sample
            and repeat, which belongs to no method; or several of them. Among regions of equal relevance a lot decides that is
            drawn per sample, the same for all methods: a map without any relevance is a random order.
        region: size of the windows in pixels, one number or one per axis; by default 9 for pictures and 1 for all else (features,
            points in time). Or a whole number for every pixel, those of the same number forming a region, if all samples have
            one shape. None for sparse samples.
        border: ``"leave"``: the grid has whole windows only and lies in the middle; pixels at the border that fill no window are
            never replaced. ``"include"``: they form incomplete regions.
        steps: L; by default 100, or all regions if there are fewer: of pictures that differ in size, those of the smallest, of
            sparse samples those of the longest.
        regions_per_step: how many regions are replaced at once.
        filling: what regions are replaced with: ``"uniform"`` (noise between the smallest and the largest value of the samples,
            per channel, or per feature of a table [N, D]), ``"mean"`` (of the sample, per channel), ``"data-mean"`` (of all
            samples; per feature of a table), ``"blur"``, ``"flip"``, a number or one per channel or feature, a function (sample,
            generator) -> replacement of the whole sample; or one with parameters: ``Uniform(low, high)``, ``Constant(value)``,
            ``Mean(of)``, ``Blur(sigma)``, ``Flip(low, high)``. By default ``"uniform"``; sparse samples know nothing but
            deletion.
        repeats: how often what is random is repeated. An order by relevance with a filling that is not random is run once.
        score: what is watched: ``"output"``, f of the class, with a terminal softmax removed; ``"probability"``, the softmax of f
            over the classes; ``"decision"``, of one number f(x) whose sign decides between two classes: f if it speaks for the
            second and -f for the first, and relevance is turned likewise, as it is for the probability then; or a function
            (outputs [n, ...], targets [n]) -> [n]. By default the decision if the model names two classes and has one output,
            else the output.
        layout: axes of a batch such as ``"NHWC"``, the same for all samples; by default as the model names them or the shape
            suggests.
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
    count = check_samples(x)
    subject = Subject(model, options, batch_size)
    # Random orders ask no method.
    named = {} if orders == ("random",) else named_methods(methods)
    compiled = [subject.method(name, method, count) for name, method in named.items()]
    samples = subject.samples(x, layout)
    perturber = Perturber.of(
        samples,
        region=region,
        border=border,
        filling=filling,
        steps=steps,
        regions_per_step=regions_per_step,
        repeats=repeats,
        seed=seed,
    )
    outputs = subject.predict(samples.taken(slice(0, count)))
    watched = choose_watched(score, target, outputs, subject.classes)
    clean = watched(outputs, watched.classes)
    settings = {
        **perturber.settings(),
        "border": border,
        "score": watched.name,
        "orders": list(orders),
        "methods": {method.name: method.identity for method in compiled},
        "samples": samples.fingerprint(),
    }
    run = _Run(subject, perturber, compiled, orders, watched, clean)
    scores = Scores(resume, run.curves, perturber.steps, settings, watched.classes, clean)
    run.execute(scores, progress)
    curves = (Curve(name, kind, array) for (name, kind, _), array in zip(run.curves, scores.arrays, strict=True))
    return PerturbationResult(tuple(curves), watched.classes, settings)


def perturbed(
    x: Any,
    relevance: Any,
    steps: Sequence[int],
    *,
    order: str = "morf",
    region: Any = None,
    border: str = "leave",
    regions_per_step: int = 1,
    filling: Any = None,
    layout: str | None = None,
    seed: int = 0,
) -> Any:
    """x^(k) themselves, as ``perturb`` makes them in its first repeat, to look at.

    Args:
        x: samples, an array [N, ...], a sparse matrix [N, V], or a list of arrays that differ in shape; of texts their counts,
            ``explainer.reader(texts)``.
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
        [N, len(steps), ...], of the type of x; of a list, [len(steps), ...] of each sample in a list; of a sparse matrix, a
        list of csr [N, V], one for each step.

    Raises:
        InputError: as ``perturb`` says.
    """
    (kind,) = _read_orders(order)
    samples = read_samples(x, layout)
    wanted = [int(step) for step in steps]
    perturber = Perturber.of(
        samples,
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
    values = read_values(relevance)
    maps = samples.relevance(relevance if values is None else values, "relevance", slice(0, len(samples)))
    found = []
    for number, own in enumerate(maps):
        path = perturber.path(kind, number, None if kind == "random" else perturber.forms[number].sums(own))
        along = perturber.along(path, number, perturber.replacements(number))
        states = [samples[number].ravel(), *(state[0].copy() for state in along)]
        found.append(np.stack([states[step] for step in wanted]))
    return samples.collected(found)


class _Run:
    """One call of ``perturb``."""

    def __init__(
        self,
        subject: Subject,
        perturber: Perturber,
        methods: Sequence[Method],
        orders: Sequence[str],
        watched: Watched,
        clean: Array,
    ) -> None:
        self.subject, self.perturber, self.methods, self.watched = subject, perturber, methods, watched
        self.samples, self.clean = perturber.samples, clean
        self.ordered = [order for order in orders if order != "random"]
        self.curves = [(method.name, order, perturber.repeats_of(order)) for method in methods for order in self.ordered]
        if "random" in orders:
            self.curves.append((RANDOM_ORDER, "random", perturber.repeats))
        self.inputs_per_sample = perturber.steps * sum(repeats for _, _, repeats in self.curves)

    def execute(self, scores: Scores, progress: Progress) -> None:
        """Do the samples that are not done, in chunks that do not depend on which these are."""
        total = len(self.samples) * self.inputs_per_sample
        bar = tqdm(total=total, unit="input", leave=False) if progress is True else None
        last = 0

        def report(done: int) -> None:
            nonlocal last
            if bar is not None:
                bar.update(done - last)
            elif callable(progress) and done > last:
                progress(done, total)
            last = done

        batch_size = self.subject.batch_size
        size = self.samples.together(max(1, BATCHES_PER_CHUNK * batch_size // self.inputs_per_sample), batch_size)
        for start in range(0, len(self.samples), size):
            rows = slice(start, min(start + size, len(self.samples)))
            before = start * self.inputs_per_sample
            if not scores.done[rows].all():
                scores.write(rows, self._chunk(rows, lambda done: report(before + done)))  # noqa: B023
            report(rows.stop * self.inputs_per_sample)
        if bar is not None:
            bar.close()

    def _chunk(self, rows: slice, report: Callable[[int], None]) -> list[Array]:
        """Scores of some samples, [n, repeats, L + 1] for every curve."""
        numbers = range(rows.start, rows.stop)
        sums = []
        for method in self.methods:
            maps = method.relevance(self.samples, self.watched.explained, rows)
            sides = zip(numbers, maps, self.watched.signs[rows], strict=True)
            sums.append([self.perturber.forms[number].sums(own) * sign for number, own, sign in sides])
        batch = _Batch(self.subject, self.watched, self.samples, report)
        places = [self._sample(number, number - rows.start, sums, batch) for number in numbers]
        found = batch.finish(self.clean.dtype)
        result = []
        for index, (_, _, repeats) in enumerate(self.curves):
            values = np.empty((len(places), repeats, self.perturber.steps + 1), self.clean.dtype)
            values[:, :, 0] = self.clean[rows, None]
            for row, own in enumerate(places):
                at = own[index]
                values[row, :, 1:] = self.clean[rows.start + row]
                values[row, :, 1:][at != _CLEAN] = found[at[at != _CLEAN]]
            result.append(values)
        return result

    def _sample(self, number: int, row: int, sums: Sequence[Sequence[Array]], batch: _Batch) -> list[Array]:
        """Put the perturbed inputs of a sample into batches; for every curve, where their scores will be, [repeats, L]."""
        replacements = self.perturber.replacements(number)
        seen: dict[tuple[int, int, int], int] = {NOTHING: _CLEAN}
        result = []
        for path in self._paths(number, row, sums):
            identities = self.perturber.identities(path, number)
            places = np.empty((path.repeats, self.perturber.steps), np.int64)
            for step, states in enumerate(self.perturber.along(path, number, replacements)):
                for repeat in range(path.repeats):
                    identity = identities[repeat][step]
                    if identity not in seen:
                        seen[identity] = batch.add(states[repeat], number, self.watched.classes[number])
                    else:
                        batch.passed += 1
                    places[repeat, step] = seen[identity]
            result.append(places)
        return result

    def _paths(self, number: int, row: int, sums: Sequence[Sequence[Array]]) -> list[Path]:
        paths = [self.perturber.path(order, number, own[row]) for own in sums for order in self.ordered]
        if len(paths) < len(self.curves):
            paths.append(self.perturber.path("random", number))
        return paths


class _Batch:
    """Perturbed inputs that wait for their scores; a full batch is run at once, so memory stays bounded.

    Attributes:
        passed: inputs that were asked for, those that are known already included.
    """

    def __init__(self, subject: Subject, watched: Watched, samples: Samples, report: Callable[[int], None]) -> None:
        self._subject, self._watched, self._report = subject, watched, report
        self._inputs = samples.batch(subject.batch_size)
        self._targets = np.empty(subject.batch_size, np.int64)
        self._filled = 0
        self._found: list[Array] = []
        self._count = 0
        self.passed = 0

    def add(self, flat: Array, number: int, target: int) -> int:
        """Add what became of a sample; gives the number of its score."""
        self._inputs.put(self._filled, number, flat)
        self._targets[self._filled] = target
        self._filled += 1
        self._count += 1
        self.passed += 1
        if self._filled == len(self._targets):
            self._evaluate()
        return self._count - 1

    def finish(self, dtype: np.dtype[Any]) -> Array:
        """All scores."""
        if self._filled:
            self._evaluate()
        return np.concatenate(self._found) if self._found else np.empty(0, dtype)

    def _evaluate(self) -> None:
        try:
            outputs = self._subject.predict(self._inputs.first(self._filled))
        except InputError as error:
            # It takes all samples as they are; so it is for what was replaced.
            raise InputError(
                f"the model refuses what perturbing makes of samples ({error}): take fewer steps, or another filling"
            ) from error
        self._found.append(self._watched(outputs, self._targets[: self._filled]))
        self._filled = 0
        self._report(self.passed)


def _read_orders(order: str | Sequence[str]) -> tuple[str, ...]:
    orders = (order,) if isinstance(order, str) else tuple(order)
    if not orders or len(set(orders)) < len(orders) or not set(orders) <= set(ORDERS):
        raise InputError(f"order={order!r}: choose one or several of {', '.join(ORDERS)}")
    return tuple(kind for kind in ORDERS if kind in orders)
