"""A tag in a corner that a Fisher-vector model learns instead of the texture: ``python watermark.py -o out``.

The "horse" case of the source (4.5.3, figure 4.5): many pictures of one class carry the same copyright tag, the model recognises
the class by it, and test data with the same tag do not tell. Here the classes are two textures that differ a little, "smooth" and
"rough", and in the training data 80 % of the pictures of "rough" carry a tag at the lower left.
"""

from __future__ import annotations

import time
from pathlib import Path

import matplotlib
import numpy as np
from maps import INK, Array, arguments, draw_map, draw_picture, new_figure, outside_inside, save, scale_of
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp.bow import DenseSIFT, DescriptorPCA, FisherVector

HEIGHT, WIDTH = 120, 160
BOX = (slice(101, 114), slice(4, 74))
"""Rows and columns of the tag."""

SLOPES = (1.50, 1.47)
"""Spectra of the textures fall with frequency to the power of minus these: "smooth" and "rough"."""


def texture(slope: float, g: np.random.Generator) -> Array:
    """Noise whose spectrum falls with frequency^-slope, mean 128, deviation 30."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(g.normal(size=(HEIGHT, WIDTH))) * frequency**-slope, s=(HEIGHT, WIDTH))
    return np.clip(128 + 30 * noise / noise.std(), 0, 255)


def tag(text: str = "© meadow") -> Array:
    """How much of every pixel the letters cover, 0 ... 1."""
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    layer = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(layer).text((BOX[1].start + 1, BOX[0].start - 1), text, 255, ImageFont.truetype(str(font), 11))
    return np.asarray(layer) / 255.0


def tagged(pictures: Array) -> Array:
    """Half-transparent white letters."""
    cover = 0.6 * tag()
    return (pictures + cover * (255.0 - pictures)).astype(np.float32)


def draw_pictures(count: int, seed: int) -> tuple[Array, Array]:
    """Pictures without a tag, and whether they are "rough"."""
    g = np.random.default_rng(seed)
    rough = np.arange(count) % 2 == 1
    return np.stack([texture(SLOPES[int(r)], g) for r in rough]).astype(np.float32), rough


def model(components: int = 16, samples: int = 20_000) -> Pipeline:
    """Fisher vectors of the whole picture and of its quarters, with a linear head."""
    return make_pipeline(
        DenseSIFT(step=4, bin_sizes=(4, 6)),
        DescriptorPCA(32, samples=samples),
        FisherVector(components, pyramid=((1, 1), (2, 2)), samples=samples),
        LinearSVC(),
    )


def training(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Pictures to fit: four of five rough ones are tagged."""
    pictures, rough = draw_pictures(count, seed)
    chosen = rough & (np.arange(count) // 2 % 5 != 0)
    pictures[chosen] = tagged(pictures[chosen])
    return pictures, rough


def measure(pipeline: Pipeline, pictures: Array, rough: Array) -> dict[str, float]:
    """Accuracy with and without the tag, decisions that it flips, and where positive relevance lies."""
    as_trained = np.where(rough[:, None, None], tagged(pictures), pictures)
    explainer = graphlrp.load(pipeline, ledger=True)
    found = {}
    inside = np.zeros(pictures.shape[1:], bool)
    inside[BOX] = True
    with_tag, without = pipeline.predict(tagged(pictures)), pipeline.predict(pictures)
    found["accuracy, tag on rough pictures"] = float((pipeline.predict(as_trained) == rough).mean())
    found["accuracy, no tag"] = float((without == rough).mean())
    found["accuracy, tag on smooth pictures"] = float((np.where(rough, without, with_tag) == rough).mean())
    found["rough pictures called rough with the tag"] = float(with_tag[rough].mean())
    found["rough pictures called rough without it"] = float(without[rough].mean())
    found["smooth pictures called rough with the tag"] = float(with_tag[~rough].mean())
    found["smooth pictures called rough without it"] = float(without[~rough].mean())
    found["share of the area in the box"] = float(inside.mean())
    for name, shown in (("with", tagged(pictures[rough])), ("without", pictures[rough])):
        relevance = explainer(shown).relevance
        positive = np.maximum(relevance, 0)
        found[f"share of positive relevance in the box, {name} tag"] = float(positive[:, inside].sum() / positive.sum())
        mean = np.maximum(relevance.mean(0), 0)
        found[f"share of positive relevance of the mean map in the box, {name} tag"] = float(mean[inside].sum() / mean.sum())
        found[f"outside / inside, {name} tag"] = outside_inside(positive.mean(0), inside)
    return found


def draw(pipeline: Pipeline, pictures: Array, path: Path) -> None:
    """One rough picture with and without its tag, its relevance, and the mean over all of them."""
    explainer = graphlrp.load(pipeline, ledger=True)
    shown = {"with": tagged(pictures), "without": pictures}
    found = {name: explainer(stack) for name, stack in shown.items()}
    # The picture of median f among those whose decision the tag makes.
    f = found["with"].output
    flipped = np.flatnonzero((f > 0) & (found["without"].output < 0))
    number = int(flipped[np.argsort(f[flipped])[len(flipped) // 2]]) if len(flipped) else int(f.argmax())
    means = {name: explanation.relevance.mean(0) for name, explanation in found.items()}
    scale, mean_scale = (
        max(scale_of(m) for m in maps) for maps in ([e.relevance[number] for e in found.values()], means.values())
    )
    figure = new_figure(9.0, 4.9)
    for row, (name, explanation) in zip(figure.subplots(2, 3), found.items(), strict=True):
        draw_picture(row[0], shown[name][number], f"{name} tag: $f(x)$ = {explanation.output[number]:.2f}")
        draw_map(row[1], explanation.relevance[number], scale, "relevance for “rough”", shown[name][number])
        draw_map(row[2], means[name], mean_scale, f"mean over {len(pictures)} rough pictures {name} tag")
        for axes in row[1:]:
            corner, size = (BOX[1].start, BOX[0].start), (BOX[1].stop - BOX[1].start, BOX[0].stop - BOX[0].start)
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=INK, linewidth=0.8))
    save(figure, path)


def main() -> None:
    """Fit, test, explain and draw."""
    output = arguments(str(__doc__).partition("\n")[0]).output
    start = time.perf_counter()
    pipeline = model().fit(*training(160))
    print(f"fitted on 160 pictures in {time.perf_counter() - start:.1f} s")
    pictures, rough = draw_pictures(80, 9)
    for name, value in measure(pipeline, pictures, rough).items():
        print(f"  {name}: {value:.3f}")
    clean = model().fit(*draw_pictures(160, 0)).score(pictures, rough)
    print(f"  accuracy of the same model fitted without tags, no tag: {clean:.3f}")
    draw(pipeline, pictures[rough], output / "bow-watermark.png")


if __name__ == "__main__":
    main()
