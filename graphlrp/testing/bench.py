"""One node on the bench: compiled in every way a check wants it, and run with any relevance at its output."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime

from graphlrp.compiler import RECORDS, Compiled, Settings, compile_explainer
from graphlrp.errors import InputError
from graphlrp.explainer import DTYPES
from graphlrp.ir.canonical import all_passes, canonicalise
from graphlrp.ir.emitter import ABSORBED, Emitter
from graphlrp.ir.graph import lower
from graphlrp.ir.reading import read_model
from graphlrp.plugins.manager import Plugins
from graphlrp.plugins.mapping import Mapping
from graphlrp.plugins.nonlinear import TaylorMapping
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite
from graphlrp.rules.select import every
from graphlrp.runtime import Session, open_session, run_batches
from graphlrp.testing.dense import DECIDING, OPSET, OUTPUT, Input, input_names, input_shapes, single_node_model

Array = npt.NDArray[Any]

NUMBERS_PER_RUN = 2_000_000
"""Inputs and outputs that one run holds at most, for one-hot relevance makes a row of every output."""


@dataclass(frozen=True)
class Variant:
    """How the node is compiled.

    Attributes:
        rule: None for the mapping's own messages.
        dtype: ``"float64"`` runs on the reference session, ``"float32"`` on ONNX Runtime.
        front: what stands before every explained input, so that something is known of it (see ``single_node_model``).
        behind: whether a ReLU stands behind the node; relevance then starts as its value times the weights.
        policies: pairs of a policy and its choice.
    """

    rule: Rule | None = None
    dtype: str = "float64"
    front: tuple[str, ...] = ()
    behind: bool = False
    policies: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a run gave, for N samples.

    Attributes:
        output: of the node, [N, ...]; of the ReLU behind it, if there is one.
        messages: one per explained input, [N, ...].
        received, sent: by the ledger, [N].
        booked: by the ledger, kind -> [N]; empty in float32.
        bias_input: relevance of the bias where that is an input, [N].
    """

    output: Array
    messages: list[Array]
    received: Array
    sent: Array
    booked: dict[str, Array]
    bias_input: Array | None

    @property
    def flat(self) -> Array:
        """Messages to all D input components, [N, D]."""
        return np.concatenate([message.reshape(len(message), -1) for message in self.messages], axis=1)


@dataclass(frozen=True)
class Expansion:
    """Dense messages of S samples: R_j = 1 at one output j at a time.

    Attributes:
        output: y, [S, M].
        messages: R_{i←j}, [S, M, D].
        received, sent: by the ledger, [S, M].
        booked: by the ledger, kind -> [S, M].
        bias_input: relevance of the bias where that is an input, [S, M].
    """

    output: Array
    messages: Array
    received: Array
    sent: Array
    booked: dict[str, Array]
    bias_input: Array | None


