"""Canonicalisation: what each pass removes, that the function stays the same, and that equal functions explain equally."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import graphlrp
from graphlrp.ir.canonical import all_passes, canonicalise
from graphlrp.ir.reading import read_model
from graphlrp.plugins.manager import Plugins
from tests.builders import residual_network, tensor

node = helper.make_node


def model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shape: tuple[int | str, ...] = ("N", 3, 6, 6),
    *,
    opset: int = 18,
    rank: int = 2,
) -> onnx.ModelProto:
    """A model from ``x`` to ``y``."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *[None] * (rank - 1)])],
        [tensor(name, array) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def operators(proto: onnx.ModelProto) -> list[str]:
    canonical = read_model(proto)
    canonicalise(canonical, all_passes(ir.DataType.FLOAT, Plugins().mappings))
    return [n.op_type for n in canonical.graph]


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng([9, *shape]).normal(size=shape)


def verified(proto: onnx.ModelProto, x: np.ndarray, composite: str = "epsilon-plus-flat") -> graphlrp.Explanation:
    """Explain with every check on; the canonical outputs are compared with the original's."""
    explainer = graphlrp.load(proto, composite, ledger="strict", providers="cpu")
    assert explainer.verify(x) < 1e-5
    explanation = explainer(x)
    assert (explanation.conservation_error < 1e-5).all()
    return explanation


NORM = {f"n/{p}": np.abs(random(4)) + 0.5 if p == "v" else random(4) for p in "gbmv"}
CONV = {"w": random(4, 3, 3, 3), "b": random(4)}
HEAD = [node("GlobalAveragePool", ["h"], ["p"]), node("Flatten", ["p"], ["y"])]


def normalisation(spelling: str, opset: int = 18) -> onnx.ModelProto:
    """Conv, batch normalisation in one of its spellings, ReLU, pooling."""
    g, b, m, v = (NORM[f"n/{p}"].reshape(1, 4, 1, 1) for p in "gbmv")
    scale = g / np.sqrt(v + 1e-5)
    conv = node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4)
    relu = node("Relu", ["n"], ["h"])
    if spelling == "op":
        body = [node("BatchNormalization", ["c", *NORM], ["n"], epsilon=1e-5)]
        weights = dict(NORM)
    elif spelling == "sub div mul add":
        body = [
            node("Sub", ["c", "m"], ["c1"]),
            node("Div", ["c1", "s"], ["c2"]),
            node("Mul", ["g", "c2"], ["c3"]),
            node("Add", ["b2", "c3"], ["n"]),
        ]
        weights = {"m": m, "s": np.sqrt(v + 1e-5), "g": g, "b2": b}
    elif spelling == "mul add behind identity and cast":
        body = [
            node("Identity", ["scale"], ["scale/i"]),
            node("Cast", ["scale/i"], ["scale/c"], to=TensorProto.FLOAT),
            node("Mul", ["c", "scale/c"], ["c1"]),
            node("Constant", [], ["shift"], value=tensor("shift", b - m * scale)),
            node("Add", ["c1", "shift"], ["n"]),
        ]
        weights = {"scale": scale}
    else:
        body = [
            node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
            node("Mul", ["t", "scale"], ["t1"]),
            node("Add", ["t1", "shift"], ["t2"]),
            node("Relu", ["t2"], ["t3"]),
            node("Transpose", ["t3"], ["h"], perm=[0, 3, 1, 2]),
        ]
        weights = {"scale": scale.reshape(-1), "shift": (b - m * scale).reshape(-1)}
        return model([conv, *body, *HEAD], {**CONV, **weights}, opset=opset)
    return model([conv, *body, relu, *HEAD], {**CONV, **weights}, opset=opset)


@pytest.mark.parametrize("spelling", ["op", "sub div mul add", "mul add behind identity and cast", "nhwc"])
def test_every_spelling_of_batch_normalisation_folds_and_explains_alike(spelling: str) -> None:
    proto = normalisation(spelling)
    assert operators(proto) == ["Conv", "Relu", "GlobalAveragePool", "Flatten"]
    x = data(2, 3, 6, 6)
    ours, expected = verified(proto, x), verified(normalisation("op"), x)
    np.testing.assert_allclose(ours.output, expected.output, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours.relevance, expected.relevance, rtol=1e-3, atol=1e-6)


