"""Parquet files with images inside, in the layout of Hugging Face's `datasets`: a structure of `bytes` and `path`.

An image that is stored as it is, as `eml pack` writes it, is one read at its place (plain_pages.py). Of a compressed
column the row group is read whole, once, and the last ones are kept.
"""

import io
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate, count
from typing import IO, Any

from eml.images.packed.columns import (
    features_of,
    image_column,
    label_column,
    plain_columns,
    require_pyarrow,
    values,
    with_names,
)
from eml.images.packed.contents import Contents, UnusableError
from eml.images.packed.keys import RowKeys
from eml.images.packed.plain_pages import Places, value_places
from eml.images.packed.random_access import RandomFile, Section
from eml.units import MIB

KEPT = 64 * MIB
"""Bytes of row groups that a process keeps, over all files; the last one is kept whatever its size."""
LARGEST_GROUP = 1024 * MIB
"""Bytes of the images of a compressed row group; of larger ones no image is read."""
_ROWS_PER_BYTE, _FEW_ROWS = 16, 10_000  # more are the work of a few bytes that say so
_LONGEST_TEXTS = 256 * MIB
_BATCH, _FEW = 4096, 16  # rows that are read at once: of names, of images

_numbers = count()

Source = Callable[[], Any]
"""Opens the file for pyarrow."""


class ParquetFile:
    """A Parquet file with images.

    Args:
        file: The file.
        source: Opens it for pyarrow: a path, or a file of Python.

    Raises:
        NotPackedError: It holds no images.
        UnusableError: It cannot be read.
    """

    def __init__(self, file: RandomFile, source: Source) -> None:
        require_pyarrow()
        import pyarrow
        import pyarrow.parquet

        self._file, self._source = file, source
        try:
            self._facts = pyarrow.parquet.read_metadata(source())
            self._schema = self._facts.schema.to_arrow_schema()
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(file, error) from error
        self._features = features_of(self._schema)
        self._column, is_structure = image_column(self._schema, self._features)
        self._leaf = f"{self._column}.bytes" if is_structure else self._column
        self._has_paths = is_structure and self._schema.field(self._column).type.get_field_index("path") >= 0
        paths = [self._facts.schema.column(place).path for place in range(len(self._facts.schema))]
        self._place = paths.index(self._leaf)
        if not 0 <= self._facts.num_rows <= _FEW_ROWS + file.size * _ROWS_PER_BYTE:
            raise UnusableError("unreadable", f"says to hold {self._facts.num_rows:,} rows in {file.size:,} bytes")
        groups = [self._facts.row_group(group).num_rows for group in range(self._facts.num_row_groups)]
        self._starts = [0, *accumulate(groups)]
        self._stored: dict[int, Places | None] = {}
        self._lock, self._number = threading.Lock(), next(_numbers)

    def size(self, key: str) -> int | None:
        """Implement PackedFile."""
        group, row = self._find(key)
        stored = self._places(group)
        return None if stored is None else int(stored[1][row])

    def read(self, key: str) -> bytes:
        """Implement PackedFile."""
        group, row = self._find(key)
        stored = self._places(group)
        if stored is not None:
            return self._file.read(int(stored[0][row]), int(stored[1][row]))
        with self._lock:
            images = _row_groups.get((self._number, group), lambda: self._read_group(group))
        return images.read(row)

    def open(self, key: str) -> IO[bytes]:
        """Implement PackedFile."""
        group, row = self._find(key)
        stored = self._places(group)
        if stored is None:
            return io.BytesIO(self.read(key))
        return io.BufferedReader(Section(self._file, int(stored[0][row]), int(stored[1][row])))

    def contents(self) -> Contents:
        """Implement PackedFile."""
        keys = RowKeys(self._facts.num_rows, self._names()).all()
        label = label_column(self._schema, self._features)
        columns = self._read_columns(plain_columns(self._schema))
        return with_names(Contents(keys, columns=columns), label, self._features)

    def _find(self, key: str) -> tuple[int, int]:
        """Return the row group of a key, and the row in it."""
        row = self._keys.row(key)
        group = bisect_right(self._starts, row) - 1
        return group, row - self._starts[group]

    @cached_property
    def _keys(self) -> RowKeys:
        keys = RowKeys(self._facts.num_rows, self._names())
        keys.forget_names()
        return keys

    def _names(self) -> list[str] | None:
        """Return the paths of the images; None where some have none."""
        if not self._has_paths:
            return None
        names, bytes_ = list[str](), 0
        with self._reading() as file:
            for batch in file.iter_batches(columns=[f"{self._column}.path"], use_threads=False, batch_size=_BATCH):
                column = batch.column(0).field("path")
                bytes_ += column.nbytes
                if column.null_count or bytes_ > _LONGEST_TEXTS:
                    return None
                names += column.to_pylist()
        return names

    def _read_columns(self, names: list[str]) -> dict[str, list[Any]]:
        if not names:
            return {}
        with self._reading(read_dictionary=names) as file:
            table = file.read(columns=names, use_threads=False)
            table.validate(full=True)
        return {name: values(table[name]) for name in names}

    @contextmanager
    def _reading(self, **options: Any) -> Iterator[Any]:
        """Yield the file as pyarrow has it. Raises UnusableError for whatever is wrong within."""
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self._source(), metadata=self._facts, **options) as file:
                yield file
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(self._file, error) from error

    def _places(self, group: int) -> Places | None:
        """Return where the images of a row group lie in the file; None where they are not stored as they are."""
        if group not in self._stored:
            chunk = self._facts.row_group(group).column(self._place)
            leaf = self._facts.schema.column(self._place)
            plain = chunk.compression == "UNCOMPRESSED" and not chunk.has_dictionary_page
            plain = plain and leaf.max_repetition_level == 0
            start, size = chunk.data_page_offset, chunk.total_compressed_size
            within = 0 <= start <= start + size <= self._file.size and chunk.num_values <= size
            self._stored[group] = (
                value_places(self._file, start, size, chunk.num_values, leaf.max_definition_level)
                if plain and within
                else None
            )
        return self._stored[group]

    def _read_group(self, group: int) -> "_RowGroup":
        chunk = self._facts.row_group(group).column(self._place)
        if not 0 <= chunk.total_uncompressed_size <= LARGEST_GROUP:
            text = f"its row group has {chunk.total_uncompressed_size:,} bytes; at most {LARGEST_GROUP:,} are read"
            raise UnusableError("too_large", text)
        parts, bytes_ = list[Any](), 0
        with self._reading() as file:
            batches = file.iter_batches(_FEW, [group], [self._leaf], use_threads=False)
            for batch in batches:  # a few at a time, since a dictionary says in few bytes that all are one large image
                column = batch.column(0)
                parts.append(column.field("bytes") if self._leaf != self._column else column)
                bytes_ += parts[-1].nbytes
                if bytes_ > LARGEST_GROUP:
                    raise UnusableError("too_large", f"its row group holds more than {LARGEST_GROUP:,} bytes")
        return _RowGroup(parts, bytes_)


