"""Photographs of textures, told apart by Fisher vectors: ``python textures.py -o out``.

Three photographs that come with scikit-image, of brick, grass and gravel. The model is fitted on crops of their left halves and
tested on crops of the right halves. Pictures of two textures side by side are explained for every class. Then descriptors of test
crops are replaced by samples of the mixture in the order of their relevance under several ε (C.2). Needed besides graphlrp, for
its files only (nothing of it is imported)::

    pip install --no-deps scikit-image==0.26.0
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from maps import PALE, Array, arguments, draw_map, draw_picture, new_figure, save
from PIL import Image
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp.bow import DenseSIFT, DescriptorPCA, FisherVector
from graphlrp.evaluation.descriptors import perturb_descriptors
from graphlrp.evaluation.result import PerturbationResult

NAMES = ("brick", "grass", "gravel")
PAIRS = (("brick", "grass"), ("gravel", "brick"), ("grass", "gravel"))
SIDE = 96
EPSILONS = (0.01, 1.0, 10.0, 100.0, 1000.0)
PROJECTION_EPSILONS = (1e-6, 1e-4, 1e-3, 0.01, 0.1)


def photographs(folder: Path | None) -> dict[str, Array]:
    """The photographs in grey, from a folder or, without importing it, from scikit-image.

    Raises:
        FileNotFoundError: they are not there.
    """
    if folder is None:
        found = importlib.util.find_spec("skimage")
        if found is None or not found.submodule_search_locations:
            raise FileNotFoundError("brick.png, grass.png, gravel.png are missing: pip install --no-deps scikit-image==0.26.0")
        folder = Path(found.submodule_search_locations[0]) / "data"
    result = {}
    for name in NAMES:
        with Image.open(folder / f"{name}.png") as picture:
            result[name] = np.asarray(picture.convert("L"))
    return result


def crops(photos: dict[str, Array], half: int, count: int, seed: int = 0) -> tuple[Array, Array]:
    """Square crops of the left (0) or right (1) halves, ``count`` of each photograph, and their names."""
    g = np.random.default_rng([seed, half])
    pictures, names = [], []
    for name, photo in photos.items():
        middle = photo.shape[1] // 2
        part = photo[:, middle:] if half else photo[:, :middle]
        for _ in range(count):
            y, x = (int(g.integers(length - SIDE + 1)) for length in part.shape)
            pictures.append(part[y : y + SIDE, x : x + SIDE])
            names.append(name)
    return np.stack(pictures), np.array(names)


def model(samples: int = 20_000) -> Pipeline:
    """Fisher vectors of SIFT of two scales, with a linear head."""
    return make_pipeline(
        DenseSIFT(step=4, bin_sizes=(4, 6)),
        DescriptorPCA(32, samples=samples),
        FisherVector(16, samples=samples),
        LinearSVC(),
    )


def side_by_side(photos: dict[str, Array], pair: tuple[str, str], height: int = 192, width: int = 144) -> Array:
    """Parts of the right halves of two photographs."""
    return np.concatenate([photos[name][:height, photos[name].shape[1] // 2 :][:, :width] for name in pair], axis=1)


def shares(relevance: Array, middle: int) -> tuple[float, float]:
    """ΣR of the left and of the right part."""
    return float(relevance[:, :middle].sum()), float(relevance[:, middle:].sum())


def explain(pipeline: Pipeline, pictures: list[Array], deep: bool = False) -> list[dict[str, Array]]:
    """The map of every class, of every picture; ``deep`` tells bins of descriptors apart."""
    explainer = graphlrp.load(pipeline, composite=graphlrp.composite("bag-of-words", deep=deep), ledger=True)
    stack = np.stack(pictures)
    found = {str(name): explainer(stack, number).relevance for number, name in enumerate(pipeline.classes_)}
    return [{name: maps[n] for name, maps in found.items()} for n in range(len(pictures))]


def report(maps: list[dict[str, Array]]) -> None:
    """ΣR left and right, for every pair and class."""
    for pair, of_classes in zip(PAIRS, maps, strict=True):
        middle = next(iter(of_classes.values())).shape[1] // 2
        print(f"{pair[0]} | {pair[1]}")
        for name, relevance in of_classes.items():
            left, right = shares(relevance, middle)
            print(f"  {name:6}: sum of R left {left:6.3f}, right {right:6.3f}")


def concentration(
    pipeline: Pipeline, pictures: list[Array], epsilons: Sequence[float] = PROJECTION_EPSILONS
) -> dict[float, tuple[float, float, float]]:
    """What ε at the principal components does, with ``deep``, the mean over pictures and classes.

    For every ε: the share of the strongest 1 % of the descriptors in Σ|R| of all their numbers, that sum over the one behind the
    projection, and the share of Σ|R| behind it that the projection keeps.
    """
    before, behind = "densesift/descriptors", "descriptorpca/descriptors"
    result = {}
    for epsilon in epsilons:
        composite = graphlrp.composite("bag-of-words", deep=True, projection_epsilon=epsilon)
        explainer = graphlrp.load(pipeline, composite, report=(before, behind), ledger=True)
        rows = []
        for number in range(len(pipeline.classes_)):
            explanation = explainer(np.stack(pictures), number)
            strength = np.sort(np.abs(explanation.intermediate[before]).sum(2), axis=1)[:, ::-1]
            total = np.abs(explanation.intermediate[behind]).sum((1, 2))
            (kept,) = (entry.stabilizer for entry in explanation.ledger if entry.name == behind)
            strongest = strength[:, : strength.shape[1] // 100].sum(1) / strength.sum(1)
            rows.append([strongest, strength.sum(1) / total, np.abs(kept) / total])
        share, growth, absorbed = np.mean(rows, axis=(0, 2))
        result[epsilon] = float(share), float(growth), float(absorbed)
    return result


def compare(
    pipeline: Pipeline,
    pictures: Array,
    names: Array,
    epsilons: Sequence[float] = EPSILONS,
    batch: int = 20,
    repeats: int = 5,
) -> PerturbationResult:
    """f of the true class while descriptors are replaced, for several ε."""
    methods = {f"ε = {epsilon:g}": graphlrp.composite("bag-of-words", epsilon=epsilon) for epsilon in epsilons}
    target = np.searchsorted(pipeline.classes_, names)
    order = ("morf", "lerf", "random")
    return perturb_descriptors(pipeline, pictures, methods, target, order=order, batch=batch, repeats=repeats)


def draw(pictures: list[Array], maps: list[dict[str, Array]], path: Path, colours: int = 256) -> None:
    """A row for every pair: the picture, and a map for every class at a common scale."""
    figure = new_figure(9.0, 5.1)
    panels = figure.subplots(len(PAIRS), 1 + len(NAMES))
    for row, (pair, picture, of_classes) in enumerate(zip(PAIRS, pictures, maps, strict=True)):
        draw_picture(panels[row, 0], picture, " | ".join(pair))
        scale = float(np.percentile(np.abs(np.stack(list(of_classes.values()))), 99))
        for axes, (name, relevance) in zip(panels[row, 1:], of_classes.items(), strict=True):
            draw_map(axes, relevance, scale, f"relevance for {name}")
            axes.axvline(picture.shape[1] / 2 - 0.5, color=PALE, linewidth=0.7)
    save(figure, path, colours)


def main() -> None:
    """Fit, test, explain and draw."""
    options = arguments(str(__doc__).partition("\n")[0], [("--folder", "with brick.png, grass.png and gravel.png")])
    try:
        photos = photographs(options.folder)
    except FileNotFoundError as error:
        sys.exit(str(error))
    start = time.perf_counter()
    pipeline = model().fit(*crops(photos, 0, 40))
    print(f"fitted on 120 crops in {time.perf_counter() - start:.1f} s")
    print(f"accuracy {pipeline.score(*crops(photos, 1, 40)):.4f} on 120 crops of the other halves")
    pictures = [side_by_side(photos, pair) for pair in PAIRS]
    maps = explain(pipeline, pictures)
    report(maps)
    draw(pictures, maps, options.output / "bow-textures.png")
    deep = explain(pipeline, pictures, deep=True)
    print("deep=True")
    report(deep)
    draw(pictures, deep, options.output / "bow-textures-deep.png", 192)
    for epsilon, (share, growth, kept) in concentration(pipeline, pictures).items():
        print(f"  projection ε {epsilon:g}: strongest 1 % {share:.3f}, growth of sum |R| {growth:.1f}, kept {kept:.3f}")
    start = time.perf_counter()
    result = compare(pipeline, *crops(photos, 1, 20))
    print(f"{result}\nin {time.perf_counter() - start:.1f} s")
    print(f"wrote {result.save_plot(options.output / 'bow-perturbation.png', dpi=100)}")


if __name__ == "__main__":
    main()
