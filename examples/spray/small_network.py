"""A small convolutional network in numpy: trained here, written as ONNX, so that an example needs no framework.

    5 x 5 convolution - ReLU - max 2 x 2 - 3 x 3 convolution - ReLU - max 2 x 2 - dense

The loss is cross entropy behind a softmax, the optimiser is Adam.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

Array = npt.NDArray[Any]


def convolve(x: Array, weight: Array) -> tuple[Array, Array]:
    """Convolution of the same size, [N, C, H, W] and [K, C, k, k] -> [N, K, H, W]; also the columns [N, H, W, C k k]."""
    size = weight.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (size // 2,) * 2, (size // 2,) * 2))
    windows = sliding_window_view(padded, (size, size), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    columns = windows.reshape(*windows.shape[:3], -1)
    return (columns @ weight.reshape(len(weight), -1).T).transpose(0, 3, 1, 2), columns


def convolution_gradients(gradient: Array, columns: Array, weight: Array, of_input: bool) -> tuple[Array, Array, Array | None]:
    """Gradients of the weight, the bias and the input, of the gradient [N, K, H, W] of the output."""
    last = gradient.transpose(0, 2, 3, 1)
    flat = last.reshape(-1, len(weight))
    of_weight = (flat.T @ columns.reshape(len(flat), -1)).reshape(weight.shape)
    if not of_input:
        return of_weight, flat.sum(0), None
    # The adjoint is a convolution with the turned kernel.
    turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return of_weight, flat.sum(0), convolve(gradient, np.ascontiguousarray(turned))[0]


def pool(x: Array) -> tuple[Array, Array]:
    """Maxima of 2 x 2 pixels, and where they are (ties share)."""
    n, c, height, width = x.shape
    blocks = x.reshape(n, c, height // 2, 2, width // 2, 2)
    largest = blocks.max(axis=(3, 5), keepdims=True)
    winners = blocks == largest
    return largest[:, :, :, 0, :, 0], winners / winners.sum(axis=(3, 5), keepdims=True, dtype=np.float32)


def unpool(gradient: Array, winners: Array) -> Array:
    """The gradient of :func:`pool`."""
    n, c, height, _, width, _ = winners.shape
    return np.asarray((gradient[:, :, :, None, :, None] * winners).reshape(n, c, 2 * height, 2 * width))


@dataclass
class SmallNetwork:
    """Weights by name, and how to fit them."""

    size: int
    classes: int
    channels: tuple[int, int] = (8, 16)
    seed: int = 0
    weights: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Draw the weights."""
        g = np.random.default_rng(self.seed)
        first, second = self.channels
        shapes = {
            "conv1": (first, 1, 5, 5),
            "conv2": (second, first, 3, 3),
            "head": (second * (self.size // 4) ** 2, self.classes),
        }
        for name, shape in shapes.items():
            inputs = shape[0] if name == "head" else int(np.prod(shape[1:]))
            outputs = shape[1] if name == "head" else shape[0]
            self.weights[f"{name}.weight"] = (g.normal(size=shape) * np.sqrt(2 / inputs)).astype(np.float32)
            self.weights[f"{name}.bias"] = np.zeros(outputs, np.float32)

    def forward(self, x: Array) -> tuple[Array, list[Any]]:
        """Logits [N, classes], and what the gradients need."""
        w = self.weights
        z1, columns1 = convolve(x, w["conv1.weight"])
        a1 = np.maximum(z1 + w["conv1.bias"][:, None, None], 0)
        p1, winners1 = pool(a1)
        z2, columns2 = convolve(p1, w["conv2.weight"])
        a2 = np.maximum(z2 + w["conv2.bias"][:, None, None], 0)
        p2, winners2 = pool(a2)
        flat = p2.reshape(len(x), -1)
        return flat @ w["head.weight"] + w["head.bias"], [columns1, a1, winners1, columns2, a2, winners2, flat]

    def gradients(self, logits: Array, kept: list[Any], labels: Array) -> dict[str, Array]:
        """Of the mean cross entropy, by the weights' names."""
        columns1, a1, winners1, columns2, a2, winners2, flat = kept
        w = self.weights
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        shares[np.arange(len(labels)), labels] -= 1
        shares /= len(labels)
        found = {"head.weight": flat.T @ shares, "head.bias": shares.sum(0)}
        n, _, height, _, width, _ = winners2.shape
        g = unpool((shares @ w["head.weight"].T).reshape(n, -1, height, width), winners2) * (a2 > 0)
        found["conv2.weight"], found["conv2.bias"], g = convolution_gradients(g, columns2, w["conv2.weight"], True)
        g = unpool(g, winners1) * (a1 > 0)
        found["conv1.weight"], found["conv1.bias"], _ = convolution_gradients(g, columns1, w["conv1.weight"], False)
        return found

    def fit(self, x: Array, labels: Array, *, epochs: int = 6, batch: int = 64, rate: float = 2e-3) -> SmallNetwork:
        """Minimise the cross entropy by Adam; the rate falls to zero. x: float32 [N, 1, H, W]."""
        g = np.random.default_rng(self.seed)
        first = {name: np.zeros_like(value) for name, value in self.weights.items()}
        second = {name: np.zeros_like(value) for name, value in self.weights.items()}
        steps = epochs * (len(x) // batch)
        step = 0
        for _ in range(epochs):
            order = g.permutation(len(x))
            for start in range(0, len(x) - batch + 1, batch):
                rows = order[start : start + batch]
                step += 1
                for name, gradient in self.gradients(*self.forward(x[rows]), labels[rows]).items():
                    first[name] += 0.1 * (gradient - first[name])
                    second[name] += 0.001 * (gradient**2 - second[name])
                    mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
                    self.weights[name] -= np.float32(rate * (1 - step / steps)) * mean / (np.sqrt(square) + 1e-8)
        return self

    def predict(self, x: Array) -> Array:
        """Classes [N]."""
        parts = [self.forward(x[start : start + 256])[0] for start in range(0, len(x), 256)]
        return np.concatenate(parts).argmax(1)

    def to_onnx(self) -> onnx.ModelProto:
        """The network with its softmax."""
        size = self.size
        nodes = [
            make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["z1"], "conv1", pads=[2, 2, 2, 2]),
            make_node("Relu", ["z1"], ["a1"], "relu1"),
            make_node("MaxPool", ["a1"], ["p1"], "pool1", kernel_shape=[2, 2], strides=[2, 2]),
            make_node("Conv", ["p1", "conv2.weight", "conv2.bias"], ["z2"], "conv2", pads=[1, 1, 1, 1]),
            make_node("Relu", ["z2"], ["a2"], "relu2"),
            make_node("MaxPool", ["a2"], ["p2"], "pool2", kernel_shape=[2, 2], strides=[2, 2]),
            make_node("Flatten", ["p2"], ["features"], "flatten"),
            make_node("Gemm", ["features", "head.weight", "head.bias"], ["logits"], "head"),
            make_node("Softmax", ["logits"], ["probabilities"], "softmax"),
        ]
        image = make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 1, size, size])
        output = make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["N", self.classes])
        weights = [onnx.numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = make_graph(nodes, "small", [image], [output], weights)
        return make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10)
