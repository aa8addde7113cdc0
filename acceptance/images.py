"""Photos and how each network wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CIFAR_RESNET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR_DENSENET = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
BLUE_GREEN_RED_MEAN = np.array([104.0, 117.0, 123.0], np.float32)
NEUTRAL_PHOTOS = ("chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
"""Files in `skimage/data` of scikit-image: a cat, a cup of coffee, a motorcycle, a rocket."""


def scaled(image: Image.Image, short_side: int, resample: Image.Resampling) -> Image.Image:
    """The image with its shorter side of this length."""
    factor = short_side / min(image.size)
    width, height = (max(short_side, round(side * factor)) for side in image.size)
    return image.resize((width, height), resample)


def central_crop(image: Image.Image, size: int) -> np.ndarray:
    """The middle of an image: `[size, size, 3]`, RGB from 0 to 255, float32."""
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), np.float32)


def read(path: Path) -> Image.Image:
    """A photo in RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def efficientnet_view(path: Path) -> np.ndarray:
    """What EfficientNet-Lite0 sees of a photo: `[224, 224, 3]`, RGB from 0 to 255."""
    return central_crop(scaled(read(path), 256, Image.Resampling.BICUBIC), 224)


def efficientnet_input(path: Path) -> np.ndarray:
    """A photo for EfficientNet-Lite0: `[3, 224, 224]`, about -1 to 1."""
    return (efficientnet_view(path).transpose(2, 0, 1) - 127.0) / 128.0


def squeezenet_input(path: Path) -> np.ndarray:
    """A photo for SqueezeNet 1.0: `[3, 227, 227]`, BGR less the mean colour."""
    pixels = central_crop(scaled(read(path), 256, Image.Resampling.BILINEAR), 227)
    return (pixels[..., ::-1] - BLUE_GREEN_RED_MEAN).transpose(2, 0, 1)


def residual_network_input(path: Path) -> np.ndarray:
    """A photo for the two ResNet-50 exports: `[224, 224, 3]`, squeezed to a square, BGR less the mean colour."""
    pixels = central_crop(read(path).resize((256, 256), Image.Resampling.BILINEAR), 224)
    return pixels[..., ::-1] - BLUE_GREEN_RED_MEAN


def cifar_input(pixels: np.ndarray, normalisation: tuple[tuple[float, ...], tuple[float, ...]]) -> np.ndarray:
    """Small images `[N, 3, 32, 32]` from 0 to 255, normalised per channel."""
    mean, deviation = (np.array(numbers)[:, None, None] for numbers in normalisation)
    return ((pixels / 255.0 - mean) / deviation).astype(np.float32)
