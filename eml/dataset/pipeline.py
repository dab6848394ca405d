"""The table that a folder offers to a command: the newest along the pipeline, checked against its sources."""

import shlex
from pathlib import Path

from eml.dataset.ancestry import OVERWRITE, PIPELINE, refuse_stale, refuse_unwritten, stale, staleness, tables_of
from eml.dataset.boxes import check_boxes
from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.recorded_content import recorded_sizes, sizes_differ
from eml.dataset.scan_settings import ScanSettings, refuse_other_level
from eml.dataset.scanning.class_level import ClassLevel
from eml.dataset.scanning.listing import list_files
from eml.dataset.scanning.scan import errors_path, scan_folder
from eml.dataset.sidecar import (
    edited_by_hand,
    recorded_notes,
    recorded_root,
    sidecar_path,
    sources,
    usable_root,
)
from eml.dataset.similar_labels import similar_labels_line
from eml.dataset.table import SUFFIXES, Table, check_outputs, read_file_names, read_table, write_tables
from eml.dataset.unknown_label import unknown_label_hint, with_label_of_later, with_unknown_label
from eml.errors import DataError
from eml.files import real_path
from eml.progress import Progress, Report


def resolve(
    source: Path,
    step: str,
    root: Path | None = None,
    *,
    class_level: ClassLevel | None = None,
    unknown_label: str | None = None,
    columns: ColumnMap = AS_NAMED,
    out: Path | None = None,
    accept_stale: bool = False,
    command: str | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
) -> Table:
    """Return the table that a command reads when the user gives it `source`.

    A table is read itself. Of a folder it is the table furthest along the pipeline that the commands before `step`
    wrote there (or into `out`, from this folder); a folder without one is scanned first, into `out`. Either way it
    must be up to date; of a folder, also with the files in it.

    Args:
        source: A table or a folder.
        step: The command: filter, split, kfold, or any that comes after them.
        root: The folder of a table's images.
        class_level: Which folder is the class, where a folder is scanned; None: as in its last scan, else the first.
        unknown_label: The label of images of unknown identity; None: as the table's sidecar says.
        columns: Says how a table of the user's own is read.
        out: The folder that the command writes to, where it is not `source`.
        accept_stale: Report a table that is out of date, and read it.
        command: The command line, of a command that makes another table or says what to do: an unknown label is then
            taken over from the tables after it, and what is odd about the labels is reported each time.
        report: Receives the name of the table that is read.
        progress: Shows the progress of a scan.

    Raises:
        DataError: The source does not exist, the table is out of date, or no image has the unknown label.
    """
    report = report or (lambda line: None)
    is_table = source.exists() and not source.is_dir()
    if is_table and class_level is not None:
        text = f"`class_level` goes with a folder, and {source} is a table, which has the labels"
        raise DataError(text, code="conflicting-settings", parameter="class_level")
    if is_table:
        table = _read(source, root, columns, True, accept_stale, report)
        table = _with_label(table, unknown_label, out if command is not None else None, step, report)
        if command is not None or not sidecar_path(source).exists():
            _report_labels(table, command, report)
        return table
    if not source.exists():
        raise DataError(f"{source}: no such file or folder", code="missing-file", parameter="dataset")
    if parameters := [*(["root"] if root is not None else []), *columns.parameters]:
        text = f"`{parameters[0]}` goes with a table, and {source} is a folder"
        raise DataError(text, code="conflicting-settings", parameter=parameters[0])
    path = _newest_table(source, step, out)
    scanned = path is None
    if path is None:
        path = _scan(source, out or source, ScanSettings(class_level, unknown_label), command, report, progress)
    elif not accept_stale:
        refuse_stale(path)
        _refuse_changed_folders(path, report)
        refuse_other_level(path, class_level)
    elif problem := staleness(path):
        report(f"warning: {problem}")
    report(f"table: {path}")
    table = read_table(path, check_files=True)
    if real_path(table.root) != real_path(source):
        for note in table.notes:
            report(note)
    table = _with_label(table, unknown_label, (out or source) if command is not None else None, step, report)
    if command is not None and not scanned:
        _report_labels(table, command, report)
    return table


