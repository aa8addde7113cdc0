"""Kernel machines in two dimensions, where relevance can be looked at: ``python toys.py -o out``.

A linear machine and one with a Gaussian kernel, each as a field of gradients beside a field of relevances; one explanation by
Taylor decomposition with its root; two descriptions of one class with the relevance of three outliers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from drawing import (
    INK,
    PALE,
    POSITIVE,
    Array,
    Machine,
    arguments,
    draw_arrow,
    draw_classes,
    draw_decision,
    draw_field,
    grid,
    new_figure,
    save,
    shades,
)
from matplotlib.axes import Axes
from sklearn.svm import SVC, LinearSVC, OneClassSVM

import graphlrp
from graphlrp import kernels

Window = tuple[float, float, float, float]
"""Left, right, bottom, top."""


# The linear machine


def linear_classes(count: int = 150) -> tuple[Array, Array]:
    """Two clouds, x [2 count, 2] and whether a sample is positive."""
    generator = np.random.default_rng(0)
    clouds = [generator.normal(centre, 0.38, (count, 2)) for centre in ((-0.15, 0.0), (0.75, 1.35))]
    return np.concatenate(clouds), np.arange(2 * count) >= count


def draw_linear(folder: Path) -> None:
    """The gradient of a linear machine is the same everywhere, its relevance R_d = w_d x_d is not."""
    x, positive = linear_classes()
    fitted = LinearSVC(C=10.0, random_state=0).fit(x, positive)
    (w,), (b,) = fitted.coef_, fitted.intercept_
    print(f"linear machine: w = {w.round(3)}, b = {b:.3f}")
    window = (-1.3, 1.9, -1.3, 2.7)
    step = (window[1] - window[0]) / 12
    _, _, points = grid(window, 12)
    samples = np.array([(0.3, 0.8), (0.3, -0.8), (0.1, 2.2), (0.6, 2.2)])

    # The bias is a third input, which is always 1: the policy "input" reports its relevance.
    explainer = graphlrp.load(fitted, bias="input", dtype="float64")
    relevance = with_bias(explainer, points)
    np.testing.assert_allclose(relevance, np.column_stack([points * w, np.full(len(points), b)]), atol=1e-9)
    gradient = graphlrp.load(fitted, "gradient", dtype="float64")(points).relevance
    np.testing.assert_allclose(gradient, np.broadcast_to(w, gradient.shape), atol=1e-9)
    gradient = np.column_stack([gradient, np.full(len(points), b)])

    figure = new_figure(9.0, 7.0)
    parts = figure.subplot_mosaic("ab;cc", height_ratios=(3.1, 1))
    for panel, vectors, title in (
        ("a", gradient, "Gradient $(w_1, w_2, b)$"),
        ("b", relevance, "Relevance $(w_1 x_1,\\ w_2 x_2,\\ b)$"),
    ):
        axes = parts[panel]
        field = draw_decision(axes, fitted.decision_function, window, 7.0)
        draw_classes(axes, x, positive)
        draw_field(axes, points, unit(vectors)[:, :2], 0.92 * step)
        for number, sample in enumerate(samples, 1):
            axes.plot(*sample, "o", color="white", markeredgecolor=INK, markersize=13)
            axes.text(*sample, str(number), ha="center", va="center_baseline", fontsize=9, fontweight="bold")
        axes.set_title(title, fontsize=11)
    figure.colorbar(field, ax=[parts["a"], parts["b"]], label="$f(x)$", ticks=[-6, -3, 0, 3, 6], shrink=0.88)
    explained = with_bias(explainer, samples)
    draw_contributions(parts["c"], explained, fitted.decision_function(samples))
    for sample, row in zip(samples, explained, strict=True):
        print(f"  x = {sample}: R = {row[:2].round(3)}, R_b = {row[2]:.3f}, f(x) = {row.sum():.3f}")
    save(figure, folder / "kernel-linear.png")


def draw_contributions(axes: Axes, relevance: Array, f: Array) -> None:
    """R_1, R_2 and R_b of some samples as bars."""
    places = 4.2 * np.arange(len(f))[:, None] + np.arange(3)
    scale = float(np.abs(relevance).max())
    bars = axes.bar(places.ravel(), relevance.ravel(), color=shades(relevance.ravel(), scale), edgecolor=PALE, linewidth=0.6)
    labels = [signed(value) for value in relevance.ravel()]
    axes.bar_label(bars, labels, fontsize=8, padding=2)
    for middle, number, value in zip(places[:, 1], range(1, len(f) + 1), f, strict=True):
        axes.text(middle, -1.95 * scale, f"sample {number}: $f(x)$ = {signed(value)}", ha="center", va="bottom", fontsize=10)
    axes.axhline(0, color=INK, linewidth=0.7)
    axes.set_xticks(places.ravel(), ["$R_1$", "$R_2$", "$R_b$"] * len(f))
    axes.tick_params(axis="x", length=0, pad=-26)
    axes.set(ylim=(-2.0 * scale, 1.3 * scale), ylabel="relevance", yticks=[-4, 0, 4])
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def signed(value: float) -> str:
    """Two digits behind the point."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def with_bias(explainer: graphlrp.Explainer, x: Array) -> Array:
    """Relevance of the inputs and of the bias side by side, [N, D + 1]."""
    relevance = explainer(x).relevance
    return np.column_stack([relevance["input"], relevance["bias"]])


