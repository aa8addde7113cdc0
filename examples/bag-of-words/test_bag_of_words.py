# ruff: noqa: D103
"""Small versions of the scripts: relevance lies where the data say that it must."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import shapes
import textures
import watermark
from maps import outside_inside
from PIL import Image
from scipy.ndimage import gaussian_filter

import graphlrp
from graphlrp.tiles import explain_tiles


def check_picture(path: Path) -> None:
    with Image.open(path) as picture:
        assert picture.width >= 890
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
    assert path.stat().st_size < 250_000


def test_ratio_of_relevance_outside_and_inside() -> None:
    inside = np.array([[True, False], [False, False]])
    assert outside_inside(np.array([[2.0, 1.0], [-5.0, 2.0]]), inside) == pytest.approx(0.5)


def test_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles, positive = shapes.draw_tiles(240, 1)
    assert positive.mean() == 0.5
    machines = shapes.fit_machines(tiles, positive, shapes.words(64, 8_000))
    test, truth = shapes.draw_tiles(80, 2)
    for pipeline in machines.values():
        assert pipeline.score(test, truth) > 0.65
    scene = shapes.draw_scene(306, 306, [n % 2 == 0 for n in range(9)], 3)
    assert scene.polygons.any() and scene.rounds.any() and not (scene.polygons & scene.rounds).any()
    assert set(np.unique(scene.corners)) <= {0, 4, 5, 6, 7}
    maps = shapes.explain(machines, scene, tiles[:8])
    for relevance in maps.values():
        found = shapes.measure(relevance, scene)
        assert found["polygons"] / scene.polygons.sum() > found["rounds"] / scene.rounds.sum()
        assert found["mu_positive"] < 1
    shapes.draw(scene, maps, tmp_path / "bow-shapes.png")
    check_picture(tmp_path / "bow-shapes.png")
    assert capsys.readouterr().out.count("49 tiles") == 3


def test_tiles_conserve_what_they_average() -> None:
    tiles, positive = shapes.draw_tiles(24, 1)
    machine = shapes.fit_machines(tiles, positive, shapes.words(16, 2_000))["histogram intersection"]
    tiled = explain_tiles(graphlrp.load(machine, bias="distribute"), tiles[0], size=shapes.TILE, stride=shapes.STRIDE)
    assert tiled.relevance.sum() == pytest.approx(float(tiled.output[0]), rel=1e-4)


def test_watermark(tmp_path: Path) -> None:
    pipeline = watermark.model(8, 8_000).fit(*watermark.training(80))
    pictures, rough = watermark.draw_pictures(24, 9)
    found = watermark.measure(pipeline, pictures, rough)
    assert found["accuracy, tag on rough pictures"] > 0.8
    assert found["accuracy, no tag"] < found["accuracy, tag on rough pictures"] - 0.15
    assert found["rough pictures called rough without it"] < found["rough pictures called rough with the tag"] - 0.3
    share = found["share of positive relevance in the box, with tag"]
    assert share > 3 * found["share of the area in the box"]
    assert share > 3 * found["share of positive relevance in the box, without tag"]
    watermark.draw(pipeline, pictures[rough], tmp_path / "bow-watermark.png")
    check_picture(tmp_path / "bow-watermark.png")


def test_tag_changes_its_box_only() -> None:
    pictures, _ = watermark.draw_pictures(2, 0)
    changed = np.abs(watermark.tagged(pictures) - pictures).max(0) > 1e-3
    outside = changed.copy()
    outside[watermark.BOX] = False
    assert changed.sum() > 100 and not outside.any()


def photographs() -> dict[str, np.ndarray]:
    """Three generated textures: stripes, fine and coarse noise."""
    g = np.random.default_rng(0)
    y, _ = np.mgrid[:256, :512]
    parts = {
        "brick": np.sin(y / 3) + 0.2 * gaussian_filter(g.normal(size=y.shape), 1),
        "grass": gaussian_filter(g.normal(size=y.shape), 1),
        "gravel": gaussian_filter(g.normal(size=y.shape), 3),
    }
    return {name: np.clip(128 + 35 * part / part.std(), 0, 255).astype(np.uint8) for name, part in parts.items()}


def test_textures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, picture in photographs().items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    photos = textures.photographs(tmp_path)
    pipeline = textures.model(5_000).fit(*textures.crops(photos, 0, 10))
    assert pipeline.score(*textures.crops(photos, 1, 10)) == 1.0
    pictures = [textures.side_by_side(photos, pair) for pair in textures.PAIRS]
    maps = textures.explain(pipeline, pictures)
    for pair, of_classes in zip(textures.PAIRS, maps, strict=True):
        for name, relevance in of_classes.items():
            left, right = textures.shares(relevance, pictures[0].shape[1] // 2)
            if name in pair:
                assert (left > right) == (name == pair[0])
    textures.report(maps)
    assert capsys.readouterr().out.count("sum of R") == 9
    found = textures.concentration(pipeline, pictures, (1e-6, 0.01))
    assert found[1e-6][0] > 2 * found[0.01][0] and found[0.01][2] < 0.15
    result = textures.compare(pipeline, *textures.crops(photos, 1, 2), (1.0,), batch=100, repeats=2)
    assert result.curve("ε = 1").scores.shape == (6, 2, 9)
    assert result.curve("ε = 1").aopc > result.curve("ε = 1", "lerf").aopc
    textures.draw(pictures, maps, tmp_path / "bow-textures.png")
    check_picture(tmp_path / "bow-textures.png")
    monkeypatch.setattr(sys, "argv", ["textures.py", "--folder", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"brick\.png"):
        textures.main()
