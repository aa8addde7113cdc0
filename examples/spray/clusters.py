"""What the scripts of this folder have in common: pictures as small files, and how well a cluster fits what was planted."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image


def save(figure: Figure, path: Path, dpi: int = 110, colours: int = 256) -> None:
    """Write a PNG of few colours, which is small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(content)
    with Image.open(content) as picture:
        picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}")


def score(positions: np.ndarray, planted: np.ndarray) -> tuple[float, float]:
    """Precision and recall of a cluster: which part of it carries the artefact, and which part of the artefact is in it."""
    hits = int(planted[positions].sum())
    return hits / len(positions), hits / int(planted.sum())
