"""A page as a program reads it: elements, texts, addresses, and the pictures inside."""

from __future__ import annotations

import base64
import io
import itertools
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
from PIL import Image

VOID = {"meta", "img", "link", "br", "hr", "input", "image", "polyline"}
ADDRESSES = ("src", "href", "data", "action", "poster", "srcset", "background", "xlink:href")


@dataclass
class Element:
    """An element with its attributes, its children, and the text in it and below."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    parts: list[str | Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    @property
    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())

    def all(self, tag: str, cls: str = "") -> list[Element]:
        """Elements below, in the order of the page."""
        found = []
        for child in self.children:
            if child.tag == tag and (not cls or cls in child.attributes.get("class", "").split()):
                found.append(child)
            found += child.all(tag, cls)
        return found

    def only(self, tag: str, cls: str = "") -> Element:
        (element,) = self.all(tag, cls)
        return element

    @property
    def numbers(self) -> list[float]:
        """What <data> elements below hold, to all digits."""
        return [float(element.attributes["value"]) for element in self.all("data")]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        self.open[-1].parts.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)


def read_page(text: str) -> Element:
    """The page; every element is closed by its own end."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert len(reader.open) == 1, f"never closed: {[element.tag for element in reader.open[1:]]}"
    return reader.root


def everything(root: Element) -> list[Element]:
    return [element for child in root.children for element in (child, *everything(child))]


def picture(address: str) -> Image.Image:
    """The picture of a data URI, decoded."""
    head, _, content = address.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64"), head
    image = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    image.load()
    return image


def pixels(address: str) -> np.ndarray:
    return np.asarray(picture(address).convert("RGB"))


def check_page(text: str) -> Element:
    """What holds for every page: it needs nothing else, its pictures decode and are described, its headings nest.

    Returns:
        The page.
    """
    root = read_page(text)
    elements = everything(root)
    for element in elements:
        for name in ADDRESSES:
            address = element.attributes.get(name, "")
            assert address.startswith(("data:", "#")) or not address, f"<{element.tag} {name}={address[:80]!r}>"
        assert not any(name.startswith("on") for name in element.attributes), element.attributes
        assert "url(" not in element.attributes.get("style", "")
        assert element.tag not in ("iframe", "object", "embed", "base", "link")
    (sheet,) = (element for element in elements if element.tag == "style")
    assert "url(" not in sheet.text and "@import" not in sheet.text
    for script in (element for element in elements if element.tag == "script"):
        assert not re.search(r"fetch|XMLHttpRequest|import\s*\(|WebSocket|https?:", script.text)
    identifiers = [element.attributes["id"] for element in elements if "id" in element.attributes]
    assert len(set(identifiers)) == len(identifiers)
    for link in (element.attributes["href"] for element in elements if element.tag == "a"):
        assert link.startswith("#") and link[1:] in identifiers
    for image in (element for element in elements if element.tag in ("img", "image")):
        address = image.attributes.get("src") or image.attributes["href"]
        if address.startswith("data:image/svg+xml"):
            assert b"<svg" in base64.b64decode(address.partition(",")[2])
        else:
            assert min(picture(address).size) >= 1
        assert image.tag == "image" or "alt" in image.attributes
    (title,) = (element.words for element in elements if element.tag == "title")
    headings = [element for element in elements if re.fullmatch("h[1-6]", element.tag)]
    levels = [int(element.tag[1]) for element in headings]
    assert levels[0] == 1 and levels.count(1) == 1 and headings[0].words == title
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    assert all(element.words for element in headings)
    for table in (element for element in elements if element.tag == "table"):
        assert table.all("caption")[0].words
        widths = {sum(cell.tag in ("td", "th") for cell in row.children) for row in table.all("tr")}
        assert len(widths) == 1, f"rows of {table.all('caption')[0].words!r} differ in width: {widths}"
    return root
