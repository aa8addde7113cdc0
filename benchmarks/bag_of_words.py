"""What explaining a Bag-of-Words pipeline costs, in forward evaluations: medians measured in one process.

    python benchmarks/bag_of_words.py [--width 480] [--height 360] [--components 256] [--orientation main] [--repeats 3]

SIFT of two scales at every second pixel, 80 principal components, a Fisher vector of the whole image, its quarters and three
rows, and a linear head. Nothing is fitted: components, mixture and weights are random. The peak of memory is that of the process
that measures.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from machines import median
from scipy.ndimage import gaussian_filter
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp.bow import DenseSIFT, DescriptorPCA, FisherVector
from graphlrp.runtime import open_session

PYRAMID = ((1, 1), (2, 2), (3, 1))


def random_pipeline(image: np.ndarray, width: int, components: int, orientation: str = "upright") -> tuple[Pipeline, int]:
    """A pipeline as it would be if it had been fitted, and how many descriptors the image has."""
    generator = np.random.default_rng(0)
    sift = DenseSIFT(step=2, bin_sizes=(4, 6), orientation=orientation).fit([image])
    (descriptors,) = sift.transform([image])
    projection = DescriptorPCA(width)
    values = descriptors.values
    projection.mean_ = values.mean(0).astype(np.float64)
    projection.components_ = np.linalg.qr(generator.normal(size=(values.shape[1], width)))[0].T
    projected = (values[:: max(1, len(values) // 5000)] - projection.mean_) @ projection.components_.T
    means = projected[generator.choice(len(projected), components, replace=False)]
    deviations = projected.std(0) * generator.uniform(0.5, 1.0, means.shape)
    vector = FisherVector.from_arrays(generator.uniform(0.5, 1.5, components), means, deviations, pyramid=PYRAMID)
    head = LinearSVC()
    head.coef_ = generator.normal(size=(1, vector.cells * components * 2 * width))
    head.intercept_, head.classes_, head.n_features_in_ = np.zeros(1), np.array([0, 1]), head.coef_.shape[1]
    return Pipeline([("sift", sift), ("pca", projection), ("vector", vector), ("head", head)]), len(descriptors)


def forward_time(explainer: graphlrp.Explainer, image: np.ndarray, repeats: int) -> float:
    """Seconds for the decision alone; the session is closed behind it."""
    graph = explainer.canonical.graph
    session = open_session(explainer.canonical, "float32", "cpu")
    return median(lambda: session.run([graph.outputs[0].name], {graph.inputs[0].name: image[None]}), repeats)


def main() -> None:
    """Print a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--principal", type=int, default=80)
    parser.add_argument("--components", type=int, default=256)
    parser.add_argument("--orientation", choices=("upright", "main"), default="upright")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(options.height, options.width)), 1.5)
    image = np.clip(128 + 40 * noise / noise.std(), 0, 255).astype(np.float32)
    pipeline, count = random_pipeline(image, options.principal, options.components, options.orientation)
    described = median(lambda: pipeline[0].transform([image]), options.repeats)
    start = time.perf_counter()
    explainer = graphlrp.load(pipeline, verify=False)
    load = time.perf_counter() - start
    cost = forward_time(explainer, image, options.repeats)
    between = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    whole = median(lambda: explainer(image[None]), options.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{options.width} x {options.height} pixels, Fisher vector of {pipeline[-1].n_features_in_} numbers\n")
    print("| descriptors | SIFT alone s | load s | forward s | explain s | ratio | peak GB, forward | peak GB |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {count} | {described:.2f} | {load:.2f} | {cost:.2f} | {whole:.2f} | {whole / cost:.1f} | {between:.2f} | {peak:.2f} |"
    )


if __name__ == "__main__":
    main()
