"""What a SpRAy analysis costs: seconds, seconds of all cores together, and peak of memory, step by step.

    python benchmarks/spray.py [--maps 10000 50000] [--size 64] [--search all pca] [--iterations 1000]

The maps are drawn batch by batch as they are read, so that nothing but the analysis itself is measured: noise of few degrees of
freedom around one of ten strategies, one of which only a hundredth of the maps has. Every number of maps is measured in a process
of its own; the peak is that process' resident memory, of which ``start`` is what the imports take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA

from graphlrp import spray
from graphlrp.spray.embedding import embed
from graphlrp.spray.spectrum import eigengap

BATCH = 500


def draw_maps(count: int, size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Batches [n, 3, size, size] of synthetic relevance, float32."""
    g = np.random.default_rng(seed)
    strategies = gaussian_filter(g.normal(size=(10, size, size)), (0, size / 16, size / 16))
    strategies /= strategies.std(axis=(1, 2), keepdims=True)
    modes = gaussian_filter(g.normal(size=(25, size, size)), (0, size / 20, size / 20))
    modes /= modes.std(axis=(1, 2), keepdims=True)
    shares = np.r_[np.full(9, 0.11), 0.01]
    for start in range(0, count, BATCH):
        n = min(BATCH, count - start)
        which = g.choice(10, n, p=shares / shares.sum())
        smooth = strategies[which] + np.tensordot(0.25 * g.normal(size=(n, 25)), modes, 1)
        yield np.repeat(smooth[:, None] / 3, 3, axis=1).astype(np.float32) + 0.3 * g.normal(size=(n, 3, size, size)).astype(
            np.float32
        )


def peak() -> float:
    """Gigabytes of resident memory so far, at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def by_components(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours among 50 principal components: quicker, not exact."""
    return spray.nearest(PCA(50, random_state=0).fit_transform(features), count)


def measure(count: int, size: int, search: str, iterations: int) -> None:
    """Print a row for every step."""
    rows: list[tuple[str, float, float, float]] = [("start", 0.0, 0.0, peak())]
    clock, cores = time.perf_counter(), time.process_time()

    def done(name: str) -> None:
        nonlocal clock, cores
        before = clock, cores
        clock, cores = time.perf_counter(), time.process_time()
        rows.append((name, clock - before[0], cores - before[1], peak()))

    features = spray.read_features(draw_maps(count, size)).values
    done("draw, read, pool")
    graph = spray.NearestNeighbours(search=by_components if search == "pca" else None)
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
    if iterations:
        method = spray.TSNE(iterations=iterations)
        embed("tsne", method, spray.Graph(features, indices, affinity, spectrum.eigenvalues, spectrum.eigenvectors), 0)
        done(f"t-SNE, {iterations} iterations")
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows), peak()))
    for name, seconds, of_cores, gigabytes in rows:
        print(f"| {count} | {search} | {name} | {seconds:.1f} | {of_cores:.1f} | {gigabytes:.2f} |", flush=True)
    print(f"{gap} clusters by the eigengap, sizes {np.bincount(labels).tolist()}", flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--size", type=int, default=64, help="pixels of a side (default: 64)")
    parser.add_argument(
        "--search", choices=["all", "pca"], nargs="+", default=["all"], help="neighbours: all pairs, or of 50 components"
    )
    parser.add_argument("--iterations", type=int, default=1000, help="of t-SNE; 0: none")
    options = parser.parse_args()
    print("| maps | search | step | s | core s | peak GB |\n|---|---|---|---|---|---|", flush=True)
    context = multiprocessing.get_context("spawn")
    for count in options.maps:
        for search in options.search:
            process = context.Process(target=measure, args=(count, options.size, search, options.iterations))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
