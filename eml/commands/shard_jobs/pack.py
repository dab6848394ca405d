"""`eml pack` in shards: each writes packed files of its own, merging puts the folder in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eml.commands.base import Caller, CommandFunction
from eml.commands.pack import PackConfig, PackResult, finish_pack, pack, prepare_pack, write_files
from eml.commands.shard_jobs.base import CommandJob
from eml.dataset.packing.pack import PackWork
from eml.dataset.packing.place import packed_already
from eml.errors import DataError
from eml.files import write_json
from eml.sharding.file_states import ListedFiles, listed_files
from eml.sharding.folder import ShardFolder
from eml.sharding.jobs import FinishedShard, ShardContent, ShardFiles, ShardWork
from eml.sharding.shard import WorkShard


@dataclass
class PackShards(ShardWork[Caller]):
    """Images to pack, whose packed files are planned."""

    options: PackConfig
    work: PackWork
    replace: bool
    line: str
    config: dict[str, Any]
    command: str = "pack"

    def __post_init__(self) -> None:
        self.target = self.options.out
        self.settings = {"plan": self.work.plan.digest}
        self.inputs = {path.name: value for path, value in self.work.plan.table.inputs.items()}

    def numbers(self, shard: WorkShard) -> list[int]:
        """Return the packed files of a shard: every count-th one, since they are of one size."""
        return list(range(shard.index, len(self.work.plan.shards), shard.count))

    def most_shards(self) -> int:
        """Return the number of packed files: each is made by one shard."""
        return len(self.work.plan.shards)

    def caution(self, count: int) -> str | None:
        """Return how many packed files there are, where shards have none."""
        if (files := len(self.work.plan.shards)) >= count:
            return None
        text = f"the images go into {files:,} packed file{'s' if files != 1 else ''}, each made by one shard: "
        return f"{text}{count - files:,} of {count:,} shards have none. A smaller `shard_size` makes more files"

    def files(self, shard: WorkShard) -> ListedFiles:
        """Return the names, sizes and times of the images of a shard."""
        plan = self.work.plan
        names = [name for number in self.numbers(shard) for name in plan.names[slice(*plan.shards[number])]]
        return listed_files(plan.table.root, names)

    def make(self, files: ShardFiles, caller: Caller) -> ShardContent:
        """Write the packed files of a shard."""
        shards, _ = write_files(self.work, self.numbers(files.shard), caller)
        write_json(files.result, {"files": [asdict(shard) for shard in shards]})
        return ShardContent(sum(shard.images for shard in shards))

    def merge(self, shards: Sequence[FinishedShard], caller: Caller) -> PackResult:
        """Write the table, and put the folder in its place."""
        plan = self.work.plan
        if (packed := packed_already(plan, self.target)) is not None:
            return finish_pack(self.options, self.work, packed, len(packed), None, caller, replace=self.replace)
        files = [self.work.done(number) for number in range(len(plan.shards))]
        if not all(files):
            folder = ShardFolder.of(self.target).path
            text = f"{self.work.folder}: packed files are gone. Remove {folder}, and run the shards again: {self.line}"
            raise DataError(text, code="missing-shard")
        done = [file for file in files if file is not None]
        return finish_pack(self.options, self.work, done, 0, self.line, caller, replace=self.replace)


class PackJob(CommandJob):
    """`eml pack`."""

    command = "pack"

    @property
    def function(self) -> CommandFunction[Any]:
        """The command."""
        return pack

    def open(self, config: PackConfig, caller: Caller, *, line: str | None = None) -> PackShards:
        """Check what pack checks, and plan the packed files."""
        work, replace = prepare_pack(config, caller)
        facts = self.facts(config, Path(config.out).parent)
        return PackShards(config, work, replace, line or self.line(config), facts)


job = PackJob()
