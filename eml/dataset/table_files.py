"""The files that tables are in: CSV (UTF-8; commas, semicolons, tabs or bars) and Parquet, read as they are."""

import csv
import sys
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from eml.dataset.parquet_files import read_parquet
from eml.errors import DataError

CSV_SUFFIXES = (".csv", ".tsv")
PARQUET = ".parquet"
NO_PYARROW = "Parquet needs pyarrow: pip install 'easy-metric-learning[parquet]'"

DELIMITERS = ",;\t|"  # likeliest first
FIELD_LIMIT = min(sys.maxsize, 2**31 - 1)  # characters; Python's csv refuses more than 131,072 unless it is raised


class CsvReader(Protocol):
    """Python's reader of CSV."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]:
        """Return the reader."""

    def __next__(self) -> list[str]:
        """Return the next record."""


def is_csv(source: Path) -> bool:
    """Return whether a file is CSV, by its name."""
    return source.suffix.lower() in CSV_SUFFIXES


def is_parquet(source: Path) -> bool:
    """Return whether a file is Parquet, by its name."""
    return source.suffix.lower() == PARQUET


def read_frame(source: Path, names: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return all columns of a CSV or Parquet file, and notes on columns that are left out. CSV's columns are text.

    Args:
        source: The file.
        names: Columns that are looked for. They decide between delimiters, and are never left out.

    Raises:
        DataError: There is no such file, or it is not a table.
    """
    if not is_csv(source) and not is_parquet(source):
        text = f"{source}: a table's name ends in {', '.join(CSV_SUFFIXES)} or {PARQUET}"
        raise DataError(text, code="wrong-suffix")
    if not source.exists():
        raise DataError(f"{source}: no such file", code="missing-file")
    if not source.is_file():
        kind = "a folder" if source.is_dir() else "a pipe or a device"
        raise DataError(f"{source}: is {kind}, not a table", code="not-a-file")
    try:
        if is_csv(source):
            return _read_csv(source, names), []
        frame, left_out = read_parquet(source, names)
    except ImportError as error:
        raise DataError(f"{source}: {NO_PYARROW}", code="missing-package") from error
    except UnicodeError as error:
        raise _not_utf_8(source) from error
    except pd.errors.EmptyDataError as error:
        text = f"{source}: is empty; a table has the columns label and file_name"
        raise DataError(text, code="empty-table") from error
    except (OSError, ValueError, OverflowError, MemoryError, csv.Error, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{source}: cannot be read as a table: {reason[:300]}", code="not-a-table") from error
    check_header(source, list(frame.columns))
    note = f"{source}: columns left out, since their values are not text, numbers or times: {', '.join(left_out)}"
    return frame, [note] if left_out else []


def csv_rows(lines: Iterable[str], delimiter: str = ",") -> CsvReader:
    """Return Python's reader of these lines, for fields of any length."""
    csv.field_size_limit(FIELD_LIMIT)
    return csv.reader(lines, delimiter=delimiter)


def csv_records(source: Path, names: Collection[str] = ()) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each record begins at, and its fields; the first is the header. Blank lines are none."""
    delimiter = _delimiter(source, names)
    line = 1
    with source.open(encoding=_encoding(source), newline="") as file:
        reader = csv_rows(file, delimiter)
        for record in reader:
            if len(record) > 1 or (record and record[0].strip(" \t")):
                yield line, record
            line = reader.line_num + 1


def check_header(source: Path, columns: Sequence[str]) -> None:
    """Raise a DataError where a header names a column twice."""
    if twice := sorted(name for name, count in Counter(columns).items() if count > 1):
        more = f" and {len(twice) - 5:,} more" if len(twice) > 5 else ""
        text = f"{source}:1: the header has columns twice: {', '.join(map(repr, twice[:5]))}{more}"
        raise DataError(text, code="repeated-column")


def _encoding(source: Path) -> str:
    """Return UTF-16 for a file that begins with its mark, as Excel's "Unicode text" does; else UTF-8."""
    with source.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _delimiter(source: Path, names: Collection[str]) -> str:
    """Return the delimiter by which most of `names` are in the header; the comma unless another makes more of it."""
    ranks = {}
    for delimiter in DELIMITERS:
        with source.open(encoding=_encoding(source), newline="") as file:
            header: list[str] = next((record for record in csv_rows(file, delimiter) if record), [])
        is_comma = delimiter == "," and len(header) > 1
        ranks[delimiter] = (len(set(names).intersection(header)), is_comma, len(header))
    return max(DELIMITERS, key=lambda delimiter: ranks[delimiter])  # the first of equals


def _read_csv(source: Path, names: Collection[str]) -> pd.DataFrame:
    _, header = next(csv_records(source, names), (1, []))
    check_header(source, header)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header: pandas only warns
        frame = pd.read_csv(
            source,
            sep=_delimiter(source, names),
            dtype=str,
            keep_default_na=False,
            index_col=False,
            encoding=_encoding(source),
        )
    return frame.fillna("")  # a row shorter than the header


def _not_utf_8(source: Path) -> DataError:
    """Return the error of a file that is not text, with the first line that is not, as Windows-1252 would read it."""
    if _encoding(source) == "utf-16":
        return DataError(f"{source}: is not UTF-16 text, though it begins as such; save it as UTF-8", code="not-utf-8")
    with source.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                text = f"{source}:{number}: is not UTF-8 text (byte 0x{line[error.start]:02x}); save it as UTF-8"
                word = line[max(0, error.start - 20) : error.start + 20].decode("cp1252", errors="replace").strip()
                if word.isprintable() and "�" not in word:
                    text += f". It may be Windows-1252, which reads {word!r}: iconv -f WINDOWS-1252 -t UTF-8"
                return DataError(text, code="not-utf-8")
    return DataError(f"{source}: is not UTF-8 text; save it as UTF-8", code="not-utf-8")
