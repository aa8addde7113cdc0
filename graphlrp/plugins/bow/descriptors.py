"""Local descriptors of an image: what the first step of a Bag-of-Words pipeline hands to the next one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Descriptors:
    """The descriptors of one image.

    Attributes:
        values: l [L, D], float32.
        positions: middle of every descriptor's area in pixels, (x, y) from the upper left corner, [L, 2].
        size: height and width of the image.
        angles: of the main directions of their gradients, to which they are turned, in degrees from the right upwards, [L]; None
            if they are upright.
    """

    values: Array
    positions: Array
    size: tuple[int, int]
    angles: Array | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, *arguments: Any, **options: Any) -> Array:
        """Refuse to be taken for a row of numbers, as estimators do that expect a matrix.

        Raises:
            InputError: always.
        """
        raise InputError(
            "the descriptors of an image are no row of numbers: put BagOfWords or FisherVector before this step, which make one"
            " (for principal components of descriptors, use DescriptorPCA)"
        )

    def changed(self, values: Array) -> Descriptors:
        """The same descriptors with other numbers."""
        return replace(self, values=np.asarray(values, np.float32))
