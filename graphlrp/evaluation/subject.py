"""What is evaluated: a model's function f, and the methods that explain it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax

from graphlrp.errors import InputError
from graphlrp.evaluation.layout import Layout
from graphlrp.explainer import Explainer, load
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite

Array = npt.NDArray[Any]
Explain = Callable[[Array, Any], Any]
"""(samples [n, ...], their targets [n]) -> relevance, or an explanation."""

SCORES = ("output", "probability")


@dataclass(frozen=True)
class Method:
    """Something that gives relevance.

    Attributes:
        name: what it is called.
        explain: what computes relevance; None if it was given.
        given: the relevance of all samples, if it was given.
        identity: what tells this method from another one of the same name, as far as that can be written down.
    """

    name: str
    explain: Explain | None
    given: Array | None
    identity: str

    def relevance(self, x: Array, target: Array, rows: slice, layout: Layout) -> Array:
        """Relevance of places of the samples ``x[rows]`` for their targets, float64 [n, *places]."""
        if self.given is not None:
            return layout.relevance_of_places(self.given[rows], f"the relevance of {self.name!r}")
        assert self.explain is not None
        result = self.explain(x[rows], target[rows])
        relevance = getattr(result, "relevance", result)
        if isinstance(relevance, (Mapping, list)):
            raise InputError(f"method {self.name!r} gives several relevances; one array shaped like the input is needed")
        places = layout.relevance_of_places(relevance, f"the relevance of {self.name!r}")
        if len(places) != rows.stop - rows.start:
            raise InputError(f"method {self.name!r} gives relevance of {len(places)} samples for {rows.stop - rows.start}")
        return places


class Subject:
    """A model and what explains it.

    Args:
        model: an Explainer; or what ``graphlrp.load`` takes; or a function, inputs [n, ...] -> outputs [n] or [n, C].
        options: for ``graphlrp.load``.
        batch_size: samples per run.

    Raises:
        InputError: options for something that is loaded or compiled already, a model with several inputs.
    """

    def __init__(self, model: Any, options: Mapping[str, Any], batch_size: int) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}")
        # A model of another library may be callable, too, but only what load cannot read is a function.
        function = callable(model) and not isinstance(model, Explainer) and not hasattr(model, "get_params")
        if options and (function or isinstance(model, Explainer)):
            raise InputError(f"{', '.join(options)}: options of graphlrp.load are for a model that is loaded here")
        self.function: Callable[[Array], Any] | None = model if function else None
        self.explainer: Explainer | None = model if isinstance(model, Explainer) else None
        self._source = None if function or self.explainer is not None else model
        self._options = dict(options)
        self.batch_size = batch_size
        if self.explainer is not None:
            _check_single_input(self.explainer)

    def method(self, name: str, method: Any, count: int) -> Method:
        """A method by its name, Composite, Rule, Explainer, function, or relevance of all ``count`` samples.

        Raises:
            InputError: it is none of these, or needs a model where there is only a function.
        """
        if isinstance(method, Explainer):
            return self._of_explainer(name, method)
        if isinstance(method, (str, Composite, Rule)):
            return self._of_explainer(name, self.compile(method))
        if callable(method):
            identity = f"function {getattr(method, '__qualname__', type(method).__name__)}"
            return Method(name, method, None, identity)
        array = np.asarray(method)
        if array.dtype.kind not in "fiub" or array.ndim < 2:
            raise InputError(
                f"method {name!r}: give a preset's name, a Composite, an Explainer, a function (x, target) -> relevance, or an"
                f" array of relevances, not {type(method).__name__}"
            )
        if len(array) != count:
            raise InputError(f"method {name!r} is relevance of {len(array)} samples; there are {count}")
        return Method(name, None, array, f"relevances {fingerprint(array)}")

    def compile(self, composite: str | Composite | Rule) -> Explainer:
        """The model with another composite.

        Raises:
            InputError: there is only a function.
        """
        if self.function is not None:
            raise InputError(f"{composite}: a function cannot be compiled; give the model, or relevances as arrays")
        if self.explainer is not None and self._source is None:
            return self.explainer.with_composite(composite)
        explainer = load(self._source, composite, **self._options)
        if self.explainer is None:
            _check_single_input(explainer)
            self.explainer = explainer
        return explainer

    def inputs(self, x: Array) -> Array:
        """The samples in the type that the model takes."""
        if self.function is not None:
            return np.ascontiguousarray(x)
        (value,) = self._loaded().inputs.values()
        wanted = x.dtype if value.dtype is None else np.dtype(value.dtype.numpy())
        # Any other change of type is left to the explainer, which refuses it.
        same_kind = wanted.kind == x.dtype.kind or {wanted.kind, x.dtype.kind} <= set("iu")
        return np.ascontiguousarray(x, wanted if same_kind else x.dtype)

    def layout(self, x: Array, axes: str | None) -> Layout:
        """The layout of the samples: as given, as the model names its axes, or as the shape suggests."""
        if axes is None and self.function is None:
            (value,) = self._loaded().inputs.values()
            names = [] if value.shape is None else [None if isinstance(size, int) else size.value for size in value.shape]
            if names[1:3] == ["H", "W"]:
                axes = {3: "NHW", 4: "NHWC"}.get(len(names))
        return Layout.of(x.shape, axes)

    def predict(self, x: Array) -> Array:
        """f(x), [n] or [n, C, ...], whichever axis counts classes in the model."""
        if self.function is None:
            outputs = np.asarray(self._loaded().predict(x, batch_size=self.batch_size))
            return np.moveaxis(outputs, self._loaded()._settings.class_axis, 1) if outputs.ndim > 2 else outputs
        parts = [np.asarray(self.function(x[i : i + self.batch_size])) for i in range(0, len(x), self.batch_size)]
        result = np.concatenate(parts)
        if result.ndim == 0 or len(result) != len(x):
            raise InputError(f"the function gives outputs of shape {list(result.shape)} for {len(x)} samples")
        return result

    def _loaded(self) -> Explainer:
        if self.explainer is None:
            self.compile("auto")
        assert self.explainer is not None
        return self.explainer

    def _of_explainer(self, name: str, explainer: Explainer) -> Method:
        plan = explainer.plan
        policies = ", ".join(f"{key}={value}" for key, value in sorted(plan.policies.items()))

        def explain(x: Array, target: Array) -> Any:
            # One number per sample has no class to choose.
            return explainer(x, target if np.any(target >= 0) else None, batch_size=self.batch_size)

        return Method(name, explain, None, f"{plan.composite}; {policies}")


def check_samples(x: Any) -> None:
    """Refuse what is no batch of samples.

    Raises:
        InputError: no array of numbers, or an empty one.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
        raise InputError(f"x must be an array of numbers [N, ...], not {_kind(x)}")
    if x.ndim < 2 or 0 in x.shape:
        raise InputError(f"x has shape {list(x.shape)}; it must be samples [N, ...], at least one")


