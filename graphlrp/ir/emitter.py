"""The ``op`` that mappings and rules emit ONNX nodes with: onnxscript's builder plus what relevance needs.

``op.Mul(a, 2.0)`` adds a node, promotes constants and knows the shape of the result at once. Added here:

- ``absorb(kind, amount)``: books relevance that reaches no input, into the ledger of the node that is being decomposed;
- ``stabilize``, ``divide``: denominators that are never zero;
- ``sum_to``: the adjoint of broadcasting;
- sizes of axes as numbers when they are static and as emitted values when they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx_ir as ir
from onnxscript import GraphBuilder, OpBuilder

from graphlrp.errors import ModelError

ABSORBED: Final = ("bias", "stabilizer", "constant", "dead", "residual")
"""What the ledger tells apart of relevance that reaches no input."""

Size = int | ir.Value
"""Size of an axis: a number, or an emitted int64 value of shape [1]."""


class Emitter(OpBuilder):
    """Emits nodes into the graph of the explainer; ``op.Add(a, b)`` and so on for every ONNX operator."""

    def __init__(self, graph: ir.Graph, *, ledger: bool, options: Mapping[str, Any]) -> None:
        _free_names(graph)
        builder = GraphBuilder(graph)
        super().__init__(builder, "", graph.opset_imports[""])
        self.graph = graph
        self.ledger = ledger
        self.options = dict(options)
        self.dtype: ir.DataType = ir.DataType.FLOAT
        self.batch_dimension: Any = None
        """The batch as shapes name it, None where it has no name."""
        self.bodies: Mapping[ir.OperatorIdentifier, ir.Function] = {}
        """Functions of the model, by what nodes call them."""
        self.differentiate: Callable[..., Sequence[ir.Value]] = _no_mappings
        """How ``vector_jacobian`` walks back; whoever knows the mappings sets it."""
        self.requirements: list[tuple[str, ir.Value]] = []
        """What must hold of every sample, and what to say where it does not."""
        self._absorbed: list[tuple[str, Callable[[], ir.Value]]] = []
        self._multiples: dict[ir.Value, frozenset[ir.Value]] = {}
        self._props: dict[str, str] = {}
        self._scalars: dict[float, ir.Value] = {}
        self._vectors: dict[tuple[int, ...], ir.Value] = {}
        self._dimensions: dict[ir.Value, list[Any]] = {}
        """Emitted sizes and shapes, and what is known of the axes that they speak of: inference does not see through them."""

    if TYPE_CHECKING:

        def __getattr__(self, operator: str) -> Callable[..., ir.Value]:
            """``op.Add(a, b)`` and so on; operators of several outputs return a sequence."""

    # Nodes and where they belong

    def _call_op(self, op_type: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        result = super()._call_op(op_type, inputs, kwargs)
        value = result[0] if isinstance(result, Sequence) else result
        node = value.producer()
        if node is not None:
            failure = node.metadata_props.get("pkg.onnxscript.shape_inference_error", "")
            if "InferenceError" in failure:
                shapes = ", ".join("none" if v is None else f"{v.shape} {v.dtype}" for v in node.inputs)
                raise ModelError(f"emitted {op_type} does not fit its inputs ({shapes}): {failure.strip()}")
            if self._props:
                node.metadata_props.clear()
                node.metadata_props.update(self._props)
            if op_type in ("Reshape", "Expand") and node.inputs[1] in self._dimensions:
                _name_sizes(node, self._dimensions[node.inputs[1]])
        return result

    @contextmanager
    def scope(self, name: str, **properties: str) -> Iterator[None]:
        """Nodes emitted inside are named ``name/...`` and carry ``properties`` as metadata, which Netron shows."""
        outer = self._props
        self._props = {**outer, **{f"graphlrp.{key}": text for key, text in properties.items()}}
        self.builder.push_module(name)
        try:
            yield
        finally:
            self.builder.pop_module()
            self._props = outer

    def number(self, array: Any, name: str | None = None) -> ir.Value:
        """An array as an initializer; real arrays take the element type of the explainer."""
        array = np.asarray(array)
        if array.dtype.kind == "f":
            array = array.astype(self.dtype.numpy())
        unique = name or f"constant_{len(self.graph.initializers)}"
        while unique in self.graph.initializers:
            unique += "_"
        return self.builder.initializer(ir.tensor(array, name=unique), name=unique, qualify=False)

    # The ledger

    def absorb(self, kind: str, amount: Callable[[], ir.Value]) -> None:
        """Book relevance that the current node keeps: ``amount`` emits it, per component, only if somebody asks.

        ``kind`` is one of ``ABSORBED``; the leading axis of the emitted value is the batch.
        """
        if kind not in ABSORBED:
            raise ValueError(f"unknown kind {kind!r} of absorbed relevance; kinds are {', '.join(ABSORBED)}")
        if not callable(amount):
            raise TypeError(
                "absorb: give a function that emits the amount, lambda: value, for it is called only if the ledger is kept"
            )
        self._absorbed.append((kind, amount))

    def take_absorbed(self) -> list[tuple[str, Callable[[], ir.Value]]]:
        """What was booked since the last call."""
        booked, self._absorbed = self._absorbed, []
        return booked

    def require(self, holds: ir.Value, otherwise: str) -> None:
        """State what a sample must fulfil to be explained: ``holds`` is bool [N], ``otherwise`` says what to do about it.

        The explainer raises an error that names the node and the samples. A saved file cannot, so let the relevance of such
        samples be NaN.
        """
        self.requirements.append((f"node {self._props.get('graphlrp.node', '')!r}: {otherwise}", holds))

    # Facts about emitted relevance

    def note_multiple(self, value: ir.Value, *factors: ir.Value) -> ir.Value:
        """State that ``value`` is zero wherever one of ``factors`` is; returns ``value``."""
        self._multiples[value] = self._multiples.get(value, frozenset()) | frozenset(factors)
        return value

    def multiples(self, value: ir.Value) -> frozenset[ir.Value]:
        """Values of the model known to be factors of an emitted relevance."""
        return self._multiples.get(value, frozenset())

    def total(self, values: Sequence[ir.Value]) -> ir.Value:
        """Sum of messages to one value: the treatment of skips and merges."""
        if len(values) == 1:
            return values[0]
        factors = frozenset.intersection(*(self.multiples(value) for value in values))
        for factor in factors:
            cofactors = [_cofactor(value, factor) for value in values]
            if all(cofactor is not None for cofactor in cofactors):
                # x·c + x·d = x·(c + d): one product instead of several.
                return self.note_multiple(self.Mul(factor, self._add(cofactors)), *factors)
        result = self._add(values)
        return self.note_multiple(result, *factors) if factors else result

    def _add(self, values: Sequence[ir.Value | None]) -> ir.Value:
        return self.Add(*values) if len(values) == 2 else self.Sum(*values)

    def shaped(self, value: ir.Value, like: ir.Value) -> ir.Value:
        """Take over the shape of ``like``, which inference loses where batches of one name meet.

        Raises:
            ValueError: the two shapes are known not to be equal.
        """
        if like.shape is None:
            return value
        if value.shape is not None:
            fits = len(value.shape) == len(like.shape) and all(
                a == b or not isinstance(a, int) or not isinstance(b, int) for a, b in zip(value.shape, like.shape, strict=True)
            )
            if not fits:
                raise ValueError(f"shape {value.shape} where {like.name!r} has {like.shape}")
        value.shape = like.shape.copy()
        return value

    def name_batch(self, value: ir.Value, like: ir.Value) -> ir.Value:
        """Name the batch axis of a value as that of ``like``, which has the same axes, if not the same sizes."""
        if self.batch_dimension is None or value.shape is None or like.shape is None or len(value.shape) != len(like.shape):
            return value
        value.shape = ir.Shape(
            own if isinstance(own, int) or not _same(other, self.batch_dimension) else self.batch_dimension
            for own, other in zip(value.shape, like.shape, strict=True)
        )
        return value

    # Functions and their derivatives

    def repeat(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
        """Emit a node of the model once more, at other inputs of the same shapes; a call of a function is spelled out."""
        function = self.bodies.get(node.op_identifier())
        if function is not None:
            for inner in function:
                # Without a version of its operator, the builder infers no shape.
                inner.version = inner.version or function.opset_imports.get(inner.domain)
            # Most bodies have the numbers of the attributes in them; one may be called as an argument of call_inline is.
            referred = {own.ref_attr_name for inner in function.graph.all_nodes() for own in inner.attributes.values()}
            attributes: dict[str, Any] = {name: own for name, own in node.attributes.items() if name in referred}
            result = self.builder.call_inline(function, *inputs, **attributes)
            outputs = [result] if isinstance(result, ir.Value) else list(result)
        else:
            copy = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs))
            for value, output in zip(copy.outputs, node.outputs, strict=True):
                value.name = f"{output.name}/repeated_{self.graph.num_nodes()}"
            self.builder.add_node(copy)
            outputs = list(copy.outputs)
        for value, output in zip(outputs, node.outputs, strict=True):
            value.type, value.shape = output.type, output.shape
        return outputs

    def has_body(self, node: ir.Node) -> bool:
        """Whether a node calls a function of the model."""
        return node.op_identifier() in self.bodies

    def vector_jacobian(self, output: ir.Value, inputs: Sequence[ir.Value], signal: ir.Value, rule: Any) -> Sequence[ir.Value]:
        """Emit Σ_j ∂output_j/∂x_i · signal_j for every x of ``inputs``, from which ``output`` was emitted.

        Every node in between needs a mapping with a ``gradient``. Nothing of it is booked.

        Args:
            output: the emitted value.
            inputs: emitted values that ``output`` is computed from.
            signal: shaped like ``output``.
            rule: the gradient rule, which decides what happens at rectifiers.

        Raises:
            UnsupportedOperatorError, RuleError: a node in between has no mapping, or its mapping no gradient.
        """
        booked, ledger = self._absorbed, self.ledger
        self._absorbed, self.ledger = [], False
        try:
            return self.differentiate(self, output, inputs, signal, rule)
        finally:
            self._absorbed, self.ledger = booked, ledger

    # Denominators

    @property
    def tiny(self) -> float:
        """Smallest magnitude of a denominator: far below any contribution, its inverse far from overflow."""
        return 1e-20 if self.dtype == ir.DataType.FLOAT else 1e-100

    def stabilize(self, z: ir.Value, epsilon: float | ir.Value) -> ir.Value:
        """``z + epsilon * sign(z)`` with ``sign(0) = +1`` (2.22)."""
        if isinstance(epsilon, ir.Value):
            return self.Add(z, self.Where(self.Less(z, 0.0), self.Neg(epsilon), epsilon))
        return self.Add(z, self.Where(self.Less(z, 0.0), self.scalar(-epsilon), self.scalar(epsilon)))

    def divide_stabilized(
        self, relevance: ir.Value, z: ir.Value, epsilon: float | ir.Value, rectified: ir.Value | None = None
    ) -> ir.Value:
        """``relevance / (z + epsilon * sign(z))``; the share of ε is booked as ``stabilizer``.

        ``epsilon`` is a number, or an emitted positive value that broadcasts to ``z``. Zero means ``divide``.
        ``rectified`` is max(z, 0) if the relevance is known to be zero wherever that is: then no sign has to be told.
        """
        if not isinstance(epsilon, ir.Value) and epsilon == 0:
            return self.divide(relevance, z)
        if rectified is not None:
            s = self.Div(relevance, self.Add(rectified, epsilon))
            self.absorb("stabilizer", lambda: self.Mul(s, epsilon))
        else:
            denominator = self.stabilize(z, epsilon)
            s = self.Div(relevance, denominator)
            self.absorb("stabilizer", lambda: self.Mul(s, self.Sub(denominator, z)))
        return s

    def divide(self, relevance: ir.Value, z: ir.Value) -> ir.Value:
        """``relevance / z``, and 0 where ``z`` is 0; what is lost there is booked as ``dead``.

        Relevance that was emitted as ``z`` times something, as where it starts from f(x), is not divided: that something is it.
        """
        quotient = _cofactor(relevance, z)
        if quotient is not None:
            return quotient
        empty = self.Equal(z, 0.0)
        self.absorb("dead", lambda: self.Where(empty, relevance, self.scalar(0.0)))
        return self.Where(empty, self.scalar(0.0), self.Div(relevance, self.Where(empty, self.scalar(1.0), z)))

    def divide_one_sided(self, relevance: ir.Value, z: ir.Value, level: float | None = None, *, factor: float = 1.0) -> ir.Value:
        """``relevance / z`` for a ``z`` that is a sum of terms of one sign, so that it is empty only if all of them are zero.

        An empty sum equals ``level``; without one, ``z`` is not negative and guarded here. Where it is empty, the quotient is a
        finite number that meets zero contributions only, and the relevance, times ``factor``, is booked as ``dead``.
        """
        guarded, empty = (self.Max(z, self.tiny), 0.0) if level is None else (z, level)

        def dead() -> ir.Value:
            lost = relevance if factor == 1 else self.Mul(relevance, factor)
            return self.Where(self.Equal(z, empty), lost, self.scalar(0.0))

        self.absorb("dead", dead)
        return self.Div(relevance, guarded)

    def scalar(self, number: float) -> ir.Value:
        """A scalar of the explainer's element type, for operators whose type nothing else tells (``Where``)."""
        if number not in self._scalars:
            self._scalars[number] = self.number(np.asarray(float(number)), f"scalar_{len(self._scalars)}")
        return self._scalars[number]

    # Shapes

    def size(self, value: ir.Value, axis: int) -> Size:
        """Size of an axis: an int if it is static, else an emitted int64 value of shape [1]."""
        if value.shape is not None:
            dimension = value.shape[axis]
            if isinstance(dimension, int):
                return dimension
            if axis < 0:
                axis += len(value.shape)
            size: ir.Value = self.Shape(value, start=axis, end=axis + 1)
            self._dimensions[size] = [dimension]
            return size
        return self.Shape(value, start=axis, end=axis + 1 if axis != -1 else None)

    def sizes(self, value: ir.Value, axes: Sequence[int] | None = None) -> list[Size]:
        """Sizes of several axes, all by default."""
        return [self.size(value, axis) for axis in (range(rank(value)) if axes is None else axes)]

    def shape(self, sizes: Sequence[Size]) -> ir.Value:
        """An int64 vector from sizes, for Reshape, Expand, Slice and the like."""
        if all(isinstance(size, int) for size in sizes):
            return self.integers([size for size in sizes if isinstance(size, int)])
        parts = [self.shape([size]) if isinstance(size, int) else size for size in sizes]
        if len(parts) == 1:
            return parts[0]
        vector: ir.Value = self.Concat(*parts, axis=0)
        unknown = [None]
        self._dimensions[vector] = [s if isinstance(s, int) else self._dimensions.get(s, unknown)[0] for s in sizes]
        return vector

    def shape_of(self, value: ir.Value) -> ir.Value:
        """The whole shape of a value as an int64 vector, constant if it is static."""
        if value.shape is not None and value.shape.is_static():
            return self.integers(value.shape.numpy())
        return self.Shape(value)

    def integers(self, numbers: Sequence[int]) -> ir.Value:
        """A constant int64 vector."""
        key = tuple(int(number) for number in numbers)
        if key not in self._vectors:
            self._vectors[key] = self.number(np.asarray(key, dtype=np.int64), f"integers_{len(self._vectors)}")
        return self._vectors[key]

    def reshape_like(self, value: ir.Value, like: ir.Value) -> ir.Value:
        """Bring a value of as many components to the shape of ``like``."""
        if value.shape is not None and value.shape == like.shape and value.shape.is_static():
            return value
        return self.Reshape(value, self.shape_of(like))

    def sum_to(self, value: ir.Value, like: ir.Value) -> ir.Value:
        """Sum over the axes along which ``like`` was broadcast to the shape of ``value``: broadcasting's adjoint."""
        if value.shape is None or like.shape is None:
            raise ValueError(f"the rank of {like.name!r} is not known, so broadcasting cannot be undone")
        if value.shape == like.shape and all(isinstance(d, int) or d.value is not None for d in like.shape):
            return value
        extra = len(value.shape) - len(like.shape)
        axes, unknown = list(range(extra)), False
        for axis, dimension in enumerate(like.shape):
            other = value.shape[extra + axis]
            if dimension == 1 and other != 1:
                axes.append(extra + axis)
            elif not isinstance(dimension, int) and not _same(dimension, other) and not (axis == 0 and extra == 0):
                # The leading axis is the batch, which is never broadcast.
                unknown = True
        result = value
        if axes:
            result = self.ReduceSum(result, self.integers(axes), keepdims=1)
        if unknown:
            result = self._sum_unknown(result, like, extra)
        return self.Reshape(result, self.shape_of(like)) if extra else result

    def _sum_unknown(self, value: ir.Value, like: ir.Value, extra: int) -> ir.Value:
        """Sum over axes of size 1 in ``like`` that are known only while the model runs."""
        shape = self.Shape(value, start=extra)
        ones = self.And(self.Equal(self.Shape(like), self.integers([1])), self.Not(self.Equal(shape, self.integers([1]))))
        axes = self.Add(self.Squeeze(self.NonZero(ones), self.integers([0])), self.integers([extra]))
        return self.ReduceSum(value, axes, keepdims=1, noop_with_empty_axes=1)

    def per_sample(self, value: ir.Value, batch: ir.Value) -> ir.Value:
        """Sum over everything but the batch: ``[N, ...] -> [N]``; ``batch`` is N as an int64 value of shape [1].

        The batch is the axis that bears its name; without one, it is (the leading factor of) the first axis.
        """
        axes = rank(value)
        if self.batch_dimension is not None and value.shape is not None:
            named = [axis for axis in range(axes) if _same(value.shape[axis], self.batch_dimension)]
            if named and named[0] != 0:
                value = self.Transpose(value, perm=[named[0], *(a for a in range(axes) if a != named[0])])
        flat = self.Reshape(value, self.Concat(batch, self.integers([-1]), axis=0))
        return self.ReduceSum(flat, self.integers([1]), keepdims=0)


