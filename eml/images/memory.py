"""The memory that decoding an image takes, estimated from its header, and its limit.

A few kilobytes can describe a hundred million pixels, and decoders hold several copies of them. The bytes per pixel
were measured with tests/benchmarks/decode_memory.py on files of every format and mode; docs/images.md has the table.
"""

import os
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from eml.images.identify import ImageError
from eml.units import MIB

LIMIT = 640 * MIB
"""Bytes that decoding one image may take, its file included; images that need more are refused."""

JPEG = ("JPEG", "MPO")
SCALES = (1, 2, 4, 8)
"""A JPEG can be decoded at 1/1, 1/2, 1/4 or 1/8 of its size."""

MAX_PYTHON_PIXELS = 2**24
"""Most pixels of layouts that Pillow decodes in Python, a microsecond a pixel: QOI, plain PPM, uncompressed DDS, …"""

_UNSHARED = LIMIT // 16  # bytes; images that need less do not wait for one another
_SMALL = 2**20  # pixels; no format takes more than 32 bytes of each, so images up to here are not estimated
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # bytes per pixel; other modes: 4
_BUFFERS = {
    "WEBP": 14.0,
    "AVIF": 16.0,
    "HEIF": 8.0,
    "JXL": 12.0,
    "DDS": 8.0,
    "ICNS": 12.0,
    "ICO": 12.0,
    "PSD": 2.5,
    "SGI": 2.5,
}
"""Bytes per pixel that decoders hold besides the image."""
_OF_JPEG2000 = 5.6  # bytes per pixel of a tile and channel
_OF_TIFF = 8.0  # bytes per pixel of a strip
_TILE_WIDTH, _TILE_LENGTH, _ROWS_PER_STRIP = 322, 323, 278  # tags of a TIFF
_OF_PYTHON = 10.0  # bytes per pixel of decoders written in Python
_OF_OTHERS = 0.5


def memory_of(image: Image.Image, data: bytes, path: Path | str) -> int:
    """Return the bytes that decoding an opened image takes at its peak.

    Raises ImageError where it is too much, or where it would take minutes.
    """
    if image.width * image.height <= _SMALL:
        return len(data)
    if is_decoded_in_python(image) and image.width * image.height > MAX_PYTHON_PIXELS:
        text = f"{_describe(image)}: this layout is decoded slowly, and at most {MAX_PYTHON_PIXELS:,} pixels of it"
        raise ImageError(path, "too_large", text)
    return _within_limit(decoding_bytes(image, data), image, path)


def scale_of_jpeg(image: Image.Image, data: bytes, path: Path | str, *, luma: bool, turned: bool) -> tuple[int, int]:
    """Return the finest scale, 1, 2, 4 or 8, at which an opened JPEG can be decoded, and the bytes that this takes.

    Raises ImageError where it is too much at any scale.
    """
    if image.width * image.height <= _SMALL:
        return 1, len(data)
    for scale in SCALES:
        needed = jpeg_bytes(image, data, scale, luma=luma, turned=turned)
        if needed <= LIMIT:
            break
    return scale, _within_limit(needed, image, path)


def check_turning(flat: Image.Image, turn: int, file_bytes: int, path: Path | str) -> None:
    """Raise ImageError where turning a flattened image by its EXIF orientation would take too much memory."""
    if turn != 1:
        _within_limit(turning_bytes(flat, file_bytes), flat, path)


def _within_limit(needed: int, image: Image.Image, path: Path | str) -> int:
    if needed > LIMIT:
        raise ImageError(path, "too_large", f"{_describe(image)} {_too_much(needed)}")
    return needed


def _describe(image: Image.Image) -> str:
    format_ = f"{image.format} of " if image.format else ""
    return f"{format_}{image.width:,} × {image.height:,} pixels in mode {image.mode}"


def _too_much(needed: int) -> str:
    return f"needs {-(-needed // MIB):,} MiB of memory to decode; at most {LIMIT // MIB:,} MiB are used"


def decoding_bytes(image: Image.Image, data: bytes) -> int:
    """Return the bytes that loading and flattening an image take at their peak; `image` is opened, but not loaded."""
    stored = _STORED.get(image.mode, 4)
    flat = _flat_bytes(image)
    per_pixel = stored + max(_buffers(image, data, stored), flat)
    if flat == 1 or image.mode == "L":  # L becomes RGB in the end
        per_pixel = max(per_pixel, 1 + 4)
    return len(data) + int(image.width * image.height * per_pixel)


