"""Adapters in use: metrics of Quantus, and methods and metrics of Captum, on a network of PyTorch (opt-in: needs all three).

Where Quantus or Captum compute the same thing themselves, results are the same.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import graphlrp
from graphlrp import adapters, stores

torch = pytest.importorskip("torch")
captum_attr = pytest.importorskip("captum.attr")
captum_metrics = pytest.importorskip("captum.metrics")
quantus = pytest.importorskip("quantus")

SIZE, COUNT = 12, 6


class Network(torch.nn.Module):  # type: ignore[misc]
    """Two convolutions and two dense layers; Captum's LRP knows no module that flattens."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(6, 8, 3),
            torch.nn.ReLU(),
        )
        self.head = torch.nn.Sequential(torch.nn.Linear(128, 20), torch.nn.ReLU(), torch.nn.Linear(20, 5))

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x).flatten(1))


def network() -> Any:
    torch.manual_seed(0)
    return Network().eval()


def export(model: Any) -> bytes:
    """The network as ONNX, for any number of samples."""
    x = torch.zeros(2, 3, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(model, (x,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("N")},), verbose=False)
    data: bytes = program.model_proto.SerializeToString()
    return data


@pytest.fixture(scope="module")
def model() -> Any:
    return network()


@pytest.fixture(scope="module")
def source(model: Any) -> bytes:
    return export(model)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(COUNT, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def y(model: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(torch.from_numpy(x)).argmax(1).numpy())


def assert_close(one: Any, other: Any, tolerance: float = 1e-4) -> None:
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    assert one.shape == other.shape
    assert np.abs(one - other).max() <= tolerance * max(np.abs(other).max(), 1e-12)


# Captum


def test_lrp_of_captum(model: Any, source: bytes, x: np.ndarray, y: np.ndarray) -> None:
    """Its default is the epsilon rule with 1e-9 everywhere, and biases take their share."""
    tensor = torch.from_numpy(x)
    ours = adapters.captum(source, graphlrp.composite("epsilon", epsilon=1e-9))
    for target in (2, y.tolist(), torch.from_numpy(y), torch.tensor([2]), (3,), [(int(c),) for c in y]):
        theirs, their_delta = captum_attr.LRP(network()).attribute(tensor, target, return_convergence_delta=True)
        result, delta = ours.attribute(tensor, target, return_convergence_delta=True)
        assert type(result) is torch.Tensor and result.dtype == torch.float32 and not result.requires_grad
        assert_close(result, theirs.detach())
        assert_close(delta, their_delta.detach(), 1e-3)
    doubles = ours.attribute(tensor.double().requires_grad_(), 2)
    assert doubles.dtype == torch.float64


def test_input_times_gradient_of_captum(model: Any, source: bytes, x: np.ndarray, y: np.ndarray) -> None:
    tensor, target = torch.from_numpy(x), torch.from_numpy(y)
    ours = adapters.captum(source, "gradient-x-input").attribute((tensor,), target)
    theirs = captum_attr.InputXGradient(model).attribute((tensor.clone().requires_grad_(),), target)
    assert isinstance(ours, tuple) and len(ours) == 1
    assert_close(ours[0], theirs[0].detach())


def test_several_inputs(x: np.ndarray) -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.left, self.right, self.head = torch.nn.Linear(4, 6), torch.nn.Linear(3, 6), torch.nn.Linear(6, 2)

        def forward(self, left: Any, right: Any) -> Any:
            return self.head(torch.relu(self.left(left) + self.right(right)))

    two = Two().eval()
    left, right = torch.randn(5, 4), torch.randn(5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("N")}, {0: torch.export.Dim("N")})
        proto = torch.onnx.export(two, (left, right), dynamo=True, dynamic_shapes=shapes, verbose=False).model_proto
    ours = adapters.captum(proto.SerializeToString(), "gradient-x-input").attribute((left, right), 1)
    theirs = captum_attr.InputXGradient(two).attribute((left.requires_grad_(), right.requires_grad_()), 1)
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other.detach())
    part = adapters.captum(proto.SerializeToString(), "gradient-x-input", explain=next(iter(graphlrp.load(proto).inputs)))
    assert_close(part.attribute(left, 1, additional_forward_args=right), theirs[0].detach())


def test_noise_tunnel(model: Any, source: bytes, x: np.ndarray, y: np.ndarray) -> None:
    tensor, target = torch.from_numpy(x), torch.from_numpy(y)
    for method in ("smoothgrad", "smoothgrad_sq"):
        results = []
        for inner in (adapters.captum(source, "gradient-x-input"), captum_attr.InputXGradient(model)):
            torch.manual_seed(3)
            tunnel = captum_attr.NoiseTunnel(inner)
            options = {"nt_type": method, "nt_samples": 5, "nt_samples_batch_size": 2, "stdevs": 0.2, "target": target}
            results.append(tunnel.attribute(tensor, **options).detach())
        assert_close(*results)
    tunnel = captum_attr.NoiseTunnel(adapters.captum(source, "epsilon"))
    result, delta = tunnel.attribute(tensor, nt_samples=3, stdevs=0.1, target=target, return_convergence_delta=True)
    assert result.shape == tensor.shape and delta.shape == (3 * COUNT,)


