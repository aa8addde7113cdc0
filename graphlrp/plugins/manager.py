"""The plugin manager: one table (domain, operator) -> mapping class, presets by name, passes in order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType

import pluggy

from graphlrp.errors import PluginError
from graphlrp.ir.canonical import Pass
from graphlrp.plugins import dnn, spec
from graphlrp.plugins.mapping import Mapping
from graphlrp.rules import presets as builtin_presets
from graphlrp.rules.composite import Composite

ENTRY_POINTS = "graphlrp"


@dataclass
class Origin:
    """A plugin and what it registered."""

    name: str
    version: str
    mappings: list[str] = field(default_factory=list)
    presets: list[str] = field(default_factory=list)
    passes: list[str] = field(default_factory=list)


class BuiltinPresets:
    """The presets of ``graphlrp.rules.presets``, registered like anybody's."""

    @spec.hookimpl
    def register_presets(self, register: spec.RegisterPreset) -> None:
        """Register them all."""
        for name, make in builtin_presets.PRESETS.items():
            register(name, make)


class Plugins:
    """What all plugins registered: built-ins first, then entry points, then those given to ``load``.

    Raises:
        PluginError: a plugin fails, registers something that is none of the sort, or something that is there already.
    """

    def __init__(self, extra: Iterable[object] = ()) -> None:
        self.mappings: dict[tuple[str, str], type[Mapping]] = {}
        self.presets: dict[str, Callable[..., Composite]] = {}
        self.passes: list[Pass] = []
        self.origins: list[Origin] = []
        self._owners: dict[object, str] = {}
        manager = pluggy.PluginManager(spec.PROJECT)
        manager.add_hookspecs(spec)
        self._take(manager, dnn, "graphlrp.plugins.dnn")
        self._take(manager, BuiltinPresets(), "graphlrp.rules.presets")
        entry_points = pluggy.PluginManager(spec.PROJECT)
        entry_points.add_hookspecs(spec)
        try:
            entry_points.load_setuptools_entrypoints(ENTRY_POINTS)
        except Exception as error:
            raise PluginError(f"an installed plugin (entry point group {ENTRY_POINTS!r}) cannot be loaded: {error}") from error
        versions = {plugin: distribution.version for plugin, distribution in entry_points.list_plugin_distinfo()}
        for name, plugin in entry_points.list_name_plugin():
            if plugin is not None:
                self._take(manager, plugin, name, versions.get(plugin, ""))
        for plugin in extra:
            self._take(manager, plugin, _name(plugin))

    @property
    def policies(self) -> dict[str, tuple[str, ...]]:
        """Names and choices of all policies that registered mappings read."""
        result: dict[str, tuple[str, ...]] = {}
        for mapping in self._with_lowered():
            result.update(mapping.policies)
        return result

    def _with_lowered(self) -> set[type[Mapping]]:
        """Registered classes and the classes above them, whose policies they inherit only unless they state their own."""
        return {parent for mapping in self.mappings.values() for parent in mapping.__mro__ if issubclass(parent, Mapping)}

    def _take(self, manager: pluggy.PluginManager, plugin: object, name: str, version: str = "") -> None:
        """Run the registration hooks of one plugin."""
        if isinstance(plugin, type) and issubclass(plugin, Mapping):
            plugin = _Single(plugin)
        elif isinstance(plugin, type):
            raise PluginError(f"{name} is a class: give an instance of it, a module, or a Mapping class")
        elif not isinstance(plugin, ModuleType) and not any(
            hasattr(plugin, hook) for hook in ("register_mappings", "register_presets", "register_passes")
        ):
            raise PluginError(
                f"{name} is no plugin: give a module or object with functions marked @graphlrp.hookimpl, or a Mapping class"
            )
        origin = Origin(name, version)
        self.origins.append(origin)
        try:
            manager.register(plugin, name=name)
            for hook, register in (
                ("register_mappings", self._registrar(origin, self._register_mapping)),
                ("register_presets", self._registrar(origin, self._register_preset)),
                ("register_passes", self._registrar(origin, self._register_pass)),
            ):
                others = [other for other in manager.get_plugins() if other is not plugin]
                manager.subset_hook_caller(hook, others)(register=register)
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(f"plugin {name!r} failed while registering: {type(error).__name__}: {error}") from error

    @staticmethod
    def _registrar(origin: Origin, register: Callable[..., None]) -> Callable[..., None]:
        return lambda *arguments, **keywords: register(origin, *arguments, **keywords)

    def _register_mapping(self, origin: Origin, mapping: type[Mapping], *, override: bool = False) -> None:
        if not (inspect.isclass(mapping) and issubclass(mapping, Mapping)):
            raise PluginError(f"plugin {origin.name!r} registers {mapping!r}, which is no subclass of graphlrp.Mapping")
        if not mapping.operators:
            raise PluginError(f"plugin {origin.name!r}: {mapping.__name__}.operators is empty; name (domain, operator) pairs")
        for key in mapping.operators:
            self._own(key, origin, override, f"operator {key[0] + '.' if key[0] else ''}{key[1]}")
            self.mappings[key] = mapping
        origin.mappings.append(mapping.__name__)

    def _register_preset(self, origin: Origin, name: str, make: Callable[..., Composite], *, override: bool = False) -> None:
        self._own(name, origin, override, f"preset {name!r}")
        self.presets[name] = make
        origin.presets.append(name)

    def _register_pass(self, origin: Origin, apply: Pass) -> None:
        self.passes.append(apply)
        origin.passes.append(getattr(apply, "__name__", type(apply).__name__))

    def _own(self, key: object, origin: Origin, override: bool, what: str) -> None:
        if key in self._owners and not override:
            raise PluginError(
                f"plugin {origin.name!r} registers {what}, which {self._owners[key]!r} has registered already; pass"
                " override=True to register() to replace it on purpose"
            )
        self._owners[key] = origin.name


class _Single:
    """A mapping class given as a plugin by itself: replaces whatever was there for its operators."""

    def __init__(self, mapping: type[Mapping]) -> None:
        self.mapping = mapping

    @spec.hookimpl
    def register_mappings(self, register: spec.RegisterMapping) -> None:
        """Register the one class."""
        register(self.mapping, override=True)


def _name(plugin: object) -> str:
    if isinstance(plugin, (type, ModuleType)):
        return plugin.__name__
    return type(plugin).__name__
