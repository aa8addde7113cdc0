"""Conv and ConvTranspose: one to three dimensions, groups, strides, dilation, any padding.

Each is the other's adjoint. On CPUs a transposed convolution is several times slower than a convolution, so the adjoint of a
stride-1 convolution is a convolution with the flipped kernel, that of a strided one is one convolution per phase of the
stride, all of them stacked along the channels and interleaved afterwards (sub-pixel convolution).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import onnx_ir as ir

from graphlrp.errors import RuleError
from graphlrp.ir.emitter import Emitter, Size, rank
from graphlrp.ir.facts import Facts
from graphlrp.plugins.dnn.windows import Window, read_window, transpose_windows
from graphlrp.plugins.mapping import LinearMapping
from graphlrp.rules.weights import TensorWeight, Weight


class Convolving(LinearMapping):
    """What convolutions and transposed convolutions share: kernel, groups, bias per channel."""

    family: ClassVar[str] = "convolution"

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        super().__init__(node, facts)
        if self.active != [0]:
            raise RuleError(
                f"{node.op_type} node {node.name!r}: its kernel or bias depends on the explained input; relevance can only go to"
                " its first input. Explain another input (explain=...) or register a mapping of your own"
            )

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.attribute("group", 1))

    @cached_property
    def window(self) -> Window:
        """Geometry of the kernel."""
        kernel = self.attribute("kernel_shape")
        weights = self.inputs[1]
        if kernel is None:
            assert weights is not None and weights.shape is not None
            kernel = [int(k) for k in weights.shape[2:]]  # type: ignore[arg-type]
        return read_window(self, kernel, self.x)

    def weight(self, op: Emitter) -> Weight:
        """The kernel."""
        value = self.inputs[1]
        assert value is not None
        return TensorWeight(value, self.facts.bounds(value))

    def additive(self, op: Emitter) -> ir.Value | None:
        """The bias as [1, M, 1, ...]."""
        bias = self.input(2)
        return None if bias is None else op.Reshape(bias, op.integers([1, -1] + [1] * self.window.dimensions))


class Convolution(Convolving):
    """z_j = Σ_{i in window} x_i w_ij + b_j."""

    operators = (("", "Conv"),)

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """The convolution without bias."""
        assert isinstance(weight, TensorWeight)
        attributes = {
            name: self.node.attributes[name].value
            for name in ("strides", "dilations", "pads", "group", "auto_pad")
            if name in self.node.attributes
        }
        return op.Conv(x, weight.value, **attributes)

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """The transposed convolution, in the form that is fastest."""
        assert isinstance(weight, TensorWeight)
        if weight.all_ones:
            return self._adjoint_of_ones(op, s)
        w, window, groups = weight.value, self.window, self.groups
        if all(stride == 1 for stride in window.strides):
            flipped = self._flipped(op, w)
            if flipped is not None:
                return op.Conv(s, flipped, **self._flipped_geometry())
        return transpose_windows(op, s, w, window, self.x, self.output, groups)

    def _flipped_geometry(self) -> dict[str, object]:
        window = self.window
        assert window.begin is not None and window.end is not None
        pads = [e - 1 - p for ends in (window.begin, window.end) for e, p in zip(window.extent, ends, strict=True)]
        return {"pads": pads, "dilations": list(window.dilations), "group": self.groups}

    def _flipped(self, op: Emitter, w: ir.Value) -> ir.Value | None:
        """The kernel [M, C/g, k] as the kernel [C, M/g, k] of the adjoint; None if the padding exceeds the kernel."""
        window = self.window
        if window.begin is None or window.end is None:
            return None
        if any(p > e - 1 for ends in (window.begin, window.end) for p, e in zip(ends, window.extent, strict=True)):
            return None
        return _reverse(op, _swap_channels(op, w, self.groups), list(window.axes), window.kernel)

    def _adjoint_of_ones(self, op: Emitter, s: ir.Value) -> ir.Value:
        """With all weights one, every channel of a group receives the same: one channel per group is computed."""
        groups, window = self.groups, self.window
        if groups == 1:
            summed: ir.Value = op.ReduceSum(s, op.integers([1]), keepdims=1)
        else:
            grouped = op.Reshape(s, op.shape([0, groups, -1, *op.sizes(s)[2:]]))
            summed = op.ReduceSum(grouped, op.integers([2]), keepdims=0)
        kernel = op.Expand(op.scalar(1.0), op.integers([groups, 1, *window.kernel]))
        cut = transpose_windows(op, summed, kernel, window, self.x, self.output, groups)
        kernel_weights = self.inputs[1]
        assert kernel_weights is not None
        per_group = op.size(kernel_weights, 1)
        if groups == 1 or per_group == 1:
            return cut
        repeated = op.Expand(op.Unsqueeze(cut, op.integers([2])), op.shape([1, 1, per_group] + [1] * window.dimensions))
        return op.Reshape(repeated, op.shape([0, -1, *op.sizes(self.x)[2:]]))


class TransposedConvolution(Convolving):
    """z_j = Σ_i x_i w_ij + b_j with the windows laid over the output."""

    operators = (("", "ConvTranspose"),)

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """The transposed convolution without bias."""
        assert isinstance(weight, TensorWeight)
        names = ("strides", "dilations", "pads", "group", "auto_pad", "output_padding", "output_shape")
        attributes = {name: self.node.attributes[name].value for name in names if name in self.node.attributes}
        return op.ConvTranspose(x, weight.value, **attributes)

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """The convolution with the same kernel, over the output padded and cut as the forward pass did."""
        assert isinstance(weight, TensorWeight)
        window, axes = self.window, list(self.window.axes)
        # The full result, before padding was cut off, has (size - 1) · stride + extent pixels per axis.
        full = [
            self._full(op, op.size(self.x, axis), stride, extent)
            for axis, stride, extent in zip(axes, window.strides, window.extent, strict=True)
        ]
        begin = self._begin(op, full, s)
        sizes = op.sizes(s, axes)
        amounts: list[Size] = [0, 0, *begin, 0, 0]
        for size, start, length in zip(full, begin, sizes, strict=True):
            if isinstance(size, int) and isinstance(start, int) and isinstance(length, int):
                amounts.append(size - start - length)
            else:
                amounts.append(op.Sub(op.Sub(op.shape([size]), op.shape([start])), op.shape([length])))
        padded = s if all(isinstance(a, int) and a == 0 for a in amounts) else op.Pad(s, op.shape(amounts))
        return op.Conv(padded, weight.value, strides=list(window.strides), dilations=list(window.dilations), group=self.groups)

    @staticmethod
    def _full(op: Emitter, size: Size, stride: int, extent: int) -> Size:
        if isinstance(size, int):
            return (size - 1) * stride + extent
        return op.Add(op.Mul(op.Sub(size, op.integers([1])), op.integers([stride])), op.integers([extent]))

    def _begin(self, op: Emitter, full: list[Size], s: ir.Value) -> list[Size]:
        """Pixels that the forward pass cut off before each axis."""
        shape, mode = self.attribute("output_shape"), self.attribute("auto_pad", "NOTSET")
        if shape is None and mode == "NOTSET":
            pads = self.attribute("pads") or [0] * (2 * self.window.dimensions)
            return list(pads[: self.window.dimensions])
        if shape is None and mode == "VALID":
            return [0] * self.window.dimensions
        starts: list[Size] = []
        extra = self.attribute("output_padding") or [0] * self.window.dimensions
        for axis, size, more in zip(self.window.axes, full, extra, strict=True):
            length = op.size(s, axis)
            if isinstance(size, int) and isinstance(length, int):
                total = max(size + more - length, 0)
                starts.append(total // 2 if mode != "SAME_LOWER" else total - total // 2)
            else:
                cut = op.Max(op.Sub(op.Add(op.shape([size]), op.integers([more])), op.shape([length])), op.integers([0]))
                rounded = cut if mode != "SAME_LOWER" else op.Add(cut, op.integers([1]))
                starts.append(op.Div(rounded, op.integers([2])))
        return starts


def _swap_channels(op: Emitter, w: ir.Value, groups: int) -> ir.Value:
    """[M, C/g, k...] -> [C, M/g, k...]."""
    axes = list(range(2, rank(w)))
    if groups == 1:
        return op.Transpose(w, perm=[1, 0, *axes])
    sizes = op.sizes(w)
    if isinstance(sizes[0], int) and isinstance(sizes[1], int):
        outputs, per_group = sizes[0] // groups, sizes[1]
        if outputs == 1 and per_group == 1:
            return w
        split = op.Reshape(w, op.shape([groups, outputs, per_group, *sizes[2:]]))
        swapped = op.Transpose(split, perm=[0, 2, 1, *(axis + 1 for axis in axes)])
        return op.Reshape(swapped, op.shape([groups * per_group, outputs, *sizes[2:]]))
    split = op.Reshape(w, op.shape([groups, -1, *sizes[1:]]))
    swapped = op.Transpose(split, perm=[0, 2, 1, *(axis + 1 for axis in axes)])
    outputs_ = op.Div(op.shape([sizes[0]]), op.integers([groups]))
    return op.Reshape(swapped, op.shape([-1, outputs_, *sizes[2:]]))


def _reverse(op: Emitter, w: ir.Value, axes: Sequence[int], sizes: Sequence[int]) -> ir.Value:
    """Flip a kernel along its spatial axes."""
    flipped = [axis for axis, size in zip(axes, sizes, strict=True) if size > 1]
    if not flipped:
        return w
    n = len(flipped)
    return op.Slice(w, op.integers([-1] * n), op.integers([-(2**31)] * n), op.integers(flipped), op.integers([-1] * n))
