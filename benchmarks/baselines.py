"""Cost of the baselines in forward passes: ``python benchmarks/baselines.py``.

CPU time of sessions with one thread, which other work on the machine hardly disturbs; all methods are run in turn. Methods that
evaluate the model several times are measured with few evaluations: their cost is that of one evaluation times their number.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import graphlrp

sys.path.insert(0, str(Path(__file__).parent))
from networks import NETWORKS

METHODS: dict[str, tuple[dict[str, Any], int, int]] = {
    "epsilon-plus-flat": ({}, 1, 1),
    "excitation-backprop": ({}, 1, 1),
    "gradient": ({}, 1, 1),
    "gradient-x-input": ({}, 1, 1),
    "sensitivity": ({}, 1, 1),
    "deconvolution": ({}, 1, 1),
    "guided-backprop": ({}, 1, 1),
    "grad-cam": ({}, 1, 1),
    "cam": ({}, 1, 1),
    "random": ({}, 1, 1),
    "integrated-gradients": ({"steps": 4}, 4, 32),
    "smoothgrad": ({"samples": 3}, 4, 26),
    "occlusion": ({"window": 75, "stride": 75}, 10, 226),
}
"""Parameters to measure with, evaluations that they make, and evaluations of the defaults for 224 × 224 pixels."""


def session(source: str | bytes) -> onnxruntime.InferenceSession:
    """A session with one thread on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def seconds(call: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet50", choices=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    data = NETWORKS[arguments.network]().SerializeToString()
    x = np.random.default_rng(0).normal(size=(arguments.batch, 3, 224, 224)).astype(np.float32)
    feeds = {"input": x, "target": np.full(arguments.batch, -1, np.int64)}
    forward = session(data)
    print("| method | passes per evaluation | evaluations by default | passes in all |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.methods:
            parameters, measured, default = METHODS[name]
            path = str(Path(folder) / f"{name}.onnx")
            graphlrp.load(data, graphlrp.composite(name, **parameters)).save(path)
            explainer = session(path)
            ratios = []
            for _ in range(arguments.runs + 1):
                own = seconds(lambda: explainer.run(["relevance"], feeds))  # noqa: B023
                ratios.append(own / measured / seconds(lambda: forward.run(None, {"input": x})))
            # The first run packs weights and fills caches.
            ratio = statistics.median(ratios[1:])
            print(f"| `{name}` | {ratio:.1f} | {default} | {ratio * default:.{0 if default > 1 else 1}f} |", flush=True)


if __name__ == "__main__":
    main()
