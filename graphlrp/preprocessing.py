"""From files to the input of a model: pictures, by options that say what it was trained with, and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from PIL import Image, ImageOps
from scipy.sparse import csr_matrix, load_npz

from graphlrp.errors import InputError
from graphlrp.ir.axes import layout_of

Array = npt.NDArray[Any]

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


_NPY, _ZIP = b"\x93NUMPY", b"PK"
"""What files of arrays begin with."""

LAYOUTS = ("NCHW", "NHWC", "NHW")


@dataclass(frozen=True)
class Preprocessing:
    """x = (pixel - mean) · scale / std, for pixels 0 ... 255 of the picture brought to size.

    Attributes:
        size: (height, width) of the model's input; None keeps the picture's own.
        resize: length that the short side is resized to before the centre is cut out; None squeezes the picture to ``size``.
        interpolation: one of ``INTERPOLATIONS``.
        mean, std: one number, or one per channel, in the order of ``channels``.
        scale: factor.
        layout: ``"NCHW"``, ``"NHWC"``, or ``"NHW"`` for grey pictures.
        channels: ``"RGB"``, ``"BGR"`` or ``"L"`` (grey).

    Raises:
        InputError: an unknown layout, order or interpolation, a size below 1, a std of 0, or not one number per channel.
    """

    size: tuple[int, int] | None = None
    resize: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1.0
    layout: str = "NCHW"
    channels: str = "RGB"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("layout", self.layout, LAYOUTS),
            ("channels", self.channels, ("RGB", "BGR", "L")),
            ("interpolation", self.interpolation, tuple(INTERPOLATIONS)),
        ):
            if value not in choices:
                raise InputError(f"unknown {name} {value!r}; there are {', '.join(choices)}")
        if (self.size is not None and min(self.size) < 1) or (self.resize is not None and self.resize < 1):
            raise InputError(f"sizes must be at least 1 pixel, not size={self.size}, resize={self.resize}")
        if self.resize is not None and self.size is not None and self.resize < max(self.size):
            raise InputError(f"resize={self.resize} is smaller than size={self.size}, which is cut out of it")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, len(self.channels)):
                raise InputError(f"{name} has {len(numbers)} numbers; give one, or one for each of {self.channels}")
        if any(number == 0 for number in self.std):
            raise InputError("std must not be zero")

    def picture(self, path: Path) -> Array:
        """Read a picture and bring it to size: uint8 [H, W, 3] in RGB, [H, W, 1] if grey; what the model sees of it.

        Raises:
            InputError: the file is missing or no picture.
        """
        try:
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened).convert("L" if self.channels == "L" else "RGB")
        except FileNotFoundError:
            raise InputError(f"no such file or folder: {path}") from None
        except Exception as error:
            raise InputError(f"{path} cannot be read as a picture: {error}") from error
        resampling = INTERPOLATIONS[self.interpolation]
        if self.resize is not None:
            factor = self.resize / min(image.size)
            width, height = (max(round(length * factor), 1) for length in image.size)
            image = image.resize((width, height), resampling)
            if self.size is not None:
                left, top = (width - self.size[1]) // 2, (height - self.size[0]) // 2
                image = image.crop((left, top, left + self.size[1], top + self.size[0]))
        elif self.size is not None:
            image = image.resize((self.size[1], self.size[0]), resampling)
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels

    def tensor(self, pictures: Sequence[Array], *, any_size: bool = False) -> Array | list[Array]:
        """Pictures as the model's input, float32; with ``any_size`` a list of pictures if they differ in size.

        Raises:
            InputError: the pictures differ in size, and may not.
        """
        sizes = {picture.shape for picture in pictures}
        if len(sizes) > 1 and any_size:
            return [np.asarray(self.tensor([picture]))[0] for picture in pictures]
        if len(sizes) > 1:
            raise InputError(
                f"the pictures differ in size ({', '.join(map(str, sorted(sizes)))}); give one size to bring them to (--size)"
            )
        x = np.stack(pictures).astype(np.float64)
        if self.channels == "BGR":
            x = x[..., ::-1]
        x = (x - np.asarray(self.mean)) * self.scale / np.asarray(self.std)
        if self.layout == "NCHW":
            x = x.transpose(0, 3, 1, 2)
        elif self.layout == "NHW":
            x = x[..., 0]
        return np.ascontiguousarray(x, dtype=np.float32)


def read_input(value: ir.Value) -> tuple[str, str, tuple[int, int] | None]:
    """Layout, channels and size of pictures, as far as the declared shape of an input tells.

    Raises:
        InputError: the input does not take pictures.
    """
    shape = list(value.shape) if value.shape is not None else []
    layout = layout_of(value)
    if layout == "NHW":
        return layout, "L", None
    if layout is None:
        raise InputError(
            f"input {value.name!r} of shape {value.shape} does not take pictures; give arrays (.npy, .npz) or a table (.csv)"
        )
    channels, height, width = (shape[3], *shape[1:3]) if layout == "NHWC" else shape[1:]
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return layout, "L" if channels == 1 else "RGB", size


def read_arrays(path: Path) -> Any:
    """An array from a ``.npy`` file; from a ``.npz`` file arrays by name, or the matrix of ``scipy.sparse.save_npz`` as csr.

    Raises:
        InputError: the file is missing, is of another kind, or holds no arrays.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_NPY))
        if not start.startswith((_NPY, _ZIP)):
            raise InputError(f"{path} is no .npy or .npz file, whatever its name says: write it with numpy.save or numpy.savez")
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if {"format", "shape", "data"} <= set(loaded.files):
                return csr_matrix(load_npz(path))
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except InputError:
        raise
    except Exception as error:
        pickled = "allow_pickle" in str(error)
        why = "it holds Python objects; save arrays of numbers" if pickled else error
        raise InputError(f"{path} cannot be read as arrays: {why}") from error
