"""From options of the command line to rules, composites and restrictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import graphlrp
from graphlrp.errors import InputError
from graphlrp.rules import select
from graphlrp.rules.base import Rule
from graphlrp.rules.composite import Composite


def read_restriction(text: str) -> tuple[str, list[int]]:
    """``name=channel,...``."""
    name, _, channels = text.rpartition("=")
    try:
        return name, [int(channel) for channel in channels.split(",")]
    except ValueError:
        raise InputError(f"--restrict {text!r}: give NAME=CHANNEL,CHANNEL ...") from None


SELECTORS: dict[str, Callable[..., select.Selector]] = {
    "first": select.first,
    "last": select.last,
    "every": select.every,
    "family": select.family,
    "operator": select.operator,
    "name": select.name,
    "up-to": select.up_to,
}
"""Selectors by what the command line calls them; from ``family`` on, they take a name behind a slash."""


def read_pair(text: str, plugins: Sequence[object]) -> tuple[select.Selector, Rule]:
    """``selector=rule`` or ``selector/name=rule:parameter=number,...``."""
    where, equals, what = text.partition("=")
    kind, slash, argument = where.partition("/")
    takes_name = kind in SELECTORS and kind not in ("first", "last", "every")
    if not equals or kind not in SELECTORS or bool(slash) != takes_name:
        raise InputError(
            f"--rule {text!r}: give SELECTOR=RULE; selectors are first, last, every, family/NAME, operator/NAME, name/GLOB and"
            " up-to/NODE"
        )
    make = SELECTORS[kind]
    name, separator, rest = what.partition(":")
    parameters = _parameters("--rule", text, rest) if separator else {}
    return make(argument) if takes_name else make(), graphlrp.rule(name, plugins=plugins, **parameters)


def read_composite(text: str, plugins: Sequence[object]) -> str | Composite:
    """``name`` or ``name:parameter=number,...``, where numbers per channel are separated by slashes."""
    name, separator, rest = text.partition(":")
    if not separator:
        return name
    return graphlrp.composite(name, plugins=plugins, **_parameters("--composite", text, rest))


def _parameters(option: str, text: str, rest: str) -> dict[str, object]:
    parameters: dict[str, object] = {}
    for pair in rest.split(","):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"{option} {text!r}: give parameters as NAME=VALUE, separated by commas")
        try:
            numbers = tuple(float(part) for part in value.split("/"))
            parameters[key.strip()] = numbers if len(numbers) > 1 else numbers[0]
        except ValueError:
            parameters[key.strip()] = value
    return parameters
