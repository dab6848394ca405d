"""A store in this process that fails as stores do: refused requests, truncated answers, objects that vanish."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFileSystem

from eml.storage import file_systems, listing, retries


class FaultyStore(MemoryFileSystem):
    """The store of `memory://`, with faults: name of an object → what is done with its answers."""

    cachable = False
    faults: ClassVar[dict[str, Callable[[int, bytes], bytes]]] = {}
    """Receives the number of the request, from 0, and the bytes; returns the bytes, or raises."""
    requests: ClassVar[Counter[str]] = Counter()
    asked: ClassVar[Counter[str]] = Counter()
    """Requests for the facts of an object, by its name."""

    def info(self, path: str, **settings: Any) -> dict[str, Any]:
        self.asked[path.rpartition("/")[2]] += 1
        facts: dict[str, Any] = super().info(path, **settings)
        return facts

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **settings: Any) -> bytes:
        name = path.rpartition("/")[2]
        data = super().cat_file(path, start, end, **settings)
        number = self.requests[name]
        self.requests[name] += 1
        return self.faults[name](number, data) if name in self.faults else data


class RefusedError(Exception):
    """An answer with a status, as the clients of HTTP raise them."""

    def __init__(self, status: int, text: str = "refused") -> None:
        super().__init__(text)
        self.status = status


def refuse(times: int, status: int = 503, text: str = "Slow Down") -> Callable[[int, bytes], bytes]:
    """Return a fault: the first requests are refused."""

    def fault(number: int, data: bytes) -> bytes:
        if number < times:
            raise RefusedError(status, text)
        return data

    return fault


def truncate(times: int) -> Callable[[int, bytes], bytes]:
    """Return a fault: the first answers lack their second half."""
    return lambda number, data: data[: len(data) // 2] if number < times else data


def vanish(number: int, data: bytes) -> bytes:
    """Raise what a store does for an object that is gone."""
    raise FileNotFoundError


@contextmanager
def faulty_store(**policy: float) -> Iterator[FaultyStore]:
    """Yield an empty store at `memory://`; the waits of retries are short."""
    before, (first, longest) = retries.POLICY, (1e-4, 1e-3)
    store = FaultyStore()
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    FaultyStore.faults, FaultyStore.requests, FaultyStore.asked = {}, Counter(), Counter()
    listing.forget_all()
    file_systems._opened.clear()
    file_systems._opened[file_systems.os.getpid(), "memory"] = store
    settings: dict[str, Any] = {"first": first, "longest": longest} | policy
    retries.POLICY = retries.RetryPolicy(**settings)
    retries._budgets.clear()
    try:
        yield store
    finally:
        retries.POLICY = before
        retries._budgets.clear()
        file_systems._opened.clear()
        listing.forget_all()
        store.store.clear()
