"""Networks built node by node for tests, and what the ONNX reference says of them. Nothing here uses the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import erf
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

Array = npt.NDArray[Any]

KINDS = {TensorProto.DOUBLE: np.float64, TensorProto.FLOAT: np.float32}


class Network:
    """A graph under construction: ``net("Relu", net("Conv", "x", kernel))`` adds two nodes and returns the last value's name.

    Arrays of float64 take the element type of the network; names of nodes are ``operator_number`` unless they are given.
    """

    def __init__(self, dtype: int = TensorProto.DOUBLE, opset: int = 18, **inputs: Sequence[int | str]) -> None:
        self.dtype = dtype
        self.opset = opset
        self.inputs = [helper.make_tensor_value_info(name, dtype, list(shape)) for name, shape in inputs.items()]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.keep: set[str] = set()

    def constant(self, array: Any) -> str:
        """An initializer."""
        array = np.asarray(array)
        if array.dtype == np.float64:
            array = array.astype(KINDS[self.dtype])
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def __call__(
        self,
        operator: str,
        *inputs: Any,
        outputs: int = 1,
        name: str | None = None,
        domain: str = "",
        result: str | None = None,
        **attributes: Any,
    ) -> Any:
        """Add a node; arrays among the inputs become initializers, None leaves an input out."""
        label = name or f"{operator}_{len(self.nodes)}"
        names = [i if isinstance(i, str) else "" if i is None else self.constant(i) for i in inputs]
        results = [result or f"{label}:0", *(f"{label}:{k}" for k in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, names, results, name=label, domain=domain, **attributes))
        return results[0] if outputs == 1 else results

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The model with these values as outputs."""
        graph = helper.make_graph(
            self.nodes,
            "network",
            self.inputs,
            [helper.make_tensor_value_info(name, self.dtype, None) for name in outputs],
            self.initializers,
        )
        domains = sorted({node.domain for node in self.nodes} | {""})
        sets = [helper.make_opsetid(domain, 1 if domain else self.opset) for domain in domains]
        return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=sets, ir_version=10))


class LRN(OpRun):
    """As ONNX defines it; the reference of onnx 1.23 leaves out channels."""

    op_domain = ""

    def _run(self, x: Array, alpha: float, beta: float, bias: float, size: int) -> tuple[Array]:  # type: ignore[override]
        y = np.empty_like(x)
        for c in range(x.shape[1]):
            first, last = max(0, c - (size - 1) // 2), min(x.shape[1] - 1, c + -(-(size - 1) // 2))
            square_sum = (x[:, first : last + 1] ** 2).sum(1)
            y[:, c] = x[:, c] / (bias + alpha / size * square_sum) ** beta
        return (y,)


class Gelu(OpRun):
    """As ONNX defines it; the function that the reference of onnx 1.23 takes for it computes in single precision."""

    op_domain = ""

    def _run(self, x: Array, approximate: str = "none") -> tuple[Array]:  # type: ignore[override]
        if approximate == "tanh":
            return (0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),)
        return (0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2))),)


class Erf(OpRun):
    """In double precision, which the reference of onnx 1.23 gives away."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:  # type: ignore[override]
        return (np.vectorize(erf)(x),)


def evaluate(model: onnx.ModelProto, feeds: Mapping[str, Array], *values: str) -> list[Array]:
    """Outputs of a model, or any of its values, as the ONNX reference defines them."""
    evaluator = ReferenceEvaluator(with_outputs(model, *values) if values else model, new_ops=[LRN, Gelu, Erf])
    return [np.asarray(value) for value in evaluator.run(None, dict(feeds))]


def with_outputs(model: onnx.ModelProto, *values: str) -> onnx.ModelProto:
    """The model with other values as its outputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    result.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in values)
    return result


def as_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of doubles in single precision."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.data_type == TensorProto.DOUBLE:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in [*result.graph.input, *result.graph.output, *result.graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in result.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
    return result


def gradient(function: Callable[[Array], Array], x: Array, weights: Array, step: float = 1e-6) -> Array:
    """∂/∂x Σ_j weights_j f_j(x) by central differences; all samples and components at once, so f must treat samples apart.

    Args:
        function: [N, ...] -> [N, ...], for any N.
        x: the samples, [N, ...].
        weights: what the outputs are summed with, shaped like the outputs.
        step: half of the distance between the points.
    """
    count, size = len(x), int(np.prod(x.shape[1:]))
    units = np.eye(size).reshape(1, size, *x.shape[1:]) * step
    ends = []
    for sign in (1, -1):
        moved = (x[:, None] + sign * units).reshape(count * size, *x.shape[1:])
        values = function(moved).reshape(count, size, -1)
        ends.append((values * weights.reshape(count, 1, -1)).sum(2))
    return ((ends[0] - ends[1]) / (2 * step)).reshape(x.shape)


@dataclass
class Case:
    """One node ``operator(x, constants...)`` and the shape of a sample of x.

    Attributes:
        free: axes of the sample whose size a dynamic model leaves open; by default all but the first.
    """

    operator: str
    sample: tuple[int, ...]
    constants: dict[int, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    position: int = 0
    opset: int = 18
    free: Sequence[int] | None = None

    def add(self, network: Network, x: str, name: str) -> str:
        """Add the node to a network."""
        inputs = self.inputs()
        inputs[self.position] = x
        return str(network(self.operator, *inputs, name=name, **self.attributes))

    def shape(self, *, dynamic: bool, batch: int | str = "N", prefix: str = "") -> list[int | str]:
        """Shape of the model's input."""
        free = range(1, len(self.sample)) if self.free is None else self.free
        return [batch, *(f"{prefix}size_{k}" if dynamic and k in free else n for k, n in enumerate(self.sample))]

    def inputs(self) -> list[Any]:
        """Inputs of the node as the conformance kit takes them: the shape of a sample, and constants."""
        entries: list[Any] = [self.constants.get(index) for index in range(max([self.position, *self.constants]) + 1)]
        entries[self.position] = self.sample
        return entries

    def model(self, batch: int | str = "N", *, dynamic: bool = False) -> onnx.ModelProto:
        """The node as a model of its own."""
        network = Network(opset=self.opset, x=self.shape(dynamic=dynamic, batch=batch))
        return network.model(self.add(network, "x", "the node"))


def side_by_side(cases: Mapping[str, Case], *, dynamic: bool) -> onnx.ModelProto:
    """Many cases as one model: an input for each, and one output with all of their outputs in a row."""
    inputs = {f"x{k}": case.shape(dynamic=dynamic, prefix=f"x{k}_") for k, case in enumerate(cases.values())}
    network = Network(opset=max(case.opset for case in cases.values()), **inputs)
    values = [case.add(network, f"x{k}", name) for k, (name, case) in enumerate(cases.items())]
    return network.model(network("Concat", *(network("Flatten", value) for value in values), axis=1))


def runtime_forward(model: onnx.ModelProto) -> Callable[..., list[Array]]:
    """The function of a model on ONNX Runtime in single precision: feeds -> outputs."""
    session = onnxruntime.InferenceSession(as_float(model).SerializeToString(), providers=["CPUExecutionProvider"])

    def run(**feeds: Array) -> list[Array]:
        single = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in feeds.items()}
        return [np.asarray(value) for value in session.run(None, single)]

    return run
