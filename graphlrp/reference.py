"""Float64 execution on ``onnx.reference``, with vectorised convolutions and pooling.

The reference evaluator defines ONNX in numpy, but its convolutions and pooling loop over pixels in Python, and some operators
of onnx 1.23 are wrong or missing there. They are replaced here:

- Conv, ConvTranspose: sums of matrix products over kernel offsets (groups with several output channels each fail in onnx);
- MaxPool, AveragePool, LpPool: onnx shifts windows under ``ceil_mode`` and loses rows with SAME_LOWER;
- GlobalMaxPool, GlobalLpPool: onnx has the one for two dimensions only and the other not at all;
- LRN: onnx leaves out channels; Mean: onnx does not broadcast its first input; Pad: onnx takes no negative amounts;
  Erf: onnx computes it in single precision; Gelu: its function body has constants in single precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from scipy.special import erf

Array = npt.NDArray[Any]


class Conv(OpRun):
    """Convolution of any dimension."""

    op_domain = ""

    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None, pads=None, strides=None):
        d = x.ndim - 2
        strides, dilations, group = strides or [1] * d, dilations or [1] * d, group or 1
        extent = [(k - 1) * dilation + 1 for k, dilation in zip(w.shape[2:], dilations, strict=True)]
        begin, end = _padding(auto_pad, pads, x.shape[2:], extent, strides)
        padded = np.pad(x, [(0, 0), (0, 0), *zip(begin, end, strict=True)])
        sizes = [(n - e) // s + 1 for n, e, s in zip(padded.shape[2:], extent, strides, strict=True)]
        n, m = len(x), w.shape[0]
        grouped = w.reshape(group, m // group, *w.shape[1:])
        total = np.zeros((n, group, m // group, int(np.prod(sizes))), x.dtype)
        for offset in product(*(range(k) for k in w.shape[2:])):
            cut = tuple(
                slice(o * dilation, o * dilation + (size - 1) * s + 1, s)
                for o, dilation, size, s in zip(offset, dilations, sizes, strides, strict=True)
            )
            taken = padded[(slice(None), slice(None), *cut)].reshape(n, group, -1, int(np.prod(sizes)))
            total += grouped[(Ellipsis, *offset)] @ taken
        result = total.reshape(n, m, *sizes)
        return (result if b is None else result + b.reshape(1, -1, *[1] * d),)


class ConvTranspose(OpRun):
    """Transposed convolution of any dimension."""

    op_domain = ""

    def _run(
        self,
        x,
        w,
        b=None,
        auto_pad=None,
        dilations=None,
        group=None,
        kernel_shape=None,
        output_padding=None,
        output_shape=None,
        pads=None,
        strides=None,
    ):
        d = x.ndim - 2
        strides, dilations, group = strides or [1] * d, dilations or [1] * d, group or 1
        extra = list(output_padding or [0] * d)[:d]
        extent = [(k - 1) * dilation + 1 for k, dilation in zip(w.shape[2:], dilations, strict=True)]
        full = [(size - 1) * s + e + more for size, s, e, more in zip(x.shape[2:], strides, extent, extra, strict=True)]
        n, m = len(x), w.shape[1] * group
        total = np.zeros((n, m, *full), x.dtype)
        grouped_x = x.reshape(n, group, x.shape[1] // group, -1)
        grouped_w = w.reshape(group, w.shape[0] // group, *w.shape[1:])
        for offset in product(*(range(k) for k in w.shape[2:])):
            cut = tuple(
                slice(o * dilation, o * dilation + (size - 1) * s + 1, s)
                for o, dilation, size, s in zip(offset, dilations, x.shape[2:], strides, strict=True)
            )
            part = np.swapaxes(grouped_w[(Ellipsis, *offset)], -1, -2) @ grouped_x
            total[(slice(None), slice(None), *cut)] += part.reshape(n, m, *x.shape[2:])
        if output_shape is None and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            output_shape = [size * s for size, s in zip(x.shape[2:], strides, strict=True)]
        if output_shape is not None:
            surplus = [max(have - want, 0) for have, want in zip(full, output_shape, strict=True)]
            begin = [s - s // 2 if auto_pad == "SAME_LOWER" else s // 2 for s in surplus]
            lengths = list(output_shape)
        else:
            amounts = list(pads or [0] * (2 * d))
            begin = amounts[:d]
            lengths = [have - first - last for have, first, last in zip(full, begin, amounts[d:], strict=True)]
        short = [max(first + length - have, 0) for first, length, have in zip(begin, lengths, full, strict=True)]
        total = np.pad(total, [(0, 0), (0, 0), *((0, more) for more in short)])
        cut = tuple(slice(first, first + length) for first, length in zip(begin, lengths, strict=True))
        result = total[(slice(None), slice(None), *cut)]
        return (result if b is None else result + b.reshape(1, -1, *[1] * d),)


class MaxPool(OpRun):
    """Maximum over windows of any dimension, and its index in the flattened input."""

    op_domain = ""

    def _run(
        self,
        x,
        auto_pad=None,
        ceil_mode=None,
        dilations=None,
        kernel_shape=None,
        pads=None,
        storage_order=None,
        strides=None,
    ):
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        geometry = (kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
        entries = _window_entries(x, lowest, *geometry)
        if len(self.output) == 1:
            return (entries.max(0),)
        order = x.shape[2:] if not storage_order else x.shape[:1:-1]
        plane = np.arange(np.prod(order, dtype=np.int64)).reshape(order)
        plane = plane.T if storage_order else plane
        positions = plane + np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * plane.ndim) * plane.size
        numbers = _window_entries(positions, -1, *geometry)
        # Padding must not win over an entry that is as low.
        first = np.where(numbers < 0, False, entries == entries.max(0)).argmax(0)
        return entries.max(0), np.take_along_axis(numbers, first[None], 0)[0]


class AveragePool(OpRun):
    """Mean over windows of any dimension; padding counts or not, what lies beyond it never does."""

    op_domain = ""

    def _run(
        self,
        x,
        auto_pad=None,
        ceil_mode=None,
        count_include_pad=None,
        dilations=None,
        kernel_shape=None,
        pads=None,
        strides=None,
    ):
        geometry = (kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
        counted = np.ones((1, 1, *x.shape[2:]), x.dtype)
        members = _window_entries(counted, 0, *geometry, padding=1 if count_include_pad else 0).sum(0)
        return ((_window_entries(x, 0, *geometry).sum(0) / np.maximum(members, 1)).astype(x.dtype),)


class LpPool(OpRun):
    """p-norm over windows of any dimension."""

    op_domain = ""

    def _run(
        self,
        x,
        auto_pad=None,
        ceil_mode=None,
        dilations=None,
        kernel_shape=None,
        p=None,
        pads=None,
        strides=None,
    ):
        powers = _window_entries(np.abs(x) ** (p or 2), 0, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
        return ((powers.sum(0) ** (1 / (p or 2))).astype(x.dtype),)


class GlobalMaxPool(OpRun):
    """Maximum over all spatial axes."""

    op_domain = ""

    def _run(self, x):
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class GlobalLpPool(OpRun):
    """p-norm over all spatial axes."""

    op_domain = ""

    def _run(self, x, p=None):
        total = (np.abs(x) ** (p or 2)).sum(axis=tuple(range(2, x.ndim)), keepdims=True)
        return ((total ** (1 / (p or 2))).astype(x.dtype),)


class LRN(OpRun):
    """Local response normalisation: x / (bias + alpha / size Σ x²)^beta, Σ over neighbouring channels."""

    op_domain = ""

    def _run(self, x, alpha=None, beta=None, bias=None, size=None):
        before, after = (size - 1) // 2, size // 2
        squares = np.pad(x**2, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
        total = sum(squares[:, k : k + x.shape[1]] for k in range(size))
        return ((x / (bias + alpha / size * total) ** beta).astype(x.dtype),)


class Mean(OpRun):
    """Mean of inputs that are broadcast against each other."""

    op_domain = ""

    def _run(self, *inputs):
        return ((sum(inputs[1:], inputs[0]) / len(inputs)).astype(inputs[0].dtype),)


class GatherElements(OpRun):
    """Elements along an axis by indices, of however long an axis."""

    op_domain = ""

    def _run(self, data, indices, axis=None):
        return (np.take_along_axis(data, indices, axis or 0),)


class Pad(OpRun):
    """Padding; negative amounts cut."""

    op_domain = ""

    def _run(self, data, pads, constant_value=None, axes=None, mode=None):
        amounts = np.zeros((2, data.ndim), np.int64)
        amounts[:, range(data.ndim) if axes is None else axes] = np.reshape(pads, (2, -1))
        cut = tuple(slice(max(-first, 0), n - max(-last, 0)) for n, first, last in zip(data.shape, *amounts, strict=True))
        added = np.maximum(amounts, 0).T
        if mode and mode != "constant":
            return (np.pad(data[cut], added, mode=mode),)
        fill = 0 if constant_value is None or constant_value.size == 0 else constant_value.item()
        return (np.pad(data[cut], added, constant_values=fill),)


class Erf(OpRun):
    """The error function."""

    op_domain = ""

    def _run(self, x):
        return (erf(x).astype(x.dtype),)


class Gelu(OpRun):
    """x Φ(x), exact or by tanh."""

    op_domain = ""

    def _run(self, x, approximate=None):
        by_tanh = approximate == "tanh"
        inner = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)) if by_tanh else erf(x / np.sqrt(2))
        return ((0.5 * x * (1 + inner)).astype(x.dtype),)


OPERATORS = (
    Conv,
    ConvTranspose,
    MaxPool,
    AveragePool,
    LpPool,
    GlobalMaxPool,
    GlobalLpPool,
    LRN,
    Mean,
    GatherElements,
    Pad,
    Erf,
    Gelu,
)


def evaluator(model: onnx.ModelProto) -> ReferenceEvaluator:
    """The reference evaluator of a model, with the operators above."""
    if model.functions:
        # onnx 1.23 takes the last of several overloads of a function for all of them.
        model = onnx.inliner.inline_local_functions(model)
    return ReferenceEvaluator(model, new_ops=list(OPERATORS))


def _window_entries(
    x: Array,
    fill: float,
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str | None,
    ceil_mode: int | None,
    *,
    padding: float | None = None,
) -> Array:
    """Entry k of every window, [K, N, C, ...]; ``padding`` stands on the padding, ``fill`` beyond it, and on both by default."""
    d = len(kernel)
    strides, dilations = strides or [1] * d, dilations or [1] * d
    extent = [(k - 1) * dilation + 1 for k, dilation in zip(kernel, dilations, strict=True)]
    begin, end = _padding(auto_pad, pads, x.shape[2:], extent, strides)
    around = [(0, 0), (0, 0), *zip(begin, end, strict=True)]
    padded = np.pad(x, around, constant_values=fill if padding is None else padding)
    sizes = []
    for n, size, first, e, s in zip(x.shape[2:], padded.shape[2:], begin, extent, strides, strict=True):
        count = (-(-(size - e) // s) if ceil_mode else (size - e) // s) + 1
        # The last window has to begin on the input or the padding before it.
        sizes.append(count - 1 if ceil_mode and (count - 1) * s >= n + first else count)
    beyond = [
        max((count - 1) * s + e - size, 0) for count, s, e, size in zip(sizes, strides, extent, padded.shape[2:], strict=True)
    ]
    padded = np.pad(padded, [(0, 0), (0, 0), *((0, more) for more in beyond)], constant_values=fill)
    entries = []
    for offset in product(*(range(k) for k in kernel)):
        cut = tuple(
            slice(o * dilation, o * dilation + (count - 1) * s + 1, s)
            for o, dilation, count, s in zip(offset, dilations, sizes, strides, strict=True)
        )
        entries.append(padded[(slice(None), slice(None), *cut)])
    return np.stack(entries)


def _padding(
    mode: str | None, pads: Sequence[int] | None, sizes: Sequence[int], extent: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    d = len(sizes)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        totals = [max((-(-n // s) - 1) * s + e - n, 0) for n, e, s in zip(sizes, extent, strides, strict=True)]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        return (small, large) if mode == "SAME_UPPER" else (large, small)
    amounts = list(pads or [0] * (2 * d))
    return amounts[:d], amounts[d:]
