"""Polygons against round shapes: histogram intersection and exponential χ² kernels on visual words: ``python shapes.py -o out``.

The toy task of the source (2.4.3, figure 2.13). Tiles of 102 x 102 pixels show regular polygons, from tetragons to heptagons,
and round shapes, turned at will; a tile with a polygon is positive. SIFT of two scales is turned to its main direction, words of
each scale are counted by rank mapping (p = 2, n = 4), and machines with a kernel per scale are fitted on them. Then a large
picture is explained tile by tile, 34 pixels apart, and overlapping maps are averaged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from maps import (
    INK,
    NEGATIVE,
    POSITIVE,
    Array,
    arguments,
    draw_map,
    draw_outlines,
    draw_picture,
    new_figure,
    outside_inside,
    save,
    scale_of,
)
from scipy.ndimage import gaussian_filter
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC

import graphlrp
from graphlrp import kernels
from graphlrp.bow import BagOfWords, DenseSIFT
from graphlrp.tiles import explain_tiles

TILE, STRIDE = 102, 34
RADII, GRAIN = (22.0, 32.0), 6.0
"""Of shapes, their radius; of the background, the deviation of its noise."""

SCALES = ((6, 6), (9, 9))
"""Steps of the grids, and bins of SIFT: σ = 2 and 3 of the source, whose areas are 24 and 36 pixels wide."""

KERNELS = {"histogram intersection": kernels.HistogramIntersection(), "exponential χ²": kernels.ExponentialChi2(1.0)}
KINDS = ("tetragons", "pentagons", "hexagons", "heptagons", "round shapes", "background")


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture of shapes.

    Attributes:
        picture: [H, W], 0 ... 255.
        polygons, rounds: which pixels they cover.
        corners: number of corners of each polygon, in the picture where it is, else 0.
    """

    picture: Array
    polygons: Array
    rounds: Array
    corners: Array


def draw_scene(height: int, width: int, kinds: Sequence[bool], seed: int) -> Scene:
    """Shapes scattered without overlap, ``True`` for a polygon; those that find no place after many trials are left out."""
    g = np.random.default_rng(seed)
    picture = background(height, width, g)
    level = picture.copy()
    corners, rounds = np.zeros((height, width), int), np.zeros((height, width), bool)
    placed: list[tuple[float, float, float]] = []
    y, x = np.mgrid[:height, :width].astype(float)
    for polygon in kinds:
        for _ in range(1000):
            radius = g.uniform(*RADII)
            at = (g.uniform(radius, width - radius), g.uniform(radius, height - radius))
            if all(np.hypot(at[0] - a, at[1] - b) > radius + r + 3 for a, b, r in placed):
                break
        else:
            continue
        placed.append((*at, radius))
        part = tuple(slice(max(0, int(c - radius - 2)), int(c + radius + 3)) for c in at[::-1])
        u, v = x[part] - at[0], y[part] - at[1]
        count = int(g.integers(4, 8))
        distance = polygon_distance(u, v, radius, count, g) if polygon else round_distance(u, v, radius, g)
        cover = np.clip(0.5 - distance, 0, 1)
        mean = level[part].mean()
        shade = mean + g.choice((-1, 1)) * g.uniform(60, 90) + 0.3 * (level[part] - mean)
        picture[part] += cover * (shade - picture[part])
        if polygon:
            corners[part][cover > 0.5] = count
        else:
            rounds[part][cover > 0.5] = True
    picture = np.clip(picture + g.normal(0, GRAIN, picture.shape), 0, 255).astype(np.float32)
    return Scene(picture, corners > 0, rounds, corners)


def draw_tiles(count: int, seed: int) -> tuple[Array, Array]:
    """Tiles to fit and to test: half of them with a polygon, and maybe a round shape, half with round shapes only."""
    g = np.random.default_rng(seed)
    kinds = [(True,), (True, False), (False,), (False, False)]
    chosen = [kinds[k % 4] for k in range(count)]
    tiles = [draw_scene(TILE, TILE, k, int(g.integers(1 << 31))) for k in chosen]
    return np.stack([tile.picture for tile in tiles]), np.array([k[0] for k in chosen])


def background(height: int, width: int, g: np.random.Generator) -> Array:
    """Clouds; the grain is added last."""
    noise = gaussian_filter(g.normal(size=(height, width)), 25, mode="wrap")
    return np.asarray(128 + 10 * noise / noise.std())


def polygon_distance(u: Array, v: Array, radius: float, count: int, g: np.random.Generator) -> Array:
    """Signed distance to the edges of a regular polygon around 0, turned at random."""
    angles = 2 * np.pi * (g.uniform() + np.arange(count) / count)
    inner = radius * np.cos(np.pi / count)
    return np.asarray(np.max([u * np.cos(a) + v * np.sin(a) for a in angles], axis=0) - inner)


def round_distance(u: Array, v: Array, radius: float, g: np.random.Generator) -> Array:
    """About the distance to the edge of |u/a|^p + |v/b|^p = 1, turned at random."""
    p, flat, angle = g.uniform(1.8, 2.2), g.uniform(0.65, 1.0), 2 * np.pi * g.uniform()
    a, b = radius, flat * radius
    across, along = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    norm = (np.abs(across / a) ** p + np.abs(along / b) ** p) ** (1 / p)
    slope = np.hypot(*np.gradient(norm))
    return np.asarray((norm - 1) / np.maximum(slope, 1e-3))


def words(count: int = 128, samples: int = 30_000) -> FeatureUnion:
    """Words of every scale: turned SIFT, rank mapping, ℓ1 norm."""
    parts = []
    for step, size in SCALES:
        sift = DenseSIFT(step, (size,), orientation="main")
        coding = BagOfWords(count, coding="rank", base=2, neighbours=4, samples=samples)
        parts.append((f"bins{size}", make_pipeline(sift, coding, Normalizer("l1"))))
    return FeatureUnion(parts)


