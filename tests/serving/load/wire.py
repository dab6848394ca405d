"""A plain HTTP client that sends what it is told, well formed or not: bytes in, status and body out."""

import base64
import json
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any

PATIENCE = 60.0
"""Seconds without a byte after which the client gives up."""

BOUNDARY = "a-boundary-of-the-test"


@dataclass(frozen=True)
class Reply:
    """An answer. status: 0 where the server closed the connection without one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Wire:
    """The bytes of a request, in pieces that are sent with pauses (seconds) between them."""

    pieces: tuple[bytes, ...]
    pause: float = 0.0
    hang_up: bool = False


def request(
    path: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
    chunked: bool = False,
) -> Wire:
    """Return a well formed request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    if method != "GET":
        lines.append(f"Content-Type: {content_type}")
        lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    if chunked:
        step = 1 << 16
        parts = [body[first : first + step] for first in range(0, len(body), step)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return Wire((head + body,))


def json_request(path: str, content: Any, headers: Mapping[str, str] | None = None) -> Wire:
    """Return a request with a JSON body."""
    return request(path, json.dumps(content).encode(), headers=headers)


def multipart(
    path: str,
    images: Sequence[tuple[str, bytes]],
    fields: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Wire:
    """Return an upload of a form. images: (file name, bytes), sent as they are, quotes and paths too."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (fields or {}).items()
    ]
    for name, data in images:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n'
        parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + data + b"\r\n")
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return request(path, body, content_type=f"multipart/form-data; boundary={BOUNDARY}", headers=headers)


def data_uri(data: bytes, kind: str = "image/jpeg") -> str:
    """Return bytes as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def slowly(wire: Wire, pieces: int, pause: float) -> Wire:
    """Return a request whose bytes come in so many pieces of about equal length."""
    data = b"".join(wire.pieces)
    step = max(1, -(-len(data) // pieces))
    return Wire(tuple(data[first : first + step] for first in range(0, len(data), step)), pause)


def cut(wire: Wire, share: float) -> Wire:
    """Return a request whose client hangs up after a share of its bytes."""
    data = b"".join(wire.pieces)
    return Wire((data[: int(share * len(data))],), hang_up=True)


def send(port: int, wire: Wire, patience: float = PATIENCE) -> Reply:
    """Send a request over a connection of its own, and return the answer."""
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), patience) as connection:
        answered_early = _write(connection, wire.pieces, wire.pause)
        if wire.hang_up and not answered_early:
            return Reply(0, seconds=time.perf_counter() - started)
        status, body, headers = _read(connection)
    return Reply(status, body, headers, time.perf_counter() - started)


def _write(connection: socket.socket, pieces: Iterable[bytes], pause: float) -> bool:
    """Send the pieces; return whether the server closed its side before the end."""
    for number, piece in enumerate(pieces):
        if pause and number:
            time.sleep(pause)
        try:
            connection.sendall(piece)
        except OSError:  # it has answered before it had the whole
            return True
    return False


def _read(connection: socket.socket) -> tuple[int, bytes, dict[str, str]]:
    response = HTTPResponse(connection)
    try:
        response.begin()
        body = response.read()
    except (HTTPException, ConnectionError):
        return 0, b"", {}
    return response.status, body, {name.lower(): value for name, value in response.getheaders()}
