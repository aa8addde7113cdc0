"""Whether a model of another library still has the weights that it had."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from graphlrp.adapters.tensors import to_array


def checksum(model: Any) -> int | None:
    """A number that changes with the weights of a model of PyTorch or Keras; None if it has none that can be read."""
    if hasattr(model, "state_dict"):
        weights = [(name, value) for name, value in model.state_dict().items() if hasattr(value, "shape")]
    elif hasattr(model, "get_weights"):
        weights = [(str(number), value) for number, value in enumerate(model.get_weights())]
    else:
        return None
    total = 0
    for name, value in weights:
        total = zlib.crc32(np.ascontiguousarray(to_array(value)).tobytes(), zlib.crc32(name.encode(), total))
    return total
