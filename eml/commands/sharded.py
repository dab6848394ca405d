"""Make one shard in place of the whole work, in every command that has the fields `shards` and `shard`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from pydantic import model_validator

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, SummaryTable
from eml.commands.options import ShardNumber, Shards

SHARD_OPTIONS = ("shards", "shard", "executor", "executor_options", "address")
"""Fields that say which shard is made, and by whom, and not what it holds."""


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
        executor = getattr(self, "executor", None)
        if executor is not None and shard is not None:
            raise ValueError("`executor` makes all shards, and `shard` is one of them; leave one of them out")
        for name in ("executor_options", "address"):
            if executor is None and getattr(self, name, None):
                raise ValueError(f"`{name}` needs `executor`, which it is for")
        if getattr(self, "upload_to", None) is not None and not (shards is None and executor is None):
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
        done: How many of the shards are done now.
        caution: What to know of so many shards, such as that some have no images; None where there is nothing.
    """

    command: str
    target: Path
    shards: int
    shard: int
    rows: int
    was_done: bool
    done: int
    caution: str | None

    def summary(self) -> str:
        """Return which shard it is, and its images."""
        return f"shard {self.shard} of {self.shards}, {self.rows:,} images, for {self.target}"

    def summary_table(self) -> SummaryTable:
        """Return one row."""
        time = "before" if self.was_done else "now"
        row: list[Cell] = [self.shard, self.rows, time, f"{self.done:,} of {self.shards:,}"]
        return ["shard", "images", "made", "shards that are done"], [row]

    def cautions(self) -> tuple[str, ...]:
        """Return what to know of so many shards."""
        return () if self.caution is None else (self.caution,)

    def to_dict(self) -> dict[str, Any]:
        """Return which shard it is, and its rows."""
        return {
            "command": self.command,
            "out": str(self.target),
            "shards": self.shards,
            "shard": self.shard,
            "rows": self.rows,
            "was_done": self.was_done,
            "shards_done": self.done,
            "cautions": list(self.cautions()),
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
            if getattr(config, "executor", None) is not None:
                return cast(Result, run_executor(name, config, caller))
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

    count, index = (cast("int | None", getattr(config, field)) for field in ("shards", "shard"))
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
        done=done.done,
        caution=done.caution,
        written=() if done.was_done else done.written,
        next_command=merge_command(done.target) if done.done == shard.count else None,
    )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SubmittedResult(CommandResult):
    """Shards that a scheduler is to make, and a job that merges them.

    Attributes:
        command: The command's name.
        target: The file or folder that is written in the end.
        shards: How many shards there are.
        jobs: The numbers of the jobs: the array's and the merging one's; empty where they were not submitted.
    """

    command: str
    target: Path
    shards: int
    jobs: tuple[str, ...]

    def summary(self) -> str:
        """Return how many shards there are, and the jobs."""
        jobs = f"jobs {', '.join(self.jobs)}" if self.jobs else "not submitted"
        return f"{self.shards:,} shards of {self.target}, {jobs}"

    def summary_table(self) -> SummaryTable:
        """Return one row."""
        array, merge = self.jobs or ("not submitted", "not submitted")
        return ["shards", "job of the array", "job that merges"], [[self.shards, array, merge]]

    def to_dict(self) -> dict[str, Any]:
        """Return how many shards there are, the jobs and the scripts."""
        return {
            "command": self.command,
            "out": str(self.target),
            "shards": self.shards,
            "jobs": list(self.jobs),
            "written": [str(path) for path in self.written],
        }


def run_executor(name: str, config: CommandConfig, caller: Caller) -> CommandResult:
    """Let the executor that the config asks for make all shards, and merge them.

    Returns:
        The command's own result; a `SubmittedResult` where a scheduler makes the shards later.
    """
    from eml.sharding.executors import executor_of
    from eml.sharding.executors.base import ShardBatch, SubmittedShards
    from eml.sharding.folder import ShardFolder
    from eml.sharding.jobs import job_of, remove_shards

    fields: dict[str, Any] = {field: getattr(config, field) for field in SHARD_OPTIONS}
    executor = executor_of(fields["executor"], fields["executor_options"], fields["address"])
    plain = config.model_copy(update={**dict.fromkeys(SHARD_OPTIONS), "executor_options": ()})
    caller = replace(caller, note=_once(caller.note), warn=_once(caller.warn))
    work = job_of(name).open(plain, caller)  # what is wrong with it is told before anything is started
    batch = ShardBatch(
        name,
        plain,
        fields["shards"],
        work.target,
        work.line,
        Path.cwd(),
        paths_of(plain),
        on_gpu=getattr(config, "device", "cpu") != "cpu",
        most=work.most_shards(),
    )
    del work
    shards = executor.run(batch, caller)
    if isinstance(shards, SubmittedShards):
        return SubmittedResult(
            command=name,
            target=batch.target,
            shards=cast(int, batch.count),
            jobs=shards.jobs,
            written=shards.written,
            next_command=shards.next_command,
        )
    joined = job_of(name).join(plain, caller, line=batch.line, count=shards.count)
    remove_shards(ShardFolder.of(batch.target))
    if joined.caution is not None:
        caller.note(joined.caution)
    return cast(CommandResult, joined.result)


def paths_of(config: CommandConfig) -> tuple[Path, ...]:
    """Return the files and folders that a config names and that are there, as it names them."""
    values = [getattr(config, name) for name in type(config).model_fields]
    flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    return tuple(path for path in flat if isinstance(path, Path) and path.exists())


def _once(report: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that passes each line on once: opening and merging tell the same."""
    lines = set[str]()

    def pass_on(line: str) -> None:
        if line not in lines:
            lines.add(line)
            report(line)

    return pass_on


def merge_command(target: Path) -> str:
    """Return the command that merges the shards of a target."""
    import shlex

    from eml.files import as_argument

    return shlex.join(["eml", "merge-shards", as_argument(target)])
