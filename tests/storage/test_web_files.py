import hashlib
import json
import threading
import time
import zlib
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from eml.cli.streams import system_problem
from eml.errors import DataError
from eml.images.packed.remote_states import image_states
from eml.storage import RemotePath, file_systems, open_binary, read_bytes, retries
from eml.storage.failures import ReplacedObjectError, as_os_error, is_passing
from eml.storage.object_blocks import ObjectBlocks
from eml.storage.object_cache import cached_bytes
from eml.storage.object_ranges import read_range
from eml.storage.objects import ObjectInfo, object_info
from eml.storage.upload import fetch

DATA = bytes(range(256)) * 4


class _Server(BaseHTTPRequestHandler):
    """Serves DATA at /a.bin, and answers that a careless or hostile server gives."""

    other = ""
    """The address of another server, to which /elsewhere.bin leads."""
    cuts = 0
    """Requests of /cut.bin, of which the first is answered in half."""
    told_range = ""
    """What /new.bin says that it answers with."""
    changed = 0.0
    """Time of the last change of /dated.bin, which has no ETag."""
    methods: ClassVar[list[str]] = []
    tag = '"2"'
    """The version of /new.bin."""
    objects: ClassVar[dict[str, bytes]] = {}
    """What lies there beside."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.methods.append(self.command)
        headers, body, status = {}, DATA, 200
        if self.path == "/elsewhere.bin":
            headers, body, status = {"Location": f"{self.other}/a.bin?token=SECRET"}, b"", 302
        elif self.path == "/moved.bin":
            headers, body, status = {"Location": "/a.bin"}, b"", 302
        elif self.path == "/encoded.bin":
            headers, body = {"Content-Encoding": "gzip"}, zlib.compress(bytes(10**6), wbits=31)
        elif self.path == "/endless.bin":
            headers, body = {"Transfer-Encoding": "chunked"}, b"400\r\n" + DATA + b"\r\n" + b"400\r\n" + DATA + b"\r\n"
        elif self.path == "/cut.bin" and self.command == "GET":
            _Server.cuts += 1
            headers = {"Content-Length": str(len(DATA)), "Connection": "close"}
            body = DATA[: len(DATA) // 2] if _Server.cuts == 1 else DATA
        elif self.path == "/new.bin":
            start, end = map(int, self.headers.get("Range", "bytes=0-1023").removeprefix("bytes=").split("-"))
            headers, body, status = {"ETag": self.tag}, DATA[start : end + 1], 206
            if self.told_range:
                headers["Content-Range"] = self.told_range
        elif self.path == "/dated.bin":
            headers = {"Last-Modified": formatdate(_Server.changed, usegmt=True)}
        elif self.path in self.objects:
            body = self.objects[self.path]
        elif self.path not in ("/a.bin", "/a.tar", "/cut.bin"):
            status, body = 404, b""
        if "Transfer-Encoding" not in headers and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(body))
        elif self.command == "HEAD" and "Transfer-Encoding" in headers:
            headers = {"Content-Length": str(len(DATA))}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _Server) for _ in range(2)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    _Server.other = f"http://127.0.0.1:{servers[1].server_port}"
    before = retries.POLICY
    retries.POLICY = retries.RetryPolicy(attempts=2, first=1e-4, longest=1e-3)
    file_systems._opened.clear()
    yield f"http://127.0.0.1:{servers[0].server_port}"
    retries.POLICY = before
    file_systems._opened.clear()
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_object_is_read_whole_and_from_its_begin(address: str) -> None:
    path = RemotePath(f"{address}/a.bin")
    assert read_bytes(path) == DATA
    assert read_bytes(path, at_most=10) == DATA[:10]
    with open_binary(path) as file:
        assert file.read(4) == DATA[:4]
    assert not RemotePath(f"{address}/b.csv").exists()


def test_a_redirect_is_followed_on_its_host_and_refused_to_another_port_with_both_named(address: str) -> None:
    assert read_bytes(RemotePath(f"{address}/moved.bin")) == DATA
    with pytest.raises(OSError, match=f"{address} redirects to {_Server.other}. Redirects are followed") as error:
        read_bytes(RemotePath(f"{address}/elsewhere.bin"))
    assert "SECRET" not in str(error.value)
    assert not is_passing(error.value.__cause__ or error.value)


def test_a_redirect_may_go_from_http_to_https_of_a_host_and_nowhere_else() -> None:
    from yarl import URL

    from eml.storage.web_files import may_redirect

    source = URL("http://host/a")
    assert may_redirect(source, URL("https://host/b"))
    assert not may_redirect(URL("https://host/a"), URL("http://host/a"))
    for target in (
        "https://host:8443/a",
        "http://host:81/a",
        "https://host.evil/a",
        "http://127.0.0.1/a",
        "ftp://host/",
    ):
        assert not may_redirect(source, URL(target)), target


def test_an_encoded_answer_is_refused_and_not_decoded(address: str) -> None:
    with pytest.raises(OSError, match="Content-Encoding 'gzip', though none was asked for"):
        read_bytes(RemotePath(f"{address}/encoded.bin"))


def test_of_an_answer_that_does_not_end_no_more_is_read_than_was_told(address: str) -> None:
    with pytest.raises(OSError, match="1,025 bytes were read of 1,024"):
        read_bytes(RemotePath(f"{address}/endless.bin"))


def test_no_more_of_an_object_is_written_into_a_file_than_is_wanted(address: str, tmp_path: Path) -> None:
    system = file_systems.file_system(RemotePath(address))
    for name, most, size in (("a", len(DATA), len(DATA)), ("a", 5, 6), ("endless", len(DATA), len(DATA) + 1)):
        system.get_file(f"{address}/{name}.bin", str(tmp_path / "a.bin"), most=most)
        assert (tmp_path / "a.bin").read_bytes() == (DATA * 2)[:size]
    with pytest.raises(OSError, match="Content-Encoding 'gzip'"):
        system.get_file(f"{address}/encoded.bin", str(tmp_path / "b.bin"))


def test_a_server_that_does_not_answer_is_no_missing_file_and_said_once(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "_SILENT", -1.0)
    retries._reported.clear()
    retries._answered.clear()
    for _ in range(2):
        with pytest.raises(
            DataError, match=r"^http://127\.0\.0\.1:1: nothing answers at this address \(the con"
        ) as error:
            read_bytes(RemotePath("http://127.0.0.1:1/a.bin"))
        assert error.value.code == "remote-failing"
        assert str(error.value).endswith("It was asked 2 times in 0 seconds. Run the command again when it answers")
    assert [record.message for record in caplog.records if record.name == "eml.storage"] == [
        "http://127.0.0.1:1: nothing answers at this address (the connection is refused); it is asked again"
    ]
    assert as_os_error(TimeoutError("x"), "name").strerror == "x"


def test_a_range_of_another_version_is_refused(address: str) -> None:
    path = RemotePath(f"{address}/new.bin")
    _Server.told_range = "bytes 5-8/1024"
    assert read_range(path, ObjectInfo(len(DATA), "etag=2"), 5, 9) == DATA[5:9]
    with pytest.raises(ReplacedObjectError, match="of two versions"):
        read_range(path, ObjectInfo(len(DATA), "etag=1"), 5, 9)


def test_a_file_that_is_read_in_parts_is_of_one_version(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Server, "told_range", "bytes 0-1023/1024")
    with open_binary(RemotePath(f"{address}/new.bin")) as file:
        monkeypatch.setattr(_Server, "tag", '"3"')
        with pytest.raises(ReplacedObjectError, match="of two versions"):
            file.read(5)
    with open_binary(RemotePath(f"{address}/new.bin")) as file:
        assert file.read(5) == DATA[:5]


def test_a_copy_is_fetched_from_a_web_server_that_answers_no_ranges(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.blake2b(DATA, digest_size=16).hexdigest()
    manifest = {"files": {"model.bin": {"bytes": len(DATA), "digest": digest}}}
    copy = {"/run/eml-upload.json": json.dumps(manifest).encode(), "/run/model.bin": DATA}
    monkeypatch.setattr(_Server, "objects", copy)
    place = RemotePath(f"{address}/run")
    assert (fetch(place, tmp_path) / "model.bin").read_bytes() == DATA
    for wrong in (DATA * 2, DATA[::-1]):
        copy["/run/model.bin"] = wrong
        with pytest.raises(DataError, match=r"model\.bin: is not the file that eml-upload\.json lists"):
            fetch(place, tmp_path / "other")


@pytest.mark.parametrize(
    "told", ["bytes 0-3/1024", "bytes 5-9/1024", "bytes 5-8/1025", "bytes 5-7/1024", "5-8/1024", ""]
)
def test_an_answer_of_another_range_is_refused_and_not_kept(
    address: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path))
    path = RemotePath(f"{address}/new.bin")
    _Server.told_range = told
    with pytest.raises(OSError, match=f"Content-Range '{told}', though bytes 5-8/1024 was asked for") as error:
        read_range(path, ObjectInfo(len(DATA), "etag=2"), 5, 9)
    assert not is_passing(error.value.__cause__ or error.value)
    with pytest.raises(OSError, match="though bytes 0-1023/1024 was asked for"):
        ObjectBlocks(path, ObjectInfo(len(DATA), "etag=2")).read(5, 4)
    with pytest.raises(OSError, match=r"Content-Range|though the whole was asked for"):
        file_systems.file_system(path).cat_file(str(path))
    assert not list(tmp_path.rglob("*"))


def test_an_answer_that_ends_too_early_is_asked_for_again(address: str) -> None:
    _Server.cuts = 0
    assert read_bytes(RemotePath(f"{address}/cut.bin")) == DATA
    assert _Server.cuts == 2


def test_a_time_of_the_last_change_is_a_version_once_it_is_two_seconds_old(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path))
    monkeypatch.delenv("EML_REMOTE_CACHE_SIZE", raising=False)
    path = RemotePath(f"{address}/dated.bin")
    _Server.changed = time.time()
    assert object_info(path).token == ""
    _Server.changed = 1_700_000_000.0
    info = object_info(path)
    assert info.token == "time=1700000000000000000"
    assert cached_bytes(path, info) == DATA
    _Server.methods.clear()
    assert cached_bytes(path, info) == DATA
    assert _Server.methods == []


def test_packed_files_of_a_server_without_versions_are_an_error_of_one_line(address: str) -> None:
    with pytest.raises(DataError, match=f"^{address}/a.tar: cannot be read: its place tells no version") as error:
        image_states(RemotePath(address), ["a.tar/cat/1.jpg"])
    assert error.value.code == "not-readable"
    line = f"{address}/a.tar: cannot be used: its place tells no version"
    assert system_problem(OSError(95, "its place tells no version", f"{address}/a.tar")) == line
    assert system_problem(OSError(95, "of eml", "/tmp/a.tar")) is None
