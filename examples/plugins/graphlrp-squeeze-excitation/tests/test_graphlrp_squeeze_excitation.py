"""The squeeze-and-excitation block against the conformance kit of GraphLRP, and found in models."""

import subprocess
import sys
from itertools import combinations, product

import numpy as np
import onnx
import onnxruntime
import pytest
from graphlrp_squeeze_excitation import DOMAIN, EPSILON, SqueezeExcitation
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

import graphlrp
from graphlrp.testing import mapping_suite
from graphlrp.testing.dense import jacobian

GATES = ("signal", "share", "gradient")
generator = np.random.default_rng(0)
CONSTANTS = [generator.normal(size=shape) for shape in ((2, 3, 1, 1), (3, 2, 1, 1), (3,), (2,))]


def layers(x, w1, w2, b2=0.0, b1=0.0):
    """s, h, a, p of the gate, [N, channels] each."""
    s = x.mean(axis=(2, 3))
    h = s @ w1[:, :, 0, 0].T + b1
    a = np.maximum(h, 0)
    return s, h, a, a @ w2[:, :, 0, 0].T + b2


def forward(x, *constants):
    """y = x · σ(p)."""
    return x / (1 + np.exp(-layers(x, *constants)[3]))[:, :, None, None]


def stabilized(z):
    """z + ε sign z."""
    return z + np.where(z < 0, -EPSILON, EPSILON)


def signal(inputs, output, relevance):
    """All to the features."""
    return relevance


def share(inputs, output, relevance):
    """Half to the features, half through the gate, channel by channel."""
    x, w1, w2 = inputs[:3]
    s, h, a, p = layers(*inputs)
    result = relevance / 2
    for n in range(len(x)):
        gate = relevance[n].sum(axis=(1, 2)) / 2
        shares = gate / stabilized(p[n])
        hidden = [sum(a[n, k] * w2[c, k, 0, 0] * shares[c] for c in range(len(gate))) for k in range(h.shape[1])]
        for c in range(len(gate)):
            squeezed = sum(s[n, c] * w1[k, c, 0, 0] / stabilized(h[n, k]) * hidden[k] for k in range(h.shape[1]))
            result[n, c] += x[n, c] / stabilized(x[n, c].sum()) * squeezed
    return result


def gradient(inputs, output, relevance):
    """Gradient × input, with numeric derivatives."""
    x, *constants = inputs
    derivatives = jacobian(lambda value: forward(value, *constants), [x])  # [N, M, D]
    signals = (relevance / stabilized(output)).reshape(len(x), 1, -1)
    return x * (signals @ derivatives).reshape(x.shape)


OPTIONS = {"forward": forward, "policies": {"gate": {"signal": signal, "share": share}}, "messages": signal}
TestWithBias = mapping_suite(SqueezeExcitation, inputs=[(3, 2, 2), *CONSTANTS], **OPTIONS)
TestWithSecondBias = mapping_suite(SqueezeExcitation, inputs=[(3, 2, 2), *CONSTANTS[:3]], **OPTIONS)
TestWithoutBias = mapping_suite(SqueezeExcitation, inputs=[(3, 2, 2), *CONSTANTS[:2]], **OPTIONS)
TestGradient = mapping_suite(
    SqueezeExcitation,
    inputs=[(3, 2, 2), *CONSTANTS],
    forward=forward,
    messages=signal,
    policies={"gate": {"gradient": gradient}},
    domain=(0.5, 2.0),  # away from y_j = 0, where the numeric derivative is divided by ε
    tolerance=1e-6,
)


MEANS, SIGMAS = ("GlobalAveragePool", "ReduceMean"), ("Sigmoid", "HardSigmoid", "Clip, Div", "Clip, Mul")
SPELLINGS = list(product(MEANS, SIGMAS, (True, False)))


def block(x, y, squeeze, gate, bias, turned=False):
    """Nodes of one block from x to y."""
    yield make_node(squeeze, [x, "axes"] if squeeze == "ReduceMean" else [x], [f"{y}.s"])
    yield make_node("Conv", [f"{y}.s", "w1", "b1"][: 2 + bias], [f"{y}.h"])
    yield make_node("Relu", [f"{y}.h"], [f"{y}.a"])
    yield make_node("Conv", [f"{y}.a", "w2", "b2"][: 2 + bias], [f"{y}.p"])
    if gate == "Sigmoid":
        yield make_node("Sigmoid", [f"{y}.p"], [f"{y}.g"])
    elif gate == "HardSigmoid":
        yield make_node("HardSigmoid", [f"{y}.p"], [f"{y}.g"], alpha=1 / 6, beta=0.5)
    else:
        yield make_node("Add", [f"{y}.p", "3"], [f"{y}.shifted"])
        yield make_node("Clip", [f"{y}.shifted", "0", "6"], [f"{y}.clipped"])
        operator, number = ("Div", "6") if gate == "Clip, Div" else ("Mul", "1/6")
        yield make_node(operator, [f"{y}.clipped", number], [f"{y}.g"])
    yield make_node("Mul", [f"{y}.g", x] if turned else [x, f"{y}.g"], [y], y)


def run(model):
    """What ONNX Runtime makes of the model as it is."""
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": X})[0]


