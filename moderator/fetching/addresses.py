"""Decide which IP addresses may be contacted. Pure: this module resolves no names and opens no connections.

A stranger writes the URL in an event, so it must not reach what only this machine's network can reach:
databases, admin pages, the credentials that clouds serve to their machines. Only addresses on the public
internet pass, and networks that the operator lists. The ranges are those of the IANA special-purpose registries
(RFC 6890 and its updates) rather than `ipaddress.is_global`, whose answer changes between Python versions.
"""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Of IPv6, only the global unicast space passes, except the ranges below. Everything outside it (loopback, unique
#: local, link-local, multicast, NAT64 64:ff9b::/96 and 64:ff9b:1::/48, IPv4-compatible) needs no entry.
_GLOBAL_UNICAST = IPv6Network("2000::/3")

_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier's customers"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "reserved for documentation"),
        ("192.31.196.0/24", "reserved for protocols"),
        ("192.52.193.0/24", "reserved for protocols"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved for protocols"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "reserved for documentation"),
        ("203.0.113.0/24", "reserved for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        # Includes Teredo (2001::/32), benchmarks (2001:2::/48) and ORCHID.
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "reserved for documentation"),
        ("2002::/16", "a 6to4 address, which hides an IPv4 address"),
        ("2620:4f:8000::/48", "reserved for protocols"),
        ("3fff::/20", "reserved for documentation"),
    )
)


def parse_address(text: str) -> Address:
    """Parse an address from a resolver; an IPv4-mapped IPv6 address becomes the IPv4 address that it maps.

    Raises:
        ValueError: the text is not an address.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def why_refused(address: Address, allowed: Iterable[Network] = ()) -> str | None:
    """Return why an address (from `parse_address`) may not be contacted, or None if it may.

    `allowed` are networks that always pass. An allowed IPv4 network does not cover IPv6 addresses that tunnel
    to it (6to4, Teredo, NAT64): list those separately if needed.
    """
    if any(address in network for network in allowed):
        return None
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "not on the public internet"
    return next((reason for network, reason in _REFUSED if address in network), None)
