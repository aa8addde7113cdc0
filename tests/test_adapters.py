"""Adapters with stand-ins for what they adapt to; acceptance/test_adapters.py has PyTorch, Quantus and Captum themselves."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

import graphlrp
from graphlrp import adapters
from graphlrp.adapters.tensors import is_tensor, like, to_array
from graphlrp.adapters.weights import checksum
from tests.networks import Network, TensorProto, helper

COUNT = 7


def classifier(seed: int = 0) -> bytes:
    """Pictures [N, 2, 4, 4] -> three classes."""
    generator = np.random.default_rng(seed)
    net = Network(TensorProto.FLOAT, x=("N", 2, 4, 4))
    hidden = net("Relu", net("Conv", "x", generator.normal(size=(3, 2, 3, 3)), generator.normal(size=3)))
    return net.model(net("Gemm", net("Flatten", hidden), generator.normal(size=(12, 3)))).SerializeToString()


def segmentation() -> bytes:
    """Pictures [N, 2, 4, 4] -> scores [N, 3, 4, 4]."""
    net = Network(TensorProto.FLOAT, x=("N", 2, 4, 4))
    kernel = np.random.default_rng(1).normal(size=(3, 2, 3, 3))
    return net.model(net("Conv", "x", kernel, pads=[1, 1, 1, 1])).SerializeToString()


def tokens() -> bytes:
    """Numbers of tokens [N, 4] and a mask [N, 4, 1] -> two classes; what is explained is the embedding."""
    generator = np.random.default_rng(2)
    net = Network(TensorProto.FLOAT, mask=("N", 4, 1))
    net.inputs.insert(0, helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 4]))
    rows = net("Mul", net("Gather", generator.normal(size=(9, 5)), "ids"), "mask")
    return net.model(net("Gemm", net("Flatten", rows), generator.normal(size=(20, 2)))).SerializeToString()


def two_inputs() -> bytes:
    """Features [N, 5] and [N, 4] -> three classes."""
    generator = np.random.default_rng(3)
    net = Network(TensorProto.FLOAT, left=("N", 5), right=("N", 4))
    left, right = net("Gemm", "left", generator.normal(size=(5, 3))), net("Gemm", "right", generator.normal(size=(4, 3)))
    return net.model(net("Add", left, right)).SerializeToString()


def samples(*shape: int, seed: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(COUNT, *shape)).astype(np.float32)


# A library of tensors


class Tensor:
    """As much of a tensor as adapters use; on a device, numpy() fails as it does with PyTorch."""

    def __init__(self, values: np.ndarray, device: str = "cpu", *, attached: bool = False) -> None:
        self.values, self.device, self.attached = values, device, attached
        self.dtype, self.shape = values.dtype, values.shape

    def detach(self) -> Tensor:
        return Tensor(self.values, self.device)

    def cpu(self) -> Tensor:
        return Tensor(self.values, attached=self.attached)

    def numpy(self) -> np.ndarray:
        if self.device != "cpu" or self.attached:
            raise RuntimeError("call detach and cpu first")
        if self.values.dtype == object:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values

    def to(self, wanted: Any) -> Tensor:
        return Tensor(self.values, wanted) if isinstance(wanted, str) else Tensor(self.values.astype(wanted), self.device)

    def is_floating_point(self) -> bool:
        return self.values.dtype.kind == "f"


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that tensors are of."""
    module = types.ModuleType("tensorlibrary")
    module.from_numpy = Tensor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorlibrary", module)
    monkeypatch.setattr(Tensor, "__module__", "tensorlibrary.tensors")


