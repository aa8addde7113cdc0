"""Gemm, MatMul and Einsum with constants: dense layers."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.ir.facts import Bounds, Facts
from graphlrp.ir.functions import Fusion
from graphlrp.plugins.mapping import LinearMapping
from graphlrp.rules.weights import TensorWeight, Weight


class _Matrix(LinearMapping):
    """A linear mapping whose weights are the one other operand."""

    family: ClassVar[str] = "dense"

    @property
    def weight_index(self) -> int:
        """Position of the weights among the inputs."""
        return 1 - self.active[0]

    def weight(self, op: Emitter) -> Weight:
        """The other operand."""
        value = self.inputs[self.weight_index]
        assert value is not None
        return TensorWeight(value, self.facts.bounds(value))


class Gemm(_Matrix):
    """y = α A' B' + β C, with A' and B' transposed on demand."""

    operators = (("", "Gemm"),)

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        super().__init__(node, facts)
        if self.active not in ([0], [1]):
            raise RuleError(
                f"Gemm node {node.name!r}: relevance goes to one of its factors; here inputs {self.active} depend on the"
                " explained input. Export the product as MatMul and Add"
            )

    def _flag(self, name: str) -> bool:
        return bool(self.attribute(name, 0))

    def additive(self, op: Emitter) -> ir.Value | None:
        """β C."""
        bias = self.input(2)
        beta = float(self.attribute("beta", 1.0))
        if bias is None or beta == 0:
            return None
        return bias if beta == 1 else op.Mul(bias, beta)

    def weight(self, op: Emitter) -> Weight:
        """α times the other factor: the sign of α decides which messages are positive."""
        weight, alpha = super().weight(op), float(self.attribute("alpha", 1.0))
        if alpha == 1:
            return weight
        assert isinstance(weight, TensorWeight)
        ends = sorted((weight.bounds.low * alpha, weight.bounds.high * alpha))
        return TensorWeight(op.Mul(weight.value, alpha), Bounds(*ends) if alpha else Bounds(0.0, 0.0))

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """A' B'."""
        assert isinstance(weight, TensorWeight)
        a, b = (x, weight.value) if self.active == [0] else (weight.value, x)
        return op.Gemm(a, b, **_transposed(self._flag("transA"), self._flag("transB")))

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """s B'^T for A, A'^T s for B, transposed back."""
        assert isinstance(weight, TensorWeight)
        w = weight.value
        trans_a, trans_b = self._flag("transA"), self._flag("transB")
        if self.active == [0]:
            if trans_a:  # A = (s B'^T)^T = B' s^T
                return op.Gemm(w, s, **_transposed(trans_b, True))
            return op.Gemm(s, w, **_transposed(False, not trans_b))
        if trans_b:  # B = (A'^T s)^T = s^T A'
            return op.Gemm(s, w, **_transposed(True, trans_a))
        return op.Gemm(w, s, **_transposed(not trans_a, False))


class MatMulConstant(_Matrix):
    """y = x W or y = W x, broadcast over leading axes; chosen by the MatMul mapping when one factor is constant."""

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """The product with x on its side."""
        assert isinstance(weight, TensorWeight)
        return op.MatMul(x, weight.value) if self.active == [0] else op.MatMul(weight.value, x)

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """s W^T or W^T s, summed where x was broadcast."""
        assert isinstance(weight, TensorWeight)
        w = weight.value
        x_rank, w_rank = rank(self.x), rank(w)
        if self.active == [0]:
            columns = op.Unsqueeze(w, op.integers([0])) if w_rank == 1 else _transpose_matrix(op, w)
            rows = op.Unsqueeze(s, op.integers([-1])) if w_rank == 1 else s
            if x_rank == 1:
                product = op.Squeeze(op.MatMul(op.Unsqueeze(rows, op.integers([-2])), columns), op.integers([-2]))
            else:
                product = op.MatMul(rows, columns)
        else:
            columns = op.Unsqueeze(w, op.integers([1])) if w_rank == 1 else _transpose_matrix(op, w)
            rows = op.Unsqueeze(s, op.integers([-2])) if w_rank == 1 else s
            if x_rank == 1:
                product = op.Squeeze(op.MatMul(columns, op.Unsqueeze(rows, op.integers([-1]))), op.integers([-1]))
            else:
                product = op.MatMul(columns, rows)
        return op.sum_to(product, self.x)


class Linear(MatMulConstant):
    """y = x W + b for x of three axes or more, where ONNX has no operator with a bias: MatMul and Add as one node."""

    operators = (("graphlrp", "Linear"),)

    def additive(self, op: Emitter) -> ir.Value | None:
        """b."""
        return self.input(2)


def _matmul_and_bias(op: Any, x: Any, w: Any, b: Any) -> Any:
    return op.Add(op.MatMul(x, w), b)


def _is_layer(context: Any, x: ir.Value, w: ir.Value, b: ir.Value) -> bool:
    """Whether a product and a sum are a dense layer on more than one axis, with a bias per output."""
    if w.const_value is None or b.const_value is None or x.shape is None or w.shape is None or b.shape is None:
        return False
    return len(x.shape) > 2 and len(w.shape) == 2 and list(b.shape) == [w.shape[1]]


def fuse_bias(model: ir.Model) -> str | None:
    """Make MatMul and Add of a dense layer on several axes one node, so that its bias is known as one."""
    products = {node.outputs[0] for node in model.graph if node.op_type == "MatMul"}
    if not any(value in products for node in model.graph if node.op_type == "Add" for value in node.inputs):
        return None
    note = Fusion(_matmul_and_bias, ("graphlrp", "Linear"), _is_layer)(model)
    return note if any(node.domain == "graphlrp" for node in model.graph) else None


class EinsumConstant(_Matrix):
    """Einsum of one active operand with one constant; chosen by the Einsum mapping."""

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        super().__init__(node, facts)
        equation = str(self.attribute("equation")).replace(" ", "")
        left, _, self.result = equation.partition("->")
        self.terms = left.split(",")
        own = self.terms[self.active[0]]
        if "..." in equation or "->" not in equation or any(len(set(term)) != len(term) for term in self.terms):
            raise RuleError(
                f"Einsum node {node.name!r}: its equation {equation!r} has an ellipsis, repeated indices in a term or no explicit"
                " result; spell it out or register a mapping of your own"
            )
        missing = set(own) - set(self.result) - set(self.terms[self.weight_index])
        if missing:
            raise RuleError(
                f"Einsum node {node.name!r}: {equation!r} sums {sorted(missing)} over one operand; put a ReduceSum before it"
            )

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """The same equation."""
        assert isinstance(weight, TensorWeight)
        operands = (x, weight.value) if self.active == [0] else (weight.value, x)
        return op.Einsum(*operands, equation=f"{','.join(self.terms)}->{self.result}")

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """The equation with the result and x exchanged."""
        assert isinstance(weight, TensorWeight)
        equation = f"{self.result},{self.terms[self.weight_index]}->{self.terms[self.active[0]]}"
        return op.Einsum(s, weight.value, equation=equation)


def _transposed(a: bool, b: bool) -> dict[str, int]:
    """Attributes of a Gemm that transposes its factors."""
    return {name: 1 for name, flag in (("transA", a), ("transB", b)) if flag}


def _transpose_matrix(op: Emitter, w: ir.Value) -> ir.Value:
    axes = list(range(rank(w)))
    return op.Transpose(w, perm=[*axes[:-2], axes[-1], axes[-2]])
