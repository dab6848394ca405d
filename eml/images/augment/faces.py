"""Faces that were found and aligned, from cameras good and bad."""

from typing import Literal

from eml.images.augment import _presets as of
from eml.images.augment.base import Augment


class Faces(of.Photographic, Augment):
    """Aligned faces: a flip, the detector's small errors, and the losses of bad cameras.

    Crop and rotation are no larger than the errors of a detector and of its landmarks: what is always in one place is
    not to be learnt in all. A fifth of the images are made coarse, as the published training of AdaFace does (Kim
    2022, arXiv:2204.00964; there a larger crop and light come at the same chance); blur, compression and grey stand for
    the cameras of such images. No hue: it is no light that turns skin green. Little erasing, for masks and glasses.
    """

    type: Literal["faces"] = "faces"
    crop: of.Cut = 0.15
    aspect: of.Aspect = 1.1
    flip: of.Flip = 0.5
    rotate: of.Degrees = 8
    brightness: of.Brightness = 0.3
    saturation: of.Saturation = 0.3
    grey: of.Grey = 0.1
    downscale: of.Downscale = 0.2
    blur: of.Blur = 0.1
    noise: of.Noise = 0.05
    jpeg: of.Jpeg = 0.2
    erase: of.Erase = 0.1
