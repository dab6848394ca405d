"""Embeddings of any images with the facts of them: what `eml embed` writes and an index takes in."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.problems import at_lines, file_problems
from eml.dataset.recorded_content import current_content
from eml.dataset.scanning.listing import FileProblem
from eml.errors import DataError
from eml.files import bytes_digest
from eml.images.decode import ImageError, decode_rgb, read
from eml.images.image_size import HeightWidth
from eml.images.loading import loaded_batches
from eml.images.loading_workers import Key as RowKey
from eml.images.loading_workers import LoadedBatch
from eml.images.preprocess import Pixels, Preprocess
from eml.images.source import FileSource
from eml.inference.any_model import AnyModel
from eml.inference.embed import Batching, gather_parts
from eml.inference.embedding_store import Embeddings, EmbeddingStore, Key, key_of
from eml.inference.image_list import ImageList, unusable_rows
from eml.models.fingerprint import Fingerprint
from eml.progress import Progress, Report, no_progress
from eml.storage.file_systems import threads_at
from eml.threads import in_order

CONTENT = "content"
CONTENT_BYTES = 16  # of the hash of a file
NO_EMBEDDING = "no_embedding"
"""The reason of an image for which the model gives numbers without a direction."""


class Unreadable(NamedTuple):
    """Why an image has no embedding."""

    reason: str
    detail: str


@dataclass(frozen=True)
class EmbeddedImages:
    """Images with their embeddings. Only the first of several processes has them.

    Attributes:
        embeddings: (N, D) float32 of unit length, on the CPU.
        frame: The N images or boxes: `file_name`, `label`, `content` (hash of the file, 32 hex digits) and all other
            columns of the list.
        errors: `file_name, reason, detail` of each image that has no embedding.
        reused: Images of the N whose embedding was there before.
        computed: Images that the network computed; a file that is there twice is computed once.
        seconds: That computing took, from the first batch on.
        fingerprint: The fingerprint of the model.
    """

    embeddings: Tensor
    frame: pd.DataFrame
    errors: pd.DataFrame
    reused: int
    computed: int
    seconds: float
    fingerprint: Fingerprint

    def __len__(self) -> int:
        """Return the number of embeddings."""
        return len(self.frame)

    @property
    def rate(self) -> float | None:
        """Images computed per second; None where none was."""
        return self.computed / self.seconds if self.computed and self.seconds > 0 else None

    def refuse_none(self, images: ImageList) -> None:
        """Raise a DataError where none of the images could be read."""
        if len(self):
            return
        table = images.table
        if table is not None:  # says what would find them, where none is there
            absent = file_problems(images.frame["file_name"], table.root, list(images.frame["label"]))
            if absent and absent[0][0] < 0:
                raise DataError(at_lines(table.path, absent))
        first, several = self.errors.iloc[0], len(self.errors) > 1
        count = f"none of the {len(self.errors):,} files is an image that can be read" if several else "cannot be read"
        where = f"; the first: {first['file_name']}" if several else ""
        text = f"{images.name}: {count}{where}: {first['detail']} ({first['reason']})"
        raise DataError(text, code="no-images", parameter="images")


@dataclass(frozen=True)
class _Plan:
    """The work of all processes.

    Attributes:
        contents: (N, 16) uint8, the hash of each row's file.
        order: The rows of each batch.
    """

    contents: NDArray[np.uint8]
    order: list[list[int]]


class CheckedImages:
    """Reads the images of rows as the model sees them, and only those whose file has the expected content.

    Args:
        files: The files and boxes.
        contents: (N, 16) uint8, the expected hash of each row's file.
        preprocess: The preprocessing of the model.
    """

    def __init__(self, files: FileSource, contents: NDArray[np.uint8], preprocess: Preprocess) -> None:
        self.files, self.contents, self.preprocess = files, contents, preprocess

    @property
    def shape(self) -> HeightWidth:
        """Height and width of the images (pixels)."""
        return self.preprocess.shape

    def read(self, keys: Sequence[RowKey], pixels: Pixels) -> dict[int, Unreadable]:
        """Write the images of the keys into pixels (B, H, W, 3), black where one is unreadable; return why."""
        problems = {}
        self.files.fetch([row for _, _, row in keys])
        for place, (_, _, row) in enumerate(keys):
            try:
                pixels[place] = self._pixels(row)
            except DataError as error:
                pixels[place] = 0
                problems[row] = unreadable(error)
        return problems

    def _pixels(self, row: int) -> Pixels:
        path, size = self.files.path(row), self.preprocess.at_least
        data = self.files.data(path)
        if bytes.fromhex(bytes_digest(data)) != self.contents[row].tobytes():
            raise DataError(f"{path}: {_CHANGED}", code="changed-while-read")
        box, background = self.files.box(row), self.preprocess.background
        return self.preprocess(decode_rgb(data, path, at_least=size, box=box, background=background))


_CHANGED = "its bytes are not those that the table or an earlier look at it found; run the command again, or eml scan"


def unreadable(error: DataError) -> Unreadable:
    """Return why an image cannot be read, without its path."""
    if isinstance(error, ImageError):
        return Unreadable(error.reason, error.detail)
    return Unreadable(error.code.replace("-", "_"), error.problems[0].partition(": ")[2] or error.problems[0])


def embed_images(
    model: AnyModel,
    images: ImageList,
    *,
    batching: Batching | None = None,
    reuse: EmbeddingStore | None = None,
    progress: Progress = no_progress,
    report: Report = lambda line: None,
) -> EmbeddedImages:
    """Embed images; those that cannot be read are told, and do not end the work.

    Files are known by their content: one that is there twice is computed once. The embeddings are the same to the bit
    for any number of processes, and after a work that was broken off and begun again with the same `reuse` and batch
    size.

    Args:
        model: The model.
        images: The images.
        batching: Batch size, workers and processes.
        reuse: Embeddings of the same model, which are not computed again; new ones are added. Only the first process
            needs it.
        progress: Shows the files that are read, and the images that are embedded.
        report: Receives a line where the table's column `content` does not fit the files.

    Raises:
        DataError: A worker process was lost.
        OutputError: What is computed cannot be added to `reuse`.
    """
    batching = batching or Batching()
    fingerprint = model.fingerprint
    store = EmbeddingStore(fingerprint.digest, model.size) if reuse is None else reuse
    work = _Work(images, images.files(model.preprocess.background), store)
    plan = batching.processes.from_first(lambda: work.plan(batching.batch_size, progress, report))
    reader = CheckedImages(work.files, plan.contents, model.preprocess)
    total, started = sum(map(len, plan.order)), time.monotonic()
    with progress(f"embedding {_short(images)}", total) if total else nullcontext(lambda done: None) as advance:
        problems = _compute(model, reader, plan.order, batching, work.add, advance)
    seconds = time.monotonic() - started
    for part in batching.processes.all_gather(problems):
        work.problems |= part
    frame, embeddings, errors = work.result()
    computed = total - sum(row in work.problems for rows in plan.order for row in rows)
    return EmbeddedImages(embeddings, frame, errors, work.reused, computed, seconds, fingerprint)


def stored_embeddings(
    images: ImageList,
    store: EmbeddingStore,
    *,
    progress: Progress = no_progress,
    report: Report = lambda line: None,
) -> Tensor | None:
    """Return the embeddings (N, D) of images that a store holds, without their model; None where it lacks one.

    Args:
        images: The images. Their files are looked at, as `embed_images` does.
        store: Embeddings of one model.
        progress: Shows the files that are read.
        report: Receives a line where the table's column `content` does not fit the files.
    """
    work = _Work(images, images.files(), store)
    is_whole = not work.plan(1, progress, report).order and not work.problems and not len(images.unusable)
    return work.result()[1] if is_whole else None


class _Work:
    """The rows with their keys, and what is known of them so far. Only the first process knows more than the files."""

    def __init__(self, images: ImageList, files: FileSource, store: EmbeddingStore) -> None:
        self.images, self.files, self.store = images, files, store
        self.keys: list[Key | None] = []
        self.problems: dict[int, Unreadable] = {}
        self.reused = 0

    def plan(self, batch_size: int, progress: Progress, report: Report) -> _Plan:
        """Return what all processes are to do: look at each file, and find the embeddings that are not there."""
        hashes = self._hashes(progress, report)
        self.problems = {row: value for row, value in enumerate(hashes) if isinstance(value, Unreadable)}
        contents = [None if isinstance(value, Unreadable) else value for value in hashes]
        self.keys = [
            None if content is None else key_of(content, self.files.box(row)) for row, content in enumerate(contents)
        ]
        self.reused = sum(key in self.store for key in self.keys if key is not None)
        together = b"".join(content or bytes(CONTENT_BYTES) for content in contents)
        return _Plan(np.frombuffer(together, np.uint8).reshape(-1, CONTENT_BYTES), self._order(batch_size))

    def add(self, rows: Sequence[int], embeddings: Embeddings, readable: NDArray[np.bool_]) -> None:
        """Keep the embeddings of a batch."""
        self.store.add([self.keys[row] or b"" for row in rows], embeddings, readable)

    def result(self) -> tuple[pd.DataFrame, Tensor, pd.DataFrame]:
        """Return the rows with an embedding, these, and the rows of X_errors.csv."""
        frame, keys = self.images.frame, self.keys  # none in the other processes
        good = [row for row, key in enumerate(keys) if key is not None and key in self.store]
        stored = [key for row in good if (key := keys[row]) is not None]
        kept = frame.iloc[good].reset_index(drop=True)
        kept = kept.assign(content=[key[:CONTENT_BYTES].hex() for key in stored])
        first = ["file_name", "label", CONTENT]
        kept = kept[[*first, *(name for name in kept.columns if name not in first)]]
        by_key = {keys[row]: why for row, why in self.problems.items() if keys and keys[row] is not None}
        names, is_good = frame["file_name"].tolist(), set(good)
        problems = [
            FileProblem(names[row], *(self.problems.get(row) or by_key[key]))
            for row, key in enumerate(keys)
            if row not in is_good
        ]
        errors = pd.concat([self.images.unusable, unusable_rows(problems)], ignore_index=True)
        return kept, self.store.take(stored), errors

    def _hashes(self, progress: Progress, report: Report) -> list[bytes | Unreadable]:
        """Return the hash of each row's file, or why it cannot be read."""
        frame = self.images.frame
        places, _ = pd.factorize(frame["file_name"].to_numpy(object))
        first = np.unique(places, return_index=True)[1]  # row of each file
        hashes: list[bytes | Unreadable | None] = [None] * len(first)
        with progress(f"reading {_short(self.images)}", len(first)) as advance:
            if self.images.table is not None:
                recorded = current_content(self.images.table, frame.iloc[first], report, advance)
                hashes = [bytes.fromhex(value) if value else None for value in recorded]
            missing = [number for number, value in enumerate(hashes) if value is None]
            for number, read_hash in zip(
                missing, in_order(self._hash, first[missing].tolist(), threads_at(self.images.root)), strict=True
            ):
                hashes[number] = read_hash
                advance(1)
        return [value for place in places.tolist() if (value := hashes[place]) is not None]

    def _hash(self, row: int) -> bytes | Unreadable:
        try:
            return bytes.fromhex(bytes_digest(read(self.files.path(row))))
        except ImageError as error:
            return unreadable(error)

    def _order(self, batch_size: int) -> list[list[int]]:
        """Return the rows of each batch: one for each key that is not there.

        Those that an earlier work found unreadable come at the end, each alone: so the batches of the others are those
        that it would have made, and their embeddings the same to the bit.
        """
        rows: dict[Key, int] = {}
        for row, key in enumerate(self.keys):
            if key is not None and key not in self.store:
                rows.setdefault(key, row)
        new = [row for key, row in rows.items() if key not in self.store.failed]
        again = [row for key, row in rows.items() if key in self.store.failed]
        return [new[first : first + batch_size] for first in range(0, len(new), batch_size)] + [[row] for row in again]


