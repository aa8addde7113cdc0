"""A small convolutional network in numpy, like LeNet-5: trained by gradient descent and exported to ONNX.

``python train_cnn.py`` tests it on digits. Experiments call ``trained``, which keeps what it trained in ``build/``. Arrays are
[C, H, W, N] inside: a convolution is one product of matrices, and what is copied for it lies together.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper
from sources import BUILD, Array, kept, load_digits

import graphlrp

KERNELS, CHANNELS = (5, 5, 4), (10, 25, 100)
BATCH, RATE, MOMENTUM = 25, 0.04, 0.9


class Layer(ABC):
    """A layer; ``forward`` keeps what ``backward`` needs, ``backward`` turns the slope of the loss and keeps ``gradients``."""

    weights: tuple[Array, ...] = ()
    gradients: tuple[Array, ...] = ()

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """The output for x."""

    @abstractmethod
    def backward(self, slope: Array) -> Array:
        """∂loss/∂x out of ∂loss/∂output."""


class Convolution(Layer):
    """A convolution without padding, and the ReLU behind it."""

    def __init__(self, kernel: int, inputs: int, outputs: int, g: np.random.Generator) -> None:
        self.filter = (inputs, kernel, kernel)
        size = int(np.prod(self.filter))
        self.weights = g.normal(0, np.sqrt(2 / size), (outputs, size)).astype(np.float32), np.zeros((outputs, 1), np.float32)

    def forward(self, x: Array) -> Array:
        """One product of matrices: filters times windows."""
        windows = sliding_window_view(x, self.filter[1:], (1, 2)).transpose(0, 4, 5, 1, 2, 3)  # [C, k, k, H', W', N]
        self.shape, self.windows = x.shape, windows.reshape(self.weights[0].shape[1], -1)
        z = self.weights[0] @ self.windows + self.weights[1]
        self.active = z > 0
        return np.asarray((z * self.active).reshape(-1, *windows.shape[3:]))

    def backward(self, slope: Array) -> Array:
        """The slopes of the windows, added up where windows overlap."""
        own = slope.reshape(self.active.shape) * self.active
        self.gradients = own @ self.windows.T, own.sum(1, keepdims=True)
        if self.filter[0] == 1:  # nobody asks for the slope of the pictures
            return own
        of_windows = (self.weights[0].T @ own).reshape(*self.filter, *slope.shape[1:])
        result = np.zeros(self.shape, slope.dtype)
        for row, column in np.ndindex(self.filter[1:]):
            result[:, row : row + slope.shape[1], column : column + slope.shape[2]] += of_windows[:, row, column]
        return result


class AveragePool(Layer):
    """Means over ``size`` x ``size`` pixels, or over all of them."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def forward(self, x: Array) -> Array:
        """Means."""
        self.sizes = x.shape[1:3] if self.size is None else (self.size, self.size)
        down, across = self.sizes  # a sum of slices is faster than a mean over axes
        parts = (x[:, row::down, column::across] for row, column in np.ndindex(self.sizes))
        return np.asarray(sum(parts) / np.float32(down * across))

    def backward(self, slope: Array) -> Array:
        """Equal parts."""
        return slope.repeat(self.sizes[0], 1).repeat(self.sizes[1], 2) / np.float32(np.prod(self.sizes))


class Dense(Layer):
    """A dense layer on [C, 1, 1, N]."""

    def __init__(self, inputs: int, outputs: int, g: np.random.Generator) -> None:
        weight = g.normal(0, np.sqrt(1 / inputs), (outputs, inputs))
        self.weights = weight.astype(np.float32), np.zeros((outputs, 1), np.float32)

    def forward(self, x: Array) -> Array:
        """[classes, N]."""
        self.x = x[:, 0, 0]
        return np.asarray(self.weights[0] @ self.x + self.weights[1])

    def backward(self, slope: Array) -> Array:
        """[C, 1, 1, N]."""
        self.gradients = slope @ self.x.T, slope.sum(1, keepdims=True)
        return np.asarray((self.weights[0].T @ slope)[:, None, None])


