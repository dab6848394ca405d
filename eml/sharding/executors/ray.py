"""All shards as tasks of Ray, on this machine or a cluster."""

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from eml.errors import ConfigError, DataError, Interrupted, Problem
from eml.sharding.executors.base import Executor, MadeShards, ShardBatch, ShardOutcomes, ShardsBar, interrupted
from eml.sharding.folder import ShardFolder
from eml.sharding.jobs import ShardCaller
from eml.sharding.shard import WorkShard
from eml.sharding.shard_run import ShardOutcome
from eml.threads import cores

LOOK_EVERY = 0.5  # seconds between two looks at the shards' progress
SHARDS_FOR_EACH = 4  # by default: so that a shard that takes longer than the others does not leave the rest idle
AHEAD = 4  # tasks for each that runs, so that a cluster that grows by what waits sees that there is more
SAVING = 20.0  # seconds that cancelled tasks have to save what they have
OBJECT_STORE = 128 * 2**20  # bytes: tasks send numbers and messages
ATTEMPTS, TOO_SLOW = 4, "timed out during startup"  # Ray gives itself 30 seconds to start, which a busy machine exceeds
SEEN_WITHIN = 30.0  # seconds after which another machine's file is seen on a shared disk
PLACE = Path("/tmp")  # the paths of Ray's sockets there are short enough (107 bytes)
CLIENT, CLIENT_PORT = "ray://", "10001"
REACH_WITHIN, JOIN_WITHIN = 10.0, 90.0  # seconds for a connection to a cluster, and for joining it
NO_TOKEN = ("InvalidAuthToken", "Unauthenticated", "AuthenticationError")  # Ray's words
TOKEN_WANTED = (
    "it lets in only who has its token: set RAY_AUTH_MODE=token, and give the token in RAY_AUTH_TOKEN or "
    "~/.ray/auth_token"
)
_TRIAL = """
import sys
import ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    print(": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]]))
    sys.exit(1)
"""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}
"""No usage statistics, no upload of the current folder, no warning of a change to come, and no line on stdout, where
Ray tells of each process that is lost.
"""


