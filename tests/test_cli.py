"""The command line as a user types it: files written, numbers printed, exit status."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from scipy.sparse import csr_matrix, random, save_npz
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

import graphlrp
from graphlrp import ZBounds, kernels, select
from graphlrp.cli import main
from tests.builders import residual_network
from tests.networks import Network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(residual_network(channels=3, size=16, classes=4), tmp_path / "model.onnx")
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\nfish\n")
    np.save(tmp_path / "x.npy", generator.normal(size=(3, 3, 16, 16)).astype(np.float32))
    return tmp_path


X = np.random.default_rng(1).normal(size=(12, 3)).round(3)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Fitted estimators in files, a table that fits them, and one with more columns in another order."""
    kinds = np.where(X[:, 0] > X[:, 1], "versicolor", "setosa")
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, kinds), tmp_path / "two.joblib")
    (tmp_path / "three.pkl").write_bytes(pickle.dumps(LogisticRegression().fit(X, ["a", "b", "c"] * 4)))
    joblib.dump(LinearRegression().fit(X, X[:, 2] - X[:, 0]), tmp_path / "price.pickle")
    joblib.dump(SVC(gamma=0.3).fit(X, kinds), tmp_path / "rbf.joblib")
    joblib.dump(
        kernels.Machine(kernels.Linear(), X[:4], np.array([1.0, -0.5, 0.25, -1.0]), 0.1, features=["width", "height", "depth"]),
        tmp_path / "named.joblib",
    )
    lines = [f"n{row};{depth};{width};{height}".replace(".", ",") for row, (width, height, depth) in enumerate(X)]
    (tmp_path / "more.csv").write_text("\n".join(["id;depth;width;height", *lines]))
    np.savetxt(tmp_path / "x.csv", X, delimiter=",", header="width,height,depth", comments="", fmt="%.3f")
    np.save(tmp_path / "x.npy", X)
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


def test_columns_are_found_by_name_and_rows_by_number(tables: Path) -> None:
    result = run("explain", tables / "named.joblib", tables / "more.csv", "-o", tables / "out", "--trust", "--rows", "7,1:3")
    assert result.exit_code == 0, result.output
    assert result.output.count("the model does not take the column(s) 'id'") == 1
    assert [line.split()[:2] for line in result.output.splitlines() if line.startswith(" row")] == [
        ["row", "7"],
        ["row", "1"],
        ["row", "2"],
    ]
    expected = graphlrp.load(joblib.load(tables / "named.joblib"))(X[[7, 1, 2]])
    with np.load(tables / "out" / "relevance.npz") as arrays:
        np.testing.assert_array_equal(arrays["auto/0/relevance"], expected.relevance)
    with Image.open(tables / "out" / "explanation.png") as picture:
        assert min(picture.size) > 200


@pytest.mark.parametrize("name", ["x.csv", "x.npy"])
def test_of_a_table_the_first_rows_are_explained(tables: Path, name: str) -> None:
    result = run("explain", tables / "price.pickle", tables / name, "-o", tables / "out", "--trust", "--most", 2)
    assert result.exit_code == 0, result.output
    assert f"explaining the first 8 rows of {tables / name}; choose others with --rows" in result.output
    assert result.output.count("output") == 8
    with np.load(tables / "out" / "relevance.npz") as arrays:
        np.testing.assert_allclose(arrays["auto/0/output"], (X[:, 2] - X[:, 0])[:8], rtol=1e-5)
    rest = run("explain", tables / "price.pickle", tables / name, "-o", tables / "out", "--trust", "--rows", "9:")
    assert "choose others" not in rest.output
    assert all(f"row {row}" in rest.output for row in (9, 10, 11))