def test_normalisation_before_a_mapping_folds_only_where_that_is_exact() -> None:
    norm = node("BatchNormalization", ["x", "g", "b2", "m", "v"], ["n"])
    weights = {"g": random(3), "b2": random(3), "m": random(3), "v": np.abs(random(3)) + 1, **CONV}
    tail = [node("Relu", ["c"], ["h"]), *HEAD]
    exact = model([norm, node("Conv", ["n", "w", "b"], ["c"]), *tail], weights)
    padded = model([norm, node("Conv", ["n", "w", "b"], ["c"], pads=[1] * 4), *tail], weights)
    assert "BatchNormalization" not in operators(exact)
    assert "BatchNormalization" in operators(padded)
    for proto in (exact, padded):
        verified(proto, data(2, 3, 6, 6), "epsilon")


def test_normalisation_before_a_dense_layer_becomes_its_bias() -> None:
    nodes = [node("BatchNormalization", ["x", "g", "b", "m", "v"], ["n"]), node("MatMul", ["n", "w"], ["y"])]
    weights = {"g": random(5), "b": random(5), "m": random(5), "v": np.abs(random(5)) + 1, "w": random(5, 2)}
    proto = model(nodes, weights, ("N", 5))
    assert operators(proto) == ["Gemm"]
    verified(proto, data(3, 5), "epsilon")


def test_two_users_of_a_mapping_keep_its_normalisation() -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"]),
        node("BatchNormalization", ["c", *NORM], ["n"]),
        node("Add", ["c", "n"], ["h"]),
        *HEAD,
    ]
    proto = model(nodes, {**CONV, **NORM})
    assert "BatchNormalization" in operators(proto)
    verified(proto, data(2, 3, 6, 6))


def test_chains_of_affine_maps_behind_a_normalisation_become_one() -> None:
    nodes = [
        node("Concat", ["x", "x"], ["k"], axis=1),
        node("BatchNormalization", ["k", "g", "b", "m", "v"], ["n"]),
        node("Mul", ["n", "s"], ["n1"]),
        node("Add", ["n1", "t"], ["n2"]),
        node("Relu", ["n2"], ["h"]),
        *HEAD,
    ]
    weights = {"g": random(6), "b": random(6), "m": random(6), "v": np.abs(random(6)) + 1}
    weights |= {"s": random(6, 1, 1), "t": random(1, 6, 1, 1)}
    proto = model(nodes, weights)
    assert operators(proto) == ["Concat", "BatchNormalization", "Relu", "GlobalAveragePool", "Flatten"]
    verified(proto, data(2, 3, 6, 6), "epsilon")


def test_zero_padding_becomes_the_convolutions_own_and_counts_as_no_input() -> None:
    pads = {"pads": np.array([0, 0, 1, 0, 0, 0, 0, 1])}
    nodes = [
        node("Pad", ["x", "pads"], ["p0"]),
        node("Conv", ["p0", "w", "b"], ["c"], pads=[0, 1, 1, 0]),
        node("Relu", ["c"], ["h"]),
        *HEAD,
    ]
    proto = model(nodes, {**CONV, **pads})
    same = model([node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]), *nodes[2:]], CONV)
    assert "Pad" not in operators(proto)
    x = data(2, 3, 6, 6)
    np.testing.assert_allclose(verified(proto, x).relevance, verified(same, x).relevance, rtol=1e-5, atol=1e-7)


