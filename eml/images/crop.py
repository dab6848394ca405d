"""A random part of an image, drawn before it is resized."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eml.images.decode import Box
from eml.images.preprocess import Preprocess

DRAWS = 4
"""Random numbers that a crop needs."""


@dataclass(frozen=True)
class Crop:
    """Inception's crop (Szegedy 2014, arXiv:1409.4842, section 6) of the part of the image that evaluation sees.

    Deviation: the share of the area always holds. An aspect ratio for which the part would leave the image is limited;
    other libraries draw again or fall back to the centre.

    Args:
        cut: Largest share of the area that is cut off. The share that remains is uniform in [1 − cut, 1].
        aspect: Largest factor by which the part is wider or higher than the part that evaluation resizes;
            log-uniform.
    """

    cut: float
    aspect: float

    def part(self, width: float, height: float, preprocess: Preprocess, draws: Sequence[float]) -> Box:
        """Return the part of an image of width × height pixels.

        Args:
            width: Width of the image.
            height: Height of the image.
            preprocess: How evaluation fits the image. With squash and pad the part has the image's own aspect ratio,
                changed by `aspect`; with crop that of the network's input, and `cut` is a share of the largest such
                part, which may lie anywhere in the image.
            draws: DRAWS random numbers in [0, 1).
        """
        base_width, base_height = preprocess.visible_size(width, height)
        share = 1 - self.cut * draws[0]
        wider = min(max(self.aspect ** (2 * draws[1] - 1), share), 1 / share)
        part_width = min(base_width * math.sqrt(share * wider), width)
        part_height = min(base_height * math.sqrt(share / wider), height)
        left, top = draws[2] * (width - part_width), draws[3] * (height - part_height)
        return left, top, left + part_width, top + part_height
