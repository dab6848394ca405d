"""Preprocessing: a decoded image is brought to the network's input size, the same way in training and inference."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from eml.config import Strict
from eml.images.flatten import Background
from eml.images.image_size import HeightWidth, ImageSize, Size, height_width, size_text
from eml.images.jpeg import Pixels as Pixels
from eml.images.opening import Box, OpenedImage, of_pillow, size_of
from eml.images.resize import resize as resize_like_torch
from eml.imported import is_imported

Fit = Literal["squash", "crop", "pad"]
Interpolation = Literal["bilinear", "bicubic", "lanczos"]
Resize = Literal["torch", "pillow"]
"""Whose code resizes. Both average over all pixels that are lost (antialiasing), with the same curves; torch takes a
fifth of the time, and rounds otherwise: of a photo one value in a hundred differs, by 1 or 2 of 255.
Where the part is not the whole image, Pillow averages at its border over pixels beyond it, and torch does not."""
Mean = Annotated[float, Field(ge=-1000, le=1000)]
Deviation = Annotated[float, Field(ge=1e-6, le=1000)]
"""The least deviation of channels in [0, 1]; it is bounded so that no pixel becomes infinite."""

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_MUCH = 4 / 3
"""Times that a side is reduced, from which a training image needs antialiasing."""
_OPENCV = {"bilinear": "INTER_LINEAR", "bicubic": "INTER_CUBIC", "lanczos": "INTER_LANCZOS4"}
_GREY = (124, 116, 104)  # the ImageNet mean


class Preprocess(Strict):
    """The settings that turn an image into one of `size` pixels; every checkpoint contains them."""

    size: ImageSize = Field(description="(pixels) side of the network's input square, or [height, width]")
    fit: Fit = Field(
        "squash",
        description="squash: resize both sides, which changes the aspect ratio and cuts nothing off; "
        "crop: keep the central part with the aspect ratio of `size`; pad: keep all and its aspect ratio, and add grey "
        "borders",
    )
    interpolation: Interpolation = Field("bicubic", description="antialiased resampling")
    resize: Resize = Field("torch", description="whose code resizes; of checkpoints that do not say it, pillow")
    mean: tuple[Mean, Mean, Mean] = Field((0.485, 0.456, 0.406), description="subtracted from RGB in [0, 1]")
    std: tuple[Deviation, Deviation, Deviation] = Field((0.229, 0.224, 0.225), description="divides RGB in [0, 1]")
    background: Background = Field(
        "contrast",
        description="what transparency is put on: black or white, whichever shows the image better; or white",
    )

    @property
    def shape(self) -> HeightWidth:
        """(height, width) of the network's input (pixels)."""
        return height_width(self.size)

    @property
    def at_least(self) -> tuple[int, int]:
        """(width, height) that a decoder need not exceed."""
        height, width = self.shape
        return width, height

    def __call__(self, image: OpenedImage) -> Pixels:
        """Return (height, width, 3) uint8 of a whole image; normalisation follows on the device."""
        part = self.visible_box(*size_of(image))
        return self._fitted(image, part, _by_torch if self.resize == "torch" else _by_pillow)

    def visible_size(self, width: float, height: float) -> tuple[float, float]:
        """Return (width, height) of the resized part of an image: for crop the largest of the input's aspect ratio."""
        if self.fit != "crop":
            return width, height
        if isinstance(self.size, int):
            return (min(width, height),) * 2
        own_height, own_width = self.size
        across, along = round(height * own_width / own_height), round(width * own_height / own_width)
        return (max(1, across), height) if across < width else (width, max(1, min(along, height)))

    def visible_box(self, width: float, height: float) -> Box:
        """Return the resized part of an image of width × height pixels: the central one for crop, else all."""
        across, along = self.visible_size(width, height)
        left, top = (width - across) // 2, (height - along) // 2
        return left, top, left + across, top + along

    def resized(self, image: OpenedImage, part: Box) -> Pixels:
        """Return (height, width, 3) uint8 of a part of a training image, which is random anyway, in less time.

        Where less than a quarter of a side is lost, OpenCV resizes: without antialiasing, and with another bicubic
        curve, in a third of torch's time.
        """
        return self._fitted(image, part, _for_training)

    def _fitted(self, image: OpenedImage, part: Box, resize: "_Resizing") -> Pixels:
        """Return (height, width, 3) uint8 of a part of an image."""
        whole = self.at_least
        if self.fit != "pad":
            return resize(image, part, whole, self.interpolation)
        width, height = part[2] - part[0], part[3] - part[1]
        scale = min(whole[0] / width, whole[1] / height)
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        padded = np.full((whole[1], whole[0], 3), _GREY, np.uint8)
        left, top = (whole[0] - small[0]) // 2, (whole[1] - small[1]) // 2
        padded[top : top + small[1], left : left + small[0]] = resize(image, part, small, self.interpolation)
        return padded


