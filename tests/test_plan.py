"""The plan: its edges, its table in plain text and in colour, and what a saved explainer says of its nodes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto
from rich.console import Console

import graphlrp
from graphlrp.cli import main
from graphlrp.errors import InputError
from graphlrp.plan import UNCHANGED_COLOUR, Plan, PlanRow
from graphlrp.rules.composite import Composite
from graphlrp.rules.linear import Epsilon, Gamma, ZPlus
from graphlrp.rules.select import every, name
from tests.builders import residual_network
from tests.networks import Network

EDGES = [
    ("input", "conv1"),
    ("conv1", "relu1"),
    ("relu1", "conv2"),
    ("relu1", "shortcut"),
    ("conv2", "add"),
    ("shortcut", "add"),
    ("add", "relu2"),
    ("relu2", "pool"),
    ("pool", "average"),
    ("average", "flatten"),
    ("flatten", "dense"),
    ("dense", "scores"),
]


@pytest.fixture(scope="module")
def explainer() -> graphlrp.Explainer:
    return graphlrp.load(residual_network(), "epsilon-plus", ledger=True)


@pytest.fixture(scope="module")
def explanation(explainer: graphlrp.Explainer) -> graphlrp.Explanation:
    return explainer(np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32))


def of_rules(*rules: str) -> Plan:
    rows = [PlanRow(f"n{k}", "Gemm", "Gemm", "dense", rule) for k, rule in enumerate(rules)]
    return Plan("composite", ["x"], "y", {}, [], [], rows=rows)


def printed(plan: Plan, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    console.print(plan)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# Edges


def test_edges_lead_from_the_input_to_the_output(explainer: graphlrp.Explainer) -> None:
    plan = explainer.plan
    assert plan.edges == EDGES
    order = {name: index for index, name in enumerate(["input", *(row.node for row in plan.rows), "scores"])}
    assert all(order[source] < order[target] for source, target in plan.edges)


def test_edges_end_at_inner_values_that_are_explained() -> None:
    plan = graphlrp.load(residual_network(), explain="r1", output="g").plan
    assert (plan.edges[0], plan.edges[-1]) == (("r1", "conv2"), ("average", "g"))


def test_values_are_told_apart_from_nodes_of_the_same_name() -> None:
    network = Network(TensorProto.FLOAT, x=["N", 4])
    first = network("Relu", network("Gemm", "x", np.eye(4), name="one", result="two"), name="two", result="three")
    model = network.model(network("Gemm", first, np.eye(4), name="three", result="end"))
    plan = graphlrp.load(model, explain="two", output="three").plan
    assert (plan.sources, plan.sink) == (["two (input)"], "three")
    assert plan.edges == [("two (input)", "two"), ("two", "three")]
    plan = graphlrp.load(model, output="two").plan
    assert plan.edges == [("x", "one"), ("one", "two")]


def test_a_value_that_is_used_twice_has_one_edge() -> None:
    network = Network(TensorProto.FLOAT, x=["N", 4], unused=["N", 4])
    plan = graphlrp.load(network.model(network("Mul", "x", "x", name="square")), explain=["x", "unused"]).plan
    assert plan.edges == [("x", "square"), ("square", "square:0")]
    assert plan.sources == ["x", "unused"]


# Tables


def test_json_has_rows_and_edges(explainer: graphlrp.Explainer) -> None:
    data = json.loads(explainer.plan.json())
    assert data["edges"] == [list(edge) for edge in EDGES]
    assert [row["node"] for row in data["rows"]] == [row.node for row in explainer.plan.rows]


def test_plain_text_has_no_colours(explainer: graphlrp.Explainer) -> None:
    lines = str(explainer.plan).splitlines()
    assert lines[0] == "explains   scores in terms of input"
    assert lines[1].startswith("composite  epsilon-plus: ")
    assert "\x1b" not in str(explainer.plan)
    assert [line.split()[0] for line in lines[-len(explainer.plan.rows) :]] == [row.node for row in explainer.plan.rows]


def test_terminals_show_rules_in_the_colours_of_the_picture(explainer: graphlrp.Explainer) -> None:
    plan = explainer.plan
    text = printed(plan)
    for row in plan.rows:
        line = next(line for line in text.splitlines() if line.startswith(row.node + " "))
        red, green, blue = bytes.fromhex(plan.colours[row.rule][1:])
        assert f"48;2;{red};{green};{blue}m{row.rule}" in line
        assert row.operator in line
        assert row.mapping in line
        assert row.notes in line
    for word in ("explains", "policies", "pass", "removed", "verified"):
        assert word in text


def test_names_are_never_cut_off_or_read_as_markup() -> None:
    plan = of_rules("Epsilon()")
    plan.rows[0] = PlanRow("layer[bold]/" + "q" * 60, "Gemm", "Gemm", "dense", "Epsilon()")
    assert "layer[bold]/" in printed(plan)
    assert printed(plan, width=60).count("q") == 60


def test_colours_tell_rules_apart() -> None:
    rules = ["Epsilon(epsilon=1e-06)", "(pass)", "(copy back)", "ZPlus()", "Epsilon(epsilon=0.25)", "Mine()"]
    rules += [f"Gamma(gamma={k})" for k in range(20)]
    colours = of_rules(*rules, "ZPlus()").colours
    assert list(colours) == rules
    assert colours["(pass)"] == colours["(copy back)"] == UNCHANGED_COLOUR
    assert len(set(colours.values())) == len(rules) - 1
    for colour in colours.values():
        red, green, blue = bytes.fromhex(colour[1:])
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue > 140, f"dark text is hard to read on {colour}"


def test_a_rule_has_the_same_colour_in_every_plan() -> None:
    assert of_rules("Flat()", "ZPlus()").colours["ZPlus()"] == of_rules("Mine()", "ZPlus()").colours["ZPlus()"]


# The ledger of a plan


def test_an_explanation_needs_a_ledger(explainer: graphlrp.Explainer) -> None:
    without = graphlrp.load(residual_network(), "epsilon-plus")(np.zeros((1, 2, 8, 8), np.float32))
    with pytest.raises(InputError, match="ledger=True"):
        explainer.plan.ledger_of(without)


def test_an_explanation_of_another_plan_is_refused(explainer: graphlrp.Explainer, explanation: graphlrp.Explanation) -> None:
    other = graphlrp.load(residual_network(), Composite([(name("conv2"), Gamma(0.5)), (every(), ZPlus())], "other"))
    with pytest.raises(InputError, match=r"not made by this plan.*'dense' with Epsilon.*the plan has ZPlus"):
        other.plan.ledger_of(explanation)
    part = graphlrp.load(residual_network(), "epsilon-plus", output="g")
    with pytest.raises(InputError, match=r"'dense'.*which is not in the plan"):
        part.plan.ledger_of(explanation)
    assert explainer.plan.ledger_of(explanation) is explanation.ledger


# The saved model


def metadata(model: onnx.ModelProto) -> dict[str, dict[str, str]]:
    return {node.name: {entry.key: entry.value for entry in node.metadata_props} for node in model.graph.node}


def test_saved_nodes_carry_their_rules(explainer: graphlrp.Explainer, tmp_path: Path) -> None:
    explainer.save(tmp_path / "e.onnx")
    saved = metadata(onnx.load(tmp_path / "e.onnx"))
    for row in explainer.plan.rows:
        assert saved[row.node] == {"graphlrp.rule": row.rule}


@pytest.mark.parametrize("target", ["index", "weights"])
def test_saved_nodes_carry_relevance(
    explainer: graphlrp.Explainer, explanation: graphlrp.Explanation, tmp_path: Path, target: str
) -> None:
    explainer.save(tmp_path / "e.onnx", target=target, explanation=explanation)
    onnx.checker.check_model(str(tmp_path / "e.onnx"), full_check=True)
    saved = metadata(onnx.load(tmp_path / "e.onnx"))
    assert explanation.ledger is not None
    for entry in explanation.ledger:
        properties = saved[entry.name]
        assert properties["graphlrp.rule"] == entry.rule
        assert float(properties["graphlrp.relevance_in"]) == pytest.approx(entry.relevance_in.mean(), rel=1e-3)
        assert float(properties["graphlrp.relevance_out"]) == pytest.approx(entry.relevance_out.mean(), rel=1e-3, abs=1e-12)
        parts = dict(part.rsplit(" ", 1) for part in properties["graphlrp.absorbed"].split(", ") if part != "nothing")
        for kind in ("bias", "stabilizer", "constant", "dead", "residual"):
            mean = np.mean(getattr(entry, kind), dtype=np.float64)
            assert (kind in parts) == (mean != 0)
            assert float(parts.get(kind, 0)) == pytest.approx(mean, rel=1e-3)
    inner = [properties for properties in saved.values() if "graphlrp.node" in properties]
    assert inner
    assert not any("graphlrp.relevance_in" in properties for properties in inner)


def test_notes_of_relevance_change_no_result(
    explainer: graphlrp.Explainer, explanation: graphlrp.Explanation, tmp_path: Path
) -> None:
    explainer.save(tmp_path / "e.onnx", explanation=explanation)
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    (relevance,) = session.run(["relevance"], {**explanation.inputs, "target": np.full(3, -1)})
    np.testing.assert_allclose(relevance, explanation.relevance, rtol=1e-5, atol=1e-7)


def test_a_model_is_not_saved_with_an_explanation_that_has_no_ledger(tmp_path: Path) -> None:
    explainer = graphlrp.load(residual_network(), Epsilon())
    explanation = explainer(np.zeros((1, 2, 8, 8), np.float32))
    with pytest.raises(InputError, match="ledger=True"):
        explainer.save(tmp_path / "e.onnx", explanation=explanation)
    assert not list(tmp_path.iterdir())


# The command line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(residual_network(), tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_prints_plain_text_into_pipes_and_colours_on_terminals(folder: Path) -> None:
    plain = CliRunner().invoke(main, ["plan", "model.onnx"])
    assert plain.exit_code == 0
    assert "\x1b" not in plain.output
    assert "---  ---" in plain.output.replace("-" * 4, "---")
    coloured = CliRunner().invoke(main, ["plan", "model.onnx"], env={"FORCE_COLOR": "1", "COLUMNS": "150"})
    assert "\x1b[" in coloured.output
    assert "─" in coloured.output


@pytest.mark.parametrize(("name", "start"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml"), ("deep/p.PDF", b"%PDF")])
def test_the_command_draws(folder: Path, name: str, start: bytes) -> None:
    result = CliRunner().invoke(main, ["plan", "model.onnx", "-o", name])
    assert result.exit_code == 0, result.output
    assert f"wrote {name}" in result.output
    assert (folder / name).read_bytes().startswith(start)


def test_json_stays_json_when_a_picture_is_drawn(folder: Path) -> None:
    result = CliRunner().invoke(main, ["plan", "model.onnx", "--json", "-o", "p.png"])
    assert json.loads(result.stdout)["edges"][0] == ["input", "conv1"]
    assert (folder / "p.png").exists()


def test_the_command_refuses_other_kinds_of_pictures(folder: Path) -> None:
    result = CliRunner().invoke(main, ["plan", "model.onnx", "-o", "p.jpeg"])
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "png, svg, pdf" in result.output
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
