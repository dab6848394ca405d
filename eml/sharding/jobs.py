"""The commands that can be cut into shards, and what is done with every one of them: make a shard, merge all.

A scheduler, or another program, makes shards in any order, at any time and on any machine that sees the same folder:

    job = job_of("scan")
    for shard in WorkShard.all(16):
        job.run_shard(config, shard, caller)
    result = job.merge(config, caller)
"""

import shlex
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from eml.errors import DataError, Problem
from eml.files import digest
from eml.progress import Progress, Report
from eml.sharding.file_states import ListedFiles
from eml.sharding.folder import ShardFolder
from eml.sharding.marker import Marker, Task
from eml.sharding.shard import WorkShard

COMMANDS = ("scan", "embed", "cache", "evaluate", "pack")
"""The commands that have a job, by which `job_of` finds it."""

MOST_NAMED = 20  # shards that an error names


class ShardCaller(Protocol):
    """Who runs a shard: `eml.commands.base.Caller`, or what has the same."""

    @property
    def note(self) -> Report:
        """Receives lines that inform."""

    @property
    def warn(self) -> Report:
        """Receives lines that should not be overlooked."""

    @property
    def progress(self) -> Progress:
        """Makes progress bars."""

    @property
    def command(self) -> str | None:
        """The command line, for the files that record it; None: made from the config."""


CallerType = TypeVar("CallerType", bound=ShardCaller)


@dataclass(frozen=True)
class ShardDone:
    """A shard that is done.

    Attributes:
        shard: Which one.
        command: The command's name.
        target: The file or folder that merging writes.
        rows: Rows of its result.
        was_done: It had been done before, and nothing was read.
        written: The marker and the result.
        done: How many shards of as many are done now.
        caution: What to know of so many shards; None where there is nothing.
    """

    shard: WorkShard
    command: str
    target: Path
    rows: int
    was_done: bool
    written: tuple[Path, ...]
    done: int
    caution: str | None


@dataclass(frozen=True)
class ShardFiles:
    """The paths that a shard writes: its result, whole or not at all, and what it goes on from after a stop."""

    shard: WorkShard
    result: Path
    partial: Path


@dataclass(frozen=True)
class ShardContent:
    """The rows of a result that a command has written, and facts of it that merging needs, as JSON."""

    rows: int
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FinishedShard:
    """A shard to merge."""

    shard: WorkShard
    result: Path
    marker: Marker


@dataclass(frozen=True)
class JoinedShards:
    """Shards that are merged.

    Attributes:
        result: The command's result.
        target: The file or folder that was written.
        shards: How many shards there are.
        rows: Rows of their results.
        caution: What to know of so many shards; None where there is nothing.
    """

    result: Any
    target: Path
    shards: int
    rows: int
    caution: str | None


class ShardWork(ABC, Generic[CallerType]):
    """A command on its inputs, whose images are listed and not yet read.

    Attributes:
        target: The file or folder that the command writes.
        line: The command line without the options for shards.
        config: The config as JSON, without what the result does not depend on.
        settings: What else the result depends on.
        inputs: File that is read, such as a table → its digest.
    """

    command: str
    target: Path
    line: str
    config: dict[str, Any]
    settings: dict[str, Any]
    inputs: dict[str, str]

    @abstractmethod
    def files(self, shard: WorkShard) -> ListedFiles:
        """Return what is known of a shard's images without opening them."""

    @abstractmethod
    def make(self, files: ShardFiles, caller: CallerType) -> ShardContent:
        """Read a shard's images and write its result; what an earlier, stopped or stale one left is used again."""

    @abstractmethod
    def merge(self, shards: Sequence[FinishedShard], caller: CallerType) -> Any:
        """Write what the command writes of all shards, and return the command's result."""

    def caution(self, count: int) -> str | None:
        """Return what to know of so many shards, such as that some of them have no images."""
        return None

    def most_shards(self) -> int | None:
        """Return how many shards can have images, where that is fewer than there are images; None elsewhere."""
        return None

    def task(self, shard: WorkShard) -> Task:
        """Return what a shard is to do."""
        return Task(self.command, self.line, self.config, self.settings, self.inputs, self.files(shard), shard)


