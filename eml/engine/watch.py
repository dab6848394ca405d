"""A thread in every process that notices when another one is gone, also while this one is blocked waiting for it."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, TCPStore

BEAT = 2.0  # seconds between signs of life
SILENT = 20.0  # seconds without one after which a process counts as gone
GRACE = 10.0  # seconds in which this one may end by itself after that
GONE = 2  # exit code: the user can mend it, by resuming


class Watch:
    """Signs of life over the store where the processes met, by a connection of its own; who tells of an error.

    lost_message: called for what to print where this process has to be ended because it is blocked.
    """

    def __init__(self, rank: int, world: int, lost_message: Callable[[], str]) -> None:
        self.rank, self.world, self.lost_message = rank, world, lost_message
        tries = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # a restarted group meets at the same store
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, None, False, timedelta(seconds=SILENT))
        self._store = PrefixStore(f"eml/{tries}/", store)
        self._ended = threading.Event()
        self._store.set(f"beat/{rank}", "0")
        threading.Thread(target=self._run, daemon=True).start()

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
        if not may_block:
            self._ended.set()

    def _run(self) -> None:
        beats, count = {rank: (b"", time.monotonic()) for rank in range(self.world) if rank != self.rank}, 0
        while not self._ended.wait(BEAT):
            count += 1
            try:
                self._store.set(f"beat/{self.rank}", str(count))
                gone = self._gone(beats)
            except RuntimeError:
                gone = True  # the store has ended
            if gone:
                break
        else:
            return
        if not self._ended.wait(GRACE):
            if self.tells(0):
                print(self.lost_message(), file=sys.stderr, flush=True)  # noqa: T201 - no other thread can say it
            os._exit(GONE)

    def _gone(self, beats: dict[int, tuple[bytes, float]]) -> bool:
        """Whether a process has failed or is silent. beats: rank → its last sign and when it changed."""
        if self.seen("failed"):
            return True
        for rank, (last, since) in list(beats.items()):
            if self.seen(f"left/{rank}"):
                del beats[rank]
                continue
            now = self._store.get(f"beat/{rank}") if self.seen(f"beat/{rank}") else b""
            if now != last:
                beats[rank] = (now, time.monotonic())
            elif time.monotonic() - since > SILENT:
                return True
        return False
