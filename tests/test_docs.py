"""The documentation tells the truth: its code runs, prints what the pages say, and its links and tables are right.

Conventions of the pages (README.md and docs/*.md):

- a ``python`` block is executed; all blocks of a page share one namespace and one folder, which holds the ``model.onnx`` and
  ``images.npy`` that docs/example-model.md makes;
- a ``text`` block right behind it is what it prints;
- a ``console`` block holds commands ``$ graphlrp ...`` and what they print; a command fails only where ``$ echo $?`` asks;
- blocks of any other kind (``sh``, ``toml``, ``mermaid``) are not executed.

In expected output a line ``...`` stands for any number of lines. Numbers with a point or an exponent may differ by 2 %, and
those below 1e-5 are rounding; all other text must be the same, except for the amount of white space.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from graphlrp.cli import main
from graphlrp.plugins import bow, dnn, kernels
from graphlrp.plugins.manager import Plugins
from graphlrp.rules import select

ROOT = Path(__file__).parent.parent
VALUES = {"None": None, "False": False}
BUILT_IN = (*dnn.MAPPINGS, *kernels.MAPPINGS, *bow.MAPPINGS)
EXAMPLE = ROOT / "docs" / "example-model.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKDOWN = sorted(
    path
    for folder in (".", "docs", "examples", "benchmarks", "acceptance")
    for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
    if "build" not in path.relative_to(ROOT).parts
)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: of the page, where its text begins.
        start, end: offsets of the fences in the page.
    """

    kind: str
    text: str
    line: int
    start: int
    end: int


def read_blocks(page: str) -> list[Block]:
    return [Block(m[1], m[2], page.count("\n", 0, m.start(2)) + 1, m.start(), m.end()) for m in FENCE.finditer(page)]


def run_page(path: Path) -> Iterator[tuple[Block, str, str]]:
    """Execute the blocks of a page in the current folder; yields what was expected, if anything, and what was printed."""
    page = path.read_text(encoding="utf-8")
    blocks = read_blocks(page)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block, following in itertools.zip_longest(blocks, blocks[1:]):
        if block.kind == "python":
            printed = io.StringIO()
            code = compile("\n" * (block.line - 1) + block.text, str(path), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)
            if following is not None and following.kind == "text" and not page[block.end : following.start].strip():
                yield following, following.text, printed.getvalue()
            else:
                yield block, "", printed.getvalue()
        elif block.kind == "console":
            yield block, block.text, run_commands(block, path)


def run_commands(block: Block, path: Path) -> str:
    """The console block as it looks when its commands are executed."""
    shown, status, asked = [], 0, True
    for line in block.text.splitlines():
        if not line.startswith("$ "):
            continue
        where = f"{path.name}, console block in line {block.line}: {line}"
        if line == "$ echo $?":
            shown += [line, str(status)]
            asked = True
            continue
        assert asked or status == 0, f"{where}: the command before it exits with {status}\n" + "\n".join(shown)
        command = shlex.split(line[2:])
        assert command[0] == "graphlrp", f"{where}: only graphlrp is executed; use a block of kind sh"
        result = CliRunner().invoke(main, command[1:], prog_name="graphlrp")
        status, asked = result.exit_code, False
        shown += [line, *result.output.rstrip().splitlines()]
    assert asked or status == 0, f"{path.name}, line {block.line}: the last command exits with {status}\n" + "\n".join(shown)
    return "\n".join(shown) + "\n"


