"""Three machines on the breast cancer data of scikit-learn: ``python tabular.py -o out``.

A linear kernel and histogram intersection, which are explained exactly, and a Gaussian kernel, which is explained by Taylor
decomposition: the most relevant features of three samples, and the mean of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from drawing import INK, PALE, Array, arguments, new_figure, save, shades
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

import graphlrp
from graphlrp.kernels import HistogramIntersection

SHOWN = 8
"""Features of a sample that are drawn."""


@dataclass(frozen=True)
class Result:
    """A fitted machine and what it says about the test set.

    Attributes:
        name: of the machine.
        pipeline: scaler and machine; positive speaks for malignant.
        explanation: of the test set.
        accuracy: on the test set.
    """

    name: str
    pipeline: Pipeline
    explanation: graphlrp.Explanation
    accuracy: float

    @property
    def residual(self) -> Array:
        """What Taylor decomposition did not reach, per sample."""
        assert self.explanation.ledger is not None
        return np.asarray(sum(entry.residual for entry in self.explanation.ledger))


def main() -> None:
    """Fit, explain, draw."""
    output: Path = arguments(str(__doc__).partition("\n")[0]).output
    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    labels = data.target_names[data.target]
    train, test, train_labels, test_labels = train_test_split(data.data, labels, random_state=0, stratify=labels)
    machines = {
        "linear": make_pipeline(StandardScaler(), SVC(kernel="linear", C=0.1)),
        "RBF": make_pipeline(StandardScaler(), SVC(kernel="rbf", C=3.0)),
        "histogram intersection": make_pipeline(MinMaxScaler(), SVC(kernel=HistogramIntersection(), C=3.0)),
    }
    results = []
    for name, pipeline in machines.items():
        pipeline.fit(train, train_labels)
        explanation = graphlrp.load(graphlrp.convert(pipeline, features=names), ledger=True)(test, batch_size=len(test))
        result = Result(name, pipeline, explanation, pipeline.score(test, test_labels))
        results.append(result)
        report(result)
    compare_references(machines["RBF"], train, test)
    draw_samples(results, test, test_labels, output / "kernel-samples.png")
    draw_means(results, names, output / "kernel-features.png")


def report(result: Result) -> None:
    """Numbers of a machine."""
    explanation, f = result.explanation, result.explanation.output
    assert explanation.ledger is not None and explanation.conservation_error is not None
    missing, bias = np.abs(result.residual), sum(entry.bias for entry in explanation.ledger)
    print(f"{result.name}: accuracy {result.accuracy:.3f}, mean conservation error {explanation.conservation_error.mean():.1e}")
    print(f"  mean |f| {np.abs(f).mean():.2f}, mean |sum of R| {np.abs(explanation.relevance.sum(1)).mean():.2f},", end=" ")
    print(f"mean |bias| {np.abs(bias).mean():.2f}, mean |residual| {missing.mean():.2f}")
    if missing.any():
        ratio = missing / np.abs(f)
        print(f"  |residual| / |f|: mean {ratio.mean():.2f}, median {np.median(ratio):.2f};", end=" ")
        print(f"mean |residual| / mean |f| {missing.mean() / np.abs(f).mean():.2f}")


def compare_references(pipeline: Pipeline, train: Array, test: Array) -> None:
    """What other references change."""
    generator = np.random.default_rng(0)
    machine = pipeline[-1]
    choices = {
        "support vectors": None,
        "50 training samples": generator.choice(train, 50, replace=False),
        "all training samples": train,
    }
    first = None
    for name, references in choices.items():
        explanation = graphlrp.load(graphlrp.convert(pipeline, references=references), ledger=True)(test, batch_size=len(test))
        assert explanation.ledger is not None
        residual = np.abs(sum(entry.residual for entry in explanation.ledger))
        first = explanation.relevance if first is None else first
        same = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(first, explanation.relevance, strict=True)])
        print(
            f"  RBF, references: {name} ({len(machine.support_vectors_) if references is None else len(references)}):"
            f" mean |residual| / mean |f| {residual.mean() / np.abs(explanation.output).mean():.2f},"
            f" mean correlation with the first {same:.2f}"
        )


def draw_samples(results: list[Result], test: Array, labels: Array, path: Path) -> None:
    """The most relevant features of three samples under all machines."""
    decisions = np.stack([result.explanation.output for result in results])
    malignant = labels == "malignant"
    wrong = (decisions > 0) != malignant
    # Typical samples have the median decision of their class; the third is wrong under most machines, or closest to f = 0.
    middle = decisions.mean(0)
    typical = {
        kind: np.flatnonzero(members)[np.abs(middle[members] - np.median(middle[members])).argmin()]
        for kind, members in (("benign", ~malignant), ("malignant", malignant))
    }
    doubtful = int(np.lexsort((np.abs(middle), -wrong.sum(0)))[0])
    rows = [
        (int(typical["benign"]), "typical benign"),
        (int(typical["malignant"]), "typical malignant"),
        (doubtful, f"{'misclassified' if wrong[:, doubtful].all() else 'doubtful'} {labels[doubtful]}"),
    ]
    figure = new_figure(11.0, 7.4)
    panels = figure.subplots(len(rows), len(results))
    for (sample, kind), line in zip(rows, panels, strict=True):
        line[0].set_ylabel(kind, fontsize=11, fontweight="bold")
        for result, axes in zip(results, line, strict=True):
            f = float(result.explanation.output[sample])
            draw_bars(axes, result.explanation, sample)
            said = "malignant" if f > 0 else "benign"
            axes.set_title(f"$f(x)$ = {f:.2f}: {said}".replace("-", "\N{MINUS SIGN}"), fontsize=10)
            print(f"  sample {sample} ({kind}), {result.name}: f(x) = {f:.2f}, {said}")
    for result, axes in zip(results, panels[0], strict=True):
        axes.set_title(f"$\\bf{{{result.name.replace(' ', '~')}}}$\n{axes.get_title()}", fontsize=10)
    figure.align_ylabels(panels[:, 0])
    figure.supxlabel(
        "relevance: \N{BLACK LEFT-POINTING SMALL TRIANGLE} for benign      for malignant \N{BLACK RIGHT-POINTING SMALL TRIANGLE}",
        fontsize=11,
    )
    save(figure, path)


def draw_bars(axes: Axes, explanation: graphlrp.Explanation, sample: int) -> None:
    """Bars of the most relevant features of a sample."""
    relevance = explanation.relevance[sample]
    assert explanation.features is not None
    order = np.argsort(-np.abs(relevance))[:SHOWN]
    scale = float(np.abs(relevance).max())
    bars = axes.barh(np.arange(SHOWN), relevance[order], color=shades(relevance[order], scale), edgecolor=PALE, linewidth=0.6)
    axes.bar_label(bars, [f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in relevance[order]], fontsize=8, padding=2)
    axes.set_yticks(np.arange(SHOWN), [explanation.features[d] for d in order], fontsize=9)
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.set(ylim=(SHOWN - 0.4, -0.6), xlim=(-1.55 * scale, 1.55 * scale))
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_means(results: list[Result], names: list[str], path: Path) -> None:
    """Mean |R| per feature over the test set, as a share of all features, features of all machines by their mean share."""
    means = np.stack([np.abs(result.explanation.relevance).mean(0) for result in results])
    shares = 100 * means / means.sum(1, keepdims=True)
    order = np.argsort(-shares.mean(0))
    figure = new_figure(9.0, 10.0)
    axes = figure.subplots()
    # Apart in lightness as well as in colour.
    for number, (result, colour) in enumerate(zip(results, ("#08306b", "#e08214", "#a6bddb"), strict=True)):
        places = np.arange(len(order)) + 0.27 * (number - 1)
        axes.barh(places, shares[number, order], 0.27, color=colour, edgecolor="white", linewidth=0.3, label=result.name)
        top = ", ".join(f"{names[d]} {shares[number, d]:.1f} %" for d in np.argsort(-shares[number])[:4])
        print(f"  {result.name}: {top}")
    print("  correlation of the shares:", np.corrcoef(shares).round(2)[np.triu_indices(len(shares), 1)])
    axes.set_yticks(np.arange(len(order)), [names[d] for d in order], fontsize=9.5)
    axes.set(ylim=(len(order) - 0.4, -0.6), xlabel="mean |R| over the test set, in % of the sum over all features")
    axes.legend(loc="lower right", frameon=False, fontsize=11)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    save(figure, path)


if __name__ == "__main__":
    main()
