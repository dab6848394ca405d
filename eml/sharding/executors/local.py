"""All shards in processes of this machine."""

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Literal

from pydantic import Field

from eml.errors import Interrupted, Problem
from eml.sharding.executors.base import Executor, MadeShards, ShardBatch, ShardOutcomes, ShardsBar, interrupted
from eml.sharding.jobs import ShardCaller
from eml.sharding.shard import WorkShard
from eml.sharding.shard_run import ShardOutcome, ShardRun, make_shard
from eml.stopping import signals_held
from eml.threads import cores

SHARDS_FOR_EACH = 4  # by default: so that a shard that takes longer than the others does not leave the rest idle
SAVING = 20.0  # seconds that interrupted processes have to save what they have


@dataclass(frozen=True)
class _Worker:
    """A process that makes shards, and the way to it."""

    process: SpawnProcess
    connection: "Connection[ShardRun | None, int | ShardOutcome]"


class Local(Executor):
    """Make the shards in several processes of this machine."""

    type: Literal["local"] = "local"
    jobs: int | None = Field(None, ge=1, le=1024, description="processes; default: one for each `threads` cores")
    threads: int = Field(1, ge=1, le=1024, description="threads of each process")
    retries: int = Field(3, ge=0, le=100, description="how often a shard is begun again whose process was killed")

    def run(self, batch: ShardBatch, caller: ShardCaller) -> MadeShards:
        """Make all shards; a process that ends without an answer is replaced."""
        jobs = self.jobs or max(1, cores() // self.threads)
        count = batch.count_for(SHARDS_FOR_EACH * jobs)
        with caller.progress(f"{count:,} shards", 100 * count) as advance:
            outcomes = ShardOutcomes(count, ShardsBar(count, advance), caller)
            _Team(self, batch, min(jobs, count), outcomes, caller).work(count)
        outcomes.check()
        return MadeShards(count)


class _Team:
    """Processes, and the shards that they make."""

    def __init__(
        self, options: Local, batch: ShardBatch, jobs: int, outcomes: ShardOutcomes, caller: ShardCaller
    ) -> None:
        self.options, self.batch, self.jobs, self.outcomes, self.caller = options, batch, jobs, outcomes, caller
        self.lost = Counter[int]()
        self.idle: list[_Worker] = []
        self.busy: dict[int, tuple[_Worker, WorkShard]] = {}

    def work(self, count: int) -> None:
        """Make shards 0 to count − 1."""
        waiting = deque(WorkShard.all(count))
        try:
            while self.busy or (waiting and not self.outcomes.is_hopeless):
                while waiting and len(self.busy) < self.jobs and not self.outcomes.is_hopeless:
                    self._begin(waiting.popleft())
                waiting.extend(self._answers())
        except KeyboardInterrupt as error:
            raise Interrupted(interrupted(self.outcomes)) from error
        finally:
            self._end()

    def _begin(self, shard: WorkShard) -> None:
        worker = self.idle.pop() if self.idle else _started()
        self.busy[worker.connection.fileno()] = worker, shard
        with suppress(OSError):  # it has died, which the next look at it finds
            worker.connection.send(self.batch.run_of(shard, self.options.threads))

    def _answers(self) -> Iterator[WorkShard]:
        """Take what the processes say; yield the shards of lost ones, to be made again."""
        for connection in wait([worker.connection for worker, _ in self.busy.values()]):
            assert isinstance(connection, Connection)
            worker, shard = self.busy[connection.fileno()]
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                del self.busy[connection.fileno()]
                yield from self._again(worker, shard)
                continue
            if isinstance(answer, int):
                self.outcomes.bar.show(shard.index, answer)
            else:
                del self.busy[connection.fileno()]
                self.idle.append(worker)
                self.outcomes.add(answer)

    def _again(self, worker: _Worker, shard: WorkShard) -> Iterator[WorkShard]:
        worker.process.join()
        worker.connection.close()
        self.lost[shard.index] += 1
        self.outcomes.bar.show(shard.index, 0)
        reason = f"its process ended without an answer ({_end_of(worker.process.exitcode)})"
        if self.lost[shard.index] <= self.options.retries:
            self.caller.warn(f"{shard}: {reason}, and it is made again")
            yield shard
            return
        text = f"{reason}, {self.lost[shard.index]} times. It may want more memory: use fewer jobs, or more shards"
        self.outcomes.add(ShardOutcome(shard, (Problem(text, "worker-died"),)))

    def _end(self) -> None:
        """End all processes; busy ones, of which there are some after an interruption, save what they have."""
        for worker in [*self.idle, *(worker for worker, _ in self.busy.values())]:
            with suppress(OSError):
                worker.connection.send(None)  # a busy one, whose interruption may be lost in an import, reads it next
        for worker, _ in self.busy.values():
            if worker.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGINT)
        for worker in [*self.idle, *(worker for worker, _ in self.busy.values())]:
            worker.process.join(SAVING)
            worker.process.kill()
            worker.connection.close()


def _end_of(code: int | None) -> str:
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def _started() -> _Worker:
    context = multiprocessing.get_context("spawn")  # the caller may have threads whose locks a fork would copy
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=False)
    with signals_held(signal.SIGINT):
        process.start()
    there.close()
    return _Worker(process, here)


def _serve(connection: "Connection[int | ShardOutcome, ShardRun | None]") -> None:
    """Make shards in a process of their own, until there are none or the process that asks for them is gone."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C in the terminal reaches the other process, which passes it on once
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt, Interrupted):
        while (run := connection.recv()) is not None:
            connection.send(make_shard(run, connection.send))
