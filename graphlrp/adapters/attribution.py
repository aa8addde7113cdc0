"""Captum: an object whose ``attribute`` takes and returns tensors, where a method of Captum is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from graphlrp.adapters.tensors import is_tensor, like, to_array
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.ledger import per_sample
from graphlrp.loading import load
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite

Array = npt.NDArray[Any]


def captum(source: Any, composite: str | Composite | Rule = "auto", *, batch_size: int = 32, **options: Any) -> Attribution:
    """What Captum calls an attribution method, for its ``NoiseTunnel``, its metrics, and code that was written for it.

    Args:
        source: an explainer, or what ``graphlrp.load`` takes.
        composite: as for ``graphlrp.load``, and so are ``**options``; not with an explainer, which has its own.
        batch_size: samples per run.
        **options: as for ``graphlrp.load``.

    Raises:
        InputError: options for an explainer.
    """
    if isinstance(source, Explainer):
        if options or composite != "auto":
            raise InputError("an explainer has its composite and options already: give them to graphlrp.load")
        return Attribution(source, batch_size)
    return Attribution(load(source, composite, **options), batch_size)


Method = TypeVar("Method", bound=Callable[..., Any])


def _counted(method: Method) -> Method:
    """What decorators of Captum look like that count how often a method is used: it asks for the method behind them."""

    @functools.wraps(method)
    def call(*arguments: Any, **keywords: Any) -> Any:
        return method(*arguments, **keywords)

    return cast(Method, call)


class Attribution:
    """An explainer as Captum knows attribution methods; tensors in, tensors of their device and type out, or arrays.

    Attributes:
        explainer: what explains.
        batch_size: samples per run.
        multiplies_by_inputs: True: what Captum asks of methods whose result is a share of f(x), and not a derivative.
    """

    multiplies_by_inputs = True

    def __init__(self, explainer: Explainer, batch_size: int = 32) -> None:
        self.explainer = explainer
        self.batch_size = batch_size

    @_counted
    def attribute(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Relevance of inputs.

        Args:
            inputs: a tensor [N, ...], or a tuple of them in the order of the model's inputs.
            target: a class, or one per sample as a list or tensor [N]; for outputs of more axes a tuple with a place in the
                output, or a list of tuples. None, other than with Captum, is the class with the highest output.
            additional_forward_args: the model's further inputs, which are not explained.
            return_convergence_delta: return f(x) - ΣR [N], too.

        Returns:
            Relevance, shaped like the inputs, as a tuple if the inputs are one; with the deltas if asked for.

        Raises:
            InputError: inputs are missing, are not those that are explained, or do not fit the model; no such target.
        """
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        feeds = self._feeds(given, additional_forward_args)
        explanation = self.explainer(feeds, self._target(target, feeds), batch_size=self.batch_size)
        relevance = explanation.relevance
        if isinstance(relevance, dict):
            names = list(feeds)[: len(given)]
            if set(relevance) != set(names):
                raise InputError(f"what is explained is {', '.join(map(repr, relevance))}, but the inputs are {', '.join(names)}")
            parts = [relevance[name] for name in names]
        elif len(given) > 1:
            raise InputError(f"one value is explained, {self.explainer.plan.explained[0]!r}, but there are {len(given)} inputs")
        else:
            parts = [relevance]
        results = tuple(like(np.asarray(part), example) for part, example in zip(parts, given, strict=True))
        result = results if isinstance(inputs, tuple) else results[0]
        if not return_convergence_delta:
            return result
        delta = explanation.start - np.sum([per_sample(part) for part in parts], axis=0)
        return result, like(delta, given[0])

    def forward_func(self, *inputs: Any) -> Any:
        """f(x), the explained function, of all the model's inputs in order."""
        output = self.explainer.predict(self._feeds(inputs, None), batch_size=self.batch_size)
        return like(output, inputs[0])

    def has_convergence_delta(self) -> bool:
        """Yes: whether ``attribute`` can return it."""
        return True

    def _feeds(self, inputs: tuple[Any, ...], others: Any) -> dict[str, Array]:
        names = list(self.explainer.inputs)
        values = (*inputs, *(() if others is None else others if isinstance(others, tuple) else (others,)))
        if len(values) != len(names):
            raise InputError(f"the model has inputs {', '.join(map(repr, names))}, but {len(values)} were given")
        return {name: to_array(value) for name, value in zip(names, values, strict=True)}

    def _target(self, target: Any, feeds: dict[str, Array]) -> Any:
        """A target as explainers take it."""
        if target is None:
            return None
        if isinstance(target, tuple) or (isinstance(target, list) and target and isinstance(target[0], tuple)):
            return self._place(target, feeds)
        array = to_array(target) if is_tensor(target) else np.asarray(target)
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise InputError(f"a target is a class, one per sample, or a tuple with a place in the output, not {target!r}")
        return int(array.reshape(-1)[0]) if array.size == 1 else array

    def _place(self, target: Any, feeds: dict[str, Array]) -> Array:
        """Weights that are 1 in one place of the output of every sample."""
        output = self.explainer.predict(feeds, batch_size=self.batch_size)
        places = target if isinstance(target, list) else [target] * len(output)
        if len(places) != len(output):
            raise InputError(f"{len(places)} targets for {len(output)} samples; give one, or one per sample")
        weights = np.zeros(output.shape, output.dtype)
        for sample, place in enumerate(places):
            inside = len(place) == output.ndim - 1 and all(0 <= p < n for p, n in zip(place, output.shape[1:], strict=True))
            if not inside:
                raise InputError(f"target {place} is no place in an output of shape {list(output.shape[1:])}")
            weights[(sample, *map(int, place))] = 1
        return weights
