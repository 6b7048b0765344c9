"""Shared access signatures (SAS) of Azure Blob Storage: which blobs get one, and why the store refuses it. Pure.

Formats: Azure Storage, "Create a service SAS", "Create an account SAS", "Create a user delegation SAS" and "Blob
Storage error codes". A signature is a secret: no message and no `repr` shows it.
"""

import re
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self
from urllib.parse import parse_qsl, unquote

from pydantic import SecretStr

from moderator.errors import FetchRefused, SettingsError
from moderator.fetching.urls import Target, parse_url

SETTING = "MODERATOR_FETCH_SAS"
#: Bytes of an HMAC-SHA256.
SIGNATURE_BYTES = 32

#: Resources that hold blobs (`sr`): a container and a directory. A signature for one blob is of no use for others.
_FOLDERS = frozenset({"c", "d"})
_SEPARATORS = re.compile(r"[/\\]")  # Azure reads a backslash as a slash
#: Codes by which Azure hides a private container from a request without a signature, besides the status 401 or 403.
_HIDDEN = frozenset({"PublicAccessNotPermitted", "ResourceNotFound"})
_RIGHTS = frozenset(
    {"AuthorizationPermissionMismatch", "AuthorizationResourceTypeMismatch", "AuthorizationServiceMismatch"}
)


@dataclass(frozen=True)
class AccessSignature:
    """The right to read the blobs below one URL."""

    place: Target
    """Container, directory or account."""
    folder: tuple[str, ...]
    """Its path, decoded."""
    query: str = field(repr=False)
    """What is added to a blob's URL."""
    begins: datetime | None
    ends: datetime | None
    """None: a policy that is stored with the container says so."""
    rights: str | None
    """A letter each, such as `r` for reading. None: as for `ends`."""

    @property
    def name(self) -> str:
        """The URL without the signature."""
        return f"{self.place.site}/{'/'.join(self.folder)}"

    def covers(self, target: Target) -> bool:
        """Return whether a URL names a blob below this one: same scheme, host and port, no query, no `..`."""
        path, _, query = target.target.partition("?")
        segments = tuple(_SEPARATORS.split(unquote(path))[1:])
        size = len(self.folder)
        return (
            target.site == self.place.site
            and not query
            and {".", ".."}.isdisjoint(segments)
            and segments[:size] == self.folder
            and any(segments[size:])
        )

    def sign(self, target: Target) -> Target:
        """Return the URL of a covered blob with the signature."""
        return replace(target, target=f"{target.target}?{self.query}")

    def why_refused(self, code: str, now: datetime) -> str:
        """Return cause and remedy where the store answers 401 or 403 with an error code."""
        what = f"the shared access signature for {self.name}"
        new = f"put a new one into {SETTING} and restart the workers"
        if self.ends is not None and self.ends <= now:
            return f"{what} ended on {self.ends:%Y-%m-%d %H:%M} UTC; {new}"
        if self.begins is not None and self.begins > now:
            return f"{what} begins only on {self.begins:%Y-%m-%d %H:%M} UTC; wait until then, or {new}"
        if code in _RIGHTS:
            return f"{what} does not allow reading blobs ({code}); {new}, with the right r"
        return (
            f"{self.place.site} refuses {what} ({code}); is it whole and made for this container, are its key and "
            f"stored policy still there, and may this machine's address use the account? If not, {new}"
        )


class SharedAccess:
    """The signatures that the operator gives workers. Of several that cover a blob, the narrowest is used."""

    def __init__(self, signatures: Iterable[AccessSignature] = ()) -> None:
        self.signatures = tuple(sorted(signatures, key=lambda signature: -len(signature.folder)))

    @classmethod
    def from_setting(cls, value: SecretStr | None) -> Self:
        """Return the signatures of a setting: URLs with signatures, separated by blanks.

        Raises:
            SettingsError: one cannot be used; the message shows nothing of its query.
        """
        texts = value.get_secret_value().split() if value is not None else []
        return cls(parse_signature(text, f"{SETTING}: entry {n}") for n, text in enumerate(texts, 1))

    def find(self, target: Target) -> AccessSignature | None:
        """Return the signature for a blob, or None if there is none or the URL has a query of its own."""
        return next((signature for signature in self.signatures if signature.covers(target)), None)


def check_access(
    target: Target, signature: AccessSignature | None, status: int, code: bytes | None, now: datetime
) -> None:
    """Check an answer of Azure.

    Args:
        target: the URL as an event names it.
        signature: what was added to it.
        status: of the answer.
        code: the header `x-ms-error-code`. None: the answer is not Azure's.
        now: the time.

    Raises:
        FetchRefused: it refuses access; the message has the cause, the setting and what to do.
    """
    text = (code or b"").decode("latin-1")
    if not re.fullmatch(r"[A-Za-z]{1,64}", text):
        return
    if signature is not None:
        if status in (401, 403):
            raise FetchRefused(signature.why_refused(text, now))
    elif "?" not in target.target and (status in (401, 403) or text in _HIDDEN):
        raise FetchRefused(
            f"{target.origin} does not show this blob to everybody ({text}); if its container is private, put a "
            f"shared access signature for it into {SETTING}"
        )


def parse_signature(text: str, what: str) -> AccessSignature:
    """Parse `https://ACCOUNT.blob.core.windows.net/CONTAINER?SIGNATURE`.

    Args:
        text: the URL.
        what: names it in messages.

    Raises:
        SettingsError: it cannot be used; the message shows nothing of its query.
    """
    try:
        place = parse_url(text)
    except FetchRefused as error:
        raise SettingsError(f"{what} is no URL with a signature: {error}") from None
    path, _, query = place.target.partition("?")
    fields = dict(parse_qsl(query, keep_blank_values=True))
    where = f"{what} ({place.site}{path})"
    if not _is_signature(fields.get("sig", "")) or not fields.get("sv"):
        raise SettingsError(
            f"{where} has no whole signature: paste what Azure gives, with sv=... and sig=..., percent-encoded"
        )
    if "sr" in fields and fields["sr"] not in _FOLDERS:
        raise SettingsError(f"{where} is for one blob (sr); make a signature for its container")
    rights = fields.get("sp")
    if rights is not None and "r" not in rights:
        raise SettingsError(f"{where} does not allow reading (sp); make a signature with the right r")
    if place.scheme == "http" and fields.get("spr") == "https":
        raise SettingsError(f"{where} allows https alone (spr); write https://")
    return AccessSignature(
        place=replace(place, target=path),
        folder=tuple(part for part in unquote(path).split("/") if part),
        query=query,
        begins=_read_time(fields, "st", where),
        ends=_read_time(fields, "se", where),
        rights=rights,
    )


def _is_signature(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) == SIGNATURE_BYTES
    except ValueError:
        return False


def _read_time(fields: dict[str, str], name: str, where: str) -> datetime | None:
    if name not in fields:
        return None
    try:
        time = datetime.fromisoformat(fields[name])
    except ValueError:
        raise SettingsError(
            f"{where} has a time that cannot be read ({name}); paste what Azure gives"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
