"""`eml pack`: the images of a folder or a table into few large files, which every command reads in place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from eml.commands.base import Caller, CommandResult, PathField, SummaryTable, command
from eml.commands.next_steps import split_command
from eml.commands.options import (
    Address,
    ClassLevelField,
    Dataset,
    Executor,
    ExecutorOptions,
    FileColumn,
    LabelColumn,
    MatchNames,
    PathPrefix,
    PathSuffix,
    Root,
    ShardNumber,
    Shards,
    StripPrefix,
    UnknownLabel,
    read_source,
)
from eml.commands.sharded import ShardedConfig, sharded
from eml.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eml.dataset.packing.pack import PackWork
    from eml.dataset.packing.place import PackedShard
    from eml.dataset.packing.plan import PackPlan
    from eml.dataset.table import Table

_UNITS = {"": 1, "b": 1, **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)}}
_UNITS |= {f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)}
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([a-z]{0,3})")
LEAST_BYTES = 1_000_000
"""Smallest size of a packed file: smaller ones are no better than files of images."""


def parse_bytes(text: str) -> int:
    """Return the bytes of a size such as 512MB or 1GiB. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"must be a size such as 512MB or 1GiB, got {text!r}")
    count = int(float(match[1]) * _UNITS[match[2]])
    if not LEAST_BYTES <= count <= 2**40:
        raise ValueError(f"must be from 1MB to 1TiB, got {text!r}")
    return count


def _checked_size(text: str) -> str:
    parse_bytes(text)
    return text


