import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import FetchRefused, SettingsError
from moderator.fetching.urls import AllowedHosts, parse_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@example.org/",
        f"http://{SECRET}@example.org/",
        f"http://@example.org/?{SECRET}",
        f"http://example.org\\@127.0.0.1/{SECRET}",
        f"http://example.org /{SECRET}",
        f"http://example.org/\r\nX: {SECRET}",
        f"file:///etc/{SECRET}",
        f"ftp://example.org/{SECRET}",
        f"gopher://127.0.0.1:6379/_{SECRET}",
        f"data:image/png;base64,{SECRET}",
        f"//example.org/{SECRET}",
        f"/etc/{SECRET}",
        f"http:///{SECRET}",
        f"http://:80/{SECRET}",
        f"http://[::1/{SECRET}",
        f"http://[v1.x]/{SECRET}",
        f"http://exa%00mple.org/{SECRET}",
        f"http://exa<mple.org/{SECRET}",
        f"http://example.org:0/{SECRET}",
        f"http://example.org:25/{SECRET}",
        f"https://example.org:6379/{SECRET}",
        f"http://example.org:99999/{SECRET}",
        f"http://example.org:http/{SECRET}",
        f"http://{'a' * 300}.org/{SECRET}",
        f"http://{'a.' * 200}org/{SECRET}",
        f"http://a..b/{SECRET}",
        f"http://.example.org/{SECRET}",
        f"http://-a.example.org/{SECRET}",
        f"http://example.org..{SECRET}/",
        f"http://example.org/\ud800{SECRET}",
        f"http://example.org/?\ud800{SECRET}",
        f"http://\ud800.example.org/{SECRET}",
        f"http://[::1%25\ud800]:x/{SECRET}",
        "",
    ],
)
def test_urls_that_are_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(FetchRefused) as caught:
        parse_url(url)
    assert SECRET not in str(caught.value)


def test_a_url_is_taken_apart_once() -> None:
    target = parse_url("HTTPS://Müller.example:8443/a b%20ü?q=ü#part".replace(" ", "%20"))
    assert (target.scheme, target.host, target.port) == ("https", "xn--mller-kva.example", 8443)
    assert target.target == "/a%20b%20%C3%BC?q=%C3%BC"
    assert target.authority == "xn--mller-kva.example:8443"
    assert target.origin == "https://xn--mller-kva.example"
    assert parse_url("http://[2001:DB8::1]").authority == "[2001:db8::1]"


@given(st.text(), st.text(), st.text())
def test_any_text_is_a_target_or_refused(before: str, host: str, after: str) -> None:
    for text in (before, f"http://{host}/{after}", f"https://{before}@{host}:{after}", f"//{host}?{after}"):
        try:
            target = parse_url(text)
        except FetchRefused:
            continue
        assert target.host.isascii()
        assert target.target.isascii()
        assert not set(target.host) & set("@/\\:") or ":" in target.host
        assert not set(target.host + target.target) & set(" \r\n\\")
        assert parse_url(f"{target.scheme}://{target.authority}{target.target}") == target


ALLOWED = AllowedHosts(
    ["Example.org", "*.cdn.example", "93.184.216.34", "müller.example."], "MODERATOR_FETCH_HOSTS"
)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "https://EXAMPLE.org.:8443/",
        "http://a.cdn.example/",
        "http://a.b.cdn.example./",
        "http://93.184.216.34/",
        "http://xn--mller-kva.example/",
    ],
)
def test_listed_hosts_pass(url: str) -> None:
    ALLOWED.check(parse_url(url).host)


@pytest.mark.parametrize(
    "url",
    [
        "http://www.example.org/",
        "http://example.org.evil.example/",
        "http://notexample.org/",
        "http://cdn.example/",
        "http://evilcdn.example/",
        "http://1572395042/",
        "http://[2606:2800:220:1::1]/",
        "http://localhost/",
    ],
)
def test_other_hosts_are_refused_naming_the_setting(url: str) -> None:
    with pytest.raises(FetchRefused, match="MODERATOR_FETCH_HOSTS"):
        ALLOWED.check(parse_url(url).host)


@pytest.mark.parametrize(
    "pattern", ["", "*", "*.", "*.*.org", "http://example.org", "example.org:80", "a b", "[::1"]
)
def test_a_malformed_pattern_is_a_settings_error(pattern: str) -> None:
    with pytest.raises(SettingsError, match="MODERATOR_FETCH_HOSTS"):
        AllowedHosts([pattern], "MODERATOR_FETCH_HOSTS")


def test_no_patterns_mean_all_hosts() -> None:
    assert AllowedHosts.from_setting((), "MODERATOR_FETCH_HOSTS") is None
