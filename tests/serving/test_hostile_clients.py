"""Clients that mean harm, at a real server in a process of its own; after each of them a good one is answered right."""

import base64
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from eml.serving.keys import add_key
from tests.serving.shop_server import build_shop, photo_png

pytestmark = pytest.mark.wide
CLASSES = ("mug", "tea", "<b>jam")


class Host(ThreadingHTTPServer):
    """A web server of the test: the hosts that the server may fetch from, or one inside that it must never reach."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.inside = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """Answers with a photo, a redirect, or something endless."""

    def do_GET(self) -> None:
        host: Any = self.server
        host.asked.append(self.path)
        kind, _, place = self.path.partition("?")
        if kind == "/to":
            self.send_response(302)
            self.send_header("Location", place.replace("INSIDE", str(host.inside)))
            self.end_headers()
        elif kind == "/endless":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b"x" * 65536)
        else:
            data = photo_png("tea", 90)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@dataclass
class Running:
    """A server, its clients' keys, and the hosts around it."""

    process: subprocess.Popen[bytes]
    port: int
    reader: str
    writer: str
    outside: Host
    inside: Host
    folder: Path
    answers: list[bytes] = field(default_factory=list)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, key: str | None = ""
    ) -> tuple[int, Any]:
        """Return status and JSON of an answer; key: None sends none, "" the reader's."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key or self.reader}"
        if isinstance(body, dict):
            body, sent["Content-Type"] = json.dumps(body), "application/json"
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            data = response.read()
            self.answers.append(str(response.headers).encode() + data)
            return response.status, json.loads(data) if data[:1] in b"{[" and data else data
        finally:
            connection.close()

    def raw(self, data: bytes, wait: float = 5.0) -> bytes:
        """Send bytes, and return all that comes back until the connection ends or nothing comes for a time."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as client:
            answer = b""
            with suppress(OSError):
                client.sendall(data)
            with suppress(OSError):
                while part := client.recv(65536):
                    answer += part
        self.answers.append(answer)
        return answer

    def is_good(self) -> None:
        """Have three photos answered right."""
        for label in CLASSES:
            status, answer = self.ask("POST", "/v1/search", {"input": [as_uri(photo_png(label, 90))], "k": 1})
            assert status == 200, answer
            assert answer["answers"][0]["neighbours"][0]["label"] == label

    def memory(self) -> float:
        """Return the resident memory in MB."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def as_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def head(extra: bytes = b"", path: bytes = b"/v1/search", key: str = "") -> bytes:
    authorization = f"Authorization: Bearer {key}\r\n".encode() if key else b""
    return b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + authorization + extra + b"\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hostile")
    build_shop(folder)
    reader, writer = (
        add_key(folder / "keys.json", "reader", ["read"]),
        add_key(folder / "keys.json", "writer", ["write"]),
    )
    outside, inside = Host(), Host()
    outside.inside = inside.server_address[1]
    command = [sys.executable, "-m", "tests.serving.hostile_server", str(folder), str(outside.server_address[1])]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, (folder / "log").read_text()
    yield Running(process, int(line), reader, writer, outside, inside, folder)
    process.kill()
    process.wait()
    process.stdout.close()
    for host in (outside, inside):
        host.shutdown()
        host.server_close()


@pytest.fixture(autouse=True)
def _good_ones_are_answered_after_each(server: Running) -> Iterator[None]:
    server.is_good()
    yield
    if server.process.poll() is None:
        server.is_good()


def test_a_hundred_heads_that_come_byte_by_byte_keep_nobody_out(server: Running) -> None:
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    began = time.monotonic()
    for turn in range(12):
        for client in clients:
            with suppress(OSError):
                client.send(b"POST /v1/search HTTP/1.1\r\nX: "[turn : turn + 1])
        if turn % 4 == 0:
            server.is_good()
        time.sleep(0.1)
    time.sleep(max(0.0, 2.5 - (time.monotonic() - began)))
    alive = 0
    for client in clients:
        client.settimeout(3)
        with suppress(OSError):
            while client.recv(4096):
                pass
        with suppress(OSError):
            client.send(b"x")
            client.send(b"x")
            alive += 1
        client.close()
    assert alive < 10, "they are closed in their time"


def test_bodies_that_never_come_or_come_byte_by_byte_end_in_their_time(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=40) as client:
        client.sendall(head(b"Content-Length: 5000\r\nContent-Type: image/png\r\n", key=server.reader))
        began, data = time.monotonic(), b""
        while not data and time.monotonic() - began < 30:
            with suppress(OSError):
                client.send(b"x")
            client.settimeout(0.5)
            with suppress(TimeoutError):
                data = client.recv(4096)
    assert b" 408 " in data
    assert time.monotonic() - began < 25


@pytest.mark.parametrize(
    ("extra", "statuses"),
    [
        (b"X: " + b"a" * 300_000 + b"\r\n", (400, 431)),
        (b"".join(b"X%d: a\r\n" % n for n in range(2000)), (400, 431)),
        (b"Content-Length: 99999999999999\r\n", (413,)),
        (b"Content-Length: -1\r\n", (400, 413)),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", (400,)),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", (400,)),
        (b"Transfer-Encoding: gzip, chunked\r\n", (400,)),
        (b"Content-Encoding: gzip\r\nContent-Length: 5\r\n", (415,)),
        (b"Bad Name: x\r\n", (400,)),
        (b"X: a\x00b\r\n", (400,)),
        (b" folded: x\r\n", (400, 401)),  # it goes on with the line of the key,
    ],
)
def test_heads_that_lie_or_are_too_large_are_refused(server: Running, extra: bytes, statuses: tuple[int, ...]) -> None:
    answer = server.raw(head(extra, key=server.reader) + b"hello")
    assert int(answer.split(b" ")[1]) in statuses, answer[:200]


def test_a_length_that_is_too_short_ends_the_connection_and_smuggles_nothing(server: Running) -> None:
    inner = head(b"Content-Length: 2\r\nContent-Type: application/json\r\n", path=b"/v1/index/remove")
    answer = server.raw(
        head(b"Content-Length: 3\r\nContent-Type: image/png\r\n", key=server.reader) + b"abc" + inner + b"{}"
    )
    assert b" 401 " in answer, "what follows is a request of its own, and needs a key of its own"


def test_a_body_in_chunks_without_end_is_cut_off(server: Running) -> None:
    before = server.memory()
    for chunk in (b"10000\r\n" + b"x" * 65536 + b"\r\n", b"1\r\nx\r\n" * 4096):
        start = head(b"Transfer-Encoding: chunked\r\nContent-Type: image/png\r\n", key=server.reader)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            client.sendall(start)
            sent, answer = 0, b""
            with suppress(OSError):
                while sent < 200 * 2**20:
                    client.sendall(chunk)
                    sent += len(chunk)
            with suppress(OSError):
                answer = client.recv(4096)
        assert sent < 200 * 2**20
        assert not answer or b" 413 " in answer or b" 408 " in answer
    assert server.memory() - before < 50


def test_wrong_keys_are_slowed_down_and_the_right_one_is_accepted(server: Running) -> None:
    statuses = [server.ask("GET", "/v1/models", key=f"eml_{n:043d}")[0] for n in range(40)]
    assert set(statuses) <= {401, 429}
    assert statuses[-1] == 429
    assert server.ask("GET", "/v1/models")[0] == 200
    assert server.ask("POST", "/v1/index/remove", {"ids": [1]})[0] == 403
    assert server.ask("POST", "/v1/index/remove", {"ids": [1]}, key=None)[0] == 401
    assert server.ask("GET", "/health", key=None)[0] == 200


def test_fifty_requests_at_once_on_a_connection_are_answered_in_order(server: Running) -> None:
    line = f"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-API-Key: {server.reader}\r\n\r\n".encode()
    last = line.replace(b"Host", b"Connection: close\r\nHost")
    assert server.raw(line * 49 + last, wait=20).count(b"HTTP/1.1 200 OK") == 50


@pytest.mark.parametrize(
    "target",
    [
        "/../../etc/passwd", "/page/../../../etc/passwd", "/page/%2e%2e/%2e%2e/etc/passwd",
        "/page/..%2f..%2fetc%2fpasswd",
        "/page/%00", "//etc/passwd", "/page//etc/passwd", "/page/..\\..\\x", "/v1/images/../../../etc/passwd/thumbnail",
        "/v1/images/1%2F..%2F2/thumbnail", "/v1/images/-1/thumbnail", "/v1/images/99999999999999999999/thumbnail",
        "http://127.0.0.1/etc/passwd", "/page/" + "a" * 5000, "/%ff%fe", "/v1/images/1;ls/thumbnail", "*",
    ],
)  # fmt: skip
def test_paths_lead_nowhere(server: Running, target: str) -> None:
    line = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: {server.reader}\r\n\r\n"
    answer = server.raw(line.encode())
    assert int(answer.split(b" ")[1]) in (400, 404, 405, 414, 422), answer[:300]
    assert b"root:" not in answer


INSIDE = "http://127.0.0.1:INSIDE/secret"


def test_urls_reach_public_addresses_of_named_hosts_alone(server: Running) -> None:
    urls = [
        "http://images.test/photo.png", "http://images.test/to?http://images.test/photo.png",
        f"http://images.test/to?{INSIDE}", "http://images.test/to?http://loop.test/", "http://loop.test/",
        "http://private.test/", "http://metadata.test/latest/meta-data/", "http://mapped.test/", "http://half.test/",
        f"http://127.0.0.1:{server.outside.inside}/", f"http://loop.test:{server.outside.inside}/", "file:///etc/passwd",
        "http://images.test@loop.test/", "http://images.test/to?/to?/to?/to?/to?/photo.png",
        "http://images.test/endless", "gopher://images.test/", "http://unknown.test/",
    ]  # fmt: skip
    status, answer = server.ask("POST", "/v1/search", {"input": urls, "k": 1})
    assert status == 200, answer
    good, problems = answer["answers"][:2], answer["answers"][2:]
    assert [item["neighbours"][0]["label"] for item in good] == ["tea", "tea"]
    assert all(item["problem"]["code"] in ("url-not-allowed", "url-failed", "not-an-image") for item in problems), (
        problems
    )
    assert len(problems) == len(urls) - 2
    assert server.inside.asked == []


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side: int) -> bytes:
    """Return a PNG of a few kilobytes that says to have side² pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_bombs_and_broken_images_fail_alone(server: Running) -> None:
    before = server.memory()
    good = photo_png("mug", 90)
    inputs = [bomb(60_000), good, good[: len(good) // 2], b"", b"<svg onload=alert(1)>", good, bomb(7000)]
    status, answer = server.ask("POST", "/v1/search", {"input": [as_uri(data) for data in inputs], "k": 1})
    assert status == 200, answer
    labels = [item["neighbours"][0]["label"] if item["neighbours"] else None for item in answer["answers"]]
    assert labels == [None, "mug", None, None, None, "mug", None]
    assert server.memory() - before < 300


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000, b'{"input": ' + b"[" * 200_000, b'{"k": ' + b"9" * 100_000 + b"}", b'{"k": NaN, "input": "a"}',
        b'{"input": {"a": 1}}', b'{"input": [null, 3]}', b"\xff\xfe", b"null", b'{"k": 1e400, "input": "x"}',
        b'{"input": "data:image/png;base64,%%%%", "k": -1}', b'{"__class__": "os.system", "input": "x"}',
    ],
)  # fmt: skip
def test_json_that_means_harm_is_refused(server: Running, body: bytes) -> None:
    status, answer = server.ask("POST", "/v1/search", body, {"Content-Type": "application/json"})
    assert status in (400, 422), answer
    assert len(json.dumps(answer)) < 20_000


