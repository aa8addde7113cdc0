"""Pictures of ten real photos explained: the photo, and its relevance under several composites side by side.

    python -m acceptance.photos FOLDER [--photos packages|imagenet] [--composites NAME ...]

The network is EfficientNet-Lite0 from the assets. The photos of ``packages`` come with scikit-image, scikit-learn and
matplotlib and may be published (public domain, CC0, and two CC BY 2.0: `china.jpg` by danielbuechele and `flower.jpg` by
vultilion, both on Flickr). Those of ``imagenet`` are for looking only.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import matplotlib
import numpy as np

import graphlrp
from acceptance import images, zoo
from acceptance.sources import assets_folder, packaged_file
from graphlrp.visual import Panel, explanation_caption, save_figure

COMPOSITES = ("epsilon-plus-flat", "epsilon-alpha2beta1-flat", "epsilon-gamma-box")
SCIKIT_IMAGE = (
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "camera.png",
    "astronaut.png",
    "coins.png",
)
ROWS = 5
MODEL = zoo.TRAINED["efficientnet-lite0"]


def packaged_photos(target: Path) -> list[Path]:
    """Ten photos that come with packages and may be published."""
    photos = [packaged_file("scikit-image", "0.26.0", f"skimage/data/{name}", target) for name in SCIKIT_IMAGE]
    photos += [Path(str(files("sklearn.datasets") / "images" / name)) for name in ("china.jpg", "flower.jpg")]
    return [*photos, Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]


def imagenet_photos(assets: Path) -> list[Path]:
    """Ten photos of the assets, evenly spread over the classes."""
    return sorted((assets / "imagenet" / "images").glob("*.JPEG"))[::10]


def composite(name: str) -> graphlrp.Composite:
    """A preset; the one with a box takes the bounds of the network's input."""
    if name == "epsilon-gamma-box":
        return graphlrp.composite(name, low=MODEL.low, high=MODEL.high)
    return graphlrp.composite(name)


def explain(photos: Sequence[Path], names: Sequence[str], assets: Path) -> list[list[Panel]]:
    """A row of panels for each photo, a panel for each composite; the class is the predicted one."""
    labels = (assets / "imagenet" / "imagenet_labels.txt").read_text().splitlines()
    x = np.stack([images.efficientnet_input(photo) for photo in photos]).astype(np.float32)
    rows: list[list[Panel]] = [[] for _ in photos]
    for name in names:
        explanation = graphlrp.load(MODEL.path(assets), composite(name), ledger=True)(x)
        error = float(np.max(explanation.conservation_error))
        print(f"{name}: largest conservation error {error:.1e}")
        for index, photo in enumerate(photos):
            target = int(explanation.target[index])
            relevance = np.asarray(explanation.relevance[index]).sum(0)
            score = float(explanation.output[index, target])
            caption = explanation_caption(labels[target].replace("_", " "), score, float(relevance.sum()))
            view = np.clip(np.rint(images.efficientnet_view(photo)), 0, 255).astype(np.uint8)
            rows[index].append(Panel(view, relevance, name, caption, photo.name))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Explain ten photos and write the pictures."""
    parser = argparse.ArgumentParser(prog="python -m acceptance.photos", description="Explain ten real photos.")
    parser.add_argument("folder", type=Path, help="folder the pictures are written to")
    parser.add_argument("--photos", choices=("packages", "imagenet"), default="packages", help="which photos")
    parser.add_argument("--composites", nargs="+", default=list(COMPOSITES), metavar="NAME", help="which presets")
    options = parser.parse_args(arguments)
    assets = assets_folder()
    with tempfile.TemporaryDirectory() as target:
        photos = packaged_photos(Path(target)) if options.photos == "packages" else imagenet_photos(assets)
        rows = explain(photos, options.composites, assets)
    for part in range(0, len(rows), ROWS):
        path = options.folder / f"photos-{options.photos}-{part // ROWS + 1}.png"
        print(save_figure(path, rows[part : part + ROWS], heading="EfficientNet-Lite0"))


if __name__ == "__main__":
    main()
