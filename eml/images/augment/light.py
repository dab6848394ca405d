"""A small crop and a flip."""

from typing import Literal

from eml.images.augment import _presets as of
from eml.images.augment.base import Augment


class Light(of.PhotographicPreset, Augment):
    """A small crop and a flip: for uniform images, short runs, and classes that differ by colour."""

    type: Literal["light"] = "light"
    crop: of.Cut = 0.1
    aspect: of.Aspect = 1.1
    flip: of.Flip = 0.5
