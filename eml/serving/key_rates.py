"""Limit how often a key or an address may ask, by token buckets of which only the latest are remembered."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

MOST_BUCKETS = 10_000
BURST_SECONDS = 10.0
"""A bucket holds what its rate gives in this time, and one request at least."""


class TokenBuckets:
    """Buckets by name, each filled at its rate. The ones that were used last are remembered, up to a number.

    A bucket that is forgotten is a full one when its name comes again; for that as many others have to ask meanwhile.

    Args:
        most: Buckets that are remembered.
        clock: Returns seconds.
    """

    def __init__(self, most: int = MOST_BUCKETS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of buckets that are remembered."""
        return len(self._buckets)

    def take(self, name: str, per_minute: float, burst: float | None = None) -> float:
        """Take a token out of a bucket; return 0, or the seconds until there is one.

        Args:
            name: Whose bucket it is.
            per_minute: The rate at which it is filled, above 0.
            burst: The most tokens in it; by default those of ten seconds, and 1 at least.
        """
        now, size = self._clock(), max(1.0, burst or per_minute * BURST_SECONDS / 60)
        tokens, before = self._buckets.pop(name, (size, now))
        tokens = min(size, tokens + (now - before) * per_minute / 60)
        is_allowed = tokens >= 1
        self._buckets[name] = tokens - is_allowed, now
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1 - tokens) * 60 / per_minute


def client_name(address: str | None) -> str:
    """Return by what an address is known: IPv6 by its network of 64 bits, which one client has to itself."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "local"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
