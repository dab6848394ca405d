"""A folder of images → the table of its images and the list of files that cannot be used."""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.scanning.class_level import FIRST, ClassLevel, class_of, describe_levels
from eml.dataset.scanning.hashing import HashKind
from eml.dataset.scanning.listing import FileProblem, Listing, list_files, nothing_usable
from eml.dataset.scanning.packed_listing import add_columns
from eml.dataset.scanning.records import COLUMNS as COLUMNS
from eml.dataset.scanning.records import ScanRecords
from eml.dataset.scanning.scan_cache import CacheHits, ScanCache
from eml.dataset.scanning.workers import read_files
from eml.dataset.similar_labels import canonical, merged_forms, similar_labels_line
from eml.errors import DataError, Interrupted
from eml.images.packed.rereading import rereading
from eml.progress import Progress, Report

SAVE_EVERY = 5.0  # seconds of reading that a kill can cost
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "query", "gallery", "eval"}


@dataclass(frozen=True)
class FolderScan:
    """The images of a folder and the files that cannot be used, in the order of the file names."""

    root: Path
    table: pd.DataFrame
    """label, file_name, width, height, hash, hash_kind, content, bytes, format, mode, is_blank; hash and hash_kind
    if wanted."""
    errors: pd.DataFrame
    """file_name, reason, detail."""
    warnings: list[str] = field(default_factory=list)
    """Things to check before continuing, a line each."""
    cached_files: int = 0
    """Files that were not read, since an earlier scan read them and they are unchanged."""


@dataclass(frozen=True)
class ValueRange:
    """The range of a number over images or classes."""

    min: int
    median: float
    """A whole number is an int."""
    max: int


@dataclass(frozen=True)
class ScanSummary:
    """Counts and ranges of a scan."""

    images: int
    classes: int
    bytes: int
    images_per_class: ValueRange
    short_side: ValueRange
    """Pixels."""
    long_side: ValueRange
    """Pixels."""
    formats: dict[str, int]
    """Images by format, the most frequent first."""
    errors: dict[str, int]
    """Files that cannot be used, by reason, the most frequent first."""
    blank: int
    """Images whose pixels are all of one colour."""
    unknown_images: int = 0
    """Those of `images` that are of unknown identity."""


def scan_folder(
    root: Path,
    *,
    hashes: bool = True,
    hash_kind: HashKind = "phash-luma256",
    workers: int | None = None,
    progress: Progress | None = None,
    table_path: Path | None = None,
    class_level: ClassLevel | None = None,
    unknown_label: str | None = None,
    reread: bool = False,
    report: Report | None = None,
) -> FolderScan:
    """Read every file of the folder once: size as shown, format, integrity, hash of the bytes, perceptual hash.

    The result does not depend on `workers`.

    Args:
        root: The folder.
        hashes: Compute perceptual hashes.
        hash_kind: Their kind.
        workers: Processes. 1 reads in this process; None takes one per core if there is enough to do.
        progress: Shows the progress.
        table_path: The table that the caller will write. Records are then kept beside it (see scan_cache.py): a scan
            that was stopped continues where it was, and files of unchanged size and time are not read again. Without
            it nothing is written.
        class_level: Which folder is the class. None: the first-level folder, deeper folders belong to it; a warning
            says what other levels would give.
        unknown_label: The label of images of unknown identity, which is not warned of as a class.
        reread: Read all files again.
        report: Receives lines on the records that are used again.

    Raises:
        DataError: The folder cannot be scanned or holds no image.
        Interrupted: Ctrl-C, with `table_path`.
    """
    level = class_level or FIRST
    listing = list_files(root, level)
    report = report or (lambda line: None)
    records, read = read_images(
        root,
        listing.files,
        hash_kind=hash_kind if hashes else None,
        workers=workers,
        progress=progress,
        table_path=table_path,
        reread=reread,
        report=report,
    )
    return folder_scan(root, listing, records, class_level, unknown_label, report, cached=len(listing.files) - read)


