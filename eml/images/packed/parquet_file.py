"""Parquet files with images inside, in the layout of Hugging Face's `datasets`: a structure of `bytes` and `path`.

An image that is stored as it is, as `eml pack` writes it, is one read at its place (plain_pages.py). Of a compressed
column the row group is read whole, once, and the last ones are kept.

What a file may become when it is decompressed is bounded, and looked at in the headers of its pages before anything is
decompressed (page_sizes.py): all images of a file may become `EXPANSION` times its bytes and `LARGEST_GROUP` beside.
"""

import io
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate, count
from typing import IO, Any, NoReturn

import numpy as np

from eml.images.packed.columns import (
    LONGEST_COLUMN,
    LONGEST_COLUMNS,
    PlainValues,
    features_of,
    image_column,
    label_column,
    plain_columns,
    require_pyarrow,
    with_names,
)
from eml.images.packed.contents import Contents, PackedProblem, UnusableError
from eml.images.packed.keys import RowKeys
from eml.images.packed.page_sizes import PageSizes, page_sizes
from eml.images.packed.plain_pages import Places, value_places
from eml.images.packed.random_access import RandomFile, Section
from eml.images.packed.row_groups import ImageGroup, KeptGroups
from eml.storage import is_url
from eml.units import MIB

KEPT = 64 * MIB
"""Bytes of row groups that a process keeps, over all files; the last one is kept whatever its size."""
LARGEST_GROUP = 1024 * MIB
"""Bytes of the images of a compressed row group; of larger ones no image is read."""
EXPANSION = 100
"""How many times its bytes in the file a compressed row group may take; images are compressed already."""
_BYTES_PER_ROW, _FEW_ROWS = 32, 10_000  # more rows are the work of a few bytes that say so
_BATCH, _FEW = 65_536, 16  # rows that are read at once: of texts and numbers, of images
_TRIES = 2  # times that a row group is read that cannot be, such as by a disk that fails for a moment

