"""Several processes that train or measure one network together: how they meet, what they agree on, how they part.

Started by `--devices N`, torchrun, `accelerate launch` or anything else that sets WORLD_SIZE, RANK,
MASTER_ADDR and MASTER_PORT, and LOCAL_RANK where several are on one machine. Without these, one process is all there
is, and nothing here does anything.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

PATIENCE = timedelta(hours=1)  # for the others at work, as when the first one writes; those that are gone are noticed
PIECE = 1 << 24  # bytes of a tensor sent at once


class ProcessLostError(EmlError):
    """Another process of the run has ended."""


class Processes:
    """Which of the processes this one is. world: how many there are. local_rank: which of those on this machine.

    What they do together, they must all call, in the same order. go_on: what to tell where the run ends because one of
    them is gone. met: whether they have ever met. silent: the error that ended the run was told of by another.
    """

    def __init__(self, rank: int = 0, world: int = 1, local_rank: int = 0, local_world: int = 1) -> None:
        self.rank, self.world, self.local_rank, self.local_world = rank, world, local_rank, local_world
        self.go_on, self.silent, self.met = "start it again", False, False
        self.watch: Heartbeat | None = None
        self._waits = 0

    @classmethod
    def of_environment(cls) -> "Processes":
        """As the launcher says. Raises ConfigError where that is no number or does not fit together."""
        if "WORLD_SIZE" not in os.environ:
            _refuse_unknown_launchers()
            return cls()
        given = {key: os.environ.get(key, "") for key in ("RANK", "WORLD_SIZE")}
        given |= {key: os.environ.get(key, other) for key, other in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))}
        wrong = [f"{key}={value!r}" for key, value in given.items() if not value.isdecimal()]
        if not wrong:
            rank, world, local_rank, local_world = (int(value) for value in given.values())
            if rank < world:
                return cls(rank, world, local_rank, max(local_world, local_rank + 1))
        raise ConfigError(
            f"the environment has {', '.join(wrong) or f'RANK={rank} of WORLD_SIZE={world}'}, which no launcher sets; "
            "unset WORLD_SIZE for one process, or start several by: --devices N, torchrun or accelerate launch"
        )

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of a config; of several GPUs of a machine, each process its own. Raises ConfigError."""
        device = find_device(name)
        if self.world == 1 or device.type == "cpu":
            return device
        if device.type != "cuda":
            raise ConfigError(f"device {name!r}: several processes cannot share it; use cuda or cpu, or one process")
        if device.index is not None:
            raise ConfigError(f"device {name!r}: of several processes each takes its own; use cuda")
        if self.local_world > torch.cuda.device_count():
            raise ConfigError(
                f"device {name!r}: {self.local_world} processes on a machine with {torch.cuda.device_count()} CUDA "
                "devices; start as many as there are"
            )
        return torch.device("cuda", self.local_rank)

    def any_rank(self, *flags: bool) -> list[bool]:
        """Each flag, whether it is set in any of the processes."""
        if self.world == 1:
            return list(flags)
        together = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(together, dist.ReduceOp.MAX)
        return [bool(each) for each in together.tolist()]

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, however long that takes."""
        if self.world == 1:
            return make()
        made: list[Any] = [make() if self.first else None]
        self._await_first()
        dist.broadcast_object_list(made)
        value: T = made[0]
        return value

    def all_gather(self, value: T) -> list[T]:
        """The values of all processes."""
        values: list[Any] = [value]
        if self.world > 1:
            values = [None] * self.world
            dist.all_gather_object(values, value)
        return values

    def after_first(self, make: Callable[[], T]) -> T:
        """What `make` gives, called by the first process and then, however long that took, by the others."""
        if self.first:
            made = make()
            self._await_first()
            return made
        self._await_first()
        return make()

    def _await_first(self) -> None:
        """Until the first process is here too. That is not waited for in a collective, which gives up in the end."""
        if self.watch is None:
            return
        self._waits += 1
        key = f"done/{self._waits}"
        if self.first:
            self.watch.set(key)
        while not self.watch.seen(key):
            if self.watch.seen("failed"):
                raise self.lost()
            time.sleep(0.05)

    def send(self, tensor: Tensor, rank: int) -> None:
        """To a process, which must `receive` it, piece by piece by way of the CPU. tensor: (n, …)."""
        for piece in _pieces(tensor):
            dist.send(piece.detach().cpu().contiguous(), rank)

    def receive(self, into: Tensor, rank: int) -> None:
        """What a process sends, into a tensor on the CPU of the same shape and kind."""
        for piece in _pieces(into):
            dist.recv(piece, rank)

    def reseed(self, seed: int, step: int) -> None:
        """Torch's own random numbers, from which dropout draws, differ by process; those of one alone stay."""
        if self.world > 1 or step:
            torch.manual_seed(key_of(seed, self.rank, step) % 2**63)

    def lost(self) -> ProcessLostError:
        """What to raise when another process is gone."""
        return ProcessLostError(
            f"another process of this run has ended or is stuck, so process {self.rank} of {self.world} ends too; "
            f"{self.go_on}"
        )


