"""Local response normalisation against a dense loop over (2.46); batch normalisation that cannot be folded against (2.54)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphlrp
from graphlrp.plugins.dnn import LocalResponseNormalization
from graphlrp.testing import check_mapping
from tests.networks import Network, as_float, evaluate

Array = np.ndarray
EPSILON = 1e-6


# Attributes are stored in single precision, so their values here are such that have one.


def normal(*shape: int) -> Array:
    return np.random.default_rng([2, len(shape), *shape]).normal(size=shape)


def stabilized(z: Array) -> Array:
    return z + EPSILON * np.where(z >= 0, 1, -1)


def local_response(x: Array, relevance: Array, policy: str, size: int, alpha: float, beta: float, bias: float) -> Array:
    """Messages of one position [C], straight from (2.46) with b = alpha / size, c = beta and 1 = bias."""
    channels, b = len(x), alpha / size
    result = np.zeros(channels)
    for j in range(channels):
        window = range(max(0, j - (size - 1) // 2), min(channels - 1, j + -(-(size - 1) // 2)) + 1)
        zero_order = x[j] / (bias + b * x[j] ** 2) ** beta
        full = bias + b * sum(x[k] ** 2 for k in window)
        z = {}
        for i in window:
            share = zero_order / len(window) if policy == "taylor" else zero_order * (i == j)
            z[i] = share - (2 * b * beta * x[i] ** 2 * x[j] / full ** (beta + 1) if i != j else 0)
        if policy == "identity":
            result[j] += relevance[j]
            continue
        total = stabilized(np.array(sum(z.values())))
        for i in window:
            result[i] += z[i] / total * relevance[j]
    return result


LRN = {1: (1, 2), 2: (3,), 3: (2, 2), 4: (2, 1), 8: (1, 2)}
"""Sizes of windows, and of the spatial axes that they are tried with."""


def parameters(size: int) -> dict[str, float]:
    return {"alpha": 0.75, "beta": 0.625, "bias": 1.5} if size != 3 else {"alpha": 2.0**-13, "beta": 0.75, "bias": 1.0}


def messages(policy: str, size: int) -> Callable[..., Array]:
    def of(inputs: list[Any], output: Array, relevance: Array) -> Array:
        (x,) = inputs
        result = np.zeros_like(x)
        for place in np.ndindex(len(x), *x.shape[2:]):
            column = (place[0], slice(None), *place[1:])
            if relevance[column].any():
                result[column] = local_response(x[column], relevance[column], policy, size, **parameters(size))
        return result

    return of


@pytest.mark.parametrize("size", LRN)
def test_local_response_normalisation(size: int) -> None:
    network = Network(x=["N", 6, *LRN[size]])
    model = network.model(network("LRN", "x", size=size, **parameters(size)))
    report = check_mapping(
        LocalResponseNormalization,
        [(6, *LRN[size])],
        attributes={"size": size, **parameters(size)},
        forward=lambda x: evaluate(model, {"x": x})[0],
        messages=messages("taylor", size),
        policies={"lrn": {policy: messages(policy, size) for policy in ("taylor", "taylor-own", "identity")}},
    )
    # Only windows of odd size on images exist in ONNX Runtime.
    assert report["float32"].passed == (size % 2 == 1 and len(LRN[size]) == 2)


@pytest.mark.parametrize("policy", ["taylor", "taylor-own", "identity"])
def test_local_response_normalisation_of_dynamic_sizes(policy: str) -> None:
    for size, spatial in LRN.items():
        x, relevance = normal(2, 6, *spatial), normal(2, 6, *spatial)[::-1]
        network = Network(x=["N", "C", *(f"s{k}" for k in range(len(spatial)))])
        model = network.model(network("LRN", "x", size=size, **parameters(size)))
        explainer = graphlrp.load(model, initial="one", dtype="float64", ledger="strict", verify=False, lrn=policy)
        explanation = explainer(x, relevance)
        np.testing.assert_allclose(explanation.output, evaluate(model, {"x": x})[0], rtol=1e-12)
        wanted = messages(policy, size)([x], explanation.output, relevance)
        np.testing.assert_allclose(explanation.relevance, wanted, rtol=1e-8, atol=1e-10, err_msg=str(size))


@pytest.mark.parametrize("spatial", [(), (3,), (2, 2)], ids=["[N, C]", "[N, C, L]", "[N, C, H, W]"])
def test_batch_normalisation_between_activations(spatial: tuple[int, ...]) -> None:
    # Behind a ReLU and before one: there is no linear mapping to fold it into.
    gamma, beta, mean, variance = normal(4), normal(4) + 0.3, normal(4) * 2, np.abs(normal(4)) + 0.5
    network = Network(x=["N", 4, *spatial])
    rectified = network("Relu", "x")
    normalised = network("BatchNormalization", rectified, gamma, beta, mean, variance, epsilon=2**-10, name="normalisation")
    model = network.model(network("Relu", normalised))
    x, relevance = normal(3, 4, *spatial), normal(3, 4, *spatial)[::-1]
    inner, z = evaluate(model, {"x": x}, rectified, normalised)
    shape = (1, 4, *(1,) * len(spatial))
    s = (gamma / np.sqrt(variance + 2**-10)).reshape(shape)
    np.testing.assert_allclose(z, s * inner + beta.reshape(shape) - s * mean.reshape(shape), rtol=1e-12)
    explainer = graphlrp.load(model, "epsilon", dtype="float64", ledger="strict", verify=False)
    explanation = explainer(x, relevance)
    received = np.maximum(z, 0) * relevance
    np.testing.assert_allclose(explanation.relevance, received * s * inner / stabilized(z), rtol=1e-8, atol=1e-10)
    offset = beta.reshape(shape) - s * mean.reshape(shape)
    booked = (received * offset / stabilized(z)).reshape(3, -1).sum(1)
    np.testing.assert_allclose(explanation.ledger["normalisation"].bias, booked, rtol=1e-8)
    single = graphlrp.load(as_float(model), "epsilon", providers="cpu")(x.astype(np.float32), relevance.astype(np.float32))
    np.testing.assert_allclose(single.relevance, explanation.relevance, rtol=1e-3, atol=1e-4)


def test_batch_normalisation_in_training_mode_is_refused() -> None:
    network = Network(x=["N", 4, 2, 2])
    parameters = (normal(4), normal(4), normal(4), np.abs(normal(4)))
    values = network("BatchNormalization", "x", *parameters, outputs=3, training_mode=1, name="live")
    with pytest.raises(graphlrp.RuleError, match="'live' is in training mode"):
        graphlrp.load(network.model(values[0]))