_KEYS_KEPT_AS, _PLACES_KEPT_AS = "keys of Parquet rows, 1", "places of images of row group, 1,"

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
            _raise_damaged(file, error)
        self._features = features_of(self._schema)
        self._column, is_structure = image_column(self._schema, self._features)
        self._leaf = f"{self._column}.bytes" if is_structure else self._column
        self._has_paths = is_structure and self._schema.field(self._column).type.get_field_index("path") >= 0
        paths = [self._facts.schema.column(place).path for place in range(len(self._facts.schema))]
        self._place = paths.index(self._leaf)
        if not 0 <= self._facts.num_rows <= _FEW_ROWS + file.size // _BYTES_PER_ROW:
            raise UnusableError("unreadable", f"says to hold {self._facts.num_rows:,} rows in {file.size:,} bytes")
        groups = [self._facts.row_group(group).num_rows for group in range(self._facts.num_row_groups)]
        self._starts = [0, *accumulate(groups)]
        self._paths = paths
        self._stored: dict[int, Places | None] = {}
        self._batch_rows: dict[int, int] = {}
        self._refused: dict[int, list[UnusableError]] = {}
        self._lock, self._number = threading.Lock(), next(_numbers)

    def has(self, key: str) -> bool:
        """Implement PackedFile."""
        try:
            self._keys.row(key)
        except KeyError:
            return False
        return True

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
        names, problems = self._short_columns(plain_columns(self._schema), label)
        read = self._read_columns(names, label)
        contents = with_names(Contents(keys, columns=read.columns), label, self._features)
        contents.problems = problems + read.problems
        return self._without_refused(contents)

    def compressed_groups(self) -> tuple[int, int, int]:
        """Return the number of row groups that are read whole for an image, of their images, and of their bytes."""
        chunks = [self._chunk(group) for group in range(self._facts.num_row_groups) if self._is_packed(group)]
        return len(chunks), sum(chunk.num_values for chunk in chunks), sum(c.total_uncompressed_size for c in chunks)

    def _find(self, key: str) -> tuple[int, int]:
        """Return the row group of a key, and the row in it."""
        row = self._keys.row(key)
        group = bisect_right(self._starts, row) - 1
        return group, row - self._starts[group]

    @cached_property
    def _keys(self) -> RowKeys:
        if (kept := self._file.recall(_KEYS_KEPT_AS)) is not None:
            return RowKeys.of_bytes(self._facts.num_rows, kept)
        keys = RowKeys(self._facts.num_rows, self._names())
        self._file.keep(_KEYS_KEPT_AS, keys.to_bytes())
        keys.forget_names()
        return keys

    def _names(self) -> list[str] | None:
        """Return the paths of the images; None where some have none."""
        if not self._has_paths:
            return None
        path = f"{self._column}.path"
        sizes = self._column_sizes(path)
        if sizes is None or sizes.bytes > LONGEST_COLUMN:
            return None
        names, bytes_, rows = list[str](), 0, max(1, min(_BATCH, LONGEST_COLUMN // max(1, sizes.repeated)))
        with self._reading() as file:
            for batch in file.iter_batches(columns=[path], use_threads=False, batch_size=rows):
                column = batch.column(0).field("path")
                bytes_ += column.nbytes
                if column.null_count or bytes_ > LONGEST_COLUMN:
                    return None
                names += column.to_pylist()
        return names

    def _column_sizes(self, path: str) -> PageSizes | None:
        """Return the sizes of a column's pages in all row groups; None where they cannot be told."""
        total, repeated = 0, 0
        for place in [number for number, own in enumerate(self._paths) if own == path]:
            for group in range(self._facts.num_row_groups):
                sizes = _sizes_of(self._file, self._facts.row_group(group).column(place))
                if sizes is None:
                    return None
                total, repeated = total + sizes.bytes, max(repeated, sizes.repeated)
        return PageSizes(total, repeated)

    def _short_columns(self, names: list[str], label: str | None) -> tuple[list[str], list[PackedProblem]]:
        """Return the columns that are read, and a problem for each that is too long.

        Raises:
            UnusableError: That is the column of labels.
        """
        kept, problems, total = list[str](), list[PackedProblem](), 0
        for name in sorted(names, key=lambda name: name != label):
            sizes = self._column_sizes(name)
            if sizes is not None and sizes.bytes <= LONGEST_COLUMN and total + sizes.bytes <= LONGEST_COLUMNS:
                total += sizes.bytes
                kept.append(name)
                continue
            size = "pages that cannot be checked" if sizes is None else f"{sizes.bytes:,} bytes"
            text = f"its column {name!r} has {size}; at most {LONGEST_COLUMN:,} bytes are read of a column, and "
            text += f"{LONGEST_COLUMNS:,} of all"
            if name == label:
                raise UnusableError("too_large", text)
            problems.append(PackedProblem("", "too_large", f"{text}, so it is left out"))
        return [name for name in names if name in kept], problems

    def _read_columns(self, names: list[str], label: str | None) -> PlainValues:
        read = PlainValues(names, label, LONGEST_COLUMN, LONGEST_COLUMNS)
        if not names:
            return read
        with self._reading(read_dictionary=names) as file:
            for batch in file.iter_batches(columns=names, use_threads=False, batch_size=_BATCH):
                batch.validate(full=True)
                for name in names:
                    read.add(name, batch[name])
        return read

    def _without_refused(self, contents: Contents) -> Contents:
        """Return contents without the images of row groups that are too large, which are problems then."""
        left_out = dict[int, UnusableError]()
        for group in range(self._facts.num_row_groups):
            try:
                if self._is_packed(group):
                    self._check_group(group)
            except UnusableError as error:
                left_out |= dict.fromkeys(range(self._starts[group], self._starts[group + 1]), error)
        if not left_out:
            return contents
        keys = contents.keys
        rows = [row for row in range(len(keys)) if row not in left_out]
        contents.problems += [PackedProblem(keys[row], left_out[row].reason, str(left_out[row])) for row in left_out]
        contents.keys = [keys[row] for row in rows]
        contents.labels = [contents.labels[row] for row in rows]
        contents.columns = {name: [own[row] for row in rows] for name, own in contents.columns.items()}
        return contents

    @contextmanager
    def _reading(self, **options: Any) -> Iterator[Any]:
        """Yield the file as pyarrow has it. Raises UnusableError for whatever is wrong within."""
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self._source(), metadata=self._facts, **options) as file:
                yield file
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            _raise_damaged(self._file, error)

    def _places(self, group: int) -> Places | None:
        """Return where the images of a row group lie in the file; None where they are not stored as they are."""
        if group not in self._stored:
            chunk, leaf = self._chunk(group), self._facts.schema.column(self._place)
            plain = not self._is_packed(group) and leaf.max_repetition_level == 0
            start, size = chunk.data_page_offset, chunk.total_compressed_size
            within = 0 <= start <= start + size <= self._file.size and chunk.num_values <= size
            self._stored[group] = (
                self._value_places(group, start, size, chunk.num_values, leaf.max_definition_level)
                if plain and within
                else None
            )
        return self._stored[group]

    def _chunk(self, group: int) -> Any:
        return self._facts.row_group(group).column(self._place)

    def _is_packed(self, group: int) -> bool:
        """Return whether a row group says that its images are compressed, or in a dictionary."""
        chunk = self._chunk(group)
        return bool(chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page)

    def _most(self, group: int) -> int:
        """Return the bytes that the images of a row group may take."""
        share: int = LARGEST_GROUP // max(1, self._facts.num_row_groups)
        compressed: int = self._chunk(group).total_compressed_size
        return min(LARGEST_GROUP, share + EXPANSION * max(0, compressed))

    def _check_group(self, group: int) -> int:
        """Return how many rows of a group to decode at once.

        Raises:
            UnusableError: Its pages would take too many bytes, or it was read in vain before.
        """
        errors = self._refused.get(group, [])
        if errors and (len(errors) >= _TRIES or errors[-1].reason == "too_large"):
            raise UnusableError(errors[-1].reason, str(errors[-1]))
        if group not in self._batch_rows:
            sizes, most = _sizes_of(self._file, self._chunk(group)), self._most(group)
            if sizes is None:
                raise self._remembered(group, UnusableError("unreadable", "the pages of its row group are damaged"))
            if sizes.bytes > most:
                text = f"its row group has {sizes.bytes:,} bytes; at most {most:,} are read"
                raise self._remembered(group, UnusableError("too_large", text))
            self._batch_rows[group] = max(1, min(_FEW, KEPT // max(1, sizes.repeated)))
        return self._batch_rows[group]

    def _remembered(self, group: int, error: UnusableError) -> UnusableError:
        self._refused.setdefault(group, []).append(error)
        return error

    def _value_places(self, group: int, start: int, size: int, rows: int, most_defined: int) -> Places | None:
        """Return what `value_places` does, as it was kept, else as the pages say."""
        name = f"{_PLACES_KEPT_AS} {group}"
        if (kept := self._file.recall(name)) is not None:
            offsets, lengths = np.frombuffer(kept, "<i8").reshape(2, -1)
            return (offsets, lengths) if len(kept) else None
        places = value_places(self._file, start, size, rows, most_defined)
        self._file.keep(name, b"" if places is None else places[0].tobytes() + places[1].tobytes())
        return places

    def _read_group(self, group: int) -> ImageGroup:
        rows = self._check_group(group)
        try:
            return self._decoded(group, rows)
        except UnusableError as error:
            raise self._remembered(group, error) from error.__cause__

    def _decoded(self, group: int, rows: int) -> ImageGroup:
        """Return the images of a row group, decoded `rows` at a time."""
        parts, bytes_, most = list[Any](), 0, self._most(group)
        with self._reading() as file:
            batches = file.iter_batches(rows, [group], [self._leaf], use_threads=False)
            for batch in batches:  # a few at a time, since a dictionary says in few bytes that all are one large image
                column = batch.column(0)
                parts.append(column.field("bytes") if self._leaf != self._column else column)
                bytes_ += parts[-1].nbytes
                if bytes_ > most:
                    raise UnusableError("too_large", f"its row group holds more than {most:,} bytes")
        return ImageGroup(parts, bytes_)


_row_groups = KeptGroups(KEPT)


def _sizes_of(file: RandomFile, chunk: Any) -> PageSizes | None:
    """Return the sizes of the pages of a column chunk, as pyarrow describes it."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    return page_sizes(file, start, chunk.total_compressed_size)


def _raise_damaged(file: RandomFile, error: Exception) -> NoReturn:
    """Raise the error of a file that is none of Parquet; of a place that does not answer, its own."""
    if isinstance(error, OSError) and is_url(error.filename):
        raise error
    raise _damaged(file, error) from error


def _damaged(file: RandomFile, error: Exception) -> UnusableError:
    if file.size < 12 or file.read(file.size - 4, 4) != b"PAR1":
        if file.size and file.read(0, 4) == b"PAR1":
            return UnusableError("truncated", "a Parquet file without its end, which says what is in it")
        return UnusableError("unreadable", "is no Parquet file")
    return UnusableError("unreadable", f"cannot be read as Parquet: {' '.join(str(error).split())[:200]}")
