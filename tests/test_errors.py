"""Bad input of every kind: the right class of error, and a message that names what is wrong and where."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphlrp
from graphlrp import (
    ConservationError,
    GraphLRPError,
    InputError,
    ModelError,
    ProviderError,
    RuleError,
    UnsupportedOperatorError,
)
from tests.networks import Network

Array = np.ndarray


def normal(*shape: int) -> Array:
    return np.random.default_rng([8, len(shape), *shape]).normal(size=shape)


def single(
    *nodes: onnx.NodeProto, output: str = "y", opset: int = 18, weights: dict[str, Array] | None = None
) -> onnx.ModelProto:
    """A model of nodes as they are given, x -> output, without any check."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("x", output))
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "single", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def network(**inputs: list[int | str]) -> Network:
    return Network(TensorProto.FLOAT, **(inputs or {"x": ["N", 3]}))


def classifier() -> onnx.ModelProto:
    net = network(x=["N", 4])
    hidden = net("Relu", net("Gemm", "x", normal(4, 3), normal(3), name="first"), name="act")
    return net.model(net("Gemm", hidden, normal(3, 2), name="last"))


MODEL = classifier()
EXPLAINER = graphlrp.load(MODEL, "epsilon", providers="cpu")
X = np.ones((2, 4), np.float32)


# Reading


def test_files_that_are_no_models(tmp_path: Path) -> None:
    for name, content in {"empty": b"", "text": b"hello, this is no model", "png": b"\x89PNG\r\n\x1a\n" + bytes(64)}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"{name}.onnx"):
            graphlrp.load(path)
        with pytest.raises(ModelError, match="bytes"):
            graphlrp.load(content)
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelError, match=f"no such model file: .*{path.name}"):
            graphlrp.load(path)


def test_truncated_at_any_byte(tmp_path: Path) -> None:
    content = MODEL.SerializeToString()
    for length in range(len(content)):
        with pytest.raises(ModelError, match="bytes"):
            graphlrp.load(content[:length])
    path = tmp_path / "cut.onnx"
    for length in range(0, len(content), 50):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"cut.onnx"):
            graphlrp.load(path)


@pytest.mark.parametrize("source", [None, 3, [MODEL], {"model": MODEL}], ids=lambda source: type(source).__name__)
def test_things_that_are_no_source(source: object) -> None:
    with pytest.raises(ModelError, match=f"cannot read a model from {type(source).__name__}"):
        graphlrp.load(source)  # type: ignore[arg-type]


