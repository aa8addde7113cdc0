"""What is watched while a sample is perturbed: f of a class, its probability, or the decision between two classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_softmax

from graphlrp.errors import InputError
from graphlrp.evaluation.values import kind_of

Array = npt.NDArray[Any]
Score = str | Callable[[Array, Array], Array] | None

SCORES = ("output", "probability", "decision")


@dataclass(frozen=True, eq=False)
class Watched:
    """A score and whose it is.

    Attributes:
        name: of the score.
        function: (outputs [n, ...], classes [n]) -> numbers [n].
        classes: whose score is watched, int64 [N]; of a decision 0 or 1; -1 where f(x) is one number and watched as it is.
        explained: what methods are asked for, int64 [N]; -1 where the output is one number, which has no classes.
        signs: relevance times these speaks for what is watched, float64 [N].
    """

    name: str
    function: Callable[[Array, Array], Array]
    classes: Array
    explained: Array
    signs: Array

    def __call__(self, outputs: Array, classes: Array) -> Array:
        """Scores [n] of outputs [n, ...].

        Raises:
            InputError: a score of the user's gives something else than a finite number for each.
        """
        values = np.asarray(self.function(outputs, classes))
        if values.shape != (len(classes),) or not np.isfinite(values).all():
            raise InputError(
                f"the score must be {len(classes)} finite number(s), one per input, not of shape {list(values.shape)}"
            )
        return values if values.dtype.kind == "f" else values.astype(np.float64)


def choose_watched(score: Score, target: Any, outputs: Array, names: Sequence[str] | None) -> Watched:
    """What is watched, given f of all samples.

    Args:
        score: a name, a function, or None: the decision if the output is one number and decides between two classes, else f.
        target: see :func:`choose_target`; of a decision and its probability 0 or 1, by default the side of the sample.
        outputs: f(x) of the clean samples, [N, ...].
        names: of the classes, where the model tells them.

    Raises:
        InputError: no such score, a decision among several outputs, a target that does not fit.
    """
    single = _is_single(outputs)
    if score is None:
        score = "decision" if single and names is not None and len(names) == 2 else "output"
    if not callable(score) and score not in SCORES:
        raise InputError(f"unknown score {score!r}; there are {', '.join(SCORES)}, and functions (outputs, targets) -> numbers")
    if score == "decision" and not single:
        raise InputError(
            f"score='decision' is for a model with one output, whose sign decides between two classes; here f(x) has shape"
            f" {list(outputs.shape[1:])}: take 'output'"
        )
    if single and score in ("decision", "probability"):
        values = outputs.reshape(len(outputs))
        sides = choose_target(target, np.stack([-values, values], axis=1))
        function = decision_for_side if score == "decision" else probability_of_target
        return Watched(str(score), function, sides, np.full(len(sides), -1, np.int64), 2.0 * sides - 1)
    classes = choose_target(target, outputs)
    signs = np.ones(len(classes))
    if callable(score):
        return Watched(getattr(score, "__qualname__", type(score).__name__), score, classes, classes, signs)
    return Watched(score, output_of_target if score == "output" else probability_of_target, classes, classes, signs)


def choose_target(target: Any, outputs: Array) -> Array:
    """Classes to explain, int64 [N]: those given, or the arg max of f(x); -1 where f(x) is one number and has no classes.

    Raises:
        InputError: no class index, or none in range.
    """
    count = len(outputs)
    if _is_single(outputs):
        if target is not None:
            raise InputError("the output is one number per sample, which has no classes: leave target out")
        return np.full(count, -1, np.int64)
    if outputs.ndim > 2:
        outputs = outputs.reshape(*outputs.shape[:2], -1).sum(2)
    if target is None:
        return np.asarray(outputs.argmax(1), np.int64)
    array = np.asarray(target)
    if array.dtype.kind not in "iu" or array.ndim > 1 or (array.ndim == 1 and len(array) != count):
        raise InputError(f"target must be None, a class index, or one per sample [{count}], not {kind_of(target)}")
    if np.any(array < 0) or np.any(array >= outputs.shape[1]):
        raise InputError(f"target {array.min()} ... {array.max()}: there are classes 0 to {outputs.shape[1] - 1}")
    return np.ascontiguousarray(np.broadcast_to(array, (count,)), np.int64)


def output_of_target(outputs: Array, targets: Array) -> Array:
    """f_c(x); over axes behind that of classes it is summed, as the explanation is."""
    if _is_single(outputs):
        return outputs.reshape(len(outputs))
    chosen = outputs[np.arange(len(outputs)), targets]
    return np.asarray(chosen.reshape(len(outputs), -1).sum(1) if chosen.ndim > 1 else chosen)


def decision_for_side(outputs: Array, sides: Array) -> Array:
    """f of the second of two classes, -f of the first; by which side was decided."""
    return np.asarray((2 * sides - 1) * outputs.reshape(len(outputs)))


def probability_of_target(outputs: Array, targets: Array) -> Array:
    """softmax(f)_c; of one output, the sigmoid of f for the second of two classes and of -f for the first."""
    if _is_single(outputs):
        return np.asarray(expit(decision_for_side(outputs, targets)))
    if outputs.ndim > 2:
        raise InputError("score='probability' needs outputs [N, C]; give a function of outputs and targets")
    return np.asarray(np.exp(log_softmax(outputs, axis=1))[np.arange(len(outputs)), targets])


def _is_single(outputs: Array) -> bool:
    """Whether f(x) is one number per sample."""
    return outputs.ndim == 1 or outputs.shape[1:] == (1,)
