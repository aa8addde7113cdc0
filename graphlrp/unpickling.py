"""Reading fitted estimators from files that were pickled, with joblib or without. Unpickling runs code: only on request."""

from __future__ import annotations

import warnings
from collections.abc import Container
from pathlib import Path
from typing import Any

import joblib
from sklearn.exceptions import InconsistentVersionWarning

from graphlrp.errors import InputError, ModelError

_STARTS = (b"\x80", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"]\x00", b"\x78", b"\x04\x22\x4d\x18", b"PK", b"c", b"(")
"""What pickles begin with (the last two: protocol 0), and gzip, bzip2, xz, lzma, zlib, lz4 and zip."""

SUFFIXES = (".joblib", ".pkl", ".pickle")


def is_pickle(path: Path) -> bool:
    """Whether a file is one of a pickled estimator, by its name."""
    return path.suffix.lower() in SUFFIXES


def read_estimator(path: Path, sources: Container[type | str], *, trust: bool) -> Any:
    """Unpickle a fitted estimator.

    Args:
        path: of the file; pickle and all compressions of joblib are recognised by their content.
        sources: types, or their dotted names, that ``graphlrp.load`` makes models of.
        trust: whether the file may run code, which unpickling cannot prevent.

    Returns:
        The estimator. Another version of scikit-learn than the installed one is told in one ``UserWarning``.

    Raises:
        InputError: ``trust`` is false.
        ModelError: the file is missing or broken, needs code that is not there, or holds something else.
    """
    if not path.is_file():
        raise ModelError(f"no such model file: {path}")
    if not trust:
        raise InputError(f"{path} is pickled: reading it runs whatever code it holds; if you trust its origin, add --trust")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = joblib.load(path)
        except ModuleNotFoundError as error:
            raise ModelError(
                f"{path} needs the module {error.name!r}, which cannot be imported: install it, or run graphlrp where it lies"
            ) from error
        except AttributeError as error:
            raise ModelError(
                f"{path} needs code that is not there ({error}): what a script or notebook defines itself has to lie in a module"
                " of its own, and scikit-learn to be of the version that the estimator was fitted with"
            ) from error
        except Exception as error:
            # Code of the file runs here: it may raise anything.
            size = f"{path} ({path.stat().st_size:,} bytes)"
            if not _looks_pickled(path):
                raise ModelError(
                    f"{size} is no joblib or pickle file, whatever its name says: write it with joblib.dump(estimator, path)"
                ) from None
            raise ModelError(
                f"{size} cannot be read as a pickled estimator; it may be truncated or of another format: {_first_line(error)}"
            ) from error
    _warn(path, caught)
    names = [(kind, f"{kind.__module__}.{kind.__qualname__}") for kind in type(estimator).__mro__]
    if not any(kind in sources or name in sources for kind, name in names):
        raise ModelError(
            f"{path} holds {_described(estimator)}, no estimator: save the fitted estimator itself, joblib.dump(it, path)"
        )
    return estimator


def _looks_pickled(path: Path) -> bool:
    """Whether the first bytes are those of a pickle (protocol 2 on), or of a compression that joblib knows."""
    with path.open("rb") as file:
        start = file.read(6)
    return start.startswith(_STARTS)


def _warn(path: Path, caught: list[warnings.WarningMessage]) -> None:
    """Pass on what unpickling warned of; versions once, though every step of a pipeline warns of its own."""
    versions: dict[str, str] = {}
    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            versions[warning.message.original_sklearn_version] = warning.message.current_sklearn_version
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    for original, current in versions.items():
        warnings.warn(
            f"{path} was written with scikit-learn {original}, this is {current}: its numbers may be wrong", stacklevel=3
        )


def _described(something: object) -> str:
    name = type(something).__name__
    if isinstance(something, dict) and something:
        return f"a {name} of {', '.join(map(repr, list(something)[:5]))}"
    return f"a {name}" if not isinstance(something, type) else f"the class {something.__name__}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
