"""Boxes that lie within their images: known before the first batch is made of them."""

from contextlib import nullcontext
from typing import Any

import pandas as pd

from eml.dataset.columns import BOX, SIZE, Problems, beyond_image, boxed
from eml.dataset.problems import at_lines
from eml.dataset.table import Table
from eml.errors import DataError
from eml.images.decode import ImageError, shown_size
from eml.progress import Progress


def check_boxes(table: Table, progress: Progress | None = None) -> None:
    """DataError, with the table's lines, for boxes that reach out of their images.

    A table with `width` and `height` was checked when it was read; of another, the header of each image with a box is
    read.
    """
    frame = table.frame
    boxes = frame[boxed(frame)]
    if boxes.empty or set(SIZE) <= set(frame.columns):
        return
    sizes: dict[str, tuple[int, int] | ImageError] = {}
    names = boxes["file_name"].unique()
    with progress("checking boxes", len(names)) if progress else nullcontext(lambda done: None) as advance:
        for name in names:
            try:
                sizes[name] = shown_size(table.root / name)
            except ImageError as error:
                sizes[name] = error
            advance(1)
    if problems := _problems(boxes, sizes):
        raise DataError(at_lines(table.path, problems) if table.path else [text for _, text in problems])


def _problems(boxes: pd.DataFrame, sizes: dict[str, Any]) -> Problems:
    found: Problems = []
    for row, name, right, bottom in boxes[["file_name", *BOX[2:]]].itertuples():
        if isinstance(size := sizes[name], ImageError):
            found.append((row, f"{name!r}: {size.detail} ({size.reason})"))
        elif right > size[0] or bottom > size[1]:
            found.append((row, beyond_image(boxes, row, *size)))
    return found
