"""How much of the context do two models use? The outside-inside ratio of relevance, class by class (4.5.4, figure 4.6).

Digits are pasted on photographs of brick, grass and gravel. A 0 nearly always stands on brick, a 1 on grass, a 2 on gravel; 3, 4
and 5 stand on any of them. A Fisher-vector model and a convolutional network learn the digits from these pictures. The ratio μ
(4.11) says how much each uses the background, and so does the accuracy that is lost when 0, 1 and 2 stand on a wrong one. μ also
depends on the shape of the digit and on how fine a map is, so both also learn from pictures whose backgrounds tell nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image
from plotting import BLUE, GREEN, INK, ORANGE, bare, draw_map, new_figure, save
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC
from sources import BUILD, Array, Digits, load_digits, photograph
from train_cnn import trained

import graphlrp
from graphlrp.bow import DenseSIFT, DescriptorPCA, FisherVector
from graphlrp.evaluation import outside_inside_ratio
from graphlrp.visual import relevance_scale

SIDE = 40
BACKGROUNDS = ("brick", "grass", "gravel")
CLASSES = ("0\nbrick", "1\ngrass", "2\ngravel", "3\nany", "4\nany", "5\nany")
TYPICAL, INK_STRENGTH = 0.95, 0.65
"""Share of the digits 0, 1 and 2 that stand on their own background, and how white digits are."""

EXAMPLES = (0, 4)
COLOURS = {"Fisher vectors": ORANGE, "convolutions": BLUE}


@dataclass(frozen=True)
class Scenes:
    """Pictures [N, 1, 40, 40] from 0 to 1, their digits [N], and boxes around the ink [N, 4]."""

    pictures: Array
    labels: Array
    boxes: Array


def textures(half: int) -> list[Array]:
    """The left (0) or right (1) halves of the photographs, with the same mean and deviation."""
    result = []
    for name in BACKGROUNDS:
        with Image.open(photograph(f"{name}.png")) as picture:
            values = np.asarray(picture.convert("L").reduce(2), np.float32)
        part = values[:, values.shape[1] // 2 :] if half else values[:, : values.shape[1] // 2]
        result.append(np.clip(0.35 + 0.12 * (part - part.mean()) / part.std(), 0, 1))
    return result


def choose_backgrounds(labels: Array, g: np.random.Generator, which: str) -> Array:
    """For 0, 1 and 2 mostly their own background (``"own"``), a ``"wrong"`` one or ``"any"``; any for the other digits."""
    count = len(BACKGROUNDS)
    anything = g.integers(count, size=len(labels))
    if which == "any":
        return anything
    if which == "wrong":
        return np.where(labels < count, (labels + 1 + anything % (count - 1)) % count, anything)
    return np.where((labels < count) & (g.random(len(labels)) < TYPICAL), labels, anything)


def compose(digits: Array, labels: Array, half: int, seed: int, which: str) -> Scenes:
    """The digits 0 to 5 of [N, 1, 28, 28], light, at random places of random crops."""
    g = np.random.default_rng(seed)
    digits, labels = digits[labels < len(CLASSES), 0], labels[labels < len(CLASSES)]
    photos, pictures, boxes = textures(half), [], []
    for digit, number in zip(digits, choose_backgrounds(labels, g, which), strict=True):
        top, left = (int(g.integers(size - SIDE + 1)) for size in photos[number].shape)
        picture = photos[number][top : top + SIDE, left : left + SIDE].copy()
        y, x = g.integers(SIDE - 28 + 1, size=2)
        picture[y : y + 28, x : x + 28] += INK_STRENGTH * digit * (1 - picture[y : y + 28, x : x + 28])
        rows, columns = np.flatnonzero(digit.max(1) > 0.2), np.flatnonzero(digit.max(0) > 0.2)
        boxes.append((x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1))
        pictures.append(picture[None])
    return Scenes(np.stack(pictures), labels, np.array(boxes, np.int64))


def fisher_vectors(scenes: Scenes, components: int = 32) -> Pipeline:
    """SIFT of 12 x 12 pixels, Fisher vectors and a linear machine; takes grey values from 0 to 255, [N, H, W]."""
    steps = (DenseSIFT(step=3, bin_sizes=(3,)), DescriptorPCA(48, samples=20_000), FisherVector(components, samples=20_000))
    return make_pipeline(*steps, LinearSVC()).fit(255 * scenes.pictures[:, 0], scenes.labels)


class Model:
    """Either model, with the rules that the source used: ε for Fisher vectors, α = 2 and ♭ for networks."""

    def __init__(self, source: Path | Pipeline) -> None:
        self.grey = isinstance(source, Pipeline)
        self.explainer = graphlrp.load(source, "bag-of-words" if self.grey else "epsilon-alpha2beta1-flat")

    def shaped(self, scenes: Scenes) -> Array:
        """The pictures as the model wants them."""
        return 255 * scenes.pictures[:, 0] if self.grey else scenes.pictures

    def hits(self, scenes: Scenes) -> Array:
        """Whether the model is right, for every picture."""
        return np.asarray(self.explainer.predict(self.shaped(scenes)).argmax(1) == scenes.labels)

    def relevance(self, scenes: Scenes) -> Array:
        """Relevance for the digit that is there, [N, H, W]."""
        return np.asarray(self.explainer(self.shaped(scenes), scenes.labels).relevance).reshape(-1, SIDE, SIDE)


def by_class(values: Array, labels: Array) -> Array:
    """Medians of numbers, means of decisions, [classes]."""
    reduce = np.mean if values.dtype == bool else np.median
    return np.array([reduce(values[labels == label]) for label in range(len(CLASSES))])


@dataclass(frozen=True)
class Finding:
    """Of one model: maps [N, H, W], and μ and the accuracy that it loses on wrong backgrounds, [classes]."""

    maps: Array
    ratio: Array
    loss: Array


def find(model: Model, test: Scenes, wrong: Scenes, name: str) -> Finding:
    """Explain and test a model; prints what is found."""
    hits, hits_wrong, maps = model.hits(test), model.hits(wrong), model.relevance(test)
    ratio = by_class(outside_inside_ratio(maps, test.boxes), test.labels)
    loss = by_class(hits, test.labels) - by_class(hits_wrong, wrong.labels)
    print(f"{name}: accuracy {hits.mean():.3f}, on wrong backgrounds {hits_wrong.mean():.3f}")
    print(f"  by class: mu {ratio.round(3)}, accuracy lost {loss.round(2)}")
    return Finding(maps, ratio, loss)


def draw_bars(axes: Axes, found: dict[tuple[str, str], Finding], what: str, title: str) -> None:
    """A group of bars for every class; those of models that saw any background are pale."""
    for place, ((name, which), finding) in enumerate(found.items()):
        label = name if which == "own" else f"{name}, trained on any background"
        heights = finding.ratio if what == "ratio" else finding.loss
        places = np.arange(len(CLASSES)) + 0.2 * (place - 1.5)
        axes.bar(places, heights, 0.18, color=COLOURS[name], alpha=1 if which == "own" else 0.4, label=label)
    axes.axhline(0, color=INK, linewidth=0.7)
    axes.set_xticks(range(len(CLASSES)), CLASSES, fontsize=9)
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)


def draw(scenes: Scenes, found: dict[tuple[str, str], Finding], folder: Path) -> None:
    """Two pictures with their maps, μ and the loss of accuracy by class."""
    figure = new_figure(9.6, 5.4)
    parts = figure.subplot_mosaic("abcdef;mmmlll", height_ratios=(1, 1.6))
    for panels, label in zip(("abc", "def"), EXAMPLES, strict=True):
        number = int(np.flatnonzero(scenes.labels == label)[0])
        parts[panels[0]].imshow(scenes.pictures[number, 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        bare(parts[panels[0]], "input")
        for panel, name in zip(panels[1:], COLOURS, strict=True):
            relevance = found[name, "own"].maps[number]
            draw_map(parts[panel], relevance, relevance_scale([relevance], percentile=99.8)[0], name)
        left, top, right, bottom = scenes.boxes[number]
        for panel in panels:
            box = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=GREEN, linewidth=1.2)
            parts[panel].add_patch(box)
    draw_bars(parts["m"], found, "ratio", "Outside-inside ratio $\\mu$, median")
    draw_bars(parts["l"], found, "loss", "Accuracy lost on wrong backgrounds")
    figure.legend(*parts["m"].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    save(figure, "context", folder)


def main(folder: Path = BUILD, data: Digits | None = None, epochs: int = 12) -> None:
    """Compose, train, explain, compare, draw."""
    data = data or load_digits(0, 1)
    digits, labels = data.test_pictures.repeat(2, 0), data.test_labels.repeat(2)
    test, wrong = (compose(digits, labels, 1, 1, which) for which in ("own", "wrong"))
    found = {}
    train = {which: compose(data.pictures, data.labels, 0, 0, which) for which in ("own", "any")}
    for which, scenes in train.items():
        model = Model(fisher_vectors(scenes))
        found["Fisher vectors", which] = find(model, test, wrong, f"Fisher vectors, trained on {which} backgrounds")
    for which, scenes in train.items():
        network = trained("context", scenes.pictures, scenes.labels, epochs, shift=0, folder=folder)
        found["convolutions", which] = find(Model(network), test, wrong, f"convolutions, trained on {which} backgrounds")
    for name in COLOURS:
        gain = found[name, "own"].ratio / found[name, "any"].ratio
        print(f"{name}: mu over that of the model that saw any background {gain.round(2)}")
    draw(test, found, folder)


if __name__ == "__main__":
    main()
