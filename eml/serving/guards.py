"""Check what every request passes before the application: form, origin, size and time of its body.

A page of another site in the user's browser can send requests to 127.0.0.1. Three things hold it: requests that say
they come from another origin are refused (`Origin`, `Sec-Fetch-Site`), so a form or a text/plain POST does nothing;
without keys the Host header must name this computer, so a name that is made to lead here (DNS rebinding) reaches
nothing; and no answer may be read by another origin unless `cors` names it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from eml.errors import ConfigError, Problem
from eml.printable import printable_line
from eml.serving.gate import Gate
from eml.serving.keys import KeyRing
from eml.serving.refusals import ASGIApp, Message, Receive, Refusal, Scope, Send, header_values

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
LONGEST_PATH = 2048
MOST_HEADERS, MOST_HEADER_BYTES = 100, 16 * 1024
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy of every answer: the page takes scripts, styles and images from this server alone."""
SECURITY_HEADERS = (
    (b"content-security-policy", PAGE_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
)
_READ_BY_SELF = (b"cross-origin-resource-policy", b"same-origin")
_ORIGIN = re.compile(r"https?://[a-z0-9._-]+(?::[0-9]{1,5})?|https?://\[[0-9a-f:]+\](?::[0-9]{1,5})?")
_BAD_ESCAPES = re.compile(rb"%(?:2f|5c|00|0[0-9a-f]|1[0-9a-f]|7f)", re.IGNORECASE)
_BAD_PATH = re.compile(r"[\x00-\x1f\x7f\\\ufffd]|//|/\.\.?(?:/|$)")
_logger = logging.getLogger("eml.serving")


@dataclass(frozen=True)
class RequestGuards:
    """Bounds of requests.

    Attributes:
        body_bytes: Bytes of a body.
        all_body_bytes: Bytes of the bodies of all requests that are being answered.
        body_seconds: The time in which a body must begin to arrive; then `least_rate` holds.
        most_body_seconds: The longest time of a body.
        least_rate: Bytes a second at which a body must arrive.
        hosts: Names that the Host header may have, in lower case without port; None: any.
        origins: Other origins whose pages may ask, such as `https://shop.example.com`; `*` is any.
    """

    body_bytes: int
    all_body_bytes: int = 512 * 2**20
    body_seconds: float = 15.0
    most_body_seconds: float = 120.0
    least_rate: float = 16 * 1024
    hosts: frozenset[str] | None = None
    origins: tuple[str, ...] = ()


def allowed_hosts(host: str, *, has_keys: bool) -> frozenset[str] | None:
    """Return the names that the Host header may have: those of this computer without keys, any with them.

    A page that reaches the server by a name of its own has no key.
    """
    if has_keys:
        return None
    return LOOPBACK_NAMES | {f"[{host}]" if ":" in host else host.lower()}


def check_origins(origins: Iterable[str], *, has_keys: bool) -> tuple[str, ...]:
    """Return the origins whose pages may ask.

    Raises:
        ConfigError: One is no origin, or any may ask where no key is needed.
    """
    problems, checked = [], []
    for origin in origins:
        text = origin.strip().lower().rstrip("/")
        if text == "*" and not has_keys:
            line = "`cors` is *, any page, which needs `keys`: without them each page that you open could ask"
            problems.append(Problem(line, "conflicting-settings", "cors"))
        elif text != "*" and not _ORIGIN.fullmatch(text):
            line = f"`cors` takes origins such as https://shop.example.com, got '{printable_line(origin[:100])}'"
            problems.append(Problem(line, "invalid-value", "cors"))
        checked.append(text)
    if problems:
        raise ConfigError(problems)
    return tuple(dict.fromkeys(checked))


class RequestGuard:
    """Checks the form and the origin of each request, and puts security headers on each answer.

    Errors of the application are logged, and answered without a word of their text.

    Args:
        app: What answers.
        guards: The bounds.
        refused: Is called with a word for each refusal.
    """

    def __init__(
        self, app: ASGIApp, guards: RequestGuards, refused: Callable[[str], None] = lambda reason: None
    ) -> None:
        self.app, self.guards, self.refused = app, guards, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        answer = _Answer(send, is_read_by_others=bool(self.guards.origins))
        try:
            check_form(scope)
            check_origin(scope, self.guards)
            await self.app(scope, receive, answer)
        except Refusal as refusal:
            self.refused(refusal.code)
            if not answer.is_begun:
                await refusal.answer(answer)
        except asyncio.CancelledError:  # the server ends before the answer, and waits no more
            _logger.warning(
                "%s %s: not answered, the server ends", scope["method"], printable_line(scope["path"][:200])
            )
            if not answer.is_begun:
                await Refusal(503, "closing", "the server ends; send the request again, or to another one").answer(
                    answer
                )
        except Exception as error:
            _logger.error("%s %s failed", scope["method"], printable_line(scope["path"][:200]), exc_info=error)
            if not answer.is_begun:
                await Refusal(500, "internal", "the server failed; its log says why").answer(answer)


class _Answer:
    """Sends an answer on, with security headers."""

    def __init__(self, send: Send, *, is_read_by_others: bool) -> None:
        self.send, self.is_begun = send, False
        self.own = SECURITY_HEADERS if is_read_by_others else (*SECURITY_HEADERS, _READ_BY_SELF)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_begun = True
            headers = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in self.own if name not in present]
            if b"cache-control" not in present:
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await self.send(message)


