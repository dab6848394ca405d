"""Embeddings by the content of their images, of one model: what an interrupted work has done, and what X holds.

In a file it is a header, then a block for each batch: the keys, whether each image could be read, the embeddings, and a
checksum of the block. Blocks are only added. One that is cut or damaged, and what follows it, counts as not done.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import OutputError
from eml.files import not_writable, refuse_pipe
from eml.progress import Report

Embeddings = NDArray[np.float32]
Key = bytes
"""32 bytes: the blake2b-128 of the file's bytes, and the box as four int32, −1 where there is none."""
KEY_BYTES = 32

_MAGIC = b"eml-embeddings-1\n"
_DIGEST = 16  # bytes of a checksum
_LONGEST_HEADER = 65_536
_MOST_ROWS = 2**24  # of a block


@dataclass(frozen=True)
class _StoredPart:
    """Embeddings of a batch: in memory, or in the file from an offset on."""

    rows: int
    array: Embeddings | None = None
    offset: int = 0


class EmbeddingStore:
    """Embeddings of unit length by key, of one model.

    Args:
        fingerprint: The digest of the model's fingerprint.
        size: The embedding size D.
    """

    def __init__(self, fingerprint: str, size: int) -> None:
        """Begin without embeddings, in memory."""
        self.fingerprint, self.size = fingerprint, size
        self.failed: set[Key] = set()
        self._places: dict[Key, tuple[int, int]] = {}  # key → part, row in it
        self._parts: list[_StoredPart] = []
        self._file: IO[bytes] | None = None
        self._path = Path()

    def __len__(self) -> int:
        """Return the number of embeddings."""
        return len(self._places)

    def __contains__(self, key: Key) -> bool:
        """Return whether there is an embedding of this key."""
        return key in self._places

    def add(self, keys: Sequence[Key], embeddings: Embeddings, readable: NDArray[np.bool_] | None = None) -> None:
        """Add the embeddings of a batch, (n, D). readable: (n,) False where an image had no embedding; None: all had.

        Raises:
            OutputError: The file cannot be written.
        """
        good = np.ones(len(keys), bool) if readable is None else readable
        offset = self._append(keys, embeddings, good) if self._file is not None else 0
        self._note(keys, good, _StoredPart(len(keys), None if self._file is not None else embeddings, offset))

    def take(self, keys: Sequence[Key]) -> Tensor:
        """Return the embeddings (N, D) of keys that are there."""
        embeddings = np.empty((len(keys), self.size), np.float32)
        places = np.array([self._places[key] for key in keys], np.int64).reshape(-1, 2)
        order = np.argsort(places[:, 0], kind="stable")
        bounds = np.flatnonzero(np.diff(places[order, 0], prepend=-1, append=-1))
        for first, last in itertools.pairwise(bounds):
            rows = order[first:last]
            embeddings[rows] = self._load(self._parts[places[rows[0], 0]])[places[rows, 1]]
        return torch.from_numpy(embeddings)

    def _note(self, keys: Sequence[Key], good: NDArray[np.bool_], part: _StoredPart) -> None:
        number = len(self._parts)
        self._parts.append(part)
        for row, (key, is_good) in enumerate(zip(keys, good.tolist(), strict=True)):
            if is_good:
                self._places.setdefault(key, (number, row))
                self.failed.discard(key)
            else:
                self.failed.add(key)

    def _load(self, part: _StoredPart) -> Embeddings:
        if part.array is not None:
            return part.array
        assert self._file is not None
        data = _read_at(self._file, part.rows * self.size * 4, part.offset)
        return np.frombuffer(data, np.float32).reshape(part.rows, self.size)

    def _append(self, keys: Sequence[Key], embeddings: Embeddings, good: NDArray[np.bool_]) -> int:
        """Write a block and return where its embeddings are."""
        assert self._file is not None
        start = self._file.seek(0, os.SEEK_END)
        head = np.array([len(keys)], "<u4").tobytes() + b"".join(keys) + good.astype(np.uint8).tobytes()
        block = head + np.ascontiguousarray(embeddings, "<f4").tobytes()
        try:
            self._file.write(block + _checksum(block))
        except OSError as error:
            raise not_writable(self._path, error) from error
        return start + len(head)

    @contextlib.contextmanager
    def kept_in(self, path: Path, report: Report = lambda line: None) -> Iterator["EmbeddingStore"]:
        """Keep what is added in a file while the block runs, and read first what an earlier work left there.

        A file of another model, or that is none of ours, is begun anew. It stays when the block ends: the caller
        deletes it when its result is written.

        Args:
            path: The file.
            report: Receives a line on what of the file cannot be used.

        Raises:
            OutputError: The file cannot be written, or another process is at work on it.
        """
        lock = FileLock(f"{path}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            text = f"{path}: another process is writing it; wait for its end, or give another `out`"
            raise OutputError(text, code="being-written", parameter="out") from error
        except OSError as error:
            raise not_writable(path, error) from error
        try:
            with _opened(path) as file:
                self._file, self._path = file, path
                self._read(report)
                yield self
        finally:
            self._file = None
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()

    def _read(self, report: Report) -> None:
        """Read the blocks of the file, and cut off what is damaged."""
        file = self._file
        assert file is not None
        size = file.seek(0, os.SEEK_END)
        header = _MAGIC + json.dumps({"fingerprint": self.fingerprint, "size": self.size}).encode() + b"\n"
        file.seek(0)
        if file.read(len(header)) != header:
            if size:
                report(f"{self._path} is of another model, or damaged; all images are embedded anew")
            self._begin(file, header)
            return
        end, before = len(header), len(self)
        while (block := _read_block(file, self.size)) is not None:
            keys, good, length = block
            offset = end + 4 + len(keys) * (KEY_BYTES + 1)
            self._note(keys, good, _StoredPart(len(keys), None, offset))
            end += length
        if end < size:
            kept = len(self) - before
            report(f"{self._path} is cut or damaged after {kept:,} images; the others are embedded again")
            file.truncate(end)

    def _begin(self, file: IO[bytes], header: bytes) -> None:
        try:
            file.truncate(0)
            file.seek(0)
            file.write(header)
        except OSError as error:
            raise not_writable(self._path, error) from error


def key_of(content: bytes, box: tuple[int, int, int, int] | None = None) -> Key:
    """Return the key of an image, or of a box of it. content: the 16 bytes of the hash of its file."""
    return content + np.array(box or (-1, -1, -1, -1), "<i4").tobytes()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read and write it, unbuffered; it need not exist."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_pipe(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise not_writable(path, error) from error
    with os.fdopen(handle, "r+b", buffering=0) as file:
        yield file


def _read_at(file: IO[bytes], size: int, offset: int) -> bytes:
    """Return bytes of a file at an offset, wherever it is read next."""
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), size, offset)
    file.seek(offset)
    return file.read(size)


def _read_block(file: IO[bytes], size: int) -> tuple[list[Key], NDArray[np.bool_], int] | None:
    """Return the keys, whether each image could be read, and the length of the next block; None where it is damaged."""
    start = file.tell()
    left = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    if left < 4:
        return None
    count = int.from_bytes(file.read(4), "little")
    length = 4 + count * (KEY_BYTES + 1 + 4 * size) + _DIGEST
    if count > _MOST_ROWS or length > left:
        return None
    file.seek(start)
    data = file.read(length)
    if len(data) < length or _checksum(data[:-_DIGEST]) != data[-_DIGEST:]:
        return None
    keys = [data[place : place + KEY_BYTES] for place in range(4, 4 + count * KEY_BYTES, KEY_BYTES)]
    flags = np.frombuffer(data, np.uint8, count, 4 + count * KEY_BYTES)
    return keys, flags.astype(bool), length


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST).digest()
