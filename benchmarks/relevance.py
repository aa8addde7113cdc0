"""Time, memory and size of the relevance pass as multiples of the forward pass: ``python benchmarks/relevance.py``.

Both sessions live in one process and are timed in turn, so that the ratio holds on a noisy machine. Memory is measured in a
process of its own per network and composite.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

import graphlrp

sys.path.insert(0, str(Path(__file__).parent))
from networks import NETWORKS

COMPOSITES = ("epsilon", "epsilon-plus-flat", "epsilon-alpha2beta1-flat", "epsilon-gamma-box")


def measure(network: str, composite: str, batch: int, runs: int, providers: list[str]) -> dict[str, float | str]:
    """Everything about one network and composite."""
    proto = NETWORKS[network]()
    data = proto.SerializeToString()
    chosen = graphlrp.composite(composite, low=-2.5, high=2.5) if composite.endswith("box") else composite
    graphlrp.load(data, chosen)
    start = time.perf_counter()
    explainer = graphlrp.load(data, chosen)
    compile_seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "explainer.onnx"
        explainer.save(path)
        size = path.stat().st_size
        start = time.perf_counter()
        relevance = onnxruntime.InferenceSession(str(path), providers=providers)
        session_seconds = time.perf_counter() - start
    forward = onnxruntime.InferenceSession(data, providers=providers)
    x = np.random.default_rng(0).normal(size=(batch, 3, 224, 224)).astype(np.float32)
    target = np.full(batch, -1, np.int64)
    times: dict[str, list[float]] = {"forward": [], "relevance": []}
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for run in range(runs + 1):
        for name, call in (
            ("forward", lambda: forward.run(None, {"input": x})),
            ("relevance", lambda: relevance.run(["relevance"], {"input": x, "target": target})),
        ):
            start = time.perf_counter()
            call()
            if run:
                times[name].append(time.perf_counter() - start)
    ratios = [r / f for r, f in zip(times["relevance"], times["forward"], strict=True)]
    return {
        "network": network,
        "composite": composite,
        "compile [s]": compile_seconds,
        "session [s]": session_seconds,
        "forward [s]": statistics.median(times["forward"]),
        "relevance [s]": statistics.median(times["relevance"]),
        "ratio": statistics.median(ratios),
        "peak memory [GB]": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "before runs [GB]": memory_before / 1e6,
        "size ratio": size / len(data),
    }


def main() -> None:
    """Measure in subprocesses and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--composites", nargs="+", default=list(COMPOSITES))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--providers", nargs="+", default=["CPUExecutionProvider"])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        row = measure(arguments.networks[0], arguments.composites[0], arguments.batch, arguments.runs, arguments.providers)
        print(json.dumps(row))
        return
    for index, network in enumerate(arguments.networks):
        for composite in arguments.composites:
            options = ["--batch", str(arguments.batch), "--runs", str(arguments.runs), "--providers", *arguments.providers]
            command = [sys.executable, __file__, "--one", "--networks", network, "--composites", composite, *options]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
            if not index and composite == arguments.composites[0]:
                print("| " + " | ".join(row) + " |\n" + "|---" * len(row) + "|")
            print("| " + " | ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
