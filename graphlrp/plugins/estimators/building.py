"""Building the graph of a pipeline: a stream of samples that every step lowers to nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.errors import InputError, ModelError
from graphlrp.ir.emitter import Emitter
from graphlrp.ir.passes.standard import OPSET
from graphlrp.plugins.kernels.kernels import Combination, Kernel
from graphlrp.plugins.kernels.products import Linear, RandomFourier
from graphlrp.plugins.kernels.sums import Hellinger, HistogramIntersection

Array = npt.NDArray[Any]


REFERENCES = 1000
"""How many of the support vectors of a large machine serve as references."""


@dataclass(frozen=True)
class Stream:
    """Samples on their way through a pipeline.

    Attributes:
        value: the emitted value, [N, D].
        references: the same of the references, as numbers [M, D]; None if there are none.
        features: Σ_i A_ij k(y_i, x) that no node computes yet: features of a kernel map, which a linear head makes a machine.
        positions: of descriptors [N, L, D], the middle of their areas (x, y) in pixels, [L, 2].
    """

    value: ir.Value
    references: Any = None
    features: Expansion | None = None
    positions: ir.Value | None = None

    @property
    def width(self) -> int:
        """D."""
        if self.features is not None:
            return int(self.features.dual.shape[1])
        assert self.value.shape is not None
        return int(self.value.shape[-1])  # type: ignore[arg-type]

    def moved(self, value: ir.Value, transform: Any = None) -> Stream:
        """Behind a step: its value, and the references as ``transform`` (numbers -> numbers) makes them."""
        references = self.references
        if references is not None and transform is not None:
            references = transform(references)
            # Between the steps of a Bag-of-Words pipeline there are lists of descriptors.
            references = references if isinstance(references, list) else dense(references)
        return replace(self, value=value, references=references, features=None)


@dataclass(frozen=True)
class Expansion:
    """Σ_i A_ij k(y_i, x), for support vectors y [S, D] and A [S, C]."""

    kernel: Kernel
    support: Array
    dual: Array


class Builder:
    """Emits the nodes of a pipeline into a model of its own, in double precision.

    ``op`` emits ONNX operators; the methods emit what pipelines are made of.
    """

    def __init__(self, shape: Sequence[int | str], name: str = "input", *, version: int = OPSET, from_mean: bool = False) -> None:
        batch: list[Any] = ["N", *shape]
        dtype = ir.DataType.DOUBLE
        self.version = version
        self.from_mean = from_mean
        self.input = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(batch))
        graph = ir.Graph([self.input], [], nodes=[], opset_imports={"": version, "graphlrp": 1}, name="pipeline")
        self.model = ir.Model(graph, ir_version=10)
        self.op = Emitter(graph, ledger=False, options={})
        self.op.dtype = dtype
        self._path: list[str] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Nodes emitted inside are named after a step."""
        self._path.append(name)
        with self.op.scope(name):
            yield
        self._path.pop()

    @property
    def where(self) -> str:
        """The step, for messages."""
        return " > ".join(self._path) or "the estimator"

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the step and of those around it."""
        return tuple(self._path)

    # Nodes

    def number(self, array: Any, name: str) -> ir.Value:
        """An array as an initializer."""
        return self.op.number(np.asarray(array, np.float64), "/".join([*self._path, name]))

    def node(
        self, operator: str, *inputs: ir.Value | None, width: int, like: ir.Value | None = None, **attributes: Any
    ) -> ir.Value:
        """A node of the domain ``graphlrp`` with an output [N, width], or of the shape of ``like`` but for its last axis."""
        value: ir.Value = getattr(self.op, operator)(*inputs, _domain="graphlrp", **attributes)
        value.type = ir.TensorType(self.op.dtype)
        batch: list[Any] = ["N"] if like is None or like.shape is None else list(like.shape)[:-1]
        value.shape = ir.Shape([*batch, width])
        return value

    def embed(self, model: ir.Model, x: ir.Value) -> ir.Value:
        """The first output of another model, of the same operator set and precision, whose nodes are taken over."""
        graph = model.graph
        (value,) = graph.outputs[:1]
        graph.outputs.clear()
        prefix = "/".join(self._path)
        for own in (*graph.initializers.values(), *(output for node in graph for output in node.outputs)):
            own.name = f"{prefix}/{own.name}" if own.name else own.name
        graph.inputs[0].replace_all_uses_with(x)
        weights, nodes = list(graph.initializers.values()), list(graph)
        graph.initializers.clear()
        graph.remove(nodes)
        for weight in weights:
            self.op.graph.register_initializer(weight)
        for node in nodes:
            node.name = f"{prefix}/{node.name or node.op_type}"
        self.op.graph.extend(nodes)
        for domain, version in graph.opset_imports.items():
            self.op.graph.opset_imports.setdefault(domain, version)
        return value

    def scaled(self, x: ir.Value, offset: Any, scale: Any) -> ir.Value:
        """(x - offset) · scale; x itself if that changes nothing."""
        assert x.shape is not None
        width = int(x.shape[-1])  # type: ignore[arg-type]
        offset, scale = (np.broadcast_to(np.asarray(a, np.float64), (width,)) for a in (offset, scale))
        if not offset.any() and (scale == 1).all():
            return x
        return self.node("Scaler", x, self.number(offset, "offset"), self.number(scale, "scale"), width=width, like=x)

    def linear(self, x: ir.Value, weights: Any, intercept: Any = None) -> ir.Value:
        """x W + b for W [D, C] and b [C]; without a b where it is zero."""
        weights = np.asarray(weights, np.float64)
        inputs = [x, self.number(weights, "weights")]
        if intercept is not None and np.any(intercept):
            numbers = np.broadcast_to(np.asarray(intercept, np.float64), (weights.shape[1],))
            value: ir.Value = self.op.Gemm(*inputs, self.number(numbers, "intercept"))
        else:
            value = self.op.MatMul(*inputs)
        return value

    def columns(self, x: ir.Value, columns: Sequence[int]) -> ir.Value:
        """Some columns of x."""
        assert x.shape is not None
        if list(columns) == list(range(int(x.shape[1]))):  # type: ignore[arg-type]
            return x
        indices = self.op.number(np.asarray(columns, np.int64), "/".join([*self._path, "columns"]))
        value: ir.Value = self.op.Gather(x, indices, axis=1)
        return value

    def joined(self, values: Sequence[ir.Value]) -> ir.Value:
        """Columns of several values side by side."""
        value: ir.Value = values[0] if len(values) == 1 else self.op.Concat(*values, axis=1)
        return value

    def mixed(self, values: Sequence[ir.Value], weights: Sequence[float], intercept: Any = None) -> ir.Value:
        """Σ_u w_u values_u + b, for values [N, C] (2.67)."""
        assert values[0].shape is not None
        classes = int(values[0].shape[1])  # type: ignore[arg-type]
        return self.linear(self.joined(values), np.kron(np.asarray(weights)[:, None], np.eye(classes)), intercept)

    # Machines

    def emitted(self, stream: Stream) -> Stream:
        """The stream with its pending features computed; features have no boundary, so they are explained from their means."""
        features = stream.features
        if features is None:
            return stream
        references = stream.references
        value = self.machine(stream, features.kernel, features.support, features.dual, regression=True)
        moved = None if references is None else features.kernel(references, features.support) @ features.dual
        return replace(stream, value=value, references=moved, features=None)

    def head(self, stream: Stream, weights: Any, intercept: Any, *, regression: bool = False) -> ir.Value:
        """A linear predictor on a stream: x W + b, or the machine that it is on features of a kernel."""
        weights = np.asarray(weights, np.float64)
        if len(weights) != stream.width:
            raise ModelError(f"{self.where}: {len(weights)} weights for {stream.width} features")
        if stream.features is None:
            return self.linear(stream.value, weights, intercept)
        features = stream.features
        return self.machine(stream, features.kernel, features.support, features.dual @ weights, intercept, regression=regression)

    def machine(
        self,
        stream: Stream,
        kernel: Kernel,
        support: Any,
        dual: Any,
        intercept: Any = 0.0,
        *,
        level: Any = 0.0,
        regression: bool = False,
    ) -> ir.Value:
        """Σ_i A_ij k(y_i, x) + b_j for support vectors y [S, D] and A [S, C], in the form that is explained best.

        Linear and Hellinger kernels become weights, histogram intersection becomes a piecewise linear function per dimension,
        a sum of kernels that are sums over dimensions one machine per kernel; all others are explained by Taylor decomposition
        between the references, which are the support vectors if there are no others. ``level`` is where their boundary lies;
        for ``regression``, or if the builder has ``from_mean``, it is the mean of f over the references.
        """
        stream = replace(stream, features=None)
        x, support, dual = stream.value, np.asarray(support, np.float64), np.asarray(dual, np.float64)
        classes = dual.shape[1]
        intercept = np.broadcast_to(np.asarray(intercept, np.float64), (classes,))
        if kernel.decomposable and isinstance(kernel, Combination):
            parts = []
            for number, term in enumerate(kernel.terms):
                columns = range(support.shape[1]) if term.columns is None else term.columns
                with self.step(f"kernel{number}"):
                    part = replace(stream, value=self.columns(x, columns))
                    parts.append(self.machine(part, term.kernel, support[:, list(columns)], dual))
            return self.mixed(parts, [term.weight for term in kernel.terms], intercept)
        if isinstance(kernel, Linear):
            return self.linear(x, support.T @ dual, intercept)
        if isinstance(kernel, Hellinger):
            root = self.node("SignedRoot", x, width=stream.width)
            return self.linear(root, (np.sign(support) * np.sqrt(np.abs(support))).T @ dual, intercept)
        if isinstance(kernel, HistogramIntersection):
            tables = [self.number(t, name) for t, name in zip(_pieces(support, dual), ("knots", "p", "q"), strict=True)]
            return self.node("PiecewiseLinear", x, *tables, self.number(intercept, "intercept"), width=classes)
        inputs: list[ir.Value | None] = [
            x,
            self.number(support, "support_vectors"),
            self.number(dual, "dual_coefficients"),
            self.number(intercept, "intercept"),
        ]
        if not kernel.decomposable:
            references = stream.references
            if references is None and isinstance(kernel, RandomFourier):
                raise ModelError(
                    f"{self.where}: random Fourier features keep no samples between which a root could be found; give some:"
                    " graphlrp.convert(estimator, references=X)"
                )
            if references is None:
                references = _representatives(kernel, support, dual, intercept)
            inputs.append(self.number(references, "references"))
            if regression or self.from_mean:
                level = np.mean(kernel(references, support) @ dual + intercept, axis=0)
            if np.any(level):
                inputs.append(self.number(np.broadcast_to(np.asarray(level, np.float64), (classes,)), "level"))
        return self.node("KernelMachine", *inputs, width=classes, kernel=kernel.json())

    def finish(self, value: ir.Value, name: str, *, single: bool) -> ir.Model:
        """Make a value [N, C] the output; [N] if it is a single one."""
        if single:
            value = self.op.Squeeze(value, self.op.integers([1]))
        if value.is_graph_input() or value.producer() is None:
            value = self.op.Identity(value)
        value.name = name
        self.model.graph.outputs.append(value)
        return self.model


def _representatives(kernel: Kernel, support: Array, dual: Array, intercept: Array) -> Array:
    """Support vectors that serve as references: all of them, or of many as many for every class or sign of the decision."""
    if len(support) <= REFERENCES:
        return support
    candidates = support[np.linspace(0, len(support) - 1, min(len(support), 4 * REFERENCES)).round().astype(int)]
    parts = np.array_split(candidates, -(-len(candidates) // 500))
    decisions = np.concatenate([kernel(part, support) @ dual + intercept for part in parts])
    middle = 0.0 if (decisions > 0).any() and (decisions < 0).any() else np.median(decisions)
    groups = decisions.argmax(1) if decisions.shape[1] > 1 else (decisions[:, 0] > middle).astype(int)
    kinds = np.unique(groups)
    chosen = []
    for kind in kinds:
        members = np.flatnonzero(groups == kind)
        number = min(len(members), REFERENCES // len(kinds))
        chosen.append(members[np.linspace(0, len(members) - 1, number).round().astype(int)])
    return np.asarray(candidates[np.sort(np.concatenate(chosen))])


def _pieces(support: Array, dual: Array) -> tuple[Array, Array, Array]:
    """Knots [D, S], and p, q [D, S + 1, C] of Σ_i A_ij min(y_i,d, x_d) = p + q x_d behind k knots."""
    order = np.argsort(support, axis=0, kind="stable").T  # [D, S]
    knots = np.take_along_axis(support.T, order, axis=1)
    sorted_dual = dual[order]  # [D, S, C]
    zero = np.zeros((support.shape[1], 1, dual.shape[1]))
    p = np.concatenate([zero, np.cumsum(sorted_dual * knots[..., None], axis=1)], axis=1)
    q = dual.sum(0) - np.concatenate([zero, np.cumsum(sorted_dual, axis=1)], axis=1)
    return knots, p, q


def dense(array: Any) -> Array:
    """Numbers as a dense float64 matrix."""
    array = array.toarray() if hasattr(array, "toarray") else np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise InputError(f"samples are numbers, not {array.dtype}")
    return np.asarray(array, np.float64)
