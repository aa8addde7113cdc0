"""The watermark that a Fisher-vector model learns, found in its relevance maps: ``python fisher.py -o out``.

Model, textures and tag are those of ``../bag-of-words/watermark.py``; here a quarter of the training pictures of "rough" carries
the tag.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from clusters import save, score

import graphlrp
from graphlrp import spray

sys.path.append(str(Path(__file__).parent.parent / "bag-of-words"))
import watermark

SHARE = 0.25


def training(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, whether they are "rough", and whether they carry the tag."""
    pictures, rough = watermark.draw_pictures(count, seed)
    tagged = rough & (np.random.default_rng(seed + 1).random(count) < SHARE)
    pictures[tagged] = watermark.tagged(pictures[tagged])
    return pictures, rough, tagged


def measure(pipeline: object, pictures: np.ndarray, rough: np.ndarray) -> dict[str, float]:
    """Accuracy without the tag, and which part is called "rough" without and with it."""
    without, with_tag = (np.asarray(pipeline.predict(one)) for one in (pictures, watermark.tagged(pictures)))  # type: ignore[attr-defined]
    return {
        "accuracy": float((without == rough).mean()),
        "rough called rough": float(without[rough].mean()),
        "rough called rough with the tag": float(with_tag[rough].mean()),
        "smooth called rough": float(without[~rough].mean()),
        "smooth called rough with the tag": float(with_tag[~rough].mean()),
    }


def by_class(relevance: np.ndarray, rough: np.ndarray) -> dict[str, np.ndarray]:
    """Maps of every class for itself: one number decides, and negative relevance speaks for "smooth"."""
    return {"smooth": -relevance[~rough], "rough": relevance[rough]}


def main() -> None:
    """Fit, analyse, leave out, fit again."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder of the pictures (default: out)")
    folder = parser.parse_args().output
    start = time.perf_counter()
    pictures, rough, tagged = training(160)
    print(f"{len(pictures)} pictures, {rough.sum()} rough, {tagged.sum()} tagged")
    pipeline = watermark.model().fit(pictures, rough)
    test = watermark.draw_pictures(80, 9)
    models = {"as fitted": measure(pipeline, *test)}
    relevance = graphlrp.load(pipeline)(pictures).relevance
    print(spray.rank(by_class(relevance, rough)))
    analysis = spray.analyse(relevance, index=rough)
    print(f"rough: {analysis.gap} clusters by the eigengap")
    suspects = spray.suspicious(analysis)
    for suspect in suspects:
        precision, recall = score(suspect.positions, tagged)
        print(f"  {suspect}: precision {precision:.3f}, recall {recall:.3f}")
    kept = np.ones(len(pictures), bool)
    kept[suspects[0].positions] = False
    models["fitted without the first cluster"] = measure(watermark.model().fit(pictures[kept], rough[kept]), *test)
    models["fitted without any tag"] = measure(watermark.model().fit(*watermark.draw_pictures(160, 0)), *test)
    for name, found in models.items():
        print(name + "".join(f"\n  {what}: {value:.3f}" for what, value in found.items()))
    save(analysis.plot_spectrum(), folder / "spray-fisher-spectrum.png")
    save(analysis.montage(relevance, pictures, count=6, width=1.1), folder / "spray-fisher-montage.png", dpi=90)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