def check_form(scope: Scope) -> None:
    """Raise Refusal for a method, path or headers that no client of ours sends."""
    if scope["method"] not in METHODS:
        text = f"the methods are {', '.join(METHODS)}"
        raise Refusal(405, "wrong-method", text, headers={"allow": ", ".join(METHODS)})
    path, raw = scope["path"], scope.get("raw_path") or scope["path"].encode()
    if len(raw) > LONGEST_PATH:
        raise Refusal(414, "invalid-path", f"the path has more than {LONGEST_PATH:,} characters")
    if not path.startswith("/") or _BAD_PATH.search(path) or _BAD_ESCAPES.search(raw):
        raise Refusal(400, "invalid-path", "this is no path of this server")
    if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
        raise Refusal(505, "invalid-request", "this server speaks HTTP/1.1")
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if len(scope["headers"]) > MOST_HEADERS or size > MOST_HEADER_BYTES:
        text = f"the request has more than {MOST_HEADERS} headers, or {MOST_HEADER_BYTES:,} bytes of them"
        raise Refusal(431, "too-many-headers", text)
    names = {name for name, _ in scope["headers"]}
    if {b"content-length", b"transfer-encoding"} <= names:
        raise Refusal(400, "invalid-request", "a body has a length or is sent in chunks, not both")
    if b"content-encoding" in names:
        raise Refusal(415, "packed-body", "bodies are read as they are, without Content-Encoding")


def check_origin(scope: Scope, guards: RequestGuards) -> None:
    """Raise Refusal for a host that is not this server's, and for what a page of another origin sends."""
    hosts = header_values(scope, b"host")
    if len(hosts) > 1:
        raise Refusal(400, "invalid-request", "the header Host is sent twice")
    host = hosts[0].lower() if hosts else ""
    if guards.hosts is not None and re.sub(r":[0-9]*$", "", host) not in guards.hosts:
        text = "this server is asked by the name of its own computer; another name needs a server with keys"
        raise Refusal(421, "wrong-host", text)
    origins, sites = header_values(scope, b"origin"), header_values(scope, b"sec-fetch-site")
    origin = origins[0].lower() if len(origins) == 1 else "null" if origins else None
    if origin in guards.origins or (origin is not None and "*" in guards.origins):
        return
    if sites and sites[0] not in ("same-origin", "none"):
        is_link = scope["method"] in ("GET", "HEAD") and header_values(scope, b"sec-fetch-mode") == ["navigate"]
        is_foreign = not (is_link and header_values(scope, b"sec-fetch-dest") == ["document"])
    else:
        is_foreign = not sites and origin is not None and origin.partition("://")[2] != host
    if is_foreign:
        text = "pages of other origins may not ask here; the server's `cors` names those that may"
        raise Refusal(403, "wrong-origin", text)


