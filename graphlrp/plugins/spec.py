"""Hooks of plugins. A plugin is a module, object or entry point (group ``graphlrp``) with functions marked ``@hookimpl``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from graphlrp.ir.canonical import Pass
    from graphlrp.plugins.mapping import Mapping
    from graphlrp.rules.base import Rule
    from graphlrp.rules.composite import Composite

PROJECT = "graphlrp"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class RegisterMapping(Protocol):
    """Enters a mapping class into the table, for all of its ``operators``."""

    def __call__(self, mapping: type[Mapping], *, override: bool = False) -> None:
        """Duplicates raise ``PluginError`` unless ``override``."""


class RegisterRule(Protocol):
    """Enters a rule class by name: what command lines and composites call it."""

    def __call__(self, name: str, rule: type[Rule], *, override: bool = False) -> None:
        """Duplicates raise ``PluginError`` unless ``override``."""


class RegisterPreset(Protocol):
    """Enters a preset: a function that makes a composite from parameters."""

    def __call__(self, name: str, make: Callable[..., Composite], *, override: bool = False) -> None:
        """Duplicates raise ``PluginError`` unless ``override``."""


class RegisterPass(Protocol):
    """Appends a canonicalisation pass, run after the standard ones."""

    def __call__(self, apply: Pass, *, early: bool = False) -> None:
        """The pass changes a model in place and returns what it did, None if nothing.

        An ``early`` pass runs before operators of plugins get their bodies, so that it may emit nodes of such operators.
        """


class RegisterFrontend(Protocol):
    """Enters what makes a model of objects of a type."""

    def __call__(self, source: type | str, convert: Callable[[Any], Any], *, override: bool = False) -> None:
        """``source`` is a type or its dotted name; ``convert(object)`` returns anything that ``graphlrp.load`` takes."""


class RegisterCommand(Protocol):
    """Enters a command of the command line."""

    def __call__(self, command: Any, *, override: bool = False) -> None:
        """``command`` is a ``click.Command``."""


@hookspec
def register_mappings(register: RegisterMapping) -> None:
    """Call ``register(MyMapping)`` for every mapping class."""


@hookspec
def register_rules(register: RegisterRule) -> None:
    """Call ``register("my-rule", MyRule)`` for every rule class."""


@hookspec
def register_presets(register: RegisterPreset) -> None:
    """Call ``register("my-preset", make_my_composite)`` for every preset."""


@hookspec
def register_passes(register: RegisterPass) -> None:
    """Call ``register(my_pass)`` for every canonicalisation pass."""


@hookspec
def register_frontends(register: RegisterFrontend) -> None:
    """Call ``register(MyModel, convert)`` for every type of source."""


@hookspec
def register_commands(register: RegisterCommand) -> None:
    """Call ``register(my_click_command)`` for every command."""