def network(*spelling, second=None, batch="N", kernel=1, also=()):
    """Conv, Relu, block, Conv, block, mean, dense; the second block may be spelled otherwise."""
    numbers = np.random.default_rng(1)
    shapes = {"k1": (4, 3, 3, 3), "c1": (4,), "k2": (4, 4, 3, 3), "w1": (2, 4, 1, 1), "b1": (2,), "w2": (4, 2, kernel, kernel)}
    shapes |= {"b2": (4,), "head": (4, 5)}
    constants = {name: (numbers.normal(size=shape) / 2).astype(np.float32) for name, shape in shapes.items()}
    constants |= {name: np.array(value, np.float32) for name, value in {"0": 0, "3": 3, "6": 6, "1/6": 1 / 6}.items()}
    constants |= {"axes": np.array([2, 3])}
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        make_node("Conv", ["x", "k1", "c1"], ["conv1"], "conv1", **pads),
        make_node("Relu", ["conv1"], ["relu1"], "relu1"),
        *block("relu1", "se1", *spelling),
        make_node("Conv", ["se1", "k2"], ["conv2"], "conv2", **pads),
        *block("conv2", "se2", *(second or spelling), turned=True),
        make_node("ReduceMean", ["se2", "axes"], ["mean"], "mean", keepdims=0),
        make_node("MatMul", ["mean", "head"], ["y"], "head"),
    ]
    used = {name for node in nodes for name in node.input}
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items() if name in used]
    x = make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 3, "H", "W"])
    y = make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, 5])
    more = [make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in also]
    graph = make_graph(nodes, "network", [x], [y, *more], tensors)
    return make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=10)


PLAIN = ("GlobalAveragePool", "Sigmoid", True)
X = generator.normal(size=(3, 3, 5, 4)).astype(np.float32)


def blocks(explainer):
    """Names of the blocks that were found."""
    return [row.node for row in explainer.plan.rows if row.operator == f"{DOMAIN}.SqueezeExcitation"]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_spellings(spelling):
    """Both blocks are found, the output is what it was, and all relevance is accounted for."""
    model = network(*spelling)
    expected = run(model)
    for gate in GATES:
        explainer = graphlrp.load(model, "epsilon", ledger="strict", gate=gate)
        assert blocks(explainer) == ["se1", "se2"]
        explanation = explainer(X)
        assert np.allclose(explanation.output, expected, atol=1e-6)
        reached = explanation.relevance.sum(axis=(1, 2, 3)) + explanation.ledger.absorbed
        assert np.allclose(reached, expected.max(axis=1), rtol=1e-3, atol=1e-5)


def test_mixed_spellings():
    """Blocks of one model that are spelled differently compute different functions, each its own."""
    model = network(*PLAIN, second=("ReduceMean", "HardSigmoid", False))
    expected = run(model)
    explainer = graphlrp.load(model, "epsilon", ledger="strict", gate="gradient")
    assert blocks(explainer) == ["se1", "se2"]
    assert np.allclose(explainer(X).output, expected, atol=1e-6)


def test_policies():
    """The three policies are three explanations; only what should absorb does."""
    relevances, books = [], []
    for gate in GATES:
        explanation = graphlrp.load(network(*PLAIN), "epsilon", ledger="strict", gate=gate)(X)
        relevances.append(explanation.relevance)
        books.append(explanation.ledger["se1"])
    for one, other in combinations(relevances, 2):
        assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()
    assert [bool(entry.bias.any()) for entry in books] == [False, True, False]
    assert [bool(entry.residual.any()) for entry in books] == [False, False, True]


@pytest.mark.parametrize("composite", ["gradient", "gradient-x-input", "guided-backprop", "epsilon-plus-flat", "auto"])
def test_presets(composite):
    """Presets take the block as it is; the gradient goes through the gate."""
    assert np.isfinite(graphlrp.load(network(*PLAIN), composite)(X[:1]).relevance).all()


def test_gradient_of_the_model():
    """The gradient of the fused model is that of the model with its nodes one by one."""
    fused = graphlrp.load(network(*PLAIN), "gradient")
    single = graphlrp.load(network(*PLAIN, also=["se1.g", "se2.g"]), "gradient")  # gates used elsewhere are not fused
    assert blocks(fused) and not blocks(single)
    assert np.allclose(fused(X, 2).relevance, single(X, 2).relevance, atol=1e-6)


def test_batch_of_one():
    """A batch of fixed size one is explained as well."""
    for gate in GATES:
        explainer = graphlrp.load(network(*PLAIN, batch=1), "epsilon", ledger="strict", gate=gate)
        assert explainer(X[:1]).relevance.shape == (1, 3, 5, 4)


def test_other_kernels_are_no_block():
    """A gate with another kernel is something else, and stays as it is."""
    assert not blocks(graphlrp.load(network(*PLAIN, kernel=3), "epsilon"))


def test_unknown_policy():
    """A choice that does not exist is an error that names those that do."""
    with pytest.raises(graphlrp.RuleError, match=r"signal.*share.*gradient"):
        graphlrp.load(network(*PLAIN), "epsilon", gate="both")


def test_command_line(tmp_path):
    """``--policy gate=share`` reaches the block."""
    onnx.save(network(*PLAIN), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", X)
    relevances = []
    for gate in GATES:
        files = [str(tmp_path / name) for name in ("model.onnx", "x.npy")]
        options = ["--composite", "epsilon", "--policy", f"gate={gate}", "-o", str(tmp_path / gate)]
        subprocess.run([sys.executable, "-m", "graphlrp", "explain", *files, *options], check=True)
        with np.load(tmp_path / gate / "relevance.npz") as arrays:
            relevances.append(next(arrays[name] for name in arrays if name.endswith("relevance")))
    assert not any(np.allclose(one, other, atol=1e-4) for one, other in combinations(relevances, 2))
