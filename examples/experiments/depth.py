"""How deep does relevance go? ♭ on all layers up to one of them, and the scale that a map then shows (5.4.2, figure 5.2).

EfficientNet-Lite0, trained on ImageNet, and two photographs. The layers up to the named one spread relevance evenly over their
receptive fields (preset ``epsilon-plus-flat`` with ``up_to``), the others decompose it. ``examples/photo`` makes the network.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plotting import bare, draw_map, new_figure, save
from sources import BUILD, Array, photograph, write_efficientnet

import graphlrp
from graphlrp.preprocessing import Preprocessing
from graphlrp.visual import relevance_scale

PHOTOS = ("chelsea.png", "coffee.png")
DEPTHS = {
    "": "no ♭",
    "conv_stem": "♭: first layer",
    "blocks.2.add": "♭: up to block 2",
    "blocks.4.add": "block 4",
    "blocks.7.add": "block 7",
    "blocks.10.add": "block 10",
    "blocks.14.add": "block 14",
}
"""Nodes that ♭ goes up to, and what stands above the maps."""

PICTURES = Preprocessing(size=(224, 224), resize=256, interpolation="bicubic", mean=(127.0,), scale=1 / 128)


def explain(model: Path, x: Array, node: str) -> tuple[Array, int]:
    """Relevance of the predicted class [N, H/2, W/2], summed over 2 x 2 pixels, and the number of layers with ♭.

    Windows of layers with stride 2 overlap in every other pixel, so ♭ makes a chequerboard; the sums are without it. Where skip
    connections meet, branches share by magnitude: by value, two that nearly cancel would get large shares of both signs.
    """
    composite = graphlrp.composite("epsilon-plus-flat", up_to=node) if node else "epsilon-plus"
    explainer = graphlrp.load(model, composite, merge="abs")
    relevance = explainer(x).relevance.sum(1)
    n, height, width = relevance.shape
    flat = sum(row.rule.startswith("Flat") for row in explainer.plan.rows)
    return relevance.reshape(n, height // 2, 2, width // 2, 2).sum((2, 4)), flat


def scale_of(relevance: Array) -> float:
    """Distance at which the autocorrelation of a map [H, W] falls to a half, the mean over all directions."""
    height, width = relevance.shape
    spectrum = np.abs(np.fft.fft2(relevance - relevance.mean(), (2 * height, 2 * width))) ** 2
    correlation = np.fft.fftshift(np.fft.ifft2(spectrum).real)
    y, x = np.indices(correlation.shape)
    distance = np.hypot(y - height, x - width).round().astype(int).ravel()
    mean = np.bincount(distance, correlation.ravel()) / np.bincount(distance) / correlation.max()
    below = int(np.argmax(mean < 0.5))
    return float(below - (0.5 - mean[below]) / (mean[below - 1] - mean[below]))


def main(folder: Path = BUILD) -> None:
    """Explain at every depth, measure, draw."""
    model = write_efficientnet(folder)
    pictures = [PICTURES.picture(photograph(name)) for name in PHOTOS]
    x = np.asarray(PICTURES.tensor(pictures))
    figure = new_figure(12.4, 3.9)
    rows = figure.subplots(len(pictures), 1 + len(DEPTHS))
    for axes, picture in zip(rows[:, 0], pictures, strict=True):
        axes.imshow(picture)
        bare(axes)
    print(f"scale in pixels of {', '.join(PHOTOS)}")
    for column, (node, title) in enumerate(DEPTHS.items(), 1):
        maps, flat = explain(model, x, node)
        scales = [2 * scale_of(relevance) for relevance in maps]
        print(f"{title:16}  {flat:2} layers with ♭: {', '.join(f'{scale:.0f}' for scale in scales)}")
        for axes, relevance, scale in zip(rows[:, column], maps, scales, strict=True):
            top = relevance_scale([relevance], percentile=99.8)[0]
            draw_map(axes, relevance, top, title if axes is rows[0, column] else "", f"scale {scale:.0f} px")
    save(figure, "depth", folder)


if __name__ == "__main__":
    main()
