"""The report: results of any kind, collected and written as one page."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import graphlrp
from graphlrp.errors import InputError
from graphlrp.reports import page
from graphlrp.reports.section import Section
from graphlrp.reports.sections import section_of
from graphlrp.reports.style import Style
from graphlrp.visual.colour import ColourMap, colour_map

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnx", "numpy", "scikit-learn")


class Report:
    """One page of HTML that needs nothing else: no server, no network, no files beside it.

    Args:
        title: of the page.
        model: path of the model, whose name and SHA-256 the page states.
        settings: what else is to be stated, by name.
        colours: colour map of all relevance, one of ``graphlrp.visual.COLOUR_MAPS`` or a ``ColourMap``; the default is told apart
            with every common colour vision deficiency.
        joint: one common scale for all maps of a section (thesis, eq. 2.62) instead of one for each. The reader may change it,
            as well as the colours, where the page may run its script.
        percentile: of abs(R), that gets the full colour; by default 99.5 in pictures and signals, and the largest elsewhere.
        date: that the page states; by default now, or what ``SOURCE_DATE_EPOCH`` says, for pages that are the same every time.

    Raises:
        InputError: an unknown colour map, a percentile that is none, a model that cannot be read.
    """

    def __init__(
        self,
        title: str = "Relevance",
        *,
        model: str | os.PathLike[str] | None = None,
        settings: Mapping[str, object] | None = None,
        colours: str | ColourMap = "blue-orange",
        joint: bool = False,
        percentile: float | None = None,
        date: datetime.datetime | None = None,
    ) -> None:
        if percentile is not None and not 0 < percentile <= 100:
            raise InputError(f"the percentile must be above 0 and at most 100, not {percentile}")
        self._title = title
        self._style = Style(colour_map(colours), joint, percentile)
        self._sections: list[Section] = []
        self._facts = ([] if model is None else _facts_of(Path(model))) + [(k, str(v)) for k, v in (settings or {}).items()]
        self._date = date if date is not None else _now()

    def add(self, result: Any, heading: str = "", **options: Any) -> Report:
        """Add a section.

        Args:
            result: what it shows. An Explanation, or several of the same samples by the name of their composite, each one or a
                sequence with one for each class; a Plan or an Explainer, or several by name; what ``graphlrp.evaluation`` and
                ``graphlrp.spray`` return; a matplotlib Figure, with ``alt``, a text that says what it shows.
            heading: of the section; by default what it is.
            **options: those of the kind of section, see docs/reports.md.

        Returns:
            The report, so that calls can be chained.

        Raises:
            InputError: there is no section for such a result, or the result and its options do not fit.
        """
        self._sections.append(section_of(result, self._style, heading, options))
        return self

    def html(self) -> str:
        """The page.

        Raises:
            InputError: the report is empty.
        """
        if not self._sections:
            raise InputError("the report is empty: add a result to it")
        templates = page.environment()
        script, digest = page.script()
        moment = self._date.astimezone(datetime.UTC) if self._date.tzinfo is not None else self._date
        versions = ", ".join(f"{name} {number}" for name, number in [("GraphLRP", graphlrp.__version__), *_installed()])
        facts = [
            *self._facts,
            ("date", f"{moment:%Y-%m-%d %H:%M}{' UTC' if self._date.tzinfo is not None else ''}"),
            ("versions", f"{versions}, Python {platform.python_version()}"),
        ]
        return templates.get_template("page.html").render(
            title=self._title,
            facts=facts,
            sections=self._sections,
            style=self._style,
            style_sheet=page.style_sheet(),
            script=script,
            digest=digest,
            colour_maps=page.colour_maps(),
            recolours=any(section.recolours for section in self._sections),
            generator=f"GraphLRP {graphlrp.__version__}",
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, whole or not at all, and return the path.

        Raises:
            InputError: the report is empty or cannot be written there.
        """
        return page.write(path, self.html())


def _facts_of(model: Path) -> list[tuple[str, str]]:
    try:
        with model.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(f"no such model file: {model}") from None
    except OSError as error:
        raise InputError(f"cannot read the model {model}: {error}") from error
    return [("model", model.name), ("SHA-256", digest)]


def _now() -> datetime.datetime:
    """The time, or the one that reproducible builds set (https://reproducible-builds.org/specs/source-date-epoch)."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given and not given.isdecimal():
        raise InputError(f"SOURCE_DATE_EPOCH={given!r} is no number of seconds")
    return datetime.datetime.fromtimestamp(int(given), datetime.UTC) if given else datetime.datetime.now(datetime.UTC)


def _installed() -> list[tuple[str, str]]:
    """Packages and their versions; those that are not installed are left out."""
    found = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append((name, version(name)))
    return found
