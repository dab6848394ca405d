"""Connections of clients that are slow on purpose, or too many: time limits of uvicorn's, and those that it lacks.

uvicorn bounds the time between two requests. It waits for ever for the head of a request that comes byte by byte (slow
loris), for a client that does not read its answer, and for any number of connections. `guarded_protocol` adds these
limits. Where all places are taken, the connection that has waited longest without a request is closed for a new one, so
that whoever opens connections and says nothing does not keep others out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from eml.serving.refusals import Refusal

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol


LAST_LINGER = 0.3
"""Seconds in which a client whose request was not whole reads that the server ends."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds of connections.

    Attributes:
        most: Connections at once.
        head_bytes: Bytes of a request's line and headers.
        head_seconds: The time in which they must arrive.
        idle_seconds: The time between two requests.
        unread_seconds: The time for which a client may leave an answer unread.
        linger_seconds: The time for which what a client still sends is thrown away after it was refused, so that it
            reads why: a connection that is closed with bytes unread is reset.
        linger_bytes: The most that is thrown away.
    """

    most: int = 512
    head_bytes: int = 16 * 1024
    head_seconds: float = 10.0
    idle_seconds: float = 15.0
    unread_seconds: float = 30.0
    linger_seconds: float = 2.0
    linger_bytes: int = 64 * 2**20


def server_settings(limits: ConnectionLimits, refused: Callable[[str], None] = lambda reason: None) -> dict[str, Any]:
    """Return the settings of `uvicorn.Config` for a server that anybody may reach.

    No websockets; headers such as X-Forwarded-For are not believed; the answer does not name the software; the log
    has no line for each request.

    Args:
        limits: Bounds of connections.
        refused: Is called with the code of each refusal.
    """
    return {
        "http": guarded_protocol(limits, refused),
        "ws": "none",
        "h11_max_incomplete_event_size": limits.head_bytes,
        "timeout_keep_alive": limits.idle_seconds,
        "proxy_headers": False,
        "server_header": False,
        "access_log": False,
        "backlog": limits.most,
    }


def guarded_protocol(
    limits: ConnectionLimits, refused: Callable[[str], None] = lambda reason: None
) -> type[H11Protocol]:
    """Return uvicorn's protocol of HTTP/1.1 with the limits. refused: is called with the code of each refusal."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class GuardedProtocol(H11Protocol):
        """A connection that ends when its client takes too long."""

        _head_timer: asyncio.TimerHandle | None = None
        _unread_timer: asyncio.TimerHandle | None = None
        _waits_since = 0.0
        _lingers = _is_late = False
        _thrown_away = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Begin to wait for a request, in place of another connection where there are too many."""
            super().connection_made(cast(asyncio.Transport, _Closing(transport, self._close)))
            self._waits_since = self.loop.time()
            self._await_head()
            if len(self.connections) > limits.most:
                self._make_room()

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget the timers."""
            self._forget_head()
            self._cancel_unread()
            super().connection_lost(exc)

        def eof_received(self) -> None:
            """Close where the client has read why it was refused."""
            if self._lingers:
                self._abort()

        def data_received(self, data: bytes) -> None:
            """Read on; the time for a head runs from its first byte, and more bytes do not prolong it."""
            if self._lingers:
                self._thrown_away += len(data)
                if self._thrown_away > limits.linger_bytes:
                    self._abort()
                return
            super().data_received(data)
            if self._is_waiting():
                self._await_head()
            else:
                self._forget_head()

        def on_response_complete(self) -> None:
            """Begin to wait for the next request."""
            self._waits_since = self.loop.time()
            super().on_response_complete()
            if self.transport.is_closing():
                self._close_soon()

        def send_400_response(self, msg: str) -> None:
            """Refuse what is no HTTP; where it comes within a body, the application is told that its client left."""
            if not self._is_waiting():
                self.cycle.disconnected = True
                self.cycle.message_event.set()
                if self.cycle.response_started:
                    self.transport.close()
                    return
            super().send_400_response(msg)

        def shutdown(self) -> None:
            """End the connection, also one whose request has not come whole; what is being answered is waited for."""
            if not self._is_waiting() and self.cycle.more_body and not self.cycle.response_started:
                self._end(Refusal(503, "closing", "the server ends; send the request again, or to another one"))
                self.cycle.disconnected = True
                self.cycle.message_event.set()
                self.loop.call_later(LAST_LINGER, self._abort)
                return
            super().shutdown()

        def pause_writing(self) -> None:
            """Give the client time to read what is sent."""
            super().pause_writing()
            self._close_soon()

        def resume_writing(self) -> None:
            """Go on: the client has read."""
            super().resume_writing()
            if not self.transport.is_closing():
                self._cancel_unread()

        def timeout_keep_alive_handler(self) -> None:
            """End a connection without a further request."""
            super().timeout_keep_alive_handler()
            self._close_soon()

        def _is_waiting(self) -> bool:
            """Return whether no request is being answered."""
            return self.cycle is None or self.cycle.response_complete

        def _await_head(self) -> None:
            if self._head_timer is None and not self.transport.is_closing():
                self._head_timer = self.loop.call_later(limits.head_seconds, self._head_is_late)

        def _forget_head(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _head_is_late(self) -> None:
            self._head_timer = None
            if self._is_waiting():
                self._is_late = True
                self._end(Refusal(408, "too-slow", f"the head of the request took over {limits.head_seconds:g} s"))

        def _make_room(self) -> None:
            """Close the connection that has waited longest for a request, of those that never had one if there are."""
            waiting = [
                (connection.cycle is not None, connection._waits_since, id(connection), connection)
                for connection in self.connections
                if isinstance(connection, GuardedProtocol)
                and connection is not self
                and connection._is_waiting()
                and not connection.transport.is_closing()
            ]
            if waiting:
                min(waiting)[-1].transport.abort()
            else:
                self._end(Refusal(503, "too-many-connections", "the server has no room for another connection"))

        def _end(self, refusal: Refusal) -> None:
            """Say why where the client still listens, and close."""
            if self.transport.is_closing():
                return
            refused(refusal.code)
            body = refusal.body()
            head = f"HTTP/1.1 {refusal.status} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
            self.transport.close()
            self._close_soon()

        def _close(self, transport: asyncio.Transport) -> None:
            """Close a connection: at once, or when a client that still sends has read why it was refused."""
            still_sends = self._is_late or self.conn.their_state in (h11.SEND_BODY, h11.ERROR)
            if not still_sends or self._lingers or transport.is_closing() or not transport.can_write_eof():
                transport.close()
                return
            self._lingers = True
            try:
                transport.write_eof()
            except OSError:  # the client is gone already
                transport.abort()
                return
            self.flow.resume_reading()
            self.loop.call_later(limits.linger_seconds, transport.abort)

        def _abort(self) -> None:
            self.transport.abort()

        def _close_soon(self) -> None:
            """Cut the connection if the client has not read its answer in time."""
            if self._unread_timer is None:
                self._unread_timer = self.loop.call_later(limits.unread_seconds, self._abort)

        def _cancel_unread(self) -> None:
            if self._unread_timer is not None:
                self._unread_timer.cancel()
                self._unread_timer = None

    return GuardedProtocol


class _Closing:
    """A transport whose end is decided elsewhere.

    Args:
        transport: The transport.
        close: Ends it.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[asyncio.Transport], None]) -> None:
        self._transport, self._close, self._is_closed = transport, close, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._is_closed or self._transport.is_closing()

    def close(self) -> None:
        self._is_closed = True
        self._close(self._transport)
