"""Quantiles of colours: what values the channels take in square areas, on a dense grid.

A descriptor holds, for every channel and k = 1 … Q, the quantile k / (Q + 1) of the channel's values at the n = s² pixels of its
area. Between the values in ascending order it is interpolated linearly: quantile q lies at place q (n - 1).
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from graphlrp.errors import ModelError
from graphlrp.ir.emitter import Emitter, rank
from graphlrp.plugins.bow.features import AreaMapping, LocalFeatures
from graphlrp.plugins.bow.grid import Grid, Scale, steps_of, whole_numbers


class ColourQuantilesMapping(AreaMapping):
    """Quantiles of every channel in square areas; relevance goes to the pixels of the area in equal parts (2.85).

    Input: images [N, H, W] or [N, H, W, C]; output [N, L, C · Q] in the order channel, quantile, in the unit of the image.
    Attributes: ``step``, ``sizes`` (s), ``quantiles`` (Q).
    """

    operators = (("graphlrp", "ColourQuantiles"),)

    @property
    def grid(self) -> Grid:
        """Areas of the given sizes."""
        return Grid.of(self.required("step"), self.required("sizes"))

    def forward_messages(self, op: Emitter) -> ir.Value:
        """The sorted values of one row of areas at a time."""
        image = self.x if rank(self.x) == 4 else op.Unsqueeze(self.x, op.integers([3]))
        channels = None if image.shape is None else image.shape[3]
        if not isinstance(channels, int):
            raise ModelError(f"ColourQuantiles node {self.node.name!r}: the number of channels is not known, {image.shape}")
        planes = op.Transpose(image, perm=[0, 3, 1, 2])
        parts = [self._described(op, planes, channels, scale) for scale in self.grid.scales]
        value: ir.Value = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=1)
        return value

    def _described(self, op: Emitter, planes: ir.Value, channels: int, scale: Scale) -> ir.Value:
        """Descriptors of one size of images [N, C, H, W]: [N, L, C · Q]."""
        assert planes.shape is not None
        side = scale.side
        pixels, quantiles = side * side, int(self.required("quantiles"))
        places = np.arange(1, quantiles + 1) / (quantiles + 1) * (pixels - 1)
        lower = np.floor(places).astype(np.int64)
        upper = np.minimum(lower + 1, pixels - 1)
        share = op.number(places - lower)
        height, width = (op.shape([op.size(self.x, axis)]) for axis in (1, 2))
        inside = op.integers(range(side))
        columns = op.Add(op.Unsqueeze(scale.starts(op, width), op.integers([1])), inside)  # [columns, s]
        rows = op.Add(op.Unsqueeze(scale.starts(op, height), op.integers([1])), inside)

        def row(op: Any, numbers: ir.Value) -> ir.Value:
            areas = op.Gather(op.Gather(planes, numbers, axis=2), columns, axis=3)  # [N, C, s, columns, s]
            values = op.Reshape(op.Transpose(areas, perm=[0, 3, 1, 2, 4]), [0, 0, channels, pixels])
            ascending, _ = op.TopK(values, [int(upper[-1]) + 1], axis=3, largest=0, sorted=1, _outputs=2)
            low, high = op.Gather(ascending, lower.tolist(), axis=3), op.Gather(ascending, upper.tolist(), axis=3)
            between: ir.Value = op.Add(low, op.Mul(op.Sub(high, low), share))
            return between

        part = ir.Value(name="numbers", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([side]))
        found = ir.Value(name="quantiles", type=ir.TensorType(op.dtype))
        body = op.builder.subgraph(row, [part], [found], name="row")
        stacked = op.Scan(rows, body=body, num_scan_inputs=1)  # [rows, N, columns, C, Q]
        stacked.type = ir.TensorType(op.dtype)
        stacked.shape = ir.Shape([None, planes.shape[0], None, channels, quantiles])
        ordered = op.Transpose(stacked, perm=[1, 0, 2, 3, 4])
        value: ir.Value = op.Reshape(ordered, op.integers([0, -1, channels * quantiles]))
        return value


class ColourQuantiles(LocalFeatures):
    """Quantiles of every colour channel in square areas on a dense grid, as in Bag of Words models that see colours.

        FeatureUnion([("shapes", make_pipeline(DenseSIFT(), ...)), ("colours", make_pipeline(ColourQuantiles(6, (12,)), ...))])

    C · Q numbers per descriptor for C channels (1 for grey images), from 0 to 255 as the image is, in the order channel,
    quantile. Positions are the middles of the areas; areas lie inside the image, and all sizes have to fit in every image.

    Args:
        step: pixels from one descriptor to the next; one number, or one for each size.
        sizes: s, side of the areas in pixels; one grid each.
        quantiles: Q, how many: 9 are the quantiles 0.1, 0.2, …, 0.9.
        providers: as for ``graphlrp.load``, for ``transform``.
    """

    mapping = ColourQuantilesMapping

    def __init__(
        self, step: int | Sequence[int] = 6, sizes: Sequence[int] = (16,), quantiles: int = 9, *, providers: Any = None
    ) -> None:
        self.step = step
        self.sizes = sizes
        self.quantiles = quantiles
        self.providers = providers

    @property
    def grid(self) -> Grid:
        """Where the areas lie."""
        sizes = whole_numbers(self.sizes, "sizes")
        return Grid.of(steps_of(self.step, sizes), sizes)

    def attributes(self) -> Dictionary[str, Any]:
        """Attributes of the node."""
        (quantiles,) = whole_numbers([self.quantiles], "quantiles")
        return {"step": self.grid.steps, "sizes": [scale.side for scale in self.grid.scales], "quantiles": quantiles}

    def width(self, channels: int) -> int:
        """C · Q."""
        return channels * int(self.quantiles)