def turning_bytes(flat: Image.Image, file_bytes: int) -> int:
    """Return the bytes that turning a flattened image takes."""
    return file_bytes + 2 * flat.width * flat.height * _STORED.get(flat.mode, 4)


def jpeg_bytes(image: Image.Image, data: bytes, scale: int, *, luma: bool, turned: bool) -> int:
    """Return the bytes that decoding a JPEG at 1/scale takes at its peak; `image` is opened, but not loaded."""
    pixels = -(-image.width // scale) * -(-image.height // scale)
    stored = 1 if luma or image.mode == "L" else 4
    copies = 2 if turned or image.mode == "CMYK" else 1
    later = max(copies * stored, 5 if stored == 1 else 0)  # L becomes RGB in the end
    whole = image.width * image.height
    return len(data) + int(max(pixels * (stored + _OF_OTHERS) + whole * _coefficients(data), pixels * later))


def is_decoded_in_python(image: Image.Image) -> bool:
    """Return whether Pillow decodes an opened image with a decoder written in Python, some hundred times as slow."""
    tiles: Any = getattr(image, "tile", ())
    return any(tile[0] in Image.DECODERS for tile in tiles)


def _flat_bytes(image: Image.Image) -> int:
    """Return the bytes per pixel of the flattened image, 0 where it is the loaded one."""
    if image.mode.startswith(("I", "F")) or image.mode == "1":
        return 1
    return 0 if image.mode in ("L", "RGB") and not image.has_transparency_data else 4


def _buffers(image: Image.Image, data: bytes, stored: int) -> float:
    """Return the bytes per pixel that the decoder holds besides the image."""
    if is_decoded_in_python(image):
        return _OF_PYTHON
    if image.format == "JPEG2000":
        return 4.5 - stored + _OF_JPEG2000 * len(image.getbands()) * _share_of_tile(data, image.width * image.height)
    if image.format == "TIFF":
        return _OF_OTHERS + _OF_TIFF * _share_of_strip(image)
    return _BUFFERS.get(image.format or "", _OF_OTHERS)


def _share_of_tile(data: bytes, pixels: int) -> float:
    """Return the share of the image of a JPEG 2000 that its largest tile has, 1 where it does not say."""
    tiles = [struct.unpack(">II", match[1]) for match in re.finditer(rb"\xff\x4f\xff\x51.{20}(.{8})", data, re.DOTALL)]
    return min(1.0, max((width * height for width, height in tiles), default=pixels) / max(1, pixels))


def _share_of_strip(image: Image.Image) -> float:
    """Return the share of a TIFF that libtiff decodes at once: a strip or a tile."""
    tags: Any = getattr(image, "tag_v2", {})
    if all(tile[0] == "raw" for tile in getattr(image, "tile", ())):
        return 0.0
    try:
        width, rows = tags.get(_TILE_WIDTH, image.width), tags.get(_TILE_LENGTH, tags.get(_ROWS_PER_STRIP, 2**32))
        return float(min(1.0, max(1, width) * max(1, rows) / (image.width * image.height)))
    except Exception:  # tags can hold anything
        return 1.0


def _coefficients(data: bytes) -> float:
    """Return the bytes per pixel of the coefficients that libjpeg holds where a JPEG has several scans, else 0."""
    place, sampling, progressive = 2, [(1, 1)] * 4, True
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xFF:  # padding
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # the frame's header
            progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
            bytes_ = data[place + 11 : place + 2 + length : 3]
            sampling = [(value >> 4, value & 15) for value in bytes_]
        elif marker == 0xDA:  # the first scan
            if not progressive and data[place + 4 : place + 5] == bytes([len(sampling)]):
                return 0.0
            break
        place += 2 + length
    widest = max((h for h, _ in sampling), default=1) * max((v for _, v in sampling), default=1)
    return 2.0 * sum(h * v for h, v in sampling) / max(1, widest)


class Room:
    """Memory for large images: they are decoded one after the other where threads of a process would exceed it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)  # threads that hold room do not exist in the child

    def _reset(self) -> None:
        self._free, self._used = threading.Condition(), 0

    @contextmanager
    def of(self, needed: int) -> Iterator[None]:
        """Wait until there is room for `needed` bytes, and hold it."""
        if needed < _UNSHARED:
            yield
            return
        with self._free:
            while self._used and self._used + needed > self._size:
                self._free.wait()
            self._used += needed
        try:
            yield
        finally:
            with self._free:
                self._used -= needed
                self._free.notify_all()


room = Room(LIMIT)