class _RowGroup:
    """The images of a row group.

    Args:
        parts: Arrays of bytes of Arrow, one after the other.
        bytes_: That they take in all.
    """

    def __init__(self, parts: list[Any], bytes_: int) -> None:
        self._parts, self.bytes = parts, bytes_
        self._starts = [0, *accumulate(len(part) for part in parts)]

    def read(self, row: int) -> bytes:
        """Return an image. Raises KeyError for a row without one."""
        part = bisect_right(self._starts, row) - 1
        value = self._parts[part][row - self._starts[part]].as_py()
        if value is None:
            raise KeyError(row)
        return bytes(value)


class _RowGroups:
    """The row groups that were read last, by file and number."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[tuple[int, int], _RowGroup] = OrderedDict()

    def get(self, key: tuple[int, int], read: Callable[[], _RowGroup]) -> _RowGroup:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        group = read()
        with self._lock:
            self._kept[key] = group
            while len(self._kept) > 1 and sum(kept.bytes for kept in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return group


_row_groups = _RowGroups(KEPT)


def _damaged(file: RandomFile, error: Exception) -> UnusableError:
    if file.size < 12 or file.read(file.size - 4, 4) != b"PAR1":
        if file.size and file.read(0, 4) == b"PAR1":
            return UnusableError("truncated", "a Parquet file without its end, which says what is in it")
        return UnusableError("unreadable", "is no Parquet file")
    return UnusableError("unreadable", f"cannot be read as Parquet: {' '.join(str(error).split())[:200]}")
