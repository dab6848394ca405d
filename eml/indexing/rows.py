"""Rows of an index as answers need them: name, label, and where the image is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eml.dataset.columns import BOX
from eml.dataset.image_root import was_written_in
from eml.files import is_path, moved_along
from eml.images.locate import stays_below
from eml.indexing.adding import ROOT
from eml.indexing.answers import NOWHERE, ImagePlace
from eml.indexing.image_rows import Value
from eml.indexing.model_record import read_record
from eml.storage import as_place, is_url

if TYPE_CHECKING:
    from eml.indexing.store import IndexStore


@dataclass(frozen=True)
class IndexRow:
    """An image of an index."""

    file_name: str
    label: str
    place: ImagePlace


Box = tuple[int, int, int, int]
IndexRows = Mapping[int, IndexRow]
"""Id → row."""


def rows_of(store: IndexStore, ids: NDArray[np.int64]) -> IndexRows:
    """Return the rows of these ids."""
    records = store.records(ids)
    roots = [str(record.get(ROOT) or "") for record in records]
    folders = {root: _folder(store.folder, root) for root in set(roots)}
    rows: dict[int, IndexRow] = {}
    for record, root in zip(records, roots, strict=True):
        name = str(record["file_name"] or "")
        place = _place(folders[root], name, _box(record))
        rows[int(record["id"] or 0)] = IndexRow(name, str(record["label"] or ""), place)
    return rows


def _box(record: Mapping[str, Value]) -> Box | None:
    """Return the box of an image, None for a whole one."""
    left, top, right, bottom = (-1 if (side := record.get(name)) is None else int(side) for name in BOX)
    return None if left < 0 else (left, top, right, bottom)


def _place(folder: Path | None, name: str, box: Box | None) -> ImagePlace:
    """Return where an image is: in its folder, whatever an index from somebody else says."""
    return NOWHERE if folder is None or not name or not stays_below(name) else ImagePlace(folder / name, box)


def _folder(index: Path, root: str) -> Path | None:
    """Return the folder of images, also where it was moved together with the index."""
    if not root or not is_path(root):
        return None
    if is_url(root):
        return _address(index, root)
    folder = Path(root)
    record = None if folder.is_dir() else read_record(index)
    if record is not None:
        moved = moved_along(folder, Path(record.index), index.absolute())
        return moved if moved.is_dir() else folder
    return folder


def _address(index: Path, root: str) -> Path | None:
    """Return the address of images, which only an index that was made in this very folder has asked for."""
    record = read_record(index)
    if record is None or not was_written_in(index, record.index):
        return None
    try:
        return as_place(root)
    except ValueError:
        return None