def test_classes_have_the_names_of_the_model(tables: Path) -> None:
    two = run("explain", tables / "two.joblib", tables / "x.npy", "-o", tables / "out", "--trust", "--rows", "8:11")
    said = [line.split()[4] for line in two.output.splitlines() if line.startswith(" row")]
    assert said == list(joblib.load(tables / "two.joblib").predict(X[8:11]))
    assert {"setosa", "versicolor"} <= set(said)
    three = run("explain", tables / "three.pkl", tables / "x.npy", "-o", tables / "out", "--trust", "--top-k", 3, "--rows", "4")
    assert sorted(line.split()[4] for line in three.output.splitlines() if line.startswith(" row")) == ["a", "b", "c"]
    (tables / "labels.txt").write_text("good\nbad\n")
    named = run(
        *("explain", tables / "two.joblib", tables / "x.npy", "-o", tables / "out", "--trust", "--rows", "8:11"),
        *("--labels", tables / "labels.txt"),
    )
    assert {line.split()[4] for line in named.output.splitlines() if line.startswith(" row")} == {"good", "bad"}


def test_sparse_samples_have_sparse_relevance(tmp_path: Path) -> None:
    samples = random(10, 300, density=0.02, random_state=0, format="csr")
    save_npz(tmp_path / "x.npz", samples)
    model = LogisticRegression().fit(samples, np.arange(10) % 2)
    joblib.dump(model, tmp_path / "model.joblib")
    result = run("explain", tmp_path / "model.joblib", tmp_path / "x.npz", "-o", tmp_path / "out", "--trust", "--rows", "2:5")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "out" / "relevance.npz") as arrays:
        parts = [arrays[f"auto/0/relevance/{name}"] for name in ("data", "indices", "indptr")]
        relevance = csr_matrix(tuple(parts), arrays["auto/0/relevance/shape"])
    np.testing.assert_allclose(relevance.toarray(), samples[2:5].toarray() * model.coef_, rtol=1e-5)
    assert relevance.nnz <= samples[2:5].nnz
    assert run("check", tmp_path / "model.joblib", tmp_path / "x.npz", "--trust").exit_code == 0


def test_all_commands_take_estimators(tables: Path) -> None:
    assert "agrees with Pipeline" in run("plan", tables / "two.joblib", "--trust").output
    for arguments in ((), (tables / "x.csv",)):
        result = run("check", tables / "two.joblib", *arguments, "--trust")
        assert result.exit_code == 0, result.output
        assert "every mapping balances" in result.output
    assert run("compile", tables / "two.joblib", "-o", tables / "e.onnx", "--trust").exit_code == 0
    onnx.checker.check_model(str(tables / "e.onnx"))
    for command in ("plan", "check", ("compile", "-o", "e.onnx"), ("explain", tables / "x.csv", "-o", "out")):
        first, *rest = (command,) if isinstance(command, str) else command
        refused = run(first, tables / "two.joblib", *rest)
        assert refused.exit_code == 2
        assert "is pickled: reading it runs whatever code it holds" in refused.output
        assert "--trust" in refused.output


def test_roots_are_looked_for_among_references(tables: Path) -> None:
    machine = joblib.load(tables / "rbf.joblib")
    others = 0.5 * X + 0.1
    np.savetxt(tables / "others.csv", others, delimiter=",")
    command = ("explain", tables / "rbf.joblib", tables / "x.npy", "-o", tables / "out", "--trust", "--rows", ":4")
    relevances = []
    for given in ((), ("--references", tables / "more.csv"), ("--references", tables / "others.csv")):
        result = run(*command, *given)
        if "more.csv" in str(given):
            assert result.exit_code == 2
            assert "has 4 column(s), the model takes 3 features" in result.output
            continue
        assert result.exit_code == 0, result.output
        with np.load(tables / "out" / "relevance.npz") as arrays:
            relevances.append(arrays["auto/0/relevance"])
    expected = [graphlrp.load(machine), graphlrp.load(graphlrp.convert(machine, references=others))]
    for explainer, relevance in zip(expected, relevances, strict=True):
        np.testing.assert_allclose(relevance, explainer(X[:4]).relevance, rtol=1e-6)
    assert not np.allclose(*relevances, rtol=0.01)