def read_current_table(
    source: Path,
    root: Path | None = None,
    *,
    unknown_label: str | None = None,
    columns: ColumnMap = AS_NAMED,
    check_files: bool = True,
    needs_labels: bool = True,
    accept_stale: bool = False,
    report: Report = lambda line: None,
) -> Table:
    """Return a table that was given by its name.

    Args:
        source: The table.
        root: The folder of its images.
        unknown_label: The label of images of unknown identity; None: as its sidecar says.
        columns: Says how it is read, if it is the user's own.
        check_files: Require that every image exists.
        needs_labels: Require a label in every row.
        accept_stale: Report a table that is out of date, and read it.
        report: Receives how the table differs from its file.

    Raises:
        DataError: The table is out of date, cannot be read, or has no image with the unknown label.
    """
    table = _read(source, root, columns, check_files, accept_stale, report, needs_labels)
    table = with_unknown_label(table, unknown_label)
    if needs_labels and not sidecar_path(source).exists():
        _report_labels(table, None, report)
    return table


def _read(
    source: Path,
    root: Path | None,
    columns: ColumnMap,
    check_files: bool,
    accept_stale: bool,
    report: Report,
    needs_labels: bool = True,
) -> Table:
    """Return a table as its file says, if it is up to date."""
    problem = staleness(source)
    if problem is not None and not accept_stale:
        raise problem
    if problem is not None:
        report(f"warning: {problem}")
    table = read_table(source, root, check_files=check_files, columns=columns, needs_labels=needs_labels)
    for note in table.notes:
        report(note)
    return table


def _with_label(table: Table, label: str | None, out: Path | None, step: str, report: Report) -> Table:
    """Return the table with its unknown label: as said, as its sidecar says, or as the later tables in `out` do."""
    if label is None and out is not None:
        table = with_label_of_later(table, out, step, report)
    return with_unknown_label(table, label)


def _report_labels(table: Table, command: str | None, report: Report) -> None:
    """Report a label that reads like one of unknown images, and labels that read the same."""
    if hint := unknown_label_hint(table, command):
        report(f"hint: {hint}")
    if similar := similar_labels_line(table.frame["label"].unique()):
        report(f"warning: {similar}")


def read_exclusions(source: Path) -> list[str]:
    """Return the `file_name` column of a list of images to leave out, such as suspects.csv.

    Raises:
        DataError: The list is out of date, or cannot be read.
    """
    if source.is_file():
        refuse_stale(source)
    return read_file_names(source)


def test_table(folder: Path, report: Report) -> Path | None:
    """Return the table of test classes that `eml split` left in a folder, None where there is none.

    Args:
        folder: The folder.
        report: Receives which of its files a scan table that was edited by hand leaves out.

    Raises:
        DataError: The table is out of date.
    """
    if tables := tables_of(folder, "dataset_test"):
        refuse_stale(tables[0])
        _refuse_changed_folders(tables[0], report)
        return tables[0]
    for suffix in SUFFIXES:
        refuse_unwritten(folder / f"dataset_test{suffix}")
    return None


def table_to_evaluate(
    source: Path,
    root: Path | None,
    report: Report = lambda line: None,
    progress: Progress | None = None,
    *,
    columns: ColumnMap = AS_NAMED,
    unknown_label: str | None = None,
) -> Table:
    """Return the table itself, or of a folder dataset_test.csv, else the table that `eml split` would read.

    Raises:
        DataError: As `resolve`, and for boxes that are not within their images.
    """
    if root is None and columns == AS_NAMED and source.is_dir() and (test := test_table(source, report)):
        report(f"table: {test}")
        table = resolve(test, "evaluate", unknown_label=unknown_label)
    else:
        table = resolve(
            source, "split", root, columns=columns, unknown_label=unknown_label, report=report, progress=progress
        )
    check_boxes(table, progress)
    return table


def _newest_table(folder: Path, step: str, out: Path | None) -> Path | None:
    """Return the table furthest along in the folder, else the one in `out` that was made from this folder."""
    path = _furthest(folder, step)
    if path is None and out is not None:
        path = _furthest(out, step)
        if path is not None and recorded_root(path) != real_path(folder):
            return None
    return path


