"""What is checked, with all that the checks share: its inputs, its function, its z_ij, its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from graphlrp.errors import GraphLRPError, InputError
from graphlrp.plugins.mapping import LinearMapping, Mapping
from graphlrp.rules.base import Rule
from graphlrp.testing import dense
from graphlrp.testing.bench import Bench, Expansion, Outcome, Variant
from graphlrp.testing.dense import Dense
from graphlrp.testing.report import ConformanceError, Neuron
from graphlrp.testing.samples import GENERIC, Samples

Array = npt.NDArray[Any]
Result = TypeVar("Result")


class Subject:
    """A node on the bench, and what is known of it from elsewhere.

    Args:
        bench: the node.
        forward: its function in numpy, on all of its inputs; None if the reference of ONNX is to define it.
        contributions: z_ij of the inputs of one sample, if the author knows them.
        domain: interval that inputs are drawn from.
        seed: of the random numbers.
    """

    def __init__(
        self,
        bench: Bench,
        forward: Callable[..., Array] | None,
        contributions: Callable[[list[Any]], Array] | None,
        domain: tuple[float, float] | None,
        seed: int,
    ) -> None:
        self.bench, self.given, self.contributions = bench, forward, contributions
        self.domain, self.seed = domain, seed
        self._expand = cache(self._expand_samples)

    # Inputs

    @cached_property
    def drawn(self) -> Samples:
        """Inputs of every kind."""
        return Samples.draw(self.bench.shapes, self.domain, self.seed)

    @cached_property
    def samples(self) -> Samples:
        """Those for which the node is defined.

        Raises:
            InputError: it is not even defined for random ones.
        """
        with self.guard("forward"):
            output = (self.independent or self.bench.forward)(*self.drawn.arrays)
        if output.shape[:1] != (len(self.drawn),):
            shape = list(output.shape)
            raise InputError(
                f"{self.bench.title}: a batch of {len(self.drawn)} has an output of shape {shape}; axis 0 is the batch"
            )
        finite = np.asarray(np.isfinite(output.reshape(len(self.drawn), -1)).all(axis=1))
        if not finite[self.drawn.names.index("random")]:
            raise InputError(
                f"{self.bench.title}: the output is not finite for random inputs; give domain=(low, high), the interval that"
                " inputs are to be drawn from"
            )
        return self.drawn.only([name for name, fine in zip(self.drawn.names, finite, strict=True) if fine])

    @property
    def generic(self) -> tuple[str, ...]:
        """Names of the samples where functions have derivatives."""
        return tuple(name for name in self.samples.names if name in GENERIC)

    # The function

    @cached_property
    def lowered(self) -> Mapping:
        """The mapping of the node."""
        with self.guard("forward"):
            return self.bench.lowered()

    @cached_property
    def independent(self) -> Callable[..., Array] | None:
        """The function of the node as somebody else defines it, samples -> y; None if there is nobody."""
        return self._independent(self.bench)

    @property
    def source(self) -> str:
        """Who that is."""
        if self.given is not None:
            return "forward()"
        return "ONNX Runtime" if self.independent == self.bench.run_bare else "onnx.reference"

    def _independent(self, bench: Bench) -> Callable[..., Array] | None:
        given = self.given
        if given is not None:

            def numpy_function(*samples: Array) -> Array:
                with np.errstate(all="ignore"):
                    return np.asarray(given(*bench.all_inputs(samples)))

            return numpy_function
        return None if bench.domain else self._by_onnx(bench)

    def _by_onnx(self, bench: Bench) -> Callable[..., Array] | None:
        """The reference of ONNX; ONNX Runtime where that fails or is mistaken, as it is in some operators of onnx 1.23."""
        function = _attempt(dense.reference, bench.proto())
        expected = None if function is None else _attempt(function, *self.drawn.arrays)
        actual = _attempt(bench.run_bare, *self.drawn.arrays)
        if function is None or expected is None:
            return None if actual is None else bench.run_bare
        if actual is not None:
            both = np.isfinite(expected) & np.isfinite(actual) if expected.shape == actual.shape else None
            if both is None or not np.allclose(actual[both], expected[both], rtol=1e-3, atol=1e-3):
                return bench.run_bare
        return function

    @cached_property
    def function(self) -> Callable[..., Array]:
        """The function of the node in float64: the independent one, or, if that is less precise, the compiled one."""
        function, compiled = self.independent, self.bench.forward
        if function is None:
            return compiled
        values = function(*self.samples.arrays)
        # Some functions that ONNX defines by others have constants in single precision.
        rounded = self.given is None and not np.allclose(values, compiled(*self.samples.arrays), rtol=1e-10, atol=1e-10)
        return compiled if rounded or values.dtype != np.float64 else function

    def slopes(self, points: Sequence[Array]) -> Array:
        """∂y_j/∂x_i at points, one array [S, ...] per explained input: [S, M, D]."""
        return dense.jacobian(self.function, points)

    # z_ij

    @cached_property
    def linear(self) -> bool:
        """Whether the mapping takes the rules for linear mappings."""
        return isinstance(self.lowered, LinearMapping)

    @cached_property
    def matrix(self) -> Dense:
        """A linear mapping in matrix form."""
        # Weights that are zero connect all the same: constants with none that is zero tell who is connected.
        generator = np.random.default_rng(self.seed)
        inputs = list(self.bench.inputs)
        for index in self.bench.constants:
            constant = np.asarray(inputs[index])
            if constant.dtype == np.float64:
                inputs[index] = np.asarray(generator.uniform(0.5, 1.5, constant.shape))
        other = self.bench.with_inputs(inputs)
        independent = None if self.function == self.bench.forward else self._independent(other)
        return dense.probe(self.function, self.bench.shapes[0], independent or other.forward)

    def contribution(self, sample: int, j: int) -> Array | None:
        """z_ij of a neuron, [D]; None if nothing tells."""
        if self.contributions is not None:
            return self.given_contributions(sample)[:, j]
        return self.matrix.contributions(self.samples.arrays[0][sample])[:, j] if self.linear else None

    def given_contributions(self, sample: int) -> Array:
        """z_ij of a sample as the author knows them, [D, M].

        Raises:
            InputError: they have another shape.
        """
        assert self.contributions is not None
        inputs = self.bench.all_inputs([array[sample] for array in self.samples.arrays])
        z = np.asarray(self.contributions(inputs), dtype=np.float64)
        wanted = (self.bench.components, self.bench.outputs)
        if z.shape != wanted:
            raise InputError(f"{self.bench.title}: contributions() returned shape {z.shape}; z_ij is [D, M] = {wanted}")
        return z

    # Messages

    def expand(self, check: str, variant: Variant, names: tuple[str, ...] = ()) -> Expansion:
        """Dense messages for some of the samples; without names, all of them.

        Raises:
            ConformanceError: the mapping or rule fails.
        """
        with self.guard(check, variant.rule):
            return self._expand(variant, names or self.samples.names)

    def _expand_samples(self, variant: Variant, names: tuple[str, ...]) -> Expansion:
        return self.bench.expand(variant, self.samples.only(names).arrays)

    def run(self, check: str, variant: Variant, arrays: Sequence[Array], relevance: Array, what: str = "") -> Outcome:
        """Messages for any relevance.

        Raises:
            ConformanceError: the mapping or rule fails.
        """
        with self.guard(check, variant.rule, what):
            return self.bench.run(variant, arrays, relevance)

    # Failures

    @contextmanager
    def guard(self, check: str, rule: Rule | None = None, what: str = "") -> Iterator[None]:
        """Tell what fails inside of a mapping or rule as a failure of the check."""
        try:
            yield
        except (ConformanceError, InputError):
            raise
        except Exception as error:
            raise self.broken(check, error, rule, what) from error

    def broken(self, check: str, error: Exception, rule: Rule | None = None, what: str = "") -> ConformanceError:
        """The failure of a check by an exception."""
        kind = "" if isinstance(error, GraphLRPError) else f"{type(error).__name__}: "
        under = "" if check in ("forward", "bounds") else name_of(rule)
        head = f"{check}: {self.bench.title}{' under ' + under if under else ''} fails{' for ' + what if what else ''}"
        return ConformanceError(check, f"{head}: {kind}{error}", rule=under)

    def fail(self, check: str, text: str, neuron: Neuron, *, under: str = "", sample: str = "") -> None:
        """Show a neuron.

        Raises:
            ConformanceError: always.
        """
        head = f"{check}: {self.bench.title}{' under ' + under if under else ''}, sample {sample!r}"
        shown = f"{head}, output neuron j = {neuron.index} ({neuron.output}):\n  {text}\n{neuron}"
        raise ConformanceError(check, shown, rule=under, sample=sample, neuron=neuron.index)

    def neuron(self, j: int, x: Array, **columns: Any) -> Neuron:
        """An output neuron with its inputs x, [D], for the table of a failure."""
        shape = self.bench.output_shape
        output = f"y[{', '.join(str(k) for k in np.unravel_index(j, shape))}]" if shape else "y"
        return Neuron(output, j, self._labels, x, **columns)

    def sent(
        self, expansion: Expansion, s: int, j: int, sample: int, expected: Array | None = None, relevance: float = 1.0
    ) -> Neuron:
        """An output neuron with the messages that it sent; ``s`` is the sample in the expansion, ``sample`` among all."""
        return self.neuron(
            j,
            self.samples.flat[sample],
            z=self.contribution(sample, j),
            expected=expected,
            actual=expansion.messages[s, j],
            relevance=relevance,
            booked={kind: float(values[s, j]) for kind, values in expansion.booked.items()} or None,
        )

    @cached_property
    def _labels(self) -> list[str]:
        """Names of the D input components."""
        return [
            f"{name}[{', '.join(map(str, position))}]"
            for name, shape in zip(self.bench.names.values(), self.bench.shapes, strict=True)
            for position in np.ndindex(*shape)
        ]


def _attempt(function: Callable[..., Result], *arguments: Any) -> Result | None:
    """What a function gives; None if it fails, as evaluators do on operators that they lack, each in its own way."""
    try:
        return function(*arguments)
    except Exception:
        return None


def name_of(rule: Rule | None) -> str:
    """A rule as failures and reports name it."""
    return "own messages" if rule is None else str(rule)


def worst(error: Array) -> tuple[int, int]:
    """Sample and output with the largest error, [S, M]; what is no number is infinitely wrong."""
    s, j = np.unravel_index(int(np.nan_to_num(error, nan=np.inf).argmax()), error.shape)
    return int(s), int(j)
