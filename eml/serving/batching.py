"""Dynamic batching: items of many requests are decoded in a few threads and computed together in one.

An item that cannot be decoded fails alone. What waits is bounded in number and bytes; what is too much is refused with
the seconds after which to come again. An item whose request is cancelled leaves the queue.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError, EmlError
from eml.serving.limits import CPU_BATCH, ServingLimits
from eml.serving.work_threads import WorkThreads

Vector = NDArray[np.float32]
Run = Callable[[list[Any]], Sequence[Vector]]
"""Computes the embeddings of a batch."""
WINDOW = 10.0
"""Seconds of the past whose rate says when to come again."""


class QueueFullError(EmlError):
    """More waits than the queue takes. retry_after: seconds in which what waits will be done, by the measured rate."""

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text, code="queue-full")
        self.retry_after = retry_after


class DeadlineError(EmlError):
    """A request was not done in time."""


def late(seconds: float) -> DeadlineError:
    """Return the error of a request that took longer than it may."""
    text = f"not done within {seconds:g} s; send fewer images at once, or try again later"
    return DeadlineError(text, code="deadline")


class ClosingError(EmlError):
    """The server ends, and takes nothing new."""

    def __init__(self) -> None:
        super().__init__("the server ends; send the request to another one, or later", code="closing")


class ServingObserver(Protocol):
    """Is told what happens; its methods are called from several threads, and must be quick."""

    def batch(self, size: int, seconds: float) -> None:
        """Take the size of a batch, and the seconds in which it was computed."""

    def queued(self, depth: int) -> None:
        """Take the number of items that wait or are computed, after it has changed."""

    def refused(self, reason: str) -> None:
        """Take the error code of a request that was not answered."""

    def answered(self, kind: str, seconds: float) -> None:
        """Take the kind of a request that was answered (embed, search, …), and the seconds since it came."""

    def unknown(self, count: int, of: int) -> None:
        """Take how many images were of no class, of how many that were classified by a calibrated index."""


class NoObserver:
    """Looks away."""

    def batch(self, size: int, seconds: float) -> None:
        """Do nothing."""

    def queued(self, depth: int) -> None:
        """Do nothing."""

    def refused(self, reason: str) -> None:
        """Do nothing."""

    def answered(self, kind: str, seconds: float) -> None:
        """Do nothing."""

    def unknown(self, count: int, of: int) -> None:
        """Do nothing."""


@dataclass(eq=False)
class _Ready:
    """An item that is decoded. since: when it was (seconds of the monotonic clock)."""

    kind: str
    payload: Any
    outcome: "Future[Vector]"
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Takes items of requests, and computes them in batches.

    Args:
        runs: Kind of an item, such as image or text → what computes a batch of them.
        limits: Sizes of the queue and of a batch.
        observer: Is told of batches and of the queue.
    """

    def __init__(self, runs: Mapping[str, Run], limits: ServingLimits, observer: ServingObserver) -> None:
        self.runs, self.limits, self.observer = dict(runs), limits, observer
        self._most = limits.batch or CPU_BATCH
        self._changed = threading.Condition()
        self._ready: deque[_Ready] = deque()
        self._coming = self._depth = self._bytes = 0
        self._is_closing = self._is_closed = False
        self._left: deque[tuple[float, int]] = deque()
        self._busy_since = time.monotonic()
        self._rate = 0.0
        self._decoders = WorkThreads("decode", limits.decoders)
        self._network = threading.Thread(target=self._work, name="eml-network", daemon=True)
        self._network.start()

    @property
    def depth(self) -> int:
        """The number of items that wait or are computed."""
        return self._depth

    @property
    def is_closing(self) -> bool:
        """Whether nothing new is taken."""
        return self._is_closing

    @contextmanager
    def room(self, items: int, size: int) -> Iterator[None]:
        """Hold room in the queue for a request of some items and bytes, until it is answered.

        Raises:
            QueueFullError: There is none.
            ClosingError: `refuse_new` was called.
        """
        self._enter(items, size)
        is_done = False
        try:
            yield
            is_done = True
        finally:
            self._leave(items, size, done=items if is_done else 0)

    async def run(self, kind: str, prepares: Sequence[Callable[[], Any]]) -> list[Vector | BaseException]:
        """Return the embedding of each item, or why it has none.

        Args:
            kind: Of the items.
            prepares: For each item what decodes it, in another thread.
        """
        outcomes = [asyncio.wrap_future(self.submit(kind, prepare)) for prepare in prepares]
        return await asyncio.gather(*outcomes, return_exceptions=True)

    def refuse_new(self) -> None:
        """Refuse all requests from now on; those that are in the queue are answered."""
        with self._changed:
            self._is_closing = True

    def close(self) -> None:
        """Wait until what is in the queue is computed, and end the threads."""
        self.refuse_new()
        self._decoders.close()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._network.join()

    def retry_after(self) -> float:
        """Return the seconds in which what waits will be done, by the rate of the last seconds."""
        with self._changed:
            rate = self._measured_rate()
            return max(self._depth, 1) / rate if rate else 1.0

    def _enter(self, items: int, size: int) -> None:
        with self._changed:
            if self._is_closing:
                raise ClosingError
            bounds = ((self._depth + items, self.limits.queue), (self._bytes + size, self.limits.queue_bytes))
            if any(value > most for value, most in bounds):
                seconds = self.retry_after()
                text = f"the queue is full; try again in {max(1, round(seconds))} s"
                raise QueueFullError(text, seconds)
            if self._depth == 0:
                self._left.clear()
                self._busy_since = time.monotonic()
            self._depth, self._bytes = self._depth + items, self._bytes + size
        self.observer.queued(self._depth)

    def _leave(self, items: int, size: int, *, done: int) -> None:
        with self._changed:
            self._depth, self._bytes = self._depth - items, self._bytes - size
            if done:
                self._left.append((time.monotonic(), done))
                self._rate = self._measured_rate()
        self.observer.queued(self._depth)

    def _measured_rate(self) -> float:
        """Return items per second since the queue was empty, of the last seconds; the last known one without any."""
        now = time.monotonic()
        while self._left and self._left[0][0] < now - WINDOW:
            self._left.popleft()
        count = sum(done for _, done in self._left)
        return count / max(1e-3, now - max(self._busy_since, now - WINDOW)) if count else self._rate

    def submit(self, kind: str, prepare: Callable[[], Any]) -> "Future[Vector]":
        """Return the future of an item's embedding; see `run`."""
        outcome: Future[Vector] = Future()
        with self._changed:
            self._coming += 1
        job = self._decoders.submit(prepare)
        outcome.add_done_callback(lambda done: self._forget(job, done) if done.cancelled() else None)
        job.add_done_callback(lambda done: self._prepared(kind, done, outcome))
        return outcome

    def _prepared(self, kind: str, job: "Future[Any]", outcome: "Future[Vector]") -> None:
        """Put a decoded item into the queue of the network."""
        error = None if job.cancelled() else job.exception()
        with self._changed:
            self._coming -= 1
            if not job.cancelled() and error is None and not outcome.cancelled():
                self._ready.append(_Ready(kind, job.result(), outcome))
            self._changed.notify_all()
        if error is not None:
            with suppress(InvalidStateError):
                outcome.set_exception(error)

    def _forget(self, job: "Future[Any]", outcome: "Future[Vector]") -> None:
        """Take an item that nobody waits for any more out of the queues."""
        job.cancel()
        with self._changed:
            self._ready = deque(item for item in self._ready if item.outcome is not outcome)
            self._changed.notify_all()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._compute(batch)
            del batch

    def _next_batch(self) -> list[_Ready]:
        """Return the items that come next, all of one kind, when there are enough or they have waited; none at the end.

        Nothing waits where no other item is on its way.
        """
        with self._changed:
            while True:
                if not self._ready:
                    if self._is_closed and not self._coming:
                        return []
                    self._changed.wait()
                    continue
                first = self._ready[0]
                batch = [item for item in self._ready if item.kind == first.kind][: self._most]
                left = first.since + self.limits.wait_ms / 1000 - time.monotonic()
                if len(batch) == self._most or left <= 0 or not self._coming:
                    numbers = set(map(id, batch))
                    self._ready = deque(item for item in self._ready if id(item) not in numbers)
                    return batch
                self._changed.wait(left)

    def _compute(self, batch: list[_Ready]) -> None:
        """Compute a batch; where that fails, each item alone, so that one cannot harm the others."""
        begun = time.perf_counter()
        try:
            vectors = self.runs[batch[0].kind]([item.payload for item in batch])
        except Exception as error:
            if len(batch) > 1:
                for item in batch:
                    self._compute([item])
                return
            with suppress(InvalidStateError):
                batch[0].outcome.set_exception(error)
            return
        self.observer.batch(len(batch), time.perf_counter() - begun)
        for item, vector in zip(batch, vectors, strict=True):
            with suppress(InvalidStateError):
                if np.isfinite(vector).all() and vector.any():
                    item.outcome.set_result(vector)
                else:
                    text = "its embedding has no direction: the network returned zeros or no numbers"
                    item.outcome.set_exception(DataError(text, code="no-embedding"))
