import hashlib
import io

import pytest

from eml.errors import DataError
from eml.files import digest
from eml.storage import RemotePath, file_state, file_systems, open_binary, read_bytes
from eml.storage.objects import _Checksums, info_of
from tests.storage.stores import faulty_store, refuse, truncate

PHOTO = RemotePath("memory://photos/a.jpg")
DATA = bytes(range(256)) * 4


def test_a_truncated_answer_is_noticed_by_its_length_and_read_again() -> None:
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", DATA)
        store.faults["a.jpg"] = truncate(2)
        assert read_bytes(PHOTO) == DATA
        store.faults["a.jpg"] = truncate(99)
        with pytest.raises(OSError, match="512 bytes were read of 1,024"):
            read_bytes(PHOTO)


def test_the_digest_and_the_state_are_those_of_the_bytes() -> None:
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", DATA)
        assert digest(PHOTO) == hashlib.blake2b(DATA, digest_size=16).hexdigest()
        size, token = file_state(PHOTO)
        assert size == 1024
        store.pipe("/photos/a.jpg", DATA[::-1])
        assert file_state(PHOTO)[1] != token
        with pytest.raises(IsADirectoryError):
            file_state(PHOTO.parent)
        with pytest.raises(FileNotFoundError):
            file_state(PHOTO.parent / "b.jpg")


def test_a_file_is_sought_in_by_ranges_that_are_repeated_when_they_fail() -> None:
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", DATA)
        store.faults["a.jpg"] = refuse(1)
        with open_binary(PHOTO) as file:
            assert file.read(4) == DATA[:4]
            assert file.seek(-4, io.SEEK_END) == 1020
            assert file.read() == DATA[-4:]
            assert file.seek(100) == 100
            assert file.read(2) == DATA[100:102]
        assert read_bytes(PHOTO, at_most=10) == DATA[:10]


def test_a_checksum_that_differs_is_believed_until_the_same_bytes_come_twice() -> None:
    checksums = _Checksums()
    right, wrong = hashlib.md5(DATA).hexdigest(), "0" * 32
    assert not checksums.agree(PHOTO, wrong, DATA[:-1])
    assert not checksums.agree(PHOTO, wrong, DATA)
    assert checksums.agree(PHOTO, wrong, DATA)  # the bucket has other tags than MD5
    assert checksums.agree(PHOTO, wrong, DATA[:-1])
    checksums = _Checksums()
    assert checksums.agree(PHOTO, right, DATA)
    assert not checksums.agree(PHOTO, right, DATA[:-1])
    assert not checksums.agree(PHOTO, right, DATA[:-1])


def test_a_multipart_tag_is_a_version_and_no_checksum() -> None:
    facts = {"size": 3, "ETag": f'"{"a" * 32}-2"', "LastModified": "2026-01-02T03:04:05+00:00"}
    info = info_of(facts)
    assert (info.bytes, info.md5) == (3, "")
    assert (info.token, info.tag) == ("etag=" + "a" * 32 + "-2", "a" * 32 + "-2")
    assert info.modified == 1767323045_000000000
    assert info_of({"size": 3, "ETag": f'"{"a" * 32}"'}).md5 == "a" * 32


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str, **settings: object) -> object:
        raise ImportError

    monkeypatch.setattr("fsspec.filesystem", missing)
    monkeypatch.setattr(file_systems, "_settings", lambda scheme: {})
    file_systems._opened.clear()
    for scheme, advice in (("s3", r"s3fs: pip install 'easy-metric-learning\[remote\]'"), ("gs", r"\[remote\]' gcsfs")):
        with pytest.raises(DataError, match=advice) as error:
            read_bytes(RemotePath(f"{scheme}://bucket/a"))
        assert error.value.code == "missing-package"


def test_names_on_a_web_server_are_percent_encoded_once() -> None:
    assert file_systems.location(RemotePath("https://host/a b/c?d#e%20.jpg")) == "https://host/a%20b/c%3Fd%23e%20.jpg"
    assert file_systems.location(RemotePath("s3://bucket/a b?c")) == "bucket/a b?c"


def test_versions_are_compared_by_what_two_answers_both_tell() -> None:
    listed = info_of({"size": 5, "etag": '"a"'})
    assert info_of({"size": 5, "ETag": '"a"', "content_md5": "x"}).is_same_version(listed)
    assert not info_of({"size": 5, "ETag": '"b"', "content_md5": "x"}).is_same_version(listed)
    assert not info_of({"size": 6, "ETag": '"a"'}).is_same_version(listed)
    dated = info_of({"size": 5, "mtime": 1_700_000_000.5})
    assert dated == info_of({"size": 5, "created": "2023-11-14T22:13:20.5+00:00"})
    assert not dated.is_same_version(listed)
    assert not info_of({"size": 5}).is_same_version(info_of({"size": 5}))
