"""The record of what a model was trained on, as much of it as travels in a file of `eml export`."""

import base64
import json
from typing import Self

import numpy as np
from pydantic import field_validator

from eml.config import Strict
from eml.models.trained_on import TrainedOn

MOST_BYTES = 2**20
"""Of a part of the record, the names of the classes or the keys of the images: a larger one is left out."""
_UNKNOWN = "whoever measures the file is told that it is unknown"


class TrainedRecord(Strict):
    """The classes and images that a model was trained on.

    Attributes:
        classes: Their names, sorted; null: too many to travel in a file.
        images: The sorted 64-bit keys of the images, little-endian, base64; null: too many, or not recorded.
        unrecorded: Checkpoints that training started from and that do not record their images.
        by_eml: Whether eml trained it.
    """

    classes: list[str] | None
    images: str | None
    unrecorded: tuple[str, ...] = ()
    by_eml: bool = True

    @field_validator("images")
    @classmethod
    def _check_images(cls, images: str | None) -> str | None:
        if images is not None and len(base64.b64decode(images, validate=True)) % 8:
            raise ValueError("must be keys of 8 bytes")
        return images

    @classmethod
    def of(cls, trained_on: TrainedOn) -> Self:
        """Return a record, without a part that is too large."""
        classes = sorted(trained_on.classes)
        keys = None if trained_on.images is None else trained_on.images.astype("<u8").tobytes()
        return cls(
            classes=classes if len(json.dumps(classes, ensure_ascii=False).encode()) <= MOST_BYTES else None,
            images=base64.b64encode(keys).decode() if keys is not None and len(keys) <= MOST_BYTES else None,
            unrecorded=trained_on.unrecorded,
            by_eml=trained_on.by_eml,
        )

    def left_out(self, trained_on: TrainedOn) -> str:
        """Return what of the checkpoint's record is too large to travel in a file, in a sentence; empty: nothing."""
        parts = ["the classes"] if self.classes is None else []
        parts += ["the images"] if self.images is None and trained_on.images is not None else []
        if not parts:
            return ""
        return f"the record of {' and '.join(parts)} that it was trained on is too large for the file: {_UNKNOWN}"

    def trained_on(self) -> TrainedOn | None:
        """Return what is known; None where not even the classes are."""
        if self.classes is None:
            return None
        keys = None
        if self.images is not None:
            keys = np.unique(np.frombuffer(base64.b64decode(self.images), "<u8").astype(np.uint64))
        return TrainedOn(frozenset(self.classes), keys, self.unrecorded, self.by_eml)
