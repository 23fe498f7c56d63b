from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.sources.addresses import public

IANA_4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.0.0/29", "192.0.0.8/32", "192.0.0.170/31", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
)  # fmt: skip
"""Blocks of the IPv4 special-purpose registry that are not globally reachable, and multicast."""
IANA_6 = (
    "::1/128", "::/128", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:2::/48", "2001:10::/28",
    "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)  # fmt: skip
"""Blocks of the IPv6 special-purpose registry that are not globally reachable, deprecated site-local, and multicast."""


@pytest.mark.parametrize("block", [*IANA_4, *IANA_6])
def test_no_end_of_a_special_block_is_public(block: str) -> None:
    network = ip_network(block)
    assert not public(str(network[0]))
    assert not public(str(network[-1]))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
     "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
     "198.17.255.255", "198.20.0.0", "223.255.255.255", "2000::", "2001:200::", "2001:db7:ffff::", "2001:db9::",
     "2606:4700::1111", "3ffe:ffff::", "3fff:1000::"],
)  # fmt: skip
def test_the_neighbours_of_special_blocks_are_public(address: str) -> None:
    assert public(address)


@pytest.mark.parametrize("address", ["192.0.0.192", "fec0::1", "2001:0:808:808::f7f7:f7f7"])
def test_what_python_of_some_releases_calls_global_is_refused(address: str) -> None:
    assert not public(address)


@given(st.integers(0, 2**32 - 1))
def test_an_address_wrapped_in_ipv6_is_as_public_as_it_is_itself(number: int) -> None:
    plain = public(str(IPv4Address(number)))
    for wrapped in (0xFFFF << 32 | number, 0x0064_FF9B << 96 | number, 0x2002 << 112 | number << 80 | 1):
        assert public(str(IPv6Address(wrapped))) == plain


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_private(address: IPv4Address | IPv6Address) -> None:
    wrapped = isinstance(address, IPv6Address) and (address.ipv4_mapped or str(address).startswith("64:ff9b::"))
    if public(str(address)) and not wrapped:
        assert not address.is_private
        assert not address.is_multicast
        assert not address.is_link_local


@pytest.mark.parametrize("address", ["fe80::1%eth0", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"])
def test_scopes_and_wraps_do_not_hide_an_address(address: str) -> None:
    assert not public(address)
