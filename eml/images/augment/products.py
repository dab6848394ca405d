"""From the catalogue's photo to that of a shelf or a customer."""

from typing import Literal

from eml.images.augment import _presets as of
from eml.images.augment.base import Augment


class Products(of.Photographic, Augment):
    """Catalogue photos against those of shelves and customers: another view, other light, something in front.

    No flip: packages bear text, and a mirrored one is a package that does not exist; set flip: 0.5 for clothes and
    furniture. Hue moves by 7 degrees as a camera's white balance does, not more: flavours differ by colour alone.
    """

    type: Literal["products"] = "products"
    crop: of.Cut = 0.4
    aspect: of.Aspect = 1.25
    rotate: of.Degrees = 15
    perspective: of.Perspective = 0.12
    brightness: of.Brightness = 0.3
    saturation: of.Saturation = 0.3
    hue: of.Hue = 0.02
    downscale: of.Downscale = 0.1
    blur: of.Blur = 0.1
    jpeg: of.Jpeg = 0.1
    erase: of.Erase = 0.2
