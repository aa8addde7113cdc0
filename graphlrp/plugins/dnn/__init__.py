"""Mappings of neural networks: a file per family, every operator's forward facts and relevance messages side by side."""

from __future__ import annotations

from graphlrp.plugins.dnn.activation import Clip, PiecewiseLinear, Relu, Smooth, Unchanged
from graphlrp.plugins.dnn.convolution import Convolution, TransposedConvolution
from graphlrp.plugins.dnn.dense import Gemm, Linear, fuse_bias
from graphlrp.plugins.dnn.merge import Extremum, Merge, Selection
from graphlrp.plugins.dnn.movement import (
    Concat,
    Expand,
    IndexedMovement,
    Pad,
    Reshaping,
    Slice,
    SpaceDepth,
    Split,
    Tile,
    Transpose,
)
from graphlrp.plugins.dnn.normalization import BatchNormalization, LocalResponseNormalization
from graphlrp.plugins.dnn.pooling import (
    AveragePool,
    GlobalAveragePool,
    GlobalMaxPool,
    MaxPool,
    PowerMean,
    ReduceMaximum,
    Reduction,
)
from graphlrp.plugins.dnn.product import Einsum, MatMul, Product, Quotient, Softmax
from graphlrp.plugins.dnn.resampling import Resize
from graphlrp.plugins.spec import RegisterMapping, RegisterPass, hookimpl

MAPPINGS = (
    Gemm,
    Linear,
    MatMul,
    Einsum,
    Convolution,
    TransposedConvolution,
    AveragePool,
    GlobalAveragePool,
    Reduction,
    MaxPool,
    GlobalMaxPool,
    ReduceMaximum,
    PowerMean,
    Resize,
    BatchNormalization,
    LocalResponseNormalization,
    Relu,
    Clip,
    PiecewiseLinear,
    Smooth,
    Unchanged,
    Merge,
    Extremum,
    Selection,
    Product,
    Quotient,
    Softmax,
    Concat,
    Split,
    Slice,
    Pad,
    Reshaping,
    Transpose,
    Expand,
    Tile,
    SpaceDepth,
    IndexedMovement,
)


@hookimpl
def register_mappings(register: RegisterMapping) -> None:
    """Register the built-in family of neural networks."""
    for mapping in MAPPINGS:
        register(mapping)


@hookimpl
def register_passes(register: RegisterPass) -> None:
    """Register what makes one node of several that are one layer."""
    register(fuse_bias)
