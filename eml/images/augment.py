"""Training augmentation, by albumentations. The only file that may import it: it is no longer maintained."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eml.config import Choice

Pixels = NDArray[np.uint8]
Augmenter = Callable[[Pixels, int], Pixels]
"""(pixels (H, W, 3) uint8, seed) → pixels of the same shape; a pure function of both."""


class Augment(Choice):
    """What is done to a training picture after it was brought to the network's size."""

    def build(self, size: int) -> Augmenter:
        """The augmentation for squares of `size` pixels."""
        raise NotImplementedError


class NoAugment(Augment):
    """Training pictures as they are."""

    type: Literal["none"] = "none"

    def build(self, size: int) -> Augmenter:
        """The identity."""
        return _unchanged


class Standard(Augment):
    """Crop, flip, small rotation and colour changes: what most photographs bear. Set a field to 0 to leave one out."""

    type: Literal["standard"] = "standard"
    crop: float = Field(0.3, ge=0, lt=1, description="largest share of the area that a random crop may cut off")
    aspect: float = Field(1.2, ge=1, le=3, description="largest change of the crop's aspect ratio (factor)")
    flip: float = Field(0.5, ge=0, le=1, description="chance of a left-right flip; 0 for text and signs")
    rotate: float = Field(0, ge=0, le=180, description="largest rotation", json_schema_extra={"unit": "degrees"})
    shift: float = Field(0, ge=0, le=0.5, description="largest shift (share of the side)")
    zoom: float = Field(0, ge=0, le=0.5, description="largest change of size (share)")
    brightness: float = Field(0.2, ge=0, le=1, description="largest change of brightness and contrast (share)")
    saturation: float = Field(0.2, ge=0, le=1, description="largest change of saturation (share)")
    hue: float = Field(0, ge=0, le=0.5, description="largest change of hue (share of the circle)")
    erase: float = Field(0, ge=0, le=1, description="chance that a rectangle is blotted out")

    def build(self, size: int) -> Augmenter:
        """The transforms whose fields are not 0, in a fixed order."""
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks a registry for a newer version
        import albumentations as A
        import cv2

        cv2.setNumThreads(0)  # each worker is one thread; OpenCV's own pool would fight the others for the cores
        steps: list[Any] = []
        if self.crop:
            ratio = (1 / self.aspect, self.aspect)
            steps.append(A.RandomResizedCrop((size, size), (1 - self.crop, 1), ratio, interpolation=cv2.INTER_CUBIC))
        if self.rotate or self.shift or self.zoom:
            move = (-self.shift, self.shift)
            around = (1 - self.zoom, 1 + self.zoom)
            turn = (-self.rotate, self.rotate)
            edge = cv2.BORDER_REPLICATE
            steps.append(A.Affine(scale=around, translate_percent=move, rotate=turn, border_mode=edge, p=1))
        if self.flip:
            steps.append(A.HorizontalFlip(p=self.flip))
        if self.brightness or self.saturation or self.hue:
            change = {"brightness": self.brightness, "contrast": self.brightness}
            steps.append(A.ColorJitter(**change, saturation=self.saturation, hue=self.hue, p=0.8))
        if self.erase:
            patch = {"hole_height_range": (0.1, 0.4), "hole_width_range": (0.1, 0.4)}
            steps.append(A.CoarseDropout(num_holes_range=(1, 1), **patch, fill="random_uniform", p=self.erase))
        return _Composed(A.Compose(steps))


def _unchanged(pixels: Pixels, seed: int) -> Pixels:
    return pixels


class _Composed:
    """A class and no closure: worker processes that are spawned get it pickled."""

    def __init__(self, compose: Any) -> None:
        self.compose = compose

    def __call__(self, pixels: Pixels, seed: int) -> Pixels:
        self.compose.set_random_seed(seed)
        changed: Pixels = self.compose(image=pixels)["image"]
        return changed
