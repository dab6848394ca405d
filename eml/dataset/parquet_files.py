"""Columns of a Parquet file by their own types, whatever pandas noted in the file about an index or its types."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from eml.storage import as_file

# A file may say in a few bytes that it has 10⁹ equal rows. Rows of images differ at least by a name or a box.
_ROWS_PER_BYTE, _FEW_ROWS = 16, 10_000
_BYTES_PER_BYTE, _FEW_BYTES = 200, 2**27
_FEW_VALUES = 4_000_000
_TEXTS = ("string", "large_string")
_LENGTHS = (*_TEXTS, "binary", "large_binary")
_BYTES, _FIXED_BYTES = "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"  # Parquet's own types of texts and bytes

_INDEX = "__index_level_"  # begins the names of columns that were pandas' index


def read_parquet(source: Path, names: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns, and the names of those left out since their values are lists, bytes and the like.

    Args:
        source: The file.
        names: Columns that are never left out.

    Raises:
        ValueError: It is not Parquet, is damaged, or says to hold more than a file of its size can.
        ImportError: pyarrow is not installed.
    """
    import pyarrow

    table = read_arrow(source)
    series: list[pd.Series[Any]] = []
    left_out: list[str] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name.startswith(_INDEX):
            continue
        if name in names and pyarrow.types.is_nested(column.type):
            raise ValueError(f"column {name!r} holds neither text nor whole numbers ({column.type}); write it as text")
        values = _plain(column, must=name in names)
        if values is None:
            left_out.append(name)
        else:
            series.append(values.rename(name))
    return (pd.concat(series, axis=1) if series else pd.DataFrame()), left_out


def parquet_columns(source: Path) -> list[str]:
    """Return the names of the columns, of lists and structures those of what they hold.

    Raises:
        ValueError: It is not Parquet, or is damaged.
        ImportError: pyarrow is not installed.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_metadata(as_file(source)).schema
        return [schema.column(place).path for place in range(len(schema))]
    except (pyarrow.ArrowException, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


def read_arrow(source: Path) -> Any:
    """Return a Parquet file as pyarrow's table, whose values are as it says.

    Raises:
        ValueError: It is not Parquet, is damaged, or says to hold more than a file of its size can.
        ImportError: pyarrow is not installed.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(as_file(source)) as file:
            _refuse_inflated(source.stat().st_size, file.metadata)
            texts, within = _columns_of_bytes(file)
        with pyarrow.parquet.ParquetFile(as_file(source), read_dictionary=texts) as file:
            table = _read_but(file, within)
        table.validate(full=True)  # text that is not UTF-8, and lists that end beyond their values
        _refuse_long_texts(source.stat().st_size, table)
    except (pyarrow.ArrowException, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    return table


def _refuse_inflated(size: int, metadata: Any) -> None:
    """Raise a ValueError where a file of `size` bytes says to hold far more than a table of images can."""
    rows = metadata.num_rows
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    unpacked = sum(group.total_byte_size for group in groups)
    values = 0
    for place in range(metadata.num_columns):
        count = sum(group.column(place).num_values for group in groups)
        leaf = metadata.schema.column(place)
        values += count
        unpacked += count * leaf.length if leaf.physical_type == _FIXED_BYTES else 0
    if values > _FEW_VALUES + size * _ROWS_PER_BYTE:  # lists hold many in a row
        raise ValueError(f"it says to hold {values:,} values in {size:,} bytes, so it is no table of images")
    if not 0 <= rows <= _FEW_ROWS + size * _ROWS_PER_BYTE or unpacked > _FEW_BYTES + size * _BYTES_PER_BYTE:
        text = f"{rows:,} rows of {unpacked:,} bytes in all"
        raise ValueError(f"it says to hold {text} in {size:,} bytes, so it is no table of images")


def _columns_of_bytes(file: Any) -> tuple[list[str], set[str]]:
    """Return the columns of texts or bytes, which can be read as dictionaries, and those that have them in lists."""
    leaves = [file.schema.column(place) for place in range(len(file.schema))]
    held = [leaf for leaf in leaves if leaf.physical_type == _BYTES]
    names = set(file.schema_arrow.names)
    plain = [leaf.path for leaf in held if leaf.path in names and leaf.max_repetition_level == 0]
    return plain, {leaf.path.partition(".")[0] for leaf in held if leaf.path not in plain} & names


def _read_but(file: Any, within: set[str]) -> Any:
    """Return the table: a text that is in many rows stays one. Where that cannot be, columns are left without values.

    Args:
        file: The open file.
        within: Columns that hold lists or structures of texts, in which each would be read as often as it is there.
    """
    import pyarrow

    if not within:
        return file.read()
    schema = file.schema_arrow
    table = file.read(columns=[name for name in schema.names if name not in within])
    rows = file.metadata.num_rows
    read = [
        table[name] if name in table.column_names else pyarrow.nulls(rows, schema.field(name).type)
        for name in schema.names
    ]
    return pyarrow.table(read, names=schema.names)


def _refuse_long_texts(size: int, table: Any) -> None:
    """Raise a ValueError where the texts of a file of `size` bytes are far longer than those of a table of images.

    They count as often as they are in rows, since each row's will be a text of its own.
    """
    from pyarrow import compute, types

    most = _FEW_BYTES + size * _BYTES_PER_BYTE
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not types.is_dictionary(column.type) or str(column.type.value_type) not in _LENGTHS:
            continue
        for chunk in column.chunks:
            lengths = compute.binary_length(chunk.dictionary).take(chunk.indices)
            most -= compute.sum(lengths).as_py() or 0
        if most < 0:
            raise ValueError(f"the texts of {name!r} repeat too much for {size:,} bytes, so it is no table of images")


def _plain(column: Any, *, must: bool) -> "pd.Series[Any] | None":
    """Return a column as pandas reads it; None where its values are lists, bytes and the like, unless it must be."""
    import pyarrow
    from pyarrow import types

    if isinstance(column.type, pyarrow.BaseExtensionType):
        storage = [chunk.storage for chunk in column.chunks]
        column = pyarrow.chunked_array(storage, column.type.storage_type)
    try:
        if types.is_dictionary(column.type) and str(column.type.value_type) in _TEXTS:
            values = column.to_pandas()
            texts: pd.Series[Any] = values.astype(object).where(values.notna(), None)
            return texts
        if types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if types.is_string_view(column.type):
            column = column.cast(pyarrow.string())
        is_odd = types.is_nested(column.type) or "binary" in str(column.type)
        return None if is_odd and not must else column.to_pandas(types_mapper=_nullable(column))
    except (pyarrow.ArrowException, ValueError, TypeError, KeyError, OverflowError, ArithmeticError):
        if must:
            raise ValueError(f"a column of {column.type} cannot be read") from None
        return None


def _nullable(column: Any) -> Any:
    """Return pandas' type for whole numbers and flags with blanks, which would become decimal numbers; else None."""
    from pyarrow import types

    kind = str(column.type)
    if not column.null_count or not (types.is_integer(column.type) or types.is_boolean(column.type)):
        return None
    name = "boolean" if kind == "bool" else kind.replace("u", "U").replace("int", "Int")
    return lambda _: pd.api.types.pandas_dtype(name)
