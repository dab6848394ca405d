"""A folder of images → the table of its images and the list of what could not be used."""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from eml.dataset.scanning.hashing import HashKind
from eml.dataset.scanning.inspect_file import Inspected, Problem
from eml.dataset.scanning.listing import list_files
from eml.dataset.scanning.records import COLUMNS as COLUMNS
from eml.dataset.scanning.records import ScanRecords
from eml.dataset.scanning.scan_cache import CacheHits, ScanCache
from eml.dataset.scanning.workers import read_files
from eml.errors import DataError, Interrupted
from eml.progress import Progress, Report

"""Is told a line."""

KEEP_EVERY = 5.0  # seconds of reading that a kill can cost
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "query", "gallery", "eval"}


@dataclass(frozen=True)
class Scan:
    """What is in a folder, in the order of the file names."""

    root: Path
    table: pd.DataFrame
    """label, file_name, width, height, hash, hash_kind, content, bytes, format, mode; the two of the hash on wish."""
    errors: pd.DataFrame
    """file_name, reason, detail."""
    warnings: list[str] = field(default_factory=list)
    """What should be looked at before going on, a line each."""
    taken_over: int = 0
    """Files that were not read, since an earlier scan did and they are as they were."""


def scan_folder(
    root: Path,
    *,
    hashes: bool = True,
    hash_kind: HashKind = "phash-luma256",
    workers: int | None = None,
    progress: Progress | None = None,
    keep: Path | None = None,
    reread: bool = False,
    report: Report | None = None,
) -> Scan:
    """Reads every file of the folder once: size as shown, format, integrity, hash of the bytes, perceptual hash.

    One class per first-level folder; deeper folders belong to it. The result does not depend on `workers`: processes;
    1 for none but this one; None for one per core if there is enough to do.
    keep: the table that the caller will write. What is read is then kept beside it (see scan_cache.py): a scan that
    was stopped, by whatever, goes on where it was, and files of unchanged size and time are not read again, but for
    `reread`. Without it nothing is written. report: is told in a line what was taken over.
    Raises DataError when the folder cannot be scanned or holds no image, Interrupted after Ctrl-C with `keep`.
    """
    listing = list_files(root)
    kind = hash_kind if hashes else None
    collected = ScanRecords(listing.files, kind)
    report = report or (lambda line: None)
    kept = ScanCache(keep, root, kind, report) if keep else None
    if kept and not reread:
        with _shown(progress, "comparing", len(listing.files)) as advance:
            taken = kept.take_over(collected, advance)
        for line in _told(taken, len(listing.files)):
            report(line)
    read = _read(root, collected, kept, workers, progress)
    problems = sorted(listing.problems + collected.problems())
    table = collected.table()
    if table.empty:
        raise DataError(_nothing_usable(root, problems))
    if kept:
        kept.finish(collected, read=read)
    errors = pd.DataFrame(problems, columns=Problem._fields, dtype=str)
    return Scan(root, table, errors, _warnings(root, table, listing.classes), len(listing.files) - read)


def _read(
    root: Path, collected: ScanRecords, kept: ScanCache | None, workers: int | None, progress: Progress | None
) -> int:
    """Reads the files of which nothing is known yet; every few seconds what was found is kept. Returns their number."""
    positions = collected.unread()
    files = [collected.files[position] for position in positions]
    fresh: list[int] = []  # positions read but not kept yet
    saved = time.monotonic()
    with _shown(progress, "reading", len(files)) as advance:

        def take(first: int, found: Sequence[Inspected]) -> None:
            nonlocal saved
            for position, inspected in zip(positions[first : first + len(found)], found, strict=True):
                collected.put(position, inspected)
                fresh.append(position)
            if kept and time.monotonic() - saved > KEEP_EVERY:
                kept.add(collected, fresh)
                fresh.clear()
                saved = time.monotonic()
            advance(len(found))

        try:
            read_files(root, files, collected.hash_kind, workers, take)
        except BaseException as error:
            if kept and fresh:
                kept.add(collected, fresh)
            if kept and isinstance(error, KeyboardInterrupt):
                raise Interrupted(_interrupted(collected)) from error
            raise
    return len(files)


