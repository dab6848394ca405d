"""Columns of a Parquet file by their own types, whatever pandas noted in the file about an index or its types."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

# A file may say in a few bytes that it has 10⁹ equal rows. Rows of images differ at least by a name or a box.
_ROWS_PER_BYTE, _FEW_ROWS = 16, 10_000
_BYTES_PER_BYTE, _FEW_BYTES = 200, 2**27
_FEW_VALUES = 4_000_000
_TEXTS = ("string", "large_string")

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
    table = read_arrow(source)
    series: list[pd.Series[Any]] = []
    left_out: list[str] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name.startswith(_INDEX):
            continue
        values = _plain(column, must=name in names)
        if values is None:
            left_out.append(name)
        else:
            series.append(values.rename(name))
    return (pd.concat(series, axis=1) if series else pd.DataFrame()), left_out


def read_arrow(source: Path) -> Any:
    """Return a Parquet file as pyarrow's table, whose values are as it says.

    Raises:
        ValueError: It is not Parquet, is damaged, or says to hold more than a file of its size can.
        ImportError: pyarrow is not installed.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(source) as file:
            _refuse_inflated(source.stat().st_size, file.metadata)
            texts = [field.name for field in file.schema_arrow if str(field.type) in _TEXTS]
        with pyarrow.parquet.ParquetFile(source, read_dictionary=texts) as file:
            table = file.read()  # a text that is in many rows stays one
        table.validate(full=True)  # text that is not UTF-8, and lists that end beyond their values
    except (pyarrow.ArrowException, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    return table


def _refuse_inflated(size: int, metadata: Any) -> None:
    """Raise a ValueError where a file of `size` bytes says to hold far more than a table of images can."""
    rows = metadata.num_rows
    unpacked = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    values = sum(group.column(column).num_values for group in groups for column in range(group.num_columns))
    if values > _FEW_VALUES + size * _ROWS_PER_BYTE:  # lists hold many in a row
        raise ValueError(f"it says to hold {values:,} values in {size:,} bytes, so it is no table of images")
    if not 0 <= rows <= _FEW_ROWS + size * _ROWS_PER_BYTE or unpacked > _FEW_BYTES + size * _BYTES_PER_BYTE:
        raise ValueError(f"it says to hold {rows:,} rows in {size:,} bytes, so it is no table of images")


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
