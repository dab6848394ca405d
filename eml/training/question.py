"""Say which question a validation answers: are new images of trained classes found, or images of unseen classes?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.dataset.image_keys import image_keys, is_known
from eml.dataset.table import Table
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
    """

    classes: int
    classes_trained_on: int
    queries: int
    queries_trained_on: int
    is_recorded: bool = True

    @property
    def text(self) -> str:
        """The question in a few words, such as `unseen classes`."""
        return self._text() if self.is_recorded else f"{self._text()}, as far as is recorded"

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

    A class is trained on if its label is, or if one of its images is. An image is the same if it is the same file or
    has the same content hash.

    Args:
        images: The set.
        table: Its table, of which the root is used.
        trained: The rows that are trained on, and their root.
        earlier: What the network was trained on before, if training starts from another run.
    """
    labels = images.frame["label"].to_numpy(object)
    same = _same_images(images, table, trained)
    known = _labels_of(trained)
    if earlier is not None:
        known |= earlier.classes
        same |= is_known(image_keys(table, images.frame), earlier.keys) if len(earlier.keys) else False
    trained_labels = set(labels[same]) | {label for label in set(labels.tolist()) if label in known}
    is_recorded = earlier is None or earlier.status in (KNOWN_RECORD, PRETRAINED)
    counted = images.queries[_has_positive(images)]
    classes = set(labels[counted].tolist())
    return Question(len(classes), len(classes & trained_labels), len(counted), int(same[counted].sum()), is_recorded)


def _labels_of(trained: Table) -> set[str]:
    """Return the labels that are trained on; of tables whose labels are kept apart, also without the table's name."""
    labels = set(trained.frame["label"].to_numpy(object).tolist())
    return labels | {label.partition(PREFIX)[2] for label in labels if trained.parts and PREFIX in label}


def _has_positive(images: RetrievalSet) -> NDArray[np.bool_]:
    """(Q,) whether the gallery has another image of the query's class."""
    in_gallery = np.bincount(images.labels[images.gallery], minlength=int(images.labels.max(initial=0)) + 1)
    itself = np.isin(images.queries, images.gallery)
    return np.asarray(in_gallery[images.labels[images.queries]] - itself > 0)


def _same_images(images: RetrievalSet, table: Table, trained: Table) -> NDArray[np.bool_]:
    """(N,) whether an image of the set is one that is trained on."""
    frame, rows = images.frame, trained.frame
    paths = {str(trained.root.absolute() / name) for name in rows["file_name"]}
    same = np.array([str(table.root.absolute() / name) in paths for name in frame["file_name"]], bool)
    if "content" in frame and "content" in rows:
        contents = set(rows["content"].dropna().astype(str)) - {""}
        same |= frame["content"].astype(str).isin(contents).to_numpy()
    return same