def test_tensors_become_arrays_and_arrays_tensors() -> None:
    values = samples(3)
    tensor = Tensor(values, "gpu:1", attached=True)
    assert is_tensor(tensor) and not is_tensor(values)
    np.testing.assert_array_equal(to_array(tensor), values)
    back = like(values.astype(np.float64), tensor)
    assert isinstance(back, Tensor) and (back.device, back.dtype) == ("gpu:1", np.float32)
    assert like(values, Tensor(np.arange(3))).dtype == np.float32
    assert like(values, values) is values
    assert like(values, [1, 2]) is values
    with pytest.raises(graphlrp.InputError, match=r"BFloat16.*\.float\(\)"):
        to_array(Tensor(np.array([None])))


def test_tensors_of_derived_classes_know_their_library() -> None:
    class Own(Tensor):
        pass

    assert type(like(samples(3), Own(samples(3)))) is Tensor

    class Foreign:
        detach = cpu = numpy = device = None

    with pytest.raises(graphlrp.InputError, match="Foreign comes from no library"):
        like(samples(3), Foreign())


# Quantus


class Model:
    """A model of PyTorch, as far as its weights go."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def state_dict(self) -> dict[str, Any]:
        return {"weight": Tensor(np.full(3, self.seed, np.float32), "gpu", attached=True), "extra": None}


class KerasModel:
    """A model of Keras, as far as its weights go."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def get_weights(self) -> list[np.ndarray]:
        return [np.array(value) for value in self.values]


def test_weights_are_told_apart() -> None:
    assert checksum(Model(1)) == checksum(Model(1)) != checksum(Model(2))
    assert checksum(KerasModel(1, 2)) == checksum(KerasModel(1, 2)) != checksum(KerasModel(2, 1))
    assert checksum(object()) is None


@pytest.mark.parametrize("targets", [None, np.arange(COUNT) % 3, (np.arange(COUNT) % 3).tolist()], ids=["none", "array", "list"])
def test_a_function_explains_as_the_explainer_does(targets: Any) -> None:
    x = samples(2, 4, 4)
    explainer = graphlrp.load(classifier(), "epsilon", bias="distribute")
    expected = explainer(x, targets).relevance
    for function in (
        adapters.quantus(explainer),
        adapters.quantus(classifier(), "epsilon", bias="distribute", batch_size=3),
        adapters.quantus(lambda model: classifier(model.seed), "epsilon", bias="distribute"),
    ):
        for inputs in (x, Tensor(x, "gpu", attached=True)):
            result = function(model=Model(), inputs=inputs, targets=targets, device="cpu", method="LRP")
            assert isinstance(result, np.ndarray) and result.dtype == np.float32
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(function(Model(), x, targets), result)
        summed = function(Model(), x, targets, reduce_axes=(1,))
        assert summed.shape == (COUNT, 1, 4, 4)
        np.testing.assert_allclose(summed[:, 0], result.sum(axis=1), rtol=1e-5, atol=1e-6)


def test_randomised_models_are_exported_again() -> None:
    x = samples(2, 4, 4)
    seen: list[int] = []

    def export(model: Model) -> bytes:
        seen.append(model.seed)
        return classifier(model.seed)

    function = adapters.quantus(export, "epsilon")
    for seed in (0, 1, 0, 2, 3, 4, 5, 0, 5, 0):
        np.testing.assert_array_equal(function(Model(seed), x, 1), graphlrp.load(classifier(seed), "epsilon")(x, 1).relevance)
    # The first one is kept however many follow, for metrics come back to it.
    assert seen == [0, 1, 2, 3, 4, 5]
    with pytest.raises(graphlrp.InputError, match="object has no weights that can be read"):
        function(object(), x, 1)


def test_randomised_models_are_no_business_of_one_explainer() -> None:
    x = samples(2, 4, 4)
    function = adapters.quantus(classifier(), "epsilon")
    first = function(Model(0), x, 1)
    np.testing.assert_array_equal(function(Model(0), x, 1), first)
    np.testing.assert_array_equal(function(object(), x, 1), first)
    with pytest.raises(graphlrp.InputError, match=r"other weights than before.*a function that exports"):
        function(Model(1), x, 1)