def fit_machines(tiles: Array, positive: Array, encoding: FeatureUnion) -> dict[str, Pipeline]:
    """A pipeline for each kind of kernel, on the same vectors: the mean of a kernel for each scale."""
    vectors = encoding.fit_transform(tiles)
    scales = np.array_split(np.arange(vectors.shape[1]), len(SCALES))
    machines = {}
    for name, kernel in KERNELS.items():
        first, *others = (1 / len(SCALES) * kernel.on(columns) for columns in scales)
        machines[name] = Pipeline([("words", encoding), ("svc", SVC(kernel=sum(others, first), C=10).fit(vectors, positive))])
    return machines


def by_kind(relevance: Array, scene: Scene) -> dict[str, float]:
    """Sum of the relevance of the pixels of each kind."""
    masks = [*(scene.corners == n for n in (4, 5, 6, 7)), scene.rounds, ~(scene.polygons | scene.rounds)]
    return {kind: float(relevance[mask].sum()) for kind, mask in zip(KINDS, masks, strict=True)}


def measure(relevance: Array, scene: Scene) -> dict[str, float]:
    """ΣR over polygons and round shapes, and the outside-inside ratios of positive and of negative relevance."""
    return {
        "polygons": float(relevance[scene.polygons].sum()),
        "rounds": float(relevance[scene.rounds].sum()),
        "background": float(relevance[~(scene.polygons | scene.rounds)].sum()),
        "mu_positive": outside_inside(relevance, scene.polygons),
        "mu_negative": outside_inside(-relevance, scene.rounds),
    }


def explain(machines: dict[str, Pipeline], scene: Scene, references: Array) -> dict[str, Array]:
    """The averaged map of every machine, and what it says in numbers.

    Relevance of histogram intersection is measured from the empty histogram, whose f is the bias; in the picture the bias is
    distributed, so that ΣR is f. The roots of χ² are searched on the ways to the references, of which fewer take less time.
    """
    maps = {}
    for name, bias in (
        ("histogram intersection", "absorb"),
        ("histogram intersection", "distribute"),
        ("exponential χ²", "absorb"),
    ):
        start = time.perf_counter()
        converted = graphlrp.convert(machines[name], dtype="float32", references=references)
        tiled = explain_tiles(graphlrp.load(converted, bias=bias), scene.picture, size=TILE, stride=STRIDE)
        found, parts = measure(tiled.relevance, scene), by_kind(tiled.relevance, scene)
        positive = (tiled.output > 0).mean()
        print(f"{name}, bias {bias}: {len(tiled.corners)} tiles in {time.perf_counter() - start:.1f} s, {positive:.2f} positive")
        print(f"  sum of R: polygons {found['polygons']:.2f}, round shapes {found['rounds']:.2f}, rest {found['background']:.2f}")
        print("  " + ", ".join(f"{kind} {value:.2f}" for kind, value in parts.items()))
        print(f"  outside / inside: R+ and polygons {found['mu_positive']:.2f}, R- and round shapes {found['mu_negative']:.2f}")
        maps[name] = tiled.relevance
    return maps


def draw(scene: Scene, maps: dict[str, Array], path: Path) -> None:
    """The picture, the maps with outlines of the shapes, and mean relevance per kind."""
    figure = new_figure(9.0, 5.0)
    upper, lower = figure.subfigures(2, 1, height_ratios=(3.1, 1.6))
    panels = upper.subplots(1, 3)
    draw_picture(panels[0], scene.picture, "Picture")
    for axes, (name, relevance) in zip(panels[1:], maps.items(), strict=True):
        draw_map(axes, relevance, scale_of(relevance), name[0].upper() + name[1:])
        draw_outlines(axes, scene.polygons | scene.rounds)
    areas = [*((scene.corners == n).sum() for n in (4, 5, 6, 7)), scene.rounds.sum()]
    areas.append(scene.picture.size - sum(areas))
    for axes, (name, relevance) in zip(lower.subplots(1, 2, sharey=True), maps.items(), strict=True):
        means = np.array(list(by_kind(relevance, scene).values())) / np.maximum(areas, 1)
        means /= np.abs(means).max()
        axes.barh(range(len(KINDS)), means, color=[POSITIVE if mean > 0 else NEGATIVE for mean in means], height=0.7, linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.7)
        axes.set_yticks(range(len(KINDS)), KINDS, fontsize=8)
        axes.set(xlim=(-1.1, 1.1), ylim=(len(KINDS) - 0.4, -0.6))
        axes.set_title(f"{name[0].upper() + name[1:]}: mean relevance per pixel", fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
    save(figure, path)


def main() -> None:
    """Fit, test, explain and draw."""
    output = arguments(str(__doc__).partition("\n")[0]).output
    start = time.perf_counter()
    tiles, positive = draw_tiles(1200, 1)
    references = tiles[:20]
    machines = fit_machines(tiles, positive, words())
    print(f"fitted on 1200 tiles in {time.perf_counter() - start:.1f} s")
    tiles, positive = draw_tiles(400, 2)
    for name, pipeline in machines.items():
        print(
            f"{name}: accuracy {pipeline.score(tiles, positive):.4f} on 400 tiles, {len(pipeline[-1].support_)} support vectors"
        )
    scene = draw_scene(5 * TILE, 5 * TILE, [n % 2 == 0 for n in range(24)], 7)
    draw(scene, explain(machines, scene, references), output / "bow-shapes.png")


if __name__ == "__main__":
    main()
