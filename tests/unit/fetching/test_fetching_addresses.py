from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.fetching.addresses import parse_address, why_refused

REFUSED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1
198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a9fe:a9fe ::ffff:0:127.0.0.1 64:ff9b::7f00:1
64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1
2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1
"""
PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 128.0.0.1 172.15.255.255 172.32.0.0
192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255 ::ffff:8.8.8.8 2001:4860:4860::8888 2606:4700::1111
2a00:1450::1
"""


@pytest.mark.parametrize("text", REFUSED.split())
def test_special_addresses_are_refused(text: str) -> None:
    assert why_refused(parse_address(text))


@pytest.mark.parametrize("text", PUBLIC.split())
def test_public_addresses_pass(text: str) -> None:
    assert why_refused(parse_address(text)) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.1.2.3", "10.1.0.0/16"),
        ("::ffff:10.1.2.3", "10.1.0.0/16"),
        ("fd00::5", "fd00::/8"),
        ("64:ff9b::1", "64:ff9b::/96"),
    ],
)
def test_an_allowed_network_passes_and_only_that(text: str, network: str) -> None:
    assert why_refused(parse_address(text), [ip_network(network)]) is None
    assert why_refused(parse_address(text), [ip_network("10.2.0.0/16")])


def test_an_allowed_ipv4_network_does_not_cover_tunnels_to_it() -> None:
    allowed = [ip_network("10.0.0.0/8")]
    for tunnel in ("2002:a00:1::", "64:ff9b::a00:1", "::10.0.0.1"):
        assert why_refused(parse_address(tunnel), allowed)


@given(st.ip_addresses())
def test_nothing_that_python_calls_not_global_passes(address) -> None:  # type: ignore[no-untyped-def]
    parsed = parse_address(str(address))
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        assert why_refused(parsed)
