"""The table of images: the only reader and writer of it. CSV, or Parquet by suffix; the same columns.

`label` (text: "007" stays "007") and `file_name` (POSIX, relative to the root) are required; see `columns` for others.
"""

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eml.dataset.columns import BOX as BOX
from eml.dataset.columns import REQUIRED, Problems, parse_columns, repeated
from eml.dataset.oml_tables import OML_NOTE, from_oml, is_oml, missing_columns
from eml.dataset.problems import at_lines, file_problems, path_problems
from eml.dataset.sidecar import recorded_root, sidecar_path, sources, write_sidecar, written_by_eml
from eml.errors import DataError, OutputError
from eml.files import digest, text_digest, unwritable, whole_file

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class Table:
    """Rows of images. root: the folder that `file_name` is relative to. path: None while it is not on disk.

    parts: the files of a table that was merged from several and is not on disk. notes: what was read otherwise than it
    stands in the file, a line each.
    """

    frame: pd.DataFrame
    root: Path
    path: Path | None = None
    parts: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What errors call it."""
        if self.parts:
            more = f" and {len(self.parts) - 1:,} more" if len(self.parts) > 1 else ""
            return f"the table merged from {self.parts[0]}{more}"
        return str(self.path) if self.path else f"the table of {self.root}"

    @property
    def source(self) -> Path:
        """The file, of a table that was read or written."""
        assert self.path is not None
        return self.path

    @property
    def digest(self) -> str | None:
        """Of the file, or of all the files that it was merged from; None of a table that is in no file."""
        if self.parts:
            return text_digest("\n".join(digest(part) for part in self.parts))
        return digest(self.path) if self.path else None


def read_table(source: Path, root: Path | None = None, *, check_files: bool = False) -> Table:
    """Reads and checks a table; its images are under `root`, else where its sidecar says, else beside it.

    check_files: every image must be there. Raises DataError with all problems (20 at most are listed), each with
    the table's line.
    """
    frame = _read_frame(source)
    if not (oml := is_oml(frame)) and not set(REQUIRED) <= set(frame.columns):
        raise DataError(f"{source}:1: {missing_columns(list(map(str, frame.columns)))}")
    if frame.empty:
        raise DataError(f"{source}: has no rows")
    problems: Problems = []
    folder = _root(source, root)
    if oml:
        frame = from_oml(frame, folder, problems)
    frame = parse_columns(frame, problems)
    problems += [(row, "label is empty") for row in frame.index[frame["label"] == ""]]
    problems += path_problems(frame["file_name"], "path" if oml else "file_name")
    problems += repeated(frame)
    table = Table(frame, folder, source, notes=(f"{source}: {OML_NOTE}",) if oml else ())
    if check_files and not problems:
        problems = file_problems(source, frame["file_name"], table.root)
    if problems:
        raise DataError(at_lines(source, problems))
    return table


def read_file_names(source: Path) -> list[str]:
    """The `file_name` column of a list of images, which needs no other column."""
    frame = _read_frame(source)
    if "file_name" not in frame.columns:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(f"{source}:1: column 'file_name' is missing; columns found: {found}")
    return [str(name) for name in frame["file_name"]]


def read_columns(source: Path, columns: Sequence[str]) -> pd.DataFrame:
    """These columns of any file that eml writes as a table, the list of errors too, as text and unchecked."""
    frame = _read_frame(source)
    if missing := [name for name in columns if name not in frame.columns]:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(f"{source}:1: no column {' or '.join(map(repr, missing))}; columns found: {found}")
    return frame[list(columns)].astype(str)


def write_table(
    frame: pd.DataFrame,
    path: Path,
    *,
    command: str,
    root: Path,
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> Table:
    """Writes the table whole, its sidecar beside it. Raises OutputError by the rules of `check_outputs`."""
    check_outputs([path], inputs=inputs, overwrite=overwrite)
    with whole_file(path) as temporary:
        _write_frame(frame, temporary, path)
        write_sidecar(path, temporary, command=command, root=root, inputs=inputs, notes=notes)
    return Table(frame, root, path)


def write_tables(
    frames: Mapping[Path, pd.DataFrame],
    *,
    command: str,
    root: Path,
    inputs: Sequence[Path] = (),
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes several tables of one command, none before all may be written. Returns those that were replaced."""
    replaced = check_outputs(list(frames), inputs=inputs, overwrite=overwrite)
    for path, frame in frames.items():
        write_table(frame, path, command=command, root=root, inputs=inputs, overwrite=overwrite, notes=notes)
    return replaced


