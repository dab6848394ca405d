"""A large object is read in blocks, of one version alone."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eml.storage import RemotePath, object_blocks
from eml.storage.failures import ReplacedObjectError
from eml.storage.object_blocks import ObjectBlocks
from eml.storage.objects import ObjectInfo, info_of, object_info
from tests.storage.stores import FaultyStore, faulty_store, refuse, truncate, vanish

PACK = RemotePath("memory://ds/a.tar")
DATA = random.Random(0).randbytes(95_500)
BLOCK = 1_000


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EML_REMOTE_CACHE_SIZE", "10MB")
    monkeypatch.setattr(object_blocks, "BLOCK", BLOCK)
    with faulty_store() as store:
        store.pipe("/ds/a.tar", DATA)
        yield store
        object_blocks._memory._reset()


def blocks() -> ObjectBlocks:
    return ObjectBlocks(PACK, object_info(PACK))


def in_another_process() -> ObjectBlocks:
    """The blocks, of which nothing is in memory."""
    object_blocks._memory._reset()
    return blocks()


def test_threads_read_any_place_and_each_block_comes_once(store: FaultyStore) -> None:
    file, draws = blocks(), random.Random(1)
    places = [(draws.randrange(len(DATA) + 50), draws.choice([1, 700, 5_000])) for _ in range(300)]
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda place: file.read(*place), places))
    assert parts == [DATA[offset : offset + count] for offset, count in places]
    assert store.requests["a.tar"] <= len(DATA) // BLOCK + 1
    requests = store.requests["a.tar"]
    again = in_another_process()
    assert [again.read(*place) for place in places] == parts
    assert store.requests["a.tar"] == requests
    assert file.read(len(DATA), 5) == b""


@pytest.mark.parametrize("size, most", [("10MB", 16), ("0", 16)])
def test_blocks_in_a_row_come_several_at_once(
    store: FaultyStore, size: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EML_REMOTE_CACHE_SIZE", size)
    file = blocks()
    assert b"".join(file.read(offset, 100) for offset in range(0, len(DATA), 100)) == DATA
    assert store.requests["a.tar"] <= most
    assert store.asked["a.tar"] == 1 + store.requests["a.tar"]  # when it is opened, and after each answer


def test_answers_that_are_refused_or_cut_are_asked_for_again(store: FaultyStore) -> None:
    for fault in (refuse(2), truncate(2)):
        store.requests.clear()
        store.faults["a.tar"] = fault
        assert in_another_process().read(40, 20) == DATA[40:60]
        store.faults.clear()
        (path,) = (path for path in cached_files() if path.is_file())
        path.unlink()


def cached_files() -> list[Path]:
    from eml.storage.object_cache import cache_settings

    return sorted((cache_settings().folder / "objects").rglob("*"))


def test_a_damaged_block_is_read_anew(store: FaultyStore) -> None:
    assert blocks().read(0, 10) == DATA[:10]
    (path,) = (path for path in cached_files() if path.is_file())
    path.write_bytes(path.read_bytes()[:-1])
    assert in_another_process().read(0, 10) == DATA[:10]
    assert store.requests["a.tar"] == 2


@pytest.mark.parametrize("other", [DATA[::-1], DATA[:500]])
def test_another_version_is_refused_and_what_is_kept_of_the_first_is_not(store: FaultyStore, other: bytes) -> None:
    file = blocks()
    assert file.read(0, 10) == DATA[:10]
    store.pipe("/ds/a.tar", other)
    with pytest.raises(ReplacedObjectError, match="replaced while it was read"):
        file.read(2_000, 10)
    requests = store.requests["a.tar"]
    with pytest.raises(ReplacedObjectError):
        file.read(2_500, 10)
    assert file.read(5, 10) == DATA[5:15]
    assert store.requests["a.tar"] == requests
    assert in_another_process().read(0, 10) == other[:10]


def test_an_object_that_is_gone_is_missing_and_one_without_a_version_is_not_opened(store: FaultyStore) -> None:
    file = blocks()
    store.faults["a.tar"] = vanish
    with pytest.raises(FileNotFoundError):
        file.read(0, 10)
    for info in (ObjectInfo(10, ""), ObjectInfo(-1, "1")):
        with pytest.raises(OSError, match="tells no version or no length"):
            ObjectBlocks(PACK, info)


def test_a_forked_process_does_not_wait_for_a_request_of_a_thread_of_its_parent(store: FaultyStore) -> None:
    """The thread of the parent is one that waits while what is called in a child, by itself, is called."""
    file, is_asked, may_answer = blocks(), threading.Event(), threading.Event()

    def wait(number: int, data: bytes) -> bytes:
        if number == 0:
            is_asked.set()
            may_answer.wait(20)
        return data

    store.faults["a.tar"] = wait
    with ThreadPoolExecutor(2) as pool:
        earlier = pool.submit(file.read, 0, 10)
        assert is_asked.wait(20)
        object_blocks._reset_all()
        later = pool.submit(file.read, 0, 10)
        try:
            assert later.result(20) == DATA[:10]
            assert not earlier.done()
        finally:
            may_answer.set()
        assert earlier.result() == DATA[:10]


def test_an_object_with_a_weak_tag_alone_is_not_read_in_parts() -> None:
    weak = info_of({"size": 10, "ETag": 'W/"1"'})
    assert weak.is_same_version(info_of({"size": 10, "ETag": 'W/"1"'}))  # as a whole
    with pytest.raises(OSError, match="tells its version only by a weak ETag, so it cannot be read in parts"):
        ObjectBlocks(PACK, weak)
    assert ObjectBlocks(PACK, info_of({"size": 10, "ETag": '"1"'})).size == 10
    assert info_of({"size": 10, "etag": 'W/"1"', "generation": 7}).is_exact


def test_what_was_found_out_is_kept_for_the_version(store: FaultyStore) -> None:
    file = blocks()
    assert file.recall("places") is None
    file.keep("places", b"1 2 3")
    assert in_another_process().recall("places") == b"1 2 3"
    store.pipe("/ds/a.tar", b"other")
    assert blocks().recall("places") is None


def test_a_reader_that_fails_leaves_no_other_waiting(store: FaultyStore) -> None:
    file = blocks()
    store.faults["a.tar"] = refuse(99, status=403)
    reads: list[Callable[[], bytes]] = [lambda: file.read(0, 10)] * 4
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(read) for read in reads]:
            with pytest.raises(PermissionError):
                future.result()
    store.faults.clear()
    assert file.read(0, 10) == DATA[:10]
