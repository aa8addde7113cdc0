"""Three networks that read digits, and what they look at (2.3.5, figures 2.6, 2.7 and 2.8).

Two perceptrons of scikit-learn, with ReLU and with tanh, and the convolutional network of ``train_cnn.py``, on MNIST digits with
values from -1 (background) to 1 (ink), explained by the ε rule.

- ``digits.png``: the predicted class of several digits, for every network;
- ``digits-classes.png``: all ten classes of one digit, every map at its own scale and at a joint one (2.62), and their sum.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from plotting import draw_map, draw_picture, new_figure, save, signed
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sources import BUILD, Array, Digits, kept, load_digits
from train_cnn import trained

import graphlrp
from graphlrp.visual import relevance_scale

EPSILON = 0.01
SHOWN = (7, 0, 1, 2, 3, 4, 5, 6, 8, 9)
"""Classes of the digits that are shown; the first one is explained for all classes."""

MOVES = ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2))
"""Rows and columns that the training digits of perceptrons are moved by."""


def perceptron(activation: str, data: Digits, folder: Path) -> MLPClassifier:
    """Trained on the digits and moved copies of them, or what was kept of the same training."""
    made_from = data.pictures, data.labels, Path(__file__).read_text(encoding="utf-8")
    path = kept(folder, f"perceptron-{activation}.joblib", *made_from)
    if path.exists():
        return joblib.load(path)
    start = time.perf_counter()
    x = np.concatenate([np.roll(data.pictures, move, (2, 3)) for move in MOVES]).reshape(-1, 28 * 28)
    # Weights decay (alpha): those of the rim, which is always -1, would stay as random as they began, and relevance with them.
    model = MLPClassifier((300, 300), activation=activation, alpha=2.0, max_iter=12, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # twelve passes are enough here
        model.fit(x, np.tile(data.labels, len(MOVES)))
    joblib.dump(model, path)
    print(f"trained {path.name} on {len(x)} pictures in {time.perf_counter() - start:.0f} s")
    return model


def explainers(data: Digits, folder: Path) -> dict[str, graphlrp.Explainer]:
    """The networks by name; perceptrons take digits as vectors [N, 784]."""
    models: dict[str, Any] = {
        "perceptron, ReLU": graphlrp.convert(perceptron("relu", data, folder), dtype="float32"),
        "perceptron, tanh": graphlrp.convert(perceptron("tanh", data, folder), dtype="float32"),
        "convolutions, ReLU": trained("cnn", data.pictures, data.labels, folder=folder),
    }
    composite = graphlrp.composite("epsilon", epsilon=EPSILON)
    return {name: graphlrp.load(model, composite, ledger=True) for name, model in models.items()}


def shaped(explainer: graphlrp.Explainer, pictures: Array) -> Array:
    """Digits as the network wants them."""
    (wanted,) = explainer.inputs.values()
    return pictures if wanted.shape is not None and len(wanted.shape) == 4 else pictures.reshape(len(pictures), -1)


def choose(networks: dict[str, graphlrp.Explainer], data: Digits) -> Array:
    """For every class that is shown, the first test digit that all networks read; prints their accuracies."""
    right = np.ones(len(data.test_labels), bool)
    for name, explainer in networks.items():
        hits = explainer.predict(shaped(explainer, data.test_pictures), batch_size=500).argmax(1) == data.test_labels
        print(f"{name}: accuracy {hits.mean():.3f}")
        right &= hits
    return data.test_pictures[[np.flatnonzero(right & (data.test_labels == label))[0] for label in SHOWN]]


def draw_predictions(networks: dict[str, graphlrp.Explainer], pictures: Array, folder: Path) -> None:
    """Digits, and a row of maps for every network; shares of Σ|R| on the ink, and what biases took, are printed."""
    figure = new_figure(1.05 * len(pictures) + 0.4, 5.2)
    rows = figure.subplots(1 + len(networks), len(pictures))
    for axes, picture in zip(rows[0], pictures, strict=True):
        draw_picture(axes, picture)
    ink = pictures[:, 0] > -0.5
    for row, (name, explainer) in zip(rows[1:], networks.items(), strict=True):
        explanation = explainer(shaped(explainer, pictures))
        maps = explanation.relevance.reshape(-1, 28, 28)
        for axes, relevance, f in zip(row, maps, explanation.output.max(1), strict=True):
            draw_map(axes, relevance, below=f"$f(x)$ = {signed(f, 1)}")
        row[0].set_ylabel(name.replace(", ", "\n"), fontsize=9)
        share = np.abs(maps)[ink].sum() / np.abs(maps).sum()
        taken = explanation.ledger.absorbed / explanation.output.max(1)
        print(f"{name}: {share:.2f} of sum |R| on the ink ({ink.mean():.2f} of the pixels), absorbed / f(x) {taken.mean():.3f}")
    rows[0, 0].set_ylabel("input", fontsize=9)
    save(figure, "digits", folder)


def draw_classes(explainer: graphlrp.Explainer, picture: Array, folder: Path) -> None:
    """The maps of all classes of one digit, and the map of all outputs at once, which is their sum."""
    x = shaped(explainer, picture[None])
    explanation = explainer(x.repeat(10, 0), np.arange(10))
    logits = explanation.output[0]
    probabilities, maps = softmax(logits), explanation.relevance.reshape(-1, 28, 28)
    together = explainer(x, "all").relevance.reshape(28, 28)
    difference = np.abs(together - maps.sum(0)).max() / np.abs(maps).max()
    print(f"all outputs at once against the sum of the maps: largest difference {difference:.1e} of the largest |R|")
    for label, (logit, total) in enumerate(zip(logits, maps.sum((1, 2)), strict=True)):
        print(f"class {label}: logit {logit:6.2f}, probability {probabilities[label]:.3f}, sum of R {total:6.2f}")

    figure = new_figure(12.4, 2.75)
    rows = figure.subplots(2, 12)
    joint = relevance_scale(maps, joint=True)[0]
    for label in range(10):
        draw_map(rows[0, label], maps[label], title=f"class {label}")
        values = f"logit {signed(logits[label], 1)}\nprob. {probabilities[label]:.2f}"
        draw_map(rows[1, label], maps[label], joint, below=values)
    rows[0, 0].set_ylabel("own scales", fontsize=9)
    rows[1, 0].set_ylabel("joint scale", fontsize=9)
    draw_map(rows[0, 10], together, title="all at once")
    draw_map(rows[1, 10], together, joint, below=f"$\\Sigma$ logits\n{signed(logits.sum(), 1)}")
    draw_map(rows[0, 11], maps.sum(0), title="sum of 0-9")
    draw_picture(rows[1, 11], picture, below="input")
    save(figure, "digits-classes", folder)


def main(folder: Path = BUILD, data: Digits | None = None) -> None:
    """Train, test, explain and draw."""
    data = data or load_digits(-1, 1)
    networks = explainers(data, folder)
    pictures = choose(networks, data)
    draw_predictions(networks, pictures, folder)
    draw_classes(networks["perceptron, ReLU"], pictures[0], folder)


if __name__ == "__main__":
    main()
