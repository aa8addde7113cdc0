"""``graphlrp spray`` of texts and tables: what clusters are about takes the place of maps."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp import spray
from graphlrp.cli import main
from tests.reports.pages import Element, check_page

WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "grape", "lemon"],
    "metal": ["iron", "copper", "tin", "zinc", "lead", "silver"],
    "water": ["river", "lake", "rain", "snow", "sea", "spring"],
}
COMMON = ["and", "the", "of", "with", "near", "some"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def page_at(path: Path) -> Element:
    return check_page(path.read_text(encoding="utf-8"))


def letters(topics: list[str], seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts and their topics; some of "metal" end in a word that has nothing to do with it."""
    generator = np.random.default_rng(seed)
    named = [topic for topic in topics for _ in range(30)]
    marked = (np.array(named) == "metal") & (generator.random(len(named)) < 0.3)
    texts = []
    for topic, own in zip(named, marked, strict=True):
        words = [*generator.choice(WORDS[topic], 3), *generator.choice(COMMON, 3)]
        texts.append(" ".join(map(str, words)) + (" unsubscribe" if own else ""))
    return texts, named


@pytest.mark.parametrize("topics", [["fruit", "metal", "water"], ["fruit", "metal"]], ids=["three topics", "two topics"])
def test_texts(tmp_path: Path, topics: list[str]) -> None:
    texts, named = letters(topics)
    pipeline = make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(texts, named)
    graphlrp.convert(pipeline).save(tmp_path / "model.onnx")
    # Blank lines are no documents, and lines are counted with them.
    (tmp_path / "letters.txt").write_text("\n\n".join(texts), encoding="utf-8")
    options = ("--clusters", 2, "--class", "metal", "--embedding", "none")
    result = run("spray", tmp_path / "model.onnx", tmp_path / "letters.txt", "--lines", *options, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = np.flatnonzero(pipeline.predict(texts) == "metal")
    explanation = graphlrp.load(tmp_path / "model.onnx")(texts)
    expected = spray.analyse(explanation, index=rows, clusters=2, embedding=None)
    folder = tmp_path / "out" / "class-metal"
    assert {path.name for path in folder.iterdir()} == {"analysis.h5", "clusters.csv", "profile.png", "spectrum.png"}
    analysis = spray.Analysis.read(folder / "analysis.h5")
    assert isinstance(analysis.features, csr_array)
    np.testing.assert_allclose(analysis.features.toarray(), expected.features.toarray(), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(analysis.index, rows)
    np.testing.assert_array_equal(analysis.labels, expected.labels)
    with Image.open(folder / "profile.png") as picture:
        assert picture.width > 800
    with (folder / "clusters.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["source"] for row in table] == [f"letters.txt, line {2 * k + 1}" for k in rows]
    assert [int(row["kmeans-2"]) for row in table] == expected.labels.tolist()
    # What clusters are about, in the terminal and on the page.
    profiles = expected.profile(explanation)
    for own in expected.profile(explanation, count=3):
        about = ", ".join(f"{feature.name} {feature.share:.0%}" for feature in own.features)
        assert f"  kmeans-2: relevance of cluster {own.cluster} is on {about}" in result.output.splitlines()
    assert "unsubscribe" in [feature.name for own in profiles for feature in own.features]
    page = page_at(tmp_path / "out" / "report.html")
    (numbers,) = (one for one in page.all("table") if one.all("caption")[0].words.startswith("Mean relevance of features"))
    lines = [[cell.words for cell in row.children] for row in numbers.only("tbody").all("tr")]
    shown = [(own, feature) for own in profiles for feature in own.features]
    assert [line[:2] for line in lines] == [[str(own.cluster), feature.name] for own, feature in shown]
    np.testing.assert_allclose(
        np.reshape(numbers.numbers, (-1, 2)), [[feature.mean, feature.elsewhere] for _, feature in shown], rtol=1e-4, atol=1e-7
    )
    # Typical texts, with the relevance of every word.
    headings = [heading.words for heading in page.all("h4")]
    typical = [(c, int(p)) for c in (0, 1) for p in expected.typical(c)[:3]]
    assert headings == [f"Typical of cluster {c}: letters.txt, line {2 * p + 1}" for c, p in typical]
    for cell, (_, position) in zip(page.all("section", "cell"), typical, strict=True):
        text = cell.only("div", "text")
        assert text.text == texts[position]
        own = dict(zip(explanation.features, explanation.relevance[position].toarray()[0], strict=True))
        for span in text.all("span"):
            occurrences = texts[position].split().count(span.text)
            value = float(span.attributes["title"].removeprefix("R = "))
            assert value == pytest.approx(own[span.text] / occurrences, rel=6e-3, abs=1e-6)
    # The same of the store that is left: it has the names of the terms, but no texts.
    stored = run("spray", tmp_path / "out" / "relevance.h5", *options, "-o", tmp_path / "again")
    assert stored.exit_code == 0, stored.output
    assert [line for line in stored.output.splitlines() if "is on" in line] == [
        line for line in result.output.splitlines() if "is on" in line
    ]
    page = page_at(tmp_path / "again" / "report.html")
    assert not page.all("h4") and "unsubscribe" in page.only("main").text
    assert (tmp_path / "again" / "class-metal" / "profile.png").exists()


@pytest.mark.parametrize("known", [True, False], ids=["names of the model", "names of the table"])
def test_tables(tmp_path: Path, known: bool) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 4))
    x[:15, 2] += 6.0
    names = ["age", "height", "hospital no.", "pulse"]
    model = LogisticRegression().fit(x, (x[:, 0] + x[:, 2] > 0).astype(int))
    graphlrp.convert(model, features=names if known else None).save(tmp_path / "model.onnx")
    lines = [",".join(names), *(",".join(map(repr, row)) for row in x.tolist())]
    (tmp_path / "patients.csv").write_text("\n".join(lines), encoding="utf-8")
    options = ("--clusters", 2, "--embedding", "none", "--top", 1)
    result = run("spray", tmp_path / "model.onnx", tmp_path / "patients.csv", *options, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "is on hospital no. " in result.output
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    with (folder / "clusters.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["source"] for row in table] == [f"row {row['sample']}" for row in table]
    assert (folder / "profile.png").exists() and not (folder / "montage.png").exists()
    page = page_at(tmp_path / "out" / "report.html")
    assert "hospital no." in page.only("main").text and not page.all("h4")
    # A store has the names that the model has.
    stored = run("spray", tmp_path / "out" / "relevance.h5", *options, "-o", tmp_path / "again")
    assert stored.exit_code == 0, stored.output
    assert ("is on hospital no. " if known else "is on feature 2 ") in stored.output
