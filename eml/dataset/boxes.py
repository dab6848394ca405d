"""Boxes are checked against their images before the first batch is made of them."""

from contextlib import nullcontext

import pandas as pd

from eml.dataset.columns import BOX, SIZE, box_beyond_image, boxed
from eml.dataset.problems import RowProblems, at_lines, short_repr
from eml.dataset.table import Table
from eml.errors import DataError, Problem
from eml.images.decode import ImageError, shown_size
from eml.images.locate import image_path
from eml.progress import Progress

ImageSizes = dict[str, tuple[int, int] | ImageError]
"""(width, height) by file name, or why the size is unknown."""


def check_boxes(table: Table, progress: Progress | None = None) -> None:
    """Raise a DataError, with the table's lines, for boxes that reach out of their images.

    A table with `width` and `height` was checked when it was read; for others the header of each image with a box is
    read.
    """
    frame = table.frame
    boxes = frame[boxed(frame)]
    if boxes.empty or set(SIZE) <= set(frame.columns):
        return
    sizes: ImageSizes = {}
    names = boxes["file_name"].unique()
    with progress("checking boxes", len(names)) if progress else nullcontext(lambda done: None) as advance:
        for name in names:
            try:
                sizes[name] = shown_size(image_path(table.root, name))
            except ImageError as error:
                sizes[name] = error
            advance(1)
    if problems := _problems(boxes, sizes):
        raise DataError(at_lines(table.path, problems))


def _problems(boxes: pd.DataFrame, sizes: ImageSizes) -> RowProblems:
    problems: RowProblems = []
    for row, name, right, bottom in boxes[["file_name", *BOX[2:]]].itertuples():
        size = sizes[name]
        if isinstance(size, ImageError):
            problems.append((row, Problem(f"{short_repr(name)}: {size.detail} ({size.reason})", size.code)))
        elif right > size[0] or bottom > size[1]:
            problems.append((row, box_beyond_image(boxes, row, *size)))
    return problems