def _furthest(folder: Path, step: str) -> Path | None:
    """Return the table of the last step before `step` that left one; refuse one of which only the sidecar is there."""
    commands = list(PIPELINE)
    for command in reversed(commands[: commands.index(step)] if step in PIPELINE else commands):
        if paths := tables_of(folder, PIPELINE[command]):
            return max(paths, key=lambda path: path.stat().st_mtime)
        if command != "scan":  # which is repeated where its table is missing
            for suffix in SUFFIXES:
                refuse_unwritten(folder / f"{PIPELINE[command]}{suffix}")
    return None


def _scan(
    folder: Path, out: Path, requested: ScanSettings, words: str | None, report: Report, progress: Progress | None
) -> Path:
    path = out / f"{PIPELINE['scan']}.csv"
    outputs = [path, errors_path(path)]
    check_outputs(outputs)
    report(f"no table in {folder}: scanning it")
    settings = requested.completed(path, folder, report)
    scan = scan_folder(
        folder,
        progress=progress,
        table_path=path,
        class_level=settings.class_level,
        unknown_label=settings.unknown_label,
        report=report,
    )
    table = settings.label(Table(scan.table, folder), required=requested.unknown_label is not None)
    table = with_label_of_later(table, out, "filter", report)
    settings = settings.of(table)
    command = _scan_command(folder, out, settings)
    write_tables({path: scan.table, outputs[1]: scan.errors}, command=command, root=folder, notes=settings.notes)
    warnings = list(scan.warnings)
    if hint := unknown_label_hint(table, words):
        warnings.append(hint)
    if len(scan.errors):
        warnings.append(f"files that cannot be used: {len(scan.errors):,}, see {outputs[1]}")
    for line in warnings:
        report(f"warning: {line}")
    return path


def _scan_command(folder: Path, out: Path, settings: ScanSettings) -> str:
    """Return the command that scans the folder with these settings."""
    elsewhere = ["--out", str(out)] if real_path(out) != real_path(folder) else []
    return shlex.join(["eml", "scan", str(folder), *elsewhere, *settings.words])


def _refuse_changed_folders(table: Path, report: Report) -> None:
    """Raise a DataError where a folder that the table came from has other files than when it was scanned.

    Of a scan table that was edited by hand nobody knows whether a file came since, or its row was taken out: such
    files are reported.
    """
    for path in {table: None} | {source: None for _, source, _ in sources(table)}:
        if path.stem == PIPELINE["scan"] and path.is_file() and sidecar_path(path).exists():
            _refuse_changed_folder(path, report)


def _refuse_changed_folder(info: Path, report: Report) -> None:
    """Raise a DataError where files came or went since the scan, by name: copying a data set changes its times."""
    try:
        root, _ = usable_root(info)
    except DataError:
        return  # read_table reports what is wrong with the root
    if root is None or not root.is_dir():
        return
    errors = errors_path(info)
    sizes = recorded_sizes(info)
    images = set(sizes)
    unusable = set(read_file_names(errors)) if errors.is_file() else set()
    settings = ScanSettings.of_notes(recorded_notes(info))
    present = set(list_files(root, settings.level).files)
    new, missing = present - images - unusable, images - present
    # Of those that have another size; one that has not may be told by its time, which copying changes: it is no error.
    changed = set(sizes_differ(root, sizes, sizes.values()))
    command = _scan_command(root, info.parent, settings)
    if edited_by_hand(info):
        if missing:
            reason = f"it was edited by hand, and since the scan, {_counted(missing, 'missing')}"
            replacing = f"to replace the edited table, run: {command} {OVERWRITE}"
            raise stale(info, f"{reason}. Take their rows out of it; or {replacing}")
        if new:
            report(f"{info} was edited by hand and leaves out files of its folder: {_counted(new)}")
        if changed:
            report(f"warning: {info} was edited by hand, and since the scan, {_counted(changed, 'changed')}")
    elif new or missing or changed:
        kinds = (("new", new), ("missing", missing), ("changed", changed))
        *first, last = [_counted(names, kind) for kind, names in kinds if names]
        text = f"{', '.join(first)} and {last}" if first else last
        raise stale(info, f"since the scan, {text}. Run: {command}")


def _counted(names: set[str], kind: str = "") -> str:
    """Return `3 new (the first: 'a/1.jpg')`."""
    return f"{len(names):,} {kind}".rstrip() + f" (the first: {min(names)!r})"
