"""Intervals, tables, plots and files of results; interruption and continuation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
from PIL import Image
from scipy import stats

from graphlrp import evaluation
from graphlrp.errors import InputError
from graphlrp.evaluation.drawing import Line, Panel, draw_panels
from graphlrp.evaluation.result import PerturbationResult
from tests.builders import residual_network

Array = np.ndarray


class KilledError(Exception):
    """Somebody pulled the plug."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(residual_network(), path)
    return path


@pytest.fixture(scope="module")
def samples() -> Array:
    return np.random.default_rng(0).normal(size=(6, 2, 8, 8)).astype(np.float32)


OPTIONS: dict[str, Any] = {"region": 2, "steps": 9, "repeats": 3, "order": ("morf", "lerf", "random"), "batch_size": 8}
METHODS = ("gradient", "epsilon-plus")


@pytest.fixture(scope="module")
def whole(model: Path, samples: Array) -> PerturbationResult:
    return evaluation.perturb(model, samples, METHODS, **OPTIONS)


def killer(after: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= after:
            raise KilledError

    return progress


def same(one: PerturbationResult, other: PerturbationResult) -> bool:
    return (
        [(c.method, c.order) for c in one.curves] == [(c.method, c.order) for c in other.curves]
        and all(a.scores.tobytes() == b.scores.tobytes() for a, b in zip(one.curves, other.curves, strict=True))
        and np.array_equal(one.target, other.target)
        and json.dumps(dict(one.settings)) == json.dumps(dict(other.settings))
    )


def test_interruptions_leave_no_trace(model: Path, samples: Array, whole: PerturbationResult, tmp_path: Path) -> None:
    path = tmp_path / "results" / "scores.h5"
    counts = []
    for after in (1, 100, 300, 700):
        with pytest.raises(KilledError):
            evaluation.perturb(model, samples, METHODS, **OPTIONS, resume=path, progress=killer(after))
        with h5py.File(path) as file:
            counts.append(int(file["done"][:].sum()))
        with pytest.raises(InputError, match=rf"holds {counts[-1]} of 6 samples; continue"):
            evaluation.read_result(path)
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert 1 < counts[-1] < 6
    assert same(evaluation.perturb(model, samples, METHODS, **OPTIONS, resume=path), whole)
    assert same(evaluation.read_result(path), whole)
    assert [entry.name for entry in path.parent.iterdir()] == ["scores.h5"]


def test_nothing_is_computed_twice(samples: Array, tmp_path: Path) -> None:
    counted = []

    def function(x: Array) -> Array:
        counted.append(len(x))
        return x.astype(np.float64).reshape(len(x), -1)[:, :3] * np.arange(1, 4)

    run: dict[str, Any] = {"region": 4, "steps": 3, "repeats": 2, "order": "morf", "batch_size": 1, "resume": tmp_path / "a.h5"}
    maps = np.random.default_rng(0).normal(size=samples.shape)
    with pytest.raises(KilledError):
        evaluation.perturb(function, samples, {"m": maps}, **run, progress=killer(13))
    counted.clear()
    evaluation.perturb(function, samples, {"m": maps}, **run)
    # f of all clean samples, and the perturbed inputs of the four that were not done: one had begun.
    assert sum(counted) == 6 + 4 * 6
    counted.clear()
    evaluation.perturb(function, samples, {"m": maps}, **run)
    assert sum(counted) == 6


def plain_function(x: Array) -> Array:
    """Three sums over the columns of each sample, in double precision."""
    return x.astype(np.float64).reshape(len(x), -1)[:, :120].reshape(len(x), 3, 40).sum(2)


def test_killed_by_the_system(samples: Array, tmp_path: Path) -> None:
    maps = np.random.default_rng(0).normal(size=samples.shape)
    np.savez(tmp_path / "arrays.npz", x=samples, maps=maps)
    script = f"""
        import os, signal, sys
        import numpy as np
        from graphlrp import evaluation

        def plain_function(x):
            return x.astype(np.float64).reshape(len(x), -1)[:, :120].reshape(len(x), 3, 40).sum(2)

        def progress(done, total):
            if done >= 200:
                os.kill(os.getpid(), signal.SIGKILL)

        arrays = np.load(sys.argv[1])
        evaluation.perturb(
            plain_function, arrays["x"], {{"m": arrays["maps"]}}, **{OPTIONS!r}, resume=sys.argv[2], progress=progress
        )
    """
    path = tmp_path / "killed.h5"
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "arrays.npz"), str(path)]
    assert subprocess.run(command, env=dict(os.environ), check=False).returncode == -signal.SIGKILL
    with h5py.File(path) as file:
        assert 0 < file["done"][:].sum() < 6
    continued = evaluation.perturb(plain_function, samples, {"m": maps}, **OPTIONS, resume=path)
    assert same(continued, evaluation.perturb(plain_function, samples, {"m": maps}, **OPTIONS))