RELU = helper.make_node("Relu", ["x"], ["y"], name="the relu")
SHORT = single(helper.make_node("MatMul", ["x", "w"], ["y"], name="product"), weights={"w": np.ones((3, 3), np.float32)})
SHORT.graph.initializer[0].raw_data = SHORT.graph.initializer[0].raw_data[:20]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (onnx.ModelProto(), "imports no operator set"),
        (single(output="x"), "the graph has no nodes"),
        (single(helper.make_node("Add", ["x", "ghost"], ["y"], name="sum")), "node 'sum' uses 'ghost', which nothing produces"),
        (single(RELU, output="z"), "nothing produces the output 'z'"),
        (
            single(
                helper.make_node("Add", ["x", "b"], ["a"], name="one"),
                helper.make_node("Relu", ["a"], ["b"], name="two"),
                output="b",
            ),
            "cycle: (one -> two -> one|two -> one -> two)",
        ),
        (single(helper.make_node("Add", ["x", "y"], ["y"], name="loop")), "cycle: loop -> loop"),
        (single(RELU, helper.make_node("Tanh", ["x"], ["y"], name="again")), "y"),
        (single(RELU, opset=5), "operator set 5; the oldest supported one is 7"),
        (
            single(helper.make_node("Concat", ["x", "x"], ["y"], name="join")),
            r"node 'join' \(Concat\) lacks the attribute\(s\) axis",
        ),
        (
            single(helper.make_node("Add", ["x"], ["y"], name="sum")),
            r"node 'sum' \(Add\) has 1 input\(s\) where its operator needs 2",
        ),
        (SHORT, r"the weight 'w' of shape \[3,3\] needs 36 bytes and has 20"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_graphs(model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        graphlrp.load(model)


def test_graph_without_outputs() -> None:
    model = single(RELU)
    del model.graph.output[:]
    with pytest.raises(ModelError, match="the graph has no outputs"):
        graphlrp.load(model)


def test_external_weights_that_are_missing_or_truncated(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    explainer = graphlrp.load(path, "epsilon", providers="cpu")
    np.testing.assert_array_equal(explainer(X).relevance, EXPLAINER(X).relevance)
    explainer.save(tmp_path / "elsewhere.onnx")
    weights = tmp_path / "weights.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[:-8])
    with pytest.raises(ModelError, match=r"weight 'c\d' ends at byte .* of the external file .*weights.bin.* truncated"):
        graphlrp.load(path)
    weights.unlink()
    with pytest.raises(ModelError, match=r"weight 'c\d' lies in the external file .*weights.bin, which is missing"):
        graphlrp.load(path)


def test_shapes_that_do_not_fit_name_the_node() -> None:
    model = single(helper.make_node("MatMul", ["x", "w"], ["y"], name="product"), weights={"w": np.ones((5, 3), np.float32)})
    with pytest.raises(ModelError, match=r"product"):
        graphlrp.load(model, providers="cpu")(np.ones((1, 3), np.float32))


# What to explain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"explain": "act:O"}, "no value 'act:O'; close are: .*act:0"),
        ({"explain": ["x", "nothing"]}, "no value 'nothing'"),
        ({"output": "lst:0"}, "no value 'lst:0'; close are: .*last:0"),
        ({"report": "act"}, "no value 'act'; close are: .*act:0"),
        ({"restrict": {"act": [0]}}, "no value 'act'"),
        ({"explain": "last:0", "output": "act:0"}, "'act:0' does not depend on the explained input 'last:0'"),
        ({"output": "act:0", "report": "last:0"}, "'last:0'"),
        (
            {"output": "act:0", "restrict": {"last:0": [0]}},
            "'last:0' does not lie between the explained input and the explained output",
        ),
    ],
    ids=str,
)
def test_unknown_and_unconnected_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        graphlrp.load(MODEL, "epsilon", **options)


def test_report_of_a_value_that_does_not_depend_on_the_explained_one() -> None:
    net = network(a=["N", 3], b=["N", 3])
    model = net.model(net("Add", net("Relu", "a"), net("Tanh", "b", result="fixed")))
    with pytest.raises(ModelError, match="'fixed' does not depend on the explained input"):
        graphlrp.load(model, explain="a", report="fixed")


INDEPENDENT: dict[str, tuple[Callable[[Network], str], str]] = {
    "constant": (lambda net: net("Relu", np.ones((1, 3), np.float32)), "does not depend on the explained input 'x'"),
    "shape": (
        lambda net: net("Expand", np.ones((1, 3), np.float32), net("Shape", "x")),
        "does not depend on the explained input 'x'",
    ),
    "filled": (lambda net: net("ConstantOfShape", net("Shape", "x")), "does not depend on the explained input 'x'"),
    "comparison": (
        lambda net: net("Cast", net("Greater", "x", np.zeros(1, np.float32), name="compare"), to=TensorProto.FLOAT),
        r"depends on 'x' only through operators without a derivative \(Greater 'compare'\)",
    ),
    "arg max": (lambda net: net("Cast", net("ArgMax", "x", axis=1, name="best"), to=TensorProto.FLOAT), "ArgMax 'best'"),
    "integers": (
        lambda net: net("Cast", net("Cast", "x", to=TensorProto.INT32, name="round"), to=TensorProto.FLOAT),
        "Cast 'round'",
    ),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_outputs_that_do_not_depend_on_the_input(name: str) -> None:
    build, message = INDEPENDENT[name]
    net = network()
    other = net("Relu", "x")
    value = build(net)
    with pytest.raises(ModelError, match=message):
        graphlrp.load(net.model(other, value), output=value)
    net = network()
    with pytest.raises(ModelError, match=message):
        graphlrp.load(net.model(build(net)))


def test_scalar_and_whole_numbered_outputs() -> None:
    net = network()
    with pytest.raises(ModelError, match="'ReduceSum_0:0' is a scalar; an output needs the batch as its first axis"):
        graphlrp.load(net.model(net("ReduceSum", "x", keepdims=0)))
    model = single(helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT64, ["N"]))
    with pytest.raises(ModelError, match="no real-valued output"):
        graphlrp.load(model)


def test_whole_numbered_inputs() -> None:
    model = single(helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.INT64, ["N"]))
    with pytest.raises(ModelError, match=r"no real-valued input to explain \(inputs: x \(INT64\)\).*embeddings.*explain="):
        graphlrp.load(model)
    with pytest.raises(ModelError, match=r"explain: 'x' holds integers \(INT64\), and no Gather looks them up"):
        graphlrp.load(model, explain="x")


