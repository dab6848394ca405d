"""Answers of what stands before the application: an error in the form of the rest, and the connection's end."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refusal(Exception):  # noqa: N818 - an answer, not an error of the program
    """An answer that refuses a request.

    Args:
        status: Of HTTP.
        code: The kind of the problem.
        message: What is wrong and what to do, without anything of the server's.
        headers: More headers of the answer.
        retry_after: Seconds after which to ask again.
        close: Whether the connection ends with it, as it must where a body was not read.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        close: bool = True,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after)))
        if close:
            self.headers["connection"] = "close"

    def body(self) -> bytes:
        """Return the answer as JSON, in the form of OpenAI's errors."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        facts = {"code": self.code, "message": self.message, "param": None, "type": kind}
        return json.dumps({"error": facts}, separators=(",", ":"), ensure_ascii=False).encode()

    async def answer(self, send: Send) -> None:
        """Send the answer."""
        body = self.body()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **self.headers}
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return all values of a header of a request."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
