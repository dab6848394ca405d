"""Threads in every process that notice when another process is lost, even while this one is blocked waiting for it.

A frozen process, or a machine that is switched off, breaks no connection: only its silence shows. Silence is counted in
the listener's rounds, not by the clock: on an overloaded or paused machine the listener's rounds are as late as the
signs of life it waits for. A sign takes less than a millisecond of a processor and must be missing ten times in a row;
the interpreter gives its thread a turn every few milliseconds, whatever the other threads do.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from torch._C._distributed_c10d import PrefixStore, TCPStore

from eml.stopping import tell

BEAT = 2.0  # seconds between signs of life
SILENT = 10  # rounds without one after which a process counts as lost
GRACE = 10.0  # seconds in which this process may end by itself after that
GONE = 2  # exit code: the user can mend it, by resuming


class Heartbeat:
    """Signs of life, sent over a connection of its own to the store where the processes met.

    It also decides which process reports an error.

    Args:
        rank: Number of this process.
        world: Number of processes.
        lost_message: Returns what to print when this process has to be ended because it is blocked.
    """

    def __init__(self, rank: int, world: int, lost_message: Callable[[], str]) -> None:
        self.rank, self.world, self.lost_message = rank, world, lost_message
        tries = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # a restarted group meets at the same store
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, None, False, timedelta(seconds=SILENT * BEAT))
        self._store = PrefixStore(f"eml/{tries}/", store)
        self._ended, self._alarm = threading.Event(), threading.Event()
        self._count = 0  # rounds that the store has answered
        self._neighbours: dict[int, int] = {}  # rank → handle of a process on this machine
        self._silent: list[int] = []  # ranks
        self._store.set(f"process/{rank}", _local_process())
        self._store.set(f"beat/{rank}", "0")
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._guard, daemon=True).start()

    def set_flag(self, key: str) -> None:
        """Set a flag that all processes can see."""
        self._store.set(key, "1")

    def has_flag(self, key: str) -> bool:
        """Return whether a process has set the flag."""
        return bool(self._store.check([key]))

    def claim_report(self, patience: float) -> bool:
        """Return whether this process is to report the error that ends the run: the first one to claim it is.

        Args:
            patience: Seconds to wait for another process to claim it.
        """
        until = time.monotonic() + patience
        try:
            while time.monotonic() < until:
                if self.has_flag("reported"):
                    return False
                time.sleep(0.05)
            return bool(self._store.compare_set("reported", "", str(self.rank)).decode() == str(self.rank))
        except RuntimeError:  # the store has ended with the process that held it
            return True

    def close(self, *, well: bool, may_block: bool) -> None:
        """Leave the other processes.

        Args:
            well: Whether this process ends as it should; otherwise the others are told to leave too.
            may_block: Whether this process may fail to end by itself; the guarding thread then ends it.
        """
        with suppress(RuntimeError):  # as above
            self.set_flag(f"left/{self.rank}" if well else "failed")
        if may_block:
            return
        self._ended.set()
        for handle in self._neighbours.values():
            os.close(handle)

    def _listen(self) -> None:
        """Give signs of life and look for those of the others, until one is lost."""
        beats = {rank: (b"", 0) for rank in range(self.world) if rank != self.rank}
        while not self._ended.wait(BEAT):
            try:
                self._store.set(f"beat/{self.rank}", str(self._count + 1))
                lost = self._has_lost(beats)
            except RuntimeError:
                lost = True  # the store has ended
            if lost:
                self._alarm.set()
                return
            self._count += 1

    def _has_lost(self, beats: dict[int, tuple[bytes, int]]) -> bool:
        """Return whether a process has failed or is silent.

        Args:
            beats: Rank → last sign of life and the round in which it was seen; updated.
        """
        if self.has_flag("failed"):
            return True
        for rank, (last, since) in list(beats.items()):
            if self.has_flag(f"left/{rank}"):
                del beats[rank]
                continue
            now = self._store.get(f"beat/{rank}") if self.has_flag(f"beat/{rank}") else b""
            if now != last:
                if not last:
                    self._meet(rank)
                beats[rank] = (now, self._count)
            elif self._count - since >= SILENT:
                self._silent.append(rank)
        return bool(self._silent)

    def _meet(self, rank: int) -> None:
        """Open a handle of a process on this machine, while its number certainly still means that process."""
        place, _, pid = self._store.get(f"process/{rank}").decode().rpartition(" ")
        if place and place == _local_process().rpartition(" ")[0]:
            with suppress(OSError):
                self._neighbours[rank] = os.pidfd_open(int(pid))

    def _guard(self) -> None:
        """End this process when another is lost or the store hangs, unless it ends by itself."""
        rounds, count = 0, 0
        while not self._ended.is_set() and rounds < SILENT and not self._alarm.wait(BEAT):
            rounds, count = (rounds + 1, count) if self._count == count else (0, self._count)
        hung = not self._alarm.is_set()
        if self._ended.wait(GRACE):
            return
        if hung and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            self._silent.append(0)  # which holds the store
        self._end_silent()
        if hung or self.claim_report(0):
            tell(self.lost_message())
        os._exit(GONE)

    def _end_silent(self) -> None:
        """Kill the silent processes on this machine, which a launcher would wait for."""
        for rank in self._silent:
            if rank in self._neighbours:
                with suppress(OSError):
                    signal.pidfd_send_signal(self._neighbours[rank], signal.SIGKILL)


def _local_process() -> str:
    """Return this process's number, after the place where it is valid; "" where the system has no handles."""
    if not hasattr(os, "pidfd_open"):
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} {os.getpid()}"
    except OSError:
        return ""
