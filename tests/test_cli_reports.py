"""The commands that write pages and stores: report, evaluate, relevance, spray."""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from PIL import Image
from scipy.sparse import save_npz
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp import evaluation, spray, stores
from graphlrp.cli import main
from tests.builders import residual_network, tensor
from tests.reports.pages import Element, check_page

SCALING = ("--mean", "127.5", "--std", "127.5")
CLASSES = ("cat", "dog", "bird", "fish")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network for 16 x 16 pixels and 4 classes, and 40 pictures, sorted into folders that bear the names of two classes."""
    onnx.save(residual_network(channels=3, size=16, classes=4), tmp_path / "model.onnx")
    generator = np.random.default_rng(0)
    for number in range(40):
        place = tmp_path / "pictures" / ("cat" if number < 22 else "fish")
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES))
    (tmp_path / "pictures" / "notes.md").write_text("no picture")
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def pictures(folder: Path) -> np.ndarray:
    """All pictures as the model's input, in the order in which a folder is read."""
    files = sorted((folder / "pictures").rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file), np.float64) for file in files])
    return ((pixels - 127.5) / 127.5).transpose(0, 3, 1, 2).astype(np.float32)


def page_at(path: Path) -> Element:
    return check_page(path.read_text(encoding="utf-8"))


# report


def test_report_has_what_explain_computes(folder: Path) -> None:
    arguments = (folder / "model.onnx", *sorted((folder / "pictures" / "cat").glob("0[0-2].png")), *SCALING)
    options = ("--composite", "epsilon-plus", "--composite", "gradient-x-input", "--top-k", 2, "--labels", folder / "labels.txt")
    result = run("report", *arguments, *options, "-o", folder / "new" / "page.html", "--colours", "seismic", "--joint")
    assert result.exit_code == 0, result.output
    assert run("explain", *arguments, *options, "-o", folder / "out").exit_code == 0
    page = page_at(folder / "new" / "page.html")
    with np.load(folder / "out" / "relevance.npz") as arrays:
        for index, cell in enumerate(page.all("section", "cell")):
            sample, rank, composite = index // 4, index // 2 % 2, ("epsilon-plus", "gradient-x-input")[index % 2]
            target = arrays[f"{composite}/{rank}/target"][sample]
            value, total, _, error = cell.only("dl", "numbers").numbers
            assert value == arrays[f"{composite}/{rank}/output"][sample, target]
            assert total == float(arrays[f"{composite}/{rank}/relevance"][sample].sum(dtype=np.float64))
            assert error == arrays[f"{composite}/{rank}/conservation_error"][sample]
            assert cell.only("h4").words == f"{CLASSES[target]} {composite}"
    assert [heading.words for heading in page.all("h3") if heading.words.endswith(".png")] == ["00.png", "01.png", "02.png"]
    assert page.only("h1").words == "What model.onnx saw"
    assert hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest() in page.only("header").text
    assert page.only("body").attributes == {"data-joint": "yes", "data-colours": "seismic"}
    table = [line.split() for line in result.output.splitlines() if line.startswith(" 0")]
    assert len(table) == 3 * 2 * 2 and table[0][:2] == ["00.png", "epsilon-plus"]


def test_report_leaves_out_what_is_not_wanted(folder: Path) -> None:
    path = folder / "page.html"
    arguments = ("report", folder / "model.onnx", folder / "pictures" / "cat" / "00.png", *SCALING, "-o", path)
    assert run(*arguments).exit_code == 0
    whole = page_at(path)
    assert [heading.words for heading in whole.all("h2")] == ["Explanations", "Rules"]
    assert run(*arguments, "--no-ledger", "--no-plan", "--title", "Only <one>").exit_code == 0
    page = page_at(path)
    assert [heading.words for heading in page.all("h2")] == ["Explanations"] and page.only("h1").words == "Only <one>"
    assert "Where relevance went" in whole.text and "Where relevance went" not in page.text


def test_composites_without_a_ledger_have_none(folder: Path) -> None:
    arguments = (folder / "model.onnx", folder / "pictures" / "cat" / "00.png", *SCALING)
    composites = ("--composite", "epsilon", "--composite", "occlusion:window=4", "--composite", "smoothgrad:samples=2")
    result = run("report", *arguments, *composites, "-o", folder / "page.html")
    assert result.exit_code == 0, result.output
    told = [line.split()[-2:] for line in result.output.splitlines() if line.startswith(" 00.png")]
    assert told[1:] == [["-", "-"]] * 2 and float(told[0][1]) < 1e-4
    cells = page_at(folder / "page.html").all("section", "cell")
    assert [len(cell.only("dl", "numbers").numbers) for cell in cells] == [4, 2, 2]
    assert run("explain", *arguments, *composites, "-o", folder / "out").exit_code == 0
    assert "a ledger has no meaning" in run("check", folder / "model.onnx", "--composite", "smoothgrad").output