def test_what_quantus_cannot_evaluate() -> None:
    explainer = graphlrp.load(classifier())
    for make in (adapters.quantus, adapters.captum):
        for options in ({"composite": "epsilon"}, {"bias": "ignore"}):
            with pytest.raises(graphlrp.InputError, match=r"give them to graphlrp\.load"):
                make(explainer, **options)
    inner = adapters.quantus(classifier(), "epsilon", explain="Relu_1:0")
    with pytest.raises(graphlrp.InputError, match="relevance of the model's one input"):
        inner(None, samples(2, 4, 4), 1)


# Captum


def test_tensors_in_tensors_out() -> None:
    x = samples(2, 4, 4)
    explainer = graphlrp.load(classifier(), "epsilon")
    method = adapters.captum(explainer)
    expected = explainer(x, 1).relevance
    np.testing.assert_array_equal(method.attribute(x, 1), expected)
    result = method.attribute(Tensor(x.astype(np.float64), "gpu", attached=True), target=1)
    assert isinstance(result, Tensor) and (result.device, result.dtype) == ("gpu", np.float64)
    np.testing.assert_allclose(result.values, expected, rtol=1e-6)
    (alone,) = method.attribute((Tensor(x),), 1)
    np.testing.assert_array_equal(alone.values, expected)
    made = adapters.captum(classifier(), "epsilon", batch_size=2)
    np.testing.assert_allclose(made.attribute(x, 1), expected, rtol=1e-5, atol=1e-6)


CLASSES = np.arange(COUNT) % 3


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        (2, 2),
        (np.int64(2), 2),
        ([2], 2),
        (Tensor(np.array(2)), 2),
        (Tensor(np.array([2])), 2),
        (CLASSES.tolist(), CLASSES),
        (Tensor(CLASSES, "gpu"), CLASSES),
        (None, None),
        ((2,), 2),
        ([(c,) for c in CLASSES.tolist()], CLASSES),
    ],
    ids=range(10),
)
def test_targets_of_classes(target: Any, meant: Any) -> None:
    x = samples(2, 4, 4)
    explainer = graphlrp.load(classifier(), "epsilon")
    np.testing.assert_allclose(
        adapters.captum(explainer).attribute(x, target), explainer(x, meant).relevance, rtol=1e-5, atol=1e-6
    )


def test_targets_are_places_in_larger_outputs() -> None:
    x = samples(2, 4, 4)
    explainer = graphlrp.load(segmentation(), "epsilon")
    method = adapters.captum(explainer)
    places = [(k % 3, k % 4, (k + 1) % 4) for k in range(COUNT)]
    for target in ((1, 2, 3), places):
        weights = np.zeros((COUNT, 3, 4, 4), np.float32)
        for sample in range(COUNT):
            weights[(sample, *(target[sample] if isinstance(target, list) else target))] = 1
        result, delta = method.attribute(x, target, return_convergence_delta=True)
        np.testing.assert_array_equal(result, explainer(x, weights).relevance)
        # Without biases relevance is conserved: all of f(x) arrives.
        np.testing.assert_allclose(delta, 0, atol=1e-5)
        np.testing.assert_allclose(result.sum(axis=(1, 2, 3)), (explainer.predict(x) * weights).sum(axis=(1, 2, 3)), rtol=1e-4)


