"""What is evaluated: a model's function f, and the methods that explain it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from graphlrp.errors import InputError
from graphlrp.evaluation.batches import of_one_shape
from graphlrp.evaluation.reading import read_samples
from graphlrp.evaluation.samples import Samples
from graphlrp.evaluation.values import count_of, fingerprint, read_values
from graphlrp.explainer import Explainer
from graphlrp.ir.axes import layout_of
from graphlrp.loading import load
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite

Array = npt.NDArray[Any]
Explain = Callable[[Any, Any], Any]
"""(samples [n, ...], their targets [n]) -> relevance, or an explanation."""


@dataclass(frozen=True)
class Method:
    """Something that gives relevance.

    Attributes:
        name: what it is called.
        explain: what computes relevance; None if it was given.
        given: the relevance of all samples, if it was given: an array, csr, or a list of arrays.
        identity: what tells this method from another one of the same name, as far as that can be written down.
    """

    name: str
    explain: Explain | None
    given: Any
    identity: str

    def relevance(self, samples: Samples, target: Array, rows: slice) -> Sequence[Array]:
        """Relevance of the places of some samples for their targets, float64 [*places] of each."""
        name = f"the relevance of {self.name!r}"
        if self.given is not None:
            return samples.relevance(self.given[rows], name, rows)
        assert self.explain is not None
        result = self.explain(samples.taken(rows), target[rows])
        relevance = getattr(result, "relevance", result)
        if isinstance(relevance, Mapping):
            raise InputError(f"method {self.name!r} gives several relevances; one array shaped like the input is needed")
        return samples.relevance(relevance, name, rows)


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
        values = read_values(method)
        if values is None:
            raise InputError(
                f"method {name!r}: give a preset's name, a Composite, an Explainer, a function (x, target) -> relevance, or an"
                f" array of relevances, not {type(method).__name__}"
            )
        if count_of(values) != count:
            raise InputError(f"method {name!r} is relevance of {count_of(values)} samples; there are {count}")
        return Method(name, None, values, f"relevances {fingerprint(values)}")

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

    def samples(self, x: Any, axes: str | None) -> Samples:
        """The samples in the type that the model takes; their axes are those given, named by the model, or of such a shape.

        Texts become counts of their terms.
        """
        if self.function is not None:
            return read_samples(x, axes)
        explainer = self._loaded()
        (value,) = explainer.inputs.values()
        dtype = None if value.dtype is None else np.dtype(value.dtype.numpy())
        return read_samples(x, axes, named=layout_of(value), dtype=dtype, reader=explainer.reader)

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, None if the model does not tell."""
        return None if self.function is not None else self._loaded().classes

    def predict(self, x: Any) -> Array:
        """f(x), [n] or [n, C, ...], whichever axis counts classes in the model."""
        if self.function is None:
            explainer = self._loaded()
            blocks = [explainer.predict(block, batch_size=self.batch_size) for block in of_one_shape(x)]
            outputs = np.concatenate(blocks)
            return np.moveaxis(outputs, explainer.settings.class_axis, 1) if outputs.ndim > 2 else outputs
        count = count_of(x)
        parts = [np.asarray(self.function(x[i : i + self.batch_size])) for i in range(0, count, self.batch_size)]
        result = np.concatenate(parts)
        if result.ndim == 0 or len(result) != count:
            raise InputError(f"the function gives outputs of shape {list(result.shape)} for {count} samples")
        return result

    def _loaded(self) -> Explainer:
        if self.explainer is None:
            self.compile("auto")
        assert self.explainer is not None
        return self.explainer

    def _of_explainer(self, name: str, explainer: Explainer) -> Method:
        plan = explainer.plan
        policies = ", ".join(f"{key}={value}" for key, value in sorted(plan.policies.items()))

        def explain(x: Any, target: Array) -> Any:
            # One number per sample has no class to choose.
            return explainer(x, target if np.any(target >= 0) else None, batch_size=self.batch_size)

        return Method(name, explain, None, f"{plan.composite}; {policies}")


def named_methods(methods: Any) -> dict[str, Any]:
    """Methods by name; those of a sequence, and a single one, are called after themselves.

    Raises:
        InputError: none, the same name twice, or one without a name.
    """
    if isinstance(methods, Mapping):
        named = [(str(name), method) for name, method in methods.items()]
    else:
        single = isinstance(methods, (str, Composite, Rule, Explainer, np.ndarray)) or issparse(methods) or callable(methods)
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
