"""A linear model in the plane: its gradient is the same everywhere, relevance is not (2.1, figure 2.1).

f(x) = w_1 x_1 + w_2 x_2 + b, fitted to two clouds. Relevance is R_1 = w_1 x_1, R_2 = w_2 x_2 and R_b = b; the bias is an input
that is always 1 (policy ``bias="input"``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from plotting import BLUE, GREEN, INK, ORANGE, PALE, PURPLE, new_figure, save, signed
from sklearn.linear_model import LogisticRegression
from sources import BUILD, Array

import graphlrp

SAMPLES = np.array([(0.3, 0.8), (0.3, -0.8), (0.1, 2.2), (0.6, 2.2)])
"""The test samples x_1 ... x_4 of the source."""

WINDOW = (-1.4, 1.9, -1.4, 2.6)
"""Left, right, bottom, top."""

COLOURS = {"$x_1$": ORANGE, "$x_2$": BLUE, "bias": GREEN}


def two_clouds(count: int = 150) -> tuple[Array, Array]:
    """x [2 count, 2], and whether a sample is positive."""
    g = np.random.default_rng(0)
    clouds = [g.normal(centre, 0.4, (count, 2)) for centre in ((-0.15, 0.0), (0.75, 1.4))]
    return np.concatenate(clouds), np.arange(2 * count) >= count


def relevance_with_bias(explainer: graphlrp.Explainer, x: Array) -> Array:
    """R_1, R_2 and R_b, [N, 3]."""
    relevance = explainer(x).relevance
    return np.column_stack([relevance["input"], relevance["bias"]])


def draw_samples(axes: Axes, samples: Array) -> None:
    """Numbered dots."""
    for number, sample in enumerate(samples, 1):
        axes.plot(*sample, "o", color="white", markeredgecolor=INK, markersize=13, zorder=4)
        axes.text(*sample, str(number), ha="center", va="center_baseline", fontsize=9, fontweight="bold", zorder=5)


def draw_model(axes: Axes, model: LogisticRegression, x: Array, positive: Array) -> None:
    """Training samples, the decision boundary and the test samples."""
    left, right, bottom, top = WINDOW
    grid = np.stack(np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200)), -1)
    f = model.decision_function(grid.reshape(-1, 2)).reshape(200, 200)
    axes.contour(grid[..., 0], grid[..., 1], f, [0.0], colors=INK, linewidths=1.2)
    for members, colour, marker in ((positive, PURPLE, "^"), (~positive, PALE, "o")):
        axes.scatter(*x[members].T, s=10, c=colour, marker=marker, alpha=0.6, linewidths=0)
    axes.set_title("Model: boundary $f(x) = 0$", fontsize=10)


def draw_bars(axes: Axes, relevance: Array) -> None:
    """R_1, R_2, R_b of the test samples."""
    for d, (name, colour) in enumerate(COLOURS.items()):
        places = np.arange(len(relevance)) + 0.29 * (d - 1)
        bars = axes.bar(places, relevance[:, d], 0.25, color=colour, label=name)
        axes.bar_label(bars, [signed(value, 1) for value in relevance[:, d]], fontsize=7, padding=1)
    axes.axhline(0, color=INK, linewidth=0.7)
    labels = [f"sample {n}\n$f(x)$ = {signed(row.sum())}" for n, row in enumerate(relevance, 1)]
    axes.set_xticks(range(len(relevance)), labels, fontsize=9)
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Relevance of the test samples", fontsize=10)


def draw_field(axes: Axes, points: Array, vectors: Array, title: str) -> None:
    """The first two components of unit vectors in three dimensions; the colour below says which of the three is largest."""
    left, right, bottom, top = WINDOW
    largest = np.abs(vectors).argmax(1).reshape(20, -1)
    axes.imshow(
        largest, ListedColormap(list(COLOURS.values())), vmin=0, vmax=2, alpha=0.35, extent=WINDOW, origin="lower", aspect="auto"
    )
    own = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * (top - bottom) / 21
    axes.quiver(*points.T, *own[:, :2].T, angles="xy", scale_units="xy", scale=1, pivot="mid", width=0.005, color=INK)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_title(title, fontsize=10)


def main(folder: Path = BUILD) -> None:
    """Fit, explain, check, draw."""
    x, positive = two_clouds()
    model = LogisticRegression(C=100.0).fit(x, positive)
    (w,), (b,) = model.coef_, model.intercept_
    print(f"w = {w.round(3)}, b = {b:.3f}, accuracy {model.score(x, positive):.3f}")

    explainer = graphlrp.load(model, bias="input", dtype="float64")
    relevance = relevance_with_bias(explainer, SAMPLES)
    for sample, row in zip(SAMPLES, relevance, strict=True):
        print(f"x = {sample}: R_1 = {row[0]:6.3f}, R_2 = {row[1]:6.3f}, R_b = {row[2]:6.3f}, f(x) = {row.sum():6.3f}")
    difference = np.abs(relevance.sum(1) - model.decision_function(SAMPLES)).max()
    print(f"largest |R_1 + R_2 + R_b - f(x)|: {difference:.1e}")

    left, right, bottom, top = WINDOW
    across, up = (np.linspace(low, high, 41)[1::2] for low, high in ((left, right), (bottom, top)))
    points = np.stack(np.meshgrid(across, up), -1).reshape(-1, 2)
    field = relevance_with_bias(explainer, points)
    gradient = np.column_stack([graphlrp.load(model, "gradient", dtype="float64")(points).relevance, np.full(len(points), b)])
    for name, vectors in (("gradient", gradient), ("relevance", field)):
        shares = np.bincount(np.abs(vectors).argmax(1), minlength=3) / len(vectors)
        print(f"{name}: x_1, x_2, bias are largest in {shares.round(2)} of the window")

    figure = new_figure(9.6, 7.4)
    parts = figure.subplot_mosaic("ab;cd", height_ratios=(1, 1))
    draw_model(parts["a"], model, x, positive)
    draw_bars(parts["b"], relevance)
    draw_field(parts["c"], points, gradient, "Gradient $(w_1, w_2, b)$")
    draw_field(parts["d"], points, field, "Relevance $(w_1 x_1,\\ w_2 x_2,\\ b)$")
    for panel in "acd":
        draw_samples(parts[panel], SAMPLES)
        parts[panel].set(xlabel="$x_1$", ylabel="$x_2$", xlim=(left, right), ylim=(bottom, top))
    legend = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    parts["b"].legend(handles=legend, loc="upper left", fontsize=9, frameon=False)
    save(figure, "linear", folder)


if __name__ == "__main__":
    main()
