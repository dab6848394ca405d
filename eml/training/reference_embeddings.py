"""Embeddings of a run's images by another model: a teacher, or an older model to stay compatible with.

They are computed once and kept in a file for each model, by the content of the images: FOLDER/DIGEST.embeddings, where
DIGEST begins the digest of the model's fingerprint. So a run that is resumed, or another one with the same folder,
computes only what is not there, and one that was killed meanwhile goes on where it was.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor

from eml.dataset.table import Table
from eml.distributed.processes import PIECE, SINGLE_PROCESS, Processes
from eml.errors import DataError, OutputError
from eml.inference.embed import Batching
from eml.inference.embed_images import EmbeddedImages, embed_images, stored_embeddings
from eml.inference.embedding_store import EmbeddingStore
from eml.inference.image_list import ImageList
from eml.inference.model import Model
from eml.progress import Progress, Report, no_progress

FOLDER = "references"
"""The folder of the files in that of a run, where the config names no other."""
SUFFIX = ".embeddings"
WAIT = 1.0  # seconds, until it is tried again whether another run is done with a file
_SHOWN = 3  # images that have none, by name


@dataclass(frozen=True)
class ReferenceEmbeddings:
    """Embeddings of a run's images by another model; every process has them all.

    Attributes:
        embeddings: (N, D) float32 of unit length, on the CPU, in the order of the rows.
        digest: Of the model's fingerprint.
        computed: Images that the model computed; a file that is there twice is computed once.
        reused: Images of the N whose embedding was kept before.
    """

    embeddings: Tensor
    digest: str
    computed: int
    reused: int


def reference_embeddings(
    model: Model,
    table: Table,
    frame: pd.DataFrame,
    folder: Path,
    *,
    batching: Batching | None = None,
    progress: Progress = no_progress,
    report: Report = lambda line: None,
) -> ReferenceEmbeddings:
    """Return embeddings of rows of a table by another model, computed where they are not kept yet.

    All processes of a run call it: they share the images that are to be computed, and the first one keeps them. The
    images are those of the files, preprocessed as the model says, without augmentation. The bits are the same for any
    number of processes, and after a work that was broken off. While another run is at work on the same file, this one
    waits for its end.

    Args:
        model: Any model that `eml.load` gives: of a run or checkpoint, of timm, several beside each other.
        table: The table, which knows the folder of the images.
        frame: Its rows, such as `parts.data.frame` of a run.
        folder: Where embeddings are kept, such as `RUN/references`; made where it is missing.
        batching: Batch size, workers and processes.
        progress: Shows the files that are read and the images that are embedded; only in the first process.
        report: Receives a line on what of the kept file cannot be used, or of a table that does not fit its files.

    Raises:
        DataError: An image cannot be read, or the model gives no direction for it.
        OutputError: The folder cannot be written.
    """
    batching = batching or Batching()
    processes, images = batching.processes, _listed(table, frame)
    digest = model.fingerprint.digest

    def embed(store: EmbeddingStore | None) -> EmbeddedImages:
        return embed_images(model, images, batching=batching, reuse=store, progress=progress, report=report)

    if processes.first:
        with _kept_store(folder, digest, model.size, progress, report) as store:
            embedded = embed(store)
    else:
        embedded = embed(None)
    processes.from_first(lambda: _refuse_missing(embedded, table))
    return ReferenceEmbeddings(
        shared_rows(embedded.embeddings, processes), digest, *processes.from_first(lambda: _counts(embedded))
    )


def kept_reference_embeddings(
    digest: str,
    size: int,
    table: Table,
    frame: pd.DataFrame,
    folder: Path,
    *,
    processes: Processes = SINGLE_PROCESS,
    progress: Progress = no_progress,
    report: Report = lambda line: None,
) -> ReferenceEmbeddings | None:
    """Return embeddings that were kept before, without the model, which may be gone; None where one is missing.

    Args:
        digest: Of the model's fingerprint.
        size: The embedding size D.
        table: The table, which knows the folder of the images.
        frame: Its rows.
        folder: Where they were kept.
        processes: All of them call this.
        progress: Shows the files that are read.
        report: Receives a line on what of the kept file cannot be used.
    """

    def read() -> Tensor | None:
        if not reference_file(folder, digest).is_file():
            return None
        with _kept_store(folder, digest, size, progress, report) as store:
            return stored_embeddings(_listed(table, frame), store, progress=progress, report=report)

    rows = read() if processes.first else None
    if not processes.from_first(lambda: rows is not None):
        return None
    return ReferenceEmbeddings(shared_rows(rows, processes), digest, 0, len(frame))


def references_of_run(
    digest: str,
    size: int,
    model: Model | None,
    load_again: Callable[[], Model],
    table: Table,
    frame: pd.DataFrame,
    folder: Path,
    *,
    batching: Batching,
    progress: Progress = no_progress,
    report: Report = lambda line: None,
) -> ReferenceEmbeddings:
    """Return the embeddings of a run's images, with the model or, where all of them were kept, without it.

    Args:
        digest: Of the model's fingerprint.
        size: The embedding size D.
        model: The model; None where a run that goes on did not load it.
        load_again: Loads that model, where one of the embeddings is missing.
        table: The table, which knows the folder of the images.
        frame: Its rows.
        folder: Where they are kept.
        batching: Workers and processes.
        progress: Shows what is read and embedded.
        report: Receives lines for the user.
    """
    if model is None:
        kept = kept_reference_embeddings(
            digest, size, table, frame, folder, processes=batching.processes, progress=progress, report=report
        )
        if kept is not None:
            return kept
        model = load_again()
    return reference_embeddings(model, table, frame, folder, batching=batching, progress=progress, report=report)


@contextmanager
def _kept_store(folder: Path, digest: str, size: int, progress: Progress, report: Report) -> Iterator[EmbeddingStore]:
    """Yield what is kept of a model, to which new embeddings are added; wait while another run adds some."""
    file, is_told = reference_file(folder, digest), False
    with ExitStack() as stack, progress(f"waiting for {file.name}") as advance:
        while True:
            try:
                store = stack.enter_context(EmbeddingStore(digest, size).kept_in(file, report))
                break
            except OutputError as error:
                if error.code != "being-written":
                    raise
            if not is_told:
                report(f"{file}: another run adds embeddings of the same model; waiting for its end")
                is_told = True
            advance(0)  # ends where the user stopped the run
            time.sleep(WAIT)
        yield store


def reference_file(folder: Path, digest: str) -> Path:
    """Return the file of a model's embeddings. digest: of its fingerprint."""
    return folder / f"{digest[:16]}{SUFFIX}"


