"""Identification of image files: which files are usable images, and why the others are not."""

import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Literal, get_args

from PIL import Image

from eml.errors import DataError
from eml.images.format_plugins import JXL, STARTS, is_there, plugin_for
from eml.images.icons import ICONS, MAX_ICON_PIXELS, nested_sizes
from eml.images.jxl_size import HEADER, jxl_size

Reason = Literal[
    "missing", "empty", "not_an_image", "truncated", "too_large", "unsupported", "unreadable", "outside_dataset"
]

MAX_PIXELS = 2**27
"""Images with more pixels (134 million) are refused from their header, before decoding."""
MAX_JPEG_PIXELS = 2**28
"""The same for JPEGs (268 million; phone cameras end at 200), which can be decoded smaller."""
MAX_JXL_PIXELS = 2**25
"""The same for JPEG XL (34 million), which is decoded on opening it: 7 to 15 bytes per pixel."""

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
    b"gimp xcf": "a GIMP file (XCF)",
}
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


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Turn what the system says of a file that cannot be read into an ImageError."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(path, "missing", "no such file") from error
    except OSError as error:
        raise ImageError(path, "unreadable", error.strerror or str(error)) from error


def check_bytes(path: Path | str, size: int, at_most: int) -> None:
    """Raise an ImageError for a file of too many bytes."""
    if size > at_most:
        raise ImageError(path, "too_large", f"{size:,} bytes; at most {at_most:,} are read")


def not_empty(path: Path | str, data: bytes) -> bytes:
    """Return the bytes of a file. Raises ImageError where there are none."""
    if not data:
        raise ImageError(path, "empty", "0 bytes")
    return data


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
    plugin = plugin_for(file.read(STARTS))
    file.seek(0)
    if plugin is not None and not is_there(plugin):
        raise ImageError(path, "unsupported", f"{plugin.name}; {plugin.advice}")
    if plugin is JXL:
        _check_jxl(file, path)
    formats = _formats() if plugin is None else (plugin.format,)
    try:
        image = Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        if (jpeg := _large_jpeg(file)) is not None:
            return jpeg
        count = re.search(r"\d+", str(error))
        raise _too_large(path, f"{int(count[0]):,} pixels" if count else "too many pixels") from error
    except Exception as error:
        file.seek(0)
        if plugin is not None:
            raise _broken_start(plugin.name, error, file, path) from error
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
    if b"<svg" in start and start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        known = "SVG, a drawing without pixels"
    if known:
        return ImageError(path, "unsupported", f"{known}; convert it to PNG or JPEG")
    for name in _formats():
        accept = Image.OPEN[name][1]
        if accept is not None and _accepts(accept, start[:16]):
            return _broken_start(name, error, file, path)
    return ImageError(path, "not_an_image", "its bytes are of no known image format")


def _broken_start(name: str, error: Exception, file: IO[bytes], path: Path | str) -> ImageError:
    if _ends_early(error) or _cut_short(file):
        return ImageError(path, "truncated", f"a {name} that ends within its header")
    return ImageError(path, "unreadable", f"starts like a {name}, but its header is broken")


def _check_jxl(file: IO[bytes], path: Path | str) -> None:
    """Raise ImageError for a JPEG XL that has too many pixels, or does not say how many: opening one decodes it."""
    size = jxl_size(file.read(HEADER))
    file.seek(0)
    if size is None:
        raise ImageError(path, "unreadable", "a JPEG XL that does not say its size at its beginning")
    if size[0] * size[1] > MAX_JXL_PIXELS:
        raise _too_large(path, f"{size[0]:,} × {size[1]:,} pixels", MAX_JXL_PIXELS)


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
    if start[4:8] in (b"ftyp", b"JXL "):
        return _last_box_end(file, size) > size
    file.seek(max(0, size - 4096))
    tail = file.read().rstrip(b"\0")
    return any(start.startswith(magic) and not tail.endswith(end) for magic, end in _END.items())


def _last_box_end(file: IO[bytes], size: int) -> int:
    """Return where the last box of a file of boxes (HEIC, AVIF, JPEG XL) says to end."""
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0 or len(head) < 8:
            return size if length == 0 and len(head) >= 8 else size + 1
        place += max(8, length)
    return place