def unit(vectors: Array) -> Array:
    """Vectors of length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# The machine with a Gaussian kernel


def two_densities(count: int = 120) -> tuple[Array, Array]:
    """Two classes of two clouds each, that overlap: x [2 count, 2] and whether a sample is positive."""
    generator = np.random.default_rng(3)
    negative = [(-1.1, 0.5), (1.5, -1.2)]
    positive = [(1.0, 0.9), (-0.9, -1.5)]
    half = count // 2
    clouds = [generator.normal(centre, (0.55, 0.5), (half, 2)) for centre in (*negative, *positive)]
    return np.concatenate(clouds), np.arange(4 * half) >= 2 * half


def nearest_root(f: Machine, x: Array, references: Array) -> Array:
    """The point with f = 0 nearest to x on the straight ways from x to references of the other sign, by bisection."""
    sign = np.sign(f(x[None])[0])
    others = references[f(references) * sign < 0]
    near, far = np.ones((len(others), 1)), np.zeros((len(others), 1))  # x at 1, the reference at 0
    for _ in range(60):
        middle = (near + far) / 2
        own = (f(others + middle * (x - others)) * sign > 0)[:, None]
        near, far = np.where(own, middle, near), np.where(own, far, middle)
    roots = others + near * (x - others)
    return np.asarray(roots[np.linalg.norm(x - roots, axis=1).argmin()])


def draw_rbf(folder: Path) -> None:
    """One explanation with its root, and the fields of gradients and relevances."""
    x, positive = two_densities()
    fitted = SVC(kernel="rbf", C=1.0, gamma=0.7).fit(x, positive)
    generator = np.random.default_rng(0)
    references = np.concatenate(
        [generator.choice(x[members & (fitted.decision_function(x) > 0) == members], 25) for members in (positive, ~positive)]
    )
    source = graphlrp.convert(fitted, references=references)
    explainer = graphlrp.load(source, ledger=True)
    gradient_of = graphlrp.load(source, "gradient")
    window = (-2.9, 3.1, -3.1, 2.9)

    sample = np.array([-1.15, 1.85])
    explanation = explainer(sample[None])
    root = nearest_root(fitted.decision_function, sample, references)
    at_sample, at_root = gradient_of(np.stack([sample, root])).relevance
    relevance = explanation.relevance[0]
    # The library's relevance is (2.76) at this root.
    np.testing.assert_allclose(relevance, (sample - root) * at_root, atol=1e-3)
    print(f"RBF machine, {len(fitted.support_vectors_)} support vectors, {len(references)} references")
    print(f"  x = {sample}, f(x) = {explanation.output[0]:.3f}, gradient {at_sample.round(3)}")
    print(f"  root {root.round(3)}, gradient there {at_root.round(3)}")
    print(f"  R = {relevance.round(3)}, sum {relevance.sum():.3f}, residual {residual(explanation)[0]:.3f}")

    figure = new_figure(9.0, 4.3)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes in (left, right):
        field = draw_decision(axes, fitted.decision_function, window, 1.5)
        draw_classes(axes, x, positive, 7)
    right.set_ylabel("")
    draw_arrow(left, sample, at_sample / 2, INK)
    draw_arrow(right, root, at_root / 2, INK)
    draw_arrow(right, root, sample - root, POSITIVE, dashed=True, width=1.4)
    draw_arrow(right, sample, relevance / 2, POSITIVE)
    for axes, where, text, offset, colour in (
        (left, sample, "$x$", (7, -9), INK),
        (left, sample + at_sample / 2, r"$\frac{1}{2}\nabla f(x)$", (-48, -2), INK),
        (right, sample, "$x$", (-3, -15), INK),
        (right, root, r"$\tilde{x}$", (6, -14), INK),
        (right, root + at_root / 2, r"$\frac{1}{2}\nabla f(\tilde{x})$", (3, -3), INK),
        (right, (sample + root) / 2, r"$x - \tilde{x}$", (-8, 6), POSITIVE),
        (right, sample + relevance / 2, r"$\frac{1}{2}R$", (0, 8), POSITIVE),
    ):
        axes.annotate(text, where, offset, textcoords="offset points", color=colour, fontsize=11)
    for axes in (left, right):
        axes.plot(*sample, "s", color="white", markeredgecolor=INK, markersize=7, zorder=5)
    right.plot(*root, "o", color="white", markeredgecolor=INK, markersize=6, zorder=5)
    left.set_title("Gradient at $x$", fontsize=11)
    right.set_title("Taylor decomposition at the root $\\tilde{x}$", fontsize=11)
    figure.colorbar(field, ax=[left, right], label="$f(x)$", ticks=[-1.5, -1, -0.5, 0, 0.5, 1, 1.5], shrink=0.9)
    save(figure, folder / "kernel-root.png")

    step = (window[1] - window[0] - 0.2) / 22
    _, _, points = grid((window[0] + 0.1, window[1] - 0.1, window[2] + 0.1, window[3] - 0.1), 22)
    explanation = explainer(points, batch_size=len(points))
    vectors = {"Gradient": gradient_of(points, batch_size=len(points)).relevance, "Relevance": explanation.relevance}
    for where, explained in (("a grid", explanation), ("the training samples", explainer(x, batch_size=len(x)))):
        missing = np.abs(residual(explained)) / np.abs(explained.output)
        print(f"  |residual| / |f| on {where}: median {np.median(missing):.2f}, mean {missing.mean():.2f}")
    figure = new_figure(9.0, 4.3)
    for axes, (title, field_of) in zip(figure.subplots(1, 2, sharey=True), vectors.items(), strict=True):
        field = draw_decision(axes, fitted.decision_function, window, 1.5)
        longest = float(np.linalg.norm(field_of, axis=1).max())
        draw_field(axes, points, field_of / longest, 1.45 * step)
        axes.set_title(f"{title}, the longest arrow is {longest:.2f}", fontsize=11)
        axes.set_ylabel("$x_2$" if title == "Gradient" else "")
    figure.colorbar(field, ax=figure.axes, label="$f(x)$", ticks=[-1.5, -1, -0.5, 0, 0.5, 1, 1.5], shrink=0.9)
    save(figure, folder / "kernel-fields.png")


def residual(explanation: graphlrp.Explanation) -> Array:
    """What Taylor decomposition did not reach, of every sample."""
    assert explanation.ledger is not None
    return np.asarray(sum(entry.residual for entry in explanation.ledger))


# One class


def one_cloud(count: int = 200) -> Array:
    """A cloud that is wide in the first dimension and narrow in the second."""
    return np.random.default_rng(1).normal((0.0, 0.0), (1.0, 0.35), (count, 2))


def fit_hypersphere(kernel: kernels.Kernel, x: Array, share: float, steps: int = 20000) -> kernels.SVDD:
    """Support vector data description with ``share`` of the samples outside, by pairwise descent on its dual problem.

    min_α α'Kα - α'diag(K) with 0 ≤ α_i ≤ 1 / (share N) and Σ α = 1.
    """
    gram, top = kernel(x, x), 1.0 / (share * len(x))
    alpha = np.full(len(x), 1.0 / len(x))
    own = np.diag(gram)
    slope = 2 * gram @ alpha - own
    for _ in range(steps):
        low = np.where(alpha < top - 1e-12, slope, np.inf).argmin()
        high = np.where(alpha > 1e-12, slope, -np.inf).argmax()
        if slope[high] - slope[low] < 1e-9:
            break
        curvature = own[low] + own[high] - 2 * gram[low, high]
        move = min((slope[high] - slope[low]) / max(2 * curvature, 1e-12), top - alpha[low], alpha[high])
        alpha[low] += move
        alpha[high] -= move
        slope += 2 * move * (gram[:, low] - gram[:, high])
    chosen = alpha > 1e-10
    machine = kernels.SVDD(kernel, x[chosen], alpha[chosen], 0.0)
    edge = chosen & (alpha < top - 1e-10)
    return kernels.SVDD(kernel, x[chosen], alpha[chosen], float(np.median(machine.decision_function(x[edge]))))


def draw_one_class(folder: Path) -> None:
    """Inlierness by a one-class machine and outlierness by SVDD, with the relevance of three outliers."""
    x = one_cloud()
    outliers = np.array([(3.6, 0.1), (0.3, 1.7), (-2.7, -1.3)])
    detector = OneClassSVM(kernel="rbf", gamma=0.5, nu=0.1).fit(x)
    exact = fit_hypersphere(kernels.Linear(), x, 0.1)
    # A one-class machine with a Gaussian kernel is a hypersphere, too; as SVDD it rates outlierness.
    alpha = detector.dual_coef_[0] / detector.dual_coef_.sum()
    sphere = kernels.SVDD(kernels.RBF(0.5), detector.support_vectors_, alpha, 0.0, references=x)
    radius = float(1 + sphere.centre + 2 * detector.intercept_[0] / detector.dual_coef_.sum())
    sphere = kernels.SVDD(kernels.RBF(0.5), detector.support_vectors_, alpha, radius, references=x)
    machines = [
        ("OneClassSVM, RBF: inlierness", graphlrp.convert(detector, references=x)),
        ("SVDD, RBF: outlierness", sphere),
        ("SVDD, linear: outlierness", exact),
    ]
    window = (-4.2, 4.5, -3.2, 3.2)
    figure = new_figure(9.0, 5.6)
    upper, lower = figure.subplots(2, 3, height_ratios=(1.15, 1))
    for axes, below, (title, source) in zip(upper, lower, machines, strict=True):
        explanation = graphlrp.load(source, ledger=True)(outliers)
        assert explanation.ledger is not None
        decision = graphlrp.load(source, "gradient")
        field = draw_decision(axes, lambda points, decision=decision: decision(points, batch_size=len(points)).output, window)
        axes.scatter(*x.T, s=5, c=PALE, alpha=0.6, linewidths=0)
        for number, outlier in enumerate(outliers):
            axes.plot(*outlier, "o", color="white", markeredgecolor=INK, markersize=12)
            axes.text(*outlier, "ABC"[number], ha="center", va="center_baseline", fontsize=8, fontweight="bold")
        axes.set_title(title, fontsize=10)
        figure.colorbar(field, ax=axes, orientation="horizontal", aspect=30, label="$f(x)$", ticks=three(field))
        draw_pairs(below, explanation.relevance, explanation.output)
        print(title)
        for number, (row, value) in enumerate(zip(explanation.relevance, explanation.output, strict=True)):
            taken = explanation.ledger
            print(
                f"  {'ABC'[number]} {outliers[number]}: f(x) = {value:.3f}, R = {row.round(3)},"
                f" residual {residual(explanation)[number]:.3f}, bias {sum(e.bias for e in taken)[number]:.3f}"
            )
    save(figure, folder / "kernel-one-class.png")


def three(field: Any) -> list[float]:
    """Ticks of a colour bar: zero and two round numbers near its ends."""
    end = float(f"{0.8 * field.levels[-1]:.1g}")
    return [-end, 0.0, end]


def draw_pairs(axes: Axes, relevance: Array, f: Array) -> None:
    """R_1 and R_2 of the outliers as horizontal bars."""
    scale = float(np.abs(relevance).max())
    for number, row in enumerate(relevance):
        for d, value in enumerate(row):
            place = 3 * number + d
            axes.barh(place, value, color=shades(value, scale), edgecolor=PALE, linewidth=0.6)
    places = [3 * n + d for n in range(len(f)) for d in range(2)]
    axes.set_yticks(places, [f"{'ABC'[n]}  $R_{d + 1}$" for n in range(len(f)) for d in range(2)])
    axes.set(ylim=(3 * len(f) - 1.4, -0.6), xlim=(-1.15 * scale, 1.15 * scale), xlabel="relevance")
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def main() -> None:
    """Draw everything."""
    output = arguments(str(__doc__).partition("\n")[0]).output
    draw_linear(output)
    draw_rbf(output)
    draw_one_class(output)


if __name__ == "__main__":
    main()
