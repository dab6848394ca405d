"""The steps that turn a decoded training image into augmented pixels."""

from collections.abc import Callable
from dataclasses import dataclass

from eml.images.crop import Crop
from eml.images.preprocess import Pixels

PixelTransform = Callable[[Pixels, int], Pixels]
"""(pixels (H, W, 3) uint8, seed below 2³²) → pixels; a pure function that does not change its argument."""


@dataclass(frozen=True)
class Augmenter:
    """The augmentation of a training image. It can be pickled, for worker processes that are spawned.

    Args:
        before_resize: Applied to the decoded image, of any size (not below the network's unless the file is smaller).
            Its result is then resized to the network's size; `crop` is not used with it.
        crop: The part of the image that is resized. It is cut from the full image, so that a crop is as sharp as a
            whole image.
        flip: Chance of a left-right flip.
        after_resize: Applied to the pixels at the network's size, which it keeps.
    """

    before_resize: PixelTransform | None = None
    crop: Crop | None = None
    flip: float = 0.0
    after_resize: PixelTransform | None = None
