"""S3's answers of ranges, by a client that gives the answers of a server that does not keep to what was asked."""

import errno
from typing import Any

import pytest
from fsspec.asyn import get_loop

from eml.storage import RemotePath, file_systems
from eml.storage.object_ranges import read_range
from eml.storage.objects import ObjectInfo

PLACE, VERSION = RemotePath("s3://bucket/a.tar"), ObjectInfo(20, "etag=1")


class _Body:
    """Bytes that come some at a time."""

    def __init__(self, data: bytes) -> None:
        self.data, self.taken = data, 0

    async def read(self, most: int) -> bytes:
        part = self.data[self.taken : self.taken + min(most, 3)]
        self.taken += len(part)
        return part

    def close(self) -> None:
        pass


class _Client:
    """The part of s3fs that is used."""

    def __init__(self, body: bytes, **facts: str) -> None:
        self.loop, self.body, self.facts = get_loop(), _Body(body), facts

    def split_path(self, place: str) -> tuple[str, str, None]:
        return "bucket", "a.tar", None

    async def _call_s3(self, name: str, **settings: Any) -> dict[str, Any]:
        return {"ETag": '"1"', "Body": self.body} | self.facts


def read(client: _Client, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setitem(file_systems._opened, (file_systems.os.getpid(), "s3"), client)
    return read_range(PLACE, VERSION, 5, 13)


def test_a_range_of_s3_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(_Client(b"abcdefgh", ContentRange="bytes 5-12/20"), monkeypatch) == b"abcdefgh"
    assert read(_Client(b"abcdefgh"), monkeypatch) == b"abcdefgh"


@pytest.mark.parametrize("header", ["bytes 0-7/20", "bytes 5-12/21"])
def test_an_answer_of_another_range_is_refused_before_it_is_read(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = _Client(b"abcdefgh", ContentRange=header)
    with pytest.raises(OSError, match=f"Content-Range '{header}', though bytes 5-12/20 was asked for"):
        read(client, monkeypatch)
    assert client.body.taken == 0


def test_of_an_answer_that_does_not_end_one_byte_more_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    client = _Client(bytes(1_000))
    monkeypatch.setattr("eml.storage.object_ranges.with_retries", lambda request, name: request())
    with pytest.raises(OSError, match="9 bytes were read of 8") as error:
        read(client, monkeypatch)
    assert (error.value.errno, client.body.taken) == (errno.EIO, 9)