def alike(expected: str, printed: str) -> bool:
    """Whether two lines are the same up to white space and rounding."""
    expected, printed = (" ".join(line.split()) for line in (expected, printed))
    if NUMBER.sub("#", expected) != NUMBER.sub("#", printed):
        return False
    for a, b in zip(NUMBER.findall(expected), NUMBER.findall(printed), strict=True):
        if a == b:
            continue
        if not ("." in a + b or "e" in (a + b).lower()):
            return False
        x, y = float(a.replace("−", "-")), float(b.replace("−", "-"))
        if abs(x - y) > 0.02 * max(abs(x), abs(y)) + 1e-5:
            return False
    return True


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether the printed lines are the expected ones, where ``...`` stands for any number of lines."""
    if not expected:
        return not printed
    if expected[0].strip() == "...":
        return any(matches(expected[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and alike(expected[0], printed[0]) and matches(expected[1:], printed[1:])


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what docs/example-model.md makes."""
    folder = tmp_path_factory.mktemp("example")
    with contextlib.chdir(folder):
        for _ in run_page(EXAMPLE):
            pass
    return folder


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_code_runs_and_prints_what_the_page_says(
    path: Path, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("model.onnx", "images.npy"):
        shutil.copy(example / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for block, expected, printed in run_page(path):
        assert matches(expected.rstrip().splitlines(), printed.rstrip().splitlines()), (
            f"{path.name}, {block.kind} block in line {block.line}\nexpected:\n{expected}\nprinted:\n{printed}"
        )


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for link in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), f"{path.name} links to {link}, which does not exist"
        if fragment:
            assert fragment in headings(target), f"{path.name} links to {link}; {target.name} has no such heading"


def headings(path: Path) -> set[str]:
    """Headings of a page as GitHub names them in links."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)}


def test_every_page_is_listed() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if page.name != "index.md" and f"({page.name})" not in index] == []


def table(path: Path, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    section = path.read_text(encoding="utf-8").split(f"# {heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\|\n)+", section, re.M)
    assert rows is not None
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows[0].splitlines()[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_table_of_operators_is_complete() -> None:
    listed = [name for row in table(ROOT / "README.md", "Operators") for name in names(row[1])]
    registered = [(f"{domain}." if domain else "") + name for mapping in BUILT_IN for domain, name in mapping.operators]
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(registered)


def test_table_of_presets_is_complete() -> None:
    rows = table(ROOT / "README.md", "Presets")
    presets = Plugins().presets
    assert [names(row[0])[0] for row in rows] == list(presets)
    for row, make in zip(rows, presets.values(), strict=True):
        listed = [text.split("=") for text in names(row[2])]
        parameters = inspect.signature(make).parameters.values()
        assert [text[0] for text in listed] == [parameter.name for parameter in parameters], row[0]
        for text, parameter in zip(listed, parameters, strict=True):
            default = parameter.empty if len(text) == 1 else VALUES[text[1]] if text[1] in VALUES else float(text[1])
            assert default == parameter.default, f"{row[0]}: {text[0]}"


def test_table_of_policies_is_complete() -> None:
    rows = table(ROOT / "docs" / "choose-rules.md", "Policies")
    listed = {names(row[0])[0]: set(names(row[1])) for row in rows}
    listed.pop("initial")
    assert listed == {name: set(choices) for name, choices in Plugins().policies.items()}
    defaults = {names(row[0])[0]: names(row[1])[0] for row in rows if names(row[0])[0] != "initial"}
    assert defaults == {name: choices[0] for name, choices in Plugins().policies.items()}


def test_table_of_selectors_is_complete() -> None:
    listed = [name.partition("(")[0] for row in table(ROOT / "docs" / "choose-rules.md", "Selectors") for name in names(row[0])]
    functions = {name for name, value in inspect.getmembers(select, inspect.isfunction) if value.__module__ == select.__name__}
    assert set(listed) == functions
    families = next(names(row[1]) for row in table(ROOT / "docs" / "choose-rules.md", "Selectors") if "family" in row[0])
    # "other" is what dispatchers have, which are lowered to mappings of a family.
    assert set(families) >= {mapping.family for mapping in BUILT_IN} - {"other"}


def test_output_is_compared_with_tolerance_for_rounding_only() -> None:
    assert alike("a  5.83 [1 7]", "a 5.826 [1 7]")
    assert alike("error 1.2e-08", "error 9.9e-09")
    assert not alike("a 5.83", "a 5.1")
    assert not alike("class 7", "class 8")
    assert not alike("a 5.83", "b 5.83")
    assert matches(["a", "...", "c"], ["a", "b", "b", "c"])
    assert not matches(["a", "...", "c"], ["a", "b"])
