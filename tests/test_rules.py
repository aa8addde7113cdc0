"""Selectors, composites and presets: places are told by data flow, precedence by order, misuse by an error."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import graphlrp
from graphlrp import AlphaBeta, Composite, Epsilon, Flat, Gamma, Pass, RuleError, WSquare, ZBounds, ZPlus, select
from tests.networks import Network

Array = np.ndarray


def normal(*shape: int) -> Array:
    return np.random.default_rng([1, len(shape), *shape]).normal(size=shape)


def branched() -> onnx.ModelProto:
    """Two branches of different length; nodes are listed so that order says nothing.

    x ─ wide ────────────────────────── join ─ relu2 ─ pool ─ flat ─ hidden ─ relu3 ─ score
      └ narrow ─ relu1 ─ deep ─────────┘
    """
    network = Network(x=["N", 2, 4, 4])
    narrow = network("Conv", "x", normal(3, 2, 1, 1), normal(3), name="block/narrow")
    rectified = network("Relu", narrow, name="relu1")
    deep = network("Conv", rectified, normal(3, 3, 3, 3), pads=[1, 1, 1, 1], name="block/deep")
    wide = network("Conv", "x", normal(3, 2, 3, 3), pads=[1, 1, 1, 1], name="wide")
    join = network("Add", wide, deep, name="join")
    pooled = network("AveragePool", network("Relu", join, name="relu2"), kernel_shape=[2, 2], strides=[2, 2], name="pool")
    hidden = network("Gemm", network("Flatten", pooled, name="flat"), normal(12, 5), normal(5), name="hidden")
    score = network("Gemm", network("Relu", hidden, name="relu3"), normal(5, 3), name="score")
    return network.model(score)


MODEL = branched()
LINEAR = {"block/narrow", "block/deep", "wide", "pool", "hidden", "score"}
FIRST = {"block/narrow", "wide"}


def rules_of(composite: Composite | str, **options: object) -> dict[str, str]:
    """The rule of every linear mapping, as the plan shows it."""
    plan = graphlrp.load(MODEL, composite, **options).plan  # type: ignore[arg-type]
    return {row.node: row.rule for row in plan.rows if row.node in LINEAR}


def chosen(selector: select.Selector) -> set[str]:
    """Linear mappings that a selector picks."""
    return {name for name, rule in rules_of(Composite([(selector, Flat())])).items() if rule == "Flat()"}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (select.every(), LINEAR),
        (select.first(), FIRST),
        (select.last(), {"score"}),
        (select.depth(1), LINEAR - FIRST),
        (select.depth(1, 1), {"block/deep"}),
        (select.depth(2, 3), {"pool", "hidden"}),
        (select.height(0, 1), {"score", "hidden"}),
        (select.height(3), {"block/narrow", "block/deep", "wide"}),
        (select.height(4), {"block/narrow"}),
        (select.up_to("relu1"), {"block/narrow"}),
        (select.up_to("block/deep"), {"block/narrow", "block/deep"}),
        (select.up_to("join"), {"block/narrow", "block/deep", "wide"}),
        (select.up_to("score"), LINEAR),
        (select.name("block/*"), {"block/narrow", "block/deep"}),
        (select.name("*d*e*", "score"), {"block/deep", "wide", "hidden", "score"} - {"block/narrow"}),
        (select.operator("Gemm"), {"hidden", "score"}),
        (select.operator("Conv", "AveragePool"), LINEAR - {"hidden", "score"}),
        (select.family("convolution"), {"block/narrow", "block/deep", "wide"}),
        (select.family("dense", "pooling"), {"pool", "hidden", "score"}),
        (select.first() & ~select.name("wide"), {"block/narrow"}),
        (select.last() | select.family("pooling"), {"score", "pool"}),
        (~select.first() & select.family("convolution"), {"block/deep"}),
        (select.predicate(lambda place: place.height == 1), {"hidden"}),
    ],
    ids=lambda value: str(value) if isinstance(value, select.Selector) else "",
)
def test_selectors(selector: select.Selector, expected: set[str]) -> None:
    assert chosen(selector) == expected


def test_places_are_relative_to_what_is_explained() -> None:
    composite = Composite([(select.first(), Flat()), (select.last(), WSquare())])
    rules = rules_of(composite, explain="relu1:0", output="hidden:0")
    assert rules == {
        "block/deep": "Flat()",
        "pool": "(ε rule, ε = 1e-6: share by activation (2.10))",
        "hidden": "WSquare()",
    }


def test_the_first_pair_that_fits_wins() -> None:
    pairs = [(select.name("wide"), WSquare()), (select.first(), Flat()), (select.family("convolution"), ZPlus())]
    rules = rules_of(Composite([*pairs, (select.every(), Epsilon(0.5))]))
    assert rules == {
        "wide": "WSquare()",
        "block/narrow": "Flat()",
        "block/deep": "ZPlus()",
        "pool": "Epsilon(epsilon=0.5)",
        "hidden": "Epsilon(epsilon=0.5)",
        "score": "Epsilon(epsilon=0.5)",
    }
    before = Composite([(select.every(), Epsilon(0.5))]).before(*pairs, name="mine")
    assert before.name == "mine"
    assert rules_of(before) == rules


def test_mappings_that_no_pair_fits_use_their_own_messages() -> None:
    plan = graphlrp.load(MODEL, Composite([(select.last(), Flat())])).plan
    rules = {row.node: row.rule for row in plan.rows}
    assert rules["relu1"] == "(pass)"
    assert rules["join"] == "(z-rule over inputs, ε = 1e-6)"
    assert rules["score"] == "Flat()"
    assert rules["wide"] == "(ε rule, ε = 1e-6)"


def test_one_rule_is_a_composite_of_every_mapping() -> None:
    assert rules_of(Gamma(0.5)) == dict.fromkeys(LINEAR, "Gamma(gamma=0.5)")


@pytest.mark.parametrize(
    ("selector", "rule", "node"),
    [
        (select.operator("Relu"), Epsilon(), "relu1"),
        (select.family("merge"), Flat(), "join"),
        (select.family("activation") & select.name("relu3"), ZPlus(), "relu3"),
        (select.operator("Flatten") | select.family("merge"), AlphaBeta(), "join"),
    ],
    ids=str,
)
def test_explicit_selectors_refuse_rules_that_do_not_fit(selector: select.Selector, rule: graphlrp.Rule, node: str) -> None:
    with pytest.raises(RuleError, match=node) as caught:
        graphlrp.load(MODEL, Composite([(selector, rule)], "mine"))
    assert "'mine'" in str(caught.value)
    assert str(rule) in str(caught.value)


def test_pass_where_shapes_differ_is_refused() -> None:
    with pytest.raises(RuleError, match=r"'pool'.*Pass needs an output shaped like the input"):
        graphlrp.load(MODEL, Composite([(select.name("pool"), Pass())]))


@pytest.mark.parametrize("make", [select.operator, select.family, select.name])
def test_selectors_need_names(make: object) -> None:
    with pytest.raises(RuleError, match="at least one"):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("entry", [Epsilon(), (Epsilon(), select.every()), ("Conv", Epsilon()), (select.every(), "epsilon")])
def test_entries_are_pairs_of_a_selector_and_a_rule(entry: object) -> None:
    with pytest.raises(RuleError, match=r"\(selector, rule\) pairs"):
        Composite([entry])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("rule", "parameters", "message"),
    [
        (Epsilon, {"epsilon": -1e-3}, "epsilon must be a number >= 0"),
        (Epsilon, {"epsilon": float("nan")}, "epsilon must be a number >= 0"),
        (AlphaBeta, {"alpha": 0.5}, "alpha must be a number >= 1"),
        (AlphaBeta, {"alpha": float("inf")}, "alpha must be a number >= 1"),
        (Gamma, {"gamma": -0.1}, "gamma must be a number >= 0"),
        (ZBounds, {"low": 1.0, "high": 1.0}, "low must be below high"),
        (ZBounds, {"low": (0.0, 2.0), "high": (1.0, 1.5)}, "low must be below high"),
        (ZBounds, {"low": (0.0, 0.0, 0.0), "high": (1.0, 1.0)}, "same number of channels"),
    ],
    ids=str,
)
def test_parameters_of_rules_are_checked(rule: type[graphlrp.Rule], parameters: dict[str, object], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        rule(**parameters)


def test_as_many_bounds_as_channels() -> None:
    with pytest.raises(RuleError, match="3 bounds for 2 channels of 'x'"):
        graphlrp.load(MODEL, graphlrp.composite("epsilon-gamma-box", low=(-1.0,) * 3, high=(1.0,) * 3))


EPSILON = dict.fromkeys(LINEAR, "Epsilon(epsilon=1e-06)")
CONVOLUTIONS = {"block/narrow", "block/deep", "wide"}


@pytest.mark.parametrize(
    ("name", "parameters", "differences"),
    [
        ("epsilon", {"epsilon": 0.5}, dict.fromkeys(LINEAR, "Epsilon(epsilon=0.5)")),
        ("epsilon-plus", {}, dict.fromkeys(CONVOLUTIONS, "ZPlus()")),
        ("epsilon-plus-flat", {}, {"block/deep": "ZPlus()"} | dict.fromkeys(FIRST, "Flat()")),
        ("epsilon-plus-flat", {"up_to": "join"}, dict.fromkeys(CONVOLUTIONS, "Flat()")),
        (
            "epsilon-alpha2beta1",
            {"epsilon": 1e-6},
            dict.fromkeys(CONVOLUTIONS, "AlphaBeta(alpha=2, renormalize=False)"),
        ),
        (
            "epsilon-alpha2beta1-flat",
            {},
            dict.fromkeys(LINEAR, "Epsilon(epsilon=0.01)")
            | {"block/deep": "AlphaBeta(alpha=2, renormalize=False)"}
            | dict.fromkeys(FIRST, "Flat()"),
        ),
        (
            "epsilon-gamma-box",
            {"low": -2.0, "high": 3.0},
            {"block/deep": "Gamma(gamma=0.25)"} | dict.fromkeys(FIRST, "ZBounds(low=-2, high=3)"),
        ),
        ("attnlrp", {}, {}),
        ("attnlrp", {"gamma": 0.1}, dict.fromkeys(CONVOLUTIONS, "Gamma(gamma=0.1)")),
        ("deep-taylor", {}, dict.fromkeys(LINEAR, "ZPlus()") | dict.fromkeys(FIRST, "WSquare()")),
        (
            "deep-taylor",
            {"low": 0.0, "high": 1.0},
            dict.fromkeys(LINEAR, "ZPlus()") | dict.fromkeys(FIRST, "ZBounds(low=0, high=1)"),
        ),
        ("excitation-backprop", {}, dict.fromkeys(LINEAR, "ZPlus()")),
        ("gradient", {}, dict.fromkeys(LINEAR, "Gradient()")),
        ("gradient-x-input", {}, dict.fromkeys(LINEAR, "Gradient()")),
        ("deconvolution", {}, dict.fromkeys(LINEAR, "Deconvolution()")),
        ("guided-backprop", {}, dict.fromkeys(LINEAR, "GuidedBackprop()")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_presets(name: str, parameters: dict[str, object], differences: dict[str, str]) -> None:
    composite = graphlrp.composite(name, **parameters)
    assert composite.name == name
    assert rules_of(composite) == EPSILON | differences


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda net: net("Gemm", "x", normal(4, 3)), "epsilon:"),
        (
            lambda net: net("Flatten", net("Conv", net("Reshape", "x", np.array([0, 1, 4])), normal(2, 1, 3))),
            "epsilon-plus-flat:",
        ),
        (lambda net: net("Gemm", net("Softmax", "x"), normal(4, 3)), "attnlrp:"),
    ],
    ids=["dense", "convolution", "attention"],
)
def test_auto_chooses_by_the_graph(build: object, expected: str) -> None:
    network = Network(x=["N", 4])
    plan = graphlrp.load(network.model(build(network))).plan  # type: ignore[operator]
    assert plan.composite.startswith(expected)
    assert "auto" in plan.composite


def test_unknown_presets_and_parameters() -> None:
    with pytest.raises(RuleError, match=r"unknown composite 'epsilon-pluss'; there are auto, attnlrp, .*epsilon-plus-flat"):
        graphlrp.load(MODEL, "epsilon-pluss")
    with pytest.raises(RuleError, match=r"unknown composite 'x'"):
        graphlrp.composite("x")
    with pytest.raises(RuleError, match=r"'epsilon'.*'gamma'.*its parameters are"):
        graphlrp.composite("epsilon", gamma=1.0)
    with pytest.raises(RuleError, match=r"'epsilon-gamma-box'.*'low'.*graphlrp.composite"):
        graphlrp.load(MODEL, "epsilon-gamma-box")
    with pytest.raises(RuleError, match="give both low and high, or neither"):
        graphlrp.composite("deep-taylor", low=0.0)
    with pytest.raises(RuleError, match="epsilon must be a number >= 0"):
        graphlrp.composite("epsilon", epsilon=-1.0)


@pytest.mark.parametrize(
    "selector", [select.up_to("jion"), select.name("Block/*"), select.first() & select.name("narrow")], ids=str
)
def test_names_that_select_nothing_are_refused(selector: select.Selector) -> None:
    # A misspelt name must not lose its rule silently.
    with pytest.raises(RuleError, match=r"'mine'.*(jion|Block/|narrow).*Flat\(\).*block/narrow"):
        graphlrp.load(MODEL, Composite([(selector, Flat())], "mine"))


def test_composites_say_whether_they_conserve() -> None:
    assert graphlrp.composite("epsilon-plus-flat").conserves
    assert not graphlrp.composite("gradient").conserves
    assert not graphlrp.composite("gradient-x-input").conserves


def test_policies_of_a_composite_yield_to_the_users() -> None:
    composite = Composite([(select.every(), Epsilon())], options={"merge": "abs"})
    assert graphlrp.load(MODEL, composite).plan.policies["merge"] == "abs"
    assert graphlrp.load(MODEL, composite, merge="equal").plan.policies["merge"] == "equal"
    with pytest.raises(RuleError, match="unknown merge policy 'half'; there are z, abs, equal"):
        graphlrp.load(MODEL, Composite([(select.every(), Epsilon())], options={"merge": "half"}))


def test_strict_ledger_refuses_rules_that_do_not_conserve() -> None:
    with pytest.raises(RuleError, match="conserve"):
        graphlrp.load(MODEL, "gradient", ledger="strict")
