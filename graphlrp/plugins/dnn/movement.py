"""Movements: operators that copy positions (2.41). Relevance goes back to the position it was copied from.

The common ones are one-liners with their inverse. ``IndexedMovement`` covers all others with one idea: let the operator move
the numbers of the positions, and add the relevance up where they say it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np
import onnx_ir as ir

from graphlrp.ir.emitter import Emitter, Size, rank
from graphlrp.ir.facts import Bounds, Facts
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules.base import Rule
from graphlrp.rules.linear import Gradient


class Movement(Mapping):
    """Every output component is a copy of one input component, or a constant."""

    family: ClassVar[str] = "movement"
    native: ClassVar[str] = "copy back"

    def bounds(self) -> Bounds:
        """Those of the input."""
        return self.facts.bounds(self.inputs[0])

    def inverse(self, op: Emitter, signal: ir.Value, *, book: bool) -> ir.Value:
        """Add the signal up where it was copied from; ``book`` what constants took."""
        raise NotImplementedError(f"{type(self).__name__}.inverse")

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """The inverse movement."""
        message = self.inverse(op, relevance, book=True)
        if self.output in op.multiples(relevance):
            op.note_multiple(message, self.x)
        return [message]

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> list[ir.Value | None]:
        """The inverse movement."""
        return [self.inverse(op, gradient, book=False)]


class Reshaping(Movement):
    """Reshape, Flatten, Squeeze, Unsqueeze."""

    operators = (("", "Reshape"), ("", "Flatten"), ("", "Squeeze"), ("", "Unsqueeze"))

    def inverse(self, op: Emitter, signal: ir.Value, *, book: bool) -> ir.Value:
        """Reshape to the input's shape."""
        return op.Reshape(signal, op.shape_of(self.x))


class Transpose(Movement):
    """Transpose."""

    operators = (("", "Transpose"),)

    def inverse(self, op: Emitter, signal: ir.Value, *, book: bool) -> ir.Value:
        """The inverse permutation."""
        permutation = self.attribute("perm") or list(reversed(range(rank(self.x))))
        return op.Transpose(signal, perm=[int(axis) for axis in np.argsort(permutation)])


class Expand(Movement):
    """Expand: broadcasting spelled out."""

    operators = (("", "Expand"),)

    def inverse(self, op: Emitter, signal: ir.Value, *, book: bool) -> ir.Value:
        """Sum over the axes that were expanded."""
        return op.sum_to(signal, self.x)


class Tile(Movement):
    """Tile."""

    operators = (("", "Tile"),)

    def inverse(self, op: Emitter, signal: ir.Value, *, book: bool) -> ir.Value:
        """Split every axis into copies and original, and sum over the copies."""
        sizes = op.sizes(self.x)
        split: list[Size] = []
        for axis, size in enumerate(sizes):
            split += [_ratio(op, op.size(signal, axis), size), size]
        parts = op.Reshape(signal, op.shape(split))
        return op.ReduceSum(parts, op.integers(range(0, 2 * len(sizes), 2)), keepdims=0)


class SpaceDepth(Movement):
    """DepthToSpace and SpaceToDepth."""

    operators = (("", "DepthToSpace"), ("", "SpaceToDepth"))

    def inverse(self, op: Emitter, signal: ir.Value, *, book: bool) -> ir.Value:
        """Each is the other's inverse; the column-row order of DepthToSpace has none and is spelled out."""
        block = int(self.attribute("blocksize"))
        if self.node.op_type == "SpaceToDepth":
            return op.DepthToSpace(signal, blocksize=block, mode="DCR")
        if self.attribute("mode", "DCR") == "DCR":
            return op.SpaceToDepth(signal, blocksize=block)
        n, c, h, w = op.sizes(self.x)
        split = op.Reshape(signal, op.shape([n, -1, h, block, w, block]))
        return op.Reshape(op.Transpose(split, perm=[0, 1, 3, 5, 2, 4]), op.shape([n, c, h, w]))


