"""The contact sheet of a data report: a few images of each class, and the smallest classes whole."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

OF_CLASS = 4  # images of a class
OPEN, MOST = 60, 240  # classes shown, and shown with those that are folded: 960 small images
SMALLEST, WHOLE = 6, 12  # classes that are shown whole, and the most images of one


@dataclass(frozen=True)
class ClassImages:
    """Some images of a class.

    Attributes:
        label: The class.
        images: The number of its images.
        names: The file names of those that are shown.
    """

    label: str
    images: int
    names: list[str]


@dataclass(frozen=True)
class ClassSheet:
    """The images that show what is in a dataset.

    Attributes:
        classes: By name; the page folds those beyond the first 60.
        left_out: The number of classes that are not among them.
        smallest: The smallest classes with all of their images, where these are few but more than of any other class
            are shown.
    """

    classes: list[ClassImages]
    left_out: int
    smallest: list[ClassImages]

    def names(self) -> list[str]:
        """Return the file names of all images, some twice."""
        return [name for images in (*self.classes, *self.smallest) for name in images.names]


def choose_sheet(frame: pd.DataFrame) -> ClassSheet:
    """Choose images at even distances over the names of each class, and classes at even distances over their names.

    Args:
        frame: A table with `label` and `file_name`, one row per file.
    """
    members = {str(label): sorted(names) for label, names in frame.groupby("label")["file_name"]}
    labels = sorted(members)
    chosen = labels if len(labels) <= MOST else [labels[place] for place in _spread(len(labels), MOST)]
    by_size = sorted(labels, key=lambda label: (len(members[label]), label))
    few = [label for label in by_size[:SMALLEST] if OF_CLASS < len(members[label]) <= WHOLE]
    uneven = len(members[by_size[0]]) < len(members[by_size[-1]])
    return ClassSheet(
        [_some(label, members[label]) for label in chosen],
        len(labels) - len(chosen),
        [ClassImages(label, len(members[label]), members[label]) for label in few] if uneven else [],
    )


def _some(label: str, names: list[str]) -> ClassImages:
    return ClassImages(label, len(names), [names[place] for place in _spread(len(names), OF_CLASS)])


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` places of `count`, at even distances, the first and the last among them."""
    places: list[int] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
    return places
