"""How much of the relevance lies where the object is: outside-inside ratio (4.11), pointing game, mass and rank in a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphlrp.errors import InputError
from graphlrp.evaluation.layout import Layout, layouts_of
from graphlrp.explanation import Explanation

Array = npt.NDArray[Any]

KINDS = ("positive", "absolute")


def outside_inside_ratio(relevance: Any, boxes: Any, *, layout: str | None = None) -> Array:
    """μ, the mean positive relevance outside of a box over that inside (4.11): how much context a decision uses.

    μ = (1/|P_out| Σ_{q ∈ P_out} max(R_q, 0)) / (1/|P_in| Σ_{p ∈ P_in} max(R_p, 0)), where P_in and P_out are the pixels inside
    and outside, and R_p is the relevance of a pixel, summed over its channels.

    Args:
        relevance: [N, C, H, W] or [N, H, W, C], or [N, H, W] summed over channels; a list of N such maps that differ in size; or
            an Explanation.
        boxes: where the object is: boxes or masks, see ``read_masks``; of maps that differ in size, a list of boxes or masks.
        layout: axes of the relevance, such as ``"NHWC"``; by default as the explanation or the shape says.

    Returns:
        [N]; 0 where positive relevance is inside only, infinite where it is outside only, and NaN where a map has none at all,
        such as one that is zero or negative everywhere: its mean over samples is that of the others, ``np.nanmean``.

    Raises:
        InputError: boxes that do not fit, are empty or cover a whole picture; relevance that is no picture or not finite.
    """
    found = []
    for maps, masks, numbers in _with_masks(relevance, boxes, layout):
        positive = np.maximum(maps, 0.0)
        whole = np.flatnonzero(masks.reshape(len(masks), -1).all(axis=1))
        if len(whole):
            raise InputError(
                f"boxes of sample(s) {_listed(whole, numbers)} cover the whole picture, so nothing is outside: leave them out"
            )
        axes = tuple(range(1, maps.ndim))
        inside = np.mean(positive, axis=axes, where=masks)
        outside = np.mean(positive, axis=axes, where=~masks)
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(outside / inside)
    return np.concatenate(found)


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
    found = []
    for maps, masks, _ in _with_masks(relevance, boxes, layout):
        if tolerance:
            window = np.ones((1, *(2 * tolerance + 1,) * (maps.ndim - 1)), bool)
            masks = binary_dilation(masks, window)
        axes = tuple(range(1, maps.ndim))
        highest = maps == maps.max(axis=axes, keepdims=True)
        found.append((masks | ~highest).all(axis=axes))
    return np.concatenate(found)


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
    found = []
    for signed, masks, _ in _with_masks(relevance, boxes, layout):
        maps = np.maximum(signed, 0.0) if kind == "positive" else np.abs(signed)
        axes = tuple(range(1, maps.ndim))
        with np.errstate(invalid="ignore"):
            found.append(np.sum(maps, axis=axes, where=masks) / np.sum(maps, axis=axes))
    return np.concatenate(found)


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
    found = []
    for maps, masks, _ in _with_masks(relevance, boxes, layout):
        for values, mask in zip(maps.reshape(len(maps), -1), masks.reshape(len(maps), -1), strict=True):
            size = int(mask.sum())
            threshold = np.partition(values, -size)[-size]
            above, equal = values > threshold, values == threshold
            drawn = (size - above.sum()) / equal.sum()
            found.append((np.sum(above & mask) + drawn * np.sum(equal & mask)) / size)
    return np.array(found)


def read_masks(boxes: Any, shape: Sequence[int], numbers: Sequence[int] | None = None) -> Array:
    """Where objects are, as masks.

    Args:
        boxes: bool masks [N, H, W] (or [H, W], the same for all samples); or boxes (left, top, right, bottom) in pixels counted
            from 0, right and bottom excluded, as in ``mask[top:bottom, left:right]``: [N, 4], or for every sample a sequence of
            boxes [K, 4], whose union is taken.
        shape: [N, H, W] of the maps; for masks any axes behind the first.
        numbers: of the samples, as errors call them; by default 0, 1 ...

    Returns:
        bool, of this shape.

    Raises:
        InputError: another shape, boxes that are no whole numbers, are empty or reach beyond the picture; a mask without a pixel.
    """
    shape = tuple(shape)
    numbers = range(shape[0]) if numbers is None else numbers
    masks = boxes if isinstance(boxes, np.ndarray) and boxes.dtype == bool else None
    if masks is None:
        masks = _from_boxes(boxes, shape, numbers)
    elif masks.shape == shape[1:]:
        masks = np.broadcast_to(masks, shape)
    if masks.shape != shape:
        raise InputError(f"masks have shape {list(masks.shape)}; the maps have {list(shape)}")
    empty = np.flatnonzero(~masks.reshape(len(masks), -1).any(axis=1))
    if len(empty):
        raise InputError(f"the mask(s) of sample(s) {_listed(empty, numbers)} hold no pixel: leave these samples out")
    return masks


def _from_boxes(boxes: Any, shape: tuple[int, ...], numbers: Sequence[int]) -> Array:
    if len(shape) != 3:
        raise InputError(f"boxes are for pictures [N, H, W]; for maps of shape {list(shape)} give bool masks")
    if len(boxes) != shape[0]:
        raise InputError(f"boxes of {len(boxes)} samples for {shape[0]}")
    masks = np.zeros(shape, bool)
    for mask, own, sample in zip(masks, boxes, numbers, strict=True):
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
            mask[top:bottom, left:right] = True
    return masks


def _with_masks(relevance: Any, boxes: Any, layout: str | None) -> Iterator[tuple[Array, Array, Sequence[int]]]:
    """Relevance of pixels and masks of where objects are, both [n, *places], and the numbers of the samples.

    All at once if they have one shape, else one after the other.
    """
    if isinstance(relevance, Explanation):
        layout = layout or relevance.layout
        relevance = relevance.relevance
    several = isinstance(relevance, (list, tuple)) and len(relevance) > 0
    if not isinstance(relevance, np.ndarray) and not (several and all(isinstance(own, np.ndarray) for own in relevance)):
        raise InputError(
            "relevance must be one array [N, ...], a list of arrays, or an Explanation of one input, not"
            f" {type(relevance).__name__}"
        )
    if not several:
        axes = Layout.of(relevance.shape, layout or _axes_of_maps(relevance.ndim))
        maps = axes.relevance_of_places(relevance)
        yield maps, read_masks(boxes, maps.shape), range(len(maps))
        return
    if len(boxes) != len(relevance):
        raise InputError(f"boxes or masks of {len(boxes)} samples for {len(relevance)}")
    layouts = layouts_of([own.shape for own in relevance], layout or _axes_of_maps(relevance[0].ndim + 1))
    for number, (own, where, axes) in enumerate(zip(relevance, boxes, layouts, strict=True)):
        maps = axes.relevance_of_places(own[np.newaxis], f"relevance of sample {number}")
        is_mask = isinstance(where, np.ndarray) and where.dtype == bool
        yield maps, read_masks(where[np.newaxis] if is_mask else [where], maps.shape, [number]), [number]


def _axes_of_maps(count: int) -> str | None:
    """Relevance of three axes is summed over channels already."""
    return "NHW" if count == 3 else None


def _listed(places: Array, numbers: Sequence[int]) -> str:
    return ", ".join(str(numbers[place]) for place in places[:10]) + (" ..." if len(places) > 10 else "")
