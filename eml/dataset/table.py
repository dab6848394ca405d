"""The table of images: the only reader and writer of it. CSV, or Parquet by suffix; the same columns.

`label` (text: "007" stays "007") and `file_name` (POSIX, relative to the root) are required; see `columns` for others.
"""

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.column_advice import missing_columns
from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.columns import KNOWN, REQUIRED, parse_columns, repeated_rows
from eml.dataset.oml_tables import OML, OML_NOTE, from_oml, is_oml
from eml.dataset.problems import RowProblems, at_lines, column_names, file_problems, path_problems
from eml.dataset.sidecar import (
    changed_since_read,
    denies_unknown_label,
    describe,
    is_sidecar,
    recorded_notes,
    sidecar_path,
    sources,
    unknown_label_in,
    usable_root,
    written_by_eml,
)
from eml.dataset.table_files import NO_PYARROW, read_frame
from eml.dataset.table_names import PARQUET, is_parquet
from eml.errors import DataError, OutputError, Problem
from eml.files import (
    digest,
    digest_of,
    is_loop,
    json_text,
    not_writable,
    real_path,
    text_digest,
    unwritable,
    whole_files,
)
from eml.progress import Report

SUFFIXES = (".csv", PARQUET)  # of the tables that eml writes


@dataclass(frozen=True)
class Table:
    """Rows of images."""

    frame: pd.DataFrame
    root: Path
    """The folder that `file_name` is relative to."""
    path: Path | None = None
    """None while the table is not on disk."""
    parts: tuple[Path, ...] = ()
    """The files of a table that was merged from several and is not on disk."""
    notes: tuple[str, ...] = ()
    """How the table differs from its file, a line each."""
    unknown_label: str | None = None
    """The label of images of unknown identity, such as `new_whale`: no class, never trained on, nobody's positive."""
    inputs: Mapping[Path, str] = field(default_factory=dict)
    """The files that were read, each with the digest that it had then, which another program may change since."""
    denies_unknown_label: bool = False
    """Its user said that no label is the unknown one, so it is neither taken over from other tables nor hinted at."""

    @property
    def name(self) -> str:
        """The name for messages."""
        if self.parts:
            more = f" and {len(self.parts) - 1:,} more" if len(self.parts) > 1 else ""
            return f"the table merged from {self.parts[0]}{more}"
        return str(self.path) if self.path else f"the table of {self.root}"

    @property
    def suffix(self) -> str:
        """The suffix of tables that are made of this one: CSV stays CSV, Parquet stays Parquet."""
        return SUFFIXES[1] if is_parquet(self.source) else SUFFIXES[0]

    @property
    def is_unknown(self) -> NDArray[np.bool_]:
        """(N,) whether a row is an image of unknown identity."""
        if self.unknown_label is None:
            return np.zeros(len(self.frame), bool)
        return (self.frame["label"] == self.unknown_label).to_numpy(bool)

    @property
    def known(self) -> "Table":
        """The rows of known identity, with their index; the table itself where all are."""
        unknown = self.is_unknown
        return replace(self, frame=self.frame[~unknown]) if unknown.any() else self

    @property
    def source(self) -> Path:
        """The file of a table that was read or written."""
        assert self.path is not None
        return self.path

    @property
    def digest(self) -> str | None:
        """The digest of the file as it was read, or of all that it was merged from; None for a table in no file."""
        if self.parts:
            return text_digest("\n".join(self.inputs.get(part) or digest(part) for part in self.parts))
        return (self.inputs.get(self.path) or digest(self.path)) if self.path else None


