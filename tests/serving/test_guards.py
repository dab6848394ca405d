"""What requests pass before the application: form, origin, body."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from eml.errors import ConfigError
from eml.serving.guards import (
    LOOPBACK_NAMES,
    SECURITY_HEADERS,
    BodyGuard,
    RequestGuard,
    RequestGuards,
    allowed_hosts,
    check_origins,
    protect,
)

GUARDS = RequestGuards(body_bytes=100, all_body_bytes=150, body_seconds=0.1, hosts=LOOPBACK_NAMES)
OWN = {"host": "127.0.0.1:8000"}


class Sent(list[dict[str, Any]]):
    @property
    def status(self) -> int:
        return int(self[0]["status"])

    @property
    def code(self) -> str:
        return str(json.loads(self[1]["body"])["error"]["code"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self[0]["headers"])


class Inner:
    """An application that keeps the bodies that it gets."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def asked(
    app: Any, method: str = "POST", path: str = "/v1/search", parts: Sequence[Any] = (b"",), raw: bytes | None = None,
    headers: dict[str, str] | Sequence[tuple[str, str]] = OWN,
) -> Sent:  # fmt: skip
    sent, waiting = Sent(), list(parts)

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        if not waiting:
            await asyncio.sleep(5)
        part = waiting.pop(0)
        if isinstance(part, float):
            await asyncio.sleep(part)
            part = b"x"
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(waiting) or part == b"..."}

    pairs = headers.items() if isinstance(headers, dict) else headers
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": raw or path.encode(), "client": ("10.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in pairs], "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


def ask(app: Any, *arguments: Any, **options: Any) -> Sent:
    return asyncio.run(asked(app, *arguments, **options))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "FOO"])
def test_methods_that_nothing_here_takes_are_refused(method: str) -> None:
    refused = ask(RequestGuard(Inner(), GUARDS), method)
    assert (refused.status, refused.headers[b"allow"]) == (405, b"GET, HEAD, POST, OPTIONS")


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/../etc/passwd", None), ("/page/../../etc/passwd", None), ("/page/..", None), ("/./v1", None), ("//v1", None),
        ("/v1//index/add", None), ("/v1\\index", None), ("/a\x00b", None), ("/a\nb", None), ("/a\x7f", None),
        ("http://evil/", None), ("*", None), ("", None), ("/page/../x", b"/page/%2e%2e/x"), ("/a/b", b"/a%2fb"),
        ("/a/b", b"/a%2Fb"), ("/a\\b", b"/a%5cb"), ("/a\ufffd", b"/a%ff"), ("/a\x01", b"/a%01"),
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(path: str, raw: bytes | None) -> None:
    refused = ask(RequestGuard(inner := Inner(), GUARDS), "GET", path, raw=raw)
    assert (refused.status, refused.code) == (400, "invalid-path")
    assert not inner.bodies


def test_long_paths_many_headers_and_bodies_of_two_lengths_are_refused() -> None:
    guard = RequestGuard(Inner(), GUARDS)
    assert ask(guard, "GET", "/" + "a" * 3000).status == 414
    assert ask(guard, headers=OWN | {f"x{n}": "" for n in range(100)}).status == 431
    assert ask(guard, headers=OWN | {"x": "a" * 20_000}).status == 431
    assert ask(guard, headers=OWN | {"content-length": "3", "transfer-encoding": "chunked"}).status == 400
    assert ask(guard, headers=OWN | {"content-encoding": "gzip"}).status == 415
    assert ask(guard, headers=[("host", "127.0.0.1"), ("host", "localhost")]).status == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:8000"}, 200), ({"host": "LOCALHOST"}, 200), ({"host": "[::1]:8000"}, 200),
        ({"host": "evil.example"}, 421), ({"host": "evil.example:8000"}, 421), ({}, 421), ({"host": ""}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421), ({"host": "127.0.0.1@evil.example"}, 421), ({"host": "::1"}, 421),
    ],
)  # fmt: skip
def test_a_name_that_is_made_to_lead_here_reaches_nothing_without_keys(headers: dict[str, str], status: int) -> None:
    assert ask(RequestGuard(Inner(), GUARDS), headers=headers).status == status


def test_with_keys_the_server_may_have_any_name() -> None:
    assert allowed_hosts("0.0.0.0", has_keys=True) is None
    assert allowed_hosts("127.0.0.1", has_keys=False) == LOOPBACK_NAMES
    assert allowed_hosts("::1", has_keys=False) == LOOPBACK_NAMES
    assert ask(RequestGuard(Inner(), RequestGuards(body_bytes=9)), headers={"host": "shop.example"}).status == 200


