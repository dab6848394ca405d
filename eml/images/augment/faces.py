"""The preset for detected and aligned faces."""

from typing import Literal

from eml.images.augment import _presets as of
from eml.images.augment.base import Augment


class Faces(of.PhotographicPreset, Augment):
    """Aligned faces: a flip, the small errors of a detector, and the losses of low-quality cameras.

    Crop and rotation are as small as the errors of a detector and its landmarks, since aligned faces are always in the
    same place. A fifth of the images get a lower resolution, as in the published training of AdaFace (Kim 2022,
    arXiv:2204.00964, which uses a larger crop and light changes with the same chance). Blur, compression and grey
    imitate the cameras of such images. Hue stays, since no light turns skin green. Some erasing imitates masks and
    glasses.
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
