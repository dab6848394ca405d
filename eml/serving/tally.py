"""Count what a server does."""

from collections import Counter
from threading import Lock

from eml.serving.batching import ServingObserver


class Tally:
    """Counts requests and images, and tells another observer.

    Args:
        inner: The other one.

    Attributes:
        counts_answered: Kind of request → how many.
        counts_refused: Error code → how many requests it ended.
        images: Items that were computed.
    """

    def __init__(self, inner: ServingObserver) -> None:
        self.inner, self._lock = inner, Lock()
        self.counts_answered, self.counts_refused = Counter[str](), Counter[str]()
        self.images = 0

    def batch(self, size: int, seconds: float) -> None:
        """Count the items of a batch."""
        with self._lock:
            self.images += size
        self.inner.batch(size, seconds)

    def queued(self, depth: int) -> None:
        """Pass it on."""
        self.inner.queued(depth)

    def refused(self, reason: str) -> None:
        """Count a request that the engine did not answer."""
        self.count_refused(reason)
        self.inner.refused(reason)

    def count_refused(self, reason: str) -> None:
        """Count a request that never reached the engine; the other observer counts those itself."""
        with self._lock:
            self.counts_refused[reason] += 1

    def answered(self, kind: str, seconds: float) -> None:
        """Count a request that was answered."""
        with self._lock:
            self.counts_answered[kind] += 1
        self.inner.answered(kind, seconds)

    def unknown(self, count: int, of: int) -> None:
        """Pass it on."""
        self.inner.unknown(count, of)