def test_report_of_texts_and_tables(tmp_path: Path) -> None:
    documents = ["the cat sat", "a dog ate my food", "cats purr", "my dog barks"] * 2
    joblib.dump(make_pipeline(TfidfVectorizer(), LinearSVC()).fit(documents, ["cat", "dog"] * 4), tmp_path / "text.joblib")
    (tmp_path / "a.txt").write_text("My <b>dog</b> purrs")
    result = run("report", tmp_path / "text.joblib", tmp_path / "a.txt", "--trust", "-o", tmp_path / "text.html")
    assert result.exit_code == 0, result.output
    assert page_at(tmp_path / "text.html").only("div", "text").text == "My <b>dog</b> purrs"
    x = np.random.default_rng(0).normal(size=(20, 3))
    joblib.dump(LogisticRegression().fit(x, x[:, 0] > 0), tmp_path / "table.joblib")
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", header="a,b,<c>", comments="")
    options = ("--trust", "-o", tmp_path / "table.html", "--rows", "3,5", "--most", 2)
    assert run("report", tmp_path / "table.joblib", tmp_path / "x.csv", *options).exit_code == 0
    bars = page_at(tmp_path / "table.html").all("table", "bars")
    assert [len(table.only("tbody").all("tr")) for table in bars] == [2, 2]


def test_folders_are_their_pictures(folder: Path) -> None:
    for file in (folder / "pictures").rglob("*[1-9].png"):
        file.unlink()
    result = run("explain", folder / "model.onnx", folder / "pictures", *SCALING, "-o", folder / "out", "--composite", "epsilon")
    assert result.exit_code == 0, result.output
    with np.load(folder / "out" / "relevance.npz") as arrays:
        expected = graphlrp.load(folder / "model.onnx", "epsilon")(pictures(folder)).relevance
        np.testing.assert_allclose(arrays["epsilon/0/relevance"], expected, rtol=1e-4, atol=1e-7)
    assert " cat/00.png " in result.output and " fish/30.png " in result.output


def test_wrong_decisions_are_marked_and_come_first(folder: Path) -> None:
    arguments = (
        folder / "model.onnx",
        folder / "pictures",
        *SCALING,
        "--labels",
        folder / "labels.txt",
        "--composite",
        "epsilon",
    )
    predicted = graphlrp.load(folder / "model.onnx").predict(pictures(folder)).argmax(axis=1)
    # Folders are called such that the model is right for some pictures and wrong for others.
    right = int(np.bincount(predicted[:22]).argmax())
    truth = np.repeat([right, (right + 1) % 4], [22, 18])
    (folder / "labels.txt").write_text("\n".join(classes := [*np.roll(["cat", "fish", "dog", "bird"], right)]))
    wrong = predicted != truth
    assert 0 < wrong.sum() < 40
    names = [f"cat/{k:02}.png" if k < 22 else f"fish/{k:02}.png" for k in range(40)]
    expected = [names[k] for k in (*np.flatnonzero(wrong), *np.flatnonzero(~wrong))]
    # The folders are called as classes are.
    result = run("report", *arguments, "-o", folder / "page.html", "--no-plan")
    assert result.exit_code == 0, result.output
    assert f"wrong decisions: {wrong.sum()} of 40" in result.output
    lines = [line.split() for line in result.output.splitlines() if ".png" in line]
    assert [line[0] for line in lines] == expected
    for line in lines:
        k = names.index(line[0])
        assert line[3:5] == [classes[truth[k]], "wrong:" if wrong[k] else "right"]
        assert not wrong[k] or line[5] == classes[predicted[k]]
    page = page_at(folder / "page.html")
    assert [heading.words for heading in page.all("h3") if heading.words.endswith(".png")] == expected
    # explain keeps the order; a file says the same, of all pictures or of those that are chosen.
    np.save(folder / "truth.npy", truth)
    told = run("explain", *arguments, "-o", folder / "out", "--rows", "20:24", "--truth", folder / "truth.npy")
    assert told.exit_code == 0, told.output
    lines = [line.split() for line in told.output.splitlines() if line.startswith((" cat/", " fish/"))]
    assert [line[0] for line in lines] == names[20:24]
    assert [line[4] == "wrong:" for line in lines] == wrong[20:24].tolist()
    np.save(folder / "truth.npy", truth[20:24])
    options = ("-o", folder / "out", "--rows", "20:24", "--truth", folder / "truth.npy")
    assert run("explain", *arguments, *options).output.splitlines()[:5] == told.output.splitlines()[:5]
    bad = run("explain", *arguments, "-o", folder / "out", "--truth", folder / "truth.npy")
    assert bad.exit_code != 0 and "one class number for each of the 40 samples" in bad.output


