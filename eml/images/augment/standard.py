"""Crop, flip and gentle colour changes."""

from typing import Literal

from eml.images.augment import _presets as of
from eml.images.augment.base import Augment


class Standard(of.PhotographicPreset, Augment):
    """Crop, flip and small colour changes, which suit most photographs. A step is off when its field is 0."""

    type: Literal["standard"] = "standard"
    crop: of.Cut = 0.3
    aspect: of.Aspect = 1.2
    flip: of.Flip = 0.5
    brightness: of.Brightness = 0.2
    saturation: of.Saturation = 0.2
