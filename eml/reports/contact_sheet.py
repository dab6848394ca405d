"""Images in rows and columns under a title: to be looked at."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from eml.errors import OutputError
from eml.files import unwritable, whole_file

SMALLEST, LARGEST = 96, 256  # sides between which an image is shown (pixels)
MARGIN, LINE = 8, 20
PAPER = "#ececec"  # on which a white image shows its edges
MADE_BY = "eml contact sheet"
SUFFIXES = (".png", ".jpg", ".jpeg")

Row = tuple[str, Sequence[NDArray[np.uint8]]]
"""What stands above a row, and its images, (H, W, 3) uint8 all of one size."""


def refuse_sheet(path: Path, *, overwrite: bool) -> None:
    """Raises OutputError for no name of an image, a file that is no earlier sheet, and what cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: an image is written, so its name ends in {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not overwrite and not _is_sheet(path):
        raise OutputError(f"{path}: exists and was not made by eml; give --overwrite or another --out")
    if told := unwritable(path.parent):
        raise OutputError(f"{told}. Give another --out")


def draw_sheet(path: Path, title: str, columns: Sequence[str], rows: Sequence[Row]) -> Path:
    """Write the sheet, as PNG or, by its suffix, JPEG; returns `path`.

    Images are enlarged by a whole number where they are small, with their pixels visible, and never cut.
    """
    side = rows[0][1][0].shape[0]
    shown = side * max(1, -(-SMALLEST // side)) if side < LARGEST else LARGEST
    width = MARGIN + len(columns) * (shown + MARGIN)
    font, bold = _font("DejaVuSans.ttf"), _font("DejaVuSans-Bold.ttf")
    letter = bold.getlength(title) / max(1, len(title))
    lines = textwrap.wrap(title, int((width - 2 * MARGIN) * 0.97 / letter)) or [""]
    top = MARGIN + LINE * (len(lines) + 1)
    sheet = Image.new("RGB", (width, top + len(rows) * (LINE + shown + MARGIN)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((MARGIN, MARGIN + number * LINE), line, "black", bold)
    for column, name in enumerate(columns):
        pen.text((MARGIN + column * (shown + MARGIN), top - LINE + 2), name, "black", font)
    for row, (name, images) in enumerate(rows):
        y = top + row * (LINE + shown + MARGIN)
        pen.text((MARGIN, y + 2), _cut(name, width - 2 * MARGIN, font), "#555555", font)
        for column, pixels in enumerate(images):
            sheet.paste(_resized(pixels, shown), (MARGIN + column * (shown + MARGIN), y + LINE))
    _save(sheet, path)
    return path


def _resized(pixels: NDArray[np.uint8], shown: int) -> Image.Image:
    larger = shown > pixels.shape[0]
    how = Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize((shown, shown), how)


def _font(name: str) -> Any:
    """matplotlib's own, which has the letters of most labels."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), 13)


def _cut(text: str, width: int, font: Any) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _save(sheet: Image.Image, path: Path) -> None:
    with whole_file(path) as temporary, temporary.open("wb") as file:
        if path.suffix.lower() == ".png":
            facts = PngImagePlugin.PngInfo()
            facts.add_text("Software", MADE_BY)
            sheet.save(file, "PNG", pnginfo=facts, optimize=True)
        else:
            sheet.save(file, "JPEG", quality=85, optimize=True, comment=MADE_BY)


def _is_sheet(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            comment = image.info.get("comment", b"")
            return image.info.get("Software") == MADE_BY or comment == MADE_BY.encode()
    except OSError:
        return False
