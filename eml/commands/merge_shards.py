"""`eml merge-shards`: the shards of a command to what the command writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, Paths, SummaryTable, command

if TYPE_CHECKING:
    from eml.sharding.folder import ShardFolder
    from eml.sharding.marker import Marker


class MergeShardsConfig(CommandConfig):
    """Join the shards of eml scan, embed, cache, evaluate or pack to what the command writes, once all are done.

    What it writes is the same for any number of shards, whichever machines made them and in which order. All shards
    must be done, with the same options and of the images as they are now; each one that is not is named, with the
    command that makes it, and nothing is written.
    """

    outs: Annotated[
        Paths,
        Field(min_length=1, description="What the command writes, as in its `out`, or the folder in which it is."),
    ]
    overwrite: bool = Field(
        False, description="Replace files that eml did not write, or that were changed since, as the command does."
    )
    remove: bool = Field(
        False,
        description="Remove the shards afterwards. While they are there, new or changed images alone are read again.",
    )


@dataclass(frozen=True)
class MergedShards:
    """The shards of one command, merged.

    Attributes:
        command: The command's name.
        folder: The folder of the shards.
        result: The command's result.
        target: The file or folder that was written.
        shards: How many shards there were.
        rows: The images of all of them; of images with boxes, the boxes.
        caution: What to know of so many shards, such as that some had no images; None where there is nothing.
    """

    command: str
    folder: Path
    result: CommandResult
    target: Path
    shards: int
    rows: int
    caution: str | None

    def text(self) -> str:
        """Return what was joined."""
        shards = "1 shard" if self.shards == 1 else f"{self.shards:,} shards"
        return f"joined {shards} of eml {self.command}, {self.rows:,} images, to {self.target}"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class MergeShardsResult(CommandResult):
    """Hold what was merged: a command's result for each of its outputs."""

    merged: tuple[MergedShards, ...]

    def summary(self) -> str:
        """Return what was joined, and the summary of each result."""
        return "\n".join(f"{part.text()}: {part.result.summary()}" for part in self.merged)

    def summary_table(self) -> SummaryTable | None:
        """Return the table of the result, where there is one result."""
        return self.merged[0].result.summary_table() if len(self.merged) == 1 else None

    def cautions(self) -> tuple[str, ...]:
        """Return what to know of the results."""
        own = [part.caution for part in self.merged if part.caution is not None]
        return (*own, *(line for part in self.merged for line in part.result.cautions()))

    def to_dict(self) -> dict[str, Any]:
        """Return each result, with the command's name and the folder of the shards."""
        parts = [
            {
                "command": part.command,
                "shards_folder": str(part.folder),
                "shards": part.shards,
                "shard_cautions": [] if part.caution is None else [part.caution],
                **part.result.to_dict(),
            }
            for part in self.merged
        ]
        return {"merged": parts}


@command(MergeShardsConfig, arguments=("outs",), name="merge-shards")
def merge_shards(config: MergeShardsConfig, caller: Caller) -> MergeShardsResult:
    """Check the markers of all shards, and write the results."""
    from eml.sharding.jobs import remove_shards

    folders = [folder for out in config.outs for folder in _folders(out)]
    merged = [_merge(folder, _marker(folder), config.overwrite, caller) for folder in folders]
    for folder in folders if config.remove else ():
        remove_shards(folder)
        caller.note(f"removed {folder.path}")
    results = [part.result for part in merged]
    return MergeShardsResult(
        merged=tuple(merged),
        written=tuple(path for result in results for path in result.written),
        replaced=tuple(path for result in results for path in result.replaced),
        removed_files=tuple(path for result in results for path in result.removed_files),
        next_command=results[0].next_command if len(results) == 1 else None,
        later_commands=results[0].later_commands if len(results) == 1 else (),
    )


def _folders(out: Path) -> list[ShardFolder]:
    """Return the folders of shards that a path means. Raises DataError where there are none."""
    from eml.errors import DataError
    from eml.sharding.folder import ENDING, shard_folders

    if folders := shard_folders(out):
        return folders
    text = f"{out}: there are no shards of it; they lie beside what a command writes, in .NAME{ENDING}. Run the "
    text += "command with its options shards and shard first, once for each shard"
    raise DataError(text, code="missing-shard", parameter="outs")


def _marker(folder: ShardFolder) -> Marker:
    from eml.errors import DataError
    from eml.sharding.jobs import COMMANDS

    marker = folder.any_marker()
    if marker is None or marker.task.command not in COMMANDS:
        text = f"{folder.path}: no shard of it is done; run the command of each of them first"
        raise DataError(text, code="missing-shard", parameter="outs")
    return marker


def _merge(folder: ShardFolder, marker: Marker, overwrite: bool, caller: Caller) -> MergedShards:
    from eml.sharding.jobs import job_of

    job = job_of(marker.task.command)
    changes: Mapping[str, Any] = {"overwrite": True} if overwrite else {}
    config = job.config_of(marker.task.config, folder.path.parent, changes)
    joined = job.join(config, caller, line=marker.task.line)
    return MergedShards(
        marker.task.command, folder.path, joined.result, joined.target, joined.shards, joined.rows, joined.caution
    )
