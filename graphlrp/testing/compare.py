"""Comparisons of dense messages, neuron by neuron. Each returns the worst relative error, or shows the neuron that is worst."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.rules.base import Rule
from graphlrp.testing.bench import Expansion, Outcome, Variant
from graphlrp.testing.report import ConformanceError
from graphlrp.testing.samples import Samples
from graphlrp.testing.subject import Subject, name_of, worst

Array = npt.NDArray[Any]


def compare_messages(
    subject: Subject,
    check: str,
    rule: Rule | None,
    expansion: Expansion,
    expected: Array,
    names: tuple[str, ...],
    tolerance: float | Array,
    note: str = "",
    relevance: Array | None = None,
) -> float:
    """Messages against those expected, [S, M, D] each; errors are relative to the largest message of j, or to 1.

    R_j is 1 unless ``relevance`` [S, M] says otherwise.

    Raises:
        ConformanceError: an error exceeds the tolerance, one or [S, M], or is no number.
    """
    scale = np.maximum(1, np.abs(expected).max(axis=2))
    error = np.nan_to_num(np.abs(expansion.messages - expected).max(axis=2), nan=np.inf) / scale
    s, j = worst(error / tolerance)
    if not (error <= tolerance).all():
        sample = subject.samples.names.index(names[s])
        limit = float(np.broadcast_to(tolerance, error.shape)[s, j])
        text = f"wrong messages{' ' + note if note else ''} (relative error {error[s, j]:.2g}, tolerance {limit:.0e})"
        received = 1.0 if relevance is None else float(relevance[s, j])
        neuron = subject.sent(expansion, s, j, sample, expected[s, j], received)
        subject.fail(check, text, neuron, under=name_of(rule), sample=names[s])
    return float(error.max())


def compare_gradient(subject: Subject, expansion: Expansion, rule: Rule, tolerance: float) -> float:
    """∂y_j/∂x_i against central differences, on samples where there are derivatives.

    Raises:
        ConformanceError: they differ.
    """
    names = subject.generic
    samples = subject.samples.only(names)
    expected = subject.slopes(samples.arrays)
    scale = np.maximum(1, np.abs(expected).max(axis=2))
    error = np.nan_to_num(np.abs(expansion.messages - expected).max(axis=2), nan=np.inf) / scale
    s, j = worst(error)
    if not error[s, j] <= tolerance:
        text = f"∂y_j/∂x_i differs from central differences (relative error {error[s, j]:.2g})"
        columns = {"expected": expected[s, j], "actual": expansion.messages[s, j]}
        subject.fail("gradient", text, subject.neuron(j, samples.flat[s], **columns), under=name_of(rule), sample=names[s])
    return float(error.max())


def compare_balance(
    subject: Subject,
    check: str,
    rule: Rule | None,
    expansion: Expansion,
    names: tuple[str, ...],
    tolerance: float,
    note: str = "",
) -> float:
    """R_j = Σ_i R_{i←j} + booked for every neuron, by the messages themselves and by the ledger.

    Raises:
        ConformanceError: it is not.
    """
    sent = expansion.messages.sum(axis=2)
    absorbed = sum(expansion.booked.values(), np.zeros_like(sent))
    magnitude = sum((np.abs(a) for a in expansion.booked.values()), np.abs(expansion.messages).sum(axis=2))
    scale = np.maximum(1, magnitude)
    errors = {
        "relevance is lost or made: messages and what is booked do not add up to R_j": np.abs(1 - sent - absorbed) / scale,
        "the ledger counts other relevance than arrived": np.abs(1 - expansion.received),
        "the ledger counts other messages than were sent": np.abs(expansion.sent - sent) / scale,
    }
    for text, error in errors.items():
        s, j = worst(error)
        if not error[s, j] <= tolerance:
            neuron = subject.sent(expansion, s, j, subject.samples.names.index(names[s]))
            subject.fail(check, f"{text}{' ' + note if note else ''}", neuron, under=name_of(rule), sample=names[s])
    return max(float(error.max()) for error in errors.values())


def compare_kinds(
    subject: Subject,
    check: str,
    rule: Rule | None,
    expansion: Expansion,
    expected: dict[str, Array],
    tolerance: float,
    note: str = "",
) -> float:
    """What was booked, kind by kind, against what is expected, [S, M] each.

    Raises:
        ConformanceError: something was booked as another kind.
    """
    largest = 0.0
    for kind, booked in expansion.booked.items():
        scale = np.maximum(1, np.maximum(np.abs(expected[kind]), np.abs(expansion.messages).max(axis=2)))
        error = np.abs(booked - expected[kind]) / scale
        s, j = worst(error)
        if not error[s, j] <= tolerance:
            wanted, where = expected[kind][s, j], f" {note}" if note else ""
            text = f"the ledger booked {booked[s, j]:.6g} as {kind}{where}, expected is {wanted:.6g}"
            subject.fail(check, text, subject.sent(expansion, s, j, s), under=name_of(rule), sample=subject.samples.names[s])
        largest = max(largest, float(error.max()))
    return largest


def compare_constants(
    subject: Subject, check: str, expansion: Expansion, expected: Array, tolerance: float, note: str = ""
) -> float:
    """What was booked as the share of constants, or of biases, against what is expected, [S, M].

    Raises:
        ConformanceError: it is not.
    """
    booked = expansion.booked["constant"] + expansion.booked["bias"]
    error = np.abs(booked - expected) / np.maximum(1, np.abs(expected))
    s, j = worst(error)
    if not error[s, j] <= tolerance:
        where = f" {note}" if note else ""
        text = f"the ledger booked {booked[s, j]:.6g} as the share of constants, expected is {expected[s, j]:.6g}{where}"
        neuron = subject.sent(expansion, s, j, s)
        subject.fail(check, text, neuron, under=name_of(None), sample=subject.samples.names[s])
    return float(error.max())


def compare_sums(subject: Subject, rule: Rule | None, relevance: Array, tolerance: float) -> float:
    """Messages of any relevance, [S, K, M], against Σ_j R_{i←j} R_j.

    Raises:
        ConformanceError: messages are not linear in the relevance.
    """
    samples, (count, repeats, _) = subject.samples, relevance.shape
    messages = subject.expand("linearity", Variant(rule)).messages
    arrays = [np.repeat(array, repeats, axis=0) for array in samples.arrays]
    rows = relevance.reshape(count * repeats, *subject.bench.output_shape)
    actual = subject.run("linearity", Variant(rule), arrays, rows).flat.reshape(count, repeats, -1)
    expected = relevance @ messages
    scale = np.maximum(1, (np.abs(relevance) @ np.abs(messages)).max(axis=2))
    error = np.nan_to_num(np.abs(actual - expected).max(axis=2), nan=np.inf) / scale
    s, r = worst(error)
    if not error[s, r] <= tolerance:
        _show_nonlinear(subject, rule, messages[s], s, relevance[s, r], float(error[s, r]))
    return float(error.max())


def _show_nonlinear(subject: Subject, rule: Rule | None, messages: Array, s: int, relevance: Array, error: float) -> None:
    """Find the output whose relevance, added to that of the outputs before it, changes messages by other than its own."""
    size = len(relevance)
    prefixes = np.tril(np.ones((size + 1, size)), -1) * relevance
    arrays = [np.repeat(array[s : s + 1], size + 1, axis=0) for array in subject.samples.arrays]
    rows = prefixes.reshape(size + 1, *subject.bench.output_shape)
    actual = np.diff(subject.run("linearity", Variant(rule), arrays, rows).flat, axis=0)
    expected = messages * relevance[:, None]
    j = int(np.nan_to_num(np.abs(actual - expected).max(axis=1), nan=np.inf).argmax())
    neuron = subject.neuron(
        j,
        subject.samples.flat[s],
        z=subject.contribution(s, j),
        expected=expected[j],
        actual=actual[j],
        relevance=float(relevance[j]),
    )
    text = (
        f"messages are not linear in the relevance (relative error {error:.2g}): added to that of the outputs before it, the"
        " relevance of j changes them by other than R_j times its messages for R_j = 1"
    )
    subject.fail("linearity", text, neuron, under=name_of(rule), sample=subject.samples.names[s])


def compare_batches(
    subject: Subject, rule: Rule | None, samples: Samples, relevance: Array, sizes: tuple[int, ...], tolerance: float
) -> float:
    """A batch against the same samples in batches of other sizes.

    Raises:
        ConformanceError: they differ, or some size does not run at all.
    """
    count, start, parts = len(samples), 0, []
    whole = subject.run("batches", Variant(rule), samples.arrays, relevance, f"a batch of {count}")
    for size in sizes:
        rows = slice(start, start + size)
        arrays = [array[rows] for array in samples.arrays]
        parts.append(subject.run("batches", Variant(rule), arrays, relevance[rows], f"a batch of {size}"))
        start += size
    largest = 0.0
    for name, joined, single in (("output", *_outputs(whole, parts)), ("messages", *_messages(whole, parts))):
        if joined.shape != single.shape:
            title = f"batches: {subject.bench.title} under {name_of(rule)}"
            raise ConformanceError(
                "batches", f"{title}: a batch of {count} has {name} of shape {joined.shape}", rule=name_of(rule)
            )
        difference = np.nan_to_num(np.abs(joined - single), nan=np.inf)
        error = difference.max(axis=1) / np.maximum(1, np.abs(single).max(axis=1))
        s = int(error.argmax())
        if not error[s] <= tolerance:
            _show_dependence(subject, rule, samples, relevance, s, name, int(difference[s].argmax()))
        largest = max(largest, float(error.max()))
    return largest


def _outputs(whole: Outcome, parts: list[Outcome]) -> tuple[Array, Array]:
    outputs = [outcome.output.reshape(len(outcome.output), -1) for outcome in (whole, *parts)]
    return outputs[0], np.concatenate(outputs[1:])


def _messages(whole: Outcome, parts: list[Outcome]) -> tuple[Array, Array]:
    return whole.flat, np.concatenate([part.flat for part in parts])


def _show_dependence(
    subject: Subject, rule: Rule | None, samples: Samples, relevance: Array, s: int, name: str, component: int
) -> None:
    """Find the output whose messages differ most between a sample by itself and among others."""
    others = f"on the other samples of its batch of {len(samples)}"
    if name == "output":
        neuron = subject.neuron(component, samples.flat[s])
        subject.fail("batches", f"the output of a sample depends {others}", neuron, under=name_of(rule), sample=samples.names[s])
    size, alone, among = subject.bench.outputs, [], []
    for one in np.eye(size):
        rows = relevance.copy()
        rows[s] = one.reshape(rows[s].shape)
        among.append(subject.run("batches", Variant(rule), samples.arrays, rows).flat[s])
        only = [array[s : s + 1] for array in samples.arrays]
        alone.append(subject.run("batches", Variant(rule), only, rows[s : s + 1]).flat[0])
    j = int(np.abs(np.asarray(among) - np.asarray(alone)).max(axis=1).argmax())
    z = subject.contribution(subject.samples.names.index(samples.names[s]), j)
    neuron = subject.neuron(j, samples.flat[s], z=z, expected=alone[j], actual=among[j], relevance=1.0)
    text = f"the messages of a sample depend {others}; expected is what they are by itself"
    subject.fail("batches", text, neuron, under=name_of(rule), sample=samples.names[s])
