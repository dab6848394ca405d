"""Several tables, each with its own root → one table, whose root is the deepest folder that holds them all."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from eml.dataset.ancestry import PIPELINE
from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.columns import ALWAYS_TEST, ALWAYS_TRAIN, BOX, FLAGS, KNOWN, WHOLE_NUMBERS
from eml.dataset.duplicates.blank import blank_rows
from eml.dataset.merged_labels import Labels, find_shared_labels, in_one_form, merged_unknown_label, shared_labels_note
from eml.dataset.pipeline import resolve
from eml.dataset.problems import SHOWN, places, short_repr
from eml.dataset.similar_labels import similar_labels_line
from eml.dataset.table import SUFFIXES, Table
from eml.dataset.table_files import check_number
from eml.dataset.unknown_label import with_a_class, with_label_if_present, with_unknown_label
from eml.errors import DataError, Problem
from eml.progress import Progress, Report
from eml.storage import common_place, is_remote

MARK = ":"  # between a dataset's name and its label when labels are kept apart; in no name, so that it can be removed

# Columns with a value in every row or in none: kept only when all tables have them.
WHOLE_COLUMNS = (*WHOLE_NUMBERS, "split", *FLAGS, "hash", "hash_kind", "content", "format", "mode", "is_blank")

NAMING = "Give it as NAME=PATH, in a config as {table: PATH, name: NAME}"


@dataclass(frozen=True)
class MergeSource:
    """A table, or a folder of images or tables, to merge."""

    path: Path
    root: Path | None = None
    """The folder of a table's images."""
    name: str | None = None
    """The dataset's name; None derives it from the path."""
    columns: ColumnMap = AS_NAMED
    """How a table of the user's own is read."""

    @property
    def dataset_name(self) -> str:
        """The name, else the folder's; a table's own, unless it is a name that eml gives to tables of any dataset."""
        path, ours = self.path.absolute(), (*PIPELINE.values(), "dataset_test")
        table = path.suffix in SUFFIXES
        return self.name or (path.name if not table else path.parent.name if path.stem in ours else path.stem)


@dataclass(frozen=True)
class DatasetCounts:
    """Images of known identity and classes of one dataset."""

    dataset: str
    images: int
    classes: int


@dataclass(frozen=True)
class MergedDatasets:
    """Several datasets in one table."""

    table: Table
    """`label, file_name, …, dataset`."""
    notes: list[str]
    """Remarks for the user, a line each."""
    shared_labels: list[str]
    """Labels that several datasets have."""
    shared_images: pd.DataFrame
    """`content, dataset, label, file_name` of images that are in several datasets with the same bytes, those of the
    same content together."""

    @property
    def datasets(self) -> list[DatasetCounts]:
        """Images and classes of each dataset, in the order of the tables."""
        parts = self.table.known.frame.groupby("dataset", sort=False)
        return [DatasetCounts(str(name), len(part), int(part["label"].nunique())) for name, part in parts]

    @property
    def num_shared_images(self) -> int:
        """Number of images that several datasets have."""
        return int(self.shared_images["content"].nunique())


def merge_sources(
    sources: Sequence[MergeSource],
    labels: Labels = "apart",
    *,
    step: str,
    accept_stale: bool = False,
    unknown_label: str | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
) -> MergedDatasets:
    """Read each source as `resolve` does for `step`, and merge them.

    unknown_label: of the tables that have it, where they do not say another one themselves.

    Raises:
        DataError: With the problems of all sources, or no source has the unknown label.
    """
    names = _dataset_names(sources)  # before anything is scanned
    problems: list[str] = []
    tables: dict[str, Table] = {}
    for name, source in zip(names, sources, strict=True):
        try:
            tables[name] = resolve(
                source.path,
                step,
                source.root,
                columns=source.columns,
                accept_stale=accept_stale,
                report=report,
                progress=progress,
            )
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    if not any(unknown_label in set(table.frame["label"]) for table in tables.values()):
        with_unknown_label(next(iter(tables.values())), unknown_label)  # it says which labels there are
    if unknown_label == "":
        tables = {name: with_unknown_label(table, "") for name, table in tables.items()}
    tables = {name: with_label_if_present(table, unknown_label) for name, table in tables.items()}
    return merge_tables(tables, labels)


