"""The size of the images that a network sees: the side of a square, or height and width.

A square has one form only, its side, so that what was written of square images stays as it is: [160, 160] is 160.
"""

import math
import re
from contextlib import suppress
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, PydanticKnownError

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


def _read(value: object) -> object:
    """Return the number or the pair that a value stands for. Raises what pydantic makes one error of."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        match = _TEXT.fullmatch(value)
        if match is None:
            text = "must be a side, such as 160, or height and width, such as 256x128 (pixels)"
            raise ValueError(f"{text}, got {value!r}")
        sides: list[object] = [match[1], match[2]]
    else:
        sides = list(value) if isinstance(value, list | tuple) else [value]
    is_pair = len(sides) == 2
    if not (is_pair or sides == [value]):
        raise PydanticCustomError("wrong_kind", "a side (pixels) or (height, width)")
    numbers = [_number(side) for side in sides]
    if min(numbers) < LEAST:
        raise PydanticKnownError("greater_than_equal", {"ge": LEAST})
    if max(numbers) > MOST:
        raise PydanticKnownError("less_than_equal", {"le": MOST})
    return tuple(numbers) if is_pair else numbers[0]


def _number(side: object) -> int:
    is_number = isinstance(side, int | float | str) and not isinstance(side, bool)
    try:
        if is_number and float(side) == int(float(side)):  # type: ignore[arg-type]
            return int(float(side))  # type: ignore[arg-type]
    except (ValueError, OverflowError):  # text, infinity and NaN
        pass
    raise PydanticCustomError("wrong_kind", "a side (pixels) or (height, width)")


_Side = Annotated[int, Field(ge=LEAST, le=MOST)]
ImageSize = Annotated[_Side | tuple[_Side, _Side], BeforeValidator(_read), AfterValidator(one_form)]
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
