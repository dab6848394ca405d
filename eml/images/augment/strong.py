"""Much of everything."""

from typing import Literal

from eml.images.augment import _presets as of
from eml.images.augment.base import Augment


class Strong(of.Photographic, Augment):
    """Much of everything: for long runs, large networks and few images, where `standard` is learnt by heart.

    Half of the area and Inception's aspect ratios (4/3). Hue moves by 18 degrees, since one class's colour is another's
    beyond that. Each loss has a small chance, so that two thirds of the images have at most one.
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
