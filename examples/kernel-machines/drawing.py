"""What the scripts of this folder draw with: the colours of graphlrp's heatmaps, axes and files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from graphlrp.visual import colour_map

Array = npt.NDArray[Any]
Machine = Callable[[Array], Array]

POSITIVE, NEGATIVE, INK, PALE = "#c00000", "#0000c0", "#1a1a1a", "#8c8c8c"


def diverging(paleness: float = 0.0) -> ListedColormap:
    """The map of graphlrp's heatmaps, from blue over white to red; ``paleness`` mixes white into it, for backgrounds."""
    # Half of its range, where it is not dark: from pure blue to pure red.
    colours = colour_map("seismic")(np.linspace(-0.5, 0.5, 257)) / 255.0
    return ListedColormap(1.0 - (1.0 - paleness) * (1.0 - colours))


def shades(values: Array, scale: float) -> Array:
    """Colours [..., 3] in 0 ... 1 of relevances, full at ``scale``."""
    return np.asarray(colour_map("seismic")(0.5 * np.clip(values / scale, -1, 1)) / 255.0)


def grid(window: tuple[float, float, float, float], across: int) -> tuple[Array, Array, Array]:
    """x [W], y [H] and the points [H W, 2] of a grid over (left, right, bottom, top), ``across`` points wide."""
    left, right, bottom, top = window
    step = (right - left) / across
    x = left + step * (np.arange(across) + 0.5)
    y = bottom + step * (np.arange(round((top - bottom) / step)) + 0.5)
    return x, y, np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def draw_decision(axes: Axes, f: Machine, window: tuple[float, float, float, float], limit: float | None = None) -> Any:
    """Draw f over a window in 20 steps from blue to red, and the boundary f = 0; returns what a colour bar needs."""
    left, right, bottom, top = window
    x, y = np.linspace(left, right, 160), np.linspace(bottom, top, 160)
    values = f(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)).reshape(len(y), len(x))
    limit = float(np.abs(values).max()) if limit is None else limit
    field = axes.contourf(x, y, values, np.linspace(-limit, limit, 21), cmap=diverging(0.45), extend="both")
    axes.contour(x, y, values, [0.0], colors=INK, linewidths=1.2)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    return field


def draw_classes(axes: Axes, x: Array, positive: Array, size: float = 9.0) -> None:
    """Training samples: triangles are positive, circles negative."""
    for members, colour, marker in ((positive, POSITIVE, "^"), (~positive, NEGATIVE, "o")):
        axes.scatter(*x[members].T, s=size, c=colour, marker=marker, alpha=0.45, linewidths=0)


def draw_arrow(axes: Axes, start: Array, step: Array, colour: str, *, dashed: bool = False, width: float = 1.8) -> None:
    """An arrow from a point, ``step`` long."""
    axes.annotate(
        "",
        xy=tuple(start + step),
        xytext=tuple(start),
        arrowprops={
            "arrowstyle": "-|>,head_width=0.25,head_length=0.5",
            "color": colour,
            "linewidth": width,
            "linestyle": (0, (3, 2)) if dashed else "solid",
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def draw_field(axes: Axes, points: Array, vectors: Array, unit: float) -> None:
    """An arrow around every point; a vector of length 1 is ``unit`` long."""
    axes.quiver(
        *points.T, *(unit * vectors).T, angles="xy", scale_units="xy", scale=1, pivot="mid", width=0.0035, color=INK, minlength=0
    )


def new_figure(width: float, height: float) -> Figure:
    """A white figure, in inches, that pyplot does not know."""
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of 256 colours, which is small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas: Any = figure.canvas
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}")


def arguments(description: str, *positional: str) -> argparse.Namespace:
    """The command line: where pictures go, and what a script needs besides."""
    parser = argparse.ArgumentParser(description=description)
    for name in positional:
        parser.add_argument(name, type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder of the pictures (default: out)")
    return parser.parse_args()