def _shown(progress: Progress | None, description: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return progress(description, total) if progress and total else nullcontext(lambda done: None)


def _told(taken: CacheHits, files: int) -> list[str]:
    left = files - taken.unchanged - taken.resumed
    told = []
    if taken.resumed:
        told.append(
            f"going on where an earlier scan stopped: {taken.resumed:,} of {files:,} files are read, {left:,} left"
        )
    if taken.unchanged:
        told.append(f"{taken.unchanged:,} of {files:,} files are unchanged since the last scan and taken over from it")
    return told


def _interrupted(collected: ScanRecords) -> str:
    files = len(collected.files)
    read = files - len(collected.unread())
    return f"interrupted: {read:,} of {files:,} files are read, and kept. The same command goes on from there"


def summarise(scan: Scan) -> dict[str, Any]:
    """Counts and ranges, as JSON takes them; sides in pixels, most frequent formats and reasons first."""
    table = scan.table
    sides = table[["width", "height"]]
    return {
        "images": len(table),
        "classes": int(table["label"].nunique()),
        "bytes": int(table["bytes"].sum()),
        "images_per_class": _range(table["label"].value_counts()),
        "short_side": _range(sides.min(axis=1)),
        "long_side": _range(sides.max(axis=1)),
        "formats": dict(Counter(table["format"]).most_common()),
        "errors": dict(Counter(scan.errors["reason"]).most_common()),
    }


def errors_path(table: Path) -> Path:
    """Where the errors of a scan go: dataset_errors.csv beside dataset_info.csv, X_errors.csv beside any X.csv."""
    return table.with_stem("dataset_errors" if table.stem == "dataset_info" else f"{table.stem}_errors")


def _range(values: "pd.Series[Any]") -> dict[str, float]:
    median = float(values.median())
    return {
        "min": int(values.min()),
        "median": int(median) if median.is_integer() else median,
        "max": int(values.max()),
    }


def _nothing_usable(root: Path, problems: list[Problem]) -> list[str]:
    counts = Counter(problem.reason for problem in problems).most_common()
    told = ", ".join(f"{reason} {count:,}" for reason, count in counts)
    lines = [f"{root}: no file in it can be used as an image: {told}. The first:"]
    return lines + [f"{root / problem.file_name}: {problem.detail} ({problem.reason})" for problem in problems[:5]]


def _warnings(root: Path, table: pd.DataFrame, classes: list[str]) -> list[str]:
    sizes = table["label"].value_counts()
    told = []
    if empty := sorted(set(classes) - set(sizes.index)):
        told.append(f"{_some(empty, 'folder')} without a usable image, so no class")
    if len(sizes) == 1:
        told.append(f"only one class, {sizes.index[0]!r}; training needs two. {_where_classes_are(root, table)}")
    elif SPLITS.issuperset(name.lower() for name in sizes.index):
        parts = " or ".join(_command(root / name) for name in sizes.index)
        told.append(f"the folders {', '.join(sizes.index)} look like splits, not classes. If so, run: {parts}")
    elif alone := sorted(sizes.index[sizes == 1]):
        told.append(f"{_some(alone, 'class')} of one image: no use as a query, nothing to find it by")
    return told


def _where_classes_are(root: Path, table: pd.DataFrame) -> str:
    folders = sorted({name.rpartition("/")[0] for name in table["file_name"]})
    if folders != [only := table["label"].iloc[0]]:
        return f"If its own folders are the classes, run: {_command(root / only)}"
    return "A dataset has one folder per class; if this is one of them, scan the folder above"


def _command(folder: Path) -> str:
    return f"eml scan {shlex.quote(str(folder))}"


def _some(names: list[str], what: str) -> str:
    several = {"class": "classes", "folder": "folders"}[what]
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return f"{len(names):,} {what if len(names) == 1 else several} ({shown})"
