"""Parameter randomisation: whether an explanation depends on what the model has learned (Adebayo et al. 2018).

A map that hardly changes when the weights of a layer are drawn anew does not show what that layer has learned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.stats import rankdata
from tqdm.auto import tqdm

from graphlrp.errors import InputError, ModelError
from graphlrp.evaluation.reading import check_samples
from graphlrp.evaluation.samples import Samples
from graphlrp.evaluation.subject import Subject, named_methods
from graphlrp.evaluation.tables import text_table
from graphlrp.evaluation.watched import choose_target, output_of_target
from graphlrp.explainer import Explainer
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

ORDERS = ("cascading", "independent")
LAYERS = ("convolution", "dense", "normalization")
"""Families of mappings whose parameters are learned numbers that may change places."""

SIMILARITIES = ("spearman", "spearman_absolute", "cosine")
"""Rank correlation of relevances, of their magnitudes, and the cosine between maps."""


@dataclass(frozen=True, eq=False)
class RandomisationResult:
    """How similar maps of models with randomised layers are to those of the model itself.

    Attributes:
        methods: their names, M.
        layers: names of the layers, from the output down, K.
        order: ``"cascading"`` or ``"independent"``.
        similarity: name of a measure -> [M, K, N]; NaN where one of the maps is constant.
        output_change: mean abs(f - f') over mean abs(f) of the explained class, [K]: how much the randomised model differs.
    """

    methods: tuple[str, ...]
    layers: tuple[str, ...]
    order: str
    similarity: Mapping[str, Array]
    output_change: Array

    def mean(self, measure: str = "spearman") -> Array:
        """Mean over the samples whose similarity is defined, [M, K]; NaN where none is.

        Raises:
            InputError: there is no such measure.
        """
        if measure not in self.similarity:
            raise InputError(f"unknown similarity {measure!r}; there are {', '.join(self.similarity)}")
        values = self.similarity[measure]
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(known, values, 0.0).sum(2) / known.sum(2))

    def table(self, measure: str = "spearman") -> str:
        """Mean similarity as text, a line for each layer."""
        values = self.mean(measure)
        up_to = "up to " if self.order == "cascading" else ""
        rows = [
            [up_to + layer, f"{self.output_change[k]:.2f}", *(f"{number:.2f}" for number in values[:, k])]
            for k, layer in enumerate(self.layers)
        ]
        return text_table(["randomised", "change of f", *self.methods], rows)

    def __str__(self) -> str:
        return self.table()

    def plot(self, measure: str = "spearman") -> Figure:
        """Mean similarity of every layer, from the output at the top down, as a matplotlib Figure.

        Raises:
            InputError: there is no such measure.
        """
        figure: Figure = self._page(measure).figure
        return figure

    def save_plot(self, path: str | os.PathLike[str], measure: str = "spearman", *, dpi: float = 150) -> Path:
        """Write ``plot`` as PNG, SVG or PDF, as the suffix says, and return the path.

        Raises:
            InputError: another suffix, or there is no such measure.
        """
        from graphlrp.evaluation.drawing import write_page

        return write_page(self._page(measure), path, dpi)

    def _page(self, measure: str) -> Any:
        from graphlrp.evaluation.drawing import Line, draw_descent

        # A line begins where nothing is randomised: there every map is similar to itself.
        values = np.concatenate([np.ones((len(self.methods), 1)), self.mean(measure)], axis=1)
        lines = [Line(name, np.arange(values.shape[1]), row) for name, row in zip(self.methods, values, strict=True)]
        title = "randomised from the output down" if self.order == "cascading" else "randomised, one layer at a time"
        across = f"similarity to the original ({measure.replace('_', ', ')})"
        return draw_descent(title, ("none", *self.layers), lines, across=across)


def randomise_parameters(
    model: Any,
    x: Any,
    methods: Any,
    target: Any = None,
    *,
    order: str = "cascading",
    layers: int | Sequence[str] | None = None,
    layout: str | None = None,
    seed: int = 0,
    batch_size: int = 32,
    progress: bool | Callable[[int, int], None] = False,
    **options: Any,
) -> RandomisationResult:
    """Compare explanations with those of models whose layers are randomised, from the output down.

    Parameters of a layer are permuted: each of its tensors keeps its numbers and has them in another order. The class explained
    is always the one that the model itself predicts, or the one given. Maps are compared pixel by pixel, summed over channels; of
    texts and other sparse samples, term by term: those that a sample has, and those that have relevance in either map.

    Args:
        model: an Explainer, or what ``graphlrp.load`` takes.
        x: samples, as for ``perturb``.
        methods: {name: method}, or one or several; names of presets, Composites or Rules, for they are compiled anew for each
            randomised model.
        target: class to explain, one or one per sample; by default that with the highest f(x).
        order: ``"cascading"``: the k uppermost layers are randomised; ``"independent"``: the k-th alone.
        layers: only so many layers from the top, or only those of these names; by default all linear mappings with parameters.
        layout: axes of x; by default as the model names them or the shape suggests.
        seed: of the permutations.
        batch_size: samples per run.
        progress: show a bar, or call ``progress(done, total)``; counted are layers.
        **options: for ``graphlrp.load``.

    Raises:
        InputError: methods that cannot be compiled, layers that are not there, arguments out of range.
        ModelError: the model has no linear mapping with parameters.
    """
    if order not in ORDERS:
        raise InputError(f"unknown order {order!r}; there are {', '.join(ORDERS)}")
    composites = named_methods(methods)
    for name, method in composites.items():
        if not isinstance(method, (str, Composite, Rule)):
            raise InputError(
                f"method {name!r} cannot be compiled for randomised models: give a preset's name, a Composite or a Rule"
            )
    count = check_samples(x)
    subject = Subject(model, options, batch_size)
    if subject.function is not None:
        raise InputError("a function has no parameters that could be randomised: give the model")
    compiled = {name: subject.compile(method) for name, method in composites.items()}
    samples = subject.samples(x, layout)
    taken = samples.taken(slice(0, count))
    outputs = subject.predict(taken)
    targets = choose_target(target, outputs)
    first = next(iter(compiled.values()))
    parameters = _chosen_layers(layers_with_parameters(first), layers)

    def relevance(explainer: Explainer) -> Any:
        return explainer(taken, targets if np.any(targets >= 0) else None, batch_size=batch_size).relevance

    original = {name: relevance(explainer) for name, explainer in compiled.items()}

    base = first.canonical
    similarity = {measure: np.empty((len(compiled), len(parameters), count)) for measure in SIMILARITIES}
    change = np.empty(len(parameters))
    bar = tqdm(total=len(parameters), unit="layer", leave=False) if progress is True else None
    for index, layer in enumerate(parameters):
        chosen = list(parameters)[: index + 1] if order == "cascading" else [layer]
        randomised = _permuted(base, {name: parameters[name] for name in chosen}, seed)
        for row, (name, explainer) in enumerate(compiled.items()):
            other = explainer.with_composite(composites[name], model=randomised)
            if row == 0:
                change[index] = _change(outputs, Subject(other, {}, batch_size).predict(taken), targets)
            for measure, values in _similarities(samples, original[name], relevance(other)).items():
                similarity[measure][row, index] = values
        if bar is not None:
            bar.update()
        elif callable(progress):
            progress(index + 1, len(parameters))
    if bar is not None:
        bar.close()
    return RandomisationResult(tuple(compiled), tuple(parameters), order, similarity, change)


def layers_with_parameters(explainer: Explainer) -> dict[str, list[str]]:
    """Linear mappings that relevance passes, from the output down: name of the node -> names of its parameters.

    Raises:
        ModelError: there are none.
    """
    model = explainer.canonical
    linear = {row.node for row in explainer.plan.rows if row.family in LAYERS}
    found: dict[str, list[str]] = {}
    for node in model.graph:
        if node.name not in linear:
            continue
        names = [str(value.name) for value in node.inputs if value is not None and _is_parameter(value)]
        if names:
            found[str(node.name)] = names
    if not found:
        raise ModelError("the model has no linear mapping with parameters on the way of relevance, so nothing can be randomised")
    return dict(reversed(found.items()))


def _is_parameter(value: ir.Value) -> bool:
    tensor = value.const_value
    return tensor is not None and tensor.dtype.is_floating_point() and tensor.size > 1


def _chosen_layers(found: dict[str, list[str]], layers: int | Sequence[str] | None) -> dict[str, list[str]]:
    if layers is None:
        return found
    if isinstance(layers, (int, np.integer)):
        if not 1 <= layers <= len(found):
            raise InputError(f"layers={layers}: the model has {len(found)} layers with parameters")
        return dict(list(found.items())[:layers])
    wanted = [layers] if isinstance(layers, str) else list(layers)
    unknown = [name for name in wanted if name not in found]
    if unknown or not wanted:
        raise InputError(f"no layer(s) with parameters named {', '.join(unknown)}; from the top there are {', '.join(found)}")
    return {name: parameters for name, parameters in found.items() if name in wanted}


def _permuted(model: ir.Model, layers: Mapping[str, Sequence[str]], seed: int) -> ir.Model:
    """A copy of a model with the parameters of some layers permuted; each tensor always in the same way."""
    copy = model.clone()
    for name in dict.fromkeys(name for names in layers.values() for name in names):
        value = copy.graph.initializers[name]
        tensor = value.const_value
        assert tensor is not None
        array = tensor.numpy()
        digits = np.frombuffer(name.encode(), np.uint8).tolist()
        generator = np.random.default_rng([seed, *digits])
        value.const_value = ir.tensor(generator.permutation(array.ravel()).reshape(array.shape), name=name)
    return copy


def _similarities(samples: Samples, first: Any, second: Any) -> dict[str, Array]:
    """Of each sample, [N]; NaN where one of the maps is constant."""
    found: dict[str, list[Array]] = {measure: [] for measure in SIMILARITIES}
    for one, other in samples.compared(first, second):
        found["spearman"].append(_rank_correlation(one, other))
        found["spearman_absolute"].append(_rank_correlation(np.abs(one), np.abs(other)))
        found["cosine"].append(_cosine(one, other))
    return {measure: np.concatenate(values) for measure, values in found.items()}


def _rank_correlation(first: Array, second: Array) -> Array:
    if not first.shape[1]:
        return np.full(len(first), np.nan)
    return _correlation(rankdata(first, axis=1), rankdata(second, axis=1))


def _correlation(first: Array, second: Array) -> Array:
    return _cosine(first - first.mean(1, keepdims=True), second - second.mean(1, keepdims=True))


def _cosine(first: Array, second: Array) -> Array:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(norms > 0, (first * second).sum(1) / np.where(norms > 0, norms, 1.0), np.nan))


def _change(outputs: Array, others: Array, targets: Array) -> float:
    before, after = output_of_target(outputs, targets), output_of_target(others, targets)
    return float(np.abs(after - before).mean() / max(float(np.abs(before).mean()), 1e-30))
