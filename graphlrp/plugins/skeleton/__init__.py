"""What ``graphlrp plugins new`` writes: a package with a layer or a rule, its tests, and the entry point that makes it known."""

from __future__ import annotations

import keyword
import os
import re
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template

from graphlrp.errors import InputError

KINDS = {
    "layer": ("README.md.txt", "plugin.py.txt", "test_plugin.py.txt"),
    "rule": ("README.rule.md.txt", "rule.py.txt", "test_rule.py.txt"),
}
"""Templates by what the package adds: its README, the plugin, its tests; ``$name``, ``$module``, ``$layer`` are filled in."""


def write_skeleton(name: str, into: Path, kind: str = "layer") -> Path:
    """Write the package ``name`` to a new folder of that name; ``kind`` is one of ``KINDS``.

    Returns:
        The folder.

    Raises:
        InputError: the name is none for a package, or the folder is there already or cannot be written.
    """
    module = re.sub(r"[-.]", "_", name)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", module) or keyword.iskeyword(module):
        raise InputError(f"{name!r} is no name for a package: use letters, digits and '-', beginning with a letter")
    folder = into / name
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another name or --into another folder")
    layer = "".join(part.capitalize() for part in module.split("_") if part.lower() != "graphlrp") or "Layer"
    words = {"name": name, "module": module.lower(), "layer": layer}
    templates = files(__package__) / "template"
    readme, plugin, tests = KINDS[kind]
    places = {
        "pyproject.toml.txt": "pyproject.toml",
        readme: "README.md",
        plugin: "src/{module}/__init__.py",
        tests: "tests/test_{module}.py",
    }
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into, prefix=f".{name}-") as staging:
            package = Path(staging) / name
            for template, place in places.items():
                path = package / place.format(**words)
                path.parent.mkdir(parents=True, exist_ok=True)
                text = Template((templates / template).read_text(encoding="utf-8")).substitute(words)
                path.write_text(text, encoding="utf-8")
            os.replace(package, folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InputError(f"cannot write {folder}: {error}") from error
    return folder
