"""Small copies of images as data URIs, for pages and notebooks."""

import io
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from eml.images.decode import ImageError, decode
from eml.images.locate import image_path
from eml.threads import in_order

SIDE, LARGE = 160, 320  # pixels of the longer side: of an image that is only small, and of one that enlarges
QUALITY = 72  # of WebP, which takes about two thirds of the bytes of an equally good JPEG


class Thumbnail(NamedTuple):
    """A small WebP image as a data URI; `source` is empty if the image cannot be read, and `problem` says why."""

    source: str
    width: int
    height: int
    problem: str = ""


def thumbnail(root: Path, name: str, box: tuple[int, int, int, int] | None = None, side: int = SIDE) -> Thumbnail:
    """Decode an image as every other command does and shrink it to `side` px; smaller images are not enlarged.

    Args:
        root: The folder of the images.
        name: The image file, relative to it.
        box: The part to show: x_1, y_1, x_2, y_2 in pixels, right and bottom exclusive.
        side: Largest width and height, in pixels.
    """
    try:
        path = image_path(root, name)
    except ImageError as error:
        return Thumbnail("", side, side, error.reason)
    return file_thumbnail(path, box, side)


def file_thumbnail(path: Path, box: tuple[int, int, int, int] | None = None, side: int = SIDE) -> Thumbnail:
    """Return the thumbnail of a file that its user named, which may be anywhere; otherwise like `thumbnail`."""
    try:
        image = decode(path, at_least=(side, side), box=box)
    except ImageError as error:
        return Thumbnail("", side, side, error.reason)
    return shrink(image, side)


def shrink(image: Image.Image, side: int = SIDE) -> Thumbnail:
    """Return a decoded RGB image as a thumbnail; the image itself is made smaller where it is larger."""
    data = small_webp(image, side)
    return Thumbnail(f"data:image/webp;base64,{b64encode(data).decode()}", image.width, image.height)


def small_webp(image: Image.Image, side: int = SIDE) -> bytes:
    """Return a decoded RGB image as a small WebP file without metadata; the image itself is made smaller."""
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    data = io.BytesIO()
    image.save(data, "WEBP", quality=QUALITY)
    return data.getvalue()


def thumbnails(
    root: Path, names: Sequence[str], progress: Callable[[int], None] | None = None, side: int = SIDE
) -> dict[str, Thumbnail]:
    """Make a thumbnail for each file name, in threads: Pillow releases the interpreter lock while it decodes.

    Args:
        root: The folder that the names are relative to.
        names: The file names; one that occurs twice is decoded once.
        progress: A function called with 1 after each image.
        side: Largest width and height of a thumbnail, in pixels.
    """
    unique = sorted(set(names))
    images = in_order(partial(thumbnail, root, side=side), unique)
    by_name = {}
    for name, image in zip(unique, images, strict=True):
        by_name[name] = image
        if progress:
            progress(1)
    return by_name
