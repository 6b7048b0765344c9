"""Signatures for private blobs: which URLs get one, why the store refuses it, and that nothing shows it."""

from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from moderator.errors import FetchRefused, SettingsError
from moderator.fetching.shared_access import SharedAccess, check_access, parse_signature
from moderator.fetching.urls import parse_url

SIGNATURE = "vfwCL5vxBfAxqGyHFjCMgNdXr4%2B3mLnOxSo%2BgV47CSQ%3D"
SAS = f"sv=2022-11-02&st=2026-11-01&se=2026-12-01T00:00Z&sr=c&sp=r&sig={SIGNATURE}"
SHOP = "https://shop.blob.core.windows.net"
PICTURES = f"{SHOP}/pictures?{SAS}"
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def access(*urls: str) -> SharedAccess:
    return SharedAccess.from_setting(SecretStr(" ".join(urls)))


def signed(access: SharedAccess, url: str) -> str | None:
    """What is asked for, where a signature is added."""
    target = parse_url(url)
    signature = access.find(target)
    return signature and signature.sign(target).target


def test_a_blob_in_the_container_gets_the_signature() -> None:
    shared = access(PICTURES)
    assert signed(shared, f"{SHOP}/pictures/cats/a%20cat.jpg") == f"/pictures/cats/a%20cat.jpg?{SAS}"
    assert signed(shared, "HTTPS://Shop.Blob.Core.Windows.net:443/pictures/ä#x") == f"/pictures/%C3%A4?{SAS}"
    assert signed(access(), f"{SHOP}/pictures/a") is None
    assert signed(SharedAccess.from_setting(None), f"{SHOP}/pictures/a") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.blob.core.windows.net/pictures/a",
        "https://shop.blob.core.windows.net:8443/pictures/a",
        "https://shop.blob.core.windows.net./pictures/a",
        "https://other.blob.core.windows.net/pictures/a",
        "https://shop.blob.core.windows.net.example.org/pictures/a",
        "https://example.org/shop.blob.core.windows.net/pictures/a",
        f"{SHOP}/pictures",
        f"{SHOP}/pictures/",
        f"{SHOP}/pictures2/a",
        f"{SHOP}/Pictures/a",
        f"{SHOP}//pictures/a",
        f"{SHOP}/other/a",
        f"{SHOP}/pictures/../other/a",
        f"{SHOP}/pictures/%2e%2E/other/a",
        f"{SHOP}/pictures/..%2Fother/a",
        f"{SHOP}/pictures/..%5Cother/a",
        f"{SHOP}/pictures/./a",
        f"{SHOP}/pictures/a?snapshot=2026",
        f"{SHOP}/pictures/a?{SAS}",
    ],
)
def test_nothing_else_gets_it(url: str) -> None:
    assert signed(access(PICTURES), url) is None


@given(
    st.sampled_from(["https", "http"]),
    st.sampled_from(["shop.blob.core.windows.net", "shop.blob.core.windows.net.", "evil.test"]),
    st.sampled_from(["", ":443", ":80", ":8443"]),
    st.lists(
        st.sampled_from(
            ["pictures", "a", "", "..", ".", "%2e%2e", "%2F", "%5C", "?", "#", "@evil.test", "pictures%2Fa"]
        ),
        max_size=6,
    ),
)
def test_it_never_leaves_the_container(scheme: str, host: str, port: str, parts: list[str]) -> None:
    try:
        target = parse_url(f"{scheme}://{host}{port}/{'/'.join(parts)}")
    except FetchRefused:
        return
    if access(PICTURES).find(target) is not None:
        assert target.site == SHOP
        path = unquote(target.target)
        assert path.startswith("/pictures/")
        assert not {"", ".."} & set(path.split("/")[1:2])
        assert ".." not in path.replace("\\", "/").split("/")
        assert "?" not in target.target