def test_folders_with_numbers_that_are_no_classes_are_no_truth(folder: Path) -> None:
    (folder / "pictures" / "cat").rename(folder / "pictures" / "2019")
    (folder / "pictures" / "fish").rename(folder / "pictures" / "2020")
    result = run("explain", folder / "model.onnx", folder / "pictures", *SCALING, "-o", folder / "out", "--rows", "0:2")
    assert result.exit_code == 0 and "decision" not in result.output


# evaluate


def test_evaluate_randomises_the_same_methods(folder: Path) -> None:
    np.save(folder / "x.npy", pictures(folder))
    methods = ("--method", "epsilon", "--method", "gamma:gamma=0.5")
    options = ("--region", 8, "--steps", 1, "--repeats", 1, "--seed", 3, "--randomise")
    result = run("evaluate", folder / "model.onnx", folder / "x.npy", "--rows", "0:5", *methods, *options, "-o", folder / "out")
    assert result.exit_code == 0, result.output
    composites = {"epsilon": "epsilon", "gamma:gamma=0.5": graphlrp.composite("gamma", gamma=0.5)}
    expected = evaluation.randomise_parameters(folder / "model.onnx", pictures(folder)[:5], composites, seed=3)
    assert expected.table() in result.output
    with Image.open(folder / "out" / "randomisation.png") as picture:
        assert min(picture.size) > 200
    page = page_at(folder / "out" / "report.html")
    assert [heading.words for heading in page.all("h2")][1] == "Randomised parameters"
    (table,) = (table for table in page.all("table") if table.only("caption").words.startswith("Rank correlation"))
    shown = np.array([row.numbers for row in table.only("tbody").all("tr")])
    np.testing.assert_allclose(shown[:, 1:], expected.mean().T, atol=1e-6)


def test_evaluate_is_perturb_with_a_page(folder: Path) -> None:
    np.save(folder / "x.npy", pictures(folder)[:4])
    options = ("--method", "epsilon-plus", "--method", "gradient", "--region", 4, "--steps", 6, "--repeats", 2, "--seed", 5)
    orders = ("--order", "morf", "--order", "lerf", "--order", "random", "--filling", "0.25")
    result = run("evaluate", folder / "model.onnx", folder / "x.npy", *options, *orders, "-o", folder / "out")
    assert result.exit_code == 0, result.output
    expected = evaluation.perturb(
        folder / "model.onnx",
        pictures(folder)[:4],
        ["epsilon-plus", "gradient"],
        order=("morf", "lerf", "random"),
        region=4,
        steps=6,
        repeats=2,
        filling=0.25,
        seed=5,
    )
    assert expected.table() in result.output
    found = evaluation.read_result(folder / "out" / "perturbation.h5")
    for mine, other in zip(found.curves, expected.curves, strict=True):
        np.testing.assert_allclose(mine.scores, other.scores, rtol=1e-5, atol=1e-6)
    with Image.open(folder / "out" / "curves.png") as picture:
        assert min(picture.size) > 300
    page = page_at(folder / "out" / "report.html")
    (table,) = (table for table in page.all("table") if table.only("caption").words.startswith("Area over"))
    shown = [row.numbers[0] for row in table.only("tbody").all("tr")]
    np.testing.assert_allclose(shown[:2], [expected.curve(m).aopc for m in ("epsilon-plus", "gradient")], rtol=1e-4)
    assert [heading.words for heading in page.all("h2")] == ["Perturbation", "What the methods say"]
    assert len(page.all("section", "cell")) == 4 * 2


