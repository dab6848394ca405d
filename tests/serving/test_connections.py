"""Connections that are slow on purpose, or too many, at a server of uvicorn in this process."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from eml.serving.connections import ConnectionLimits, guarded_protocol, server_settings
from eml.serving.refusals import Refusal

LIMITS = ConnectionLimits(most=4, head_bytes=2000, head_seconds=0.25, idle_seconds=0.25, unread_seconds=0.25)
writers: list[asyncio.StreamWriter] = []
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer at once, or with far more than a socket holds."""
    body = b"x" * (8 * 2**20) if scope["path"] == "/large" else b"ok"
    if scope["path"] == "/refuse":
        await Refusal(413, "body-too-large", "too large").answer(send)
        return
    if scope["path"] == "/wait":
        await asyncio.sleep(0.6)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def nothing() -> Any:
    return None


def run(
    check: Callable[[int, Any], Awaitable[None]],
    limits: ConnectionLimits = LIMITS,
    application: Any = app,
    last: Callable[[], Awaitable[Any]] = nothing,
) -> Any:
    """Check a server while it runs, and return what `last` returns when it has ended."""

    async def whole() -> Any:
        import uvicorn

        writers.clear()

        settings = server_settings(limits) | {"lifespan": "off", "log_config": None}
        server = uvicorn.Server(uvicorn.Config(application, port=0, **settings))
        serving = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            await check(server.servers[0].sockets[0].getsockname()[1], server.server_state)
        finally:
            for writer in writers:
                writer.close()
            with suppress(OSError):
                await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
            server.should_exit = True
            await serving
        return await last()

    return asyncio.run(whole())


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writers.append(writer)
    return reader, writer


async def read_all(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), 3)
    except ConnectionResetError:
        return b""


async def answer(port: int) -> bytes:
    reader, writer = await connect(port)
    writer.write(GET.replace(b"Host", b"Connection: close\r\nHost"))
    return await read_all(reader)


def test_a_head_that_comes_byte_by_byte_is_given_up_in_its_time() -> None:
    async def check(port: int, state: Any) -> None:
        reader, writer = await connect(port)
        silent, _ = await connect(port)
        began = asyncio.get_running_loop().time()
        reading = asyncio.create_task(read_all(reader))
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100:
            if reading.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        data = await reading
        assert data.startswith(b"HTTP/1.1 408 ")
        assert b'"too-slow"' in data
        assert asyncio.get_running_loop().time() - began < 1.5
        assert (await read_all(silent)).startswith(b"HTTP/1.1 408 ")
        assert b"200 OK" in await answer(port)

    run(check)


def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    async def check(port: int, state: Any) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(GET.replace(b"/ ", b"/large "))
            for _ in range(150):
                await asyncio.sleep(0.02)
                if not state.connections:
                    break
            assert not state.connections
            assert not state.tasks

    run(check)


