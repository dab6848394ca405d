"""PCA whitening of a model's embeddings, learnt from other images than those that are measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.columns import ALWAYS_TEST
from eml.dataset.image_keys import image_keys, is_known
from eml.dataset.pipeline import resolve
from eml.dataset.sidecar import sidecar_path
from eml.dataset.table import Table
from eml.inference.any_model import AnyModel
from eml.inference.embed import Batching, embed_table
from eml.inference.embeddings_file import read_embeddings
from eml.progress import Progress, Report, no_progress
from eml.retrieval.pca import Pca, fit_pca


@dataclass(frozen=True)
class Whitening:
    """The whitening of one model's embeddings.

    Attributes:
        pca: Projects and whitens.
        source: The table or embeddings file that it was learnt from.
        images: The number of its images.
        shared: The number of images of the measured set that are among them; their structure is used then.
    """

    pca: Pca
    source: str
    images: int
    shared: int = 0

    def facts(self) -> dict[str, Any]:
        """Return what metrics.json says of it."""
        return {
            "learnt_from": self.source,
            "images": self.images,
            "components": self.pca.size,
            "images_of_this_table": self.shared,
        }


def read_fit_table(
    source: Path,
    report: Report = lambda line: None,
    progress: Progress | None = None,
    *,
    root: Path | None = None,
    columns: ColumnMap = AS_NAMED,
) -> Table:
    """Return the images to learn from: a table without its test fold, of a folder those that training would read.

    Args:
        source: A table or a folder.
        report: Receives the name of the table that is read.
        progress: Shows the progress of a scan.
        root: The folder that the measured table's file names start from. A table of the user's own is read by it too;
            one that eml wrote knows its own.
        columns: Says how the measured table is read, likewise.

    Raises:
        DataError: As `resolve`.
    """
    is_own = source.is_file() and not sidecar_path(source).exists()
    root, columns = (root, columns) if is_own else (None, AS_NAMED)
    table = resolve(source, "train", root, columns=columns, report=report, progress=progress)
    if "fold" not in table.frame:
        return table
    rows = (table.frame["fold"] != ALWAYS_TEST).to_numpy(bool)
    return Table(table.frame[rows].reset_index(drop=True), table.root, table.path)


def learn_whitening(
    model: AnyModel, table: Table, batching: Batching | None = None, progress: Progress = no_progress
) -> Whitening | None:
    """Return the whitening of a model, learnt from all images of a table; None in other processes than the first.

    Raises:
        DataError: An image cannot be read, or there are too few.
    """
    batching = batching or Batching()
    with progress(f"embedding {table.name}", len(table.frame)) as advance:
        embeddings = embed_table(model, table, table.frame, batching=batching, progress=advance)
    if not batching.processes.first:
        return None
    return Whitening(fit_pca(embeddings), str(table.path or table.root), len(embeddings))


def whitening_of_file(path: Path, images: Table) -> Whitening:
    """Return the whitening learnt from an embeddings file; images are known to be those measured by their names.

    Raises:
        DataError: The file cannot be read, or holds too few embeddings.
    """
    table, embeddings = read_embeddings(path)
    shared = images.frame["file_name"].isin(set(table.frame["file_name"])).sum()
    return Whitening(fit_pca(embeddings), str(path), len(embeddings), int(shared))


def count_shared(table: Table, images: Table) -> int:
    """Return how many images of one table are among those of another, by their contents.

    Raises:
        DataError: A file that has to be read cannot be read.
    """
    known = np.sort(image_keys(table, table.frame))
    return int(is_known(image_keys(images, images.frame), known).sum())
