"""The preset with strong changes of every kind."""

from typing import Literal

from eml.images.augment import _presets as of
from eml.images.augment.base import Augment


class Strong(of.PhotographicPreset, Augment):
    """Strong changes of every kind: for long runs, large networks and few images, which `standard` overfits.

    Crops keep at least half of the area, with Inception's aspect ratios (4/3). Hue changes by at most 18 degrees, since
    beyond that the colour of one class becomes that of another. Each loss has a small chance, so that two thirds of
    the images have at most one.
    """

    type: Literal["strong"] = "strong"
    crop: of.Cut = 0.5
    aspect: of.Aspect = 1.33
    flip: of.Flip = 0.5
    rotate: of.Degrees = 15
    perspective: of.Perspective = 0.1
    brightness: of.Brightness = 0.4
    saturation: of.Saturation = 0.4
    hue: of.Hue = 0.05
    grey: of.Grey = 0.1
    downscale: of.Downscale = 0.1
    blur: of.Blur = 0.1
    noise: of.Noise = 0.1
    jpeg: of.Jpeg = 0.1
    erase: of.Erase = 0.25