class BodyGuard:
    """Reads the body of each request before the application begins, within bytes and time.

    Args:
        app: What answers; it gets the body in the parts in which it came.
        guards: The bounds.
        refused: Is called with a word for each refusal.

    Attributes:
        held: Bytes of the bodies of all requests that are being answered.
    """

    def __init__(
        self, app: ASGIApp, guards: RequestGuards, refused: Callable[[str], None] = lambda reason: None
    ) -> None:
        self.app, self.guards, self.refused, self.held = app, guards, refused, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body, or answer one that is too large or too slow."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        parts: list[bytes] = []
        try:
            self._check_length(header_values(scope, b"content-length"))
            async for part in self._parts(receive):
                parts.append(part)
                self.held += len(part)
                if self.held > self.guards.all_body_bytes:
                    raise Refusal(503, "busy", "the server holds as many bodies as it can", retry_after=1)
        except _Gone:
            self.held -= sum(map(len, parts))
            return
        except Refusal as refusal:
            self.held -= sum(map(len, parts))
            self.refused(refusal.code)
            await refusal.answer(send)
            return
        size = sum(map(len, parts))
        parts.reverse()

        async def replay() -> Message:
            if parts:
                return {"type": "http.request", "body": parts.pop(), "more_body": bool(parts)}
            return await receive()

        try:
            await self.app(scope, replay, send)
        finally:
            self.held -= size

    def _check_length(self, lengths: list[str]) -> None:
        if lengths and (not lengths[0].isdigit() or int(lengths[0]) > self.guards.body_bytes):
            raise self._too_large()

    def _too_large(self) -> Refusal:
        text = f"the body has more than {self.guards.body_bytes:,} bytes; send the images in several requests"
        return Refusal(413, "body-too-large", text)

    async def _parts(self, receive: Receive) -> AsyncIterator[bytes]:
        """Yield the parts of the body, an empty one for an empty body."""
        began, size = time.monotonic(), 0
        while True:
            allowed = min(self.guards.body_seconds + size / self.guards.least_rate, self.guards.most_body_seconds)
            try:
                async with asyncio.timeout(began + allowed - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise Refusal(408, "too-slow", "the body of the request took too long") from None
            if message["type"] == "http.disconnect":
                raise _Gone
            part = bytes(message.get("body", b""))
            size += len(part)
            if size > self.guards.body_bytes:
                raise self._too_large()
            yield part
            if not message.get("more_body", False):
                return


class _Gone(Exception):  # noqa: N818 - a client that left is no error
    """The client left before its body was whole."""


def with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Return the application with the headers by which pages of some origins may read its answers."""
    if not origins:
        return app
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("authorization", "x-api-key", "content-type"),
        expose_headers=("retry-after",),
        max_age=600,
    )


def protect(
    app: ASGIApp,
    guards: RequestGuards,
    keys: KeyRing | None = None,
    *,
    address_rate: float | None = None,
    refused: Callable[[str], None] = lambda reason: None,
) -> ASGIApp:
    """Return an application behind all of it: form and origin, then key and rate, then the body.

    Args:
        app: The application; it finds the key of a request in `request.state.key`.
        guards: Bounds of requests.
        keys: The keys; None: there are none, and nobody may change the index.
        address_rate: Requests a minute of an address that shows no key.
        refused: Is called with a word for each refusal.
    """
    gate = Gate(BodyGuard(app, guards, refused), keys=keys, address_rate=address_rate, refused=refused)
    return RequestGuard(with_cors(gate, guards.origins), guards, refused)
