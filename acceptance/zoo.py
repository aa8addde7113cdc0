"""Real networks: trained ones with the inputs they want, and the large graphs that come with the onnx package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from acceptance import images

LIGHT_MODELS = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass(frozen=True)
class TrainedModel:
    """A trained classifier in the assets.

    `read(assets, count)` gives inputs and classes of the first `count` test images (all, if None), evenly spread;
    `accuracy` is what the classifier gets on all of them; `low` and `high` bound each channel of the input.
    """

    file: str
    accuracy: float
    read: Callable[[Path, int | None], tuple[np.ndarray, np.ndarray]]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def path(self, assets: Path) -> Path:
        """Path of the ONNX file."""
        return assets / self.file


def photo_reader(
    prepare: Callable[[Path], np.ndarray],
) -> Callable[[Path, int | None], tuple[np.ndarray, np.ndarray]]:
    """Read the ImageNet photos; the four digits in front of a file's name are its class."""

    def read(assets: Path, count: int | None) -> tuple[np.ndarray, np.ndarray]:
        paths = sorted((assets / "imagenet" / "images").glob("*.JPEG"))
        paths = paths[:: len(paths) // count][:count] if count else paths
        x = np.stack([prepare(path) for path in paths]).astype(np.float32)
        return x, np.array([int(path.name[:4]) for path in paths])

    return read


def small_image_reader(
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
) -> Callable[[Path, int | None], tuple[np.ndarray, np.ndarray]]:
    """Read the CIFAR-10 test images."""

    def read(assets: Path, count: int | None) -> tuple[np.ndarray, np.ndarray]:
        with np.load(assets / "cifar10" / "cifar10_test_raw_242.npz") as file:
            x, label = file["x"][:count], file["y"][:count].astype(np.int64)
        return images.cifar_input(x, normalisation), label

    return read


def bounds(
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Smallest and largest normalised value of each channel."""
    pairs = list(zip(*normalisation, strict=True))
    return tuple(-mean / deviation for mean, deviation in pairs), tuple((1 - m) / d for m, d in pairs)


def cifar_model(file: str, accuracy: float, normalisation: tuple[tuple[float, ...], tuple[float, ...]]) -> TrainedModel:
    """A classifier of CIFAR-10."""
    return TrainedModel(f"cifar10/{file}", accuracy, small_image_reader(normalisation), *bounds(normalisation))


MEAN = tuple(float(value) for value in images.BLUE_GREEN_RED_MEAN)

TRAINED = {
    "efficientnet-lite0": TrainedModel(
        "imagenet/efficientnet_lite0_bn_static.onnx",
        0.90,
        photo_reader(images.efficientnet_input),
        (-127 / 128,) * 3,
        (1.0,) * 3,
    ),
    "squeezenet": TrainedModel(
        "imagenet/squeezenet10_dc.onnx",
        0.62,
        photo_reader(images.squeezenet_input),
        tuple(-value for value in MEAN),
        tuple(255 - value for value in MEAN),
    ),
    "resnet20": cifar_model("resnet20_cifar10_bn_static.onnx", 224 / 242, images.CIFAR_RESNET),
    "resnet56": cifar_model("resnet56_cifar10_bn_static.onnx", 227 / 242, images.CIFAR_RESNET),
    "densenet-bc": cifar_model("densenet_bc_40_12_cifar10_bn.onnx", 233 / 242, images.CIFAR_DENSENET),
}


def light_models() -> list[str]:
    """Names of the large graphs in the onnx package."""
    return sorted(path.stem.removeprefix("light_") for path in LIGHT_MODELS.glob("light_*.onnx"))


def light_model(name: str) -> onnx.ModelProto:
    """A large graph as it is shipped: all weights are 0.02."""
    return onnx.load(LIGHT_MODELS / f"light_{name}.onnx")


def light_output(name: str) -> np.ndarray:
    """The output that the onnx package stores for it."""
    tensor = onnx.TensorProto()
    tensor.ParseFromString((LIGHT_MODELS / f"light_{name}_output_0.pb").read_bytes())
    return numpy_helper.to_array(tensor)


def roles(graph: onnx.GraphProto) -> dict[str, str]:
    """What each filled tensor of a light model is for, through the nodes that only give it further axes."""
    consumers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            consumers.setdefault(name, []).append((node, index))

    def role(name: str) -> str:
        node, index = consumers[name][0]
        if node.op_type == "Unsqueeze":
            return role(node.output[0])
        if node.op_type == "BatchNormalization":
            return ("input", "scale", "shift", "shift", "variance")[index]
        return {"Mul": "scale", "Add": "shift"}.get(node.op_type, "weight" if index == 1 else "shift")

    return {node.output[0]: role(node.output[0]) for node in graph.node if node.op_type == "ConstantOfShape"}


def randomised(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """A light model whose weights are random numbers of a size that keeps activations alive through its depth."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    random = np.random.default_rng(seed)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    purposes = roles(graph)
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(size) for size in shapes[node.input[0]])
        role = purposes[node.output[0]]
        if role == "weight":
            fan_in = float(np.prod(shape[1:]))
            array = random.standard_normal(shape, np.float32) * np.float32(np.sqrt(2.0 / fan_in))
        elif role == "shift":
            array = random.normal(0.0, 0.1, shape)
        else:
            array = random.uniform(0.5, 1.5, shape)
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    return result


def predict(model: onnx.ModelProto | Path, x: np.ndarray, batch: int = 20) -> np.ndarray:
    """The first output of a model for a batch of inputs, by ONNX Runtime on the CPU."""
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: x[i : i + batch]})[0] for i in range(0, len(x), batch)]
    return np.concatenate(parts)
