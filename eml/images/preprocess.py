"""Preprocessing: a decoded image is brought to the network's input size, the same way in training and inference."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from eml.config import Strict
from eml.images.decode import Box
from eml.images.flatten import Background

Pixels = NDArray[np.uint8]
Fit = Literal["squash", "crop", "pad"]
Interpolation = Literal["bilinear", "bicubic", "lanczos"]
Mean = Annotated[float, Field(ge=-1000, le=1000)]
Deviation = Annotated[float, Field(ge=1e-6, le=1000)]
"""The least deviation of channels in [0, 1]; it is bounded so that no pixel becomes infinite."""

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_OPENCV = {"bilinear": "INTER_LINEAR", "bicubic": "INTER_CUBIC", "lanczos": "INTER_LANCZOS4"}
_GREY = (124, 116, 104)  # the ImageNet mean


class Preprocess(Strict):
    """The settings that turn an image into a square of `size` pixels; every checkpoint contains them."""

    size: int = Field(ge=8, le=4096, description="side of the network's input square (pixels)")
    fit: Fit = Field(
        "squash",
        description="squash: resize both sides, which changes the aspect ratio and cuts nothing off; "
        "crop: resize the shorter side and keep the centre; pad: resize the longer side and add grey borders",
    )
    interpolation: Interpolation = Field("bicubic", description="antialiased resampling")
    mean: tuple[Mean, Mean, Mean] = Field((0.485, 0.456, 0.406), description="subtracted from RGB in [0, 1]")
    std: tuple[Deviation, Deviation, Deviation] = Field((0.229, 0.224, 0.225), description="divides RGB in [0, 1]")
    background: Background = Field(
        "contrast",
        description="what transparency is put on: black or white, whichever shows the image better; or white",
    )

    def __call__(self, image: Image.Image | Pixels) -> Pixels:
        """Return (size, size, 3) uint8 of a whole image; normalisation follows on the device."""
        width, height = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
        return self.resized(image, self.visible_box(width, height))

    def visible_box(self, width: float, height: float) -> Box:
        """Return the resized part of an image of width × height pixels: the central square for crop, else all."""
        if self.fit != "crop":
            return 0, 0, width, height
        cut = min(width, height)
        left, top = (width - cut) // 2, (height - cut) // 2
        return left, top, left + cut, top + cut

    def resized(self, image: Image.Image | Pixels, part: Box) -> Pixels:
        """Resize a part of an image to (size, size, 3) uint8.

        OpenCV resizes pixels (H, W, 3) uint8, since it is faster than Pillow. Its bicubic curve differs from Pillow's
        and it has no antialiasing, so areas are averaged where more than a third is lost. Only training uses this,
        where crops are random anyway.
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
    """Reduce an image so that its shorter side is at most `side`. The aspect ratio stays; nothing is enlarged."""
    scale = side / min(image.size)
    if scale >= 1:
        return image
    width, height = (max(side, round(scale * length)) for length in image.size)
    return image.resize((width, height), _FILTERS[interpolation])


def flipped(pixels: Pixels) -> Pixels:
    """Exchange left and right of (H, W, 3) uint8 pixels."""
    import cv2

    return np.asarray(cv2.flip(pixels, 1), np.uint8)  # thirty times as fast as a copy of a reversed view


def _resized(image: Image.Image | Pixels, part: Box, size: tuple[int, int], interpolation: Interpolation) -> Pixels:
    """Return (height, width, 3) uint8 for a size of (width, height)."""
    if isinstance(image, Image.Image):
        return np.asarray(image.resize(size, _FILTERS[interpolation], box=part))
    if image.shape[1::-1] == size and part == (0, 0, *size):
        return image
    import cv2

    left, top = int(part[0]), int(part[1])
    right, bottom = max(left + 1, round(part[2])), max(top + 1, round(part[3]))
    shrinks = max((right - left) / size[0], (bottom - top) / size[1]) > 4 / 3
    method = cv2.INTER_AREA if shrinks else getattr(cv2, _OPENCV[interpolation])
    return np.asarray(cv2.resize(image[top:bottom, left:right], size, interpolation=method), np.uint8)
