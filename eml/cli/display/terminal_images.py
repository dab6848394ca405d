"""Thumbnails in a terminal that shows images: kitty's protocol or sixel, by the extra `terminal-images`."""

from __future__ import annotations

import io
import sys
from base64 import b64decode
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from eml.indexing.answers import ImagePlace

SIDE, GAP, PAPER = 160, 8, (128, 128, 128)  # pixels of a cell and between two; the colour of what cannot be read
CELL = 14  # columns of an image


def image_rows(places: Sequence[ImagePlace], *, has_query: bool = True) -> None:
    """Print a query and its neighbours as a row of images, above their table; nothing where images cannot be shown.

    has_query: Whether the first one is the query; a text has no image.
    """
    from eml.cli.display import console

    if console.results_are_hidden() or (renderer := terminal_renderer()) is None:
        return
    terminal = console.console(stderr=False)
    fitting = places[: max(1, terminal.width // CELL)]
    terminal.print(renderer(draw_strip(fitting, has_query=has_query), width=min(terminal.width, CELL * len(fitting))))


@cache
def terminal_renderer() -> Any:
    """Return textual-image's class for the protocol that the terminal speaks; None where it speaks none."""
    is_terminal = sys.stdout.isatty() and sys.stdout is sys.__stdout__ and sys.stdin is not None and sys.stdin.isatty()
    if not is_terminal or find_spec("textual_image") is None:
        return None
    from textual_image.renderable import Image, SixelImage, TGPImage  # asks the terminal

    return Image if Image in (SixelImage, TGPImage) else None


def draw_strip(places: Sequence[ImagePlace], *, has_query: bool = True) -> Image.Image:
    """Return the thumbnails side by side, the query apart from its neighbours."""
    from PIL import Image

    width = len(places) * (SIDE + GAP) + 2 * GAP
    strip = Image.new("RGBA", (width, SIDE))
    for number, place in enumerate(places):
        left = number * (SIDE + GAP) + (3 * GAP if number and has_query else 0)
        small = place.thumbnail(SIDE)
        image = Image.new("RGB", (SIDE // 2, SIDE // 2), PAPER)
        if small.source:
            image = Image.open(io.BytesIO(b64decode(small.source.partition(",")[2]))).convert("RGB")
        strip.paste(image, (left + (SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return strip
