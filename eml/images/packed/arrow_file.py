"""Arrow files as `save_to_disk` of Hugging Face's `datasets` writes them: batches of rows, one after the other.

The file is mapped, not read; an image is copied out of it.
"""

import io
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate
from typing import IO, Any

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


class ArrowFile:
    """An Arrow file with images, as a stream of batches, or with an index of them at its end.

    Args:
        path: The file.

    Raises:
        NotPackedError: It holds no images.
        UnusableError: It cannot be read.
    """

    def __init__(self, path: str) -> None:
        require_pyarrow()
        import pyarrow

        self._batches: list[Any] = []
        self._problem: str | None = None
        try:
            self._schema = self._read(pyarrow.memory_map(path))
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise UnusableError("unreadable", f"cannot be read as Arrow: {_line(error)}") from error
        self._features = features_of(self._schema)
        self._column, self._is_structure = image_column(self._schema, self._features)
        self._starts = [0, *accumulate(batch.num_rows for batch in self._batches)]

    def _read(self, source: Any) -> Any:
        """Read all batches that are whole and return the schema."""
        import pyarrow

        is_indexed = source.read(6) == b"ARROW1"
        source.seek(0)
        reader = pyarrow.ipc.open_file(source) if is_indexed else pyarrow.ipc.open_stream(source)
        if is_indexed:
            self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        else:
            try:
                for batch in reader:
                    batch.validate()
                    self._batches.append(batch)
            except (pyarrow.ArrowException, OSError) as error:
                self._problem = f"ends within its rows; what is before is used ({_line(error)})"
        return reader.schema

    def has(self, key: str) -> bool:
        """Implement PackedFile."""
        try:
            self._keys.row(key)
        except KeyError:
            return False
        return True

    def size(self, key: str) -> int | None:
        """Implement PackedFile."""
        return len(self._image(key))

    def read(self, key: str) -> bytes:
        """Implement PackedFile."""
        return bytes(self._image(key))

    def open(self, key: str) -> IO[bytes]:
        """Implement PackedFile."""
        return io.BytesIO(self.read(key))

    def contents(self) -> Contents:
        """Implement PackedFile."""
        names, label = plain_columns(self._schema), label_column(self._schema, self._features)
        read = PlainValues(names, label, LONGEST_COLUMN, LONGEST_COLUMNS)
        for batch in self._batches:
            for name in names:
                read.add(name, batch.column(name))
        keys = RowKeys(self._starts[-1], self._names()).all()
        problems = [PackedProblem("", "truncated", self._problem)] if self._problem else []
        contents = Contents(keys, columns=read.columns, problems=problems + read.problems)
        return with_names(contents, label, self._features)

    def _image(self, key: str) -> memoryview:
        row = self._keys.row(key)
        batch = bisect_right(self._starts, row) - 1
        column = self._batches[batch].column(self._column)
        column = column.field("bytes") if self._is_structure else column
        buffer = column[row - self._starts[batch]].as_buffer()
        if buffer is None:
            raise KeyError(key)
        return memoryview(buffer)

    @cached_property
    def _keys(self) -> RowKeys:
        keys = RowKeys(self._starts[-1], self._names())
        keys.forget_names()
        return keys

    def _names(self) -> list[str] | None:
        """Return the paths of the images; None where some have none."""
        kind = self._schema.field(self._column).type
        if not self._is_structure or kind.get_field_index("path") < 0:
            return None
        parts = [batch.column(self._column).field("path") for batch in self._batches]
        if any(part.null_count for part in parts):
            return None
        return [name for part in parts for name in part.to_pylist()]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
