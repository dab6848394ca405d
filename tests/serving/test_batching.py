"""Batches of many requests: joined, bounded, without those that were cancelled, and no item harms another."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from eml.errors import DataError
from eml.serving.batching import Batcher, NoObserver, QueueFullError
from eml.serving.limits import ServingLimits
from eml.serving.work_threads import WorkThreads


class Counting(NoObserver):
    """Keeps the sizes of batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def batch(self, size: int, seconds: float) -> None:
        self.sizes.append(size)


def vectors(payloads: list[Any]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    time.sleep(0.02)
    return [np.array([payload, 1], np.float32) for payload in payloads]


def value(number: float, seconds: float = 0) -> Any:
    def prepare() -> float:
        time.sleep(seconds)
        return number

    return prepare


def test_items_of_several_requests_are_computed_together_and_each_gets_its_own() -> None:
    counting = Counting()
    batcher = Batcher({"image": vectors}, ServingLimits(batch=4, wait_ms=200), counting)

    async def ask() -> list[Any]:
        return await asyncio.gather(*(batcher.run("image", [value(number)]) for number in range(8)))

    answers = asyncio.run(ask())
    assert [float(answer[0][0]) for answer in answers] == list(range(8))
    assert counting.sizes == [4, 4]
    batcher.close()


def test_nothing_waits_where_no_other_item_is_on_its_way() -> None:
    batcher = Batcher({"image": vectors}, ServingLimits(batch=4, wait_ms=5000), NoObserver())
    begun = time.monotonic()
    asyncio.run(batcher.run("image", [value(1)]))
    assert time.monotonic() - begun < 1
    batcher.close()


def test_a_batch_waits_no_longer_than_its_limit_for_a_slow_item() -> None:
    counting = Counting()
    batcher = Batcher({"image": vectors}, ServingLimits(batch=4, wait_ms=1), counting)
    asyncio.run(batcher.run("image", [value(1), value(2, 0.2)]))
    assert counting.sizes == [1, 1]
    batcher.close()


def test_an_item_that_cannot_be_prepared_or_computed_fails_alone() -> None:
    def fails() -> Any:
        raise DataError("broken", code="not-an-image")

    def picky(payloads: list[Any]) -> Sequence[Any]:
        if 3 in payloads:
            raise ValueError("three")
        return vectors(payloads)

    batcher = Batcher({"image": picky}, ServingLimits(), NoObserver())
    prepares = [value(1), fails, value(3), value(np.nan), value(5)]
    first, broken, three, nothing, last = asyncio.run(batcher.run("image", prepares))
    assert [float(first[0]), float(last[0])] == [1, 5]  # type: ignore[index]
    assert isinstance(broken, DataError)
    assert isinstance(three, ValueError)
    assert isinstance(nothing, DataError)
    assert nothing.code == "no-embedding"
    batcher.close()


def test_what_waits_is_bounded_in_number_and_bytes() -> None:
    limits = ServingLimits(items=2, queue=4, body_bytes=100, queue_bytes=100)
    batcher = Batcher({"image": vectors}, limits, NoObserver())
    with batcher.room(3, 10):
        with pytest.raises(QueueFullError), batcher.room(2, 10):
            pass
        with pytest.raises(QueueFullError), batcher.room(1, 91):
            pass
        with batcher.room(1, 90):
            assert batcher.depth == 4
    assert batcher.depth == 0
    batcher.close()


def test_the_seconds_to_wait_are_those_of_the_measured_rate() -> None:
    batcher = Batcher({"image": vectors}, ServingLimits(), NoObserver())
    with batcher.room(100, 0):
        for _ in range(5):
            with batcher.room(10, 0):
                time.sleep(0.02)
        assert 0.15 < batcher.retry_after() < 0.8  # 50 done in 0.1 s or more, 100 wait
    batcher.close()


def test_cancelled_items_leave_the_queue_and_are_not_computed() -> None:
    counting, begun, gate = Counting(), threading.Event(), threading.Event()

    def gated(payloads: list[Any]) -> Sequence[Any]:
        begun.set()
        gate.wait(5)
        return vectors(payloads)

    batcher = Batcher({"image": gated}, ServingLimits(batch=1, decoders=1), counting)

    async def cancel() -> None:
        tasks = [asyncio.create_task(batcher.run("image", [value(number)])) for number in range(6)]
        await asyncio.to_thread(begun.wait, 5)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks[1:])
        gate.set()
        await tasks[0]

    asyncio.run(cancel())
    batcher.close()
    assert counting.sizes == [1]


def test_a_cancelled_function_is_forgotten_before_its_turn() -> None:
    threads, gate, begun, calls = WorkThreads("test"), threading.Event(), threading.Event(), list[int]()
    first = threads.submit(lambda: [begun.set(), gate.wait(5)][1])  # type: ignore[func-returns-value]
    begun.wait(5)
    second = threads.submit(lambda: calls.append(2))
    third = threads.submit(lambda: calls.append(3))
    second.cancel()
    assert len(threads._waiting) == 1
    gate.set()
    third.result(5)
    assert first.result()
    assert calls == [3]
    threads.close()
