"""What explaining a kernel machine costs, in forward evaluations: ratios of medians measured in one process.

    python benchmarks/machines.py [--support 20000] [--dimensions 1000] [--batch 64] [--repeats 5] [--kernels rbf ...]

Machines have random support vectors and coefficients that sum to zero, as those of a classifier do. Memory is the peak of the
process, which holds the machine itself several times: as arrays, as a model, and in the session.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

import graphlrp
from graphlrp.kernels import (
    RBF,
    AdditiveChi2,
    ExponentialChi2,
    Hellinger,
    HistogramIntersection,
    Kernel,
    Laplacian,
    Linear,
    Machine,
    Polynomial,
)
from graphlrp.runtime import open_session

Arguments = tuple[str, int, int, int, int]


def kernels(dimensions: int) -> dict[str, Kernel]:
    """Kernels whose values between random samples are neither all one nor all zero."""
    return {
        "linear": Linear(),
        "hellinger": Hellinger(),
        "histogram-intersection": HistogramIntersection(),
        "additive-chi2": AdditiveChi2(),
        "rbf": RBF(6 / dimensions),
        "polynomial": Polynomial(2, 4 / dimensions, 0.0),
        "laplacian": Laplacian(3 / dimensions),
        "exponential-chi2": ExponentialChi2(6 / dimensions),
    }


def median(call: Callable[[], object], repeats: int) -> float:
    """Median of the times of some calls, in seconds, after one that does not count."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(arguments: Arguments) -> str:
    """One row of the table."""
    name, count, dimensions, batch, repeats = arguments
    generator = np.random.default_rng(0)
    dual = generator.normal(size=count)
    machine = Machine(kernels(dimensions)[name], generator.random((count, dimensions)), dual - dual.mean(), 0.1)
    x = generator.random((batch, dimensions)).astype(np.float32)
    start = time.perf_counter()
    explainer = graphlrp.load(machine, verify=False)
    load = time.perf_counter() - start
    forward = open_session(explainer.canonical, "float32", None)
    cost = median(lambda: forward.run(["decision"], {"input": x}), repeats)
    whole = median(lambda: explainer(x, batch_size=batch), repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    kind = "exact" if machine.kernel.decomposable else "Taylor"
    return f"| {name} | {kind} | {load:.2f} | {1e3 * cost:.1f} | {1e3 * whole:.1f} | {whole / cost:.1f} | {peak:.2f} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--support", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=1_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kernels", nargs="+", choices=list(kernels(1)), default=list(kernels(1)))
    options = parser.parse_args()
    print(f"{options.support} support vectors, {options.dimensions} dimensions, batch {options.batch}\n")
    print("| kernel | explained | load s | forward ms | explain ms | ratio | peak GB |")
    print("|---|---|---|---|---|---|---|")
    # A process for each, so that peaks are its own.
    context = multiprocessing.get_context("spawn")
    for name in options.kernels:
        with context.Pool(1) as pool:
            row = pool.apply(measure, ((name, options.support, options.dimensions, options.batch, options.repeats),))
        print(row, flush=True)


if __name__ == "__main__":
    main()
