"""Images by URL: from hosts that whoever runs the server named, at public addresses, within limits.

A URL of a client is a way to have the server send requests from inside its network. So nothing is fetched by default;
a host must be named; a URL is read by one strict pattern, and the request is built from its parts, so that no second
reader can see another host in it; each address that the name has must be public; and the connection goes to the very
address that was checked, since a name can be answered otherwise when it is asked again. httpcore2 does the rest: it
follows no redirect, reads no proxy from the environment, keeps no cookies and unpacks nothing.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin

from eml.errors import ConfigError, DataError, Problem
from eml.printable import printable_line
from eml.serving.addresses import is_public

if TYPE_CHECKING:
    from httpcore2 import AsyncConnectionPool, AsyncNetworkBackend

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

MOST_REDIRECTS = 3
LONGEST_URL = 4096
MOST_ADDRESSES = 3  # of a name, to which a connection is tried
PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\]"
_ENTRY = re.compile(rf"(?P<host>{_HOST})\.?(?::(?P<port>[0-9]{{1,5}}))?", re.IGNORECASE)
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_HOST})\.?(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<path>/[!\"$->@-~]*)?(?P<query>\?[!\"$-~]*)?(?:#[!-~]*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class UrlTarget:
    """The parts of a URL that may be fetched."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def text(self) -> str:
        """The URL, made of its parts."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """The host, and the port where it is not that of the scheme."""
        return self.host if self.port == PORTS[self.scheme] else f"{self.host}:{self.port}"


class AllowedHosts:
    """The hosts from which images may be fetched: those named, no others below them."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        """Read hosts, `images.example.com` or `images.example.com:8443`.

        Raises:
            ConfigError: One is no host.
        """
        self._hosts: set[tuple[str, int | None]] = set()
        problems = []
        for entry in entries:
            match = _ENTRY.fullmatch(entry.strip())
            port = None if match is None or match["port"] is None else int(match["port"])
            if match is None or len(match["host"]) > 253 or port == 0 or (port or 1) > 65535:
                text = "`allow_urls` takes hosts such as images.example.com or images.example.com:8443, got "
                problems.append(Problem(f"{text}'{printable_line(entry[:100])}'", "invalid-value", "allow_urls"))
                continue
            self._hosts.add((match["host"].lower(), port))
        if problems:
            raise ConfigError(problems)

    def __bool__(self) -> bool:
        """Return whether anything may be fetched."""
        return bool(self._hosts)

    def check(self, url: str) -> UrlTarget:
        """Return the parts of a URL that may be fetched.

        Raises:
            DataError: It is no http or https URL, has a name or password, or its host or port is not allowed.
        """
        if not self._hosts:
            raise refused("images are not fetched by URL here; send their bytes, as a data URI or as a file")
        if len(url) > LONGEST_URL:
            raise refused(f"the URL has {len(url):,} characters; at most {LONGEST_URL:,} are read")
        match = _URL.fullmatch(url)
        if match is None or "\\" in url:
            raise refused(
                "this is no URL that is fetched: http:// or https://, a host in ASCII, without name and password, "
                "with blanks and other characters written as %20"
            )
        scheme, host = match["scheme"].lower(), match["host"].lower()
        port = int(match["port"]) if match["port"] else PORTS[scheme]
        if not ((host, port) in self._hosts or (port == PORTS[scheme] and (host, None) in self._hosts)):
            raise refused("images are not fetched from this host and port")
        return UrlTarget(scheme, host, port, (match["path"] or "/") + (match["query"] or ""))


def refused(text: str) -> DataError:
    """Return the error for a URL that is not fetched."""
    return DataError(text, code="url-not-allowed", parameter="input")


def failed(text: str) -> DataError:
    """Return the error for a URL that was fetched in vain."""
    return DataError(text, code="url-failed", parameter="input")


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses that a name has, by the system's resolver."""
    loop = asyncio.get_running_loop()
    places = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in places))


