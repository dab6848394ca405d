"""Identification of image files: which files are usable images, and why the others are not."""

import os
import re
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO, Literal, get_args

from PIL import Image

from eml.errors import DataError
from eml.images.icons import ICONS, MAX_ICON_PIXELS, nested_sizes

Reason = Literal[
    "missing", "empty", "not_an_image", "truncated", "too_large", "unsupported", "unreadable", "outside_dataset"
]

MAX_PIXELS = 2**27
"""Images with more pixels (134 million) are refused from their header, before decoding."""
MAX_JPEG_PIXELS = 2**28
"""The same for JPEGs (268 million; phone cameras end at 200), which can be decoded smaller."""

FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000"),
    *("ICO", "QOI", "PSD", "DDS", "DIB", "PCX", "SGI", "ICNS", "TGA"),
)
"""The supported formats, most common first.

Pillow's other formats start other programs (EPS), are mere stubs, or are archaic.
"""

_UNSUPPORTED = {
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"gimp xcf": "a GIMP file (XCF)",
}
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_END = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}


_REASON_CODES = {
    "missing": "missing-image",
    "empty": "empty-image",
    "truncated": "truncated-image",
    "too_large": "image-too-large",
    "unsupported": "unsupported-format",
    "unreadable": "unreadable-image",
}


def reason_code(reason: str) -> str:
    """Return the error code of a reason, as in dataset_errors.csv: `not_an_image` is `not-an-image`."""
    return _REASON_CODES.get(reason, reason.replace("_", "-"))


IMAGE_CODES = frozenset(reason_code(reason) for reason in get_args(Reason))
"""Error codes of files that are no usable images."""


class ImageError(DataError):
    """A file that is not a usable image.

    Args:
        path: The file.
        reason: The kind of the problem.
        detail: A text for people.
    """

    def __init__(self, path: Path | str, reason: Reason, detail: str) -> None:
        super().__init__(f"{path}: {detail} ({reason})", code=reason_code(reason))
        self.path, self.reason, self.detail = path, reason, detail

    def __reduce__(self) -> tuple[type["ImageError"], tuple[Path | str, Reason, str]]:
        return ImageError, (self.path, self.reason, self.detail)


class QuietPillow:
    """A context in which Pillow does not warn of sizes, which are checked here, and EXIF data, which nobody can repair.

    Warning filters belong to the whole process, and `catch_warnings` leaves them wrong when threads overlap. Therefore
    the first thread that enters sets them, and the last one that leaves restores them.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._restore = warnings.catch_warnings()
                self._restore.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._restore.__exit__(None, None, None)


quiet_pillow = QuietPillow()


def identify(file: IO[bytes], path: Path | str) -> Image.Image:
    """Open an image by its header, without decoding it.

    Raises ImageError, which names `path`, for a file that is not a supported image or has too many pixels.
    """
    _check_icon(file, path)
    try:
        image = Image.open(file, formats=_formats())
    except Image.DecompressionBombError as error:
        if (jpeg := _large_jpeg(file)) is not None:
            return jpeg
        count = re.search(r"\d+", str(error))
        raise _too_large(path, f"{int(count[0]):,} pixels" if count else "too many pixels") from error
    except Exception as error:
        file.seek(0)
        raise _not_identified(error, file.read(4096), file, path) from error
    most = MAX_JPEG_PIXELS if image.format in ("JPEG", "MPO") else MAX_PIXELS
    if image.width * image.height > most:
        raise _too_large(path, f"{image.width:,} × {image.height:,} pixels", most)
    return image


def _check_icon(file: IO[bytes], path: Path | str) -> None:
    """Raise ImageError for an icon with a large image inside, which Pillow would decode on opening it."""
    file.seek(0)
    if not file.read(4).startswith(ICONS):
        file.seek(0)
        return
    file.seek(0)
    for width, height in nested_sizes(file.read()):
        if width * height > MAX_ICON_PIXELS:
            raise _too_large(path, f"an icon with {width:,} × {height:,} pixels inside", MAX_ICON_PIXELS)
    file.seek(0)


def _large_jpeg(file: IO[bytes]) -> Image.Image | None:
    """Open a JPEG of more pixels than Pillow allows; None for any other file, and a JPEG of too many pixels."""
    try:
        file.seek(0)
        if file.read(3) != b"\xff\xd8\xff":
            return None
        file.seek(0)
        image = Image.OPEN["JPEG"][0](file, "")
    except Exception:  # Pillow's plugins raise any exception
        return None
    return image if image.width * image.height <= MAX_JPEG_PIXELS else None


@cache
def _formats() -> tuple[str, ...]:
    Image.init()  # AVIF is missing in older versions of Pillow, other formats in stripped builds
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _not_identified(error: Exception, start: bytes, file: IO[bytes], path: Path | str) -> ImageError:
    known = next((name for magic, name in _UNSUPPORTED.items() if start.startswith(magic)), None)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC:
        known = "HEIC"
    elif b"<svg" in start and start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        known = "SVG, a drawing without pixels"
    if known:
        return ImageError(path, "unsupported", f"{known}; convert it to PNG or JPEG")
    for name in _formats():
        accept = Image.OPEN[name][1]
        if accept is not None and _accepts(accept, start[:16]):
            if _ends_early(error) or _cut_short(file):
                return ImageError(path, "truncated", f"a {name} that ends within its header")
            return ImageError(path, "unreadable", f"starts like a {name}, but its header is broken")
    return ImageError(path, "not_an_image", "its bytes are of no known image format")


def _accepts(accept: Callable[[bytes], bool | str], start: bytes) -> bool:
    try:
        return accept(start) is True
    except Exception:  # Pillow's own checks fail on files of a few bytes
        return False


def load_error(error: Exception, path: Path | str) -> ImageError:
    """Turn an exception from Pillow's decoding into an ImageError."""
    text = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return _too_large(path, "more pixels than its header says")
    if _ends_early(error):
        return ImageError(path, "truncated", "the file ends before the image does")
    return ImageError(path, "unreadable", f"broken data: {text}")


def _ends_early(error: Exception) -> bool:
    return isinstance(error, EOFError) or any(words in str(error).lower() for words in ("truncated", "not enough"))


def _too_large(path: Path | str, size: str, most: int = MAX_PIXELS) -> ImageError:
    return ImageError(path, "too_large", f"{size}; at most {most:,} are decoded")


def _cut_short(file: IO[bytes]) -> bool:
    """Return whether a file with a broken header lacks the end that its format requires."""
    file.seek(0)
    start = file.read(12)
    size = file.seek(0, os.SEEK_END)
    if start.startswith(b"RIFF"):
        return size < 8 + int.from_bytes(start[4:8], "little")
    if start.startswith((b"II*\0", b"MM\0*")):  # a TIFF may have its directory at the end
        return size < int.from_bytes(start[4:8], "little" if start.startswith(b"II") else "big") + 2
    file.seek(max(0, size - 4096))
    tail = file.read().rstrip(b"\0")
    return any(start.startswith(magic) and not tail.endswith(end) for magic, end in _END.items())
