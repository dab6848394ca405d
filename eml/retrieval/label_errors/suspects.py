"""What is probably wrong with the labels of embedded images, as tables of names."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from eml.retrieval.label_errors.label_errors import LabelErrors, find_label_errors, most_similar
from eml.retrieval.label_errors.label_votes import Votes, votes
from eml.retrieval.label_errors.suspect_classes import MixedClass, OneClass, mixed_classes, one_classes

MIN_SCORE = 0.9  # odds of nine to one against the label

IMAGES = ["rank", "file_name", "label", "suggested_label", "score", "reason", "nearest_own", "nearest_suggested"]
CLASSES = ["reason", "label", "other_label", "images", "strength", "file_names"]
LISTED = 5  # file names of a part


@dataclass(frozen=True)
class EmbeddedImages:
    """embeddings: (N, D). file_names, labels: (N,) text.

    spaces: (N,) number of the network that made each embedding, None where one made all.
    """

    embeddings: Tensor
    file_names: NDArray[np.str_]
    labels: NDArray[np.str_]
    spaces: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Suspects:
    """names: (C,) of the labels, in order; the numbers in the other fields are places in it.

    wrong, between: rows of images in the order of their ranks. least: score of `wrong`.
    """

    images: EmbeddedImages
    names: NDArray[np.str_]
    votes: Votes
    errors: LabelErrors
    least: float
    wrong: NDArray[np.int64]
    between: NDArray[np.int64]
    outliers: NDArray[np.int64]
    one: list[OneClass]
    mixed: list[MixedClass]

    @property
    def unjudged(self) -> int:
        """Images that are the only one of their label among those that they may be compared with."""
        return int(np.isnan(self.errors.score).sum())

    def beside(self, row: int, label: int, count: int) -> NDArray[np.int64]:
        """The images of a label that are nearest to an image, at most `count`; suspects only where all are."""
        rows = np.setdiff1d(np.flatnonzero(self.votes.labels == label), self.wrong)
        first = most_similar(self.images.embeddings, self.votes, row, rows, count)
        every = np.flatnonzero(self.votes.labels == label)
        return first if len(first) else most_similar(self.images.embeddings, self.votes, row, every, count)


def find_suspects(images: EmbeddedImages, least: float = MIN_SCORE) -> Suspects:
    """Label errors with a score of at least `least` (0.5 to 1), ambiguous images, classes to look at.

    Raises DataError on NaN, infinite or zero embeddings.
    """
    names, labels = np.unique(images.labels, return_inverse=True)
    voted = votes(images.embeddings, labels.astype(np.int64), images.spaces)
    errors = find_label_errors(voted, images.embeddings)
    one = one_classes(voted)
    wrong = errors.suspects(least)
    return Suspects(
        images=images,
        names=names,
        votes=voted,
        errors=errors,
        least=least,
        wrong=wrong,
        between=errors.ambiguous(least),
        outliers=np.setdiff1d(errors.outliers(), wrong, assume_unique=True),
        one=one,
        mixed=mixed_classes(images.embeddings, voted, one),
    )


def wrong_table(found: Suspects) -> pd.DataFrame:
    """Columns IMAGES, one row a probable label error. nearest_…: the nearest image with that label."""
    return _table(found, [(int(row), told(found, int(row))) for row in found.wrong])


def ambiguous_table(found: Suspects) -> pd.DataFrame:
    """As `wrong_table`: first the images that are near to nothing, then those between two labels."""
    alone = [(int(row), f"near to nothing: mean cosine {found.errors.near[row]:.2f}") for row in found.outliers]
    outside = set(found.outliers.tolist())
    between = [(int(row), told(found, int(row))) for row in found.between if int(row) not in outside]
    return _table(found, alone + between)


def class_table(found: Suspects) -> pd.DataFrame:
    """Columns CLASSES. one_class: the two labels cannot be told apart, strength is their mixing.

    mixed: `images` of the label, some of which file_names lists one a line, are nearer to the other label; strength
    is the share of their votes for it.
    """
    sizes = np.bincount(found.votes.labels, minlength=len(found.names))
    rows: list[list[Any]] = [
        ["one_class", found.names[pair.label], found.names[pair.other], int(sizes[pair.label] + sizes[pair.other]),
         round(pair.mixing, 3), ""]
        for pair in found.one
    ]  # fmt: skip
    for mixed in found.mixed:
        listed = "\n".join(found.images.file_names[mixed.rows[:LISTED]])
        rows.append(["mixed", found.names[mixed.label], found.names[mixed.other], len(mixed.rows),
                     round(mixed.toward, 3), listed])  # fmt: skip
    return pd.DataFrame(rows, columns=CLASSES)


def told(found: Suspects, row: int) -> str:
    """`8 of the 10 nearest images are suggested, 0 its own`, with the labels' names."""
    errors = found.errors
    asked = int((found.votes.nearest[row, :10] >= 0).sum())
    suggested, own = found.names[errors.suggested[row]], found.names[found.votes.labels[row]]
    return f"of the {asked} nearest {errors.nearest_suggested[row]} are {suggested}, {errors.nearest_own[row]} {own}"


def _table(found: Suspects, rows: list[tuple[int, str]]) -> pd.DataFrame:
    names, errors, own = found.images.file_names, found.errors, found.votes.labels

    def first(row: int, label: int) -> str:
        beside = found.beside(row, label, 1)
        return str(names[beside[0]]) if len(beside) else ""

    made = [
        [
            *(rank, str(names[row]), str(found.names[own[row]])),
            str(found.names[errors.suggested[row]]) if errors.suggested[row] >= 0 else "",
            round(float(errors.score[row]), 4),
            *(reason, first(row, own[row]), first(row, errors.suggested[row])),
        ]
        for rank, (row, reason) in enumerate(rows, 1)
    ]
    return pd.DataFrame(made, columns=IMAGES)
