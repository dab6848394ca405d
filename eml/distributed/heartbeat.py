"""Threads in every process that notice when another one is gone, also while this one is blocked waiting for it.

A process that is frozen or whose machine is off breaks no connection: only its silence tells. Silence is counted in
rounds of the one that listens, not by the clock: where a machine is overloaded or paused, the listener's rounds are as
late as the other's signs of life. A sign takes less than a millisecond of a processor and must fail to come ten times
in a row; the interpreter gives its thread a turn every few milliseconds, whatever the others do.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from torch._C._distributed_c10d import PrefixStore, TCPStore

BEAT = 2.0  # seconds between signs of life
SILENT = 10  # rounds of that length without one after which a process counts as gone
GRACE = 10.0  # seconds in which this one may end by itself after that
GONE = 2  # exit code: the user can mend it, by resuming


class Heartbeat:
    """Signs of life over the store where the processes met, by a connection of its own; who tells of an error.

    lost_message: called for what to print where this process has to be ended because it is blocked.
    """

    def __init__(self, rank: int, world: int, lost_message: Callable[[], str]) -> None:
        self.rank, self.world, self.lost_message = rank, world, lost_message
        tries = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # a restarted group meets at the same store
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, None, False, timedelta(seconds=SILENT * BEAT))
        self._store = PrefixStore(f"eml/{tries}/", store)
        self._ended, self._alarm = threading.Event(), threading.Event()
        self._count = 0  # of rounds that the store has answered
        self._neighbours: dict[int, int] = {}  # rank → handle of a process on this machine
        self._silent: list[int] = []  # ranks
        self._store.set(f"process/{rank}", _process_here())
        self._store.set(f"beat/{rank}", "0")
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._guard, daemon=True).start()

    def set(self, key: str) -> None:
        """Let the others know of something."""
        self._store.set(key, "1")

    def seen(self, key: str) -> bool:
        """Whether a process has let know of it."""
        return bool(self._store.check([key]))

    def tells(self, patience: float) -> bool:
        """Whether this process is to tell the user of the error that ends the run: the first to ask is.

        patience: seconds to wait for another to be it.
        """
        until = time.monotonic() + patience
        try:
            while time.monotonic() < until:
                if self.seen("told"):
                    return False
                time.sleep(0.05)
            return bool(self._store.compare_set("told", "", str(self.rank)).decode() == str(self.rank))
        except RuntimeError:  # the store has ended with the process that held it
            return True

    def close(self, *, well: bool, may_block: bool) -> None:
        """This process leaves. well: as it should, else the others should leave too.

        may_block: it may not come to its end by itself; then the thread sees to it.
        """
        with suppress(RuntimeError):  # as above
            self.set(f"left/{self.rank}" if well else "failed")
        if may_block:
            return
        self._ended.set()
        for handle in self._neighbours.values():
            os.close(handle)

    def _listen(self) -> None:
        """Give a sign of life and look for those of the others, until one is gone."""
        beats = {rank: (b"", 0) for rank in range(self.world) if rank != self.rank}
        while not self._ended.wait(BEAT):
            try:
                self._store.set(f"beat/{self.rank}", str(self._count + 1))
                gone = self._gone(beats)
            except RuntimeError:
                gone = True  # the store has ended
            if gone:
                self._alarm.set()
                return
            self._count += 1

    def _gone(self, beats: dict[int, tuple[bytes, int]]) -> bool:
        """Whether a process has failed or is silent. beats: rank → its last sign and the round in which it came."""
        if self.seen("failed"):
            return True
        for rank, (last, since) in list(beats.items()):
            if self.seen(f"left/{rank}"):
                del beats[rank]
                continue
            now = self._store.get(f"beat/{rank}") if self.seen(f"beat/{rank}") else b""
            if now != last:
                if not last:
                    self._meet(rank)
                beats[rank] = (now, self._count)
            elif self._count - since >= SILENT:
                self._silent.append(rank)
        return bool(self._silent)

    def _meet(self, rank: int) -> None:
        """Keep hold of a process, if it is on this machine, while it surely is the one that said so."""
        here, _, pid = self._store.get(f"process/{rank}").decode().rpartition(" ")
        if here and here == _process_here().rpartition(" ")[0]:
            with suppress(OSError):
                self._neighbours[rank] = os.pidfd_open(int(pid))

    def _guard(self) -> None:
        """End this process when another is gone or the store hangs, unless it comes to an end by itself."""
        rounds, count = 0, 0
        while not self._ended.is_set() and rounds < SILENT and not self._alarm.wait(BEAT):
            rounds, count = (rounds + 1, count) if self._count == count else (0, self._count)
        hung = not self._alarm.is_set()
        if self._ended.wait(GRACE):
            return
        if hung and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            self._silent.append(0)  # which holds the store
        self._end_silent()
        if hung or self.tells(0):
            print(self.lost_message(), file=sys.stderr, flush=True)  # noqa: T201 - no other thread can say it
        os._exit(GONE)

    def _end_silent(self) -> None:
        """Those on this machine, else a launcher waits for them."""
        for rank in self._silent:
            if rank in self._neighbours:
                with suppress(OSError):
                    signal.pidfd_send_signal(self._neighbours[rank], signal.SIGKILL)


def _process_here() -> str:
    """Of this process: where its number means something, and the number. Empty where the system has no handles."""
    if not hasattr(os, "pidfd_open"):
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} {os.getpid()}"
    except OSError:
        return ""
