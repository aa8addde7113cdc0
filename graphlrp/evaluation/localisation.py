"""How much of the relevance lies where the object is: outside-inside ratio (4.11), pointing game, mass and rank in a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.evaluation.layout import Layout
from graphlrp.explanation import Explanation

Array = npt.NDArray[Any]

KINDS = ("positive", "absolute")


def outside_inside_ratio(relevance: Any, boxes: Any, *, layout: str | None = None) -> Array:
    """μ, the mean positive relevance outside of a box over that inside (4.11): how much context a decision uses.

    μ = (1/|P_out| Σ_{q ∈ P_out} max(R_q, 0)) / (1/|P_in| Σ_{p ∈ P_in} max(R_p, 0)), where P_in and P_out are the pixels inside
    and outside, and R_p is the relevance of a pixel, summed over its channels.

    Args:
        relevance: [N, C, H, W] or [N, H, W, C], or [N, H, W] summed over channels; or an Explanation.
        boxes: where the object is: boxes or masks, see ``read_masks``.
        layout: axes of the relevance, such as ``"NHWC"``; by default as the explanation or the shape says.

    Returns:
        [N]; infinite where there is positive relevance outside only, NaN where there is none at all.

    Raises:
        InputError: boxes that do not fit, are empty or cover a whole picture; relevance that is no picture or not finite.
    """
    maps = np.maximum(_maps(relevance, layout), 0.0)
    masks = read_masks(boxes, maps.shape)
    whole = np.flatnonzero(masks.reshape(len(masks), -1).all(axis=1))
    if len(whole):
        raise InputError(f"boxes of sample(s) {_listed(whole)} cover the whole picture, so nothing is outside: leave them out")
    axes = tuple(range(1, maps.ndim))
    inside = np.mean(maps, axis=axes, where=masks)
    outside = np.mean(maps, axis=axes, where=~masks)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(outside / inside)


def pointing_game(relevance: Any, boxes: Any, *, tolerance: int = 0, layout: str | None = None) -> Array:
    """Whether the pixel of highest relevance lies on the object, bool [N] (Zhang et al. 2016); the mean is the accuracy.

    If several pixels share the highest relevance, all of them have to.

    Args:
        relevance: as for ``outside_inside_ratio``.
        boxes: likewise.
        tolerance: by how many pixels the maximum may miss the object, in any direction.
        layout: axes of the relevance.

    Raises:
        InputError: boxes that do not fit or are empty; relevance that is no picture or not finite; a negative tolerance.
    """
    from scipy.ndimage import binary_dilation

    if tolerance < 0:
        raise InputError(f"tolerance must be at least 0 pixels, not {tolerance}")
    maps = _maps(relevance, layout)
    masks = read_masks(boxes, maps.shape)
    if tolerance:
        window = np.ones((1, *(2 * tolerance + 1,) * (maps.ndim - 1)), bool)
        masks = binary_dilation(masks, window)
    axes = tuple(range(1, maps.ndim))
    highest = maps == maps.max(axis=axes, keepdims=True)
    return np.asarray((masks | ~highest).all(axis=axes))


def relevance_mass(relevance: Any, boxes: Any, *, kind: str = "positive", layout: str | None = None) -> Array:
    """Share of the relevance that lies on the object, [N] from 0 to 1 (Arras et al. 2022, relevance mass accuracy).

    Args:
        relevance: as for ``outside_inside_ratio``.
        boxes: likewise.
        kind: ``"positive"``: of max(R, 0); ``"absolute"``: of abs(R).
        layout: axes of the relevance.

    Returns:
        [N]; NaN where there is no relevance of this kind.

    Raises:
        InputError: boxes that do not fit or are empty; relevance that is no picture or not finite; an unknown kind.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r} of relevance; there are {', '.join(KINDS)}")
    maps = _maps(relevance, layout)
    maps = np.maximum(maps, 0.0) if kind == "positive" else np.abs(maps)
    masks = read_masks(boxes, maps.shape)
    axes = tuple(range(1, maps.ndim))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sum(maps, axis=axes, where=masks) / np.sum(maps, axis=axes))


