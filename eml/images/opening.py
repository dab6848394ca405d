"""The opening of image files: identified, decoded within the memory's limit, flattened, and upright."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from eml.images.flatten import Background, flatten, scale_transparency
from eml.images.format_plugins import JXL
from eml.images.identify import ImageError, identify, load_error, quiet_pillow
from eml.images.jpeg import Pixels, decode_jpeg
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

OpenedImage = Image.Image | Pixels
"""An RGB image, upright, possibly smaller than in its file: a Pillow image, or (H, W, 3) uint8."""

ChoosePart = Callable[[int, int], Box]
"""(width, height) of an upright image → a box within it."""

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

    content: Image.Image | Pixels
    """The image, possibly smaller than in the file: of Pillow, or an array (H, W, 3) of RGB or (H, W) of grey."""
    width: int
    """Width of the whole image as shown, after EXIF orientation (pixels)."""
    height: int
    """Height of the whole image as shown."""
    format: str
    """Pillow's name of the file's format, which may differ from its suffix."""
    mode: str
    """Pillow's name of the file's pixel layout."""

    @cached_property
    def image(self) -> Image.Image:
        """The content as an image of Pillow."""
        return of_pillow(self.content)

    @property
    def rgb(self) -> OpenedImage:
        """The content as RGB, of the kind that it is of."""
        if isinstance(self.content, Image.Image):
            return self.content if self.content.mode == "RGB" else self.content.convert("RGB")
        return self.content if self.content.ndim == 3 else np.repeat(self.content[..., None], 3, axis=2)


def size_of(image: OpenedImage) -> tuple[int, int]:
    """Return (width, height)."""
    return image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])


def of_pillow(content: OpenedImage) -> Image.Image:
    """Return an opened image as one of Pillow."""
    return content if isinstance(content, Image.Image) else Image.fromarray(content)


@dataclass(frozen=True)
class _Request:
    """The arguments of `open_image`."""

    data: bytes
    path: Path | str
    at_least: tuple[int, int] | None
    box: Box | ChoosePart | None
    luma: bool
    background: Background


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
    request = _Request(data, path, at_least, box, luma, background)
    with quiet_pillow:
        image = identify(io.BytesIO(data), path)
        return _open_jpeg(image, request) if image.format in JPEG else _open_other(image, request)


def _open_jpeg(image: Image.Image, request: _Request) -> DecodedImage:
    """Decode a JPEG that was identified, at the coarsest scale that is enough."""
    format_, mode, in_file, turn = image.format or "", image.mode, image.size, orientation(image)
    size = turned(in_file, turn)
    needed = turned(_needed_size(size, request), turn)
    with room.of(_draft(image, request, needed, is_turned=turn != 1)):
        pixels = decode_jpeg(image, in_file, request.data)
        if pixels is not None and turn == 1:
            return DecodedImage(pixels, *size, format_, mode)
        flat = flattened(image, request.path, request.background)[0] if pixels is None else Image.fromarray(pixels)
        del image, pixels
        flat = _finished(flat, turn, size, request)
    return DecodedImage(flat, *size, format_, mode)


def _open_other(image: Image.Image, request: _Request) -> DecodedImage:
    """Decode an image of another format that was identified."""
    format_, mode = image.format or "", image.mode
    with room.of(memory_of(image, request.data, request.path)):
        flat, turn = flattened(image, request.path, request.background)
        size = turned(flat.size, turn)
        del image  # its pixels, where they are not those of `flat`
        flat = _finished(flat, turn, size, request)
    return DecodedImage(flat, *size, format_, mode)


def _finished(flat: Image.Image, turn: int, size: tuple[int, int], request: _Request) -> Image.Image:
    """Reduce a flattened image where that is worth it, and turn it."""
    if request.at_least is not None and _is_worth_reducing(flat, turn, len(request.data), luma=request.luma):
        flat = _reduced(flat, turned(_needed_size(size, request), turn))
    check_turning(flat, turn, len(request.data), request.path)
    flat = transposed(flat, turn)
    flat.info.clear()  # orientation and transparency are applied, so neither may be applied twice
    return flat


def _draft(image: Image.Image, request: _Request, needed: tuple[int, int], *, is_turned: bool) -> int:
    """Set the scale at which a JPEG is decoded: as stored, it is not below `needed` if memory allows.

    Returns the bytes that decoding takes.
    """
    luma = request.luma and image.mode in ("L", "RGB")
    scale, memory = scale_of_jpeg(image, request.data, request.path, luma=luma, turned=is_turned)
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


def flattened(image: Image.Image, path: Path | str, background: Background) -> tuple[Image.Image, int]:
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
    return flat, orientation(image)


def transposed(flat: Image.Image, turn: int) -> Image.Image:
    """Return an image upright that was stored with an EXIF orientation."""
    return flat.transpose(_TRANSPOSE[turn]) if turn in _TRANSPOSE else flat


def turned(size: tuple[int, int], turn: int) -> tuple[int, int]:
    """Return a size (width, height) after the turn of an EXIF orientation, or before it."""
    return size[::-1] if turn in _LYING else size


def _needed_size(size: tuple[int, int], request: _Request) -> tuple[int, int]:
    """Return the smallest size of the whole upright image at which its box, or itself, is `at_least` large."""
    at_least, box = request.at_least, request.box
    if at_least is None:
        return size
    box = box(*size) if callable(box) else box
    if box is None:
        return at_least
    width, height = max(1, box[2] - box[0]), max(1, box[3] - box[1])
    return math.ceil(at_least[0] * size[0] / width), math.ceil(at_least[1] * size[1] / height)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 where it is upright or does not say."""
    if image.format == JXL.format and not getattr(image, "jpeg", False):
        return 1  # its own header says how it lies, and the decoder has turned it; a JPEG within is as it was
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF data can be broken in any way; then the image is not turned
        return 1
