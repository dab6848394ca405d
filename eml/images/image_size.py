"""The size of the images that a network sees: the side of a square, or height and width.

A square has one form only, its side, so that what was written of square images stays as it is: [160, 160] is 160.
"""

import math
import re
from contextlib import suppress
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from eml.errors import ConfigError

LEAST, MOST = 8, 4096
"""Pixels of a side."""

HeightWidth = tuple[int, int]
"""(height, width) in pixels."""

Size = int | HeightWidth
"""The side of a square, or (height, width); never a pair of equal numbers."""

_NUMBER = re.compile(r"\s*[-+]?\d{1,9}\s*")
_TEXT = re.compile(r"\s*(\d{1,9})\s*[x×X]\s*(\d{1,9})\s*")


def one_form(size: Size) -> Size:
    """Return the side for a pair of equal numbers, and any other size as it is."""
    return size if isinstance(size, int) or size[0] != size[1] else size[0]


def _read_text(value: object) -> object:
    """Return the pair or the number that a text such as 256x128 stands for; anything else is left to the type."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value if not isinstance(value, str) else int(value)
    match = _TEXT.fullmatch(value)
    if match is None:
        raise ValueError(f"must be a side, such as 160, or height and width, such as 256x128 (pixels), got {value!r}")
    return [int(match[1]), int(match[2])]


_Side = Annotated[int, Field(ge=LEAST, le=MOST)]
ImageSize = Annotated[_Side | tuple[_Side, _Side], BeforeValidator(_read_text), AfterValidator(one_form)]
"""A field of a config: 160, [256, 128] (height, width), or the text 256x128."""
_SIZES: TypeAdapter[Size] = TypeAdapter(ImageSize)


def checked_size(size: object, parameter: str) -> Size | None:
    """Return a size that a caller gives: a number, a pair, or a text such as 256x128; None stays None.

    Raises:
        ConfigError: It is none.
    """
    if size is None:
        return None
    with suppress(ValidationError):
        return _SIZES.validate_python(size)
    text = f"`{parameter}` must be a side or (height, width), each from {LEAST} to {MOST} pixels, got {size!r}"
    raise ConfigError(text, code="out-of-range", parameter=parameter)


def height_width(size: Size) -> HeightWidth:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else size


def pixel_count(size: Size) -> int:
    """Return the number of pixels of an image."""
    height, width = height_width(size)
    return height * width


def mean_side(size: Size) -> float:
    """Return the side of a square with as many pixels."""
    return size if isinstance(size, int) else math.sqrt(pixel_count(size))


def scaled_to(size: Size, longer: int) -> Size:
    """Return a size whose longer side is `longer` pixels, with its aspect ratio."""
    height, width = height_width(size)
    scale = longer / max(height, width)
    return one_form((max(LEAST, round(height * scale)), max(LEAST, round(width * scale))))


def size_text(size: Size) -> str:
    """Return `160`, or `256×128`: height × width."""
    return size_word(size).replace("x", "×")


def size_word(size: Size) -> str:
    """Return `160`, or `256x128`, for a command line or the name of a file."""
    return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"
