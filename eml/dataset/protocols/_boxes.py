"""Boxes of downloads in eml's columns: pixels from 0, right and bottom exclusive."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from eml.dataset.columns import BOX
from eml.dataset.problems import short_repr
from eml.errors import DataError


def corner_box(source: Path, words: Sequence[str]) -> dict[str, int]:
    """Return the box of `x y width height`, decimal numbers, with all pixels that it touches."""
    try:
        x, y, width, height = (float(word) for word in words)
        return dict(
            zip(BOX, map(int, (math.floor(x), math.floor(y), math.ceil(x + width), math.ceil(y + height))), strict=True)
        )
    except (ValueError, OverflowError) as error:
        text = f"{source}: a box is four numbers x y width height, got {short_repr(' '.join(words))}"
        raise DataError(text, code="invalid-box", parameter="dataset") from error


def inclusive_box(x_1: int, y_1: int, x_2: int, y_2: int) -> dict[str, int]:
    """Return the box of MATLAB's pixels, which count from 1 and include the last one."""
    return {"x_1": x_1 - 1, "y_1": y_1 - 1, "x_2": x_2, "y_2": y_2}


def clipped(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return a table with width and height whose boxes end at their images' borders, and how many were cut.

    A box that has no pixel within its image becomes the whole image.
    """
    if not set(BOX) <= set(frame):
        return frame, 0
    before = frame[list(BOX)].astype("int64")
    box = before.clip(lower=0)
    box["x_2"] = box["x_2"].clip(upper=frame["width"])
    box["y_2"] = box["y_2"].clip(upper=frame["height"])
    outside = (box["x_1"] >= box["x_2"]) | (box["y_1"] >= box["y_2"])
    box.loc[outside, ["x_1", "y_1"]] = 0
    box.loc[outside, "x_2"], box.loc[outside, "y_2"] = frame["width"][outside], frame["height"][outside]
    return frame.assign(**{name: box[name] for name in BOX}), int((box != before).any(axis=1).sum())
