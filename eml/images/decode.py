"""The one decode path: every command that looks at pixels gets them from here.

What becomes of a file, whatever its name says:

- EXIF orientation is applied; colour profiles are ignored (the numbers are taken as sRGB).
- Transparency, in whatever form, is laid on white. Palettes, grey, 1-bit, CMYK, YCbCr, HSV and LAB become RGB.
- 16-bit colour is divided by 256. 16-bit grey is divided by 2^(b−8), b the smallest of 8, 10, 12, 14 and 16 bits that
  holds the image's largest value: many sensors use the lower bits only. 32-bit integers and floats have no range of
  their own: the image's smallest value becomes black, its largest white.
- Animations and files of several pages: the first frame.
- A file that ends too early is refused; Pillow is never asked to make up the rest.
"""

import io
import math
import os
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Literal

import numpy as np
from PIL import ExifTags, Image

from eml.errors import DataError

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels, right and bottom exclusive."""

Choose = Callable[[int, int], Box]
"""(width, height) of an upright image → the part of it that is wanted, within it."""

Reason = Literal["missing", "empty", "not_an_image", "truncated", "too_large", "unsupported", "unreadable"]

MAX_PIXELS = 2**27
"""Images with more pixels (134 million; phone cameras end at 108) are refused from their header, before decoding."""

MAX_BYTES = 2**30
"""Files with more bytes are refused unread."""

FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000"),
    *("ICO", "QOI", "PSD", "DDS", "DIB", "PCX", "SGI", "ICNS", "TGA"),
)
"""What is read, likeliest first. Pillow's other formats start other programs (EPS), are mere stubs, or archaic."""

_UNSUPPORTED = {
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"gimp xcf": "a GIMP file (XCF)",
}
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_END = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}
_JPEG = ("JPEG", "MPO")
_LARGE = 2**26  # bytes; above this, a look at the header decides whether the rest is read at all
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(DataError):
    """A file that is no usable image: `reason`, one of a small set, and `detail`, a line for people."""

    def __init__(self, path: Path | str, reason: Reason, detail: str) -> None:
        super().__init__(f"{path}: {detail} ({reason})")
        self.path, self.reason, self.detail = path, reason, detail

    def __reduce__(self) -> tuple[type["ImageError"], tuple[Path | str, Reason, str]]:
        return ImageError, (self.path, self.reason, self.detail)


@dataclass(frozen=True)
class DecodedImage:
    """An image that was decoded to its end: upright, 8-bit grey (L) or RGB, without transparency."""

    image: Image.Image
    """Perhaps smaller than the image in the file."""
    width: int
    """Of the whole image as shown, after EXIF orientation (pixels)."""
    height: int
    format: str
    """Pillow's name of what the file is, which its suffix may deny."""
    mode: str
    """Pillow's name of the pixel layout in the file."""


def decode(
    path: Path, *, at_least: tuple[int, int] | None = None, box: tuple[int, int, int, int] | None = None
) -> Image.Image:
    """The image as RGB, upright.

    box: (x_1, y_1, x_2, y_2) in pixels of the upright image, right and bottom exclusive; only this part is returned.
    at_least: (width, height) that the caller will resize to; a JPEG may then be decoded at 1/2, 1/4 or 1/8 of its size
    (and the box widened to whole pixels of that), never below `at_least` unless it is smaller itself.
    Raises ImageError for a file that cannot be used, DataError for a box that is not within the image.
    """
    return decode_bytes(read(path), path, at_least=at_least, box=box)


def decode_bytes(
    data: bytes,
    path: Path,
    *,
    at_least: tuple[int, int] | None = None,
    box: tuple[int, int, int, int] | None = None,
) -> Image.Image:
    """`decode` of what was read from the file already."""
    decoded = open_image(data, path, at_least=at_least, box=box)
    image = decoded.image if decoded.image.mode == "RGB" else decoded.image.convert("RGB")
    if box is None:
        return image
    left, top, right, bottom = box
    if not (0 <= left < right <= decoded.width and 0 <= top < bottom <= decoded.height):
        raise DataError(f"{path}: box {box} is not within the image's {decoded.width} × {decoded.height} pixels")
    x, y = image.width / decoded.width, image.height / decoded.height
    return image.crop((int(left * x), int(top * y), math.ceil(right * x), math.ceil(bottom * y)))


def decode_part(path: Path, choose: Choose, *, at_least: tuple[int, int]) -> tuple[Image.Image, Box]:
    """An image as RGB, upright, and where in it the wanted part lies, in pixels of what was decoded.

    at_least: (width, height) that the caller will resize the part to; a JPEG may be decoded smaller, as in `decode`.
    Raises ImageError for a file that cannot be used.
    """
    decoded = open_image(read(path), path, at_least=at_least, box=choose)
    image = decoded.image if decoded.image.mode == "RGB" else decoded.image.convert("RGB")
    x, y = image.width / decoded.width, image.height / decoded.height
    left, top, right, bottom = choose(decoded.width, decoded.height)
    return image, (left * x, top * y, min(right * x, image.width), min(bottom * y, image.height))