EVIL = "https://evil.example"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 200),  # no browser
        ("POST", {"origin": "http://127.0.0.1:8000"}, 200),
        ("POST", {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, 200),
        ("GET", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
        ("POST", {"origin": EVIL}, 403),
        ("POST", {"origin": EVIL, "content-type": "text/plain"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"origin": "http://127.0.0.1:9000"}, 403),
        ("POST", {"origin": "http://localhost:8000"}, 403),
        ("POST", {"origin": EVIL, "sec-fetch-site": "cross-site"}, 403),
        ("POST", {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-site"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 403),
    ],
)
def test_a_page_of_another_origin_is_not_answered(method: str, headers: dict[str, str], status: int) -> None:
    assert ask(RequestGuard(Inner(), GUARDS), method, headers=OWN | headers).status == status


def test_pages_of_named_origins_may_ask_and_read_and_others_may_not() -> None:
    guards = RequestGuards(body_bytes=100, hosts=LOOPBACK_NAMES, origins=check_origins([EVIL + "/"], has_keys=False))
    app = protect(Inner(), guards)
    answer = ask(app, headers=OWN | {"origin": EVIL, "sec-fetch-site": "cross-site"})
    assert (answer.status, answer.headers[b"access-control-allow-origin"]) == (200, EVIL.encode())
    preflight = {"origin": EVIL, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    assert ask(app, "OPTIONS", headers=OWN | preflight).status == 200
    assert ask(app, headers=OWN | {"origin": "https://other.example"}).status == 403
    too_large = ask(app, headers=OWN | {"origin": EVIL, "content-length": "101"})
    assert (too_large.status, too_large.headers[b"access-control-allow-origin"]) == (413, EVIL.encode())
    plain = ask(protect(Inner(), GUARDS))
    assert not any(name.startswith(b"access-control") for name in plain.headers)


@pytest.mark.parametrize("origin", ["evil.example", "https://a/b", "ftp://a", "https://*.a", "", "*"])
def test_what_is_no_origin_is_refused_and_any_page_needs_keys(origin: str) -> None:
    with pytest.raises(ConfigError, match="`cors`"):
        check_origins([origin], has_keys=False)
    assert check_origins(["*", "HTTPS://A.example:8443/"], has_keys=True) == ("*", "https://a.example:8443")


def test_every_answer_has_the_security_headers_and_is_kept_by_no_cache() -> None:
    for app in (RequestGuard(Inner(), GUARDS), protect(Inner(), GUARDS)):
        for answer in (ask(app), ask(app, "PUT"), ask(app, headers=OWN | {"content-length": "999"})):
            assert all(answer.headers[name] == value for name, value in SECURITY_HEADERS)
            assert answer.headers[b"cache-control"] == b"no-store"
            assert answer.headers[b"cross-origin-resource-policy"] == b"same-origin"


def test_an_error_of_the_application_is_logged_and_says_nothing_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("/srv/secret/index.sqlite is broken")

    with caplog.at_level(logging.ERROR, "eml.serving"):
        answer = ask(protect(broken, GUARDS), headers=OWN | {"authorization": "Bearer eml_secret"})
    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer[1]["body"]
    assert "index.sqlite is broken" in caplog.text
    assert "eml_secret" not in caplog.text


def test_a_body_is_given_on_in_parts_and_a_large_one_is_refused_before_and_while_it_is_read() -> None:
    guard = protect(inner := Inner(), GUARDS)
    assert ask(guard, parts=[b"a" * 50, b"b" * 50]).status == 200
    assert inner.bodies == [b"a" * 50 + b"b" * 50]
    announced = ask(guard, headers=OWN | {"content-length": "101"}, parts=[])  # nothing is read
    assert (announced.status, announced.code, announced.headers[b"connection"]) == (413, "body-too-large", b"close")
    assert ask(guard, parts=[b"a" * 50, b"b" * 50, b"c", b"..."]).status == 413
    for length in ("-1", "1e3", "99999999999999999999999999", "x"):
        assert ask(guard, headers=OWN | {"content-length": length}, parts=[]).status == 413
    assert len(inner.bodies) == 1


def test_a_body_that_comes_too_slowly_is_refused_and_a_client_that_left_is_not_answered() -> None:
    guard = protect(inner := Inner(), GUARDS)
    late = ask(guard, parts=[b"...", 0.5])
    assert (late.status, late.code) == (408, "too-slow")
    assert ask(guard, parts=[b"...", *[0.03] * 20]).status == 408  # a byte now and then does not prolong it
    assert ask(guard, parts=[b"...", None]) == []
    assert inner.bodies == []


def test_bodies_that_are_held_at_once_are_bounded_and_let_go() -> None:
    async def hold(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        await Inner()(scope, receive, send)

    async def together() -> list[int]:
        answers = await asyncio.gather(*(asked(guard, parts=[b"x" * 80]) for _ in range(3)))
        return sorted(answer.status for answer in answers)

    guard = BodyGuard(hold, GUARDS)
    assert asyncio.run(together()) == [200, 503, 503]
    assert guard.held == 0
    assert ask(guard, parts=[b"x" * 80]).status == 200


def test_websockets_are_not_answered() -> None:
    async def fail(*arguments: Any) -> None:
        raise AssertionError

    asyncio.run(protect(fail, GUARDS)({"type": "websocket"}, fail, fail))
