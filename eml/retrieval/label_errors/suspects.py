"""The labels of embedded images that are probably wrong, as tables of names."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from eml.retrieval.arrays import Integers
from eml.retrieval.label_errors.label_errors import COUNTED, LabelErrors, find_label_errors, most_similar
from eml.retrieval.label_errors.label_votes import Votes, collect_votes
from eml.retrieval.label_errors.suspect_classes import MixedClass, OneClass, mixed_classes, one_classes

MIN_SCORE = 0.9  # odds of nine to one against the label

IMAGES = ["rank", "file_name", "label", "suggested_label", "score", "reason", "nearest_own", "nearest_suggested"]
CLASSES = ["reason", "label", "other_label", "images", "strength", "file_names"]
LISTED = 5  # file names of a part


@dataclass(frozen=True)
class LabelledEmbeddings:
    """Embedded images with their labels.

    Attributes:
        embeddings: (N, D), of any length but 0.
        file_names: (N,) text.
        labels: (N,) text.
        spaces: (N,) number of the network that made each embedding; None if one made all.
    """

    embeddings: Tensor
    file_names: NDArray[Any]
    labels: NDArray[Any]
    spaces: Integers | None = None


@dataclass(frozen=True)
class Suspects:
    """Images and labels to look at.

    Attributes:
        images: The N images that were judged.
        names: (C,) names of the labels in order; labels in the other fields are places in it.
        votes: The votes of the images nearby.
        errors: What these say about each image.
        min_score: The lowest score of a probable label error.
        wrong: Rows of probable label errors, the most probable first.
        between: Rows of images between two labels, the most undecided first.
        outliers: Rows of images that are near to nothing and not among the probable label errors.
        same: Pairs of labels that are one class.
        mixed: Labels of which a part belongs to another.
    """

    images: LabelledEmbeddings
    names: NDArray[Any]
    votes: Votes
    errors: LabelErrors
    min_score: float
    wrong: Integers
    between: Integers
    outliers: Integers
    same: list[OneClass]
    mixed: list[MixedClass]

    @property
    def unjudged(self) -> int:
        """The number of images that are the only one of their label among those that they may be compared with."""
        return int(np.isnan(self.errors.score).sum())

    @cached_property
    def _rows_of_labels(self) -> list[tuple[Integers, Integers]]:
        """The rows of each label, ascending, and those of them that are no suspects."""
        labels, is_wrong = self.votes.labels, np.zeros(len(self.votes.labels), bool)
        is_wrong[self.wrong] = True
        order = np.argsort(labels, kind="stable")
        of_labels = np.split(order, np.searchsorted(labels[order], np.arange(1, len(self.names))))
        return [(rows, rows[~is_wrong[rows]]) for rows in of_labels]

    def beside(self, row: int, label: int, count: int) -> Integers:
        """Return rows of a label that are nearest to an image, at most `count`; suspects only if all of them are."""
        rows, trusted = self._rows_of_labels[label] if label >= 0 else (np.zeros(0, np.int64), np.zeros(0, np.int64))
        nearest = most_similar(self.images.embeddings, self.votes, row, trusted, count)
        return nearest if len(nearest) else most_similar(self.images.embeddings, self.votes, row, rows, count)


def find_suspects(images: LabelledEmbeddings, min_score: float = MIN_SCORE) -> Suspects:
    """Find probable label errors, ambiguous images and labels to look at.

    Args:
        images: Embedded by networks that were not trained on them.
        min_score: The lowest score of a probable label error, from 0.5 to 1; see `LabelErrors.score`.

    Raises:
        DataError: Embeddings are NaN, infinite or zero.
    """
    names, labels = np.unique(images.labels, return_inverse=True)
    votes = collect_votes(images.embeddings, labels.astype(np.int64), images.spaces)
    errors = find_label_errors(votes, images.embeddings)
    same = one_classes(votes)
    wrong = errors.suspects(min_score)
    return Suspects(
        images=images,
        names=names,
        votes=votes,
        errors=errors,
        min_score=min_score,
        wrong=wrong,
        between=errors.ambiguous(min_score),
        outliers=np.setdiff1d(errors.outliers(), wrong, assume_unique=True),
        same=same,
        mixed=mixed_classes(images.embeddings, votes, same),
    )


def wrong_table(suspects: Suspects) -> pd.DataFrame:
    """Return the probable label errors, one a row, with the columns of suspects.csv.

    nearest_own and nearest_suggested are the nearest images with these labels.
    """
    return _table(suspects, [(int(row), describe_neighbours(suspects, int(row))) for row in suspects.wrong])


def ambiguous_table(suspects: Suspects) -> pd.DataFrame:
    """Return the images that are near to nothing, then those between two labels, with the columns of `wrong_table`."""
    near = suspects.errors.near
    outliers = [(int(row), f"near to nothing: mean cosine {near[row]:.2f}") for row in suspects.outliers]
    listed = set(suspects.outliers.tolist())
    rows = [row for row in suspects.between.tolist() if row not in listed]
    between = [(row, describe_neighbours(suspects, row)) for row in rows]
    return _table(suspects, outliers + between)


def class_table(suspects: Suspects) -> pd.DataFrame:
    """Return the labels to look at, with the columns of suspect_classes.csv.

    The reason is one_class (the two labels cannot be told apart; strength is their mixing) or mixed (`images` of the
    label are nearer to the other label; strength is the share of their votes for it, and file_names lists some of them,
    one a line).
    """
    names, sizes = suspects.names, np.bincount(suspects.votes.labels, minlength=len(suspects.names))
    rows: list[list[Any]] = []
    for pair in suspects.same:
        images = int(sizes[pair.label] + sizes[pair.other_label])
        rows.append(["one_class", names[pair.label], names[pair.other_label], images, round(pair.mixing, 3), ""])
    for mixed in suspects.mixed:
        listed = "\n".join(suspects.images.file_names[mixed.rows[:LISTED]])
        labels = [names[mixed.label], names[mixed.other_label]]
        rows.append(["mixed", *labels, len(mixed.rows), round(mixed.toward, 3), listed])
    return pd.DataFrame(rows, columns=CLASSES)


def describe_neighbours(suspects: Suspects, row: int) -> str:
    """Return `of the 10 nearest 8 are SUGGESTED, 0 OWN`, with the names of the labels."""
    errors, names = suspects.errors, suspects.names
    count = int((suspects.votes.nearest[row, :COUNTED] >= 0).sum())
    suggested, own = names[errors.suggested[row]], names[suspects.votes.labels[row]]
    return f"of the {count} nearest {errors.nearest_suggested[row]} are {suggested}, {errors.nearest_own[row]} {own}"


def _table(suspects: Suspects, rows: list[tuple[int, str]]) -> pd.DataFrame:
    names, errors, labels = suspects.images.file_names, suspects.errors, suspects.votes.labels

    def nearest(row: int, label: int) -> str:
        beside = suspects.beside(row, label, 1)
        return str(names[beside[0]]) if len(beside) else ""

    lines = [
        [
            *(rank, str(names[row]), str(suspects.names[labels[row]])),
            str(suspects.names[errors.suggested[row]]) if errors.suggested[row] >= 0 else "",
            round(float(errors.score[row]), 4),
            *(reason, nearest(row, labels[row]), nearest(row, errors.suggested[row])),
        ]
        for rank, (row, reason) in enumerate(rows, 1)
    ]
    return pd.DataFrame(lines, columns=IMAGES)
