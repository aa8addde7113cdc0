"""Local descriptors of an image: what the first step of a Bag-of-Words pipeline hands to the next one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Descriptors:
    """The descriptors of one image.

    Attributes:
        values: l [L, D], float32.
        positions: middle of every descriptor's area in pixels, (x, y) from the upper left corner, [L, 2].
        size: height and width of the image.
    """

    values: Array
    positions: Array
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.values)

    def changed(self, values: Array) -> Descriptors:
        """The same descriptors with other numbers."""
        return replace(self, values=np.asarray(values, np.float32))
