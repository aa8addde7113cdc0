"""Small torch networks and the same networks as ONNX models, written node by node from the same weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from zennit.layer import Sum

Pair = tuple[int, int]


class Residual(nn.Module):
    """A branch and a shortcut, added by a module that zennit can give a rule."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.sum = Sum()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Branch plus shortcut."""
        return self.sum(torch.stack([self.branch(x), self.shortcut(x)], dim=-1))


def plain_network() -> nn.Sequential:
    """Convolutions with padding, strides, dilation and groups, both kinds of pooling, two dense layers.

    The maximum is taken before the rectifier: among rectified values there are ties, where implementations differ.
    """
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=(1, 0)),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=2, dilation=2, groups=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 16),
        nn.ReLU(),
        nn.Linear(16, 5),
    )


def residual_network() -> nn.Sequential:
    """Batch normalisation behind convolutions and two residual blocks, one with a projection."""

    def normalised(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]

    first = nn.Sequential(*normalised(6, 6), nn.ReLU(), *normalised(6, 6))
    second = nn.Sequential(*normalised(6, 10, 2), nn.ReLU(), *normalised(10, 10))
    projection = nn.Sequential(nn.Conv2d(6, 10, 1, 2, bias=False), nn.BatchNorm2d(10))
    return nn.Sequential(
        *normalised(3, 6),
        nn.ReLU(),
        Residual(first, nn.Sequential()),
        nn.ReLU(),
        Residual(second, projection),
        nn.ReLU(),
        nn.AvgPool2d(8),
        nn.Flatten(),
        nn.Linear(10, 4),
    )


NETWORKS = {"plain": plain_network, "residual": residual_network}
SIZE = 16


def network(name: str, normalisation_epsilon: float = 0.0) -> nn.Sequential:
    """A network with random weights, biases and statistics, in float64, ready for inference."""
    torch.manual_seed(0)
    result = NETWORKS[name]().double()
    for module in result.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.2)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.eps = normalisation_epsilon
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return result.eval()


def pair(value: int | Pair) -> list[int]:
    """One number for both axes, or one for each."""
    return [value, value] if isinstance(value, int) else list(value)


@dataclass
class GraphWriter:
    """Appends torch modules to an ONNX graph."""

    nodes: list[onnx.NodeProto]
    initializers: list[onnx.TensorProto]

    def node(self, operator: str, inputs: list[str], **attributes: object) -> str:
        """Append a node, return its output."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constants(self, *tensors: torch.Tensor | None) -> list[str]:
        """Append initializers, return their names."""
        names = []
        for tensor in tensors:
            if tensor is not None:
                names.append(f"constant_{len(self.initializers)}")
                array = tensor.detach().numpy()
                self.initializers.append(numpy_helper.from_array(array, names[-1]))
        return names

    def module(self, module: nn.Module, value: str) -> str:
        """Append a module, return its output."""
        if isinstance(module, nn.Sequential):
            for child in module:
                value = self.module(child, value)
            return value
        if isinstance(module, Residual):
            return self.node("Add", [self.module(module.branch, value), self.module(module.shortcut, value)])
        if isinstance(module, nn.Conv2d):
            return self.node(
                "Conv",
                [value, *self.constants(module.weight, module.bias)],
                strides=pair(module.stride),
                pads=pair(module.padding) * 2,
                dilations=pair(module.dilation),
                group=module.groups,
            )
        if isinstance(module, nn.BatchNorm2d):
            parameters = (module.weight, module.bias, module.running_mean, module.running_var)
            return self.node("BatchNormalization", [value, *self.constants(*parameters)], epsilon=module.eps)
        if isinstance(module, nn.Linear):
            return self.node("Gemm", [value, *self.constants(module.weight, module.bias)], transB=1)
        if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
            operator = "MaxPool" if isinstance(module, nn.MaxPool2d) else "AveragePool"
            size = pair(module.kernel_size)
            return self.node(operator, [value], kernel_shape=size, strides=pair(module.stride))
        if isinstance(module, (nn.ReLU, nn.Flatten)):
            return self.node("Relu" if isinstance(module, nn.ReLU) else "Flatten", [value])
        raise TypeError(f"no ONNX for {type(module).__name__}")


def to_onnx(module: nn.Module, size: int = SIZE) -> onnx.ModelProto:
    """The module as an ONNX model in double precision with input `[N, 3, size, size]`."""
    writer = GraphWriter([], [])
    output = writer.module(module, "input")
    source = helper.make_tensor_value_info("input", TensorProto.DOUBLE, ["N", 3, size, size])
    result = helper.make_tensor_value_info(output, TensorProto.DOUBLE, ["N", None])
    graph = helper.make_graph(writer.nodes, "network", [source], [result], writer.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def sample(count: int = 3, seed: int = 1) -> np.ndarray:
    """Inputs between -1 and 1."""
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (count, 3, SIZE, SIZE))
