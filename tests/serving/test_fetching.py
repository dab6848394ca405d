"""Images by URL: hosts that are named, public addresses, the address that was checked, limits, redirects."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from eml.errors import ConfigError, DataError
from eml.serving.fetching import AllowedHosts, UrlFetcher

PUBLIC, SECOND = "93.184.216.34", "93.184.216.35"
NAMES: dict[str, list[str]] = {
    "images.test": [PUBLIC],
    "other.test": [SECOND],
    "inside.test": ["10.0.0.5"],
    "loop.test": ["127.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "metadata.test": ["169.254.169.254"],
    "both.test": [PUBLIC, "192.168.0.1"],
    "empty.test": [],
    "down.test": ["93.184.216.99", PUBLIC],
}
ALLOWED = [*NAMES, "images.test:8080"]
BODY = b"an image's bytes"


@dataclass
class World:
    """A server on this machine that stands for every public address, and what was asked of it."""

    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)  # the Host header and the target
    connected: list[tuple[str, int]] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)
    tls_names: list[str | None] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.resolved.append(host)
        if host not in NAMES:
            raise OSError("no such name")
        return NAMES[host]

    def backend(self) -> Any:
        import httpcore2

        world = self

        class Stream(httpcore2.AsyncNetworkStream):
            def __init__(self, inner: Any) -> None:
                self.read, self.write, self.aclose = inner.read, inner.write, inner.aclose
                self.get_extra_info = lambda info: None

            async def start_tls(self, ssl_context: Any, server_hostname: Any = None, timeout: Any = None) -> Any:
                assert ssl_context.check_hostname
                world.tls_names.append(server_hostname)
                return self  # goes on without encryption

        class Backend(httpcore2.AnyIOBackend):
            async def connect_tcp(self, host: str, port: int, *arguments: Any, **options: Any) -> Any:
                world.connected.append((host, port))
                if host == "93.184.216.99":
                    raise httpcore2.ConnectError
                return Stream(await super().connect_tcp("127.0.0.1", world.port, *arguments, **options))

        return Backend()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            host = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("host"))
            target = head.split(" ")[1]
            self.asked.append((host, target))
            self.headers.append(head.lower())
            await self.reply(target, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def reply(self, target: str, writer: asyncio.StreamWriter) -> None:
        def send(status: int, headers: str = "", body: bytes = b"") -> None:
            head = f"HTTP/1.1 {status} x\r\nConnection: close\r\n{headers}"
            writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

        kind, _, place = target.removeprefix("/").partition("?")
        if kind == "to":
            send(302, f"Location: {place}\r\n")
        elif kind == "status":
            send(int(place))
        elif kind == "packed":
            send(200, "Content-Encoding: gzip\r\n", BODY)
        elif kind == "huge":
            writer.write(b"HTTP/1.1 200 x\r\nContent-Length: 99999999999\r\n\r\n")
        elif kind == "endless":
            writer.write(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(100):
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await writer.drain()
        elif kind == "slow":
            writer.write(b"HTTP/1.1 200 x\r\nContent-Length: 500\r\n\r\n")
            for _ in range(500):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        elif kind == "junk":
            writer.write(b"SSH-2.0-OpenSSH_9\r\n\r\n")
        elif kind == "cut":
            writer.write(b"HTTP/1.1 200 x\r\nContent-Length: 500\r\n\r\nabc")
        else:
            send(200, "Content-Type: text/html\r\n", BODY)
        await writer.drain()


@asynccontextmanager
async def world_and_fetcher(allowed: Sequence[str] = ALLOWED, **options: Any) -> Any:
    world = World()
    server = await asyncio.start_server(world.answer, "127.0.0.1", 0)
    world.port = server.sockets[0].getsockname()[1]
    settings = {"most_bytes": 2000, "seconds": 5.0, **options}
    async with UrlFetcher(
        AllowedHosts(allowed), resolver=world.resolve, backend=world.backend(), **settings
    ) as fetcher:
        yield world, fetcher
    server.close()


def run(check: Callable[[World, UrlFetcher], Awaitable[None]], **options: Any) -> None:
    async def whole() -> None:
        async with world_and_fetcher(**options) as (world, fetcher):
            await check(world, fetcher)

    asyncio.run(whole())


async def code_of(fetcher: UrlFetcher, url: str) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        await fetcher.fetch(url)
    return caught.value.code, str(caught.value)


def test_an_image_of_an_allowed_host_comes_from_the_very_address_that_was_checked() -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        assert await fetcher.fetch("http://images.test/a%20b.jpg?size=3#part") == BODY
        assert await fetcher.fetch("HTTP://Images.TEST.:8080/") == BODY
        assert world.connected == [(PUBLIC, 80), (PUBLIC, 8080)]
        assert world.asked == [("images.test", "/a%20b.jpg?size=3"), ("images.test:8080", "/")]
        assert not any(name in head for head in world.headers for name in ("cookie", "authorization", "referer"))

    run(check)


def test_a_name_is_asked_once_and_the_answer_is_what_is_connected_to() -> None:
    """A name that has another address when it is asked again, DNS rebinding, reaches nothing."""

    async def check(world: World, fetcher: UrlFetcher) -> None:
        assert await fetcher.fetch("http://images.test/") == BODY
        assert world.resolved == ["images.test"]
        assert world.connected == [(PUBLIC, 80)]

    run(check)


def test_certificates_are_checked_for_the_name_and_not_the_address() -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        assert await fetcher.fetch("https://images.test/x") == BODY
        assert world.connected == [(PUBLIC, 443)]
        assert world.tls_names == ["images.test"]

    run(check)


@pytest.mark.parametrize(
    "host", ["inside.test", "loop.test", "mapped.test", "metadata.test", "both.test"]
)  # fmt: skip
def test_an_allowed_name_with_an_address_that_is_not_public_is_not_connected_to(host: str) -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        code, text = await code_of(fetcher, f"http://{host}/")
        assert code == "url-not-allowed"
        assert "not public" in text
        assert not world.connected
        code, _ = await code_of(fetcher, f"http://images.test/to?http://{host}/")  # and not by a redirect
        assert code == "url-not-allowed"
        assert world.connected == [(PUBLIC, 80)]

    run(check)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://another.test/",
            "http://sub.images.test/",
            "http://images.test.evil.test/",
            "http://images.testevil/",
        ),
        *("http://images.test:22/", "https://images.test:80/", "http://other.test:8080/", "http://127.0.0.1/"),
        *("http://[::1]/", "http://2130706433/", "http://0x7f000001/", "http://user@images.test/"),
        *("http://user:pass@images.test/", "http://images.test@evil.test/", "http://evil.test#@images.test/"),
        *("http://evil.test\\@images.test/", "http://images.test\\.evil.test/", "http://images.test%2eevil.test/"),
        *("http:images.test/", "http:///images.test/", "//images.test/", "images.test", "file:///etc/passwd"),
        *("ftp://images.test/", "gopher://images.test/", "data:image/png;base64,AA", "jar:http://images.test!/"),
        *(
            "http://images.test/\r\nHost: evil",
            "http://images.test/ x",
            "http://images.test/\x00",
            "http://images.test/é",
        ),
        *("http://images。test/", "http://ｉmages.test/", "http://images.test:99999/", "http://images.test:/"),
        *("", " http://images.test/", "http://" + "a" * 5000, "http://images.test/" + "a" * 5000),
    ],
)
def test_a_url_of_another_host_port_scheme_or_spelling_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(DataError) as caught:
        AllowedHosts(ALLOWED).check(url)
    assert caught.value.code == "url-not-allowed"


def test_nothing_is_fetched_unless_a_host_is_named() -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        code, text = await code_of(fetcher, "http://images.test/")
        assert code == "url-not-allowed"
        assert "send their bytes" in text
        assert not world.resolved

    run(check, allowed=())


@pytest.mark.parametrize("place", ["http://other.test/ok", "/ok", "//other.test/ok", "https://images.test/ok"])
def test_redirects_within_the_allowed_hosts_are_followed(place: str) -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        assert await fetcher.fetch(f"http://images.test/to?{place}") == BODY
        assert len(world.asked) == 2

    run(check)


@pytest.mark.parametrize(
    "place",
    ["http://evil.test/", "//evil.test/", "http://images.test:22/", "file:///etc/passwd", "http://a@images.test/",
     "http://10.0.0.1/", "gopher://images.test/"],
)  # fmt: skip
def test_redirects_out_of_the_allowed_hosts_are_refused(place: str) -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        assert (await code_of(fetcher, f"http://images.test/to?{place}"))[0] == "url-not-allowed"
        assert len(world.asked) == 1

    run(check)


def test_redirects_are_followed_three_times_at_most_and_never_from_https_to_http() -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        code, text = await code_of(fetcher, "http://images.test/to?/to?/to?/to?/to?/ok")
        assert (code, len(world.asked)) == ("url-failed", 4)
        assert "more than 3 times" in text
        assert (await code_of(fetcher, "https://images.test/to?http://images.test/ok"))[0] == "url-not-allowed"

    run(check)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/huge", "more than 2,000 bytes"), ("/endless", "more than 2,000 bytes"), ("/packed", "packed"),
        ("/slow", "within 0.3 seconds"), ("/status?404", "status 404"), ("/status?204", "status 204"),
        ("/junk", "cannot be reached"), ("/cut", "cannot be reached"),
    ],
)  # fmt: skip
def test_what_is_too_large_slow_packed_or_no_http_fails_with_its_reason(target: str, reason: str) -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        code, text = await code_of(fetcher, f"http://images.test{target}")
        assert code == "url-failed"
        assert reason in text

    run(check, seconds=0.3)


def test_one_url_that_fails_leaves_the_others_alone_and_their_bytes_together_are_limited() -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        good, missing, refused = await fetcher.fetch_many(
            ["http://images.test/", "http://unknown.test/", "http://loop.test/"]
        )
        assert good == BODY
        assert [getattr(problem, "code", None) for problem in (missing, refused)] == ["url-not-allowed"] * 2
        assert len({str(missing), str(refused)}) == 2
        together = await fetcher.fetch_many(["http://images.test/"] * 3)
        assert sum(isinstance(answer, bytes) for answer in together) == 2
        assert "together" in str(next(answer for answer in together if not isinstance(answer, bytes)))

    run(check, most_bytes_together=2 * len(BODY) + 1)


def test_the_next_address_of_a_name_is_tried_and_a_name_without_one_fails() -> None:
    async def check(world: World, fetcher: UrlFetcher) -> None:
        assert await fetcher.fetch("http://down.test/") == BODY
        assert world.connected == [("93.184.216.99", 80), (PUBLIC, 80)]
        assert (await code_of(fetcher, "http://empty.test/"))[0] == "url-not-allowed"

    run(check)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def check(world: World, fetcher: UrlFetcher) -> None:
        assert await fetcher.fetch("http://images.test/") == BODY
        assert world.connected == [(PUBLIC, 80)]

    run(check)


@pytest.mark.parametrize(
    "entry", ["http://images.test", "images.test/x", "*.test", "a b", "", "images.test:0", "images.test:99999", "é.de"]
)
def test_what_is_no_host_is_refused_as_an_allowed_one(entry: str) -> None:
    with pytest.raises(ConfigError, match="takes hosts such as") as caught:
        AllowedHosts(["ok.test", entry])
    assert caught.value.problems[0].parameter == "allow_urls"
