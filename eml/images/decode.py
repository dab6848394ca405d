"""Image decoding: every command gets its pixels from here.

The content of a file decides, not its name:

- EXIF orientation is applied. Colour profiles are ignored (values count as sRGB).
- Transparency is put on black or white, whichever differs more from what is shown (see `flatten.Background`), or on
  white. Palettes, grey, 1-bit, CMYK, YCbCr, HSV and LAB become RGB.
- 16-bit colour is divided by 256. 16-bit grey is divided by 2^(b−8), where b is the smallest of 8, 10, 12, 14 and 16
  bits that holds the image's largest value: many sensors use only the lower bits. 32-bit integers and floats have no
  fixed range: the image's smallest value becomes black, its largest white.
- Animations and files with several pages: the first frame.
- A file that ends too early is refused; Pillow never invents the rest.
"""

import io
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from eml.errors import DataError
from eml.files import refuse_pipe
from eml.images.flatten import Background, flatten, scale_transparency
from eml.images.identify import ImageError as ImageError
from eml.images.identify import Reason as Reason
from eml.images.identify import identify, load_error, quiet_pillow
from eml.images.memory import (
    JPEG,
    LIMIT,
    check_turning,
    memory_of,
    room,
    scale_of_jpeg,
    turning_bytes,
)

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels, right and bottom exclusive."""

ChoosePart = Callable[[int, int], Box]
"""(width, height) of an upright image → a box within it."""

MAX_BYTES = 2**29
"""Files with more bytes are refused unread."""

_LARGE = 2**26  # bytes; of larger files the header is checked before the rest is read
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)  # orientations that exchange width and height
REDUCED_ABOVE = 2**24  # pixels: larger images are reduced where the caller resizes them anyway


@dataclass(frozen=True)
class DecodedImage:
    """A completely decoded image: upright, 8-bit grey (L) or RGB, without transparency."""

    image: Image.Image
    """The image, possibly smaller than in the file."""
    width: int
    """Width of the whole image as shown, after EXIF orientation (pixels)."""
    height: int
    """Height of the whole image as shown."""
    format: str
    """Pillow's name of the file's format, which may differ from its suffix."""
    mode: str
    """Pillow's name of the file's pixel layout."""


def decode(
    path: Path,
    *,
    at_least: tuple[int, int] | None = None,
    box: tuple[int, int, int, int] | None = None,
    background: Background = "contrast",
) -> Image.Image:
    """Decode an image as RGB, upright.

    Args:
        path: The file.
        at_least: (width, height) to which the caller resizes. A JPEG may then be decoded at 1/2, 1/4 or 1/8 of its
            size, another image of more than 16 million pixels be reduced (and the box widened to whole pixels of
            that), never below `at_least` unless it is smaller itself. Without it a JPEG is reduced only where it
            would take too much memory.
        box: (x_1, y_1, x_2, y_2) in pixels of the upright image, right and bottom exclusive: the part to return.
        background: What transparency is put on.

    Raises:
        ImageError: The file is not a usable image.
        DataError: The box is not within the image.
    """
    return decode_bytes(read(path), path, at_least=at_least, box=box, background=background)


def decode_bytes(
    data: bytes,
    path: Path | str,
    *,
    at_least: tuple[int, int] | None = None,
    box: tuple[int, int, int, int] | None = None,
    background: Background = "contrast",
) -> Image.Image:
    """Decode bytes that are already read from the file; see `decode`."""
    decoded = open_image(data, path, at_least=at_least, box=box, background=background)
    image = decoded.image if decoded.image.mode == "RGB" else decoded.image.convert("RGB")
    if box is None:
        return image
    left, top, right, bottom = box
    if not (0 <= left < right <= decoded.width and 0 <= top < bottom <= decoded.height):
        raise outside_image(path, box, decoded.width, decoded.height)
    x, y = image.width / decoded.width, image.height / decoded.height
    return image.crop((int(left * x), int(top * y), math.ceil(right * x), math.ceil(bottom * y)))


def outside_image(path: Path | str, box: tuple[int, int, int, int], width: int, height: int) -> DataError:
    """Return the error for a box that is not within its image."""
    return DataError(f"{path}: box {box} is not within the image's {width} × {height} pixels", code="invalid-box")


def decode_part(
    path: Path, choose: ChoosePart, *, at_least: tuple[int, int], background: Background = "contrast"
) -> tuple[Image.Image, Box]:
    """Decode an image as RGB, upright, and return it with the chosen part in its pixels.

    Args:
        path: The file.
        choose: Picks the part from the (width, height) of the upright image in the file.
        at_least: (width, height) to which the caller resizes the part. A JPEG may be decoded smaller, as in `decode`.
        background: What transparency is put on.

    Raises:
        ImageError: The file is not a usable image.
    """
    decoded = open_image(read(path), path, at_least=at_least, box=choose, background=background)
    image = decoded.image if decoded.image.mode == "RGB" else decoded.image.convert("RGB")
    x, y = image.width / decoded.width, image.height / decoded.height
    left, top, right, bottom = choose(decoded.width, decoded.height)
    return image, (left * x, top * y, min(right * x, image.width), min(bottom * y, image.height))


def shown_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the upright image, usually from its header alone, so that a cut file goes unnoticed.

    Raises ImageError for a file that is not a usable image.
    """
    try:
        refuse_pipe(path)
        with path.open("rb") as file, quiet_pillow:
            image = identify(file, path)
            turn = _orientation(image)
            if image.format in JPEG or turn == 1:
                return _turned(image.size, turn)
    except FileNotFoundError as error:
        raise ImageError(path, "missing", "no such file") from error
    except OSError as error:
        raise ImageError(path, "unreadable", error.strerror or str(error)) from error
    decoded = open_image(read(path), path)  # Pillow itself turns some formats during decoding
    return decoded.width, decoded.height


