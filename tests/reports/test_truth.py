"""Right and wrong decisions: found, marked in words, and in the order in which a reader wants them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphlrp import Explanation
from graphlrp.errors import InputError
from graphlrp.reports import Decision, Report, decisions
from tests.reports.conftest import EVIL, Pictures
from tests.reports.pages import check_page
from tests.reports.test_explanations import rows_of

NAMES = ["cat", "dog", "bird", "fish"]


def test_decisions_are_those_of_the_output_whatever_is_explained(pictures: Pictures) -> None:
    for explanation in pictures.explanations["epsilon"]:
        predicted = explanation.output.argmax(axis=1)
        truth = predicted.copy()
        truth[1] = (truth[1] + 1) % 4
        assert decisions(explanation, truth, NAMES) == [
            Decision(NAMES[own], NAMES[other], own != other) for own, other in zip(truth, predicted, strict=True)
        ]
    assert [one.predicted for one in decisions(explanation, truth)] == [str(number) for number in predicted]


def test_one_output_decides_by_its_sign(table: Explanation) -> None:
    assert table.output.ndim == 1 and {*(table.output > 0)} == {True, False}
    found = decisions(table, np.zeros(4, np.int64))
    assert [one.wrong for one in found] == (table.output > 0).tolist()
    assert table.classes is not None and {one.truth for one in found} == {table.classes[0]}


def test_wrong_decisions_come_first_and_are_called_wrong(pictures: Pictures) -> None:
    output = pictures.explanations["epsilon"][0].output
    truth = output.argmax(axis=1)
    truth[1:] = (truth[1:] + 1) % 4
    names, sources = [EVIL, *NAMES[1:]], ["a.png", "b.png", "c.png"]
    page = check_page(Report("page").add(pictures.explanations, truth=truth, labels=names, sources=sources).html())
    assert [heading.words for heading in page.all("h3")][:3] == ["b.png", "c.png", "a.png"]
    said = [text.words for text in page.all("p", "verdict")]
    assert said[0] == "2 of 3 decisions of the model are wrong; these come first."
    for sample, text in zip((1, 2, 0), said[1:], strict=True):
        true, predicted = (" ".join(names[k].replace("\x00", "\ufffd").split()) for k in (truth[sample], output[sample].argmax()))
        assert text == (f"wrong: decided for {predicted}, the true class is {true}" if sample else f"right: {true}")
    rows = rows_of(page, "All samples")
    assert [row.children[0].words for row in rows] == ["b.png"] * 4 + ["c.png"] * 4 + ["a.png"] * 4
    assert [row.children[4].words.partition(":")[0] for row in rows] == ["wrong"] * 8 + ["right"] * 4
    # What is said of a sample stays with it.
    assert rows[0].numbers[0] == float(pictures.explanations["epsilon-plus"][0].output[1].max())
    assert rows[0].all("a")[0].attributes["href"] == "#sample-1-2"
    right = check_page(Report("page").add(pictures.explanations, truth=output.argmax(axis=1)).html())
    assert "All 3 decisions of the model are right." in right.only("main").words
    assert not check_page(Report("page").add(pictures.explanations).html()).all("p", "verdict")


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (np.array([0, 1]), "one class number for each of the 3 samples"),
        (np.array([0.0, 1.0, 2.0]), "whole numbers"),
        (np.array([0, 4, 1]), "truth holds class 4; there are classes 0 to 3"),
        (np.array([0, -1, 1]), "truth holds class -1"),
    ],
)
def test_truth_that_does_not_fit(pictures: Pictures, truth: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Report("page").add(pictures.explanations, truth=truth)


def test_outputs_that_decide_nothing(table: Explanation) -> None:
    with pytest.raises(InputError, match="decides between no classes"):
        decisions(replace(table, classes=None), np.zeros(4, np.int64))


def test_cells_that_take_half_of_the_page_stand_side_by_side(pictures: Pictures, table: Explanation, texts: Explanation) -> None:
    def page_of(result: Any) -> Any:
        return check_page(Report("page").add(result).html())

    assert all(page_of(one).all("div", "beside") for one in (table, texts))
    # Classes of a sample, if there are several; composites have done so all along, and pictures take the whole width.
    several = page_of({"epsilon": [texts, texts]})
    assert len(several.all("div", "beside")) == 2 and "beside" not in several.only("div", "samples").attributes["class"]
    assert not page_of({"a": texts, "b": texts}).all("div", "beside")
    assert not page_of(pictures.explanations["epsilon"][0]).all("div", "beside")
