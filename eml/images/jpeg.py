"""JPEGs decoded by simplejpeg, where it is installed: Pillow's pixels in two thirds of its time.

Both hand the work to libjpeg-turbo, whose pixels are the same in all of its versions; what Pillow adds are its stream,
rows one by one, and a fourth byte for each pixel. simplejpeg is strict here: at the slightest irregularity it gives up,
and Pillow, whose judgement counts, decodes the file anew.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB, or (H, W) grey."""

_COLOURS = {"RGB": "RGB", "L": "GRAY"}
_MOST = 2**24
"""Pixels up to which it is used. The estimate of memory counts no array beside Pillow's image."""
_TINY = 16
"""Pixels of the longer side below which two scales may give one size, so that the size would not say the scale."""


def decode_jpeg(opened: Image.Image, whole: tuple[int, int], data: bytes) -> Pixels | None:
    """Return the pixels that a JPEG has once Pillow loads it; None where Pillow has to decode it.

    Args:
        opened: The file, opened by Pillow, its scale set by `draft`, and not loaded.
        whole: (width, height) in the file.
        data: Its bytes.
    """
    colours, decode = _COLOURS.get(opened.mode), _decoder()
    width, height = opened.size
    if decode is None or colours is None or width * height > _MOST or max(whole) < _TINY:
        return None
    try:
        pixels: Pixels = decode(data, colours, min_width=width, min_height=height)
    except ValueError:  # a warning of libjpeg-turbo's, or an error
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return pixels if colours == "RGB" else pixels[..., 0]


@cache
def _decoder() -> Callable[..., Any] | None:
    try:
        import simplejpeg
    except ImportError:
        return None
    decoder: Callable[..., Any] = simplejpeg.decode_jpeg
    return decoder
