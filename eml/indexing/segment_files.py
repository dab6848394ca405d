"""Files of embeddings under derived/, for reading through memory: written whole, each block checked when first read.

A page of 4,096 bytes begins the file: `EMLSEG1\\n`, the length and the CRC-32 of the JSON that follows, then zeros. The
JSON has the segment's record, the embedding size, the type of the numbers, the rows of a block and the CRC-32 of the
ids and of each block. Then come the ids (int64), and from the next page on the rows. All numbers are little-endian.
"""

import json
import struct
import zlib
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.files import refuse_pipe, whole_file
from eml.indexing.state import SegmentRecord

MAGIC = b"EMLSEG1\n"
PAGE = 4096
SEGMENT_ROWS = 65_536
BLOCK_ROWS = 4096
FOLDER = "derived"
SUFFIX = ".seg"

Numbers = NDArray[np.float32] | NDArray[np.float16]


class DamagedSegmentError(Exception):
    """A segment's file is missing, cut off or changed. It can be made again from the database."""

    def __init__(self, record: SegmentRecord, reason: str) -> None:
        super().__init__(f"{record.name}: {reason}")
        self.record, self.reason = record, reason


@dataclass(eq=False)
class Segment:
    """The embeddings of a segment, read from its file or made from the database.

    Attributes:
        record: What the state says of it.
        ids: (rows,) ids of the images, ascending.
        vectors: (rows, D) unit vectors, float32 or float16.
        checksums: CRC-32 of the blocks that have not been read yet; empty for a segment in memory.
        pages: (blocks,) memory of each block, with what fills its last page.
        ids_pages: Memory of the ids, with what fills their last page.
        ids_checksum: CRC-32 of it; None when it has been checked.
    """

    record: SegmentRecord
    ids: NDArray[np.int64]
    vectors: Numbers
    checksums: dict[int, int]
    pages: list[memoryview]
    ids_pages: memoryview | None = None
    ids_checksum: int | None = None

    def check(self, start: int, stop: int) -> None:
        """Check the blocks of rows start … stop − 1 that are read for the first time."""
        if self.checksums:
            for block in range(start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)):
                self._check_block(block)

    def check_rows(self, rows: NDArray[np.int64]) -> None:
        """Check the blocks of some rows that are read for the first time."""
        if self.checksums:
            for block in np.unique(rows // BLOCK_ROWS).tolist():
                self._check_block(block)

    def checked_ids(self) -> NDArray[np.int64]:
        """Return the ids, checked when they are read for the first time."""
        if self.ids_checksum is not None and self.ids_pages is not None:
            if zlib.crc32(self.ids_pages) != self.ids_checksum:
                raise DamagedSegmentError(self.record, "the checksum of the ids does not fit")
            if len(self.ids) and not (np.diff(self.ids) > 0).all():
                raise DamagedSegmentError(self.record, "the ids do not ascend")
            self.ids_checksum = None
        return self.ids

    def _check_block(self, block: int) -> None:
        checksum = self.checksums.get(block)
        if checksum is not None:
            if zlib.crc32(self.pages[block]) != checksum:
                raise DamagedSegmentError(self.record, f"the checksum of block {block} does not fit")
            self.checksums.pop(block, None)


def segment_name(generation: int, number: int) -> str:
    """Return the name of the n-th segment that a generation writes."""
    return f"segment-{generation:08d}-{number:04d}{SUFFIX}"


def write_segment(path: Path, record: SegmentRecord, ids: NDArray[np.int64], vectors: Numbers) -> SegmentRecord:
    """Write a segment's file, whole or not at all, and return its record with the checksum of what is in it."""
    ids_pages = _pages(ids.astype("<i8").tobytes())
    rows = np.ascontiguousarray(vectors.astype(vectors.dtype.newbyteorder("<"), copy=False))
    blocks = [rows[first : first + BLOCK_ROWS].tobytes() for first in range(0, len(rows), BLOCK_ROWS)]
    blocks[-1] = blocks[-1] + bytes(-rows.nbytes % PAGE)
    ids_checksum, checksums = zlib.crc32(ids_pages), [zlib.crc32(block) for block in blocks]
    record = replace(record, checksum=zlib.crc32(np.array([ids_checksum, *checksums], "<u8").tobytes()))
    header = asdict(record) | {
        "format": 1,
        "size": vectors.shape[1],
        "dtype": vectors.dtype.name,
        "block_rows": BLOCK_ROWS,
        "ids_checksum": ids_checksum,
        "checksums": checksums,
    }
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(_header_page(header))
        file.write(ids_pages)
        for block in blocks:
            file.write(block)
    return record


def open_segment(folder: Path, record: SegmentRecord, size: int, dtype: str) -> Segment:
    """Return a segment over its file's memory, after a check of name, size and header.

    Raises:
        DamagedSegmentError: The file is missing, or another than the state says.
    """
    path = folder / record.name
    try:
        refuse_pipe(path)
        with path.open("rb") as file:
            page = file.read(PAGE)
        header = _read_header(page, record)
        expected = asdict(record) | {"format": 1, "size": size, "dtype": dtype, "block_rows": BLOCK_ROWS}
        different = sorted(name for name, value in expected.items() if header.get(name) != value)
        checksums = header.get("checksums")
        if not isinstance(checksums, list) or len(checksums) != -(-record.rows // BLOCK_ROWS):
            different.append("number of checksums")
        if different or not isinstance(checksums, list):
            raise DamagedSegmentError(record, f"its header has another {', '.join(different)}")
        row_bytes, ids_bytes = size * np.dtype(dtype).itemsize, 8 * record.rows
        begin = PAGE + -(-ids_bytes // PAGE) * PAGE
        end = begin + -(-record.rows * row_bytes // PAGE) * PAGE
        if path.stat().st_size != end:
            raise DamagedSegmentError(record, f"it has {path.stat().st_size:,} bytes instead of {end:,}")
        # Private pages: torch warns of memory that it must not write. Nothing writes it.
        memory = np.asarray(np.memmap(path, np.uint8, "c"))
    except OSError as error:
        raise DamagedSegmentError(record, f"cannot be read: {error.strerror or error}") from error
    body = memory[begin:]
    bounds = [*range(0, record.rows * row_bytes, BLOCK_ROWS * row_bytes), len(body)]
    return Segment(
        record,
        memory[PAGE : PAGE + ids_bytes].view("<i8"),
        body[: record.rows * row_bytes].view(np.dtype(dtype).newbyteorder("<")).reshape(record.rows, size),
        dict(enumerate(checksums)),
        [body[start:stop].data for start, stop in pairwise(bounds)],
        memory[PAGE:begin].data,
        header.get("ids_checksum", -1),
    )


def _pages(data: bytes) -> bytes:
    """Return bytes that fill whole pages, with zeros at the end."""
    return data + bytes(-len(data) % PAGE)


def _header_page(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    page = MAGIC + struct.pack("<II", len(text), zlib.crc32(text)) + text
    assert len(page) <= PAGE
    return page + bytes(PAGE - len(page))


def _read_header(page: bytes, record: SegmentRecord) -> dict[str, Any]:
    """Return the JSON of a header page. Raises DamagedSegmentError."""
    if len(page) < PAGE or page[: len(MAGIC)] != MAGIC:
        raise DamagedSegmentError(record, "it does not begin as a segment does")
    length, checksum = struct.unpack_from("<II", page, len(MAGIC))
    begin = len(MAGIC) + 8
    text = page[begin : begin + length]
    if zlib.crc32(text) != checksum or any(page[begin + length :]):
        raise DamagedSegmentError(record, "the checksum of its header does not fit")
    header: dict[str, Any] = json.loads(text)
    if not isinstance(header, dict):
        raise DamagedSegmentError(record, "its header is no JSON object")
    return header
