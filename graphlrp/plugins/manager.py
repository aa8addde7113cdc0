"""The plugin manager: what every plugin registered, in one table per kind, and who registered it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from graphlrp.errors import GraphLRPError, PluginError, PluginWarning
from graphlrp.ir.canonical import Pass, RegisteredPass
from graphlrp.plugins import bow, dnn, estimators, kernels, spec
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules import presets as builtin_presets
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite

ENTRY_POINTS = "graphlrp"
"""Group of entry points that installed plugins declare."""

CHOICE = "GRAPHLRP_PLUGINS"
"""Environment variable: which installed plugins to load, by name, separated by commas; ``none`` for none; unset for all."""

HOOKS = (
    "register_mappings",
    "register_rules",
    "register_presets",
    "register_passes",
    "register_frontends",
    "register_commands",
)

_log = logging.getLogger("graphlrp.plugins")
"""At level DEBUG it tells of every hook call and every registration."""


@dataclass
class Origin:
    """A plugin and what it registered.

    Attributes:
        source: ``"built-in"``, ``"installed"`` (an entry point) or ``"given"`` (to ``load``).
        registered: per kind (mappings, rules, presets, passes, frontends, commands) what it registered, in words.
        replaced: what of another plugin it replaced on purpose.
        error: why it was left out, empty if it works.
    """

    name: str
    version: str
    source: str
    registered: dict[str, list[str]] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    error: str = ""


class BuiltinRules:
    """The rules and presets of ``graphlrp.rules``, registered like anybody's."""

    @spec.hookimpl
    def register_rules(self, register: spec.RegisterRule) -> None:
        """Register the rules."""
        for name, rule in builtin_presets.RULES.items():
            register(name, rule)

    @spec.hookimpl
    def register_presets(self, register: spec.RegisterPreset) -> None:
        """Register the presets."""
        for name, make in builtin_presets.PRESETS.items():
            register(name, make)


