"""Perturbation of Fisher vectors: local descriptors are replaced in the order of their relevance (C.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from tqdm.auto import tqdm

from graphlrp.errors import InputError
from graphlrp.evaluation.perturber import ORDERS
from graphlrp.evaluation.regions import most_relevant_first
from graphlrp.evaluation.result import RANDOM_ORDER, Curve, PerturbationResult
from graphlrp.evaluation.subject import named_methods
from graphlrp.evaluation.watched import Score, Watched, choose_watched
from graphlrp.explainer import Explainer
from graphlrp.ir.source import Source
from graphlrp.loading import load
from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.bow.fisher import FisherVector
from graphlrp.plugins.estimators.composition import check
from graphlrp.plugins.estimators.decision import SEARCHES, decision, transformed
from graphlrp.plugins.estimators.frontend import convert_estimator

Array = npt.NDArray[Any]
Progress = bool | Callable[[int, int], None]

DEFAULT_STEPS = 100

_LOT, _SAMPLES, _ORDER = range(3)
"""Streams of random numbers: ties, replacements, random orders."""


def perturb_descriptors(
    pipeline: Any,
    images: Any,
    methods: Any,
    target: Any = None,
    *,
    order: str | Sequence[str] = ("morf", "random"),
    batch: int = 100,
    steps: int | None = None,
    repeats: int = 5,
    score: Score = None,
    seed: int = 0,
    batch_size: int = 32,
    progress: Progress = False,
    **options: Any,
) -> PerturbationResult:
    """Replace local descriptors in the order of their relevance, and watch f of the Fisher vector (C.1), (C.2).

        x^(0) = 1/|L| Σ_l Ψ(l),   x^(k) = x^(k-1) + 1/|L| Σ Ψ(l_λ) - 1/|L| Σ Ψ(l)

    where the sums go over the k-th ``batch`` of descriptors l and over as many l_λ that are drawn from the Gaussian mixture of
    the Fisher vector. f(Φ(x^(k))) is what the normalisation and the predictor behind make of it, in float64 by scikit-learn. A
    descriptor stays where it is, so under a spatial pyramid the above holds in each of its cells. All methods explain the same
    class, and in a repeat a descriptor is replaced by the same l_λ whatever the method and the order.

    Args:
        pipeline: a fitted Pipeline of local features, a ``FisherVector`` and a predictor.
        images: [N, H, W] or [N, H, W, 3], or a list of images of different sizes.
        methods: {name: method}, or one or several that have names of their own. A method is the name of a preset, a Composite or
            a Rule (compiled for the pipeline); an Explainer that reports the relevance of descriptors; a function (image, target)
            -> relevance R_l [L]; or the R_l of all images, an array [N, L] or a list of arrays.
        target: class whose f is explained and watched, one or one per image [N]; by default that with the highest f.
        order: ``"morf"``, most relevant first; ``"lerf"``, the same order backwards; ``"random"``, a fresh order for each image
            and repeat, which belongs to no method; or several of them. Among descriptors of equal relevance a lot decides that is
            drawn per image.
        batch: how many descriptors are replaced at once.
        steps: L; by default 100, or as many as the image with the fewest descriptors allows.
        repeats: how often it is all repeated with other samples of the mixture.
        score: as for ``graphlrp.evaluation.perturb``.
        seed: of everything that is random.
        batch_size: vectors x^(k) for which f is computed at once.
        progress: show a bar, or call ``progress(done, total)``; counted are vectors x^(k).
        **options: for ``graphlrp.load``.

    Returns:
        Curves of f(Φ(x^(k))), one for each method and order; ``aopc`` is (3.7).

    Raises:
        InputError: not fitted, no Fisher vector or several, arguments out of range, relevance that does not fit the descriptors.
        ModelError, RuleError: as ``graphlrp.load`` says.
    """
    orders = _read_orders(order)
    for name, number in (("batch", batch), ("repeats", repeats), ("batch_size", batch_size)):
        if not isinstance(number, (int, np.integer)) or number < 1:
            raise InputError(f"{name} must be a whole number from 1 on, not {number!r}")
    model = FisherModel.of(pipeline)
    images = images if isinstance(images, np.ndarray) else list(images)
    described = model.describe(images)
    fewest = min(len(image) for image in described)
    steps = _read_steps(steps, batch, fewest)
    outputs = model.decide(np.stack([model.vector(image).ravel() for image in described]))
    watched = choose_watched(score, target, outputs, model.classes)
    # Random orders ask no method.
    named = {} if orders == ("random",) else named_methods(methods)
    asked = [order for order in orders if order != "random"]
    curves = [(name, kind) for name in named for kind in asked] + [(RANDOM_ORDER, "random")] * ("random" in orders)
    explained = {name: model.explanations(name, method, described, options) for name, method in named.items()}
    run = _Run(model, watched, batch, steps, repeats, batch_size, seed)
    scores = np.empty((len(curves), len(described), repeats, steps + 1))
    bar = _Bar(progress, scores.size)
    for number, (image, picture) in enumerate(zip(described, images, strict=True)):
        relevance = {
            name: watched.signs[number] * _checked(name, explain(number, picture, watched.explained[number]), image)
            for name, explain in explained.items()
        }
        for place, (name, kind) in enumerate(curves):
            for repeat in range(repeats):
                rows = run.rows(kind, relevance.get(name), len(image), number, repeat)
                scores[place, number, repeat] = run.scores(image, rows, number, repeat, watched.classes[number])
                bar.update(steps + 1)
    bar.close()
    counts = sorted({len(image) for image in described})
    settings = {
        "regions": counts[0] if len(counts) == 1 else f"{counts[0]} to {counts[-1]}",
        "region": "local descriptors",
        "steps": steps,
        "regions_per_step": batch,
        "repeats": repeats,
        "seed": seed,
        "filling": f"samples of {len(model.encoding.weights_)} Gaussians",
        "score": watched.name,
        "orders": list(orders),
        "methods": list(named),
    }
    found = zip(curves, scores, strict=True)
    return PerturbationResult(tuple(Curve(name, kind, array) for (name, kind), array in found), watched.classes, settings)


def replacements(encoding: FisherVector, count: int, seed: int, number: int, repeat: int) -> Array:
    """l_λ for all ``count`` descriptors of an image, in a repeat, [L, D]."""
    return encoding.mixture.sample(count, _generator(seed, _SAMPLES, number, repeat))


@dataclass(frozen=True, eq=False)
class FisherModel:
    """A pipeline taken apart at its Fisher vector.

    Attributes:
        pipeline: as a whole.
        before: steps that make descriptors of images.
        encoding: the Fisher vector.
        behind: transformers and the predictor behind it, as a Pipeline.
    """

    pipeline: Any
    before: Sequence[Any]
    encoding: FisherVector
    behind: Pipeline

    @classmethod
    def of(cls, pipeline: Any) -> FisherModel:
        """Take a fitted pipeline apart.

        Raises:
            InputError: it is none, or its steps are others.
        """
        while isinstance(pipeline, SEARCHES) and hasattr(pipeline, "best_estimator_"):
            pipeline = pipeline.best_estimator_
        steps = list(_steps(pipeline)) if isinstance(pipeline, Pipeline) else []
        places = [place for place, step in enumerate(steps) if isinstance(step, FisherVector)]
        if len(places) != 1 or places[0] in (0, len(steps) - 1):
            names = ", ".join(type(step).__name__ for step in steps) or type(pipeline).__name__
            raise InputError(
                "descriptors are replaced in a fitted Pipeline of local features, one FisherVector and a predictor, such as"
                f" make_pipeline(DenseSIFT(), FisherVector(), LinearSVC()), not in {names}"
            )
        check(pipeline)
        (place,) = places
        behind = Pipeline([(f"step{k}", step) for k, step in enumerate(steps[place + 1 :])])
        return cls(pipeline, steps[:place], steps[place], behind)

    def describe(self, images: Any) -> list[Descriptors]:
        """Descriptors of all images, as the Fisher vector takes them."""
        for step in self.before:
            images = transformed(step, images)
        return list(images)

    def vector(self, image: Descriptors) -> Array:
        """x^(0), the vector without normalisation, cell by cell."""
        cells = self.encoding.cells_of(image)
        sums = self.encoding.sums(image.values.astype(np.float64), cells)
        return np.asarray(sums / np.maximum(self.encoding.counts(cells), 1)[:, None])

    def decide(self, vectors: Array) -> Array:
        """f(Φ(x)) of vectors without normalisation, [n] or [n, C]."""
        return decision(self.behind, self.encoding.normalised(vectors))

    def explanations(
        self, name: str, method: Any, described: Sequence[Descriptors], options: Mapping[str, Any]
    ) -> Callable[[int, Any, int], Any]:
        """What gives R_l for (number of the image, image, target)."""
        if isinstance(method, (np.ndarray, list, tuple)):
            if len(method) != len(described):
                raise InputError(f"method {name!r} is relevance of {len(method)} images; there are {len(described)}")
            return lambda number, image, target: method[number]
        if callable(method) and not isinstance(method, Explainer):
            return lambda number, image, target: method(image, target)
        source, value = self._source
        explainer = method if isinstance(method, Explainer) else load(source, method, report=value, **options)

        def explain(number: int, image: Any, target: int) -> Array:
            found = explainer(np.asarray(image)[None], None if target < 0 else int(target)).intermediate
            if value not in found:
                raise InputError(f"method {name!r} does not tell the relevance of descriptors: load it with report={value!r}")
            return np.asarray(found[value][0].sum(-1, dtype=np.float64))

        return explain

    @property
    def classes(self) -> list[str] | None:
        """Names of the predictor's classes, None if it has none."""
        classes = getattr(self.pipeline, "classes_", None)
        return None if classes is None else [str(name) for name in classes]

    @cached_property
    def _source(self) -> tuple[Source, str]:
        """The graph of the pipeline, and the name of the descriptors that the Fisher vector takes."""
        source = convert_estimator(self.pipeline)
        node = next(node for node in source.model.graph if node.op_type == "FisherVector")
        assert node.inputs[0] is not None
        return source, str(node.inputs[0].name)


