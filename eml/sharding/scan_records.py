"""The records of a shard's files, as a scan keeps them, and those of all shards as one scan."""

from collections.abc import Sequence
from pathlib import Path

from eml.dataset.scanning.hashing import HashKind
from eml.dataset.scanning.records import ScanRecords
from eml.dataset.scanning.scan import has_image, read_missing
from eml.dataset.scanning.scan_cache import ScanCache
from eml.progress import Progress, Report


def read_records(
    root: Path,
    names: Sequence[str],
    table: Path,
    files: tuple[Path, Path],
    *,
    hash_kind: HashKind | None,
    workers: int | None,
    reread: bool,
    progress: Progress,
    report: Report,
) -> None:
    """Read the files of a shard once and write their records.

    Records of unchanged files are used again: of a shard that was stopped, of one that was done before, and of the
    last scan into the table.

    Args:
        root: The folder.
        names: The shard's files, relative to the root, sorted.
        table: What merging writes.
        files: Where the records go, and the folder that keeps them until all are read.
        hash_kind: The kind of perceptual hashes, None for none.
        workers: Processes, as in `scan_folder`.
        reread: Read all files again.
        progress: Shows the progress.
        report: Receives lines on the records that are used again.
    """
    records = ScanRecords(names, hash_kind)
    cache = ScanCache(table, root, hash_kind, report, shard=files)
    read_missing(root, records, cache, workers=workers, progress=progress, reread=reread, report=report)
    cache.finish(records, read=len(names))


def merge_records(
    root: Path,
    names: Sequence[str],
    table: Path,
    results: Sequence[Path],
    *,
    hash_kind: HashKind | None,
    progress: Progress,
) -> ScanRecords:
    """Return the records of all files, and keep them beside the table, as a scan of the folder does.

    Raises:
        ValueError: A result is damaged, or they are not of these files.
    """
    records = ScanRecords(names, hash_kind)
    cache = ScanCache(table, root, hash_kind, lambda line: None)
    with progress("merging", len(names)) as advance:
        for result in results:
            advance(cache.load_shard(result, records))
    if len(records.unread()):
        raise ValueError(f"{len(records.unread()):,} files are in no shard")
    if has_image(records):
        cache.finish(records, read=len(names))
    return records
