"""What the parts of gpu.py share: the log of their figures, the time that is left to them, and how calls are timed."""

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch

Step = Callable[[], object]
MIB = 2**20


class Part:
    """A part of the benchmark while it runs.

    Args:
        name: Of the part.
        device: Where it computes.
        dry: Use the sizes of a dry run.
        seconds: The time that it may take.
        log: File that takes a line for everything that is measured, so that nothing is lost if the process ends.
    """

    def __init__(self, name: str, device: torch.device, dry: bool, seconds: float, log: Path) -> None:
        self.name, self.device, self.dry, self.log = name, device, dry, log
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()

    def write(self, event: str, **values: Any) -> None:
        """Append an event of this part to the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"part": self.name, "event": event} | values) + "\n")

    def row(self, name: str, **values: float | str | bool | None) -> None:
        """Record a row of the part's table: its name and its columns."""
        self.write("row", name=name, values={key.replace("_", " "): value for key, value in values.items()})

    def note(self, text: str) -> None:
        """Record a sentence about the figures."""
        self.write("note", text=text)

    def attempt(self, name: str, measure: Step, *, needs: float = 0) -> bool:
        """Call a function; if it fails, or less time is left than it needs, record that and go on.

        Returns:
            Whether it was called and did not fail.
        """
        if self.left() < needs:
            self.write("skipped", name=name, reason=f"{max(0.0, self.left()):.0f} s are left, it needs {needs:.0f}")
            return False
        try:
            measure()
        except Exception as error:
            self.failed(name, error)
            return False
        finally:
            release(self.device)
        return True

    def failed(self, name: str, error: BaseException) -> None:
        """Record that something failed."""
        lines = traceback.format_exception(error)
        text = str(error).strip().partition("\n")[0][:400]
        self.write("failed", name=name, error=f"{type(error).__name__}: {text}", traceback="".join(lines)[-3000:])


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    """Give cached memory back, so that one measurement's fragments do not make the next one fail."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def seconds_of(step: Step, device: torch.device, times: int = 1) -> float:
    """Return the wall time of a call, the mean of several in a row, with the device's work done."""
    synchronise(device)
    started = time.perf_counter()
    for _ in range(times):
        step()
    synchronise(device)
    return (time.perf_counter() - started) / times


def in_turns(
    steps: Mapping[str, Step], device: torch.device, *, rounds: int, times: int = 1, seconds: float = 1e9
) -> dict[str, list[float]]:
    """Return the wall times of several steps, measured in turns, each after a call that warms it up.

    Args:
        steps: What to call, by name.
        device: What to wait for.
        rounds: Turns; fewer if the time is over after at least two.
        times: Calls in a row of each in a turn.
        seconds: The time for all turns.
    """
    for step in steps.values():
        seconds_of(step, device)
    started = time.perf_counter()
    measured: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds):
        names = list(steps) if turn % 2 == 0 else list(reversed(steps))
        for name in names:
            measured[name].append(seconds_of(steps[name], device, times))
        if turn and time.perf_counter() - started > seconds:
            break
    return measured


def ratio(times: Mapping[str, list[float]], name: str, base: str) -> float:
    """Return the median over the turns of one step's time over another's."""
    return median(own / other for own, other in zip(times[name], times[base], strict=True))


def peak_memory(step: Step, device: torch.device) -> float | None:
    """Return the MiB by which a call's highest memory exceeds that before it; None where it is not counted."""
    if device.type != "cuda":
        step()
        return None
    release(device)
    synchronise(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    synchronise(device)
    return round((torch.cuda.max_memory_allocated(device) - before) / MIB, 1)


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """Let float32 products be as precise as `highest`, or `high` (TF32) says."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def percent(value: float) -> str:
    """Return a share as percent."""
    return f"{100 * value:.1f} %"