@pytest.mark.parametrize("explain", [(), [], ("x", "x")])
def test_names_to_explain(explain: list[str]) -> None:
    with pytest.raises(InputError, match="name one or more values, each once"):
        graphlrp.load(single(helper.make_node("Relu", ["x"], ["y"])), explain=explain)


@pytest.mark.parametrize("name", ["target", "relevance", "ledger"])
def test_names_that_the_explainer_needs(name: str) -> None:
    net = network(**{name: ["N", 3]})
    with pytest.raises(ModelError, match=f"input or output named '{name}'"):
        graphlrp.load(net.model(net("Relu", name)))
    net = network()
    inner = net("Relu", "x", result=name)
    explanation = graphlrp.load(net.model(net("Relu", inner)), "epsilon", ledger=True, providers="cpu")(X[:, :3])
    assert explanation.relevance.shape == (2, 3)


# Operators


def test_all_unsupported_operators_are_listed_at_once() -> None:
    net = network()
    first = net("Acme", "x", domain="com.acme", name="first one")
    second = net("CumSum", first, np.array(1), name="second one")
    third = net("LpNormalization", "x", name="third one")
    net("Acme", "x", domain="com.acme", name="off the path")
    with pytest.raises(UnsupportedOperatorError, match="3 node") as caught:
        graphlrp.load(net.model(net("Add", second, third)))
    assert set(caught.value.nodes) == {
        ("first one", "com.acme", "Acme"),
        ("second one", "", "CumSum"),
        ("third one", "", "LpNormalization"),
    }
    for text in ("first one: com.acme.Acme", "second one: CumSum", "third one: LpNormalization", "plugins=[TheMapping]"):
        assert text in str(caught.value)
    assert isinstance(caught.value, ModelError)


TWICE: dict[str, tuple[Callable[[Network], str], str]] = {
    "gemm": (lambda net: net("Gemm", "a", "b", transB=1, name="here"), "Gemm node 'here'.*MatMul and Add"),
    "einsum": (lambda net: net("Einsum", "a", "b", equation="ni,ni->n", name="here"), "Einsum node 'here'"),
    "kernel": (
        lambda net: net("Conv", net("Unsqueeze", "a", np.array([1])), net("Unsqueeze", "b", np.array([1])), name="here"),
        "Conv node 'here'.*kernel or bias depends on the explained input",
    ),
    "clip": (lambda net: net("Clip", "a", net("ReduceMax", "b", keepdims=0), name="here"), "Clip node 'here'.*there are 2"),
    "power": (lambda net: net("Pow", "a", "b", name="here"), "Pow node 'here'.*there are 2: .*'a', 'b'"),
    "vectors": (
        lambda net: net("MatMul", "a", net("ReduceSum", "b", np.array([0]), keepdims=0), name="here"),
        "MatMul node 'here'",
    ),
    "crop": (
        lambda net: net(
            "Resize",
            net("Unsqueeze", "a", np.array([1, 2])),
            np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32),
            np.array([1, 1, 1, 2], np.float32),
            coordinate_transformation_mode="tf_crop_and_resize",
            name="here",
        ),
        "Resize node 'here'.*crop with Slice",
    ),
}


