"""Layers of the small reference networks: what a network is, said once for the oracle and for the ONNX model.

Arrays are channels first: `[N, C, H, W]` for images (recordings over time are images of width 1), `[N, F]` after
`Flatten`. Nothing here knows of relevance or of ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Convolution:
    """Valid cross-correlation with `weight[O, I, H, W]` and `bias[O]`."""

    weight: np.ndarray
    bias: np.ndarray
    strides: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Dense:
    """`x @ weight + bias` with `weight[I, O]` on the last axis of `x`."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class SumPool:
    """Sum over windows, multiplied by `scale` afterwards.

    The scale is a mapping of its own (a multiplication by a constant passes relevance on), so a stabilizer is added to
    the plain sum. That is how the reference implementation of LeNet-5 does it.
    """

    window: tuple[int, int]
    strides: tuple[int, int]
    scale: float = 1.0


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows."""

    window: tuple[int, int]
    strides: tuple[int, int]


@dataclass(frozen=True)
class Rectifier:
    """`max(x, 0)`; passes relevance on."""


@dataclass(frozen=True)
class Flatten:
    """`[N, ...]` to `[N, F]`; `channels_last` lists positions first and channels within a position."""

    channels_last: bool = False


Layer = Convolution | Dense | SumPool | MaxPool | Rectifier | Flatten
