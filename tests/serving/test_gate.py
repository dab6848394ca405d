"""Who may ask for what, by key, scope and rate."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from eml.serving.gate import Gate, needed_scope
from eml.serving.key_rates import TokenBuckets
from eml.serving.keys import KeyRing, add_key


class Sent(list[dict[str, Any]]):
    @property
    def status(self) -> int:
        return int(self[0]["status"])

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self[1]["body"])["error"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self[0]["headers"])


class Inner:
    """An application that says whose key it saw, and that reads no body."""

    def __init__(self) -> None:
        self.names: list[str | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        key = scope["state"]["key"]
        self.names.append(key and key.name)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


def ask(gate: Gate, method: str, path: str, client: str = "10.0.0.1", **headers: str | list[str]) -> Sent:
    sent = Sent()

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the body is read before the key is checked")

    pairs = [
        (name.replace("_", "-").encode(), value.encode())
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    scope = {"type": "http", "method": method, "path": path, "headers": pairs, "client": (client, 5)}
    asyncio.run(gate(scope, receive, send))
    return sent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_without_keys_everybody_may_ask_and_nobody_may_change_the_index() -> None:
    gate = Gate(Inner(), keys=None)
    assert ask(gate, "POST", "/v1/search").status == 200
    assert ask(gate, "POST", "/v1/search", authorization="Bearer any").status == 200
    for path in ("/v1/index/add", "/v1/index/remove", "/v1/index/add/"):
        refused = ask(gate, "POST", path)
        assert (refused.status, refused.error["code"]) == (403, "needs-key")


def test_a_key_does_what_its_scope_says(file: Path) -> None:
    reader, writer = add_key(file, "shop", ["read"]), add_key(file, "import", ["write"])
    gate = Gate(inner := Inner(), keys=KeyRing.read(file))
    assert (
        ask(gate, "GET", "/health").status
        == ask(gate, "GET", "/").status
        == ask(gate, "GET", "/page/a.js").status
        == 200
    )
    refused = ask(gate, "POST", "/v1/search")
    assert (refused.status, refused.error["code"], refused.headers[b"www-authenticate"]) == (
        401,
        "needs-key",
        b"Bearer",
    )
    assert ask(gate, "POST", "/v1/search", authorization=f"Bearer {reader}").status == 200
    assert ask(gate, "GET", "/metrics", x_api_key=reader).status == 200
    refused = ask(gate, "POST", "/v1/index/add", authorization=f"Bearer {reader}")
    assert (refused.status, refused.error["code"]) == (403, "key-lacks-scope")
    assert ask(gate, "POST", "/v1/index/add", authorization=f"Bearer {writer}").status == 200
    assert inner.names == [None, None, None, "shop", "shop", "import"]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/metrics", "read"), ("GET", "/v1/models", "read"), ("GET", "/anything/new", "read"),
        ("POST", "/health", "read"), ("POST", "/", "read"), ("DELETE", "/", "write"), ("PUT", "/v1/index", "write"),
        ("POST", "/v1/index/add", "write"), ("GET", "/v1/images/3/thumbnail", "read"), ("GET", "/health", None),
    ],
)  # fmt: skip
def test_what_is_not_listed_as_open_needs_a_key(method: str, path: str, scope: str | None) -> None:
    assert needed_scope(method, path) == scope


def test_wrong_keys_are_slowed_down_by_address_and_lock_nobody_out(file: Path) -> None:
    key = add_key(file, "shop", ["read"])
    told: list[str] = []
    gate = Gate(Inner(), keys=KeyRing.read(file), refused=told.append)
    statuses = [ask(gate, "POST", "/v1/search", authorization=f"Bearer wrong{n}").status for n in range(30)]
    assert statuses == [401] * 10 + [429] * 20
    refused = ask(gate, "GET", "/health", x_api_key="wrong")
    assert refused.status == 429
    assert 1 <= int(refused.headers[b"retry-after"]) <= 6
    assert ask(gate, "POST", "/v1/search", authorization=f"Bearer {key}").status == 200  # the same address
    assert ask(gate, "POST", "/v1/search", client="10.0.0.2", authorization="Bearer wrong").status == 401
    assert gate.keys is not None
    assert gate.keys.wrong == 32
    assert (told.count("wrong-key"), told.count("too-many-wrong-keys")) == (11, 21)


def test_keys_and_addresses_have_rates_of_their_own(file: Path) -> None:
    slow, quick = add_key(file, "slow", ["read"], 12), add_key(file, "quick", ["read"])
    gate = Gate(Inner(), keys=KeyRing.read(file), address_rate=6)
    assert [ask(gate, "POST", "/v1/search", x_api_key=slow).status for _ in range(4)] == [200, 200, 429, 429]
    assert [ask(gate, "POST", "/v1/search", x_api_key=quick).status for _ in range(50)] == [200] * 50
    assert [ask(gate, "GET", "/docs").status for _ in range(3)] == [200, 429, 429]
    refused = ask(gate, "GET", "/docs")
    assert (refused.error["code"], refused.error["type"]) == ("too-many-requests", "rate_limit_error")
    assert int(refused.headers[b"retry-after"]) == 10


def test_whoever_watches_the_server_is_not_limited_by_the_rate_of_its_address() -> None:
    gate = Gate(Inner(), keys=None, address_rate=6)
    assert [ask(gate, "POST", "/v1/search").status for _ in range(3)] == [200, 429, 429]
    assert {ask(gate, "GET", path).status for path in ("/health", "/metrics") * 5} == {200}


def test_a_header_with_a_key_that_is_sent_twice_is_refused(file: Path) -> None:
    key = add_key(file, "shop", ["read"])
    gate = Gate(Inner(), keys=KeyRing.read(file))
    assert ask(gate, "POST", "/v1/search", authorization=[f"Bearer {key}", "Bearer other"]).status == 400
    assert ask(gate, "POST", "/v1/search", authorization=f"Bearer {key}", x_api_key="other").status == 401


def test_buckets_of_many_clients_take_bounded_memory(file: Path) -> None:
    add_key(file, "shop", ["read"])
    gate = Gate(Inner(), keys=KeyRing.read(file), buckets=TokenBuckets(most=50))
    for number in range(300):
        ask(gate, "POST", "/v1/search", client=f"10.0.{number // 250}.{number % 250}", x_api_key="wrong")
    assert len(gate.buckets) == 50
