"""The files that tables are in: CSV (UTF-8; commas, semicolons, tabs or bars) and Parquet, read as they are."""

import collections
import csv
import io
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from eml.dataset.parquet_files import parquet_columns, read_parquet
from eml.dataset.table_names import CSV_SUFFIXES, PARQUET, is_csv, is_parquet
from eml.errors import DataError
from eml.storage import as_file
from eml.units import MIB

NO_PYARROW = "Parquet needs pyarrow: pip install 'easy-metric-learning[parquet]'"

DELIMITERS = ",;\t|"  # likeliest first
FIELD_LIMIT = MIB  # characters of a field
LINE_LIMIT = 8 * MIB  # characters of a line
MOST_COLUMNS = 2_000  # beside those that the reader knows


class CsvRows:
    """The records of a CSV's lines, as Python's reader gives them; line: that the latest record begins at."""

    def __init__(self, source: Path, lines: Iterable[str], delimiter: str = ",") -> None:
        """Begin before the first record; source: the file that errors name."""
        csv.field_size_limit(FIELD_LIMIT)
        self.source = source
        self.line = 1
        self._reader = csv.reader(_bounded(source, lines), delimiter=delimiter)

    @property
    def line_num(self) -> int:
        """The line that the latest record ends at."""
        return self._reader.line_num

    def __iter__(self) -> "CsvRows":
        """Return the reader."""
        return self

    def __next__(self) -> list[str]:
        """Return the next record.

        Raises:
            DataError: It is no CSV, or a field or a line is too long to be one of a table.
        """
        self.line = self._reader.line_num + 1
        try:
            return next(self._reader)
        except csv.Error as error:
            reason = str(error)
            if "field larger than" in reason:
                reason = f"a field has more than {FIELD_LIMIT:,} characters; perhaps a quotation mark is not closed"
            raise DataError(f"{self.source}:{self.line}: {reason}", code="not-a-table") from error


def _bounded(source: Path, lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines; a file's are not read to their end where they are too long. Raises a DataError for one."""
    pieces = iter(lambda: lines.readline(LINE_LIMIT + 1), "") if isinstance(lines, io.TextIOBase) else lines
    for number, line in enumerate(pieces, 1):
        if len(line) > LINE_LIMIT:
            text = f"{source}:{number}: has more than {LINE_LIMIT:,} characters, so it is no line of a table"
            raise DataError(text, code="not-a-table")
        yield line


def read_frame(source: Path, names: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return all columns of a CSV or Parquet file, and notes on columns that are left out. CSV's columns are text.

    Args:
        source: The file.
        names: Columns that are looked for. They decide between delimiters, and are never left out nor too many.

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
        check_number(source, parquet_columns(source), names)
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


def csv_records(source: Path, names: Collection[str] = ()) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each record begins at, and its fields; the first is the header. Blank lines are none."""
    delimiter = _delimiter(source, names)
    with source.open(encoding=_encoding(source), newline="") as file:
        rows = CsvRows(source, file, delimiter)
        for record in rows:
            if len(record) > 1 or (record and record[0].strip(" \t")):
                yield rows.line, record


def check_header(source: Path, columns: Sequence[str]) -> None:
    """Raise a DataError where a header names a column twice."""
    if twice := sorted(name for name, count in collections.Counter(columns).items() if count > 1):
        more = f" and {len(twice) - 5:,} more" if len(twice) > 5 else ""
        text = f"{source}:1: the header has columns twice: {', '.join(map(repr, twice[:5]))}{more}"
        raise DataError(text, code="repeated-column")


def check_number(source: Path, columns: Collection[str], names: Collection[str]) -> None:
    """Raise a DataError where a table has too many columns beside those of `names` to be one of images."""
    if (count := len(set(columns).difference(names))) > MOST_COLUMNS:
        text = (
            f"{source}: has {count:,} columns that eml does not know; at most {MOST_COLUMNS:,} are read beside its own"
        )
        raise DataError(f"{text}. Leave out those that are not needed", code="not-a-table")


def _encoding(source: Path) -> str:
    """Return UTF-16 for a file that begins with its mark, as Excel's "Unicode text" does; else UTF-8."""
    with source.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _delimiter(source: Path, names: Collection[str]) -> str:
    """Return the delimiter by which most of `names` are in the header; the comma unless another makes more of it."""
    ranks, problems = {}, {}
    for delimiter in DELIMITERS:
        with source.open(encoding=_encoding(source), newline="") as file:
            try:
                header: list[str] = next((record for record in CsvRows(source, file, delimiter) if record), [])
            except DataError as error:  # perhaps since the whole line would be one field
                problems[delimiter] = error
                continue
        is_comma = delimiter == "," and len(header) > 1
        ranks[delimiter] = (len(set(names).intersection(header)), is_comma, len(header))
    if not ranks:
        raise problems[DELIMITERS[0]]
    return max(ranks, key=lambda delimiter: ranks[delimiter])  # the first of equals


def _read_csv(source: Path, names: Collection[str]) -> pd.DataFrame:
    records = csv_records(source, names)
    _, header = next(records, (1, []))
    check_header(source, header)
    check_number(source, header, names)
    if not _has_short_fields(source):
        collections.deque(records, maxlen=0)  # pandas would read a field of any length
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header: pandas only warns
        frame = pd.read_csv(
            as_file(source),
            sep=_delimiter(source, names),
            dtype=str,
            keep_default_na=False,
            index_col=False,
            encoding=_encoding(source),
        )
    return frame.fillna("")  # a row shorter than the header


def _has_short_fields(source: Path) -> bool:
    """Return whether no field can be too long, as a look without parsing tells: no quotes, and no long line."""
    if source.stat().st_size <= FIELD_LIMIT:
        return True
    if _encoding(source) == "utf-16":
        return False
    with source.open("rb") as file:
        blocks = iter(lambda: file.read(FIELD_LIMIT // 2), b"")  # the last may be short, and be the end of a line
        return all(b'"' not in block and (b"\n" in block or len(block) < FIELD_LIMIT // 2) for block in blocks)


def _not_utf_8(source: Path) -> DataError:
    """Return the error of a file that is not text, with the first line that is not, as Windows-1252 would read it."""
    if _encoding(source) == "utf-16":
        return DataError(f"{source}: is not UTF-16 text, though it begins as such; save it as UTF-8", code="not-utf-8")
    with source.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(5 * LINE_LIMIT), b""), 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                text = f"{source}:{number}: is not UTF-8 text (byte 0x{line[error.start]:02x}); save it as UTF-8"
                word = line[max(0, error.start - 20) : error.start + 20].decode("cp1252", errors="replace").strip()
                if word.isprintable() and "�" not in word:
                    text += f". It may be Windows-1252, which reads {word!r}: iconv -f WINDOWS-1252 -t UTF-8"
                return DataError(text, code="not-utf-8")
    return DataError(f"{source}: is not UTF-8 text; save it as UTF-8", code="not-utf-8")
