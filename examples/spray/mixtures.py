"""Spectra of clusters that are apart, touch, and overlap (figure 6.2 of the source): ``python mixtures.py -o out``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from clusters import save
from matplotlib.figure import Figure

from graphlrp import spray

MEANS = (2, 4, 6, 8)
DEVIATIONS = (0.2, 0.4, 0.8)


def mixture(deviation: float, each: int = 50, seed: int = 0) -> np.ndarray:
    """Numbers [N, 1] of four Gaussians."""
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.normal(mean, deviation, each) for mean in MEANS])[:, None]


def spectrum(numbers: np.ndarray, neighbours: int | None = 30, count: int = 10) -> spray.Spectrum:
    """The smallest eigenvalues of the graph of nearest neighbours."""
    return spray.smallest_eigenvalues(spray.NearestNeighbours(neighbours)(numbers), count=count)


def draw(path: Path) -> None:
    """Histograms above spectra."""
    figure = Figure(figsize=(8.6, 3.6), facecolor="white", layout="constrained")
    for column, (deviation, (above, below)) in enumerate(zip(DEVIATIONS, figure.subplots(2, 3).T, strict=True)):
        numbers = mixture(deviation)
        above.hist(numbers[:, 0], np.arange(-0.5, 10.6, 0.25), color="#0072B2")
        above.set_title(f"σ = {deviation}", fontsize=9)
        spray.draw_spectrum(below, spectrum(numbers).eigenvalues)
        below.set_ylim(0, 1)
        if column == 0:
            above.set_ylabel("samples", fontsize=8)
            below.set_ylabel("λ", fontsize=8)
        for axes in (above, below):
            axes.tick_params(labelsize=8)
            axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder of the picture (default: out)")
    folder = parser.parse_args().output
    for neighbours in (30, None):
        for deviation in DEVIATIONS:
            found = spectrum(mixture(deviation), neighbours)
            values = " ".join(f"{value:.3f}" for value in found.eigenvalues)
            name = "log N" if neighbours is None else neighbours
            print(
                f"k = {name}, σ = {deviation}: {found.components} components, gap {spray.eigengap(found.eigenvalues)}, {values}"
            )
    draw(folder / "spray-mixtures.png")


if __name__ == "__main__":
    main()
