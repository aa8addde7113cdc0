"""Do heatmaps get better while a network learns? Perturbation curves of LRP over the course of training (3.5.4, figure 3.7).

The convolutional network of ``train_cnn.py`` is kept after some numbers of steps. For each: its accuracy on test digits, and the
area over the perturbation curve (AOPC, 3.7) when 4 x 4 windows are replaced by noise, in the order of their relevance or in a
random one. AOPC needs no labels: the predicted class is explained and watched, by its output f(x) and by its probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from plotting import BLUE, GREEN, INK, ORANGE, new_figure, save
from sources import BUILD, Array, Digits, load_digits
from train_cnn import accuracy, checkpoints

from graphlrp.evaluation import PerturbationResult, perturb

STEPS = (0, 10, 20, 40, 80, 160, 320, 640, 1280, 1920)
SCORES = {"output": "f(x)", "probability": "probability"}


@dataclass(frozen=True)
class Course:
    """What was measured after every number of steps.

    Attributes:
        accuracy: on test digits, [steps].
        curves: of f(x) and of the probability of the predicted class, for every number of steps.
    """

    steps: Sequence[int]
    accuracy: Array
    curves: dict[str, list[PerturbationResult]]

    def aopc(self, score: str, order: str = "morf") -> Array:
        """AOPC after every number of steps, [steps]."""
        return np.array([result.curve("LRP", order).aopc for result in self.curves[score]])

    def gain(self, score: str) -> Array:
        """AOPC by LRP less that of a random order, [steps]."""
        return self.aopc(score) - self.aopc(score, "random")


def measure(models: dict[int, Path], data: Digits, samples: int = 100) -> Course:
    """Accuracy on all test digits, perturbation curves of some of them."""
    curves: dict[str, list[PerturbationResult]] = {score: [] for score in SCORES}
    for model in models.values():
        for score, results in curves.items():
            x = data.test_pictures[:samples]
            options = {"region": 4, "steps": 20, "repeats": 2, "batch_size": 256}
            results.append(perturb(model, x, {"LRP": "epsilon-plus-flat"}, score=score, **options))
    rates = [accuracy(model, data.test_pictures, data.test_labels) for model in models.values()]
    return Course(list(models), np.array(rates), curves)


def correlation(a: Array, b: Array) -> float:
    """After Pearson."""
    return float(np.corrcoef(a, b)[0, 1])


def report(course: Course) -> None:
    """All numbers, and how they go together."""
    print("  step  accuracy  AOPC f(x): LRP  random   AOPC probability: LRP  random")
    columns = [course.aopc(score, order) for score in SCORES for order in ("morf", "random")]
    for step, rate, output, output_random, probability, random in zip(course.steps, course.accuracy, *columns, strict=True):
        print(f"{step:6}  {rate:8.3f}  {output:15.2f}  {output_random:6.2f}  {probability:22.3f}  {random:6.3f}")
    for score, name in SCORES.items():
        whole, gain = (correlation(course.accuracy, values) for values in (course.aopc(score), course.gain(score)))
        print(f"correlation of accuracy with AOPC of {name}: {whole:.2f}, less that of a random order: {gain:.2f}")
    relative = course.gain("output") / [result.curve("LRP").mean[0] for result in course.curves["output"]]
    print(f"AOPC of f(x), less random, as a share of f(x): {relative.round(2)}")


def draw(course: Course, folder: Path) -> None:
    """Accuracy above, AOPC of f(x) and of the probability below."""
    figure = new_figure(7.2, 6.6)
    top, *others = figure.subplots(1 + len(SCORES), 1, sharex=True)
    places = np.arange(len(course.steps))
    top.plot(places, course.accuracy, "o-", color=INK)
    top.set(ylabel="accuracy", ylim=(0, 1.04))
    top.set_title("Accuracy on test digits", fontsize=10)
    for axes, (score, name) in zip(others, SCORES.items(), strict=True):
        band(axes, course, score, "morf", "most relevant first", ORANGE, "o-")
        band(axes, course, score, "random", "random order", BLUE, "s--")
        axes.plot(places, course.gain(score), "^:", color=GREEN, label="difference")
        axes.set(ylabel="AOPC", ylim=(0, None))
        axes.set_title("Perturbation, " + ("$f(x)$" if score == "output" else name) + " of the predicted class", fontsize=10)
    others[0].legend(frameon=False, fontsize=9)
    others[-1].set_xticks(places, [str(step) for step in course.steps])
    others[-1].set_xlabel("steps of training, 25 digits each")
    for axes in (top, *others):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    save(figure, "training", folder)


def band(axes: Axes, course: Course, score: str, order: str, label: str, colour: str, style: str) -> None:
    """AOPC with its 95 % confidence interval over digits."""
    places = np.arange(len(course.steps))
    axes.plot(places, course.aopc(score, order), style, color=colour, label=label)
    low, high = zip(*(result.curve("LRP", order).aopc_interval() for result in course.curves[score]), strict=True)
    axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)


def main(folder: Path = BUILD) -> None:
    """Train, measure, draw."""
    data = load_digits(-1, 1)
    course = measure(checkpoints("cnn", data.pictures, data.labels, STEPS, folder=folder), data)
    report(course)
    draw(course, folder)


if __name__ == "__main__":
    main()
