"""Antialiased resizing of uint8 pixels in NumPy, equal to the bit to torch's: it serves where torch is not installed.

The scheme is that of ATen's kernel for uint8 (aten/src/ATen/native/cpu/UpSampleKernelAVXAntialias.h): first along rows,
then along columns; a weight is a whole number of 16 bits, divided by 2^precision; each pass rounds to uint8. All sums
here are exact, since whole numbers of this size are added in float64, so their order does not matter.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eml.images.jpeg import Pixels

Curve = Literal["bilinear", "bicubic"]
Floats = NDArray[np.float64]

_BITS = 15  # of a weight, without its sign
_MOST_PRECISION = 22
_BLOCK = 16
"""Output positions that are one product of matrices: in larger blocks most weights are 0, smaller ones are many."""
_PART = 2**19  # values that are in float64 at once: they stay in the processor's cache
_A = -0.5
"""The parameter of the bicubic curve with antialiasing (Keys 1981), as of Pillow."""


class _Block(NamedTuple):
    """Weights (outputs, inputs) from the input positions first:last to the output positions start:stop."""

    start: int
    stop: int
    first: int
    last: int
    weights: Floats


def resize(pixels: Pixels, size: tuple[int, int], curve: Curve) -> Pixels:
    """Return (height, width, 3) uint8 of pixels (H, W, 3) uint8, averaged over all pixels that are lost.

    Args:
        pixels: Of an image, at least one.
        size: (width, height) of the result (pixels).
        curve: The interpolation.
    """
    width, height = size
    planes: Pixels = pixels.transpose(2, 0, 1)
    if planes.shape[2] != width:
        planes = _along_rows(planes, width, curve)
    if planes.shape[1] != height:
        return _along_columns(planes, height, curve)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _along_rows(planes: Pixels, width: int, curve: Curve) -> Pixels:
    """Return (3, H, width) of planes (3, H, W)."""
    channels, height, own_width = planes.shape
    resized = np.empty((channels, height, width), np.uint8)
    rows = max(1, _PART // (channels * max(own_width, width)))
    blocks = _blocks(own_width, width, curve)
    for top in range(0, height, rows):
        values = planes[:, top : top + rows].astype(np.float64, order="C")
        for block in blocks:
            sums = values[..., block.first : block.last] @ block.weights.T
            resized[:, top : top + rows, block.start : block.stop] = _rounded(sums)
    return resized


def _along_columns(planes: Pixels, height: int, curve: Curve) -> Pixels:
    """Return (height, W, 3) of planes (3, H, W)."""
    channels, own_height, width = planes.shape
    resized = np.empty((height, width, channels), np.uint8)
    columns = max(1, _PART // (channels * max(own_height, height)))
    blocks = _blocks(own_height, height, curve)
    for left in range(0, width, columns):
        values = planes[..., left : left + columns].astype(np.float64, order="C")
        for block in blocks:
            sums = block.weights @ values[:, block.first : block.last]
            resized[block.start : block.stop, left : left + columns] = _rounded(sums).transpose(1, 2, 0)
    return resized


def _rounded(sums: Floats) -> Floats:
    """Return sums, halves rounded up, within 0 and 255.x, of which a conversion to uint8 drops the fraction."""
    sums += 0.5
    return np.clip(sums, 0, 255, out=sums)


@lru_cache(maxsize=256)
def _blocks(inputs: int, outputs: int, curve: Curve) -> list[_Block]:
    """Return the weights of a resize from so many pixels to so many, in blocks of output positions."""
    firsts, counts, weights = _weights(inputs, outputs, curve)
    places = np.arange(weights.shape[1])
    blocks = []
    for start in range(0, outputs, _BLOCK):
        stop = min(start + _BLOCK, outputs)
        first, last = int(firsts[start]), int((firsts + counts)[start:stop].max())
        dense = np.zeros((stop - start, last - first))
        used = places < counts[start:stop, None]
        rows, taps = np.nonzero(used)
        dense[rows, firsts[start:stop][rows] - first + taps] = weights[start:stop][used]
        blocks.append(_Block(start, stop, first, last, dense))
    return blocks


def _weights(inputs: int, outputs: int, curve: Curve) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return of each output position the first input position (O,), how many there are (O,), and the weights (O, most).

    The weights are multiples of 2^−precision, the greatest precision for which all, times 2^precision, have 15 bits.
    """
    scale = inputs / outputs
    support = (1.0 if curve == "bilinear" else 2.0) * max(scale, 1.0)
    centres = scale * (np.arange(outputs) + 0.5)
    firsts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    counts = np.minimum((centres + support + 0.5).astype(np.int64), inputs) - firsts
    taps = np.arange(int(np.ceil(support)) * 2 + 1)
    counts = np.clip(counts, 0, len(taps))
    shrink = 1 / scale if scale >= 1 else 1.0
    weights = _CURVES[curve](np.abs((taps + firsts[:, None] - centres[:, None] + 0.5) * shrink))
    weights[taps >= counts[:, None]] = 0
    totals = np.cumsum(weights, axis=1)[:, -1:]  # one after the other, as torch does: a sum by pairs rounds otherwise
    weights = np.divide(weights, totals, out=weights, where=totals != 0)
    precision = _precision(float(weights.max(initial=0)))
    whole = weights * 2.0**precision
    whole = np.trunc(np.where(whole < 0, whole - 0.5, whole + 0.5))
    return firsts, counts, whole * 2.0**-precision


def _precision(greatest: float) -> int:
    """Return the precision of weights of which this is the greatest."""
    precision = 0
    while precision < _MOST_PRECISION and int(0.5 + greatest * 2 ** (precision + 1)) < 2**_BITS:
        precision += 1
    return precision


def _triangle(distances: Floats) -> Floats:
    return np.where(distances < 1, 1 - distances, 0)


def _cubic(distances: Floats) -> Floats:
    """Return the cubic convolution of distances ≥ 0. Keys 1981, IEEE Trans. ASSP 29(6), eq. 15."""
    near = ((_A + 2) * distances - (_A + 3)) * distances * distances + 1
    far = ((_A * distances - 5 * _A) * distances + 8 * _A) * distances - 4 * _A
    return np.where(distances < 1, near, np.where(distances < 2, far, 0))


_CURVES: dict[Curve, Callable[[Floats], Floats]] = {"bilinear": _triangle, "bicubic": _cubic}
