"""Figures: nothing overlaps, what is shown is what was given, files are whole, users' settings do no harm."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from graphlrp.errors import InputError
from graphlrp.visual import (
    Panel,
    SignalPanel,
    explanation_caption,
    explanation_figure,
    positive_mask,
    relevance_overlay,
    save_figure,
    save_signal_figure,
    signal_figure,
)
from graphlrp.visual.typesetting import TITLE, number, width_of, wrap

LONG_NAME = "Nova_Scotia_duck_tolling_retriever, a class with $a_name$ that needs several lines of its own"


def panel(height: int = 20, width: int = 20, seed: int = 0, **texts: str) -> Panel:
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
    return Panel(image, generator.normal(size=(height, width)) * 1e-7, **texts)


def described(seed: int) -> Panel:
    caption = explanation_caption(LONG_NAME, -12345.678, 4.2e-12, "epsilon-plus-flat")
    return panel(seed=seed, title="epsilon-alpha-beta (alpha=2, beta=1)", caption=caption, source=LONG_NAME)


def extents(figure: Figure) -> list[tuple[str, Bbox]]:
    """Everything drawn on a figure, and where."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        axes.apply_aspect()
    texts = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts if text.get_text()]
    return texts + [(f"axes {index}", axes.get_window_extent()) for index, axes in enumerate(figure.axes)]


def assert_tidy(figure: Figure) -> None:
    """Nothing lies outside the figure or on top of anything else."""
    everything = extents(figure)
    for name, box in everything:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, f"{name!r} leaves the figure"
    for (name, box), (other_name, other) in itertools.combinations(everything, 2):
        apart = box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 or other.y1 <= box.y0
        assert apart, f"{name!r} overlaps {other_name!r}"


