"""A server that runs: its socket, its signals, and its end, at which what is queued is still answered."""

from __future__ import annotations

import errno
import ipaddress
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from eml.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from types import FrameType

    from eml.serving.engine import ServingEngine

LAST_WORDS = 5.0
"""Seconds after the last answer in which clients must have read theirs."""


def is_loopback(host: str) -> bool:
    """Return whether a host, all of its addresses, is reached from this computer alone."""
    addresses = {str(place[4][0]) for place in _places(host, 0)}
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a host and port, before anything slow is done. port: 0 is any that is free.

    Raises:
        ConfigError: The host is unknown, or the port is in use.
    """
    family, kind, protocol, _, place = _places(host, port)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(place)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            text = f"`port` {port} is in use on {host}: end what uses it, or take another one; 0 is any that is free"
        elif error.errno == errno.EACCES:
            text = f"`port` {port} is not for everybody: take one above 1023"
        else:
            text = f"`host` {host}, `port` {port}: {error.strerror or error}"
        raise ConfigError(text, code="unusable-address", parameter="port") from error
    return bound


def _places(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        text = f"`host` {host}: is no address or name of this computer; 127.0.0.1 is this computer alone"
        raise ConfigError(text, code="unusable-address", parameter="host") from error


def url_of(bound: socket.socket, host: str) -> str:
    """Return the address that a client on this computer uses."""
    port = bound.getsockname()[1]
    everywhere = host in ("0.0.0.0", "::", "")
    shown = "127.0.0.1" if everywhere else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


class GracefulServer(uvicorn.Server):
    """A server that answers what is queued when it is asked to end.

    On the first SIGTERM or SIGINT new requests get a 503; when the last queued one is answered, or their time is over,
    it ends. On a second signal it ends at once.

    Args:
        config: Of uvicorn.
        engine: What answers.
        started: Is called when it listens.
        note: Takes a line when it is told to end: what is waited for.

    Attributes:
        was_forced: Whether it ended at once.
        unanswered: Requests that were being answered then.
    """

    def __init__(
        self, config: uvicorn.Config, engine: ServingEngine, started: Callable[[], None], note: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self.engine, self._tell, self._note = engine, started, note
        self.was_forced, self.unanswered = False, 0
        self._told_at: float | None = None
        self._is_noted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._tell()

    def stop(self) -> None:
        """Refuse new requests, and end when the queued ones are answered; at once when it is called again."""
        if self._told_at is not None:
            self.unanswered = self.unanswered or len(self.server_state.tasks)
            self.was_forced = self.should_exit = self.force_exit = True
            return
        self._told_at = time.monotonic()
        self.engine.refuse_new()

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to end."""
        if self._told_at is not None:
            if not self._is_noted and not self.was_forced:
                self._is_noted = True
                self._note(stopping_line(len(self.server_state.tasks)))
            is_late = time.monotonic() - self._told_at > self.engine.limits.seconds
            self.should_exit = self.should_exit or is_late or not self.engine.queue_depth
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at signals in the block, in place of what they did before."""

        def handle(number: int, frame: FrameType | None) -> None:
            self.stop()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def stopping_line(requests: int) -> str:
    """Return what is waited for when a server is told to end."""
    if not requests:
        return "stopping: no request is being answered"
    words = "1 request is" if requests == 1 else f"{requests:,} requests are"
    return f"stopping: {words} being answered; Ctrl-C again to stop at once"


def graceful_server(
    app: Any,
    engine: ServingEngine,
    *,
    settings: Mapping[str, Any] | None = None,
    started: Callable[[], None] = lambda: None,
    note: Callable[[str], None] = lambda line: None,
) -> GracefulServer:
    """Return a server of an application; see `GracefulServer`. settings: more of `uvicorn.Config`."""
    config = uvicorn.Config(
        app,
        **{
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "lifespan": "off",
            "ws": "none",
            "timeout_graceful_shutdown": int(LAST_WORDS),
            **(settings or {}),
        },
    )
    return GracefulServer(config, engine, started, note)


def run_server(server: GracefulServer, bound: socket.socket) -> None:
    """Run a server until it is told to stop.

    Raises:
        Interrupted: It was told twice, and ended before everything was answered.
    """
    with logged(), bound:
        server.run([bound])
    if server.was_forced:
        count = server.unanswered
        left = f"{count:,} request{' was' if count == 1 else 's were'} not answered" if count else "nothing was left"
        raise Interrupted(f"stopped at once: {left}")


@contextmanager
def served(app: Any, engine: ServingEngine, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve an application in a thread for the block, and yield its address: for tests and notebooks.

    It does not close the engine, and refuses no new requests at the end.

    Args:
        app: Of `make_app`.
        engine: What answers.
        host: To listen on.
        port: 0 is any that is free.
    """
    bound, listens = bind(host, port), threading.Event()
    server = graceful_server(app, engine, started=listens.set)
    thread = threading.Thread(target=server.run, args=([bound],), name="eml-serve", daemon=True)
    thread.start()
    try:
        listens.wait(30)
        yield url_of(bound, host)
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


@contextmanager
def logged() -> Iterator[None]:
    """Write the server's log to stderr with the time, unless the caller's program has set up a log of its own."""
    loggers = [logging.getLogger(name) for name in ("eml.serving", "uvicorn.error")]
    if logging.getLogger().handlers:
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
