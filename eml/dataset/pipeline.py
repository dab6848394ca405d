"""Which table a folder offers to a command: the one furthest along the pipeline, checked against its sources."""

import shlex
from pathlib import Path

from eml.dataset.boxes import check_boxes
from eml.dataset.scanning.listing import list_files
from eml.dataset.scanning.scan import errors_path, scan_folder
from eml.dataset.sidecar import recorded_root, sidecar_path, sources, written_after
from eml.dataset.table import SUFFIXES, Table, check_outputs, read_file_names, read_table, write_tables
from eml.errors import DataError
from eml.progress import Progress, Report

# The way of the data: each command, and the table it leaves for those after it.
WAY = {
    "scan": "dataset_info",
    "merge": "dataset_merged",
    "filter": "dataset_info_filtered",
    "split": "dataset_train",
    "kfold": "folds",
}


def resolve(
    source: Path,
    step: str,
    root: Path | None = None,
    *,
    out: Path | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
) -> Table:
    """The table that `step` (filter, split, kfold, or anything after them) reads when given `source`.

    A table: itself. A folder: the table furthest along the way that the commands before `step` left there (or in
    `out`, of this folder); when there is none, the folder is scanned first, into `out`. `report` is told which.
    Raises DataError when that table is older than what it was made from.
    """
    report = report or (lambda line: None)
    if source.is_file():
        table = read_table(source, root, check_files=True)
        for note in table.notes:
            report(note)
        return table
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if root is not None:
        raise DataError(f"--root goes with a table, and {source} is a folder")
    found = _furthest(source, step)
    if found is None and out is not None:
        there = _furthest(out, step)
        found = there if there and recorded_root(there) == source.resolve() else None
    if found is None:
        found = _scan(source, out or source, report, progress)
    else:
        _refuse_stale(found)
    report(f"table: {found}")
    return read_table(found, check_files=True)


def _before(step: str) -> list[str]:
    commands = list(WAY)
    return commands[: commands.index(step)] if step in WAY else commands


def _furthest(folder: Path, step: str) -> Path | None:
    for command in reversed(_before(step)):
        if there := [path for suffix in SUFFIXES if (path := folder / f"{WAY[command]}{suffix}").is_file()]:
            return max(there, key=lambda path: path.stat().st_mtime)
    return None


def _scan(folder: Path, out: Path, report: Report, progress: Progress | None) -> Path:
    path = out / f"{WAY['scan']}.csv"
    outputs = [path, errors_path(path)]
    check_outputs(outputs)
    report(f"no table in {folder}: scanning it")
    scan = scan_folder(folder, progress=progress, keep=path, report=report)
    command = shlex.join(["eml", "scan", str(folder)])
    write_tables({outputs[1]: scan.errors, path: scan.table}, command=command, root=folder)
    warnings = list(scan.warnings)
    if len(scan.errors):
        warnings.append(f"files that cannot be used: {len(scan.errors):,}, see {outputs[1]}")
    for line in warnings:
        report(f"warning: {line}")
    return path


def test_table(folder: Path) -> Path | None:
    """The table of classes set aside for the test that `eml split` left in a folder; None when there is none.

    Raises DataError when it is out of date.
    """
    for suffix in SUFFIXES:
        if (path := folder / f"dataset_test{suffix}").is_file():
            _refuse_stale(path)
            return path
    return None


def _refuse_stale(found: Path) -> None:
    """DataError when the table, or one that it came from, is older than what that was made from."""
    command = _maker(found)
    used = {found.resolve()}
    for made, source, changed in sources(found):
        used.add(source.resolve())
        if changed:
            raise DataError(
                f"{found}: is out of date: {source} was changed after {made.name} was made from it. {_again(made)}"
            )
    for earlier in _before(command):
        for path in (found.with_name(f"{WAY[earlier]}{suffix}") for suffix in SUFFIXES):
            if path.is_file() and path.resolve() not in used and written_after(path, found):
                raise DataError(
                    f"{found}: is out of date: {path.name} is newer and was not used for it. {_again(found)}"
                )
    for path in used:
        if path.stem == WAY["scan"] and path.is_file() and sidecar_path(path).exists():
            _refuse_changed_folder(path)


def _maker(table: Path) -> str:
    return next((command for command, stem in WAY.items() if stem == table.stem), "split")


def _again(table: Path) -> str:
    return f"Run eml {_maker(table)} again, or give the table to use"


def _refuse_changed_folder(info: Path) -> None:
    """DataError when files came or went since the scan. By their names: times change when a data set is copied."""
    root = recorded_root(info)
    if root is None or not root.is_dir():
        return  # read_table tells what is wrong with the root
    errors = errors_path(info)
    images = set(read_file_names(info))
    unusable = set(read_file_names(errors)) if errors.is_file() else set()
    there = set(list_files(root).files)
    told = [
        f"{len(names):,} {what} (the first: {min(names)!r})"
        for what, names in (("new", there - images - unusable), ("gone", images - there))
        if names
    ]
    if told:
        raise DataError(f"{info}: is out of date: since the scan, {' and '.join(told)}. Run: eml scan {root}")


def table_to_evaluate(
    source: Path, root: Path | None, report: Report = lambda line: None, progress: Progress | None = None
) -> Table:
    """A table as it is; of a folder dataset_test.csv, or else the table that `eml split` would read.

    Raises DataError also for boxes that are not within their images.
    """
    if root is None and source.is_dir() and (test := test_table(source)):
        report(f"table: {test}")
        table = resolve(test, "evaluate")
    else:
        table = resolve(source, "split", root, report=report, progress=progress)
    check_boxes(table, progress)
    return table