def merge_tables(tables: Mapping[str, Table], labels: Labels = "apart") -> MergedDatasets:
    """Return one table of all rows, in the order of the tables.

    The column `dataset` holds the names. Columns with a value in every row (sizes, hashes, fold, split, …) are kept
    when all tables have them; other columns are blank where a table has none. Fold −2, the test, is never lost: where
    some tables have no folds, all other rows get −1.

    Args:
        tables: The tables by the name of their dataset.
        labels: `apart` puts the dataset's name before each label, `shoes:007`, so that no class is in two datasets;
            `merged` makes a label, in any Unicode form, the same class in all datasets. Images of unknown identity get
            one label without a dataset's name, which is the unknown label of the merged table.

    Raises:
        DataError: Tables hold the same file (the same box of it), or hashes of different kinds.
    """
    _check_hash_kinds(tables)
    root = _common_root(tables)
    tables, notes = _with_tests(tables)
    tables = {name: in_one_form(table) for name, table in tables.items()}
    kept, more = _columns(tables)
    notes += more
    unknown_label, more = merged_unknown_label(tables, labels)
    notes += more
    parts = [_moved(name, table, root, labels, unknown_label) for name, table in tables.items()]
    frame = pd.DataFrame({column: _joined(column, parts) for column in kept})
    frame["dataset"] = [name for name, part in zip(tables, parts, strict=True) for _ in range(len(part))]
    _check_repeated(frame, tables)
    shared_labels = find_shared_labels(tables)
    if shared_labels:
        notes.append(shared_labels_note(shared_labels, labels))
    if similar := similar_labels_line(frame["label"].unique()):
        notes.append(similar)
    shared = _shared_images(frame)
    if len(shared):
        notes.append(_shared_images_note(shared, labels))
    elif "content" not in frame.columns:
        notes.append(
            "without the column content, images that are in two datasets cannot be detected; eml scan writes it"
        )
    files = tuple(file for table in tables.values() for file in (table.parts or ((table.path,) if table.path else ())))
    inputs = {file: read for table in tables.values() for file, read in table.inputs.items()}
    merged = with_a_class(Table(frame, root, parts=files, unknown_label=unknown_label, inputs=inputs))
    return MergedDatasets(merged, notes, shared_labels, shared)


def _dataset_names(sources: Sequence[MergeSource]) -> list[str]:
    problems: list[str] = []
    names = [source.dataset_name for source in sources]
    for name, source in zip(names, sources, strict=True):
        if MARK in name or not name.strip():
            text = f"{source.path}: a dataset's name must not be empty or hold '{MARK}', got {name!r}. {NAMING}"
            problems.append(Problem(text, "invalid-value", "datasets"))
    for name in sorted({name for name in names if names.count(name) > 1}):
        same = ", ".join(str(source.path) for source, own in zip(sources, names, strict=True) if own == name)
        text = f"{same}: each dataset needs a different name, and these are called {name!r}. {NAMING}"
        problems.append(Problem(text, "repeated-name", "datasets"))
    if problems:
        raise DataError(problems)
    return names


def _check_hash_kinds(tables: Mapping[str, Table]) -> None:
    if not all("hash" in table.frame.columns for table in tables.values()):
        return  # they are left out
    kinds = {
        name: sorted(table.frame["hash_kind"].unique()) if "hash_kind" in table.frame.columns else ["an unknown kind"]
        for name, table in tables.items()
    }
    if len({kind for of_table in kinds.values() for kind in of_table}) > 1:
        lines = [f"{tables[name].name}: its hashes are of {' and '.join(of_table)}" for name, of_table in kinds.items()]
        advice = "Hashes of different kinds cannot be compared: scan all with, or all without, eml scan --hash-exact"
        raise DataError([*lines, advice], code="mixed-hash-kinds")


def _common_root(tables: Mapping[str, Table]) -> Path:
    roots = [_whole(table.root) for table in tables.values()]
    try:
        return common_place(roots)
    except ValueError as error:  # drives, on Windows; a bucket and a folder, or two buckets
        text = f"no folder holds all of {', '.join(map(str, roots))}: move them to one drive or into one bucket"
        raise DataError(text, code="no-common-folder") from error


def _whole(root: Path) -> Path:
    """Return a root, absolute and without `..`; links stay what they are."""
    return root if is_remote(root) else Path(os.path.normpath(root.absolute()))


def _with_tests(tables: Mapping[str, Table]) -> tuple[dict[str, Table], list[str]]:
    """Return the tables with only the test (fold −2) of those that have folds, where some have none; and a note."""
    folded = [name for name, table in tables.items() if "fold" in table.frame.columns]
    tested = [name for name in folded if (tables[name].frame["fold"] == ALWAYS_TEST).any()]
    if not tested or len(folded) == len(tables):
        return dict(tables), []

    def only_tests(table: Table) -> Table:
        frame = table.frame
        test = frame["fold"] == ALWAYS_TEST if "fold" in frame.columns else pd.Series(False, index=frame.index)
        return replace(table, frame=frame.assign(fold=test.map({True: ALWAYS_TEST, False: ALWAYS_TRAIN})))

    without = [name for name in tables if name not in folded]
    names = f"{' and '.join(without)} {_has(without)}"
    note = f"{names} no folds: only fold -2 (the test) of {' and '.join(folded)} is kept"
    return {name: only_tests(table) for name, table in tables.items()}, [note]


