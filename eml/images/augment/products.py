"""The preset for products: catalogue photos against photos of shelves or customers."""

from typing import Literal

from eml.images.augment import _presets as of
from eml.images.augment.base import Augment


class Products(of.PhotographicPreset, Augment):
    """Catalogue photos against photos of shelves or customers: changes of view and light, and occlusion.

    No flip, since packages carry text and a mirrored package does not exist; set flip: 0.5 for clothes and furniture.
    Hue changes by 7 degrees, as a camera's white balance does, and not more, since flavours can differ only by colour.
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
