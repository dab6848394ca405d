"""A record of what a network was trained on: its classes by name, its images by 64-bit keys of their content.

trained_images.bin    the keys (`eml.dataset.image_keys`), sorted, little-endian, 8 bytes an image
earlier_labels.json   the classes that labels.json lacks, such as those of the runs that training started from; only if
                      any. A run folder has no labels.json, so there it has all classes
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from eml.config import Strict
from eml.errors import CheckpointError
from eml.files import bytes_digest, refuse_pipe, text_digest, whole_file, write_json
from eml.json_files import MOST_BYTES_OF_LISTS, read_json

IMAGES, EARLIER_LABELS = "trained_images.bin", "earlier_labels.json"
KNOWN, PARTLY_KNOWN, UNKNOWN, PRETRAINED = STATUSES = "known", "partly known", "unknown", "pretrained"


class RecordFacts(Strict):
    """Facts in config.json and run.json on the record beside them; without them what was trained on is unknown.

    Attributes:
        images: The number of keys.
        digest: Of trained_images.bin.
        earlier_classes: The number of classes in earlier_labels.json; 0: there is no such file.
        unrecorded: Checkpoints that training started from and that do not record what they were trained on.
        classes: The number of classes in labels.json; None where an earlier eml wrote the facts, as the digests are;
            0 for a network that eml did not train.
        labels_digest: Of the classes in labels.json, in their order.
        earlier_digest: Of the classes in earlier_labels.json, in their order.
    """

    images: int = Field(ge=0)
    digest: str
    earlier_classes: int = Field(0, ge=0)
    unrecorded: tuple[str, ...] = ()
    classes: int | None = Field(None, ge=0)
    labels_digest: str | None = None
    earlier_digest: str | None = None

    @property
    def by_eml(self) -> bool:
        """Whether eml trained the network, which is then on a class at least."""
        return self.classes != 0


@dataclass(frozen=True, repr=False)
class TrainedOn:
    """The classes and images that a network was trained on, with those of the runs that its training started from.

    Attributes:
        classes: The names of the classes.
        images: Sorted 64-bit keys of the images; None if they were not recorded.
        unrecorded: Checkpoints that training started from and that do not record their images.
        by_eml: Whether eml trained it; a network of timm may have been pretrained on anything.
    """

    classes: frozenset[str]
    images: NDArray[np.uint64] | None
    unrecorded: tuple[str, ...] = ()
    by_eml: bool = True

    def __repr__(self) -> str:
        images = "" if self.images is None else f", images {len(self.images):,}"
        return f"<TrainedOn {self.status}: classes {len(self.classes):,}{images}>"

    @property
    def status(self) -> str:
        """known, partly known (it started from a checkpoint without a record), unknown, or pretrained (not by eml)."""
        if not self.by_eml:
            return PRETRAINED
        if self.images is None:
            return UNKNOWN
        return PARTLY_KNOWN if self.unrecorded else KNOWN

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """The keys that are known, none if they were not recorded."""
        return np.zeros(0, np.uint64) if self.images is None else self.images

    def after(self, earlier: "TrainedOn | None", name: str) -> "TrainedOn":
        """Return the record of a training on this that started from another network.

        Args:
            earlier: What that network was trained on; None leaves this as it is.
            name: The other network's name, by which it is told where it has no record of its images.
        """
        if earlier is None:
            return self
        own = () if earlier.images is not None or not earlier.by_eml else (name,)
        return TrainedOn(
            classes=self.classes | earlier.classes,
            images=np.union1d(self.keys, earlier.keys),
            unrecorded=tuple(dict.fromkeys((*self.unrecorded, *earlier.unrecorded, *own))),
        )


NOTHING_BY_EML = TrainedOn(frozenset(), np.zeros(0, np.uint64), by_eml=False)


def trained_on(classes: Iterable[str], keys: NDArray[np.uint64]) -> TrainedOn:
    """Return the record of classes and of the keys of their images, in any order."""
    return TrainedOn(frozenset(classes), np.unique(keys))


def record_facts(record: TrainedOn, labels: Sequence[str]) -> RecordFacts:
    """Return what to say of the files of a record in a folder that has its own classes as `labels`."""
    earlier = sorted(record.classes.difference(labels))
    return RecordFacts(
        images=len(record.keys),
        digest=bytes_digest(_bytes(record)),
        earlier_classes=len(earlier),
        unrecorded=record.unrecorded,
        classes=len(labels),
        labels_digest=_names_digest(labels),
        earlier_digest=_names_digest(earlier) if earlier else None,
    )


def write_record(folder: Path, record: TrainedOn, labels: Sequence[str]) -> None:
    """Write the files of a record into a folder that has its own classes as `labels`."""
    with whole_file(folder / IMAGES) as temporary:
        temporary.write_bytes(_bytes(record))
    if earlier := sorted(record.classes.difference(labels)):
        write_json(folder / EARLIER_LABELS, earlier)


def _bytes(record: TrainedOn) -> bytes:
    return record.keys.astype("<u8").tobytes()


def _names_digest(names: Sequence[str]) -> str:
    return text_digest(json.dumps(list(names)))


def check_labels(file: Path, labels: Sequence[str], facts: RecordFacts | None) -> None:
    """Raise a CheckpointError for classes of labels.json that are none, repeated, or not those of the record."""
    by_eml = facts is None or facts.by_eml
    if (not labels and by_eml) or len(set(labels)) < len(labels):
        raise _damaged(file, "names no class" if not labels else "names a class twice")
    if facts is None or facts.labels_digest is None:
        return
    if len(labels) != facts.classes or _names_digest(labels) != facts.labels_digest:
        raise _damaged(file, f"is not the list of the {facts.classes:,} classes that the checkpoint was trained on")


def parse_facts(facts: Any, file: Path) -> RecordFacts:
    """Return the facts on a record that a JSON file has. Raises CheckpointError when they are damaged."""
    try:
        return RecordFacts.model_validate(facts)
    except ValidationError as error:
        raise _damaged(file, f"trained_on: {error.errors()[0]['msg']}") from error


def read_record(folder: Path, facts: RecordFacts | None, labels: Sequence[str]) -> TrainedOn:
    """Return the record in a folder; without facts, as of eml 0.1.0, its classes alone.

    Raises:
        CheckpointError: A file of the record is missing, damaged or of another record.
    """
    if facts is None:
        return TrainedOn(frozenset(labels), None)
    file = folder / IMAGES
    try:
        refuse_pipe(file)
        data = file.read_bytes() if file.stat().st_size == 8 * facts.images else b""
    except OSError as error:
        raise _damaged(file, f"cannot be read: {error.strerror or error}") from error
    if len(data) != 8 * facts.images or bytes_digest(data) != facts.digest:
        raise _damaged(file, "is not the record of the images that the checkpoint was trained on")
    earlier = _read_labels(folder / EARLIER_LABELS, facts) if facts.earlier_classes else []
    keys = np.frombuffer(data, "<u8").astype(np.uint64)
    return TrainedOn(frozenset((*labels, *earlier)), keys, facts.unrecorded, facts.by_eml)


def _read_labels(file: Path, facts: RecordFacts) -> list[str]:
    try:
        labels: list[str] = read_json(file, list[str], MOST_BYTES_OF_LISTS)
    except (OSError, ValueError) as error:
        raise _damaged(file, f"cannot be read: {error}") from error
    is_other = facts.earlier_digest is not None and _names_digest(labels) != facts.earlier_digest
    if len(labels) != facts.earlier_classes or is_other:
        raise _damaged(file, f"is not the list of {facts.earlier_classes:,} classes that the checkpoint started from")
    return labels


def _damaged(file: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{file}: {problem}; copy the whole checkpoint folder again", code="damaged-file")
