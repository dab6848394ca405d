"""Count the images and classes of a set that a model was trained on, and say it in sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from eml.dataset.image_keys import Keys, image_keys, is_known
from eml.dataset.similar_labels import labels_among, similar_to_trained_line
from eml.dataset.table import Table
from eml.models.trained_on import KNOWN, PARTLY_KNOWN, PRETRAINED, STATUSES, UNKNOWN, TrainedOn
from eml.progress import Report

NO_KEYS: Keys = np.zeros(0, np.uint64)


@dataclass(frozen=True)
class TrainedOverlap:
    """The part of a set that a model was trained on.

    Attributes:
        status: known; partly known: also on what is not recorded; unknown: no record; pretrained: not trained by eml.
        classes: Classes of the set that were trained on, by their names or one of their images; None: unknown.
        images: Images of the set that were trained on, by their content; None: unknown.
        of_classes: The number of classes of the set.
        of_images: The number of images of the set.
        unrecorded: Checkpoints that training started from and that do not record what they were trained on.
    """

    status: str = UNKNOWN
    classes: int | None = None
    images: int | None = None
    of_classes: int = 0
    of_images: int = 0
    unrecorded: tuple[str, ...] = ()

    @property
    def is_overlap(self) -> bool:
        """Whether classes of the set, or images of them, are known to have been trained on."""
        return bool(self.classes)

    @property
    def is_recorded(self) -> bool:
        """Whether eml trained the model, so that a checkpoint says at least its classes."""
        return self.classes is not None and self.status != PRETRAINED

    def facts(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        counts = {"classes": self.classes, "of_classes": self.of_classes}
        images = {"images": self.images, "of_images": self.of_images}
        return {"status": self.status, **counts, **images, "unrecorded": list(self.unrecorded)}

    @classmethod
    def of_facts(cls, facts: Any) -> "TrainedOverlap":
        """Return what `facts` says; of anything else than that, unknown."""
        if not isinstance(facts, dict) or set(facts) != set(cls().facts()):
            return cls()
        counts = [facts[name] for name in ("classes", "images", "of_classes", "of_images")]
        is_whole = facts["status"] in STATUSES and isinstance(facts["unrecorded"], list)
        if not is_whole or not all(count is None or isinstance(count, int) for count in counts):
            return cls()
        return cls(**facts | {"unrecorded": tuple(map(str, facts["unrecorded"]))})

    def cell(self) -> str:
        """Return it in few words for a table."""
        if self.status == PRETRAINED:
            return "none by eml"
        if self.status == UNKNOWN and not self.classes:
            return "unknown"
        counts = f"{self.classes:,} of {self.of_classes:,} classes"
        return f"{counts}, perhaps more" if self.status in (UNKNOWN, PARTLY_KNOWN) else counts

    def short_cell(self) -> str:
        """Return it for a column of a narrow table: `0 of 40`, `none` or `unknown`."""
        text = self.cell().removesuffix(" by eml")
        return text.replace(" classes, perhaps more", " or more").removesuffix(" classes")

    def share(self) -> str:
        """Return `41 of 81 classes (2,133 of 5,421 images) were trained on`, or what is known of it."""
        if self.classes is None:
            return "what was trained on is unknown"
        counts = f"{self.classes:,} of {self.of_classes:,} classes"
        if self.images is None:
            return f"by their names, {counts} were trained on; of how many images is unknown"
        return f"{counts} ({self.images:,} of {self.of_images:,} images) were trained on"

    def lines(self, subject: str) -> list[str]:
        """Return sentences that say what a reader of the metrics has to know; none where all images are unseen.

        Args:
            subject: The model, the table or both, with which the sentences begin.
        """
        if self.status == PRETRAINED:
            return [f"{subject}: none of eml's training data; what pretrained weights have seen is unknown"]
        if self.classes is None:
            return [f"{subject}: what its network was trained on is unknown"]
        lines = []
        if self.is_overlap:
            lines.append(f"{subject}: {self.share()}{self._consequence()}")
        if self.status == UNKNOWN:
            before = "" if self.is_overlap else f"; by its labels, on none of the {self.of_classes:,} classes"
            lines.append(f"{subject}: the checkpoint does not record the images that it was trained on{before}")
        if self.unrecorded:
            lines.append(f"{subject}: started from {', '.join(self.unrecorded)}, which does not record its images")
        return lines

    def threshold_lines(self, subject: str) -> list[str]:
        """Return sentences about a threshold that is chosen on the set; none where all of it is unseen."""
        first, *rest = self.lines(subject) or [""]
        if self.is_overlap:
            first = (
                f"{subject}: {self.share()}. The threshold flatters: a network separates these better than new "
                "classes, of which more errors will be accepted. Calibrate on other classes"
            )
        return [line for line in (first, *rest) if line]

    def caution(self) -> str:
        """Return what to know of label errors that the model finds; nothing where it saw none of the images."""
        if self.images:
            return (
                f"{self.images:,} of {self.of_images:,} images were trained on by the network that judges them, which "
                "has learnt their labels: errors among them are overlooked"
            )
        if self.images == 0 and self.status != PARTLY_KNOWN:
            return ""
        return "it is unknown whether the network was trained on these images; errors that it has learnt are overlooked"

    def _consequence(self) -> str:
        if self.images:
            return ", so its metrics look better than on new images"
        return ": its metrics are of new images of known classes" if self.images == 0 else ""


UNKNOWN_OVERLAP = TrainedOverlap()


def comparison_lines(overlaps: Mapping[str, TrainedOverlap]) -> list[str]:
    """Return sentences on models of a comparison that were trained on some of its classes, unless all were alike.

    Args:
        overlaps: Model → how much of the set it was trained on.
    """
    if len({(overlap.classes, overlap.images) for overlap in overlaps.values()}) == 1:
        return []
    return [
        f"But {name} knows the set: {overlap.share()}, which favours it here."
        for name, overlap in overlaps.items()
        if overlap.is_overlap
    ]


@dataclass
class OverlapCounter:
    """Counts what models were trained on; the keys of a set are computed once, for the first model that needs them.

    Attributes:
        keys: Table's name → the keys of its images.
        report: Receives lines on labels that read like trained ones and are others.
        reported: These lines.
    """

    keys: dict[str, Keys] = field(default_factory=dict)
    report: Report = lambda line: None
    reported: set[str] = field(default_factory=set)

    def count(self, record: TrainedOn | None, table: Table, frame: pd.DataFrame) -> TrainedOverlap:
        """Return how much of a set a model was trained on.

        Args:
            record: What the model was trained on; None: unknown.
            table: The table of the set, by whose name the keys are kept.
            frame: The rows of the set.

        Raises:
            DataError: The table has no content hashes, and an image cannot be read.
        """
        if record is not None and record.images is not None and len(record.images) and table.name not in self.keys:
            self.keys[table.name] = image_keys(table, frame, report=self.report)
        self._report_similar(record, frame)
        return _overlap([record], [frame], [self.keys.get(table.name, NO_KEYS)], table.unknown_label)

    def _report_similar(self, record: TrainedOn | None, frame: pd.DataFrame) -> None:
        """Report labels that read like trained ones, once for each set of them."""
        line = similar_to_trained_line(frame["label"].unique(), record.classes) if record is not None else None
        if line is not None and line not in self.reported:
            self.reported.add(line)
            self.report(f"warning: {line}")


def overlap_of_parts(
    records: Sequence[TrainedOn | None], table: Table, frames: Sequence[pd.DataFrame]
) -> TrainedOverlap:
    """Return how much of a table's parts the model of each part was trained on, as in a cross-validation.

    Args:
        records: What the model of each part was trained on.
        table: The table.
        frames: The rows of each part.

    Raises:
        DataError: The table has no content hashes, and an image cannot be read.
    """
    return _overlap(records, frames, [image_keys(table, frame) for frame in frames], table.unknown_label)


def _overlap(
    records: Sequence[TrainedOn | None],
    frames: Sequence[pd.DataFrame],
    keys: Sequence[Keys],
    unknown_label: str | None,
) -> TrainedOverlap:
    """Return how much of sets models were trained on, each model on its own set; the unknown label is no class."""
    classes, trained_classes, known = set[str](), set[str](), list[TrainedOn]()
    images: int | None = 0
    for record, frame, own in zip(records, frames, keys, strict=True):
        labels = set(frame["label"]) - {unknown_label}
        classes |= labels
        if record is not None:
            known.append(record)
            trained_classes |= labels_among(labels, record.classes)
        if record is None or record.images is None:
            images = None
        elif len(own):
            seen = is_known(own, record.images)
            trained_classes |= set(frame["label"].to_numpy()[seen]) & labels
            images = None if images is None else images + int(seen.sum())
    statuses = {record.status for record in known} | ({UNKNOWN} if len(known) < len(records) else set())
    return TrainedOverlap(
        status=next(status for status in (UNKNOWN, PARTLY_KNOWN, KNOWN, PRETRAINED) if status in statuses),
        classes=len(trained_classes) if known else None,
        images=images,
        of_classes=len(classes),
        of_images=sum(map(len, frames)),
        unrecorded=tuple(dict.fromkeys(name for record in known for name in record.unrecorded)),
    )
