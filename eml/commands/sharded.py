"""Make one shard in place of the whole work, in every command that has the fields `shards` and `shard`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from pydantic import model_validator

from eml.commands.base import Caller, CommandConfig, CommandResult, SummaryTable
from eml.commands.options import ShardNumber, Shards

SHARD_OPTIONS = ("shards", "shard")
"""Fields that say which shard is made, and not what it holds."""


class ShardedConfig(CommandConfig):
    """The base of the configs with the fields `shards` and `shard`, which stand among their own."""

    @model_validator(mode="after")
    def _shard_is_one_of_shards(self) -> Self:
        shards: Shards = getattr(self, "shards", None)
        shard: ShardNumber = getattr(self, "shard", None)
        if shard is not None and shards is None:
            raise ValueError("`shard` needs `shards`, how many there are")
        if shard is not None and shards is not None and shard >= shards:
            raise ValueError(f"`shard` must be below `shards`: 0 to {shards - 1}, got {shard}")
        if shards is not None and getattr(self, "upload_to", None) is not None:
            raise ValueError(
                "`upload_to` copies a whole result: leave it out, and run eml upload after eml merge-shards"
            )
        return self


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ShardResult(CommandResult):
    """One shard of a command's work.

    Attributes:
        command: The command's name.
        target: The file or folder that `eml.merge_shards` writes.
        shards: How many shards there are.
        shard: Which one this is.
        rows: Rows of its result.
        was_done: It had been done before, and nothing was read.
    """

    command: str
    target: Path
    shards: int
    shard: int
    rows: int
    was_done: bool

    def summary(self) -> str:
        """Return which shard it is, and its rows."""
        return f"shard {self.shard} of {self.shards}, {self.rows:,} rows, of {self.target}"

    def summary_table(self) -> SummaryTable:
        """Return one row."""
        done = "before" if self.was_done else "now"
        return ["shard", "of", "rows", "done"], [[self.shard, self.shards, self.rows, done]]

    def to_dict(self) -> dict[str, Any]:
        """Return which shard it is, and its rows."""
        return {
            "command": self.command,
            "out": str(self.target),
            "shards": self.shards,
            "shard": self.shard,
            "rows": self.rows,
            "was_done": self.was_done,
            "written": [str(path) for path in self.written],
        }


Result = TypeVar("Result", bound=CommandResult)
Config = TypeVar("Config", bound=CommandConfig)
Run = Callable[[Config, Caller], Result]


def sharded(name: str) -> Callable[[Run[Config, Result]], Run[Config, Result]]:
    """Make a command's function do one shard where its config says `shards`; its result is then a `ShardResult`.

    name: The command's, by which `eml.sharding.jobs` knows it.
    """

    def wrap(run: Run[Config, Result]) -> Run[Config, Result]:
        @wraps(run)
        def run_or_shard(config: Config, caller: Caller) -> Result:
            if getattr(config, "shards", None) is None:
                return run(config, caller)
            return cast(Result, run_shard(name, config, caller))

        return run_or_shard

    return wrap


def run_shard(name: str, config: CommandConfig, caller: Caller) -> ShardResult:
    """Make the shard that the config asks for, or that the environment of a scheduler does."""
    from eml.sharding.environment import shard_of_environment
    from eml.sharding.jobs import job_of
    from eml.sharding.shard import WorkShard

    count, index = (cast("int | None", getattr(config, field)) for field in SHARD_OPTIONS)
    assert count is not None, "the caller has looked"
    shard = shard_of_environment(count, caller.note) if index is None else WorkShard(count, index)
    done = job_of(name).run_shard(config, shard, caller)
    return ShardResult(
        command=name,
        target=done.target,
        shards=shard.count,
        shard=shard.index,
        rows=done.rows,
        was_done=done.was_done,
        written=() if done.was_done else done.written,
        later_commands=(merge_command(done.target),),
    )


def merge_command(target: Path) -> str:
    """Return the command that merges the shards of a target."""
    import shlex

    return shlex.join(["eml", "merge-shards", str(target)])
