"""Pictures and their relevance, streamed into HDF5 files the way ViRelAy shows them: three channels first, entries by number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from graphlrp.adapters.tensors import to_array
from graphlrp.errors import InputError
from graphlrp.stores.columns import Dense, Ragged, extend

Array = npt.NDArray[Any]

COLOURS = 3
GREY_OR_COLOUR = (1, COLOURS)


def write_pictures(file: h5py.File, images: Any, batch_size: int) -> int:
    """Write ``data``, uint8 [M, 3, H, W], or a group of [3, H, W] where sizes may differ.

    Args:
        file: open for writing.
        images: an array, anything that is sliced like one, or an iterable of pictures.
        batch_size: pictures in memory at the same time.

    Returns:
        How many there are.

    Raises:
        InputError: something is no picture of bytes.
    """
    whole = hasattr(images, "shape") and hasattr(images, "__getitem__")
    if isinstance(images, (list, tuple)):
        whole = len({tuple(np.shape(image)) for image in images}) == 1
    count = 0
    for batch in _portions(images, batch_size):
        _append(file, "data", [_shown_picture(picture) for picture in batch], count, whole=whole)
        count += len(batch)
    if not count:
        raise InputError("there are no pictures")
    return count


def write_relevance(file: h5py.File, relevance: Any, batch_size: int) -> None:
    """Write ``attribution``, float32 [N, 3, H, W], or a group of [3, H, W] where sizes differ.

    Raises:
        InputError: it is no relevance of pictures.
    """
    if not isinstance(relevance, (Dense, Ragged)):
        raise InputError("ViRelAy shows pictures, but this is the relevance of features")
    for start in range(0, len(relevance), batch_size):
        shown = [_shown_relevance(one) for one in relevance[start : start + batch_size]]
        _append(file, "attribution", shown, start, whole=isinstance(relevance, Dense))


def _portions(images: Any, size: int) -> Iterator[Sequence[Any]]:
    """So many pictures at a time.

    Raises:
        InputError: they cannot be read.
    """
    count = 0
    rest = None if hasattr(images, "shape") else iter(images)
    while True:
        try:
            if rest is None:
                portion = list(to_array(images[count : count + size])) if count < images.shape[0] else []
            else:
                portion = list(islice(rest, size))
        except OSError as error:
            raise InputError(f"pictures from {count} on cannot be read: {error}") from error
        if not portion:
            return
        yield portion
        count += len(portion)


def _append(file: h5py.File, name: str, values: list[Array], start: int, *, whole: bool) -> None:
    """Add entries behind those that are there, to one data set or to a group."""
    if not whole:
        group = file.require_group(name)
        for number, value in enumerate(values, start):
            # Read in the order of their names.
            group[f"{number:010d}"] = value
        return
    if name not in file:
        shape = values[0].shape
        file.create_dataset(name, (0, *shape), values[0].dtype, maxshape=(None, *shape), chunks=(1, *shape))
    extend(file[name], np.stack(values))


def _shown_picture(picture: Any) -> Array:
    """A picture as [3, H, W]."""
    array = to_array(picture)
    if array.dtype != np.uint8:
        raise InputError(f"pictures are bytes from 0 to 255, these are {array.dtype}: give what is to be seen, as uint8")
    array = _channels_first(array, "an image")
    if array.shape[0] not in GREY_OR_COLOUR:
        raise InputError(f"a picture has 1 or 3 channels, not {array.shape[0]}")
    return _three(np.broadcast_to(array, (COLOURS, *array.shape[1:])))


def _shown_relevance(relevance: Array) -> Array:
    """Relevance as [3, H, W], with the same sum over channels, which is what ViRelAy shows."""
    values = _channels_first(relevance, "relevance").astype(np.float32)
    if values.shape[0] != COLOURS:
        values = np.broadcast_to(values.sum(axis=0) / COLOURS, (COLOURS, *values.shape[1:]))
    return _three(values)


def _channels_first(picture: Array, what: str) -> Array:
    """A picture or its relevance as [C, H, W]."""
    if picture.ndim == 2:
        return picture[np.newaxis]
    if picture.ndim != 3:
        raise InputError(f"{what} of shape {list(picture.shape)} is no picture: ViRelAy shows [C, H, W], [H, W, C] and [H, W]")
    if picture.shape[-1] in GREY_OR_COLOUR and picture.shape[0] not in GREY_OR_COLOUR:
        return np.moveaxis(picture, -1, 0)
    return picture


def _three(values: Array) -> Array:
    """Three channels; ViRelAy takes the first of the shortest axes for them."""
    if min(values.shape[1:]) < COLOURS:
        raise InputError(
            f"{values.shape[2]} x {values.shape[1]} pixels are too few: ViRelAy would take an axis of them for channels"
        )
    return np.ascontiguousarray(values)
