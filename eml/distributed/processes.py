"""Several processes that train or measure one network together: how they meet, communicate and end.

They are started by the command line's option for several devices, torchrun, `accelerate launch` or anything else that
sets WORLD_SIZE, RANK, MASTER_ADDR and MASTER_PORT, and LOCAL_RANK where several run on one machine. Without these
variables there is one process, and the functions here do no communication.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from eml.distributed.heartbeat import Heartbeat
from eml.errors import ConfigError, EmlError, Interrupted
from eml.images.random import key_of
from eml.models.device import find_device

T = TypeVar("T")

PATIENCE = timedelta(hours=1)  # for processes that still work, such as a first one that writes; lost ones are noticed
PIECE = 1 << 24  # bytes of a tensor per message


class ProcessLostError(EmlError):
    """Another process of the run has ended."""


@dataclass
class Meeting:
    """The mutable state of processes that work together.

    Attributes:
        heartbeat: Notices lost processes; None before the processes have met and after they have parted.
        has_met: Whether the processes have ever met.
        is_error_reported: Whether another process reports the error that ended the run.
        resume_hint: Advice for the user when a process is lost.
        waits: How often this process has waited for the first one.
    """

    heartbeat: Heartbeat | None = None
    has_met: bool = False
    is_error_reported: bool = False
    resume_hint: str = "start it again"
    waits: int = 0


@dataclass(frozen=True)
class Processes:
    """This process's place among those that work together. Immutable, but for the `meeting` of several processes.

    All processes must call the communicating methods, in the same order.

    Attributes:
        rank: Number of this process, from 0.
        world: Number of processes.
        local_rank: Number of this process on its machine.
        local_world: Number of processes on its machine.
        meeting: What changes while several processes work together; None for a single process.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    meeting: Meeting | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "meeting", Meeting() if self.world > 1 else None)

    @classmethod
    def of_environment(cls) -> "Processes":
        """Return the processes that the launcher's environment variables describe.

        Raises:
            ConfigError: A variable is not a number, or they contradict each other.
        """
        if "WORLD_SIZE" not in os.environ:
            _refuse_unknown_launchers()
            return cls()
        variables = {key: os.environ.get(key, "") for key in ("RANK", "WORLD_SIZE")}
        variables |= {
            key: os.environ.get(key, default) for key, default in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
        }
        wrong = [f"{key}={value!r}" for key, value in variables.items() if not value.isdecimal()]
        if not wrong:
            rank, world, local_rank, local_world = (int(value) for value in variables.values())
            if rank < world:
                return cls(rank, world, local_rank, max(local_world, local_rank + 1))
        raise ConfigError(
            f"the environment has {', '.join(wrong) or f'RANK={rank} of WORLD_SIZE={world}'}, which no launcher sets; "
            "unset WORLD_SIZE for one process, or start several with torchrun, accelerate launch or eml train CONFIG "
            "--devices N",
            code="wrong-launch",
        )

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    @property
    def has_met(self) -> bool:
        """Whether the processes have ever met."""
        return self.meeting is not None and self.meeting.has_met

    @property
    def is_error_reported(self) -> bool:
        """Whether another process reports the error that ended the run."""
        return self.meeting is not None and self.meeting.is_error_reported

    def set_resume_hint(self, hint: str) -> None:
        """Set the advice that the user gets when a process is lost."""
        if self.meeting is not None:
            self.meeting.resume_hint = hint

    def device(self, name: str) -> torch.device:
        """Return the device that a config names; on a machine with several GPUs each process has its own.

        Raises:
            ConfigError: There is no such device, or several processes cannot use it.
        """
        device = find_device(name)
        if self.world == 1 or device.type == "cpu":
            return device
        if device.type != "cuda":
            problem = "several processes cannot share it; use cuda or cpu, or one process"
        elif device.index is not None:
            problem = "each of several processes has its own device; use cuda"
        elif self.local_world > torch.cuda.device_count():
            problem = (
                f"{self.local_world} processes on a machine with {torch.cuda.device_count()} CUDA devices; start as "
                "many processes as there are devices"
            )
        else:
            return torch.device("cuda", self.local_rank)
        raise ConfigError(f"device {name!r}: {problem}", code="unusable-device", parameter="device")

    def any_rank(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is set in any process."""
        if self.world == 1:
            return list(flags)
        together = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(together, dist.ReduceOp.MAX)
        return [bool(flag) for flag in together.tolist()]

    def from_first(self, make: Callable[[], T]) -> T:
        """Return in every process what `make` returns in the first one, however long that takes."""
        if self.world == 1:
            return make()
        values: list[Any] = [make() if self.first else None]
        self._await_first()
        dist.broadcast_object_list(values)
        value: T = values[0]
        return value

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        values: list[Any] = [value]
        if self.world > 1:
            values = [None] * self.world
            dist.all_gather_object(values, value)
        return values

    def after_first(self, make: Callable[[], T]) -> T:
        """Return what `make` returns; the first process calls it, and the others when that is done."""
        if self.first:
            value = make()
            self._await_first()
            return value
        self._await_first()
        return make()

    def _await_first(self) -> None:
        """Wait until the first process is here too, without a collective, which would time out."""
        if self.meeting is None or self.meeting.heartbeat is None:
            return
        heartbeat = self.meeting.heartbeat
        self.meeting.waits += 1
        key = f"done/{self.meeting.waits}"
        if self.first:
            heartbeat.set_flag(key)
        while not heartbeat.has_flag(key):
            if heartbeat.has_flag("failed"):
                raise self.lost()
            time.sleep(0.05)

    def send(self, tensor: Tensor, rank: int) -> None:
        """Send a tensor (n, …) piece by piece, via the CPU, to a process that must `receive` it."""
        for piece in _pieces(tensor):
            dist.send(piece.detach().cpu().contiguous(), rank)

    def receive(self, into: Tensor, rank: int) -> None:
        """Receive what a process sends into a CPU tensor of the same shape and dtype."""
        for piece in _pieces(into):
            dist.recv(piece, rank)

    def reseed(self, seed: int, step: int) -> None:
        """Give each process its own torch seed, from which dropout draws; a single process at step 0 keeps its own."""
        if self.world > 1 or step:
            torch.manual_seed(key_of(seed, self.rank, step) % 2**63)

    def lost(self) -> ProcessLostError:
        """Return the error to raise when another process is lost."""
        assert self.meeting is not None, "a single process has no other to lose"
        return ProcessLostError(
            f"another process of this run has ended or is stuck, so process {self.rank} of {self.world} ends too; "
            f"{self.meeting.resume_hint}",
            code="process-lost",
        )


SINGLE_PROCESS = Processes()


def _refuse_unknown_launchers() -> None:
    """Raise ConfigError when a launcher started several processes that would each do all of the work."""
    if "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ:
        raise ConfigError(
            "accelerate launch started one process in place of several, as it does without GPUs; add --multi_gpu, "
            "which starts several on CPUs too, or use torchrun",
            code="wrong-launch",
        )
    for key in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if os.environ.get(key, "1") != "1":
            raise ConfigError(
                f"{key} is {os.environ[key]} and WORLD_SIZE is not set, as when started by mpirun or srun; let it "
                f"start torchrun once on each machine, or set WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR and "
                f"MASTER_PORT; for one process, unset {key}",
                code="wrong-launch",
            )


@contextmanager
def join(name: str, processes: Processes) -> Iterator[Processes]:
    """Meet the other processes, and tell them on leaving.

    Args:
        name: Of the device, as in a config.
        processes: This process's place among them.

    Raises:
        ConfigError: The processes cannot meet.
        ProcessLostError: One of them ends while they work.
    """
    if (meeting := processes.meeting) is None:
        yield processes
        return
    device = processes.device(name)
    _meet(processes, device)
    heartbeat = Heartbeat(processes.rank, processes.world, lambda: processes.lost().problems[0])
    meeting.heartbeat, meeting.has_met = heartbeat, True
    well = False  # whether all processes leave together
    try:
        yield processes
        well = True
    except BaseException as error:
        well = isinstance(error, Interrupted)
        lost = is_loss(error)
        if lost and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a launcher that saw the loss sends it; we end anyway
        meeting.is_error_reported = not heartbeat.claim_report(_patience(error, lost, processes.first))
        if lost and not isinstance(error, EmlError):
            raise processes.lost() from error
        raise
    finally:
        may_block = not well and device.type == "cuda"  # NCCL waits for lost processes
        heartbeat.close(well=well, may_block=may_block)
        meeting.heartbeat = None
        if not may_block:
            with suppress(RuntimeError):
                dist.destroy_process_group()


def _meet(processes: Processes, device: torch.device) -> None:
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    try:
        # CPU tensors, such as flags and saved state, use gloo, which is also the first to notice a loss.
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"WORLD_SIZE is {processes.world}, and this process ({processes.rank}) cannot meet the others: {first}. "
            "Start them with torchrun, accelerate launch or eml train CONFIG --devices N; or unset WORLD_SIZE for one "
            "process",
            code="processes-cannot-meet",
        ) from error


def is_loss(error: BaseException) -> bool:
    """Return whether a collective raised the error because a process is lost.

    Gloo has no type for it, but its source file is in the message.
    """
    if isinstance(error, ProcessLostError | dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)


def _patience(error: BaseException, lost: bool, first: bool) -> float:
    """Return the seconds to wait for the process that should report: after a loss the failed one, else the first."""
    if lost or (not first and isinstance(error, Interrupted | KeyboardInterrupt)):
        return 3.0
    return 0.0 if first else 1.0


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """Yield its rows in pieces of at most PIECE bytes but at least one row."""
    if tensor.numel():
        row = tensor[0].numel() * tensor.element_size()
        yield from tensor.split(max(1, PIECE // row))
