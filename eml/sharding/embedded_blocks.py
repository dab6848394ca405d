"""Blocks of images → their embeddings, to the same bits in whichever shard and on however many threads.

A block is embedded alone: its batches are cut from it in the order of its rows, and each is computed by one thread.
Several blocks are computed at once, a thread each, since what the threads of one computation share among them decides
about the last bits.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray

from eml.errors import DataError
from eml.files import bytes_digest
from eml.images.decode import decode_rgb, read
from eml.images.source import FileSource
from eml.inference.any_model import AnyModel
from eml.inference.embed_images import NO_EMBEDDING, Unreadable, unreadable
from eml.inference.model import Model
from eml.sharding.block_file import CONTENT_BYTES, BlockStore, BlockWriter, EmbeddedBlock
from eml.sharding.blocks import RowBlock
from eml.threads import in_order

MOST_THREADS = 16  # beside a GPU, which computes one batch at a time


@dataclass(frozen=True)
class BlockImages:
    """The images of blocks.

    Attributes:
        set: The name of the set that they are of; empty where there is one set.
        files: The files and boxes of all rows of the set.
        strict: Raise the error of an image that cannot be read, in place of keeping its reason.
    """

    set: str
    files: FileSource
    strict: bool = False

    def name(self, block: RowBlock) -> str:
        """Return the name of a block among those of all sets."""
        return f"{self.set}:{block.name}" if self.set else block.name


class BlockEmbedder:
    """Embeds blocks of images.

    Args:
        model: The model.
        images: The images.
        batch_size: Images that are computed at once.
    """

    def __init__(self, model: AnyModel, images: BlockImages, batch_size: int) -> None:
        self.model, self.images, self.batch_size = model, images, batch_size
        self._model_digest = f"{model.fingerprint.digest}, {batch_size}\n".encode()
        is_parallel = isinstance(model, Model) and model.device.type == "cpu"
        self._computing = nullcontext() if is_parallel else threading.Lock()

    def embed(
        self, block: RowBlock, earlier: str | None, advance: Callable[[int], None] = lambda images: None
    ) -> EmbeddedBlock | None:
        """Return an embedded block; None where it is as it was when its digest was `earlier`.

        advance: Is called with the images of each batch.
        """
        if earlier is not None and earlier == self._digest(block, np.stack([*map(self._content, block.rows)])):
            advance(len(block.rows))
            return None
        contents = np.zeros((len(block.rows), CONTENT_BYTES), np.uint8)
        embeddings = np.zeros((len(block.rows), self.model.size), np.float32)
        problems: dict[int, tuple[str, str]] = {}
        for first in range(0, len(block.rows), self.batch_size):
            places = range(first, min(first + self.batch_size, len(block.rows)))
            pixels = np.zeros((len(places), *self.model.preprocess.shape, 3), np.uint8)
            for number, place in enumerate(places):
                if problem := self._read(block.rows[place], contents[place], pixels[number]):
                    problems[place] = (problem.reason, problem.detail)
            self._compute(places, pixels, embeddings, problems)
            advance(len(places))
        name = self.images.name(block)
        return EmbeddedBlock(name, self._digest(block, contents), contents, embeddings, problems)

    def _digest(self, block: RowBlock, contents: NDArray[np.uint8]) -> str:
        """Return the digest of a block's names, boxes and contents, of the model, and of the size of batches."""
        hashed, files = blake2b(self._model_digest, digest_size=16), self.images.files
        for row, content in zip(block.rows, contents, strict=True):
            hashed.update(files.name(row).encode() + b"\0" + repr(files.box(row)).encode() + content.tobytes())
        return hashed.hexdigest()

    def _content(self, row: int) -> NDArray[np.uint8]:
        """Return the hash of a row's file, zeros where it cannot be read."""
        try:
            return _hash_of(read(self.images.files.path(row)))
        except DataError:
            return np.zeros(CONTENT_BYTES, np.uint8)

    def _read(self, row: int, content: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> Unreadable | None:
        """Read a row's file once; write its hash and its pixels, or return why it cannot be used, and leave black."""
        files, preprocess = self.images.files, self.model.preprocess
        try:
            path = files.path(row)
            data = read(path)
            content[:] = _hash_of(data)
            size, background = preprocess.at_least, preprocess.background
            pixels[:] = preprocess(decode_rgb(data, path, at_least=size, box=files.box(row), background=background))
        except DataError as error:
            if self.images.strict:
                raise
            return unreadable(error)
        return None

    def _compute(
        self,
        places: range,
        pixels: NDArray[np.uint8],
        embeddings: NDArray[np.float32],
        problems: dict[int, tuple[str, str]],
    ) -> None:
        """Write the embeddings of a batch, but for images with a problem."""
        if all(place in problems for place in places):
            return
        with self._computing:
            values = self.model.embed_pixels(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
        for place, value in zip(places, values, strict=True):
            if place in problems:
                continue
            if not self.images.strict and not (np.isfinite(value).all() and value.any()):
                problems[place] = (NO_EMBEDDING, "the model gives numbers that are not finite, or all zero")
                continue
            embeddings[place] = value


def _hash_of(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(bytes_digest(data)), np.uint8)


def embed_blocks(
    embedder: BlockEmbedder,
    blocks: Sequence[RowBlock],
    store: BlockStore,
    writer: BlockWriter,
    *,
    threads: int | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> int:
    """Embed the blocks that the store lacks, or has of other images, and add each to the writer.

    Args:
        embedder: Embeds a block.
        blocks: The blocks.
        store: What is there.
        writer: Takes what is new.
        threads: Blocks at once; None: as many as torch would use for one computation.
        advance: Is called with the images of each batch, by one thread at a time.

    Returns:
        The number of images that were computed.
    """
    computed, lock = 0, threading.Lock()

    def advance_alone(images: int) -> None:
        with lock:
            advance(images)

    with one_thread_each(embedder.model) as usual:

        def embed(block: RowBlock) -> EmbeddedBlock | None:
            return embedder.embed(block, store.digest(embedder.images.name(block)), advance_alone)

        for block, done in zip(blocks, in_order(embed, blocks, threads or usual), strict=True):
            if done is not None:
                writer.add(done)
                computed += len(block.rows)
    return computed


@contextmanager
def one_thread_each(model: AnyModel) -> Iterator[int]:
    """Compute each batch with one thread meanwhile, and yield how many blocks to compute at once."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before if model.device.type == "cpu" else max(1, min(MOST_THREADS, before))
    finally:
        torch.set_num_threads(before)


def rows_of(blocks: Sequence[RowBlock]) -> list[int]:
    """Return the rows of blocks, in the order in which they are embedded."""
    return [row for block in blocks for row in block.rows]
