"""The small reference networks as ONNX models in double precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from acceptance.layers import Convolution, Dense, Flatten, Layer, MaxPool, Rectifier, SumPool


class ModelWriter:
    """Appends nodes one after another to a graph that is a chain."""

    def __init__(self, input_name: str = "input") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.value = input_name

    def constant(self, name: str, array: np.ndarray) -> str:
        """An initializer with a name that is not taken yet."""
        name = f"{name}_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def append(self, operator: str, *constants: str, role: str = "", **attributes: object) -> None:
        """A node that takes the last value first, named after its role, else after its operator."""
        name = f"{role or operator.lower()}_{len(self.nodes)}"
        inputs = [self.value, *constants]
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self.value = name


def write_pool_as_convolution(writer: ModelWriter, layer: SumPool, channels: int, dimensions: int) -> None:
    """Sum pooling as a convolution of each channel with the scale."""
    kernel = writer.constant("scale", np.full((channels, 1, *layer.window[:dimensions]), layer.scale))
    writer.append("Conv", kernel, role="pool", group=channels, strides=layer.strides[:dimensions])


def write_pool_as_average(writer: ModelWriter, layer: SumPool, dimensions: int) -> None:
    """Sum pooling as the mean times the number of its inputs and the scale."""
    window = layer.window[:dimensions]
    writer.append("AveragePool", role="pool", kernel_shape=window, strides=layer.strides[:dimensions])
    scale = layer.scale * float(np.prod(window))
    if scale != 1.0:
        writer.append("Mul", writer.constant("scale", np.array(scale)))


def to_onnx(
    network: Sequence[Layer],
    input_shape: Sequence[int],
    *,
    pooling: str = "convolution",
    dimensions: int = 2,
    channels_last_input: bool = False,
) -> onnx.ModelProto:
    """The network as an ONNX model with one input `[N, *input_shape]` and one output, both double.

    Parameters
    ----------
    pooling
        Write `SumPool` as a `"convolution"` whose weights are the scale, or as an `"average"` times window size and
        scale. A stabilizer meets another number each time: see `pooling_factor`.
    dimensions
        2 writes images `[N, C, H, W]`; 1 writes `[N, C, H]` for networks whose images have width 1.
    channels_last_input
        The input is `[N, H, W, C]` and the model transposes it first.
    """
    writer = ModelWriter()
    channels = input_shape[-1] if channels_last_input else input_shape[0]
    flattened = len(input_shape) == 1
    if channels_last_input:
        writer.append("Transpose", perm=[0, 3, 1, 2])
    for layer in network:
        if isinstance(layer, Convolution):
            kernel = layer.weight if dimensions == 2 else layer.weight[..., 0]
            constants = writer.constant("kernel", kernel), writer.constant("bias", layer.bias)
            writer.append("Conv", *constants, strides=layer.strides[:dimensions])
            channels = len(layer.weight)
        elif isinstance(layer, Dense) and flattened:
            writer.append("Gemm", writer.constant("weight", layer.weight), writer.constant("bias", layer.bias))
        elif isinstance(layer, Dense):
            writer.append("MatMul", writer.constant("weight", layer.weight))
            writer.append("Add", writer.constant("bias", layer.bias))
        elif isinstance(layer, MaxPool):
            window, strides = layer.window[:dimensions], layer.strides[:dimensions]
            writer.append("MaxPool", kernel_shape=window, strides=strides)
        elif isinstance(layer, SumPool) and pooling == "average":
            write_pool_as_average(writer, layer, dimensions)
        elif isinstance(layer, SumPool):
            write_pool_as_convolution(writer, layer, channels, dimensions)
        elif isinstance(layer, Rectifier):
            writer.append("Relu")
        elif isinstance(layer, Flatten):
            if layer.channels_last:
                writer.append("Transpose", perm=[0, *range(2, dimensions + 2), 1])
            writer.append("Flatten")
            flattened = True
    return finish(writer, input_shape)


def pooling_factor(layer: SumPool, pooling: str) -> float:
    """What the mapping that stands for sum pooling puts out, as a multiple of the plain sum."""
    return layer.scale if pooling == "convolution" else 1.0 / float(np.prod(layer.window))


def finish(writer: ModelWriter, input_shape: Sequence[int]) -> onnx.ModelProto:
    """Close the chain and check the model."""
    source = helper.make_tensor_value_info("input", TensorProto.DOUBLE, ["N", *input_shape])
    result = helper.make_tensor_value_info(writer.value, TensorProto.DOUBLE, ["N", None])
    graph = helper.make_graph(writer.nodes, "reference", [source], [result], writer.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