@pytest.mark.parametrize(
    "where",
    [
        "1=1; drop table images", "label = 'a' union select * from facts", "label = (select 1)", "load_extension('x')",
        "not " * 400 + "true", "(" * 1000, "label like '" + "%a" * 900 + "'", " or ".join(["label like '%a%b'"] * 90),
        "label = '\x00'", "label == '" + "a" * 50_000 + "'", "[[" + "]" * 500, "price / 0 = 1",
    ],
)  # fmt: skip
def test_sql_and_worse_in_a_condition_change_nothing(server: Running, where: str) -> None:
    before = server.ask("GET", "/v1/index")[1]
    began = time.monotonic()
    body = {"input": [as_uri(photo_png("tea", 90))], "where": where}
    status, answer = server.ask("POST", "/v1/search", body)
    assert status in (200, 400), answer
    assert status == 400 or not answer["answers"][0]["neighbours"]
    assert time.monotonic() - began < 10
    assert server.ask("GET", "/v1/index")[1] == before


def test_forms_with_names_that_lead_out_write_nothing(server: Running) -> None:
    boundary = "x"
    for name in ("../../evil.png", "/etc/evil.png", "..\\..\\evil.png", "a\u202egnp.exe", "C:evil.png"):
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'.encode()
        label = f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="labels"\r\n\r\nevil'.encode()
        body = part + photo_png("mug", 77) + label + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, answer = server.ask("POST", "/v1/index/add", body, kind, key=server.writer)
        assert status in (200, 400), answer
    assert server.ask("POST", "/v1/index/remove", {"labels": ["evil"]}, key=server.writer)[0] in (200, 400)
    assert not list(server.folder.parent.rglob("evil*"))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    ],
)  # fmt: skip
def test_pages_of_other_origins_are_refused(server: Running, headers: dict[str, str]) -> None:
    assert server.ask("POST", "/v1/index/remove", b'{"ids": [1]}', headers, key=server.writer)[0] == 403