@dataclass(frozen=True, eq=False)
class _Run:
    """One call of ``perturb_descriptors``."""

    model: FisherModel
    watched: Watched
    batch: int
    steps: int
    repeats: int
    batch_size: int
    seed: int

    def rows(self, kind: str, relevance: Array | None, count: int, number: int, repeat: int) -> Array:
        """Descriptors as they are replaced, [L, batch]."""
        if relevance is None:
            chosen = _generator(self.seed, _ORDER, number, repeat).permutation(count)
        else:
            lot = _generator(self.seed, _LOT, number).permutation(count)
            chosen = most_relevant_first(relevance, lot)[:: 1 if kind == "morf" else -1]
        return chosen[: self.steps * self.batch].reshape(self.steps, self.batch)

    def scores(self, image: Descriptors, rows: Array, number: int, repeat: int, target: int) -> Array:
        """f(Φ(x^(k))) for k = 0 ... L, [L + 1]."""
        encoding = self.model.encoding
        values, cells = image.values.astype(np.float64), encoding.cells_of(image)
        other = replacements(encoding, len(image), self.seed, number, repeat)
        counts = np.maximum(encoding.counts(cells), 1)[:, None]
        state = self.model.vector(image)
        found, states = [], [state.ravel()]
        for own in rows:
            state = state + (encoding.sums(other[own], cells[own]) - encoding.sums(values[own], cells[own])) / counts
            states.append(state.ravel())
            if len(states) == self.batch_size:
                found.append(self._watched(states, target))
                states = []
        if states:
            found.append(self._watched(states, target))
        return np.concatenate(found)

    def _watched(self, states: Sequence[Array], target: int) -> Array:
        return np.asarray(self.watched(self.model.decide(np.stack(states)), np.full(len(states), target)), np.float64)


