"""Crop, flip and gentle colour changes."""

from typing import Literal

from eml.images.augment import _presets as of
from eml.images.augment.base import Augment


class Standard(of.Photographic, Augment):
    """Crop, flip, small rotation and colour changes: what most photographs bear. Set a field to 0 to leave one out."""

    type: Literal["standard"] = "standard"
    crop: of.Cut = 0.3
    aspect: of.Aspect = 1.2
    flip: of.Flip = 0.5
    brightness: of.Brightness = 0.2
    saturation: of.Saturation = 0.2
