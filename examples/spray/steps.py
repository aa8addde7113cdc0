"""How much the result depends on the preprocessing: ``python steps.py``.

The maps of ``network.py`` and ``fisher.py``, with other first steps than ``SumPool(20)``: the rank of the class with the
artefact, and precision and recall of its first suspect, where the eigengap says how many clusters there are.
"""

from __future__ import annotations

from typing import Any

import fisher
import network
import numpy as np
from clusters import score

import graphlrp
from graphlrp import spray

STEPS: dict[str, Any] = {
    "SumPool(20)": spray.SumPool(20),
    "SumPool(5)": spray.SumPool(5),
    "SumPool(10)": spray.SumPool(10),
    "SumPool(50)": spray.SumPool(50),
    "Identity()": spray.Identity(),
    "GaussianLowPass(2), SumPool(20)": (spray.GaussianLowPass(2), spray.SumPool(20)),
    "FourierMagnitude(), SumPool(20)": (spray.FourierMagnitude(), spray.SumPool(20)),
    "SumPool(20), Normalise('l1')": (spray.SumPool(20), spray.Normalise("l1")),
    "SumPool(20), Normalise('l2')": (spray.SumPool(20), spray.Normalise("l2")),
    "SumPool(20), Normalise('max')": (spray.SumPool(20), spray.Normalise("max")),
}


def found(maps: np.ndarray, planted: np.ndarray, preprocess: Any) -> str:
    """Precision and recall of the first suspect."""
    suspects = spray.suspicious(spray.analyse(maps, preprocess=preprocess, embedding=None))
    return "no suspect" if not suspects else "{:.2f} / {:.2f}".format(*score(suspects[0].positions, planted))


def main() -> None:
    """Print a table."""
    pictures = network.draw_pictures(np.arange(1200), 3, 0, network.SHARE)
    maps = network.explain(network.train(pictures), pictures)
    own = pictures.labels == network.CLASS
    textures, rough, tagged = fisher.training(160)
    of_textures = graphlrp.load(fisher.watermark.model().fit(textures, rough))(textures).relevance
    print("| preprocessing | rank of 10 | network | rank of 2 | Fisher vectors |\n|---|---|---|---|---|", flush=True)
    for name, preprocess in STEPS.items():
        first = spray.rank(maps, pictures.labels, preprocess=preprocess).classes.index(network.CLASS) + 1
        second = spray.rank(fisher.by_class(of_textures, rough), preprocess=preprocess).classes.index("rough") + 1
        one = found(maps[own], pictures.marked[own], preprocess)
        other = found(of_textures[rough], tagged[rough], preprocess)
        print(f"| `{name}` | {first} | {one} | {second} | {other} |", flush=True)


if __name__ == "__main__":
    main()