class UrlFetcher:
    """Fetches images from allowed hosts.

    Args:
        allowed: The hosts.
        most_bytes: The bytes of an image.
        most_bytes_together: The bytes of the images of one request together.
        seconds: The time that an image may take, redirects and all.
        at_once: The images that are fetched at the same time, for all requests together.
        resolver: Returns the addresses of a host; by default the system's.
        backend: Opens connections to addresses that were checked; by default anyio's.
    """

    def __init__(
        self,
        allowed: AllowedHosts,
        *,
        most_bytes: int,
        most_bytes_together: int | None = None,
        seconds: float = 10.0,
        at_once: int = 8,
        resolver: Resolver = resolve,
        backend: AsyncNetworkBackend | None = None,
    ) -> None:
        self.allowed, self.most_bytes, self.seconds = allowed, most_bytes, seconds
        self.most_bytes_together = most_bytes_together or most_bytes
        self._at_once = asyncio.Semaphore(at_once)
        self._pool = _pool(resolver, backend, at_once) if allowed else None

    async def __aenter__(self) -> Self:
        """Return the fetcher."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close its connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()

    async def fetch_many(self, urls: Sequence[str]) -> list[bytes | DataError]:
        """Return for each URL the bytes, or the error why there are none; one that fails leaves the others alone."""
        budget = _Budget(self.most_bytes_together)
        return list(await asyncio.gather(*(self._fetch_or_error(url, budget) for url in urls)))

    async def fetch(self, url: str) -> bytes:
        """Return what is at a URL.

        Raises:
            DataError: It may not be fetched (`url-not-allowed`), or could not be (`url-failed`).
        """
        result = await self._fetch_or_error(url, _Budget(self.most_bytes))
        if isinstance(result, DataError):
            raise result
        return result

    async def _fetch_or_error(self, url: str, budget: _Budget) -> bytes | DataError:
        try:
            target = self.allowed.check(url)
            async with asyncio.timeout(self.seconds), self._at_once:
                return await self._follow(target, budget)
        except DataError as error:
            return error
        except TimeoutError:
            return failed(f"the image did not arrive within {self.seconds:g} seconds")
        except OSError:
            return failed("the host cannot be reached")

    async def _follow(self, target: UrlTarget, budget: _Budget) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            result = await self._get(target, budget)
            if isinstance(result, bytes):
                return result
            following = self.allowed.check(urljoin(target.text, result))
            if target.scheme == "https" and following.scheme == "http":
                raise refused("the host leads from https to http")
            target = following
        raise failed(f"the host leads on more than {MOST_REDIRECTS} times")

    async def _get(self, target: UrlTarget, budget: _Budget) -> bytes | str:
        """Return the bytes of the answer, or the place that it leads to."""
        import httpcore2

        assert self._pool is not None
        url = httpcore2.URL(
            scheme=target.scheme.encode(), host=target.host.strip("[]").encode(), port=target.port,
            target=target.path.encode(),
        )  # fmt: skip
        headers: list[tuple[bytes | str, bytes | str]] = [
            ("Host", target.authority),
            ("User-Agent", "eml"),
            ("Accept", "image/*, */*;q=0.5"),
            ("Accept-Encoding", "identity"),
        ]
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), self.seconds)}
        try:
            async with self._pool.stream("GET", url, headers=headers, extensions=limits) as response:
                answered = {name.lower(): value for name, value in response.headers}
                if response.status in _REDIRECTS and b"location" in answered:
                    return answered[b"location"].decode("latin-1")
                if response.status != 200:
                    raise failed(f"the host answered with status {response.status}")
                if answered.get(b"content-encoding", b"identity").lower() != b"identity":
                    raise failed("the host sent the image packed, which was not asked for")
                return await self._read(response, answered.get(b"content-length", b""), budget)
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise failed("the host cannot be reached, or does not answer as HTTP has it") from error

    async def _read(self, response: Any, announced: bytes, budget: _Budget) -> bytes:
        if announced.isdigit() and int(announced) > self.most_bytes:
            raise failed(f"the image has more than {self.most_bytes:,} bytes")
        data = bytearray()
        async for part in response.aiter_stream():
            data += part
            if len(data) > self.most_bytes:
                raise failed(f"the image has more than {self.most_bytes:,} bytes")
            budget.take(len(part))
        return bytes(data)


class _Budget:
    """The bytes that one request may still fetch."""

    def __init__(self, most: int) -> None:
        self.most, self.left = most, most

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise failed(f"the images of this request have more than {self.most:,} bytes together")


def _pool(resolver: Resolver, backend: AsyncNetworkBackend | None, at_once: int) -> AsyncConnectionPool:
    """Return connections that are opened only to public addresses."""
    import httpcore2
    from httpcore2 import AnyIOBackend, AsyncNetworkStream

    inner = backend or AnyIOBackend()

    class CheckedBackend(httpcore2.AsyncNetworkBackend):
        """Resolves a name once, checks every address that it has, and connects to one of these."""

        async def connect_tcp(
            self, host: str, port: int, timeout: float | None = None, *arguments: Any, **options: Any
        ) -> AsyncNetworkStream:
            async with asyncio.timeout(timeout):
                addresses = await resolver(host, port)
            if not addresses or not all(map(is_public, addresses)):
                raise refused("the host has an address that is not public, and is not connected to")
            problem: Exception | None = None
            for address in addresses[:MOST_ADDRESSES]:
                try:
                    return await inner.connect_tcp(address, port, timeout, *arguments, **options)
                except httpcore2.NetworkError as error:
                    problem = error
            raise problem or httpcore2.ConnectError()

        async def connect_unix_socket(self, path: str, *arguments: Any, **options: Any) -> AsyncNetworkStream:
            raise refused("sockets of this machine are not connected to")

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    return httpcore2.AsyncConnectionPool(
        network_backend=CheckedBackend(), max_connections=at_once, max_keepalive_connections=at_once,
        keepalive_expiry=5.0, retries=0,
    )  # fmt: skip
