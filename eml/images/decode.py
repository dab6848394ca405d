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

import math
import os
from pathlib import Path
from typing import IO

from PIL import Image

from eml.errors import DataError
from eml.files import refuse_pipe
from eml.images.flatten import Background
from eml.images.identify import ImageError as ImageError
from eml.images.identify import Reason as Reason
from eml.images.identify import check_bytes, identify, not_empty, quiet_pillow, readable
from eml.images.memory import JPEG
from eml.images.opening import Box as Box
from eml.images.opening import ChoosePart as ChoosePart
from eml.images.opening import DecodedImage as DecodedImage
from eml.images.opening import OpenedImage as OpenedImage
from eml.images.opening import flattened, of_pillow, orientation, size_of, transposed, turned
from eml.images.opening import open_image as open_image
from eml.images.packed.members import Member, member_problems, open_member, packed_file, split_member
from eml.images.remote_files import read_remote
from eml.storage import RemotePath

MAX_BYTES = 2**29
"""Files with more bytes are refused unread."""

_JPEG_START = b"\xff\xd8\xff"  # a JPEG has no transparency
_LARGE = 2**26  # bytes; of larger files the header is checked before the rest is read


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
    return of_pillow(decode_rgb(data, path, at_least=at_least, box=box, background=background))


def decode_rgb(
    data: bytes,
    path: Path | str,
    *,
    at_least: tuple[int, int] | None = None,
    box: tuple[int, int, int, int] | None = None,
    background: Background = "contrast",
) -> OpenedImage:
    """Decode bytes as `decode_bytes` does, to an image of the kind that is at hand first."""
    decoded = open_image(data, path, at_least=at_least, box=box, background=background)
    image = decoded.rgb
    if box is None:
        return image
    left, top, right, bottom = box
    if not (0 <= left < right <= decoded.width and 0 <= top < bottom <= decoded.height):
        raise outside_image(path, box, decoded.width, decoded.height)
    width, height = size_of(image)
    x, y = width / decoded.width, height / decoded.height
    part = (int(left * x), int(top * y), math.ceil(right * x), math.ceil(bottom * y))
    return image.crop(part) if isinstance(image, Image.Image) else image[part[1] : part[3], part[0] : part[2]]


def outside_image(path: Path | str, box: tuple[int, int, int, int], width: int, height: int) -> DataError:
    """Return the error for a box that is not within its image."""
    return DataError(f"{path}: box {box} is not within the image's {width} × {height} pixels", code="invalid-box")


def decode_part(
    path: Path,
    choose: ChoosePart,
    *,
    at_least: tuple[int, int],
    background: Background = "contrast",
    data: bytes | None = None,
) -> tuple[OpenedImage, Box]:
    """Decode an image as RGB, upright, and return it with the chosen part in its pixels.

    Args:
        path: The file.
        choose: Picks the part from the (width, height) of the upright image in the file.
        at_least: (width, height) to which the caller resizes the part. A JPEG may be decoded smaller, as in `decode`.
        background: What transparency is put on.
        data: The bytes of the file, where they are already read.

    Raises:
        ImageError: The file is not a usable image.
    """
    decoded = open_image(
        read(path) if data is None else data, path, at_least=at_least, box=choose, background=background
    )
    image = decoded.rgb
    width, height = size_of(image)
    x, y = width / decoded.width, height / decoded.height
    left, top, right, bottom = choose(decoded.width, decoded.height)
    return image, (left * x, top * y, min(right * x, width), min(bottom * y, height))


def shown_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the upright image, usually from its header alone, so that a cut file goes unnoticed.

    Raises ImageError for a file that is not a usable image.
    """
    with readable(path), _opened(path) as file, quiet_pillow:
        image = identify(file, path)
        turn = orientation(image)
        if image.format in JPEG or turn == 1:
            return turned(image.size, turn)
    decoded = open_image(read(path), path)  # Pillow itself turns some formats during decoding
    return decoded.width, decoded.height


def has_transparency(path: Path) -> bool:
    """Return whether the image may have transparent pixels, by its header. False for a file that is not an image."""
    try:
        with _opened(path) as file, quiet_pillow:
            if file.read(len(_JPEG_START)) == _JPEG_START:
                return False
            file.seek(0)
            return identify(file, path).has_transparency_data
    except (ImageError, OSError):
        return False


def read(path: Path) -> bytes:
    """Read a file that may be an image. Raises ImageError for an empty file, and unread for a huge one or no image."""
    if (member := split_member(path)) is not None:
        return _read_member(member, path)
    if isinstance(path, RemotePath):
        return read_remote(path, MAX_BYTES)
    with readable(path):
        refuse_pipe(path)
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _LARGE:
                with quiet_pillow:
                    identify(file, path)
            check_bytes(path, size, MAX_BYTES)
            file.seek(0)
            data = file.read()
    return not_empty(path, data)


def _read_member(member: Member, path: Path) -> bytes:
    """Read an image inside a packed file, as `read` does a file."""
    with member_problems(path):
        packed = packed_file(member)
        size = packed.size(member.key) or 0
        if size > _LARGE:
            with packed.open(member.key) as file, quiet_pillow:
                identify(file, path)
        check_bytes(path, size, MAX_BYTES)
        data = packed.read(member.key)
    return not_empty(path, data)


def _opened(path: Path) -> IO[bytes]:
    """Open a file that may be an image. Raises OSError, and ImageError for one inside a packed file."""
    if (member := split_member(path)) is not None:
        return open_member(member, path)
    refuse_pipe(path)
    return path.open("rb")


def from_pil(image: Image.Image, background: Background = "contrast") -> Image.Image:
    """Convert an image that was opened elsewhere: upright, RGB, without transparency, as `decode` does.

    Raises ImageError when its data cannot be read.
    """
    with quiet_pillow:
        flat, turn = flattened(image, getattr(image, "filename", "") or "the image", background)
        flat = transposed(flat, turn)
    flat = flat.copy() if flat is image else flat  # the caller's image keeps its info
    flat.info.clear()
    return flat if flat.mode == "RGB" else flat.convert("RGB")
