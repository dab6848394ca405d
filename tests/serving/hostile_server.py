"""A server in a process of its own, as `eml serve` makes it, with a resolver and a network of the test's own.

`python -m tests.serving.hostile_server FOLDER OUTSIDE_PORT`: FOLDER has shop.index and keys.json; every public address
is the port of this computer on which the test's own hosts answer. Prints its port.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpcore2

from eml.serving.app import guarded, make_app
from eml.serving.connections import ConnectionLimits, server_settings
from eml.serving.engine import ServingEngine
from eml.serving.fetching import AllowedHosts, UrlFetcher
from eml.serving.keys import KeyRing
from eml.serving.limits import ServingLimits
from eml.serving.running import bind, graceful_server, run_server

MIB = 2**20
NAMES = {
    "images.test": ["93.184.216.34"],
    "loop.test": ["127.0.0.1"],
    "private.test": ["10.1.2.3"],
    "metadata.test": ["169.254.169.254"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "half.test": ["93.184.216.34", "127.0.0.1"],
}


async def resolve(host: str, port: int) -> Sequence[str]:
    return NAMES[host]


class Outside(httpcore2.AnyIOBackend):
    """Connects public addresses to a port of this computer, and others to themselves."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def connect_tcp(self, host: str, port: int, *arguments: Any, **options: Any) -> Any:
        place = ("127.0.0.1", self.port) if host.startswith("93.184.216.") else (host, port)
        return await super().connect_tcp(*place, *arguments, **options)


def main(folder: Path, outside: int) -> None:
    limits = ServingLimits(body_bytes=2 * MIB, image_bytes=MIB, queue_bytes=64 * MIB, seconds=10)
    engine = ServingEngine.open(folder / "shop.index", device="cpu", limits=limits)
    fetcher = UrlFetcher(
        AllowedHosts(NAMES), most_bytes=limits.image_bytes, seconds=3, resolver=resolve, backend=Outside(outside)
    )
    app = make_app(engine, may_change=True, needs_key=True, fetch=fetcher.fetch_many)
    protected = guarded(app, engine, host="127.0.0.1", keys=KeyRing.read(folder / "keys.json"))
    settings = server_settings(ConnectionLimits(most=60, head_seconds=1.0, idle_seconds=2.0, unread_seconds=1.0))
    with bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        run_server(
            graceful_server(protected, engine, settings=settings, started=lambda: print(port, flush=True)), bound
        )
    asyncio.run(engine.close())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
