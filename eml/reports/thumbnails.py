"""Small copies of images, within the page itself."""

import io
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from eml.images.decode import ImageError, decode
from eml.threads import in_order

SIDE, QUALITY = 160, 75  # pixels of the longer side; JPEG quality


class Thumbnail(NamedTuple):
    """source: a data URI, empty where the image cannot be read any more; then `problem` says why."""

    source: str
    width: int
    height: int
    problem: str = ""


def thumbnail(path: Path, box: tuple[int, int, int, int] | None = None, side: int = SIDE) -> Thumbnail:
    """The image, or its box, as every other command sees it: at most `side` px wide and high, never enlarged."""
    try:
        image = decode(path, at_least=(side, side), box=box)
    except ImageError as error:
        return Thumbnail("", side, side, error.reason)
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(f"data:image/jpeg;base64,{b64encode(data.getvalue()).decode()}", image.width, image.height)


def thumbnails(
    root: Path, names: Sequence[str], progress: Callable[[int], None] | None = None, side: int = SIDE
) -> dict[str, Thumbnail]:
    """Of each file name, over threads: Pillow lets go of the interpreter while it decodes."""
    wanted = sorted(set(names))
    made = {}
    for name, small in zip(
        wanted, in_order(partial(thumbnail, side=side), (root / name for name in wanted)), strict=True
    ):
        made[name] = small
        if progress:
            progress(1)
    return made
