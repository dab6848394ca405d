"""`eml cache` in shards: each fills a cache of its images, merging joins them in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from eml.commands.base import Caller, CommandFunction
from eml.commands.cache import (
    FillCacheConfig,
    FillCacheResult,
    fill_cache,
    filled_cache,
    remove_caches,
    requested_caches,
    shown_advance,
)
from eml.commands.shard_jobs.base import CommandJob
from eml.errors import DataError
from eml.files import digest, write_json
from eml.inference.images import table_files
from eml.json_files import read_json
from eml.sharding.cached_images import CachePart, fill_part, merge_parts
from eml.sharding.file_states import ListedFiles, listed_files, together
from eml.sharding.folder import ShardFolder
from eml.sharding.jobs import FinishedShard, ShardContent, ShardFiles, ShardWork
from eml.sharding.shard import CutRows, WorkShard, positions_of
from eml.training.caches import TableCache, fill_summary


@dataclass
class CacheWork(ShardWork[Caller]):
    """Caches to fill, whose images are listed."""

    options: FillCacheConfig
    requests: list[TableCache]
    line: str
    config: dict[str, Any]
    command: str = "cache"
    inputs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.target = self.requests[0].path
        self.settings = {"caches": [f"{request.use}: {request.settings.name}" for request in self.requests]}
        self.inputs = {
            f"{request.use}: {path.name}": value
            for request in self.requests
            for path, value in request.table.inputs.items()
        }
        if self.options.is_of_run:
            self.inputs[self.options.source.name] = digest(self.options.source)
        self._names = [request.frame["file_name"].tolist() for request in self.requests]
        self._cuts = [CutRows(positions_of(names)) for names in self._names]

    def files(self, shard: WorkShard) -> ListedFiles:
        """Return the names, boxes, sizes and times of the images of a shard."""
        parts = []
        for request, names, cut in zip(self.requests, self._names, self._cuts, strict=True):
            rows = cut.of(shard)
            source = table_files(request.table, request.frame.iloc[rows])
            boxes = [source.box(place) for place in range(len(rows))]
            parts.append(listed_files(request.table.root, [names[row] for row in rows], boxes))
        return together(parts)

    def parts(self, shard: WorkShard, result: Path) -> list[CachePart]:
        """Return where a shard keeps its images of each cache: in a folder beside its result."""
        folder = result.with_suffix(".images")
        return [CachePart(folder / str(number), cut.of(shard)) for number, cut in enumerate(self._cuts)]

    def make(self, files: ShardFiles, caller: Caller) -> ShardContent:
        """Store the images of a shard."""
        parts, digests = self.parts(files.shard, files.result), []
        for request, part in zip(self.requests, parts, strict=True):
            with shown_advance(caller, f"{files.shard}, cache for {request.use}") as show:
                digests.append(fill_part(request, part, caller.note, show, check=self.options.check))
        write_json(files.result, {"entries": digests})
        return ShardContent(sum(len(part.rows) for part in parts))

    def merge(self, shards: Sequence[FinishedShard], caller: Caller) -> FillCacheResult:
        """Write the caches."""
        digests = [read_json(shard.result, dict[str, list[str]])["entries"] for shard in shards]
        filled = []
        for number, request in enumerate(self.requests):
            parts = [
                CachePart(part.path, part.rows, entries[number])
                for shard, entries in zip(shards, digests, strict=True)
                for part in [self.parts(shard.shard, shard.result)[number]]
            ]
            with shown_advance(caller, f"cache for {request.use}") as show:
                merging = partial(merge_parts, request, parts, caller.note, show, check=self.options.check)
                result = self._checked(merging)
            caller.note(f"cache: {request.use}: {fill_summary(result, len(request.frame))}")
            filled.append(filled_cache(request, result))
        removed = remove_caches(self.requests, caller, keep=True) if self.options.prune else ()
        return FillCacheResult(caches=tuple(filled), removed=removed)

    def _checked(self, merging: Any) -> Any:
        try:
            return merging()
        except ValueError as error:
            folder = ShardFolder.of(self.target).path
            text = f"{error}. Remove {folder}, or run the shards again with `check`: {self.line}"
            raise DataError(text, code="damaged-file") from error


class CacheJob(CommandJob):
    """`eml cache`."""

    command = "cache"
    without = ("check",)
    again = ("check",)

    @property
    def function(self) -> CommandFunction[Any]:
        """The command."""
        return fill_cache

    def open(self, config: FillCacheConfig, caller: Caller, *, line: str | None = None) -> CacheWork:
        """List the images of the caches that a config asks for."""
        requests = requested_caches(config, caller)
        facts = self.facts(config, requests[0].path.parent)
        return CacheWork(config, requests, line or self.line(config), facts)


job = CacheJob()
