"""A contact sheet: images in rows and columns under a title."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from eml.files import whole_file
from eml.reports import own_plots

SMALLEST, LARGEST = 96, 256  # pixels: an image is shown with sides between these
MARGIN, LINE = 8, 20
PAPER = "#ececec"  # grey, so that the edges of a white image show
MADE_BY = "eml contact sheet"
SUFFIXES = (".png", ".jpg", ".jpeg")

SheetRow = tuple[str, Sequence[NDArray[np.uint8]]]
"""The text above a row and its images, (H, W, 3) uint8, all of one size."""


def refuse_sheet(path: Path, *, overwrite: bool) -> None:
    """Check before the work that a sheet can be written to `path`.

    Raises:
        OutputError: The name is not that of an image, is that of a folder or of a file that is not an earlier sheet,
            or cannot be written.
    """
    own_plots.refuse_plot(path, MADE_BY, "out", overwrite=overwrite, suffixes=SUFFIXES)


def draw_sheet(path: Path, title: str, columns: Sequence[str], rows: Sequence[SheetRow]) -> Path:
    """Write a sheet as PNG or JPEG, by its suffix.

    Small images are enlarged by a whole number, so that their pixels are visible. Images are never cropped.

    Args:
        path: The file to write.
        title: The text at the top, wrapped to the width of the sheet.
        columns: The name above each column.
        rows: The rows, each with one image per column.

    Returns:
        `path`.
    """
    shown_width, shown_height = _shown_size(*rows[0][1][0].shape[:2])
    width = MARGIN + len(columns) * (shown_width + MARGIN)
    font, bold = _font("DejaVuSans.ttf"), _font("DejaVuSans-Bold.ttf")
    letter = bold.getlength(title) / max(1, len(title))
    lines = textwrap.wrap(title, int((width - 2 * MARGIN) * 0.97 / letter)) or [""]
    top = MARGIN + LINE * (len(lines) + 1)
    sheet = Image.new("RGB", (width, top + len(rows) * (LINE + shown_height + MARGIN)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((MARGIN, MARGIN + number * LINE), line, "black", bold)
    for column, name in enumerate(columns):
        pen.text((MARGIN + column * (shown_width + MARGIN), top - LINE + 2), name, "black", font)
    for row, (name, images) in enumerate(rows):
        y = top + row * (LINE + shown_height + MARGIN)
        pen.text((MARGIN, y + 2), _shorten(name, width - 2 * MARGIN, font), "#555555", font)
        for column, pixels in enumerate(images):
            image = _resize(pixels, (shown_width, shown_height))
            sheet.paste(image, (MARGIN + column * (shown_width + MARGIN), y + LINE))
    _save(sheet, path)
    return path


def _shown_size(height: int, width: int) -> tuple[int, int]:
    """Return (width, height) at which an image is shown: the longer side decides, the aspect ratio stays."""
    longer = max(height, width)
    if longer >= LARGEST:
        return max(1, round(width * LARGEST / longer)), max(1, round(height * LARGEST / longer))
    times = max(1, -(-SMALLEST // longer))
    return width * times, height * times


def _resize(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    method = Image.Resampling.NEAREST if size[0] > pixels.shape[1] else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize(size, method)


def _font(name: str) -> Any:
    """Load one of matplotlib's own fonts, which have the letters of most labels."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), 13)


def _shorten(text: str, width: int, font: Any) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _save(sheet: Image.Image, path: Path) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        if path.suffix.lower() == ".png":
            texts = PngImagePlugin.PngInfo()
            for key, text in own_plots.signature(MADE_BY).items():
                texts.add_text(key, text)
            sheet.save(file, "PNG", pnginfo=texts, optimize=True)
        else:
            sheet.save(file, "JPEG", quality=85, optimize=True, comment=MADE_BY)
