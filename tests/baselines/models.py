"""Networks that the baselines are tried on, their gradients by hand, and the noise as the documentation defines it."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import onnx

import graphlrp
from graphlrp.rules.randomness import ENTRIES, PRIME, draw_pairs
from tests.networks import Network, evaluate

Array = np.ndarray
DOUBLE: dict[str, Any] = {"dtype": "float64"}


def normal(*shape: int) -> Array:
    return np.random.default_rng([7, len(shape), *shape]).normal(size=shape)


def per_sample(value: Array) -> Array:
    return value.reshape(len(value), -1).sum(1)


def explain(model: Any, name: str, x: Any, target: Any = None, *, load: dict[str, Any] | None = None, **parameters: Any) -> Any:
    """The explanation by a preset with parameters."""
    return graphlrp.load(model, graphlrp.composite(name, **parameters), **(load or DOUBLE))(x, target)


def function(model: onnx.ModelProto, name: str = "x") -> Callable[[Array], Array]:
    """The model's first output as ONNX defines it."""
    return lambda x: evaluate(model, {name: x})[0]


def smooth(features: int = 4, classes: int = 3) -> onnx.ModelProto:
    """A dense network without kinks: W2 tanh(W1 x + b1) + b2."""
    network = Network(x=["N", features])
    hidden = network("Tanh", network("Gemm", "x", normal(features, 6), normal(6)), result="hidden")
    return network.model(network("Gemm", hidden, normal(6, classes), normal(classes)))


def smooth_gradient(x: Array, classes: Array) -> Array:
    """Its gradient, by hand."""
    slope = 1 - np.tanh(x @ normal(x.shape[1], 6) + normal(6)) ** 2
    return (slope * normal(6, 3)[:, classes].T) @ normal(x.shape[1], 6).T


def pictures(layout: str = "NCHW", *, sizes: tuple[Any, Any] = (6, 8)) -> onnx.ModelProto:
    """A convolutional network for 3 channels: conv1, conv2, skip, maps, dense on flattened maps where sizes are known."""
    shape = ["N", 3, *sizes] if layout == "NCHW" else ["N", *sizes, 3]
    network = Network(x=shape)
    x = "x" if layout == "NCHW" else network("Transpose", "x", perm=[0, 3, 1, 2])
    first = network("Tanh", network("Conv", x, normal(4, 3, 3, 3) / 3, normal(4), pads=[1] * 4, name="conv1"))
    second = network("Conv", first, normal(5, 4, 3, 3) / 3, normal(5), strides=[2, 2], pads=[1] * 4, name="conv2")
    maps = network("Tanh", second, name="act2", result="maps")
    pooled = network("Flatten", network("GlobalAveragePool", network("Mul", maps, maps, name="square")))
    return network.model(network("Gemm", pooled, normal(5, 3), normal(3), name="score"))


def samples(count: int = 2, channels: int = 3, height: int = 6, width: int = 8) -> Array:
    return normal(count, channels, height, width)


def noise_of(seed: int, copies: int, size: int) -> Array:
    """The noise as the documentation defines it, number by number."""
    table = np.random.default_rng(seed).permutation(quantiles())
    pairs = draw_pairs(seed, copies + 1)[1:]
    return np.array([[table[(int(a) * p + int(b)) % PRIME % ENTRIES] for p in range(size)] for a, b in pairs])


def quantiles() -> Array:
    """Of the normal distribution, as many as a table has entries."""
    return np.array([NormalDist().inv_cdf((k + 0.5) / ENTRIES) for k in range(ENTRIES)])


def per_extent(x: Array) -> Array:
    """The range of every sample, [N, 1, ...]."""
    flat = x.reshape(len(x), -1)
    return (flat.max(1) - flat.min(1)).reshape(-1, *[1] * (x.ndim - 1))
