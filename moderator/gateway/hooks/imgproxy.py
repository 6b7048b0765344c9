"""Requests in the manner of imgproxy: the address of an image in the path, signed by whoever may ask for it. Pure.

A web server that guards imgproxy asks for leave under the very path of the request (nginx: `auth_request`).
Formats: imgproxy, "Generating the URL" and "Signing the URL":
`/SIGNATURE/OPTIONS/plain/SOURCE@EXTENSION` and `/SIGNATURE/OPTIONS/BASE64.EXTENSION`.
"""

import base64
import binascii
import hmac
import re
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from moderator.errors import EventInvalid

#: Most characters of a path.
PATH_CHARACTERS_MAX = 8192

#: Servers before us make one slash of two.
_MERGED = re.compile(r"\A(https?|s3):/(?!/)")


def read_source(path: str, key: bytes, salt: bytes) -> str:
    """Return the address of the image that a path asks for.

    Args:
        path: everything after the hook's own path, with the leading slash, percent-encoded as it was sent.
        key: imgproxy's key; empty: signatures are not checked, as imgproxy does without a key.
        salt: imgproxy's salt.

    Raises:
        EventInvalid: it asks for none, or its signature is wrong.
    """
    if len(path) > PATH_CHARACTERS_MAX:
        raise EventInvalid(f"the path has more than {PATH_CHARACTERS_MAX} characters")
    signature, slash, rest = path.removeprefix("/").partition("/")
    if not slash:
        raise EventInvalid("the path is not /SIGNATURE/OPTIONS/SOURCE, as imgproxy has it")
    if key and not _is_signed(signature, f"/{rest}", key, salt):
        raise EventInvalid("the signature is wrong; sign the path with MODERATOR_IMGPROXY_KEY and _SALT")
    parts = rest.split("/")
    while parts and ":" in parts[0]:  # an option has arguments
        del parts[0]
    source = _plain(parts[1:]) if parts[:1] == ["plain"] else _encoded(parts)
    if not source:
        raise EventInvalid("the path names no source")
    return _MERGED.sub(r"\1://", source)


def source_event(source: str, policy: str | None) -> dict[str, Any]:
    """Return the event for the image at an address, by a policy or by the default.

    Its id is made of both: whoever asks again is answered at once.

    Raises:
        EventInvalid: workers get no image from such an address.
    """
    scheme, separator, rest = source.partition("://")
    if not separator or scheme not in ("http", "https", "s3"):
        raise EventInvalid("the source is neither http(s):// nor s3://")
    image = {"key": rest} if scheme == "s3" else {"url": source}
    asked = f"{policy or ''} {source}".encode(errors="surrogatepass")
    event: dict[str, Any] = {
        "id": f"sha256:{sha256(asked).hexdigest()}",
        "source": "imgproxy",
        "image": image,
    }
    return event if policy is None else {**event, "policy": policy}


def _is_signed(signature: str, path: str, key: bytes, salt: bytes) -> bool:
    expected = hmac.digest(key, salt + path.encode(errors="surrogatepass"), "sha256")
    given = base64.urlsafe_b64encode(expected).rstrip(b"=")
    return hmac.compare_digest(given, signature.rstrip("=").encode(errors="surrogatepass"))


def _plain(parts: list[str]) -> str:
    source, _, extension = "/".join(parts).partition("@")
    if "@" in extension:
        raise EventInvalid("the source has several extensions; encode an @ in it as %40")
    try:
        return unquote(source, errors="strict")
    except UnicodeDecodeError as error:
        raise EventInvalid("the source is not UTF-8") from error


def _encoded(parts: list[str]) -> str:
    text = "".join(parts).partition(".")[0].rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return data.decode()
    except (binascii.Error, ValueError) as error:
        raise EventInvalid("the source is no base64 for URLs") from error
