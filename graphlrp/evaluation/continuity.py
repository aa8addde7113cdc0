"""Continuity: whether inputs that hardly differ have explanations that hardly differ (Montavon et al. 2018)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import shift

from graphlrp.errors import InputError
from graphlrp.evaluation.arrays import ArraySamples
from graphlrp.evaluation.reading import check_samples
from graphlrp.evaluation.result import mean_interval
from graphlrp.evaluation.subject import Method, Subject, named_methods
from graphlrp.evaluation.tables import text_table, with_margin
from graphlrp.evaluation.watched import choose_target

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ContinuityResult:
    """How much explanations change where inputs hardly do.

    Attributes:
        methods: their names, M.
        ratio: max_{x'} ||R(x) - R(x')||₁ / ||x - x'||₂, [M, N].
        magnitude: ||R(x)||₁, [M, N].
    """

    methods: tuple[str, ...]
    ratio: Array
    magnitude: Array

    @property
    def relative(self) -> Array:
        """The ratio over ||R(x)||₁, by which methods whose relevances are of different size can be compared, [M, N].

        NaN where a sample has no relevance.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(self.magnitude > 0, self.ratio / self.magnitude, np.nan))

    def table(self) -> str:
        """Means over samples and their 95 % intervals (Student's t) as text, a line per method."""
        rows = []
        for name, ratio, relative in zip(self.methods, self.ratio, self.relative, strict=True):
            cells = (with_margin(float(v.mean()), *(float(end) for end in mean_interval(v))) for v in (ratio, relative))
            rows.append([name, *cells])
        return text_table(["method", "change of R per change of x", "the same, of ||R||"], rows)

    def __str__(self) -> str:
        return self.table()


def continuity(
    model: Any,
    x: Any,
    methods: Any,
    target: Any = None,
    *,
    noise: float | None = None,
    translation: int | None = None,
    samples: int = 10,
    layout: str | None = None,
    seed: int = 0,
    batch_size: int = 32,
    **options: Any,
) -> ContinuityResult:
    """The largest change of an explanation over that of the input, max_{x'} ||R(x) - R(x')||₁ / ||x - x'||₂.

    The inputs x' are either x with noise or x moved by some pixels. They are explained for the class that is explained for x,
    and are the same for all methods. An explanation of a picture that moves should move along; this measure takes that for a
    change, so translations compare methods with each other and say little by themselves.

    Args:
        model: an Explainer, what ``graphlrp.load`` takes, or a function.
        x: samples [N, ...], or a list of arrays that differ in shape; no sparse samples, for there is little between a term that
            occurs and one that does not.
        methods: as for ``perturb``, except arrays.
        target: class to explain, one or one per sample; by default that with the highest f(x).
        noise: standard deviation of Gaussian noise, in units of the input.
        translation: largest number of pixels to move by; all moves along the axes and diagonals are tried, edges are continued.
            Give either this or ``noise``; without both, noise of a hundredth of the standard deviation of x.
        samples: how many x' with noise.
        layout: axes of x; by default as the model names them or the shape suggests.
        seed: of the noise.
        batch_size: samples per run.
        **options: for ``graphlrp.load``.

    Raises:
        InputError: arguments out of range, methods given as arrays, texts or other sparse samples.
    """
    if noise is not None and translation is not None:
        raise InputError("give either noise or translation, not both")
    count = check_samples(x)
    subject = Subject(model, options, batch_size)
    compiled = [subject.method(name, method, count) for name, method in named_methods(methods).items()]
    arrays = [method.name for method in compiled if method.explain is None]
    if arrays:
        raise InputError(f"{', '.join(arrays)}: an array says nothing of other inputs; give a method that explains them")
    given = subject.samples(x, layout)
    if not isinstance(given, ArraySamples):
        raise InputError(
            "texts and other sparse samples do not change a little: a term is there or is not. Delete terms (perturb), or"
            " randomise the model (randomise_parameters)"
        )
    everything = slice(0, count)
    targets = choose_target(target, subject.predict(given.taken(everything)))
    if translation is None:
        size = given.deviation() / 100 if noise is None else float(noise)
        if not (np.isfinite(size) and size > 0 and samples >= 1):
            raise InputError(f"noise={noise} and samples={samples}: give a positive standard deviation and at least one sample")
        others = _noisy(given, size, samples, seed)
    else:
        others = _moved(given, translation)

    def maps(method: Method, of: ArraySamples) -> list[Array]:
        return [own.reshape(1, -1) for own in method.relevance(of, targets, everything)]

    original = [maps(method, given) for method in compiled]
    ratio = np.zeros((len(compiled), count))
    for other in others:
        distance = np.array([_distance(other[number], given[number]) for number in range(count)])
        if not (distance > 0).all():
            raise InputError(f"sample(s) {np.flatnonzero(distance == 0)[:10].tolist()} do not change: give more noise or others")
        for row, method in enumerate(compiled):
            pairs = zip(maps(method, other), original[row], strict=True)
            change = np.array([np.abs(after - before).sum(1)[0] for after, before in pairs])
            ratio[row] = np.maximum(ratio[row], change / distance)
    magnitude = np.array([[np.abs(own).sum(1)[0] for own in of_method] for of_method in original])
    return ContinuityResult(tuple(method.name for method in compiled), ratio, magnitude)


def _distance(other: Array, sample: Array) -> float:
    return float(np.linalg.norm((other.astype(np.float64) - sample).reshape(1, -1), axis=1)[0])


def _noisy(x: ArraySamples, size: float, samples: int, seed: int) -> Iterator[ArraySamples]:
    for repeat in range(samples):
        generator = np.random.default_rng([seed, repeat])
        every = (x[number] for number in range(len(x)))
        yield x.changed([(one + size * generator.standard_normal(one.shape)).astype(one.dtype) for one in every])


def _moved(x: ArraySamples, most: int) -> Iterator[ArraySamples]:
    axes = x.layout(0)
    if most < 1 or not axes.pictorial:
        raise InputError(f"translation={most} of {axes.axes}: pictures are moved by at least one pixel")
    for step, directions in itertools.product(range(1, most + 1), itertools.product((-1, 0, 1), repeat=2)):
        if any(directions):
            moves: dict[str, int] = dict(zip("HW", (step * direction for direction in directions), strict=True))
            by: Sequence[int] = [moves.get(letter, 0) for letter in axes.axes[1:]]
            yield x.changed([shift(x[number], by, order=0, mode="nearest") for number in range(len(x))])
