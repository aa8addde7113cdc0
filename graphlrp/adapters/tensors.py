"""Tensors of other libraries as arrays and back, without importing these libraries."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError

Array = npt.NDArray[Any]


def is_tensor(value: Any) -> bool:
    """Whether something is a tensor the way PyTorch makes them."""
    return all(hasattr(value, name) for name in ("detach", "cpu", "numpy"))


def to_array(value: Any) -> Array:
    """An array of a tensor, wherever it lies, or of what numpy takes.

    Raises:
        InputError: its type has no counterpart in numpy, such as bfloat16.
    """
    if not is_tensor(value):
        return np.asarray(value)
    try:
        return np.asarray(value.detach().cpu().numpy())
    except TypeError as error:
        raise InputError(f"a tensor of {value.dtype} cannot become an array ({error}): convert it with .float()") from error


def like(array: Array, example: Any) -> Any:
    """An array as what ``example`` is: a tensor of its library, device and real type; of anything else the array itself."""
    if not is_tensor(example):
        return array
    tensor = _library(example).from_numpy(np.ascontiguousarray(array)).to(example.device)
    # Relevance of integers, such as numbers of tokens, is real all the same.
    return tensor.to(example.dtype) if example.is_floating_point() else tensor


def _library(example: Any) -> Any:
    """The module that a tensor is of; classes of users are derived from one of its classes."""
    for kind in type(example).__mro__:
        module = sys.modules.get(kind.__module__.partition(".")[0])
        if hasattr(module, "from_numpy"):
            return module
    raise InputError(f"{type(example).__name__} comes from no library with a function from_numpy")
