"""Time, size and error of relevance that is kept in a file, per dtype and compression: ``python benchmarks/stores.py``.

The network is small and has random weights, the pictures are pieces of the two photographs that come with scikit-learn. Computing
and writing are timed in the same run: writing is all the time that is not spent in the explainer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from sklearn.datasets import load_sample_images

import graphlrp
from graphlrp import stores

STORAGES: tuple[dict[str, Any], ...] = (
    {"dtype": "float32"},
    {"dtype": "float32", "compression": "lzf"},
    {"dtype": "float32", "compression": "gzip"},
    {"dtype": "float16"},
    {"dtype": "float16", "compression": "lzf"},
    {"dtype": "float16", "compression": "gzip"},
)


def network(size: int) -> bytes:
    """Four convolutions and a dense layer, pictures [N, 3, size, size] -> ten classes."""
    generator = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    nodes, value, channels = [], "x", 3
    for layer, width in enumerate((16, 32, 64, 64)):
        weights[f"w{layer}"] = generator.normal(size=(width, channels, 3, 3)) * np.sqrt(2 / 9 / channels)
        weights[f"b{layer}"] = generator.normal(size=width) / 10
        nodes.append(make_node("Conv", [value, f"w{layer}", f"b{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        nodes.append(make_node("MaxPool", [f"r{layer}"], [f"p{layer}"], kernel_shape=[2, 2], strides=[2, 2]))
        value, channels = f"p{layer}", width
    weights["head"] = generator.normal(size=(channels, 10))
    nodes += [make_node("GlobalAveragePool", [value], ["g"]), make_node("Flatten", ["g"], ["f"])]
    nodes.append(make_node("Gemm", ["f", "head"], ["y"]))
    x = make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, size, size])
    y = make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 10])
    initializers = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = make_graph(nodes, "small", [x], [y], initializers)
    return make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10).SerializeToString()


def pieces(count: int, size: int) -> np.ndarray:
    """Pieces of photographs, float32 [N, 3, size, size], values -1 to 1."""
    generator = np.random.default_rng(1)
    photos = load_sample_images().images
    result = np.empty((count, 3, size, size), np.float32)
    for piece in result:
        photo = photos[generator.integers(len(photos))]
        top, left = (int(generator.integers(length - size)) for length in photo.shape[:2])
        piece[:] = np.moveaxis(photo[top : top + size, left : left + size], -1, 0) / 127.5 - 1
    return result


class Timed:
    """An explainer that knows how long it took."""

    def __init__(self, explainer: graphlrp.Explainer) -> None:
        self._explainer = explainer
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._explainer, name)

    def __call__(self, *arguments: Any, **keywords: Any) -> graphlrp.Explanation:
        start = time.perf_counter()
        result = self._explainer(*arguments, **keywords)
        self.seconds += time.perf_counter() - start
        return result


def measure(
    explainer: graphlrp.Explainer, x: np.ndarray, exact: np.ndarray, batch: int, storage: dict[str, Any]
) -> dict[str, Any]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "relevance.h5"
        timed: Any = Timed(explainer)
        start = time.perf_counter()
        store = stores.write(path, timed, x, batch_size=batch, **storage)
        total = time.perf_counter() - start
        start = time.perf_counter()
        kept = store.relevance[:]
        reading = time.perf_counter() - start
        store.close()
        size = path.stat().st_size
    writing = total - timed.seconds
    largest = np.abs(exact).reshape(len(exact), -1).max(axis=1)
    error = np.abs(kept.astype(np.float64) - exact)
    return {
        "kept as": " ".join(map(str, storage.values())),
        "computing [maps/s]": f"{len(x) / timed.seconds:.0f}",
        "writing [maps/s]": f"{len(x) / writing:.0f}",
        "writing [MB/s]": f"{exact.nbytes / writing / 1e6:.0f}",
        "share of the time": f"{100 * writing / total:.0f} %",
        "file [MB]": f"{size / 1e6:.1f}",
        "per map [kB]": f"{size / len(x) / 1e3:.1f}",
        "reading [MB/s]": f"{exact.nbytes / reading / 1e6:.0f}",
        "error / max |R|": f"{(error.reshape(len(error), -1).max(axis=1) / largest).max():.1e}",
        "error of ΣR / Σ|R|": f"{relative_sum_error(kept, exact):.1e}",
    }


def relative_sum_error(kept: np.ndarray, exact: np.ndarray) -> float:
    """The largest error of the sum of a map, over its sum of magnitudes."""
    axes = tuple(range(1, exact.ndim))
    difference = np.abs(kept.sum(axis=axes, dtype=np.float64) - exact.sum(axis=axes, dtype=np.float64))
    return float((difference / np.abs(exact).sum(axis=axes, dtype=np.float64)).max())


def main() -> None:
    """Measure all kinds of storage and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=512, help="pictures")
    parser.add_argument("--size", type=int, default=64, help="their height and width")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--composite", default="epsilon-plus-flat")
    arguments = parser.parse_args()
    explainer = graphlrp.load(network(arguments.size), arguments.composite, providers="cpu")
    x = pieces(arguments.count, arguments.size)
    exact = explainer(x, batch_size=arguments.batch).relevance
    for number, storage in enumerate(STORAGES):
        row = measure(explainer, x, exact, arguments.batch, storage)
        if not number:
            print("| " + " | ".join(row) + " |\n" + "|---" * len(row) + "|")
        print("| " + " | ".join(row.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