class PackConfig(ShardedConfig):
    """Pack images into few large files of Parquet or tar, which every command reads in place.

    Writes OUT/data/train-00000-of-00010.parquet (or .tar) and so on, a table of the images inside with all columns of
    the table that is packed, and eml-pack.json. The bytes of the images stay as they are; labels and columns lie beside
    them, as Hugging Face's datasets and webdataset read them. The folder is whole or not there; a pack that was stopped
    goes on where it was. The same images give the same files.
    """

    dataset: Dataset
    out: Annotated[PathField, Field(description="The folder to make.")]
    format: Literal["parquet", "tar"] = Field(
        "parquet",
        description="parquet: the layout of Hugging Face's datasets; needs the extra parquet. tar: shards of "
        "webdataset.",
    )
    shard_size: Annotated[str, AfterValidator(_checked_size)] = Field(
        "512MB", description="Most bytes of images in a file: 512MB, 1GiB; a single larger image is a file of its own."
    )
    leave_out: bool = Field(
        False, description="Leave out images that cannot be read, and list them in pack_errors.csv. Default: an error."
    )
    class_level: ClassLevelField = None
    unknown_label: UnknownLabel = None
    root: Root = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    overwrite: bool = Field(False, description="Replace what an earlier pack wrote to the folder.")
    shards: Shards = None
    shard: ShardNumber = None
    executor: Executor = None
    executor_options: ExecutorOptions = ()
    address: Address = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PackResult(CommandResult):
    """Packed images.

    Attributes:
        table: The table that was packed.
        out: The folder.
        shards: The packed files.
        classes: The number of classes.
        resumed: Packed files that an earlier run had written.
    """

    table: Table
    out: Path
    shards: tuple[PackedShard, ...]
    classes: int
    resumed: int

    @property
    def images(self) -> int:
        """The number of images that were packed."""
        return sum(shard.images for shard in self.shards)

    def summary(self) -> str:
        """Return the numbers of images and files."""
        return f"{self.images:,} images in {len(self.shards):,} files, {self.out}"

    def summary_table(self) -> SummaryTable:
        """Return a row for each packed file."""
        rows = [(shard.file, shard.images, f"{shard.bytes / 1e6:,.1f}") for shard in self.shards]
        return ["file", "images", "MB"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and files."""
        files = [
            {"file": shard.file, "images": shard.images, "bytes": shard.bytes, "digest": shard.digest}
            for shard in self.shards
        ]
        left_out = sum(len(shard.left_out) for shard in self.shards)
        counts = {"images": self.images, "classes": self.classes, "left_out": left_out, "resumed": self.resumed}
        table = {"table": str(self.table.source), "out": str(self.out)}
        return table | counts | {"files": files, "written": [str(path) for path in self.written]}


@command(PackConfig, arguments=("dataset", "out"))
@sharded("pack")
def pack(config: PackConfig, caller: Caller) -> PackResult:
    """Pack the images of a table."""
    work, replace = prepare_pack(config, caller)
    if (shards := work.already) is not None:
        return finish_pack(config, work, shards, len(shards), None, caller, replace=replace)
    shards, resumed = write_files(work, range(len(work.plan.shards)), caller)
    return finish_pack(config, work, shards, resumed, caller.command or "eml pack", caller, replace=replace)


def prepare_pack(config: PackConfig, caller: Caller) -> tuple[PackWork, bool]:
    """Return the planned work, and whether it replaces what an earlier pack wrote; check all that can be checked."""
    from eml.dataset.packing.pack import PackWork
    from eml.dataset.packing.place import check_apart, check_place, packed_already
    from eml.dataset.packing.plan import plan_pack
    from eml.files import refuse_file_name, unwritable

    refuse_file_name(config.out, "a folder for the packed files")
    _require(config.format)
    table = read_source(config, "filter", None, caller)
    check_apart(Path(config.dataset), table.root, table.path, config.out)
    split = "test" if table.source.stem == "dataset_test" else "train"
    plan = plan_pack(table, config.format, parse_bytes(config.shard_size), split)
    for line in _notes(plan):
        caller.note(line)
    work = PackWork(plan, config.out, leave_out=config.leave_out)
    work.already = packed_already(plan, config.out)
    if work.already is not None:
        return work, False
    replace = check_place(config.out, overwrite=config.overwrite)
    if obstacle := unwritable(work.place.parent):
        raise OutputError(f"{obstacle}. Give another `out`", code="not-writable", parameter="out")
    return work, replace


def finish_pack(
    config: PackConfig,
    work: PackWork,
    shards: list[PackedShard],
    resumed: int,
    line: str | None,
    caller: Caller,
    *,
    replace: bool,
) -> PackResult:
    """Put the packed files in their place. line: the command line to record; None: they are there already."""
    if line is None:
        caller.note(f"{config.out}: holds just these images already; nothing is written")
        return _result(config, work.plan, shards, resumed, ())
    written = work.finish(shards, line, replace=replace)
    if count := sum(len(shard.left_out) for shard in shards):
        caller.warn(f"{count:,} images cannot be read and were left out: see {config.out / 'pack_errors.csv'}")
    return _result(config, work.plan, shards, resumed, tuple(written))


def write_files(work: PackWork, numbers: Sequence[int], caller: Caller) -> tuple[list[PackedShard], int]:
    """Write those of the packed files that are not there yet; return all, and the number of those that were."""
    from eml.dataset.packing.pack import check_room
    from eml.errors import Interrupted

    work.begin()
    check_room(work)
    shards, resumed = [], 0
    images = sum(last - first for first, last in (work.plan.shards[number] for number in numbers))
    try:
        with caller.progress("packing", images) as advance:
            for number in numbers:
                shard = work.done(number)
                if shard is not None:
                    resumed += 1
                    advance(shard.images + len(shard.left_out))
                shards.append(shard or work.write(number, advance))
    except KeyboardInterrupt as error:
        text = f"interrupted: {len(shards):,} of {len(numbers):,} files are packed. Run the same command to "
        raise Interrupted(text + "go on") from error
    if resumed:
        caller.note(f"{resumed:,} of {len(shards):,} files were packed by an earlier run that was stopped")
    return shards, resumed


def _notes(plan: PackPlan) -> list[str]:
    lines = []
    if plan.numbered is not None:
        lines.append(
            f"images are packed under numbers, since {plan.numbered}; their names stay in the column original_file_name"
        )
    if plan.dropped:
        text = "some images have several rows, and what differs between these is in the table alone: "
        lines.append(text + ", ".join(plan.dropped))
    return lines


def _result(
    config: PackConfig, plan: PackPlan, shards: list[PackedShard], resumed: int, written: tuple[Path, ...]
) -> PackResult:
    return PackResult(
        table=plan.table,
        out=config.out,
        shards=tuple(shards),
        classes=len(plan.classes),
        resumed=resumed,
        written=written[:1] + written[-1:],
        next_command=split_command(config.out, plan.table) if _is_whole(plan.table.source) else None,
    )


def _is_whole(table: Path) -> bool:
    """Return whether a table is of no part of a data set that was split."""
    return table.stem not in ("dataset_train", "dataset_test", "folds")


def _require(format_: str) -> None:
    """Raise OutputError where the package that writes the format is not installed."""
    from importlib.util import find_spec

    if format_ == "parquet" and find_spec("pyarrow") is None:
        text = "`format` parquet needs the package pyarrow: pip install 'easy-metric-learning[parquet]'. Or set "
        raise OutputError(f'{text}`format="tar"`', code="missing-package", parameter="format")