def check_outputs(paths: Sequence[Path], *, inputs: Sequence[Path] = (), overwrite: bool = False) -> list[Path]:
    """Which of `paths` are there and may be replaced: eml's own unchanged tables, or any with `overwrite`.

    Raises OutputError for the others, for a folder that cannot be written, and, whatever `overwrite` says, for a path
    that is an input or what an input was made from.
    """
    kept = {path.resolve() for path in inputs}
    kept |= {source.resolve() for path in inputs for _, source, _ in sources(path)}
    problems, replaced = [], []
    for path in paths:
        if path.resolve() in kept:
            problems.append(
                f"{path}: would be written over, but the table to be read comes from it. Give another --out"
            )
        elif path.is_dir():
            problems.append(f"{path}: is a folder; a table is to be written there. Give another --out")
        elif path.exists() and not overwrite and not written_by_eml(path):
            why = "was changed since eml wrote it" if sidecar_path(path).exists() else "was not written by eml"
            problems.append(f"{path}: is there and {why}. Give --overwrite to replace it, or another --out")
        elif path.exists():
            replaced.append(path)
    folders = dict.fromkeys(path.parent for path in paths)
    problems += [f"{told}. Give another --out" for folder in folders if (told := unwritable(folder))]
    if problems:
        raise OutputError(problems)
    return replaced


def _root(source: Path, root: Path | None) -> Path:
    if root is not None and not root.is_dir():
        raise DataError(f"--root {root}: no such folder")
    return root or recorded_root(source) or source.parent


def _read_frame(source: Path) -> pd.DataFrame:
    if source.suffix not in SUFFIXES:
        raise DataError(f"{source}: a table's name ends in {' or '.join(SUFFIXES)}")
    if not source.is_file():
        raise DataError(f"{source}: no such file" if not source.exists() else f"{source}: is a folder, not a table")
    try:
        return _read_csv(source) if source.suffix == ".csv" else pd.read_parquet(source).reset_index(drop=True)
    except ImportError as error:
        raise DataError(f"{source}: Parquet needs pyarrow: pip install 'easy-metric-learning[parquet]'") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source}: is not UTF-8 text ({error.reason} at byte {error.start:,}); save it as UTF-8"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{source}: is empty; a table has the columns label and file_name") from error
    except (OSError, ValueError, csv.Error, pd.errors.ParserWarning) as error:
        raise DataError(f"{source}: cannot be read as a table: {str(error).strip()}") from error


def _read_csv(source: Path) -> pd.DataFrame:
    with source.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(f"{source}:1: columns {', '.join(map(repr, twice))} are there twice")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header: pandas only warns
        frame = pd.read_csv(source, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
    return frame.fillna("")  # a row shorter than the header


def _write_frame(frame: pd.DataFrame, temporary: Path, path: Path) -> None:
    if path.suffix == ".parquet":
        try:
            frame.to_parquet(temporary, index=False)
        except ImportError as error:
            raise OutputError(f"{path}: Parquet needs pyarrow: pip install 'easy-metric-learning[parquet]'") from error
    elif path.suffix == ".csv":
        # A bare carriage return is not quoted by Python 3.11's csv, and ends the line for every reader.
        if any(frame[name].astype(str).str.contains("\r", regex=False).any() for name in _texts(frame)):
            frame.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8", quoting=csv.QUOTE_ALL)
        else:
            frame.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
    else:
        raise OutputError(f"{path}: a table's name ends in {' or '.join(SUFFIXES)}")


def _texts(frame: pd.DataFrame) -> list[Any]:
    return [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
