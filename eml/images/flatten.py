"""Flattening: an image of any mode becomes 8-bit grey (L) or RGB; transparency is put on a background.

Large images are converted in strips, so that no second copy of them in a wide mode is needed.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Background = Literal["contrast", "white"]
"""What transparency is put on. contrast: black or white, whichever differs more from the brightness of what is shown
(its mean, weighted by opacity; white if both differ alike), so that a white drawing stays visible. white: white."""

STRIP = 2**18  # pixels converted at a time
BLANK_RANGE = 4
"""Grey levels (of 255) by which the pixels of a blank image differ at most, in each channel."""

_WHITE, _BLACK = 255, 0
_SOME = 16  # pixels of a row and a column that are looked at first
_PNG_SHIFTS = {"L;2": (85, 1), "L;4": (17, 1), "RGB;16B": (1, 256)}  # factor and divisor of the transparent colour


def flatten(image: Image.Image, background: Background) -> Image.Image:
    """Return a loaded image as L or RGB without transparency; the image itself where it is that already."""
    if image.mode.startswith(("I", "F")):
        return _eight_bit(image, background)
    if image.has_transparency_data:
        return _on_background(image, _WHITE if background == "white" else _contrasting(image))
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def is_blank(image: Image.Image) -> bool:
    """Return whether an L or RGB image shows nothing: all its pixels are equal, or nearly so."""
    some = image.resize((_SOME, _SOME), Image.Resampling.NEAREST)  # of most images these already differ
    return _is_even(some) and _is_even(image)


def _is_even(image: Image.Image) -> bool:
    extrema: Any = image.getextrema()
    ranges = [extrema] if image.mode == "L" else extrema
    return all(high - low <= BLANK_RANGE for low, high in ranges)


def scale_transparency(image: Image.Image) -> None:
    """Bring the transparent colour of a PNG to the range of the decoded pixels, before it is loaded.

    Pillow leaves it in the range of the file where a channel has 2, 4 or (of RGB) 16 bits.
    """
    colour = image.info.get("transparency")
    tile = getattr(image, "tile", None)
    if image.format != "PNG" or colour is None or not tile:
        return
    factor, divisor = _PNG_SHIFTS.get(tile[0][3], (1, 1))
    if factor == divisor:
        return
    if isinstance(colour, int):
        image.info["transparency"] = colour * factor // divisor
    elif isinstance(colour, tuple):
        image.info["transparency"] = tuple(value * factor // divisor for value in colour)


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield (top, strip) of an image; the whole image where it is small."""
    rows = max(1, STRIP // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _rgba(strip: Image.Image) -> Image.Image:
    if strip.mode == "La":  # Pillow converts it to LA only
        strip = strip.convert("LA")
    return strip if strip.mode == "RGBA" else strip.convert("RGBA")


def _on_background(image: Image.Image, shade: int) -> Image.Image:
    flat = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        ground = Image.new("RGBA", strip.size, (shade, shade, shade, 255))
        part = Image.alpha_composite(ground, _rgba(strip)).convert("RGB")
        if part.size == flat.size:
            return part
        flat.paste(part, (0, top))
    return flat


def _contrasting(image: Image.Image) -> int:
    """Return the shade that differs more from the mean brightness of the pixels, weighted by their opacity."""
    light = opacity = 0
    for _, strip in _strips(image):
        rgba = _rgba(strip)
        alpha = np.asarray(rgba.getchannel("A")).astype(np.uint16)
        opacity += int(alpha.sum(dtype=np.int64))
        light += int((alpha * np.asarray(rgba.convert("L"))).sum(dtype=np.int64))  # at most 255², within 16 bits
    return _shade(light, opacity)


def _shade(light: int, weight: int) -> int:
    """Return black for a mean brightness, light/weight, above half of 255, else white."""
    return _BLACK if 2 * light > _WHITE * weight else _WHITE


def _eight_bit(image: Image.Image, background: Background) -> Image.Image:
    """Scale 16 and 32 bits to 8; see the module `decode`."""
    is_unsigned = image.mode.startswith("I;16") or image.format in ("PNG", "PPM")
    low, high = _range(image)
    bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits or bits == 16)
    grey = Image.new("L", image.size)
    for top, strip in _strips(image):
        values = np.asarray(strip)
        eight = (values >> (bits - 8)).astype(np.uint8) if is_unsigned else _stretch(values, low, high)
        grey.paste(Image.fromarray(eight), (0, top))
    if isinstance(transparent := image.info.get("transparency"), int):
        _hide(image, grey, transparent, background)
    return grey


def _range(image: Image.Image) -> tuple[float, float]:
    """Return the smallest and the largest finite value; 0 and 0 where there is none."""
    low, high = np.inf, -np.inf
    for _, strip in _strips(image):
        values = np.asarray(strip)
        known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _stretch(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    scaled = (np.nan_to_num(values.astype(np.float64), nan=low) - low) * (255 / (high - low) if high > low else 0)
    return scaled.clip(0, 255).astype(np.uint8)


def _hide(image: Image.Image, grey: Image.Image, transparent: int, background: Background) -> None:
    """Put the pixels of a transparent value on the background, in place."""
    shade = _WHITE
    if background == "contrast":
        light = opaque = 0
        for (_, strip), (_, shown) in zip(_strips(image), _strips(grey), strict=True):
            visible = np.asarray(shown)[np.asarray(strip) != transparent]
            light, opaque = light + int(visible.sum(dtype=np.int64)), opaque + visible.size
        shade = _shade(light, opaque)
    for top, strip in _strips(image):
        grey.paste(shade, (0, top), Image.fromarray((np.asarray(strip) == transparent).astype(np.uint8) * 255))
