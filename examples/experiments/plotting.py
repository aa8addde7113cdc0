"""What the experiments draw with: heatmaps of graphlrp on bare axes, colours for the colour-blind, too, small files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from sources import BUILD, Array

from graphlrp.visual import heatmap

INK, PALE = "#1a1a1a", "#8c8c8c"
ORANGE, BLUE, GREEN, PURPLE = "#d98200", "#0072b2", "#009e73", "#b0649a"
"""After Okabe and Ito, a little darker."""


def new_figure(width: float, height: float) -> Figure:
    """A white figure, in inches, that pyplot does not know."""
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_map(axes: Axes, relevance: Array, scale: float | None = None, title: str = "", below: str = "") -> None:
    """Relevance [..., H, W], one channel, in the colours of graphlrp; full colour at ``scale``, its own largest |R| if None."""
    axes.imshow(heatmap(relevance.reshape(relevance.shape[-2:]), scale=scale), interpolation="nearest")
    bare(axes, title, below)


def draw_picture(axes: Axes, picture: Array, title: str = "", below: str = "") -> None:
    """A picture [..., H, W], dark where its values are high, as ink is."""
    axes.imshow(picture.reshape(picture.shape[-2:]), cmap="gray_r", interpolation="nearest")
    bare(axes, title, below)


def bare(axes: Axes, title: str = "", below: str = "") -> None:
    """No ticks, a thin frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=PALE, linewidth=0.6)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(below, fontsize=8)


def signed(value: float, digits: int = 2) -> str:
    """With a minus sign as it is set in print, and none for zero."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def save(figure: Figure, name: str, folder: Path = BUILD) -> Path:
    """Write a PNG of 256 colours, which is small."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    canvas: Any = figure.canvas
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}")
    return path
