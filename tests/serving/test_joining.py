"""Searches that wait for the index are made in one call, with the answers that each has alone."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from eml.errors import DataError
from eml.serving.engine import ServingEngine
from eml.serving.joining import JoinedCalls
from eml.serving.limits import ServingLimits
from eml.serving.work_threads import WorkThreads
from tests.serving.shop_server import build_shop, served, served_copy


class Held:
    """A thread that waits until the block ends, so that calls wait for it."""

    def __init__(self, threads: WorkThreads) -> None:
        self.threads, self.go_on = threads, threading.Event()

    def __enter__(self) -> None:
        self.threads.submit(lambda: self.go_on.wait(10))

    def __exit__(self, *exception: object) -> None:
        self.go_on.set()


@pytest.fixture
def threads() -> Iterator[WorkThreads]:
    made = WorkThreads("test")
    yield made
    made.close()


def test_calls_of_one_key_are_joined_up_to_a_size_and_others_are_not(threads: WorkThreads) -> None:
    calls: list[list[int]] = []

    def double(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        return [2 * number for number in numbers]

    joined: JoinedCalls[int, int] = JoinedCalls(threads, most=5)
    with Held(threads):
        asked = [joined.submit(key, double, number, 2) for number, key in enumerate("aabaa")]
        asked[1].cancel()
    assert [future.result(5) for future in asked if not future.cancelled()] == [0, 4, 6, 8]
    assert calls == [[0, 3], [2], [4]]
    assert joined.submit("a", double, 100, 99).result(5) == 200, "one alone may be larger"


def test_where_a_joined_call_fails_each_is_made_alone(threads: WorkThreads) -> None:
    def fail_at_two(numbers: list[int]) -> list[int]:
        if 2 in numbers:
            raise DataError("two")
        return numbers

    joined: JoinedCalls[int, int] = JoinedCalls(threads, most=5)
    with Held(threads):
        asked = [joined.submit("", fail_at_two, number, 1) for number in (1, 2, 3)]
    assert (asked[0].result(5), asked[2].result(5)) == (1, 3)
    with pytest.raises(DataError, match="two"):
        asked[1].result(5)
    with pytest.raises(DataError):
        joined.submit("", fail_at_two, 2, 1).result(5)


def test_joined_searches_have_the_answers_of_each_alone_by_one_call_of_one_generation(
    tmp_path: Path,
) -> None:
    engine = served_copy(build_shop(tmp_path / "made"), tmp_path, ServingLimits(batch=1))
    assert engine.index is not None
    calls: list[str] = []
    for name in ("search", "classify"):
        spy(engine, name, calls)
    photos = [[served("mug", 7)], [served("tea", 8), served("<b>jam", 9)], [served("lemon", 1)]]

    async def together() -> list[Any]:
        asking = [engine.search(images, k=4, classify=True) for images in photos]
        asking += [engine.classify(images) for images in photos]
        asking += [engine.search(photos[0], k=2)]
        tasks = [asyncio.create_task(asked) for asked in asking]
        while len(engine._joined._waiting) < len(asking):
            await asyncio.sleep(0.002)
        held.go_on.set()
        return await asyncio.gather(*tasks)

    held = Held(engine._reading)
    with held:
        joined = asyncio.run(together())
    assert calls == ["search", "classify", "classify", "search"], "the first one classifies too"

    async def alone() -> list[Any]:
        answers: list[Any] = [await engine.search(images, k=4, classify=True) for images in photos]
        answers += [await engine.classify(images) for images in photos]
        return [*answers, await engine.search(photos[0], k=2)]

    singly = asyncio.run(alone())
    asyncio.run(engine.close())
    for one, other in zip(joined, singly, strict=True):
        assert (one.model, one.generation) == (other.model, other.generation)
        for mine, its in zip(one.items, other.items, strict=True):
            assert getattr(mine, "neighbours", ()) == getattr(its, "neighbours", ()), "bit for bit"
            own, its_own = (getattr(item, "classified", item) for item in (mine, its))
            if own is not None and not hasattr(own, "neighbours"):
                assert asdict(own) == pytest.approx(asdict(its_own), abs=1e-6)


def spy(engine: ServingEngine, name: str, calls: list[str]) -> None:
    own = getattr(engine.index, name)

    def noted(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return own(*arguments, **options)

    setattr(engine.index, name, noted)
