"""The embeddings of the calibration set, kept beside calibration.json, so that an index can calibrate by them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eml.errors import CheckpointError
from eml.files import bytes_digest, refuse_pipe, whole_file
from eml.models.calibration import Calibration

NAME = "calibration_embeddings.npz"
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class CalibrationImages:
    """Images of the calibration set: embeddings (N, D) of half precision, and their labels (N,)."""

    embeddings: NDArray[np.float16]
    labels: list[str]


def write_calibration_images(folder: Path, embeddings: NDArray[np.float32], labels: Sequence[str]) -> str:
    """Write embeddings and labels of images into a checkpoint folder, and return the digest of the file."""
    content = io.BytesIO()
    np.savez(content, embeddings=embeddings.astype(np.float16), labels=np.asarray(labels, str))
    with whole_file(folder / NAME) as temporary:
        temporary.write_bytes(content.getvalue())
    return bytes_digest(content.getvalue())


def read_calibration_images(folder: Path, calibration: Calibration) -> CalibrationImages | None:
    """Return the images of a calibration in a checkpoint folder, or None if it has none, as those of eml 0.1.0.

    Raises:
        CheckpointError: The file is missing, damaged, or of another calibration.
    """
    if calibration.images_digest is None:
        return None
    file = folder / NAME
    try:
        refuse_pipe(file)
        content = file.read_bytes() if file.stat().st_size <= MOST_BYTES else b""
    except OSError as error:
        raise _damaged(file, f"cannot be read: {error.strerror or error}") from error
    if bytes_digest(content) != calibration.images_digest:
        raise _damaged(file, "is damaged, or of another calibration")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return CalibrationImages(arrays["embeddings"], arrays["labels"].astype(str).tolist())


def _damaged(file: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{file}: {problem}; run eml calibrate again", code="damaged-file")