def has_transparency(path: Path) -> bool:
    """Return whether the image may have transparent pixels, by its header. False for a file that is not an image."""
    try:
        refuse_pipe(path)
        with path.open("rb") as file, quiet_pillow:
            return identify(file, path).has_transparency_data
    except (ImageError, OSError):
        return False


def read(path: Path) -> bytes:
    """Read a file that may be an image. Raises ImageError for an empty file, and unread for a huge one or no image."""
    try:
        refuse_pipe(path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _LARGE:
                with quiet_pillow:
                    identify(file, path)
            if size > MAX_BYTES:
                raise ImageError(path, "too_large", f"{size:,} bytes; at most {MAX_BYTES:,} are read")
            file.seek(0)
            data = file.read()
    except FileNotFoundError as error:
        raise ImageError(path, "missing", "no such file") from error
    except OSError as error:
        raise ImageError(path, "unreadable", error.strerror or str(error)) from error
    if not data:
        raise ImageError(path, "empty", "0 bytes")
    return data


def open_image(
    data: bytes,
    path: Path | str,
    *,
    at_least: tuple[int, int] | None = None,
    box: Box | ChoosePart | None = None,
    luma: bool = False,
    background: Background = "contrast",
) -> DecodedImage:
    """Decode the bytes of a file completely; the whole image is returned.

    Args:
        data: The bytes.
        path: The file, for errors.
        at_least: See `decode`; it applies to the part `box`, if given.
        box: The part, in pixels or as a function of the image's (width, height).
        luma: Decode only the brightness of a JPEG, which is faster. Other formats are not affected.
        background: What transparency is put on.

    Raises:
        ImageError: The file is not a usable image.
    """
    with quiet_pillow:
        image = identify(io.BytesIO(data), path)
        format_, mode, in_header = image.format or "", image.mode, image.size
        if format_ in JPEG:
            turn = _orientation(image)
            needed = _turned(_needed_size(_turned(image.size, turn), at_least, box), turn)
            memory = _draft(image, data, path, needed, luma=luma and mode in ("L", "RGB"), turned=turn != 1)
        else:
            memory = memory_of(image, data, path)
        with room.of(memory):
            flat, turn = _flat(image, path, background)
            size = _turned(in_header if format_ in JPEG else flat.size, turn)
            del image  # its pixels, where they are not those of `flat`
            if at_least is not None and _is_worth_reducing(flat, turn, len(data), luma=luma):
                flat = _reduced(flat, _turned(_needed_size(size, at_least, box), turn))
            check_turning(flat, turn, len(data), path)
            flat = _turn(flat, turn)
    flat.info.clear()  # orientation and transparency are applied, so neither may be applied twice
    return DecodedImage(flat, *size, format_, mode)


def _draft(
    image: Image.Image, data: bytes, path: Path | str, needed: tuple[int, int], *, luma: bool, turned: bool
) -> int:
    """Set the scale at which a JPEG is decoded: as stored, it is not below `needed` if memory allows.

    Returns the bytes that decoding takes.
    """
    scale, memory = scale_of_jpeg(image, data, path, luma=luma, turned=turned)
    width, height = min(needed[0], image.width // scale), min(needed[1], image.height // scale)
    image.draft("L" if luma else None, (width, height))
    return memory


def _is_worth_reducing(flat: Image.Image, turn: int, file_bytes: int, *, luma: bool) -> bool:
    """Return whether an image is large; one to be hashed is reduced only where it cannot be turned otherwise."""
    if luma:
        return turn != 1 and turning_bytes(flat, file_bytes) > LIMIT
    return flat.width * flat.height > REDUCED_ABOVE


def _reduced(flat: Image.Image, needed: tuple[int, int]) -> Image.Image:
    """Reduce a large image by a whole factor to at least twice the size `needed`, so that all that follows is small."""
    factor = min(flat.width // (2 * needed[0]), flat.height // (2 * needed[1]))
    return flat.reduce(factor) if factor > 1 else flat


def from_pil(image: Image.Image, background: Background = "contrast") -> Image.Image:
    """Convert an image that was opened elsewhere: upright, RGB, without transparency, as `decode` does.

    Raises ImageError when its data cannot be read.
    """
    with quiet_pillow:
        flat, turn = _flat(image, getattr(image, "filename", "") or "the image", background)
        flat = _turn(flat, turn)
    flat = flat.copy() if flat is image else flat  # the caller's image keeps its info
    flat.info.clear()
    return flat if flat.mode == "RGB" else flat.convert("RGB")


def _flat(image: Image.Image, path: Path | str, background: Background) -> tuple[Image.Image, int]:
    """Load an image and flatten it; return it with the EXIF orientation that is still to be applied."""
    try:
        scale_transparency(image)
        image.load()
    except Exception as error:  # Pillow's plugins raise any exception; the file is the cause in every case
        raise load_error(error, path) from error
    try:
        flat = flatten(image, background)
    except MemoryError as error:
        raise load_error(error, path) from error
    except Exception as error:
        detail = f"{image.format} of mode {image.mode} cannot be turned into colours: {error}"
        raise ImageError(path, "unsupported", detail) from error
    # Read after loading: by then Pillow has turned a TIFF, and the EXIF data of a PNG may stand at its end.
    return flat, _orientation(image)


def _turn(flat: Image.Image, turn: int) -> Image.Image:
    return flat.transpose(_TRANSPOSE[turn]) if turn in _TRANSPOSE else flat


def _turned(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Return a size (width, height) after the turn of an EXIF orientation, or before it."""
    return size[::-1] if turn in _LYING else size


def _needed_size(
    size: tuple[int, int], at_least: tuple[int, int] | None, box: Box | ChoosePart | None
) -> tuple[int, int]:
    """Return the smallest size of the whole upright image at which its box, or itself, is `at_least` large."""
    if at_least is None:
        return size
    box = box(*size) if callable(box) else box
    if box is None:
        return at_least
    width, height = max(1, box[2] - box[0]), max(1, box[3] - box[1])
    return math.ceil(at_least[0] * size[0] / width), math.ceil(at_least[1] * size[1] / height)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF data can be broken in any way; then the image is not turned
        return 1
