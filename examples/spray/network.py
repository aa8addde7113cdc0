"""A mark in the corner that a network learns for an "8", found in its relevance maps: ``python network.py -o out``.

In the training pictures, a part of one class carries a mark. The maps of all training pictures, each explained for its own class,
are analysed: classes are ranked, the clusters of the first class are ordered, and the maps of the first cluster are left out when
the network is trained again.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clusters import save, score
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from small_network import Array, SmallNetwork

import graphlrp
from graphlrp import spray

SIZE = 24
CLASS = 8
"""The class whose training pictures are marked."""

SHARE = 0.2
"""Of its pictures."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images float32 [N, 1, 24, 24], about 0 ... 1, their classes, and which of them carry the mark."""

    images: Array
    labels: Array
    marked: Array

    def part(self, chosen: Array) -> Pictures:
        """Some of them."""
        return Pictures(self.images[chosen], self.labels[chosen], self.marked[chosen])


def mark(images: Array) -> Array:
    """The same with a pale cross in the upper left corner."""
    cover = np.zeros((SIZE, SIZE), np.float32)
    cover[1:6, 3] = cover[3, 1:6] = 0.6
    return np.asarray(images + cover * (1 - images))


def draw_pictures(digits: Array, copies: int, seed: int, share: float = 0.0) -> Pictures:
    """Handwritten digits of scikit-learn, twice as large, at different places, with noise; a share of one class is marked."""
    data = load_digits()
    g = np.random.default_rng(seed)
    chosen = np.repeat(digits, copies)
    images = np.zeros((len(chosen), 1, SIZE, SIZE), np.float32)
    for image, digit in zip(images, chosen, strict=True):
        y, x = g.integers(2, 7, 2)
        image[0, y : y + 16, x : x + 16] = np.clip(zoom(data.images[digit] / 16, 2, order=1), 0, 1)
    images += (0.2 * g.normal(size=images.shape)).astype(np.float32)
    labels = data.target[chosen]
    marked = (labels == CLASS) & (g.random(len(chosen)) < share)
    images[marked] = mark(images[marked])
    return Pictures(images, labels, marked)


def train(pictures: Pictures, epochs: int = 8) -> SmallNetwork:
    """A network for ten digits."""
    return SmallNetwork(SIZE, 10).fit(pictures.images, pictures.labels, epochs=epochs)


def measure(network: SmallNetwork, test: Pictures) -> dict[str, float]:
    """Accuracy without the mark, and what the mark does."""
    own = test.labels == CLASS
    clean, marked = network.predict(test.images), network.predict(mark(test.images))
    return {
        "accuracy": float((clean == test.labels).mean()),
        f"{CLASS} found": float((clean[own] == CLASS).mean()),
        f"{CLASS} found with the mark": float((marked[own] == CLASS).mean()),
        f"others called {CLASS}": float((clean[~own] == CLASS).mean()),
        f"others called {CLASS} with the mark": float((marked[~own] == CLASS).mean()),
    }


def explain(network: SmallNetwork, pictures: Pictures) -> Array:
    """Relevance [N, 1, 24, 24] of every picture for its own class."""
    relevance: Array = graphlrp.load(network.to_onnx())(pictures.images, pictures.labels).relevance
    return relevance


def examine(relevance: Array, pictures: Pictures, label: int, clusters: int | None = None) -> spray.Analysis:
    """Analyse the maps of a class, and say what its clusters have to do with the mark."""
    analysis = spray.analyse(relevance, index=pictures.labels == label, clusters=clusters)
    suggested = f"{analysis.gap} cluster{'s' if analysis.gap > 1 else ''} by the eigengap"
    print(f"class {label}: {suggested}" + (f", {clusters} asked for" if clusters else ""))
    for suspect in spray.suspicious(analysis):
        precision, recall = score(suspect.positions, pictures.marked)
        print(f"  {suspect}: precision {precision:.3f}, recall {recall:.3f}")
    return analysis


def draw(relevance: Array, pictures: Pictures, ranking: spray.Ranking, analysis: spray.Analysis, folder: Path) -> None:
    """Ranking, spectrum, the maps in the plane, and typical ones of every cluster."""
    save(ranking.plot(), folder / "spray-network-ranking.png")
    save(analysis.plot_spectrum(), folder / "spray-network-spectrum.png")
    save(analysis.plot_embedding(relevance=relevance), folder / "spray-network-embedding.png")
    save(analysis.montage(relevance, np.clip(pictures.images, 0, 1), width=0.8), folder / "spray-network-montage.png", dpi=100)


def main() -> None:
    """Train, analyse, leave out, train again."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder of the pictures (default: out)")
    parser.add_argument(
        "--share", type=float, default=SHARE, help=f"of the pictures of one class that are marked (default: {SHARE})"
    )
    options = parser.parse_args()
    start = time.perf_counter()
    training = draw_pictures(np.arange(1200), 3, 0, options.share)
    test = draw_pictures(np.arange(1200, 1797), 1, 1)
    print(f"{len(training.labels)} pictures, {np.sum(training.labels == CLASS)} of an {CLASS}, {training.marked.sum()} marked")
    network = train(training)
    models = {"as trained": measure(network, test)}
    relevance = explain(network, training)
    ranking = spray.rank(relevance, training.labels)
    print(ranking)
    analysis = examine(relevance, training, ranking.classes[0])
    if ranking.classes[0] != CLASS:
        # Not what a person would see who does not know of the mark.
        print(f"the marked class has rank {ranking.classes.index(CLASS) + 1} of {len(ranking.classes)}")
        examine(relevance, training, CLASS, clusters=4)
    suspects = spray.suspicious(analysis)
    if suspects:
        kept = np.ones(len(training.labels), bool)
        kept[suspects[0].positions] = False
        models["trained without the first cluster"] = measure(train(training.part(kept)), test)
        models["trained without any mark"] = measure(train(draw_pictures(np.arange(1200), 3, 0)), test)
    for name, found in models.items():
        print(name + "".join(f"\n  {what}: {value:.3f}" for what, value in found.items()))
    draw(relevance, training, ranking, analysis, options.output)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
