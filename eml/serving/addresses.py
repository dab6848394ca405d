"""Addresses that are public: those that a server may connect to for a client who names a URL."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

_NOT_PUBLIC = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # shared by a provider's customers (CGNAT), RFC 6598
        "127.0.0.0/8",  # this computer
        "168.63.129.16/32",  # Azure's service for virtual machines, inside a public block
        "169.254.0.0/16",  # link-local, where clouds answer with credentials
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # Teredo, ORCHID and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",
    )
)
_GLOBAL = ip_network("2000::/3")
"""The public part of IPv6. The rest is private, link-local, multicast, or carries IPv4: `::ffff:0:0/96`
(mapped), `64:ff9b::/96` and `64:ff9b:1::/48` (NAT64), `::/96` (compatible)."""


def is_public(address: str) -> bool:
    """Return whether a text is the address of a host on the public internet, by IANA's registries of special ones."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and (parsed.scope_id is not None or parsed not in _GLOBAL):
        return False
    return parsed.is_global and not any(parsed in network for network in _NOT_PUBLIC)