def relevance_rank(relevance: Any, boxes: Any, *, layout: str | None = None) -> Array:
    """Share of the K pixels of highest relevance that lie on the object, K being its size in pixels, [N] from 0 to 1.

    (Arras et al. 2022, relevance rank accuracy.) Of pixels that share the relevance at which the K highest end, each counts in
    part, as if it were drawn by lot.

    Args:
        relevance: as for ``outside_inside_ratio``.
        boxes: likewise.
        layout: axes of the relevance.

    Raises:
        InputError: boxes that do not fit or are empty; relevance that is no picture or not finite.
    """
    maps = _maps(relevance, layout)
    masks = read_masks(boxes, maps.shape)
    result = np.empty(len(maps))
    for index, (values, mask) in enumerate(zip(maps.reshape(len(maps), -1), masks.reshape(len(maps), -1), strict=True)):
        size = int(mask.sum())
        threshold = np.partition(values, -size)[-size]
        above, equal = values > threshold, values == threshold
        drawn = (size - above.sum()) / equal.sum()
        result[index] = (np.sum(above & mask) + drawn * np.sum(equal & mask)) / size
    return result


def read_masks(boxes: Any, shape: Sequence[int]) -> Array:
    """Where objects are, as masks.

    Args:
        boxes: bool masks [N, H, W] (or [H, W], the same for all samples); or boxes (left, top, right, bottom) in pixels counted
            from 0, right and bottom excluded, as in ``mask[top:bottom, left:right]``: [N, 4], or for every sample a sequence of
            boxes [K, 4], whose union is taken.
        shape: [N, H, W] of the maps; for masks any axes behind the first.

    Returns:
        bool, of this shape.

    Raises:
        InputError: another shape, boxes that are no whole numbers, are empty or reach beyond the picture; a mask without a pixel.
    """
    shape = tuple(shape)
    masks = boxes if isinstance(boxes, np.ndarray) and boxes.dtype == bool else None
    if masks is None:
        masks = _from_boxes(boxes, shape)
    elif masks.shape == shape[1:]:
        masks = np.broadcast_to(masks, shape)
    if masks.shape != shape:
        raise InputError(f"masks have shape {list(masks.shape)}; the maps have {list(shape)}")
    empty = np.flatnonzero(~masks.reshape(len(masks), -1).any(axis=1))
    if len(empty):
        raise InputError(f"the mask(s) of sample(s) {_listed(empty)} hold no pixel: leave these samples out")
    return masks


def _from_boxes(boxes: Any, shape: tuple[int, ...]) -> Array:
    if len(shape) != 3:
        raise InputError(f"boxes are for pictures [N, H, W]; for maps of shape {list(shape)} give bool masks")
    if len(boxes) != shape[0]:
        raise InputError(f"boxes of {len(boxes)} samples for {shape[0]}")
    masks = np.zeros(shape, bool)
    for sample, own in enumerate(boxes):
        array = np.atleast_2d(np.asarray(own))
        if array.dtype.kind not in "iu" or array.shape[1:] != (4,):
            raise InputError(
                f"boxes of sample {sample}: give (left, top, right, bottom) in whole pixels, or several [K, 4]; or bool masks"
            )
        for left, top, right, bottom in array.tolist():
            if not (0 <= left < right <= shape[2] and 0 <= top < bottom <= shape[1]):
                raise InputError(
                    f"box ({left}, {top}, {right}, {bottom}) of sample {sample} is empty or reaches beyond the picture, which is"
                    f" {shape[2]} wide and {shape[1]} high; boxes are (left, top, right, bottom)"
                )
            masks[sample, top:bottom, left:right] = True
    return masks


def _maps(relevance: Any, layout: str | None) -> Array:
    """Relevance of pixels, float64 [N, *places]."""
    if isinstance(relevance, Explanation):
        layout = layout or relevance.layout
        relevance = relevance.relevance
    if not isinstance(relevance, np.ndarray):
        raise InputError(f"relevance must be one array [N, ...] or an Explanation of one input, not {type(relevance).__name__}")
    if layout is None and relevance.ndim == 3:
        layout = "NHW"
    return Layout.of(relevance.shape, layout).relevance_of_places(relevance)


def _listed(numbers: Array) -> str:
    return ", ".join(map(str, numbers[:10])) + (" ..." if len(numbers) > 10 else "")
