"""A file of embedded blocks: what a shard has done when it is stopped, and its result.

It is a header line of JSON, then the blocks: the length of a JSON head, the head, the hashes of the files (16 bytes
each, zeros where there is none), the embeddings (float32, little endian), and a checksum of all these. One that is cut
or damaged, and what follows it, counts as not done.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from eml.files import not_writable, refuse_pipe, whole_file
from eml.json_files import parse_json

CONTENT_BYTES = 16
_MAGIC = "eml-blocks-1"
_DIGEST = 16  # bytes of a checksum
_LONGEST_HEAD = 2**24
_MOST_ROWS = 2**16


@dataclass(frozen=True)
class EmbeddedBlock:
    """A block that is embedded.

    Attributes:
        name: The block's, with that of its set of images where there are several.
        digest: Of the model, and of the names, boxes and contents that it was made of.
        contents: (n, 16) uint8, the hash of each row's file; zeros where it cannot be read.
        embeddings: (n, D) float32; zeros where there is none.
        problems: Row in the block → reason and detail, of those without an embedding.
    """

    name: str
    digest: str
    contents: NDArray[np.uint8]
    embeddings: NDArray[np.float32]
    problems: Mapping[int, tuple[str, str]]


@dataclass(frozen=True)
class _Head:
    name: str
    digest: str
    rows: int
    size: int
    problems: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class _BlockPlace:
    head: _Head
    path: Path
    offset: int
    length: int


class BlockStore:
    """Blocks by name, in any number of files; of a name the last one counts.

    Args:
        facts: The header: what makes blocks useless when it differs, such as versions of packages.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.header = (json.dumps({"format": _MAGIC, **facts}, sort_keys=True) + "\n").encode()
        self._places: dict[str, _BlockPlace] = {}

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._places)

    def digest(self, name: str) -> str | None:
        """Return the digest of a block that is here, None of another one."""
        place = self._places.get(name)
        return place.head.digest if place else None

    def open_file(self, path: Path) -> int:
        """Take in the blocks of a file; return the end of the last whole one, 0 where it is of another kind."""
        try:
            refuse_pipe(path)
            with path.open("rb") as file:
                if file.read(len(self.header)) != self.header:
                    return 0
                end = len(self.header)
                for place in _places(path, file):
                    self._places[place.head.name] = place
                    end = place.offset + place.length
        except OSError:
            return 0
        return end

    def read(self, name: str) -> EmbeddedBlock:
        """Return a block that is here. Raises ValueError where its file has changed."""
        place = self._places[name]
        data, head = self._bytes(place), place.head
        start = 4 + int.from_bytes(data[:4], "little")
        contents = np.frombuffer(data, np.uint8, head.rows * CONTENT_BYTES, start)
        values = np.frombuffer(data, "<f4", head.rows * head.size, start + len(contents))
        problems = {int(row): value for row, value in head.problems.items()}
        return EmbeddedBlock(
            head.name,
            head.digest,
            contents.reshape(head.rows, CONTENT_BYTES),
            values.reshape(head.rows, head.size).astype(np.float32, copy=False),
            problems,
        )

    def _bytes(self, place: _BlockPlace) -> bytes:
        with place.path.open("rb") as file:
            file.seek(place.offset)
            data = file.read(place.length)
        if len(data) < place.length or _checksum(data[:-_DIGEST]) != data[-_DIGEST:]:
            raise ValueError(f"{place.path}: was changed or damaged while it was read")
        return data

    @contextmanager
    def added_to(self, path: Path) -> Iterator["BlockWriter"]:
        """Yield what adds blocks to a file, after those that are whole in it; one of another kind is begun anew."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            end = self.open_file(path)
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
                file.truncate(end)
                file.seek(end)
                if not end:
                    file.write(self.header)
                yield BlockWriter(self, path, file)
        except OSError as error:
            raise not_writable(path, error) from error

    def write(self, path: Path, names: Sequence[str]) -> None:
        """Write these blocks, in this order, as a whole file."""
        with whole_file(path) as temporary, temporary.open("wb") as file:
            file.write(self.header)
            for name in names:
                file.write(self._bytes(self._places[name]))


class BlockWriter:
    """Adds blocks to a file; `BlockStore.added_to` makes it."""

    def __init__(self, store: BlockStore, path: Path, file: IO[bytes]) -> None:
        self._store, self._path, self._file = store, path, file

    def add(self, block: EmbeddedBlock) -> None:
        """Add a block. Raises OSError where it cannot be written."""
        rows, size = block.embeddings.shape
        problems = {str(row): why for row, why in sorted(block.problems.items())}
        head = _Head(block.name, block.digest, rows, size, problems)
        text = json.dumps(head.__dict__, sort_keys=True, separators=(",", ":")).encode()
        values = np.ascontiguousarray(block.embeddings, "<f4").tobytes()
        data = len(text).to_bytes(4, "little") + text + np.ascontiguousarray(block.contents).tobytes() + values
        offset = self._file.tell()
        self._file.write(data + _checksum(data))
        self._store._places[block.name] = _BlockPlace(head, self._path, offset, len(data) + _DIGEST)


def _places(path: Path, file: IO[bytes]) -> Iterator[_BlockPlace]:
    """Yield the places of the blocks from here on, up to the first that is cut or damaged."""
    while True:
        offset = file.tell()
        length = int.from_bytes(raw, "little") if len(raw := file.read(4)) == 4 else _LONGEST_HEAD + 1
        if length > _LONGEST_HEAD:
            return
        text = file.read(length)
        try:
            head: _Head = parse_json(text.decode(), _Head)
        except ValueError:
            return
        if not 0 <= head.rows <= _MOST_ROWS or not 0 < head.size <= _LONGEST_HEAD:
            return
        rest = file.read(head.rows * (CONTENT_BYTES + 4 * head.size))
        if file.read(_DIGEST) != _checksum(raw + text + rest):
            return
        yield _BlockPlace(head, path, offset, 4 + length + len(rest) + _DIGEST)


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST).digest()
