"""An index as a file that other programs read: embeddings and columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from eml.dataset.table import check_outputs, write_tables
from eml.indexing.model_record import fingerprint_of
from eml.inference.embed_images import EmbeddedImages
from eml.inference.embeddings_output import EmbeddingsOutput
from eml.inference.image_list import ImageList

if TYPE_CHECKING:
    from eml.indexing.store import IndexStore
    from eml.indexing.where import Condition


def check_export(out: Path, *, overwrite: bool) -> None:
    """Raise an OutputError, before the work, for what cannot be written."""
    if out.suffix == ".csv":
        check_outputs([out], overwrite=overwrite)
    else:
        EmbeddingsOutput(out).check(overwrite=overwrite)


def export_rows(
    store: IndexStore, out: Path, condition: Condition | None, *, command: str, overwrite: bool = False
) -> tuple[list[Path], list[Path], int]:
    """Write images of an index to a file; return the files, those of them that were replaced, and the images.

    Args:
        store: The index.
        out: The file: .parquet, .npz, .npy, or .csv without the embeddings.
        condition: The images to write; None: all.
        command: The command line that the sidecar records.
        overwrite: Whether files that eml did not write are replaced.
    """
    ids, embeddings = _read(store, condition)
    frame = store.rows(ids).rename(columns={"id": "index_id"})
    if out.suffix == ".csv":
        replaced = write_tables({out: frame}, command=command, root=out.parent, overwrite=overwrite)
        return [out], replaced, len(frame)
    errors = pd.DataFrame(columns=["file_name", "reason", "detail"], dtype=object)
    images = EmbeddedImages(embeddings, frame, errors, len(frame), 0, 0.0, fingerprint_of(store))
    written, replaced, _ = EmbeddingsOutput(out).write(
        images, ImageList(frame, out.parent), command=command, overwrite=overwrite
    )
    return written, replaced, len(frame)


def _read(store: IndexStore, condition: Condition | None) -> tuple[NDArray[np.int64], torch.Tensor]:
    parts = list(store.tiles(condition))
    if not parts:
        return np.zeros(0, np.int64), torch.zeros(0, store.size)
    return np.concatenate([ids for ids, _ in parts]), torch.cat([embeddings for _, embeddings in parts])