def test_estimators_of_another_version_are_told_of_in_one_line(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = joblib.load(tables / "two.joblib")
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "0.1")
        joblib.dump(pipeline, tables / "old.joblib")
    result = run("check", tables / "old.joblib", "--trust")
    assert result.exit_code == 0, result.output
    assert result.output.count("was written with scikit-learn 0.1, this is") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no joblib or pickle file"),
        (b"\x80\x04\x95 truncated", "cannot be read as a pickled estimator"),
        (b"cno_such_module\nThing\n.", "needs the module 'no_such_module'"),
        (b"cmath\nno_such_class\n.", "needs code that is not there"),
        (pickle.dumps({"model": None}), "holds a dict of 'model', no estimator"),
        (pickle.dumps("model.onnx"), "holds a str, no estimator"),
        (pickle.dumps(LogisticRegression), "holds the class LogisticRegression, no estimator"),
        (pickle.dumps(LogisticRegression()), "not fitted"),
    ],
)  # fmt: skip
def test_files_that_hold_no_fitted_estimator(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "model.pkl").write_bytes(content)
    result = run("plan", tmp_path / "model.pkl", "--trust")
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "missing.pkl", "x.csv", "-o", "out"), "no such model file"),
        (("explain", "two.joblib", "missing.csv", "-o", "out"), "no such file"),
        (("explain", "two.joblib", "more.csv", "-o", "out"), "more.csv has 4 column(s), the model takes 3 features"),
        (("explain", "two.joblib", "x.csv", "x.npy", "-o", "out"), "give one file of arrays or one table, not 2"),
        (("explain", "two.joblib", "x.csv", "-o", "out", "--rows", "3,99"), "there is no row 99: there are 12"),
        (("explain", "two.joblib", "x.npy", "-o", "out", "--rows", "12:"), "there is no row 12: there are 12"),
        (("explain", "two.joblib", "x.npy", "-o", "out", "--rows", "some"), "rows 'some': give numbers and ranges"),
        (("explain", "two.joblib", "x.png", "-o", "out"), "does not take pictures; give arrays (.npy, .npz) or a table"),
        (("explain", "two.joblib", "x.npy", "-o", "out", "--rows", "3:99"), "there is no row 12: there are 12 row(s)"),
        (("explain", "two.joblib", "x.csv", "-o", "out", "--rows", "3:99"), "there is no row 12: there are 12 row(s)"),
        (("explain", "two.joblib", "x.csv", "-o", "out", "--target", "0"), "positive speaks for versicolor, negative for setosa"),
        (("relevance", "two.joblib", "x.csv", "-o", "r.h5", "--target", "0"), "there is no class to choose: leave target out"),
        (("relevance", "two.joblib", "x.csv", "-o", "r.h5", "--truth", "y.npy", "--target", "true"), "no class to choose"),
        (("explain", "two.joblib", "x.csv", "-o", "out", "--top-k", "2"), "so there are no classes to rank"),
        (("explain", "three.pkl", "x.csv", "-o", "out", "--top-k", "4"), "output has 3 classes; give 1 to 3"),
        (("explain", "two.joblib", "x.csv", "-o", "out", "--labels", "three.txt"), "3 name(s), but the explained output is one"),
        (("explain", "two.joblib", "x.csv", "-o", "out", "--mean", "3"), "--mean: for pictures only; x.csv is taken as it is"),
        (("explain", "rbf.joblib", "x.csv", "-o", "out", "--references", "three.txt"), "is a text, and the model takes none"),
        (("explain", "rbf.joblib", "x.csv", "-o", "out", "--references", "fake.npy"), "is no .npy or .npz file"),
        (("explain", "two.joblib", "objects.npy", "-o", "out"), "it holds Python objects"),
        (("plan", "fake.joblib"), "is no joblib or pickle file"),
        (("check", "two.joblib", "more.csv"), "more.csv has 4 column(s)"),
        (("check", "rbf.joblib", "--references", "missing.csv"), "no such file"),
    ],
)  # fmt: skip
def test_bad_tables_exit_with_2_and_one_line(
    tables: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tables)
    (tables / "three.txt").write_text("a\nb\nc\n")
    (tables / "fake.npy").write_text("1 2 3")
    (tables / "fake.joblib").write_text("not a pickle")
    np.save(tables / "objects.npy", np.array([None]), allow_pickle=True)
    np.save(tables / "y.npy", np.arange(12) % 2)
    before = set(tables.rglob("*"))
    result = run(*arguments, "--trust")
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert len(result.output.splitlines()) == 1
    assert set(tables.rglob("*")) == before, "something was half written"