class Bench:
    """A mapping on a node of its own.

    Args:
        mapping: the class.
        inputs: per input of the node the shape of a sample, a constant, the position of an earlier input, or None.
        operator: which of the mapping's operators, the first by default.
        attributes: of the node.
        opset: version of ONNX's operators.
        name: what failures call it, by default class and operator.

    Raises:
        InputError: the class has no such operator, or no input is a shape.
    """

    def __init__(
        self,
        mapping: type[Mapping],
        inputs: Sequence[Input],
        *,
        operator: str | tuple[str, str] | None = None,
        attributes: Dictionary[str, Any] | None = None,
        opset: int = OPSET,
        name: str | None = None,
    ) -> None:
        self.mapping = mapping
        self.inputs: list[Input] = [e if e is None or isinstance(e, (tuple, int)) else np.asarray(e) for e in inputs]
        self.domain, self.operator = _operator(mapping, operator)
        self.title = name or f"{mapping.__name__} ({self.domain + '.' if self.domain else ''}{self.operator})"
        self.attributes = dict(attributes or {})
        self.opset = opset
        self.names = input_names(self.inputs)
        """Position -> name of the explained inputs."""
        if not self.names:
            raise InputError(
                f"{mapping.__name__}: none of its inputs is explained; give the shape of a sample, without the batch, as a tuple"
            )
        self.plugins = Plugins([mapping])
        self._canonical: dict[tuple[str, tuple[str, ...], bool], ir.Model] = {}
        self._compiled: dict[Variant, tuple[Compiled, Session]] = {}

    # The node

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of a sample of the explained inputs."""
        return list(input_shapes(self.inputs).values())

    @property
    def components(self) -> int:
        """D, the number of input components of a sample."""
        return sum(prod(shape) for shape in self.shapes)

    @cached_property
    def outputs(self) -> int:
        """M, the number of output components of a sample."""
        return prod(self.output_shape)

    def with_inputs(self, inputs: Sequence[Input]) -> Bench:
        """The same node with other inputs."""
        operator = (self.domain, self.operator)
        return Bench(self.mapping, inputs, operator=operator, attributes=self.attributes, opset=self.opset)

    def all_inputs(self, samples: Sequence[Array]) -> list[Array | None]:
        """All inputs of the node: samples where it has shapes, constants elsewhere."""
        given = dict(zip(self.names, samples, strict=True))
        values: list[Array | None] = []
        for index, entry in enumerate(self.inputs):
            if isinstance(entry, int):
                values.append(values[entry])
            else:
                values.append(given[index] if isinstance(entry, tuple) else entry)
        return values

    def positions(self, index: int) -> list[int]:
        """Where the explained input at a position enters the node: there, and where it is repeated."""
        return [k for k, entry in enumerate(self.inputs) if k == index or (isinstance(entry, int) and entry == index)]

    @property
    def constants(self) -> list[int]:
        """Positions of constants."""
        return [index for index, entry in enumerate(self.inputs) if isinstance(entry, np.ndarray)]

    def proto(
        self, front: tuple[str, ...] = (), *, behind: bool = False, dtype: int = onnx.TensorProto.DOUBLE
    ) -> onnx.ModelProto:
        """The model."""
        # What decides about classes is taken off the end of a model; Neg lets it be explained itself.
        last = "Relu" if behind else "Neg" if self.operator in DECIDING and not self.domain else None
        return single_node_model(
            self.operator,
            self.inputs,
            domain=self.domain,
            attributes=self.attributes,
            opset=self.opset,
            front=front,
            behind=last,
            dtype=dtype,
        )

    def canonical(self, dtype: str, front: tuple[str, ...] = (), *, behind: bool = False) -> ir.Model:
        """The canonical model."""
        key = (dtype, front, behind)
        if key not in self._canonical:
            model = read_model(self.proto(front, behind=behind))
            canonicalise(model, list(all_passes(DTYPES[dtype], self.plugins.mappings, self.plugins.passes)))
            self._canonical[key] = model
        return self._canonical[key]

    def lowered(self, front: tuple[str, ...] = ()) -> Mapping:
        """The mapping of the node, bound to what is known of its inputs.

        Raises:
            InputError: canonicalisation leaves no such node.
        """
        graph = lower(self.canonical("float64", front).clone(), self.plugins.mappings, None, OUTPUT)
        place = graph.places[-1] if graph.places else None
        if place is None or place.operator.rpartition(".")[2] != self.operator or place.node.outputs[0] is not graph.output:
            raise InputError(
                f"{self.title}: canonicalisation removes the node or replaces it by others, so its mapping is not asked"
            )
        mapping = place.mapping
        assert isinstance(mapping, Mapping)
        return mapping

    # Running it

    def run_bare(self, *samples: Array) -> Array:
        """y of the bare model on ONNX Runtime in float32, [N, ...]: nothing of the package takes part.

        Raises:
            Exception: ONNX Runtime does not run the operator.
        """
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        model = self.proto(dtype=onnx.TensorProto.FLOAT)
        # What decides has another node behind it, which is not the output asked for.
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, None))
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feeds = {name: array.astype(np.float32) for name, array in zip(self.names.values(), samples, strict=True)}
        return np.asarray(session.run([OUTPUT], feeds)[0])

    @cached_property
    def forward_session(self) -> Session:
        """The canonical model in float64."""
        return open_session(self.canonical("float64"), "float64", "cpu")

    def forward(self, *samples: Array) -> Array:
        """y of the canonical model in float64, [N, ...]."""
        feeds = dict(zip(self.names.values(), samples, strict=True))
        return self.forward_session.run([OUTPUT], feeds)[0]

    @cached_property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of a sample of the output."""
        return self.forward(*(np.zeros((1, *shape)) for shape in self.shapes)).shape[1:]

    def compiled(self, variant: Variant) -> tuple[Compiled, Session]:
        """The explainer and its session, made once."""
        if variant not in self._compiled:
            policies = dict(variant.policies)
            settings = Settings(
                Composite([] if variant.rule is None else [(every(), variant.rule)], "conformance"),
                output="behind" if variant.behind else OUTPUT,
                bias=policies.pop("bias", "absorb"),
                initial="value" if variant.behind else "one",
                policies=policies,
                ledger=variant.dtype == "float64",
            )
            model = self.canonical(variant.dtype, variant.front, behind=variant.behind)
            compiled = compile_explainer(model, settings, self.plugins, weights=True)
            self._compiled[variant] = compiled, open_session(compiled.model, variant.dtype, "cpu")
        return self._compiled[variant]

    def run(self, variant: Variant, samples: Sequence[Array], relevance: Array) -> Outcome:
        """Messages of samples [N, ...] for the relevance of the output, [N, ...].

        Raises:
            ValueError: a message has another shape than its input.
        """
        compiled, session = self.compiled(variant)
        dtype = np.dtype(variant.dtype)
        feeds = {name: array.astype(dtype) for name, array in zip(self.names.values(), samples, strict=True)}
        feeds[compiled.target_input] = relevance.astype(dtype)
        names = [compiled.explained_output, *(compiled.relevance[name] for name in self.names.values())]
        others = [name for name in (compiled.ledger_output, compiled.bias_output) if name is not None]
        width = self.components + prod(relevance.shape[1:])
        values = dict(
            zip(
                [*names, *others],
                run_batches(
                    session,
                    [*names, *others],
                    feeds,
                    batch_size=max(1, NUMBERS_PER_RUN // width),
                    static_batch=None,
                    progress=False,
                    batch_axis={} if compiled.ledger_output is None else {compiled.ledger_output: 2},
                ),
                strict=True,
            )
        )
        for name, array, key in zip(self.names.values(), samples, names[1:], strict=True):
            if values[key].shape != array.shape:
                raise ValueError(f"the message to {name!r} has shape {values[key].shape}, {name!r} has {array.shape}")
        count = len(relevance)
        records = dict.fromkeys(RECORDS, np.full(count, np.nan))
        if compiled.ledger_output is not None:
            # The walk begins at the output, so the node is the first to be booked, or the second with one behind it.
            records = dict(zip(RECORDS, values[compiled.ledger_output][int(variant.behind)], strict=True))
        return Outcome(
            values[names[0]],
            [values[name] for name in names[1:]],
            records["received"],
            records["sent"],
            {kind: records[kind] for kind in ABSORBED} if compiled.ledger_output is not None else {},
            None if compiled.bias_output is None else values[compiled.bias_output],
        )

    def expand(self, variant: Variant, samples: Sequence[Array]) -> Expansion:
        """One-hot relevance at every output of every sample, in one batch."""
        count, size = len(samples[0]), self.outputs
        relevance = np.tile(np.eye(size), (count, 1)).reshape(count * size, *self.output_shape)
        outcome = self.run(variant, [np.repeat(array, size, axis=0) for array in samples], relevance)

        def table(values: Array) -> Array:
            return values.reshape(count, size)

        return Expansion(
            outcome.output.reshape(count, size, -1)[:, 0],
            outcome.flat.reshape(count, size, -1),
            table(outcome.received),
            table(outcome.sent),
            {kind: table(values) for kind, values in outcome.booked.items()},
            None if outcome.bias_input is None else table(outcome.bias_input),
        )

    def expansion_points(self, samples: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """Of a ``TaylorMapping``: where it takes derivatives, and the root, per explained input."""
        model = self.canonical("float64").clone()
        graph = lower(model, self.plugins.mappings, None, OUTPUT)
        mapping = graph.places[-1].mapping
        assert isinstance(mapping, TaylorMapping)
        op = Emitter(model.graph, ledger=False, options={})
        op.dtype, op.bodies = ir.DataType.DOUBLE, model.functions
        emitted = mapping.root(op)
        roots = [emitted] if isinstance(emitted, ir.Value) else list(emitted)
        values = [*mapping.expansion_point(op, roots), *roots]
        outputs = [op.Identity(value) for value in values]
        for k, output in enumerate(outputs):
            output.name = f"expansion/{k}"
        model.graph.outputs.extend(outputs)
        feeds = dict(zip(self.names.values(), samples, strict=True))
        arrays = open_session(model, "float64", "cpu").run([str(output.name) for output in outputs], feeds)
        whole = [np.broadcast_to(a, x.shape) for a, x in zip(arrays, [*samples, *samples], strict=True)]
        return whole[: len(samples)], whole[len(samples) :]


def _operator(mapping: type[Mapping], chosen: str | tuple[str, str] | None) -> tuple[str, str]:
    """(domain, operator) of the node."""
    if not mapping.operators:
        raise InputError(f"{mapping.__name__}.operators is empty; name (domain, operator) pairs")
    if chosen is None:
        return mapping.operators[0]
    for pair in mapping.operators:
        if chosen in (pair, pair[1], f"{pair[0]}.{pair[1]}"):
            return pair
    listed = ", ".join(f"{domain + '.' if domain else ''}{name}" for domain, name in mapping.operators)
    raise InputError(f"{mapping.__name__} is not registered for {chosen!r}; its operators are {listed}")
