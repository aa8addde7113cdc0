"""ResNet-50, VGG-16 and DenseNet-121 as ONNX graphs with random weights: their shapes and costs, not what they know."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Network:
    """Collects nodes and weights; every layer method returns the name of its output."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(seed)
        self.channels = {"input": 3}

    def _node(self, operator: str, inputs: list[str], **attributes: object) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self.channels[name] = self.channels[inputs[0]]
        return name

    def _weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(self, x: str, channels: int, kernel: int, stride: int = 1, *, bias: bool = False) -> str:
        """A convolution with padding kernel // 2."""
        fan_in = self.channels[x] * kernel * kernel
        weights = self.random.normal(size=(channels, self.channels[x], kernel, kernel)) * np.sqrt(2 / fan_in)
        inputs = [x, self._weight(weights)]
        if bias:
            inputs.append(self._weight(self.random.normal(size=channels) * 0.1))
        y = self._node("Conv", inputs, strides=[stride] * 2, pads=[kernel // 2] * 4, kernel_shape=[kernel] * 2)
        self.channels[y] = channels
        return y

    def norm(self, x: str) -> str:
        """A batch normalisation."""
        c = self.channels[x]
        parameters = (
            1 + 0.1 * self.random.normal(size=c),
            *self.random.normal(size=(2, c)) * 0.1,
            1 + 0.1 * self.random.random(c),
        )
        return self._node("BatchNormalization", [x, *(self._weight(p) for p in parameters)])

    def relu(self, x: str) -> str:
        """A ReLU."""
        return self._node("Relu", [x])

    def pool(self, x: str, operator: str, kernel: int, stride: int, padding: int = 0) -> str:
        """MaxPool or AveragePool."""
        return self._node(operator, [x], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4)

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        """A dense layer."""
        weights = self.random.normal(size=(inputs, outputs)) * np.sqrt(2 / inputs)
        return self._node("Gemm", [x, self._weight(weights), self._weight(np.zeros(outputs))])

    def head(self, x: str, classes: int = 1000) -> str:
        """Global average pool and a dense layer."""
        pooled = self._node("Flatten", [self._node("GlobalAveragePool", [x])])
        return self.dense(pooled, self.channels[x], classes)

    def model(self, output: str, name: str) -> onnx.ModelProto:
        """The model with output "logits"."""
        self.nodes.append(helper.make_node("Identity", [output], ["logits"], name="logits"))
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 224, 224])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def resnet50() -> onnx.ModelProto:
    """ResNet-50 (He et al. 2016), stride on the 3×3 convolutions."""
    net = Network()
    x = net.pool(net.relu(net.norm(net.conv("input", 64, 7, 2))), "MaxPool", 3, 2, 1)
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = net.relu(net.norm(net.conv(x, width, 1)))
            y = net.relu(net.norm(net.conv(y, width, 3, stride)))
            y = net.norm(net.conv(y, 4 * width, 1))
            skip = x if block else net.norm(net.conv(x, 4 * width, 1, stride))
            x = net.relu(net._node("Add", [y, skip]))
    return net.model(net.head(x), "resnet50")


def vgg16() -> onnx.ModelProto:
    """VGG-16 (Simonyan and Zisserman 2015)."""
    net = Network()
    x = "input"
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            x = net.relu(net.conv(x, width, 3, bias=True))
        x = net.pool(x, "MaxPool", 2, 2)
    x = net._node("Flatten", [x])
    x = net.relu(net.dense(x, 512 * 49, 4096))
    x = net.relu(net.dense(x, 4096, 4096))
    return net.model(net.dense(x, 4096, 1000), "vgg16")


def densenet121() -> onnx.ModelProto:
    """DenseNet-121 (Huang et al. 2017)."""
    net = Network()
    x = net.pool(net.relu(net.norm(net.conv("input", 64, 7, 2))), "MaxPool", 3, 2, 1)
    for stage, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            y = net.conv(net.relu(net.norm(x)), 128, 1)
            y = net.conv(net.relu(net.norm(y)), 32, 3)
            joined = net._node("Concat", [x, y], axis=1)
            net.channels[joined] = net.channels[x] + 32
            x = joined
        if stage < 3:
            x = net.pool(net.conv(net.relu(net.norm(x)), net.channels[x] // 2, 1), "AveragePool", 2, 2)
    return net.model(net.head(net.relu(net.norm(x))), "densenet121")


NETWORKS = {"resnet50": resnet50, "vgg16": vgg16, "densenet121": densenet121}
