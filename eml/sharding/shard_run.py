"""One shard made in a process that knows nothing of it yet, on this machine or another."""

import os
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from eml.config.plugins import PluginsInChild, loaded_plugins
from eml.errors import DataError, EmlError, Interrupted, Problem
from eml.sharding.jobs import ShardCaller, job_of
from eml.sharding.kept_model import keep_model
from eml.sharding.shard import WorkShard
from eml.threads import limit_cores
from eml.versions import eml_version

MAIN_BAR = {"scan": "reading", "embed": "embedding", "evaluate": "embedding", "cache": "cache for", "pack": "packing"}
"""Command → how the description of the bar begins that takes most of its time."""
TELL_EVERY = 0.3  # seconds
_unpickled = set[bytes]()
"""The plugins that this process has imported, as they were sent."""


@dataclass(frozen=True)
class ShardRun:
    """Hold what a process needs to make a shard; it can be pickled.

    Attributes:
        command: The command's name.
        config: Its config.
        shard: Which shard.
        folder: The folder that relative paths start from.
        paths: What has to be there.
        threads: Threads to compute with.
        plugins: The plugins of the process that asks for it, pickled.
        version: Its version of eml.
    """

    command: str
    config: Any
    shard: WorkShard
    folder: Path
    paths: Sequence[Path]
    threads: int
    plugins: bytes
    version: str

    @classmethod
    def of(
        cls, command: str, config: Any, shard: WorkShard, folder: Path, paths: Sequence[Path], threads: int
    ) -> "ShardRun":
        """Return it with the plugins and the version of this process."""
        plugins = pickle.dumps(PluginsInChild()) if loaded_plugins() else b""
        return cls(command, config, shard, folder, paths, threads, plugins, eml_version())


@dataclass(frozen=True)
class ShardOutcome:
    """Say what came of making a shard.

    Attributes:
        shard: Which shard.
        problems: Why it failed; none where it is done.
        bug: The traceback of an exception that is no problem of the user's; empty where there was none.
        warnings: What it warned of.
        host: The machine.
    """

    shard: WorkShard
    problems: tuple[Problem, ...] = ()
    bug: str = ""
    warnings: tuple[str, ...] = ()
    host: str = ""


def make_shard(run: ShardRun, report: Callable[[int], None]) -> ShardOutcome:
    """Make a shard in this process. What goes wrong is in the outcome; only an interruption is raised.

    Args:
        run: The shard.
        report: Receives how many hundredths are done, several times a second at most.
    """
    problems, bug, warnings = list[Problem](), "", list[str]()
    host = socket.gethostname()
    try:
        _enter(run, host)
        job_of(run.command).run_shard(run.config, run.shard, _caller(run.command, warnings, report))
    except Interrupted:  # what there was is saved
        raise
    except EmlError as error:
        problems = error.problems
    except Exception:  # the process that asks for the shard raises it
        bug = traceback.format_exc()
    return ShardOutcome(run.shard, tuple(problems), bug, tuple(warnings), host)


def _enter(run: ShardRun, host: str) -> None:
    """Make this process one as that which asks for the shard. Raises DataError where the machine lacks something."""
    if run.version != eml_version():
        text = f"{host} has eml {eml_version()}, and this is {run.version}; install the same version on all machines"
        raise DataError(text, code="other-machine")
    missing = [path for path in (run.folder, *run.paths) if not (run.folder / path).exists()]
    if missing:
        text = "{}: is not on {}; all machines need it at the same path, such as on a shared disk"
        raise DataError([Problem(text.format(path, host), "other-machine") for path in missing])
    os.chdir(run.folder)
    keep_model()
    os.environ["OMP_NUM_THREADS"] = str(run.threads)
    limit_cores(run.threads)
    if run.plugins and run.plugins not in _unpickled:
        pickle.loads(run.plugins)
        _unpickled.add(run.plugins)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(run.threads)


def _caller(command: str, warnings: list[str], report: Callable[[int], None]) -> ShardCaller:
    above = import_module("eml.commands.base")  # a room above this one
    caller: ShardCaller = above.Caller(warn=warnings.append, progress=_MainBar(command, report))
    return caller


class _MainBar:
    """Progress of which only the bar counts that takes most of the time."""

    def __init__(self, command: str, report: Callable[[int], None]) -> None:
        self.begins, self.report = MAIN_BAR.get(command, ""), report

    @contextmanager
    def __call__(self, description: str, total: int | None = None, /) -> Iterator[Callable[[int], None]]:
        """Report hundredths of the total."""
        if not total or not description.startswith(self.begins):
            yield lambda count: None
            return
        done, reported = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, reported
            done += count
            if (now := time.monotonic()) - reported > TELL_EVERY:
                reported = now
                self.report(min(99, 100 * done // total))

        yield advance
