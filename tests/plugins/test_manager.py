"""Plugins: every hook, entry points good and broken, conflicts, the environment's choice, and sets of plugins side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import graphlrp
from graphlrp import Composite, PluginError, PluginWarning, RuleError, select
from graphlrp.cli import main
from graphlrp.plugins.manager import CHOICE, Plugins, import_plugin
from graphlrp.plugins.skeleton import KINDS, write_skeleton
from graphlrp.rules.base import Decomposition
from tests.builders import residual_network

X = np.random.default_rng(0).normal(size=(2, 2, 8, 8)).astype(np.float32)


@dataclass(frozen=True)
class Tenth(graphlrp.Rule):
    """A rule that loses nine tenths, and says so."""

    share: float = 0.1

    def linear_messages(self, op: graphlrp.Emitter, mapping: Any, relevance: Any) -> Decomposition:
        op.absorb("residual", lambda: op.Mul(relevance, 1 - self.share))
        return graphlrp.Flat().linear_messages(op, mapping, op.Mul(relevance, self.share))


class Estimator:
    """Some object that holds a model."""


class Child(Estimator):
    pass


class PassingRelu(graphlrp.ComponentwiseMapping):
    operators = (("", "Relu"),)
    native = "pass, as ours does"


class Everything:
    """A plugin that uses every hook."""

    @graphlrp.hookimpl
    def register_mappings(self, register: Any) -> None:
        register(PassingRelu, override=True)

    @graphlrp.hookimpl
    def register_rules(self, register: Any) -> None:
        register("tenth", Tenth)

    @graphlrp.hookimpl
    def register_presets(self, register: Any) -> None:
        register("first-tenth", lambda share=0.1: Composite([(select.first(), Tenth(share))], "first-tenth"))

    @graphlrp.hookimpl
    def register_passes(self, register: Any) -> None:
        register(look)

    @graphlrp.hookimpl
    def register_frontends(self, register: Any) -> None:
        register(Estimator, lambda source: residual_network())

    @graphlrp.hookimpl
    def register_commands(self, register: Any) -> None:
        register(greet)


def look(model: Any) -> str:
    return "looked"


@click.command()
def greet() -> None:
    """Say hello."""
    click.echo("hello from a plugin")


def test_every_hook() -> None:
    everything = Everything()
    explainer = graphlrp.load(Child(), "first-tenth", plugins=[everything], ledger="strict")
    explanation = explainer(X)
    assert [row.mapping for row in explainer.plan.rows if row.operator == "Relu"] == ["PassingRelu"] * 2
    assert ("look", "looked") in [(note.name, note.note) for note in explainer.plan.passes]
    assert explainer.plan.rows[0].rule == "Tenth(share=0.1)"
    entry = explanation.ledger["conv1"]
    np.testing.assert_allclose(entry.residual, 0.9 * entry.relevance_in, rtol=1e-4)
    everywhere = graphlrp.load(residual_network(), "tenth", plugins=[everything], ledger="strict")
    assert all("Tenth" in row.rule for row in everywhere.plan.rows if row.family in ("convolution", "dense"))
    assert graphlrp.rule("tenth", plugins=[everything], share=0.5) == Tenth(0.5)
    assert graphlrp.composite("first-tenth", plugins=[everything], share=0.5).entries[0][1] == Tenth(0.5)
    (origin,) = (origin for origin in Plugins([everything]).origins if origin.source == "given")
    assert origin.registered == {
        "mappings": ["PassingRelu"],
        "rules": ["tenth"],
        "presets": ["first-tenth"],
        "passes": ["look"],
        "frontends": [f"{Estimator.__module__}.Estimator"],
        "commands": ["greet"],
    }
    assert origin.replaced == ["operator Relu of graphlrp.plugins.dnn"]


def test_rules_precede_those_of_any_composite() -> None:
    explainer = graphlrp.load(residual_network(), rules=[(select.family("dense"), graphlrp.Gamma(0.1))])
    rules = {row.node: row.rule for row in explainer.plan.rows}
    assert rules["dense"] == "Gamma(gamma=0.1)"
    assert rules["conv1"] == "Flat()"  # of the composite that was chosen automatically


def test_a_pair_that_applies_nowhere_is_an_error() -> None:
    with pytest.raises(RuleError, match=r"no mapping that takes Flat\(\) is selected by operator\(LSTM\); .*Conv \(family"):
        graphlrp.load(residual_network(), rules=[(select.operator("LSTM"), graphlrp.Flat())])


@dataclass(frozen=True)
class Forgetful(graphlrp.Rule):
    """A rule that returns nothing."""

    def linear_messages(self, op: graphlrp.Emitter, mapping: Any, relevance: Any) -> Any:
        mapping.adjoint(op, relevance, mapping.weight(op))


def test_a_rule_that_returns_no_decomposition_is_named() -> None:
    with pytest.raises(RuleError, match=r"Gemm node 'dense': .*Forgetful.linear_messages must return a graphlrp.Decomposition"):
        graphlrp.load(residual_network(), Forgetful())


@dataclass(frozen=True)
class Misspelled(graphlrp.Rule):
    """A rule whose one method has another name."""

    def linear_message(self, op: graphlrp.Emitter, mapping: Any, relevance: Any) -> Any:
        raise AssertionError("nobody calls it")


def test_a_rule_without_messages_is_not_passed_over() -> None:
    with pytest.raises(RuleError, match=r"Misspelled has no linear_messages, and no mapping of the model takes Misspelled\(\)"):
        graphlrp.load(residual_network(), Misspelled())


def test_names_of_rules() -> None:
    assert graphlrp.rule("alpha-beta", alpha=3.0) == graphlrp.AlphaBeta(3.0)
    assert graphlrp.composite("w-square").entries[0][1] == graphlrp.WSquare()
    with pytest.raises(RuleError, match=r"unknown rule 'gama'; there are alpha-beta, .*gamma"):
        graphlrp.rule("gama")
    with pytest.raises(RuleError, match=r"rule 'gamma': .*'epsilon'.*its parameters are \(gamma: "):
        graphlrp.rule("gamma", epsilon=1)
    with pytest.raises(RuleError, match=r"unknown composite 'nothing'; there are auto, attnlrp.*rules for every mapping: .*flat"):
        graphlrp.composite("nothing")


# What is wrong with a plugin


def plugin(**hooks: Any) -> Any:
    """An object whose functions are marked as hooks."""
    return type("Plugin", (), {name: staticmethod(graphlrp.hookimpl(function)) for name, function in hooks.items()})()


def module_with(**names: Any) -> ModuleType:
    module = ModuleType("a_module")
    vars(module).update(names)
    return module


def fails(register: Any) -> None:
    raise OSError("disk on fire")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (plugin(register_mappings=fails), r"plugin 'Plugin' failed while registering: OSError: disk on fire"),
        (plugin(register_mappings=lambda register: register(int)), r"registers <class 'int'>, which is no subclass"),
        (plugin(register_mappings=lambda register: register(graphlrp.Mapping)), r"Mapping.operators must be \(domain"),
        (plugin(register_mappings=lambda register: register(PassingRelu)), r"operator Relu, which 'graphlrp.plugins.dnn' has"),
        (plugin(register_rules=lambda register: register("r", int)), r"rule 'r', which is no subclass of graphlrp.Rule"),
        (plugin(register_rules=lambda register: register("gamma", Tenth)), r"rule 'gamma', which 'graphlrp.rules' has"),
        (plugin(register_presets=lambda register: register("epsilon", dict)), r"preset 'epsilon', which 'graphlrp.rules' has"),
        (plugin(register_presets=lambda register: register("p", 3)), r"registers 3 as preset 'p': it is no function"),
        (plugin(register_passes=lambda register: register(3)), r"registers 3 as pass 'int'"),
        (plugin(register_frontends=lambda register: register(3, dict)), r"a frontend is for a type or its dotted name, not 3"),
        (plugin(register_commands=lambda register: register(print)), r"which is no click command with a name"),
        (plugin(register_mappings=lambda register: None), r"plugin 'Plugin' registers nothing; mark"),
        (plugin(register_mapings=lambda register: None), r"Plugin is no plugin"),
        (plugin(register_rules=lambda r: None), r"plugin 'Plugin' failed while registering: PluginValidationError"),
        (module_with(Tenth=Tenth), r"a_module is no plugin: give a module or object with functions marked @graphlrp.hookimpl"),
        (Everything, r"Everything is a class: give an instance"),
        (42, r"int is no plugin"),
    ],
)
def test_what_is_wrong_is_named(broken: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        graphlrp.load(residual_network(), plugins=[broken])


def test_a_plugin_enters_as_a_whole_or_not_at_all() -> None:
    def half(register: Any) -> None:
        register("one", Tenth)
        register("gamma", Tenth)

    plugins = Plugins()
    with pytest.raises(PluginError, match="rule 'gamma'"):
        plugins._take(plugin(register_rules=half), plugins.origins[0])
    assert "one" not in plugins.rules


def test_a_frontend_that_fails_is_named() -> None:
    broken = plugin(register_frontends=lambda register: register(Estimator, lambda source: source.nothing))
    with pytest.raises(PluginError, match=r"the frontend .*<lambda> fails on Child: AttributeError"):
        graphlrp.load(Child(), plugins=[broken])
    with pytest.raises(graphlrp.ModelError, match="cannot read a model from Child"):
        graphlrp.load(Child())


def test_a_frontend_may_be_named_by_the_dotted_name_of_its_type() -> None:
    named = plugin(register_frontends=lambda register: register(f"{__name__}.Estimator", lambda source: residual_network()))
    assert graphlrp.load(Child(), plugins=[named]).plan.output == "scores"


# Installed plugins


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretends to install packages of one module each."""

    def install(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        information = tmp_path / f"{name}-1.2.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (information / "entry_points.txt").write_text(f"[graphlrp]\n{name} = {name}\n")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(CHOICE, raising=False)
    return install


GOOD = """
import graphlrp
from graphlrp import Composite, Epsilon, select

@graphlrp.hookimpl
def register_presets(register):
    register("{name}", lambda: Composite([(select.every(), Epsilon())], "{name}"))
"""


def test_a_broken_one_is_left_out_and_the_others_work(installed: Any) -> None:
    installed("aa_broken", "raise RuntimeError('half a download')")
    installed("bb_good", GOOD.format(name="fine"))
    installed("cc_conflict", GOOD.format(name="epsilon"))
    with pytest.warns(PluginWarning) as caught:
        plugins = Plugins()
    texts = [str(warning.message) for warning in caught]
    assert any("'aa_broken' (aa_broken) is left out: RuntimeError: half a download" in text for text in texts)
    assert any("'cc_conflict'" in text and "preset 'epsilon', which 'graphlrp.rules' has registered" in text for text in texts)
    assert "fine" in plugins.presets
    by_name = {origin.name: origin for origin in plugins.origins}
    assert (by_name["bb_good"].version, by_name["bb_good"].source) == ("1.2", "installed")
    assert by_name["aa_broken"].error
    assert not by_name["cc_conflict"].registered
    result = CliRunner().invoke(main, ["plugins"])
    assert result.exit_code == 1
    for text in ("bb_good", "1.2", "presets: fine", "LEFT OUT: RuntimeError: half a download", "graphlrp.plugins.dnn"):
        assert text in result.output


def test_the_environment_chooses(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed("one", GOOD.format(name="one"))
    installed("two", GOOD.format(name="two"))
    both = {"one", "two"}
    for choice, expected in ((None, both), ("none", set()), ("", set()), ("two", {"two"}), ("one, two", both)):
        if choice is None:
            monkeypatch.delenv(CHOICE, raising=False)
        else:
            monkeypatch.setenv(CHOICE, choice)
        assert {"one", "two"} & set(Plugins().presets) == expected
    monkeypatch.setenv(CHOICE, "three")
    with pytest.raises(PluginError, match=r"GRAPHLRP_PLUGINS asks for 'three'; installed plugins are 'one', 'two'"):
        Plugins()


def test_commands_of_plugins(installed: Any) -> None:
    installed(
        "commands",
        "import click, graphlrp\n@click.command()\ndef greet():\n    'Say hello.'\n    click.echo('hello')\n"
        "@graphlrp.hookimpl\ndef register_commands(register):\n    register(greet)\n",
    )
    assert "Say hello." in CliRunner().invoke(main, ["--help"]).output
    assert CliRunner().invoke(main, ["greet"]).output == "hello\n"


def test_the_trace_tells_of_hooks_and_registrations(installed: Any) -> None:
    installed("traced", GOOD.format(name="traced"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "graphlrp", "--trace-plugins", "plugins"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "graphlrp.plugins: traced registers presets: traced" in result.stderr
    assert "register_presets [hook]" in result.stderr


def test_plugins_for_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(GOOD.format(name="mine"))
    (tmp_path / "model.onnx").write_bytes(residual_network().SerializeToString())
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "mine.py", str(tmp_path / "mine.py")):
        result = CliRunner().invoke(main, ["plan", "model.onnx", "--plugin", name, "--composite", "mine"])
        assert result.exit_code == 0, result.output
        assert "composite  mine: every" in result.output
    missing = {"nothing.py": "FileNotFoundError", "no_module": "ModuleNotFoundError", "mine:gone": "AttributeError"}
    for name, reason in missing.items():
        with pytest.raises(PluginError, match=rf"the plugin '{name}' cannot be imported: {reason}"):
            import_plugin(name)


# Side by side


def test_sets_of_plugins_side_by_side_in_threads() -> None:
    results: dict[int, Any] = {}

    def explain(index: int) -> None:
        plugins = [Everything()] if index % 2 else []
        explainer = graphlrp.load(residual_network(), "epsilon", plugins=plugins)
        results[index] = [row.mapping for row in explainer.plan.rows if row.operator == "Relu"], explainer(X).relevance

    threads = [threading.Thread(target=explain, args=(index,)) for index in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(results) == set(range(6))
    for index, (mappings, relevance) in results.items():
        assert set(mappings) == {"PassingRelu" if index % 2 else "Relu"}
        np.testing.assert_allclose(relevance, results[0][1], rtol=1e-5, atol=1e-6)


# The skeleton


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_skeleton_passes_its_own_tests(tmp_path: Path, kind: str) -> None:
    folder = write_skeleton("my-layers", tmp_path, kind)
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.*")) == [
        "README.md",
        "pyproject.toml",
        "src/my_layers/__init__.py",
        "tests/test_my_layers.py",
    ]
    # As pip would install it: the entry point makes it known.
    information = folder / "src" / "my_layers-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-layers\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text("[graphlrp]\nmy-layers = my_layers\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "src"), *sys.path])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert result.returncode == 0, result.stdout
    with pytest.raises(graphlrp.InputError, match="is there already"):
        write_skeleton("my-layers", tmp_path)
    with pytest.raises(graphlrp.InputError, match="is no name for a package"):
        write_skeleton("1 layer", tmp_path)