def read_table(
    source: Path,
    root: Path | None = None,
    *,
    check_files: bool = False,
    columns: ColumnMap = AS_NAMED,
    needs_labels: bool = True,
) -> Table:
    """Read and check a table.

    Args:
        source: A CSV or Parquet file.
        root: The folder of the images; None takes it from the sidecar, else the table's own folder.
        check_files: Require that every image exists.
        columns: Says which columns hold names and labels, and how names become paths, in a table of the user's own.
        needs_labels: Require a label in every row; else rows, and all rows of a table without the column, may have "".

    Raises:
        DataError: All problems (20 at most are listed), each with the table's line.
    """
    frame, notes, read = _read_unchanged(source, (*KNOWN, *OML, *columns.columns))
    own = frame
    frame = columns.rename(source, own)
    if not needs_labels and "label" not in frame.columns and "file_name" in frame.columns:
        frame = frame.assign(label="")
    if not (oml := is_oml(frame)) and not set(REQUIRED) <= set(frame.columns):
        raise DataError(f"{source}:1: {missing_columns(own, columns)}", code="missing-column")
    if frame.empty:
        raise DataError(f"{source}: has no rows", code="empty-table")
    problems: RowProblems = []
    folder, line = _root(source, root)
    notes += [line] if line else []
    if oml:
        frame = from_oml(frame, problems)
    frame["file_name"] = columns.file_names(frame, folder, problems)
    frame = parse_columns(frame, problems)
    if needs_labels:
        problems += [(row, Problem("label is empty", "empty-value")) for row in frame.index[frame["label"] == ""]]
    problems += path_problems(frame["file_name"], "path" if oml else columns.file_column or "file_name")
    repeated = repeated_rows(frame)
    notes += [f"{source}: {OML_NOTE}"] if oml else []
    said = recorded_notes(source)
    label, denied = unknown_label_in(said), denies_unknown_label(said)
    table = Table(frame, folder, source, (), tuple(notes), label, {source: read}, denied)
    if check_files and not problems:
        named = None if oml else (columns.file_column or "file_name", columns.label_column or "label")
        absent = file_problems(frame["file_name"], table.root, list(frame["label"]), named)
        is_elsewhere = bool(absent) and absent[0][0] < 0  # then names are only repeated since a folder is missing
        problems = absent if is_elsewhere or not repeated else repeated
    else:
        problems += repeated
    if problems:
        raise DataError(at_lines(source, problems))
    return table


def read_file_names(source: Path) -> list[str]:
    """Return the `file_name` column of a list of images, which needs no other column."""
    frame, _ = read_frame(source, ["file_name"])
    if "file_name" not in frame.columns:
        text = f"{source}:1: column 'file_name' is missing; columns found: {_names(frame)}"
        raise DataError(text, code="missing-column")
    return [str(name) for name in frame["file_name"]]


