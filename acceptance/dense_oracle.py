"""Relevance from the textbook: every message z_ij of every neuron written out, in float64, with numpy.

Slow on purpose and independent of GraphLRP: no adjoints, no split of signs by weight, no reuse of forward values. Each
output neuron j of a layer is given the vector of its real inputs x_i and weights w_ij (padding is not an input, none of
the reference networks pads), a *share* function turns them into v_ij (spec: R_{i<-j} = v_ij R_j), and the messages are
added up at the inputs. A share function is one line of the table of rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from acceptance.layers import Convolution, Dense, Flatten, Layer, MaxPool, Rectifier, SumPool

Share = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""`share(x, weight, bias)`: inputs and weights `[..., I]` of each neuron and its bias `[...]` to `v[..., I]`."""


def quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """`numerator / denominator` where 0/0 is 0: nothing is shared out by a neuron without contributions."""
    denominator = np.broadcast_to(denominator, numerator.shape)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def positive(values: np.ndarray) -> np.ndarray:
    """The positive part."""
    return np.maximum(values, 0.0)


def negative(values: np.ndarray) -> np.ndarray:
    """The negative part, which keeps its sign."""
    return np.minimum(values, 0.0)


def epsilon(value: float) -> Share:
    """v_ij = z_ij / (z_j + epsilon sign(z_j)), with sign(0) = 1 and the bias in z_j."""

    def share(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        messages = x * weight
        total = (messages.sum(-1) + bias)[..., None]
        return quotient(messages, total + value * np.where(total >= 0, 1.0, -1.0))

    return share


def alpha_beta(alpha: float) -> Share:
    """v_ij = alpha z_ij+ / z_j+ + (1 - alpha) z_ij- / z_j-, the bias on the side of its sign."""

    def share(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        messages = x * weight
        sides = []
        for part in (positive, negative):
            total = (part(messages).sum(-1) + part(bias))[..., None]
            sides.append(quotient(part(messages), total))
        return alpha * sides[0] + (1.0 - alpha) * sides[1]

    return share


def flat() -> Share:
    """v_ij = 1 / number of inputs of j."""

    def share(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(x.shape, weight.shape)
        return np.full(shape, 1.0 / shape[-1])

    return share


def weight_square() -> Share:
    """v_ij = w_ij^2 / sum_i w_ij^2."""

    def share(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        squares = np.broadcast_to(weight**2, np.broadcast_shapes(x.shape, weight.shape))
        return quotient(squares, squares.sum(-1, keepdims=True))

    return share


def bounded(low: float | np.ndarray, high: float | np.ndarray) -> Share:
    """v_ij proportional to x_i w_ij - low_i w_ij+ - high_i w_ij-, with bounds that broadcast to the inputs."""

    def share(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        messages = x * weight - low * positive(weight) - high * negative(weight)
        return quotient(messages, messages.sum(-1, keepdims=True))

    return share


class BoundedPerInput:
    """As `bounded`, with a range `low[1, ...], high[1, ...]` for each single input value."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self.low = low
        self.high = high


Rule = Share | BoundedPerInput


def windows(x: np.ndarray, window: tuple[int, int], strides: tuple[int, int]) -> np.ndarray:
    """All windows of `x[N, C, H, W]`: `[N, C, rows, columns, h, w]`."""
    view = sliding_window_view(x, window, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1]]


def add_windows(parts: np.ndarray, shape: tuple[int, ...], strides: tuple[int, int]) -> np.ndarray:
    """Add messages `[N, C, rows, columns, h, w]` up at the positions they came from, the reverse of `windows`."""
    total = np.zeros(shape)
    rows, columns, height, width = parts.shape[2:]
    for i in range(height):
        for j in range(width):
            last_row, last_column = i + strides[0] * rows, j + strides[1] * columns
            total[:, :, i : last_row : strides[0], j : last_column : strides[1]] += parts[..., i, j]
    return total


def convolution_inputs(layer: Convolution, x: np.ndarray) -> np.ndarray:
    """Inputs of each output position of a convolution: `[N, 1, rows, columns, I]`, channel-major."""
    view = windows(x, layer.weight.shape[2:], layer.strides)
    count, _channels, rows, columns = view.shape[:4]
    return view.transpose(0, 2, 3, 1, 4, 5).reshape(count, 1, rows, columns, -1)


def forward(layer: Layer, x: np.ndarray) -> np.ndarray:
    """The output of one layer."""
    if isinstance(layer, Convolution):
        weight = layer.weight.reshape(len(layer.weight), -1)
        total = np.einsum("nryci,oi->noyc", convolution_inputs(layer, x), weight, optimize=True)
        return total + layer.bias[:, None, None]
    if isinstance(layer, Dense):
        return x @ layer.weight + layer.bias
    if isinstance(layer, SumPool):
        return windows(x, layer.window, layer.strides).sum((-2, -1)) * layer.scale
    if isinstance(layer, MaxPool):
        return windows(x, layer.window, layer.strides).max((-2, -1))
    if isinstance(layer, Rectifier):
        return positive(x)
    order = (0, *range(2, x.ndim), 1) if layer.channels_last else range(x.ndim)
    return x.transpose(tuple(order)).reshape(len(x), -1)


def values(network: Sequence[Layer], x: np.ndarray) -> list[np.ndarray]:
    """The input of every layer and, last, the output of the network."""
    results = [x]
    for layer in network:
        results.append(forward(layer, results[-1]))
    return results


def convolution_relevance(layer: Convolution, x: np.ndarray, relevance: np.ndarray, rule: Rule) -> np.ndarray:
    """Relevance of the input of a convolution."""
    if isinstance(rule, BoundedPerInput):
        rule = bounded(convolution_inputs(layer, rule.low), convolution_inputs(layer, rule.high))
    inputs = convolution_inputs(layer, x)
    weight = layer.weight.reshape(len(layer.weight), 1, 1, -1)
    share = rule(inputs, weight, layer.bias[:, None, None])
    messages = (share * relevance[..., None]).sum(1)
    parts = messages.reshape(*messages.shape[:3], *layer.weight.shape[1:]).transpose(0, 3, 1, 2, 4, 5)
    return add_windows(parts, x.shape, layer.strides)


def dense_relevance(layer: Dense, x: np.ndarray, relevance: np.ndarray, rule: Rule) -> np.ndarray:
    """Relevance of the input of a dense layer."""
    if isinstance(rule, BoundedPerInput):
        rule = bounded(rule.low[..., None, :], rule.high[..., None, :])
    share = rule(x[..., None, :], layer.weight.T, layer.bias)
    return (share * relevance[..., None]).sum(-2)


def pool_relevance(layer: SumPool | MaxPool, x: np.ndarray, output: np.ndarray, relevance: np.ndarray, rule: Rule) -> np.ndarray:
    """Relevance of the input of a pooling layer; the winners of a maximum share equally."""
    view = windows(x, layer.window, layer.strides)
    if isinstance(layer, MaxPool):
        winners = (view == output[..., None, None]).astype(float)
        share = winners / winners.sum((-2, -1), keepdims=True)
    else:
        assert not isinstance(rule, BoundedPerInput)
        flattened = view.reshape(*view.shape[:4], -1)
        share = rule(flattened, np.ones(flattened.shape[-1]), np.zeros(1)).reshape(view.shape)
    return add_windows(share * relevance[..., None, None], x.shape, layer.strides)


def explain(network: Sequence[Layer], rules: Sequence[Rule], x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """Relevance of `x` by the rules of the layers that aggregate (all but `Rectifier` and `Flatten`), in their order.

    Parameters
    ----------
    relevance
        What the outputs of the network start with, shaped like the output.
    """
    inputs = values(network, x)
    remaining = list(rules)
    for index in reversed(range(len(network))):
        layer, before, after = network[index], inputs[index], inputs[index + 1]
        if isinstance(layer, Rectifier):
            continue
        if isinstance(layer, Flatten):
            relevance = unflatten(layer, relevance, before.shape)
            continue
        rule = remaining.pop()
        if isinstance(layer, Convolution):
            relevance = convolution_relevance(layer, before, relevance, rule)
        elif isinstance(layer, Dense):
            relevance = dense_relevance(layer, before, relevance, rule)
        else:
            relevance = pool_relevance(layer, before, after, relevance, rule)
    if remaining:
        raise ValueError(f"{len(remaining)} rules more than layers that aggregate")
    return relevance


def unflatten(layer: Flatten, relevance: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Relevance of flattened values in the shape they had before."""
    if not layer.channels_last:
        return relevance.reshape(shape)
    return np.moveaxis(relevance.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
