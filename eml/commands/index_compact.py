"""`eml index compact`: erase what was removed from an index, and merge its files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eml.commands.base import Caller, CommandConfig, CommandResult, command
from eml.commands.indexing import ChangedIndex

if TYPE_CHECKING:
    from eml.indexing.compaction import CompactedIndex


class CompactIndexConfig(CommandConfig):
    """Erase from all files of an index what was removed from it, and merge small files.

    Searches that run at the same time go on.
    """

    index: ChangedIndex


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CompactResult(CommandResult):
    """The result of a compaction."""

    index: Path
    compacted: CompactedIndex

    def summary(self) -> str:
        """Return the sizes."""
        before, after = self.compacted.bytes_before / 2**20, self.compacted.bytes_after / 2**20
        return f"{self.index}: {before:,.1f} MiB before, {after:,.1f} MiB after"

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes, and whether all that was removed is erased."""
        return {"index": str(self.index)} | asdict(self.compacted)


@command(CompactIndexConfig, arguments=("index",), name="index compact")
def compact_index(config: CompactIndexConfig, caller: Caller) -> CompactResult:
    """Compact the index."""
    from eml.indexing.store import IndexStore

    with IndexStore.open(config.index) as store:
        compacted = store.compact()
    if not compacted.is_erased:
        caller.warn(f"{config.index}: another process reads what was removed; run this again when it has ended")
    return CompactResult(index=config.index, compacted=compacted)
