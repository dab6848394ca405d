"""Say which question a validation answers: are new images of trained classes found, or images of unseen classes?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.columns import BOX, boxed
from eml.dataset.image_keys import file_keys, image_keys, is_known, mix_boxes
from eml.dataset.recorded_content import has_content
from eml.dataset.similar_labels import labels_among
from eml.dataset.table import Table
from eml.evaluation.positives import positive_counts
from eml.evaluation.retrieval_set import RetrievalSet
from eml.models.trained_on import KNOWN as KNOWN_RECORD
from eml.models.trained_on import PRETRAINED, TrainedOn

KNOWN, UNSEEN = "new images of known classes", "unseen classes"
PREFIX = ":"  # between a dataset's name and the label, in classes of several tables that are kept apart


@dataclass(frozen=True)
class Question:
    """The queries of a validation set, and how many of them and of their classes were trained on.

    Attributes:
        classes: Number of classes of the queries that have a positive.
        classes_trained_on: Those of them that were trained on.
        queries: Number of these queries.
        queries_trained_on: Those of them that are images that were trained on.
        is_recorded: Whether all images that were trained on are known; those of the run that training started from may
            not be.
        queries_of_trained_photos: Those of the other queries of whose photos other boxes were trained on.
    """

    classes: int
    classes_trained_on: int
    queries: int
    queries_trained_on: int
    is_recorded: bool = True
    queries_of_trained_photos: int = 0

    @property
    def text(self) -> str:
        """The question in a few words, such as `unseen classes`."""
        text = self._text()
        if self.queries_of_trained_photos:
            count = f"{self.queries_of_trained_photos:,} of {self.queries:,}"
            text = f"{text}, with other boxes of the same photos trained on ({count})"
        return text if self.is_recorded else f"{text}, as far as is recorded"

    def _text(self) -> str:
        if self.classes_trained_on == 0:
            return UNSEEN
        if self.queries_trained_on:
            return f"images that were trained on ({self.queries_trained_on:,} of {self.queries:,})"
        if self.classes_trained_on == self.classes:
            return KNOWN
        return f"known and unseen classes ({self.classes_trained_on:,} of {self.classes:,} were trained on)"

    def to_dict(self) -> dict[str, Any]:
        """Return the question and its numbers for JSON."""
        return {"question": self.text} | asdict(self)


def question_of(images: RetrievalSet, table: Table, trained: Table, earlier: TrainedOn | None = None) -> Question:
    """Compare a validation set with the images that are trained on.

    A class is trained on if its label is, in any Unicode form, or if one of its images is. An image is the same if it
    is the same file, or has the same content hash, and is the same box of it.

    Args:
        images: The set.
        table: Its table, of which the root is used.
        trained: The rows that are trained on, and their root.
        earlier: What the network was trained on before, if training starts from another run.
    """
    labels = images.frame["label"].to_numpy(object)
    same, same_photo = _same_images(images.frame, table, trained)
    known = _labels_of(trained)
    if earlier is not None:
        known |= earlier.classes
        same |= is_known(image_keys(table, images.frame), earlier.keys) if len(earlier.keys) else False
    trained_labels = set(labels[same]) | labels_among(set(labels.tolist()), known)
    is_recorded = earlier is None or earlier.status in (KNOWN_RECORD, PRETRAINED)
    counted = images.queries[positive_counts(images) > 0]
    classes = set(labels[counted].tolist())
    return Question(
        classes=len(classes),
        classes_trained_on=len(classes & trained_labels),
        queries=len(counted),
        queries_trained_on=int(same[counted].sum()),
        queries_of_trained_photos=int((same_photo & ~same)[counted].sum()),
        is_recorded=is_recorded,
    )


def _labels_of(trained: Table) -> set[str]:
    """Return the labels that are trained on; of tables whose labels are kept apart, also without the table's name."""
    labels = set(trained.frame["label"].to_numpy(object).tolist())
    return labels | {label.partition(PREFIX)[2] for label in labels if trained.parts and PREFIX in label}


def _same_images(frame: pd.DataFrame, table: Table, trained: Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (N,) whether a row is an image that is trained on, and (N,) whether its photo is, in whichever boxes."""
    photos, trained_photos = _paths(table, frame), _paths(trained, trained.frame)
    same_photo = photos.isin(trained_photos).to_numpy(bool, copy=True)
    same = (photos + _corners(frame)).isin(trained_photos + _corners(trained.frame)).to_numpy(bool, copy=True)
    hashed, trained_hashed = has_content(frame), has_content(trained.frame)
    if hashed.any() and trained_hashed.any():
        own, others = frame[hashed], trained.frame[trained_hashed]
        keys, known = file_keys(table, own), file_keys(trained, others)
        same_photo[hashed] |= is_known(keys, np.unique(known))
        same[hashed] |= is_known(mix_boxes(keys, own), np.unique(mix_boxes(known, others)))
    return same, same_photo


def _paths(table: Table, frame: pd.DataFrame) -> "pd.Series[str]":
    root = table.root.absolute()
    return pd.Series([str(root / name) for name in frame["file_name"]], index=frame.index, dtype=object)


def _corners(frame: pd.DataFrame) -> "pd.Series[str]":
    """Return a text of each row's corners that no path ends in, empty for a whole image."""
    corners, boxes = np.full(len(frame), "", object), boxed(frame).to_numpy(bool)
    if boxes.any():
        corners[boxes] = [f"\0{box}" for box in frame.loc[boxes, list(BOX)].to_numpy(np.int64).tolist()]
    return pd.Series(corners, index=frame.index)
