"""From a decoded image to the network's input size, the same way in training, evaluation and use."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from eml.config import Strict
from eml.images.decode import Box

Pixels = NDArray[np.uint8]
Fit = Literal["squash", "crop", "pad"]
Interpolation = Literal["bilinear", "bicubic", "lanczos"]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_OPENCV = {"bilinear": "INTER_LINEAR", "bicubic": "INTER_CUBIC", "lanczos": "INTER_LANCZOS4"}
_GREY = (124, 116, 104)  # the ImageNet mean


class Preprocess(Strict):
    """How an image becomes a square of `size` pixels; saved in every checkpoint."""

    size: int = Field(ge=8, le=4096, description="side of the square that the network sees (pixels)")
    fit: Fit = Field(
        "squash",
        description="squash: both sides resized, aspect ratio lost, nothing cut off; "
        "crop: short side resized, middle kept; pad: long side resized, grey borders",
    )
    interpolation: Interpolation = Field("bicubic", description="antialiased resampling")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="subtracted, RGB in [0, 1]")
    std: tuple[float, float, float] = Field((0.229, 0.224, 0.225), description="divided by, RGB in [0, 1]")

    def __call__(self, image: Image.Image | Pixels) -> Pixels:
        """(size, size, 3) uint8 of a whole image; normalisation happens later, on the device."""
        width, height = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
        return self.resized(image, self.seen(width, height))

    def seen(self, width: float, height: float) -> Box:
        """The part of an image of width × height pixels that is resized: the middle square for crop, else all."""
        if self.fit != "crop":
            return 0, 0, width, height
        cut = min(width, height)
        left, top = (width - cut) // 2, (height - cut) // 2
        return left, top, left + cut, top + cut

    def resized(self, image: Image.Image | Pixels, part: Box) -> Pixels:
        """(size, size, 3) uint8 of a part of an image; (H, W, 3) uint8 pixels are resized by OpenCV, which is quicker.

        OpenCV's bicubic has another curve than Pillow's and knows no antialiasing, so that where more than a third is
        lost, areas are averaged: for training alone, whose crops are drawn anyway.
        """
        side = self.size
        if self.fit != "pad":
            return _resized(image, part, (side, side), self.interpolation)
        width, height = part[2] - part[0], part[3] - part[1]
        scale = side / max(width, height)
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        square = np.full((side, side, 3), _GREY, np.uint8)
        left, top = (side - small[0]) // 2, (side - small[1]) // 2
        square[top : top + small[1], left : left + small[0]] = _resized(image, part, small, self.interpolation)
        return square


def reduced(image: Image.Image, side: int, interpolation: Interpolation) -> Image.Image:
    """The image with its shorter side brought down to `side`, its aspect ratio kept; never enlarged."""
    scale = side / min(image.size)
    if scale >= 1:
        return image
    width, height = (max(side, round(scale * each)) for each in image.size)
    return image.resize((width, height), _FILTERS[interpolation])


def flipped(pixels: Pixels) -> Pixels:
    """Left and right exchanged; (H, W, 3) uint8."""
    import cv2

    return np.asarray(cv2.flip(pixels, 1), np.uint8)  # thirty times as fast as a copy of a reversed view


def _resized(image: Image.Image | Pixels, part: Box, size: tuple[int, int], interpolation: Interpolation) -> Pixels:
    """(height, width, 3) uint8 for a size of (width, height)."""
    if isinstance(image, Image.Image):
        return np.asarray(image.resize(size, _FILTERS[interpolation], box=part))
    if image.shape[1::-1] == size and part == (0, 0, *size):
        return image
    import cv2

    left, top = int(part[0]), int(part[1])
    right, bottom = max(left + 1, round(part[2])), max(top + 1, round(part[3]))
    shrinks = max((right - left) / size[0], (bottom - top) / size[1]) > 4 / 3
    how = cv2.INTER_AREA if shrinks else getattr(cv2, _OPENCV[interpolation])
    return np.asarray(cv2.resize(image[top:bottom, left:right], size, interpolation=how), np.uint8)
