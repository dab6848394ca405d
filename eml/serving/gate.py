"""Who may ask for what: the key of each request, its scope and its rate, before anything of the body is read."""

from __future__ import annotations

import logging
from collections.abc import Callable

from eml.serving.key_rates import TokenBuckets, client_name
from eml.serving.keys import Key, KeyRing, KeyScope, shown_keys
from eml.serving.refusals import ASGIApp, Receive, Refusal, Scope, Send, header_values

WRONG_PER_MINUTE = 10.0
"""Wrong keys of an address that are answered with 401; those above it get 429."""
OPEN_PATHS = frozenset({"/", "/health", "/docs", "/openapi.json", "/favicon.ico"})
"""Paths that need no key: the page, how to ask, and whether the server is well."""
WATCHED_PATHS = frozenset({"/health", "/metrics"})
"""Paths of whoever watches the server, which no rate of an address limits: it would look ill when it is busy."""
OPEN_FOLDERS = ("/page/", "/docs/")
WRITE_PATHS = ("/v1/index/add", "/v1/index/remove")
NO_KEYS = (
    "and this server has no keys: start it as eml serve INDEX --keys FILE, with a file that eml serve-key add makes"
)
"""What a client reads who would change the index of a server without keys."""
_logger = logging.getLogger("eml.serving")


def needed_scope(method: str, path: str) -> KeyScope | None:
    """Return the scope that a request needs; None for what anybody may see. What is not listed needs `read`."""
    if method in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)):
        return None
    if path.startswith(WRITE_PATHS) or method not in ("GET", "HEAD", "POST"):
        return "write"
    return "read"


class Gate:
    """Lets a request through to an application when its key may do what it asks for.

    Without a file of keys everybody may ask, and nobody may change the index. A right key is let in whatever else comes
    from its address, so that nobody can lock others out with wrong ones.

    Args:
        app: The application.
        keys: The keys; None: there are none.
        address_rate: Requests a minute of an address that shows no key, but for /health and /metrics; None: any number.
        refused: Is called with a word for each refusal.
        buckets: The rates.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing | None,
        address_rate: float | None = None,
        refused: Callable[[str], None] = lambda reason: None,
        buckets: TokenBuckets | None = None,
    ) -> None:
        self.app, self.keys, self.address_rate, self.refused = app, keys, address_rate, refused
        self.buckets = TokenBuckets() if buckets is None else buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on with its key in `scope["state"]["key"]`."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            key = self._admit(scope)
        except Refusal as refusal:
            self.refused(refusal.code)
            await refusal.answer(send)
            return
        scope.setdefault("state", {})["key"] = key
        await self.app(scope, receive, send)

    def _admit(self, scope: Scope) -> Key | None:
        """Return the key of a request. Raises Refusal where it may not do what it asks for."""
        client = client_name(scope["client"][0] if scope.get("client") else None)
        needed = needed_scope(scope["method"], scope["path"])
        key = self._key(scope, client)
        if key is None:
            if needed == "write" and self.keys is None:
                raise Refusal(403, "needs-key", f"the index is changed with a key of scope write only, {NO_KEYS}")
            if needed is not None and self.keys is not None:
                text = "this needs a key: send it as Authorization: Bearer KEY, or as X-API-Key"
                raise Refusal(401, "needs-key", text, headers={"www-authenticate": "Bearer"})
            if scope["path"] not in WATCHED_PATHS:
                self._take(f"address {client}", self.address_rate)
            return None
        self._take(f"key {key.name}", key.rate)
        if needed is not None and not key.may(needed):
            raise Refusal(403, "key-lacks-scope", f"this needs a key of scope {needed}")
        return key

    def _key(self, scope: Scope, client: str) -> Key | None:
        """Return the key that a request shows; None where it shows none. Raises Refusal for a wrong one."""
        if self.keys is None:
            return None
        authorizations, api_keys = header_values(scope, b"authorization"), header_values(scope, b"x-api-key")
        if len(authorizations) > 1 or len(api_keys) > 1:
            raise Refusal(400, "invalid-request", "a header with a key is sent twice")
        shown = next(iter(authorizations), None), next(iter(api_keys), None)
        if not shown_keys(*shown):
            return None
        if (key := self.keys.check(*shown)) is not None:
            return key
        if wait := self.buckets.take(f"wrong {client}", WRONG_PER_MINUTE, WRONG_PER_MINUTE):
            text = "too many wrong keys from this address; a right one is accepted at any time"
            raise Refusal(429, "too-many-wrong-keys", text, retry_after=wait)
        _logger.warning("a wrong key from %s", client)
        raise Refusal(401, "wrong-key", "the key is not known here", headers={"www-authenticate": "Bearer"})

    def _take(self, name: str, rate: float | None) -> None:
        if rate is not None and (wait := self.buckets.take(name, rate)):
            text = f"more than {rate:g} requests a minute; ask again after the seconds of Retry-After"
            raise Refusal(429, "too-many-requests", text, retry_after=wait)
