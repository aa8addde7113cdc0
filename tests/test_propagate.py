"""The walk as a whole: random graphs conserve, known equivalences hold, targets, inner values and biases mean what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphlrp
from graphlrp import AlphaBeta, Composite, Epsilon, Flat, Gamma, WSquare, ZPlus, select
from tests.networks import Network, as_float, evaluate, gradient

Array = np.ndarray


def normal(*shape: int) -> Array:
    return np.random.default_rng([5, len(shape), *shape]).normal(size=shape)


def per_sample(value: Array) -> Array:
    return np.asarray(value, np.float64).reshape(len(value), -1).sum(1)


def check_identity(explanation: graphlrp.Explanation, start: Array, tolerance: float = 1e-9) -> None:
    """f = ΣR + absorbed for every sample, of numbers read off the explanation; the bias as an input is in both sums once."""
    relevance = explanation.relevance if isinstance(explanation.relevance, dict) else {"": explanation.relevance}
    reached = sum(per_sample(value) for name, value in relevance.items() if name != "bias")
    kinds = ("bias", "stabilizer", "constant", "dead", "residual")
    absorbed = sum(getattr(entry, kind) for entry in explanation.ledger for kind in kinds)
    scale = np.abs(start) + sum(np.abs(getattr(e, kind)) for e in explanation.ledger for kind in kinds)
    scale = scale + sum(per_sample(np.abs(value)) for value in relevance.values())
    np.testing.assert_array_less(np.abs(start - reached - absorbed), tolerance * scale + 1e-300)
    assert np.all(explanation.conservation_error < tolerance)
    if "bias" in relevance:
        np.testing.assert_allclose(relevance["bias"], sum(entry.bias for entry in explanation.ledger), rtol=1e-6, atol=1e-9)


# Random graphs


@dataclass
class Growing:
    """A random network of values [N, C, H, W], grown by draws of hypothesis."""

    draw: Any
    network: Network = field(default_factory=lambda: Network(a=["N", 2, 4, 4], b=["N", 3, 4, 4]))
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=lambda: {"a": (2, 4, 4), "b": (3, 4, 4)})
    count: int = 0

    def numbers(self, *shape: int) -> Array:
        self.count += 1
        return np.random.default_rng([self.count, self.seed]).normal(size=shape)

    def __post_init__(self) -> None:
        self.seed = self.draw(st.integers(0, 2**16))

    def any(self, **wanted: int) -> str:
        """A value so far, perhaps of certain sizes; late ones are as likely as early ones, so values are shared."""
        index = {"channels": 0, "height": 1, "width": 2}
        fitting = [n for n, shape in self.shapes.items() if all(shape[index[key]] == size for key, size in wanted.items())]
        return str(self.draw(st.sampled_from(fitting)))

    def grow(self) -> None:
        """Add one operator, or a pair of them."""
        kinds = (
            "conv relu merge concat scale shift maximum average turn slice split gate norm excite centre attend up response pick"
        )
        kind = self.draw(st.sampled_from(kinds.split()))
        x = self.any()
        c, h, w = self.shapes[x]
        net, add = self.network, self.shapes.__setitem__
        if kind == "conv":
            k, stride = self.draw(st.sampled_from([1, 3])), self.draw(st.sampled_from([1, 1, 2]))
            out = self.draw(st.integers(1, 3))
            bias = [self.numbers(out)] if self.draw(st.booleans()) else []
            y = net("Conv", x, self.numbers(out, c, k, k), *bias, pads=[k // 2] * 4, strides=[stride, stride])
            add(y, (out, -(-h // stride), -(-w // stride)))
        elif kind == "relu":
            add(net(self.draw(st.sampled_from(["Relu", "Relu", "Tanh", "LeakyRelu", "Softplus"])), x), (c, h, w))
        elif kind == "merge":
            y = self.any(channels=c, height=h, width=w)
            add(net(self.draw(st.sampled_from(["Add", "Sub", "Sum", "Mean", "Max"])), x, y), (c, h, w))
        elif kind == "concat":
            y = self.any(height=h, width=w)
            if c + self.shapes[y][0] <= 6:
                add(net("Concat", x, y, axis=1), (c + self.shapes[y][0], h, w))
        elif kind == "scale":
            add(net(self.draw(st.sampled_from(["Mul", "Div"])), x, self.numbers(c, 1, 1)), (c, h, w))
        elif kind == "shift":
            add(net("Add", x, self.numbers(*self.draw(st.sampled_from([(), (c, 1, 1), (c, h, w), (1, h, 1)])))), (c, h, w))
        elif kind in ("maximum", "average") and h >= 2 and w >= 2:
            stride = self.draw(st.integers(1, 2))
            y = net("MaxPool" if kind == "maximum" else "AveragePool", x, kernel_shape=[2, 2], strides=[stride, stride])
            add(y, (c, (h - 2) // stride + 1, (w - 2) // stride + 1))
        elif kind == "turn":
            if self.draw(st.booleans()):
                add(net("Transpose", x, perm=[0, 1, 3, 2]), (c, w, h))
            else:
                add(net("Reshape", x, np.array([0, w, -1, h])), (w, c, h))
        elif kind == "slice":
            if self.draw(st.booleans()):
                add(net("Slice", x, np.array([-1]), np.array([-100]), np.array([2]), np.array([-2])), (c, -(-h // 2), w))
            elif w < 6:
                add(net("Pad", x, np.array([0, 0, 0, 1, 0, 0, 0, 0]), self.numbers()), (c, h, w + 1))
        elif kind == "split" and c >= 2:
            parts = net("Split", x, np.array([1, c - 1]), outputs=2, axis=1)
            add(parts[0], (1, h, w))
            add(parts[1], (c - 1, h, w))
        elif kind == "gate":
            y = self.any(channels=c, height=h, width=w)
            add(net("Mul", net("Sigmoid", x), y), (c, h, w))
        elif kind == "norm":
            parameters = (self.numbers(c), self.numbers(c), self.numbers(c), np.abs(self.numbers(c)) + 0.5)
            add(net("BatchNormalization", x, *parameters), (c, h, w))
        elif kind == "excite":
            add(
                net("Mul", x, net("HardSigmoid", net(self.draw(st.sampled_from(["GlobalAveragePool", "GlobalMaxPool"])), x))),
                (c, h, w),
            )
        elif kind == "centre":
            axes = np.array(self.draw(st.sampled_from([[1], [2, 3], [-1]])))
            add(net("Sub", x, net(self.draw(st.sampled_from(["ReduceMean", "ReduceMax", "ReduceL2"])), x, axes)), (c, h, w))
        elif kind == "attend":
            scores = net("MatMul", x, net("Transpose", x, perm=[0, 1, 3, 2]))
            add(net("MatMul", net("Softmax", scores, axis=-1), x), (c, h, w))
        elif kind == "up" and h <= 3 and w <= 3:
            if self.draw(st.booleans()):
                add(net("ConvTranspose", x, self.numbers(c, 2, 2, 2), strides=[2, 2]), (2, 2 * h, 2 * w))
            else:
                y = net(
                    "Resize", x, None, np.array([1, 1, 2, 2], np.float32), mode=self.draw(st.sampled_from(["linear", "nearest"]))
                )
                add(y, (c, 2 * h, 2 * w))
        elif kind == "response":
            add(net("LRN", x, size=self.draw(st.sampled_from([1, 3])), alpha=0.5), (c, h, w))
        elif kind == "pick":
            add(net("Gather", net("Where", self.numbers(h, w) > 0, x, self.numbers()), np.array([0, -1, 0]), axis=2), (c, 3, w))

    def model(self) -> onnx.ModelProto:
        """The last values and both inputs, each behind a dense layer, summed; and a second output."""
        net = self.network
        names = list(dict.fromkeys([*list(self.shapes)[-3:], "a", "b"]))
        scores = []
        for name in names:
            flat = net("Flatten", name)
            scores.append(net("Gemm", flat, self.numbers(int(np.prod(self.shapes[name])), 3), self.numbers(3)))
        first = net("Sum", *scores, result="scores")
        return net.model(first, net("Tanh", scores[0], result="second"))


COMPOSITES: list[str | graphlrp.Rule | Composite] = [
    "epsilon",
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-alpha2beta1-flat",
    ZPlus(),
    "deep-taylor",
    Epsilon(0.0),
    AlphaBeta(2.0, renormalize=True),
    Gamma(0.25),
    Flat(),
    graphlrp.composite("epsilon-gamma-box", low=-4.0, high=4.0),
]


@st.composite
def models(draw: Any) -> onnx.ModelProto:
    growing = Growing(draw)
    for _ in range(draw(st.integers(2, 9))):
        growing.grow()
    return growing.model()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    model=models(),
    composite=st.sampled_from(COMPOSITES),
    bias=st.sampled_from(["absorb", "distribute", "ignore", "input"]),
    merge=st.sampled_from(["z", "abs", "equal"]),
    output=st.sampled_from(["scores", "second"]),
)
def test_random_graphs_conserve(model: onnx.ModelProto, composite: Any, bias: str, merge: str, output: str) -> None:
    generator = np.random.default_rng(11)
    feeds = {"a": generator.normal(size=(3, 2, 4, 4)), "b": generator.normal(size=(3, 3, 4, 4))}
    feeds["a"][1] = 0
    feeds["b"][2] = np.abs(feeds["b"][2])
    explain = None if output == "scores" else [n for n in ("a", "b") if depends(model, output, n)]
    explainer = graphlrp.load(
        model, composite, dtype="float64", ledger="strict", bias=bias, merge=merge, output=output, explain=explain, verify=False
    )
    explanation = explainer(feeds, [0, 2, 1])
    (f,) = evaluate(model, feeds, output)
    np.testing.assert_allclose(explanation.output, f, rtol=1e-9, atol=1e-9)
    check_identity(explanation, f[np.arange(3), [0, 2, 1]])
    # Samples do not know of each other.
    alone = explainer({name: array[1:2] for name, array in feeds.items()}, 2).relevance
    pairs = (
        [(alone, explanation.relevance)] if not isinstance(alone, dict) else [(alone[n], explanation.relevance[n]) for n in alone]
    )
    for one, three in pairs:
        np.testing.assert_allclose(one[0], three[1], rtol=1e-9, atol=1e-12 * max(1.0, np.abs(three).max()))


def depends(model: onnx.ModelProto, output: str, name: str) -> bool:
    """Whether a value is computed from another one."""
    producers = {result: node for node in model.graph.node for result in node.output}
    stack = [output]
    while stack:
        value = stack.pop()
        if value == name:
            return True
        stack += list(producers[value].input) if value in producers else []
    return False


@settings(max_examples=6, deadline=None, derandomize=True)
@given(model=models(), composite=st.sampled_from(["epsilon-plus-flat", "epsilon-alpha2beta1", ZPlus()]))
def test_random_graphs_conserve_on_onnx_runtime(model: onnx.ModelProto, composite: str | graphlrp.Rule) -> None:
    generator = np.random.default_rng(12)
    feeds = {
        "a": generator.normal(size=(2, 2, 4, 4)).astype(np.float32),
        "b": generator.normal(size=(2, 3, 4, 4)).astype(np.float32),
    }
    # Shares by magnitude have no poles, where single precision would show.
    explainer = graphlrp.load(as_float(model), composite, ledger="strict", merge="abs", providers="cpu")
    explanation = explainer(feeds)
    f = explanation.output
    check_identity(explanation, f.max(1), 1e-4)


# Equivalences


def rectifying(*, bias: bool, pooling: bool = True) -> onnx.ModelProto:
    """Convolutions, ReLUs, max and average pooling, a skip, dense layers: piecewise linear."""
    network = Network(x=["N", 2, 6, 6])
    terms: list[Any] = [normal(4), normal(4), normal(5), normal(3)] if bias else [None] * 4
    value = network("Relu", network("Conv", "x", normal(4, 2, 3, 3), terms[0], pads=[1, 1, 1, 1], name="first"))
    value = network("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]) if pooling else value
    inner = network("Relu", network("Conv", value, normal(4, 4, 3, 3), terms[1], pads=[1, 1, 1, 1], name="second"), name="inner")
    value = network("Add", value, inner)
    value = network("AveragePool", value, kernel_shape=[3, 3] if pooling else [6, 6])
    value = network("Relu", network("Gemm", network("Flatten", value), normal(4, 5), terms[2], name="hidden"), name="act")
    return network.model(network("Gemm", value, normal(5, 3), terms[3], name="score"))


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_lrp_0_equals_gradient_times_input(bias: bool) -> None:
    # (2.61): with the bias counted as a neuron, R_x = x · ∂f/∂x and R_b = b · ∂f/∂b.
    model = rectifying(bias=bias)
    x = normal(3, 2, 6, 6)
    (f,) = evaluate(model, {"x": x})
    best = np.eye(3)[f.argmax(1)]
    wanted = x * gradient(lambda points: evaluate(model, {"x": points})[0], x, best)
    explanation = graphlrp.load(model, Epsilon(0.0), dtype="float64", ledger=True, verify=False)(x)
    np.testing.assert_allclose(explanation.relevance, wanted, rtol=1e-5, atol=1e-6)
    biases = per_sample(f * best) - per_sample(wanted)
    np.testing.assert_allclose(sum(entry.bias for entry in explanation.ledger), biases, rtol=1e-5, atol=1e-5)
    assert bias or np.all(np.abs(biases) < 1e-5)
    # The merge has an ε of its own, which is all that is missing.
    assert max(np.abs(entry.dead).max() for entry in explanation.ledger) == 0


def test_linear_model() -> None:
    # (2.15): R_d = w_d x_d, R_b = b.
    w, b, x = normal(4, 3), normal(3), normal(5, 4)
    network = Network(x=["N", 4])
    model = network.model(network("Gemm", "x", w, b, name="score"))
    explanation = graphlrp.load(model, Epsilon(0.0), dtype="float64", ledger="strict", verify=False)(x, [0, 1, 2, 0, 1])
    np.testing.assert_allclose(explanation.relevance, x * w[:, [0, 1, 2, 0, 1]].T, rtol=1e-12)
    np.testing.assert_allclose(explanation.ledger["score"].bias, b[[0, 1, 2, 0, 1]], rtol=1e-12)


def test_class_activation_maps() -> None:
    # CAM: Σ_k w_kc A_k(h, w) / (H W), of the features before the global average.
    network = Network(x=["N", 2, 5, 4])
    features = network("Relu", network("Conv", "x", normal(4, 2, 3, 3), normal(4)), name="features")
    model = network.model(network("Gemm", network("Flatten", network("GlobalAveragePool", features)), normal(4, 3), normal(3)))
    x = normal(2, 2, 5, 4)
    (a,) = evaluate(model, {"x": x}, features)
    explainer = graphlrp.load(model, Epsilon(0.0), explain=features, dtype="float64", ledger="strict", verify=False)
    for c in range(3):
        cam = (a * normal(4, 3)[:, c].reshape(1, 4, 1, 1)).sum(1) / (3 * 2)
        np.testing.assert_allclose(explainer(x, c).relevance.sum(1), cam, rtol=1e-10)


def test_networks_a_and_b() -> None:
    # (2.63): network B sees x + m and has the bias b - W m, so that all of its activations are those of network A.
    m = -1.0
    w, b, v = normal(2, 2, 3, 3), normal(2), normal(8, 3)

    def build(bias: Array) -> onnx.ModelProto:
        network = Network(x=["N", 2, 4, 4])
        value = network("Relu", network("Conv", "x", w, bias, name="first"), name="features")
        return network.model(network("Gemm", network("Flatten", value), v, normal(3), name="score"))

    shift = m * w.sum((1, 2, 3))
    one, two = build(b), build(b - shift)
    x = np.abs(normal(2, 2, 4, 4))
    np.testing.assert_allclose(evaluate(one, {"x": x})[0], evaluate(two, {"x": x + m})[0], rtol=1e-12)

    def maps(rule: graphlrp.Rule) -> tuple[graphlrp.Explanation, graphlrp.Explanation]:
        composite = Composite([(select.first(), rule), (select.every(), Epsilon(1e-9))])
        options: dict[str, Any] = {"dtype": "float64", "ledger": "strict", "verify": False, "report": "features:0"}
        return graphlrp.load(one, composite, **options)(x, 1), graphlrp.load(two, composite, **options)(x + m, 1)

    for rule in (Flat(), WSquare()):
        a, b_ = maps(rule)
        np.testing.assert_allclose(a.relevance, b_.relevance, rtol=1e-9)
    a, b_ = maps(Epsilon(1e-9))
    assert np.abs(a.relevance - b_.relevance).max() > 0.1 * np.abs(a.relevance).max()
    # (2.64): R_x1 = R_x2 + R_mc, with mc = -m an input of its own, whose share network B counts as bias.
    features = a.intermediate["features:0"]
    z = evaluate(one, {"x": x}, "first:0")[0]
    s = features / (z + 1e-9 * np.where(z >= 0, 1, -1))
    share = np.zeros_like(x)
    for n, o, i, j in np.ndindex(*s.shape):
        share[n, :, i : i + 3, j : j + 3] += -m * w[o] * s[n, o, i, j]
    np.testing.assert_allclose(a.relevance, b_.relevance + share, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(b_.ledger["first"].bias, a.ledger["first"].bias + per_sample(share), rtol=1e-8)


# Inner values


def chain() -> onnx.ModelProto:
    """Every path goes through "inner"."""
    network = Network(x=["N", 2, 5, 5])
    value = network("Conv", "x", normal(4, 2, 3, 3), normal(4), pads=[1, 1, 1, 1], name="first")
    inner = network("Relu", value, name="inner")
    value = network("MaxPool", network("Relu", network("Conv", inner, normal(3, 4, 3, 3), normal(3))), kernel_shape=[3, 3])
    hidden = network("Gemm", network("Flatten", value), normal(3, 4), normal(4), name="hidden")
    return network.model(network("Gemm", network("Tanh", hidden, name="act"), normal(4, 3), normal(3), name="score"))


DOUBLE: dict[str, Any] = {"dtype": "float64", "ledger": "strict", "verify": False}


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-alpha2beta1-flat"])
def test_conditional_relevance_adds_up(composite: str) -> None:
    model, x = chain(), normal(2, 2, 5, 5)
    whole = graphlrp.load(model, composite, report="inner:0", **DOUBLE)(x, 1)
    (f,) = evaluate(model, {"x": x})
    inner = whole.intermediate["inner:0"]
    total = np.zeros_like(x)
    for channels in ([0], [1], [2, -1]):
        part = graphlrp.load(model, composite, report="inner:0", restrict={"inner:0": channels}, **DOUBLE)(x, 1)
        check_identity(part, f[:, 1])
        np.testing.assert_allclose(part.intermediate["inner:0"], inner, rtol=1e-12)
        dead = part.ledger["inner"].dead - whole.ledger["inner"].dead
        np.testing.assert_allclose(dead, per_sample(np.delete(inner, channels, axis=1)), rtol=1e-9, atol=1e-12)
        total += part.relevance
    np.testing.assert_allclose(total, whole.relevance, rtol=1e-8, atol=1e-10 * np.abs(whole.relevance).max())


def test_relevance_of_inner_values() -> None:
    model, x = chain(), normal(2, 2, 5, 5)
    names = ["act:0", "inner:0", "hidden:0"]
    whole = graphlrp.load(model, "epsilon-plus", report=names, **DOUBLE)(x, [2, 0])
    assert set(whole.intermediate) == set(names)
    for name in names:
        upper = graphlrp.load(model, "epsilon-plus", explain=name, **DOUBLE)(x, [2, 0])
        np.testing.assert_allclose(upper.relevance, whole.intermediate[name], rtol=1e-12)
        # From there on, the rest of the way: the walk is a composition.
        lower = graphlrp.load(model, "epsilon-plus", output=name, initial="one", **DOUBLE)(x, whole.intermediate[name])
        np.testing.assert_allclose(lower.relevance, whole.relevance, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(lower.output, evaluate(model, {"x": x}, name)[0], rtol=1e-10)
    # (2.37) and the last layer by hand, with ε = 1e-6.
    act, score = evaluate(model, {"x": x}, "act:0", "score:0")
    rows = np.arange(2)
    f, w = score[rows, [2, 0]][:, None], normal(4, 3)[:, [2, 0]].T
    np.testing.assert_allclose(whole.intermediate["hidden:0"], act * w * f / (f + 1e-6 * np.sign(f)), rtol=1e-9)


def test_start_at_an_inner_value() -> None:
    model, x = chain(), normal(2, 2, 5, 5)
    explanation = graphlrp.load(model, "epsilon", output="hidden:0", **DOUBLE)(x, 3)
    (hidden,) = evaluate(model, {"x": x}, "hidden:0")
    np.testing.assert_allclose(explanation.output, hidden, rtol=1e-10)
    check_identity(explanation, hidden[:, 3])
    # Four axes: a channel is explained, summed over its positions.
    explanation = graphlrp.load(model, "epsilon", output="first:0", **DOUBLE)(x, 1)
    (first,) = evaluate(model, {"x": x}, "first:0")
    check_identity(explanation, per_sample(first[:, 1]))


def test_explain_an_inner_value_and_the_input_together() -> None:
    # What reaches the inner value stays there; the input gets the rest.
    network = Network(x=["N", 4])
    hidden = network("Relu", network("Gemm", "x", normal(4, 3), normal(3)), result="h")
    skip = network("Gemm", "x", normal(4, 2))
    model = network.model(network("Add", network("Gemm", hidden, normal(3, 2)), skip))
    x = normal(3, 4)
    explanation = graphlrp.load(model, Epsilon(0.0), explain=["h", "x"], **DOUBLE)(x, 0)
    (h, f) = evaluate(model, {"x": x}, "h", model.graph.output[0].name)
    left, right = h @ normal(3, 2), x @ normal(4, 2)
    factor = (f / (f + 1e-6 * np.sign(f)))[:, :1]
    np.testing.assert_allclose(explanation.relevance["h"], h * normal(3, 2)[:, 0] * factor, rtol=1e-9)
    np.testing.assert_allclose(explanation.relevance["x"], x * normal(4, 2)[:, 0] * factor, rtol=1e-9)
    assert left.shape == right.shape


# Targets, initial relevance, biases


def test_targets_of_all_kinds() -> None:
    model, x = rectifying(bias=True), normal(4, 2, 6, 6)
    (f,) = evaluate(model, {"x": x})
    explainer = graphlrp.load(model, "epsilon", **DOUBLE)
    by_class = [explainer(x, c) for c in range(3)]
    for c, explanation in enumerate(by_class):
        check_identity(explanation, f[:, c])
        np.testing.assert_array_equal(explanation.target, [c] * 4)
    maps = np.stack([explanation.relevance for explanation in by_class])
    scale = np.abs(maps).max()
    best, mixed, rows = f.argmax(1), np.array([2, 0, 0, 1]), np.arange(4)
    weights = normal(4, 3)
    for target, wanted, start in (
        (None, maps[best, rows], f[rows, best]),
        (np.int64(1), maps[1], f[:, 1]),
        (mixed, maps[mixed, rows], f[rows, mixed]),
        (list(mixed), maps[mixed, rows], f[rows, mixed]),
        (mixed.astype(np.uint8), maps[mixed, rows], f[rows, mixed]),
        (np.eye(3)[mixed], maps[mixed, rows], f[rows, mixed]),
        (np.eye(3, dtype=int)[mixed], maps[mixed, rows], f[rows, mixed]),
        (weights, np.einsum("nc,cn...->n...", weights, maps), (weights * f).sum(1)),
        (np.array([0.5, 0.0, -2.0]), 0.5 * maps[0] - 2 * maps[2], 0.5 * f[:, 0] - 2 * f[:, 2]),
        ("all", maps.sum(0), f.sum(1)),
    ):
        explanation = explainer(x, target)
        np.testing.assert_allclose(explanation.relevance, wanted, rtol=1e-7, atol=1e-10 * scale)
        check_identity(explanation, start)
    np.testing.assert_array_equal(explainer(x).target, best)
    for size in (1, 3):
        parts = explainer(x, mixed, batch_size=size)
        np.testing.assert_allclose(parts.relevance, maps[mixed, rows], rtol=1e-7, atol=1e-10 * scale)
        np.testing.assert_allclose(parts.ledger["score"].relevance_in, f[rows, mixed], rtol=1e-9)


def test_initial_relevance() -> None:
    # On a linear model, LRP-0 from 1 gives x_d w_dc / f_c.
    w, b, x = normal(4, 3), normal(3), normal(2, 4)
    network = Network(x=["N", 4])
    model = network.model(network("Gemm", "x", w, b))
    f = x @ w + b
    quotients = x[:, :, None] * w / f[:, None, :]
    ones = graphlrp.load(model, Epsilon(0.0), initial="one", **DOUBLE)(x, 1)
    np.testing.assert_allclose(ones.relevance, quotients[:, :, 1], rtol=1e-10)
    check_identity(ones, np.ones(2))
    contrast = graphlrp.load(model, Epsilon(0.0), initial="contrastive", **DOUBLE)(x, [2, 0])
    wanted = [quotients[0] @ [-0.5, -0.5, 1.0], quotients[1] @ [1.0, -0.5, -0.5]]
    np.testing.assert_allclose(contrast.relevance, wanted, rtol=1e-10)
    check_identity(contrast, np.zeros(2))


def test_classes_along_another_axis() -> None:
    # Channels last [N, H, W, C]; the score of a class is the sum over positions.
    network = Network(x=["N", 3, 2, 4])
    model = network.model(network("MatMul", "x", normal(4, 3)))
    x = normal(2, 3, 2, 4)
    (f,) = evaluate(model, {"x": x})
    explainer = graphlrp.load(model, Epsilon(0.0), class_axis=-1, **DOUBLE)
    np.testing.assert_allclose(explainer(x, [2, 0]).relevance, x * normal(4, 3).T[[2, 0]][:, None, None], rtol=1e-9)
    np.testing.assert_array_equal(explainer(x).target, f.sum((1, 2)).argmax(1))
    one = network.model(network("ReduceSum", "x", np.array([1, 2, 3]), keepdims=0))
    np.testing.assert_allclose(graphlrp.load(one, Epsilon(0.0), **DOUBLE)(x).relevance, x, rtol=1e-9)


def test_the_bias_as_an_input() -> None:
    # Section 2.3: with ε = 0, f(x) is the sum over all inputs, the bias among them; the merge alone has an ε.
    model, x = rectifying(bias=True), normal(3, 2, 6, 6)
    (f,) = evaluate(model, {"x": x})
    explanation = graphlrp.load(model, Epsilon(0.0), bias="input", **DOUBLE)(x, 2)
    assert set(explanation.relevance) == {"x", "bias"}
    total = per_sample(explanation.relevance["x"]) + explanation.relevance["bias"]
    kept = sum(entry.stabilizer for entry in explanation.ledger)
    np.testing.assert_allclose(total, f[:, 2] - kept, rtol=1e-9)
    assert np.all(np.abs(kept) < 1e-3 * np.abs(f[:, 2]) + 1e-3)
    quiet = graphlrp.load(model, Epsilon(0.0), bias="input", dtype="float64", verify=False)(x, 2)
    np.testing.assert_allclose(quiet.relevance["bias"], explanation.relevance["bias"], rtol=1e-12)


@pytest.mark.parametrize("last", ["Softmax", "Sigmoid", "LogSoftmax"])
def test_deciding_activations_at_the_end_are_no_part_of_what_is_explained(last: str) -> None:
    network = Network(x=["N", 4])
    logits = network("Gemm", "x", normal(4, 3), normal(3), name="logits")
    outer = network("Reshape", network(last, logits, name="decision"), np.array([0, 3]))
    model = network.model(outer)
    x = normal(2, 4)
    explainer = graphlrp.load(model, "epsilon", **DOUBLE)
    explanation = explainer(x, 1)
    np.testing.assert_allclose(explanation.output, x @ normal(4, 3) + normal(3), rtol=1e-12)
    np.testing.assert_allclose(explanation.model_outputs[outer], evaluate(model, {"x": x})[0], rtol=1e-12)
    check_identity(explanation, explanation.output[:, 1])
    assert any("decision" in text for text in explainer.plan.removed)


def test_rules_meet_in_the_limit() -> None:
    # γ = 0 is LRP-0, α = 1 is z⁺, and a large γ comes close to z⁺ where z > 0.
    w, x = normal(6, 4), np.abs(normal(3, 6))
    network = Network(x=["N", 6])
    model = network.model(network("Gemm", "x", w))

    def relevance(rule: graphlrp.Rule) -> Array:
        return graphlrp.load(model, rule, initial="one", **DOUBLE)(x, np.where(x @ w > 0, 1.0, 0.0)).relevance

    np.testing.assert_allclose(relevance(Gamma(0.0)), relevance(Epsilon(0.0)), rtol=1e-12)
    np.testing.assert_allclose(relevance(AlphaBeta(1.0)), relevance(ZPlus()), rtol=1e-12)
    np.testing.assert_allclose(relevance(Gamma(1e9)), relevance(ZPlus()), rtol=1e-6, atol=1e-8)


def test_an_output_behind_a_relu_may_start_from_one() -> None:
    # Relevance that starts from 1 is no multiple of the output, so signs of z matter where the ReLU is zero.
    weights = np.random.default_rng(3).normal(size=(4, 3))
    net = Network(x=("N", 4))
    model = net.model(net("Relu", net("Gemm", "x", weights)))
    x = np.random.default_rng(4).normal(size=(5, 4))
    explanation = graphlrp.load(model, graphlrp.Epsilon(0.1), initial="one", dtype="float64", ledger="strict")(x, 0)
    z = x @ weights[:, 0]
    expected = x * weights[:, 0] / (z + 0.1 * np.where(z >= 0, 1, -1))[:, None]
    np.testing.assert_allclose(explanation.relevance, expected, rtol=1e-10)


def test_class_out_of_range_where_the_number_of_classes_is_dynamic() -> None:
    net = Network(x=("N", "C"))
    with pytest.raises(graphlrp.InputError, match="class 7 is out of range"):
        graphlrp.load(net.model(net("Relu", "x")), dtype="float64")(np.ones((2, 4)), 7)


def test_embedded_rows_stand_for_identifiers() -> None:
    """Integers have no relevance; the rows that they look up have, one relevance per component of each row."""
    net = Network(ids=["N", 6])
    net.inputs[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    table, head = normal(7, 4), normal(4, 3)
    rows = net("Gather", table, net("Unsqueeze", "ids", np.array([2])), name="look up")
    score = net("MatMul", net("ReduceSum", net("Squeeze", rows, np.array([2])), np.array([1]), keepdims=0), head)
    model = net.model(score)
    ids = np.random.default_rng(0).integers(0, 7, size=(5, 6))
    explanation = graphlrp.load(model, "epsilon", dtype="float64", ledger="strict")(ids)
    contributions = table[ids] * head.T[explanation.target][:, None, :]
    np.testing.assert_allclose(explanation.relevance.reshape(5, 6, 4), contributions, rtol=1e-3)
    named = graphlrp.load(model, "epsilon", dtype="float64", explain="ids")(ids)
    np.testing.assert_array_equal(named.relevance, explanation.relevance)


def test_weights_may_be_named_as_emitted_constants_are() -> None:
    generator = np.random.default_rng(0)
    weights = {"const_1d_1": generator.normal(size=(4, 3)), "const_0.0_f32": generator.normal(size=3)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["x", *weights], ["y"]), onnx.helper.make_node("Relu", ["y"], ["z"])],
        "names",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 3])],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    explanation = graphlrp.load(model, "epsilon", ledger="strict")(generator.normal(size=(2, 4)).astype(np.float32))
    assert explanation.relevance.shape == (2, 4)