SINGLE_PROCESS = Processes()


def _refuse_unknown_launchers() -> None:
    """Of several processes that do not know of each other each would do all of the work, to the same files."""
    if "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ:
        raise ConfigError(
            "accelerate launch was to start several processes and started one, as it does without GPUs; add "
            "--multi_gpu, which makes it start them on CPUs too, or use torchrun"
        )
    for key in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if os.environ.get(key, "1") != "1":
            raise ConfigError(
                f"{key} is {os.environ[key]} and WORLD_SIZE is not set: started by mpirun or srun; let that start "
                f"torchrun once on each machine, or set WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; "
                f"for one process, unset {key}"
            )


@contextmanager
def join(name: str, processes: Processes) -> Iterator[Processes]:
    """Meet the other processes; on leaving, tell them. name: of the device, as in a config.

    Raises ConfigError where they cannot meet, ProcessLostError when one of them ends while they work.
    """
    if processes.world == 1:
        yield processes
        return
    device = processes.device(name)
    _meet(processes, device)
    processes.watch = watch = Heartbeat(processes.rank, processes.world, lambda: processes.lost().problems[0])
    processes.met, well = True, False  # well: whether all leave together
    try:
        yield processes
        well = True
    except BaseException as error:
        well = isinstance(error, Interrupted)
        lost = is_loss(error)
        if lost and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of a launcher that has seen the loss: this one ends anyway
        processes.silent = not watch.tells(_patience(error, lost, processes.first))
        if lost and not isinstance(error, EmlError):
            raise processes.lost() from error
        raise
    finally:
        may_block = not well and device.type == "cuda"  # NCCL waits for those that are gone
        watch.close(well=well, may_block=may_block)
        processes.watch = None
        if not may_block:
            with suppress(RuntimeError):
                dist.destroy_process_group()


def _meet(processes: Processes, device: torch.device) -> None:
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    try:
        # Tensors on the CPU, as flags and what is saved, go by gloo, which is also the first to notice a loss.
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"WORLD_SIZE is {processes.world}, and this process ({processes.rank}) cannot meet the others: {first}. "
            "Start them by: --devices N, torchrun or accelerate launch; or unset WORLD_SIZE for one process"
        ) from error


def is_loss(error: BaseException) -> bool:
    """Whether it is what a collective raises when a process is gone; gloo has no type for it, but a source file."""
    if isinstance(error, ProcessLostError | dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)


def _patience(error: BaseException, lost: bool, first: bool) -> float:
    """Seconds to wait for another process to tell of the error: of a loss the one that failed, else the first."""
    if lost or (not first and isinstance(error, Interrupted | KeyboardInterrupt)):
        return 3.0
    return 0.0 if first else 1.0


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """Of its rows, at most PIECE bytes each but at least one row."""
    if tensor.numel():
        row = tensor[0].numel() * tensor.element_size()
        yield from tensor.split(max(1, PIECE // row))
