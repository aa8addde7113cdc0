"""Reports of real models in headless Chromium: they render, ask for nothing, print, and change colours as they say."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_breast_cancer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import graphlrp
from acceptance.chromium import Tab, chromium, find_chromium
from graphlrp.cli import main
from graphlrp.reports import Report
from graphlrp.visual import heatmap, pixel_relevance, relevance_scale

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on PATH")

PHOTOS = (
    "0000_n01440764_tench.JPEG",
    "0010_n01530575_brambling.JPEG",
    "0020_n01601694_water_ouzel.JPEG",
    "0030_n01641577_bullfrog.JPEG",
)
COMPOSITES = ("epsilon-plus-flat", "epsilon-alpha2beta1")
MOST_PAGES = {"photos": 12, "text": 6, "table": 8, "evaluation": 4, "spray": 8}
"""A4: more would be a waste of paper."""


def command(*arguments: object) -> None:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def reports(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of every kind, as the command line writes it."""
    folder = tmp_path_factory.mktemp("reports")
    network = assets / "imagenet" / "efficientnet_lite0_bn_static.onnx"
    preprocessing = ("--size", 224, "--resize", 256, "--interpolation", "bicubic", "--mean", 127, "--std", 128)
    photos = [assets / "imagenet" / "images" / name for name in PHOTOS]
    labels = ("--labels", assets / "imagenet" / "imagenet_labels.txt")
    composites = [part for name in COMPOSITES for part in ("--composite", name)]
    command("report", network, *photos, *preprocessing, *labels, *composites, "-o", folder / "photos.html")

    lines = (assets / "text" / "reuters-r8-train.tab").read_text(encoding="utf-8").split("\n")[3:1503]
    rows = [line.split("\t", 1) for line in lines if "\t" in line]
    topics, texts = [topic for topic, _ in rows], [text for _, text in rows]
    joblib.dump(make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(texts, topics), folder / "text.joblib")
    for number in range(3):
        (folder / f"{number}.txt").write_text(texts[number], encoding="utf-8")
    files = [folder / f"{number}.txt" for number in range(3)]
    command("report", folder / "text.joblib", *files, "--trust", "-o", folder / "text.html")

    data = load_breast_cancer()
    joblib.dump(make_pipeline(StandardScaler(), SVC()).fit(data.data, data.target), folder / "table.joblib")
    np.savetxt(folder / "x.csv", data.data[:4], delimiter=",", header=",".join(data.feature_names), comments="")
    command("report", folder / "table.joblib", folder / "x.csv", "--trust", "-o", folder / "table.html")

    network = assets / "cifar10" / "resnet20_cifar10_bn_static.onnx"
    with np.load(assets / "cifar10" / "cifar10_test_raw_242.npz") as raw:
        pixels, truth = raw["x"], raw["y"].astype(np.int64).ravel()
    pixels = pixels if pixels.shape[-1] == 3 else pixels.transpose(0, 2, 3, 1)
    x = ((pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(0, 3, 1, 2).astype(np.float32)
    np.save(folder / "few.npy", x[:6])
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", truth)
    quick = ("--region", 4, "--steps", 20, "--repeats", 2, "--method", "epsilon-plus", "--method", "gradient")
    command("evaluate", network, folder / "few.npy", *quick, "-o", folder / "evaluation")
    settings = ("--truth", folder / "y.npy", "--composite", "epsilon-plus", "--top", 2)
    command("spray", network, folder / "x.npy", *settings, "-o", folder / "spray")
    pages = {name: folder / f"{name}.html" for name in ("photos", "text", "table")}
    return pages | {name: folder / name / "report.html" for name in ("evaluation", "spray")}


@pytest.fixture
def tab() -> Iterator[Tab]:
    assert PROGRAM is not None
    with chromium(PROGRAM) as opened:
        yield opened


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def is_blank(pixels: np.ndarray) -> bool:
    """Whether a part of a page shows nothing but its background."""
    return bool((pixels == pixels[0, 0]).all())


@pytest.mark.parametrize("name", MOST_PAGES)
def test_pages_render_on_wide_and_on_small_screens_and_ask_for_nothing(reports: dict[str, Path], tab: Tab, name: str) -> None:
    tab.open(reports[name])
    for width in (1280, 400):
        tab.resize(width)
        shown = picture(tab.screenshot())
        assert shown.shape[1] == width and shown.shape[0] > 800
        # Neither the top nor what follows is blank, and nothing sticks out to the right.
        assert not any(is_blank(part) for part in np.array_split(shown, 4))
        assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert [address for address in tab.requests if not address.startswith("data:")] == [reports[name].resolve().as_uri()]
    assert tab.messages == []


@pytest.mark.parametrize("name", MOST_PAGES)
def test_pages_print_on_few_sheets_of_a4(reports: dict[str, Path], tab: Tab, name: str) -> None:
    tab.open(reports[name])
    printed = tab.pdf()
    sheets = len(re.findall(rb"/Type\s*/Page\b(?!s)", printed))
    assert 1 <= sheets <= MOST_PAGES[name]
    boxes = [[float(edge) for edge in box.split()] for box in re.findall(rb"/MediaBox\s*\[([^\]]*)\]", printed)]
    assert boxes and all(box[2:] == pytest.approx([595, 842], abs=2) for box in boxes)
    # Nothing that belongs together is longer than a sheet, so it need not be cut.
    tab.call("Emulation.setEmulatedMedia", media="print")
    tab.resize(688)
    heights = tab.run("[...document.querySelectorAll('figure, .cell:not(:has(.text)), .whole')].map(e => e.offsetHeight)")
    assert max(heights) < (297 - 28) / 25.4 * 96


@pytest.mark.parametrize("name", MOST_PAGES)
def test_pictures_have_names_for_those_who_do_not_see_them(reports: dict[str, Path], tab: Tab, name: str) -> None:
    tab.open(reports[name])
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in nodes if not node.get("ignored") and node["role"]["value"] in ("image", "graphics-document")]
    assert all(node.get("name", {}).get("value") for node in shown)
    # Texts and bars are no pictures; what is drawn of other kinds is.
    assert shown or name in ("text", "table")
    tables = [node for node in nodes if not node.get("ignored") and node["role"]["value"] == "table"]
    assert tables and all(node.get("name", {}).get("value") for node in tables)


def test_wide_screens_are_used(reports: dict[str, Path], tab: Tab) -> None:
    """Samples that are one cell stand side by side, and names of settings take one line; on small screens nothing does so."""
    left = "[...document.querySelectorAll('{}')].slice(0, 2).map(e => e.getBoundingClientRect().left)"
    for name in ("text", "table"):
        tab.open(reports[name])
        for width, columns in ((1280, 2), (400, 1)):
            tab.resize(width)
            assert len(set(tab.run(left.format(".sample")))) == columns
    tab.open(reports["evaluation"])
    tab.resize(1280)
    texts = "[...document.querySelectorAll('.facts dt')].map(e => {const r = document.createRange(); r.selectNodeContents(e);"
    assert set(tab.run(f"{texts} return r.getClientRects().length;}})")) == {1}
    tab.open(reports["spray"])
    tab.resize(1280)
    # The table of the classes, and the bars beside it.
    table, bars = tab.run(left.format("#section-1 .pair > .wide, #section-1 .pair img"))
    assert bars > table + 100


PIXELS = """
(async () => {
  const all = [];
  for (const image of document.querySelectorAll("img.levels:not(.above)")) {
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
    let text = "";
    for (let k = 0; k < data.length; k += 8192) text += String.fromCharCode(...data.subarray(k, k + 8192));
    all.push([canvas.height, canvas.width, btoa(text)]);
  }
  return all;
})()
"""
CHOOSE = """
(() => {{
  const controls = document.querySelector(".controls");
  controls.elements.colours.value = "{colours}";
  controls.elements.joint.value = "{joint}";
  controls.dispatchEvent(new Event("change"));
}})()
"""


def heatmaps(tab: Tab) -> list[np.ndarray]:
    """What the page shows of every map, decoded by the browser."""
    found = []
    for height, width, content in tab.run(PIXELS):
        pixels = np.frombuffer(base64.b64decode(content), np.uint8).reshape(height, width, 4)
        found.append(pixels[..., :3].astype(int))
    return found


def test_the_reader_may_change_colours_and_scale(reports: dict[str, Path], assets: Path, tab: Tab) -> None:
    network = assets / "imagenet" / "efficientnet_lite0_bn_static.onnx"
    x = np.stack([_photo(assets / "imagenet" / "images" / name) for name in PHOTOS])
    explained = [graphlrp.load(network, name)(x) for name in COMPOSITES]
    maps = [pixel_relevance(one.relevance)[sample] for sample in range(len(PHOTOS)) for one in explained]
    tab.open(reports["photos"])
    numbers = "[...document.querySelectorAll('.scale .ends')].map(e => e.children[2].textContent)"
    own_numbers = tab.run(numbers)
    for colours, joint in (("blue-orange", False), ("coldnhot", False), ("seismic", True), ("jet", True), ("blue-orange", False)):
        tab.run(CHOOSE.format(colours=colours, joint="yes" if joint else "no"))
        shown = heatmaps(tab)
        own = relevance_scale(maps, percentile=99.5)
        scales = relevance_scale(maps, joint=joint, percentile=99.5)
        assert len(shown) == len(maps)
        for pixels, relevance, scale, alone in zip(shown, maps, scales.tolist(), own.tolist(), strict=True):
            expected = heatmap(relevance, colours=colours, scale=scale).astype(int)
            # Half a level at R is √(|R| top) / 127; colours change by up to 510 between 0 and the scale.
            top = max(alone, min(scales.max(), np.abs(relevance).max()))
            assert np.abs(pixels - expected).max() <= 510 / 127 * (min(top, scale) * top) ** 0.5 / scale + 1.5
            assert np.abs(pixels - expected).mean() < 3
        assert len(set(tab.run(numbers))) == (1 if joint else len(set(own_numbers)))
    assert tab.run(numbers) == own_numbers
    assert tab.messages == []


def _photo(path: Path) -> np.ndarray:
    from graphlrp.preprocessing import Preprocessing

    preprocessing = Preprocessing((224, 224), 256, "bicubic", (127.0,), (128.0,))
    return np.asarray(preprocessing.tensor([preprocessing.picture(path)]))[0]


@pytest.mark.parametrize("name", ["text", "table"])
def test_words_and_bars_follow_too(reports: dict[str, Path], tab: Tab, name: str) -> None:
    tab.open(reports[name])
    colours = "[...document.querySelectorAll('[data-share]')].map(e => e.style.background)"
    before = tab.run(colours)
    tab.run(CHOOSE.format(colours="seismic", joint="yes"))
    changed = tab.run(colours)
    assert before != changed and len(set(changed)) > 3
    tab.run(CHOOSE.format(colours="blue-orange", joint="no"))
    assert tab.run(colours) == before
    assert tab.messages == []


def test_pages_read_without_their_script(reports: dict[str, Path], tab: Tab) -> None:
    tab.open(reports["photos"])
    tab.run("document.querySelector('.controls').style.visibility = 'hidden'")
    with_script = picture(tab.screenshot())
    height = tab.run("document.querySelector('.controls').offsetHeight")
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(reports["photos"])
    without = picture(tab.screenshot())
    # All that is missing are the controls.
    assert 0 < with_script.shape[0] - without.shape[0] < 2 * height
    difference = np.abs(with_script[-2000:].astype(int) - without[-2000:])
    # A page that begins elsewhere between two pixels may round differently.
    assert difference.max() < 30 and (difference > 0).mean() < 1e-3


def test_names_do_nothing(tab: Tab, tmp_path: Path) -> None:
    evil = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\">'\"&</style></title><!--"
    x = np.random.default_rng(0).normal(size=(30, 4))
    pipeline = make_pipeline(StandardScaler(), SVC()).fit(x, np.where(x[:, 0] > 0, evil, "b"))
    explanation = graphlrp.load(graphlrp.convert(pipeline, features=[evil, "b", "c", "d"]), ledger=True)(x[:2])
    path = Report(evil, settings={evil: evil}).add({evil: explanation}, evil, sources=[evil] * 2).save(tmp_path / "page.html")
    tab.open(path)
    assert tab.run("document.title") == evil and tab.run("document.querySelector('h3').textContent") == evil
    assert tab.run("document.scripts.length") == 2
    assert tab.messages == [] and len([a for a in tab.requests if not a.startswith("data:")]) == 1
