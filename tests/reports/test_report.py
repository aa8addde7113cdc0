"""The page as a whole: what it states, that it is written whole, and what it refuses."""

from __future__ import annotations

import base64
import datetime
import hashlib
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from matplotlib.figure import Figure

import graphlrp
from graphlrp.errors import InputError
from graphlrp.reports import Report
from graphlrp.visual.colour import COLOUR_MAPS, ColourMap
from tests.builders import residual_network
from tests.reports.conftest import Pictures
from tests.reports.pages import check_page, pixels

NOON = datetime.datetime(2024, 5, 6, 12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
MEASURES = {"method": {"mass": np.array([0.25, 0.75])}}


def facts_of(html: str) -> dict[str, str]:
    header = check_page(html).only("header").only("dl", "facts")
    return {row.only("dt").words: row.only("dd").words for row in header.all("div")}


def test_a_page_states_where_it_comes_from(tmp_path: Path) -> None:
    onnx.save(residual_network(), tmp_path / "model.onnx")
    report = Report("page", model=tmp_path / "model.onnx", settings={"seed": 3}, date=NOON).add(MEASURES)
    facts = facts_of(report.html())
    assert facts["model"] == "model.onnx"
    assert facts["SHA-256"] == hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    assert facts["seed"] == "3" and facts["date"] == "2024-05-06 10:30 UTC"
    assert f"GraphLRP {graphlrp.__version__}" in facts["versions"] and f"numpy {np.__version__}" in facts["versions"]
    assert platform.python_version() in facts["versions"]
    # Nothing of the machine or its user.
    assert str(tmp_path) not in report.html()
    assert report.html() == report.html()


def test_the_date_is_now_or_that_of_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    stated = datetime.datetime.strptime(facts_of(Report("page").add(MEASURES).html())["date"], "%Y-%m-%d %H:%M UTC")
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert abs((now - stated).total_seconds()) < 120
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert facts_of(Report("page").add(MEASURES).html())["date"] == "1970-01-02 00:00 UTC"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH='soon'"):
        Report("page")


def test_sections_are_in_order_and_linked(pictures: Pictures) -> None:
    report = Report("page").add(MEASURES, "First").add(pictures.explanations, "Second").add(pictures.explainers)
    page = check_page(report.html())
    assert [heading.words for heading in page.all("h2")] == ["First", "Second", "Rules"]
    assert [link.words for link in page.only("nav").all("a")] == ["First", "Second", "Rules"]
    assert [section.attributes["id"] for section in page.all("section", "part")] == [f"section-{k}" for k in (1, 2, 3)]
    assert not check_page(Report("page").add(MEASURES).html()).all("nav")


def test_only_the_script_of_the_page_may_run(pictures: Pictures) -> None:
    html = Report("page").add(pictures.explanations).html()
    page = check_page(html)
    (policy,) = (meta.attributes["content"] for meta in page.all("meta") if "http-equiv" in meta.attributes)
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    # Without relevance there is nothing to change.
    assert not check_page(Report("page").add(MEASURES).html()).all("script")


def test_a_page_reads_without_its_script(pictures: Pictures) -> None:
    page = check_page(Report("page").add(pictures.explanations).html())
    assert "hidden" in page.only("form", "controls").attributes
    assert page.all("img", "levels") and page.all("data")


def test_colour_maps_are_those_of_the_package(pictures: Pictures) -> None:
    for name in COLOUR_MAPS:
        page = check_page(Report("page", colours=name).add(pictures.explanations["epsilon"][0]).html())
        assert page.only("body").attributes["data-colours"] in COLOUR_MAPS
    own = ColourMap("own", (-1.0, 0.0, 1.0), ((0, 90, 0), (250, 250, 250), (90, 0, 90)))
    page = check_page(Report("page", colours=own, percentile=100).add(pictures.explanations["epsilon"][0]).html())
    colours = {tuple(colour) for colour in pixels(page.all("img", "levels")[0].attributes["src"]).reshape(-1, 3).tolist()}
    assert (90, 0, 90) in colours or (0, 90, 0) in colours


def test_figures_need_a_description() -> None:
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1])
    with pytest.raises(InputError, match="alt="):
        Report("page").add(figure)
    page = check_page(Report("page").add(figure, "A line", alt="a line that rises", caption="<rises>").html())
    (image,) = page.all("img")
    assert image.attributes["alt"] == "a line that rises" and page.only("figcaption").words == "<rises>"
    assert (int(image.attributes["width"]), int(image.attributes["height"])) == (192, 96)


def test_pages_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report("page").add(MEASURES)
    path = report.save(tmp_path / "new" / "page.html")
    before = path.read_text(encoding="utf-8")
    assert before.startswith("<!DOCTYPE html>")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", _full)
        with pytest.raises(InputError, match=r"cannot write .*No space"):
            report.save(path)
    assert path.read_text(encoding="utf-8") == before
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        report.save(tmp_path / "file" / "page.html")


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_names_that_have_no_utf_8_are_written_all_the_same(tmp_path: Path) -> None:
    path = Report("a\udcffb").add(MEASURES).save(tmp_path / "page.html")
    assert "<h1>a?b</h1>" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Report("page").html(), "the report is empty"),
        (lambda: Report("page", colours="pink"), "unknown colour map 'pink'"),
        (lambda: Report("page", percentile=0), "percentile must be above 0"),
        (lambda: Report("page", model="missing.onnx"), "no such model file: missing.onnx"),
        (lambda: Report("page").add(3), "no section for int"),
        (lambda: Report("page").add([]), "no section for list"),
        (lambda: Report("page").add({}), "no section for several of type NoneType"),
        (lambda: Report("page").add({"a": {}}), "same measures, at least one"),
        (lambda: Report("page").add({"a": {"x": [1.0]}, "b": {"y": [1.0]}}), "same measures, x"),
        (lambda: Report("page").add({"a": {"x": [[1.0]]}}), "one number for each sample"),
        (lambda: Report("page").add(MEASURES, alt="x"), "unexpected keyword argument 'alt'"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