def test_clients_that_leave_in_the_middle_leave_nothing_behind(server: Running) -> None:
    body = json.dumps({"input": [as_uri(photo_png("tea", 90))] * 30}).encode()
    for cut in (0, 10, len(body) // 2, len(body)):
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                extra = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n".encode()
                client.sendall(head(extra, key=server.reader) + body[:cut])
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
    time.sleep(1)
    assert server.ask("GET", "/health", key=None)[1]["queue"] == 0


def test_memory_stays_and_no_answer_or_log_has_a_path_a_key_or_a_traceback(server: Running) -> None:
    before = server.memory()
    for number in range(300):
        server.ask("POST", "/v1/search", {"input": [as_uri(bomb(30_000)), "http://loop.test/"], "where": "'" * number})
    assert server.memory() - before < 50
    log = (server.folder / "log").read_bytes()
    for text in (*server.answers, log):
        assert server.reader.encode() not in text
        assert server.writer.encode() not in text
    for text in server.answers:
        for secret in (str(server.folder).encode(), b"/site-packages", b"Traceback", b"sqlite", b"uvicorn", b"/home/"):
            assert secret not in text, text[:500]


def test_at_a_signal_the_server_ends_in_time_whatever_clients_hold_open(server: Running) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    silent[0].sendall(head(b"Content-Length: 500\r\n", key=server.reader))
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    try:
        assert server.process.wait(40) == 0, (server.folder / "log").read_text()[-2000:]
    finally:
        for client in silent:
            client.close()
    assert time.monotonic() - began < 30
