"""Quantus: a function that explains, with the signature that its metrics call."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.adapters.tensors import to_array
from graphlrp.adapters.weights import checksum
from graphlrp.errors import InputError
from graphlrp.explainer import Explainer
from graphlrp.loading import load
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite

Array = npt.NDArray[Any]

KEPT = 4
"""Explainers that are kept of models that were explained before."""


def quantus(
    source: Any, composite: str | Composite | Rule = "auto", *, batch_size: int = 32, **options: Any
) -> Callable[..., Array]:
    """A function for ``explain_func=`` of the metrics of Quantus, and for ``xai_methods=`` of ``quantus.evaluate``.

    The function is called as ``explain_func(model, inputs, targets, **kwargs)`` and returns relevance shaped like the inputs. Of
    the keywords it knows ``reduce_axes``, axes to sum over, as the functions of Quantus do, whose default are the channels. It
    explains ``source``, not ``model``, which it cannot read. Metrics that randomise the model's weights are noticed by these:
    for them give a function that exports a model, and it is called again whenever the weights have changed.

    Args:
        source: an explainer; what ``graphlrp.load`` takes; or a function model -> what ``graphlrp.load`` takes.
        composite: as for ``graphlrp.load``, and so are ``**options``; not with an explainer, which has its own.
        batch_size: samples per run.
        **options: as for ``graphlrp.load``.

    Raises:
        InputError: options for an explainer; and, when called, weights that changed, or relevance of something else than the
            input.
    """
    if isinstance(source, Explainer):
        if options or composite != "auto":
            raise InputError("an explainer has its composite and options already: give them to graphlrp.load")
        return _Fixed(source, batch_size)
    if inspect.isroutine(source) or isinstance(source, functools.partial):
        return _Exported(source, composite, options, batch_size)
    return _Fixed(load(source, composite, **options), batch_size)


class _Function(ABC):
    """What both kinds of functions do."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size

    @abstractmethod
    def explainer_of(self, model: Any) -> Explainer:
        """The explainer that stands for a model."""

    def __call__(self, model: Any, inputs: Any, targets: Any = None, reduce_axes: Sequence[int] = (), **_: Any) -> Array:
        """Relevance of inputs [N, ...], summed over axes; further keywords are for other functions that explain."""
        x = to_array(inputs)
        classes = None if targets is None else to_array(targets)
        relevance = self.explainer_of(model)(x, classes, batch_size=self._batch_size).relevance
        if not isinstance(relevance, np.ndarray) or relevance.shape != x.shape:
            raise InputError("Quantus evaluates the relevance of the model's one input: explain that, and nothing else")
        return relevance.sum(axis=tuple(reduce_axes), keepdims=True) if len(reduce_axes) else relevance


class _Fixed(_Function):
    """One explainer, whatever the model; only its weights must not change."""

    def __init__(self, explainer: Explainer, batch_size: int) -> None:
        super().__init__(batch_size)
        self._explainer = explainer
        self._checksum: int | None = None

    def explainer_of(self, model: Any) -> Explainer:
        """The explainer.

        Raises:
            InputError: the model has other weights than in the first call.
        """
        now = checksum(model)
        if self._checksum is None:
            self._checksum = now
        elif now is not None and now != self._checksum:
            raise InputError(
                "the model has other weights than before, but what explains is still the same: give quantus(...) a function that"
                " exports a model instead, and it will be exported again"
            )
        return self._explainer


class _Exported(_Function):
    """An explainer for every state that a model was seen in."""

    def __init__(self, export: Callable[[Any], Any], composite: Any, options: dict[str, Any], batch_size: int) -> None:
        super().__init__(batch_size)
        self._export = export
        self._composite = composite
        self._options = options
        self._explainers: dict[int, Explainer] = {}

    def explainer_of(self, model: Any) -> Explainer:
        """The explainer of a model, exported if it has not been seen with these weights.

        Raises:
            InputError: its weights cannot be read.
        """
        key = checksum(model)
        if key is None:
            raise InputError(f"{type(model).__name__} has no weights that can be read: give an explainer instead of a function")
        if key not in self._explainers:
            while len(self._explainers) >= KEPT:
                # The first one is that of the model before anything was changed.
                del self._explainers[list(self._explainers)[1]]
            self._explainers[key] = load(self._export(model), self._composite, **self._options)
        return self._explainers[key]
