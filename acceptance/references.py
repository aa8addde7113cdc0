"""Stored references: networks read from their own text formats, inputs, and the relevance others computed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from acceptance.layers import Convolution, Dense, Flatten, Layer, MaxPool, Rectifier, SumPool


@dataclass(frozen=True)
class Digits:
    """The test digits of MNIST as LeNet-5 takes them: `x[N, 1, 32, 32]` in [-1, 1], `label[N]`."""

    x: np.ndarray
    label: np.ndarray


def channels_first(array: np.ndarray) -> np.ndarray:
    """`[N, H, W, C]` to `[N, C, H, W]`."""
    return np.moveaxis(array, -1, 1)


def kernel_first(weight: np.ndarray) -> np.ndarray:
    """A kernel `[H, W, I, O]` to `[O, I, H, W]`."""
    return weight.transpose(3, 2, 0, 1)


def lenet5(folder: Path) -> list[Layer]:
    """LeNet-5: three times convolution, rectifier and sum pooling (scaled by 1/sqrt(4)), then a 1x1 convolution."""
    stored = np.load(folder / "lenet5_weights_from_nn.npz")
    network: list[Layer] = []
    for index in (0, 3, 6, 9):
        network.append(Convolution(kernel_first(stored[f"W{index}"]), stored[f"B{index}"]))
        if index != 9:
            network += [Rectifier(), SumPool((2, 2), (2, 2), 0.5)]
    return [*network, Flatten()]


def digits(folder: Path) -> Digits:
    """All 10,000 test digits, scaled and padded as the reference was."""
    pixels = scipy.io.loadmat(folder / "test_images.mat")["data"].reshape(-1, 1, 28, 28)
    border = ((0, 0), (0, 0), (2, 2), (2, 2))
    x = np.pad(pixels / 127.5 - 1.0, border, constant_values=-1.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*header parsing.*")  # written by Python 2
        label = np.load(folder / "test_labels.npy")
    return Digits(x, label.ravel().astype(np.int64))


def gait_network(path: Path) -> list[Layer]:
    """A network in the text format of the gait study: a line with its sizes before each layer's numbers.

    Convolutions are `Convolution H W I O stride_h stride_w` with numbers in the order H, W, I, O; a terminal `SoftMax`
    is left out, relevance starts at the logits.
    """
    lines = iter(path.read_text().splitlines())
    network: list[Layer] = []
    for line in lines:
        name, *numbers = line.split() or [""]
        sizes = [int(number) for number in numbers]
        if name in ("Convolution", "Linear"):
            weight, bias = np.array(next(lines).split(), float), np.array(next(lines).split(), float)
            if name == "Linear":
                network.append(Dense(weight.reshape(sizes), bias))
            else:
                kernel = kernel_first(weight.reshape(sizes[:4]))
                network.append(Convolution(kernel, bias, (sizes[4], sizes[5])))
        elif name == "Rect":
            network.append(Rectifier())
        elif name == "Flatten":
            spatial = any(isinstance(layer, Convolution) for layer in network)
            network.append(Flatten(channels_last=spatial))
        elif name not in ("", "SoftMax"):
            raise ValueError(f"{path.name}: unknown layer {name!r}")
    return network


@dataclass(frozen=True)
class LayerReference:
    """One layer of one file of the innvestigate references.

    `x[8, 10, 10, 3]` is channels last; `output[8, F]` is flattened, positions before channels; `relevance` is shaped
    like `x` and started at the largest output of each sample.
    """

    network: list[Layer]
    x: np.ndarray
    output: np.ndarray
    relevance: np.ndarray


LAYERS = ("AveragePooling2D", "Conv2D", "Conv2D_relu", "Dense", "Dense_relu", "MaxPooling2D")


def layer_reference(path: Path, layer: str) -> LayerReference:
    """Read one layer of one file."""
    with h5py.File(path) as file:
        group = file[layer]
        weights = [group["weights"][key][:].astype(np.float64) for key in sorted(group["weights"])]
        output, relevance = group["output"][:], group["attribution"][:]
        x = file["input"][:].astype(np.float64)
    network: list[Layer]
    if layer.startswith("Dense"):
        network = [Dense(*weights)]
    elif layer.startswith("Conv2D"):
        network = [Convolution(kernel_first(weights[0]), weights[1])]
    elif layer == "AveragePooling2D":
        network = [SumPool((2, 2), (2, 2), 0.25)]
    else:
        network = [MaxPool((2, 2), (2, 2))]
    if layer.endswith("_relu"):
        network.append(Rectifier())
    network.append(Flatten(channels_last=not layer.startswith("Dense")))
    return LayerReference(network, x, output.astype(np.float64), relevance.astype(np.float64))