def differences(own: Preprocess, second: Preprocess, names: Iterable[str] | None = None) -> list[str]:
    """Return in words in which settings two preprocessings differ, such as `size 256×128, not 160`; names: in which."""
    words = []
    for name in names or Preprocess.model_fields:
        values = [getattr(settings, name) for settings in (own, second)]
        if values[0] != values[1]:
            texts = map(size_text, values) if name == "size" else map(str, values)
            words.append(f"{name} {', not '.join(texts)}")
    return words


def reduced(image: OpenedImage, size: Size, interpolation: Interpolation, resize: Resize = "torch") -> Pixels:
    """Reduce an image to the smallest that is as high and as wide as `size`, which for a square is its shorter side.

    The aspect ratio stays; nothing is enlarged.
    """
    (width, height), (least_height, least_width) = size_of(image), height_width(size)
    scale = max(least_width / width, least_height / height)
    if scale >= 1:
        return np.asarray(image)
    small = (max(least_width, round(width * scale)), max(least_height, round(height * scale)))
    return (_by_torch if resize == "torch" else _by_pillow)(image, (0, 0, width, height), small, interpolation)


def flipped(pixels: Pixels) -> Pixels:
    """Exchange left and right of (H, W, 3) uint8 pixels."""
    import cv2

    return np.asarray(cv2.flip(pixels, 1), np.uint8)  # thirty times as fast as a copy of a reversed view


_Resizing = Callable[[OpenedImage, Box, tuple[int, int], Interpolation], Pixels]
"""(image, part, (width, height), interpolation) → (height, width, 3) uint8."""


def _by_pillow(image: OpenedImage, part: Box, size: tuple[int, int], interpolation: Interpolation) -> Pixels:
    """Resize a part of an image, which may begin and end within a pixel."""
    return np.asarray(of_pillow(image).resize(size, _FILTERS[interpolation], box=part))


def _by_torch(image: OpenedImage, part: Box, size: tuple[int, int], interpolation: Interpolation) -> Pixels:
    """Resize a part of whole pixels with antialiasing; Pillow does it where torch has no such curve.

    A process that has not imported torch, such as a service with an exported model, gets the same pixels by NumPy.
    """
    if interpolation == "lanczos":
        return _by_pillow(image, part, size, interpolation)
    pixels = _whole_pixels(image, part)
    if pixels.shape[1::-1] == size:
        return pixels
    if not is_imported("torch"):
        return resize_like_torch(pixels, size, interpolation)
    source, resized = np.ascontiguousarray(pixels), np.empty((size[1], size[0], 3), np.uint8)
    if not source.flags.writeable:
        source = source.copy()  # torch warns of memory that it must not write to
    _torch_function(interpolation)(_channels_last(source), size[::-1], False, None, None, out=_channels_last(resized))
    return resized


def _channels_last(pixels: Pixels) -> Any:
    """Return the memory of (H, W, 3) pixels as a tensor (1, 3, H, W).

    With these strides torch neither reorders the channels before nor after, which would double the time.
    """
    import torch

    return torch.from_numpy(pixels[None]).permute(0, 3, 1, 2)


@cache
def _torch_function(interpolation: Interpolation) -> Callable[..., Any]:
    """Return what torch.nn.functional.interpolate calls in the end, which cannot be told where to write."""
    import torch

    packets = torch.ops.aten
    return (packets._upsample_bilinear2d_aa if interpolation == "bilinear" else packets._upsample_bicubic2d_aa).out


def _for_training(image: OpenedImage, part: Box, size: tuple[int, int], interpolation: Interpolation) -> Pixels:
    """Resize a part of whole pixels: with antialiasing where much is lost, else by OpenCV."""
    pixels = _whole_pixels(image, part)
    if pixels.shape[1::-1] == size:
        return pixels
    if max(pixels.shape[1] / size[0], pixels.shape[0] / size[1]) > _MUCH:
        return _by_torch(pixels, (0, 0, *pixels.shape[1::-1]), size, interpolation)
    import cv2

    return np.asarray(cv2.resize(pixels, size, interpolation=getattr(cv2, _OPENCV[interpolation])), np.uint8)


def _whole_pixels(image: OpenedImage, part: Box) -> Pixels:
    """Return the pixels of a part, at least one; its ends are rounded."""
    pixels = np.asarray(image)
    left, top = int(part[0]), int(part[1])
    right, bottom = max(left + 1, round(part[2])), max(top + 1, round(part[3]))
    return pixels[top:bottom, left:right]