def shared_rows(rows: Tensor | None, processes: Processes) -> Tensor:
    """Return in every process the tensor (N, D) that the first one has; all of them call this."""
    if processes.world == 1:
        assert rows is not None, "a single process has them"
        return rows
    shape, dtype = processes.from_first(lambda: _form(rows))
    whole = rows.contiguous() if processes.first and rows is not None else torch.empty(shape, dtype=dtype)
    step = max(1, PIECE // max(1, whole[:1].numel() * whole.element_size()))
    for piece in whole.split(step):  # views, which are filled in place
        dist.broadcast(piece, 0)
    return whole


def _form(rows: Tensor | None) -> tuple[torch.Size, torch.dtype]:
    assert rows is not None, "the first process has them"
    return rows.shape, rows.dtype


def _listed(table: Table, frame: pd.DataFrame) -> ImageList:
    return ImageList(frame.reset_index(drop=True), table.root, table.name, table=table)


def _counts(embedded: EmbeddedImages) -> tuple[int, int]:
    return embedded.computed, embedded.reused


def _refuse_missing(embedded: EmbeddedImages, table: Table) -> None:
    errors = embedded.errors
    if not len(errors):
        return
    lines = [
        f"{table.root / str(row.file_name)}: {row.detail} ({row.reason})"
        for row in errors.head(_SHOWN).itertuples(index=False)
    ]
    more = f"; and {len(errors) - _SHOWN:,} more" if len(errors) > _SHOWN else ""
    raise DataError(
        f"{table.name}: {len(errors):,} of its images cannot be embedded: {'; '.join(lines)}{more}. Put them back, or "
        "scan again and train on a table without them",
        code="unreadable-image",
        parameter="data.table",
    )
