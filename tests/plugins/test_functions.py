"""Several nodes as one mapping: operators of plugins, fused patterns, functions of the model; and what builds on their bodies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import graphlrp
from graphlrp import ModelError, PluginError, UnsupportedOperatorError
from tests.networks import Network

Array = np.ndarray
RNG = np.random.default_rng(3)
W, V = RNG.normal(size=(6, 8)), RNG.normal(size=(4, 9))
X = RNG.normal(size=(5, 6))


def maxout(x: Array, w: Array, pieces: int) -> Array:
    """In numpy."""
    return np.asarray((x @ w).reshape(len(x), -1, pieces).max(-1))


class Maxout(graphlrp.Mapping):
    """z_j = max_k Σ_i x_i w_ijk: the winning piece is shared by the z-rule."""

    operators = (("com.acme", "Maxout"),)
    family = "maximum"
    native = "z-rule of the winner"

    def pieces(self, op: graphlrp.Emitter) -> Any:
        x, w = self.inputs
        z = op.MatMul(x, w)
        k = self.attribute("pieces")
        return op.Reshape(z, op.shape([op.size(z, 0), op.size(z, 1) // k, k]))

    def forward_messages(self, op: graphlrp.Emitter) -> Any:
        return op.ReduceMax(self.pieces(op), op.integers([-1]), keepdims=0)

    def relevance_messages(self, op: graphlrp.Emitter, relevance: Any, rule: Any) -> Any:
        x, w = self.inputs
        wins = op.Cast(op.Equal(self.pieces(op), op.Unsqueeze(self.output, op.integers([-1]))), to=int(op.dtype))
        s = op.Mul(op.Unsqueeze(op.divide_stabilized(relevance, self.output, 1e-6), op.integers([-1])), wins)
        flat = op.Reshape(s, op.shape([op.size(relevance, 0), op.size(w, 1)]))
        return op.Mul(x, op.MatMul(flat, op.Transpose(w, perm=[1, 0])))


class TaylorMaxout(graphlrp.TaylorMapping):
    """The same by its derivative at x / 2, which has the same winners."""

    operators = Maxout.operators
    pieces = Maxout.pieces
    forward_messages = Maxout.forward_messages

    def root(self, op: graphlrp.Emitter) -> Any:
        return op.Mul(self.x, 0.5)


class LinearizedMaxout(graphlrp.LinearizedMapping):
    """The same by gradient × input, which is exact for a piecewise linear function without bias."""

    operators = Maxout.operators
    pieces = Maxout.pieces
    forward_messages = Maxout.forward_messages


def maxout_model(dtype: int = TensorProto.DOUBLE, opset: int = 18) -> onnx.ModelProto:
    net = Network(dtype, opset, x=["N", 6])
    hidden = net("Maxout", "x", W, domain="com.acme", pieces=2, name="first")
    hidden = net("Relu", hidden, name="relu")
    model = net.model(net("Maxout", hidden, V, domain="com.acme", pieces=3, name="second"))
    if not any(opset.domain == "com.acme" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.acme", 1))
    return model


def expected(x: Array) -> Array:
    return maxout(np.maximum(maxout(x, W, 2), 0), V, 3)


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_an_operator_that_nothing_knows(opset: int) -> None:
    explanation = graphlrp.load(maxout_model(opset=opset), "epsilon", plugins=[Maxout], dtype="float64", ledger="strict")(X)
    np.testing.assert_allclose(explanation.output, expected(X), rtol=1e-12)
    np.testing.assert_allclose(explanation.relevance.sum(1), expected(X).max(1), rtol=1e-4)


def test_without_the_plugin_it_is_named() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"first: com\.acme\.Maxout\n  second: com\.acme\.Maxout"):
        graphlrp.load(maxout_model())


def test_saved_it_runs_without_the_plugin_and_is_recognised_again(tmp_path: Path) -> None:
    explainer = graphlrp.load(maxout_model(TensorProto.FLOAT), "epsilon", plugins=[Maxout])
    x = X.astype(np.float32)
    path = tmp_path / "explainer.onnx"
    explainer.save(path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node][:3] == ["Maxout", "Relu", "Maxout"]
    target = np.full(len(x), -1)
    y, relevance = onnxruntime.InferenceSession(str(path)).run(None, {"x": x, "target": target})
    np.testing.assert_allclose(y, expected(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(relevance, explainer(x).relevance)
    # The functions in the file are body enough for a plugin that has messages only.
    del model.graph.node[3:], model.graph.input[1:], model.graph.output[1:]
    again = graphlrp.load(model, "epsilon", plugins=[OnlyMessages])
    assert [row.mapping for row in again.plan.rows] == ["OnlyMessages", "Relu", "OnlyMessages"]
    np.testing.assert_allclose(again(x).relevance, relevance, rtol=1e-5, atol=1e-6)


class OnlyMessages(graphlrp.Mapping):
    """Maxout as a function that the model brings along."""

    operators = Maxout.operators
    pieces = Maxout.pieces
    relevance_messages = Maxout.relevance_messages

    def attribute(self, name: str, default: Any = None) -> Any:
        return 2 if self.node.name == "first" else 3


def test_derivatives_follow_from_the_body() -> None:
    own = graphlrp.load(maxout_model(), "epsilon", plugins=[Maxout], dtype="float64")(X)
    linearized = graphlrp.load(maxout_model(), "epsilon", plugins=[LinearizedMaxout], dtype="float64", ledger="strict")(X)
    np.testing.assert_allclose(linearized.relevance, own.relevance, rtol=1e-9)
    taylor = graphlrp.load(maxout_model(), "epsilon", plugins=[TaylorMaxout], dtype="float64", ledger="strict")(X)
    np.testing.assert_allclose(taylor.relevance, own.relevance / 4, rtol=1e-5)
    np.testing.assert_allclose(taylor.ledger["second"].residual, own.output.max(1) / 2, rtol=1e-5)
    gradient = graphlrp.load(maxout_model(), "gradient", plugins=[Maxout], dtype="float64")(X, 1)
    step = 1e-6 * np.eye(6)
    numeric = np.stack([(expected(X + step[i]) - expected(X - step[i]))[:, 1] / 2e-6 for i in range(6)], axis=1)
    np.testing.assert_allclose(gradient.relevance, numeric, atol=1e-7)


class Gate(graphlrp.LinearizedMapping):
    """Two inputs that may be one value: x · sigmoid(y)."""

    operators = (("com.acme", "Gate"),)

    def forward_messages(self, op: graphlrp.Emitter) -> Any:
        x, y = self.inputs
        return op.Mul(x, op.Sigmoid(y))


@pytest.mark.parametrize("same", [False, True])
def test_derivatives_of_several_inputs(same: bool) -> None:
    net = Network(x=["N", 6])
    other = "x" if same else net("Neg", "x")
    model = net.model(net("Gate", "x", other, domain="com.acme", name="gate"))
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    explanation = graphlrp.load(model, "epsilon", plugins=[Gate], dtype="float64", ledger="strict")(X, "all")
    y = X if same else -X
    gate = 1 / (1 + np.exp(-y))
    z = X * gate
    parts = (X * gate + y * X * gate * (1 - gate)) / (z + 1e-6 * np.where(z < 0, -1, 1)) * z
    np.testing.assert_allclose(explanation.relevance, parts, rtol=1e-9, atol=1e-12)


class Scaled(graphlrp.LinearMapping):
    """A linear operator of a custom domain: its body follows from ``apply`` and ``additive``."""

    operators = (("com.acme", "Scaled"),)

    def weight(self, op: graphlrp.Emitter) -> graphlrp.TensorWeight:
        return graphlrp.TensorWeight(op.Mul(self.inputs[1], 2.0))

    def additive(self, op: graphlrp.Emitter) -> Any:
        return self.input(2)

    def apply(self, op: graphlrp.Emitter, x: Any, weight: Any) -> Any:
        return op.MatMul(x, weight.value)

    def adjoint(self, op: graphlrp.Emitter, s: Any, weight: Any) -> Any:
        return op.MatMul(s, op.Transpose(weight.value, perm=[1, 0]))


@pytest.mark.parametrize("rule", [graphlrp.Epsilon(), graphlrp.AlphaBeta(2.0), graphlrp.Gamma(), graphlrp.Flat()])
def test_a_linear_operator_needs_no_forward_of_its_own(rule: graphlrp.Rule) -> None:
    bias = RNG.normal(size=8)
    custom, plain = Network(x=["N", 6]), Network(x=["N", 6])
    model = custom.model(custom("Scaled", "x", W, bias, domain="com.acme"))
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    one = graphlrp.load(model, rule, plugins=[Scaled], dtype="float64", ledger="strict")(X)
    other = graphlrp.load(plain.model(plain("Gemm", "x", 2 * W, bias)), rule, dtype="float64")(X)
    np.testing.assert_allclose(one.relevance, other.relevance, rtol=1e-9)


def squeeze_excitation(op: Any, x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    gate = op.Sigmoid(op.Conv(op.Relu(op.Conv(op.GlobalAveragePool(x), w1, b1)), w2, b2))
    return op.Mul(x, gate)


class SqueezeExcitation(graphlrp.Mapping):
    """The whole block as one mapping whose gate is a constant."""

    operators = (("com.acme", "SqueezeExcitation"),)
    family = "gate"

    def relevance_messages(self, op: graphlrp.Emitter, relevance: Any, rule: Any) -> list[Any]:
        return [relevance] + [None] * 4


class FusionPlugin:
    @graphlrp.hookimpl
    def register_mappings(self, register: Any) -> None:
        register(SqueezeExcitation)

    @graphlrp.hookimpl
    def register_passes(self, register: Any) -> None:
        register(graphlrp.Fusion(squeeze_excitation, ("com.acme", "SqueezeExcitation")))


def excitation_model(extra_use: bool = False) -> onnx.ModelProto:
    net = Network(TensorProto.FLOAT, x=["N", 4, 5, 5])
    value = net("Conv", "x", RNG.normal(size=(4, 4, 3, 3)), pads=[1] * 4, name="stem")
    for block in range(2):
        squeezed = net("GlobalAveragePool", value)
        gate = net("Relu", net("Conv", squeezed, RNG.normal(size=(2, 4, 1, 1)), RNG.normal(size=2)))
        gate = net("Sigmoid", net("Conv", gate, RNG.normal(size=(4, 2, 1, 1)), RNG.normal(size=4)))
        # The operands stand in either order.
        value = net("Mul", *((value, gate) if block else (gate, value)), name=f"excite{block}")
    if extra_use:
        value = net("Add", value, gate)
    pooled = net("Flatten", net("GlobalAveragePool", value))
    return net.model(net("MatMul", pooled, RNG.normal(size=(4, 3))))


def test_a_pattern_becomes_one_node() -> None:
    x = RNG.normal(size=(2, 4, 5, 5)).astype(np.float32)
    model = excitation_model()
    explainer = graphlrp.load(model, "epsilon", plugins=[FusionPlugin()], ledger="strict")
    explanation = explainer(x)
    operators = [row.operator for row in explainer.plan.rows]
    assert operators.count("com.acme.SqueezeExcitation") == 2
    assert "Sigmoid" not in operators
    assert [row.node for row in explainer.plan.rows][1:3] == ["excite0", "excite1"]
    assert any(note.name == "fuse com.acme.SqueezeExcitation" and "2 occurrence" in note.note for note in explainer.plan.passes)
    np.testing.assert_allclose(explanation.output, graphlrp.load(model, "epsilon")(x).output, rtol=1e-5)
    gates_constant = graphlrp.load(model, "epsilon", product="signal")(x)
    np.testing.assert_allclose(explanation.relevance, gates_constant.relevance, rtol=1e-4, atol=1e-5)


def test_an_occurrence_whose_inner_values_are_used_elsewhere_stays() -> None:
    explainer = graphlrp.load(excitation_model(extra_use=True), "epsilon", plugins=[FusionPlugin()])
    operators = [row.operator for row in explainer.plan.rows]
    assert operators.count("com.acme.SqueezeExcitation") == 1
    assert operators.count("Sigmoid") == 1


def test_parameters_with_defaults_are_no_values_and_patterns_may_miss() -> None:
    passes = []
    for slope in (0.25, 0.5):

        def leaky(op: Any, x: Any, slope: float = slope) -> Any:
            return op.LeakyRelu(x, alpha=slope)

        passes.append(graphlrp.Fusion(leaky, ("com.acme", f"Leaky{int(4 * slope)}"), name=f"find {slope}"))

    class Plugin:
        @graphlrp.hookimpl
        def register_mappings(self, register: Any) -> None:
            register(type("Leaky", (graphlrp.ComponentwiseMapping,), {"operators": (("com.acme", "Leaky2"),)}))

        @graphlrp.hookimpl
        def register_passes(self, register: Any) -> None:
            for fusion in passes:
                register(fusion)

    net = Network(TensorProto.FLOAT, x=["N", 6])
    model = net.model(net("LeakyRelu", "x", alpha=0.5, name="leaky"))
    explainer = graphlrp.load(model, "gradient", plugins=[Plugin()])
    assert [(row.node, row.operator) for row in explainer.plan.rows] == [("leaky", "com.acme.Leaky2")]
    notes = {note.name: note.note for note in explainer.plan.passes}
    assert notes == {"find 0.25": "no occurrence found", "find 0.5": "1 occurrence(s) became one node each"}
    x = X.astype(np.float32)
    np.testing.assert_allclose(explainer(x, "all").relevance, np.where(x > 0, 1, 0.5), rtol=1e-6)
    with pytest.raises(PluginError, match=r"Fusion: .*<lambda> is no pattern: AttributeError"):
        graphlrp.Fusion(lambda op, x: x.nothing(), ("com.acme", "Nothing"))


def function_model(opset: int = 18) -> onnx.ModelProto:
    """A model that brings along ``acme.nn.Block`` (kept if a mapping is registered for it) and a function inside it."""
    node, imports = helper.make_node, [helper.make_opsetid("", opset), helper.make_opsetid("acme.nn", 1)]
    inner = helper.make_function("acme.nn", "Act", ["a"], ["b"], [node("Relu", ["a"], ["b"])], imports)
    block = helper.make_function(
        "acme.nn",
        "Block",
        ["x", "w"],
        ["y"],
        [
            node("Constant", [], ["half"], value_float=0.5),
            node("MatMul", ["x", "w"], ["h"]),
            node("Act", ["h"], ["a"], domain="acme.nn"),
            node("Mul", ["a", "half"], ["y"]),
        ],
        imports,
    )
    net = Network(TensorProto.FLOAT, opset, x=["N", 6])
    out = net("MatMul", net("Block", "x", W, domain="acme.nn", name="block"), RNG.normal(size=(8, 3)), name="head")
    model = net.model(out)
    model.functions.extend([block, inner])
    if not any(o.domain == "acme.nn" for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("acme.nn", 1))
    return model


class Block(graphlrp.LinearizedMapping):
    operators = (("acme.nn", "Block"),)
    family = "block"


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_is_recognised_by_its_name(opset: int, dtype: str) -> None:
    model = function_model(opset)
    x = X.astype(dtype)
    inlined = graphlrp.load(model, graphlrp.Epsilon(1e-6), dtype=dtype, ledger="strict")
    assert [row.operator for row in inlined.plan.rows][:2] == ["MatMul", "Relu"]
    kept = graphlrp.load(model, graphlrp.Epsilon(1e-6), plugins=[Block], dtype=dtype, ledger="strict")
    assert [row.operator for row in kept.plan.rows] == ["acme.nn.Block", "MatMul"]
    one, other = kept(x), inlined(x)
    np.testing.assert_allclose(one.output, other.output, rtol=1e-5)
    np.testing.assert_allclose(one.relevance, other.relevance, rtol=1e-3, atol=1e-4)


class Act(graphlrp.LinearizedMapping):
    operators = (("acme", "Act"),)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_with_attributes(opset: int, dtype: str) -> None:
    """Two calls of one function with different attributes, one of them left to its default."""
    leaky = helper.make_node("LeakyRelu", ["x"], ["h"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    square = helper.make_node("Mul", ["h", "h"], ["y"])
    imports = [helper.make_opsetid("", opset)]
    default = helper.make_attribute("slope", 0.5)
    function = helper.make_function("acme", "Act", ["x"], ["y"], [leaky, square], imports, attribute_protos=[default])
    net = Network(TensorProto.FLOAT, opset, x=["N", 6])
    model = net.model(net("Act", net("Neg", net("Act", "x", domain="acme", slope=0.25)), domain="acme"))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("acme", 1))
    x = X.astype(dtype)
    hidden = -(np.where(x > 0, x, 0.25 * x) ** 2)
    explainer = graphlrp.load(model, "gradient", plugins=[Act], dtype=dtype)
    explanation = explainer(x, "all")
    np.testing.assert_allclose(explanation.output, (0.5 * hidden) ** 2, rtol=1e-5)
    slope = 2 * np.where(x > 0, x, 0.0625 * x)
    np.testing.assert_allclose(explanation.relevance, 0.5 * hidden * -slope, rtol=1e-5, atol=1e-7)


# What can go wrong


def broken(**methods: Any) -> type[graphlrp.Mapping]:
    return type("Broken", (Maxout,), methods)


def fails(self: Any, *arguments: Any) -> Any:
    raise KeyError("no such thing")


def raises(cls: type, node: Any, facts: Any) -> Any:
    raise ModelError("three pieces or none")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (broken(forward_messages=fails), r"com\.acme\.Maxout node 'first': forward_messages by .*Broken failed: KeyError"),
        (broken(forward_messages=lambda self, op: self.required("size")), r"Maxout node 'first' lacks the attribute 'size'"),
        (broken(forward_messages=lambda self, op: op.MatMul(self.x, self.x)), r"node '.*': emitted MatMul does not fit its"),
        (broken(lower=classmethod(raises)), r"com\.acme\.Maxout node 'first': three pieces or none"),
        (broken(policies={"bias": ("input",)}), r"Maxout node 'first': its mapping Broken has no choice 'absorb'"),
        (broken(forward_messages=lambda self, op: op.Relu(self.output)), r"node 'first': forward_messages uses self.output"),
        (broken(forward_messages=lambda self, op: None), r"node 'first'.*forward_messages"),
        (broken(forward_messages=lambda self, op: [self.x, self.x]), r"must return the 1 emitted output"),
        (broken(bounds=fails), r"Maxout node 'first': lowering by .*Broken failed: KeyError: 'no such thing'"),
        (broken(relevance_messages=fails), r"Maxout node 'second': messages by .*Broken failed: KeyError"),
        (broken(relevance_messages=lambda self, op, r, rule: op.absorb("dead", r)), r"node 'second'.*absorb: give a function"),
        (broken(relevance_messages=lambda self, op, r, rule: [3.0]), r"must return an emitted message or None"),
        (broken(relevance_messages=lambda self, op, r, rule: r), r"emits a message to '.*' of the wrong shape"),
    ],
)
def test_a_broken_plugin_names_itself(mapping: type[graphlrp.Mapping], message: str) -> None:
    with pytest.raises(graphlrp.GraphLRPError, match=message):
        graphlrp.load(maxout_model(), "epsilon", plugins=[mapping])


def test_messages_alone_do_not_run() -> None:
    with pytest.raises(PluginError, match=r"(?s)first: com\.acme\.Maxout \(OnlyMessages\)\n.*forward_messages"):
        graphlrp.load(maxout_model(), "epsilon", plugins=[OnlyMessages])


def test_a_condition_that_fails_names_its_module() -> None:
    def condition(context: Any, **values: Any) -> bool:
        raise LookupError("no such thing")

    class Passes:
        @graphlrp.hookimpl
        def register_passes(self, register: Any) -> None:
            register(graphlrp.Fusion(lambda op, x: op.Relu(x), ("com.acme", "Never"), condition, name="find ReLUs"))

    with pytest.raises(ModelError, match=r"the pass 'find ReLUs' of tests\.plugins\.test_functions fails.*LookupError"):
        graphlrp.load(maxout_model(), "epsilon", plugins=[Maxout, Passes()])


def test_names_of_axes_go_through_emitted_shapes() -> None:
    net = Network(x=["N", "T", 6])
    model = net.model(net("Grouped", "x", domain="com.acme"))
    model.opset_import.append(helper.make_opsetid("com.acme", 1))

    class Grouped(graphlrp.ComponentwiseMapping):
        operators = (("com.acme", "Grouped"),)

        def forward_messages(self, op: graphlrp.Emitter) -> Any:
            pairs = op.Reshape(self.x, op.shape([op.size(self.x, 0), op.size(self.x, 1), 3, 2]))
            assert [str(d) for d in pairs.shape] == ["N", "T", "3", "2"]
            return op.Reshape(op.Sin(pairs), op.shape([op.size(self.x, 0), op.size(self.x, 1), 6]))

    x = RNG.normal(size=(2, 3, 6))
    explanation = graphlrp.load(model, "epsilon", plugins=[Grouped], dtype="float64", class_axis=2, ledger="strict")(x, 4)
    np.testing.assert_allclose(explanation.relevance[..., 4], np.sin(x)[..., 4])


def test_a_broken_pass_names_itself() -> None:
    class Passes:
        @graphlrp.hookimpl
        def register_passes(self, register: Any) -> None:
            register(collapse)

    def collapse(model: Any) -> str:
        raise ZeroDivisionError("by zero")

    with pytest.raises(ModelError, match=r"the pass 'collapse' of tests\.plugins\.test_functions fails.*ZeroDivisionError"):
        graphlrp.load(maxout_model(), "epsilon", plugins=[Maxout, Passes()])


def test_a_body_without_derivative() -> None:
    class Opaque(Maxout):
        def forward_messages(self, op: graphlrp.Emitter) -> Any:
            return op.CumSum(Maxout.forward_messages(self, op), op.number(np.asarray(1)))

    with pytest.raises(UnsupportedOperatorError, match="CumSum"):
        graphlrp.load(maxout_model(), "gradient", plugins=[Opaque])
