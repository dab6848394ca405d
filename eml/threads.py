"""Work on several threads, with results in the order of the tasks."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Output = TypeVar("Output")

PER_CORE = 4
"""Worker processes for each core, at most."""


_limit: int | None = None


def limit_cores(count: int) -> None:
    """Let this process count on no more than so many cores: others do the same work beside it."""
    global _limit
    _limit = count


def cores() -> int:
    """Return the number of cores that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count if _limit is None else min(count, _limit)


def most_workers() -> int:
    """Return the largest number of worker processes that a command starts: images on a slow disk gain from some more
    than there are cores, and a number without a bound fills the machine.
    """
    return PER_CORE * cores()


def in_order(function: Callable[[Task], Output], tasks: Iterable[Task], workers: int | None = None) -> Iterator[Output]:
    """Yield results as `map` does, computed by one thread per core; few results are kept, so that memory stays flat.

    It helps where `function` spends its time in numpy or Pillow, which let other threads run.
    """
    workers = workers or cores()
    if workers == 1:
        yield from map(function, tasks)
        return
    waiting: deque[Future[Output]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # the caller stops early, or is interrupted
            for future in waiting:
                future.cancel()
