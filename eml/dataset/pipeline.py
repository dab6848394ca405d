"""The table that a folder offers to a command: the newest along the pipeline, checked against its sources."""

import shlex
from pathlib import Path

from eml.dataset.boxes import check_boxes
from eml.dataset.scanning.listing import list_files
from eml.dataset.scanning.scan import errors_path, scan_folder
from eml.dataset.sidecar import recorded_root, sidecar_path, sources, written_after
from eml.dataset.table import SUFFIXES, Table, check_outputs, read_file_names, read_table, write_tables
from eml.errors import DataError
from eml.progress import Progress, Report

PIPELINE = {
    "scan": "dataset_info",
    "merge": "dataset_merged",
    "filter": "dataset_info_filtered",
    "split": "dataset_train",
    "kfold": "folds",
}
"""Each command in order, and the table that it leaves for those after it."""


def resolve(
    source: Path,
    step: str,
    root: Path | None = None,
    *,
    out: Path | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
) -> Table:
    """Return the table that a command reads when the user gives it `source`.

    A table is read itself. Of a folder it is the table furthest along the pipeline that the commands before `step`
    wrote there (or into `out`, from this folder); a folder without one is scanned first, into `out`.

    Args:
        source: A table or a folder.
        step: The command: filter, split, kfold, or any that comes after them.
        root: The folder of a table's images.
        out: The folder that the command writes to, where it is not `source`.
        report: Receives the name of the table that is read.
        progress: Shows the progress of a scan.

    Raises:
        DataError: The source does not exist, or the table is older than its sources.
    """
    report = report or (lambda line: None)
    if source.is_file():
        table = read_table(source, root, check_files=True)
        for note in table.notes:
            report(note)
        return table
    if not source.exists():
        raise DataError(f"{source}: no such file or folder", code="missing-file", parameter="dataset")
    if root is not None:
        text = f"`root` goes with a table, and {source} is a folder"
        raise DataError(text, code="conflicting-settings", parameter="root")
    path = _newest_table(source, step, out)
    if path is None:
        path = _scan(source, out or source, report, progress)
    else:
        _refuse_stale(path)
    report(f"table: {path}")
    return read_table(path, check_files=True)


def test_table(folder: Path) -> Path | None:
    """Return the table of test classes that `eml split` left in a folder, None where there is none.

    Raises:
        DataError: The table is out of date.
    """
    for suffix in SUFFIXES:
        if (path := folder / f"dataset_test{suffix}").is_file():
            _refuse_stale(path)
            return path
    return None


def table_to_evaluate(
    source: Path, root: Path | None, report: Report = lambda line: None, progress: Progress | None = None
) -> Table:
    """Return the table itself, or of a folder dataset_test.csv, else the table that `eml split` would read.

    Raises:
        DataError: As `resolve`, and for boxes that are not within their images.
    """
    if root is None and source.is_dir() and (test := test_table(source)):
        report(f"table: {test}")
        table = resolve(test, "evaluate")
    else:
        table = resolve(source, "split", root, report=report, progress=progress)
    check_boxes(table, progress)
    return table


def _newest_table(folder: Path, step: str, out: Path | None) -> Path | None:
    """Return the table furthest along in the folder, else the one in `out` that was made from this folder."""
    path = _furthest(folder, step)
    if path is None and out is not None:
        path = _furthest(out, step)
        if path is not None and recorded_root(path) != folder.resolve():
            return None
    return path


def _before(step: str) -> list[str]:
    commands = list(PIPELINE)
    return commands[: commands.index(step)] if step in PIPELINE else commands


def _furthest(folder: Path, step: str) -> Path | None:
    for command in reversed(_before(step)):
        paths = [path for suffix in SUFFIXES if (path := folder / f"{PIPELINE[command]}{suffix}").is_file()]
        if paths:
            return max(paths, key=lambda path: path.stat().st_mtime)
    return None


def _scan(folder: Path, out: Path, report: Report, progress: Progress | None) -> Path:
    path = out / f"{PIPELINE['scan']}.csv"
    outputs = [path, errors_path(path)]
    check_outputs(outputs)
    report(f"no table in {folder}: scanning it")
    scan = scan_folder(folder, progress=progress, table_path=path, report=report)
    command = shlex.join(["eml", "scan", str(folder)])
    write_tables({outputs[1]: scan.errors, path: scan.table}, command=command, root=folder)
    warnings = list(scan.warnings)
    if len(scan.errors):
        warnings.append(f"files that cannot be used: {len(scan.errors):,}, see {outputs[1]}")
    for line in warnings:
        report(f"warning: {line}")
    return path


def _refuse_stale(path: Path) -> None:
    """Raise a DataError where the table, or one that it came from, is older than its sources."""
    used = {path.resolve()}
    for output, source, changed in sources(path):
        used.add(source.resolve())
        if changed:
            reason = f"{source} was changed after {output.name} was made from it"
            raise _stale(path, f"{reason}. {_run_again(output)}")
    for earlier in _before(_command_of(path)):
        for table in (path.with_name(f"{PIPELINE[earlier]}{suffix}") for suffix in SUFFIXES):
            if table.is_file() and table.resolve() not in used and written_after(table, path):
                raise _stale(path, f"{table.name} is newer and was not used for it. {_run_again(path)}")
    for table in used:
        if table.stem == PIPELINE["scan"] and table.is_file() and sidecar_path(table).exists():
            _refuse_changed_folder(table)


def _stale(table: Path, reason: str) -> DataError:
    return DataError(f"{table}: is out of date: {reason}", code="out-of-date")


def _command_of(table: Path) -> str:
    """Return the command that writes tables of this name."""
    return next((command for command, stem in PIPELINE.items() if stem == table.stem), "split")


def _run_again(table: Path) -> str:
    return f"Run eml {_command_of(table)} again, or give the table to use"


def _refuse_changed_folder(info: Path) -> None:
    """Raise a DataError where files came or went since the scan, by name: copying a data set changes its times."""
    root = recorded_root(info)
    if root is None or not root.is_dir():
        return  # read_table reports what is wrong with the root
    errors = errors_path(info)
    images = set(read_file_names(info))
    unusable = set(read_file_names(errors)) if errors.is_file() else set()
    present = set(list_files(root).files)
    changes = [
        f"{len(names):,} {kind} (the first: {min(names)!r})"
        for kind, names in (("new", present - images - unusable), ("missing", images - present))
        if names
    ]
    if changes:
        raise _stale(info, f"since the scan, {' and '.join(changes)}. Run: eml scan {root}")