@pytest.mark.parametrize("name", TWICE)
def test_operators_that_cannot_be_decomposed_as_they_are_used(name: str) -> None:
    build, message = TWICE[name]
    net = network(a=["N", 3], b=["N", 3])
    with pytest.raises(RuleError, match=message):
        graphlrp.load(net.model(build(net)))


# Options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "float16"}, InputError, "unknown dtype 'float16'; there are float32, float64"),
        ({"ledger": "yes"}, InputError, "ledger must be False, True or 'strict', not 'yes'"),
        ({"composite": 3}, InputError, "composite must be a name, a Composite or a Rule, not int"),
        ({"composite": "no-such"}, RuleError, "unknown composite 'no-such'; there are auto, attnlrp"),
        ({"initial": "two"}, InputError, "unknown initial relevance 'two'; there are value, one, contrastive"),
        ({"class_axis": 0}, InputError, "class_axis=0 is the batch"),
        ({"class_axis": 5}, InputError, r"class_axis=5 does not fit the explained output 'last:0' of shape \[N,2\]"),
        ({"bias": "maybe"}, RuleError, "unknown bias policy 'maybe'; there are absorb, distribute, ignore, input, project"),
        ({"bias": "project"}, RuleError, "for linear predictors.*not 2 linear mappings"),
        ({"merge": "half"}, RuleError, "unknown merge policy 'half'; there are z, abs, equal"),
        ({"average": "none"}, RuleError, "unknown average policy 'none'"),
        ({"meerge": "z"}, RuleError, "unknown option 'meerge'; policies of mappings are: .*merge: z, abs, equal"),
        ({"providers": "tpu"}, ProviderError, "no provider 'tpu'.*CPUExecutionProvider"),
        ({"providers": ["cpu", "NoSuchExecutionProvider"]}, ProviderError, "no provider 'NoSuchExecutionProvider'"),
        ({"providers": []}, ProviderError, "no provider given"),
        ({"restrict": {"act:0": [0, 3]}}, InputError, r"channels \[3\] of 'act:0', which has 3"),
        ({"restrict": {"act:0": []}}, InputError, r"channels \[\] of 'act:0'"),
        ({"restrict": {"x": [0]}}, InputError, "'x' is an explained input"),
    ],
    ids=str,
)
def test_options_of_load(options: dict[str, Any], error: type[GraphLRPError], message: str) -> None:
    with pytest.raises(error, match=message):
        graphlrp.load(MODEL, **options)


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphlrp.runtime._has_cuda", lambda: False)
    with pytest.raises(ProviderError, match="CUDAExecutionProvider"):
        graphlrp.load(MODEL, providers="cuda")


def test_double_precision_runs_on_the_cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphlrp.runtime._has_cuda", lambda: True)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(ProviderError, match=r"dtype=.float64. runs on onnx.reference on the CPU"):
        graphlrp.load(MODEL, dtype="float64", providers="cuda", verify=False)(X)