def test_a_client_that_is_refused_while_it_sends_a_large_body_reads_why() -> None:
    async def check(port: int, state: Any) -> None:
        reader, writer = await connect(port)
        writer.write(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        for _ in range(64):
            writer.write(b"x" * 65536)
            await writer.drain()
        data = await read_all(reader)
        assert data.startswith(b"HTTP/1.1 413 ")
        assert b"body-too-large" in data
        writer.close()
        for _ in range(50):
            await asyncio.sleep(0.01)
        assert not state.connections

    run(check)


def test_a_client_that_goes_away_while_it_is_refused_is_no_error() -> None:
    class Gone:
        is_aborted = False

        def is_closing(self) -> bool:
            return False

        def can_write_eof(self) -> bool:
            return True

        def write_eof(self) -> None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

        def abort(self) -> None:
            self.is_aborted = True

    kind: Any = guarded_protocol(LIMITS)
    connection, transport = kind.__new__(kind), Gone()
    connection._is_late = True
    connection._close(transport)
    assert transport.is_aborted


def test_a_client_that_sends_on_after_it_was_refused_is_cut_off() -> None:
    async def check(port: int, state: Any) -> None:
        _, writer = await connect(port)
        writer.write(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")

        async def send_on() -> None:
            for _ in range(1000):
                writer.write(b"x" * 65536)
                await writer.drain()

        with pytest.raises(ConnectionError):
            await send_on()
        assert not state.connections

    run(check, ConnectionLimits(linger_seconds=20, linger_bytes=2**20))


def test_an_idle_connection_is_closed_and_one_that_waits_for_its_answer_is_not() -> None:
    async def check(port: int, state: Any) -> None:
        reader, writer = await connect(port)
        writer.write(GET.replace(b"/ ", b"/wait ") + GET)  # two requests at once, answered in order
        data = await read_all(reader)
        assert data.count(b"200 OK") == 2

    run(check)


def test_connections_that_say_nothing_make_room_for_one_that_asks() -> None:
    async def check(port: int, state: Any) -> None:
        for _ in range(12):
            await connect(port)
        for _ in range(3):
            assert b"200 OK" in await answer(port)
            assert len(state.connections) <= LIMITS.most

    run(check, ConnectionLimits(most=4, head_seconds=5, idle_seconds=5))


def test_where_all_connections_wait_for_answers_another_is_refused() -> None:
    async def check(port: int, state: Any) -> None:
        busy = [await connect(port) for _ in range(4)]
        for _, writer in busy:
            writer.write(GET.replace(b"/ ", b"/wait "))
        await asyncio.sleep(0.1)
        assert b"503 " in await answer(port)
        for reader, _ in busy:
            assert b"200 OK" in await reader.readuntil(b"ok")

    run(check)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 400_000, b"GET /" + b"a" * 4000,
        b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_http_ends_the_connection_and_no_other(request_bytes: bytes) -> None:
    async def check(port: int, state: Any) -> None:
        reader, writer = await connect(port)
        writer.write(request_bytes)
        data = await read_all(reader)
        assert data[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.1 408 ", b"")
        assert b"200 OK" in await answer(port)

    run(check)


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"


def test_a_broken_chunk_of_a_body_is_a_plain_line_of_the_log_and_the_application_hears_that_its_client_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[str] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/early":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] == "http.request":
            heard.append(message["type"])
        heard.append(message["type"])
        await Refusal(413, "body-too-large", "too large").answer(send)

    async def check(port: int, state: Any) -> None:
        for path, status in ((b"/", b"HTTP/1.1 400 "), (b"/early", b"HTTP/1.1 200 ")):
            reader, writer = await connect(port)
            writer.write(CHUNKED.replace(b"/ ", path + b" "))
            await asyncio.sleep(0.03)
            writer.write(b"zz\r\n")
            writer.write_eof()
            data = await read_all(reader)
            assert data.startswith(status) or not data
        while state.tasks:
            await asyncio.sleep(0.01)

    run(check, application=reading)
    assert heard == ["http.request", "http.disconnect"] * 2
    assert [record.getMessage() for record in caplog.records] == ["Invalid HTTP request received."] * 2
    assert not any(record.exc_info for record in caplog.records)


def test_a_server_that_ends_closes_idle_connections_and_refuses_what_has_not_come_whole() -> None:
    clients: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        await Refusal(418, "body-came-whole", "whole", close=False).answer(send)

    async def check(port: int, state: Any) -> None:
        for request, answer in ((GET, b"whole"), (CHUNKED, b"")):
            reader, writer = client = await connect(port)
            clients.append(client)
            writer.write(request)
            if answer:
                await reader.readuntil(answer)
        while not state.tasks:
            await asyncio.sleep(0.01)
        writers.clear()  # the clients keep their connections

    async def answers() -> list[bytes]:
        read = [await read_all(reader) for reader, _ in clients]
        for _, writer in clients:
            writer.close()
        return read

    rest = run(check, ConnectionLimits(idle_seconds=60, head_seconds=60), reading, last=answers)
    assert b"418" not in rest[1]
    assert rest[1].startswith(b"HTTP/1.1 503 ")
    assert b'"closing"' in rest[1]


def test_the_answer_names_no_software() -> None:
    async def check(port: int, state: Any) -> None:
        assert b"server:" not in (await answer(port)).lower()

    run(check)