def folder_scan(
    root: Path,
    listing: Listing,
    records: ScanRecords,
    class_level: ClassLevel | None,
    unknown_label: str | None,
    report: Report,
    *,
    cached: int = 0,
) -> FolderScan:
    """Return the scan of a folder whose files have all been read, as `scan_folder` does.

    listing: The folder's files. records: Of all of them. cached: How many were not read now.
    """
    level = class_level or FIRST
    problems = sorted(listing.problems + records.problems())
    table = records.table(level, listing.packed.labels)
    if table.empty:
        raise DataError(nothing_usable(root, problems), code="no-images", parameter="dataset")
    errors = pd.DataFrame(problems, columns=FileProblem._fields, dtype=str)
    if listing.packed.files:
        table = add_columns(table, listing.packed.columns, listing.packed.files)
    outside = [name for name in table["file_name"] if name not in listing.packed.labels]
    warnings = _name_warnings(table, outside, level)
    if again := rereading([root / name for name in listing.packed.files]):
        warnings.append(f"{again}: eml pack {shlex.quote(str(root))} {shlex.quote(f'{root}-packed')}")
    warnings += _warnings(root, table, [canonical(name) for name in listing.classes], unknown_label)
    if levels := describe_levels(outside, level):
        if class_level is not None:
            report(levels)
        elif not _look_like_splits(table["label"]) and table["label"].nunique() > 1:
            warnings.insert(0, f"{levels}. To choose, run: eml scan {shlex.quote(str(root))} --class-level N")
    return FolderScan(root, table, errors, warnings, cached)


def read_images(
    root: Path,
    files: Sequence[str],
    *,
    hash_kind: HashKind | None,
    workers: int | None = None,
    progress: Progress | None = None,
    table_path: Path | None = None,
    reread: bool = False,
    report: Report = lambda line: None,
) -> tuple[ScanRecords, int]:
    """Read files once and return their records, and how many were read anew; as `scan_folder` says.

    files: Relative to the root, sorted, each once.
    """
    records = ScanRecords(files, hash_kind)
    cache = ScanCache(table_path, root, hash_kind, report) if table_path else None
    read = read_missing(root, records, cache, workers=workers, progress=progress, reread=reread, report=report)
    if cache and has_image(records):
        cache.finish(records, read=read)
    return records, read


def has_image(records: ScanRecords) -> bool:
    """Return whether a file is a usable image; the records of a folder without one are not kept."""
    return any(records.is_image(position) for position in range(len(records.files)))


def read_missing(
    root: Path,
    records: ScanRecords,
    cache: ScanCache | None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    reread: bool = False,
    report: Report = lambda line: None,
) -> int:
    """Complete the records of their files by those of the cache, then by reading; return the number of files read."""
    if cache and not reread:
        with _shown(progress, "comparing", len(records.files)) as advance:
            hits = cache.load(records, advance)
        for line in _cache_lines(hits, len(records.files)):
            report(line)
    return _read(root, records, cache, workers, progress)


def _read(
    root: Path, records: ScanRecords, cache: ScanCache | None, workers: int | None, progress: Progress | None
) -> int:
    """Read the files without a record, saving records every few seconds. Returns the number of files read."""
    positions = records.unread()
    files = [records.files[position] for position in positions]
    unsaved: list[int] = []  # positions
    saved = time.monotonic()
    try:
        with (
            _shown(progress, "reading", len(files)) as advance,
            closing(read_files(root, files, records.hash_kind, workers)) as blocks,
        ):
            for first, block in blocks:
                for position, record in zip(positions[first : first + len(block)], block, strict=True):
                    records.put(position, record)
                    unsaved.append(position)
                if cache and time.monotonic() - saved > SAVE_EVERY:
                    cache.add(records, unsaved)
                    unsaved.clear()
                    saved = time.monotonic()
                advance(len(block))
    except BaseException as error:
        if cache and unsaved:
            cache.add(records, unsaved)
        if cache and isinstance(error, KeyboardInterrupt):
            raise Interrupted(_interrupted(records)) from error
        raise
    return len(files)


