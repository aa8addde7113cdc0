"""The section of explanations: numbers, colours and texts of the page are those of the explanations."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix
from sklearn.linear_model import LinearRegression

import graphlrp
from graphlrp import Explanation
from graphlrp.errors import InputError
from graphlrp.reports import Report
from graphlrp.visual import colour_map, heatmap, pixel_relevance, relevance_scale
from graphlrp.visual.typesetting import number
from tests.builders import residual_network, tensor
from tests.reports.conftest import EVIL, Pictures
from tests.reports.pages import Element, check_page, everything, pixels


def page_of(result: Any, *, report: Report | None = None, **options: Any) -> Element:
    return check_page((report or Report("page")).add(result, **options).html())


def rows_of(page: Element, caption: str) -> list[Element]:
    """Rows of the body of a table."""
    (table,) = (table for table in page.all("table") if table.only("caption").words.startswith(caption))
    return table.only("tbody").all("tr")


def test_numbers_are_those_of_the_explanations(pictures: Pictures) -> None:
    page = page_of(pictures.explanations, labels=["cat", "dog", "bird", "fish"], sources=["a.png", "b.png", "c.png"])
    cells = page.all("section", "cell")
    rows = rows_of(page, "All samples")
    assert len(cells) == len(rows) == 3 * 2 * 2
    order = [(sample, rank, name) for sample in range(3) for rank in range(2) for name in pictures.explanations]
    for cell, row, (sample, rank, name) in zip(cells, rows, order, strict=True):
        one = pictures.explanations[name][rank]
        assert one.ledger is not None and one.conservation_error is not None
        target = int(one.target[sample])
        expected = [
            float(one.output[sample, target]),
            float(one.relevance[sample].sum(dtype=np.float64)),
            float(one.ledger.absorbed[sample]),
            float(one.conservation_error[sample]),
        ]
        assert cell.only("dl", "numbers").numbers == expected == row.numbers
        assert [data.text for data in cell.only("dl", "numbers").all("data")][:3] == [number(value) for value in expected[:3]]
        # What the page says of f(x): it is ΣR plus what was absorbed.
        assert expected[0] == pytest.approx(expected[1] + expected[2], abs=1e-5)
        assert cell.only("h4").words == f"{['cat', 'dog', 'bird', 'fish'][target]} {name}"
        assert [element.words for element in row.children[:2]] == [f"{'abc'[sample]}.png", name]


def test_heatmaps_have_their_own_scale_or_a_common_one(pictures: Pictures) -> None:
    maps = [
        pixel_relevance(pictures.explanations[name][rank].relevance)[sample]
        for sample in range(3)
        for rank in range(2)
        for name in pictures.explanations
    ]
    for joint in (False, True):
        report = Report("page", joint=joint, colours="seismic", percentile=100.0)
        page = page_of(pictures.explanations, images=pictures.images, report=report)
        scales = relevance_scale(maps, joint=joint).tolist()
        assert page.only("body").attributes["data-joint"] == ("yes" if joint else "no")
        for cell, relevance, scale, own in zip(
            page.all("section", "cell"), maps, scales, relevance_scale(maps).tolist(), strict=True
        ):
            heat, below, above = cell.all("img")
            shown = pixels(heat.attributes["src"]).astype(int)
            assert np.abs(shown - heatmap(relevance, colours="seismic", scale=scale)).max() <= 510 / 127 + 1
            ends = [span.words for span in cell.only("div", "ends").all("span")]
            assert ends == [number(-scale), "0", number(scale)]
            # What the script needs to change the scale: top over each of the scales.
            maps_of_cell = cell.only("div", "maps").attributes
            assert float(maps_of_cell["data-own"]) == pytest.approx(1.0)
            assert float(maps_of_cell["data-joint"]) == pytest.approx(own / max(relevance_scale(maps)), rel=1e-5)
            assert cell.only("div", "scale").attributes["data-joint"].split("|")[2] == number(max(relevance_scale(maps)))
            assert below.attributes["alt"] == above.attributes["alt"] == ""
            assert cell.only("div", "stack").attributes["aria-label"]


def test_inputs_are_shown_as_they_were_given(pictures: Pictures) -> None:
    page = page_of(pictures.explanations["epsilon"][0], images=pictures.images)
    shown = [pixels(image.attributes["src"]) for image in page.all("img", "input")]
    np.testing.assert_array_equal(shown, pictures.images)
    scaled = page_of(pictures.explanations["epsilon"][0])
    for image, given in zip(scaled.all("img", "input"), pictures.images, strict=True):
        # Black is the smallest value, white the largest: the order of brightness is that of the picture.
        assert np.corrcoef(pixels(image.attributes["src"]).ravel(), given.ravel())[0, 1] > 0.999


def test_whatever_users_name_is_text(pictures: Pictures, table: Explanation, texts: Explanation) -> None:
    report = Report(EVIL, settings={EVIL: EVIL})
    report.add({EVIL: pictures.explanations["epsilon"]}, EVIL, labels=[EVIL] * 4, sources=[EVIL] * 3)
    report.add(table, sources=[EVIL] * 4).add(texts, sources=[EVIL] * 2)
    report.add({EVIL: pictures.explainers["epsilon"]}, EVIL).add({EVIL: {EVIL: np.ones(3)}}, EVIL)
    html = report.html()
    page = check_page(html)
    assert "\x00" not in html and "alert('x')" not in html
    scripts = page.all("script")
    assert [script.attributes.get("type", "") for script in scripts] == ["application/json", ""]
    shown = EVIL.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    places = ["title", "h1", "h2", "h3", "h4", "dt", "dd", "th", "td", "option"]
    found = {tag for tag in places if any(shown in element.text for element in page.all(tag))}
    assert found >= {"title", "h1", "h2", "h3", "h4", "dt", "dd", "th", "td"}
    assert any(shown in image.attributes.get("alt", "") for image in page.all("img"))


def test_bars_are_the_largest_relevances(table: Explanation) -> None:
    page = page_of(table, most=4)
    for sample, bars in enumerate(page.all("table", "bars")):
        relevance = table.relevance[sample].astype(float)
        order = np.argsort(-np.abs(relevance), kind="stable")[:4]
        rows = bars.only("tbody").all("tr")
        assert [row.numbers[0] for row in rows] == relevance[order].tolist()
        names = ["\N{REPLACEMENT CHARACTER}".join(name.split("\x00")) for name in table.features or []]
        assert [row.only("th").text for row in rows] == [names[k] for k in order]
        largest = np.abs(relevance).max()
        for row, value in zip(rows, relevance[order], strict=True):
            bar = row.only("i")
            assert bar.attributes["class"] == ("negative" if value < 0 else "positive")
            style = dict(part.split(":") for part in bar.attributes["style"].split(";"))
            assert float(style["width"].rstrip("%")) == pytest.approx(50 * abs(value) / largest, abs=0.01)
            colour = tuple(int(style["background"][k : k + 2], 16) for k in (1, 3, 5))
            assert colour == tuple(colour_map("blue-orange")(value / largest).tolist())
        rest = relevance.sum() - relevance[order].sum()
        note = page.all("p", "note")[sample]
        assert note.words.startswith("2 more features") and note.numbers == [pytest.approx(rest)]
    assert "for yes" in page.text


def test_lengths_of_bars_are_not_clipped_where_colours_are(table: Explanation) -> None:
    page = page_of(table, report=Report("page", percentile=60.0))
    for sample, bars in enumerate(page.all("table", "bars")):
        relevance = table.relevance[sample].astype(float)
        scale = np.percentile(np.abs(relevance), 60)
        order = np.argsort(-np.abs(relevance), kind="stable")
        for row, value in zip(bars.only("tbody").all("tr"), relevance[order], strict=True):
            colour, width = re.fullmatch(r"background:#(\w{6});width:([\d.]+)%", row.only("i").attributes["style"]).groups()  # type: ignore[union-attr]
            assert float(width) == pytest.approx(50 * abs(value) / np.abs(relevance).max(), abs=0.01)
            assert tuple(bytes.fromhex(colour)) == tuple(colour_map("blue-orange")(value / scale).tolist())


def test_one_output_decides_between_two_classes_by_its_sign(table: Explanation) -> None:
    assert table.classes is not None and {-1.0, 1.0} <= set(np.sign(table.output))
    names = [name.replace("\x00", "\N{REPLACEMENT CHARACTER}") for name in table.classes]
    cells = page_of(table).all("section", "cell")
    assert [cell.only("h4").text.strip() for cell in cells] == [names[int(value > 0)] for value in table.output]
    assert f"for {names[0]}" in cells[0].text and f"for {names[1]}" in cells[0].text


def test_bars_of_a_common_scale_can_be_compared(table: Explanation) -> None:
    page = page_of(table, report=Report("page", joint=True))
    largest = np.abs(table.relevance).max()
    for sample, bars in enumerate(page.all("table", "bars")):
        widths = [float(bar.attributes["style"].split("width:")[1].rstrip("%")) for bar in bars.all("i")]
        expected = np.sort(50 * np.abs(table.relevance[sample]) / largest)[::-1]
        np.testing.assert_allclose(widths, expected, atol=0.01)
        own = np.abs(table.relevance[sample]).max()
        assert float(bars.attributes["data-reach"]) == pytest.approx(own / largest, rel=1e-5)


def test_sparse_samples_show_what_has_relevance() -> None:
    generator = np.random.default_rng(2)
    x = csr_matrix(generator.normal(size=(3, 500)) * (generator.random((3, 500)) < 0.01))
    model = LinearRegression().fit(generator.normal(size=(20, 500)), generator.normal(size=20))
    explanation = graphlrp.load(model)(x)
    page = page_of(explanation)
    for sample, bars in enumerate(page.all("table", "bars")):
        assert len(bars.only("tbody").all("tr")) == x[sample].nnz
    assert "without relevance" in page.text


def test_texts_are_whole_and_their_words_coloured(texts: Explanation) -> None:
    page = page_of(texts)
    shown = page.all("div", "text")
    assert texts.texts is not None
    for text, element in zip(texts.texts, shown, strict=True):
        assert element.text == text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    relevance = texts.relevance.toarray()[0]
    spans = shown[0].all("span")
    assert {span.text for span in spans} == {"My", "dog", "my", "cat"}
    largest = max(abs(float(span.attributes["data-share"])) for span in spans)
    assert largest == 1.0
    names = list(texts.features or [])
    shares = {span.text: float(span.attributes["data-share"]) for span in spans}
    # "my" occurs twice and shares its relevance evenly.
    strength = {name: relevance[names.index(name)] / (2 if name == "my" else 1) for name in ("my", "dog", "cat")}
    unit = max(abs(value) for value in strength.values())
    for name, value in strength.items():
        assert shares[name] == pytest.approx(value / unit, abs=1e-3)
    assert "no term of the text is known" in page.text
    assert not page.all("img", "input")


def signal_network(channels: int, length: int) -> onnx.ModelProto:
    weights = {"w": np.random.default_rng(5).normal(size=(channels * length, 2))}
    nodes = [helper.make_node("Flatten", ["x"], ["flat"], "flatten"), helper.make_node("MatMul", ["flat", "w"], ["y"], "dense")]
    graph = helper.make_graph(
        nodes,
        "signal",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, length])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [tensor(name, array) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("length", [40, 4000])
def test_signals_are_curves_over_bands(length: int) -> None:
    x = np.random.default_rng(6).normal(size=(2, 3, length)).astype(np.float32)
    x[0, 1, 7] = 30.0
    explanation = graphlrp.load(signal_network(3, length))(x)
    page = page_of(explanation, report=Report("page", percentile=100.0))
    drawings = page.all("svg")
    assert len(drawings) == 6
    for drawing, signal, relevance in zip(drawings, x.reshape(6, -1), explanation.relevance.reshape(6, -1), strict=True):
        points = np.array([p.split(",") for p in drawing.all("polyline")[0].attributes["points"].split()], float)
        band = pixels(drawing.only("image").attributes["href"])
        assert band.shape[0] == 1 and band.shape[1] == min(length, 1500) and len(points) <= 1500
        # Higher is up, and the extremes are kept.
        sample = 0 if signal.max() == 30.0 or (x[0].reshape(3, -1) == signal).all(1).any() else 1
        low, high = x[sample].min(), x[sample].max()
        heights = 92 - 84 * (signal - low) / (high - low)
        assert points[:, 1].min() == pytest.approx(heights.min(), abs=0.06)
        assert points[:, 1].max() == pytest.approx(heights.max(), abs=0.06)
        if length == 40:
            np.testing.assert_allclose(points[:, 1], heights, atol=0.06)
            scale = np.abs(explanation.relevance[sample]).max()
            expected = heatmap(relevance[np.newaxis], colours="blue-orange", scale=scale)
            assert np.abs(band.astype(int) - expected).max() <= 510 / 127 + 1


def test_every_input_that_is_explained_is_shown() -> None:
    nodes = [
        helper.make_node("Flatten", ["picture"], ["flat"], "flatten"),
        helper.make_node("Concat", ["flat", "numbers"], ["both"], "concat", axis=1),
        helper.make_node("MatMul", ["both", "w"], ["y"], "dense"),
    ]
    inputs = [
        helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 1, 6, 6]),
        helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", 3]),
    ]
    output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])]
    weights = [tensor("w", np.random.default_rng(7).normal(size=(39, 2)))]
    graph = helper.make_graph(nodes, "two", inputs, output, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    generator = np.random.default_rng(8)
    x = {"picture": generator.random((2, 1, 6, 6), np.float32), "numbers": generator.random((2, 3), np.float32)}
    explanation = graphlrp.load(model, "epsilon", ledger=True)(x)
    page = page_of(explanation)
    assert len(page.all("div", "maps")) == len(page.all("table", "bars")) == 2
    assert [heading.words for heading in page.all("h5")] == ["picture", "numbers"] * 2
    totals = [cell.only("dl", "numbers").numbers[1] for cell in page.all("section", "cell")]
    expected = [sum(float(r[sample].sum(dtype=np.float64)) for r in explanation.relevance.values()) for sample in range(2)]
    assert totals == expected


def test_pictures_may_differ_in_size(pictures: Pictures) -> None:
    parts = [pictures.explanations["epsilon"][0]] * 2
    generator = np.random.default_rng(9)
    shapes = ((16, 12), (70, 50))
    several = replace(
        parts[0],
        relevance=[generator.normal(size=(3, *shape)) for shape in shapes],
        inputs={"input": [generator.random((3, *shape)) for shape in shapes]},
        output=parts[0].output[:2],
        target=parts[0].target[:2],
        ledger=None,
        conservation_error=None,
    )
    page = page_of(several, longest=35)
    heats = [image for image in page.all("img", "levels") if "above" not in image.attributes["class"]]
    # The larger one is shown at half its size.
    assert [pixels(image.attributes["src"]).shape for image in heats] == [(16, 12, 3), (35, 25, 3)]
    assert "squares" in heats[0].attributes["class"]
    # Without a ledger nothing is said of what it would hold.
    assert "absorbed" not in page.only("main").words


def test_ledger_is_summed_up(pictures: Pictures) -> None:
    page = page_of({"epsilon-plus": pictures.explanations["epsilon-plus"][0]})
    explanation = pictures.explanations["epsilon-plus"][0]
    assert explanation.ledger is not None
    (row,) = rows_of(page, "Absorbed relevance by kind")
    start, total, bias, stabilizer, constant, dead, residual, error = row.numbers
    assert bias == pytest.approx(float(explanation.ledger.total("bias").mean()))
    assert start == pytest.approx(total + bias + stabilizer + constant + dead + residual)
    assert start == pytest.approx(float(np.mean(explanation.output[np.arange(3), explanation.target])), abs=1e-5)
    assert explanation.conservation_error is not None and error == float(explanation.conservation_error.max())
    (table,) = (t for t in page.all("table") if "nodes absorb" in t.only("caption").words)
    received, absorbed = np.array([row.numbers for row in table.only("tbody").all("tr")]).T
    assert (np.diff(np.abs(absorbed)) <= 0).all()
    name = table.only("tbody").all("tr")[0].only("th").words
    entry = max(explanation.ledger, key=lambda entry: abs(entry.absorbed.mean()))
    assert name == entry.name
    assert received[0] == pytest.approx(float(entry.relevance_in.mean()))
    assert not any("absorb" in t.only("caption").words for t in page_of(explanation, ledger=False).all("table"))


def test_a_page_of_fifty_photographs_stays_small() -> None:
    """Of five: what a sample takes, times fifty, for one composite; photographs and maps are smooth at the scale of pixels."""
    generator = np.random.default_rng(10)
    images = [gaussian_filter(generator.normal(size=(224, 224, 3)), (2, 2, 0)) for _ in range(5)]
    images = [np.rint(255 * (image - image.min()) / np.ptp(image)).astype(np.uint8) for image in images]
    maps = np.stack([gaussian_filter(generator.normal(size=(224, 224)), 1.0)[np.newaxis] for _ in range(5)])
    explanation = Explanation(maps, np.eye(5), np.arange(5), {}, None, None, {}, {"x": maps})
    html = Report("page").add(explanation, images=images).html()
    empty = Report("page").add({"a": {"b": np.ones(2)}}).html()
    assert 50 * (len(html) - len(empty)) / 5 < 15e6 / 2


def test_weights_and_single_outputs_are_named(pictures: Pictures) -> None:
    explainer = pictures.explainers["epsilon"]
    x = next(iter(pictures.explanations["epsilon"][0].inputs.values()))
    weights = np.array([1.0, -1.0, 0.0, 0.0], np.float32)
    explanation = explainer(x, weights)
    page = page_of(explanation)
    cell = page.all("section", "cell")[0]
    assert cell.only("h4").words == "weighted classes"
    expected = float(explanation.output[0].astype(np.float64) @ weights)
    assert cell.only("dl", "numbers").numbers[0] == pytest.approx(expected)
    contrast = graphlrp.load(residual_network(channels=3, size=16, classes=4), "epsilon", initial="contrastive")(x)
    sides = page_of(contrast).all("section", "cell")[0].only("div", "sides")
    assert "for" not in sides.words and "against" not in sides.words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ["one"]}, "1 sources for 3 samples"),
        ({"images": [np.zeros((16, 16, 3), np.uint8)]}, "1 images for 3 samples"),
        ({"most": 0}, "at least one feature"),
        ({"longest": 4}, "at least 8 pixels"),
        ({"nonsense": 1}, "unexpected keyword argument 'nonsense'"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(pictures: Pictures, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Report("page").add(pictures.explanations, **change)


def test_explanations_side_by_side_are_of_the_same_samples(pictures: Pictures) -> None:
    one, two = (pictures.explanations[name][0] for name in ("epsilon", "epsilon-plus"))
    fewer = replace(two, output=two.output[:2])
    for result, message in (
        ({"a": one, "b": fewer}, "must be of the same samples"),
        ({"a": one, "b": "nonsense"}, "not of str"),
        ({"a": [one], "b": []}, "at least one explanation"),
    ):
        with pytest.raises(InputError, match=message):
            Report("page").add(result)
    assert not [element for element in everything(page_of(one)) if element.tag == "h4" and not element.words]
