"""Making an index: whole or not at all, with what is needed to load its model again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eml.errors import OutputError
from eml.files import unwritable, whole_folder
from eml.images.image_size import Size
from eml.indexing.calibrating import calibrate_store
from eml.indexing.database import NAME
from eml.indexing.model_record import has_no_place, put_inside, record_model
from eml.indexing.store import IndexStore
from eml.progress import Report

if TYPE_CHECKING:
    from eml.indexing.adding import NewImages
    from eml.indexing.changes import AddedImages
    from eml.inference.any_model import AnyModel


def check_new_index(folder: Path, *, overwrite: bool = False) -> bool:
    """Check before the work that an index can be made, and return whether it replaces one.

    Raises:
        OutputError: Something is there that may not be replaced, or the folder cannot be written.
    """
    if reason := unwritable(folder.parent):
        raise OutputError(f"{reason}. Give another folder for the index", code="not-writable", parameter="index")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / NAME).is_file():
        text = f"{folder}: exists and is no index. Give another folder for the index"
        raise OutputError(text, code="file-exists", parameter="index")
    if not overwrite:
        text = f"{folder}: is an index already. Add images with eml index add, or set `overwrite` to replace it"
        raise OutputError(text, code="file-exists", parameter="overwrite")
    return True


def create_index(
    folder: Path,
    model: AnyModel,
    new: NewImages,
    *,
    with_model: bool = False,
    storage: Literal["float32", "float16"] = "float32",
    duplicates: Literal["skip", "keep"] = "skip",
    weights: str = "pretrained",
    image_size: Size | None = None,
    overwrite: bool = False,
    report: Report = lambda line: None,
) -> AddedImages:
    """Make an index of embedded images, with the model's calibration, and return what was added.

    Args:
        folder: The index's folder.
        model: The model.
        new: The images.
        with_model: Whether the checkpoint is put inside.
        storage: Of the embeddings.
        duplicates: Whether an image that is there twice is skipped or kept.
        weights: Those that timm:NAME was loaded with.
        image_size: That timm:NAME was loaded with.
        overwrite: Whether an index that is there is replaced.
        report: Receives a line where the calibration cannot be fitted to the index.
    """
    check_new_index(folder, overwrite=overwrite)
    with whole_folder(folder) as temporary:
        store = IndexStore.create(temporary, size=model.size, fingerprint=model.fingerprint, storage=storage)
        with store:
            added = store.add(new.embeddings, new.rows, duplicates=duplicates)
            calibrate_store(store, model, report)
        record_model(temporary, model, weights=weights, image_size=image_size, index=folder)
        if with_model or has_no_place(model):
            put_inside(temporary, model)
    return added


def kept_beside(index: Path) -> Path:
    """Return the file beside an index that keeps what is embedded until it is in the index."""
    return index.with_name(f".{index.name}.embeddings")