def _columns(tables: Mapping[str, Table]) -> tuple[list[str], list[str]]:
    """Return the columns of the merged table, in the order of first occurrence, and notes on those left out."""
    columns = list(dict.fromkeys(str(column) for table in tables.values() for column in table.frame.columns))
    check_number(Path("the merged table"), columns, KNOWN)
    notes = []
    if "dataset" in columns:
        columns.remove("dataset")
        notes.append("the existing column dataset is replaced by the names of these datasets")
    lacking = {
        column: [name for name, table in tables.items() if column not in table.frame.columns]
        for column in columns
        if column in WHOLE_COLUMNS
    }
    left_out = {column: names for column, names in lacking.items() if names}
    for names in dict.fromkeys(map(tuple, left_out.values())):
        dropped = [column for column, lack in left_out.items() if tuple(lack) == names]
        notes.append(f"columns left out, since {' and '.join(names)} {_has(names)} none: {', '.join(dropped)}")
    return [column for column in columns if column not in left_out], notes


def _has(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _moved(name: str, table: Table, root: Path, labels: Labels, unknown_label: str | None) -> pd.DataFrame:
    """Return the rows with file names relative to the common root, and their labels in the merged table."""
    folder = _whole(table.root).relative_to(root).as_posix()
    frame = table.frame.copy()
    if folder != ".":
        frame["file_name"] = folder + "/" + frame["file_name"]
    if labels == "apart":
        frame["label"] = name + MARK + frame["label"]
    if unknown_label is not None:
        frame.loc[table.is_unknown, "label"] = unknown_label
    return frame


def _joined(column: str, parts: Sequence[pd.DataFrame]) -> "pd.Series[Any]":
    """Return the column of all rows: in its type where all tables agree, else as text; blank where a table has none."""
    if column in BOX:
        whole = [part[column] if column in part else pd.Series(pd.NA, part.index, dtype="Int64") for part in parts]
        return pd.concat(whole, ignore_index=True)
    by_part = [part.get(column) for part in parts]
    present = [values for values in by_part if values is not None]
    if len(present) == len(parts) and len({str(values.dtype) for values in present}) == 1:
        return pd.concat(present, ignore_index=True)
    texts = [
        pd.Series("", part.index, dtype=str) if values is None else values.astype(str).where(values.notna(), "")
        for values, part in zip(by_part, parts, strict=True)
    ]
    return pd.concat(texts, ignore_index=True)


def _check_repeated(frame: pd.DataFrame, tables: Mapping[str, Table]) -> None:
    """Raise a DataError where an image, or the same box of it, is in two of the tables."""
    key = ["file_name", *(name for name in BOX if name in frame.columns)]
    again = frame.index[frame.duplicated(key)]
    if again.empty:
        return
    shown = frame.loc[again[:SHOWN], key]
    first = frame[key].drop_duplicates().reset_index().merge(shown, on=key, how="right")["index"].tolist()
    place = _places({*shown.index, *first}, tables)
    lines = [
        f"{place[row]}: {short_repr(frame['file_name'][row])} is in {place[earlier]} already. Merge tables of "
        "different images"
        for row, earlier in zip(shown.index, first, strict=True)
    ]
    if len(again) > SHOWN:
        lines.append(f"and {len(again) - SHOWN:,} more images that are in two of the tables")
    raise DataError(lines, code="repeated-image", parameter="datasets")


def _places(rows: set[int], tables: Mapping[str, Table]) -> dict[int, str]:
    """Return the place of rows of the merged table in the tables that it was made from."""
    by_row: dict[int, str] = {}
    start = 0
    for table in tables.values():
        own = {row - start for row in rows if start <= row < start + len(table.frame)}
        lines = places(table.path, own) if table.path and own else {}
        by_row |= {row + start: lines.get(row, table.name) for row in own}
        start += len(table.frame)
    return by_row


def _shared_images(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["content", "dataset", "label", "file_name"]
    if "content" not in frame.columns:
        return pd.DataFrame(columns=columns)
    known = frame[(frame["content"] != "") & ~blank_rows(frame)]
    several = known.groupby("content")["dataset"].transform("nunique") > 1
    return known.loc[several, columns].sort_values(["content", "file_name"], kind="stable").reset_index(drop=True)


def _shared_images_note(shared: pd.DataFrame, labels: Labels) -> str:
    by_content = shared.groupby("content")
    count, differing = by_content.ngroups, int((by_content["label"].nunique() > 1).sum())
    first = " and ".join(map(repr, shared["file_name"][shared["content"] == shared["content"][0]][:2]))
    text = f"{count:,} {'image is' if count == 1 else 'images are'} in more than one dataset (the first: {first})"
    if labels == "apart":
        return f"{text}, and labels kept apart put {'it' if count == 1 else 'each'} into two classes"
    return f"{text}, {differing:,} with different labels" if differing else text