class Concat(Movement):
    """Concat."""

    operators = (("", "Concat"),)

    def bounds(self) -> Bounds:
        """Hull of the inputs' bounds."""
        bounds = [self.facts.bounds(value) for value in self.inputs]
        return Bounds(min(b.low for b in bounds), max(b.high for b in bounds))

    def _parts(self, op: Emitter, signal: ir.Value) -> Sequence[ir.Value]:
        if len(self.inputs) == 1:
            return [signal]
        axis = int(self.attribute("axis"))
        lengths = op.shape([op.size(value, axis) for value in self.inputs if value is not None])
        parts = op.Split(signal, lengths, axis=axis, _outputs=len(self.inputs))
        return cast("Sequence[ir.Value]", parts)

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> list[ir.Value | None]:
        """The pieces; those of constants are booked."""
        multiple = self.output in op.multiples(relevance)
        messages: list[ir.Value | None] = []
        for index, (value, part) in enumerate(zip(self.inputs, self._parts(op, relevance), strict=True)):
            if index in self.active:
                assert value is not None
                messages.append(op.note_multiple(part, value) if multiple else part)
            else:
                op.absorb("constant", lambda part=part: part)  # type: ignore[misc]
                messages.append(None)
        return messages

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> list[ir.Value | None]:
        """The pieces."""
        return [part if k in self.active else None for k, part in enumerate(self._parts(op, gradient))]


class Split(Movement):
    """Split: several outputs, of which some may have no relevance."""

    operators = (("", "Split"),)

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        super().__init__(node, facts)
        for output in node.outputs[1:]:
            facts.set_bounds(output, facts.bounds(self.inputs[0]))

    def decompose(self, op: Emitter, relevances: Sequence[ir.Value | None], rule: Rule | None) -> list[ir.Value | None]:
        """Concatenate what arrived, zeros where nothing did."""
        parts = []
        for output, relevance in zip(self.node.outputs, relevances, strict=True):
            parts.append(op.Mul(output, 0.0) if relevance is None else relevance)
        message = op.Concat(*parts, axis=int(self.attribute("axis", 0)))
        if all(r is None or o in op.multiples(r) for o, r in zip(self.node.outputs, relevances, strict=True)):
            op.note_multiple(message, self.x)
        return self.per_input([message])