def named_methods(methods: Any) -> dict[str, Any]:
    """Methods by name; those of a sequence, and a single one, are called after themselves.

    Raises:
        InputError: none, the same name twice, or one without a name.
    """
    if isinstance(methods, Mapping):
        named = [(str(name), method) for name, method in methods.items()]
    else:
        single = isinstance(methods, (str, Composite, Rule, Explainer, np.ndarray)) or callable(methods)
        named = [(_name_of(method), method) for method in ([methods] if single else methods)]
    names = [name for name, _ in named]
    twice = {name for name in names if names.count(name) > 1}
    if not named or twice:
        raise InputError(
            f"methods of the same name: {', '.join(sorted(twice))}; give them as {{name: method}}"
            if twice
            else "no method is given"
        )
    return dict(named)


def choose_target(target: Any, outputs: Array) -> Array:
    """Classes to explain, int64 [N]: those given, or the arg max of f(x); -1 where f(x) is one number and has no classes.

    Raises:
        InputError: no class index, or none in range.
    """
    count = len(outputs)
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        if target is not None:
            raise InputError("the output is one number per sample, which has no classes: leave target out")
        return np.full(count, -1, np.int64)
    if outputs.ndim > 2:
        outputs = outputs.reshape(*outputs.shape[:2], -1).sum(2)
    if target is None:
        return np.asarray(outputs.argmax(1), np.int64)
    array = np.asarray(target)
    if array.dtype.kind not in "iu" or array.ndim > 1 or (array.ndim == 1 and len(array) != count):
        raise InputError(f"target must be None, a class index, or one per sample [{count}], not {_kind(target)}")
    if np.any(array < 0) or np.any(array >= outputs.shape[1]):
        raise InputError(f"target {array.min()} ... {array.max()}: there are classes 0 to {outputs.shape[1] - 1}")
    return np.ascontiguousarray(np.broadcast_to(array, (count,)), np.int64)


def read_score(score: str | Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """What of the outputs [n, ...] is watched, given the targets [n]: [n].

    Raises:
        InputError: no such score.
    """
    if callable(score):
        return score
    if score not in SCORES:
        raise InputError(f"unknown score {score!r}; there are {', '.join(SCORES)}, and functions (outputs, targets) -> numbers")
    return output_of_target if score == "output" else probability_of_target


def output_of_target(outputs: Array, targets: Array) -> Array:
    """f_c(x); over axes behind that of classes it is summed, as the explanation is."""
    if outputs.ndim == 1 or targets[0] < 0:
        return outputs.reshape(len(outputs))
    chosen = outputs[np.arange(len(outputs)), targets]
    return np.asarray(chosen.reshape(len(outputs), -1).sum(1) if chosen.ndim > 1 else chosen)


def probability_of_target(outputs: Array, targets: Array) -> Array:
    """softmax(f)_c; of one output, its sigmoid."""
    if outputs.ndim == 1 or targets[0] < 0:
        return np.asarray(expit(outputs.reshape(len(outputs))))
    if outputs.ndim > 2:
        raise InputError("score='probability' needs outputs [N, C]; give a function of outputs and targets")
    return np.asarray(np.exp(log_softmax(outputs, axis=1))[np.arange(len(outputs)), targets])


def fingerprint(array: Array) -> str:
    """A few letters that tell an array from others."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _name_of(method: Any) -> str:
    if isinstance(method, str):
        return method
    if isinstance(method, Composite):
        return method.name
    if isinstance(method, Rule):
        return str(method)
    if isinstance(method, Explainer):
        return method.plan.composite.partition(":")[0].partition(" ")[0]
    name = getattr(method, "__name__", None)
    if name is None or isinstance(method, np.ndarray):
        raise InputError(f"a method of type {type(method).__name__} has no name: give methods as {{name: method}}")
    return str(name)


def _check_single_input(explainer: Explainer) -> None:
    if len(explainer.inputs) != 1:
        raise InputError(
            f"the model has several inputs ({', '.join(explainer.inputs)}); give a function of the one that is perturbed, and"
            " methods as functions or arrays"
        )


def _kind(value: Any) -> str:
    return f"an array of {value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