def read_columns(source: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of any file that eml writes as a table, the list of errors too, as text and unchecked."""
    frame, _ = read_frame(source, columns)
    if missing := [name for name in columns if name not in frame.columns]:
        text = f"{source}:1: no column {' or '.join(map(repr, missing))}; columns found: {_names(frame)}"
        raise DataError(text, code="missing-column")
    return frame[list(columns)].astype(str)


def write_table(
    frame: pd.DataFrame,
    path: Path,
    *,
    command: str,
    root: Path,
    inputs: Collection[Path] = (),
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> Table:
    """Write the table whole, with its sidecar beside it. Raises OutputError by the rules of `check_outputs`."""
    write_tables({path: frame}, command=command, root=root, inputs=inputs, overwrite=overwrite, notes=notes)
    return Table(frame, root, path)


def write_tables(
    frames: Mapping[Path, pd.DataFrame],
    *,
    command: str,
    root: Path,
    inputs: Collection[Path] = (),
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
    warn: Report = lambda line: None,
) -> list[Path]:
    """Write the tables of one command as one deed, and return the paths that were replaced.

    Nothing is replaced before all tables are on the disk. Then the sidecars are, which name each other's tables, then
    the tables: the first one, which should be the one that later commands read, at the end, so that it is there only
    if all are. Where a kill comes between, `eml.dataset.ancestry` sees it from any of them.

    Args:
        frames: Table → its rows.
        command: The command line that the sidecars record.
        root: The folder of the images.
        inputs: The files that were read; as `Table.inputs`, with the digests that they had then. One that was changed
            since is recorded as it was read, so that the tables count as out of date, and is warned of.
        overwrite: Allow to replace any file.
        notes: What later commands should know of the tables.
        warn: Receives a line for each input that was changed since it was read.

    Raises:
        OutputError: By the rules of `check_outputs`, or nothing more can be written.
    """
    writers = {path: partial(write_rows, frame, path=path) for path, frame in frames.items()}
    return write_described(
        writers, command=command, root=root, inputs=inputs, overwrite=overwrite, notes=notes, warn=warn
    )


def write_described(
    writers: Mapping[Path, Callable[[Path], None]],
    *,
    command: str,
    root: Path,
    inputs: Collection[Path] = (),
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
    warn: Report = lambda line: None,
) -> list[Path]:
    """Write files of any kind with their sidecars, as `write_tables` does tables, and return what was replaced.

    writers: File → the function that writes its bytes to the path that it is given.
    """
    replaced = check_outputs(list(writers), inputs=inputs, overwrite=overwrite)
    sidecars = {path: sidecar_path(path) for path in writers}
    with whole_files([*sidecars.values()], [*writers][::-1]) as temporaries:
        for path, write in writers.items():
            try:
                write(temporaries[path])
            except OSError as error:
                raise not_writable(path, error) from error
        described = describe(
            {path: temporaries[path] for path in writers}, command=command, root=root, inputs=inputs, notes=notes
        )
        for path, sidecar in described.items():
            temporaries[sidecars[path]].write_text(json_text(sidecar.__dict__), encoding="utf-8")
    for line in changed_since_read(inputs):
        warn(line)
    return replaced


def check_outputs(paths: Sequence[Path], *, inputs: Collection[Path] = (), overwrite: bool = False) -> list[Path]:
    """Return those of `paths` that exist and may be replaced: eml's own unchanged tables, or any with `overwrite`.

    Raises:
        OutputError: A path exists and may not be replaced, its folder cannot be written, or, whatever `overwrite`
            says, it is an input or a file that an input was made from.
    """
    read = {real_path(path) for path in inputs}
    read |= {real_path(source) for path in inputs for _, source, _ in sources(path)}
    problems: list[str] = []
    replaced = []
    for path in paths:
        if real_path(path) in read:
            text = f"{path}: would be overwritten, but the input is this file or was made from it"
            problems.append(Problem(f"{text}. Give another `out`", "overwrites-input", "out"))
        elif is_loop(path):
            text = f"{path}: cannot be written, since it is a link in a circle. Give another `out`"
            problems.append(Problem(text, "not-writable", "out"))
        elif path.is_dir():
            problems.append(Problem(f"{path}: is a folder, not a table. Give another `out`", "not-a-file", "out"))
        elif path.exists() and not overwrite and not written_by_eml(path):
            reason = "was changed since eml wrote it" if is_sidecar(sidecar_path(path)) else "was not written by eml"
            text = f"{path}: exists and {reason}. Set `overwrite` to replace it, or give another `out`"
            problems.append(Problem(text, "file-exists", "overwrite"))
        elif sidecar_path(path).exists() and not overwrite and not is_sidecar(sidecar_path(path)):
            text = f"{sidecar_path(path)}: exists and was not written by eml, which would write the facts about "
            text += f"{path.name} there. Set `overwrite` to replace it, or give another `out`"
            problems.append(Problem(text, "file-exists", "overwrite"))
        elif path.exists():
            replaced.append(path)
    for folder in dict.fromkeys(path.parent for path in paths):
        if obstacle := unwritable(folder):
            problems.append(Problem(f"{obstacle}. Give another `out`", "not-writable", "out"))
    if problems:
        raise OutputError(problems)
    return replaced


def _read_unchanged(source: Path, names: Collection[str]) -> tuple[pd.DataFrame, list[str], str]:
    """Return what `read_frame` does, and the digest of the file that it is of."""
    before = digest_of(source)
    frame, notes = read_frame(source, names)
    if before is None or digest_of(source) != before:
        text = f"{source}: was changed while it was read. Run the command again when nothing writes it"
        raise DataError(text, code="changed-while-read")
    return frame, notes, before


def _root(source: Path, root: Path | None) -> tuple[Path, str | None]:
    """Return the folder of the images, and a line that tells it where it is not to be expected."""
    if root is not None and not root.is_dir():
        raise DataError(f"`root` {root}: no such folder", code="missing-folder", parameter="root")
    if root is not None:
        return root, None
    recorded, line = usable_root(source)
    return recorded or source.parent, line


def _names(frame: pd.DataFrame) -> str:
    return column_names(frame.columns)


def write_rows(frame: pd.DataFrame, temporary: Path, path: Path) -> None:
    """Write the frame to a temporary file in the format of `path`."""
    if path.suffix == ".parquet":
        try:
            frame.to_parquet(temporary, index=False)
        except ImportError as error:
            raise OutputError(f"{path}: {NO_PYARROW}", code="missing-package") from error
    elif path.suffix == ".csv":
        # A bare carriage return is not quoted by Python 3.11's csv, and ends the line for every reader.
        if any(frame[name].astype(str).str.contains("\r", regex=False).any() for name in _texts(frame)):
            frame.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8", quoting=csv.QUOTE_ALL)
        else:
            frame.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
    else:
        text = f"{path}: a table's name ends in {' or '.join(SUFFIXES)}"
        raise OutputError(text, code="wrong-suffix", parameter="out")


def _texts(frame: pd.DataFrame) -> list[Any]:
    return [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