def _free_names(graph: ir.Graph) -> None:
    """Rename weights that are called as the builder calls its constants, which it takes to be free."""
    for name in [name for name in graph.initializers if name.startswith("const_")]:
        other = f"own_{name}"
        while other in graph.initializers:
            other += "_"
        graph.initializers[name].name = other


def _name_sizes(node: ir.Node, dimensions: Sequence[Any]) -> None:
    """Tell the output of a Reshape or Expand the sizes it was given, where inference found none."""
    output = node.outputs[0]
    inferred = list(output.shape) if output.shape is not None else [None] * len(dimensions)
    if len(inferred) != len(dimensions):
        return
    known: list[Any] = []
    for own, given in zip(inferred, dimensions, strict=True):
        # 0 copies an axis and -1 is what is left over in a Reshape; 1 is broadcast in an Expand.
        plain = not isinstance(given, int) or given > (0 if node.op_type == "Reshape" else 1)
        unnamed = not isinstance(own, int) and (own is None or own.value is None)
        known.append(given if unnamed and plain else own)
    output.shape = ir.Shape(known)


def _no_mappings(*arguments: Any) -> Sequence[ir.Value]:
    raise ValueError("there are no derivatives here: forward_messages emits the operator itself")


def _cofactor(value: ir.Value, factor: ir.Value) -> ir.Value | None:
    """c if ``value`` was emitted as ``factor`` · c, of the same shape."""
    node = value.producer()
    if node is None or node.op_type != "Mul" or factor not in node.inputs:
        return None
    other = node.inputs[1] if node.inputs[0] is factor else node.inputs[0]
    return other if other is not None and other is not factor and factor.shape == value.shape else None


def rank(value: ir.Value) -> int:
    """Number of axes of a value.

    Raises:
        ValueError: shape inference found none.
    """
    if value.shape is None:
        raise ValueError(f"the rank of {value.name!r} is not known")
    return len(value.shape)


def static_sizes(value: ir.Value) -> tuple[int, ...]:
    """Sizes of all axes of a value whose shape is static, as that of weights is.

    Raises:
        ValueError: it is not.
    """
    if value.shape is None or not value.shape.is_static():
        raise ValueError(f"the shape of {value.name!r} is not static: {value.shape}")
    return tuple(value.shape.numpy())


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, int) or isinstance(right, int):
        return bool(left == right)
    return left.value is not None and left.value == right.value
