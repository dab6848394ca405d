"""What a command asks a web server for: a table and its sidecar once, an image once and its facts once."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import eml
from eml.storage import RemotePath, file_systems, listing
from eml.storage.remembered import command_begin, file_bytes, forget_files, remembering
from tests.packed_files import jpeg
from tests.storage.stores import faulty_store

TABLE = RemotePath("memory://ds/t.csv")


class _Counting(SimpleHTTPRequestHandler):
    """Python's own server of files, which has neither ETags nor ranges, with a count of its requests."""

    requests: ClassVar[Counter[tuple[str, str]]] = Counter()

    def log_message(self, *arguments: object) -> None:
        pass

    def log_request(self, *arguments: object) -> None:
        self.requests[self.command, self.path.replace("%20", " ")] += 1


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("EML_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EML_REMOTE_CACHE_SIZE", raising=False)
    for number in range(12):
        path = tmp_path / "www" / "g" / f"class {number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(7 * number + 1))
        os.utime(path, (1_600_000_000, 1_600_000_000))
    eml.scan(tmp_path / "www" / "g")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Counting, directory=str(tmp_path / "www")))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    file_systems._opened.clear()
    listing.forget_all()
    yield f"http://127.0.0.1:{server.server_port}"
    file_systems._opened.clear()
    listing.forget_all()
    server.shutdown()
    server.server_close()


def test_embedding_a_table_of_a_web_server_asks_once_for_each_image_and_file(address: str, tmp_path: Path) -> None:
    _Counting.requests.clear()
    ways: dict[str, Any] = {"weights": "none", "device": "cpu", "out": tmp_path / "e.npz"}
    result = eml.embed("timm:test_resnet", f"{address}/g/dataset_info.csv", **ways)
    assert (result.images, len(result.errors)) == (12, 0)
    images = {key: count for key, count in _Counting.requests.items() if key[1].endswith(".jpg")}
    assert Counter(method for method, _ in images) == {"HEAD": 12, "GET": 12}
    assert set(images.values()) == {1}
    for name in ("dataset_info.csv", "dataset_info.csv.eml.json"):
        assert max(_Counting.requests["HEAD", f"/g/{name}"], _Counting.requests["GET", f"/g/{name}"]) <= 2, name
    assert _Counting.requests.total() <= 2 * 12 + 20
    _Counting.requests.clear()
    eml.embed("timm:test_resnet", f"{address}/g/dataset_info.csv", **ways | {"out": tmp_path / "again.npz"})
    assert not [key for key in _Counting.requests if key[0] == "GET" and key[1].endswith(".jpg")]


def test_a_file_is_remembered_to_the_end_of_the_outermost_command() -> None:
    with faulty_store() as store:
        store.pipe("/ds/t.csv", b"1")
        with remembering():
            with remembering():
                assert [file_bytes(TABLE), TABLE.read_bytes(), TABLE.open("rb").read()] == [b"1"] * 3
                assert TABLE.is_file()
                assert not TABLE.with_name("none.csv").exists()
            store.pipe("/ds/t.csv", b"22")
            store.pipe("/ds/none.csv", b"")
            assert (TABLE.read_bytes(), TABLE.with_name("none.csv").exists()) == (b"1", False)
            assert (store.requests["t.csv"], store.asked["t.csv"]) == (1, 1)
            forget_files()
            assert TABLE.read_bytes() == b"22"
        store.pipe("/ds/t.csv", b"333")
        assert TABLE.read_bytes() == b"333"
        store.pipe("/ds/t.csv", b"4444")
        assert TABLE.read_bytes() == b"4444"
        assert command_begin() == float("inf")
