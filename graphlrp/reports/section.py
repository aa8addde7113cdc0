"""A section of a page: a heading, a template, and what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        heading: its title.
        template: file in ``templates`` that shows it.
        content: what the template reads.
        recolours: whether it has relevance whose colours the reader may change.
        fresh: whether it begins on a page of its own when it is printed.
    """

    heading: str
    template: str
    content: Mapping[str, Any]
    recolours: bool = False
    fresh: bool = False