def test_transposes_of_nhwc_exports_cancel_and_relevance_has_the_inputs_layout() -> None:
    to_last, to_first = [0, 2, 3, 1], [0, 3, 1, 2]
    nodes = [
        node("Transpose", ["x"], ["x1"], perm=to_first),
        node("Conv", ["x1", "w", "b"], ["c"], pads=[1] * 4),
        node("Transpose", ["c"], ["c1"], perm=to_last),
        node("Relu", ["c1"], ["r1"]),
        node("Transpose", ["r1"], ["r2"], perm=to_first),
        node("Conv", ["r2", "w2"], ["d"], pads=[1] * 4),
        node("Transpose", ["d"], ["d1"], perm=to_last),
        node("Add", ["r1", "d1"], ["e"]),
        node("Pad", ["e", "pads"], ["e0"]),
        node("Transpose", ["e0"], ["h"], perm=to_first),
        *HEAD,
    ]
    weights = {**CONV, "w2": random(4, 4, 3, 3), "pads": np.array([0, 1, 0, 0, 0, 0, 1, 0])}
    proto = model(nodes, weights, ("N", 6, 6, 3))
    assert operators(proto).count("Transpose") == 1
    x = data(2, 6, 6, 3)
    assert verified(proto, x).relevance.shape == x.shape


def test_shape_arithmetic_with_dynamic_batch_and_sizes() -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("MaxPool", ["r"], ["m"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        node("Resize", ["m", "", "scales"], ["u"], mode="linear"),
        node("ReduceMean", ["u", "axes"], ["g"], keepdims=1),
        node("Shape", ["g"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axis"], ["n1"]),
        node("Concat", ["n1", "minus"], ["t"], axis=0),
        node("Reshape", ["g", "t"], ["y"]),
    ]
    weights = {
        **CONV,
        "scales": np.array([1, 1, 2, 1.5]),
        "axes": np.array([2, 3]),
        "zero": np.array(0),
        "axis": np.array([0]),
        "minus": np.array([-1]),
    }
    proto = model(nodes, weights, ("N", 3, "H", "W"))
    for shape in ((1, 3, 7, 9), (3, 3, 8, 5)):
        for composite in ("epsilon-plus-flat", "epsilon-alpha2beta1", "epsilon-plus"):
            assert verified(proto, data(*shape), composite).relevance.shape == shape


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17, 18, 19, 20, 21])
def test_operator_sets_from_7_on(opset: int) -> None:
    proto = residual_network(opset=opset)
    if opset < 13:
        proto.graph.node[-1].attribute[0].i = 1
    x = data(2, 2, 8, 8)
    np.testing.assert_allclose(verified(proto, x).relevance, verified(residual_network(), x).relevance, rtol=1e-4, atol=1e-6)


def test_operator_sets_before_7_are_refused() -> None:
    with pytest.raises(graphlrp.ModelError, match="operator set 6"):
        graphlrp.load(residual_network(opset=6))


def test_upsample_and_dropout_of_old_operator_sets() -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4),
        node("Dropout", ["c"], ["d"], ratio=0.5),
        node("Upsample", ["d", "scales"], ["u"], mode="nearest"),
        node("Relu", ["u"], ["h"]),
        *HEAD,
    ]
    proto = model(nodes, {**CONV, "scales": np.array([1.0, 1, 2, 2])}, opset=9)
    assert operators(proto) == ["Conv", "Resize", "Relu", "GlobalAveragePool", "Flatten"]
    verified(proto, data(2, 3, 6, 6))


def test_terminal_softmax_is_no_part_of_the_explained_function() -> None:
    explainer = graphlrp.load(residual_network(), "epsilon")
    assert explainer.plan.removed == ["Softmax 'softmax'"]
    explanation = explainer(data(2, 2, 8, 8))
    exponentials = np.exp(explanation.output - explanation.output.max(1, keepdims=True))
    expected = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(explanation.model_outputs["probabilities"], expected, rtol=1e-5)