def test_the_narrowest_of_several_is_used() -> None:
    account = f"{SHOP}/?{SAS.replace('sr=c', 'ss=b&srt=o')}"
    folder = f"{SHOP}/pictures/my%20cats/?{SAS.replace('sr=c', 'sr=d&sdd=2')}"
    azurite = f"http://127.0.0.1:10000/shop/pictures?{SAS}"
    shared = access(account, PICTURES, folder, azurite)
    names = {
        f"{SHOP}/other/a": f"{SHOP}/",
        f"{SHOP}/pictures/a": f"{SHOP}/pictures",
        f"{SHOP}/pictures/my%20cats/a": f"{SHOP}/pictures/my cats",
        "http://127.0.0.1:10000/shop/pictures/a": "http://127.0.0.1:10000/shop/pictures",
    }
    for url, name in names.items():
        signature = shared.find(parse_url(url))
        assert signature is not None
        assert signature.name == name


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"shop.blob.core.windows.net/pictures?{SAS}", "neither http nor https"),
        (SAS, "neither http nor https"),
        (f"https://user:{SIGNATURE}@shop.blob.core.windows.net/pictures", "credentials"),
        (f"{SHOP}/pictures", "no whole signature"),
        (f"{SHOP}/pictures??{SAS}", "no whole signature"),
        (PICTURES[:-4], "no whole signature"),
        (PICTURES.replace(SIGNATURE, unquote(SIGNATURE)), "percent-encoded"),
        (PICTURES.replace("sr=c", "sr=b"), "one blob"),
        (PICTURES.replace("sp=r", "sp=wl"), "reading"),
        (PICTURES.replace("se=2026-12-01T00:00Z", "se=soon"), r"\(se\)"),
        (PICTURES.replace("https:", "http:") + "&spr=https", "spr"),
    ],
)
def test_what_is_no_signature_is_refused_without_showing_it(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        access(PICTURES, url)
    assert str(caught.value).startswith("MODERATOR_FETCH_SAS: entry 2")
    assert SIGNATURE[:10] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_nothing_shows_a_signature() -> None:
    (signature,) = access(PICTURES).signatures
    target = signature.sign(parse_url(f"{SHOP}/pictures/a"))
    assert SIGNATURE in target.target
    assert SIGNATURE[:10] not in repr((signature, target))


def refusal(url: str, status: int, code: bytes | None, sas: str = PICTURES) -> str | None:
    target = parse_url(url)
    try:
        check_access(target, access(sas).find(target), status, code, NOW)
    except FetchRefused as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("sas", "code", "words"),
    [
        (PICTURES, "AuthenticationFailed", "is it whole and made for this container"),
        (PICTURES, "AuthorizationFailure", "may this machine's address use the account"),
        (PICTURES, "AuthorizationPermissionMismatch", "with the right r"),
        (PICTURES.replace("2026-12-01T00:00Z", "2026-11-26"), "AuthenticationFailed", "ended on 2026-11-26"),
        (PICTURES.replace("2026-11-01", "2026-11-28"), "AuthenticationFailed", "begins only on 2026-11-28"),
    ],
)
def test_a_refused_signature_has_a_cause_and_a_remedy(sas: str, code: str, words: str) -> None:
    message = refusal(f"{SHOP}/pictures/a", 403, code.encode(), sas)
    assert message is not None
    assert words in message
    assert SIGNATURE[:10] not in message
    assert "put a new one into MODERATOR_FETCH_SAS" in message or "wait until then" in message


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, b"NoAuthenticationInformation"),
        (403, b"AuthorizationFailure"),
        (404, b"ResourceNotFound"),
        (409, b"PublicAccessNotPermitted"),
    ],
)
def test_a_private_container_without_a_signature(status: int, code: bytes) -> None:
    assert "MODERATOR_FETCH_SAS" in str(refusal(f"{SHOP}/other/a", status, code))
    assert refusal(f"{SHOP}/other/a?sv=1&sig=x", status, code) is None, "whoever signed the URL knows"


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, b"BlobNotFound"), (403, None), (403, b"no\r\ncode"), (200, b"X"), (503, b"ServerBusy")],
)
def test_other_answers_are_none_of_its_business(status: int, code: bytes | None) -> None:
    assert refusal(f"{SHOP}/pictures/a", status, code) is None
    assert refusal(f"{SHOP}/other/a", status, code) is None


def test_a_stored_policy_may_have_end_and_rights() -> None:
    stored = parse_signature(f"{SHOP}/pictures?sv=2022-11-02&sr=c&si=moderator&sig={SIGNATURE}", "it")
    assert (stored.begins, stored.ends, stored.rights) == (None, None, None)
    assert "made for this container" in stored.why_refused("AuthenticationFailed", NOW)
