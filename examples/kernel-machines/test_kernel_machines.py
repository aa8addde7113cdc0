# ruff: noqa: D103
"""The scripts run, and their pictures show what the library says."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tabular
import text
import toys
from PIL import Image

from graphlrp import kernels

HEAD = "topic\ttext\nd\tstring\nclass\t\n"
WORDS = {"grain": "wheat corn harvest crop", "ship": "port cargo vessel strike", "trade": "tariff export import deficit"}


def pictures(folder: Path) -> dict[str, tuple[int, int]]:
    """Names and sizes of what was drawn."""
    found = {}
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
            found[path.stem] = picture.size
    return found


def test_toys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toys.draw_linear(tmp_path)
    toys.draw_rbf(tmp_path)
    toys.draw_one_class(tmp_path)
    assert list(pictures(tmp_path)) == ["kernel-fields", "kernel-linear", "kernel-one-class", "kernel-root"]
    assert "R_b" in capsys.readouterr().out


def test_hypersphere_is_the_smallest(tmp_path: Path) -> None:
    x = np.array([(-1.0, 0.0), (1.0, 0.0), (0.0, 0.2)])
    sphere = toys.fit_hypersphere(kernels.Linear(), x, 0.34)  # at most one of three samples could lie outside
    np.testing.assert_allclose(sphere.coefficients @ sphere.support_vectors, (0, 0), atol=1e-6)
    assert sphere.radius == pytest.approx(1.0)
    whole = toys.fit_hypersphere(kernels.RBF(0.5), toys.one_cloud(60), 0.1)
    outside = whole.decision_function(toys.one_cloud(60)) > 1e-6
    assert whole.coefficients.sum() == pytest.approx(1.0)
    assert outside.mean() <= 0.1


def test_tabular(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["tabular.py", "-o", str(tmp_path)])
    tabular.main()
    assert list(pictures(tmp_path)) == ["kernel-features", "kernel-samples"]
    assert "histogram intersection: accuracy 0.9" in capsys.readouterr().out


def test_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    for name, count in (("train", 20), ("test", 6)):
        lines = [
            f"{topic}\t" + " ".join(generator.choice([*words.split(), "said", "the", "reuter"], 25))
            for topic, words in WORDS.items()
            for _ in range(count)
        ]
        (tmp_path / f"reuters-r8-{name}.tab").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["text.py", str(tmp_path), "-o", str(tmp_path / "new" / "out")])
    text.main()
    assert list(pictures(tmp_path / "new" / "out")) == ["kernel-terms", "kernel-text"]
    assert "60 + 18 documents, 15 terms, test accuracy 1.000" in capsys.readouterr().out