def shown_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright image, as a rule from its header alone: a file cut short is not noticed.

    Raises ImageError for a file that is no usable image.
    """
    try:
        with path.open("rb") as file, _quiet:
            image = _identify(file, path)
            turn = _orientation(image)
            if image.format in _JPEG or turn == 1:
                return image.size if turn < 5 else (image.height, image.width)
    except FileNotFoundError as error:
        raise ImageError(path, "missing", "no such file") from error
    except OSError as error:
        raise ImageError(path, "unreadable", error.strerror or str(error)) from error
    decoded = open_image(read(path), path)  # Pillow turns some formats itself, while it decodes them
    return decoded.width, decoded.height


def read(path: Path) -> bytes:
    """The bytes of a file that may be an image. Raises ImageError, unread, for what is empty, huge or no image."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _LARGE:
                with _quiet:
                    _identify(file, path)
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
    box: Box | Choose | None = None,
    luma: bool = False,
) -> DecodedImage:
    """The bytes of a file, decoded to their end. Raises ImageError, which names `path`.

    The whole image is returned; at_least applies to its part `box`, if given, as pixels or as a function of the
    image's (width, height).
    luma: brightness is enough, which spares a JPEG the work of making colours; other formats come as they are.
    """
    with _quiet:
        image = _identify(io.BytesIO(data), path)
        format_, mode, size = image.format or "", image.mode, image.size
        if format_ in _JPEG:
            lying = _orientation(image) >= 5
            size = size[::-1] if lying else size
            wanted = _wanted(size, at_least, box(*size) if callable(box) else box)
            image.draft("L" if luma else None, wanted[::-1] if lying else wanted)
        flat = _upright(image, path)
    flat.info.clear()  # its orientation is applied, its transparency gone; nobody shall do either again
    width, height = size if format_ in _JPEG else flat.size
    return DecodedImage(flat, width, height, format_, mode)


def from_pil(image: Image.Image) -> Image.Image:
    """An image opened elsewhere as `decode` would give it: upright, RGB, transparency on white.

    Raises ImageError when its data cannot be read.
    """
    with _quiet:
        flat = _upright(image, getattr(image, "filename", "") or "the image given")
    flat = flat.copy() if flat is image else flat  # the caller's image keeps its info
    flat.info.clear()
    return flat if flat.mode == "RGB" else flat.convert("RGB")


def _upright(image: Image.Image, path: Path | str) -> Image.Image:
    """Loaded, flattened, turned by its EXIF orientation."""
    try:
        image.load()
    except Exception as error:  # Pillow's plugins let through whatever comes; the file is at fault in any case
        raise _load_error(error, path) from error
    try:
        flat = _flat(image)
    except Exception as error:
        detail = f"{image.format} of mode {image.mode} cannot be turned into colours: {error}"
        raise ImageError(path, "unsupported", detail) from error
    # Asked for after loading: a TIFF is then turned by Pillow itself, and the EXIF data of a PNG may come last.
    turn = _TRANSPOSE.get(_orientation(image))
    return flat if turn is None else flat.transpose(turn)


class _Quiet:
    """Pillow's warnings turned off: about sizes, which are checked here, and about EXIF data, which nobody can mend.

    Filters are the whole process's, and `catch_warnings` would leave them wrong where threads overlap: the first
    thread in sets them, the last one out restores them.
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


_quiet = _Quiet()


def _identify(file: IO[bytes], path: Path | str) -> Image.Image:
    try:
        image = Image.open(file, formats=_formats())
    except Image.DecompressionBombError as error:
        count = re.search(r"\d+", str(error))
        raise _too_large(path, f"{int(count[0]):,} pixels" if count else "too many pixels") from error
    except Exception as error:
        file.seek(0)
        raise _not_identified(error, file.read(4096), file, path) from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path, f"{image.width:,} × {image.height:,} pixels")
    return image


@cache
def _formats() -> tuple[str, ...]:
    Image.init()  # AVIF is missing in older Pillows, others in stripped ones
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


def _load_error(error: Exception, path: Path | str) -> ImageError:
    text = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return _too_large(path, "more pixels than its header says")
    if _ends_early(error):
        return ImageError(path, "truncated", "the file ends before the image does")
    return ImageError(path, "unreadable", f"broken data: {text}")


def _ends_early(error: Exception) -> bool:
    return isinstance(error, EOFError) or any(words in str(error).lower() for words in ("truncated", "not enough"))


def _too_large(path: Path | str, found: str) -> ImageError:
    return ImageError(path, "too_large", f"{found}; at most {MAX_PIXELS:,} are decoded")


def _cut_short(file: IO[bytes]) -> bool:
    """Whether a file with a broken header lacks the end that its format asks for."""
    file.seek(0)
    start = file.read(12)
    size = file.seek(0, os.SEEK_END)
    if start.startswith(b"RIFF"):
        return size < 8 + int.from_bytes(start[4:8], "little")
    if start.startswith((b"II*\0", b"MM\0*")):  # the directory of a TIFF may lie at its end
        return size < int.from_bytes(start[4:8], "little" if start.startswith(b"II") else "big") + 2
    file.seek(max(0, size - 4096))
    tail = file.read().rstrip(b"\0")
    return any(start.startswith(magic) and not tail.endswith(end) for magic, end in _END.items())


def _wanted(size: tuple[int, int], at_least: tuple[int, int] | None, box: Box | None) -> tuple[int, int]:
    """The smallest (width, height) of the whole upright image that leaves its box, or itself, `at_least` large."""
    if at_least is None:
        return size
    if box is None:
        return at_least
    width, height = max(1, box[2] - box[0]), max(1, box[3] - box[1])
    return math.ceil(at_least[0] * size[0] / width), math.ceil(at_least[1] * size[1] / height)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF data are broken in as many ways as there are cameras; then the image is as it lies
        return 1


def _flat(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _eight_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):
        bits = next(bits for bits in (8, 10, 12, 14, 16) if int(values.max()) < 2**bits or bits == 16)
        grey = (values >> (bits - 8)).astype(np.uint8)
    else:
        known = values[np.isfinite(values)].astype(np.float64)
        low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
        scaled = (np.nan_to_num(values.astype(np.float64), nan=low) - low) * (255 / (high - low) if high > low else 0)
        grey = scaled.clip(0, 255).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)
