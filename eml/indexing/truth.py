"""Answers against true classes: accuracy, how many are turned away, and how many wrongly accepted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eml.dataset.table_names import is_csv, is_parquet
from eml.errors import DataError
from eml.indexing.answers import ClassifiedImage
from eml.retrieval.statistics import Estimate, Interval, as_pair, intervals

if TYPE_CHECKING:
    from eml.inference.image_list import ImageList

IN_INDEX, AMONG_NAMES = "in the index", "among the names"
"""Places of the classes that an answer may have."""

SHOWN = {
    "accuracy": "the right class, of images whose class is {place}",
    "accepted_and_right": "of these, accepted and right",
    "unknown_rate": "of these, turned away as unknown",
    "false_accepts": "accepted, of images of other classes",
    "precision": "right ones among all that are accepted",
}
"""Figure → what it is a share of."""


@dataclass(frozen=True)
class TruthFigures:
    """A comparison of answers with the true classes.

    Attributes:
        images: Images with a true class and an answer.
        known: Those whose class is in the index.
        others: Those whose class is not.
        known_classes: Classes of the known ones.
        other_classes: Classes of the others.
        without: Images without a true class or without an answer, which are left out.
        figures: Name → the share with its interval over classes. Without a calibration there is only `accuracy`.
        place: Where known classes are, for people.
    """

    images: int
    known: int
    others: int
    known_classes: int
    other_classes: int
    without: int
    figures: dict[str, Estimate]
    place: str = IN_INDEX

    def rows(self) -> list[tuple[str, str, str]]:
        """Return what each figure says, its value and its interval, as text."""
        return [
            (SHOWN[name].format(place=self.place), f"{estimate.value:.3f}", interval_text(estimate.interval))
            for name, estimate in self.figures.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and figures as JSON has them."""
        names = ("images", "known", "others", "known_classes", "other_classes", "without")
        figures = {}
        for name, estimate in self.figures.items():
            low, high = as_pair(estimate.interval)
            figures[name] = {"value": estimate.value, "low": low, "high": high}
        return {name: getattr(self, name) for name in names} | {"figures": figures}


def interval_text(interval: Interval) -> str:
    """Return `0.91–0.97`; nothing where there is no interval."""
    low, high = as_pair(interval)
    return "" if low is None or high is None else f"{low:.3f}–{high:.3f}"


def true_labels(images: ImageList, truth: str) -> list[str]:
    """Return the true class of each row of a list, empty where it has none.

    Args:
        images: The list.
        truth: A column of the list, `label` for the names of folders; or a table with file_name and label.

    Raises:
        DataError: There is no such column or table.
    """
    path = Path(truth)
    if truth not in images.frame.columns and (is_csv(path) or is_parquet(path)):
        return _labels_of_table(images, path)
    if truth not in images.frame.columns:
        columns = ", ".join(map(str, images.frame.columns))
        text = f"`truth` {truth}: is neither a column of {images.name} ({columns}) nor a table (.csv, .parquet)"
        raise DataError(text, code="missing-column", parameter="truth")
    return ["" if value is None or value != value else str(value) for value in images.frame[truth]]


def _labels_of_table(images: ImageList, path: Path) -> list[str]:
    """Return the labels by file name, or by the last part of it where no whole name fits."""
    from eml.dataset.table import read_columns

    if not path.is_file():
        raise DataError(f"`truth` {path}: no such table", code="missing-file", parameter="truth")
    frame = read_columns(path, ["file_name", "label"])
    names = frame["file_name"].tolist()
    if len(set(names)) < len(names):
        text = f"{path}: names an image twice, so it does not say one class for each"
        raise DataError(text, code="repeated-image", parameter="truth")
    labels = dict(zip(names, frame["label"].tolist(), strict=True))
    matched = [labels.get(str(name)) for name in images.frame["file_name"]]
    if any(label is not None for label in matched):
        return [label or "" for label in matched]
    text = f"{path}: names none of the images; its file_name must read like {images.frame['file_name'].iloc[0]!r}"
    raise DataError(text, code="missing-file", parameter="truth")


class TruthCounter:
    """Takes answers part by part, and compares them with the true classes at the end.

    Args:
        classes: The classes of the index, or those that are named.
        place: Where they are, for people.
    """

    def __init__(self, classes: Collection[str], place: str = IN_INDEX) -> None:
        self.classes, self.place = set(classes), place
        self.without = 0
        self._codes: dict[str, int] = {}
        self._parts: list[np.ndarray[Any, np.dtype[np.int64]]] = []

    def take(self, images: Sequence[ClassifiedImage], labels: Sequence[str]) -> None:
        """Take images with their true classes; those without a class or an answer are counted and left out."""
        rows = []
        for image, label in zip(images, labels, strict=True):
            if not label or image.label is None:
                self.without += 1
                continue
            code = self._codes.setdefault(label, len(self._codes))
            unknown = -1 if image.unknown is None else int(image.unknown)
            rows.append((code, label in self.classes, image.label == label, unknown))
        self._parts.append(np.array(rows, np.int64).reshape(-1, 4))

    def figures(self) -> TruthFigures:
        """Return the figures of all that was taken."""
        codes, is_known, is_right, unknown = np.concatenate([np.zeros((0, 4), np.int64), *self._parts]).T
        known, right = is_known.astype(bool), is_right.astype(bool)
        values = {"accuracy": np.where(known, right, np.nan)}
        if len(codes) and (unknown >= 0).all():
            accepted = unknown == 0
            values |= {
                "accepted_and_right": np.where(known, right & accepted, np.nan),
                "unknown_rate": np.where(known, ~accepted, np.nan),
                "false_accepts": np.where(known, np.nan, accepted),
                "precision": np.where(accepted, right, np.nan),
            }
        values = {name: value for name, value in values.items() if np.isfinite(value).any()}
        spans = intervals(values, codes) if values else {}
        return TruthFigures(
            images=len(codes),
            known=int(known.sum()),
            others=int((~known).sum()),
            known_classes=len(np.unique(codes[known])),
            other_classes=len(np.unique(codes[~known])),
            without=self.without,
            place=self.place,
            figures={name: Estimate(float(np.nanmean(value)), spans[name]) for name, value in values.items()},
        )
