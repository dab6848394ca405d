"""Numbers about a table of images that need no look at an image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from eml.dataset.duplicates.blank import COLUMN, blank_rows
from eml.dataset.scanning.scan import errors_path
from eml.dataset.table import read_columns
from eml.reports.bins import Bin, histogram
from eml.reports.data.look_alikes import LookAlikeCounts
from eml.reports.data.table_states import TableState

SMALL = 32  # pixels of the shorter side: below it little is left to recognise
LISTED = 10  # classes, sizes and names shown of a longer list
CURVE_POINTS = 120

RATIOS = {  # width : height
    **{"1:4 or taller": 1 / 4, "1:3": 1 / 3, "1:2": 1 / 2, "9:16": 9 / 16, "2:3": 2 / 3, "3:4": 3 / 4, "1:1": 1.0},
    **{"4:3": 4 / 3, "3:2": 3 / 2, "16:9": 16 / 9, "2:1": 2.0, "3:1": 3.0, "4:1 or wider": 4.0},
}
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}  # names that phones and Windows use for the same formats


@dataclass(frozen=True)
class ClassCount:
    """A class and the number of its images."""

    label: str
    images: int


@dataclass(frozen=True)
class LargestTenth:
    """The largest tenth of the classes: their number, and the share of the images in them."""

    classes: int
    share: float


@dataclass(frozen=True)
class ClassSizes:
    """The images per class: their range, and how unevenly they are distributed."""

    min: int
    median: float
    max: int
    of_one: int
    """Classes of one image."""
    below_five: int
    """Classes of fewer than five images."""
    histogram: list[Bin]
    largest_tenth: LargestTenth
    for_half: int
    """Classes that hold half of the images, the largest first."""
    cumulative: list[list[float]]
    """[share of the classes, largest first; share of the images in them], from 0 to 1."""
    largest: list[ClassCount]
    smallest: list[ClassCount]
    """Without those among `largest`."""


@dataclass(frozen=True)
class SideLengths:
    """The range and histogram of a side, in pixels."""

    min: int
    median: float
    max: int
    histogram: list[Bin]


@dataclass(frozen=True)
class SizeCount:
    """A size in pixels and the number of its images."""

    width: int
    height: int
    images: int


@dataclass(frozen=True)
class ImageSizes:
    """Sides (pixels) and aspect ratios of the images."""

    short_side: SideLengths
    long_side: SideLengths
    below_32: int
    """Images with a shorter side below 32 px."""
    ratios: dict[str, int]
    distinct: int
    """The number of different sizes."""
    common: list[SizeCount]


@dataclass(frozen=True)
class ImageFormats:
    """File formats and pixel modes, and files whose name says another format."""

    formats: dict[str, int]
    modes: dict[str, int]
    """Empty if the table has no modes."""
    misnamed: int
    misnamed_first: list[str]


@dataclass(frozen=True)
class UnusableFiles:
    """Files that the scan could not use."""

    list: str
    """The table that lists them."""
    files: int
    reasons: dict[str, int]
    first: dict[str, Any]
    """By reason, `file_name` and `detail` of the first files."""


@dataclass(frozen=True)
class BlankImages:
    """Images of one colour, which show nothing."""

    images: int
    first: list[str]
    """The first of their file names."""


@dataclass(frozen=True)
class DataFacts:
    """The numbers of a data report."""

    dataset: Path
    """The folder or table, as the user gave it."""
    table: Path | None
    root: Path
    images: int
    classes: int
    bytes: int | None
    """None if the table has no file sizes."""
    boxes: int | None
    """None if the table has one row per image."""
    class_sizes: ClassSizes
    sizes: ImageSizes | None
    formats: ImageFormats | None
    errors: UnusableFiles | None
    blank: BlankImages | None
    """None if the table does not say."""
    look_alikes: LookAlikeCounts | None
    not_compared: str | None
    """Why there are no look-alikes."""
    tables: list[TableState]
    unknown_label: str | None = None
    unknown_images: int = 0
    """Those of `images` with the unknown label, which is no class."""
    label_hint: str | None = None
    """That the largest class reads like one of unknown images."""


def count_classes(labels: "pd.Series[str]") -> ClassSizes:
    """Count the images of each class."""
    sizes = labels.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    numbers, total = sizes.to_numpy(), len(labels)
    running = np.cumsum(numbers)
    tenth = math.ceil(len(sizes) / 10)
    classes = [ClassCount(str(label), int(size)) for label, size in sizes.items()]
    return ClassSizes(
        min=int(sizes.min()),
        median=_median(sizes),
        max=int(sizes.max()),
        of_one=int((numbers == 1).sum()),
        below_five=int((numbers < 5).sum()),
        histogram=histogram(numbers),
        largest_tenth=LargestTenth(tenth, float(running[tenth - 1] / total)),
        for_half=int(np.searchsorted(running, total / 2) + 1),
        cumulative=_cumulative_curve(running),
        largest=classes[:LISTED],
        smallest=classes[LISTED:][-LISTED:],
    )


def _cumulative_curve(running: NDArray[Any]) -> list[list[float]]:
    at = np.unique(np.linspace(0, len(running) - 1, min(CURVE_POINTS, len(running))).round().astype(int))
    points = [[round(float(i + 1) / len(running), 4), round(float(running[i] / running[-1]), 4)] for i in at]
    return [[0.0, 0.0], *points]


def measure_sizes(frame: pd.DataFrame) -> ImageSizes | None:
    """Return the sides and aspect ratios of the images; None if the table has no sizes."""
    if not {"width", "height"} <= set(frame.columns):
        return None
    width, height = frame["width"], frame["height"]
    short, long = frame[["width", "height"]].min(axis=1), frame[["width", "height"]].max(axis=1)
    logs = np.log(np.maximum(width.to_numpy(), 1) / np.maximum(height.to_numpy(), 1))
    nearest = np.abs(logs[:, None] - np.log(list(RATIOS.values()))[None, :]).argmin(axis=1)
    counts = np.bincount(nearest, minlength=len(RATIOS))
    common = frame.groupby(["width", "height"]).size().sort_values(ascending=False, kind="stable")
    return ImageSizes(
        short_side=_side_lengths(short),
        long_side=_side_lengths(long),
        below_32=int((short < SMALL).sum()),
        ratios={name: int(count) for name, count in zip(RATIOS, counts, strict=True) if count},
        distinct=len(common),
        common=[
            SizeCount(int(size[0]), int(size[1]), int(count))  # type: ignore[index]
            for size, count in common.head(LISTED).items()
        ],
    )


def _side_lengths(values: "pd.Series[Any]") -> SideLengths:
    return SideLengths(int(values.min()), _median(values), int(values.max()), histogram(values.to_numpy()))


def count_formats(frame: pd.DataFrame) -> ImageFormats | None:
    """Count formats, modes and misnamed files; return None if the table has no formats."""
    if "format" not in frame.columns:
        return None
    suffix = frame["file_name"].str.extract(r"(\.[^./]+)$", expand=False).str.lower()
    named = suffix.map(Image.registered_extensions()).replace(SAME_FORMAT)
    misnamed = named.notna() & (named != frame["format"].replace(SAME_FORMAT))
    return ImageFormats(
        formats=_count_values(frame["format"]),
        modes=_count_values(frame["mode"]) if "mode" in frame.columns else {},
        misnamed=int(misnamed.sum()),
        misnamed_first=sorted(frame["file_name"][misnamed])[:LISTED],
    )


def count_blank(frame: pd.DataFrame) -> BlankImages | None:
    """Count the images that show nothing; return None if the table does not say."""
    if COLUMN not in frame.columns:
        return None
    names = sorted(frame["file_name"][blank_rows(frame)])
    return BlankImages(len(names), names[:LISTED])


def count_unusable(source: Path | None, listed: int) -> UnusableFiles | None:
    """Count the files that the scan could not use, by reason.

    Args:
        source: The table; the scan's list of errors lies beside it.
        listed: How many files of each reason to name.

    Returns:
        None if there is no such list.
    """
    if source is None or not (path := errors_path(source)).is_file():
        return None
    frame = read_columns(path, ["file_name", "reason", "detail"])
    first = {
        str(reason): files[["file_name", "detail"]].head(listed).to_dict("records")
        for reason, files in frame.groupby("reason", sort=True)
    }
    return UnusableFiles(str(path), len(frame), _count_values(frame["reason"]), first)


def to_json(value: Any) -> Any:
    """Convert dataclasses, paths and lists of them to what JSON takes; a bin is {from, to, count}."""
    if isinstance(value, Bin):
        return {"from": value.low, "to": value.high, "count": value.count}
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(item) for item in value]
    return value


def _median(values: "pd.Series[Any]") -> float:
    median = float(values.median())
    return int(median) if median.is_integer() else median


def _count_values(values: "pd.Series[Any]") -> dict[str, int]:
    """Count each value, the most frequent first and equally frequent ones by name."""
    counts = values.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return {str(name): int(count) for name, count in counts.items()}
