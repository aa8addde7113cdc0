"""From sections to HTML: the templates, what they may use, and the file."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from graphlrp.errors import InputError
from graphlrp.files import cannot_write, replacing
from graphlrp.visual.colour import COLOUR_MAPS, colour_map
from graphlrp.visual.typesetting import number

FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Characters that HTML must not hold."""


@cache
def environment() -> jinja2.Environment:
    """Templates of this package. All that they print is escaped, unless it is markup of our own."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("graphlrp.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    made.filters["number"] = quantity
    made.filters["error"] = error
    made.filters["eigenvalue"] = eigenvalue
    return made


def quantity(value: float | None) -> str:
    """Three digits to read, and all of them for programs; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return Markup('<data value="{}">{}</data>').format(repr(float(value)), number(float(value)))


def error(value: float | None) -> str:
    """A relative error, of which the size matters and not the digits."""
    if value is None:
        return "\N{EN DASH}"
    return Markup('<data value="{}">{}</data>').format(repr(float(value)), number(float(f"{value:.1e}")))


def eigenvalue(value: float) -> str:
    """Four decimal places, by which eigenvalues between 0 and 2 are compared."""
    return Markup('<data value="{}">{}</data>').format(repr(float(value)), f"{abs(value):.4f}")


def colour_maps() -> dict[str, dict[str, Any]]:
    """The built-in colour maps as JavaScript reads them."""
    known = {colours.name: colours for colours in map(colour_map, COLOUR_MAPS)}
    return {name: {"positions": colours.positions, "colours": colours.colours} for name, colours in known.items()}


def script() -> tuple[Markup, str]:
    """The script of the page, and what the page's security policy knows it by."""
    text = (files("graphlrp.reports") / "templates" / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"sha256-{digest}"


def style_sheet() -> Markup:
    """The style sheet of the page."""
    return Markup((files("graphlrp.reports") / "templates" / "style.css").read_text(encoding="utf-8"))


def write(path: str | os.PathLike[str], page: str) -> Path:
    """Write a page, whole or not at all.

    Raises:
        InputError: it cannot be written there.
    """
    try:
        with replacing(path) as unfinished:
            # Lone surrogates, which names of files may hold, have no UTF-8.
            unfinished.write_text(page, encoding="utf-8", errors="replace", newline="")
    except OSError as reason:
        raise InputError(cannot_write(Path(path), reason)) from reason
    return Path(path)


def _printable(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", value)
    return value