class _Bar:
    """Progress as a bar, by a function, or none."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._bar = tqdm(total=total, unit="vector", leave=False) if progress is True else None
        self._call = progress if callable(progress) else None
        self._done, self._total = 0, total

    def update(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._call is not None:
            self._call(self._done, self._total)

    def close(self) -> None:
        """All are done."""
        if self._bar is not None:
            self._bar.close()


def _steps(pipeline: Pipeline) -> Iterator[Any]:
    """Steps of a pipeline and of those in it, one after the other."""
    for _, step in pipeline.steps:
        if isinstance(step, Pipeline):
            yield from _steps(step)
        elif step is not None and not (isinstance(step, str) and step == "passthrough"):
            yield step


def _generator(seed: int, stream: int, number: int, repeat: int = 0) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, number, repeat)))


def _read_orders(order: str | Sequence[str]) -> tuple[str, ...]:
    orders = (order,) if isinstance(order, str) else tuple(order)
    if not orders or len(set(orders)) < len(orders) or not set(orders) <= set(ORDERS):
        raise InputError(f"order={order!r}: choose one or several of {', '.join(ORDERS)}")
    return tuple(kind for kind in ORDERS if kind in orders)


def _read_steps(steps: int | None, batch: int, fewest: int) -> int:
    most = fewest // batch
    if most < 1:
        raise InputError(f"batch={batch}: an image has {fewest} descriptors only; give a smaller batch")
    if steps is None:
        return min(DEFAULT_STEPS, most)
    if not isinstance(steps, (int, np.integer)) or not 1 <= steps <= most:
        raise InputError(
            f"steps={steps!r}: an image has {fewest} descriptors, so there are 1 to {most} steps of {batch}; give fewer, or a"
            " smaller batch"
        )
    return int(steps)


def _checked(name: str, relevance: Any, image: Descriptors) -> Array:
    """R_l of an image, [L]."""
    array = np.asarray(relevance)
    if array.shape != (len(image),) or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise InputError(
            f"method {name!r}: R_l of an image are {len(image)} finite numbers, one per descriptor, not {array.dtype}"
            f" {list(array.shape)}"
        )
    return np.asarray(array, np.float64)
