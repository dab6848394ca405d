import os
import time
from pathlib import Path

import pytest

from eml.errors import ConfigError
from eml.storage import RemotePath, list_objects
from eml.storage.object_cache import ObjectCache, ObjectCacheSettings, cache_facts, cache_settings, cached_bytes
from eml.storage.objects import ObjectInfo
from tests.storage.stores import faulty_store, vanish

PHOTO = RemotePath("memory://photos/a.jpg")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EML_REMOTE_CACHE_SIZE", raising=False)
    return tmp_path / "cache"


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "objects").rglob("*") if path.is_file())


def test_an_object_is_read_once_and_another_version_of_it_again(folder: Path) -> None:
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", b"first")
        assert cached_bytes(PHOTO) == cached_bytes(PHOTO) == b"first"
        assert store.requests["a.jpg"] == 1
        store.pipe("/photos/a.jpg", b"other")
        assert cached_bytes(PHOTO) == b"other"
        assert store.requests["a.jpg"] == 2
        assert len(files_in(folder)) == 2


def test_a_version_that_is_replaced_while_it_is_read_is_not_kept(folder: Path) -> None:
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", b"first")
        info = list_objects(PHOTO.parent)["a.jpg"]
        store.pipe("/photos/a.jpg", b"other")
        assert cached_bytes(PHOTO, info) == b"other"
        assert files_in(folder) == []
        assert cached_bytes(PHOTO) == b"other"


def test_a_cut_file_is_read_anew_and_a_vanished_object_is_served_from_no_cache(folder: Path) -> None:
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", b"first")
        cached_bytes(PHOTO)
        file = files_in(folder)[0]
        file.write_bytes(file.read_bytes()[:-1])
        assert cached_bytes(PHOTO) == b"first"
        assert store.requests["a.jpg"] == 2
        file.write_bytes(b"")
        store.faults["a.jpg"] = vanish
        with pytest.raises(FileNotFoundError):
            cached_bytes(PHOTO)


def test_a_block_that_is_changed_in_place_is_no_longer_believed(folder: Path) -> None:
    cache, info = ObjectCache(ObjectCacheSettings(folder, 10**6)), ObjectInfo(1_000, "etag=1")
    cache.put(PHOTO, info, bytes(1_000), "block")
    assert cache.get_some(PHOTO, info, "block", 5, 9) == bytes(4)
    (file,) = files_in(folder)
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(22)
        opened.write(b"x")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # the clock of the disk may stand still
    assert file.stat().st_size == before.st_size
    assert cache.get_some(PHOTO, info, "block", 5, 9) is None
    assert files_in(folder) == []


def test_a_use_that_is_noted_is_no_change(folder: Path) -> None:
    cache, info = ObjectCache(ObjectCacheSettings(folder, 10**6)), ObjectInfo(1_000, "etag=1")
    cache.put(PHOTO, info, bytes(1_000), "block")
    (file,) = files_in(folder)
    for _ in range(3):
        os.utime(file, times=(0, 0))
        assert cache.get_some(PHOTO, info, "block", 5, 9) == bytes(4)
        assert time.time() - file.stat().st_mtime < 100
    cache.get = lambda *arguments: pytest.fail("it is read whole again")  # type: ignore[method-assign]
    assert cache.get_some(PHOTO, info, "block", 5, 9) == bytes(4)


def test_what_was_unused_for_the_longest_time_makes_room(folder: Path) -> None:
    cache = ObjectCache(ObjectCacheSettings(folder, 20_000))
    infos = [ObjectInfo(1_000, str(number)) for number in range(30)]
    for number, info in enumerate(infos):
        cache.put(PHOTO, info, bytes(1_000))
        for file in files_in(folder):
            if time.time() - file.stat().st_mtime < 100:
                os.utime(file, times=(number, number))
        assert cache.get(PHOTO, infos[0]) is not None  # which is used each time
        assert sum(file.stat().st_size for file in files_in(folder)) <= 20_000
    assert cache.get(PHOTO, infos[-1]) is not None
    assert cache.get(PHOTO, infos[1]) is None
    cache.put(PHOTO, ObjectInfo(5_000, "large"), bytes(5_000))
    assert cache.get(PHOTO, ObjectInfo(5_000, "large")) is None


def test_a_folder_that_cannot_be_written_leaves_the_command_without_a_cache(folder: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file")
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", b"first")
        assert cached_bytes(PHOTO) == cached_bytes(PHOTO) == b"first"
    assert folder.read_text() == "a file"


def test_the_environment_says_where_and_how_large_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_settings() == ObjectCacheSettings(folder, 10**10)
    monkeypatch.setenv("EML_REMOTE_CACHE_SIZE", "1.5 GiB")
    assert cache_settings().limit == 3 * 2**29
    assert cache_facts() == f"{folder}, 0.00 of 1.6 GB in 0 files"
    monkeypatch.setenv("EML_REMOTE_CACHE_SIZE", "0")
    assert cache_facts() == "none (EML_REMOTE_CACHE_SIZE=0)"
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", b"first")
        assert cached_bytes(PHOTO) == cached_bytes(PHOTO) == b"first"
        assert store.requests["a.jpg"] == 2
    monkeypatch.setenv("EML_REMOTE_CACHE_SIZE", "much")
    with pytest.raises(ConfigError, match="must be a size such as 10GB"):
        cache_settings()
