"""What a SpRAy analysis of sparse relevance costs: seconds, seconds of all cores together, and peak of memory, step by step.

    python benchmarks/spray_texts.py [--rows 20000 50000] [--terms 100000]

The rows are drawn batch by batch as they are read: each has relevance on up to 150 terms, half of them drawn by Zipf's law from
all terms, so that some terms are in almost every row, half from the 200 terms of one of ten topics. Every number of rows is
measured in a process of its own; the peak is that process' resident memory, of which ``start`` is what the imports take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix

from graphlrp import spray
from graphlrp.spray.spectrum import eigengap

BATCH = 1000
DRAWN = 75
TOPICS, OWN = 10, 200


def draw_rows(count: int, terms: int, seed: int = 0) -> Iterator[csr_matrix]:
    """Batches [n, terms] of synthetic relevance, float32."""
    g = np.random.default_rng(seed)
    chances = 1.0 / np.arange(1, terms + 1)
    ends = np.cumsum(chances / chances.sum())
    for start in range(0, count, BATCH):
        n = min(BATCH, count - start)
        common = np.minimum(np.searchsorted(ends, g.random((n, DRAWN))), terms - 1)
        first = terms // 2 + OWN * g.integers(0, TOPICS, n)
        own = first[:, None] + g.integers(0, OWN, (n, DRAWN))
        columns = np.concatenate([common, own], axis=1)
        values = g.gamma(2.0, np.where(np.arange(2 * DRAWN) < DRAWN, 0.02, 0.05), columns.shape).astype(np.float32)
        rows = csr_matrix((values.ravel(), columns.ravel(), np.arange(n + 1) * 2 * DRAWN), (n, terms))
        rows.sum_duplicates()
        yield rows


def peak() -> float:
    """Gigabytes of resident memory so far, at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(count: int, terms: int) -> None:
    """Print a row for every step."""
    rows: list[tuple[str, float, float, float]] = [("start", 0.0, 0.0, peak())]
    clock, cores = time.perf_counter(), time.process_time()

    def done(name: str) -> None:
        nonlocal clock, cores
        before = clock, cores
        clock, cores = time.perf_counter(), time.process_time()
        rows.append((name, clock - before[0], cores - before[1], peak()))

    features = spray.read_features(draw_rows(count, terms)).values
    done(f"draw, read, {features.nnz / count:.0f} terms a row")
    graph = spray.NearestNeighbours()
    distances, indices = graph.find(features, spray.TSNE().neighbours(count))
    done("22 nearest neighbours")
    own = graph.count(count)
    affinity = graph.of(distances[:, :own], indices[:, :own])
    done("affinity")
    spectrum = spray.smallest_eigenvalues(affinity)
    done("32 eigenvalues")
    gap = eigengap(spectrum.eigenvalues)
    _, labels = spray.find_clusters(spectrum.eigenvectors, gap, "symmetric", "kmeans", 0)
    done("k-means")
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows), peak()))
    for name, seconds, of_cores, gigabytes in rows:
        print(f"| {count} | {name} | {seconds:.1f} | {of_cores:.1f} | {gigabytes:.2f} |", flush=True)
    print(f"{gap} clusters by the eigengap, sizes {np.bincount(labels).tolist()}", flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000])
    parser.add_argument("--terms", type=int, default=100_000, help="columns (default: 100000)")
    options = parser.parse_args()
    print("| rows | step | s | core s | peak GB |\n|---|---|---|---|---|", flush=True)
    context = multiprocessing.get_context("spawn")
    for count in options.rows:
        process = context.Process(target=measure, args=(count, options.terms))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
