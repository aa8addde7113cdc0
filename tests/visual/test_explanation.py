"""From explanations to panels: which input, which axes, which caption."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from graphlrp.errors import InputError
from graphlrp.visual import Panel, SignalPanel, signal_figure
from graphlrp.visual.explanation import explanation_panels, explanation_to_figure, save_explanation

GENERATOR = np.random.default_rng(0)
OUTPUT = np.array([[0.5, 2.0, -1.0], [1.5, 0.25, 3.0]])


@dataclass
class Fake:
    """What explanations look like from here."""

    relevance: Any
    inputs: dict[str, Any]
    output: np.ndarray = field(default_factory=lambda: OUTPUT)
    target: np.ndarray = field(default_factory=lambda: np.array([1, 2]))


@dataclass
class Tabular(Fake):
    """What explanations of tables look like from here."""

    features: list[str] | None = None
    classes: list[str] | None = None
    initial: str = "value"


def fake(*shape: int) -> Fake:
    return Fake(GENERATOR.normal(size=shape), {"x": GENERATOR.normal(size=shape)})


@pytest.mark.parametrize(("shape", "layout"), [((2, 3, 4, 5), "NCHW"), ((2, 4, 5, 3), "NHWC"), ((2, 1, 4, 1), "NCHW")])
def test_pictures(shape: tuple[int, ...], layout: str) -> None:
    explanation = fake(*shape)
    panels = explanation_panels(explanation)
    channels = layout.index("C")
    for sample, panel in enumerate(panels):
        assert isinstance(panel, Panel)
        np.testing.assert_allclose(panel.relevance, explanation.relevance.sum(axis=channels)[sample])
        picture = np.moveaxis(explanation.inputs["x"], channels, -1)[sample]
        brightest = np.unravel_index(picture.argmax(), picture.shape)
        assert panel.image[brightest[:2]].max() == 255
        assert panel.image.min() == 0


def test_given_layout_wins() -> None:
    explanation = fake(2, 3, 5, 3)
    assert explanation_panels(explanation)[0].relevance.shape == (5, 3)
    assert explanation_panels(explanation, layout="NHWC")[0].relevance.shape == (3, 5)
    maps = fake(2, 4, 5)
    assert isinstance(explanation_panels(maps)[0], SignalPanel)
    np.testing.assert_array_equal(explanation_panels(maps, layout="NHW")[1].relevance, maps.relevance[1])


def test_captions_name_the_class_its_output_and_the_sum() -> None:
    explanation = fake(2, 3, 4, 5)
    first, second = explanation_panels(explanation, labels=["a", "b", "c"], sources=["p.png", "q.png"], title="epsilon")
    assert first.caption.startswith("b\nf(x) = 2 ")
    assert second.caption.startswith("c\nf(x) = 3 ")
    assert second.caption.endswith(f"ΣR = {explanation.relevance[1].sum():.3g}".replace("-", "\N{MINUS SIGN}"))
    assert (first.title, first.source) == ("epsilon", "p.png")
    assert explanation_panels(explanation)[0].caption.startswith("class 1\n")


def test_captions_of_weights_and_of_single_outputs() -> None:
    weights = np.array([[1.0, 0.5, 0.0], [0.0, 0.0, 2.0]])
    explanation = Fake(np.ones((2, 4)), {"x": np.ones((2, 4))}, target=weights)
    assert [panel.caption.split()[4] for panel in explanation_panels(explanation)] == ["1.5", "6"]
    explanation = Fake(np.ones((2, 4)), {"x": np.ones((2, 4))}, output=np.array([7.0, 8.0]), target=np.zeros(2, np.int64))
    assert [panel.caption.split()[3] for panel in explanation_panels(explanation)] == ["7", "8"]
    explanation = Fake(np.ones((2, 4)), {"x": np.ones((2, 4))}, output=np.ones((2, 3, 5)))
    assert explanation_panels(explanation)[0].caption == "ΣR = 4"


def test_signals_features_and_tokens() -> None:
    signal = explanation_panels(fake(2, 3, 7))[0]
    assert isinstance(signal, SignalPanel)
    assert signal.signal.shape == (3, 7)
    assert explanation_panels(fake(2, 7))[0].signal.shape == (7,)
    embedded = GENERATOR.normal(size=(2, 7, 4))
    ids = GENERATOR.integers(0, 9, size=(2, 7))
    tokens = explanation_panels(Fake(embedded, {"ids": ids}))[1]
    assert isinstance(tokens, SignalPanel)
    np.testing.assert_allclose(tokens.relevance, embedded[1].sum(axis=-1))
    np.testing.assert_array_equal(tokens.signal, ids[1])
    assert tokens.names[3] == "token 3"


def test_one_of_several_inputs() -> None:
    inputs = {"picture": np.ones((2, 3, 4, 5)), "features": np.ones((2, 6)), "mask": np.ones((2, 1))}
    explanation = Fake({"picture": np.ones((2, 3, 4, 5)), "features": np.ones((2, 6)), "bias": np.ones(2)}, inputs)
    assert isinstance(explanation_panels(explanation, input="picture")[0], Panel)
    assert isinstance(explanation_panels(explanation, input="features")[0], SignalPanel)
    with pytest.raises(InputError, match="choose one of 'picture', 'features'"):
        explanation_panels(explanation)
    with pytest.raises(InputError, match="'mask' is not explained"):
        explanation_panels(explanation, input="mask")
    only = Fake({"features": np.ones((2, 6)), "bias": np.ones(2)}, inputs)
    assert isinstance(explanation_panels(only)[0], SignalPanel)


def test_inner_values_need_pictures() -> None:
    explanation = Fake(np.ones((2, 8, 4, 5)), {"x": np.ones((2, 3, 8, 10))})
    with pytest.raises(InputError, match="images="):
        explanation_panels(explanation)
    images = [np.full((4, 5, 3), value, np.uint8) for value in (3, 4)]
    panels = explanation_panels(explanation, images=images)
    assert [int(panel.image[0, 0, 0]) for panel in panels] == [3, 4]
    with pytest.raises(InputError, match="nothing to draw"):
        explanation_panels(Fake(np.ones((2, 8)), {"x": np.ones((2, 3, 8, 10))}))


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match=r"\[2, 3, 4, 5, 6\]"):
        explanation_panels(fake(2, 3, 4, 5, 6))
    with pytest.raises(InputError, match="no input 'y'"):
        explanation_panels(fake(2, 3), input="y")
    with pytest.raises(InputError, match="1 images for 2 samples"):
        explanation_panels(fake(2, 3, 4, 5), images=[np.zeros((4, 5, 3), np.uint8)])
    with pytest.raises(InputError, match="3 sources for 2 samples"):
        explanation_panels(fake(2, 3, 4, 5), sources=["a", "b", "c"])


def test_a_constant_input_is_black() -> None:
    explanation = Fake(np.ones((2, 3, 4, 5)), {"x": np.full((2, 3, 4, 5), 0.7)})
    assert not explanation_panels(explanation)[0].image.any()


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 8), (2, 8)])
def test_figures_and_files(shape: tuple[int, ...], tmp_path: Path) -> None:
    explanation = fake(*shape)
    figure = explanation_to_figure(explanation, colours="bwr", title="epsilon", joint=True)
    assert "epsilon" in [text.get_text() for text in figure.texts]
    path = save_explanation(str(tmp_path / "figure.png"), explanation, dpi=40, labels=["a", "b", "c"])
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(TypeError, match="color"):
        explanation_to_figure(explanation, color="bwr")


def tabular(output: np.ndarray, target: np.ndarray | None = None, **names: Any) -> Tabular:
    relevance = np.array([[1.0, -2.0, 0.5], [0.25, 0.0, -0.125]])
    zeros = np.zeros(2, np.int64)
    return Tabular(relevance, {"x": np.ones((2, 3))}, output, zeros if target is None else target, **names)


def texts_of(panels: Any, **options: Any) -> list[str]:
    return [text.get_text() for text in signal_figure(panels, **options).texts]


def test_one_output_speaks_for_the_class_of_its_sign() -> None:
    explanation = tabular(np.array([1.83, -0.5]), classes=["setosa", "versicolor"])
    first, second = explanation_panels(explanation)
    assert first.caption.splitlines()[:1] == ["versicolor, as f(x) > 0"]
    assert second.caption.splitlines()[:1] == ["setosa, as f(x) < 0"]
    assert first.sides == second.sides == ("for setosa", "for versicolor")
    assert explanation_panels(explanation, labels=["no", "yes"])[0].caption.startswith("yes, as")
    assert [text for text in texts_of([first]) if "for " in text] == [
        "\N{BLACK LEFT-POINTING SMALL TRIANGLE} for setosa",
        "for versicolor \N{BLACK RIGHT-POINTING SMALL TRIANGLE}",
    ]


def test_sides_of_classes_of_regression_and_of_other_starts() -> None:
    several = explanation_panels(tabular(OUTPUT, np.array([1, 2]), classes=["a", "b", "c"]))
    assert [(panel.caption.splitlines()[0], panel.sides) for panel in several] == [
        ("b", ("against b", "for b")),
        ("c", ("against c", "for c")),
    ]
    regression = explanation_panels(tabular(np.array([205.0, 68.0])))[0]
    assert regression.caption.startswith("output\nf(x) = 205 ")
    assert regression.sides == ("lowers f(x)", "raises f(x)")
    weighted = explanation_panels(tabular(np.array([3.0, 4.0]), np.array([-1.0, 2.0]), classes=["a", "b"]))
    assert [panel.caption.split()[:5] for panel in weighted] == [
        ["weighted", "classes", "f(x)", "=", "\N{MINUS SIGN}3"],
        ["weighted", "classes", "f(x)", "=", "8"],
    ]
    # Relevance that starts from 1 is positive for whatever is decided.
    assert explanation_panels(tabular(np.array([1.0, -1.0]), classes=["a", "b"], initial="one"))[1].sides == ("", "")


def test_features_have_the_names_of_the_model() -> None:
    explanation = tabular(np.ones(2), features=["width", "height", "depth"])
    assert explanation_panels(explanation)[0].names == ("width", "height", "depth")
    assert explanation_panels(explanation, features=["a", "b", "c"])[0].names == ("a", "b", "c")
    # Names of the input are none of what is computed from it.
    assert explanation_panels(tabular(np.ones(2), features=["width", "height"]))[0].names == ()
    with pytest.raises(InputError, match="2 names do not fit 3 features"):
        explanation_panels(explanation, features=["a", "b"])


def test_values_and_relevances_stand_beside_the_bars() -> None:
    long = "a name that is far too long to be written out beside a bar of the relevance of number "
    values = np.array([1956.25, -3.0, 0.015625, 123456.0])
    panel = SignalPanel(values, np.array([4.0, -3.0, 2.0, 0.0]), names=tuple(f"{long}{number}" for number in range(4)))
    texts = texts_of([panel])
    labels = [text for text in texts if " = " in text]
    assert [label.rsplit(" = ")[1] for label in labels] == ["1956", "\N{MINUS SIGN}3", "0.0156", "123456"]
    assert all(label.startswith("a name") and f"number {index} = " in label for index, label in enumerate(labels))
    assert [texts[texts.index(label) + 1] for label in labels] == ["4", "\N{MINUS SIGN}3", "2", "0"]


def test_zeros_of_all_panels_stand_below_each_other() -> None:
    panels = [
        SignalPanel(np.ones(2), np.array([1.0, -2.0]), names=("a", "b")),
        SignalPanel(np.ones(2), np.array([1e-9, 2.0]), names=("a name of some length", "b")),
    ]
    boxes = [axes.get_position() for axes in signal_figure(panels).axes if axes.patches]
    assert boxes[0].x0 == boxes[1].x0
    assert boxes[0].x1 == boxes[1].x1


def test_of_sparse_samples_what_has_relevance_is_drawn() -> None:
    relevance = np.zeros((3, 100_000))
    relevance[0, [7, 40_000]] = -1.0, 2.0
    relevance[1, 3] = 0.5
    given = np.where(relevance != 0, 4.0, 0.0)
    given[0, 9] = 1.0
    given[2, 11] = 5.0
    stored = csr_matrix(given)
    stored.data = np.array([-1.0, 0.0, 2.0, 0.5, 0.0])  # zeros that are stored, where the input is not zero
    names = [f"word {column}" for column in range(100_000)]
    explanation = Tabular(stored, {"x": csr_matrix(given)}, np.ones(3), np.zeros(3, np.int64), features=names)
    panels = explanation_panels(explanation)
    assert [panel.names for panel in panels] == [("word 7", "word 40000"), ("word 3",), ("word 11",)]
    assert [panel.signal.tolist() for panel in panels] == [[4.0, 4.0], [4.0], [5.0]]
    assert [panel.relevance.tolist() for panel in panels] == [[-1.0, 2.0], [0.5], [0.0]]
    assert panels[0].caption.endswith("\N{GREEK CAPITAL LETTER SIGMA}R = 1")
    texts = texts_of(panels[:2], most=1)
    assert "1 more feature: relevance \N{MINUS SIGN}1 in all; 99,998 without relevance" in texts
    assert "99,999 more without relevance" in texts
    explanation.features = None
    assert explanation_panels(explanation)[0].names == ("feature 7", "feature 40000")


def test_more_panels_than_a_picture_holds(tmp_path: Path) -> None:
    panels = Fake(np.ones((500, 20)), {"x": np.ones((500, 20))}, np.ones(500), np.zeros(500, np.int64))
    with pytest.raises(InputError, match=r"500 panels are \d+ inches high, a picture at most 328: draw fewer samples"):
        save_explanation(tmp_path / "figure.png", panels)