def _short(images: ImageList) -> str:
    return Path(images.name).name or images.name


def _compute(
    model: AnyModel,
    reader: CheckedImages,
    order: list[list[int]],
    batching: Batching,
    add: Callable[[Sequence[int], Embeddings, NDArray[np.bool_]], None],
    advance: Callable[[int], None],
) -> dict[int, Unreadable]:
    """Compute the batches, of which each process has every world-th; return the images without an embedding, and why.

    add: receives the rows of a batch, their embeddings, and which are one; in the first process alone.
    """
    processes, world = batching.processes, batching.processes.world
    own = [[(0, row, row) for row in rows] for rows in order[processes.rank :: world]]
    batches = loaded_batches(reader, own, batching.workers)
    largest = max(map(len, order), default=0)
    problems: dict[int, Unreadable] = {}
    for first in range(0, len(order), world):
        part = torch.zeros(largest, model.size + 1)  # the last number says whether it is an embedding
        if first + processes.rank < len(order):
            _embed(model, next(batches), part, problems)
        shared = order[first : first + world]
        for rows, values in zip(shared, gather_parts(part, processes), strict=False):
            array = values[: len(rows)].numpy()
            add(rows, np.ascontiguousarray(array[:, :-1]), array[:, -1] > 0)
        advance(sum(map(len, shared)))
    return problems


def _embed(model: AnyModel, batch: LoadedBatch, part: Tensor, problems: dict[int, Unreadable]) -> None:
    """Write the embeddings of a batch into the part, with 1 after each; note why an image has none."""
    rows = [row for _, _, row in batch.keys]
    problems |= batch.remarks
    if len(batch.remarks) == len(rows):
        return
    embeddings = model.embed_pixels(torch.from_numpy(batch.pixels).permute(0, 3, 1, 2))
    usable = embeddings.isfinite().all(1) & (embeddings != 0).any(1)
    for place, (row, is_usable) in enumerate(zip(rows, usable.tolist(), strict=True)):
        if row in problems:
            continue
        if not is_usable:
            problems[row] = Unreadable(NO_EMBEDDING, "the model gives numbers that are not finite, or all zero")
            continue
        part[place, :-1], part[place, -1] = embeddings[place], 1
