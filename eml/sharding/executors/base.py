"""The base of the executors, which make all shards of a command, and what the shards came to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eml.config import Choice
from eml.errors import DataError, Problem
from eml.sharding.jobs import MOST_NAMED, ShardCaller
from eml.sharding.shard import WorkShard
from eml.sharding.shard_run import ShardOutcome, ShardRun

HOPELESS = 3  # shards that fail before any is done, after which no other one is begun


@dataclass(frozen=True)
class ShardBatch:
    """All shards of a command.

    Attributes:
        command: The command's name.
        config: Its config, without its options for shards and executors.
        count: How many shards there are; None: as many as suit the executor.
        target: The file or folder that merging writes.
        line: The command line without the options for shards and executors.
        folder: The current folder, which relative paths start from.
        paths: The files and folders that the config names and that are there.
        on_gpu: Whether a network computes, and may do so on a GPU.
        most: The most shards that can have images; None: as many as there are images.
    """

    command: str
    config: Any
    count: int | None
    target: Path
    line: str
    folder: Path
    paths: Sequence[Path] = ()
    on_gpu: bool = False
    most: int | None = None

    def count_for(self, shards: int) -> int:
        """Return how many shards there are; where the user has not said it, `shards`, but none that must be empty."""
        return self.count or min(shards, self.most or shards)

    def run_of(self, shard: WorkShard, threads: int) -> ShardRun:
        """Return what another process needs to make a shard."""
        return ShardRun.of(self.command, self.config, shard, self.folder, self.paths, threads)


@dataclass(frozen=True)
class SubmittedShards:
    """Shards that a scheduler makes later.

    Attributes:
        written: The scripts.
        jobs: The numbers of the scheduler's jobs; empty where nothing was submitted.
        next_command: What submits them, or shows how far they are.
    """

    written: tuple[Path, ...]
    jobs: tuple[str, ...]
    next_command: str


@dataclass(frozen=True)
class MadeShards:
    """Shards that are done.

    Attributes:
        count: How many there are.
    """

    count: int


class Executor(Choice):
    """The base of the executors."""

    def run(self, batch: ShardBatch, caller: ShardCaller) -> MadeShards | SubmittedShards:
        """Make all shards that are not done, or submit them.

        Raises:
            DataError: Shards failed; each of them is named.
            Interrupted: Ctrl-C; what is done is kept.
        """
        raise NotImplementedError


class ShardsBar:
    """One bar for all shards, in hundredths of a shard.

    Args:
        count: The number of shards.
        advance: Advances the bar.
    """

    def __init__(self, count: int, advance: Callable[[int], None]) -> None:
        self.advance, self.percents = advance, [0] * count

    def show(self, index: int, percent: int) -> None:
        """Show how far a shard is, which may begin again after its process was lost."""
        if change := percent - self.percents[index]:
            self.percents[index] = percent
            self.advance(change)


class ShardOutcomes:
    """Collect what the shards came to.

    Args:
        count: The number of shards.
        bar: Shows what is done.
        caller: Is warned of what the shards warn of, once of each.
    """

    def __init__(self, count: int, bar: ShardsBar, caller: ShardCaller) -> None:
        self.count, self.bar, self.caller = count, bar, caller
        self.done = 0
        self.failed: dict[int, ShardOutcome] = {}
        self._warnings = set[str]()

    def add(self, outcome: ShardOutcome) -> None:
        """Take the outcome of a shard."""
        for line in outcome.warnings:
            if line not in self._warnings:
                self._warnings.add(line)
                self.caller.warn(line)
        if outcome.problems or outcome.bug:
            self.failed[outcome.shard.index] = outcome
        else:
            self.done += 1
            self.bar.show(outcome.shard.index, 100)

    @property
    def is_hopeless(self) -> bool:
        """Whether the first shards failed, and none is done."""
        return not self.done and len(self.failed) >= min(HOPELESS, self.count)

    def check(self) -> None:
        """Raise DataError where shards failed, with the problems of each; those that all have in common once.

        Raises:
            RuntimeError: A shard failed by a bug of eml or of a plugin.
        """
        if not self.failed:
            return
        outcomes = [self.failed[index] for index in sorted(self.failed)]
        if bugs := [outcome for outcome in outcomes if outcome.bug]:
            raise RuntimeError(f"{bugs[0].shard} on {bugs[0].host}:\n{bugs[0].bug}")
        problems = []
        for outcome in outcomes[:MOST_NAMED]:
            own = [problem for problem in outcome.problems if len(outcomes) == 1 or not self._is_common(problem)]
            place = f"{outcome.shard}" + (f" on {outcome.host}" if outcome.host else "")
            problems += [Problem(f"{place}: {problem}", problem.code, problem.parameter) for problem in own]
        common = [problem for problem in outcomes[0].problems if len(outcomes) > 1 and self._is_common(problem)]
        every = f"each of {len(outcomes):,} shards that were begun" if self.done == 0 else f"{len(outcomes):,} shards"
        problems = [Problem(f"{every}: {problem}", problem.code, problem.parameter) for problem in common] + problems
        if (more := len(outcomes) - MOST_NAMED) > 0:
            problems.append(Problem(f"and {more:,} more shards", problems[0].code if problems else "invalid"))
        if self.done:
            text = f"{self.done:,} of {self.count:,} shards are done and kept; the same command makes the others"
            problems.append(Problem(text, problems[0].code))
        raise DataError(problems)

    def _is_common(self, problem: str) -> bool:
        return all(problem in outcome.problems for outcome in self.failed.values())


def interrupted(outcomes: ShardOutcomes) -> str:
    """Return what to say after Ctrl-C."""
    return (
        f"interrupted: {outcomes.done:,} of {outcomes.count:,} shards are done and kept, and parts of others. "
        "Run the same command to continue"
    )
