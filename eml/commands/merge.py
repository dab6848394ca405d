"""`eml merge`: one table of several datasets."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, Names, PathField, PathTexts, SummaryTable, command
from eml.commands.next_steps import REPORT_PAGE, split_command
from eml.commands.options import (
    FileColumn,
    LabelColumn,
    MatchNames,
    Overwrite,
    PathPrefix,
    PathSuffix,
    StripPrefix,
    UnknownLabel,
    column_map,
)
from eml.errors import DataError, OutputError, Problem

if TYPE_CHECKING:
    from eml.dataset.column_map import ColumnMap
    from eml.dataset.merge import MergedDatasets, MergeSource


class MergeConfig(CommandConfig):
    """Make one table of several datasets.

    Reads each folder's dataset_info_filtered.csv or dataset_info.csv (scans first when there is none), or the given
    table. Writes dataset_merged.csv: file names from the deepest folder that holds all, and a column dataset. No image
    is touched. The commands after it take the folder of `out`.
    """

    datasets: Annotated[
        PathTexts,
        Field(description="Folders of images, one folder per class, or tables of them; NAME=DATASET gives one a name."),
    ]
    out: Annotated[
        PathField,
        Field(description="Folder for the table that is written, or the table (NAME.csv or NAME.parquet)."),
    ]
    labels: Literal["apart", "merged"] = Field(
        "apart",
        description="apart: NAME:LABEL, so that no class is in two datasets. merged: a label is one class wherever it "
        "is.",
    )
    unknown_label: UnknownLabel = None
    root: Annotated[
        Names, Field(description="The folder that the file names of a table are relative to. Repeatable.")
    ] = ()
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class MergeResult(CommandResult):
    """One table of several datasets."""

    merged: MergedDatasets

    def summary(self) -> str:
        """Return the number of datasets, images and classes."""
        frame = self.merged.table.known.frame
        return f"{len(self.merged.datasets)} datasets, {len(frame):,} images of {frame['label'].nunique():,} classes"

    def summary_table(self) -> SummaryTable:
        """Return a row for each dataset, and one for all."""
        frame = self.merged.table.known.frame
        rows = [list(asdict(dataset).values()) for dataset in self.merged.datasets]
        return ["dataset", "images", "classes"], [*rows, ["all", len(frame), int(frame["label"].nunique())]]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, notes and files."""
        merged = self.merged
        return {
            "datasets": [asdict(dataset) for dataset in merged.datasets],
            "root": str(merged.table.root),
            "images": len(merged.table.frame),
            "classes": int(merged.table.known.frame["label"].nunique()),
            "unknown_images": int(merged.table.is_unknown.sum()),
            "shared_labels": len(merged.shared_labels),
            "shared_images": merged.num_shared_images,
            "notes": merged.notes,
            "written": [str(path) for path in self.written],
        }


@command(MergeConfig, arguments=("datasets",))
def merge(config: MergeConfig, caller: Caller) -> MergeResult:
    """Merge the datasets and write the table."""
    from eml.dataset.ancestry import PIPELINE
    from eml.dataset.merge import merge_sources
    from eml.dataset.sidecar import remove_outdated
    from eml.dataset.table import SUFFIXES, check_outputs, write_tables
    from eml.dataset.unknown_label import unknown_label_notes
    from eml.files import refuse_file_name

    sources = _sources(config.datasets, config.root, column_map(config))
    if config.out.suffix not in SUFFIXES:
        refuse_file_name(config.out, "a folder for the table, or the table (NAME.csv or NAME.parquet)")
    path = config.out if config.out.suffix in SUFFIXES else config.out / f"{PIPELINE['merge']}.csv"
    check_outputs([path], overwrite=config.overwrite)  # before the work, not after it
    merged = merge_sources(
        sources,
        config.labels,
        step="split",
        unknown_label=config.unknown_label,
        report=caller.note,
        progress=caller.progress,
    )
    inputs = list(merged.table.parts)
    _refuse_mixing(path, inputs)
    if config.unknown_label is None:
        _warn_of_lost_label(path, merged, caller)
    replaced = write_tables(
        {path: merged.table.frame},
        command=caller.command or "eml merge",
        root=merged.table.root,
        inputs=merged.table.inputs,
        overwrite=config.overwrite,
        notes=unknown_label_notes(merged.table),
        warn=caller.warn,
    )
    return MergeResult(
        merged=merged,
        written=(path,),
        replaced=tuple(replaced),
        removed_files=tuple(remove_outdated(path.with_name(REPORT_PAGE))),
        next_command=_next_command(path, merged),
    )


def _warn_of_lost_label(path: Path, merged: MergedDatasets, caller: Caller) -> None:
    """Warn where the table that is replaced has an unknown label and the merged one has none."""
    from eml.dataset.sidecar import recorded_unknown_label

    label = recorded_unknown_label(path) if path.is_file() and merged.table.unknown_label is None else None
    if label is not None:
        text = f"{path} had the unknown label {label!r}, and the table that replaces it has none"
        caller.warn(f"{text}; to keep it give `unknown_label={label}`")


def _sources(datasets: Sequence[str], roots: Sequence[str], columns: ColumnMap) -> list[MergeSource]:
    """Return the sources of NAME=PATH or PATH, with the roots of the names; an existing path is never taken apart."""
    from eml.dataset.merge import MergeSource

    problems = [
        Problem(f"`root` must be NAME=FOLDER, got {root}", "invalid-value", "root") for root in roots if "=" not in root
    ]
    folder_of = {name: Path(folder) for name, _, folder in (root.partition("=") for root in roots if "=" in root)}
    sources = []
    for dataset in datasets:
        name, mark, path = dataset.partition("=")
        is_named = bool(mark and name and path) and not Path(dataset).exists()
        name_of, place = (name, Path(path)) if is_named else (None, Path(dataset))
        called = MergeSource(place, name=name_of).dataset_name
        sources.append(MergeSource(place, folder_of.pop(called, None), name_of, columns.of_several(place)))
    if folder_of:
        known = ", ".join(source.dataset_name for source in sources)
        problems += [
            Problem(f"`root` {name}={folder}: no dataset is called {name}; known: {known}", "unknown-choice", "root")
            for name, folder in folder_of.items()
        ]
    if len(sources) < 2:
        text = "a merge needs two datasets or more: eml merge A B --out FOLDER"
        problems.append(Problem(text, "too-few-datasets", "datasets"))
    if problems:
        raise DataError(problems)
    return sources


def _refuse_mixing(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse a dataset's own folder: the commands after this one would take its tables for the merged one."""
    from eml.dataset.ancestry import PIPELINE

    for source in inputs:
        same_folder = source.resolve().parent == path.resolve().parent
        if path.stem == PIPELINE["merge"] and source.stem in PIPELINE.values() and same_folder:
            reason = (
                f"{path.parent}: holds {source.name} of a dataset, which later commands would read as the merged one"
            )
            raise OutputError(f"{reason}. Give another folder as `out`", code="folder-not-empty", parameter="out")


def _next_command(path: Path, merged: MergedDatasets) -> str | None:
    from eml.dataset.ancestry import PIPELINE

    place = path.parent if path.stem == PIPELINE["merge"] else path
    if "hash" not in merged.table.frame.columns:
        return split_command(place, merged.table)
    scope = ["--scope", "dataset"] if len(merged.shared_images) else []
    return shlex.join(["eml", "filter", str(place), "--dedup", *scope])
