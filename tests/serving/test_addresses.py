"""Addresses that a server may connect to for a client."""

import pytest

from eml.serving.addresses import is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111"])
def test_hosts_of_the_public_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.127.255.254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255"),
        *("240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1", "2001:0:1::1"),
        *("fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "100::1"),
        *("2001:db8::1", "3fff::1", "5f00::1", "2001:10::1", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1"),
        *("", "localhost", "8.8.8.8 ", "8.8.8.8/32", "1.1.1.1\n"),
    ],
)
def test_what_is_private_special_or_carries_another_address_is_not(address: str) -> None:
    assert not is_public(address)
