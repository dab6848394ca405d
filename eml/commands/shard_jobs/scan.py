"""`eml scan` in shards: each reads the files of its names, merging makes the table of their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eml.commands.base import Caller, CommandFunction
from eml.commands.scan import PreparedScan, ScanConfig, ScanResult, finish_scan, prepare_scan, scan
from eml.commands.shard_jobs.base import CommandJob
from eml.dataset.scanning.listing import Listing, list_files
from eml.dataset.scanning.scan import folder_scan
from eml.dataset.scanning.scan_cache import reader_versions
from eml.errors import DataError
from eml.sharding.file_states import ListedFiles, listed_files
from eml.sharding.folder import ShardFolder
from eml.sharding.jobs import FinishedShard, ShardContent, ShardFiles, ShardWork
from eml.sharding.scan_records import merge_records, read_records
from eml.sharding.shard import CutRows, WorkShard, positions_of


@dataclass
class ScanWork(ShardWork[Caller]):
    """A scan, whose folder is listed."""

    options: ScanConfig
    prepared: PreparedScan
    listing: Listing
    line: str
    config: dict[str, Any]
    command: str = "scan"
    inputs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.target = self.prepared.path
        self.settings = {
            "class_level": self.prepared.settings.class_level,
            "reader": reader_versions(self.prepared.hash_kind),
        }
        self._cut = CutRows(positions_of(self.listing.files))

    def names(self, shard: WorkShard) -> list[str]:
        """Return the files of a shard, sorted."""
        return [self.listing.files[row] for row in self._cut.of(shard)]

    def files(self, shard: WorkShard) -> ListedFiles:
        """Return the names, sizes and times of a shard's files."""
        return listed_files(self.options.dataset, self.names(shard))

    def make(self, files: ShardFiles, caller: Caller) -> ShardContent:
        """Read the files of a shard."""
        names = self.names(files.shard)
        read_records(
            self.options.dataset,
            names,
            self.target,
            (files.result, files.partial),
            hash_kind=self.prepared.hash_kind,
            workers=self.options.workers,
            reread=self.options.reread,
            progress=caller.progress,
            report=caller.note,
        )
        return ShardContent(len(names))

    def merge(self, shards: Sequence[FinishedShard], caller: Caller) -> ScanResult:
        """Write the table, as a scan of all files does."""
        root, settings = self.options.dataset, self.prepared.settings
        try:
            records = merge_records(
                root,
                self.listing.files,
                self.target,
                [shard.result for shard in shards],
                hash_kind=self.prepared.hash_kind,
                progress=caller.progress,
            )
        except ValueError as error:
            raise DataError(f"{ShardFolder.of(self.target).path}: {error}", code="damaged-file") from error
        scanned = folder_scan(
            root, self.listing, records, settings.class_level, settings.unknown_label, caller.note, cached=0
        )
        return finish_scan(self.options, caller, self.prepared, scanned, self.line)


class ScanJob(CommandJob):
    """`eml scan`."""

    command = "scan"
    without = ("overwrite", "workers", "reread")
    again = ("reread",)

    @property
    def function(self) -> CommandFunction[Any]:
        """The command."""
        return scan

    def open(self, config: ScanConfig, caller: Caller, *, line: str | None = None) -> ScanWork:
        """Check what a scan checks, and list the folder."""
        prepared = prepare_scan(config, caller)
        listing = list_files(config.dataset, prepared.settings.level)
        return ScanWork(config, prepared, listing, line or self.line(config), self.facts(config, prepared.path.parent))


job = ScanJob()