def _shown(progress: Progress | None, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return progress(description, total) if progress and total else nullcontext(lambda done: None)


def _cache_lines(hits: CacheHits, files: int) -> list[str]:
    left = files - hits.unchanged - hits.resumed
    lines = []
    if hits.resumed:
        lines.append(
            f"continuing a scan that was stopped: {hits.resumed:,} of {files:,} files have been read, {left:,} are left"
        )
    if hits.unchanged:
        lines.append(f"{hits.unchanged:,} of {files:,} files are unchanged since the last scan and are not read again")
    return lines


def _interrupted(records: ScanRecords) -> str:
    files = len(records.files)
    read = files - len(records.unread())
    return f"interrupted: {read:,} of {files:,} files have been read and saved. Run the same command to continue"


def summarise(scan: FolderScan, unknown: NDArray[np.bool_] | None = None) -> ScanSummary:
    """Return counts and ranges of a scan. unknown: (N,) whether an image is of unknown identity, which is no class."""
    table = scan.table
    labels = table["label"] if unknown is None else table["label"][~unknown]
    sides = table[["width", "height"]]
    return ScanSummary(
        images=len(table),
        classes=int(labels.nunique()),
        bytes=int(table["bytes"].sum()),
        images_per_class=_range(labels.value_counts()),
        short_side=_range(sides.min(axis=1)),
        long_side=_range(sides.max(axis=1)),
        formats=dict(Counter(table["format"]).most_common()),
        errors=dict(Counter(scan.errors["reason"]).most_common()),
        blank=int(table["is_blank"].sum()),
        unknown_images=len(table) - len(labels),
    )


def errors_path(table: Path) -> Path:
    """Return where a scan writes its errors: dataset_errors.csv for dataset_info.csv, X_errors.csv for any X.csv."""
    return table.with_stem("dataset_errors" if table.stem == "dataset_info" else f"{table.stem}_errors")


def _range(values: "pd.Series[Any]") -> ValueRange:
    median = float(values.median())
    return ValueRange(int(values.min()), int(median) if median.is_integer() else median, int(values.max()))


def _warnings(root: Path, table: pd.DataFrame, classes: list[str], unknown_label: str | None) -> list[str]:
    sizes = table["label"].value_counts().drop([unknown_label], errors="ignore")
    lines = []
    if empty := sorted(set(classes) - {*sizes.index, unknown_label}):
        lines.append(f"{_some(empty, 'folder', 'folders')} without a usable image, so not a class")
    if len(sizes) == 1:
        lines.append(f"only one class, {sizes.index[0]!r}; training needs two. {_where_classes_are(root, table)}")
    elif _look_like_splits(table["label"]):
        commands = " or ".join(_command(root / name) for name in sizes.index)
        lines.append(f"the folders {', '.join(sizes.index)} look like splits, not classes. If so, run: {commands}")
    elif alone := sorted(sizes.index[sizes == 1]):
        lines.append(f"{_some(alone, 'class', 'classes')} with one image, which cannot be a query")
    if blank := table["file_name"][table["is_blank"]].tolist():
        advice = "see the column is_blank"
        lines.append(f"{_some(blank, 'blank image', 'blank images')}, with all pixels of one colour: {advice}")
    return lines


def _name_warnings(table: pd.DataFrame, file_names: Sequence[str], level: ClassLevel) -> list[str]:
    """Return lines on class folders whose names are one text in two Unicode forms, and on names that read the same."""
    lines = []
    if forms := merged_forms({class_of(name, level) for name in file_names}):
        count = "1 class has" if len(forms) == 1 else f"{len(forms):,} classes have"
        names = ", ".join(map(repr, forms[:5])) + (" …" if len(forms) > 5 else "")
        lines.append(f"{count} folders whose names are one text in two Unicode forms: {names}")
    similar = similar_labels_line(table["label"].unique())
    return [*lines, *([similar] if similar else [])]


def _look_like_splits(labels: "pd.Series[str]") -> bool:
    return SPLITS.issuperset(name.lower() for name in labels.unique())


def _where_classes_are(root: Path, table: pd.DataFrame) -> str:
    folders = sorted({name.rpartition("/")[0] for name in table["file_name"]})
    if folders != [only := table["label"].iloc[0]]:
        return f"If its own folders are the classes, run: {_command(root / only)}"
    return "A dataset has one folder per class; if this is one of them, scan the folder above"


def _command(folder: Path) -> str:
    return f"eml scan {shlex.quote(str(folder))}"


def _some(names: list[str], singular: str, plural: str) -> str:
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return f"{len(names):,} {singular if len(names) == 1 else plural} ({shown})"
