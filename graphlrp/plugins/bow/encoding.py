"""Mappings from local descriptors to a Bag-of-Words vector: assignment to words, pooling, Fisher vectors.

What descriptor l contributes to dimension d is z_ld; no tensor of all of them is ever made. With s_d = R_d / (z_d + ε sign z_d),

    R_l = Σ_d z_ld s_d   (2.78), (2.82)   and R_d / |L| for each l where no descriptor reaches d   (2.79)

Policy ``descriptors``: ``"whole"`` gives every number of a descriptor an equal part of R_l, for pixels count whole descriptors
(2.85); ``"dimensions"`` tells the numbers of a descriptor apart where the coding does (D.3).
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from typing import ClassVar

import onnx_ir as ir

from graphlrp.ir.emitter import Emitter
from graphlrp.plugins.dnn.dense import MatMulConstant
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Epsilon


class DescriptorProjection(MatMulConstant):
    """x W for descriptors x [N, L, D] and W [D, E]: principal components, every rule of linear mappings."""

    operators = (("graphlrp", "DescriptorProjection"),)
    family: ClassVar[str] = "descriptors"


class Encoding(Mapping):
    """A mapping whose first input are descriptors [N, L, D], or numbers that belong to them."""

    family: ClassVar[str] = "encoding"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"descriptors": ("whole", "dimensions")}

    def accepts(self, rule: Rule) -> bool:
        """The ε rule: ε stabilises the sums over descriptors."""
        return isinstance(rule, Epsilon)

    def given(self, index: int) -> ir.Value:
        """An input that is there."""
        value = self.input(index)
        assert value is not None
        return value

    def only_first(self, message: ir.Value) -> list[ir.Value | None]:
        """The message to the descriptors; all other inputs get none."""
        return [message, *[None] * (len(self.inputs) - 1)]


def spread(op: Emitter, relevance: ir.Value, x: ir.Value) -> ir.Value:
    """R_l [N, L, 1] in equal parts to the numbers of descriptors [N, L, D]."""
    width = static_last(x)
    return op.shaped(op.Expand(op.Div(relevance, float(width)), op.shape_of(x)), x)


def static_last(x: ir.Value) -> int:
    """Size of the last axis, which is static."""
    size = None if x.shape is None else x.shape[-1]
    if not isinstance(size, int):
        raise ValueError(f"the last axis of {x.name!r} is not static: {x.shape}")
    return size