class Pad(Movement):
    """Pad; constants take the relevance of padding, copies give theirs back."""

    operators = (("", "Pad"),)

    @classmethod
    def lower(cls, node: ir.Node, facts: Facts) -> Mapping:
        """Padding with constants is cut off again; padding with copies is an indexed movement."""
        mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
        return cls(node, facts) if mode == "constant" else IndexedMovement(node, facts)

    def bounds(self) -> Bounds:
        """Those of the input and of the fill."""
        bounds, fill = self.facts.bounds(self.inputs[0]), self.constant(2)
        number = 0.0 if fill is None else float(fill.reshape(-1)[0])
        if self.input(2) is not None and fill is None:
            return Bounds()
        return Bounds(min(bounds.low, number), max(bounds.high, number))

    def inverse(self, op: Emitter, signal: ir.Value, *, book: bool) -> ir.Value:
        """Pad with the negative amounts: what was added is cut, what was cut is filled with zeros."""
        x_rank = rank(self.x)
        pads, axes = self.inputs[1], self.input(3)
        assert pads is not None
        numbers = self.facts.constant(pads)
        if numbers is not None and (axes is None or self.facts.constant(axes) is not None):
            chosen = range(x_rank) if axes is None else [int(a) % x_rank for a in self.facts.constant(axes)]  # type: ignore[union-attr]
            amounts = [0] * (2 * x_rank)
            for place_, axis in enumerate(chosen):
                amounts[axis] = -int(numbers[place_])
                amounts[x_rank + axis] = -int(numbers[len(numbers) // 2 + place_])
            result = op.Pad(signal, op.integers(amounts))
        elif axes is None:
            result = op.Pad(signal, op.Neg(pads))
        else:
            result = op.Pad(signal, op.Neg(pads), None, axes)
        if book:
            op.absorb("constant", lambda: self._cut(op, signal, result))
        return result

    def _cut(self, op: Emitter, signal: ir.Value, result: ir.Value) -> ir.Value:
        """What lay on the padding: the signal minus the part that was kept."""
        inputs = list(self.inputs[1:])
        if len(inputs) > 1:
            inputs[1] = None
        return op.Sub(signal, op.Pad(result, *inputs))


class Slice(Movement):
    """Slice: zeros where nothing was taken."""

    operators = (("", "Slice"),)

    @classmethod
    def lower(cls, node: ir.Node, facts: Facts) -> Mapping:
        """With constant bounds and static sizes along the cut axes, zeros are put back; else an indexed movement."""
        x = node.inputs[0]
        known = all(facts.constant(value) is not None for value in node.inputs[1:] if value is not None)
        if not known or x is None or x.shape is None:
            return IndexedMovement(node, facts)
        mapping = cls(node, facts)
        return mapping if all(isinstance(x.shape[axis], int) for axis, *_ in mapping.cuts()) else IndexedMovement(node, facts)

    def cuts(self) -> list[tuple[int, int | None, int | None, int]]:
        """(axis, start, end, step) as the node states them."""
        starts, ends = self.constant(1), self.constant(2)
        assert starts is not None and ends is not None
        axes, steps = self.constant(3), self.constant(4)
        x_rank = rank(self.inputs[0])  # type: ignore[arg-type]
        chosen = range(len(starts)) if axes is None else axes
        strides = np.ones(len(starts), np.int64) if steps is None else steps
        return [(int(a) % x_rank, int(s), int(e), int(k)) for a, s, e, k in zip(chosen, starts, ends, strides, strict=True)]

    def inverse(self, op: Emitter, signal: ir.Value, *, book: bool) -> ir.Value:
        """Spread by the steps, then pad with zeros to the input's size."""
        x_rank = rank(self.x)
        amounts = [0] * (2 * x_rank)
        for axis, start, end, step in self.cuts():
            size = int(self.x.shape[axis])  # type: ignore[index,arg-type]
            taken = _slice_range(start, end, step, size)
            if step < 0:
                signal = op.Slice(signal, op.integers([-1]), op.integers([-(2**31)]), op.integers([axis]), op.integers([-1]))
                taken = taken[::-1]
            if abs(step) > 1:
                signal = _spread_steps(op, signal, axis, abs(step))
            amounts[axis] = taken.start if len(taken) else 0
            amounts[x_rank + axis] = size - amounts[axis] - len(taken) * abs(step)
        return op.Pad(signal, op.integers(amounts)) if any(amounts) else signal


class IndexedMovement(Movement):
    """Gather, GatherElements, GatherND, ReverseSequence, CenterCropPad, Compress, Trilu, reflecting Pad, any Slice ...

    The operator is applied to the positions 1, 2, ... of the input's components; what comes out says where each output
    component came from, 0 if from no input. Relevance is added up there; that of constants is booked.
    """

    operators = (
        ("", "Gather"),
        ("", "GatherElements"),
        ("", "GatherND"),
        ("", "ReverseSequence"),
        ("", "CenterCropPad"),
        ("", "Compress"),
        ("", "Trilu"),
    )

    def inverse(self, op: Emitter, signal: ir.Value, *, book: bool) -> ir.Value:
        """ScatterElements with addition into a vector whose entry 0 collects what came from no input."""
        total = op.Size(self.x)
        one = op.number(np.asarray(1, dtype=np.int64))
        positions = op.Range(one, op.Add(total, one), one)
        shaped = op.Reshape(positions, op.shape_of(self.x))
        attributes = {name: attribute.value for name, attribute in self.node.attributes.items()}
        rest = list(self.inputs[1:])
        if self.node.op_type == "Pad" and len(rest) > 1:
            rest[1] = None
        moved = getattr(op, self.node.op_type)(shaped, *rest, **attributes)
        zeros = op.Expand(op.scalar(0.0), op.Reshape(op.Add(total, one), op.integers([1])))
        flat = op.Reshape(moved, op.integers([-1]))
        summed = op.ScatterElements(zeros, flat, op.Reshape(signal, op.integers([-1])), axis=0, reduction="add")
        if book:
            op.absorb("constant", lambda: op.Where(op.Equal(moved, op.number(np.asarray(0, np.int64))), signal, op.scalar(0.0)))
        inside = op.Slice(summed, op.integers([1]), op.integers([2**62]), op.integers([0]))
        return op.Reshape(inside, op.shape_of(self.x))


def _ratio(op: Emitter, whole: Size, part: Size) -> Size:
    """How often one size fits into another."""
    if isinstance(whole, int) and isinstance(part, int):
        return whole // part
    return op.Div(op.shape([whole]), op.shape([part]))


def _slice_range(start: int | None, end: int | None, step: int, size: int) -> range:
    """The positions that Slice takes: Python's slices, except that an end far below zero means "through 0"."""
    if step < 0 and end is not None and end < -size:
        end = None
    return range(*slice(start, end, step).indices(size))


def _spread_steps(op: Emitter, signal: ir.Value, axis: int, step: int) -> ir.Value:
    """Put ``step - 1`` zeros behind every entry along an axis."""
    sizes = op.sizes(signal)
    apart = op.Unsqueeze(signal, op.integers([axis + 1]))
    amounts = [0] * (2 * (len(sizes) + 1))
    amounts[len(sizes) + 1 + axis + 1] = step - 1
    padded = op.Pad(apart, op.integers(amounts))
    size = sizes[axis]
    merged: Size = size * step if isinstance(size, int) else op.Mul(size, op.integers([step]))
    return op.Reshape(padded, op.shape([*sizes[:axis], merged, *sizes[axis + 1 :]]))
