"""What of a webhook's address is shown. The log itself is tested with Redis."""

import pytest

from moderator.queue.delivery_log import find_target, shown_target, target_id

TOKEN = "XXXXXXXXXXXXXXXXXXXXXXXX"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/hook", "https://example.org/hook"),
        ("https://example.org:8443/a/b", "https://example.org:8443/a/b"),
        ("https://user:pw@example.org/hook?key=secret#part", "https://example.org/hook"),
        (f"https://hooks.slack.com/services/T0/B0/{TOKEN}", "https://hooks.slack.com/services/T0/B0/..."),
        (f"https://example.org/{TOKEN}/x", "https://example.org/.../x"),
        ("http://[2001:db8::1]/hook", "http://[2001:db8::1]/hook"),
        ("http://[::1", "(no URL)"),
        ("https://example.org:port/", "(no URL)"),
        ("no url", "://no url"),
    ],
)
def test_no_secret_is_shown(url: str, shown: str) -> None:
    assert shown_target(url) == shown


def test_an_address_and_its_id_find_the_same() -> None:
    one, other = "https://example.org/hook?key=1", "https://example.org/hook?key=2"
    assert target_id(one) != target_id(other)
    assert find_target(target_id(one)) == find_target(one) == target_id(one)
    assert target_id("\ud800")