class ShardJob(ABC, Generic[CallerType]):
    """A command that can be cut into shards.

    Attributes:
        command: Its name.
        again: Fields by which a shard that is done is looked at again.
    """

    command: str
    again: tuple[str, ...] = ()

    @abstractmethod
    def open(self, config: Any, caller: CallerType, *, line: str | None = None) -> ShardWork[CallerType]:
        """Check the config, and list its images. line: the command line to record; None: made from the config.

        Raises:
            EmlError: As the command does before its work.
        """

    @abstractmethod
    def config_of(self, facts: Mapping[str, Any], folder: Path, changes: Mapping[str, Any]) -> Any:
        """Return the config that a marker in the folder records, with some of its fields changed."""

    def run_shard(self, config: Any, shard: WorkShard, caller: CallerType) -> ShardDone:
        """Make a shard, unless it is done and is of the same options and images.

        One process at a time makes it, and a second one waits. What is written of it is whole or not at all.

        Raises:
            EmlError: As the command does.
        """
        work = self.open(config, caller)
        folder = ShardFolder.of(work.target)
        result, marker = folder.result(shard), folder.marker(shard)
        with folder.locked(shard, caller.note):
            task, before = work.task(shard), folder.read(shard)
            if before is not None:
                again = next((name for name in self.again if getattr(config, name)), None)
                reasons = _why_again(before, task, result, again)
                if not reasons:
                    caller.note(f"{shard} is done already, {before.rows:,} images; nothing is read again")
                    return _done(work, shard, before.rows, was_done=True)
                caller.note(f"{shard} was done and is made again: {'; '.join(reasons)}")
                marker.unlink()
            content = work.make(ShardFiles(shard, result, folder.partial(shard)), caller)
            Marker.of_result(task, content.rows, result, content.facts).write(marker)
        return _done(work, shard, content.rows, was_done=False)

    def merge(self, config: Any, caller: CallerType, *, line: str | None = None, count: int | None = None) -> Any:
        """Write what the command writes, of all its shards, and return the command's result; see `join`."""
        return self.join(config, caller, line=line, count=count).result

    def join(
        self, config: Any, caller: CallerType, *, line: str | None = None, count: int | None = None
    ) -> JoinedShards:
        """Write what the command writes, of all its shards.

        The bytes are the same for any number of shards, in whichever order and how often they were made.

        Args:
            config: The command's config.
            caller: Receives notes and progress.
            line: The command line to record; None: made from the config.
            count: How many shards there are; None: as their markers say.

        Raises:
            DataError: Shards are missing, stale or of other images; each is named with the command that makes it.
        """
        work = self.open(config, caller, line=line)
        shards = _finished(work, caller, count)
        result, rows = work.merge(shards, caller), sum(shard.marker.rows for shard in shards)
        return JoinedShards(result, work.target, len(shards), rows, work.caution(len(shards)))


def job_of(command: str) -> ShardJob[Any]:
    """Return the job of a command that can be cut into shards."""
    assert command in COMMANDS, f"{command} cannot be cut into shards"
    above = import_module(f"eml.commands.shard_jobs.{command}")  # a room above this one, where the commands are
    job: ShardJob[Any] = above.job
    return job


def one_shard_line(line: str) -> str:
    """Return the command line that makes what shards of any number merge to: that of one shard."""
    return shlex.join([*shlex.split(line), *WorkShard(1, 0).words[:2]])


def remove_shards(folder: ShardFolder) -> None:
    """Remove the shards of a command; what another process removes first is no problem."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder.path)


def _done(work: ShardWork[Any], shard: WorkShard, rows: int, *, was_done: bool) -> ShardDone:
    folder = ShardFolder.of(work.target)
    files = folder.result(shard), folder.marker(shard)
    done, caution = folder.done(shard.count), work.caution(shard.count)
    return ShardDone(shard, work.command, work.target, rows, was_done, files, done, caution)


def _why_again(before: Marker, task: Task, result: Path, again: str | None) -> list[str]:
    """Return why a shard that was done is made again; nothing where it stays."""
    if reasons := before.differences(task):
        return reasons
    if not _is_whole(before, result):
        return ["its result is gone or damaged"]
    if again is not None:
        return [f"`{again}` asks for it"]
    if not before.task.files.settled:
        return ["files of it were written just before they were read, and may have changed unseen"]
    return []


def _is_whole(marker: Marker, result: Path) -> bool:
    try:
        return result.stat().st_size == marker.result_bytes and digest(result) == marker.result_digest
    except OSError:
        return False


def _finished(work: ShardWork[Any], caller: ShardCaller, count: int | None) -> list[FinishedShard]:
    """Return all shards of the work. Raises DataError with a line for each that is missing or stale."""
    folder = ShardFolder.of(work.target)
    counts = folder.counts() if count is None else [count]
    if not counts:
        first = shlex.join(WorkShard(16, 0).words)
        text = f"{work.target}: no shard of it is done. Make them: {work.line} {first}, and so on"
        raise DataError(text, code="missing-shard")
    problems: dict[int, list[Problem]] = {}
    for number in counts:
        shards, problems[number] = _checked(work, folder, number, caller)
        if not problems[number]:
            for unused in sorted({*counts} - {number}):
                caller.note(f"shards of {unused} are there too, and are not used")
            return shards
    fewest = min(problems, key=lambda number: (len(problems[number]) / number, number))
    texts = problems[fewest]
    more = len(texts) - MOST_NAMED
    if more > 0:
        texts = [*texts[:MOST_NAMED], Problem(f"and {more:,} more shards", "missing-shard")]
    raise DataError(texts)


def _checked(
    work: ShardWork[Any], folder: ShardFolder, count: int, caller: ShardCaller
) -> tuple[list[FinishedShard], list[Problem]]:
    """Return the finished shards of `count`, and a problem for each other one."""
    shards, problems = list[FinishedShard](), list[Problem]()
    with caller.progress("checking shards", count) as advance:
        for shard in WorkShard.all(count):
            marker = folder.read(shard)
            command = f"{work.line} {shlex.join(shard.words)}"
            if marker is None:
                problems.append(Problem(f"{shard} is missing. Run: {command}", "missing-shard"))
            elif reasons := marker.differences(work.task(shard)):
                text = f"{shard} is stale: {'; '.join(reasons)}. Run again: {command}"
                problems.append(Problem(text, "stale-shard"))
            elif not _is_whole(marker, folder.result(shard)):
                text = f"{shard}: its result {folder.result(shard)} is gone or damaged. Run again: {command}"
                problems.append(Problem(text, "damaged-file"))
            else:
                shards.append(FinishedShard(shard, folder.result(shard), marker))
            advance(1)
    return shards, problems
