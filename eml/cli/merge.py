"""`eml merge`."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from eml.cli.app import command_line
from eml.cli.options import Json, Overwrite

if TYPE_CHECKING:
    from eml.dataset.merge import MergedDatasets, MergeSource


def merge(
    context: typer.Context,
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET",
            show_default=False,
            help="Folders of images, one folder per class, or tables of them; NAME=DATASET gives one a name.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            show_default=False, help="Folder for the table that is written, or the table (NAME.csv or NAME.parquet)."
        ),
    ],
    labels: Annotated[
        Literal["apart", "merged"],
        typer.Option(
            help="apart: NAME:LABEL, so that no class is in two datasets. merged: a label is one class wherever it is."
        ),
    ] = "apart",
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            show_default=False,
            help="The folder that the file names of a table are relative to. Repeatable.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make one table of several datasets.

    Reads each folder's dataset_info_filtered.csv or dataset_info.csv (scans first when there is none), or the given
    table. Writes dataset_merged.csv: file names from the deepest folder that holds all, and a column dataset. No
    image is touched. The commands after it take --out's folder.
    """
    from eml.cli.display import console
    from eml.dataset.merge import merge_sources
    from eml.dataset.pipeline import PIPELINE
    from eml.dataset.table import SUFFIXES, check_outputs, write_tables
    from eml.files import refuse_file_name

    sources = _sources(datasets, root or [])
    if out.suffix not in SUFFIXES:
        refuse_file_name(out, "a folder for the table, or the table (NAME.csv or NAME.parquet)")
    path = out if out.suffix in SUFFIXES else out / f"{PIPELINE['merge']}.csv"
    check_outputs([path], overwrite=overwrite)  # before the work, not after it
    merged = merge_sources(sources, labels, step="split", report=console.say, progress=console.progress)
    inputs = list(merged.table.parts)
    _refuse_mixing(path, inputs)
    frames = {path: merged.table.frame}
    command = command_line(context)
    replaced = write_tables(frames, command=command, root=merged.table.root, inputs=inputs, overwrite=overwrite)
    counted = _counts(merged)
    _show(counted, merged)
    console.written([path], replaced, following=_following(path, merged))
    if json:
        console.print_json(counted | {"notes": merged.notes, "written": [str(path)]})


def _sources(datasets: list[str], roots: list[str]) -> "list[MergeSource]":
    """NAME=PATH or PATH, with the roots of the names; a path that is there is never taken apart."""
    from eml.dataset.merge import MergeSource
    from eml.errors import DataError

    problems = [f"--root {root}: must be NAME=FOLDER" for root in roots if "=" not in root]
    folder_of = {name: Path(folder) for name, _, folder in (root.partition("=") for root in roots if "=" in root)}
    sources = []
    for dataset in datasets:
        name, mark, path = dataset.partition("=")
        given = (name, Path(path)) if mark and name and path and not Path(dataset).exists() else (None, Path(dataset))
        called = MergeSource(given[1], name=given[0]).dataset_name
        sources.append(MergeSource(given[1], folder_of.pop(called, None), given[0]))
    if folder_of:
        known = ", ".join(source.dataset_name for source in sources)
        problems += [
            f"--root {name}={folder}: no dataset has this name; known: {known}" for name, folder in folder_of.items()
        ]
    if len(sources) < 2:
        problems.append("a merge needs two datasets or more: eml merge A B --out FOLDER")
    if problems:
        raise DataError(problems)
    return sources


def _refuse_mixing(path: Path, inputs: list[Path]) -> None:
    """The folder of a dataset has tables of its own, which the commands after this one would take for the merged."""
    from eml.dataset.pipeline import PIPELINE
    from eml.errors import OutputError

    for source in inputs:
        if (
            path.stem == PIPELINE["merge"]
            and source.stem in PIPELINE.values()
            and source.resolve().parent == path.resolve().parent
        ):
            told = f"{path.parent}: holds {source.name} of one of the datasets, and the two would be mixed up"
            raise OutputError(f"{told}. Give --out another folder")


def _following(path: Path, merged: "MergedDatasets") -> str:
    from eml.dataset.pipeline import PIPELINE

    place = str(path.parent if path.stem == PIPELINE["merge"] else path)
    if "hash" not in merged.table.frame.columns:
        return shlex.join(["eml", "split", place])
    scope = ["--scope", "dataset"] if len(merged.shared_images) else []
    return shlex.join(["eml", "filter", place, "--dedup", *scope])


def _counts(merged: "MergedDatasets") -> dict[str, Any]:
    frame = merged.table.frame
    return {
        "datasets": [asdict(dataset) for dataset in merged.datasets],
        "root": str(merged.table.root),
        "images": len(frame),
        "classes": int(frame["label"].nunique()),
        "shared_labels": len(merged.shared_labels),
        "shared_images": merged.num_shared_images,
    }


def _show(counted: dict[str, Any], merged: "MergedDatasets") -> None:
    from eml.cli.display import console

    rows = [list(facts.values()) for facts in counted["datasets"]]
    rows.append(["all", counted["images"], counted["classes"]])
    console.table("", ["dataset", "images", "classes"], rows)
    for note in merged.notes:
        console.warn(note)
    console.say(f"file names start from {counted['root']}")
