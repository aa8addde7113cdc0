"""Resize: linear in its input, with the interpolation weights as w_ij."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.ir.facts import Facts
from graphlrp.plugins.mapping import LinearMapping
from graphlrp.rules.weights import SeparableWeight, Weight


class Resize(LinearMapping):
    """Nearest, linear and cubic interpolation: an outer product of one matrix per resized axis.

    The matrix of an axis is what the operator itself makes of the unit matrix, so every mode, coordinate transformation and
    dynamic size is covered by the definition that the forward pass uses.

    Raises:
        RuleError: cropping resize, whose weights are no outer product.
    """

    operators = (("", "Resize"),)
    family: ClassVar[str] = "pooling"

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        super().__init__(node, facts)
        if self.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
            raise RuleError(f"Resize node {node.name!r}: tf_crop_and_resize is not decomposed; crop with Slice and then resize")

    def _axes(self, op: Emitter) -> list[int]:
        """The axes that change size, as far as that is known; all but batch and channel if it is not."""
        x, z = self.x, self.output
        axes = self.attribute("axes")
        chosen = [int(a) % rank(x) for a in axes] if axes else list(range(rank(x)))
        scales = self.constant(2)
        if scales is not None and scales.size == len(chosen):
            return [axis for axis, scale in zip(chosen, scales, strict=True) if scale != 1]
        if x.shape is not None and z.shape is not None:
            return [a for a in chosen if not (x.shape[a] == z.shape[a] and isinstance(x.shape[a], int)) and a > 1]
        return [axis for axis in chosen if axis > 1]

    def weight(self, op: Emitter) -> Weight:
        """One matrix [size out, size in] per resized axis."""
        attributes: dict[str, Any] = {
            name: attribute.value
            for name, attribute in self.node.attributes.items()
            if name not in ("axes", "keep_aspect_ratio_policy")
        }
        attributes["axes"] = [0]
        position = self._axes(op)
        all_axes = self.attribute("axes")
        order = [int(a) % rank(self.x) for a in all_axes] if all_axes else list(range(rank(self.x)))
        matrices = []
        for axis in position:
            size = op.shape([op.size(self.x, axis)])
            unit = op.EyeLike(op.Expand(op.scalar(0.0), op.Concat(size, size, axis=0)))
            scales = self.input(2)
            given = self.constant(2)
            if scales is not None and (given is None or given.size):
                index = op.integers([order.index(axis)])
                matrices.append(op.Resize(unit, None, op.Gather(scales, index), **attributes))
            else:
                length = op.shape([op.size(self.output, axis)])
                matrices.append(op.Resize(unit, None, None, length, **attributes))
        return SeparableWeight((tuple(matrices),), nonnegative=self.attribute("mode", "nearest") != "cubic")

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """Multiply by the matrix of each axis."""
        return self._multiply(op, x, weight, adjoint=False)

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """Multiply by the transposed matrix of each axis."""
        return self._multiply(op, s, weight, adjoint=True)

    def _multiply(self, op: Emitter, value: ir.Value, weight: Weight, *, adjoint: bool) -> ir.Value:
        assert isinstance(weight, SeparableWeight)
        results = []
        for matrices in weight.terms:
            result = value
            for axis, matrix in zip(self._axes(op), matrices, strict=True):
                result = _along(op, result, op.Transpose(matrix, perm=[1, 0]) if adjoint else matrix, axis)
            results.append(result)
        return op.total(results)


def _along(op: Emitter, value: ir.Value, matrix: ir.Value, axis: int) -> ir.Value:
    """Multiply a tensor by a matrix along one axis."""
    n = rank(value)
    if axis == n - 2:
        return op.MatMul(matrix, value)
    if axis == n - 1:
        return op.MatMul(value, op.Transpose(matrix, perm=[1, 0]))
    order: Sequence[int] = [a for a in range(n) if a != axis] + [axis]
    back = [order.index(a) for a in range(n)]
    moved = op.MatMul(op.Transpose(value, perm=list(order)), op.Transpose(matrix, perm=[1, 0]))
    return op.Transpose(moved, perm=back)
