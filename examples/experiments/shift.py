"""Two networks that compute the same from shifted inputs, and what that does to relevance (2.3.5, figures 2.9 and 2.10).

Network A reads digits x_1 with values from 0 (background) to 1 (ink). Network B reads x_2 = x_1 + m with m = -1, so background
is -1 and ink 0, and has A's weights but for the biases of its first layer, b_2 = b - W m (2.63). All activations are the same. By
the ε rule relevance moves to other pixels; by the ♭ rule in the first layer it does not.

Network B' has the shift as a second input, W x_2 + W m_c + b, where the image m_c = -m compensates it: R_x1 = R_x2 + R_mc (2.64).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from plotting import draw_map, draw_picture, new_figure, save, signed
from sources import BUILD, Array, Digits, load_digits
from train_cnn import accuracy, trained

import graphlrp
from graphlrp import Composite, Epsilon, Flat, select
from graphlrp.visual import relevance_scale

SHIFT = -1.0
SHOWN = (2, 0, 4, 5)

EPSILON_RULE = Composite([(select.every(), Epsilon(0.0))], "epsilon")
FLAT_FIRST = EPSILON_RULE.before((select.first(), Flat()), name="flat in the first layer")


def first_layer(model: onnx.ModelProto) -> tuple[Array, Array]:
    """Weights [O, 1, k, k] and biases [O] of the first convolution."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return arrays["conv1.weight"], arrays["conv1.bias"]


def with_first_layer(model: onnx.ModelProto, weight: Array, bias: Array) -> onnx.ModelProto:
    """A copy of the model with other weights and biases in the first convolution."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in ("conv1.weight", "conv1.bias"):
            array = weight if tensor.name == "conv1.weight" else bias
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))
    return copy


def network_b(a: onnx.ModelProto) -> onnx.ModelProto:
    """A for inputs that are shifted by m: b_2 = b - W m."""
    weight, bias = first_layer(a)
    return with_first_layer(a, weight, bias - SHIFT * weight.sum((1, 2, 3)))


def network_b_of_two_inputs(a: onnx.ModelProto) -> onnx.ModelProto:
    """B whose compensation is an input: ``image`` is x_2, ``compensation`` is m_c; both are channels of one picture."""
    weight, bias = first_layer(a)
    result = with_first_layer(a, np.concatenate([weight, weight], 1), bias)
    shape = ["N", 1, *(dimension.dim_value for dimension in a.graph.input[0].type.tensor_type.shape.dim[2:])]
    result.graph.input.append(helper.make_tensor_value_info("compensation", TensorProto.FLOAT, shape))
    result.graph.node[0].input[0] = "both"
    result.graph.node.insert(0, helper.make_node("Concat", ["image", "compensation"], ["both"], "both", axis=1))
    onnx.checker.check_model(result, full_check=True)
    return result


def relative(a: Array, b: Array) -> float:
    """The largest difference over the largest magnitude."""
    return float(np.abs(a - b).max() / np.abs(a).max())


def explain(a: onnx.ModelProto, x: Array) -> dict[str, Array]:
    """Relevance of the predicted class for A, B and B', by rule; prints what the source says must hold, and what biases took."""
    b, b_of_two = network_b(a), network_b_of_two_inputs(a)
    compensation = np.full_like(x, -SHIFT)
    inputs = {"A": (a, x), "B": (b, x + SHIFT), "B'": (b_of_two, {"image": x + SHIFT, "compensation": compensation})}
    maps, outputs = {}, {}
    for name, (model, given) in inputs.items():
        for rule, composite in (("epsilon", EPSILON_RULE), ("flat", FLAT_FIRST)):
            explanation = graphlrp.load(model, composite, ledger=True)(given)
            maps[f"{name} {rule}"] = explanation.relevance
            outputs[name] = explanation.output
            if rule == "epsilon":
                taken = explanation.ledger["conv1"].bias
                print(f"{name}, epsilon: first bias takes {taken.mean():.3f} of f(x) = {explanation.output.max(1).mean():.3f}")
        gradient = graphlrp.load(model, "gradient")(given).relevance
        maps[f"{name} gradient"] = gradient["image"] if isinstance(gradient, dict) else gradient
    of_b = maps.pop("B' epsilon")
    maps["B' image"], maps["B' compensation"] = of_b["image"], of_b["compensation"]
    maps["B' sum"] = of_b["image"] + of_b["compensation"]
    for what, first, second in (
        ("outputs of A and B", outputs["A"], outputs["B"]),
        ("gradients of A and B", maps["A gradient"], maps["B gradient"]),
        ("flat: R_x1 of A and R_x2 of B", maps["A flat"], maps["B flat"]),
        ("epsilon: R_x1 of A and R_x2 of B", maps["A epsilon"], maps["B epsilon"]),
        ("epsilon: R_x1 of A and R_x2 + R_mc of B'", maps["A epsilon"], maps["B' sum"]),
    ):
        print(f"{what} differ by {relative(first, second):.1e} of the largest magnitude")
    return maps


def draw(x: Array, maps: dict[str, Array], folder: Path) -> None:
    """A row for every digit; maps by ε share a scale, so do maps by ♭."""
    columns = {
        "A epsilon": "A, ε: $R_{x_1}$",
        "B epsilon": "B, ε: $R_{x_2}$",
        "B' compensation": "B', ε: $R_{m_c}$",
        "B' sum": "B', ε: $R_{x_2} + R_{m_c}$",
        "A flat": "A, ♭",
        "B flat": "B, ♭",
    }
    figure = new_figure(9.6, 1.42 * len(x) + 0.3)
    for n, row in enumerate(figure.subplots(len(x), 1 + len(columns), squeeze=False)):
        draw_picture(row[0], x[n], "input" if n == 0 else "")
        for rule in ("epsilon", "flat"):
            own = [name for name in columns if (rule == "flat") == name.endswith("flat")]
            scale = relevance_scale([maps[name][n] for name in own], joint=True, percentile=99.8)[0]
            for name in own:
                axes = row[1 + list(columns).index(name)]
                total = f"$\\Sigma R$ = {signed(float(maps[name][n].sum()), 1)}"
                draw_map(axes, maps[name][n], scale, columns[name] if n == 0 else "", total)
    save(figure, "shift", folder)


def main(folder: Path = BUILD, data: Digits | None = None) -> None:
    """Train A, build B, compare them."""
    data = data or load_digits(0, 1)
    a = onnx.load(trained("cnn", data.pictures, data.labels, folder=folder))
    for name, model, pictures in (("A", a, data.test_pictures), ("B", network_b(a), data.test_pictures + SHIFT)):
        print(f"network {name}: accuracy {accuracy(model, pictures, data.test_labels):.3f}")
    x = data.test_pictures[[np.flatnonzero(data.test_labels == label)[0] for label in SHOWN]]
    draw(x, explain(a, x), folder)


if __name__ == "__main__":
    main()