class Plugins:
    """What all plugins registered: built-ins first, then installed ones, then those given to ``load``.

    Every instance has tables of its own: explainers of different plugins live side by side.

    A plugin enters as a whole or not at all. An installed one that fails is left out with a ``PluginWarning`` that names it;
    one that was given is an error.

    Raises:
        PluginError: a given plugin fails, registers something that is none of the sort or that is there already, or the
            environment asks for a plugin that is not installed.
    """

    def __init__(self, extra: Iterable[object] = ()) -> None:
        self.mappings: dict[tuple[str, str], type[Mapping]] = {}
        self.rules: dict[str, type[Rule]] = {}
        self.presets: dict[str, Callable[..., Composite]] = {}
        self.passes: list[RegisteredPass] = []
        self.frontends: dict[type | str, Callable[[Any], Any]] = {}
        self.commands: dict[str, Any] = {}
        self.origins: list[Origin] = []
        self._owners: dict[object, str] = {}
        self._manager = pluggy.PluginManager(spec.PROJECT)
        self._manager.add_hookspecs(spec)
        if _log.isEnabledFor(logging.DEBUG):
            self._manager.trace.root.setwriter(lambda text: _log.debug(text.rstrip()))
            self._manager.enable_tracing()
        for family in (dnn, kernels, estimators):
            self._take(family, Origin(family.__name__, "", "built-in"))
        self._take(BuiltinRules(), Origin("graphlrp.rules", "", "built-in"))
        self._take(bow, Origin(bow.__name__, "", "built-in"))
        for entry in _installed():
            origin = Origin(entry.name, entry.dist.version if entry.dist is not None else "", "installed")
            try:
                self._take(entry.load(), origin)
            except Exception as error:
                origin.error = str(error) if isinstance(error, GraphLRPError) else f"{type(error).__name__}: {error}"
                warnings.warn(
                    f"the installed plugin {entry.name!r} ({entry.value}) is left out: {origin.error} (uninstall it, or choose"
                    f" plugins with the environment variable {CHOICE})",
                    PluginWarning,
                    stacklevel=2,
                )
                if origin not in self.origins:
                    self.origins.append(origin)
        for plugin in extra:
            self._take(plugin, Origin(_name(plugin), "", "given"))

    @property
    def policies(self) -> dict[str, tuple[str, ...]]:
        """Names of all policies that registered mappings read, with all choices that any of them offers."""
        result: dict[str, tuple[str, ...]] = {}
        for mapping in self._with_lowered():
            for name, choices in mapping.policies.items():
                result[name] = tuple(dict.fromkeys((*result.get(name, ()), *choices)))
        return result

    def convert(self, source: object) -> object:
        """What a frontend makes of a source; the source itself if there is none for its type.

        Raises:
            PluginError: the frontend fails.
        """
        for parent in type(source).__mro__:
            convert = self.frontends.get(parent) or self.frontends.get(f"{parent.__module__}.{parent.__qualname__}")
            if convert is None:
                continue
            try:
                return self.convert(convert(source))
            except GraphLRPError:
                raise
            except Exception as error:
                raise PluginError(
                    f"the frontend {_describe(convert)} fails on {type(source).__name__}: {type(error).__name__}: {error}"
                ) from error
        return source

    def _with_lowered(self) -> set[type[Mapping]]:
        """Registered classes and the classes above them, whose policies they inherit only unless they state their own."""
        return {parent for mapping in self.mappings.values() for parent in mapping.__mro__ if issubclass(parent, Mapping)}

    def _take(self, plugin: object, origin: Origin) -> None:
        """Run the registration hooks of one plugin, then enter what it registered."""
        name = origin.name
        if isinstance(plugin, type) and issubclass(plugin, Mapping):
            plugin = _Single(plugin, override=origin.source == "given")
        elif isinstance(plugin, type):
            raise PluginError(f"{name} is a class: give an instance of it, a module, or a Mapping class")
        elif not any(hasattr(plugin, hook) for hook in HOOKS):
            raise PluginError(
                f"{name} is no plugin: give a module or object with functions marked @graphlrp.hookimpl"
                f" ({', '.join(HOOKS)}), or a Mapping class"
            )
        self.origins.append(origin)
        draft = _Draft(origin, self._owners)
        manager = self._manager
        try:
            manager.register(plugin, name=f"{name} ({len(self.origins)})")
            manager.check_pending()
            others = [other for other in manager.get_plugins() if other is not plugin]
            for hook in HOOKS:
                manager.subset_hook_caller(hook, others)(register=getattr(draft, hook))
            if not draft.entries:
                raise PluginError(f"plugin {name!r} registers nothing; mark its functions with @graphlrp.hookimpl")
        except Exception as error:
            if manager.is_registered(plugin):
                manager.unregister(plugin)
            origin.registered, origin.replaced = {}, []
            if isinstance(error, PluginError):
                raise
            raise PluginError(f"plugin {name!r} failed while registering: {type(error).__name__}: {error}") from error
        for kind, key, value in draft.entries:
            _log.debug("%s registers %s: %s", name, kind, key)
            if kind == "passes":
                self.passes.append(value)
            else:
                getattr(self, kind)[key] = value
                self._owners[kind, key] = name


