"""Several processes of one command: how they are started, how they meet, and who prints their error."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from eml.child_python import python_options
from eml.cli.exit_codes import BUG, FIXABLE, INTERRUPTED
from eml.errors import ConfigError, EmlError, Interrupted
from eml.stopping import answered_by, handlers_kept
from eml.threads import cores, most_workers

if TYPE_CHECKING:
    from eml.distributed.processes import Processes

SAVING = 300  # seconds that the processes have after a stop request to finish their step and save
PRINTING = 10  # seconds that the first process of a machine has to print an error
_CHILD = "from eml.cli.entry import main\nsys.exit(main())\n"


def launch(devices: int) -> None:
    """Run this same command as several processes on this machine, by torch's launcher; SystemExit with their code.

    Raises:
        ConfigError: A launcher has started this process already, or the machine is too small for so many.
    """
    if "WORLD_SIZE" in os.environ:
        raise ConfigError(
            "--devices starts processes, and this one was started by a launcher; leave one of them out",
            code="wrong-launch",
            parameter="devices",
        )
    _check_machine(devices)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // devices)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SAVING))
    _silence()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        run_id=f"eml-{os.getpid()}",
        max_restarts=0,
    )
    try:
        with answered_by(_continue_frozen), handlers_kept():
            elastic_launch(config, sys.executable)(*python_options(_CHILD), *_without_devices(sys.argv[1:]))
    except ChildFailedError as error:
        raise SystemExit(_code([failure.exitcode for failure in error.failures.values()])) from None
    except SignalException:  # the processes have printed it
        raise SystemExit(INTERRUPTED) from None


def _check_machine(devices: int) -> None:
    """Raise ConfigError for more processes than the machine's GPUs and cores can bear."""
    import torch

    gpus = torch.cuda.device_count()
    if devices > max(gpus, most_workers()):
        raise ConfigError(
            f"--devices {devices} starts as many processes, and this machine has {gpus} GPUs and {cores()} cores; give "
            "the number of GPUs, or on a CPU that of cores",
            code="wrong-launch",
            parameter="devices",
        )


def _without_devices(arguments: list[str]) -> list[str]:
    kept, skip = [], False
    for argument in arguments:
        if not (skip or argument == "--devices" or argument.startswith("--devices=")):
            kept.append(argument)
        skip = argument == "--devices"
    return kept


def _continue_frozen() -> None:
    """Continue processes that are frozen, once the launcher has passed SIGTERM on, which they then can answer."""
    time.sleep(1)
    for file in Path("/proc/self/task").glob("*/children"):
        for number in file.read_text(encoding="ascii").split():
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGCONT)


def _silence() -> None:
    """Switch the launcher's own logs off, which repeat at length what the processes have printed."""
    import logging

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _code(codes: list[int]) -> int:
    """Return the exit code of the run from those of the processes that failed; a killed one can be resumed.

    Where one has failed the launcher interrupts the others.
    """
    if BUG in codes:
        return BUG
    return INTERRUPTED if set(codes) == {INTERRUPTED} else FIXABLE


@contextmanager
def report_error_once() -> Iterator[None]:
    """Let the first process of this machine print an error that all have before they meet.

    The others wait for it to have done so, when the launcher ends them; one that is not ended is alone with its error.
    """
    try:
        yield
    except EmlError as error:
        if _is_first_here():
            raise
        try:
            time.sleep(PRINTING)
        except KeyboardInterrupt:
            raise SystemExit(FIXABLE) from error
        raise
    except KeyboardInterrupt as error:
        if _is_first_here():
            raise
        raise SystemExit(INTERRUPTED) from error


def _is_first_here() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


@contextmanager
def joined(device: str, processes: Processes) -> Iterator[Processes]:
    """Join the processes as `distributed.processes.join` does; an error that another prints is an exit code here."""
    from eml.distributed.processes import join

    try:
        with join(device, processes):
            yield processes
    except BaseException as error:
        interrupted = isinstance(error, Interrupted | KeyboardInterrupt)
        if not processes.is_error_reported and (not interrupted or processes.has_met or _is_first_here()):
            raise
        raise SystemExit(INTERRUPTED if interrupted else FIXABLE if isinstance(error, EmlError) else BUG) from error