def test_rows_choose_among_pictures_and_auto_says_what_it_chose(folder: Path) -> None:
    result = run("explain", folder / "model.onnx", folder / "a.png", folder / "b.png", "--rows", "1", "-o", folder / "out")
    assert result.exit_code == 0, result.output
    assert re.search(r"b\.png +epsilon-plus-flat \(auto\) ", result.output) and "a.png" not in result.output


def test_relevance_of_a_decision_takes_true_classes_along(tables: Path) -> None:
    np.save(tables / "y.npy", np.arange(12) % 2)
    arguments = ("relevance", tables / "two.joblib", tables / "x.csv", "--truth", tables / "y.npy", "--trust")
    result = run(*arguments, "-o", tables / "r.h5")
    assert result.exit_code == 0 and "predicted as labelled" in result.output, result.output


def test_networks_take_tables_and_no_references(folder: Path) -> None:
    (folder / "t.csv").write_text("1,2\n3,4\n")
    picture = run("explain", folder / "model.onnx", folder / "t.csv", "-o", folder / "out")
    assert picture.exit_code == 2
    assert "t.csv is a table, and input 'input' of shape" in picture.output
    references = run("plan", folder / "model.onnx", "--references", folder / "t.csv")
    assert references.exit_code == 2
    assert "--references are for estimators" in references.output
    chosen = run("explain", folder / "model.onnx", folder / "x.npy", "-o", folder / "out", "--rows", "2")
    assert chosen.exit_code == 0, chosen.output
    with np.load(folder / "out" / "relevance.npz") as arrays:
        expected = graphlrp.load(folder / "model.onnx")(np.load(folder / "x.npy")[2:]).relevance
        np.testing.assert_allclose(arrays["auto/0/relevance"], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "missing.onnx", "a.png", "-o", "out"), "no such model file"),
        (("explain", "model.onnx", "missing.png", "-o", "out"), "no such file or folder: missing.png"),
        (("explain", "model.onnx", "labels.txt", "-o", "out"), "is a text, and the model takes none"),
        (("explain", "labels.txt", "a.png", "-o", "out"), "cannot be read as an ONNX model"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--composite", "nonsense"), "unknown composite 'nonsense'"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--composite", "epsilon-gamma-box"), "missing a required argument"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--target", "99"), "class 99 is out of range"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--top-k", "9"), "has 4 classes; give 1 to 4"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--top-k", "2", "--target", "3"), "--target 3 explains one class"),
        (("explain", "model.onnx", "a.png", "b.png", "-o", "out", "--rows", "1:3"), "there is no row 2: there are 2 row(s)"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--labels", "five.txt"), "5 name(s), but the explained output has 4"),
        (("explain", "any.onnx", "wide.npy", "-o", "out", "--labels", "five.txt"), "5 name(s), but the explained output has 4"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--labels", "empty.txt"), "--labels empty.txt is empty"),
        (("explain", "model.onnx", "x.npy", "-o", "out", "--size", "8", "--std", "1"), "--size, --std: for pictures only; x.npy"),
        (("explain", "model.onnx", "last.npy", "-o", "out"), "channels last: np.moveaxis(x, -1, 1)"),
        (("explain", "model.onnx", "two.npz", "-o", "out"), "'input', and arrays are given by these names; unknown: 'a'"),
        (("explain", "model.onnx", "huge.npy", "-o", "out"), "magnitudes up to 1e+38, which overflow float32 on the way"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--level", "mean"), "--level is for estimators; of model.onnx"),
        (("explain", "model.onnx", "a.png", "-o", "out", "--composite", "epsilon:eps=1"), "'eps'; its parameters are (epsilon:"),
        (("explain", "explainer.onnx", "x.npy", "-o", "out"), "explainer.onnx is already an explainer"),
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
        (("compile", "model.onnx", "-o", "no/such/e.onnx"), "cannot write no/such/e.onnx: there is no folder no/such"),
        (("compile", "model.onnx", "-o", "e.txt"), "whose name ends in .onnx"),
        (("check", "model.onnx", "x.npy", "--tolerance", "-1"), "-1.0 is not in the range x>=0"),
        (("check", "model.onnx", "x.npy", "--tolerance", "nan"), "give a finite number"),
        (("check", "model.onnx", "labels.txt"), "is a text, and the model takes none"),
        (("plan", "model.onnx", "--start", "nonsense"), "no value 'nonsense'"),
    ],
)  # fmt: skip
def test_bad_input_exits_with_2_and_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder)
    x = np.load("x.npy")
    (folder / "five.txt").write_text("a\nb\nc\nd\ne\n")
    (folder / "empty.txt").write_text("\n")
    np.save("last.npy", np.moveaxis(x, 1, -1))
    np.save("huge.npy", np.sign(x) * np.float32(1e38))
    np.savez("two.npz", a=x, b=x)
    graphlrp.load("model.onnx").save("explainer.onnx")
    network = Network(x=("N", "D"))
    onnx.save(network.model(network("Relu", "x")), "any.onnx")
    np.save("wide.npy", np.ones((2, 4), np.float32))
    before = set(folder.rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert set(folder.rglob("*")) == before, "something was half written"


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A text pipeline in two kinds of files, and texts."""
    texts = ["the cat sat", "a dog ate my <b>food</b>", "cats purr", "my dog barks"] * 2
    pipeline = make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(texts, ["cat", "dog"] * 4)
    joblib.dump(pipeline, tmp_path / "pipeline.joblib")
    ir.save(graphlrp.convert(pipeline).model, tmp_path / "pipeline.onnx")
    (tmp_path / "a.txt").write_text("\ufeffThe dog\n\nate the <b>cat</b>.\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "many.TXT").write_text("\n".join(f"dog {k}" for k in range(10)))
    return tmp_path


@pytest.mark.parametrize("model", ["pipeline.joblib", "pipeline.onnx"])
def test_texts_are_explained_from_the_estimator_and_from_its_file(documents: Path, model: str) -> None:
    out = documents / "out"
    result = run("explain", documents / model, documents / "a.txt", documents / "empty.txt", "--trust", "-o", out)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == (
        f"wrote {out / 'explanation.html'}, {out / 'explanation.png'} and {out / 'relevance.npz'}"
    )
    assert re.search(r"a\.txt +basic \(auto\) +cat +-0\.", result.output) and "empty.txt" in result.output
    page = (out / "explanation.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;<span" in page and "the text is empty" in page and page.count("<section") == 2 and "\ufeff" not in page
    saved = np.load(out / "relevance.npz")
    names = [f"auto/0/relevance/{part}" for part in ("data", "indices", "indptr")]
    relevance = csr_matrix(tuple(saved[name] for name in names), shape=saved["auto/0/relevance/shape"])
    explanation = graphlrp.load(joblib.load(documents / "pipeline.joblib"))(["The dog\n\nate the <b>cat</b>.\n", ""])
    np.testing.assert_allclose(relevance.toarray(), explanation.relevance.toarray(), rtol=1e-6)


def test_lines_are_documents(documents: Path) -> None:
    out = documents / "out"
    arguments = ["explain", documents / "pipeline.onnx", documents / "a.txt", "--lines", "-o", out]
    result = run(*arguments, "--composite", "auto", "--composite", "gradient")
    assert result.exit_code == 0, result.output
    assert "a.txt, line 1" in result.output and "a.txt, line 2" not in result.output and "a.txt, line 3" in result.output
    page = (out / "explanation.html").read_text(encoding="utf-8")
    assert page.count("<section") == 4 and "line 3 \N{EN DASH} gradient" in page
    result = run("explain", documents / "pipeline.onnx", documents / "many.TXT", "--lines", "-o", documents / "out.png")
    assert "explaining the first 8 of 10 lines" in result.output and (documents / "out.html").exists()
    result = run("explain", documents / "pipeline.onnx", documents / "many.TXT", "--lines", "--rows", "9", "-o", out)
    assert "many.TXT, line 10" in result.output and "line 9" not in result.output


def test_a_terminal_shows_texts(documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    result = run("explain", documents / "pipeline.onnx", documents / "a.txt", "-o", documents / "out")
    assert result.exit_code == 0
    assert "\x1b[" in result.stdout and "absorbed by biases" in result.stdout


def test_machines_of_several_classes_are_measured_from_their_mean(documents: Path) -> None:
    texts = ["the cat sat", "a dog ate", "some bird sang", "cats purr", "my dog barks", "birds fly"] * 2
    pipeline = make_pipeline(TfidfVectorizer(), SVC(gamma=2.0)).fit(texts, ["cat", "dog", "bird"] * 4)
    joblib.dump(pipeline, documents / "three.joblib")
    (documents / "references.txt").write_text("the cat\n\na dog\n")
    arguments = ["explain", documents / "three.joblib", documents / "a.txt", "--trust", "-o", documents / "out"]
    text = ["The dog\n\nate the <b>cat</b>.\n"]
    for options, expected in (
        (["--level", "mean"], graphlrp.convert(pipeline, level="mean")),
        (["--level", "mean", "--references", documents / "references.txt"],
         graphlrp.convert(pipeline, level="mean", references=["the cat", "a dog"])),
    ):  # fmt: skip
        result = run(*arguments, *options)
        assert result.exit_code == 0, result.output
        explanation = graphlrp.load(expected, ledger=True)(text)
        assert f"{explanation.ledger.absorbed[0]:.4g}" in result.output
        with np.load(documents / "out" / "relevance.npz") as saved:
            np.testing.assert_allclose(saved["auto/0/relevance/data"], explanation.relevance.data, rtol=1e-5)
    near = (documents / "near.txt", "cat dog bird sat")
    near[0].write_text(near[1])
    one_sided = run(*arguments, "--references", near[0])
    assert one_sided.exit_code == 2 and "--level mean" in one_sided.output


def test_check_takes_texts(documents: Path) -> None:
    result = run("check", documents / "pipeline.onnx", documents / "a.txt")
    assert result.exit_code == 0 and "every mapping balances" in result.output
    assert run("plan", documents / "pipeline.joblib", "--trust").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pipeline.onnx", "a.txt", "x.png"], "x.png is no text, the other files are"),
        (["pipeline.onnx", "none.txt"], "cannot read a text from"),
        (["pipeline.onnx", "latin.txt"], "it is no UTF-8 text (invalid start byte at byte 1); save it as UTF-8"),
        (["pipeline.onnx", "a.txt", "--mean", "3"], "--mean: for pictures only"),
        (["pipeline.onnx", "empty.txt", "--lines"], "all lines are blank"),
        (["pipeline.onnx", "a.txt", "--lines", "--rows", "7"], "there is no row 7"),
        (["pipeline.onnx", "a.txt", "--rows", "0"], "--rows chooses documents among --lines"),
        (["pipeline.onnx", "x.npy", "--lines"], "--lines is for texts"),
        (["tables/two.joblib", "a.txt", "--trust"], "is a text, and the model takes none"),
        (["own.onnx", "a.txt"], "the tokenizer of its vectorizer is Python code"),
    ],
)
def test_bad_texts_exit_with_2_and_one_line(documents: Path, arguments: list[str], message: str) -> None:
    (documents / "latin.txt").write_bytes("für".encode("latin-1"))
    (documents / "tables").mkdir()
    joblib.dump(LogisticRegression().fit(X, ["a", "b"] * 6), documents / "tables" / "two.joblib")
    own = make_pipeline(TfidfVectorizer(tokenizer=str.split, token_pattern=None), LinearSVC())
    ir.save(graphlrp.convert(own.fit(["a", "b"], [0, 1])).model, documents / "own.onnx")
    paths = [part if part.startswith("-") or part.isdigit() else documents / part for part in arguments]
    result = run("explain", *paths, "-o", documents / "out")
    assert result.exit_code == 2, result.output
    assert message in result.output and len(result.output.splitlines()) == 1
    assert not (documents / "out").exists()
