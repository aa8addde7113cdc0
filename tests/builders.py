"""Small networks with seeded weights that several test files share."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tensor(name: str, array: np.ndarray) -> onnx.TensorProto:
    """An initializer in float32, integers as they are."""
    return numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)


def residual_network(
    channels: int = 2, size: int = 8, classes: int = 3, *, opset: int = 18, batch: int | str = "N"
) -> onnx.ModelProto:
    """Convolutions, batch normalisations, a residual block with a strided shortcut, pooling, a dense layer, a softmax."""
    generator = np.random.default_rng(1)
    weights = {
        "w1": generator.normal(size=(6, channels, 3, 3)) * 0.4,
        "b1": generator.normal(size=6) * 0.1,
        "w2": generator.normal(size=(8, 6, 3, 3)) * 0.2,
        "w3": generator.normal(size=(8, 6, 1, 1)) * 0.4,
        "w4": generator.normal(size=(8, classes)),
        "b4": generator.normal(size=classes) * 0.1,
    }
    for norm in ("n2", "n3"):
        for role in ("scale", "shift", "mean"):
            weights[f"{norm}/{role}"] = 1 + 0.2 * generator.normal(size=8) if role == "scale" else 0.2 * generator.normal(size=8)
        weights[f"{norm}/variance"] = 0.5 + generator.random(8)
    parameters = ("scale", "shift", "mean", "variance")
    node = helper.make_node
    nodes = [
        node("Conv", ["input", "w1", "b1"], ["c1"], pads=[1] * 4, name="conv1"),
        node("Relu", ["c1"], ["r1"], name="relu1"),
        node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4, strides=[2, 2], name="conv2"),
        node("BatchNormalization", ["c2", *(f"n2/{p}" for p in parameters)], ["n2"], name="norm2"),
        node("Conv", ["r1", "w3"], ["c3"], strides=[2, 2], name="shortcut"),
        node("BatchNormalization", ["c3", *(f"n3/{p}" for p in parameters)], ["n3"], name="norm3"),
        node("Add", ["n2", "n3"], ["a"], name="add"),
        node("Relu", ["a"], ["r2"], name="relu2"),
        node("MaxPool", ["r2"], ["m"], kernel_shape=[2, 2], strides=[2, 2], name="pool"),
        node("GlobalAveragePool", ["m"], ["g"], name="average"),
        node("Flatten", ["g"], ["f"], name="flatten"),
        node("Gemm", ["f", "w4", "b4"], ["scores"], name="dense"),
        node("Softmax", ["scores"], ["probabilities"], axis=1, name="softmax"),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, channels, size, size])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, classes])],
        [tensor(name, array) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