# Inputs and targets


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0], r"input 'x' has shape \[4\], the model wants \[N, 4\].*x\[None\]"),
        (np.ones((2, 5), np.float32), r"input 'x' has shape \[2, 5\], the model wants \[N, 4\]"),
        (np.ones((2, 4, 1), np.float32), r"input 'x' has shape \[2, 4, 1\]"),
        (np.ones((2, 4), int), "input 'x' is of type int64, the model wants float32"),
        (X > 0, "input 'x' is of type bool"),
        (X + 1j, "input 'x' is of type complex64"),
        (np.array([["a"] * 4]), "input 'x' is of type <U1"),
        (np.array([[None] * 4]), "input 'x' is of type object"),
        (None, "input 'x'"),
        (1.0, "input 'x' is a scalar"),
        ([[1.0, 2.0], [1.0]], "input 'x' is no array"),
        (np.where(np.arange(4) == 1, np.nan, X), "input 'x' holds 2 NaN or infinite number.* of 8"),
        (-np.inf * X, "input 'x' holds 8 NaN or infinite"),
        (X[:0], "no samples"),
        (X.astype(np.float64) * 1e300, "input 'x' holds .* that are too large for float32; scale it"),
        ({"y": X}, "inputs are 'x', and arrays are given by these names; unknown: 'y'; missing: 'x'"),
        ({"x": X, "z": X}, "unknown: 'z'"),
        ({}, "missing: 'x'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_inputs(x: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        EXPLAINER(x)


def test_several_inputs() -> None:
    net = network(a=["N", 3], b=["N", 3])
    explainer = graphlrp.load(net.model(net("Add", "a", "b")), providers="cpu")
    with pytest.raises(InputError, match=r"several inputs \('a', 'b'\); give a dictionary"):
        explainer(X[:, :3])
    with pytest.raises(InputError, match="missing: 'b'"):
        explainer({"a": X[:, :3]})
    with pytest.raises(InputError, match=r"different numbers of samples: {'a': 2, 'b': 1}"):
        explainer({"a": X[:, :3], "b": X[:1, :3]})
    with pytest.raises(InputError, match="input 'b' holds 6 NaN"):
        explainer({"a": X[:, :3], "b": X[:, :3] * np.nan})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (2, "class 2 is out of range: the explained output has classes 0 to 1"),
        (-1, "class -1 is out of range"),
        ([0, 5], "class 5 is out of range"),
        (np.array([0, -2]), "class -2 is out of range"),
        ([0, 1, 1], "3 targets for 2 samples"),
        ([], "the explained output has"),
        ("best", "unknown target 'best'"),
        (True, "not of bool"),
        (1.0, r"class weights have shape \(\)"),
        (np.ones((2, 3)), r"class weights have shape \(2, 3\); the explained output has \(2, 2\)"),
        (np.ones((3, 2)), r"class weights have shape \(3, 2\)"),
        (np.full((2, 2), np.nan), "class weights hold NaN"),
        ([None, 1], "not of object"),
        (np.ones((2, 2)) * 1j, "not of complex128"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_targets(target: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        EXPLAINER(X, target)


@pytest.mark.parametrize("shape", [["N"], ["N", 1]])
@pytest.mark.parametrize("target", [0, 1, [0, 1], np.array([1, 1])])
def test_one_number_per_sample_has_no_class_to_choose(shape: list[int | str], target: Any) -> None:
    net = network(x=["N", 4])
    value = net("ReduceSum", "x", np.array([1]), keepdims=len(shape) - 1)
    explainer = graphlrp.load(net.model(value), providers="cpu")
    with pytest.raises(InputError, match="so there is no class to choose: leave target out; if it decides"):
        explainer(X, target)
    for own in (None, "all", np.ones((2, *explainer.output_shape[1:]), np.float32)):
        np.testing.assert_allclose(explainer(X, own).relevance, X, rtol=1e-6)


@pytest.mark.parametrize("target", [0, [0, 1]])
def test_nor_has_one_whose_number_shows_when_it_runs(target: Any) -> None:
    net = network(x=["N", "D"])
    explainer = graphlrp.load(net.model(net("Relu", "x")), providers="cpu")
    with pytest.raises(InputError, match="no class to choose"):
        explainer(X[:, :1], target)


def test_channels_on_the_other_side_are_told() -> None:
    x = np.ones((2, 3, 5, 6), np.float32)
    for shape, given, call in (
        (["N", 3, 5, 6], np.moveaxis(x, 1, -1), r"channels last: np.moveaxis\(x, -1, 1\)"),
        (["N", 5, 6, 3], x, r"channels first: np.moveaxis\(x, 1, -1\)"),
    ):
        net = network(x=shape)
        with pytest.raises(InputError, match=call):
            graphlrp.load(net.model(net("Relu", "x")), providers="cpu")(given)
    net = network(x=["N", 3, 5, 6])
    with pytest.raises(InputError, match=r"the model wants \[N, 3, 5, 6\]$"):
        graphlrp.load(net.model(net("Relu", "x")), providers="cpu")(np.ones((2, 4, 5, 6), np.float32))


def test_values_that_are_not_finite_are_not_blamed_on_rules() -> None:
    net = network(x=["N", 4])
    explainer = graphlrp.load(net.model(net("Log", net("Relu", "x"))), "gradient", providers="cpu", verify=False)
    with pytest.raises(ModelError, match=r"the explained f\(x\) itself is not finite in samples 1 of 2, so there is nothing"):
        explainer(np.array([[1, 2, 3, 4], [0, 0, 0, 0]], np.float32), 0)
    squares = network(x=["N", 4])
    explainer = graphlrp.load(squares.model(squares("Mul", "x", "x")), "gradient", providers="cpu", verify=False)
    with pytest.raises(InputError, match=r"f\(x\) itself is not finite in samples 0 of 1: the input has magnitudes up to 1e\+30"):
        explainer(np.full((1, 4), 1e30, np.float32), 0)


def test_an_explainer_is_no_model(tmp_path: Path) -> None:
    EXPLAINER.save(tmp_path / "e.onnx")
    with pytest.raises(ModelError, match=r"e\.onnx is already an explainer.* run it with onnxruntime, or give the model"):
        graphlrp.load(tmp_path / "e.onnx")


def test_batch_size() -> None:
    with pytest.raises(InputError, match="batch_size must be at least 1, not 0"):
        EXPLAINER(X, batch_size=0)


# Writing


def test_save_where_it_cannot_be_written(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "explainer.onnx"
    with pytest.raises(InputError, match=r"cannot write .*missing.explainer\.onnx: there is no folder .*missing$"):
        EXPLAINER.save(missing)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(InputError, match=r"cannot write .*folder"):
        EXPLAINER.save(folder)
    with pytest.raises(InputError, match="target must be 'index' or 'weights', not 'both'"):
        EXPLAINER.save(tmp_path / "explainer.onnx", target="both")
    # Nothing is left half-written, not even under another name.
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_a_save_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "explainer.onnx"
    path.write_bytes(b"what was there before")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="No space left on device"):
        EXPLAINER.save(path)
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]


# Conservation


class Leaking(graphlrp.Mapping):
    """Loses half of the relevance, and says nothing."""

    operators = (("", "Tanh"),)

    def relevance_messages(self, op: Any, relevance: ir.Value, rule: graphlrp.Rule | None) -> ir.Value:
        return op.Mul(relevance, 0.5)


class Misshapen(graphlrp.Mapping):
    """Sends a message that does not fit."""

    operators = (("", "Tanh"),)

    def relevance_messages(self, op: Any, relevance: ir.Value, rule: graphlrp.Rule | None) -> ir.Value:
        return op.Concat(relevance, relevance, axis=1)


def test_mappings_that_are_wrong_are_named() -> None:
    net = network()
    model = net.model(net("Relu", net("Tanh", "x", name="the leak")))
    explainer = graphlrp.load(model, plugins=[Leaking], ledger="strict", providers="cpu")
    with pytest.raises(ConservationError, match=r"Tanh node 'the leak'.*sample 1 received .* relative error 5\.00e-01") as caught:
        explainer(np.array([[0, 0, 0], [1, 2, 3]], np.float32))
    assert isinstance(caught.value, GraphLRPError)
    quiet = graphlrp.load(model, plugins=[Leaking], ledger=True, providers="cpu")(X[:, :3])
    np.testing.assert_allclose(quiet.ledger["the leak"].error, 0.5, rtol=1e-5)
    with pytest.raises(RuleError, match=r"Tanh node 'the leak': Misshapen emits a message to 'x' of the wrong shape"):
        graphlrp.load(model, plugins=[Misshapen])


def test_gradients_are_refused_where_a_mapping_has_none() -> None:
    net = network()
    model = net.model(net("Tanh", "x", name="here"))
    with pytest.raises(RuleError, match="Tanh node 'here': Leaking has no gradient"):
        graphlrp.load(model, "gradient", plugins=[Leaking])


def test_every_error_has_the_same_base() -> None:
    classes = [
        ConservationError,
        InputError,
        ModelError,
        ProviderError,
        RuleError,
        UnsupportedOperatorError,
        graphlrp.PluginError,
    ]
    assert all(issubclass(cls, GraphLRPError) for cls in classes)


def test_good_input_raises_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EXPLAINER(X.astype(np.float64), [0, 1])
        EXPLAINER([[1.0, 2.0, 3.0, 4.0]])
