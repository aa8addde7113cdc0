"""Localisation measures against plain loops over pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphlrp
from graphlrp import evaluation
from graphlrp.errors import InputError
from graphlrp.evaluation.localisation import read_masks
from tests.builders import residual_network

Array = np.ndarray
BOXES = [[(1, 2, 4, 5)], [(0, 0, 2, 2), (1, 1, 6, 4)], [(3, 5, 6, 8)], [(0, 0, 6, 7)]]


@pytest.fixture(scope="module")
def relevance() -> Array:
    return np.random.default_rng(0).normal(size=(4, 3, 8, 6))


def inside(sample: int, x: int, y: int) -> bool:
    return any(left <= x < right and top <= y < bottom for left, top, right, bottom in BOXES[sample])


def pixels(relevance: Array, sample: int) -> list[tuple[float, bool]]:
    return [(float(relevance[sample, :, y, x].sum()), inside(sample, x, y)) for y in range(8) for x in range(6)]


def test_outside_inside_ratio(relevance: Array) -> None:
    result = evaluation.outside_inside_ratio(relevance, BOXES)
    for sample in range(4):
        parts: dict[bool, list[float]] = {True: [], False: []}
        for value, within in pixels(relevance, sample):
            parts[within].append(max(value, 0.0))
        means = {within: sum(values) / len(values) for within, values in parts.items()}
        assert result[sample] == pytest.approx(means[False] / means[True])


def test_ratio_of_relevance_on_one_side_only() -> None:
    maps = np.zeros((3, 4, 4))
    maps[0, 0, 0], maps[1, 3, 3], maps[2, 0, 0] = 1, 1, -1
    result = evaluation.outside_inside_ratio(maps, [(0, 0, 2, 2)] * 3)
    assert result[0] == 0
    assert np.isposinf(result[1])
    assert np.isnan(result[2])


def test_pointing_game(relevance: Array) -> None:
    result = evaluation.pointing_game(relevance, BOXES)
    for sample in range(4):
        assert result[sample] == max(pixels(relevance, sample))[1]
    maps = np.zeros((1, 9, 9))
    maps[0, 4, 7] = 1
    box = [(0, 3, 5, 6)]
    assert [bool(evaluation.pointing_game(maps, box, tolerance=t)[0]) for t in range(5)] == [False, False, False, True, True]
    maps[0, 4, 2] = 1
    assert not evaluation.pointing_game(maps, box)[0]
    assert evaluation.pointing_game(maps, box, tolerance=3)[0]
    assert not evaluation.pointing_game(np.zeros((1, 9, 9)), box)[0]


@pytest.mark.parametrize("kind", ["positive", "absolute"])
def test_mass(relevance: Array, kind: str) -> None:
    result = evaluation.relevance_mass(relevance, BOXES, kind=kind)
    for sample in range(4):
        values = [(max(v, 0.0) if kind == "positive" else abs(v), within) for v, within in pixels(relevance, sample)]
        assert result[sample] == pytest.approx(sum(v for v, within in values if within) / sum(v for v, _ in values))
    assert np.isnan(evaluation.relevance_mass(np.zeros((1, 8, 6)), BOXES[:1], kind=kind)).all()
    assert evaluation.relevance_mass(relevance[:1], np.ones((8, 6), bool), kind=kind).tolist() == pytest.approx([1.0])


def test_rank(relevance: Array) -> None:
    result = evaluation.relevance_rank(relevance, BOXES)
    for sample in range(4):
        ranked = sorted(pixels(relevance, sample), reverse=True)
        size = sum(within for _, within in ranked)
        assert result[sample] == pytest.approx(sum(within for _, within in ranked[:size]) / size)


def test_rank_of_equals_is_what_a_lot_would_give_on_average() -> None:
    generator = np.random.default_rng(0)
    maps = generator.integers(0, 3, (1, 6, 6)).astype(float)
    mask = generator.random((1, 6, 6)) < 0.4
    size = int(mask.sum())
    hits = []
    for _ in range(4000):
        order = np.argsort(-(maps + 0.5 * generator.random(maps.shape)).ravel())
        hits.append(mask.ravel()[order[:size]].mean())
    assert evaluation.relevance_rank(maps, mask)[0] == pytest.approx(np.mean(hits), abs=5 * np.std(hits) / 4000**0.5)
    assert evaluation.relevance_rank(np.zeros((1, 6, 6)), mask)[0] == pytest.approx(mask.mean())


MEASURES = (evaluation.outside_inside_ratio, evaluation.pointing_game, evaluation.relevance_mass, evaluation.relevance_rank)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
def test_boxes_masks_and_layouts_agree(measure: Any, relevance: Array) -> None:
    masks = np.array([[[inside(n, x, y) for x in range(6)] for y in range(8)] for n in range(4)])
    expected = measure(relevance, masks)
    for other in (
        measure(relevance, BOXES),
        measure(relevance.sum(1), masks),
        measure(np.moveaxis(relevance, 1, -1), masks),
        measure(np.moveaxis(relevance, 1, -1), BOXES, layout="NHWC"),
    ):
        np.testing.assert_allclose(other, expected)
    single = np.array([own[0] for own in BOXES])
    np.testing.assert_allclose(measure(relevance[[0, 2]], single[[0, 2]]), expected[[0, 2]])
    shared = np.zeros((8, 6), bool)
    shared[2:5, 1:4] = True
    np.testing.assert_allclose(measure(relevance[:1], shared), expected[:1])


def test_explanations_and_signals() -> None:
    x = np.random.default_rng(0).normal(size=(2, 2, 8, 8)).astype(np.float32)
    explanation = graphlrp.load(residual_network(), "epsilon")(x)
    boxes = [(1, 1, 5, 5), (0, 2, 3, 8)]
    expected = evaluation.outside_inside_ratio(explanation.relevance, boxes)
    assert evaluation.outside_inside_ratio(explanation, boxes).tolist() == expected.tolist()
    signal = np.abs(x[:, :, 0])
    mask = np.zeros((2, 8), bool)
    mask[:, 2:4] = True
    result = evaluation.relevance_mass(signal, mask, layout="NCT")
    np.testing.assert_allclose(result, signal[:, :, 2:4].sum((1, 2)) / signal.sum((1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([(0, 0, 2, 2)] * 3, "boxes of 3 samples for 4"),
        ([(0, 0, 2, 2)] * 3 + [(4, 4, 2, 2)], r"\(4, 4, 2, 2\) of sample 3 is empty"),
        ([(0, 0, 2, 2)] * 3 + [(0, 0, 8, 6)], "6 wide and 8 high"),
        ([(0, 0, 2, 2)] * 3 + [(-1, 0, 2, 2)], "reaches beyond"),
        ([(0.0, 0.0, 0.5, 0.5)] * 4, "whole pixels"),
        ([[(0, 0, 2, 2)]] * 3 + [[]], "boxes of sample 3"),
        (np.zeros((4, 8, 6), bool), r"sample\(s\) 0, 1, 2, 3 hold no pixel"),
        (np.ones((4, 6, 8), bool), "masks have shape"),
    ],
)
def test_boxes_that_do_not_fit(boxes: Any, message: str, relevance: Array) -> None:
    for measure in MEASURES:
        with pytest.raises(InputError, match=message):
            measure(relevance, boxes)


def test_other_errors(relevance: Array) -> None:
    with pytest.raises(InputError, match=r"sample\(s\) 0, 1, 2, 3 cover the whole picture"):
        evaluation.outside_inside_ratio(relevance, [(0, 0, 6, 8)] * 4)
    with pytest.raises(InputError, match="tolerance"):
        evaluation.pointing_game(relevance, BOXES, tolerance=-1)
    with pytest.raises(InputError, match="unknown kind"):
        evaluation.relevance_mass(relevance, BOXES, kind="negative")
    with pytest.raises(InputError, match="NaN"):
        evaluation.pointing_game(relevance * np.nan, BOXES)
    with pytest.raises(InputError, match="one array"):
        evaluation.pointing_game({"a": relevance}, BOXES)
    with pytest.raises(InputError, match="one array"):
        evaluation.pointing_game([], [])
    with pytest.raises(InputError, match="for maps of shape"):
        read_masks([(0, 0, 1, 1)], (1, 5))