def test_metrics_of_captum(model: Any, source: bytes, x: np.ndarray, y: np.ndarray) -> None:
    tensor, target = torch.from_numpy(x), torch.from_numpy(y)
    ours, theirs = adapters.captum(source, "gradient-x-input"), captum_attr.InputXGradient(model)

    def perturb(inputs: Any) -> Any:
        noise = 0.1 * torch.randn(inputs.shape)
        return noise, inputs - noise

    fidelity, sensitivity = [], []
    for method, forward in ((ours, ours.forward_func), (theirs, model)):
        torch.manual_seed(4)
        result = method.attribute(tensor, target=target).detach()
        fidelity.append(captum_metrics.infidelity(forward, perturb, tensor, result, target=target, n_perturb_samples=5).detach())
        torch.manual_seed(5)
        sensitivity.append(captum_metrics.sensitivity_max(method.attribute, tensor, target=target, n_perturb_samples=3).detach())
    assert_close(*fidelity, 1e-3)
    assert_close(*sensitivity, 1e-2)


# Quantus

METRICS = {
    "FaithfulnessCorrelation": {"nr_runs": 20, "subset_size": 30, "perturb_baseline": "black"},
    "PixelFlipping": {"features_in_step": 36, "perturb_baseline": "black"},
    "RegionPerturbation": {"patch_size": 4, "regions_evaluation": 5},
    "MaxSensitivity": {"nr_samples": 3, "lower_bound": 0.1},
    "RandomLogit": {"num_classes": 5, "seed": 1},
    "Completeness": {"abs": False, "normalise": False},
    "Sparseness": {},
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_of_quantus(name: str, model: Any, source: bytes, x: np.ndarray, y: np.ndarray) -> None:
    """Of input times gradient, by our function and by that of Quantus, which calls Captum."""
    scores = []
    for function, keywords in (
        (adapters.quantus(source, "gradient-x-input"), {}),
        (adapters.quantus(export, "gradient-x-input"), {}),
        (quantus.explain, {"method": "InputXGradient", "reduce_axes": ()}),
    ):
        np.random.seed(6)
        metric = getattr(quantus, name)(disable_warnings=True, **METRICS[name])
        scores.append(
            metric(
                model=model,
                x_batch=x,
                y_batch=y,
                explain_func=function,
                explain_func_kwargs=keywords,
                device="cpu",
                channel_first=True,
            )
        )
    for own in scores[:2]:
        assert np.shape(own) == np.shape(scores[2])
        assert_close(own, scores[2], 1e-2)


def test_randomised_models_of_quantus(model: Any, source: bytes, x: np.ndarray, y: np.ndarray) -> None:
    """The model parameter randomisation test changes the weights layer by layer: only a function that exports follows."""
    scores = []
    for function, keywords in (
        (adapters.quantus(export, "gradient-x-input"), {}),
        (quantus.explain, {"method": "InputXGradient", "reduce_axes": ()}),
    ):
        np.random.seed(7)
        metric = quantus.MPRT(layer_order="bottom_up", seed=8, disable_warnings=True)
        scores.append(
            metric(model=model, x_batch=x, y_batch=y, explain_func=function, explain_func_kwargs=keywords, device="cpu")
        )
    assert list(scores[0]) == list(scores[1]) and len(scores[0]) >= 4
    for layer, values in scores[1].items():
        np.testing.assert_allclose(scores[0][layer], values, rtol=1e-3, atol=1e-4)
    assert not np.allclose(*list(scores[0].values())[-2:])
    metric = quantus.MPRT(disable_warnings=True)
    with pytest.raises(graphlrp.InputError, match="other weights than before"):
        metric(model=model, x_batch=x, y_batch=y, explain_func=adapters.quantus(source), device="cpu")


def test_quantus_evaluates_several_methods(model: Any, source: bytes, x: np.ndarray, y: np.ndarray) -> None:
    methods = {"LRP": adapters.quantus(source, "epsilon-plus"), "gradient": adapters.quantus(source, "gradient")}
    results = quantus.evaluate(
        metrics={"sparseness": quantus.Sparseness(disable_warnings=True)},
        xai_methods=methods,
        model=model,
        x_batch=x,
        y_batch=y,
        explain_func_kwargs={},
        call_kwargs={"one": {"device": "cpu"}},
    )
    for name, function in methods.items():
        relevance = function(model, x, y)
        expected = quantus.Sparseness(disable_warnings=True)(model=model, x_batch=x, y_batch=y, a_batch=relevance)
        np.testing.assert_allclose(results[name]["sparseness"], expected, rtol=1e-5)


def test_relevance_of_a_store_is_evaluated(tmp_path: Any, model: Any, source: bytes, x: np.ndarray, y: np.ndarray) -> None:
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    with stores.write(tmp_path / "r.h5", graphlrp.load(source, "epsilon-plus"), loader, "labels") as store:
        np.testing.assert_array_equal(store.labels, y)
        metric = quantus.PixelFlipping(features_in_step=36, disable_warnings=True)
        scores = metric(model=model, x_batch=x, y_batch=y, a_batch=store.relevance[:], device="cpu")
    assert np.shape(scores)[0] == COUNT
    with pytest.raises(graphlrp.InputError, match="without shuffling"):
        stores.write(tmp_path / "r.h5", graphlrp.load(source, "epsilon-plus"), reversed(list(loader)), "labels")
