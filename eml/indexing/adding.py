"""Images that come into an index: what is listed, embedded and stored."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from eml.errors import DataError
from eml.files import from_here
from eml.indexing.queries import are_names, embed_pixels
from eml.inference.embed_images import EmbeddedImages, embed_images
from eml.inference.embedding_store import EmbeddingStore
from eml.inference.exported.model import ExportedModel
from eml.inference.image_list import list_images
from eml.models.checkpoint import recorded_unknown_label
from eml.progress import Progress, Report, no_progress
from eml.storage import as_place

if TYPE_CHECKING:
    from torch import Tensor

    from eml.indexing.changes import AddedImages
    from eml.inference.any_model import AnyModel
    from eml.inference.embed import Batching
    from eml.inference.image_list import ImageList

MOST_IDS = 5  # that a line names
ROOT = "image_root"
"""The column of an index with the folder that a row's file name is relative to."""


@dataclass(frozen=True)
class NewImages:
    """Embeddings with the rows of an index that they come into.

    Attributes:
        embeddings: (N, D).
        rows: file_name, label (empty: none), content, image_root, and any other column.
        errors: file_name, reason, detail of the images that could not be read.
        computed: Images that the network computed.
        reused: Images whose embedding was there from an earlier call that was stopped.
        rate: Images computed per second; None where none was.
        unknown: Images of unknown identity, which have no label in the index.
    """

    embeddings: Tensor
    rows: pd.DataFrame
    errors: pd.DataFrame
    computed: int = 0
    reused: int = 0
    rate: float | None = None
    unknown: int = 0

    @property
    def example(self) -> Path | None:
        """The first image, as a query to try; None for images that were given as pixels."""
        if self.rows.empty or not self.rows["file_name"].iloc[0]:
            return None
        return as_place(str(self.rows[ROOT].iloc[0])) / str(self.rows["file_name"].iloc[0])


def embed_new(
    model: AnyModel,
    images: ImageList,
    *,
    batching: Batching | None = None,
    kept: Path | None = None,
    progress: Progress = no_progress,
    report: Report = lambda line: None,
) -> NewImages:
    """Embed the images of a list for an index.

    Args:
        model: The model.
        images: The list.
        batching: Batch size and workers.
        kept: A file that keeps what is embedded until `forget` is called, so that a call that was stopped continues.
        progress: Shows the images.
        report: Receives a line on what of the file or the table cannot be used.

    Raises:
        DataError: None of the images can be read.
    """
    store = EmbeddingStore(model.fingerprint.digest, model.size)
    context: AbstractContextManager[object] = nullcontext() if kept is None else store.kept_in(kept, report)
    with context:
        embedded = embed_images(model, images, batching=batching, reuse=store, progress=progress, report=report)
    embedded.refuse_none(images)
    return _new_images(embedded, images.root, _unknown_labels(model, images))


def _unknown_labels(model: AnyModel, images: ImageList) -> set[str]:
    """Return the labels of images of unknown identity, which are no class: those of the table and of the checkpoint."""
    table = images.table
    own = None if table is None else table.unknown_label
    denied = table is not None and table.denies_unknown_label
    return {label for label in (own, None if denied else _recorded_label(model)) if label}


def _recorded_label(model: AnyModel) -> str | None:
    """Return the label of images of unknown identity that a model's checkpoint, or its file, records."""
    if isinstance(model, ExportedModel):
        return model.facts.unknown_label
    return None if model.folder is None else recorded_unknown_label(model.folder)


def _new_images(embedded: EmbeddedImages, root: Path, unknown_labels: set[str]) -> NewImages:
    rows = embedded.frame.rename(columns={"id": "own_id"}).assign(**{ROOT: str(root.absolute())})
    unknown = rows["label"].isin(unknown_labels)
    rows.loc[unknown, "label"] = ""
    return NewImages(
        embedded.embeddings,
        rows,
        embedded.errors,
        embedded.computed,
        embedded.reused,
        embedded.rate,
        int(unknown.sum()),
    )


def new_images(
    model: AnyModel,
    images: Any,
    labels: str | Sequence[str] | None = None,
    *,
    progress: Progress = no_progress,
    report: Report = lambda line: None,
) -> NewImages:
    """Embed images that are given in any way for an index.

    Args:
        model: The model.
        images: A folder, a table, files, or images as pixels.
        labels: One for each image, or one for all; None: those of the folder or table.
        progress: Shows the images.
        report: Receives what is odd.

    Raises:
        DataError: There are not as many labels as images, or no image can be read.
    """
    if are_names(images):
        listed = list_images(images, report=report)
        return embed_new(model, with_labels(listed, labels), progress=progress, report=report)
    queries = embed_pixels(model, images)
    rows = pixel_rows(queries.contents, labels)
    return NewImages(queries.embeddings, rows, pd.DataFrame(), len(rows))


def forget(kept: Path) -> None:
    """Remove the file of `embed_new` when its images are in the index."""
    kept.unlink(missing_ok=True)


def with_labels(images: ImageList, labels: str | Sequence[str] | None) -> ImageList:
    """Return the list with these labels: one for all, or one for each image.

    Raises:
        DataError: There are not as many labels as images.
    """
    if labels is None:
        return images
    if not isinstance(labels, str) and len(labels) != len(images):
        text = f"{len(images):,} images and {len(labels):,} labels; give one label for each image, or one for all"
        raise DataError(text, code="wrong-shape", parameter="labels")
    values = labels if isinstance(labels, str) else [str(label) for label in labels]
    return replace(images, frame=images.frame.assign(label=values))


def pixel_rows(contents: Sequence[str], labels: str | Sequence[str] | None) -> pd.DataFrame:
    """Return the rows of images that were given as pixels, which have no file.

    Raises:
        DataError: There are not as many labels as images.
    """
    if labels is not None and not isinstance(labels, str) and len(labels) != len(contents):
        text = f"{len(contents):,} images and {len(labels):,} labels; give one label for each image, or one for all"
        raise DataError(text, code="wrong-shape", parameter="labels")
    values = [labels or ""] * len(contents) if labels is None or isinstance(labels, str) else [str(x) for x in labels]
    return pd.DataFrame({"file_name": "", "label": values, "content": list(contents), ROOT: ""}, dtype=object)


def kept_labels_line(index: Path, new: NewImages, added: AddedImages) -> str | None:
    """Return a line on the images that are in the index with another label than the new one; None without such.

    Args:
        index: The index's folder.
        new: The images that were to be added.
        added: What the addition left out of them.
    """
    skipped = added.skipped.assign(new=new.rows["label"].to_numpy(object)[added.skipped["row"]])
    skipped = skipped[~skipped["id"].isin(added.ids) & (skipped["new"] != "") & (skipped["new"] != skipped["label"])]
    if skipped.empty:
        return None
    first, ids = skipped.iloc[0], list(dict.fromkeys(skipped["id"]))
    stands = f"is '{first['label']}'" if first["label"] else "has none"
    count = "1 image is" if len(skipped) == 1 else f"{len(skipped):,} images are"
    which = [word for number in ids[:MOST_IDS] for word in ("--id", str(number))]
    command = shlex.join(["eml", "index", "remove", str(from_here(index)), *which])
    more = f" and {len(ids) - MOST_IDS:,} more" if len(ids) > MOST_IDS else ""
    return (
        f"{count} in the index already and not relabelled, such as {first['file_name']}, which {stands} there and "
        f"'{first['new']}' here. To relabel, remove what is there ({command}{more}), then add it again"
    )
