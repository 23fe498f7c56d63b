"""Which addresses belong to the public internet, by IANA's registries of special-purpose addresses.

``ipaddress.is_global`` has changed between Python's patch releases; in 3.11.7 ``192.0.0.192`` and ``fec0::1`` are
still global. Sources: RFC 6890 as updated by 8190, IANA's registries for IPv4 and IPv6 as of 2025, RFC 5771 and 4291
for multicast. Anycast addresses inside refused blocks (``192.0.0.9``, ``2001:1::1``) are no web servers: refused.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

_NOT_PUBLIC_4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # private, RFC 1918
        "100.64.0.0/10",  # shared by carriers, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link-local, RFC 3927; clouds serve credentials at 169.254.169.254
        "192.0.0.0/24",  # IETF protocols, RFC 6890; a cloud serves credentials at 192.0.0.192
        "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # documentation, RFC 5737
        "192.88.99.0/24",  # relays of 6to4, RFC 7526
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, RFC 1112, and broadcast, RFC 919
    )
)  # fmt: skip
_UNICAST_6 = IPv6Network("2000::/3")
"""All allocated IPv6 addresses, RFC 4291; loopback, fc00::/7, fe80::/10, fec0::/10, ff00::/8 and others are outside."""
_NOT_PUBLIC_6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocols, RFC 2928: benchmarks 2001:2::/48, ORCHID 2001:10::/28, ...
        "2001:db8::/32", "3fff::/20",  # documentation, RFC 3849 and 9637
    )
)  # fmt: skip
_WRAPPED = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped, RFC 4291
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052: how networks without IPv4 reach it
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
)
"""IPv6 blocks that embed an IPv4 address, and the number of bits after it."""


def public(address: str) -> bool:
    """Whether *address*, or the IPv4 address embedded in it, belongs to the public internet.

    Raises:
        ValueError: it is no IP address.
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address):
        return not any(found in block for block in _NOT_PUBLIC_4)
    for block, shift in _WRAPPED:
        if found in block:
            return public(str(IPv4Address((int(found) >> shift) & 0xFFFFFFFF)))
    return found in _UNICAST_6 and not any(found in block for block in _NOT_PUBLIC_6)