def test_evaluate_goes_on_where_it_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(folder / "x.npy", pictures(folder)[:6])
    command = ("evaluate", folder / "model.onnx", folder / "x.npy", "--region", 8, "--repeats", 1, "-o", folder / "out")
    done = 0

    def stops(self: object, rows: slice, values: object) -> None:
        nonlocal done
        done += 1
        write(self, rows, values)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    from graphlrp.evaluation.storage import Scores

    write = Scores.write
    with monkeypatch.context() as patch:
        patch.setattr(Scores, "write", stops)
        assert run(*command).exit_code != 0
    assert done == 1
    again = run(*command)
    assert again.exit_code == 2 and "go on with it by --resume" in again.output
    resumed = run(*command, "--resume")
    assert resumed.exit_code == 0, resumed.output
    other = run(*command[:-1], folder / "other")
    assert resumed.output.replace(str(folder / "out"), "") == other.output.replace(str(folder / "other"), "")


DOCUMENTS = ["the cat sat on the mat", "a dog ate my food and slept", "cats purr", "my dog barks at cats"] * 2


def test_evaluate_deletes_terms_of_texts(tmp_path: Path) -> None:
    pipeline = make_pipeline(TfidfVectorizer(), LinearSVC()).fit(DOCUMENTS, ["cat", "dog"] * 4)
    joblib.dump(pipeline, tmp_path / "text.joblib")
    lines = ["My <b>dog</b> purrs", "cats and dogs", "", "the cat barks at food", "unknown words", "a dog, a cat"]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    texts = [line for line in lines if line]
    explainer = graphlrp.load(pipeline, "basic")
    expected = evaluation.perturb(explainer, texts, {"basic": explainer}, order=("morf", "lerf", "random"), repeats=3)
    save_npz(tmp_path / "counts.npz", explainer.reader(texts))
    orders = ("--order", "morf", "--order", "lerf", "--order", "random", "--repeats", 3, "--method", "basic", "--trust")
    for inputs, place in ((("lines.txt", "--lines"), "texts"), (("counts.npz",), "counts")):
        arguments = (tmp_path / "text.joblib", tmp_path / inputs[0], *inputs[1:])
        result = run("evaluate", *arguments, *orders, "-o", tmp_path / place)
        assert result.exit_code == 0, result.output
        assert expected.table() in result.output and "filling Deletion" in result.output
        found = evaluation.read_result(tmp_path / place / "perturbation.h5")
        for mine, other in zip(found.curves, expected.curves, strict=True):
            np.testing.assert_allclose(mine.scores, other.scores, rtol=1e-5, atol=1e-6)
        page = page_at(tmp_path / place / "report.html")
        assert [heading.words for heading in page.all("h2")] == ["Perturbation", "What the methods say of 4 of 5 samples"]
        assert len(page.all("section", "cell")) == 4
        shown = [element.text for element in page.all("div", "text")]
        assert shown == (texts[:4] if place == "texts" else [])
    only = run("evaluate", *arguments[:1], tmp_path / "lines.txt", *orders, "-o", tmp_path / "one")
    assert only.exit_code == 0 and "1 sample(s)" in only.output
    wrong = run("evaluate", *arguments, *orders, "--region", 3, "-o", tmp_path / "other")
    assert wrong.exit_code == 2 and "every one of the terms that a sample has is a region" in wrong.output
    assert not (tmp_path / "other").exists()


def test_evaluate_takes_pictures_that_differ_in_size(tmp_path: Path) -> None:
    onnx.save(any_size_network(), tmp_path / "model.onnx")
    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (12 + n % 3, 14 - n % 2, 3), dtype=np.uint8) for n in range(5)]
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.glob("*.png"))
    options = ("--region", 4, "--repeats", 2, "--method", "epsilon", *SCALING, "-o", tmp_path / "out")
    result = run("evaluate", tmp_path / "model.onnx", *files, *options)
    assert result.exit_code == 0, result.output
    x = [((picture.astype(np.float64) - 127.5) / 127.5).transpose(2, 0, 1).astype(np.float32) for picture in pixels]
    expected = evaluation.perturb(tmp_path / "model.onnx", x, "epsilon", region=4, repeats=2)
    assert expected.table() in result.output
    page = page_at(tmp_path / "out" / "report.html")
    assert len(page.all("section", "cell")) == 4