class Network:
    """Three convolutions with ReLU, an average pool behind each, the last one over all positions, and a dense layer.

    Pictures are [N, 1, H, W]; H and W are 28 or more, in steps of 4.
    """

    def __init__(self, classes: int = 10, seed: int = 0) -> None:
        g = np.random.default_rng(seed)
        self.convolutions = [Convolution(k, i, o, g) for k, i, o in zip(KERNELS, (1, *CHANNELS), CHANNELS, strict=False)]
        self.dense = Dense(CHANNELS[-1], classes, g)
        one, two, three = self.convolutions
        self.layers: list[Layer] = [one, AveragePool(2), two, AveragePool(2), three, AveragePool(), self.dense]

    def train(self, pictures: Array, labels: Array, epochs: int, shift: int = 2, seed: int = 0) -> Iterator[int]:
        """Gradient descent with momentum, in batches that are moved by up to ``shift`` pixels; yields the steps done."""
        g = np.random.default_rng(seed)
        speeds = [np.zeros_like(weight) for layer in self.layers for weight in layer.weights]
        steps = len(pictures) // BATCH
        for step in range(epochs * steps):
            if step % steps == 0:
                order = g.permutation(len(pictures))
            rows = order[step % steps * BATCH :][:BATCH]
            batch = np.roll(pictures[rows], tuple(g.integers(-shift, shift + 1, 2)), (2, 3))
            rate = RATE * (1 - step / (epochs * steps))
            for weights, gradient, speed in zip(*self.slopes(batch, labels[rows]), speeds, strict=True):
                speed *= MOMENTUM
                speed -= rate * gradient
                weights += speed
            yield step + 1

    def slopes(self, pictures: Array, labels: Array) -> tuple[list[Array], list[Array]]:
        """Weights of all layers, and the slope of the mean cross-entropy of a batch along them."""
        value = np.ascontiguousarray(pictures.transpose(1, 2, 3, 0))
        for layer in self.layers:
            value = layer.forward(value)
        odds = np.exp(value - value.max(0))
        slope = (odds / odds.sum(0) - np.eye(len(odds), dtype=np.float32)[:, labels]) / np.float32(len(labels))
        for layer in reversed(self.layers):
            slope = layer.backward(slope)
        return [w for layer in self.layers for w in layer.weights], [g for layer in self.layers for g in layer.gradients]

    def to_onnx(self, height: int = 28, width: int = 28) -> onnx.ModelProto:
        """The network as it is now; input ``image`` [N, 1, H, W], output ``logits`` [N, classes]."""
        nodes, arrays, value = [], {}, "image"
        for number, layer in enumerate(self.convolutions, 1):
            name = f"conv{number}"
            weight, bias = layer.weights
            arrays[f"{name}.weight"], arrays[f"{name}.bias"] = weight.reshape(-1, *layer.filter), bias[:, 0]
            nodes.append(helper.make_node("Conv", [value, f"{name}.weight", f"{name}.bias"], [name], name))
            nodes.append(helper.make_node("Relu", [name], [f"relu{number}"], f"relu{number}"))
            value, pool = f"pool{number}", "GlobalAveragePool" if number == 3 else "AveragePool"
            sizes = {} if number == 3 else {"kernel_shape": [2, 2], "strides": [2, 2]}
            nodes.append(helper.make_node(pool, [f"relu{number}"], [value], value, **sizes))
        weight, bias = self.dense.weights
        arrays["dense.weight"], arrays["dense.bias"] = weight, bias[:, 0]
        nodes.append(helper.make_node("Flatten", [value], ["features"], "flatten"))
        nodes.append(helper.make_node("Gemm", ["features", "dense.weight", "dense.bias"], ["logits"], "dense", transB=1))
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, height, width])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(weight)])
        initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
        graph = helper.make_graph(nodes, "cnn", [image], [logits], initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def trained(name: str, pictures: Array, labels: Array, epochs: int = 12, shift: int = 2, folder: Path = BUILD) -> Path:
    """The ONNX file of a network that is trained on these pictures; trains it if nothing was kept of the same training."""
    last = epochs * (len(pictures) // BATCH)
    return checkpoints(name, pictures, labels, [last], epochs, shift, folder)[last]


def checkpoints(
    name: str, pictures: Array, labels: Array, steps: Sequence[int], epochs: int = 12, shift: int = 2, folder: Path = BUILD
) -> dict[int, Path]:
    """The ONNX files of one training after some numbers of steps, 0 is before it; kept in the same way."""
    made_from = pictures, labels, epochs, shift, Path(__file__).read_text(encoding="utf-8")
    paths = {step: kept(folder, f"{name}.onnx", step, *made_from) for step in steps}
    if not all(path.exists() for path in paths.values()):
        start, network = time.perf_counter(), Network(int(labels.max()) + 1)
        for step in itertools.chain([0], network.train(pictures, labels, epochs, shift)):
            if step in paths:
                onnx.save(network.to_onnx(*pictures.shape[2:]), paths[step])
        print(f"trained {name} on {len(pictures)} pictures in {time.perf_counter() - start:.0f} s")
    return paths


def accuracy(model: Path | onnx.ModelProto, pictures: Array, labels: Array) -> float:
    """Share of the pictures that a model gets right."""
    return float((graphlrp.load(model).predict(pictures, batch_size=500).argmax(1) == labels).mean())


if __name__ == "__main__":
    data = load_digits()
    path = trained("cnn", data.pictures, data.labels)
    print(f"{path}: accuracy on {len(data.test_labels)} digits {accuracy(path, data.test_pictures, data.test_labels):.3f}")
