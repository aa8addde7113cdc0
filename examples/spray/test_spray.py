# ruff: noqa: D103
"""Small versions of the scripts: what was planted is learned and found; the network computes what its ONNX file does."""

from __future__ import annotations

import sys
from pathlib import Path

import fisher
import mixtures
import network
import numpy as np
import onnxruntime
import pytest
import steps
import texts
from clusters import score
from PIL import Image
from small_network import SmallNetwork, convolve

from graphlrp import spray


def check_picture(path: Path, width: int = 400) -> None:
    with Image.open(path) as picture:
        assert picture.width >= width
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 5
    assert path.stat().st_size < 250_000


def test_gradients_are_differences() -> None:
    g = np.random.default_rng(0)
    small = SmallNetwork(8, 3, (2, 3))
    small.weights = {name: value.astype(np.float64) for name, value in small.weights.items()}
    x, labels = g.normal(size=(4, 1, 8, 8)), np.array([0, 2, 1, 2])

    def loss() -> float:
        logits = small.forward(x)[0]
        return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(4), labels]))

    gradients = small.gradients(*small.forward(x), labels)
    for name, value in small.weights.items():
        for place in {0, value.size // 2, value.size - 1}:
            at = np.unravel_index(place, value.shape)
            kept = value[at]
            value[at] = kept + 1e-6
            above = loss()
            value[at] = kept - 1e-6
            below = loss()
            value[at] = kept
            assert gradients[name][at] == pytest.approx((above - below) / 2e-6, abs=1e-7)


def test_convolution_by_its_definition() -> None:
    g = np.random.default_rng(0)
    x, weight = g.normal(size=(1, 2, 5, 4)), g.normal(size=(3, 2, 3, 3))
    found = convolve(x, weight)[0]
    for k, y, column in np.ndindex(3, 5, 4):
        expected = sum(
            x[0, c, y + i - 1, column + j - 1] * weight[k, c, i, j]
            for c, i, j in np.ndindex(2, 3, 3)
            if 0 <= y + i - 1 < 5 and 0 <= column + j - 1 < 4
        )
        assert found[0, k, y, column] == pytest.approx(expected)


def test_the_file_computes_the_same() -> None:
    small = SmallNetwork(24, 10)
    x = np.random.default_rng(0).normal(size=(5, 1, 24, 24)).astype(np.float32)
    session = onnxruntime.InferenceSession(small.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"image": x})
    logits = small.forward(x)[0]
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_network(tmp_path: Path) -> None:
    pictures = network.draw_pictures(np.arange(1200), 3, 0, 0.25)
    test = network.draw_pictures(np.arange(1200, 1500), 1, 1)
    trained = network.train(pictures, epochs=4)
    found = network.measure(trained, test)
    assert found["8 found with the mark"] > found["8 found"]
    assert found["others called 8 with the mark"] > 2 * found["others called 8"]
    relevance = network.explain(trained, pictures)
    ranking = spray.rank(relevance, pictures.labels)
    assert ranking.classes[0] == network.CLASS
    analysis = network.examine(relevance, pictures, network.CLASS)
    suspect = spray.suspicious(analysis)[0]
    precision, recall = score(suspect.positions, pictures.marked)
    assert precision > 0.8 and recall > 0.8
    own = pictures.labels == network.CLASS
    assert steps.found(relevance[own], pictures.marked[own], spray.SumPool(20)) == f"{precision:.2f} / {recall:.2f}"
    network.draw(relevance, pictures, ranking, analysis, tmp_path)
    for name in ("ranking", "spectrum", "embedding", "montage"):
        check_picture(tmp_path / f"spray-network-{name}.png")


def test_mark_changes_the_corner_only() -> None:
    pictures = network.draw_pictures(np.arange(10), 1, 0)
    changed = network.mark(pictures.images) != pictures.images
    assert changed[..., 1:6, 1:6].any() and not changed[..., 6:, :].any() and not changed[..., :, 6:].any()


def test_fisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(fisher, "SHARE", 0.3)
    model, training, draw_pictures = fisher.watermark.model, fisher.training, fisher.watermark.draw_pictures
    monkeypatch.setattr(fisher.watermark, "model", lambda: model(8, 4_000))
    monkeypatch.setattr(fisher, "training", lambda _: training(90))
    monkeypatch.setattr(fisher.watermark, "draw_pictures", lambda count, seed: draw_pictures(min(count, 90), seed))
    monkeypatch.setattr(sys, "argv", ["fisher.py", "-o", str(tmp_path)])
    fisher.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("rough"), "the class with the tag comes first"
    (first,) = [line for line in lines if "cluster 1 of kmeans-" in line]
    precision, recall = (float(part.split(",")[0]) for part in first.replace("recall", "precision").split("precision ")[1:])
    assert precision > 0.8 and recall > 0.8
    check_picture(tmp_path / "spray-fisher-montage.png")
    check_picture(tmp_path / "spray-fisher-spectrum.png")


def test_letters() -> None:
    one, same = texts.write_letters(20, 3, 0.5), texts.write_letters(20, 3, 0.5)
    assert one.texts == same.texts and len(one.texts) == 60
    for text, marked in zip(one.texts, one.marked, strict=True):
        assert text.endswith(" unsubscribe") == bool(marked) and texts.WORDS[0] <= len(text.split()) - marked < texts.WORDS[1]
    assert one.marked.any() and set(one.labels[one.marked]) == {list(texts.TOPICS).index(texts.CLASS)}
    assert texts.without_term(one).texts == texts.write_letters(20, 3).texts


def test_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_letters = texts.write_letters
    monkeypatch.setattr(texts, "write_letters", lambda count, *rest: write_letters(count // 2, *rest))
    monkeypatch.setattr(sys, "argv", ["texts.py", "-o", str(tmp_path), "--exponents", "0"])
    texts.main()
    lines = capsys.readouterr().out.splitlines()
    (table,) = [number for number, line in enumerate(lines) if line.startswith("class")]
    assert lines[table + 1].startswith("orders"), "the class with the term comes first"
    suspect = next(line for line in lines if "precision" in line)
    precision, recall = (float(part.split(",")[0]) for part in suspect.replace("recall", "precision").split("precision ")[1:])
    assert precision > 0.8 and recall > 0.8
    assert any(line.strip().startswith("cluster") and "unsubscribe" in line for line in lines)
    misled = [float(line.rpartition(" ")[2]) for line in lines if line.strip().startswith("others called orders with the term")]
    assert len(misled) == 3 and misled[0] > 2 * misled[1]
    for name in ("profile", "spectrum", "embedding"):
        check_picture(tmp_path / f"spray-texts-{name}.png")


def test_mixtures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["mixtures.py", "-o", str(tmp_path)])
    mixtures.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("k = 30, σ = 0.2: 4 components, gap 4, 0.000 0.000 0.000 0.000 ")
    assert lines[1].startswith("k = 30, σ = 0.4: 1 components, gap 4, ")
    check_picture(tmp_path / "spray-mixtures.png", 800)
