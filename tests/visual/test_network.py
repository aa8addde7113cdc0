"""The picture of a plan: everything has its box and its line, nothing overlaps, numbers are those of the ledger."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox

import graphlrp
from graphlrp.errors import InputError
from graphlrp.plan import Plan, PlanRow
from graphlrp.visual import network_figure, save_network
from graphlrp.visual.network import NEGATIVE, POSITIVE, Account
from graphlrp.visual.typesetting import number
from tests.builders import residual_network

# Plans of networks of all shapes


class Sketch:
    """Rows and edges of a plan: ``sketch("Conv", "x")`` adds a mapping that reads ``x`` and returns its name."""

    def __init__(self) -> None:
        self.rows: list[PlanRow] = []
        self.edges: list[tuple[str, str]] = []

    def __call__(self, operator: str, *inputs: str) -> str:
        node = f"/model/stage_{len(self.rows) // 10}/a_block_with_a_long_name/{operator}_{len(self.rows)}"
        rule = {"Conv": "ZPlus()", "Gemm": "Epsilon(epsilon=1e-06)", "Add": "(z-rule over inputs)"}.get(operator, "(pass)")
        self.rows.append(PlanRow(node, operator, operator, "", rule))
        self.edges += [(source, node) for source in inputs]
        return node

    def plan(self, output: str, *inputs: str) -> Plan:
        edges = [*self.edges, (output, "f")]
        return Plan("a composite", list(inputs or ["x"]), "f", {}, [], [], rows=self.rows, edges=edges)


def chain(length: int) -> Plan:
    sketch, x = Sketch(), "x"
    for _ in range(length):
        x = sketch("Gemm", x)
    return sketch.plan(x)


def residual(blocks: int) -> Plan:
    sketch = Sketch()
    x = sketch("Conv", "x")
    for block in range(blocks):
        y = sketch("Conv", sketch("Relu", sketch("Conv", x)))
        x = sketch("Relu", sketch("Add", y, x if block % 3 else sketch("Conv", x)))
    return sketch.plan(sketch("Gemm", x))


def dense(layers: int) -> Plan:
    """Every layer reads all layers before it."""
    sketch = Sketch()
    features = [sketch("Conv", "x")]
    for _ in range(layers):
        features.append(sketch("Conv", sketch("Relu", sketch("Concat", *features))))
    return sketch.plan(sketch("Gemm", sketch("Concat", *features)))


def hourglass(depth: int) -> Plan:
    sketch, x, skips = Sketch(), "x", []
    for _ in range(depth):
        x = sketch("Relu", sketch("Conv", x))
        skips.append(x)
        x = sketch("MaxPool", x)
    for skip in reversed(skips):
        x = sketch("Conv", sketch("Concat", sketch("Resize", x), skip))
    return sketch.plan(x)


def branches() -> Plan:
    sketch = Sketch()
    x = sketch("Conv", "x")
    for _ in range(4):
        longest = sketch("Conv", sketch("Conv", sketch("Conv", x)))
        x = sketch("Concat", sketch("Conv", x), sketch("Conv", sketch("Conv", x)), longest, sketch("MaxPool", x), x)
    return sketch.plan(sketch("Gemm", x))


def several_inputs() -> Plan:
    sketch = Sketch()
    x = sketch("Relu", sketch("Gemm", sketch("Relu", sketch("Gemm", "a"))))
    return sketch.plan(sketch("Add", sketch("Concat", x, "b"), "c"), "a", "b", "c", "nobody reads it")


def random_graph(seed: int) -> Plan:
    generator, sketch, names = np.random.default_rng(seed), Sketch(), ["x"]
    for _ in range(40):
        count = min(len(names), 1 + generator.poisson(0.6))
        names.append(sketch("Conv", *generator.choice(names[-9:] if count < 3 else names, count, replace=False)))
    read = {source for source, _ in sketch.edges}
    return sketch.plan(sketch("Concat", *(name for name in names if name not in read)))


PLANS: dict[str, Callable[[], Plan]] = {
    "one": lambda: chain(1),
    "chain": lambda: chain(7),
    "tall": lambda: chain(90),
    "residual": lambda: residual(9),
    "dense": lambda: dense(12),
    "hourglass": lambda: hourglass(7),
    "branches": branches,
    "several inputs": several_inputs,
    **{f"random {seed}": lambda seed=seed: random_graph(seed) for seed in range(4)},  # type: ignore[misc]
}


@pytest.fixture(scope="module", params=list(PLANS))
def drawn(request: pytest.FixtureRequest) -> tuple[Plan, Figure]:
    plan = PLANS[request.param]()
    return plan, network_figure(plan)


@pytest.fixture(scope="module")
def explainer() -> graphlrp.Explainer:
    return graphlrp.load(residual_network(), "epsilon-plus", ledger=True)


@pytest.fixture(scope="module")
def explanation(explainer: graphlrp.Explainer) -> graphlrp.Explanation:
    return explainer(np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32))


# What is on a figure


def shapes(figure: Figure, kind: str) -> dict[str, Patch]:
    """The patches whose identifiers begin so, by the rest of it."""
    patches = [(str(patch.get_gid()), patch) for axes in figure.axes for patch in axes.patches]
    return {gid.removeprefix(f"{kind} "): patch for gid, patch in patches if gid.startswith(f"{kind} ")}


def boxes(figure: Figure) -> dict[str, Bbox]:
    return {name: patch.get_window_extent() for name, patch in shapes(figure, "node").items()}


def polyline(patch: Patch) -> np.ndarray:
    """Points on a line, a pixel apart or so."""
    (corners,) = patch.get_transform().transform_path(patch.get_path()).to_polygons(closed_only=False)
    pieces = [np.linspace(a, b, 2 + int(np.hypot(*(b - a)))) for a, b in itertools.pairwise(corners)]
    return np.concatenate(pieces)


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    renderer = FigureCanvasAgg(figure).get_renderer()
    return [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts if text.get_text().strip()]


def within(inner: Bbox, outer: Bbox, slack: float = 1.0) -> bool:
    grown = outer.padded(slack)
    return grown.x0 <= inner.x0 and grown.y0 <= inner.y0 and grown.x1 >= inner.x1 and grown.y1 >= inner.y1


def texts_in(figure: Figure, name: str) -> list[str]:
    box = boxes(figure)[name]
    return [text for text, extent in texts(figure) if within(extent, box)]


def overlap(first: Bbox, second: Bbox) -> bool:
    return bool(
        min(first.x1, second.x1) - max(first.x0, second.x0) > 0.5 and min(first.y1, second.y1) - max(first.y0, second.y0) > 0.5
    )


# The drawing


def test_everything_has_a_box_in_the_colour_of_its_rule(drawn: tuple[Plan, Figure]) -> None:
    plan, figure = drawn
    patches = shapes(figure, "node")
    assert set(patches) == {*plan.sources, *(row.node for row in plan.rows), plan.sink}
    for row in plan.rows:
        assert to_hex(patches[row.node].get_facecolor()) == plan.colours[row.rule]


def test_nothing_overlaps_and_nothing_is_cut_off(drawn: tuple[Plan, Figure]) -> None:
    _, figure = drawn
    extents = list(boxes(figure).values())
    assert all(within(box, figure.bbox, 0.0) for box in extents)
    assert not any(overlap(a, b) for a, b in itertools.combinations(extents, 2))
    written = texts(figure)
    for text, extent in written:
        assert within(extent, figure.bbox, 0.0), f"{text!r} is cut off"
        holders = [box for box in extents if overlap(extent, box)]
        assert all(within(extent, box) for box in holders), f"{text!r} sticks out of its box"
    for (a, first), (b, second) in itertools.combinations(written, 2):
        assert not overlap(first, second), f"{a!r} and {b!r} overlap"


def test_boxes_name_operator_and_node(drawn: tuple[Plan, Figure]) -> None:
    plan, figure = drawn
    for row in plan.rows[:: max(1, len(plan.rows) // 5)]:
        operator, name = texts_in(figure, row.node)
        assert operator == row.operator
        head, _, tail = name.partition("…")
        assert row.node.startswith(head)
        assert row.node.endswith(tail)
        assert name.rpartition("_")[2] == row.node.rpartition("_")[2], "the number at the end tells nodes apart"


def test_lines_lead_from_box_to_box_and_run_through_none(drawn: tuple[Plan, Figure]) -> None:
    plan, figure = drawn
    places = boxes(figure)
    lines = {name: polyline(patch) for name, patch in shapes(figure, "edge").items()}
    assert set(lines) == {f"{source} -> {target}" for source, target in plan.edges}
    for source, target in plan.edges:
        line = lines[f"{source} -> {target}"]
        assert line[:, 0].min() >= 0
        assert line[:, 0].max() <= figure.bbox.x1
        assert line[:, 1].min() >= 0
        assert line[:, 1].max() <= figure.bbox.y1
        begin, end = line[0], line[-1]
        box = places[target]
        assert box.x0 < end[0] < box.x1
        assert end[1] == pytest.approx(box.y1, abs=1)
        box = places[source]
        others = np.concatenate([lines[f"{a} -> {b}"] for a, b in plan.edges if a == source and b != target] or [line[:0]])
        from_box = box.x0 < begin[0] < box.x1 and abs(begin[1] - box.y0) < 1
        from_lane = len(others) > 0 and np.hypot(*(others - begin).T).min() < 1.5
        assert from_box or from_lane
        for name, box in places.items():
            inside = box.padded(-1.5)
            hit = (line[:, 0] > inside.x0) & (line[:, 0] < inside.x1) & (line[:, 1] > inside.y0) & (line[:, 1] < inside.y1)
            assert not hit.any(), f"the line {source} -> {target} runs through {name}"


def test_data_flows_from_top_to_bottom() -> None:
    plan = residual(2)
    places = boxes(network_figure(plan))
    assert all(places[source].y0 > places[target].y1 for source, target in plan.edges)


def test_tall_networks_stand_in_columns() -> None:
    low, high = network_figure(chain(8)), network_figure(chain(150))
    assert len({round(box.x0) for box in boxes(low).values()}) == 1
    assert len({round(box.x0) for box in boxes(high).values()}) > 3
    width, height = high.get_size_inches()
    assert 0.5 < width / height < 2


def test_chains_are_straight() -> None:
    """Skips are led round the longest path, which keeps its place."""
    plan = residual(3)
    places = boxes(network_figure(plan))
    shortcuts = {b for a, b in plan.edges if sum(a == source for source, _ in plan.edges) > 1}
    spine = {round(box.x0) for name, box in places.items() if name not in shortcuts}
    columns = 1 + sum(places[a].y0 < places[b].y0 for a, b in plan.edges)
    assert len(spine) == columns


def test_the_legend_names_every_rule() -> None:
    plan = residual(4)
    legend = [text for text, _ in texts(network_figure(plan))]
    for rule in plan.colours:
        assert rule in legend


def test_names_are_taken_literally() -> None:
    plan = chain(1)
    plan.rows[0] = PlanRow("$x_1$ \\alpha [b]", "com.acme.$op$", "Mine", "", "Epsilon()")
    plan.edges = [("x", plan.rows[0].node), (plan.rows[0].node, "f")]
    assert texts_in(network_figure(plan), plan.rows[0].node) == ["com.acme.$op$", "$x_1$ \\alpha [b]"]


# Relevance


@pytest.mark.parametrize("sample", [None, 1])
def test_boxes_show_what_the_ledger_says(
    explainer: graphlrp.Explainer, explanation: graphlrp.Explanation, sample: int | None
) -> None:
    figure = explainer.plan.plot(explanation, sample)
    ledger = explanation.ledger
    assert ledger is not None

    def value(array: np.ndarray) -> float:
        return float(array.astype(np.float64).mean() if sample is None else array[sample])

    expected = {entry.name: value(entry.relevance_in) for entry in ledger}
    expected["input"] = value(explanation.relevance.sum(axis=(1, 2, 3)))
    expected["scores"] = value(explanation.output[np.arange(3), explanation.target])
    bars = [patch for patch in figure.axes[0].patches if to_hex(patch.get_facecolor()) in (POSITIVE, NEGATIVE)]
    largest, longest = max(map(abs, expected.values())), 0.0
    lengths = {}
    for name, relevance in expected.items():
        assert f"R {number(relevance)}" in texts_in(figure, name)
        box = boxes(figure)[name]
        (bar,) = (bar for bar in bars if within(bar.get_window_extent(), box))
        assert to_hex(bar.get_facecolor()) == (POSITIVE if relevance > 0 else NEGATIVE)
        lengths[name] = bar.get_window_extent().width
        longest = max(longest, lengths[name])
    for name, relevance in expected.items():
        assert lengths[name] / longest == pytest.approx(abs(relevance) / largest, abs=0.01)


@pytest.mark.parametrize("sample", [None, 0, 2])
def test_boxes_say_what_they_absorbed(
    explainer: graphlrp.Explainer, explanation: graphlrp.Explanation, sample: int | None
) -> None:
    figure = explainer.plan.plot(explanation, sample)
    assert explanation.ledger is not None
    marked = 0
    for entry in explanation.ledger:
        pick = np.mean if sample is None else lambda array: array[sample]
        large = {
            kind: pick(getattr(entry, kind)) / pick(entry.relevance_in)
            for kind in ("bias", "stabilizer", "constant", "dead", "residual")
            if abs(pick(getattr(entry, kind))) > 0.1 * abs(pick(entry.relevance_in))
        }
        shown = texts_in(figure, entry.name)[3:]
        assert bool(shown) == bool(large)
        if large:
            largest = max(large, key=lambda kind: abs(large[kind]))
            assert shown[0].startswith(f"{largest} ")
            marked += 1
    assert marked


def test_marks() -> None:
    assert Account(2.0, {"bias": 0.1, "dead": 0.0}).mark() == ""
    assert Account(2.0, {"bias": 0.5, "stabilizer": 0.3, "dead": -1.0}).mark() == "dead −50 %, bias 25 %, stabilizer 15 %"
    assert Account(-2.0, {"bias": -0.5}).mark() == "bias 25 %"
    assert Account(0.0, {"bias": 0.5, "dead": 0.0}).mark() == "bias > 1000 %"
    assert Account(0.0, {"bias": 1e-9}).mark(1e-8) == ""


def test_with_relevance_nothing_overlaps_either(explainer: graphlrp.Explainer, explanation: graphlrp.Explanation) -> None:
    test_nothing_overlaps_and_nothing_is_cut_off((explainer.plan, explainer.plan.plot(explanation)))


def test_several_explained_inputs_have_their_own_relevance() -> None:
    explainer = graphlrp.load(residual_network(), "epsilon", explain=["n2", "n3"], ledger=True)
    explanation = explainer(np.random.default_rng(0).normal(size=(2, 2, 8, 8)).astype(np.float32))
    figure = explainer.plan.plot(explanation)
    for name, relevance in explanation.relevance.items():
        assert f"R {number(relevance.astype(np.float64).sum() / 2)}" in texts_in(figure, name)


def test_bad_input(explainer: graphlrp.Explainer, explanation: graphlrp.Explanation, tmp_path: Path) -> None:
    without = graphlrp.load(residual_network(), "epsilon-plus")(np.zeros((1, 2, 8, 8), np.float32))
    with pytest.raises(InputError, match="ledger=True"):
        explainer.plan.plot(without)
    with pytest.raises(InputError, match="not made by this plan"):
        graphlrp.load(residual_network(), "epsilon").plan.plot(explanation)
    for sample in (3, -1):
        with pytest.raises(InputError, match=f"no sample {sample}: the explanation has 3"):
            explainer.plan.plot(explanation, sample)
    with pytest.raises(InputError, match=r"png, svg, pdf; 'plan\.gif'"):
        explainer.plan.save_image(tmp_path / "plan.gif")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        explainer.plan.save_image(tmp_path / "file" / "plan.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_plan_gives_the_same_file(
    explainer: graphlrp.Explainer, explanation: graphlrp.Explanation, tmp_path: Path, suffix: str
) -> None:
    first, second = tmp_path / f"first.{suffix}", tmp_path / "folder" / f"second.{suffix}"
    explainer.plan.save_image(first, explanation)
    assert save_network(second, explainer.plan, explanation, dpi=200) == second
    assert first.read_bytes() == second.read_bytes()
