"""Runs by several processes.

They are forked from one that has imported everything and computed nothing, so that starting one takes no time.
"""

import itertools
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

import tests.training.pictured_words  # noqa: F401 - a backbone that the processes know too
from eml.cli.app import main
from eml.dataset.table import Table, read_table
from eml.distributed import heartbeat
from eml.distributed.processes import Processes, join
from eml.distributed.sharded_network import own_part
from eml.errors import EmlError, Interrupted
from eml.training import fit as training_fit
from eml.training.build import RunParts
from eml.training.config import RunConfig
from eml.training.events import Event, Stepped
from eml.training.fit import Run, fit
from eml.training.run_folder import Line

PRELOADED = ["eml.cli.app", "eml.training.fit", "eml.evaluation.runs", "eml.reports.curves", "eml.reports.evaluation"]
"""What the forked processes need; one name that does not exist would be passed over in silence."""

Task = dict[str, Any]
"""A run: config, and table (a path), and perhaps resume (bool), stop (the step after which it is interrupted), fails
(what the error says that ends it) and spoiled (of which process the first weights are no numbers from step 2 on); or
a command line (arguments), of which a process may be killed or stopped (struck: rank, step and
signal).
"""


def task(config: RunConfig, table: Table, **more: object) -> Task:
    """A run, with what is said of it besides."""
    return {"config": config.model_dump(mode="json"), "table": str(table.path), **more}


def preloaded_context() -> multiprocessing.context.ForkServerContext:
    """Return the context whose processes are forked from one that has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def run(world: int, tasks: Sequence[Task], folder: Path, timeout: float = 150) -> list[tuple[int | None, str]]:
    """Exit code and stderr of each of the processes, started as a launcher does, that do the tasks one by one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = preloaded_context()
    started = []
    for rank in range(world):
        here = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
        here |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        started.append(context.Process(target=work, args=(here, tasks, folder / f"told by {rank} of {world}")))
        started[-1].start()
    for each in started:
        each.join(timeout)
        each.kill()
        each.join()
    told = [(folder / f"told by {rank} of {world}").read_text() for rank in range(world)]
    return [(each.exitcode, text) for each, text in zip(started, told, strict=True)]


def work(environment: dict[str, str], tasks: Sequence[Task], told: Path) -> None:
    """What one of the processes does."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    if "arguments" in tasks[0]:
        if "struck" in tasks[0]:
            heartbeat.BEAT, heartbeat.GRACE = 0.3, 1.0
            strike(*tasks[0]["struck"])
        sys.exit(main([str(each) for each in tasks[0]["arguments"]]))
    with join("cpu", Processes.of_environment()) as processes:
        for task in tasks:
            do(task, processes)


def do(task: Task, processes: Processes) -> None:
    def observe(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == task.get("stop"):
            os.kill(os.getpid(), signal.SIGINT)  # to the first process alone

    config, table = RunConfig.model_validate(task["config"]), read_table(Path(task["table"]), check_files=True)
    expected = pytest.raises(EmlError, match=task["fails"]) if "fails" in task else suppress(Interrupted)
    whole = Run.step

    def step(run: Run, pixels: torch.Tensor, rows: torch.Tensor) -> Line:
        if processes.rank == task.get("spoiled") and run.state.step == 1:
            own_part(next(run.parts.embedder.parameters()).data).fill_(torch.nan)
        return whole(run, pixels, rows)

    with expected, patch.object(Run, "step", step):
        fit(config, table, resume=task.get("resume", False), observe=observe, processes=processes)
        assert "stop" not in task


def strike(rank: int, step: int, by: signal.Signals) -> None:
    """This process gets a signal in the middle of a step, if it is the one."""
    clip, steps = training_fit.clip_gradient, itertools.count(1)

    def struck(parts: RunParts) -> torch.Tensor:
        if next(steps) == step and parts.processes.rank == rank:
            os.kill(os.getpid(), by)
        return clip(parts)

    training_fit.clip_gradient = struck
