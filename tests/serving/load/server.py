"""A real server process on a free port of the loopback device."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.serving.load.wire import request, send

COMMAND = [sys.executable, "-m", "eml", "serve"]
START = 300.0
"""Seconds that a server may take to begin."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`eml serve` in a process of its own, which has answered once. Its output is kept in `log`.

    Args:
        source: What it serves.
        log: The file for its output.
        options: More options.
        threads: Of torch and NumPy.
        headers: With which `/health` is asked for.
    """

    def __init__(
        self,
        source: str | Path,
        log: Path,
        options: Sequence[str] = (),
        *,
        threads: int = 1,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.port, self.log, self.headers = free_port(), log, dict(headers or {})
        command = [*COMMAND, str(source), "--port", str(self.port), *options]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            self._wait()
        except BaseException:
            self.process.kill()
            raise

    def _wait(self) -> None:
        end = time.monotonic() + START
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.text()}")
            try:
                if send(self.port, request("/health", method="GET", headers=self.headers)).status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the server did not begin within {START:g} s:\n{self.text()}")

    def text(self) -> str:
        """Return what it printed."""
        return self.log.read_text(errors="replace")

    def memory(self) -> float:
        """Return its resident set in MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the process has no resident set")

    def cpu_seconds(self) -> float:
        """Return the processor time that it has taken so far, all threads together."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, patience: float = 60.0) -> int:
        """Send SIGTERM and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


@contextmanager
def memory_watch(server: Server, every: float = 0.5) -> Iterator[list[tuple[float, float]]]:
    """Collect (seconds since the begin, MiB) of a server's resident set during the block."""
    samples: list[tuple[float, float]] = []
    ended, started = threading.Event(), time.monotonic()

    def watch() -> None:
        while not ended.wait(every):
            samples.append((time.monotonic() - started, server.memory()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        ended.set()
        watcher.join()
