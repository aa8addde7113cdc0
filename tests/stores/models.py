"""Small networks with random weights, as the stores' tests explain them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from tests.networks import Network

CLASSES = 3


def classifier(seed: int = 0) -> bytes:
    """Pictures [N, 2, 6, 6] -> three classes."""
    generator = np.random.default_rng(seed)
    net = Network(TensorProto.FLOAT, x=("N", 2, 6, 6))
    hidden = net("Relu", net("Conv", "x", generator.normal(size=(4, 2, 3, 3)), generator.normal(size=4), pads=[1, 1, 1, 1]))
    flat = net("Flatten", net("MaxPool", hidden, kernel_shape=[2, 2], strides=[2, 2]))
    return net.model(net("Gemm", flat, generator.normal(size=(36, CLASSES)), generator.normal(size=CLASSES))).SerializeToString()


def any_size() -> bytes:
    """Pictures [N, 3, H, W] -> three classes."""
    generator = np.random.default_rng(1)
    net = Network(TensorProto.FLOAT, x=("N", 3, "H", "W"))
    hidden = net("Relu", net("Conv", "x", generator.normal(size=(4, 3, 3, 3)), generator.normal(size=4)))
    flat = net("Flatten", net("GlobalAveragePool", hidden))
    return net.model(net("Gemm", flat, generator.normal(size=(4, CLASSES)))).SerializeToString()


def segmentation() -> bytes:
    """Pictures [N, 3, H, W] -> scores of three classes for all pixels."""
    generator = np.random.default_rng(2)
    net = Network(TensorProto.FLOAT, x=("N", 3, "H", "W"))
    kernel = generator.normal(size=(CLASSES, 3, 3, 3))
    return net.model(net("Conv", "x", kernel, pads=[1, 1, 1, 1])).SerializeToString()


def two_inputs() -> bytes:
    """Features [N, 5] and [N, 4] -> three classes; the names of the inputs are such as exporters give."""
    generator = np.random.default_rng(3)
    net = Network(TensorProto.FLOAT, **{"/left.1": ("N", 5), "right": ("N", 4)})
    left = net("Relu", net("Gemm", "/left.1", generator.normal(size=(5, 6)), generator.normal(size=6)))
    right = net("Relu", net("Gemm", "right", generator.normal(size=(4, 6))))
    return net.model(net("Gemm", net("Add", left, right), generator.normal(size=(6, CLASSES)))).SerializeToString()


def score() -> bytes:
    """Features [N, 5] -> one number."""
    weights = np.random.default_rng(4).normal(size=(5, 1))
    net = Network(TensorProto.FLOAT, x=("N", 5))
    return net.model(net("Gemm", "x", weights)).SerializeToString()


def samples(count: int, *shape: int, seed: int = 5) -> Any:
    """Random samples, float32."""
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)