def test_other_settings_than_those_of_the_file(samples: Array, tmp_path: Path) -> None:
    path = tmp_path / "scores.h5"
    options = {**OPTIONS, "repeats": 2}
    maps = np.random.default_rng(0).normal(size=samples.shape)
    methods = {"a": maps, "b": maps.sum(1)}
    with pytest.raises(KilledError):
        evaluation.perturb(plain_function, samples, methods, **options, resume=path, progress=killer(1))
    changes: list[tuple[dict[str, Any], str]] = [
        ({"seed": 4}, "seed was 0, now 4"),
        ({"steps": 5}, "steps was 9, now 5"),
        ({"repeats": 3}, "repeats was 2, now 3"),
        ({"region": 4, "steps": 4}, r"region was \"2x2\", now \"4x4\""),
        ({"region": np.arange(64).reshape(8, 8) // 4}, "segmentation was null"),
        ({"filling": 0.0}, r"filling was \"Uniform\", now \"Constant\""),
        ({"filling": evaluation.Uniform(-1, 1)}, "low was"),
        ({"order": "morf"}, "orders was"),
        ({"score": "probability"}, "score was"),
        ({"border": "include"}, "border was"),
        ({"methods": {"a": maps}}, "methods was"),
        ({"methods": {"a": maps, "b": maps}}, "methods was"),
        ({"x": samples[::-1]}, "samples was"),
        ({"target": 1}, "other targets"),
        ({"model": lambda x: plain_function(x) * 1.5}, "another model"),
    ]
    for change, message in changes:
        given = {"model": plain_function, "x": samples, "methods": methods, "target": None, **options, **change}
        arguments = [given.pop(name) for name in ("model", "x", "methods", "target")]
        with pytest.raises(InputError, match=message):
            evaluation.perturb(*arguments, **given, resume=path)


def test_settings_of_compiled_methods_are_those_of_their_plans(model: Path, samples: Array, tmp_path: Path) -> None:
    path = tmp_path / "scores.h5"
    evaluation.perturb(model, samples[:1], {"m": "epsilon"}, region=4, order="morf", resume=path)
    for method, options in (("epsilon-plus", {}), ("epsilon", {"bias": "distribute"})):
        with pytest.raises(InputError, match="methods was"):
            evaluation.perturb(model, samples[:1], {"m": method}, region=4, order="morf", resume=path, **options)


def test_files_that_are_none(model: Path, samples: Array, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        evaluation.read_result(tmp_path / "nothing.h5")
    text = tmp_path / "text.h5"
    text.write_text("no")
    with pytest.raises(InputError, match="no HDF5 file"):
        evaluation.read_result(text)
    with pytest.raises(InputError, match="no HDF5 file"):
        evaluation.perturb(model, samples, METHODS, **OPTIONS, resume=text)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["a"] = 1
    with pytest.raises(InputError, match="no result of a perturbation"):
        evaluation.read_result(other)
    with pytest.raises(InputError, match="no HDF5 file"):
        evaluation.perturb(lambda x: x.sum((1, 2, 3)), samples, [], order="random", region=4, resume=tmp_path)
    with pytest.raises(InputError, match="cannot write"):
        evaluation.perturb(lambda x: x.sum((1, 2, 3)), samples, [], order="random", region=4, resume=text / "below.h5")


def test_saved_and_read(whole: PerturbationResult, tmp_path: Path) -> None:
    whole.save(tmp_path / "deep" / "result.h5")
    assert same(evaluation.read_result(tmp_path / "deep" / "result.h5"), whole)


def test_intervals_are_those_of_student(whole: PerturbationResult) -> None:
    curve = whole.curve("gradient", "lerf")
    per_sample = curve.scores.astype(float).mean(axis=1)
    np.testing.assert_allclose(curve.mean, per_sample.mean(0))
    for level in (0.5, 0.95):
        low, high = curve.interval(level)
        for k in range(1, 10):
            expected = stats.t.interval(level, 5, per_sample[:, k].mean(), stats.sem(per_sample[:, k]))
            assert (low[k], high[k]) == pytest.approx(expected)
    area = np.array([sum(row[0] - value for value in row) / 10 for row in per_sample])
    np.testing.assert_allclose(curve.aopc_per_sample, area)
    assert curve.aopc_interval() == pytest.approx(stats.t.interval(0.95, 5, area.mean(), stats.sem(area)))
    for level in (0, 1, 95):
        with pytest.raises(InputError, match="between 0 and 1"):
            curve.interval(level)


def test_relative_curves_are_differences_within_samples(whole: PerturbationResult) -> None:
    baseline = whole.curve("", "random").scores.astype(float).mean(1)
    for order in ("morf", "lerf"):
        relatives = whole.relative(order)
        assert [curve.method for curve in relatives] == list(METHODS)
        for relative in relatives:
            scores = whole.curve(relative.method, order).scores.astype(float).mean(1)
            for length in range(10):
                difference = [
                    sum((s[0] - s[k]) - (r[0] - r[k]) for k in range(length + 1)) / (length + 1)
                    for s, r in zip(scores, baseline, strict=True)
                ]
                np.testing.assert_allclose(relative.values[:, length], difference, atol=1e-12)
                if length:
                    expected = stats.t.interval(0.95, 5, np.mean(difference), stats.sem(difference))
                    assert [end[length] for end in relative.interval()] == pytest.approx(expected)


def test_table(whole: PerturbationResult) -> None:
    lines = whole.table().splitlines()
    assert lines[0].split("  ")[0] == "method"
    assert [line.split("  ")[0] for line in lines[2:]] == [*METHODS, "random order"]
    curve = whole.curve("gradient")
    low, high = curve.aopc_interval()
    numbers = lines[2].replace("±", "").split()[1:]
    assert float(numbers[0]) == pytest.approx(curve.aopc, abs=0.05 * (high - low))
    assert float(numbers[1]) == pytest.approx((high - low) / 2, rel=0.06)
    assert float(numbers[2]) == pytest.approx(whole.relative()[0].mean[-1], abs=0.05 * (high - low))
    assert len(numbers) == 8
    assert "6 sample(s), 9 steps of 1 of 16 regions (2x2, together 56.2% of the input)\nfilling Uniform(low=[-" in str(whole)
    assert "3 repeat(s), score output" in str(whole)


def test_rows_are_the_numbers_of_the_table(whole: PerturbationResult) -> None:
    rows = whole.rows(level=0.9)
    names = [(method, order) for method in METHODS for order in ("morf", "lerf")]
    assert [(row.method, row.order) for row in rows] == [*names, ("random order", "random")]
    random = whole.curve("", "random").scores.mean(1)
    drops = {}
    for row in rows:
        scores = whole.curve(row.method, row.order).scores.mean(1)
        values = [np.mean([s[0] - value for value in s]) for s in scores.astype(np.float64)]
        drops[row.method, row.order] = values
        less = np.subtract(values, [np.mean([s[0] - value for value in s]) for s in random.astype(np.float64)])
        wanted = [(row.aopc, row.half_width, np.array(values))]
        if row.order == "random":
            assert row.less_random is None and row.less_random_half_width is None
        else:
            wanted.append((row.less_random, row.less_random_half_width, less))
        for mean, half_width, numbers in wanted:
            assert mean == pytest.approx(numbers.mean(), rel=1e-5)
            assert half_width == pytest.approx(stats.t.ppf(0.95, 5) * stats.sem(numbers), rel=1e-4)
    plain = PerturbationResult(whole.curves[:1], whole.target, whole.settings).rows()
    assert [(row.method, row.order, row.less_random) for row in plain] == [(METHODS[0], "morf", None)]
    with pytest.raises(InputError, match="between 0 and 1"):
        whole.rows(level=95)


def test_one_sample_has_no_interval(model: Path, samples: Array) -> None:
    result = evaluation.perturb(model, samples[:1], "gradient", **OPTIONS)
    assert "±" not in result.table()
    assert np.isnan(result.curves[0].interval()).all()
    result.plot(bands=True)
    only_random = evaluation.perturb(model, samples[:2], [], **{**OPTIONS, "order": "random"})
    assert [line.split()[0] for line in only_random.table().splitlines()] == ["method", "-------------"[:12], "random"]
    only_random.plot()


def test_curves_that_are_not_there(model: Path, samples: Array, whole: PerturbationResult) -> None:
    with pytest.raises(InputError, match=r"no curve of 'epsilon'.*methods: gradient, epsilon-plus"):
        whole.curve("epsilon")
    result = evaluation.perturb(model, samples, "gradient", region=4, order="morf")
    for call in (result.relative, lambda: result.plot(relative=True)):
        with pytest.raises(InputError, match=r"give order=\('morf', 'random'\)"):
            call()
    with pytest.raises(InputError, match="relative curves need"):
        whole.relative("random")


def test_plots(whole: PerturbationResult, tmp_path: Path) -> None:
    for relative in (False, True):
        figure = whole.plot(relative=relative)
        texts = [text.get_text() for text in figure.texts]
        for name in (*METHODS, "most relevant first", "least relevant first"):
            assert name in texts
        assert ("random order" in texts) is not relative
        curves = whole.relative() if relative else whole.curves[::2][:2]
        drawn = [line.get_ydata() for axes in figure.axes for line in axes.lines]
        for curve in curves:
            assert any(len(line) == 10 and np.array_equal(line, curve.mean) for line in drawn)
    for suffix in ("png", "svg", "pdf"):
        path = whole.save_plot(tmp_path / f"a.{suffix}", relative=True, dpi=60)
        assert path.stat().st_size > 1000
    assert Image.open(tmp_path / "a.png").size[0] > 300
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
        whole.save_plot(tmp_path / "a.jpg")


def test_lines_differ_and_names_do_not_overlap() -> None:
    lines = [Line(f"method {k}", np.arange(5), np.full(5, 0.001 * k)) for k in range(16)]
    lines.append(Line("baseline", np.arange(5), np.array([0, 1, 2, 3, np.nan]), plain=True))
    page = draw_panels([Panel("", lines), Panel("", lines)], across="x", up="y")
    figure = page.figure
    looks = [
        (line.get_color(), line.get_linestyle(), str(line._dash_pattern))
        for line in figure.axes[0].lines
        if len(line.get_ydata()) == 5
    ]
    assert len(set(looks)) == 17
    heights = sorted(text.get_position()[1] for text in figure.texts if text.get_text().startswith(("method", "baseline")))
    assert len(heights) == 34
    gaps = np.diff(sorted(set(np.round(heights, 6)))) * page.height
    assert gaps.min() > 0.1
    assert min(heights) > 0
    assert max(heights) < 1
