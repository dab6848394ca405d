"""What becomes of a training image: which part of it is taken, and how the pixels are changed."""

from collections.abc import Callable
from dataclasses import dataclass

from eml.images.crop import Crop
from eml.images.preprocess import Pixels

Change = Callable[[Pixels, int], Pixels]
"""(pixels (H, W, 3) uint8, seed below 2³²) → pixels; a pure function of both that leaves its argument as it was."""


@dataclass(frozen=True)
class Augmenter:
    """What happens to a training image, in this order. It can be pickled: spawned workers get it so.

    whole: of the image as decoded, of any size (no smaller than the network's unless the file is); whatever it gives
    is then brought to the network's size. crop: the part of the image that is resized to that size, from the full
    image, so that a crop is as sharp as a whole image. flip: chance of a left-right flip. change: of the pixels at
    the network's size, which it keeps.
    """

    whole: Change | None = None
    crop: Crop | None = None
    flip: float = 0.0
    change: Change | None = None