def test_deltas_are_what_did_not_arrive() -> None:
    x = samples(2, 4, 4)
    explainer = graphlrp.load(classifier(), "epsilon", ledger=True)
    explanation = explainer(x, CLASSES)
    for given in (x, Tensor(x, "gpu")):
        result, delta = adapters.captum(explainer).attribute(given, CLASSES.tolist(), return_convergence_delta=True)
        assert type(result) is type(given) and type(delta) is type(given)
        expected = explanation.output[np.arange(COUNT), CLASSES] - explanation.relevance.sum(axis=(1, 2, 3))
        np.testing.assert_allclose(to_array(delta), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(to_array(delta), explanation.ledger.absorbed, rtol=1e-3, atol=1e-4)


def test_several_inputs_are_a_tuple() -> None:
    left, right = samples(5), samples(4)
    explainer = graphlrp.load(two_inputs(), "epsilon")
    expected = explainer({"left": left, "right": right}, 1).relevance
    results, delta = adapters.captum(explainer).attribute((Tensor(left), right), 1, return_convergence_delta=True)
    assert isinstance(results, tuple) and isinstance(results[0], Tensor) and isinstance(results[1], np.ndarray)
    np.testing.assert_array_equal(results[0].values, expected["left"])
    np.testing.assert_array_equal(results[1], expected["right"])
    np.testing.assert_allclose(delta.values, 0, atol=1e-5)
    # One of them is explained, the other one is given along.
    one = adapters.captum(two_inputs(), "epsilon", explain="left")
    np.testing.assert_array_equal(one.attribute(left, 1, additional_forward_args=right), one.attribute(left, 1, (right,)))
    np.testing.assert_allclose(one.attribute(left, 1, right), expected["left"], rtol=1e-5)


def test_inner_values_have_relevance_of_their_own() -> None:
    ids = np.random.default_rng(5).integers(0, 9, (COUNT, 4))
    mask = np.ones((COUNT, 4, 1), np.float32)
    explainer = graphlrp.load(tokens(), "epsilon", explain="Gather_0:0")
    expected = explainer({"ids": ids, "mask": mask}, 1).relevance
    result = adapters.captum(explainer).attribute(Tensor(ids), 1, additional_forward_args=Tensor(mask))
    assert result.dtype == np.float32 and result.shape == (COUNT, 4, 5)
    np.testing.assert_array_equal(result.values, expected)


def test_what_captum_asks_of_a_method() -> None:
    x = samples(2, 4, 4)
    method = adapters.captum(classifier(), "epsilon")
    assert method.has_convergence_delta() and method.multiplies_by_inputs
    undecorated: Any = method.attribute.__wrapped__  # type: ignore[attr-defined]
    np.testing.assert_array_equal(undecorated(method, x, 1), method.attribute(x, 1))
    output = method.forward_func(Tensor(x, "gpu"))
    assert output.device == "gpu"
    np.testing.assert_array_equal(output.values, method.explainer.predict(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": 3}, "out of range"),
        ({"target": [0, 1]}, "2 targets for 7"),
        ({"target": 1.5}, "a target is a class"),
        ({"target": "cat"}, "a target is a class"),
        ({"target": np.zeros((COUNT, 3))}, "a target is a class"),
        ({"target": (1, 2)}, r"no place in an output of shape \[3\]"),
        ({"target": (3,)}, "no place"),
        ({"target": (-1,)}, "no place"),
        ({"target": [(1,), (2,)]}, "2 targets for 7"),
        ({"inputs": (samples(2, 4, 4),) * 2}, "inputs 'x', but 2 were given"),
        ({"inputs": samples(2, 4)}, "the model wants"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit(arguments: dict[str, Any], message: str) -> None:
    method = adapters.captum(classifier(), "epsilon")
    with pytest.raises(graphlrp.InputError, match=message):
        method.attribute(**{"inputs": samples(2, 4, 4), "target": 1, **arguments})


def test_inputs_are_those_that_are_explained() -> None:
    left, right = samples(5), samples(4)
    whole = adapters.captum(two_inputs(), "epsilon")
    with pytest.raises(graphlrp.InputError, match="what is explained is 'left', 'right', but the inputs are left"):
        whole.attribute(left, 1, additional_forward_args=right)
    part = adapters.captum(two_inputs(), "epsilon", explain="left")
    with pytest.raises(graphlrp.InputError, match="one value is explained, 'left', but there are 2 inputs"):
        part.attribute((left, right), 1)
    with pytest.raises(graphlrp.InputError, match="but 1 were given"):
        part.attribute(left, 1)
