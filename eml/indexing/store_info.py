"""The facts of an index that is open."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eml.indexing.segment_files import FOLDER
from eml.indexing.state import Kind


@dataclass(frozen=True)
class StoreInfo:
    """The facts of an index.

    Attributes:
        images: Number of images.
        classes: Number of labels.
        size: The embedding size D.
        storage: float32 or float16.
        generation: Number of changes since the index was made.
        created: When it was made, as UTC in ISO 8601.
        eml_version: The version that made it.
        columns: Column → number, text or bool.
        segments: Number of files of embeddings.
        removed: Removed images that are still in these files.
        is_to_erase: Whether bytes of removed images may still be in the folder.
        is_calibrated: Whether it has a calibration.
        bytes: Of the database with its log.
        derived_bytes: Of what is made from it.
        fingerprint: Facts of the model that made the embeddings; empty where none is known.
    """

    images: int
    classes: int
    size: int
    storage: str
    generation: int
    created: str
    eml_version: str
    columns: dict[str, Kind]
    segments: int
    removed: int
    is_to_erase: bool
    is_calibrated: bool
    bytes: int
    derived_bytes: int
    fingerprint: dict[str, Any]


def folder_bytes(folder: Path) -> tuple[int, int]:
    """Return the bytes of the database with its log, and of what is made from it."""
    derived = folder / FOLDER
    own = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return own, sum(path.stat().st_size for path in derived.rglob("*") if path.is_file()) if derived.is_dir() else 0
