"""Sums over pairs of samples and support vectors without a tensor of samples x support vectors x dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from graphlrp.ir.emitter import Emitter, static_sizes

BLOCK = 1 << 16
"""Components of one sample that are in memory at a time."""

Pair = Callable[[Emitter, ir.Value, ir.Value], ir.Value]
"""Emits a function of two components."""


def squared_distances(op: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    """‖x - y‖² [N, S] by products of matrices; measured from the middle of y, where rounding is least."""
    middle = op.ReduceMean(y, [0], keepdims=1)
    x, y = op.Sub(x, middle), op.Sub(y, middle)
    own = op.ReduceSum(op.Mul(x, x), [1], keepdims=1)
    other = op.Transpose(op.ReduceSum(op.Mul(y, y), [1], keepdims=1), perm=[1, 0])
    products = op.MatMul(x, op.Transpose(y, perm=[1, 0]))
    return op.Max(op.Sub(op.Add(own, other), op.Mul(products, 2.0)), 0.0)


def sums(op: Emitter, x: ir.Value, y: ir.Value, pair: Pair) -> ir.Value:
    """Σ_d pair(x_d, y_i,d) [N, S]."""

    def block(op: Emitter, part: ir.Value) -> ir.Value:
        return op.ReduceSum(pair(op, op.Unsqueeze(x, [1]), op.Unsqueeze(part, [0])), [2], keepdims=0)

    count, size, parts = _parts(op, y)
    if count == 1:
        return block(op, y)
    real, rows, width = _real(y), *static_sizes(y)
    part = ir.Value(name="part", type=real, shape=ir.Shape([size, width]))
    total = ir.Value(name="sums", type=real)
    body = op.builder.subgraph(block, [part], [total], name="block")
    stacked = op.Scan(parts, body=body, num_scan_inputs=1)  # [count, N, size]
    stacked.type, stacked.shape = real, ir.Shape([count, _batch(x), size])
    joined = op.Reshape(op.Transpose(stacked, perm=[1, 0, 2]), [-1, count * size])
    return op.Slice(joined, [0], [rows], [1])


def weighted(op: Emitter, x: ir.Value, y: ir.Value, c: ir.Value, pair: Pair) -> ir.Value:
    """Σ_i c_i pair(x_d, y_i,d) [N, D] for c [N, S]."""

    def block(op: Emitter, part: ir.Value, share: ir.Value) -> ir.Value:
        pairs = pair(op, op.Unsqueeze(x, [1]), op.Unsqueeze(part, [0]))
        return op.Squeeze(op.MatMul(op.Unsqueeze(share, [1]), pairs), [1])

    count, size, parts = _parts(op, y)
    if count == 1:
        return block(op, y, c)
    real, rows, width = _real(y), *static_sizes(y)
    padded = op.Pad(c, [0, 0, 0, count * size - rows])
    shares = op.Transpose(op.Reshape(padded, [0, count, size]), perm=[1, 0, 2])

    def step(op: Emitter, sum_so_far: ir.Value, part: ir.Value, share: ir.Value) -> ir.Value:
        return op.Add(sum_so_far, block(op, part, share))

    inputs = [
        ir.Value(name="sum_so_far", type=real, shape=ir.Shape([_batch(x), width])),
        ir.Value(name="part", type=real, shape=ir.Shape([size, width])),
        ir.Value(name="share", type=real, shape=ir.Shape([_batch(x), size])),
    ]
    body = op.builder.subgraph(step, inputs, [ir.Value(name="sum", type=real)], name="block")
    total = op.Scan(op.Mul(x, 0.0), parts, shares, body=body, num_scan_inputs=2)
    total.type, total.shape = real, x.shape
    return total


def _parts(op: Emitter, y: ir.Value) -> tuple[int, int, ir.Value]:
    """Number and size of blocks, and the support vectors [count, size, D], filled up with zeros."""
    rows, width = static_sizes(y)
    size = min(rows, max(1, BLOCK // width))
    count = -(-rows // size)
    if count == 1:
        return 1, rows, y
    return count, size, op.Reshape(op.Pad(y, [0, 0, count * size - rows, 0]), [count, size, width])


def _real(y: ir.Value) -> ir.TensorType:
    assert y.dtype is not None
    return ir.TensorType(y.dtype)


def _batch(x: ir.Value) -> Any:
    assert x.shape is not None
    return x.shape[0]
