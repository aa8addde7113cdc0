"""Float64 execution on ``onnx.reference``, with vectorised convolutions.

The reference evaluator defines ONNX in numpy, but its convolutions loop over pixels in Python, and its ConvTranspose of onnx
1.23 fails for groups with several output channels each. Both are replaced here by sums of matrix products over kernel offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

Array = npt.NDArray[Any]


class Conv(OpRun):  # type: ignore[misc]
    """Convolution of any dimension."""

    op_domain = ""

    def _run(  # type: ignore[no-untyped-def]
        self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None, pads=None, strides=None
    ):
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


class ConvTranspose(OpRun):  # type: ignore[misc]
    """Transposed convolution of any dimension."""

    op_domain = ""

    def _run(  # type: ignore[no-untyped-def]
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


def evaluator(model: onnx.ModelProto) -> ReferenceEvaluator:
    """The reference evaluator of a model, with the operators above."""
    return ReferenceEvaluator(model, new_ops=[Conv, ConvTranspose])


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
