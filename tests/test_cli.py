"""The command line as a user types it: files written, numbers printed, exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import graphlrp
from graphlrp import ZBounds, select
from graphlrp.cli import main
from tests.builders import residual_network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(residual_network(channels=3, size=16, classes=4), tmp_path / "model.onnx")
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\nfish\n")
    np.save(tmp_path / "x.npy", generator.normal(size=(3, 3, 16, 16)).astype(np.float32))
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_explain_pictures_with_composites_and_classes_side_by_side(folder: Path) -> None:
    result = run(
        *("explain", folder / "model.onnx", folder / "a.png", folder / "b.png", "-o", folder / "out"),
        *("--resize", 18, "--mean", "123.7,116.3,103.5", "--std", "58.4,57.1,57.4", "--labels", folder / "labels.txt"),
        *("--composite", "epsilon-plus-flat", "--composite", "epsilon-gamma-box:low=-3,high=3", "--top-k", 2),
    )
    assert result.exit_code == 0, result.output
    assert "a.png" in result.output
    assert any(name in result.output for name in ("cat", "dog", "bird", "fish"))
    with Image.open(folder / "out" / "explanation.png") as picture:
        assert min(picture.size) > 400
    with np.load(folder / "out" / "relevance.npz") as arrays:
        relevance = arrays["epsilon-plus-flat/0/relevance"]
        assert relevance.shape == (2, 3, 16, 16)
        first, second = arrays["epsilon-plus-flat/0/target"], arrays["epsilon-plus-flat/1/target"]
        order = np.argsort(-arrays["epsilon-plus-flat/0/output"], axis=1)
        np.testing.assert_array_equal(first, order[:, 0])
        np.testing.assert_array_equal(second, order[:, 1])
        assert (arrays["epsilon-plus-flat/0/conservation_error"] < 1e-4).all()


def test_explain_preprocesses_as_the_options_say(folder: Path) -> None:
    result = run(
        *("explain", folder / "model.onnx", folder / "a.png", "-o", folder / "one.png", "--composite", "epsilon"),
        *("--size", 16, "--mean", "127", "--scale", 1 / 128, "--channels", "BGR", "--target", 2),
    )
    assert result.exit_code == 0, result.output
    with Image.open(folder / "a.png") as image:
        pixels = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR), dtype=np.float64)
    x = ((pixels[..., ::-1] - 127) / 128).transpose(2, 0, 1)[None].astype(np.float32)
    import graphlrp

    expected = graphlrp.load(folder / "model.onnx", "epsilon")(x, 2).relevance
    with np.load(folder / "one.npz") as arrays:
        np.testing.assert_allclose(arrays["epsilon/0/relevance"], expected, rtol=1e-4, atol=1e-7)


def test_compile_runs_where_graphlrp_is_not_installed(folder: Path) -> None:
    import graphlrp

    assert run("compile", folder / "model.onnx", "-o", folder / "explainer.onnx", "--composite", "epsilon-plus").exit_code == 0
    onnx.checker.check_model(str(folder / "explainer.onnx"), full_check=True)
    script = (
        "import sys; sys.modules['graphlrp'] = None\n"
        "import numpy as np, onnxruntime\n"
        f"s = onnxruntime.InferenceSession(r'{folder / 'explainer.onnx'}', providers=['CPUExecutionProvider'])\n"
        "assert [i.name for i in s.get_inputs()] == ['input', 'target'], [i.name for i in s.get_inputs()]\n"
        "assert [o.name for o in s.get_outputs()] == ['probabilities', 'relevance'], [o.name for o in s.get_outputs()]\n"
        f"x = np.load(r'{folder / 'x.npy'}')\n"
        f"np.save(r'{folder / 'r.npy'}', s.run(['relevance'], {{'input': x, 'target': np.array([-1, 2, 0])}})[0])\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    x = np.load(folder / "x.npy")
    explainer = graphlrp.load(folder / "model.onnx", "epsilon-plus")
    best = int(explainer(x).target[0])
    np.testing.assert_allclose(np.load(folder / "r.npy"), explainer(x, [best, 2, 0]).relevance, rtol=1e-5, atol=1e-7)


def test_plan_names_rules_and_the_verified_difference(folder: Path) -> None:
    result = run("plan", folder / "model.onnx")
    assert result.exit_code == 0
    for text in ("epsilon-plus-flat", "fold affine", "agree to", "Flat()", "Softmax 'softmax' is no part"):
        assert text in result.output, text
    written = run("plan", folder / "model.onnx", "--canonical", folder / "canonical.onnx")
    assert f"wrote {folder / 'canonical.onnx'}" in written.output
    assert "BatchNormalization" not in [node.op_type for node in onnx.load(folder / "canonical.onnx").graph.node]
    plan = json.loads(run("plan", folder / "model.onnx", "--json").output)
    assert next(row["rule"] for row in plan["rows"] if row["operator"] == "Conv") == "Flat()"


def test_check_tells_conserving_from_other_rules(folder: Path) -> None:
    good = run("check", folder / "model.onnx", folder / "x.npy", "--composite", "epsilon-alpha2beta1")
    assert good.exit_code == 0, good.output
    assert "every mapping balances" in good.output
    bad = run("check", folder / "model.onnx", "--composite", "gradient")
    assert bad.exit_code == 1
    assert "does not conserve" in bad.output


def test_options_are_those_of_load(folder: Path) -> None:
    result = run(
        *("explain", folder / "model.onnx", folder / "x.npy", "-o", folder / "out", "--composite", "epsilon:epsilon=0.1"),
        *("--rule", "first=z-bounds:low=-4/-4/-5,high=4", "--rule", "family/dense=flat", "--initial", "one"),
        *("--report", "r1", "--restrict", "r1=0,2", "--bias", "distribute"),
    )
    assert result.exit_code == 0, result.output
    rules = [(select.first(), ZBounds((-4.0, -4.0, -5.0), 4.0)), (select.family("dense"), graphlrp.Flat())]
    explainer = graphlrp.load(
        folder / "model.onnx",
        graphlrp.Epsilon(0.1),
        rules=rules,
        initial="one",
        report="r1",
        restrict={"r1": [0, 2]},
        bias="distribute",
    )
    expected = explainer(np.load(folder / "x.npy"))
    with np.load(folder / "out" / "relevance.npz") as arrays:
        np.testing.assert_array_equal(arrays["epsilon:epsilon=0.1/0/relevance"], expected.relevance)
        np.testing.assert_array_equal(arrays["epsilon:epsilon=0.1/0/report/r1"], expected.intermediate["r1"])


def test_plugins_lists_what_is_built_in() -> None:
    result = run("plugins")
    assert result.exit_code == 0
    assert "Convolution" in result.output
    assert "epsilon-plus-flat" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "missing.onnx", "a.png", "-o", "out"), "no such model file"),
        (("explain", "model.onnx", "missing.png", "-o", "out"), "no such picture"),
        (("explain", "model.onnx", "labels.txt", "-o", "out"), "cannot be read as a picture"),
        (("explain", "labels.txt", "a.png", "-o", "out"), "cannot be read as an ONNX model"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--composite", "nonsense"), "unknown composite 'nonsense'"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--composite", "epsilon-gamma-box"), "missing a required argument"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--target", "99"), "class 99 is out of range"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--top-k", "9"), "--top-k 9"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--mean", "1,2"), "mean has 2 numbers"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--size", "8"), "shape [1, 3, 8, 8], the model wants [N, 3, 16, 16]"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--provider", "NoSuchProvider"), "no provider 'NoSuchProvider'"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--policy", "merge=none"), "unknown merge policy"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--rule", "dense=flat"), "--rule 'dense=flat': give SELECTOR=RULE"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--rule", "family=flat"), "--rule 'family=flat': give SELECTOR=RULE"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--rule", "first=flatt"), "unknown rule 'flatt'"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--restrict", "r1"), "give NAME=CHANNEL"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--plugin", "no_such_module"), "cannot be imported"),
        (("plugins", "new", "not a name"), "is no name for a package"),
        (("explain", "model.onnx", "a.png", "-o", "labels.txt/out"), "cannot write"),
        (("compile", "model.onnx", "-o", "no/such/folder/e.onnx"), "cannot write"),
        (("check", "model.onnx", "labels.txt"), "cannot be read as arrays"),
        (("plan", "model.onnx", "--start", "nonsense"), "no value 'nonsense'"),
    ],
)  # fmt: skip
def test_bad_input_exits_with_2_and_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder)
    before = set(folder.rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert set(folder.rglob("*")) == before, "something was half written"
