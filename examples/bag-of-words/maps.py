"""What the scripts of this folder draw and measure with: maps of relevance in the colours of graphlrp's heatmaps, and ratios."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from graphlrp.visual import colour_map

Array = npt.NDArray[Any]

POSITIVE, NEGATIVE, INK, PALE = "#c00000", "#0000c0", "#1a1a1a", "#8c8c8c"


def shades(values: Array, scale: float) -> Array:
    """Colours [..., 3] in 0 ... 1 of relevances, full at ``scale``: the half of the map around white that is not dark."""
    return np.asarray(colour_map("seismic")(0.5 * np.clip(values / scale, -1, 1)) / 255.0)


def scale_of(relevance: Array, share: float = 99.5) -> float:
    """What a map shows in full colour: |R| that ``share`` percent of the pixels do not exceed."""
    return float(np.percentile(np.abs(relevance), share)) or 1.0


def outside_inside(relevance: Array, inside: Array) -> float:
    """μ (4.11): mean positive relevance of the pixels outside, over that of the pixels inside."""
    positive = np.maximum(relevance, 0.0)
    return float(positive[~inside].mean() / positive[inside].mean())


def draw_picture(axes: Axes, picture: Array, title: str = "") -> None:
    """A grey picture, 0 ... 255."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    bare(axes, title)


def draw_map(axes: Axes, relevance: Array, scale: float, title: str = "", picture: Array | None = None) -> None:
    """Relevance in colours; a picture below it is dimmed, and white is no relevance, too."""
    colours = shades(relevance, scale)
    if picture is not None:
        colours = colours * (1.0 - 0.45 * (1.0 - picture[..., None] / 255.0))
    axes.imshow(colours, interpolation="nearest")
    bare(axes, title)


def draw_outlines(axes: Axes, masks: Array, colour: str = PALE, width: float = 0.5) -> None:
    """Thin lines around what masks mark."""
    axes.contour(masks.astype(float), [0.5], colors=colour, linewidths=width)


def bare(axes: Axes, title: str) -> None:
    """No ticks, a thin frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=PALE, linewidth=0.5)
    axes.set_title(title, fontsize=9)


def new_figure(width: float, height: float) -> Figure:
    """A white figure, in inches, that pyplot does not know."""
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, colours: int = 256) -> None:
    """Write a PNG of few colours, which is small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas: Any = figure.canvas
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}")


def arguments(description: str, options: Sequence[tuple[str, str]] = ()) -> argparse.Namespace:
    """The command line: where pictures go, and paths that a script takes besides."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder of the pictures (default: out)")
    for name, text in options:
        parser.add_argument(name, type=Path, help=text)
    return parser.parse_args()
