"""`eml scan`: a folder of images to a table."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from eml.commands.base import Caller, CommandResult, PathField, SummaryTable, command
from eml.commands.next_steps import REPORT_PAGE, split_command
from eml.commands.options import (
    Address,
    ClassLevelField,
    Executor,
    ExecutorOptions,
    Overwrite,
    ShardNumber,
    Shards,
    UnknownLabel,
    class_level_of,
    note_workers,
    refuse_remote_out,
)
from eml.commands.sharded import ShardedConfig, sharded

if TYPE_CHECKING:
    from eml.dataset.scan_settings import ScanSettings
    from eml.dataset.scanning.hashing import HashKind
    from eml.dataset.scanning.scan import FolderScan, ScanSummary
    from eml.dataset.table import Table


class ScanConfig(ShardedConfig):
    """List a folder's images in a table: class, size, format, hashes. Every file is read once and decoded to its end.

    Writes dataset_info.csv and dataset_errors.csv (the files that cannot be used, each with the reason). A scan that
    was stopped continues where it was; a later one reads only the files whose size or time has changed.
    """

    dataset: Annotated[PathField, Field(description="The folder of images: one folder per class.")]
    hashes: bool = Field(True, description="Compute perceptual hashes, by which duplicates are found.")
    hash_exact: bool = Field(False, description="Compute the bits of imagehash.phash; slower than the default hash.")
    class_level: ClassLevelField = None
    unknown_label: UnknownLabel = None
    workers: int | None = Field(
        None, ge=1, description="Processes that read images, at most 4 for each core. Default: one per core."
    )
    out: Annotated[
        PathField | None,
        Field(
            description="The table to write (NAME.csv or NAME.parquet), or a folder for it. "
            "Default: dataset_info.csv in `dataset`."
        ),
    ] = None
    report: bool = Field(False, description="Also write data_report.html beside the table, as eml report does.")
    reread: bool = Field(False, description="Read all files again, also those unchanged since the last scan.")
    overwrite: Overwrite = False
    shards: Shards = None
    shard: ShardNumber = None
    executor: Executor = None
    executor_options: ExecutorOptions = ()
    address: Address = None

    @model_validator(mode="after")
    def _exact_hashes_are_hashes(self) -> Self:
        if self.hash_exact and not self.hashes:
            raise ValueError("`hash_exact` needs hashes; it does not go with `hashes=False`")
        return self


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ScanResult(CommandResult):
    """The images of a folder and the files that cannot be used."""

    table: Table
    scan: FolderScan
    facts: ScanSummary

    def summary(self) -> str:
        """Return the counts and where the table is."""
        images = f"{self.facts.images:,} images of {self.facts.classes:,} classes"
        return f"{images}, {len(self.scan.errors):,} unusable files, {self.table.path}"

    def summary_table(self) -> SummaryTable:
        """Return the ranges of class and image sizes."""
        ranges = {
            "images per class": self.facts.images_per_class,
            "shorter side (pixels)": self.facts.short_side,
            "longer side (pixels)": self.facts.long_side,
        }
        return ["", "min", "median", "max"], [[name, of.min, of.median, of.max] for name, of in ranges.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, warnings and files."""
        return {
            "folder": str(self.scan.root),
            **asdict(self.facts),
            "cached_files": self.scan.cached_files,
            "warnings": self.scan.warnings,
            "written": [str(path) for path in self.written],
        }


@dataclass(frozen=True)
class PreparedScan:
    """A scan whose config is checked.

    Attributes:
        path: The table to write.
        errors: The list of unusable files.
        page: The report, which is written where it is asked for.
        settings: Those of the labels, with what the last scan was told.
        hash_kind: The perceptual hashes; None for none.
    """

    path: Path
    errors: Path
    page: Path
    settings: ScanSettings
    hash_kind: HashKind | None


@command(ScanConfig, arguments=("dataset",))
@sharded("scan")
def scan(config: ScanConfig, caller: Caller) -> ScanResult:
    """Read every file of the folder and write the table."""
    from eml.dataset.scanning.scan import scan_folder

    prepared = prepare_scan(config, caller)
    scanned = scan_folder(
        config.dataset,
        hashes=config.hashes,
        hash_kind=prepared.hash_kind or "phash-luma256",
        workers=config.workers,
        progress=caller.progress,
        table_path=prepared.path,
        class_level=prepared.settings.class_level,
        unknown_label=prepared.settings.unknown_label,
        reread=config.reread,
        report=caller.note,
    )
    return finish_scan(config, caller, prepared, scanned, caller.command)


def prepare_scan(config: ScanConfig, caller: Caller) -> PreparedScan:
    """Check what can be checked before the work."""
    from eml.dataset.scan_settings import ScanSettings
    from eml.dataset.scanning.listing import check_folder
    from eml.dataset.scanning.scan import errors_path
    from eml.dataset.table import check_outputs

    refuse_remote_out(config.dataset, config.out, caller)
    check_folder(config.dataset)
    note_workers(config.workers, caller)
    path = _table_path(config)
    errors, page = errors_path(path), path.with_name(REPORT_PAGE)
    check_outputs([path, errors, *([page] if config.report else [])], overwrite=config.overwrite)
    requested = ScanSettings(class_level_of(config.class_level), config.unknown_label)
    settings = requested.completed(path, config.dataset, caller.note)
    kind: HashKind = "phash-imagehash" if config.hash_exact else "phash-luma256"
    return PreparedScan(path, errors, page, settings, kind if config.hashes else None)


def finish_scan(
    config: ScanConfig, caller: Caller, prepared: PreparedScan, scanned: FolderScan, line: str | None
) -> ScanResult:
    """Write the table of a scanned folder. line: the command line, which its sidecar records."""
    from eml.dataset.scanning.scan import summarise
    from eml.dataset.sidecar import remove_outdated
    from eml.dataset.table import Table, write_tables
    from eml.dataset.unknown_label import unknown_label_hint, with_label_of_later

    path, errors, page, settings = prepared.path, prepared.errors, prepared.page, prepared.settings
    is_told = config.unknown_label is not None
    table = settings.label(Table(scanned.table, config.dataset, path), required=is_told)
    table = with_label_of_later(table, path.parent, "filter", caller.note)
    if hint := unknown_label_hint(table, line):
        scanned.warnings.append(hint)
    source = path if config.out else config.dataset
    replaced = write_tables(
        {path: scanned.table, errors: scanned.errors},
        command=line or "eml scan",
        root=config.dataset,
        overwrite=config.overwrite,
        notes=settings.of(table).notes,
    )
    following: str | None = shlex.join(["eml", "filter", str(source), "--dedup"])
    pages: list[Path] = []
    removed = [] if config.report else remove_outdated(page)
    if not config.hashes:
        following = split_command(source, table)
    if config.report:
        from eml.commands.report import write_report

        report = write_report(table, source, page, caller=caller, overwrite=config.overwrite)
        following, pages = report.next_command or following, [page]
        replaced = [*replaced, *report.replaced]
    return ScanResult(
        table=table,
        scan=scanned,
        facts=summarise(scanned, table.is_unknown),
        written=(path, errors, *pages),
        replaced=tuple(replaced),
        removed_files=tuple(removed),
        next_command=following,
    )


def _table_path(config: ScanConfig) -> Path:
    from eml.dataset.table import SUFFIXES
    from eml.files import refuse_file_name

    if config.out is not None and config.out.suffix in SUFFIXES:
        return config.out
    if config.out is not None:
        refuse_file_name(config.out, "the table to write (NAME.csv or NAME.parquet), or a folder for it")
    return (config.out or config.dataset) / "dataset_info.csv"