def test_pictures_too_small_for_a_region_may_be_brought_to_one_size(tmp_path: Path) -> None:
    onnx.save(any_size_network(), tmp_path / "model.onnx")
    for name, size in (("a.png", (12, 12)), ("b.png", (12, 2))):
        Image.new("RGB", size, "red").save(tmp_path / name)
    arguments = ("evaluate", tmp_path / "model.onnx", tmp_path / "a.png", tmp_path / "b.png", "--method", "epsilon")
    result = run(*arguments, "--region", 4, "--repeats", 1, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "the pictures differ in size, and --size brings them to one" in result.output, result.output
    result = run(*arguments, "--region", 4, "--repeats", 1, "--size", 12, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_one_column_decides_between_two_labels_by_its_sign(tmp_path: Path) -> None:
    weights = tensor("w", np.array([[1.0], [1.0]]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], "dense")], "one", inputs, outputs, [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.array([[1, 2], [-1, -2]], np.float32))
    (tmp_path / "two.txt").write_text("ham\nspam\n")
    arguments = (tmp_path / "model.onnx", tmp_path / "x.npy", "--labels", tmp_path / "two.txt", "--composite", "epsilon")
    for command, output in (("explain", "out"), ("report", "page.html")):
        result = run(command, *arguments, "-o", tmp_path / output)
        said = [line.split()[3] for line in result.output.splitlines() if line.startswith(" row")]
        assert said == ["spam", "ham"], result.output
    page = page_at(tmp_path / "page.html")
    assert [cell.only("h4").words for cell in page.all("section", "cell")] == ["spam epsilon", "ham epsilon"]


def test_pages_say_what_auto_chose(folder: Path) -> None:
    arguments = (folder / "model.onnx", folder / "pictures" / "cat" / "00.png", *SCALING)
    assert run("report", *arguments, "-o", folder / "page.html").exit_code == 0
    assert page_at(folder / "page.html").only("section", "cell").only("h4").words.endswith(" epsilon-plus-flat (auto)")
    result = run("evaluate", *arguments, "--region", 4, "--steps", 2, "--repeats", 1, "-o", folder / "judged")
    assert result.exit_code == 0 and "epsilon-plus-flat (auto)" in result.output, result.output
    assert evaluation.read_result(folder / "judged" / "perturbation.h5").methods == ("epsilon-plus-flat (auto)",)


def test_evaluate_takes_the_array_of_the_only_input(folder: Path) -> None:
    options = ("--region", 8, "--repeats", 1, "--order", "morf")
    np.save(folder / "x.npy", pictures(folder)[:2])
    np.savez(folder / "one.npz", input=pictures(folder)[:2])
    np.savez(folder / "two.npz", input=pictures(folder)[:2], mask=np.ones((2, 1)))
    tables = []
    for name in ("x.npy", "one.npz"):
        result = run("evaluate", folder / "model.onnx", folder / name, *options, "-o", folder / f"out-{name}")
        assert result.exit_code == 0, result.output
        tables.append(result.output.partition("wrote")[0])
    assert tables[0] == tables[1]
    two = run("evaluate", folder / "model.onnx", folder / "two.npz", *options, "-o", folder / "out")
    assert two.exit_code == 2 and "several (input, mask): in Python, graphlrp.evaluation.perturb takes a function" in two.output
    assert not (folder / "out").exists()


# relevance


def test_relevance_is_that_of_the_explainer_with_true_classes(folder: Path) -> None:
    path = folder / "relevance.h5"
    options = ("--labels", folder / "labels.txt", "--composite", "epsilon", "--batch-size", 7, *SCALING)
    result = run("relevance", folder / "model.onnx", folder / "pictures", *options, "-o", path)
    assert result.exit_code == 0, result.output
    truth = [0] * 22 + [3] * 18
    with stores.read(path) as store:
        assert store.finished and store.labels is not None and store.labels.tolist() == truth
        expected = graphlrp.load(folder / "model.onnx", "epsilon")(pictures(folder), truth).relevance
        np.testing.assert_allclose(store.relevance[:], expected, rtol=1e-4, atol=1e-7)
        right = np.mean(store.labels == store.prediction)
    assert "40 samples, relevance [40, 3, 16, 16], epsilon" in result.output
    assert "explained: cat 22, fish 18" in result.output and f"predicted as labelled: {right:.1%}" in result.output
    # The same again changes nothing; other settings are refused, but for a fresh start.
    before = path.read_bytes()
    assert run("relevance", folder / "model.onnx", folder / "pictures", *options, "-o", path).exit_code == 0
    assert path.read_bytes() == before
    best = ("relevance", folder / "model.onnx", folder / "pictures", *options, "-o", path, "--target", "best")
    refused = run(*best)
    assert refused.exit_code == 2 and "written with other settings" in refused.output
    assert run(*best, "--overwrite", "--precision", "float16", "--keep-inputs").exit_code == 0
    with stores.read(path) as store:
        assert (store.target == store.prediction).all()
        np.testing.assert_allclose(store.inputs["input"][:], pictures(folder), atol=1e-6)


def test_relevance_of_arrays_with_their_truth(folder: Path) -> None:
    np.save(folder / "x.npy", pictures(folder)[:5])
    np.save(folder / "y.npy", np.array([3, 1, 0, 2, 3]))
    command = ("relevance", folder / "model.onnx", folder / "x.npy", "-o", folder / "r.h5")
    assert run(*command, "--truth", folder / "y.npy").exit_code == 0
    with stores.read(folder / "r.h5") as store:
        assert store.target.tolist() == [3, 1, 0, 2, 3]
    assert run(*command, "--overwrite", "--target", 2).exit_code == 0
    with stores.read(folder / "r.h5") as store:
        assert store.target.tolist() == [2] * 5 and store.labels is None


# spray


def test_spray_analyses_every_class_of_pictures_and_of_a_store(folder: Path) -> None:
    options = (
        "--labels",
        folder / "labels.txt",
        "--composite",
        "epsilon",
        *SCALING,
        "--clusters",
        2,
        "--seed",
        3,
        "--class",
        "cat",
    )
    result = run("spray", folder / "model.onnx", folder / "pictures", *options, "-o", folder / "out", "--pool", 8)
    assert result.exit_code == 0, result.output
    x, truth = pictures(folder), np.array([0] * 22 + [3] * 18)
    relevance = graphlrp.load(folder / "model.onnx", "epsilon")(x, truth).relevance
    ranking = spray.rank(relevance, truth, names=CLASSES, preprocess=spray.SumPool(8), seed=3)
    lines = result.output.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("classes by λ2, sorted by true class"))
    assert [line.split()[0] for line in lines[start + 2 : start + 4]] == ranking.classes
    shown = [float(line.split()[3]) for line in lines[start + 2 : start + 4]]
    np.testing.assert_allclose(shown, [ranking.eigenvalues[name][1] for name in ranking.classes], atol=2e-3)
    with (folder / "out" / "class-cat" / "clusters.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [f"cat/{number:02}.png" for number in range(22)]
    assert [int(row["sample"]) for row in rows] == list(range(22))
    labels = np.array([int(row["kmeans-2"]) for row in rows])
    expected = spray.analyse(relevance[:22], preprocess=spray.SumPool(8), clusters=2, embedding=None, seed=3)
    assert (labels == expected.labels).all()
    analysis = spray.Analysis.read(folder / "out" / "class-cat" / "analysis.h5")
    assert (analysis.labels == labels).all()
    np.testing.assert_allclose([float(row["tsne x"]) for row in rows], analysis.embedding[:, 0], rtol=1e-5)
    for name in ("ranking.png", "class-cat/spectrum.png", "class-cat/embedding.png", "class-cat/montage.png"):
        with Image.open(folder / "out" / name) as picture:
            assert min(picture.size) > 100
    page = page_at(folder / "out" / "report.html")
    assert [heading.words for heading in page.all("h2")] == ["Classes by λ2", "Class cat"]
    # The same of the store that is left, without pictures and without an embedding.
    options = ("--labels", folder / "labels.txt", "--clusters", 2, "--pool", 8, "--embedding", "none", "--class", "fish")
    stored = run("spray", folder / "out" / "relevance.h5", *options, "-o", folder / "again", "--seed", 3)
    assert stored.exit_code == 0, stored.output
    assert sorted(path.name for path in (folder / "again").iterdir()) == ["class-fish", "ranking.png", "report.html"]
    analysis = spray.Analysis.read(folder / "again" / "class-fish" / "analysis.h5")
    expected = spray.analyse(relevance[22:], preprocess=spray.SumPool(8), clusters=2, embedding=None, seed=3)
    np.testing.assert_allclose(analysis.eigenvalues[:6], expected.eigenvalues[:6], atol=2e-3)
    assert analysis.index.tolist() == list(range(22, 40))
    assert not (folder / "again" / "class-fish" / "embedding.png").exists()


def test_spray_sorts_by_folders_or_by_what_is_explained(folder: Path) -> None:
    (folder / "pictures" / "cat").rename(folder / "pictures" / "mine")
    options = (*SCALING, "--embedding", "none", "--top", 1)
    by_folder = run("spray", folder / "model.onnx", folder / "pictures", *options, "-o", folder / "a")
    assert by_folder.exit_code == 0, by_folder.output
    assert "sorted by folder" in by_folder.output
    assert {"mine", "fish"} <= set(re.findall(r"^(\w+) +\d+  0\.0000", by_folder.output, re.M))
    by_class = run("spray", folder / "model.onnx", folder / "pictures" / "mine", *options, "-o", folder / "b")
    best = graphlrp.load(folder / "model.onnx")(pictures(folder)[18:]).target
    counts = {str(c): int(n) for c, n in zip(*np.unique(best, return_counts=True), strict=True)}
    small = [name for name, count in counts.items() if count < 8]
    if len(small) == len(counts):
        assert by_class.exit_code == 2 and "at least 8 maps of a class" in by_class.output
    else:
        assert by_class.exit_code == 0, by_class.output
        assert all(name in by_class.output for name in small)


def test_spray_compares_vectors_as_they_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 5))
    x[:20, 0] += 9
    x[:, 1] += np.where(np.arange(40) % 2, 30, -30)
    model = LogisticRegression().fit(x, np.where(np.arange(40) % 2, "odd", "even"))
    model.coef_[:] = 1.0
    joblib.dump(model, tmp_path / "model.joblib")
    np.save(tmp_path / "x.npy", x)
    options = ("--trust", "--embedding", "none", "--clusters", 2, "-o", tmp_path / "out")
    result = run("spray", tmp_path / "model.joblib", tmp_path / "x.npy", *options)
    assert result.exit_code == 0, result.output
    assert "sorted by predicted class" in result.output
    for name, parity in (("odd", 1), ("even", 0)):
        analysis = spray.Analysis.read(tmp_path / "out" / f"class-{name}" / "analysis.h5")
        assert analysis.index.tolist() == list(range(parity, 40, 2))
        first, second = analysis.labels[analysis.index < 20], analysis.labels[analysis.index >= 20]
        assert len(set(first)) == len(set(second)) == 1 and first[0] != second[0]
        assert not (tmp_path / "out" / f"class-{name}" / "montage.png").exists()