class _Draft:
    """What one plugin wants to register, checked but not yet entered: its methods are the ``register`` of the hooks."""

    def __init__(self, origin: Origin, owners: dict[object, str]) -> None:
        self.origin = origin
        self.entries: list[tuple[str, Any, Any]] = []
        self._owners = dict(owners)

    def register_mappings(self, mapping: type[Mapping], *, override: bool = False) -> None:
        """A mapping class, for all of its operators."""
        if not (inspect.isclass(mapping) and issubclass(mapping, Mapping)):
            raise PluginError(f"plugin {self.origin.name!r} registers {mapping!r}, which is no subclass of graphlrp.Mapping")
        operators = mapping.operators
        if not operators or not all(isinstance(key, tuple) and len(key) == 2 for key in operators):
            raise PluginError(
                f"plugin {self.origin.name!r}: {mapping.__name__}.operators must be (domain, operator) pairs such as"
                f' (("com.acme", "Maxout"),), not {operators!r}'
            )
        for domain, operator in operators:
            text = f"operator {domain + '.' if domain else ''}{operator}"
            self._enter("mappings", (domain, operator), mapping, text, override)
        self._note("mappings", mapping.__name__)

    def register_rules(self, name: str, rule: type[Rule], *, override: bool = False) -> None:
        """A rule class by name."""
        if not (inspect.isclass(rule) and issubclass(rule, Rule)):
            raise PluginError(
                f"plugin {self.origin.name!r} registers {rule!r} as rule {name!r}, which is no subclass of graphlrp.Rule"
            )
        self._enter("rules", name, rule, f"rule {name!r}", override)
        self._note("rules", name)

    def register_presets(self, name: str, make: Callable[..., Composite], *, override: bool = False) -> None:
        """A preset: what makes a composite from parameters."""
        self._callable("preset", name, make)
        self._enter("presets", name, make, f"preset {name!r}", override)
        self._note("presets", name)

    def register_passes(self, apply: Pass, *, early: bool = False) -> None:
        """A canonicalisation pass."""
        name = getattr(apply, "__name__", type(apply).__name__)
        self._callable("pass", name, apply)
        self.entries.append(("passes", name, RegisteredPass(apply, early)))
        self._note("passes", name)

    def register_frontends(self, source: type | str, convert: Callable[[Any], Any], *, override: bool = False) -> None:
        """What makes a model of objects of a type, which may be named to save its import."""
        if not isinstance(source, (type, str)):
            raise PluginError(f"plugin {self.origin.name!r}: a frontend is for a type or its dotted name, not {source!r}")
        name = source if isinstance(source, str) else f"{source.__module__}.{source.__qualname__}"
        self._callable("frontend", name, convert)
        self._enter("frontends", source, convert, f"frontend for {name}", override)
        self._note("frontends", name)

    def register_commands(self, command: Any, *, override: bool = False) -> None:
        """A click command of the command line."""
        name = getattr(command, "name", None)
        if not name or not hasattr(command, "main"):
            raise PluginError(f"plugin {self.origin.name!r} registers {command!r}, which is no click command with a name")
        self._enter("commands", name, command, f"command {name!r}", override)
        self._note("commands", name)

    def _callable(self, kind: str, name: str, function: object) -> None:
        if not callable(function):
            raise PluginError(f"plugin {self.origin.name!r} registers {function!r} as {kind} {name!r}: it is no function")

    def _enter(self, kind: str, key: Any, value: Any, text: str, override: bool) -> None:
        owner = self._owners.get((kind, key))
        if owner is not None and not override:
            raise PluginError(
                f"plugin {self.origin.name!r} registers {text}, which {owner!r} has registered already; pass override=True to"
                " register() to replace it on purpose"
            )
        if owner is not None:
            self.origin.replaced.append(f"{text} of {owner}")
        self._owners[kind, key] = self.origin.name
        self.entries.append((kind, key, value))

    def _note(self, kind: str, name: str) -> None:
        self.origin.registered.setdefault(kind, []).append(name)


class _Single:
    """A mapping class as a plugin by itself; given to ``load``, it replaces whatever was there for its operators."""

    def __init__(self, mapping: type[Mapping], *, override: bool) -> None:
        self.mapping, self.override = mapping, override

    @spec.hookimpl
    def register_mappings(self, register: spec.RegisterMapping) -> None:
        """Register the one class."""
        register(self.mapping, override=self.override)


def import_plugin(text: str) -> object:
    """A plugin by name, as the command line takes it: ``module``, ``module:object`` or ``file.py``, also ``file.py:object``.

    Raises:
        PluginError: it cannot be imported, or has no such object.
    """
    name, _, attribute = text.partition(":")
    try:
        if name.endswith(".py"):
            path = Path(name)
            specification = importlib.util.spec_from_file_location(path.stem, path)
            assert specification is not None and specification.loader is not None
            module = importlib.util.module_from_spec(specification)
            specification.loader.exec_module(module)
        else:
            module = importlib.import_module(name)
        return getattr(module, attribute) if attribute else module
    except Exception as error:
        raise PluginError(f"the plugin {text!r} cannot be imported: {type(error).__name__}: {error}") from error


def _installed() -> Iterator[importlib.metadata.EntryPoint]:
    """Entry points of installed plugins that the environment lets in."""
    entries = sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    choice = os.environ.get(CHOICE)
    if choice is not None:
        wanted = {name.strip() for name in choice.split(",")} - {"", "none"}
        unknown = wanted - {entry.name for entry in entries}
        if unknown:
            raise PluginError(
                f"{CHOICE} asks for {', '.join(map(repr, sorted(unknown)))}; installed plugins are"
                f" {', '.join(repr(entry.name) for entry in entries) or 'none'}"
            )
        entries = [entry for entry in entries if entry.name in wanted]
    yield from entries


def _name(plugin: object) -> str:
    if isinstance(plugin, (type, ModuleType)):
        return plugin.__name__
    return type(plugin).__name__


def _describe(function: object) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"