def test_half_precision_models_are_computed_in_single() -> None:
    proto = residual_network()
    for initializer in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(initializer).astype(np.float16)
        initializer.CopyFrom(onnx.numpy_helper.from_array(array, initializer.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    explanation = graphlrp.load(proto, "epsilon-plus", ledger="strict")(data(1, 2, 8, 8))
    assert explanation.relevance.dtype == np.float32


def test_weights_in_external_files(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save_model(residual_network(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    x = data(2, 2, 8, 8)
    expected = graphlrp.load(residual_network(), "epsilon-plus")(x).relevance
    explainer = graphlrp.load(path, "epsilon-plus")
    np.testing.assert_allclose(explainer(x).relevance, expected, rtol=1e-5, atol=1e-7)


def test_model_sources_agree_and_are_left_alone(tmp_path: Path) -> None:
    proto = residual_network()
    onnx.save(proto, tmp_path / "m.onnx")
    x = data(1, 2, 8, 8)
    in_memory = ir.from_proto(proto)
    nodes = [n.op_type for n in in_memory.graph]
    results = [
        graphlrp.load(source, "epsilon")(x).relevance
        for source in (proto, proto.SerializeToString(), tmp_path / "m.onnx", str(tmp_path / "m.onnx"), in_memory)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    assert [n.op_type for n in in_memory.graph] == nodes


def test_a_pass_that_changes_the_function_is_named() -> None:
    def break_it(model: ir.Model) -> str:
        first = next(iter(model.graph.initializers.values()))
        first.const_value = ir.tensor(first.const_value.numpy() * 3)
        return "broke something"

    class Plugin:
        @graphlrp.hookimpl
        def register_passes(self, register) -> None:  # type: ignore[no-untyped-def]
            register(break_it)

    explainer = graphlrp.load(residual_network(), plugins=[Plugin()])
    with pytest.raises(graphlrp.ModelError, match="break_it"):
        explainer(data(1, 2, 8, 8))


def test_model_local_functions_are_inlined() -> None:
    proto = residual_network()
    opset = [helper.make_opsetid("", 18)]
    body = [node("Relu", ["a"], ["b"]), node("Identity", ["b"], ["c"])]
    proto.functions.append(helper.make_function("local", "MyRelu", ["a"], ["c"], body, opset))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    proto.graph.node[1].CopyFrom(node("MyRelu", ["c1"], ["r1"], domain="local", name="relu1"))
    x = data(2, 2, 8, 8)
    np.testing.assert_allclose(verified(proto, x).relevance, verified(residual_network(), x).relevance, rtol=1e-5, atol=1e-7)


def test_constants_that_enlarge_are_not_folded() -> None:
    proto = model(
        [node("Gemm", ["x", "w"], ["g"]), node("Add", ["g", "b"], ["y"])], {"w": random(3, 1), "b": random(1, 4)}, ("N", 3)
    )
    assert operators(proto) == ["Gemm", "Add"]
    verified(proto, data(2, 3), "epsilon")


@pytest.mark.parametrize("rule", [graphlrp.Flat(), graphlrp.WSquare(), graphlrp.ZBounds(-3.0, 3.0)], ids=str)
def test_zero_padding_before_a_transpose_is_the_convolutions_own_too(rule: graphlrp.Rule) -> None:
    nodes = [
        node("Pad", ["x", "pads"], ["p0"]),
        node("Transpose", ["p0"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w", "b"], ["h"]),
        *HEAD,
    ]
    proto = model(nodes, {**CONV, "pads": np.array([0, 1, 1, 0, 0, 1, 1, 0])}, ("N", 6, 6, 3))
    plain = [node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), node("Conv", ["t", "w", "b"], ["h"], pads=[1] * 4), *HEAD]
    same = model(plain, CONV, ("N", 6, 6, 3))
    assert operators(proto) == operators(same)
    x = data(2, 6, 6, 3)
    ours, expected = (graphlrp.load(p, rule, ledger="strict")(x).relevance for p in (proto, same))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)


def test_large_relevance_of_outputs_without_messages_of_a_sign_is_dead_and_finite() -> None:
    proto = model([node("Gemm", ["x", "w"], ["y"])], {"w": np.ones((2, 4))}, ("N", 2))
    x = np.full((1, 2), 1e9, np.float32)
    explanation = graphlrp.load(proto, graphlrp.AlphaBeta(2.0), ledger="strict")(x, "all")
    np.testing.assert_allclose(explanation.relevance, [[8e9, 8e9]], rtol=1e-5)
    np.testing.assert_allclose(explanation.ledger[0].dead, [-8e9], rtol=1e-5)