def pixels_of(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def axes_pixels(figure: Figure, index: int) -> np.ndarray:
    """What was painted inside the frame of one of the axes."""
    pixels = pixels_of(figure)
    box = figure.axes[index].get_window_extent()
    height = pixels.shape[0]
    return pixels[round(height - box.y1) + 2 : round(height - box.y0) - 2, round(box.x0) + 2 : round(box.x1) - 2]


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("panels", [1, 2, 4])
@pytest.mark.parametrize("joint", [False, True])
def test_nothing_overlaps(rows: int, panels: int, joint: bool) -> None:
    figure = explanation_figure(
        [[described(seed=row * 10 + column) for column in range(panels)] for row in range(rows)],
        joint=joint,
        percentile=99.0 if joint else 100.0,
        heading=LONG_NAME,
    )
    assert_tidy(figure)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("percentile", [100.0, 60.0])
@pytest.mark.parametrize("width", [0.9, 1.5, 3.0])
def test_nothing_overlaps_in_odd_shapes(joint: bool, width: float, percentile: float) -> None:
    rows = [
        [panel(4, 90, title="a", caption=LONG_NAME)],
        [panel(90, 4, title="b", caption="x"), panel(90, 4, title="c")],
        [panel(1, 1)],
    ]
    assert_tidy(explanation_figure(rows, joint=joint, width=width, percentile=percentile, over=None))


def test_text_is_taken_literally() -> None:
    texts = explanation_figure([[described(0)]]).texts
    assert any("$a_name$" in text.get_text() for text in texts)
    assert not any(text.get_parse_math() or text.get_usetex() for text in texts)


def test_order_of_the_pictures() -> None:
    row = [panel(title="first"), panel(title="second")]
    titles = [text for text, _ in extents(explanation_figure([row])) if not text.startswith("axes")]
    over = "relevance over input"
    assert [title for title in titles if title in ("input", "first", over, "second")] == ["input", "first", over, "second", over]


@pytest.mark.parametrize("over", ["blend", "mask"])
def test_every_panel_is_laid_over_the_input_with_its_own_scale(over: Literal["blend", "mask"]) -> None:
    row = [panel(seed=seed, title=str(seed)) for seed in (1, 2)]
    row[1] = Panel(row[0].image, 30 * row[1].relevance, "2")
    pictures = [axes for axes in explanation_figure([row], over=over, colours="bwr").axes if axes.images]
    shown = [np.asarray(axes.images[0].get_array()) for axes in pictures]
    shown = [pixels for pixels in shown if pixels.shape == row[0].image.shape]
    assert len(shown) == 5
    for place, one in enumerate(row):
        scale = float(np.abs(one.relevance).max())
        if over == "blend":
            expected = relevance_overlay(one.image, one.relevance, colours="bwr", scale=scale)
        else:
            expected = positive_mask(one.image, one.relevance, scale=scale)
        np.testing.assert_array_equal(shown[2 + 2 * place], expected)


def test_titles_are_not_repeated_in_every_row() -> None:
    same = [[panel(title="epsilon")], [panel(title="epsilon")]]
    other = [[panel(title="epsilon")], [panel(title="gamma")]]
    count = [[text.get_text() for text in explanation_figure(rows).texts].count("input") for rows in (same, other)]
    assert count == [1, 2]


def test_heatmap_is_upright_and_in_its_place() -> None:
    relevance = np.zeros((8, 8))
    relevance[0, :] = 1.0  # above
    relevance[:, 0] = -1.0  # on the left, and in the corner
    figure = explanation_figure([[Panel(np.zeros((8, 8, 3), np.uint8), relevance)]], colours="bwr", over=None)
    shown = axes_pixels(figure, 1)
    height, width, _ = shown.shape
    assert shown[height // 16, width // 2].tolist() == [255, 0, 0]
    assert shown[height // 2, width // 16].tolist() == [0, 0, 255]
    assert shown[height // 16, width // 16].tolist() == [0, 0, 255]
    assert shown[height // 2, width // 2].tolist() == [255, 255, 255]
    assert not axes_pixels(figure, 0).any(), "the input is black"


def test_joint_scale_is_shared_and_own_scales_are_not() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    rows = [[Panel(black, np.full((8, 8), 4.0)), Panel(black, np.full((8, 8), 1.0))]]
    own = explanation_figure(rows, colours="bwr", over=None)
    assert [axes_pixels(own, index)[50, 50].tolist() for index in (1, 3)] == [[255, 0, 0], [255, 0, 0]]
    joint = explanation_figure(rows, colours="bwr", over=None, joint=True)
    assert [axes_pixels(joint, index)[50, 50].tolist() for index in (1, 2)] == [[255, 0, 0], [255, 191, 191]]
    texts = [text.get_text() for text in joint.texts]
    assert texts.count("4") == 1
    assert texts.count("\N{MINUS SIGN}4") == 1
    assert texts.count("relevance") == 3


def test_colour_bar_is_symmetric_and_says_when_it_clips() -> None:
    relevance = np.zeros((10, 10))
    relevance[0, 0], relevance[1:] = 100.0, -0.5
    black = np.zeros((10, 10, 3), np.uint8)
    texts = [text.get_text() for text in explanation_figure([[Panel(black, relevance)]], percentile=90.0).texts]
    assert {"≤ \N{MINUS SIGN}0.5", "0", "≥ 0.5"} <= set(texts)
    texts = [text.get_text() for text in explanation_figure([[Panel(black, relevance)]]).texts]
    assert {"\N{MINUS SIGN}100", "0", "100"} <= set(texts)


def test_size_in_pixels(tmp_path: Path) -> None:
    path = save_figure(tmp_path / "figure.png", [[panel()]], dpi=100)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == 12 + 3 * 224 + 2 * 12 + 12
        assert 224 < picture.height < 320
    boxes = [axes.get_window_extent() for axes in explanation_figure([[panel()]]).axes]
    # At 200 dpi a pixel of a 224 pixel picture is two by two, on whole pixels: nothing is blurred.
    for box in boxes[:2]:
        np.testing.assert_allclose([box.width, box.height], 448, atol=1e-6)
        np.testing.assert_allclose([box.x0 % 1, box.y0 % 1], np.rint([box.x0 % 1, box.y0 % 1]), atol=1e-6)


def test_the_same_figure_is_the_same_file_whatever_the_settings_of_the_user(tmp_path: Path) -> None:
    rows = [[described(0), described(1)]]
    first = save_figure(tmp_path / "first.png", rows).read_bytes()
    settings = {
        "text.usetex": True,
        "text.parse_math": True,
        "font.family": ["monospace"],
        "font.size": 30.0,
        "axes.grid": True,
        "axes.spines.top": False,
        "axes.facecolor": "black",
        "image.origin": "lower",
        "image.cmap": "gray",
        "image.interpolation": "bilinear",
        "savefig.dpi": 10,
        "savefig.bbox": "tight",
        "figure.autolayout": True,
    }
    with matplotlib.rc_context(settings):
        second = save_figure(tmp_path / "second.png", rows).read_bytes()
    assert first == second


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(path, [[panel()]])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path], "the unfinished file must go"


def test_folders_are_made(tmp_path: Path) -> None:
    assert save_figure(tmp_path / "new" / "folder" / "figure.png", [[panel()]], dpi=50).is_file()
    assert save_signal_figure(tmp_path / "other" / "s.png", [SignalPanel(np.ones(3), np.ones(3))], dpi=50).is_file()


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys, numpy as np, graphlrp.visual as v;"
        "v.explanation_figure([[v.Panel(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2)))]]);"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_figures_can_be_saved_in_other_formats() -> None:
    content = io.BytesIO()
    explanation_figure([[described(0)]]).savefig(content, format="svg")
    assert b"<svg" in content.getvalue()


@pytest.mark.parametrize("rows", [[], [[]], [[panel()], []]])
def test_empty_figures_are_refused(rows: Sequence[Sequence[Panel]]) -> None:
    with pytest.raises(InputError, match="at least one"):
        explanation_figure(rows)


def test_a_row_explains_one_picture() -> None:
    with pytest.raises(InputError, match=r"row 1.*different sizes"):
        explanation_figure([[panel()], [panel(4, 5), panel(5, 4)]])


def test_options_are_checked() -> None:
    for options in ({"over": "under"}, {"width": 0.1}, {"percentile": 0.0}, {"colours": "rainbow"}):
        with pytest.raises(InputError):
            explanation_figure([[panel()]], **options)  # type: ignore[arg-type]


def test_panels_are_checked() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(InputError, match="does not fit the picture"):
        Panel(image, np.zeros((5, 4)))
    with pytest.raises(InputError, match="NaN"):
        Panel(image, np.full((4, 5), np.nan))
    with pytest.raises(InputError, match="uint8"):
        Panel(image / 255, np.zeros((4, 5)))


def test_caption() -> None:
    assert explanation_caption("cat", 9.1674, -0.00001234) == "cat\nf(x) = 9.17   ΣR = \N{MINUS SIGN}1.23×10⁻⁵"
    assert explanation_caption("cat", 1.0, 1.0, "epsilon").splitlines()[-1] == "epsilon"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (0.01239, "0.0124"),
        (-2.5, "−2.5"),
        (1e-7, "1×10⁻⁷"),
        (4.56e12, "4.56×10¹²"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("width", [0.15, 0.5, 1.3, 4.0])
def test_wrapped_lines_fit_and_lose_no_letter(width: float) -> None:
    lines = wrap(LONG_NAME + "\n\nsecond  paragraph", TITLE, width)
    assert all(width_of(line.text, TITLE) <= width for line in lines)
    letters = "".join(line.text for line in lines).replace(" ", "")
    assert letters == (LONG_NAME + "secondparagraph").replace(" ", "")


def test_words_that_fit_are_not_broken() -> None:
    lines = [line.text for line in wrap("golden retriever", TITLE, width_of("retriever", TITLE) + 0.01)]
    assert lines == ["golden", "retriever"]


@pytest.mark.parametrize("width", [1.2, 1.6, 2.24, 3.0])
def test_numbers_and_parameters_that_fit_are_not_broken(width: float) -> None:
    name = "epsilon-gamma-box:low=-0.9922,high=2.6/2.4/2.3"
    lines = [line.text for line in wrap(name, TITLE, width)]
    assert "".join(lines) == name and len(lines) > 1
    for parameter in ("low=-0.9922,", "high=2.6/2.4/2.3"):
        assert sum(parameter in line for line in lines) == 1
    (alone,) = [line.text for line in wrap("from -1.25e-06", TITLE, width_of("-1.25e-06", TITLE) + 0.01)][1:]
    assert alone == "-1.25e-06"


@pytest.mark.parametrize("joint", [False, True])
def test_nothing_overlaps_in_signal_figures(joint: bool) -> None:
    generator = np.random.default_rng(0)
    names = (LONG_NAME, "b", "c")
    panels = [
        SignalPanel(generator.normal(size=(3, 50)), generator.normal(size=(3, 50)), "t", LONG_NAME),
        SignalPanel(generator.normal(size=(2, 9)), generator.normal(size=(2, 9)), names=(2 * LONG_NAME, "x")),
        SignalPanel(generator.normal(size=(1, 1)), np.zeros((1, 1))),
        SignalPanel(generator.normal(size=40), generator.normal(size=40) * 1e-9, LONG_NAME, "a\nb"),
        SignalPanel(generator.normal(size=3), generator.normal(size=3), names=names),
    ]
    assert_tidy(signal_figure(panels, joint=joint))


def test_bars_show_the_most_relevant_features_and_what_is_left() -> None:
    relevance = np.array([0.1, -3.0, 2.0, 0.5, -0.2])
    figure = signal_figure([SignalPanel(np.arange(5.0), relevance, names=tuple("abcde"))], most=2)
    texts = [text.get_text() for text in figure.texts]
    labels = [text for text in texts if " = " in text]
    assert labels == ["b = 1", "c = 2"]
    assert "3 more features: relevance 0.4 in all" in texts


def test_bars_point_to_the_side_of_their_sign_and_have_its_colour() -> None:
    figure = signal_figure([SignalPanel(np.ones(2), np.array([-3.0, 2.0]))], colours="bwr")
    first, second = figure.axes[0].patches
    assert first.get_width() == -3.0
    assert second.get_width() == 2.0
    assert first.get_facecolor()[:3] == (0.0, 0.0, 1.0)
    assert second.get_facecolor()[0] == 1.0
    assert 0.3 < second.get_facecolor()[2] < 0.4


def test_bars_of_jointly_normalised_panels_have_comparable_lengths() -> None:
    panels = [SignalPanel(np.ones(1), np.array([4.0])), SignalPanel(np.ones(1), np.array([-1.0]))]
    joint = [axes.get_xlim() for axes in signal_figure(panels, joint=True).axes if axes.patches]
    own = [axes.get_xlim() for axes in signal_figure(panels).axes if axes.patches]
    assert joint[0] == joint[1]
    assert own[0] != own[1]
    assert joint[0] == pytest.approx((-1 - 0.04 * 4, 4 + 0.04 * 4))
    assert all(low == -high for low, high in own)


def test_a_side_without_bars_takes_no_room() -> None:
    axes = signal_figure([SignalPanel(np.ones(3), np.array([0.5, 2.0, 1.0]))]).axes[0]
    low, high = axes.get_xlim()
    assert high > 2.0 and -0.1 < low < 0
    figure = signal_figure([SignalPanel(np.ones(2), np.array([-2.0, -1.0])), SignalPanel(np.ones(2), np.array([2.0, 1.0]))])
    spans = [axes.get_xlim() for axes in figure.axes if axes.patches]
    assert all(low == -high for low, high in spans)  # zeros of panels stand below each other


def test_a_side_takes_the_room_of_its_longest_bar_and_bars_have_no_colour_bar() -> None:
    one_sided = [SignalPanel(np.ones(3), np.array([-20.0, 1.0, -3.0]), sides=("for crude oil and gas", "for grain and wheat"))]
    figure = signal_figure(one_sided)
    low, high = figure.axes[0].get_xlim()
    assert (low, high) == pytest.approx((-20 * 1.04, 1 + 20 * 0.04))
    # Each bar has its number: nothing says it a second time, and the whole width is used.
    texts = [text.get_text() for text in figure.texts]
    assert len(figure.axes) == 1 and "relevance" not in texts
    assert figure.axes[0].get_window_extent().width > 0.6 * figure.bbox.width
    # What a side speaks for is written out however little room its bars take.
    assert "for grain and wheat \N{BLACK RIGHT-POINTING SMALL TRIANGLE}" in texts
    assert_tidy(figure)


def test_bands_lie_behind_their_samples() -> None:
    relevance = np.array([[1.0, 0.0, 0.0, -1.0]])
    figure = signal_figure([SignalPanel(np.zeros((1, 4)), relevance)], colours="bwr")
    shown = axes_pixels(figure, 0)
    above_the_curve = shown[5]
    colours = [above_the_curve[int((sample + 0.5) * shown.shape[1] / 4)].tolist() for sample in range(4)]
    assert colours == [[255, 0, 0], [255, 255, 255], [255, 255, 255], [0, 0, 255]]


def test_signals_are_checked() -> None:
    with pytest.raises(InputError, match="same shape"):
        SignalPanel(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(InputError, match="same shape"):
        SignalPanel(np.zeros((1, 2, 3)), np.zeros((1, 2, 3)))
    with pytest.raises(InputError, match="NaN"):
        SignalPanel(np.array([np.nan]), np.zeros(1))
    with pytest.raises(InputError, match="NaN"):
        SignalPanel(np.zeros(1), np.array([np.nan]))
    with pytest.raises(InputError, match="2 names do not fit 3"):
        SignalPanel(np.zeros(3), np.zeros(3), names=("a", "b"))
    with pytest.raises(InputError, match="at least one panel"):
        signal_figure([])
    with pytest.raises(InputError, match="bars show features"):
        signal_figure([SignalPanel(np.zeros((2, 3)), np.zeros((2, 3)))], style="bars")
