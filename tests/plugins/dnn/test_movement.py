"""Movements: the 0/1 matrix of who was copied where, found by probing ONNX Runtime, and its transpose.

(The reference of onnx 1.23 takes no negative amounts of padding, so it cannot be probed here.)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnx
import pytest

import graphlrp
from tests.networks import Case, Network, as_float, runtime_forward, side_by_side

Array = np.ndarray

BATCH = 3
LAST = 2**63 - 1


def normal(*shape: int) -> Array:
    return np.random.default_rng([4, len(shape), *shape]).normal(size=shape)


def integers(*numbers: int) -> Array:
    return np.asarray(numbers, np.int64)


def slicing(starts: Array, ends: Array, axes: Array, steps: Array | None = None) -> dict[int, Array]:
    return {1: starts, 2: ends, 3: axes} | ({} if steps is None else {4: steps})


def per_sample(*rows: object) -> Array:
    """Indices that differ from sample to sample."""
    return np.asarray(rows, np.int64)


CASES = {
    "reshape": Case("Reshape", (2, 3, 4), {1: integers(0, -1, 2)}),
    "reshape, zeros": Case("Reshape", (2, 3, 4), {1: integers(0, 0, 0, 2, 2)}, free=[1]),
    "reshape, -1 is the batch": Case("Reshape", (2, 3), {1: integers(-1, 6)}, free=()),
    "flatten": Case("Flatten", (2, 3, 2)),
    "squeeze": Case("Squeeze", (1, 3, 1), {1: integers(1, -1)}, free=[1]),
    "unsqueeze": Case("Unsqueeze", (2, 3), {1: integers(1, -1)}),
    "transpose": Case("Transpose", (2, 3, 4), {}, {"perm": [0, 2, 3, 1]}),
    "transpose last": Case("Transpose", (2, 3), {}, {"perm": [0, 2, 1]}),
    "expand": Case("Expand", (1, 3), {1: integers(1, 4, 1)}),
    "expand to shape": Case("Expand", (2, 1), {1: integers(3, 2, 4)}, free=[0]),
    "expand nothing": Case("Expand", (2, 3), {1: integers(1, 1)}),
    "tile": Case("Tile", (2, 3), {1: integers(1, 2, 3)}),
    "depth to space": Case("DepthToSpace", (8, 2, 3), {}, {"blocksize": 2}),
    "depth to space, columns first": Case("DepthToSpace", (8, 2, 3), {}, {"blocksize": 2, "mode": "CRD"}),
    "space to depth": Case("SpaceToDepth", (2, 4, 6), {}, {"blocksize": 2}),
    "concat constant behind": Case("Concat", (2, 3), {1: normal(BATCH, 1, 3)}, {"axis": 1}, free=[0]),
    "concat constants around": Case("Concat", (2, 3), {0: normal(BATCH, 2, 1), 2: normal(BATCH, 2, 2)}, {"axis": -1}, position=1),
    "concat alone": Case("Concat", (2, 3), {}, {"axis": 1}),
    "slice": Case("Slice", (4, 5), slicing(integers(1, 2), integers(3, 4), integers(1, 2))),
    "slice with steps": Case("Slice", (7, 6), slicing(integers(1, 0), integers(7, 6), integers(1, 2), integers(2, 3))),
    "slice with a step that does not end flush": Case("Slice", (8,), slicing(integers(0), integers(6), integers(1), integers(4))),
    "slice backwards": Case("Slice", (4, 5), slicing(integers(-1, 3), integers(-LAST, 0), integers(1, 2), integers(-1, -1))),
    "slice backwards with steps": Case("Slice", (8, 5), slicing(integers(6), integers(-LAST), integers(-2), integers(-3))),
    "slice backwards, part": Case("Slice", (3, 9), slicing(integers(7), integers(1), integers(2), integers(-2))),
    "slice beyond the end": Case("Slice", (4, 5), slicing(integers(2, 1), integers(LAST, 100), integers(1, -1))),
    "slice from beyond the start": Case("Slice", (4, 5), slicing(integers(-100, -3), integers(3, -1), integers(-2, -1))),
    "slice without axes": Case("Slice", (4, 5), {1: integers(0, 1, 2), 2: integers(LAST, 3, 5)}),
    "pad": Case("Pad", (2, 3), {1: integers(0, 1, 2, 0, 0, 1)}),
    "pad with a number": Case("Pad", (2, 3), {1: integers(0, 0, 1, 0, 2, 0), 2: np.array(1.5)}),
    "pad by negative amounts": Case("Pad", (4, 5), {1: integers(0, -1, -2, 0, 0, -1)}),
    "pad and cut": Case("Pad", (4, 5), {1: integers(0, -1, 2, 0, 2, -1), 2: np.array(-0.5)}),
    "pad along axes": Case("Pad", (2, 3), {1: integers(1, 2), 3: integers(-1)}),
    "pad reflecting": Case("Pad", (3, 4), {1: integers(0, 0, 2, 0, 0, 3)}, {"mode": "reflect"}),
    "pad with the edge": Case("Pad", (3, 4), {1: integers(0, 1, 2, 0, 0, 1)}, {"mode": "edge"}),
    "pad wrapping": Case("Pad", (3, 4), {1: integers(0, 0, 2, 0, 0, 3)}, {"mode": "wrap"}, opset=19),
    "gather one": Case("Gather", (4, 3), {1: np.asarray(2)}, {"axis": 1}),
    "gather one from behind": Case("Gather", (4, 3), {1: np.asarray(-1)}, {"axis": 2}),
    "gather repeatedly": Case("Gather", (4, 3), {1: np.array([[0, 3, -1], [0, 0, -4]])}, {"axis": 1}),
    "gather along the last axis": Case("Gather", (2, 5), {1: integers(1, 4, 1)}, {"axis": -1}),
    "gather elements": Case(
        "GatherElements", (2, 3), {1: per_sample([[0, 2], [1, 1]], [[-1, 0], [0, 0]], [[1, 2], [2, -3]])}, {"axis": 2}
    ),
    "gather nd": Case(
        "GatherND", (2, 3), {1: per_sample([[0, 1], [1, -1]], [[1, 1], [1, 1]], [[0, 0], [0, 2]])}, {"batch_dims": 1}
    ),
    "reverse sequence": Case("ReverseSequence", (4, 2), {1: integers(4, 1, 3)}, {"batch_axis": 0, "time_axis": 1}),
    "crop": Case("CenterCropPad", (5, 4), {1: integers(2, 3)}, {"axes": [1, 2]}),
    "crop and pad": Case("CenterCropPad", (5, 4), {1: integers(7, 1)}, {"axes": [-2, -1]}),
    "compress": Case("Compress", (4, 3), {1: np.array([True, False, True, False])}, {"axis": 1}),
    "upper triangle": Case("Trilu", (3, 4)),
    "lower triangle": Case("Trilu", (3, 4), {1: np.asarray(-1)}, {"upper": 0}),
}  # fmt: skip


@lru_cache
def matrix(name: str) -> tuple[Array, Array]:
    """Which component of the batch was copied where, [D, M], and the shape of the output."""
    case = CASES[name]
    forward = runtime_forward(case.model(BATCH))
    size = BATCH * int(np.prod(case.sample))
    units = np.eye(size).reshape(size, BATCH, *case.sample)
    (base,) = forward(x=0 * units[0])
    rows = np.round(np.stack([(forward(x=unit)[0] - base).reshape(-1) for unit in units]).astype(np.float64), 6)
    assert set(np.unique(rows)) <= {0.0, 1.0}
    return rows, np.asarray(base.shape)


def expected(name: str) -> tuple[Array, Array, Array]:
    """Random relevance of the output, that of the input, and what positions copied from nowhere took."""
    copied, shape = matrix(name)
    relevance = np.random.default_rng(5).normal(size=tuple(shape))
    orphans = np.where(copied.any(0), 0, relevance.reshape(-1)).reshape(BATCH, -1).sum(1)
    return relevance, (copied @ relevance.reshape(-1)).reshape(BATCH, *CASES[name].sample), orphans


@pytest.mark.parametrize("name", CASES)
def test_relevance_goes_back_where_it_was_copied_from(name: str) -> None:
    case = CASES[name]
    relevance, wanted, orphans = expected(name)
    x = normal(BATCH, *case.sample)
    explainer = graphlrp.load(case.model(), initial="one", dtype="float64", ledger="strict", verify=False)
    explanation = explainer(x, relevance)
    np.testing.assert_allclose(explanation.output, runtime_forward(case.model(BATCH))(x=x)[0], rtol=1e-6)
    np.testing.assert_allclose(explanation.relevance, wanted, rtol=1e-12, atol=1e-12)
    if explanation.ledger:
        np.testing.assert_allclose(explanation.ledger[0].constant, orphans, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_dynamic_sizes(dtype: str) -> None:
    model = side_by_side(CASES, dynamic=True)
    if dtype == "float32":
        model = as_float(model)
    answers = [expected(name) for name in CASES]
    feeds = {f"x{k}": normal(BATCH, *case.sample).astype(dtype) for k, case in enumerate(CASES.values())}
    ledger = "strict" if dtype == "float64" else False
    explainer = graphlrp.load(model, initial="one", dtype=dtype, ledger=ledger, verify=False, providers="cpu")
    explanation = explainer(feeds, np.concatenate([relevance.reshape(BATCH, -1) for relevance, _, _ in answers], axis=1))
    booked = {entry.name: entry.constant for entry in explanation.ledger or ()}
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for k, (name, (_, wanted, orphans)) in enumerate(zip(CASES, answers, strict=True)):
        np.testing.assert_allclose(explanation.relevance[f"x{k}"], wanted, rtol=tolerance, atol=tolerance, err_msg=name)
        if name in booked:
            np.testing.assert_allclose(booked[name], orphans, rtol=1e-9, atol=1e-9, err_msg=name)


def explain(model: onnx.ModelProto, x: Array, relevance: Array, **options: str) -> graphlrp.Explanation:
    """In float64 with a strict ledger; ONNX Runtime agrees."""
    explanation = graphlrp.load(model, "epsilon", initial="one", dtype="float64", ledger="strict", verify=False, **options)(
        x, relevance
    )
    single = graphlrp.load(as_float(model), "epsilon", initial="one", providers="cpu", verify=False, **options)
    other = single(x.astype(np.float32), relevance.astype(np.float32))
    np.testing.assert_allclose(other.relevance, explanation.relevance, rtol=1e-3, atol=1e-3)
    return explanation


@pytest.mark.parametrize("free", [False, True], ids=["static", "dynamic"])
def test_split(free: bool) -> None:
    # Uneven parts, one of them unused, one used twice, and equal parts of which the last is smaller.
    network = Network(x=["N", 6, "width" if free else 5])
    first, _, third = network("Split", "x", integers(1, 3, 2), outputs=3, axis=1)
    left, right = network("Split", third, outputs=2, axis=-1, num_outputs=2)
    model = network.model(network("Concat", *(network("Flatten", v) for v in (first, left, left, right)), axis=1))
    x, relevance = normal(2, 6, 5), normal(2, 5 + 6 + 6 + 4)
    wanted = np.zeros((2, 6, 5))
    wanted[:, 0] = relevance[:, :5]
    wanted[:, 4:, :3] = (relevance[:, 5:11] + relevance[:, 11:17]).reshape(2, 2, 3)
    wanted[:, 4:, 3:] = relevance[:, 17:].reshape(2, 2, 2)
    np.testing.assert_allclose(explain(model, x, relevance).relevance, wanted, rtol=1e-12)


def test_concat_of_several_values() -> None:
    network = Network(x=["N", 2, "width"])
    doubled = network("Mul", "x", np.array(2.0))
    model = network.model(network("Concat", "x", doubled, np.ones((2, 1, 5)), "x", axis=-2))
    x, relevance = normal(2, 2, 5), normal(2, 7, 5)
    explanation = explain(model, x, relevance)
    np.testing.assert_allclose(explanation.relevance, relevance[:, :2] + relevance[:, 2:4] + relevance[:, 5:], rtol=1e-12)
    np.testing.assert_allclose(explanation.ledger[0].constant, relevance[:, 4].sum(1), rtol=1e-12)


def test_indices_and_bounds_that_are_computed_while_the_model_runs() -> None:
    # The last row by Shape, every row but the first by Slice, and a width that is read off the input.
    network = Network(x=["N", "height", "width"])
    height = network("Shape", "x", start=1, end=2)
    width = network("Shape", "x", start=2, end=3)
    last = network("Gather", "x", network("Sub", height, integers(1)), axis=1)
    rest = network("Slice", "x", integers(1), height, integers(1))
    wide = network("Expand", last, network("Concat", integers(1), integers(4), width, axis=0))
    padded = network("Pad", rest, network("Concat", integers(0, 0, 0, 0, 1), width, axis=0))
    tiled = network("Tile", last, network("Concat", integers(1), integers(1), height, axis=0))
    flat = [network("Flatten", value) for value in (last, rest, wide, padded, tiled)]
    model = network.model(network("Concat", *flat, axis=1))
    x = normal(2, 3, 4)
    relevance = normal(2, 4 + 8 + 16 + 24 + 12)
    parts = np.split(relevance, np.cumsum([4, 8, 16, 24]), axis=1)
    wanted = np.zeros_like(x)
    wanted[:, 2] += parts[0] + parts[2].reshape(2, 4, 4).sum(1) + parts[4].reshape(2, 3, 4).sum(1)
    wanted[:, 1:] += parts[1].reshape(2, 2, 4) + parts[3].reshape(2, 3, 8)[:, :2, :4]
    np.testing.assert_allclose(explain(model, x, relevance).relevance, wanted, rtol=1e-12)


def test_tokens_merged_into_the_batch_and_back() -> None:
    network = Network(x=["N", "T", 3])
    rows = network("Reshape", "x", integers(-1, 3))
    product = network("Gemm", rows, normal(3, 2))
    shape = network("Concat", network("Shape", "x", start=0, end=2), integers(2), axis=0)
    model = network.model(network("Reshape", product, shape))
    x, relevance = normal(2, 4, 3), normal(2, 4, 2)
    explanation = explain(model, x, relevance)
    z = x @ normal(3, 2)
    wanted = x * ((relevance / (z + 1e-6 * np.sign(z))) @ normal(3, 2).T)
    np.testing.assert_allclose(explanation.relevance, wanted, rtol=1e-9)
    assert explanation.conservation_error.max() < 1e-9


def test_batch_that_is_not_the_first_axis_for_a_while() -> None:
    # Time-major, as recurrent networks are exported: [N, T, C] -> [T, N, C] and back.
    network = Network(x=["N", 4, 2])
    major = network("Transpose", "x", perm=[1, 0, 2])
    reversed_ = network("ReverseSequence", major, integers(4, 1), batch_axis=1, time_axis=0)
    product = network("MatMul", network("Add", reversed_, normal(4, 1, 1)), normal(2, 3))
    model = network.model(network("Transpose", product, perm=[1, 0, 2]))
    x, relevance = normal(2, 4, 2), normal(2, 4, 3)
    order = [[3, 2, 1, 0], [0, 1, 2, 3]]
    moved = np.stack([row[o] for row, o in zip(x, order, strict=True)])
    shifted = moved + normal(4, 1, 1)[:, 0]
    z = shifted @ normal(2, 3)
    inner = shifted * ((relevance / (z + 1e-6 * np.where(z >= 0, 1, -1))) @ normal(2, 3).T)
    share = moved * inner / (shifted + 1e-6 * np.where(shifted >= 0, 1, -1))
    wanted = np.stack([row[o] for row, o in zip(share, order, strict=True)])
    explanation = explain(model, x, relevance)
    np.testing.assert_allclose(explanation.relevance, wanted, rtol=1e-9)
    assert explanation.conservation_error.max() < 1e-9