def any_size_network() -> onnx.ModelProto:
    generator = np.random.default_rng(4)
    weights = {"w": generator.normal(size=(6, 3, 3, 3)), "v": generator.normal(size=(6, 2))}
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["conv"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["conv"], ["relu"], "relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "v"], ["y"], "dense"),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, "height", "width"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes, "any", inputs, outputs, [tensor(name, array) for name, array in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_pictures_may_differ_in_size(tmp_path: Path) -> None:
    onnx.save(any_size_network(), tmp_path / "model.onnx")
    generator = np.random.default_rng(0)
    for number in range(24):
        place = tmp_path / "pictures" / f"{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        shape = (10 + number % 3, 12 + number % 5, 3)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(place / f"{number:02}.png")
    arguments = (tmp_path / "model.onnx", tmp_path / "pictures")
    options = ("--composite", "epsilon", *SCALING, "--embedding", "none", "--pool", 5, "--batch-size", 5, "--clusters", 2)
    result = run("spray", *arguments, *options, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "relevance of several shapes" in result.output and "sorted by true class" in result.output
    with stores.read(tmp_path / "out" / "relevance.h5") as store:
        maps = [store.relevance[k] for k in range(24)]
        assert store.labels is not None and store.labels.tolist() == [0] * 12 + [1] * 12
    assert {one.shape for one in maps[:3]} == {(3, 10, 12), (3, 12, 14), (3, 11, 16)}
    for name, rows in (("0", slice(0, 12)), ("1", slice(12, 24))):
        expected = spray.analyse(maps[rows], preprocess=spray.SumPool(5), clusters=2, embedding=None)
        found = spray.Analysis.read(tmp_path / "out" / f"class-{name}" / "analysis.h5")
        np.testing.assert_allclose(found.eigenvalues[:5], expected.eigenvalues[:5], atol=1e-9)
        assert (tmp_path / "out" / f"class-{name}" / "montage.png").exists()
    assert run("report", *arguments, "--composite", "epsilon", *SCALING, "-o", tmp_path / "page.html").exit_code == 0
    assert len(page_at(tmp_path / "page.html").all("section", "cell")) == 24


# bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "model.onnx", "pictures", "-o", "out"), "the page is one file, whose name ends in .html"),
        (("report", "model.onnx", "pictures", "-o", "labels.txt/a.html"), "cannot write to labels.txt"),
        (("report", "missing.onnx", "pictures", "-o", "a.html"), "no such model file"),
        (("report", "model.onnx", "pictures", "-o", "a.html", "--colours", "pink"), "unknown colour map 'pink'"),
        (("report", "model.onnx", "empty", "-o", "a.html"), "the folder empty holds no pictures"),
        (("report", "model.onnx", "pictures", "-o", "a.html", "--percentile", "101"), "percentile must be above 0"),
        (("evaluate", "model.onnx", "missing.png", "-o", "out"), "no such file or folder"),
        (("evaluate", "model.onnx", "pictures", "-o", "out", "--method", "nonsense"), "unknown composite 'nonsense'"),
        (("evaluate", "model.onnx", "pictures", "-o", "out", "--region", "big"), "'big': give a number, or HEIGHTxWIDTH"),
        (("evaluate", "model.onnx", "pictures", "-o", "out", "--filling", "pink"), "--filling 'pink': choose one of uniform"),
        (("evaluate", "model.onnx", "pictures", "-o", "labels.txt"), "cannot write to labels.txt"),
        (("evaluate", "model.onnx", "pictures", "-o", "out", "--labels", "five.txt"), "5 name(s), but the explained output"),
        (("relevance", "model.onnx", "pictures", "-o", "r.h5", "--labels", "five.txt"), "5 name(s), but the explained output"),
        (("relevance", "model.onnx", "pictures", "-o", "r.h5", "--rows", "39:41"), "there is no row 40: there are 40 row(s)"),
        (("relevance", "model.onnx", "pictures", "-o", "out"), "whose name ends in .h5"),
        (("relevance", "model.onnx", "pictures", "-o", "r.h5", "--target", "all"), "give the number of a class, 'true'"),
        (("relevance", "model.onnx", "pictures/cat", "-o", "r.h5", "--target", "true"), "the true classes are not known"),
        (("relevance", "model.onnx", "pictures", "-o", "r.h5", "--target", "9"), "class 9 is out of range"),
        (("relevance", "model.onnx", "pictures", "-o", "r.h5", "--truth", "y.npy"), "for each of the 40 samples"),
        (("relevance", "model.onnx", "pictures", "missing.png", "-o", "r.h5"), "no such file or folder: missing.png"),
        (("relevance", "model.onnx", "pictures", "mark.png", "-o", "r.h5"), "mark.png lies in no folder of a class"),
        (("spray", "model.onnx", "-o", "out"), "give INPUTS that model.onnx explains, or a store"),
        (("spray", "r.h5", "-o", "out"), "no such file"),
        (("spray", "r.h5", "pictures", "-o", "out"), "is a store of relevance, which needs no INPUTS"),
        (("spray", "model.onnx", "mark.png", "-o", "out"), "at least 8 maps of a class; the classes have fewer: 2 (1)"),
        (("spray", "model.onnx", "pictures", "-o", "out", "--class", "bird"), "there is no such class; there are cat, fish"),
        (("spray", "model.onnx", "pictures", "-o", "out", "--colours", "pink"), "unknown colour map"),
    ],
)  # fmt: skip
def test_bad_input_exits_with_2_and_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "five.txt").write_text("a\nb\nc\nd\ne\n")
    np.save(folder / "y.npy", np.zeros(3, int))
    Image.new("RGB", (16, 16)).save(folder / "mark.png")
    before = set(folder.rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output, result.output
    assert result.output.splitlines()[-1].startswith("graphlrp: ") and "Traceback" not in result.output
    made = set(folder.rglob("*")) - before
    # What was explained before the mistake showed is not lost.
    assert {path.name for path in made} <= {"out", "relevance.h5"} and (not made or arguments[0] == "spray")


def test_help_lists_all_commands_in_order() -> None:
    result = run("--help")
    commands = [line.split()[0] for line in result.output.split("Commands:\n")[1].splitlines()]
    assert commands == sorted(commands)
    assert {"check", "compile", "evaluate", "explain", "plan", "plugins", "relevance", "report", "spray"} <= set(commands)
    for command in commands:
        told = run(command, "--help")
        assert told.exit_code == 0 and "--plugin" in told.output, told.output
