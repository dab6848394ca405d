"""Searches of several requests that wait for the same thread are made in one call of the index, and parted again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from eml.serving.answers import ClassifyReply, EmbeddedItem, SearchReply
from eml.serving.work_threads import WorkThreads, settle

if TYPE_CHECKING:
    from eml.serving.served_index import ServedIndex

Payload = TypeVar("Payload")
Output = TypeVar("Output")
Queries = tuple[Sequence[EmbeddedItem], Sequence[EmbeddedItem]]
"""The embedded images and texts of a request."""


@dataclass(eq=False)
class _Waiting:
    """A call that waits. size: of what it is about, as the bound of a joined call counts it."""

    key: Hashable
    function: Callable[[list[Any]], list[Any]]
    payload: Any
    size: int
    outcome: Future[Any] = field(default_factory=Future)


class JoinedCalls(Generic[Payload, Output]):
    """Calls a function once for all requests that wait for a thread, where these ask for the same.

    A request that finds the thread idle is answered alone, at once. Where a joined call fails, each request is called
    for alone, so that none fails by another's fault.

    Args:
        threads: Where the functions are called.
        most: The most that a joined call is about; a single request may be about more.
    """

    def __init__(self, threads: WorkThreads, most: int) -> None:
        self._threads, self._most = threads, most
        self._lock, self._waiting = threading.Lock(), deque[_Waiting]()

    def submit(
        self, key: Hashable, function: Callable[[list[Payload]], list[Output]], payload: Payload, size: int
    ) -> Future[Output]:
        """Return the future of a request's answer.

        Args:
            key: Requests of the same key are joined.
            function: Returns for the payloads of several requests an answer each; the same for all of a key.
            payload: Of this request.
            size: How much it is about.
        """
        call = _Waiting(key, function, payload, size)
        with self._lock:
            self._waiting.append(call)
        call.outcome.add_done_callback(lambda done: self._forget(call) if done.cancelled() else None)
        self._threads.submit(self._work)  # a call that finds nothing, since another one took it along, ends at once
        return call.outcome

    def _forget(self, call: _Waiting) -> None:
        with self._lock, suppress(ValueError):
            self._waiting.remove(call)

    def _work(self) -> None:
        if not (calls := self._next()):
            return
        payloads = [call.payload for call in calls]
        try:
            outputs = calls[0].function(payloads)
        except BaseException as error:  # whoever waits for it gets it
            if len(calls) == 1:
                with suppress(InvalidStateError):
                    calls[0].outcome.set_exception(error)
                return
            for call in calls:
                settle(call.outcome, partial(_alone, call))
            return
        for call, output in zip(calls, outputs, strict=True):
            with suppress(InvalidStateError):
                call.outcome.set_result(output)

    def _next(self) -> list[_Waiting]:
        """Take the first call that waits, and those of its key that may be joined with it."""
        with self._lock:
            calls: list[_Waiting] = []
            size = 0
            for call in self._waiting:
                if not calls or (call.key == calls[0].key and size + call.size <= self._most):
                    calls.append(call)
                    size += call.size
            numbers = set(map(id, calls))
            self._waiting = deque(call for call in self._waiting if id(call) not in numbers)
            return calls


def _alone(call: _Waiting) -> Any:
    return call.function([call.payload])[0]


def search_together(
    index: ServedIndex, k: int, where: str | None, requests: list[Queries], *, per_class: bool, classify: bool
) -> list[SearchReply]:
    """Return the answers of several requests, by one search, all of one generation; see `ServedIndex.search`."""
    images = [item for own, _ in requests for item in own]
    texts = [item for _, own in requests for item in own]
    reply = index.search(images, texts, k, where, per_class=per_class, classify=classify)
    of_images, of_texts = iter(reply.items[: len(images)]), iter(reply.items[len(images) :])
    return [
        replace(reply, items=(*islice(of_images, len(own_images)), *islice(of_texts, len(own_texts))))
        for own_images, own_texts in requests
    ]


def classify_together(index: ServedIndex, share: float | None, requests: list[Queries]) -> list[ClassifyReply]:
    """Return the classes of the images of several requests, by one call, all of one generation."""
    reply = index.classify([item for own, _ in requests for item in own], share)
    items = iter(reply.items)
    return [replace(reply, items=tuple(islice(items, len(own)))) for own, _ in requests]
