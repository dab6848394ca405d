"""A writer that is killed at any point leaves the generation before its change or the one after it."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest

from eml.indexing import changes, embedding_rows, segment_files
from eml.indexing.store import IndexStore

SIZE, COUNT = 8, 90
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch) -> None:
    for module in (segment_files, changes, embedding_rows):
        monkeypatch.setattr(module, "SEGMENT_ROWS", 32)


def images(first: int, count: int) -> tuple[np.ndarray, pd.DataFrame]:
    vectors = np.random.default_rng(first).normal(size=(count, SIZE)).astype(np.float32)
    numbers = range(first, first + count)
    rows = {
        "file_name": [f"{number}.jpg" for number in numbers],
        "label": [f"class {number % 5}" for number in numbers],
        "content": [f"{number:032x}" for number in numbers],
        "price": [number / 2 for number in numbers],
    }
    return vectors, pd.DataFrame(rows)


def add(store: IndexStore) -> None:
    vectors, rows = images(COUNT, 40)
    store.add(vectors, rows.assign(colour="red"))


def remove(store: IndexStore) -> None:
    store.remove(labels=["class 1"])


def compact(store: IndexStore) -> None:
    store.compact()


def start(folder: Path) -> None:
    """Make an index of several segments, with images that have been removed."""
    with IndexStore.create(folder, size=SIZE) as store:
        for first in range(0, COUNT, 30):
            store.add(*images(first, 30))
        store.remove(ids=[3, 40, 41])


def contents(store: IndexStore) -> tuple:
    """Return all that an index answers."""
    ids = store.ids()
    rows = store.rows().to_csv(index=False)
    answer = store.search(np.eye(SIZE), 5)
    return rows, store.embeddings(ids).tobytes(), answer.ids.tolist(), answer.cosines.tolist()


def events_before(point: float) -> Callable[[], int]:
    """Kill this process at the n-th event from now on: a statement, a file that is opened, renamed or deleted."""
    count = 0

    def see(*_: object) -> None:
        nonlocal count
        count += 1
        if count > point:
            os.kill(os.getpid(), signal.SIGKILL)

    def see_files(event: str, arguments: tuple) -> None:
        is_written = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if is_written or event in ("os.rename", "os.remove", "os.mkdir"):
            see()

    sys.addaudithook(see_files)
    see.count = lambda: count  # type: ignore[attr-defined]
    return see


def run_killed(folder: Path, change: Callable[[IndexStore], None], point: float, seconds: float | None = None) -> int:
    """Make a change in a child that is killed at its n-th event, or after some seconds; return the events it saw."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store = IndexStore.open(folder)
            see = events_before(point)
            store.database.connection().set_trace_callback(see)
            os.write(writing, b"b")
            change(store)
            os.write(writing, str(see.count()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    count = os.read(reading, 20)
    os.close(reading)
    return int(count or 0)


def check_after(folder: Path, before: tuple, after: tuple) -> bool:
    """Check an index whose writer was killed; return whether the change has been made."""
    with IndexStore.open(folder) as store:
        now = contents(store)
        assert now in (before, after)
        assert {problem.code for problem in store.verify()} <= {"left-over"}
        store.add(*images(1000, 3))
        assert store.verify() == []
        assert len(store.search(np.eye(SIZE), 500).ids[0]) == 500
    return now == after


def kills(tmp_path: Path, change: Callable[[IndexStore], None]) -> Iterator[tuple[Callable[..., bool], int]]:
    """Yield a function that kills a change at a point or after seconds, and the number of its points."""
    start(tmp_path / "start")
    with IndexStore.open(tmp_path / "start") as store:
        before = contents(store)
    shutil.copytree(tmp_path / "start", tmp_path / "after")
    count = run_killed(tmp_path / "after", change, np.inf)
    with IndexStore.open(tmp_path / "after") as store:
        after = contents(store)
        assert store.verify() == []

    def kill(point: float, seconds: float | None = None) -> bool:
        folder = tmp_path / "killed"
        shutil.copytree(tmp_path / "start", folder)
        run_killed(folder, change, point, seconds)
        is_made = check_after(folder, before, after)
        shutil.rmtree(folder)
        return is_made

    yield kill, count


@pytest.mark.parametrize("change", [add, remove, compact])
def test_a_killed_writer_leaves_the_old_or_the_new_generation(change, tmp_path) -> None:
    for kill, count in kills(tmp_path, change):
        points = sorted(Random(0).sample(range(count), 3))
        outcomes = [kill(point) for point in points]
        assert count > 10
        if change is not compact:  # which changes no answer
            assert outcomes == sorted(outcomes), "once it has been made it stays so"


@pytest.mark.wide
@pytest.mark.parametrize("change", [add, remove, compact])
def test_200_kills(change, tmp_path) -> None:
    for kill, count in kills(tmp_path, change):
        outcomes = [kill(point) for point in range(count)]
        began = time.monotonic()
        kill(np.inf)
        whole = time.monotonic() - began
        timed = [kill(np.inf, whole * Random(seed).random() / 2) for seed in range(max(0, 70 - count))]
        print(f"{change.__name__}: {count} points, {sum(outcomes)} after; {len(timed)} timed, {sum(timed)} after")