class Ray(Executor):
    """Make each shard as a task of Ray."""

    type: Literal["ray"] = "ray"
    address: str | None = Field(None, description="of a cluster: auto, HOST:PORT or ray://HOST:PORT; default: none")
    jobs: int | None = Field(None, ge=1, le=1024, description="without an address: cores that Ray may use")
    threads: int = Field(1, ge=1, le=1024, description="threads of each task, which reserves as many cores")
    gpus: float | None = Field(None, ge=0, le=64, description="GPUs of each task; default: 1 where a network computes")
    retries: int = Field(3, ge=0, le=100, description="how often a shard is begun again whose process was lost")

    def run(self, batch: ShardBatch, caller: ShardCaller) -> MadeShards:
        """Make all shards; a task whose process or machine is lost is run again by Ray."""
        with ExitStack() as stack:
            ray = stack.enter_context(_connected(self))
            resources = self._resources(ray, batch, caller)
            at_once = max(1, int(ray.cluster_resources().get("CPU", 1)) // self.threads)
            count = batch.count_for(SHARDS_FOR_EACH * at_once)
            advance = stack.enter_context(caller.progress(f"{count:,} shards on Ray", 100 * count))
            outcomes = ShardOutcomes(count, ShardsBar(count, advance), caller)
            _Tasks(ray, self, batch, resources, outcomes).work(count, AHEAD * at_once)
        outcomes.check()
        return MadeShards(count)

    def _resources(self, ray: Any, batch: ShardBatch, caller: ShardCaller) -> dict[str, float]:
        """Return what each task reserves. Raises ConfigError where no machine has it, and none will come."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        most_cores, most_gpus = (max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU"))
        gpus = self.gpus
        if gpus is None:
            gpus = 1.0 if batch.on_gpu and most_gpus >= 1 else 0.0
        if not any(node.get("CPU", 0) >= self.threads and node.get("GPU", 0) >= gpus for node in nodes):
            text = (
                f"`executor_options` threads={self.threads} gpus={gpus:g}: no machine of the Ray cluster has so many; "
            )
            text += f"the most are {most_cores:g} cores and {most_gpus:g} GPUs"
            if self.address is None:
                raise ConfigError(text, code="out-of-range", parameter="executor_options")
            caller.warn(f"{text}; the tasks wait until one joins it")
        return {"num_cpus": self.threads, "num_gpus": gpus}


class _Tasks:
    """The tasks that are submitted, and how far they are."""

    def __init__(
        self, ray: Any, options: Ray, batch: ShardBatch, resources: dict[str, float], outcomes: ShardOutcomes
    ) -> None:
        self.ray, self.options, self.batch, self.outcomes = ray, options, batch, outcomes
        self.folder = ShardFolder.of(batch.target)
        self.percents = ray.remote(_percents()).options(num_cpus=0, max_restarts=-1).remote()
        self.task = ray.remote(_task()).options(**resources, max_retries=options.retries, retry_exceptions=False)
        self.pending: dict[Any, WorkShard] = {}

    def work(self, count: int, at_once: int) -> None:
        """Make shards 0 to count − 1, of which at most so many are submitted at a time."""
        waiting = deque(WorkShard.all(count))
        path = list(sys.path) if self.options.address is None else None
        try:
            while self.pending or (waiting and not self.outcomes.is_hopeless):
                while waiting and len(self.pending) < at_once and not self.outcomes.is_hopeless:
                    shard = waiting.popleft()
                    run = self.batch.run_of(shard, self.options.threads)
                    self.pending[self.task.remote(path, str(self.batch.folder), run, self.percents)] = shard
                done, _ = self.ray.wait(list(self.pending), timeout=LOOK_EVERY)
                self._show()
                for reference in done:
                    self.outcomes.add(self._outcome(reference, self.pending.pop(reference)))
        except KeyboardInterrupt as error:
            self._cancel()
            raise Interrupted(interrupted(self.outcomes)) from error

    def _show(self) -> None:
        with suppress(self.ray.exceptions.RayError):  # progress that is lost stops nothing
            percents = self.ray.get(self.percents.all.remote(), timeout=LOOK_EVERY)
            for shard in self.pending.values():
                self.outcomes.bar.show(shard.index, percents.get(shard.index, 0))

    def _outcome(self, reference: Any, shard: WorkShard) -> ShardOutcome:
        try:
            outcome: ShardOutcome = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            text = f"Ray could not run it: {str(error).strip().splitlines()[-1]}. Has the machine the same packages?"
            return ShardOutcome(shard, (Problem(text, "worker-died"),))
        except self.ray.exceptions.RayError as error:
            text = f"its process was lost {self.options.retries + 1} times ({_first_line(error)})"
            return ShardOutcome(shard, (Problem(text, "worker-died"),))
        if not outcome.problems and not outcome.bug and not _is_seen(self.folder.marker(shard)):
            text = f"it was made on {outcome.host}, and is not in {self.folder.path} here: all machines need that "
            text += "folder, on a shared disk"
            return ShardOutcome(shard, (Problem(text, "other-machine"),), warnings=outcome.warnings)
        return outcome

    def _cancel(self) -> None:
        """Interrupt the tasks and wait until they have saved what they have."""
        for reference in self.pending:
            with suppress(Exception):
                self.ray.cancel(reference, recursive=False)
        with suppress(Exception):
            self.ray.wait(list(self.pending), num_returns=len(self.pending), timeout=SAVING)


def _is_seen(path: Path) -> bool:
    """Return whether a file is there, which another machine may have written this moment."""
    end = time.monotonic() + SEEN_WITHIN
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_EVERY)
    return True


def _task() -> Callable[..., ShardOutcome]:
    """Return the function of a task. Ray sends the code of one inside another, so that no import precedes it."""

    def make(path: list[str] | None, folder: str, run: Any, percents: Any) -> Any:
        import sys

        # Ray puts the current folder and that of the script before all packages: a yaml.py in it would be imported.
        sys.path[:] = path or [place for place in sys.path if place != folder]
        from eml.sharding.shard_run import make_shard

        return make_shard(run, lambda percent: percents.put.remote(run.shard.index, percent))

    return make


def _percents() -> type[Any]:
    """Return the class of the actor that knows how far each shard is."""

    class Percents:
        """Hundredths of each shard that are done."""

        def __init__(self) -> None:
            self.percents: dict[int, int] = {}

        def put(self, index: int, percent: int) -> None:
            """Take how far a shard is."""
            self.percents[index] = percent

        def all(self) -> dict[int, int]:
            """Return how far each shard is."""
            return self.percents

    return Percents


@contextmanager
def _connected(options: Ray) -> Iterator[Any]:
    """Yield the module ray, connected: to a cluster, to that which the caller has, or to one of this machine."""
    with _environment(QUIET):
        try:
            import ray
        except ModuleNotFoundError as error:
            text = "`executor=\"ray\"` needs the ray package: pip install 'easy-metric-learning[ray]'"
            raise ConfigError(text, code="missing-package", parameter="executor") from error
        if ray.is_initialized():
            yield ray
            return
        logging.getLogger("ray").setLevel(logging.ERROR)  # it warns before it reads the level that it is given
        with _started(ray, options) if options.address is None else _joined(ray, options.address):
            yield ray


@contextmanager
def _started(ray: Any, options: Ray) -> Iterator[None]:
    """Run a Ray of this machine, which leaves nothing behind but the token in ~/.ray by which it lets no others in."""
    folder = tempfile.mkdtemp(prefix="eml-ray-", dir=PLACE if PLACE.is_dir() else None)
    settings = {"num_cpus": options.jobs or max(cores(), options.threads), "object_store_memory": OBJECT_STORE}
    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                ray.init("local", _temp_dir=folder, **settings, **_silent())
                break
            except Exception as error:
                ray.shutdown()
                if attempt < ATTEMPTS and TOO_SLOW in str(error):
                    continue
                text = f"Ray cannot be started on this machine ({_first_line(error)})"
                raise DataError(text, code="no-cluster", parameter="executor") from error
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _joined(ray: Any, address: str) -> Iterator[None]:
    """Join a cluster, which has answered within `JOIN_WITHIN` seconds."""
    _refuse_unreachable(address)
    _refuse_unanswered(address)
    silent = {"log_to_driver": False, "logging_level": "ERROR"} if address.startswith("ray://") else _silent()
    try:
        ray.init(address, **silent)
    except Exception as error:
        raise _not_joined(address, _first_line(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_unreachable(address: str) -> None:
    """Raise DataError where nothing listens at HOST:PORT; Ray itself would wait for it without an end."""
    host, colon, port = address.removeprefix(CLIENT).rpartition(":")
    if not colon and address.startswith(CLIENT):
        host, port = port, CLIENT_PORT
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_WITHIN).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _not_joined(address, f"nothing answers at {host}:{port}: {error}") from error


def _refuse_unanswered(address: str) -> None:
    """Join in a process of its own first, which can be ended where Ray waits for an answer; raise DataError then."""
    command = [sys.executable, "-P", "-c", _TRIAL, address]
    try:
        trial = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=JOIN_WITHIN, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _not_joined(address, f"it did not answer within {JOIN_WITHIN:g} s") from error
    if trial.returncode and any(word in trial.stderr + trial.stdout for word in NO_TOKEN):
        raise _not_joined(address, TOKEN_WANTED)
    if trial.returncode:
        lines = [*trial.stderr.splitlines(), *trial.stdout.splitlines()]
        raise _not_joined(address, lines[-1] if lines else "Ray ended without a word")


def _not_joined(address: str, reason: str) -> DataError:
    text = f"`address` {address}: no Ray cluster can be joined there ({reason})"
    return DataError(text, code="no-cluster", parameter="address")


def _first_line(error: Exception) -> str:
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def _silent() -> dict[str, Any]:
    return {"include_dashboard": False, "log_to_driver": False, "configure_logging": True, "logging_level": "ERROR"}


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment in the block, as the processes that are started in it have them too."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
